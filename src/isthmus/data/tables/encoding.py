"""Tables as numbers for the network, and back: by column, in its units, labels and types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.encoding import Encoding
from isthmus.data.tables.columns import (
    DAY,
    bend_of,
    is_number,
    is_text,
    labels_of,
    numbers_of,
    per_second,
    row_number,
    unbend,
)
from isthmus.errors import ArtifactError, DataError, explain
from isthmus.schema import Column, Schema
from isthmus.typing import Array, Doubles

# Columns that a message names.
_SHOWN = 6
# Rows that are encoded at a time, so that what is written stays in the processor's cache.
_PART = 1 << 14


class TableEncoding(Encoding):
    """The fitted map between a table and rows of float32; all of it stands in the schema's columns.

    An encoded row has the numbers first (numeric, count, date), then the bits, then for each column of categories one
    place each and a last one for all others. What is missing is NaN.

    **Round trip.** ``inverse(forward(table, "float64"))`` has the categories, the bits, the times to their step, and
    the numbers x up to a rounding. Of scalings that are lines that is at most ``4 u (|x| + |offset|)``, u being
    ``2**-53``, since each of the four operations rounds once: whole numbers up to ``2**48`` come back exactly, and
    so do float32 values down to ``2**-26`` of the largest. Under "log" and "quantile" it is at most a hundred times
    that, so that whole numbers up to ``2**40`` come back exactly.

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

    @classmethod
    def checked(cls, schema: Schema) -> TableEncoding:
        """Return the encoding of a saved model; raise `ArtifactError` for columns of types that do not exist."""
        for column in schema.columns or ():
            try:
                type_of(column.type)
            except (ValueError, pa.ArrowException) as error:
                raise ArtifactError(
                    f"schema.json: column {column.name!r} has no type {column.type!r} ({error})"
                ) from None
        return cls(schema)

    def forward(self, block: pa.Table, dtype: str = "float32", rows: Any = 0) -> Array:
        """Return `(rows, width)`, NaN where a value is missing.

        Args:
            block: rows of a table.
            dtype: of the result.
            rows: number of the first row, or of each row, for messages.

        Raises:
            DataError: for values that a column cannot have.
        """
        encoded = np.zeros((len(block), self.width), dtype)
        for column, place in zip(self.columns, self.places, strict=True):
            values = block[column.name]
            if column.kind == "categorical":
                _choices(column, values, encoded[:, place])
            elif column.kind == "date":
                _write(column, numbers_of(_same_unit(column, values), column.name, rows), encoded[:, place.start])
            elif column.kind != "empty":
                _write(column, numbers_of(values, column.name, rows), encoded[:, place.start])
            else:
                _check_empty(column, values)
        if np.isinf(encoded).any():
            raise DataError(self._too_large(encoded, rows))
        return encoded

    def _too_large(self, encoded: Array, rows: Any) -> str:
        row, place = (int(number) for number in np.argwhere(np.isinf(encoded))[0])
        pairs = zip(self.columns, self.places, strict=True)
        name = next(column.name for column, inside in pairs if inside.start <= place < inside.stop)
        expected, advice = (
            "a value that float32 can hold once scaled",
            f"a logarithm (--column {name}:log), or leaving it out",
        )
        return f"column {name!r}, row {row_number(rows, row)}: " + explain(expected, "a larger one", advice)

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
    """Return points in time in the unit and zone of the training table; refuse those whose zone is not known."""
    wanted = type_of(column.type)
    both = pa.types.is_timestamp(wanted) and pa.types.is_timestamp(values.type)
    if both and (wanted.tz is None) != (values.type.tz is None):
        expected = f"times {'without a' if wanted.tz is None else 'with their'} zone ({column.type})"
        raise DataError(f"column {column.name!r}: " + explain(expected, f"{values.type}", "dt.tz_localize"))
    try:
        return values.cast(wanted, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got = f"{values.type} values"
        raise DataError(f"column {column.name!r}: " + explain(f"{column.type} values", got, "the same kind")) from None


def _check_empty(column: Column, values: pa.ChunkedArray) -> None:
    seen = pc.drop_null(values)
    if pa.types.is_floating(seen.type):
        seen = seen.filter(pc.invert(pc.is_nan(seen)))
    if len(seen):
        got, advice = f"values such as {seen[0].as_py()!r:.60}", f"leaving it out (--drop {column.name})"
        raise DataError(f"column {column.name!r}: " + explain("no values, as in training", got, advice))


def _choices(column: Column, values: pa.ChunkedArray, out: Array) -> None:
    """Write a column of categories into zeros `(rows, categories + 1)`."""
    values = labels_of(values)
    if values.null_count == len(values):  # a column without a value may be of any type
        out[:] = np.nan
        return
    try:
        known = pa.array(list(column.values)).cast(values.type)
    except pa.ArrowInvalid:
        known = None
    if known is None or (is_number(values.type) and isinstance(column.values[0], str)):
        got = f"{values.type} values"
        advice = "the type of the training table"
        raise DataError(f"column {column.name!r}: " + explain(f"categories such as {column.values[0]!r}", got, advice))
    places = pc.fill_null(pc.index_in(values, known), len(column.values)).to_numpy()
    out[np.arange(len(out)), places] = 1.0
    if values.null_count:
        out[pc.is_null(values).to_numpy()] = np.nan


def _write(column: Column, values: Doubles, out: Array) -> None:
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        with np.errstate(over="ignore", invalid="ignore"):
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
    """Return the broken line through (x, y); outside, its average slope goes on, since its last piece may be steep."""
    piece = np.clip(np.searchsorted(x, values) - 1, 0, len(x) - 2)
    share = (values - x[piece]) / (x[piece + 1] - x[piece])
    line: Doubles = y[piece] + np.clip(share, 0.0, 1.0) * (y[piece + 1] - y[piece])
    beyond = values - np.clip(values, x[0], x[-1])
    line += beyond * ((y[-1] - y[0]) / (x[-1] - x[0]))
    return line


def _decoded(column: Column, rows: Doubles, wanted: pa.DataType) -> pa.Array:
    # A column without a value has no type of its own.
    wanted = type_of(column.type) if pa.types.is_null(wanted) else wanted
    if column.kind == "empty":
        return pa.nulls(len(rows), wanted)
    if column.kind == "categorical":
        # The last place says "another one", which is no label.
        best = rows[:, :-1].argmax(1)
        gone = np.isnan(rows).any(1)
        chosen = pa.array(list(column.values)).take(pa.array(best, mask=gone))
        return _cast(chosen, wanted, column)
    values = rows[:, 0]
    if column.kind == "binary":
        picked = np.where(np.isnan(values), np.nan, values >= 0.5)
        return _numbers(picked, wanted, column)
    with np.errstate(over="ignore", invalid="ignore"):
        values = _unshaped(column, values * column.scale + column.offset)
    if column.kind == "count":
        values = np.maximum(np.round(values), 0.0)
    if column.kind == "date":
        return _numbers(values, type_of(column.type), column).cast(wanted, safe=False)
    return _numbers(values, wanted, column)


def _numbers(values: Doubles, wanted: pa.DataType, column: Column) -> pa.Array:
    """Return numbers as an Arrow array of a type, whole ones rounded, all of them within what the type holds."""
    if pa.types.is_dictionary(wanted):
        return as_dictionary(_numbers(values, wanted.value_type, column), wanted)
    gone = np.isnan(values)
    values = np.where(gone, 0.0, values)
    if pa.types.is_boolean(wanted):
        return pa.array(values >= 0.5, mask=gone)
    low, high = _range(wanted, column)
    if pa.types.is_floating(wanted) or pa.types.is_decimal(wanted):
        return pa.array(np.clip(values, low, high), mask=gone).cast(wanted, safe=False)
    whole = np.clip(np.round(values / column.step) * column.step, low, high).astype(_integers(wanted))
    array = pa.array(whole, mask=gone)
    return array.cast(wanted) if array.type != wanted else array


def _integers(kind: pa.DataType) -> np.dtype[Any]:
    """Return the type of the whole numbers that an Arrow type of whole numbers or of times is made of."""
    if pa.types.is_temporal(kind):
        return np.dtype("int32" if kind.bit_width == 32 else "int64")
    integers: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return integers


# Of the years 1 to 9999, which is what Python, pandas and polars can show, less a day for any zone.
_FIRST_DAY, _LAST_DAY = -719_161, 2_932_895


def _range(kind: pa.DataType, column: Column) -> tuple[float, float]:
    """Return the least and the greatest float64 that an Arrow type of numbers or times holds."""
    if pa.types.is_floating(kind):
        most = float(np.finfo(f"f{kind.bit_width // 8}").max)
        return -most, most
    if pa.types.is_decimal(kind):
        most = float(np.nextafter(float(10**kind.precision - 1) / 10.0**kind.scale, 0.0))
        return -most, most
    limits = np.iinfo(_integers(kind))
    # The largest whole numbers of 64 bits are no float64; the one below them is. The least one stands for no time.
    low, high = float(limits.min), float(np.nextafter(float(limits.max) + 1.0, 0.0))
    if not pa.types.is_temporal(kind):
        return low, high
    first, last = _shown(kind)
    return max(np.nextafter(low, 0.0), min(first, column.low)), min(high, max(last, column.high))


def _shown(kind: pa.DataType) -> tuple[float, float]:
    """Return the first and last time of a type that other libraries can show."""
    unit = per_second(kind)
    if pa.types.is_time(kind):
        return 0, DAY * unit - 1
    if pa.types.is_duration(kind):
        return -(10**9 - 1) * DAY * unit, (10**9 - 1) * DAY * unit
    return round(_FIRST_DAY * DAY * unit), round(_LAST_DAY * DAY * unit)


def _cast(chosen: pa.Array, wanted: pa.DataType, column: Column) -> pa.Array:
    try:
        if pa.types.is_dictionary(wanted):
            return as_dictionary(chosen.cast(wanted.value_type), wanted)
        return chosen.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got = f"categories such as {column.values[0]!r}"
        raise DataError(f"column {column.name!r}: " + explain(f"{wanted} values", got, "the training type")) from None


def as_dictionary(plain: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return an array as a dictionary type; with larger indices where that type cannot number all values."""
    encoded = plain.dictionary_encode()
    try:
        return encoded.cast(wanted)
    except pa.ArrowInvalid:
        return encoded.cast(pa.dictionary(pa.int32(), wanted.value_type, ordered=wanted.ordered))


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


def filled_in(block: Any, filled: Any) -> Any:
    """Return a block with its missing values taken from another."""
    if not isinstance(block, pa.Table):
        seen = ~np.isnan(block)
        filled[seen] = block[seen]
        return filled
    columns = {}
    for name in block.column_names:
        given = block[name]
        gone = pc.is_null(given, nan_is_null=pa.types.is_floating(given.type))
        kind = given.type
        if pa.types.is_null(kind) or (is_text(filled[name].type) and pa.types.is_floating(kind)):
            columns[name] = filled[name]  # there is nothing else in it
        elif pa.types.is_dictionary(kind) or pa.types.is_string_view(kind):  # Arrow chooses between plain columns only
            plain = kind.value_type if pa.types.is_dictionary(kind) else pa.large_string()
            chosen = pc.if_else(gone, filled[name].cast(plain), given.cast(plain)).combine_chunks()
            columns[name] = as_dictionary(chosen, kind) if pa.types.is_dictionary(kind) else chosen.cast(kind)
        else:
            columns[name] = pc.if_else(gone, filled[name], given)
    return pa.table(columns)


def check_table(schema: Schema, table: pa.Schema) -> None:
    """Raise `DataError` unless a table has a schema's columns, in its order, of types that can be read as theirs."""
    wanted, got = schema.names or (), tuple(table.names)
    if wanted != got:
        known, given = set(wanted), set(got)
        missing = [name for name in wanted if name not in given]
        extra = [name for name in got if name not in known]
        parts = [f"{what} {names}" for what, names in (("missing", missing), ("unknown", extra)) if names]
        came = ", ".join(parts) or "the same columns in another order"
        advice = "X[list(model.schema_.names)]" if missing or not extra else "leaving them out (--drop)"
        shown = [*wanted[:_SHOWN], *(["..."] if len(wanted) > _SHOWN else [])]
        raise DataError(explain(f"the training columns {', '.join(shown)}", came, advice))
    for column in schema.columns or ():
        kind = table.field(column.name).type
        if pa.types.is_null(kind):
            continue
        texts = is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)
        temporal = pa.types.is_temporal(kind)
        numbers = column.kind in ("numeric", "count", "binary")
        if (numbers and (texts or temporal)) or (column.kind == "date" and not temporal):
            advice = "the type of the training table"
            raise DataError(
                f"column {column.name!r}: " + explain(f"{column.type} values ({column.kind})", f"{kind} values", advice)
            )
