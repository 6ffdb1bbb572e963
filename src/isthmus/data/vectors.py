"""Vectors: rows of numbers without columns of their own kinds."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from isthmus.data.files.npy import NpyRows
from isthmus.data.in_memory import ArrayRows, TableRows
from isthmus.data.kind import RowKind, as_array, check_meanings, check_stored
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.schema import Schema
from isthmus.typing import Array


class VectorKind(RowKind):
    """Rows of numbers, all of one scale or scaled column by column."""

    name: ClassVar[str] = "vector"

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        values = as_array(table, missing=missing)
        return self.from_array(values, spec or RowsSpec(self.name), like)

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        return ArrayRows(values.reshape(len(values), -1))

    def adapt(self, source: Source, like: Schema, *, missing: bool) -> Source:
        if isinstance(source, TableRows):
            return ArrayRows(as_array(source.table, missing=missing), tuple(source.schema.names))
        return super().adapt(source, like, missing=missing)

    def check(self, source: Source, schema: Schema) -> None:
        if not isinstance(source, NpyRows):
            super().check(source, schema)
            return
        check_meanings(source, schema)
        check_stored(source, tuple(source.shape[1:]), schema, "rows of the training shape")
