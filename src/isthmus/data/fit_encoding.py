"""What one pass over the training rows tells: the schema, and the encoding that fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.encoded import NONE, divided
from isthmus.data.encoding import SCALINGS, Encoding, Standard, from_state
from isthmus.data.in_memory import ArrayRows
from isthmus.data.ratings.matrix import Densify, SparseRows, Summary
from isthmus.data.source import Array, Numbers, Source
from isthmus.data.tables.columns import Statistics, check_stated
from isthmus.data.tables.encoding import TableEncoding
from isthmus.data.text.tokens import OneHotTokens, TextLines
from isthmus.data.text.vocabulary import Vocabulary
from isthmus.errors import DataError, explain
from isthmus.schema import Schema

# Rows that are looked at at a time.
_ROWS = 1 << 14


class EncodingFitter(ABC):
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


def survey(source: Source, held: Numbers = NONE) -> EncodingFitter:
    """Look at the training rows once.

    Args:
        source: all rows.
        held: numbers of the rows that are held out, in order; all others are training rows.

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
    return ENCODING_FITTERS[source.kind](source, held)


class ArrayEncodingFitter(EncodingFitter):
    """Of an array in memory: the range is that of all rows, the scaling of the training rows."""

    def __init__(self, source: ArrayRows, held: Numbers) -> None:
        self.values, self.out = source.values, held
        self.schema = replace(
            Schema.of(source.values, source.names), kind=source.kind, metadata=dict(source.metadata) or None
        )

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        rows = np.delete(self.values, self.out, 0) if len(self.out) else self.values
        return SCALINGS[preprocessing].fit(rows, self.schema), self.schema


class StreamedEncodingFitter(EncodingFitter):
    """Of arrays that are read block by block: extremes and moments of the training rows, in one pass."""

    def __init__(self, source: Source, held: Numbers) -> None:
        self.source, self.out, self.seen = source, held, 0
        parts = []
        for _, block, out in divided(source, held, _ROWS):
            if len(out):
                parts.append(out)
            if len(block):
                self._update(block)
        self.held = np.concatenate(parts) if parts else None
        self.schema = replace(
            Schema.of(self._extremes),
            kind=source.kind,
            binary=self._binary,
            whole=self._whole,
            metadata=dict(source.metadata) or None,
        )

    def _update(self, block: Array) -> None:
        found = Schema.of(block)
        if not self.seen:
            self._extremes = np.stack([block[0], block[0]])
            self._low, self._high, self._binary, self._whole = found.low, found.high, found.binary, found.whole
            # Of bytes, nobody asks for moments, and they take longer than the reading.
            self._moments = None if block.dtype.itemsize <= 2 else Moments()
        self._low, self._high = min(self._low, found.low), max(self._high, found.high)
        self._binary, self._whole = self._binary and found.binary, self._whole and found.whole
        if self._moments is not None:
            self._moments.update(block)
        # Two rows that have the range of all: what the scalings are fitted on.
        flat = self._extremes.reshape(2, -1)
        flat[0, 0], flat[1, 0] = self._low, self._high
        self.seen += len(block)

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        if preprocessing == "standard":
            moments = self._moments or self._measured()
            mean, deviation = moments.by_channel() if self.schema.kind == "series" else moments.by_place()
            return Standard(mean, np.where(deviation == 0, 1.0, deviation)), self.schema
        return SCALINGS[preprocessing].fit(self._extremes, self.schema), self.schema

    def _measured(self) -> Moments:
        moments = Moments()
        for _, block, _ in divided(self.source, self.out, _ROWS):
            moments.update(block)
        return moments


