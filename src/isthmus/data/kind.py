"""The contract of a kind of row: how rows become a source, an encoding, and rows of a model that is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from isthmus.data.arrays import check_values
from isthmus.data.encoding import Encoding, from_state
from isthmus.data.fit_encoding import ArrayEncodingFitter, EncodingFitter, StreamedEncodingFitter
from isthmus.data.in_memory import ArrayRows
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.data.tables.columns import is_number
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers

# What a row of a model means besides its shape, by its place in the metadata of source and schema.
_MEANINGS = {"vocabulary": "vocabulary", "items": "items", "channels": "channels"}


class RowKind(ABC):
    """One kind of row. A new one is a class, its line in `isthmus.data.kinds.ROW_KINDS`, and the source it opens.

    Attributes:
        name: in `Source.kind`, `Schema.kind` and ``--rows``.
        preprocessing: the only preprocessing of rows that are encoded in a way of their own; None for a choice of
            scalings.
        shaped: whether a row has a shape of its own: ``--rows`` takes sizes, and an array of a model's shape holds its
            rows, such as windows.
        options: what ``--rows`` takes beside the sizes.
    """

    name: ClassVar[str]
    preprocessing: ClassVar[str | None] = None
    shaped: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()

    # ---- opening -------------------------------------------------------------------------------------------------

    @abstractmethod
    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        """Return a table as rows of this kind.

        Args:
            table: from a file, or of a frame.
            frame: that frame, behind narwhals; None for a file.
            spec: what the user says of the rows.
            like: of a fitted model, whose rows these are to be.
            missing: whether numbers may be missing.

        Raises:
            DataError: for a table that is none of this kind.
        """

    @abstractmethod
    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        """Return an array `(rows, ...)` as rows of this kind, as in `from_table`."""

    def adapt(self, source: Source, like: Schema, *, missing: bool) -> Source:
        """Return rows of another kind as rows of a model of this kind, where they mean the same; else as they are."""
        if isinstance(source, ArrayRows) and tuple(source.values.shape[1:]) == like.shape:
            return ArrayRows(source.values, source.names, kind=self.name)
        return source

    def check(self, source: Source, schema: Schema) -> None:
        """Raise `DataError` unless rows of this kind have the meaning and shape of a model's."""
        check_meanings(source, schema)
        check_shape(schema, tuple(source.take(np.arange(min(1, len(source)))).shape[1:]))

    # ---- encoding ------------------------------------------------------------------------------------------------

    def fitter(self, source: Any, held: Integers) -> EncodingFitter:
        """Return the schema, and what fits the encoding, from one pass over the training rows.

        Args:
            source: all rows.
            held: numbers of the rows that are no training rows, in order.
        """
        return (
            ArrayEncodingFitter(source, held) if isinstance(source, ArrayRows) else StreamedEncodingFitter(source, held)
        )

    def restore(self, schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
        """Return the encoding of a saved model; raise `ArtifactError` if the state is not that of one."""
        return from_state(preprocessing, state)


# ---- shared by several kinds -----------------------------------------------------------------------------------------


def check_meanings(source: Source, schema: Schema) -> None:
    """Raise `DataError` if vocabulary, items or channels are not those of a model."""
    for name, what in _MEANINGS.items():
        wanted, got = (schema.metadata or {}).get(name), source.metadata.get(name)
        if wanted is not None and got is not None and wanted != got:
            advice = "the rows themselves, or isthmus.read(..., like=model.schema_)"
            raise DataError(explain(f"the {what} of the model", "others", advice))


def check_shape(schema: Schema, shape: tuple[int, ...], advice: str = "rows of the training shape") -> None:
    """Raise `DataError` if rows have another shape than a model's."""
    if shape != schema.shape:
        wanted, got = ("x".join(map(str, sizes)) for sizes in (schema.shape, shape))
        raise DataError(explain(f"rows of shape {wanted} (the rows of the training data)", f"{got}", advice))


def check_stored(source: Any, shape: tuple[int, ...], schema: Schema, advice: str) -> None:
    """Raise `DataError` unless rows that are not in memory have a model's shape and depth, without reading them."""
    check_shape(schema, shape, advice)
    dtype = str(source.dtype)
    if schema.dtype in ("uint8", "uint16") and dtype in ("uint8", "uint16") and dtype != schema.dtype:
        raise DataError(explain(f"{schema.dtype} values, as in training", f"{dtype} values", "images of one depth"))


def reshaped(values: Any, spec: RowsSpec) -> Source:
    """Return flat rows in the shape that is stated."""
    width = int(np.prod(values.shape[1:]))
    if int(np.prod(spec.sizes)) != width:
        got = f"{'x'.join(map(str, spec.sizes))} for rows of {width} values"
        raise DataError(f"rows={spec}: " + explain(f"sizes whose product is {width}", got, f"{spec.kind}:{width}x1"))
    return ArrayRows(values.reshape(len(values), *spec.sizes), kind=spec.kind)


def as_array(table: pa.Table, *, missing: bool) -> Any:
    """Return a table of numbers as an array; refuse other columns by name."""
    names = tuple(table.column_names)
    for name in names:
        kind = table[name].type
        if not (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise DataError(
                f"column {name!r}: " + explain("numbers", f"{kind} values", f"leaving it out (--drop {name})")
            )
    columns = [column.cast(pa.float64()).to_numpy() for column in table.columns]
    return check_values(np.column_stack(columns), names, missing=missing)
