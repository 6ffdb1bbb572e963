"""The columns of a long table of series: which series a row is of, its time, and its numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.errors import DataError, explain, unknown_name
from isthmus.typing import Array, Integers


def check_columns(table: pa.Table, wanted: list[str]) -> None:
    """Raise `DataError` unless each wanted column is there, once, and wanted for one purpose."""
    names = table.column_names
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise DataError(explain("a name of its own for each column", f"{twice} more than once", "renaming them"))
    known, asked = set(names), Counter(wanted)
    for name in wanted:
        if name not in known:
            raise DataError(unknown_name("column", name, names))
        if asked[name] > 1:
            raise DataError(explain("another column for series, time and each channel", f"{name!r} twice", "another"))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece and without a dictionary."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind) == "string_view":
        kind = pa.large_string()
    column = column.cast(kind)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(test(kind) for test in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean))


def float_of(kind: pa.DataType) -> type[np.floating[Any]]:
    """Return float32 for types whose values it holds exactly."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or pa.types.is_float32(kind):
        return np.float32
    primitive = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return np.float32 if primitive and kind.bit_width <= 16 else np.float64


def numbers_of(table: pa.Table, name: str, dtype: np.dtype[Any]) -> Array:
    """Return a column of numbers or booleans `(rows,)`, NaN where there is none."""
    column = _plain(table[name])
    if not (_is_number(column.type) or pa.types.is_null(column.type)):
        sample = next((repr(value) for value in column[:100].to_pylist() if value is not None), "nothing")
        raise DataError(
            f"column {name!r}: "
            + explain(
                "numbers in every channel",
                f"{column.type} (such as {sample})",
                "dropping it (--drop), or naming it as the column of series or times",
            )
        )
    numbers: Array = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    infinite = np.isinf(numbers)
    if infinite.any():
        got = f"{numbers[infinite][0]} in row {int(infinite.argmax())}"
        raise DataError(f"column {name!r}: " + explain("finite numbers", got, "leaving it empty"))
    return numbers.astype(dtype, copy=False)


def _refuse_missing(what: str, name: str, missing: Array) -> None:
    if missing.any():
        got = f"{int(missing.sum())} without, the first in row {int(missing.argmax())}"
        raise DataError(f"column {name!r}: " + explain(f"a {what} in each row", got, "dropping those rows"))


def groups_of(table: pa.Table, name: str | None) -> tuple[Integers, list[str]]:
    """Return the number of the series of each row, and the names of the series by number."""
    if name is None:
        return np.zeros(table.num_rows, np.int64), ["series"]
    column = _plain(table[name])
    kind = column.type
    if not (_is_text(kind) or _is_number(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise DataError(f"column {name!r}: " + explain("names of series", str(kind), "a column of text or integers"))
    _refuse_missing("series", name, pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))
    encoded = column.dictionary_encode()
    labels = encoded.dictionary.cast(pa.large_string()).to_pylist()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), labels


def times_of(table: pa.Table, name: str) -> Array:
    """Return a column of times `(rows,)` as datetime64, integers or floats; those with a zone in UTC."""
    column = _plain(table[name])
    _refuse_missing("time", name, pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))
    column = _parsed(column, name) if _is_text(column.type) else column
    kind = column.type
    unit = ""
    if pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        unit = "ms" if pa.types.is_date64(kind) else kind.unit
    elif pa.types.is_date32(kind):
        unit, column = "D", column.cast(pa.int32())
    elif not _is_number(kind) or pa.types.is_boolean(kind):
        raise DataError(f"column {name!r}: " + explain("times", str(kind), "timestamps, dates or numbers"))
    whole = bool(unit) or pa.types.is_integer(kind)
    try:
        numbers: Array = column.cast(pa.int64() if whole else pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r}: " + explain("times", f"numbers too large ({error})", "another unit")
        ) from None
    return numbers.view(f"datetime64[{unit}]") if unit else numbers


def _parsed(column: pa.Array, name: str) -> pa.Array:
    """Return texts as timestamps: all without a zone, or all with one."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
    got = f"text (such as {column[0].as_py()!r}: {reason})"
    raise DataError(f"column {name!r}: " + explain("times such as 2024-05-31 12:00:00", got, "rewriting them so"))
