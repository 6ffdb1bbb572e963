"""Images as a kind of row."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from isthmus.data.files.npy import NpyRows
from isthmus.data.kind import RowKind, as_array, check_meanings, check_stored, reshaped
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.schema import Schema
from isthmus.typing import Array


class ImageKind(RowKind):
    """Rows of pixels `(channels, height, width)` or `(height, width)`."""

    shaped: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("fit", "errors")
    name: ClassVar[str] = "image"

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        return self.from_array(as_array(table, missing=missing), spec or RowsSpec(self.name), like)

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        return reshaped(values, spec)

    def check(self, source: Any, schema: Schema) -> None:
        check_meanings(source, schema)
        wanted = "x".join(map(str, schema.shape))
        shape = source.shape[1:] if isinstance(source, NpyRows) else source.shape
        check_stored(source, tuple(shape), schema, f"--rows {self.name}:{wanted}")