class Moments:
    """Count, mean and squared deviations of each place of a row, taken in block by block (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count: Any = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def update(self, block: Array) -> None:
        """Take in the next rows; what is missing (NaN) has no part."""
        values = block.astype(np.float64)
        here = ~np.isnan(values)
        count = here.sum(0)
        # What is too large to be squared is refused when the deviation is asked for, which may never be.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(here, values, 0.0).sum(0) / np.maximum(count, 1)
            squares = np.square(np.where(here, values - mean, 0.0)).sum(0)
            total = np.maximum(self.count + count, 1)
            change = mean - self.mean
            self.squares = self.squares + squares + change * change * self.count * count / total
            self.mean = self.mean + change * count / total
        self.count = self.count + count

    def by_place(self) -> tuple[Array, Array]:
        """Return mean and deviation of each place; raise `DataError` for values too large to be squared."""
        return _finite(self.mean, np.sqrt(self.squares / np.maximum(self.count, 1)))

    def by_channel(self) -> tuple[Array, Array]:
        """Return mean and deviation of each channel over all steps, for each place; see `by_place`."""
        count = np.maximum(self.count.sum(0), 1)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = (self.mean * self.count).sum(0) / count
            between = (np.square(self.mean - mean) * self.count).sum(0)
            mean, deviation = _finite(mean, np.sqrt((self.squares.sum(0) + between) / count))
        return np.broadcast_to(mean, self.mean.shape), np.broadcast_to(deviation, self.mean.shape)


def _finite(mean: Array, deviation: Array) -> tuple[Array, Array]:
    bad = ~(np.isfinite(mean) & np.isfinite(deviation))
    if bad.any():
        got = f"larger ones in place {tuple(int(place) for place in np.argwhere(bad)[0])} of a row"
        raise DataError(explain("values not too large to be squared", got, "a logarithm, or leaving them out"))
    return mean, deviation


class TableEncodingFitter(EncodingFitter):
    """Of a table: what each column is, told from the training rows."""

    def __init__(self, source: Any, held: Numbers) -> None:
        self.stated = source.stated
        self.statistics = Statistics(source.schema, source.stated.kinds)
        parts = []
        for numbers, block, out in divided(source, held, _ROWS):
            self.statistics.update(block, numbers)
            self.statistics.leave_out(out)
            if len(out) and not source.in_memory:
                parts.append(out)
        self.held = pa.concat_tables(parts) if parts else None
        self.columns = self.statistics.columns()
        self.schema = Schema.of_columns(self.columns)

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        columns = self.statistics.scaled(self.columns, preprocessing, self.stated.scales)
        schema = replace(self.schema, columns=columns)
        return TableEncoding(schema), schema


def _arrays(source: Any, held: Numbers) -> EncodingFitter:
    whole = isinstance(source, ArrayRows) and source.kind != "series"
    return ArrayEncodingFitter(source, held) if whole else StreamedEncodingFitter(source, held)


class TokenEncodingFitter(EncodingFitter):
    """Of text: the vocabulary says all."""

    def __init__(self, source: TextLines, held: Numbers) -> None:
        self.vocabulary = source.vocabulary
        shape = (source.vocabulary.length,)
        self.schema = Schema(
            "tokens", shape, "int32", 0.0, 1.0, binary=True, whole=True, metadata=dict(source.metadata)
        )

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        return OneHotTokens(self.vocabulary), self.schema


class RatingEncodingFitter(EncodingFitter):
    """Of ratings: their range, told from the entries of the training rows."""

    def __init__(self, source: SparseRows, held: Numbers) -> None:
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


ENCODING_FITTERS: dict[str, Callable[[Any, Any], EncodingFitter]] = {
    "vector": _arrays,
    "image": _arrays,
    "series": _arrays,
    "table": TableEncodingFitter,
    "tokens": TokenEncodingFitter,
    "ratings": RatingEncodingFitter,
}


def encoding_of(schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
    """Rebuild the encoding of a saved model; raise `ArtifactError` if the state is not that of one."""
    if schema.columns is not None:
        return TableEncoding.checked(schema)
    if schema.kind == "ratings":
        return Densify.from_state(state)
    if schema.kind == "tokens":
        return OneHotTokens(Vocabulary.from_dict((schema.metadata or {}).get("vocabulary")))
    return from_state(preprocessing, state)
