"""What one pass over the training rows tells: the schema, and the encoding that fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.columns import Statistics, check_stated
from isthmus.data.memory import ArrayRows
from isthmus.data.preprocess import SCALINGS, Encoding, Standard, from_state
from isthmus.data.source import Array, Numbers, Source
from isthmus.data.tables import TableEncoding
from isthmus.errors import DataError, explain
from isthmus.schema import Schema

# Rows that are looked at at a time.
_ROWS = 1 << 14


class Survey(ABC):
    """A schema, and the encoding for whatever preprocessing a recipe chooses.

    Attributes:
        schema: what a row is.
        held: the rows that were left out of the pass, as a block; None if there are none, or the source is in memory.
    """

    schema: Schema
    held: Any = None

    @abstractmethod
    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        """Return the fitted encoding, and the schema with all that it fitted."""


def survey(source: Source, kept: Numbers) -> Survey:
    """Look at the training rows once.

    Args:
        source: all rows.
        kept: numbers of the training rows, in order.

    Raises:
        DataError: for rows that cannot be used.
    """
    stated = source.stated
    if stated.kinds or stated.scales:
        names = source.schema.names if source.kind == "table" else ()  # type: ignore[attr-defined]
        if not names:
            got = f"{source.kind} rows"
            raise DataError("--column: " + explain("a table with columns", got, "leaving it out"))
        check_stated(names, stated.kinds, stated.scales)
    return SURVEYS[source.kind](source, kept)


class ArraySurvey(Survey):
    """Of an array in memory: the range is that of all rows, the scaling of the training rows."""

    def __init__(self, source: ArrayRows, kept: Numbers) -> None:
        self.values, self.kept = source.values, kept
        self.schema = replace(Schema.of(source.values, source.names), kind=source.kind)

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        rows = self.values if len(self.kept) == len(self.values) else self.values[self.kept]
        return SCALINGS[preprocessing].fit(rows, self.schema), self.schema


class StreamedSurvey(Survey):
    """Of arrays that are read block by block: extremes and moments of the training rows, in one pass."""

    def __init__(self, source: Source, kept: Numbers) -> None:
        self.seen = 0
        parts = []
        for block, out in divided(source, kept):
            if len(out):
                parts.append(out)
            if len(block):
                self._update(block)
        self.held = np.concatenate(parts) if parts else None
        self.schema = replace(
            Schema.of(self._extremes, getattr(source, "names", None)),
            kind=source.kind,
            binary=self._binary,
            whole=self._whole,
        )

    def _update(self, block: Array) -> None:
        found = Schema.of(block)
        values = block.astype(np.float64)
        here = ~np.isnan(values)
        count = here.sum(0)
        mean = np.where(here, values, 0.0).sum(0) / np.maximum(count, 1)
        squares = np.square(np.where(here, values - mean, 0.0)).sum(0)
        if not self.seen:
            self._extremes = np.stack([block[0], block[0]])
            self._low, self._high, self._binary, self._whole = found.low, found.high, found.binary, found.whole
            self._count, self._mean, self._squares = count, mean, squares
        else:
            self._low, self._high = min(self._low, found.low), max(self._high, found.high)
            self._binary, self._whole = self._binary and found.binary, self._whole and found.whole
            total = np.maximum(self._count + count, 1)
            change = mean - self._mean
            self._squares = self._squares + squares + change * change * self._count * count / total
            self._mean = self._mean + change * count / total
            self._count = self._count + count
        flat = self._extremes.reshape(2, -1)
        flat[0, 0], flat[1, 0] = self._low, self._high
        self.seen += len(block)

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        if preprocessing == "standard":
            deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
            return Standard(self._mean, np.where(deviation == 0, 1.0, deviation)), self.schema
        return SCALINGS[preprocessing].fit(self._extremes, self.schema), self.schema


class TableSurvey(Survey):
    """Of a table: what each column is, told from the training rows."""

    def __init__(self, source: Any, kept: Numbers) -> None:
        self.stated = source.stated
        self.statistics = Statistics(source.schema, source.stated.kinds)
        parts = []
        for block, out in divided(source, kept):
            self.statistics.update(block)
            if len(out) and not source.in_memory:
                parts.append(out)
        self.held = pa.concat_tables(parts) if parts else None
        self.columns = self.statistics.columns()
        self.schema = Schema.of_columns(self.columns)

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        columns = self.statistics.scaled(self.columns, preprocessing, self.stated.scales)
        schema = replace(self.schema, columns=columns)
        return TableEncoding(schema), schema


def divided(source: Source, kept: Numbers) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of a source block by block, each block in two: the rows that are kept, and the others."""
    first = 0
    for block in source.blocks(_ROWS):
        rows = block.shape[0]
        start, stop = np.searchsorted(kept, [first, first + rows])
        if stop - start == rows:
            yield block, block[:0]
        else:
            inside = np.zeros(rows, bool)
            inside[kept[start:stop] - first] = True
            yield select(block, inside), select(block, ~inside)
        first += rows


def select(block: Any, rows: Array) -> Any:
    """Return the rows of a block where a mask `(rows,)` is true."""
    return block.filter(pa.array(rows)) if isinstance(block, pa.Table) else block[rows]


def _arrays(source: Any, kept: Numbers) -> Survey:
    whole = isinstance(source, ArrayRows)
    return ArraySurvey(source, kept) if whole else StreamedSurvey(source, kept)


SURVEYS: dict[str, Callable[[Any, Any], Survey]] = {
    "vector": _arrays,
    "image": _arrays,
    "series": _arrays,
    "table": TableSurvey,
}


def encoding_of(schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
    """Rebuild the encoding of a saved model; raise `ArtifactError` if the state is not that of one."""
    if schema.columns is not None:
        return TableEncoding(schema)
    return from_state(preprocessing, state)
