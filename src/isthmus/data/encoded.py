"""A source on its way into a model: blocks of rows as they are, and encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from isthmus.data.arrays import check_finite
from isthmus.data.encoding import Encoding
from isthmus.data.in_memory import refuse_missing
from isthmus.data.source import Source
from isthmus.data.tables.encoding import TableEncoding
from isthmus.schema import Batch, Schema
from isthmus.typing import Array, Integers

NONE: Integers = np.empty(0, np.int64)
# Rows that are read at a time, if a row is small.
_ROWS = 1 << 14
_VALUES = 1 << 22
# Rows whose numbers take more than this, in bytes of float32, are read anew in every epoch. It is a fixed number, so
# that the order of the rows, and with it the result, is the same on every machine.
_LARGEST_IN_MEMORY = 1 << 28


@dataclass(frozen=True)
class EncodedRows:
    """Rows of a source, encoded block by block.

    Attributes:
        source: the rows.
        schema: what a row is.
        encoding: fitted.
        conditions: of a conditional model, `(rows, values)`; None for an unconditional one.
        masks: whether missing values are left out; they are refused otherwise.
    """

    source: Source
    schema: Schema
    encoding: Encoding
    conditions: Array | None = None
    masks: bool = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fits(self) -> bool:
        """Whether the encoded rows are few enough to lie in memory all at once."""
        return fit_in_memory(self.source, int(np.prod(self.schema.row)))

    def pairs(self) -> Iterator[tuple[Any, Batch]]:
        """Yield the rows in order, block by block: as they are, and encoded.

        Raises:
            DataError: for missing values that are not masked, and whatever the source cannot read.
        """
        first = 0
        for block in self.source.blocks(block_rows(self.schema)):
            batch = self.batch(
                block, None if self.conditions is None else self.conditions[first : first + block.shape[0]], first
            )
            first += batch.rows
            yield block, batch
        if not self.source.in_memory:
            self.source.check_unchanged()

    def batches(self) -> Iterator[Batch]:
        """Yield the rows in order, encoded."""
        for _, batch in self.pairs():
            yield batch

    def batch(self, block: Any, conditions: Array | None = None, rows: int | Integers = 0) -> Batch:
        """Return one block encoded; `rows` is the number of its first row, or of each, for messages."""
        if isinstance(self.encoding, TableEncoding):
            x = torch.from_numpy(self.encoding.forward(block, rows=rows))
        else:
            if isinstance(block, np.ndarray) and self.schema.kind in ("vector", "image"):
                self.schema.check_units(block)
            x = torch.from_numpy(self.encoding.forward(block))
        mask = None
        if bool(torch.isnan(x.sum())):
            seen = ~torch.isnan(x)
            if not bool(seen.all()):
                if not self.masks:
                    _refuse(block, self.schema, rows)
                x, mask = torch.where(seen, x, 0.0), seen
        return Batch(x, mask, None if conditions is None else torch.from_numpy(conditions))

    def whole(self, rows: Integers) -> Batch:
        """Return some rows, in rising order, encoded all at once."""
        x = torch.empty(len(rows), *self.schema.row)
        mask: Tensor | None = None
        done = 0
        for block in self._taken(rows):
            batch = self.batch(block, None, rows[done : done + block.shape[0]])
            part = slice(done, done + batch.rows)
            done += batch.rows
            x[part] = batch.x
            if batch.mask is not None:
                mask = torch.ones(x.shape, dtype=torch.bool) if mask is None else mask
                mask[part] = batch.mask
        return Batch(x, mask, None if self.conditions is None else torch.from_numpy(self.conditions[rows]))

    def _taken(self, rows: Integers) -> Iterator[Any]:
        size = block_rows(self.schema)
        if self.source.in_memory:
            for start in range(0, len(rows), size):
                yield self.source.take(rows[start : start + size])
        else:
            for _, _, block in divided(self.source, rows, size):
                if block.shape[0]:
                    yield block


def divided(source: Source, out: Integers, size: int) -> Iterator[tuple[Integers, Any, Any]]:
    """Yield the rows of a source block by block, each block in two.

    Args:
        source: all rows.
        out: numbers of some rows, in order.
        size: rows of a block.

    Yields:
        The numbers of the rows that are not `out`, these rows, and those that are.
    """
    first = 0
    for block in source.blocks(size):
        numbers = np.arange(first, first + block.shape[0])
        start, stop = np.searchsorted(out, [first, first + block.shape[0]])
        if start == stop:
            yield numbers, block, block[:0]
        else:
            others = np.ones(len(numbers), bool)
            others[out[start:stop] - first] = False
            yield numbers[others], select(block, others), select(block, ~others)
        first += len(numbers)


def select(block: Any, rows: Array) -> Any:
    """Return the rows of a block where a mask `(rows,)` is true."""
    return block.filter(pa.array(rows)) if isinstance(block, pa.Table) else block[rows]


def fit_in_memory(source: Source, width: int) -> bool:
    """Whether rows of so many numbers may lie in memory all at once; ratings never do, whose entries are few."""
    return source.kind != "ratings" and len(source) * width * 4 <= _LARGEST_IN_MEMORY


def block_rows(schema: Schema) -> int:
    """Return how many rows of a schema are read at a time."""
    return int(np.clip(_VALUES // max(1, int(np.prod(schema.row))), 256, _ROWS)) // 256 * 256


def _refuse(block: Any, schema: Schema, rows: int | Integers) -> None:
    if schema.columns is not None:
        refuse_missing(block, rows)
    first = rows if isinstance(rows, int) else int(rows[0])
    check_finite(block, schema.names, missing=False, first_row=first)
