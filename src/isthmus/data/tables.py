"""Tables as numbers for the network, and back: by column, in its units, labels and types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.columns import as_categories, bend_of, is_number, numbers_of, unbend
from isthmus.data.preprocess import Encoding
from isthmus.errors import DataError, explain
from isthmus.schema import Column, Schema

Array = np.ndarray[Any, np.dtype[Any]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

# Rows that are encoded at a time, so that what is written stays in the processor's cache.
_PART = 1 << 14


class TableEncoding(Encoding):
    """The fitted map between a table and rows of float32; all of it stands in the schema's columns.

    An encoded row has the numbers first (numeric, count, date), then the bits, then for each column of categories one
    place each and a last one for all others. What is missing is NaN.

    Args:
        schema: of a table.

    Example:
        >>> import pyarrow as pa
        >>> from isthmus.schema import Column
        >>> columns = (Column("kind", "categorical", "string", values=("a", "b")), Column("size", "numeric", "double"))
        >>> encoding = TableEncoding(Schema.of_columns(columns))
        >>> encoding.forward(pa.table({"kind": ["b", "c"], "size": [1.5, None]})).tolist()
        [[1.5, 0.0, 1.0, 0.0], [nan, 0.0, 0.0, 1.0]]
    """

    kind: ClassVar[str] = "columns"

    def __init__(self, schema: Schema) -> None:
        self.columns = schema.columns or ()
        self.width = schema.row[0]
        self.places = places(self.columns)

    def forward(self, block: pa.Table, dtype: str = "float32") -> Array:
        """Return `(rows, width)`, NaN where a value is missing.

        Raises:
            DataError: for values that a column cannot have.
        """
        rows = np.zeros((len(block), self.width), dtype)
        for column, place in zip(self.columns, self.places, strict=True):
            values = block[column.name]
            if column.kind == "categorical":
                _choices(column, values, rows[:, place])
            elif column.kind == "date":
                _write(column, numbers_of(_same_unit(column, values), column.name), rows[:, place.start])
            elif column.kind != "empty":
                _write(column, numbers_of(values, column.name), rows[:, place.start])
            elif values.null_count < len(values):
                got = f"values such as {pc.drop_null(values)[0].as_py()!r:.60}"
                raise DataError(
                    f"column {column.name!r}: " + explain("no values, as in training", got, "a model fitted with some")
                )
        if np.isinf(rows).any():
            column, row = self._infinite(rows)
            raise DataError(
                f"column {column.name!r}, row {row}: "
                + explain("a value that float32 can hold once scaled", "a larger one", f"--column {column.name}:log")
            )
        return rows

    def _infinite(self, rows: Array) -> tuple[Column, int]:
        row, place = (int(number) for number in np.argwhere(np.isinf(rows))[0])
        pairs = zip(self.columns, self.places, strict=True)
        return next(column for column, inside in pairs if inside.start <= place < inside.stop), row

    def inverse(self, rows: Array, dtype: Any = None) -> pa.Table:
        """Return the table that encoded rows stand for, in the columns' units and labels.

        Categories are the most probable ones, bits and whole numbers are rounded to what their type holds.

        Args:
            rows: `(rows, width)`.
            dtype: Arrow types by name, of columns whose type is not that of training.
        """
        types = dict(dtype) if isinstance(dtype, Mapping) else {}
        arrays = {}
        for column, place in zip(self.columns, self.places, strict=True):
            wanted = types.get(column.name, type_of(column.type))
            arrays[column.name] = _decoded(column, np.asarray(rows[:, place], np.float64), wanted)
        return pa.table(arrays)

    def state(self) -> dict[str, Array]:
        """Return nothing: the columns have it all."""
        return {}


def places(columns: Sequence[Column]) -> list[slice]:
    """Return where each column's numbers stand in an encoded row."""
    starts, start = {}, 0
    for group in (0, 1, 2):
        for number, column in enumerate(columns):
            if column.group == group:
                starts[number], start = slice(start, start + column.width), start + column.width
    return [starts[number] for number in range(len(columns))]


