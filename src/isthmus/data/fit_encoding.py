"""What one pass over the training rows tells: the schema, and the encoding that fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.data.encoded import divided
from isthmus.data.encoding import SCALINGS, Encoding, Standard
from isthmus.data.in_memory import ArrayRows
from isthmus.data.source import Source
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers

# Rows that are looked at at a time.
ROWS_AT_A_TIME = 1 << 14


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


class ArrayEncodingFitter(EncodingFitter):
    """Of an array in memory: the range is that of all rows, the scaling of the training rows."""

    def __init__(self, source: ArrayRows, held: Integers) -> None:
        self.values, self.out = source.values, held
        self.schema = replace(
            Schema.of(source.values, source.names), kind=source.kind, metadata=dict(source.metadata) or None
        )

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        rows = np.delete(self.values, self.out, 0) if len(self.out) else self.values
        return SCALINGS[preprocessing].fit(rows, self.schema), self.schema


class StreamedEncodingFitter(EncodingFitter):
    """Of arrays that are read block by block: extremes and moments of the training rows, in one pass."""

    def __init__(self, source: Source, held: Integers) -> None:
        self.source, self.out, self.seen = source, held, 0
        parts = []
        for _, block, out in divided(source, held, ROWS_AT_A_TIME):
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
        for _, block, _ in divided(self.source, self.out, ROWS_AT_A_TIME):
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
