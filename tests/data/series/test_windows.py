"""Windows of series: every step is in one, and what is said of windows comes back as one value for each step."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from isthmus.data.series.series import Series, from_long
from isthmus.data.series.step_table import to_long
from isthmus.data.series.windows import SeriesWindows, StepAverage
from isthmus.data.source import Source
from isthmus.errors import DataError, RecipeError
from tests.helpers import SHARED

FOLDERS = [SHARED]
SHARED = next((folder for folder in FOLDERS if folder.exists()), FOLDERS[0])


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"shared/data/{name} is not here")


def everything(windows: SeriesWindows) -> Any:
    return windows.take(np.arange(len(windows)))


def make(sizes: list[int], channels: int = 1, holes: float = 0.0, seed: int = 0) -> list[Series]:
    generator = np.random.default_rng(seed)
    made = []
    for place, size in enumerate(sizes):
        values = generator.normal(size=(size, channels)) * 10.0 ** generator.integers(-8, 8)
        values[generator.random(values.shape) < holes] = np.nan
        made.append(Series(f"s{place}", values))
    return made


def test_windows_of_unequal_series_by_hand() -> None:
    windows = SeriesWindows([Series("a", np.arange(8.0)), Series("b", np.arange(2.0))], length=4, stride=3)
    expected = [[0, 1, 2, 3], [3, 4, 5, 6], [4, 5, 6, 7], [0, 1, np.nan, np.nan]]
    np.testing.assert_array_equal(everything(windows)[:, :, 0], expected)
    assert windows.starts.tolist() == [[0, 0], [0, 3], [0, 4], [1, 0]]
    assert len(windows) == 4 and windows.names == ("a", "b") and windows.channels == ("0",)
    assert isinstance(windows, Source) and windows.kind == "series" and windows.in_memory
    np.testing.assert_array_equal(windows.take(np.array([3, 0]))[:, :, 0], [expected[3], expected[0]])


def test_whole_series_are_padded_to_the_longest() -> None:
    windows = SeriesWindows(make([3, 7, 1]), length=None)
    assert everything(windows).shape == (3, 7, 1) and windows.starts.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert np.isnan(everything(windows)).sum(axis=(1, 2)).tolist() == [4, 0, 6]


def test_a_window_longer_than_all_series() -> None:
    windows = SeriesWindows(make([3, 1]), length=5)
    block = everything(windows)
    assert block.shape == (2, 5, 1) and np.isnan(block).sum() == 2 + 4
    for values, one in zip(windows.per_step(block), windows.series, strict=True):
        np.testing.assert_array_equal(values, one.values)


def test_a_series_of_one_step() -> None:
    windows = SeriesWindows([Series("a", [5.0])], length=1)
    assert everything(windows).tolist() == [[[5.0]]] and windows.per_step([[2.0]])[0].tolist() == [2.0]


def test_the_stride_is_a_quarter_of_the_window_unless_told() -> None:
    assert SeriesWindows(make([100]), length=40).stride == 10
    assert SeriesWindows(make([100]), length=3).stride == 1


def test_blocks_keep_the_type_and_do_not_share_the_values() -> None:
    series = Series("a", np.zeros((5, 2), np.float32))
    windows = SeriesWindows([series], length=2)
    block = everything(windows)
    assert block.dtype == np.float32
    block[:] = 7
    assert not series.values.any() and not everything(windows).any()
    assert everything(SeriesWindows([series, Series("b", np.zeros((5, 2)))], 2)).dtype == np.float64


@settings(max_examples=80)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(1, 12),
    st.integers(1, 2),
    st.integers(0, 1000),
)
def test_cutting_and_putting_together_is_the_identity(
    sizes: list[int], length: int | None, stride: int, channels: int, seed: int
) -> None:
    series = make(sizes, channels, holes=0.3, seed=seed)
    windows = SeriesWindows(series, length, None if length is None else min(stride, length))
    block = everything(windows)
    covered = [np.zeros(size, int) for size in sizes]
    for place, start in windows.starts:
        covered[place][start : start + windows.length] += 1
    assert all(count.min() >= 1 for count in covered)
    # To the last bit: not nearly the values, but they themselves.
    for how in ("mean", "max", "min", "last"):
        for values, one in zip(windows.per_step(block, how), series, strict=True):
            assert values.dtype == np.float64
            np.testing.assert_array_equal(values, one.values)


def slow(windows: SeriesWindows, values: Any, how: str) -> list[Any]:
    """Return what `per_step` should, step by step and window by window."""
    found = []
    starts = windows.starts
    for place, one in enumerate(windows.series):
        steps = []
        for step in range(one.steps):
            held = [
                values[row][step - start]
                for row, (number, start) in enumerate(starts)
                if number == place and start <= step < start + windows.length
            ]
            held = [value for value in held if not np.isnan(value)]
            if not held or np.isnan(one.values[step]).all():
                steps.append(np.nan)
            else:
                steps.append({"mean": np.mean(held), "max": max(held), "min": min(held), "last": held[-1]}[how])
        found.append(np.array(steps))
    return found


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["mean", "max", "min", "last"]),
    st.integers(0, 1000),
)
def test_values_by_step_are_those_of_a_slow_double_loop(
    sizes: list[int], length: int, stride: int, how: str, seed: int
) -> None:
    windows = SeriesWindows(make(sizes, 2, holes=0.5, seed=seed), length, min(stride, length))
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(windows), length))
    values[generator.random(values.shape) < 0.1] = np.nan
    for got, expected in zip(windows.per_step(values, how), slow(windows, values, how), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    by_window = np.repeat(values[:, :1], length, axis=1)
    got = windows.per_step_of_windows(values[:, 0], how)
    for one, expected in zip(got, slow(windows, by_window, how), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-12)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 20),
    st.sampled_from([(), (2,)]),
    st.integers(0, 1000),
)
def test_the_size_of_the_blocks_makes_no_difference(
    sizes: list[int], length: int, stride: int, size: int, more: tuple[int, ...], seed: int
) -> None:
    windows = SeriesWindows(make(sizes, 2, seed=seed), length, min(stride, length))
    values = np.random.default_rng(seed).normal(size=(len(windows), length, *more)).astype(np.float32)
    for how in ("mean", "last"):
        sums = StepAverage(windows, how)
        for first in range(0, len(windows), size):
            sums.add(first, values[first : first + size])
        for got, expected in zip(sums.result(), windows.per_step(values, how), strict=True):
            assert got.tobytes() == expected.tobytes()


def test_missing_steps_are_masked_and_padding_never_counts() -> None:
    series = [Series("a", np.array([[1, 1], [np.nan, 1], [np.nan, np.nan]])), Series("b", np.zeros((2, 2)))]
    windows = SeriesWindows(series, length=3)
    a, b = windows.per_step([[1, 2, 3], [4, 5, 99]])
    np.testing.assert_array_equal(a, [1, 2, np.nan])
    assert b.tolist() == [4, 5]
    assert windows.per_step([[1, 2, 3], [4, 5, 99]], mask=False)[0].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(windows.per_step_of_windows([7, 8])[0], [7, 7, np.nan])


def test_an_infinite_score_stays_infinite() -> None:
    windows = SeriesWindows([Series("a", np.zeros(3))], length=2, stride=1)
    assert windows.per_step([[np.inf, 1], [np.inf, 2]])[0].tolist() == [np.inf, np.inf, 2]
    assert windows.per_step([[1, np.inf], [1, 2]])[0].tolist() == [1, np.inf, 2]


def test_gaps_become_missing_steps_of_the_windows() -> None:
    windows = SeriesWindows([Series("a", np.arange(5.0), np.array([0, 1, 2, 5, 6]))], length=3, stride=2)
    expected = [[0, 1, 2], [2, np.nan, np.nan], [np.nan, 3, 4]]
    np.testing.assert_array_equal(everything(windows)[:, :, 0], expected)
    assert [one.shape for one in windows.per_step(everything(windows)[:, :, 0])] == [(7,)]
    together = SeriesWindows(windows.series, length=3, stride=2)
    assert together.lengths.tolist() == [7]
    plain = SeriesWindows([Series("a", np.arange(5.0), np.array([0, 1, 2, 5, 6]))], 3, 2, ignore_times=True)
    assert plain.lengths.tolist() == [5]


def test_irregular_sampling_is_refused_unless_told() -> None:
    series = [Series("a", np.arange(4.0), np.array([0, 2, 5, 7]))]
    with pytest.raises(DataError, match=r"multiples of the smallest.*got 3 between 2 and 5.*every=2 in rows.*resample"):
        SeriesWindows(series, length=2)
    assert len(SeriesWindows(series, length=2, ignore_times=True)) == 3


@pytest.mark.parametrize(
    ("series", "arguments", "error", "message"),
    [
        ([], {"length": 2}, DataError, "at least one series"),
        (make([5]), {"length": 0}, RecipeError, "length: expected an integer"),
        (make([5]), {"length": 2, "stride": 0}, RecipeError, "stride: expected an integer"),
        (make([5]), {"length": 2, "stride": 3}, DataError, "a stride of at most 2"),
        (make([5]) + make([5], 2), {"length": 2}, DataError, "expected the channels of 's0'"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    series: list[Series], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SeriesWindows(series, **arguments)


def test_rows_that_are_not_there() -> None:
    windows = SeriesWindows(make([5]), length=2)
    for row in (-1, len(windows)):
        with pytest.raises(DataError, match=f"rows 0 to {len(windows) - 1}, got row {row}"):
            windows.take(np.array([0, row]))
    assert windows.take(np.array([], int)).shape == (0, 2, 1)


@pytest.mark.parametrize(
    ("first", "values", "message"),
    [
        (0, np.zeros((2, 3)), r"numbers \(rows,\), \(rows, 2\) or \(rows, 2, 1\)"),
        (0, np.zeros((2, 2, 2)), "of shape .2, 2, 2."),
        (0, np.array([["a", "b"]]), "expected numbers"),
        (0, np.float64(3), "expected numbers"),
        (1, np.zeros((2, 2)), "expected row 0"),
        (0, np.zeros((9, 2)), "at most 4 rows"),
    ],
)
def test_values_that_are_not_the_windows_are_refused(first: int, values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        StepAverage(SeriesWindows(make([5]), length=2)).add(first, values)


def test_blocks_are_alike_and_complete() -> None:
    sums = StepAverage(SeriesWindows(make([5]), length=2))
    sums.add(0, np.zeros((2, 2)))
    with pytest.raises(DataError, match="2 axes as before"):
        sums.add(2, np.zeros(2))
    with pytest.raises(DataError, match="the values of 4 windows, got 2"):
        sums.result()
    with pytest.raises(RecipeError, match="one of mean, max, min, last"):
        StepAverage(sums.source, "median")
    with pytest.raises(DataError, match="one score for each of 4 windows"):
        sums.source.per_step_of_windows(np.zeros((4, 2)))


def test_the_fingerprint_tells_rows_apart() -> None:
    series = make([9, 5], 2, seed=3)
    same = SeriesWindows(make([9, 5], 2, seed=3), 4).fingerprint()
    assert SeriesWindows(series, 4).fingerprint() == same
    changed = series[1].values.copy()
    changed[-1, -1] += 1e-9
    others = [
        SeriesWindows(series, 5, 1),
        SeriesWindows(series, 4, 2),
        SeriesWindows(series[::-1], 4),
        SeriesWindows([series[0], Series("s1", changed)], 4),
        SeriesWindows([series[0], Series("other", series[1].values)], 4),
    ]
    assert len({same, *(one.fingerprint() for one in others)}) == 6


def test_blocks_and_shuffled_rows_are_those_of_take() -> None:
    windows = SeriesWindows(make([700, 90]), length=8, stride=1)
    rows, block = next(iter(windows.shuffled(0, 1)))
    np.testing.assert_array_equal(block, windows.take(rows))
    assert sorted(np.concatenate([rows for rows, _ in windows.shuffled(0, 1)])) == list(range(len(windows)))
    np.testing.assert_array_equal(np.concatenate(list(windows.blocks(100))), everything(windows))


def test_scores_stand_beside_the_users_rows() -> None:
    ids = pa.array(["b", "a", "b", "b", "a"]).dictionary_encode()
    times = pa.array([300, 0, 0, 60, 60], pa.timestamp("s", "Europe/Berlin"))
    table = pa.table({"id": ids, "at": times, "x": [3.0, 1.0, 0.0, 2.0, None], "y": [1, 2, 3, 4, 5]})
    windows = SeriesWindows(from_long(table, series="id", time="at"), length=2, stride=1)
    # The gap of series b has steps that are no rows.
    assert windows.lengths.tolist() == [6, 2]
    out = to_long(windows.per_step(everything(windows)[:, :, 0]), windows, name="error")
    assert out.schema.field("id").type == ids.type and out.schema.field("at").type == times.type
    assert out.drop_columns("error").to_pylist() == table.select(["id", "at"]).to_pylist()
    assert out["error"].to_pylist() == [3.0, 1.0, 0.0, 2.0, None]
    both = to_long(windows.per_step(everything(windows)), windows)
    assert both.to_pylist() == table.set_column(3, "y", table["y"].cast("float64")).to_pylist()


def test_some_of_the_series_have_some_of_the_rows() -> None:
    table = pa.table({"id": ["b", "a", "b"], "x": [1.0, 2.0, 3.0]})
    (b, _) = from_long(table, series="id", time=None)
    assert to_long([[0.1, 0.3]], [b]).to_pylist() == [{"id": "b", "score": 0.1}, {"id": "b", "score": 0.3}]


def test_series_that_were_arrays_have_a_row_for_each_step() -> None:
    out = to_long([[1.0, np.nan], [3.0]], [Series("a", np.zeros(2)), Series("b", np.zeros(1))])
    assert out["series"].to_pylist() == ["a", "a", "b"] and out["score"].to_pylist() == [1.0, None, 3.0]


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        ([[1.0]], {}, "values for 2 series, got 1"),
        ([[1.0, 2.0], [1.0, 2.0]], {}, r"shape \(1,\) for series 'b'"),
        ([[1.0, 2.0], [[1.0]]], {}, r"shape \(1,\) for series 'b'"),
        ([[[1.0, 1.0], [2.0, 1.0]], [[1.0, 2.0]]], {}, r"shape \(2, 1\) for series 'a'"),
        ([[1.0, 2.0], [1.0]], {"name": "series"}, "a new name for the values, got 'series'"),
        ([["p", "q"], ["r"]], {}, "expected numbers"),
    ],
)
def test_values_that_are_not_the_series_are_refused(values: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_long(values, [Series("a", np.zeros(2)), Series("b", np.zeros(1))], **arguments)


def test_times_of_different_types_do_not_stand_in_one_column() -> None:
    dates = Series("a", np.zeros(1), np.array(["2024-01-01"], "datetime64[s]"))
    with pytest.raises(DataError, match="the same types of times"):
        to_long([[1.0], [2.0]], [dates, Series("b", np.zeros(1), np.array([3]))])


def test_a_million_windows_take_the_memory_of_the_series() -> None:
    values = np.zeros((1_000_000, 1))
    tracemalloc.start()
    try:
        windows = SeriesWindows([Series("a", values)], length=100, stride=1)
        windows.take(np.arange(999_000, 999_901))
        windows.fingerprint()
        assert len(windows) == 999_901 and tracemalloc.get_traced_memory()[1] < 2 * values.nbytes
        sums = StepAverage(windows)
        sums.add(0, np.zeros((512, 100), np.float32))
        assert tracemalloc.get_traced_memory()[1] < 5 * values.nbytes
    finally:
        tracemalloc.stop()


@needs("smd_2machines.npz")
def test_two_machines_of_unequal_length() -> None:
    with np.load(SHARED / "smd_2machines.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name.endswith("_test")}
    series = [Series(name, values) for name, values in arrays.items()]
    windows = SeriesWindows(series, length=100, stride=50)
    sums = StepAverage(windows)
    for first in range(0, len(windows), 128):
        sums.add(first, windows.take(np.arange(first, min(first + 128, len(windows)))))
    for got, one in zip(sums.result(), series, strict=True):
        np.testing.assert_array_equal(got, one.values)
    assert [one.steps for one in series] == [23_689, 23_694] and windows.take(np.array([0])).dtype == np.float32


@needs("ecg5000.npz")
def test_five_thousand_heartbeats_are_rows() -> None:
    with np.load(SHARED / "ecg5000.npz") as archive:
        x = archive["x"]
    windows = SeriesWindows([Series(str(place), row) for place, row in enumerate(x)], length=None)
    np.testing.assert_array_equal(everything(windows)[:, :, 0], x)
    np.testing.assert_array_equal(np.stack(windows.per_step_of_windows(x[:, 3]))[:, 139], x[:, 3])


@needs("nab.parquet")
def test_all_of_nab_is_scored_step_by_step() -> None:
    table = parquet.read_table(SHARED / "nab.parquet")
    found = from_long(table, series="series", time="timestamp", channels=["value"], duplicates="first")
    windows = SeriesWindows(found, length=64, ignore_times=True)
    out = to_long(windows.per_step_of_windows(np.ones(len(windows))), windows)
    assert out.num_rows == 181_653 and out["score"].null_count == 0 and set(out["score"].to_pylist()) == {1.0}


def test_one_time_far_from_the_others_makes_no_endless_series() -> None:
    """A time that is wrong would ask for millions of missing steps: a fuzzer's file took seconds and 750 MB."""
    times = np.array([0, 1, 2, 3, 4, 5_000_000])
    with pytest.raises(DataError, match="series 'a'"):
        SeriesWindows([Series("a", np.arange(6.0), times)], length=2)
    assert len(SeriesWindows([Series("a", np.arange(6.0), np.minimum(times, 900))], length=2)) > 400
