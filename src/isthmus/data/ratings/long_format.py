"""A table of (user, item, value, time), one rating in each row, as the places and values of a sparse matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse

from isthmus.errors import DataError, DataTypeError, explain, unknown_name
from isthmus.typing import Array, Integers

Id = int | str

DUPLICATES = ("refuse", "sum", "last", "max")
UNKNOWN = ("refuse", "drop")
# What columns are called in public data sets, in small letters and without signs: user_id, User-ID, movieId, ISBN.
_KNOWN = {
    "user": "user userid uid username customer customerid reviewer reviewerid visitor visitorid member memberid client "
    "clientid account accountid",
    "item": "item itemid iid movie movieid film filmid product productid asin isbn sku book bookid track trackid song "
    "songid artist artistid anime animeid article articleid business businessid game gameid",
    "value": "value rating ratings score count counts stars plays playcount quantity weight overall bookrating",
    "time": "time timestamp date datetime unixreviewtime ratedat",
}
NAMES = {role: frozenset(names.split()) for role, names in _KNOWN.items()}
_EXAMPLE = "--rows ratings,user={},item={}"


@dataclass(frozen=True)
class Columns:
    """What the columns of the user's table were called, and their Arrow types; None for a type that nothing fixes.

    `value` is None for a table that only says who met what. `time` decides which of two ratings is the later one.
    """

    user: str = "user"
    item: str = "item"
    value: str | None = "value"
    time: str | None = None
    user_type: pa.DataType | None = None
    item_type: pa.DataType | None = None
    value_type: pa.DataType | None = None


@dataclass(frozen=True)
class Entries:
    """The ratings of a table.

    Attributes:
        matrix: `(users, items)`, a csr array without duplicates.
        users: the id of each row, sorted.
        items: the id of each column, sorted unless they were given.
        columns: where they were found.
        dropped: how many ratings of unknown items were left out.
    """

    matrix: Any
    users: tuple[Id, ...]
    items: tuple[Id, ...]
    columns: Columns
    dropped: int


def find_columns(table: pa.Table, **given: str | None) -> Columns:
    """Return which column is what: as `given` (user, item, value, time), else by usual names, else by position.

    Raises:
        DataError: for a name that is not there, and where it is not clear which column is what.
    """
    names = table.column_names
    if len(set(names)) < len(names):
        raise DataError(explain("a name of its own for each column", f"the columns {names}", "renaming them"))
    found = {role: name for role, name in given.items() if name is not None}
    for role, name in found.items():
        if name not in names:
            raise DataError(f"{role}={name}: " + unknown_name("column", name, names))
    if len(set(found.values())) < len(found):
        raise DataError(explain("a column for each of user, item, value and time", str(found), "different columns"))
    left = [name for name in names if name not in found.values()]
    for role in [role for role in NAMES if role not in found]:
        fitting = [name for name in left if re.sub(r"[\W_]", "", name.casefold()) in NAMES[role]]
        if len(fitting) > 1:
            raise DataError(explain(f"one column of {role}s", f"{fitting}", f"{role}={fitting[0]}, which says which"))
        if fitting:
            found[role] = fitting[0]
            left.remove(fitting[0])
    if 2 <= len(names) <= 3:
        for role in ("user", "item", "value"):
            if role not in found and left:
                found[role] = left.pop(0)
    _check_found(found, left, table)
    types = {
        f"{role}_type": table.schema.field(found[role]).type for role in ("user", "item", "value") if role in found
    }
    return Columns(found["user"], found["item"], found.get("value"), found.get("time"), **types)


def _check_found(found: dict[str, str], left: list[str], table: pa.Table) -> None:
    names = table.column_names
    missing = [role for role in ("user", "item") if role not in found]
    if missing:
        first = found.get("user") or [*names, "USER"][0]
        second = found.get("item") or next((name for name in names if name != first), "ITEM")
        got = f"the columns {names} (no {' and no '.join(missing)})"
        raise DataError(explain("a column of users and one of items", got, _EXAMPLE.format(first, second)))
    numbers = [name for name in left if _is_number(table.schema.field(name).type)]
    if "value" not in found and numbers:
        # Without a value all ratings are 1, which is wrong where one of these is the value.
        advice = _EXAMPLE.format(found["user"], found["item"]) + f",value={numbers[0]}, or dropping {numbers}"
        raise DataError(explain("a column of values, or none beside users and items", f"{numbers}", advice))


def read_entries(
    table: pa.Table, columns: Columns, *, duplicates: str, items: Sequence[Id] | None, unknown: str
) -> Entries:
    """Return the ratings of a table; see `isthmus.data.ratings.matrix.from_table`."""
    for name, value, choices in (("duplicates", duplicates, DUPLICATES), ("unknown", unknown, UNKNOWN)):
        if value not in choices:
            raise DataError(f"{name}: " + explain("one of " + ", ".join(choices), repr(value), repr(choices[0])))
    if not table.num_rows:
        raise DataError(explain("a table of ratings", "one without rows", "another file or frame"))
    rows, users = _coded(table, columns.user)
    places, found = _coded(table, columns.item)
    values = _values(table, columns.value)
    times = _times(table, columns.time) if duplicates == "last" and columns.time is not None else None
    dropped = 0
    if items is None:
        items = found
    else:
        items = tuple(value.item() if isinstance(value, np.generic) else value for value in items)
        places = _placed(found, items, unknown)[places]
        kept = places >= 0
        if not kept.all():
            dropped = int((~kept).sum())
            rows, places, values = rows[kept], places[kept], values[kept]
            times = None if times is None else times[kept]
    matrix = _matrix(rows, places, values, times, (users, tuple(items)), duplicates)
    return Entries(matrix, users, tuple(items), columns, dropped)


def _coded(table: pa.Table, name: str) -> tuple[Integers, tuple[Id, ...]]:
    """Return the place of each row's id among the sorted ids `(rows,)`, and those ids."""
    column = table[name]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        wanted = kind
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        wanted = pa.large_string()
    else:
        sample = next((repr(value.as_py()) for value in column if value.is_valid), "nothing")
        got = f"{kind} (such as {sample})"
        raise DataError(
            f"column {name!r}: " + explain("ids that are integers or texts", got, "casting them to one of these")
        )
    coded = column.cast(wanted).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.unify_dictionaries().combine_chunks()
    _check_holes(name, coded.indices.is_null())
    known, indices = coded.dictionary, coded.indices.to_numpy(zero_copy_only=False)
    if wanted == pa.large_string() and (empty := pc.index(known, "").as_py()) >= 0:
        _check_holes(name, indices == empty)  # an empty cell of a CSV is an empty text
    order = pc.array_sort_indices(known).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[indices], tuple(known.take(pa.array(order)).to_pylist())


