"""Whether a series is sampled regularly, where its gaps are, and how to put it on a regular grid."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any

import numpy as np

from isthmus.data.series.series import Series, mean_by_step
from isthmus.errors import DataError, check_choice, explain, unknown_name
from isthmus.typing import Array, Integers

HOW = ("mean", "last", "linear")
Step = float | str | datetime.timedelta

# Nanoseconds in the units of a step, and in those of numpy's dates.
_WORDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_WORDS |= {"w": 7 * _WORDS["d"]}
_UNITS = {"D": _WORDS["d"], "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

# Intervals are multiples of each other if they are to a thousandth, which is what clocks and rounding leave.
_TOLERANCE = 1e-3
# The share of all intervals that the smallest one has at least, if it is the series' own.
_RARE = 0.1
# A grid may hold this many values, or this many times those of the series: two times far apart would fill any memory.
_VALUES, _TIMES = 1_000_000, 10


def regular(series: Series) -> bool:
    """Return whether all intervals between steps are the same, to a thousandth; True without times.

    >>> regular(Series("a", np.zeros(3), np.array([0, 5, 10]))), regular(Series("a", np.zeros(3), np.array([0, 5, 15])))
    (True, False)
    """
    if series.times is None or series.steps < 3:
        return True
    intervals = _intervals(series.times)
    return bool(intervals.max() <= intervals.min() * (1 + _TOLERANCE))


def gaps(series: Series) -> list[tuple[Any, Any, int]]:
    """Return (the time before, the time after, missing steps) of each gap: an interval longer than the median.

    The missing steps are ``round(interval / median) - 1``; an interval that is less than half a step too long misses
    none, and is no gap. The median is the lower one where there are two.

    >>> gaps(Series("a", np.zeros(4), np.array([0, 5, 10, 25])))
    [(np.int64(10), np.int64(25), 2)]
    """
    if series.times is None or series.steps < 2:
        return []
    intervals = _intervals(series.times)
    missing = np.rint(intervals / _median(intervals)).astype(np.int64) - 1
    return [(series.times[i], series.times[i + 1], int(missing[i])) for i in np.flatnonzero(missing > 0)]


def insert_gaps(series: Series) -> Series:
    """Return the series with a step of NaN for each that is missing, so that neighbours are one interval apart.

    The interval is the smallest one. All must be multiples of it (to a thousandth), and at least one in ten be it: one
    step out of place does not make a grid that is mostly empty.

    Raises:
        DataError: for irregular sampling, and for gaps so long that the series would become more than ten times as
            long (and more than a million values).

    Example:
        >>> insert_gaps(Series("a", np.arange(3.0), np.array([0, 5, 15]))).values[:, 0].tolist()
        [0.0, 1.0, nan, 2.0]
    """
    times = series.times
    if times is None or series.steps < 3:
        return series
    intervals = _intervals(times)
    smallest = _median(intervals[intervals < 1.5 * intervals.min()])
    multiples = intervals / smallest
    rounded = np.rint(multiples)
    off = np.abs(multiples - rounded) > np.minimum(_TOLERANCE * multiples, 0.05)
    if off.any() or np.mean(rounded == 1) < _RARE:
        _refuse_irregular(series, times, int(off.argmax() if off.any() else intervals.argmin()))
    _check_size(series, float(multiples.sum()), "splitting the series at its longest gap, or a larger step (resample)")
    whole = rounded.astype(np.int64)
    places = np.concatenate([[0], np.cumsum(whole)])
    if places[-1] == series.steps - 1:
        return series
    size = int(places[-1]) + 1
    values = np.full((size, len(series.channels)), np.nan, series.values.dtype)
    values[places] = series.values
    origin = series.origin and dataclasses.replace(series.origin, steps=places[series.origin.steps])
    return dataclasses.replace(series, values=values, times=_between(times, places, whole), origin=origin)


def resample(series: Series, step: Step, how: str = "mean", limit: Step | None = None) -> Series:
    """Return the series on a regular grid: the multiples of `step` from the first time to the last.

    A row belongs to the bin that it is in, ``floor(time / step)``, and the step is called by the bin's start: with
    "5min", what was observed from 12:00 up to 12:05 is the step 12:00.

    Args:
        series: a series with times.
        step: the distance of the grid: a number for times that are numbers; for dates a text such as "30s", "5min",
            "1h", "1d" or "1w" (ms, us and ns too), or a timedelta.
        how: "mean" or "last" of what was observed in the bin, by channel; a bin without is NaN. Or "linear": the
            straight line between the observed values before and after the bin's start.
        limit: for "linear", the longest distance of two observed values that a line bridges; what lies in longer
            gaps, before the first and after the last value is NaN. By default twice the longer of `step` and the
            median interval of the series.

    Raises:
        DataError: for a series without times, a step that is no step of such times, and a grid of more than ten times
            the values (and more than a million).

    Example:
        >>> series = Series("a", np.array([1.0, 3.0, 5.0]), np.array([0, 4, 21]))
        >>> resample(series, 10).values[:, 0].tolist()
        [2.0, nan, 5.0]
    """
    check_choice("how", how, HOW)
    if series.times is None:
        raise DataError(f"series {series.name!r}: " + explain("times to resample by", "none", "a column of times"))
    times, width = _in_units(series, _units_of(series.times, step))
    numbers: Array = times.view(np.int64) if times.dtype.kind == "M" else times
    bins = _bins(numbers, width)
    _check_size(series, float(bins[-1]) - float(bins[0]) + 1, "a larger step")
    numbered = bins - bins[0]
    size = int(numbered[-1]) + 1
    grid: Array = (bins[0] + np.arange(size)) * width
    if how == "linear":
        # Relative to the first time: float64 has no digits for nanoseconds since 1970.
        relative, points = (numbers - numbers[0]).astype(np.float64), (grid - numbers[0]).astype(np.float64)
        most = _limit(series, limit, width, times.dtype)
        values = _lines(relative, series.values, points, most)
    elif how == "last":
        values = _last(series.values, numbered, size)
    else:
        values = mean_by_step(series.values, numbered, size)
    at = grid.astype(np.int64).view(times.dtype) if times.dtype.kind == "M" else grid
    origin = series.origin and dataclasses.replace(series.origin, steps=numbered[series.origin.steps])
    return dataclasses.replace(series, values=values, times=at, origin=origin)


def _intervals(times: Array) -> Array:
    intervals = np.diff(times)
    return intervals.view(np.int64) if intervals.dtype.kind == "m" else intervals


def _median(intervals: Array) -> Any:
    """Return the lower median: an interval that there is."""
    return np.sort(intervals)[(len(intervals) - 1) // 2]


def _between(times: Array, places: Integers, whole: Integers) -> Array:
    """Return the times of all places: those that were there, and evenly spaced ones between."""
    all_places = np.arange(places[-1] + 1)
    before = np.searchsorted(places, all_places, side="right") - 1
    apart = np.diff(times)
    share: Array = apart // whole if times.dtype.kind in "Mi" else apart / whole
    share = np.append(share, share[-1:])  # the last time is a place itself
    filled: Array = times[before] + share[before] * (all_places - places[before])
    return filled


def _refuse_irregular(series: Series, times: Array, step: int) -> None:
    apart = np.diff(times)
    shortest = int(np.argmin(apart))
    usual = _say(_median(apart))
    got = (
        f"{_say(apart[step])} between {times[step]} and {times[step + 1]} (steps {step} and {step + 1}), where the "
        f"smallest is {_say(apart[shortest])} (after {times[shortest]}) and the median {usual}"
    )
    expected = "intervals that are multiples of the smallest, which is one in ten of them or more"
    advice = f"every={usual} in rows=series:..., or resample(series, {usual!r})"
    raise DataError(f"series {series.name!r}: " + explain(expected, got, advice))


def _say(interval: Any) -> Any:
    """Return an interval of dates as the text that `resample` reads, and one of numbers as it is."""
    if not isinstance(interval, np.timedelta64):
        return interval.item()
    count = int(interval.astype(np.int64)) * _UNITS[np.datetime_data(interval.dtype)[0]]
    unit = next(name for name in ("d", "h", "min", "s", "ms", "us", "ns") if count % _WORDS[name] == 0)
    return f"{count // _WORDS[unit]}{unit}"


def _check_size(series: Series, size: float, advice: str) -> None:
    channels = len(series.channels)
    if size * channels > max(_VALUES, _TIMES * series.values.size):
        got = f"{size:.3g} for {series.steps} steps that were observed"
        raise DataError(f"series {series.name!r}: " + explain("a regular grid that fits in memory", got, advice))


def _units_of(times: Array, step: Step) -> int | float:
    """Return a step in nanoseconds for dates, and as it is for numbers; raise `DataError` for what is no step."""
    dates = times.dtype.kind == "M"
    what = '"5min", "1h", "30s" or "1d"' if dates else "a positive number"
    refused = DataError("step: " + explain(f"{what}, for times that are {times.dtype}", repr(step), what))
    if isinstance(step, np.timedelta64):
        step = step.astype("timedelta64[us]").item()
    if isinstance(step, datetime.timedelta):
        nanoseconds = (step // datetime.timedelta(microseconds=1)) * 1000
        if not dates or nanoseconds <= 0:
            raise refused
        return nanoseconds
    if isinstance(step, str):
        return _words(step, refused) if dates else _number(step, refused)
    if dates or isinstance(step, bool):
        raise refused
    return _number(step, refused)


def _number(step: object, refused: DataError) -> int | float:
    try:
        number = step.item() if isinstance(step, np.generic) else step
        number = number if isinstance(number, int | float) else float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise refused from None
    if not 0 < number < float("inf"):
        raise refused
    return number


def _words(step: str, refused: DataError) -> int:
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)?\s*([a-zA-Z]+)\s*", step)
    if match is None:
        raise refused
    unit = match[2].lower()
    if unit not in _WORDS:
        raise DataError(f"step {step!r}: " + unknown_name("unit", match[2], _WORDS))
    nanoseconds = round(float(match[1] or 1) * _WORDS[unit])
    if nanoseconds < 1:
        raise refused
    return nanoseconds


def _in_units(series: Series, step: int | float) -> tuple[Array, Any]:
    """Return the times in units that hold both them and the step as integers, and the step in those units."""
    times = np.asarray(series.times)
    if times.dtype.kind != "M":
        whole = times.dtype.kind == "i" and isinstance(step, int)
        return (times if whole else times.astype(np.float64)), step
    unit = np.datetime_data(times.dtype)[0]
    names = list(_UNITS)
    fine = next(name for name in names[names.index(unit) :] if step % _UNITS[name] == 0)
    ratio = _UNITS[unit] // _UNITS[fine]
    if int(np.abs(times.view(np.int64)).max()) > (2**63 - 1) // ratio:
        got = f"{times[0]} to {times[-1]} in {fine}"
        raise DataError(f"series {series.name!r}: " + explain("times that 64 bits hold", got, "a coarser step"))
    return times.astype(f"datetime64[{fine}]"), int(step) // _UNITS[fine]


def _bins(numbers: Array, width: Any) -> Integers:
    if numbers.dtype.kind == "i":
        whole: Integers = numbers // width
        return whole
    shares = numbers / width
    if not np.abs(shares).max() < 2**53:
        raise DataError(
            "step: " + explain("times that are countable in steps", f"{shares[-1]:g} steps", "a larger one")
        )
    near = np.rint(shares)
    # 0.3 / 0.1 is a little less than 3.
    bins: Integers = np.where(np.abs(shares - near) < 1e-6, near, np.floor(shares)).astype(np.int64)
    return bins


def _last(values: Array, bins: Integers, size: int) -> Array:
    last = np.full((size, values.shape[1]), np.nan, values.dtype)
    for channel in range(values.shape[1]):
        seen = np.flatnonzero(~np.isnan(values[:, channel]))
        ends = np.append(bins[seen][1:] != bins[seen][:-1], True)[: len(seen)]
        last[bins[seen[ends]], channel] = values[seen[ends], channel]
    return last


def _limit(series: Series, limit: Step | None, width: Any, dtype: np.dtype[Any]) -> float:
    times = np.asarray(series.times)
    if limit is not None:
        most = _units_of(times, limit)
        return most / _UNITS[np.datetime_data(dtype)[0]] if dtype.kind == "M" else float(most)
    intervals = np.diff(times)
    if not len(intervals):
        return float(2 * width)
    usual = _median(intervals)
    if dtype.kind == "M":
        usual = usual.astype(f"timedelta64[{np.datetime_data(dtype)[0]}]").astype(np.int64)
    return 2.0 * max(float(width), float(usual))


def _lines(times: Array, values: Array, points: Array, most: float) -> Array:
    """Return the values at `points` on the straight lines between neighbours that are at most `most` apart."""
    lines = np.full((len(points), values.shape[1]), np.nan, values.dtype)
    for channel in range(values.shape[1]):
        seen = ~np.isnan(values[:, channel])
        known, observed = times[seen], values[seen, channel]
        if not len(known):
            continue
        after = np.searchsorted(known, points)
        inside = (after < len(known)) & ((after > 0) | (points == known[0]))
        right = np.minimum(after, len(known) - 1)
        left = np.maximum(right - 1, 0)
        exact = known[right] == points
        bridged = inside & (exact | (known[right] - known[left] <= most))
        lines[bridged, channel] = np.interp(points[bridged], known, observed)
    return lines
