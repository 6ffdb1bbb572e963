"""Rows that lie in memory: arrays and Arrow tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.source import Source
from isthmus.data.tables.columns import row_number
from isthmus.errors import DataError
from isthmus.typing import Array, Integers


class ArrayRows(Source):
    """An array `(rows, *shape)` of real numbers.

    Args:
        values: checked by `isthmus.data.arrays.check_values`.
        names: of the columns, where there are some.
        kind: "vector" for two axes and "image" for more, unless stated.
    """

    in_memory = True
    mixed = True

    def __init__(self, values: Array, names: tuple[str, ...] | None = None, kind: str | None = None) -> None:
        self.values, self.names = values, names
        self.kind = kind or ("vector" if values.ndim == 2 else "image")  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Integers) -> Array:
        found: Array = self.values[rows]
        return found

    def blocks(self, size: int) -> Iterator[Array]:
        for start in range(0, len(self), size):
            yield self.values[start : start + size]

    @property
    def width(self) -> int:
        return int(np.prod(self.values.shape[1:]))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.values.shape}{self.values.dtype}".encode())
        digest.update(np.ascontiguousarray(self.values).data)
        return digest.hexdigest()


class TableRows(Source):
    """An Arrow table.

    Args:
        table: with a name of its own for each column.
        like: what the user gave, if that was another kind of frame: results are given back as one.
    """

    kind = "table"
    in_memory = True
    mixed = True

    def __init__(self, table: pa.Table, like: Any = None) -> None:
        self.table, self.like = table, like

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self.table.schema

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def take(self, rows: Integers) -> pa.Table:
        return self.table.take(pa.array(rows))

    def blocks(self, size: int) -> Iterator[pa.Table]:
        for start in range(0, len(self), size):
            yield self.table.slice(start, size)

    @property
    def width(self) -> int:
        return int(self.table.num_columns)

    def fingerprint(self) -> str:
        sink = _Digest()
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), self.table.schema) as stream:
            stream.write_table(self.table.combine_chunks(), max_chunksize=1 << 16)
        return sink.digest.hexdigest()


class _Digest:
    """A file that is written to and keeps a hash only."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def close(self) -> None:
        """Do nothing: there is no file."""


def refuse_missing(block: pa.Table, rows: Any = 0) -> None:
    """Raise `DataError` for a table with missing values; `rows` is the number of its first row, or of each."""
    for name in block.column_names:
        column = block[name]
        gone = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        holes = pc.sum(gone).as_py() or 0
        if holes:
            row = row_number(rows, pc.index(gone, True).as_py())
            raise DataError(
                f"column {name!r} has {holes} missing values (NaN), the first in row {row}: try filling them, dropping "
                "those rows, --drop, or letting the model leave them out (missing=mask, presets.miwae)"
            )