def _check_holes(name: str, holes: Any) -> None:
    where = np.flatnonzero(np.asarray(holes))
    if len(where):
        raise DataError(
            f"column {name!r}: "
            + explain(
                "a value in each row",
                f"{len(where)} missing values, the first in row {where[0]}",
                "dropping those rows",
            )
        )


def _is_number(kind: pa.DataType) -> bool:
    test = pa.types
    return any((test.is_integer(kind), test.is_floating(kind), test.is_boolean(kind), test.is_decimal(kind)))


def _values(table: pa.Table, name: str | None) -> Array:
    """Return the value of each rating `(rows,)`; 1.0 where the table has none."""
    if name is None:
        return np.ones(table.num_rows, np.float32)
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_number(column.type):
        sample = next((repr(value.as_py()) for value in column if value.is_valid), "nothing")
        got = f"{column.type} (such as {sample})"
        raise DataError(f"column {name!r}: " + explain("ratings that are numbers", got, "value=, another column"))
    _check_holes(name, column.is_null().to_numpy())
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values = column.to_numpy()
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind == "f":
        _check_holes(name, np.isnan(values))
        if np.isinf(values).any():
            row = int(np.flatnonzero(np.isinf(values))[0])
            raise DataError(f"column {name!r}: " + explain("finite ratings", f"inf in row {row}", "dropping that row"))
    zero = np.flatnonzero(values == 0)
    if len(zero):
        got = f"{len(zero)} ratings of 0, the first in row {zero[0]}, which cannot be distinguished from no rating"
        raise DataError(
            f"column {name!r}: " + explain("ratings other than 0", got, "adding 1 to all, or dropping those rows")
        )
    return np.asarray(values)


