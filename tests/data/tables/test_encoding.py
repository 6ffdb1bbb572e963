"""Tables as numbers for the network, and back."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data.kinds import encoding_of
from isthmus.data.tables.columns import SCALES, Statistics
from isthmus.data.tables.encoding import TableEncoding, check_table, type_of
from isthmus.errors import ArtifactError, DataError
from isthmus.schema import Column, Schema

LINES = ("standard", "robust", "unit", "none")
WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TIMES = [
    pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    pa.timestamp("us", "Europe/Berlin"), pa.timestamp("s", "+05:30"), pa.timestamp("ns", "UTC"),
]  # fmt: skip
# What the type itself rounds by: a number that was off by a rounding of float64 may be its neighbour.
_HALF_STEP = {16: 2.0**-11, 32: 2.0**-24, 64: 0.0}
LABELS = [
    pa.string(), pa.large_string(), pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.uint32(), pa.large_string(), ordered=True),
]  # fmt: skip
_DIGITS = {"decimal32": (9, 2), "decimal64": (15, 3), "decimal128": (15, 0), "decimal256": (15, 5)}
# The narrow ones came with pyarrow 19.
DECIMALS = [getattr(pa, name)(*digits) for name, digits in _DIGITS.items() if hasattr(pa, name)]


def fitted(table: pa.Table, scaling: str = "columns", **kinds: str) -> TableEncoding:
    statistics = Statistics(table.schema, kinds)
    statistics.update(table)
    schema = Schema.of_columns(statistics.scaled(statistics.columns(), scaling, {}))
    return TableEncoding(Schema.from_dict(schema.to_dict()))  # as a loaded model has it


def there_and_back(encoding: TableEncoding, table: pa.Table) -> pa.Table:
    return encoding.inverse(encoding.forward(table, "float64"))


def of_integers(values: list[int | None], kind: pa.DataType) -> pa.Array:
    small = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    return pa.array(values, pa.int32() if small else pa.int64()).cast(kind)


def holed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=1, max_size=30)


@settings(max_examples=150)
@given(st.data(), st.sampled_from(WHOLE), st.sampled_from(SCALES), st.booleans())
def test_whole_numbers_come_back_exactly(data: Any, kind: pa.DataType, scaling: str, count: bool) -> None:
    """Up to 2**48 under a line, 2**40 under a curve; new ones, larger than any in training, too."""
    limits = np.iinfo(kind.to_pandas_dtype())
    most = 2**48 if scaling in LINES else 2**40
    low = 0 if count else max(int(limits.min), -most)
    values = st.integers(low, min(int(limits.max), most))
    training, later = data.draw(holed(values)), data.draw(holed(values))
    table, new = (pa.table({"x": pa.array(part, kind)}) for part in (training, later))
    stated = {"x": "count"} if count and any(value is not None for value in training) else {}
    encoding = fitted(table, scaling, **stated)
    assert there_and_back(encoding, table).equals(table)
    if encoding.columns[0].kind in ("numeric", "count"):
        assert there_and_back(encoding, new).equals(new)


@settings(max_examples=150)
@given(st.data(), st.sampled_from([pa.float16(), pa.float32(), pa.float64()]), st.sampled_from(SCALES))
def test_floats_come_back_to_a_rounding_of_the_largest(data: Any, kind: pa.DataType, scaling: str) -> None:
    width = kind.bit_width
    values = st.floats(-1e4, 1e4, width=width, allow_subnormal=False) | st.just(float("nan"))
    training, later = data.draw(holed(values)), data.draw(holed(values))
    table, new = (pa.table({"x": pa.array(np.array(part, f"f{width // 8}"), kind)}) for part in (training, later))
    encoding = fitted(table, scaling)
    column = encoding.columns[0]
    if column.kind not in ("numeric",):
        return
    for part in (table, new):
        x = part["x"].to_numpy().astype(np.float64)
        back = there_and_back(encoding, part)["x"].to_numpy().astype(np.float64)
        assert (np.isnan(x) == np.isnan(back)).all()
        u = 2.0**-53
        reach = np.nanmax([np.nanmax(np.abs(np.append(x, 0.0))), abs(column.offset), abs(column.low), abs(column.high)])
        bound = 4 * u * (1 if scaling in LINES else 100) * 2 * reach
        assert np.nanmax(np.abs(np.append(back - x, 0.0))) <= max(bound, _HALF_STEP[width] * reach)
        large = np.abs(x) > 2.0**-26 * reach * (1 if scaling in LINES else 100)
        if kind == pa.float32():
            assert (back == x)[large & ~np.isnan(x)].all()


@settings(max_examples=150)
@given(st.data(), st.sampled_from(TIMES), st.sampled_from(SCALES))
def test_times_come_back_exactly(data: Any, kind: pa.DataType, scaling: str) -> None:
    """To the step of the training values: days in nanoseconds, seconds, down to the microsecond."""
    if pa.types.is_date32(kind):
        values = st.integers(-100_000, 100_000)
    elif pa.types.is_time(kind):
        most = 86_400 * {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[kind.unit]
        values = st.integers(0, most - 1)
    else:
        unit = 1000 if pa.types.is_date64(kind) else {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[kind.unit]
        values = st.integers(-20_000, 40_000).map(lambda day: day * 86_400 * unit)
    training, later = data.draw(holed(values)), data.draw(holed(values))
    table, new = (pa.table({"x": of_integers(part, kind)}) for part in (training, later))
    if scaling in ("log", "quantile") and kind.bit_width == 64 and kind not in (pa.date64(),):
        return  # of logarithms of 1e18, no nanosecond is left; nobody asks for them
    encoding = fitted(table, scaling)
    assert there_and_back(encoding, table).equals(table)
    if encoding.columns[0].kind == "date" and (encoding.columns[0].step == 1 or not pa.types.is_time(kind)):
        steps = [value is None or value % encoding.columns[0].step == 0 for value in later]
        if all(steps):
            assert there_and_back(encoding, new).equals(new)


@given(st.data(), st.sampled_from(LABELS))
def test_labels_come_back_exactly(data: Any, kind: pa.DataType) -> None:
    values = data.draw(holed(st.text(max_size=5)))
    plain = pa.array(values, kind.value_type if pa.types.is_dictionary(kind) else kind)
    table = pa.table({"x": plain.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else plain})
    back = there_and_back(fitted(table), table)
    assert back.schema == table.schema and back["x"].to_pylist() == values


@given(holed(st.booleans()))
def test_booleans_come_back_exactly(values: list[bool | None]) -> None:
    table = pa.table({"x": pa.array(values, pa.bool_()), "y": pa.array(values, pa.bool_())})
    assert there_and_back(fitted(table, y="categorical"), table).equals(table)


@given(
    st.sampled_from(DECIMALS),
    st.sampled_from(LINES),
    st.data(),
)
def test_decimals_come_back_exactly(kind: pa.DataType, scaling: str, data: Any) -> None:
    most = min(10**kind.precision - 1, 2**46)
    values = data.draw(holed(st.integers(-most, most)))
    exact = [None if v is None else decimal.Decimal(v).scaleb(-kind.scale) for v in values]
    table = pa.table({"x": pa.array(exact, kind)})
    assert there_and_back(fitted(table, scaling), table).equals(table)


@pytest.mark.parametrize("values", [[3, 1, 3, None], [0.5, None, 2.0], [True, None, False]])
def test_numbers_as_categories_come_back_in_their_type(values: list[Any]) -> None:
    table = pa.table({"x": values})
    encoding = fitted(table, x="categorical")
    assert encoding.width == 3
    assert there_and_back(encoding, table).equals(table)
    assert encoding.inverse(encoding.forward(table), {"x": pa.string()})["x"].null_count == 1


def test_columns_of_all_kinds_stand_in_their_groups() -> None:
    table = pa.table(
        {
            "t": ["a", "b"],
            "n": [1.0, 3.0],
            "b": [True, False],
            "e": pa.nulls(2, pa.int64()),
            "d": [dt.date(2020, 1, 1)] * 2,
        }
    )
    encoding = fitted(table)
    rows = encoding.forward(table)
    assert rows.dtype == np.float32 and rows.tolist() == [[-1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    assert encoding.inverse(rows).equals(table)
    assert encoding.state() == {}


# ---- use -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALES)
def test_numbers_far_outside_are_far_and_finite(scaling: str) -> None:
    """The last piece of the quantiles may be steep: what lies beyond goes on with the average slope."""
    training = np.append(np.linspace(0.0, 100.0, 200), [100.0 + 1e-9] * 3)
    encoding = fitted(pa.table({"x": training}), scaling)
    new = pa.table({"x": [-1e4, 200.0, 1e6]})
    rows = encoding.forward(new, "float64")[:, 0]
    assert (np.diff(rows) > 0).all() and np.abs(rows).max() <= 1e6
    np.testing.assert_allclose(there_and_back(encoding, new)["x"].to_numpy(), new["x"].to_numpy(), rtol=1e-9)


def test_unknown_and_rare_categories_stand_in_the_last_place() -> None:
    encoding = fitted(pa.table({"x": ["a", "b", "a"]}))
    assert encoding.forward(pa.table({"x": ["b", "zzz", None]}))[:2].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.isnan(encoding.forward(pa.table({"x": ["b", None]}))[1]).all()
    many = [f"c{index:04}" for index in range(1200)]
    encoding = fitted(pa.table({"x": [*many, *many[:1000]]}), x="categorical")
    assert encoding.forward(pa.table({"x": many[1100:]}))[:, -1].all()
    # "Another one" is no label: the most probable one that is comes back.
    assert encoding.inverse(np.eye(1001)[-1:])["x"].to_pylist() == ["c0000"]


@pytest.mark.parametrize(
    "later",
    [
        pa.array(["b", None]).dictionary_encode(), pa.array(["b", None], pa.string_view()),
        pa.array(["b", None], pa.large_string()),
    ],
)  # fmt: skip
def test_labels_are_read_from_any_type_of_text(later: pa.Array) -> None:
    encoding = fitted(pa.table({"x": ["a", "b"]}))
    table = pa.table({"x": later})
    assert encoding.forward(table)[0].tolist() == [0, 1, 0]
    assert encoding.inverse(encoding.forward(table), {"x": later.type}).equals(table)


@pytest.mark.parametrize("gone", [pa.nulls(2), pa.array([np.nan, None]), pa.nulls(2, pa.int64())])
def test_a_column_without_a_value_may_be_of_any_type(gone: pa.Array) -> None:
    encoding = fitted(pa.table({"x": ["a", "b"], "e": pa.nulls(2)}))
    table = pa.table({"x": gone, "e": gone})
    assert np.isnan(encoding.forward(table)).all()
    assert encoding.inverse(encoding.forward(table), {"x": pa.null()})["x"].type == pa.string()


def test_values_where_none_were_seen_are_refused() -> None:
    encoding = fitted(pa.table({"e": pa.nulls(2, pa.float64())}))
    with pytest.raises(
        DataError, match=r"'e': expected no values, as in training, got values such as 3.0; try .*--drop e"
    ):
        encoding.forward(pa.table({"e": [np.nan, 3.0]}))


def test_messages_name_the_row_of_the_table() -> None:
    encoding = fitted(pa.table({"x": [1.0, 2.0]}))
    with pytest.raises(DataError, match=r"'x' holds infinite values \(inf\), the first in row 1001"):
        encoding.forward(pa.table({"x": [1.0, np.inf]}), rows=1000)
    with pytest.raises(DataError, match=r"'x', row 70: expected a value that float32 can hold once scaled.*x:log"):
        encoding.forward(pa.table({"x": [1.0, 1e300]}), rows=np.array([7, 70]))


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (pa.int8(), -128, 127), (pa.uint8(), 0, 255), (pa.int64(), -(2**63), 2**63 - 1024),
        (pa.uint64(), 0, 2**64 - 2048),
        (pa.decimal128(5, 2), decimal.Decimal("-999.99"), decimal.Decimal("999.99")),
        (pa.float32(), -float(np.finfo("f4").max), float(np.finfo("f4").max)), (pa.float16(), -65504.0, 65504.0),
        (pa.time32("s"), dt.time(0), dt.time(23, 59, 59)), (pa.time64("us"), dt.time(0), dt.time(23, 59, 59, 999999)),
        (pa.date32(), dt.date(1, 1, 2), dt.date(9999, 12, 30)), (pa.date64(), dt.date(1, 1, 2), dt.date(9999, 12, 30)),
        (pa.timestamp("s"), dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)),
    ],
)  # fmt: skip
def test_whatever_the_network_says_is_within_the_type(kind: pa.DataType, low: Any, high: Any) -> None:
    column = Column("x", "date" if pa.types.is_temporal(kind) else "numeric", str(kind), scale=1e30)
    back = TableEncoding(Schema.of_columns((column,))).inverse(np.array([[-1e30], [1e30], [np.nan]]))
    assert back["x"].to_pylist() == [low, high, None]


def test_numbers_come_back_in_the_type_of_the_table_that_was_given() -> None:
    encoding = fitted(pa.table({"x": [1, 5, 9], "t": ["a", "b", "a"]}))
    table = pa.table({"x": pa.array([1, None, 5], pa.float32()), "t": pa.array(["a", None, "b"]).dictionary_encode()})
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    assert encoding.inverse(encoding.forward(table, "float64"), types).equals(table)


def test_more_labels_than_an_index_numbers_get_a_larger_one() -> None:
    values = [str(index) for index in range(300)]
    encoding = fitted(pa.table({"x": values}), x="categorical")
    rows = encoding.forward(pa.table({"x": values}))
    back = encoding.inverse(rows, {"x": pa.dictionary(pa.int8(), pa.string())})
    assert back["x"].to_pylist() == values and back["x"].type.index_type == pa.int32()


# ---- types and checks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*WHOLE, *TIMES, *LABELS, pa.bool_(), pa.null(), pa.float16(), pa.decimal128(5, -2)])
def test_types_are_read_from_their_text(kind: pa.DataType) -> None:
    assert type_of(str(kind)) == kind


@pytest.mark.parametrize(
    "change",
    [
        {"type": "nonsense"}, {"type": "timestamp[us, tz=x; y]"}, {"type": "decimal128(99, 2)"}, {"kind": "binary"},
        {"kind": "categorical"}, {"scaling": "quantile"}, {"scaling": "quantile", "points": [1.0, 1.0]}, {"step": 0.0},
        {"scale": 0.0}, {"scale": float("nan")}, {"values": [[1]]}, {"colour": "red"},
    ],
)  # fmt: skip
def test_a_damaged_schema_is_refused(change: dict[str, Any]) -> None:
    data = Schema.of_columns((Column("x", "numeric", "double"),)).to_dict()
    data["columns"][0] |= change
    with pytest.raises(ArtifactError, match=r"schema\.json"):
        encoding_of(Schema.from_dict(data), "columns", {})


def test_other_tables_are_refused() -> None:
    table = pa.table({"n": [1, 2, 3], "t": ["a", "b", "c"], "d": [dt.date(2020, 1, 1)] * 3})
    encoding = fitted(table)
    schema = Schema.of_columns(encoding.columns)
    check_table(schema, table.schema)

    def like(**columns: Any) -> pa.Schema:
        arrays = {name: columns.get(name, table[name]) for name in table.column_names}
        return pa.table(arrays).schema

    check_table(schema, like(n=pa.nulls(3), t=pa.array(["x"] * 3).dictionary_encode()))
    check_table(schema, like(n=pa.array([1, 2, 3]).dictionary_encode()))
    refused = {
        r"training columns.*unknown \['z'\]; try leaving them out": pa.schema([*table.schema, ("z", pa.int64())]),
        r"missing \['d'\]": table.drop_columns(["d"]).schema,
        "the same columns in another order": table.select(["t", "n", "d"]).schema,
        r"'n': expected int64 values \(numeric\), got string values": like(n=pa.array(["1", "2", "3"])),
        r"'n': expected int64 values \(numeric\), got dictionary": like(n=pa.array(["1"] * 3).dictionary_encode()),
        r"'n': expected int64 values \(numeric\), got date32": like(n=table["d"]),
        r"'d': expected date32\[day\] values \(date\), got int64": like(d=table["n"]),
    }
    for message, other in refused.items():
        with pytest.raises(DataError, match=message):
            check_table(schema, other)
    with pytest.raises(DataError, match=r"'t': expected categories such as 'a', got int64 values"):
        encoding.forward(pa.table({"n": [1], "t": [5], "d": [dt.date(2020, 1, 1)]}))
    with pytest.raises(DataError, match=r"'d': expected date32\[day\] values, got time32"):
        encoding.forward(pa.table({"n": [1], "t": ["a"], "d": of_integers([3], pa.time32("s"))}))


def test_times_in_another_unit_and_zone_are_the_same_times() -> None:
    when = dt.datetime(2021, 6, 1, 12, tzinfo=dt.UTC)
    encoding = fitted(
        pa.table({"d": pa.array([when, dt.datetime(2022, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))})
    )
    other = pa.table({"d": pa.array([when], pa.timestamp("ms", "Europe/Berlin"))})
    back = encoding.inverse(encoding.forward(other, "float64"), {"d": pa.timestamp("ms", "Europe/Berlin")})
    assert back.equals(other)
