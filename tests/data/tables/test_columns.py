"""What the columns of a table are, and the statistics that tell."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data.tables.columns import Statistics, check_stated, parse_columns
from isthmus.data.tables.statistics import RunningStatistics
from isthmus.errors import DataError, RecipeError
from isthmus.schema import Column, Schema


def statistics(table: pa.Table, block: int | None = None, **kinds: str) -> Statistics:
    found = Statistics(table.schema, kinds)
    for start in range(0, len(table), block or len(table)):
        found.update(table.slice(start, block))
    return found


def column(values: Any, stated: str | None = None, scaling: str = "columns", kind: pa.DataType | None = None) -> Column:
    """Return the one column "x" with its scaling."""
    found = statistics(pa.table({"x": pa.array(values, kind)}), **({"x": stated} if stated else {}))
    return found.scaled(found.columns(), scaling, {})[0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 60))
def test_moments_and_extremes_are_numpys_on_any_blocks(values: list[float], block: int) -> None:
    x = np.asarray(values)
    numbers = RunningStatistics()
    for start in range(0, len(x), block):
        numbers.update(x[start : start + block])
    assert (numbers.count, numbers.low, numbers.high) == (len(x), x.min(), x.max())
    np.testing.assert_allclose(numbers.mean, x.mean(), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(numbers.squares / len(x)), x.std(), rtol=1e-9, atol=1e-7)
    assert numbers.whole == bool((x == np.floor(x)).all())
    assert numbers.bits == bool(np.isin(x, (0.0, 1.0)).all())


@pytest.mark.parametrize("block", [1000, 4096, 70_000])
def test_the_sample_does_not_depend_on_blocks(block: int) -> None:
    x = np.arange(70_000.0)
    whole, parts = RunningStatistics(), RunningStatistics()
    whole.update(x)
    for start in range(0, len(x), block):
        parts.update(x[start : start + block])
    assert 10_000 <= len(whole.sample) < 20_000
    np.testing.assert_array_equal(parts.sample, whole.sample)


@pytest.mark.parametrize("period", [8, 24, 1000])
def test_the_sample_sees_all_of_a_period(period: int) -> None:
    """Rows in order of time repeat: every 8th of hourly rows would be three hours of the day."""
    numbers = RunningStatistics()
    numbers.update(np.arange(200_000.0) % period)
    counts = np.bincount(numbers.sample.astype(int), minlength=period)
    assert counts.min() > 0.5 * counts.mean()


def test_large_offsets_do_not_drown_the_deviation() -> None:
    x = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    assert column(x, scaling="standard").scale == pytest.approx(np.arange(4.0).std(), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "kind", "whole"),
    [
        ([0, 1, 1], "binary", True),
        ([False, True], "binary", False),
        ([1, 1], "numeric", True),
        ([0.5, 2.0], "numeric", False),
        ([1.0, None], "numeric", True),
        (["a", "b"], "categorical", False),
        ([None, None], "empty", False),
        ([float("nan")], "empty", False),
        ([dt.date(2020, 1, 1), None], "date", True),
        ([decimal.Decimal("1.50")], "numeric", False),
    ],
)
def test_kinds_are_told_from_the_values(values: list[Any], kind: str, whole: bool) -> None:
    found = column(values)
    assert (found.kind, found.whole) == (kind, whole)
    assert found.missing == sum(v is None or v != v for v in values) / len(values)


def test_counts_and_long_tails_are_bent_and_dates_are_not() -> None:
    tail = [*np.linspace(0.0, 1.0, 2000), 1000.0]
    assert column(tail).scaling == "log"
    assert column(np.linspace(0.0, 1.0, 50)).scaling == "standard"
    assert column([0, 3, 5], "count").scaling == "log"
    assert column(np.array([0] * 2000 + [10**9]).astype("datetime64[s]")).scaling == "standard"


def test_scalings_are_those_of_numpy(rng: np.random.Generator) -> None:
    x = rng.lognormal(0.0, 2.0, 5000)
    standard, robust, log = (column(x, scaling=name) for name in ("standard", "robust", "log"))
    assert (standard.offset, standard.scale) == (pytest.approx(x.mean()), pytest.approx(x.std()))
    quarter = np.quantile(x, [0.25, 0.5, 0.75])
    assert (robust.offset, robust.scale) == (
        pytest.approx(quarter[1]), pytest.approx((quarter[2] - quarter[0]) / 1.349),
    )  # fmt: skip
    assert log.bend == pytest.approx(np.median(x))
    bent = np.log1p(x / np.median(x))
    assert (log.offset, log.scale) == (pytest.approx(bent.mean()), pytest.approx(bent.std()))
    points = column(x, scaling="quantile").points
    np.testing.assert_allclose(points, np.quantile(x, np.linspace(0.0, 1.0, 101)))


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", "log", "unit", "none", "columns"])
@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9, 0.1])
def test_a_constant_column_has_the_scale_one(scaling: str, value: float) -> None:
    found = column([value] * 7, scaling=scaling)
    assert found.scale == 1.0


def test_numbers_whose_squares_are_none_have_a_scale() -> None:
    assert column([0.0, 1e-200], scaling="standard").scale == 1e-200


def test_numbers_too_large_to_be_squared_are_bent_or_refused() -> None:
    assert column([-1e200, 0.0, 1e200]).scaling == "log"
    with pytest.raises(DataError, match=r"'x'.*squared.*1e\+200.*--column x:log"):
        column([-1e200, 0.0, 1e200], scaling="standard")


def test_a_column_that_is_constant_in_the_sample_keeps_its_extremes() -> None:
    """One row of a hundred thousand may not be in the sample."""
    x = np.zeros(100_000)
    x[77_777] = 5.0
    found = column(x, scaling="quantile")
    assert found.points == (0.0, 5.0)
    assert column(x, scaling="robust").scale == pytest.approx(x.std())


# ---- categories ------------------------------------------------------------------------------------------------------


def test_the_most_frequent_categories_are_kept_and_the_others_counted() -> None:
    values = [f"c{index}" for index in range(1500)] * 2 + ["c1400"] * 3
    found = column(values, "categorical")
    assert len(found.values) == 1000 and "c1400" in found.values and list(found.values) == sorted(found.values)
    assert found.rare == pytest.approx((500 * 2) / len(values))
    shuffled = list(reversed(values))
    assert column(shuffled, "categorical") == found


def test_names_and_sentences_are_refused_with_advice() -> None:
    names = [f"person {index}" for index in range(200)]
    with pytest.raises(DataError, match=r"'x'.*200 different values in 200 rows.*--drop x.*--column x:categorical"):
        column(names)
    assert len(column(names, "categorical").values) == 200
    with pytest.raises(DataError, match=r"100001 different values in 100001 rows.*--drop x\)$"):
        column([str(index) for index in range(100_001)], "categorical")


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([3, 1, None, 3], (1, 3)),
        ([True, False, None], (False, True)),
        ([0.5, float("nan"), 2.0], (0.5, 2.0)),
        ([decimal.Decimal("1.5"), decimal.Decimal("0.5"), None], (0.5, 1.5)),
    ],
)
def test_numbers_and_bits_can_be_categories(values: list[Any], labels: tuple[Any, ...]) -> None:
    found = column(values, "categorical")
    assert (found.kind, found.values) == ("categorical", labels)
    assert found.missing == sum(v is None or v != v for v in values) / len(values)
    assert Column.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_a_missing_text_is_no_empty_text(kind: pa.DataType) -> None:
    found = column(["a", None, ""], kind=kind)
    assert found.values == ("", "a") and found.missing == pytest.approx(1 / 3)


def test_dictionaries_that_differ_from_block_to_block_are_one_column() -> None:
    first, second = pa.array(["a", "b", None]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()
    found = statistics(pa.table({"x": pa.chunked_array([first, second])})).columns()[0]
    assert found.values == ("a", "b", "c") and found.missing == 0.2


# ---- what is refused -------------------------------------------------------------------------------------------------

_STAMPS = [dt.datetime(2020, 1, 1), dt.datetime(2021, 1, 1)]


@pytest.mark.parametrize(
    ("values", "stated", "message"),
    [
        (["a", "b"], "numeric", r"expected numbers, to be numeric, got texts such as 'a'; try --column x:categorical"),
        (["a", "b"], "date", r"expected points in time, to be date, got texts such as 'a'"),
        ([0, 1, 2], "binary", r"the values 0 and 1, to be binary, got values from 0 to 2; try --column x:categorical"),
        ([1, 1], "binary", r"the values 0 and 1, to be binary, got values from 1 to 1"),
        ([-1, 2], "count", r"whole numbers from 0, to be a count, got values from -1 to 2; try --column x:numeric"),
        ([0.5, 2.0], "count", r"got values from 0.5 to 2, not all of them whole"),
        ([1, 2], "date", r"points in time, to be a date, got int64 values; try --column x:numeric"),
        (_STAMPS, "numeric", r"expected numbers, to be numeric, got timestamp\[us\] values; try --column x:date"),
        (_STAMPS, "categorical", r"categories that are texts or numbers, got datetime.*; try leaving its kind"),
        ([b"ab"], None, r"numbers, texts, dates or booleans, got binary \(such as b'ab'\); try leaving it out"),
        ([[1, 2]], None, r"got list<.*such as \[1, 2\]"),
        ([1.0, float("inf")], None, r"infinite values \(inf\), the first in row 1; try filling them"),
        ([1.0, -float("inf")], "categorical", r"infinite values"),
    ],
)
def test_columns_that_cannot_be_what_they_are_told_to_be(values: list[Any], stated: str | None, message: str) -> None:
    with pytest.raises(DataError, match=f"column 'x'.*{message}"):
        column(values, stated)


def test_texts_in_a_dictionary_are_no_numbers() -> None:
    table = pa.table({"x": pa.array(["a", "b"]).dictionary_encode()})
    with pytest.raises(DataError, match=r"'x'.*numbers, to be numeric, got texts such as 'a'"):
        statistics(table, x="numeric").columns()
    numbers = pa.table({"x": pa.array([5, 7]).dictionary_encode()})
    assert statistics(numbers, x="numeric").columns()[0].high == 7.0
    assert statistics(numbers).columns()[0].values == (5, 7)


def test_an_infinite_number_is_found_in_later_blocks() -> None:
    x = np.zeros(100)
    x[77] = np.inf
    with pytest.raises(DataError, match="row 77"):
        statistics(pa.table({"x": x}), 10)
    with pytest.raises(DataError, match="row 777"):
        Statistics(pa.schema({"x": pa.float64()}), {}).update(pa.table({"x": x[70:]}), np.arange(770, 800))


def test_stated_columns_are_parsed() -> None:
    assert parse_columns(["age:numeric", "a:b:count:robust", "price:log"]) == (
        {"age": "numeric", "a:b": "count"}, {"a:b": "robust", "price": "log"},
    )  # fmt: skip
    for wrong in ("age", ":numeric", "age:", "age:nmeric", "age:numeric:lg", "age:empty"):
        with pytest.raises(RecipeError, match="--column"):
            parse_columns([wrong])
    with pytest.raises(DataError, match=r"--column: there is no column 'aeg'; did you mean 'age'"):
        check_stated(["age"], {"aeg": "numeric"})


def test_rows_that_are_held_out_count_as_missing_and_for_nothing_else() -> None:
    found = Statistics(pa.schema({"x": pa.float64(), "t": pa.string()}), {})
    found.update(pa.table({"x": [1.0, 2.0], "t": ["a", "b"]}))
    found.leave_out(pa.table({"x": [float("nan"), 9.0], "t": pa.array([None, "z"])}))
    x, t = found.columns()
    assert (x.missing, x.high, t.missing, t.values) == (0.25, 2.0, 0.25, ("a", "b"))


@pytest.mark.parametrize(
    ("values", "kind", "step"),
    [
        ([0, 86_400_000], pa.timestamp("ms"), 86_400_000),
        ([0, 7200], pa.timestamp("s"), 3600),
        ([60_000_000, 1], pa.duration("us"), 1),
        ([1_000_000, 5_000_000], pa.time64("us"), 1_000_000),
        ([1, 2], pa.date32(), 1),
    ],
)
def test_times_know_their_step(values: list[int], kind: pa.DataType, step: int) -> None:
    small = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    assert column(pa.array(values, pa.int32() if small else pa.int64()).cast(kind)).step == step


def test_a_schema_of_columns_is_read_back_and_whole_numbers_look_it() -> None:
    table = pa.table({"n": [1, 200], "f": [0.5, 1.5], "b": [0, 1], "t": ["a", None], "d": pa.array(_STAMPS)})
    found = statistics(table)
    schema = Schema.of_columns(found.scaled(found.columns(), "columns", {"f": "quantile"}))
    data = schema.to_dict()
    assert Schema.from_dict(data) == schema
    assert str(data["columns"][0]["high"]) == "200" and data["columns"][2]["values"] == [0, 1]
    assert schema.describe() == "rows of 5 columns (2 numeric, 1 binary, 1 categorical, 1 date)"
    assert (schema.groups, schema.holes, schema.row) == ((3, 1, (2,)), True, (6,))
