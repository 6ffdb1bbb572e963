"""Arrow tables as the frames that people have, and back."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from narwhals.exceptions import DuplicateError

from isthmus.data.tables.columns import is_text
from isthmus.errors import DataError, DataTypeError, explain


def as_frame(data: Any) -> Any:
    """Return a frame in memory behind one interface, and anything else as it is.

    Raises:
        DataError: for a duplicate name.
    """
    try:
        return nw.from_native(data, eager_only=True, pass_through=True)
    except DuplicateError as error:
        twice = " ".join(str(error).split("\n")[1:])
        raise DataError(explain("a name of its own for each column", twice or str(error), "renaming them")) from None


def are_texts(frame: nw.DataFrame[Any]) -> bool:
    """Whether a frame names its columns by texts.

    Frames name their columns by anything; scikit-learn takes names only if all are strings.

    Raises:
        DataError: for a frame without columns, and names that are no texts beside others that are.
    """
    texts = [isinstance(name, str) for name in frame.columns]
    if any(texts) and not all(texts):
        kinds = sorted({type(name).__name__ for name in frame.columns})
        raise DataTypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as feature name / column name types. Try X.columns = X.columns.astype(str)"
        )
    if not frame.columns:
        raise DataError(explain("a table with columns", "one without (0 feature(s))", "another file or frame"))
    return all(texts)


def to_table(frame: nw.DataFrame[Any]) -> pa.Table:
    """Return a frame (pandas, polars, Arrow, ...) as an Arrow table.

    Raises:
        DataError: for columns of mixed kinds, names that are no texts beside others that are, and names of
            several levels.
    """
    if any(isinstance(name, tuple) for name in frame.columns):
        got = f"columns of several levels, such as {next(iter(frame.columns))!r}"
        raise DataTypeError(
            explain("columns with one name each", got, "X.columns = ['_'.join(map(str, name)) for name in X.columns]")
        )
    are_texts(frame)
    arrays = {}
    for name, column in zip(frame.columns, frame.iter_columns(), strict=True):
        arrays[str(name)] = _to_arrow(str(name), column)
    return pa.table(arrays)


def _to_arrow(name: str, column: nw.Series[Any]) -> Any:
    kind = str(column.dtype)
    try:
        if kind == "Int128":  # Arrow has no such whole numbers
            return column.cast(nw.Float64).to_arrow()
        return column.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        expected = "numbers, texts, dates or booleans, one kind in a column"
        got = f"{kind} values that cannot be read as such ({reason})"
        advice = f"X[{name!r}].astype(str), or leaving it out (--drop {name})"
        raise DataError(f"column {name!r}: " + explain(expected, got, advice)) from None


def without_null_labels(table: Any) -> Any:
    """Return a table or a record batch in which no dictionary has a null among its labels: Arrow cannot join such.

    >>> labels = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    >>> without_null_labels(pa.table({"x": labels}))["x"].chunk(0).dictionary.to_pylist()
    ['a']
    """
    for place, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        column = table.column(place)
        parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        if any(part.dictionary.null_count for part in parts):
            plain = column.cast(field.type.value_type).dictionary_encode().cast(field.type)
            table = table.set_column(place, field, plain)
    return table


def like_frame(table: pa.Table, like: Any, *, types: bool = True) -> Any:
    """Return a table as the kind of frame that `like` is, with its column types and its index.

    Args:
        table: with the columns of `like`.
        like: an array, a native frame, or the name of a library ("pandas", "polars", "pyarrow"); None for Arrow.
        types: whether the columns get the types of `like`. A type of categories that lacks one of the table's gets it
            as a further one, and a column of `like` without a value keeps the table's type where it cannot hold it.
    """
    if like is None:
        return table
    if isinstance(like, pa.Table):
        same = types and table.schema.types == like.schema.types
        return pa.Table.from_arrays(table.columns, schema=like.schema) if same else table
    if isinstance(like, np.ndarray):
        return np.column_stack([column.cast(pa.float64()).to_numpy() for column in table.columns])
    if isinstance(like, str):
        return _of_library(table, like)
    frame = nw.from_native(like, eager_only=True)
    backend: Any = frame.implementation
    native: Any = nw.from_arrow(table, backend=backend).to_native()
    if backend.is_pandas_like():
        if types:
            native = _with_types(native, table, dict(zip(native.columns, like.dtypes, strict=True)))
        native.columns, native.index = like.columns, like.index[: len(native)]
        return native
    return (
        native.cast({name: _polars_type(native[name], kind) for name, kind in like.schema.items()}) if types else native
    )


def _of_library(table: pa.Table, name: str) -> Any:
    """Return a table as a frame of a library; as it is where that library is not installed."""
    library: Any = name
    try:
        return table if name == "pyarrow" else nw.from_arrow(table, backend=library).to_native()
    except ImportError:
        return table


def _with_types(native: Any, table: pa.Table, types: dict[str, Any]) -> Any:
    """Return a pandas frame of a table with the types of another."""
    # With holes, pandas has whole numbers as floats, which would round large ones.
    holed = [name for name in types if table[name].null_count and pa.types.is_integer(table[name].type)]
    whole = [name for name in holed if hasattr(types[name], "__from_arrow__")]
    native = native.assign(**{name: types[name].__from_arrow__(table[name]) for name in whole})
    casts = {
        name: _pandas_type(native[name], kind)
        for name, kind in types.items()
        if native[name].dtype != kind and not _no_labels(table[name].type, kind)
    }
    return native.astype(casts)


def _no_labels(arrow: pa.DataType, kind: Any) -> bool:
    """Whether texts would become numbers: a frame has a column of texts without any text as numbers, all missing."""
    return is_text(arrow) and getattr(kind, "kind", "O") in "fiub"


def _pandas_type(column: Any, kind: Any) -> Any:
    """Return a pandas type that holds a column: categories get those that it has and the type has not."""
    if not hasattr(kind, "categories"):
        return kind
    more = [label for label in column.dropna().unique() if label not in kind.categories]
    return type(kind)([*kind.categories, *more], ordered=kind.ordered) if more else kind


def _polars_type(column: Any, kind: Any) -> Any:
    """Return a polars type that holds a column: categories get those that it has and the type has not."""
    if str(kind) == "Null" or (kind.is_numeric() and str(column.dtype) in ("String", "Categorical")):
        return column.dtype
    if not str(kind).startswith("Enum"):
        return kind
    more = [label for label in column.unique().drop_nulls().to_list() if label not in set(kind.categories)]
    return type(kind)([*kind.categories, *more]) if more else kind


def frame_name(like: Any) -> str:
    """Return the name of the library that a native frame is of."""
    if isinstance(like, np.ndarray):
        return "pyarrow"
    return str(nw.from_native(like, eager_only=True).implementation.value)
