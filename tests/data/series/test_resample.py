"""Gaps and grids: what is missing becomes visible, and nothing is made up."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from isthmus.data.series.resample import gaps, insert_gaps, regular, resample
from isthmus.data.series.series import Series, from_long
from isthmus.data.series.step_table import to_long
from isthmus.errors import DataError, RecipeError
from tests.helpers import SHARED

FOLDERS = [SHARED]
SHARED = next((folder for folder in FOLDERS if folder.exists()), FOLDERS[0])
NAN = np.nan


def at(times: list[Any], values: list[Any] | None = None, dtype: str | None = None) -> Series:
    return Series("a", np.arange(len(times), dtype=float) if values is None else values, np.array(times, dtype))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 5, 10], True),
        ([0, 5, 11], False),
        ([0, 5, 15], False),
        ([3], True),
        ([3, 9], True),
        ([0.0, 0.1, 0.2, 0.30000000000000004], True),
    ],
)
def test_regular(times: list[Any], expected: bool) -> None:
    assert regular(at(times)) is expected
    assert regular(Series("a", np.zeros(3)))


def test_gaps_are_longer_than_the_median() -> None:
    series = at(["2024-01-01T00:00", "2024-01-01T00:05", "2024-01-01T00:10", "2024-01-01T00:30"], dtype="datetime64[s]")
    assert gaps(series) == [(np.datetime64("2024-01-01T00:10:00"), np.datetime64("2024-01-01T00:30:00"), 3)]
    assert gaps(at([0, 5, 10])) == gaps(at([1])) == gaps(Series("a", np.zeros(3))) == []
    # Of two medians the lower one: half of the intervals may be gaps.
    assert gaps(at([0, 10, 40])) == [(10, 40, 2)]
    # Less than half a step late misses nothing.
    assert gaps(at([0, 10, 20, 34])) == [] and gaps(at([0, 10, 20, 36])) == [(20, 36, 1)]


def test_missing_steps_become_nan() -> None:
    series = at([0, 5, 20, 25], [1.0, 2.0, 3.0, 4.0])
    filled = insert_gaps(series)
    np.testing.assert_array_equal(filled.values[:, 0], [1, 2, NAN, NAN, 3, 4])
    assert filled.times is not None and filled.times.tolist() == [0, 5, 10, 15, 20, 25]
    assert regular(filled) and insert_gaps(filled) is filled
    untimed = Series("a", np.zeros(3))
    assert insert_gaps(untimed) is untimed


def test_clocks_may_tremble() -> None:
    filled = insert_gaps(at([0.0, 1.0003, 1.9999, 4.0001, 5.0]))
    np.testing.assert_array_equal(filled.values[:, 0], [0, 1, 2, NAN, 3, 4])
    np.testing.assert_allclose(filled.times, [0, 1.0003, 1.9999, 3, 4.0001, 5.0], rtol=1e-12)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=30), st.integers(1, 1000), st.booleans())
def test_any_gaps_are_filled_with_what_is_missing_and_nothing_else(kinds: list[int], step: int, dates: bool) -> None:
    kinds[0] = 1
    kinds += [1] * (len(kinds) // 9 + 1)
    places = np.concatenate([[0], np.cumsum(kinds)])
    times = (places * step + 7).astype("datetime64[s]" if dates else np.int64)
    series = Series("a", places.astype(float), times)
    filled = insert_gaps(series)
    assert filled.steps == places[-1] + 1 and regular(filled) and filled.times is not None
    seen = ~np.isnan(filled.values[:, 0])
    np.testing.assert_array_equal(np.flatnonzero(seen), places)
    np.testing.assert_array_equal(filled.times[seen], times)
    np.testing.assert_array_equal(filled.values[seen], series.values)


@pytest.mark.parametrize(
    ("times", "dtype", "message"),
    [
        ([0, 2, 5, 7], None, r"got 3 between 2 and 5 \(steps 1 and 2\).*smallest is 2 \(after 0\) and the median 2"),
        ([0, 300, 600, 960], "datetime64[s]", r"got 6min between .*resample\(series, '5min'\)"),
        ([0.0, 1.0, 2.04], None, "multiples of the smallest"),
        # One step out of place is not the interval of the series.
        ([*range(0, 1000, 10), 991], None, "which is one in ten of them or more, got 1 between 990 and 991.*median 10"),
        ([0, 1, 2, 10**12], None, "a regular grid that fits in memory, got 1e[+]12 for 4 steps"),
        ([0.0, 1.0, 1e300], None, "a regular grid that fits in memory"),
    ],
)
def test_what_is_no_grid_is_refused(times: list[Any], dtype: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        insert_gaps(at(times, dtype=dtype))


# Made by hand: 12:01 and 12:04 are in the bin 12:00, nothing is in 12:05, 12:10 is in its own.
HAND = ["2024-01-01T12:01", "2024-01-01T12:04", "2024-01-01T12:10", "2024-01-01T12:16"]


@pytest.mark.parametrize(
    ("how", "x", "y"),
    [("mean", [2, NAN, 8, 5], [4, NAN, 1, NAN]), ("last", [3, NAN, 8, 5], [4, NAN, 1, NAN])],
)
def test_resampling_by_a_table_made_by_hand(how: str, x: list[float], y: list[float]) -> None:
    values = np.array([[1, 4], [3, NAN], [8, 1], [5, NAN]], np.float32)
    even = resample(Series("a", values, np.array(HAND, "datetime64[m]"), ("x", "y")), "5min", how)
    np.testing.assert_array_equal(even.values, np.column_stack([x, y]))
    assert even.times is not None and even.times.astype("datetime64[m]").astype(str).tolist() == [
        f"2024-01-01T12:{minute:02}" for minute in (0, 5, 10, 15)
    ]
    assert even.values.dtype == np.float32 and even.channels == ("x", "y") and regular(even)


def test_lines_bridge_short_gaps_only() -> None:
    series = at([0, 4, 8, 20, 24], [0.0, 4.0, 8.0, 20.0, 24.0])
    np.testing.assert_array_equal(resample(series, 2, "linear").values[:, 0], [0, 2, 4, 6, 8, *[NAN] * 5, 20, 22, 24])
    # A finer grid than the series bridges what is usual there.
    assert np.isnan(resample(series, 1, "linear").values).sum() == 11
    np.testing.assert_array_equal(resample(series, 2, "linear", limit=12).values[:, 0], np.arange(0, 25, 2))
    short = resample(series, 2, "linear", limit=3).values[:, 0]
    np.testing.assert_array_equal(short, [0, NAN, 4, NAN, 8, *[NAN] * 5, 20, NAN, 24])
    # The first grid point is before the first value, and is not made up.
    np.testing.assert_array_equal(resample(at([1, 3], [1.0, 3.0]), 2, "linear").values[:, 0], [NAN, 2])
    dates = at(["2024-01-01T00", "2024-01-01T01", "2024-01-01T05"], [0.0, 60.0, 300.0], "datetime64[s]")
    got = resample(dates, "30min", "linear", limit="2h").values[:, 0]
    np.testing.assert_array_equal(got, [0, 30, 60, *[NAN] * 7, 300])
    holes = resample(Series("a", np.array([[NAN], [NAN]]), np.array([0, 9])), 3, "linear")
    assert holes.steps == 4 and np.isnan(holes.values).all()


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=40, unique=True), st.integers(1, 60), st.booleans())
def test_bins_are_those_of_a_slow_loop(times: list[int], step: int, dates: bool) -> None:
    times = sorted(times)
    values = np.arange(len(times), dtype=float) ** 2
    values[::4] = NAN
    series = Series("a", values, np.array(times, "datetime64[s]" if dates else np.int64))
    mean, last = (resample(series, f"{step}s" if dates else step, how) for how in ("mean", "last"))
    start = times[0] // step * step
    for place in range(mean.steps):
        low = start + place * step
        held = [v for t, v in zip(times, values, strict=True) if low <= t < low + step and not np.isnan(v)]
        np.testing.assert_allclose(mean.values[place, 0], np.mean(held) if held else NAN)
        np.testing.assert_array_equal(last.values[place, 0], held[-1] if held else NAN)
    assert mean.times is not None and mean.times[0] == np.array(start).astype(mean.times.dtype)
    assert start + mean.steps * step > times[-1] >= start + (mean.steps - 1) * step


def test_a_grid_that_is_there_already_stays() -> None:
    tenths = at([0.1, 0.2, 0.30000000000000004, 0.7999999999999999])
    even = resample(tenths, 0.1)
    np.testing.assert_array_equal(even.values[:, 0], [0, 1, 2, *[NAN] * 4, 3])
    with_gaps = at([10, 20, 50])
    np.testing.assert_array_equal(resample(with_gaps, 10).values, insert_gaps(with_gaps).values)


@pytest.mark.parametrize(
    ("step", "expected"),
    [("1d", 2), ("12h", 3), ("1440 min", 2), ("d", 2), ("0.5D", 3), ("1w", 1), ("43200000ms", 3),
     (datetime.timedelta(hours=12), 3), (np.timedelta64(12, "h"), 3)],
)  # fmt: skip
def test_steps_of_dates(step: Any, expected: int) -> None:
    assert resample(at(["2024-01-02", "2024-01-03"], dtype="datetime64[D]"), step).steps == expected


def test_steps_finer_than_the_unit_of_the_times() -> None:
    even = resample(at([0, 1], dtype="datetime64[s]"), "250ms")
    assert even.times is not None and even.steps == 5 and even.times.dtype == "datetime64[ms]"


@pytest.mark.parametrize(
    ("times", "step", "message"),
    [
        ([0, 1], "5min", "a positive number, for times that are int64, got '5min'"),
        ([0, 1], 0, "a positive number"),
        ([0, 1], -2.0, "a positive number"),
        ([0, 1], float("nan"), "a positive number"),
        ([0, 1], True, "a positive number"),
        ([0, 1], [1], "a positive number"),
        ([0, 1], datetime.timedelta(seconds=1), "a positive number"),
        ([0, 10**12], 1, "a regular grid that fits in memory"),
        ([0.0, 1e300], 1, "countable in steps"),
    ],
)
def test_a_step_that_is_none_is_refused(times: list[Any], step: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resample(at(times), step)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (5, '"5min", "1h", "30s" or "1d", for times that are datetime64'),
        ("soon", "no unit 'soon'.*The units are: d, h, min"),
        ("5m", "no unit 'm'"),
        ("-5min", "got '-5min'"),
        ("0s", "got '0s'"),
        (datetime.timedelta(0), "got datetime.timedelta"),
    ],
)
def test_a_step_that_is_no_step_of_dates_is_refused(step: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resample(at(["2024-01-02", "2024-01-03"], dtype="datetime64[s]"), step)


def test_resampling_needs_times_and_a_way() -> None:
    with pytest.raises(DataError, match="times to resample by"):
        resample(Series("a", np.zeros(3)), 2)
    with pytest.raises(RecipeError, match="one of mean, last, linear"):
        resample(at([1, 2]), 1, "median")
    with pytest.raises(DataError, match="64 bits hold"):
        resample(at(["0001-01-01", "2024-01-03"], dtype="datetime64[s]"), "1ns")


def test_rows_find_back_from_bins_and_gaps() -> None:
    table = pa.table({"t": [21, 3, 0, 58], "x": [1.0, 2.0, 3.0, 4.0]})
    (series,) = from_long(table, series=None, time="t")
    even = resample(series, 10)
    out = to_long([np.arange(even.steps)], [even])
    assert out["t"].to_pylist() == [21, 3, 0, 58] and out["score"].to_pylist() == [2, 0, 0, 5]


@pytest.mark.skipif(not (SHARED / "nab.parquet").exists(), reason="shared/data/nab.parquet is not here")
def test_nab_is_regular_but_for_three_series_whose_clocks_were_put_forward() -> None:
    table = parquet.read_table(SHARED / "nab.parquet")
    found = from_long(table, series="series", time="timestamp", channels=["value"], duplicates="mean")
    refused = []
    for one in found:
        try:
            filled = insert_gaps(one)
        except DataError as error:
            refused.append((one.name.split("/")[1], "'5min'" in str(error), regular(resample(one, "5min"))))
        else:
            assert regular(filled) and filled.steps - one.steps == sum(missing for *_, missing in gaps(one))
    assert refused == [
        ("ec2_disk_write_bytes_1ef3de.csv", True, True),
        ("ec2_network_in_5abac7.csv", True, True),
        ("ec2_request_latency_system_failure.csv", True, True),
    ]
    assert sum(not regular(one) for one in found) == 11
