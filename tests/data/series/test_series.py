"""Series from long tables and files: grouped, sorted, complete, and refused where a row or a file is wrong."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from isthmus.data.arrays import load_file
from isthmus.data.series.series import Series, from_files, from_long, mean_by_step
from isthmus.data.series.step_table import to_long
from isthmus.errors import DataError, RecipeError
from tests.helpers import SHARED

FOLDERS = [SHARED]
SHARED = next((folder for folder in FOLDERS if folder.exists()), FOLDERS[0])
needs_nab = pytest.mark.skipif(not (SHARED / "nab.parquet").exists(), reason="shared/data/nab.parquet is not here")


def long(**columns: Any) -> pa.Table:
    return pa.table(columns)


def test_rows_are_grouped_in_the_order_of_appearance_and_sorted_by_time() -> None:
    table = long(id=["b", "a", "b", "a"], t=[2, 9, 1, 3], x=[1.0, 2.0, 3.0, None], y=[True, False, None, True])
    b, a = from_long(table, series="id", time="t")
    assert (b.name, a.name) == ("b", "a") and b.channels == ("x", "y")
    np.testing.assert_array_equal(b.values, [[3.0, np.nan], [1.0, 1.0]])
    np.testing.assert_array_equal(a.values, [[np.nan, 1.0], [2.0, 0.0]])
    assert b.times is not None and b.times.tolist() == [1, 2]
    assert b.origin is not None and b.origin.rows.tolist() == [2, 0] and b.origin.keys.column_names == ["id", "t"]


def test_without_a_time_the_rows_keep_their_order() -> None:
    a, b = from_long(long(id=["a", "b", "a"], x=[3.0, 2.0, 1.0]), series="id", time=None)
    assert a.values[:, 0].tolist() == [3.0, 1.0] and a.times is None and b.steps == 1


def test_without_a_series_all_rows_are_one() -> None:
    (one,) = from_long(long(t=[3, 1], x=[3.0, 1.0]), series=None, time="t")
    assert one.values[:, 0].tolist() == [1.0, 3.0]


def test_the_channels_may_be_named_and_are_in_that_order() -> None:
    table = long(t=[1, 2], x=[1, 2], note=["p", "q"], y=[3, 4])
    (one,) = from_long(table, series=None, time="t", channels=["y", "x"])
    assert one.channels == ("y", "x") and one.values.tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (pa.array(["u", "v", "u"]).dictionary_encode(), ["u", "v"]),
        (pa.array(["u", "v", "u"], pa.large_string()), ["u", "v"]),
        (pa.array(["u", "v", "u"], pa.large_string()).dictionary_encode(), ["u", "v"]),
        (pa.chunked_array([pa.array(["u"]).dictionary_encode(), pa.array(["v", "u"]).dictionary_encode()]), ["u", "v"]),
        (pa.array([7, 3, 7], pa.int8()), ["7", "3"]),
        (pa.array([True, False, True]), ["true", "false"]),
        (pa.array([1.0, 2.5, 1.0]), ["1", "2.5"]),
        (pa.array([datetime.date(2024, 1, 2), datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]), None),
    ],
)
def test_series_of_every_type(ids: Any, names: list[str] | None) -> None:
    found = from_long(long(id=ids, x=[1.0, 2.0, 3.0]), series="id", time=None)
    assert [one.name for one in found] == (names or ["2024-01-02", "2024-01-01"])
    assert [one.values[:, 0].tolist() for one in found] == [[1.0, 3.0], [2.0]]


NOON = datetime.datetime(2024, 3, 1, 12, 0, 0)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([NOON.replace(hour=13), NOON], pa.timestamp("us")), "2024-03-01T12:00:00.000000"),
        (pa.array([NOON.replace(hour=13), NOON], pa.timestamp("s")), "2024-03-01T12:00:00"),
        (
            pa.array([NOON.replace(hour=13), NOON], pa.timestamp("ns")).dictionary_encode(),
            "2024-03-01T12:00:00.000000000",
        ),
        (pa.array([NOON.replace(hour=13), NOON], pa.timestamp("ms", "Europe/Berlin")), "2024-03-01T12:00:00.000"),
        (pa.array([datetime.date(2024, 3, 2), datetime.date(2024, 3, 1)]), "2024-03-01"),
        (pa.array([datetime.date(2024, 3, 2), datetime.date(2024, 3, 1)], pa.date64()), "2024-03-01T00:00:00.000"),
        (pa.array(["2024-03-01 13:00", "2024-03-01 12:00"]), "2024-03-01T12:00:00.000000"),
        (pa.array(["2024-03-01 13:00Z", "2024-03-01 14:00+02:00"], pa.large_string()), "2024-03-01T12:00:00.000000"),
        (pa.array([3, -1], pa.int16()), "-1"),
        (pa.array([3, 1], pa.uint64()), "1"),
        (pa.array([3.5, 1.25]), "1.25"),
    ],
)
def test_times_of_every_type(times: Any, expected: str) -> None:
    (one,) = from_long(long(t=times, x=[1.0, 2.0]), series=None, time="t")
    assert one.times is not None and str(one.times[0]) == expected
    assert one.values[:, 0].tolist() == [2.0, 1.0]
    back = to_long([one.values], [one])
    assert back["t"].type == long(t=times)["t"].type and back["t"].to_pylist() == times.to_pylist()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("int8", "f4"), ("float32", "f4"), ("bool_", "f4"), ("int32", "f8"), ("float64", "f8"), ("null", "f4")],
)
def test_values_are_float32_where_that_is_exact(kind: str, dtype: str) -> None:
    (one,) = from_long(long(x=pa.nulls(2, getattr(pa, kind)())), series=None, time=None)
    assert one.values.dtype == dtype and np.isnan(one.values).all()


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (long(t=[1], x=[1.0], note=["hot"]), {}, "column 'note': expected numbers.*string .such as 'hot'.*--drop"),
        (long(t=[1], x=[1.0], on=[NOON]), {}, "column 'on': expected numbers.*timestamp"),
        (long(t=[1, None], x=[1.0, 2.0]), {}, "column 't': expected a time in each row.*first in row 1"),
        (long(t=[1.0, float("nan")], x=[1.0, 2.0]), {}, "column 't': expected a time in each row.*first in row 1"),
        (long(t=[1.0, float("inf")], x=[1.0, 2.0]), {}, "expected a time for each step, got inf"),
        (long(t=["noon"], x=[1.0]), {}, "column 't': expected times such as.*'noon'"),
        (long(t=[datetime.time(12)], x=[1.0]), {}, "column 't': expected times, got time"),
        (long(t=[True], x=[1.0]), {}, "column 't': expected times, got bool"),
        (long(t=pa.array([2**64 - 1], pa.uint64()), x=[1.0]), {}, "column 't'.*numbers too large"),
        (long(t=[-(2**62), 2**62 + 5], x=[1.0, 2.0]), {}, "distances 64 bits hold"),
        (long(t=[1, 2], x=[1.0, float("inf")]), {}, "column 'x': expected finite numbers, got inf in row 1"),
        (long(t=[1, 2, 2, 2], x=[1.0, 2.0, 3.0, 4.0]), {}, "rows 1 and 2 both at 2, and 1 more.*duplicates="),
        (long(t=[1, 2], x=[1.0, 2.0]), {"channels": ["z"]}, "no column 'z'"),
        (long(t=[1, 2], x=[1.0, 2.0]), {"channels": ["t"]}, "'t' twice"),
        (long(t=[1, 2]), {}, "a column of numbers beside"),
        (long(t=[1, 2], x=[1.0, 2.0]).slice(0, 0), {}, "a table with rows"),
        (pa.table([[1], [2]], ["x", "x"]), {"time": None}, r"\['x'\] more than once"),
        (long(id=["a", None], x=[1, 2]), {"time": None, "series": "id"}, "a series in each row.*first in row 1"),
        (long(id=[b"a"], x=[1]), {"time": None, "series": "id"}, "names of series, got binary"),
    ],
)
def test_what_is_refused_says_where(table: pa.Table, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_long(table, **{"series": None, "time": "t", **arguments})


def test_rows_of_one_time_are_named_by_their_place_in_the_table() -> None:
    table = long(id=["a", "b", "b", "a"], t=[5, 7, 8, 5], x=[1.0, 2.0, 3.0, 4.0])
    with pytest.raises(DataError, match=r"series 'a'.*rows 0 and 3 both at 5, and 0 more"):
        from_long(table, series="id", time="t")


@pytest.mark.parametrize(
    ("duplicates", "x", "y"),
    [("mean", [2.0, 4.0, 9.0], [5.0, np.nan, 1.0]), ("first", [1.0, 4.0, 9.0], [np.nan, np.nan, 1.0]),
     ("last", [3.0, 4.0, 9.0], [5.0, np.nan, 1.0])],
)  # fmt: skip
def test_rows_of_one_time_become_one_step_on_request(duplicates: str, x: list[float], y: list[float]) -> None:
    table = long(t=[8, 1, 1, 7], x=[9.0, 1.0, 3.0, 4.0], y=[1.0, None, 5.0, None])
    (one,) = from_long(table, series=None, time="t", duplicates=duplicates)
    np.testing.assert_array_equal(one.values, np.column_stack([x, y]))
    assert one.times is not None and one.times.tolist() == [1, 7, 8]
    # Each of the rows has the score of the step that it became.
    assert to_long([[0.1, 0.7, 0.8]], [one])["score"].to_pylist() == [0.8, 0.1, 0.1, 0.7]


def test_duplicates_are_chosen_by_name() -> None:
    with pytest.raises(RecipeError, match="one of refuse, mean, first, last"):
        from_long(long(x=[1.0]), series=None, time=None, duplicates="median")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 20), st.integers(0, 9)), min_size=1), st.randoms())
def test_any_order_of_rows_gives_the_same_series_and_finds_back(rows: list[tuple[str, int, int]], random: Any) -> None:
    unique = list({row[:2]: row for row in rows}.values())
    random.shuffle(unique)
    ids, times, x = (list(column) for column in zip(*unique, strict=True))
    table = long(id=ids, t=times, x=x)
    found = from_long(table, series="id", time="t")
    for one in found:
        expected = sorted((t, v) for i, t, v in unique if i == one.name)
        assert one.times is not None
        assert list(zip(one.times.tolist(), one.values[:, 0].tolist(), strict=True)) == expected
    back = to_long([one.values for one in found], found)
    assert back.to_pylist() == table.to_pylist()


def test_a_series_states_what_it_holds() -> None:
    one = Series("a", np.array([1, 2]), np.array(["2024-01", "2024-02"], "datetime64[M]"))
    assert one.values.dtype == np.float64 and one.values.shape == (2, 1) and one.channels == ("0",)
    assert one.times is not None and one.times.dtype == "datetime64[s]"
    assert Series("a", np.zeros((2, 1), np.float16)).values.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2, 2)),), "values .T, C."),
        ((np.array(["a"]),), "expected numbers"),
        ((np.zeros((0, 2)),), "at least one step"),
        ((np.array([[1.0], [np.inf]]),), "inf at step 1 of channel '0'"),
        ((np.zeros(2), np.array([1, 2, 3])), "2 times, got shape"),
        ((np.zeros(2), np.array([2, 2])), "2 at step 0 and 2 after it"),
        ((np.zeros(2), np.array([2, 1])), "times that increase"),
        ((np.zeros(2), np.array(["a", "b"])), "dates or numbers"),
        ((np.zeros(2), np.array(["2024-01-01", "NaT"], "datetime64[s]")), "a time for each step, got NaT at step 1"),
        ((np.zeros(2), None, ("a", "b")), "a name of its own for each channel"),
        ((np.zeros((2, 2)), None, ("a", "a")), "a name of its own for each channel"),
    ],
)
def test_a_series_that_is_none_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Series("s", *arguments)


def test_the_mean_by_step_passes_over_what_is_missing() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 7.0]], np.float32)
    means = mean_by_step(values, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(means, np.array([[2, np.nan], [np.nan, np.nan], [5, 7]], np.float32))
    assert means.dtype == np.float32


def write_tables(folder: Path, names: list[str]) -> None:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        size = place + 2
        table = long(t=list(range(size))[::-1], x=[float(place)] * size, y=list(range(size)))
        csv.write_csv(table, folder / name)


def test_a_folder_is_one_series_for_each_file(tmp_path: Path) -> None:
    write_tables(tmp_path, ["b.csv", "a.csv", "deep/c.csv", ".hidden.csv", ".git/d.csv"])
    (tmp_path / "README.md").write_text("no data")
    found = from_files(tmp_path, load_file, time="t")
    assert [(one.name, one.steps) for one in found] == [("a", 3), ("b", 2), ("c", 4)]
    assert found[0].values.tolist() == [[1.0, 2.0], [1.0, 1.0], [1.0, 0.0]]
    scores = to_long([np.arange(one.steps) for one in found], found)
    assert scores.column_names == ["series", "t", "score"]
    assert scores["series"].to_pylist() == ["a"] * 3 + ["b"] * 2 + ["c"] * 4
    assert scores["score"].to_pylist() == [2, 1, 0, 1, 0, 3, 2, 1, 0]


def test_a_glob_a_list_and_one_file(tmp_path: Path) -> None:
    write_tables(tmp_path, ["b.csv", "a.csv", "other.csv"])
    assert [one.name for one in from_files(str(tmp_path / "?.csv"), load_file, time="t")] == ["a", "b"]
    assert [one.name for one in from_files([tmp_path / "b.csv", tmp_path / "a.csv"], load_file)] == ["b", "a"]
    assert [one.name for one in from_files(tmp_path / "b.csv", load_file)] == ["b"]


def test_arrays_of_unequal_lengths_in_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", one=np.zeros((3, 2)), two=np.ones((4, 2), np.float32))
    found = from_files([f"{tmp_path / 'm.npz'}#one", f"{tmp_path / 'm.npz'}#two"], load_file)
    assert [one.steps for one in found] == [3, 4]
    assert found[1].name == (tmp_path / "m.npz#two").as_posix() and found[1].channels == ("0", "1")


def test_files_of_one_name_are_called_by_their_path(tmp_path: Path) -> None:
    write_tables(tmp_path, ["p/x.csv", "q/x.csv"])
    assert [one.name for one in from_files(tmp_path, load_file)] == [
        (tmp_path / name).as_posix() for name in ("p/x.csv", "q/x.csv")
    ]


def test_a_file_with_other_channels_is_named(tmp_path: Path) -> None:
    csv.write_csv(long(x=[1.0], y=[2.0]), tmp_path / "a.csv")
    csv.write_csv(long(y=[3.0], x=[4.0]), tmp_path / "b.csv")
    found = from_files(tmp_path, load_file)
    assert found[1].channels == ("x", "y") and found[1].values.tolist() == [[4.0, 3.0]]
    csv.write_csv(long(x=[1.0], z=[2.0]), tmp_path / "c.csv")
    with pytest.raises(DataError, match=r"c\.csv': expected the channels of .*a\.csv.*not in both: y, z"):
        from_files(tmp_path, load_file)
    assert from_files(tmp_path, load_file, channels=["x"])[2].values.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("write", "arguments", "message"),
    [
        (lambda f: None, {}, "files of series .*none in"),
        (lambda f: csv.write_csv(long(x=[1.0], n=["p"]), f / "a.csv"), {}, r"a\.csv': column 'n': expected numbers"),
        (lambda f: csv.write_csv(long(x=[1.0]), f / "a.csv"), {"time": "t"}, r"a\.csv': there is no column 't'"),
        (
            lambda f: np.save(f / "a.npy", np.zeros(3)),
            {"time": "t"},
            r"a\.npy': expected a table, for a column of times",
        ),
        (lambda f: np.save(f / "a.npy", np.zeros((3, 3, 3))), {}, r"a\.npy': series 'a': expected values"),
        (lambda f: (f / "a.npy").write_bytes(b"nothing"), {}, r"a\.npy' cannot be read"),
        (
            lambda f: csv.write_csv(long(t=[1, 1], x=[1, 2]), f / "a.csv"),
            {"time": "t"},
            r"a\.csv': .*rows 0 and 1 both",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, write: Any, arguments: dict[str, Any], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        from_files(tmp_path, load_file, **arguments)


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, ["a.csv"])
    with pytest.raises(DataError, match="each file once"):
        from_files([tmp_path / "a.csv", tmp_path / "a.csv"], load_file)


def test_rows_of_one_time_in_files(tmp_path: Path) -> None:
    csv.write_csv(long(t=[1, 1, 2], x=[1, 3, 5]), tmp_path / "a.csv")
    (one,) = from_files(tmp_path, load_file, time="t", duplicates="mean")
    assert one.values[:, 0].tolist() == [2.0, 5.0]


@needs_nab
def test_all_of_nab_is_read_with_the_hours_that_clocks_repeat() -> None:
    table = parquet.read_table(SHARED / "nab.parquet")
    with pytest.raises(DataError, match=r"ec2_disk_write_bytes_1ef3de.*rows 78726 and 78727 both at 2014-03-09T03:00"):
        from_long(table, series="series", time="timestamp")
    found = from_long(table, series="series", time="timestamp", duplicates="mean")
    # 45 rows of four series repeat a time: clocks were put forward there, or back.
    assert len(found) == 35 and sum(one.steps for one in found) == 181_653 - 45
    assert found[0].channels == ("value", "in_window") and found[0].values.dtype == np.float64
    fewer = {one.name.split("/")[1]: len(one.origin.rows) - one.steps for one in found if one.origin}
    assert {name: number for name, number in fewer.items() if number} == {
        "ec2_disk_write_bytes_1ef3de.csv": 11,
        "ec2_network_in_5abac7.csv": 11,
        "ec2_request_latency_system_failure.csv": 11,
        "machine_temperature_system_failure.csv": 12,
    }
    back = to_long([one.values for one in found], found)
    assert back.column_names == table.column_names and back.num_rows == 181_653
    assert back["timestamp"].equals(table["timestamp"]) and back["series"].type == table["series"].type
    same = back["value"].to_numpy() == table["value"].to_numpy()
    assert same.sum() >= 181_653 - 2 * 45
