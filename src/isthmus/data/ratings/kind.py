"""Ratings as a kind of row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import scipy.sparse

from isthmus.data.encoding import Encoding
from isthmus.data.fit_encoding import EncodingFitter
from isthmus.data.in_memory import ArrayRows
from isthmus.data.kind import RowKind
from isthmus.data.ratings.matrix import Densify, SparseRows, Summary, from_table
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.schema import Schema
from isthmus.typing import Array, Integers


class RatingKind(RowKind):
    """Sparse rows: the ratings of a user, one column for each item."""

    name: ClassVar[str] = "ratings"
    preprocessing: ClassVar[str | None] = "largest"
    options: ClassVar[tuple[str, ...]] = ("user", "item", "value", "time", "duplicates", "unknown")

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        return ratings(table, spec or RowsSpec(self.name), like)

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        return SparseRows(scipy.sparse.csr_array(values))

    def adapt(self, source: Source, like: Schema, *, missing: bool) -> Source:
        if isinstance(source, ArrayRows) and source.values.ndim == 2:
            return SparseRows(scipy.sparse.csr_array(source.values))
        return source

    def fitter(self, source: Any, held: Integers) -> EncodingFitter:
        return RatingEncodingFitter(source, held)

    def restore(self, schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
        return Densify.from_state(state)


class RatingEncodingFitter(EncodingFitter):
    """Of ratings: their range, from the entries of the training rows."""

    def __init__(self, source: SparseRows, held: Integers) -> None:
        rows = source.take(np.delete(np.arange(len(source)), held))
        self.summary, self.fitted = Summary.of([rows]), Densify.fit(rows)
        low, high = min(0.0, self.summary.low), max(0.0, self.summary.high)
        dtype = str(source.matrix.dtype)
        shape = (source.matrix.shape[1],)
        names = None if source.items is None else tuple(str(item) for item in source.items)
        binary = low >= 0 and high <= 1 and self.summary.whole
        self.schema = Schema(
            "ratings", shape, dtype, low, high, names, binary=binary, whole=self.summary.whole,
            metadata=dict(source.metadata) or None,
        )  # fmt: skip

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        return self.fitted, self.schema


def ratings(table: pa.Table, spec: RowsSpec, like: Schema | None) -> Source:
    """Return the ratings of a long table, with the items of a model if there is one."""
    names = spec.chosen(user="user", item="item", value="value", time="time")
    known = like.metadata.get("items") if like is not None and like.metadata else None
    options = spec.chosen(duplicates="duplicates", unknown="unknown")
    source = from_table(table, items=known, **names, **options)
    source.metadata = {"rows": str(spec), "items": list(source.items or ())}
    if source.dropped:
        source.notes = (f"{source.dropped} rating(s) of items that the model does not know were left out",)
    return source