def _same_unit(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return points in time in the unit and zone of the training table."""
    try:
        return values.cast(type_of(column.type), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got = f"{values.type} values"
        raise DataError(f"column {column.name!r}: " + explain(f"{column.type} values", got, "the same kind")) from None


def _choices(column: Column, values: pa.ChunkedArray, out: Array) -> None:
    """Write a column of categories into zeros `(rows, categories + 1)`."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_null(kind):
        out[:] = np.nan
        return
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        known = pa.array(list(column.values)).cast(kind)
    except pa.ArrowInvalid:
        known = None
    if known is None or (is_number(kind) and isinstance(column.values[0], str)):
        got = f"{kind} values"
        advice = "the type of the training table"
        raise DataError(f"column {column.name!r}: " + explain(f"categories such as {column.values[0]!r}", got, advice))
    places = pc.fill_null(pc.index_in(values, known), len(column.values)).to_numpy()
    out[np.arange(len(out)), places] = 1.0
    if values.null_count:
        out[pc.is_null(values).to_numpy()] = np.nan


def _write(column: Column, values: Doubles, out: Array) -> None:
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        with np.errstate(over="ignore"):
            out[start : start + _PART] = (_shaped(column, part) - column.offset) / column.scale


def _shaped(column: Column, values: Doubles) -> Doubles:
    if column.scaling == "log":
        return bend_of(values, column.bend)
    if column.scaling == "quantile":
        return _interpolated(values, np.asarray(column.points), _levels(column))
    return values


def _unshaped(column: Column, values: Doubles) -> Doubles:
    if column.scaling == "log":
        return unbend(values, column.bend)
    if column.scaling == "quantile":
        return _interpolated(values, _levels(column), np.asarray(column.points))
    return values


def _levels(column: Column) -> Doubles:
    """Return the network's numbers at the quantiles: as far from zero as those of a uniform density of deviation 1."""
    return np.linspace(-np.sqrt(3.0), np.sqrt(3.0), len(column.points))


def _interpolated(values: Doubles, x: Doubles, y: Doubles) -> Doubles:
    """Return the broken line through (x, y), whose first and last pieces go on for ever."""
    piece = np.clip(np.searchsorted(x, values) - 1, 0, len(x) - 2)
    slope = (y[piece + 1] - y[piece]) / (x[piece + 1] - x[piece])
    line: Doubles = y[piece] + (values - x[piece]) * slope
    return line


def _decoded(column: Column, rows: Doubles, wanted: pa.DataType) -> pa.Array:
    if column.kind == "empty":
        return pa.nulls(len(rows), wanted)
    if column.kind == "categorical":
        # The last place says "another one", which is no label.
        best = rows[:, :-1].argmax(1) if column.values else np.zeros(len(rows), np.int64)
        gone = np.isnan(rows).any(1)
        chosen = pa.array(list(column.values)).take(pa.array(best, mask=gone))
        return _cast(chosen, wanted, column)
    values = rows[:, 0]
    if column.kind == "binary":
        picked = np.where(np.isnan(values), np.nan, values >= 0.5)
        return _numbers(picked, wanted, column)
    with np.errstate(over="ignore"):
        values = _unshaped(column, values * column.scale + column.offset)
    if column.kind == "count":
        values = np.maximum(np.round(values), 0.0)
    if column.kind == "date":
        return _numbers(values, type_of(column.type), column).cast(wanted, safe=False)
    return _numbers(values, wanted, column)


def _numbers(values: Doubles, wanted: pa.DataType, column: Column) -> pa.Array:
    """Return numbers as an Arrow array of a type, whole ones rounded, all of them within what the type holds."""
    if pa.types.is_dictionary(wanted):
        return _numbers(values, wanted.value_type, column).dictionary_encode().cast(wanted)
    gone = np.isnan(values)
    values = np.where(gone, 0.0, values)
    if pa.types.is_boolean(wanted):
        return pa.array(values >= 0.5, mask=gone)
    if pa.types.is_floating(wanted):
        return pa.array(values, mask=gone).cast(wanted, safe=False)
    if pa.types.is_decimal(wanted):
        return pa.array(values, mask=gone).cast(wanted, safe=False)
    small = pa.types.is_date32(wanted) or pa.types.is_time32(wanted)
    integers = np.dtype("int32" if small else "int64" if pa.types.is_temporal(wanted) else wanted.to_pandas_dtype())
    limits = np.iinfo(integers)
    # The largest whole numbers of 64 bits are no float64; the one below them is.
    low, high = float(limits.min), np.nextafter(float(limits.max) + 1.0, 0.0)
    whole = np.clip(np.round(values), low, high).astype(integers)
    array = pa.array(whole, mask=gone)
    return array.cast(wanted) if array.type != wanted else array


def _cast(chosen: pa.Array, wanted: pa.DataType, column: Column) -> pa.Array:
    try:
        if pa.types.is_dictionary(wanted):
            return chosen.cast(wanted.value_type).dictionary_encode().cast(wanted)
        return chosen.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got = f"categories such as {column.values[0]!r}"
        raise DataError(f"column {column.name!r}: " + explain(f"{wanted} values", got, "the training type")) from None


def type_of(text: str) -> pa.DataType:
    """Return the Arrow type that a text such as "int64" or "timestamp[us, tz=UTC]" names.

    Raises:
        ValueError: for a text that names none.

    Example:
        >>> type_of("dictionary<values=string, indices=int8, ordered=0>").value_type
        DataType(string)
    """
    if found := re.fullmatch(r"dictionary<values=(.+), indices=(\w+), ordered=([01])>", text):
        return pa.dictionary(type_of(found[2]), type_of(found[1]), ordered=found[3] == "1")
    if found := re.fullmatch(r"timestamp\[(s|ms|us|ns), tz=([\w/+:-]+)\]", text):
        return pa.timestamp(found[1], found[2])
    if found := re.fullmatch(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)", text):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    return pa.type_for_alias(text)


def check_table(schema: Schema, table: pa.Schema) -> None:
    """Raise `DataError` unless a table has a schema's columns, in its order, of types that can be read as theirs."""
    wanted, got = schema.names or (), tuple(table.names)
    missing = [name for name in wanted if name not in got]
    extra = [name for name in got if name not in wanted]
    if wanted != got:
        parts = [f"{what} {names}" for what, names in (("missing", missing), ("unknown", extra)) if names]
        came = ", ".join(parts) or "the same columns in another order"
        advice = "X[list(model.schema_.names)]" if missing or not extra else "leaving them out (--drop)"
        raise DataError(explain(f"the training columns {list(wanted)}", came, advice))
    for column in schema.columns or ():
        kind = table.field(column.name).type
        if pa.types.is_null(kind):
            continue
        texts = as_categories(kind, None) and not pa.types.is_dictionary(kind)
        temporal = pa.types.is_temporal(kind)
        numbers = column.kind in ("numeric", "count", "binary")
        if (numbers and (texts or temporal)) or (column.kind == "date" and not temporal):
            advice = "the type of the training table"
            raise DataError(
                f"column {column.name!r}: " + explain(f"{column.type} values ({column.kind})", f"{kind} values", advice)
            )
