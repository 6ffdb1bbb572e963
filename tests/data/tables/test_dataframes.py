"""Arrow tables as the frames that people have, and back."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from isthmus.data.open import open_source
from isthmus.data.tables import dataframes
from isthmus.data.tables.dataframes import as_frame, like_frame, to_table
from isthmus.errors import DataError, DataTypeError


def table_of(frame: Any) -> pa.Table:
    return to_table(nw.from_native(frame, eager_only=True))


def pandas_frame() -> pd.DataFrame:
    """Return a frame of every type that people have, under an index of its own."""
    when = pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "object": pd.Series(["a", None, "b"], dtype=object),
            "arrow": pd.array(["a", None, "b"], dtype="string[pyarrow]"),
            "python": pd.array(["a", None, "b"], dtype="string[python]"),
            "nullable": pd.array([1, None, 2**60 + 1], dtype="Int64"),
            "small": np.array([1, 2, 3], np.int8),
            "float32": np.array([1.5, np.nan, 3], np.float32),
            "bool": [True, False, True],
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "ordered": pd.Categorical(["x", "y", None], categories=["y", "unused", "x"], ordered=True),
            "numbers": pd.Categorical([3, 5, 3]),
            "zone": when,
            "naive": when.tz_localize(None).astype("datetime64[ns]"),
            "delta": pd.to_timedelta([1, 2, None], unit="s"),
            "date32": pd.array([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)], dtype=pd.ArrowDtype(pa.date32())),
            "dates": pd.Series([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)], dtype=object),
            "decimal": pd.Series([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")], dtype=object),
        }
    )
    return frame.set_index(pd.Index(["r", "s", "t"], name="row"))


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "text": ["a", None, "b"],
            "enum": pl.Series(["x", "y", None], dtype=pl.Enum(["y", "unused", "x"])),
            "categorical": pl.Series(["x", "y", None], dtype=pl.Categorical),
            "date": [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)],
            "datetime": pl.Series([dt.datetime(2020, 1, 1), None, dt.datetime(2021, 1, 1)], dtype=pl.Datetime("ms")),
            "zone": pl.Series([dt.datetime(2020, 1, 1)] * 3, dtype=pl.Datetime("us", "UTC")),
            "time": [dt.time(1), None, dt.time(2)],
            "int8": pl.Series([1, None, 3], dtype=pl.Int8),
            "uint64": pl.Series([1, None, 2**60 + 1], dtype=pl.UInt64),
            "float32": pl.Series([1.5, None, 3.0], dtype=pl.Float32),
            "boolean": [True, None, False],
            "decimal": pl.Series([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]),
            "nothing": [None, None, None],
        }
    )


def test_pandas_frames_come_back_as_they_were() -> None:
    frame = pandas_frame()
    back = like_frame(table_of(frame), frame)
    assert list(back.dtypes) == list(frame.dtypes) and back.index.equals(frame.index)
    for name in frame:  # a hole among objects may be None or NaN
        pd.testing.assert_series_equal(back[name].dropna(), frame[name].dropna())
        assert (back[name].isna() == frame[name].isna()).all()


def test_polars_frames_come_back_as_they_were() -> None:
    frame = polars_frame()
    back = like_frame(table_of(frame), frame)
    assert back.schema == frame.schema and back.equals(frame)


def test_arrow_tables_come_back_with_their_fields() -> None:
    schema = pa.schema([pa.field("x", pa.int8(), nullable=False, metadata={"unit": "m"})], metadata={"of": "someone"})
    table = pa.table({"x": pa.array([1, 2], pa.int8())}, schema=schema)
    assert like_frame(pa.table({"x": pa.array([3, 4], pa.int8())}), table).schema.equals(schema, check_metadata=True)
    assert like_frame(pa.table({"x": [0.5]}), table, types=False).schema.types == [pa.float64()]


def test_costs_are_floats_under_the_same_names_and_index() -> None:
    frame = pandas_frame()[["object", "nullable"]]
    back = like_frame(pa.table({"object": [0.5] * 3, "nullable": [1.5] * 3}), frame, types=False)
    assert list(back.dtypes) == [np.float64] * 2 and list(back.index) == ["r", "s", "t"]
    polars = like_frame(pa.table({"text": [0.5]}), polars_frame().select("text"), types=False)
    assert polars.schema == {"text": pl.Float64}


def test_a_label_that_a_type_lacks_is_added_to_it() -> None:
    """It would be lost without a word (pandas), or end in an error of another library (polars)."""
    frame = pd.DataFrame({"x": pd.Categorical(["b", "b"], categories=["b"], ordered=True)})
    back = like_frame(pa.table({"x": pa.array(["a", "b"]).dictionary_encode()}), frame)
    assert back["x"].tolist() == ["a", "b"] and back["x"].cat.categories.tolist() == ["b", "a"]
    polars = pl.DataFrame({"x": pl.Series(["b", "b"], dtype=pl.Enum(["b"]))})
    found = like_frame(pa.table({"x": pa.array(["a", "b"]).dictionary_encode()}), polars)
    assert found["x"].to_list() == ["a", "b"] and found.schema["x"] == pl.Enum(["b", "a"])


def test_texts_in_place_of_missing_numbers_stay_texts() -> None:
    table = pa.table({"x": ["a", "b"]})
    assert like_frame(table, pd.DataFrame({"x": [np.nan, np.nan]}))["x"].tolist() == ["a", "b"]
    assert like_frame(table, pl.DataFrame({"x": [None, None]}, schema={"x": pl.Float64}))["x"].to_list() == ["a", "b"]


def test_other_names_than_texts_are_kept() -> None:
    frame = pd.DataFrame(np.eye(2), columns=[7, 3])
    table = table_of(frame)
    assert table.column_names == ["7", "3"]
    pd.testing.assert_frame_equal(like_frame(table, frame), frame)


def test_frames_of_a_library_by_name() -> None:
    table = pa.table({"x": [1, 2]})
    assert isinstance(like_frame(table, "pandas"), pd.DataFrame)
    assert isinstance(like_frame(table, "polars"), pl.DataFrame)
    assert like_frame(table, "pyarrow") is table and like_frame(table, None) is table
    assert like_frame(table, np.zeros((2, 1))).tolist() == [[1.0], [2.0]]


def test_a_library_that_is_not_installed_leaves_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: Any, **kwargs: Any) -> Any:
        raise ModuleNotFoundError("No module named 'polars'")

    monkeypatch.setattr(dataframes.nw, "from_arrow", absent)
    table = pa.table({"x": [1, 2]})
    assert like_frame(table, "polars") is table


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1, "x", None]}), r"column 'a': expected .*one kind in a column.*X\['a'\].astype\(str\)"),
        (pd.DataFrame({"a": [1j]}), r"column 'a': expected numbers, texts, dates or booleans"),
        (pd.DataFrame({"a": [object()]}), r"column 'a': .*--drop a"),
        (pd.DataFrame({"a": [2**70]}), r"column 'a': .*too large"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}), r"column 'a': "),
        (pd.DataFrame(index=[0, 1]), r"expected a table with columns"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])), r"one name each.*\('a', 1\)"),
        (
            pd.DataFrame([[1, 2]], columns=["a", 1]),
            r"Feature names are only supported if all input features have string",
        ),
    ],
)
def test_what_is_no_table_is_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table_of(frame)


def test_names_that_stand_twice_are_refused() -> None:
    with pytest.raises(DataError, match=r"a name of its own for each column, got - 'a' 2 times"):
        as_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="'a' 2 times"):
        open_source(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_names_of_two_kinds_are_a_type_error_too() -> None:
    with pytest.raises(DataTypeError):
        table_of(pd.DataFrame([[1, 2]], columns=["a", 1]))


def test_polars_whole_numbers_of_128_bits_are_read_as_floats() -> None:
    frame = pl.DataFrame({"x": pl.Series([1, 2], dtype=pl.Int128)})
    table = table_of(frame)
    assert table["x"].to_pylist() == [1.0, 2.0]
    assert like_frame(table, frame).schema == frame.schema
