"""Series: one file for each, or a long table of all, as arrays in order of time, with the way back to the user's rows.

`sampling.py` says whether a series is regular, fills its gaps and resamples it; `windows.py` cuts windows from it.
"""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.arrays import READERS
from isthmus.data.series.long_format import check_columns, float_of, groups_of, numbers_of, times_of
from isthmus.errors import DataError, check_choice, explain
from isthmus.typing import Array, Integers

DUPLICATES = ("refuse", "mean", "first", "last")
# What a time may be counted in: others are turned into one of these.
_UNITS = ("D", "s", "ms", "us", "ns")


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the steps of a series come from, so that a score for each step finds back to the user's rows.

    Attributes:
        keys: the columns that say which series and which time, for all rows of the table that was read.
        rows: the rows of `keys` that belong to the series, `(N,)`; several rows may have become one step.
        steps: the step that each of them is in, `(N,)`.
    """

    keys: pa.Table
    rows: Integers
    steps: Integers


@dataclass(frozen=True, eq=False)
class Series:
    """One series of `T` steps and `C` channels, in order of time.

    Attributes:
        name: what the series is called.
        values: `(T, C)` in float32 or float64, NaN where a value is missing. A vector `(T,)` is one channel; integers
            and booleans become float64.
        times: `(T,)`, strictly increasing: datetime64 (an instant with a zone is in UTC), integers or floats; None
            for steps that are only in order.
        channels: the names of the channels; by default their numbers.
        origin: the rows that the steps come from; None for a series that was no table.

    Raises:
        DataError: for no steps, values that are no numbers or infinite, times that do not increase, and names or times
            that are not as many as there are channels or steps.

    Example:
        >>> Series("a", np.array([[1.0], [2.0]]), np.array([10, 20]), ("x",)).steps
        2
    """

    name: str
    values: Array
    times: Array | None = None
    channels: tuple[str, ...] = ()
    origin: Origin | None = None

    def __post_init__(self) -> None:
        values = _check_values(self.name, self.values)
        channels = tuple(self.channels) or tuple(map(str, range(values.shape[1])))
        if len(channels) != values.shape[1] or len(set(channels)) != len(channels):
            got = f"{len(channels)} ({', '.join(channels)}) for {values.shape[1]} channels"
            raise DataError(f"series {self.name!r}: " + explain("a name of its own for each channel", got, "names"))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "channels", channels)
        if values.dtype.kind == "f":
            _check_finite(self)
        if self.times is not None:
            object.__setattr__(self, "times", _check_times(self.name, np.asarray(self.times), len(values)))

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return len(self.values)


def from_long(
    table: pa.Table,
    *,
    series: str | None,
    time: str | None,
    channels: Sequence[str] | None = None,
    duplicates: str = "refuse",
) -> list[Series]:
    """Return the series of a long table: one row for each series and time.

    Args:
        table: the rows, in any order.
        series: the column that says which series a row is of (text, integers, numbers, booleans or dates, also
            dictionary-encoded); None if all rows are of one. Series come in the order of their first row.
        time: the column to sort by, within each series: timestamps (those with a zone become UTC), dates, integers,
            numbers, or text of the form 2024-05-31 12:00; None if the rows are in order already.
        channels: the columns of numbers; None takes all columns but those two, which must be numbers or booleans.
        duplicates: what becomes of rows of one series and time, as a clock that is turned back makes them: "refuse"
            (the default), or one step with the "mean" of what was observed, or the "first" or "last" row's values.

    Raises:
        DataError: for columns that are not there or hold no numbers, rows without a series or a time, and rows of one
            series and time, naming the rows (counted from 0).

    Example:
        >>> table = pa.table({"id": ["b", "a", "b"], "day": [2, 1, 1], "x": [1.5, 2.5, None]})
        >>> [(s.name, s.values[:, 0].tolist()) for s in from_long(table, series="id", time="day")]
        [('b', [nan, 1.5]), ('a', [2.5])]
    """
    check_duplicates(duplicates)
    check_columns(table, [name for name in (series, time, *(channels or ())) if name is not None])
    if not table.num_rows:
        raise DataError(explain("a table with rows", "one without", "another file"))
    names = list(channels) if channels else [name for name in table.column_names if name not in (series, time)]
    if not names:
        raise DataError(explain("a column of numbers beside series and time", str(table.column_names), "another file"))
    dtype = np.result_type(np.float32, *(float_of(table[name].type) for name in names))
    columns = [numbers_of(table, name, dtype) for name in names]
    codes, labels = groups_of(table, series)
    times = None if time is None else times_of(table, time)
    order = np.argsort(codes, kind="stable") if times is None else np.lexsort((times, codes))
    keys = table.select([name for name in (series, time) if name is not None])
    bounds = np.searchsorted(codes[order], np.arange(len(labels) + 1))
    found = []
    for label, first, last in zip(labels, bounds[:-1], bounds[1:], strict=True):
        rows = order[first:last]
        values = np.empty((len(rows), len(names)), dtype)
        for place, column in enumerate(columns):
            values[:, place] = column[rows]
        at = None if times is None else times[rows]
        values, at, steps = _merge(label, values, at, rows, duplicates)
        found.append(Series(label, values, at, tuple(names), Origin(keys, rows, steps)))
    return found


def from_files(
    paths: str | Path | Iterable[str | Path],
    reader: Callable[[Path], Any],
    *,
    time: str | None = None,
    channels: Sequence[str] | None = None,
    duplicates: str = "refuse",
) -> list[Series]:
    """Return one series for each file, in the order of the paths.

    Args:
        paths: a folder (all files in it and below that have a known suffix, sorted; hidden ones are left out), a
            glob such as ``data/*.csv`` (sorted), one file, or the files themselves.
        reader: reads a path, as `isthmus.data.arrays.load_file` does: an array `(T,)` or `(T, C)`, or an Arrow table.
        time: the column of times in each table; None if the rows are in order already.
        channels: the columns of numbers; None takes all but `time`. All files have the same, in any order.
        duplicates: as in `from_long`.

    A series is called as its file without folder and suffix; if two files would be called the same, by the whole path.

    Raises:
        DataError: as `from_long` and the reader, naming the file; for no file, and for a file with other channels.

    Example:
        >>> arrays = {"a.npy": np.zeros((3, 2)), "b.npy": np.ones((5, 2))}
        >>> [(s.name, s.steps) for s in from_files(arrays, lambda path: arrays[str(path)])]
        [('a', 3), ('b', 5)]
    """
    check_duplicates(duplicates)
    files = _files(paths)
    found: list[Series] = []
    for file, name in zip(files, _names(files), strict=True):
        loaded = reader(file)
        try:
            one = _of_file(loaded, name, time, channels, duplicates)
            found.append(_same_channels(one, found[0], files[0]) if found else one)
        except DataError as error:
            raise DataError(f"the file {str(file)!r}: {error}") from None
    return found


def check_duplicates(duplicates: str) -> None:
    """Raise `RecipeError` unless `duplicates` is a way to treat rows of one series and time."""
    check_choice("duplicates", duplicates, DUPLICATES)


def _check_values(name: str, given: Any) -> Array:
    values = np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise DataError(f"series {name!r}: " + explain("numbers", f"dtype {values.dtype}", "numeric columns only"))
    values = values.reshape(-1, 1) if values.ndim == 1 else values
    if values.ndim != 2:
        raise DataError(
            f"series {name!r}: " + explain("values (T, C)", f"shape {values.shape}", "values.reshape(T, -1)")
        )
    if not values.size:
        raise DataError(f"series {name!r}: " + explain("at least one step", f"shape {values.shape}", "leaving it out"))
    if values.dtype.kind != "f":
        return values.astype(np.float64)
    small = values.dtype.itemsize <= 4
    return values.astype(np.float32 if small else np.float64, copy=False)


def _check_finite(series: Series) -> None:
    bad = np.isinf(series.values)
    if bad.any():
        step, channel = (int(place) for place in np.argwhere(bad)[0])
        where = f"step {step} of channel {series.channels[channel]!r}"
        raise DataError(f"series {series.name!r}: " + explain("finite numbers", f"inf at {where}", "leaving it empty"))


def _check_times(name: str, times: Array, steps: int) -> Array:
    if times.shape != (steps,):
        raise DataError(f"series {name!r}: " + explain(f"{steps} times", f"shape {times.shape}", "one for each step"))
    if times.dtype.kind not in "Miuf":
        advice = "dates or numbers, or no times"
        raise DataError(f"series {name!r}: " + explain("times that are dates or numbers", str(times.dtype), advice))
    if times.dtype.kind == "M":
        unit, count = np.datetime_data(times.dtype)
        if unit not in _UNITS or count != 1:
            times = times.astype("datetime64[s]" if unit in "YMWhm" else "datetime64[ns]")
    elif times.dtype.kind != "f":
        times = times.astype(np.int64)
    missing = ~np.isfinite(times)
    if missing.any():
        got = f"{times[missing.argmax()]} at step {missing.argmax()}"
        raise DataError(f"series {name!r}: " + explain("a time for each step", got, "dropping those rows"))
    later = times[1:] > times[:-1]
    if not later.all():
        step = int(np.argmin(later))
        got = f"{times[step]} at step {step} and {times[step + 1]} after it"
        raise DataError(f"series {name!r}: " + explain("times that increase", got, "sorting the steps, or from_long"))
    if times.dtype.kind != "f" and int(times[-1].astype(np.int64)) - int(times[0].astype(np.int64)) >= 2**63:
        got = f"{times[0]} to {times[-1]}"
        raise DataError(
            f"series {name!r}: " + explain("times whose distances 64 bits hold", got, "correcting the first")
        )
    return times


def _merge(
    name: str, values: Array, times: Array | None, rows: Integers, duplicates: str
) -> tuple[Array, Array | None, Integers]:
    """Return values and times with one step for each time, and the step of each row."""
    rows_of_step = np.arange(len(rows))
    if times is None or (times[1:] != times[:-1]).all():
        return values, times, rows_of_step
    new = np.concatenate([[True], times[1:] != times[:-1]])
    if duplicates == "refuse":
        second = int(np.argmin(new))
        got = (
            f"rows {rows[second - 1]} and {rows[second]} both at {times[second]}, and {int((~new).sum()) - 1} more such"
        )
        advice = 'duplicates="mean" (or "first", "last"), or times with a zone if a clock was turned back'
        raise DataError(f"series {name!r}: " + explain("one row for each time", got, advice))
    steps = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    if duplicates == "first":
        return values[first], times[first], steps
    if duplicates == "last":
        return values[np.append(first[1:], len(rows)) - 1], times[first], steps
    return mean_by_step(values, steps, len(first)), times[first], steps


def mean_by_step(values: Array, steps: Integers, size: int) -> Array:
    """Return the mean `(size, C)` of the values `(N, C)` that were observed in each step; NaN where none was.

    >>> mean_by_step(np.array([[1.0], [3.0], [np.nan]]), np.array([0, 0, 1]), 2).tolist()
    [[2.0], [nan]]
    """
    means = np.full((size, values.shape[1]), np.nan, values.dtype)
    for channel in range(values.shape[1]):
        seen = ~np.isnan(values[:, channel])
        counts = np.bincount(steps[seen], minlength=size)
        sums = np.bincount(steps[seen], values[seen, channel], minlength=size)
        np.divide(sums, counts, out=means[:, channel], where=counts > 0, casting="same_kind")
    return means


def _files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(paths, str | Path):
        files = [Path(path) for path in paths]
    elif Path(paths).is_dir():
        inside = (path for path in Path(paths).rglob("*") if _is_data(path.relative_to(paths)) and path.is_file())
        files = sorted(inside)
    elif glob.has_magic(str(paths)) and not Path(paths).exists():
        files = [Path(path) for path in sorted(glob.glob(str(paths), recursive=True)) if Path(path).is_file()]
    else:
        files = [Path(paths)]
    if not files:
        kinds = ", ".join(READERS)
        raise DataError(explain(f"files of series ({kinds})", f"none in {str(paths)!r}", "`ls` to see what is there"))
    return files


def _bare(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and Path(_bare(path.name)).suffix.lower() in READERS


def _names(files: list[Path]) -> list[str]:
    stems = [Path(_bare(file.name)).stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    names = [file.as_posix() for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(explain("each file once", f"{twice!r} more than once", "leaving one out"))
    return names


def _of_file(loaded: Any, name: str, time: str | None, channels: Sequence[str] | None, duplicates: str) -> Series:
    if not isinstance(loaded, pa.Table):
        for what, given in (("a column of times", time), ("columns of channels", channels)):
            if given:
                raise DataError(explain(f"a table, for {what} ({given})", "an array without columns", "no such name"))
        return Series(name, loaded)
    (series,) = from_long(loaded, series=None, time=time, channels=channels, duplicates=duplicates)
    origin = series.origin
    if origin is None:  # pragma: no cover (from_long always states it)
        return series
    label = pa.DictionaryArray.from_arrays(np.zeros(loaded.num_rows, np.int32), pa.array([name]))
    keys = origin.keys.add_column(0, "file" if time == "series" else "series", label)
    return dataclasses.replace(series, name=name, origin=dataclasses.replace(origin, keys=keys))


def _same_channels(series: Series, first: Series, file: Path) -> Series:
    """Return the series with its channels in the order of the first one's."""
    if series.channels == first.channels:
        return series
    if set(series.channels) != set(first.channels):
        differ = sorted(set(series.channels) ^ set(first.channels))
        expected = f"the channels of {str(file)!r} ({len(first.channels)})"
        got = f"{len(series.channels)}, of which these are not in both: {', '.join(differ[:10])}"
        raise DataError(explain(expected, got, "the columns that all files have (--drop)"))
    order = [series.channels.index(channel) for channel in first.channels]
    return dataclasses.replace(series, values=series.values[:, order], channels=first.channels)
