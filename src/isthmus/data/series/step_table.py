"""Values of steps as a long table: a row for each step, its series and time beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.series.series import Origin, Series
from isthmus.data.series.windows import SeriesWindows
from isthmus.errors import DataError, explain
from isthmus.typing import Array, Integers


def to_long(values: Sequence[Any], source: SeriesWindows | Sequence[Series], name: str = "score") -> pa.Table:
    """Return a long table of values beside the rows that they belong to.

    Rows are those of the table that was read, in its order, with its columns of series and time and their types: rows
    that became one step (duplicates, resampling) have its value each; steps that no row stands for (gaps) are left
    out. Series that were files stand one after another under ``series``; those that were no table have a row for each
    step, with ``series`` and, if there are times, ``time``.

    Args:
        values: for each series `(T,)`, which becomes the column `name`, or `(T, channels)`, which become columns called
            as the channels. NaN becomes null.
        source: the windows, or the series themselves.
        name: the column of values `(T,)`.

    Raises:
        DataError: for values of another shape, and names that are there already.

    Example:
        >>> series = Series("a", np.zeros((2, 1)), np.array([3, 4]))
        >>> to_long([[0.5, 0.25]], [series]).to_pylist()[1]
        {'series': 'a', 'time': 4, 'score': 0.25}
    """
    series = source.series if isinstance(source, SeriesWindows) else list(source)
    arrays = [np.asarray(one) for one in values]
    _check_values(arrays, series)
    names = (name,) if arrays[0].ndim == 1 else series[0].channels
    tables: dict[int, tuple[pa.Table, list[Integers], list[Array]]] = {}
    for one, array in zip(series, arrays, strict=True):
        origin = one.origin or _own_origin(one)
        _, rows, parts = tables.setdefault(id(origin.keys), (origin.keys, [], []))
        rows.append(origin.rows)
        parts.append(array.reshape(one.steps, -1)[origin.steps])
    done = [_beside(keys, np.concatenate(rows), np.concatenate(parts), names) for keys, rows, parts in tables.values()]
    try:
        return pa.concat_tables(done, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        got = f"columns that differ ({error})"
        raise DataError(
            explain("the same types of times in all series", got, "writing each series by itself")
        ) from None


def _check_values(arrays: list[Array], series: Sequence[Series]) -> None:
    if len(arrays) != len(series) or not series:
        raise DataError(explain(f"values for {len(series)} series", f"{len(arrays)}", "one array for each series"))
    for one, array in zip(series, arrays, strict=True):
        shape = (one.steps, len(series[0].channels))[: arrays[0].ndim]
        if array.shape != shape or array.dtype.kind not in "fiub":
            expected = f"numbers of shape {shape} for series {one.name!r}"
            raise DataError(explain(expected, f"{array.dtype} of shape {array.shape}", "one value for each step"))


def _own_origin(series: Series) -> Origin:
    steps = np.arange(series.steps)
    label = pa.DictionaryArray.from_arrays(np.zeros(series.steps, np.int32), pa.array([series.name]))
    keys = {"series": label} if series.times is None else {"series": label, "time": series.times}
    return Origin(pa.table(keys), steps, steps)


def _beside(keys: pa.Table, rows: Integers, values: Array, names: Sequence[str]) -> pa.Table:
    """Return the rows of `keys` that have a value, in their own order, with the values beside them."""
    for name in names:
        if name in keys.column_names:
            raise DataError(explain("a new name for the values", f"{name!r}, a column of the data", 'name="error"'))
    order = np.argsort(rows, kind="stable")
    columns = {name: keys[name].take(pa.array(rows[order])) for name in keys.column_names}
    for place, name in enumerate(names):
        columns[name] = pa.array(values[order, place], from_pandas=True)
    return pa.table(columns)
