"""Tables as a kind of row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import narwhals as nw
import pyarrow as pa

from isthmus.data.arrays import check_values
from isthmus.data.encoded import divided
from isthmus.data.encoding import Encoding
from isthmus.data.fit_encoding import ROWS_AT_A_TIME, EncodingFitter
from isthmus.data.in_memory import ArrayRows, TableRows
from isthmus.data.kind import RowKind
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.data.tables.columns import Statistics, is_number
from isthmus.data.tables.encoding import TableEncoding, check_table
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers


class TableKind(RowKind):
    """Rows whose columns have names and kinds of their own: numbers, bits, categories, dates."""

    name: ClassVar[str] = "table"

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        numbers = all(is_number(kind) or pa.types.is_boolean(kind) for kind in table.schema.types)
        if frame is not None and numbers and not any(isinstance(name, str) for name in frame.columns):
            # Frames number their columns where nobody named them; such a frame is an array.
            return ArrayRows(check_values(frame.to_numpy(), missing=missing))
        return TableRows(table, None if frame is None else _left(frame, table))

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        return ArrayRows(values.reshape(len(values), -1))

    def adapt(self, source: Source, like: Schema, *, missing: bool) -> Source:
        if not isinstance(source, ArrayRows) or source.values.ndim != 2:
            return super().adapt(source, like, missing=missing)
        columns, width = list(like.columns or ()), source.values.shape[1]
        if len(columns) != width or any(column.kind == "categorical" for column in columns):
            like.check(source.values)  # says so if the number of columns differs
            advice = f"a frame with the columns {list(like.names or ())[:10]}"
            raise DataError(explain("a table (the rows of the training data)", "an array of numbers", advice))
        arrays = [source.values[:, place] for place in range(width)]
        return TableRows(pa.table(arrays, names=list(like.names or ())), source.values)

    def check(self, source: Any, schema: Schema) -> None:
        check_table(schema, source.schema)

    def fitter(self, source: Any, held: Integers) -> EncodingFitter:
        return TableEncodingFitter(source, held)

    def restore(self, schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
        return TableEncoding.checked(schema)


class TableEncodingFitter(EncodingFitter):
    """Of a table: the kind of each column, from the training rows."""

    def __init__(self, source: Any, held: Integers) -> None:
        self.stated = source.stated
        self.statistics = Statistics(source.schema, source.stated.kinds)
        parts = []
        for numbers, block, out in divided(source, held, ROWS_AT_A_TIME):
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


def _left(frame: nw.DataFrame[Any], table: pa.Table) -> Any:
    """Return the columns of a frame that a table has left."""
    native = frame.to_native()
    return native if len(frame.columns) == table.num_columns else frame.select(table.column_names).to_native()