def _times(table: pa.Table, name: str) -> Array:
    """Return a number for each row `(rows,)` that is the larger the later."""
    column = table[name]
    _check_holes(name, column.is_null().to_numpy())
    kind = column.type
    if pa.types.is_temporal(kind):
        narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
        column = column.cast(pa.int32() if narrow else pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        got = f"{kind} (such as {column[0].as_py()!r})"
        raise DataError(f"column {name!r}: " + explain("times that are numbers or dates", got, "casting it to one"))
    times: Array = column.to_numpy()
    if times.dtype.kind == "f":
        _check_holes(name, np.isnan(times))
    return times


def _placed(found: tuple[Id, ...], items: tuple[Id, ...], unknown: str) -> Integers:
    """Return for each found id its place among `items`, -1 for an unknown one; refuse those if asked to."""
    place = {item: number for number, item in enumerate(items)}
    if items and type(found[0]) is not type(items[0]):
        want, got = (f"{type(ids[0]).__name__} (such as {ids[0]!r})" for ids in (items, found))
        raise DataTypeError(f"item ids: {explain(want + ', as in training', got, 'casting that column')}")
    strangers = [item for item in found if item not in place]
    if strangers and (unknown == "refuse" or len(strangers) == len(found)):
        some = ", ".join(map(repr, strangers[:3])) + (", ..." if len(strangers) > 3 else "")
        got = f"{len(strangers)} of {len(found)} that are not among them: {some}"
        advice = 'unknown="drop"' if len(strangers) < len(found) else "the ratings that the model is for"
        raise DataError("item ids: " + explain(f"the {len(items)} items of training", got, advice))
    return np.asarray([place.get(item, -1) for item in found], np.int64)


def _matrix(
    rows: Integers,
    places: Integers,
    values: Array,
    times: Array | None,
    ids: tuple[tuple[Id, ...], tuple[Id, ...]],
    duplicates: str,
) -> Any:
    """Return the csr array of ratings, of which several may be for one place."""
    shape = (len(ids[0]), len(ids[1]))
    keys = rows * shape[1] + places
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.append(True, keys[1:] != keys[:-1])
    starts = np.flatnonzero(first)
    if len(starts) < len(keys):
        if duplicates == "refuse":
            twice = np.flatnonzero(~first)
            here, before = order[twice[0]], order[twice[0] - 1]
            got = (
                f"{len(twice)} more, the first in row {here}: user {ids[0][rows[here]]!r} and item "
                f"{ids[1][places[here]]!r}, as in row {before}"
            )
            raise DataError(explain("one rating by each user of each item", got, 'duplicates="last", "sum" or "max"'))
        if times is not None:
            order = order[np.lexsort((times[order], keys))]
        values = _joined(values[order], starts, duplicates)
    else:
        values = values[order]
    keys = keys[starts]
    pointers = np.searchsorted(keys, np.arange(shape[0] + 1) * shape[1])
    return scipy.sparse.csr_array((values, keys % shape[1], pointers), shape=shape)


def _joined(values: Array, starts: Integers, duplicates: str) -> Array:
    """Return one value for each run of `values`, which starts at `starts`."""
    if duplicates == "last":
        last: Array = values[np.append(starts[1:], len(values)) - 1]
        return last
    if duplicates == "max":
        largest: Array = np.maximum.reduceat(values, starts)
        return largest
    # Sums of small integers would wrap around.
    small = values.dtype.kind in "iu" and values.dtype.itemsize < 8
    sums = np.add.reduceat(values.astype(np.int64 if small else values.dtype), starts)
    if not sums.all():
        got = f"{int((sums == 0).sum())} that add up to 0, which cannot be distinguished from no rating"
        raise DataError(explain("ratings whose sums are not 0", got, 'duplicates="last" or "max"'))
    if not small:
        return np.asarray(sums)
    info = np.iinfo(values.dtype)
    return np.asarray(sums.astype(values.dtype) if info.min <= sums.min() and sums.max() <= info.max else sums)
