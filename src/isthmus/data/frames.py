"""Arrow tables as the frames that people have, and back."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from isthmus.errors import DataError, DataTypeError, explain


def to_table(frame: nw.DataFrame[Any]) -> pa.Table:
    """Return a frame (pandas, polars, Arrow, ...) as an Arrow table.

    Raises:
        DataError: for columns of mixed kinds, names that are no texts beside others that are, and names that stand
            twice.
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
    arrays = {}
    for name, column in zip(frame.columns, frame.iter_columns(), strict=True):
        try:
            arrays[str(name)] = column.to_arrow()
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"column {name!r}: " + explain("values of one kind", f"a mixture ({reason})", "X[name].astype(str)")
            ) from None
    return pa.table(arrays)


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
        types: whether the columns get the types of `like`.
    """
    if like is None or isinstance(like, pa.Table):
        return table
    if isinstance(like, np.ndarray):
        return np.column_stack([column.cast(pa.float64()).to_numpy() for column in table.columns])
    if isinstance(like, str):
        if like == "pyarrow":
            return table
        library: Any = like
        return nw.from_arrow(table, backend=library).to_native()
    frame = nw.from_native(like, eager_only=True)
    backend: Any = frame.implementation
    if backend.is_pandas_like():
        native: Any = nw.from_arrow(table, backend=backend).to_native()
        if types:
            wanted = dict(zip(native.columns, like.dtypes, strict=True))
            native = native.astype({name: kind for name, kind in wanted.items() if native[name].dtype != kind})
        native.columns, native.index = like.columns, like.index[: len(native)]
        return native
    found = nw.from_arrow(table, backend=backend)
    casts = (nw.col(name).cast(kind) for name, kind in frame.schema.items()) if types else ()
    return found.with_columns(*casts).to_native()
