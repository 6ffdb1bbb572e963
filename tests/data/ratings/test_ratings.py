"""Ratings: scipy and the table itself are what every reading is compared with; what cannot be read is refused."""

from __future__ import annotations

import datetime
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from isthmus.data.ratings.matrix import Columns, Densify, SparseRows, Summary, from_table, to_table
from isthmus.errors import ArtifactError, DataError
from tests.helpers import SHARED

FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")

ids = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=6, unique=True),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
)


def coo(dtype: Any = np.float32) -> Any:
    """Two users and four items, an entry twice, and one that is stored as zero."""
    values = np.array([2, 3, 0, 5, 1], dtype)
    return scipy.sparse.coo_array((values, ([1, 0, 0, 1, 1], [3, 1, 2, 0, 3])), shape=(2, 4))


def ratings(**columns: Any) -> pa.Table:
    return pa.table(columns)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("matrix", [True, False])
def test_every_sparse_format_is_read_as_scipy_reads_it(kind: str, matrix: bool) -> None:
    given = coo()
    given = scipy.sparse.coo_matrix(given).asformat(kind) if matrix else given.asformat(kind)
    rows = SparseRows(given)
    assert isinstance(rows.matrix, scipy.sparse.csr_array) and rows.matrix.dtype == np.float32
    assert rows.matrix.has_canonical_format and rows.matrix.nnz == 3
    np.testing.assert_array_equal(rows.matrix.toarray(), [[0, 3, 0, 0], [5, 0, 0, 3]])
    assert rows.kind == "ratings" and rows.in_memory and len(rows) == 2


def test_the_users_matrix_is_left_as_it_is() -> None:
    given = scipy.sparse.csr_array((np.array([1.0, 0, 2, 4]), [2, 0, 0, 0], [0, 2, 4]), shape=(2, 3))
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    rows = SparseRows(given)
    np.testing.assert_array_equal(rows.matrix.toarray(), [[0, 0, 1], [6, 0, 0]])
    for part, was in zip((given.data, given.indices, given.indptr), before, strict=True):
        np.testing.assert_array_equal(part, was)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("f4", "f4"), ("f8", "f8"), ("i1", "i1"), ("u2", "u2"), ("i8", "i8"), ("?", "u1"), ("g", "f8")],
)
def test_types_are_kept_where_numbers_can_be(dtype: str, kept: str) -> None:
    rows = SparseRows(coo(dtype))
    assert rows.matrix.dtype == np.dtype(kept) and rows.matrix.dtype.isnative
    np.testing.assert_array_equal(rows.matrix.toarray(), coo(dtype).toarray())


def test_sums_of_small_integers_do_not_wrap_around() -> None:
    matrix = scipy.sparse.coo_array((np.array([100, 100], "i1"), ([0, 0], [0, 0])), shape=(1, 1))
    assert SparseRows(matrix).matrix.toarray().tolist() == [[200]]
    table = ratings(user=[1, 1], item=[1, 1], rating=pa.array([100, 100], pa.int8()))
    assert from_table(table, duplicates="sum").matrix.toarray().tolist() == [[200]]
    few = table.set_column(2, "rating", pa.array([10, 20], pa.int8()))
    assert from_table(few, duplicates="sum").matrix.dtype == np.int8


def broken(**parts: Any) -> Any:
    matrix = scipy.sparse.csr_array(np.eye(3))
    for name, value in parts.items():
        setattr(matrix, name, value)
    return matrix


def broken_coo(column: int) -> Any:
    matrix = coo()
    matrix.coords[1][0] = column
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), "scipy.sparse.csr_array"),
        (scipy.sparse.csr_array((0, 3)), "shape"),
        (scipy.sparse.coo_array(np.ones(3)), "shape"),
        (scipy.sparse.csr_array(np.eye(2) * 1j), "real numbers"),
        (broken(indices=np.array([0, 1, 7], np.int32)), "damaged"),
        (broken(indices=np.array([0, -1, 2], np.int32)), "damaged"),
        (broken(indptr=np.array([0, 3, 1, 3], np.int32)), "damaged"),
        (broken(data=np.ones(2)), "damaged"),
        (broken_coo(9), "axis 1 has index 0 or 9, of 4"),
        (broken_coo(-1), "axis 1 has index -1"),
        (scipy.sparse.csr_array([[1, np.nan]]), r"nan in row 0 .user 'ann'., column 1 .item 20.; try"),
        (scipy.sparse.csr_array([[np.inf, 1]]), "inf in row 0"),
        (scipy.sparse.coo_array((np.array([1e38, 3e38], "f4"), ([0, 0], [1, 1])), shape=(1, 2)), "inf in row 0"),
    ],
)
def test_a_matrix_that_is_none_is_refused(matrix: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SparseRows(matrix, users=["ann"], items=[10, 20]) if matrix.shape == (1, 2) else SparseRows(matrix)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([1, 2], "4 item ids, one for each of the columns, got 2"),
        ([1, 2, 3, 3], "3 twice"),
        ([1, "b", 3, 4], "int and str"),
        ([1.0, 2.0, 3.0, 4.0], "float"),
        ([True, False, 1, 2], "bool and int"),
    ],
)
def test_ids_are_one_for_each_and_of_one_kind(items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SparseRows(coo(), items=items)


def test_ids_from_numpy_are_plain() -> None:
    rows = SparseRows(coo(), users=np.array(["a", "b"]), items=np.arange(4))
    assert rows.users == ("a", "b") and rows.items == (0, 1, 2, 3)
    assert type(rows.items[0]) is int and type(rows.users[0]) is str


def test_take_gives_rows_in_the_order_that_is_asked_for() -> None:
    rows = SparseRows(coo())
    np.testing.assert_array_equal(rows.take(np.array([1, 0, 1])).toarray(), coo().toarray()[[1, 0, 1]])
    assert sum(block.shape[0] for block in rows.blocks(1)) == 2
    for wrong in ([2], [-1], [0.5]):
        with pytest.raises(DataError, match="row numbers from 0 to 1"):
            rows.take(np.array(wrong))


def test_the_fingerprint_is_that_of_values_and_ids() -> None:
    other = coo()
    other.data[0] = 9
    prints = [
        SparseRows(coo()).fingerprint(),
        SparseRows(other).fingerprint(),
        SparseRows(coo(), users=["a", "b"]).fingerprint(),
        SparseRows(coo(), users=["a", "c"]).fingerprint(),
        SparseRows(coo("f8")).fingerprint(),
    ]
    assert len(set(prints)) == 5
    assert SparseRows(coo().tocsc()).fingerprint() == prints[0]


@given(st.data(), ids, ids)
def test_a_table_of_any_order_is_read_and_comes_back_sorted(data: Any, users: list[Any], items: list[Any]) -> None:
    places = st.tuples(st.sampled_from(users), st.sampled_from(items))
    pairs = data.draw(st.lists(places, min_size=1, unique=True))
    values = [data.draw(st.integers(-4, 4).filter(bool)) for _ in pairs]
    table = ratings(who=[a for a, _ in pairs], what=[b for _, b in pairs], value=pa.array(values, pa.int16()))
    rows = from_table(table, user="who", item="what")
    assert rows.users == tuple(sorted({a for a, _ in pairs})) and rows.items == tuple(sorted({b for _, b in pairs}))
    for (a, b), value in zip(pairs, values, strict=True):
        assert rows.matrix[rows.users.index(a), rows.items.index(b)] == value
    assert rows.matrix.nnz == len(pairs) and rows.matrix.dtype == np.int16
    back = to_table(rows.matrix, rows)
    assert back.schema == table.schema
    assert back.to_pylist() == sorted(table.to_pylist(), key=lambda row: (row["who"], row["what"]))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
)
def test_texts_of_any_arrow_type_are_ids(kind: pa.DataType) -> None:
    base = pa.chunked_array([pa.array(["b", "é"]), pa.array(["a", "b"])])
    if pa.types.is_dictionary(kind):
        chunks = [chunk.cast(kind.value_type).dictionary_encode() for chunk in base.chunks]
        made = [pa.DictionaryArray.from_arrays(c.indices.cast(kind.index_type), c.dictionary) for c in chunks]
        column = pa.chunked_array(made)
    else:
        column = base.cast(kind)
    rows = from_table(ratings(user=column, item=[1, 1, 1, 2]))
    assert rows.users == ("a", "b", "é")
    np.testing.assert_array_equal(rows.matrix.toarray(), [[1, 0], [1, 1], [1, 0]])
    back = to_table(rows.matrix, rows)
    assert back.schema.field("user").type == kind
    assert back["user"].to_pylist() == ["a", "b", "b", "é"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int32(), pa.dictionary(pa.int8(), pa.int64())])
def test_integers_of_any_arrow_type_are_ids(kind: pa.DataType) -> None:
    ids = pa.array([10, 9, 100], kind.value_type if pa.types.is_dictionary(kind) else kind)
    ids = ids.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else ids
    rows = from_table(ratings(user=["a", "b", "a"], item=ids))
    assert rows.items == (9, 10, 100)
    assert to_table(rows.matrix, rows).schema.field("item").type == kind


@pytest.mark.parametrize(
    ("names", "user", "item", "value", "time"),
    [
        (["userId", "movieId", "rating", "timestamp"], "userId", "movieId", "rating", "timestamp"),
        (["User-ID", "ISBN", "Book-Rating"], "User-ID", "ISBN", "Book-Rating", None),
        (["SCORE", "Product", "customer_id", "x"], "customer_id", "Product", "SCORE", None),
        (["a", "b", "c"], "a", "b", "c", None),
        (["a", "b"], "a", "b", None, None),
        (["item", "user"], "user", "item", None, None),
        (["when", "b", "date"], "when", "b", None, "date"),
    ],
)
def test_columns_are_found_by_name_or_by_position(
    names: list[str], user: str, item: str, value: str | None, time: str | None
) -> None:
    cells = [["t"] if name == "x" else [3] for name in names]
    columns = from_table(pa.table(dict(zip(names, cells, strict=True)))).columns
    assert (columns.user, columns.item, columns.value, columns.time) == (user, item, value, time)


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (list("abcd"), {}, r"columns \['a', 'b', 'c', 'd'\].* try --rows ratings,user=a,item=b"),
        (["user", "b", "c", "d"], {}, "no item.*--rows ratings,user=user,item=b"),
        (["user"], {}, "no item"),
        (["user", "rating"], {}, "no item"),
        (["user", "userId", "item", "rating"], {}, r"one column of users, got \['user', 'userId'\]; try user=user"),
        (["user", "item", "liking", "time"], {}, r"got \['liking'\].*value=liking"),
        (["user", "item", "rating"], {"value": "ratings"}, "did you mean 'rating'"),
        (["user", "item", "rating"], {"user": "item", "item": "item"}, "different columns"),
    ],
)
def test_columns_that_cannot_be_told_apart_are_refused(names: list[str], given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_table(pa.table({name: [1] for name in names}), **given)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="a name of its own"):
        from_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["user", "user"]))


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("user", [1, None, 3], "'user': .*1 missing values, the first in row 1"),
        ("item", ["a", "", "c"], "'item': .*the first in row 1"),
        ("item", [1.0, 2.0, 3.0], r"integers or texts, got double .such as 1.0."),
        ("item", [None, None, None], "integers or texts, got null"),
        ("rating", [1.0, 2.0, None], "'rating': .*the first in row 2"),
        ("rating", [1.0, float("nan"), 2.0], "'rating': .*the first in row 1"),
        ("rating", [1.0, float("-inf"), 2.0], "inf in row 1"),
        ("rating", ["good", "bad", "good"], r"numbers, got string .such as 'good'."),
        (
            "rating",
            [1, 0, 0],
            "2 ratings of 0, the first in row 1, which cannot be distinguished from no rating; try adding 1",
        ),
        ("rating", [True, False, True], "1 ratings of 0"),
    ],
)
def test_holes_zeros_and_what_is_no_id_are_refused(column: str, cells: list[Any], message: str) -> None:
    table = ratings(**{"user": [1, 2, 3], "item": [1, 2, 3], "rating": [1, 2, 3], column: cells})
    with pytest.raises(DataError, match=message):
        from_table(table)


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="without rows"):
        from_table(ratings(user=pa.array([], pa.int64()), item=pa.array([], pa.int64())))


TWICE: dict[str, list[Any]] = {
    "user": ["b", "a", "a", "a", "b"],
    "item": [1, 1, 1, 2, 1],
    "rating": [4.0, 5.0, 2.0, 3.0, 1.0],
    "time": [3, 9, 8, 1, 3],
}


@pytest.mark.parametrize(
    ("how", "timed", "expected"),
    [
        ("sum", True, [[7, 3], [5, 0]]),
        ("max", True, [[5, 3], [4, 0]]),
        ("last", True, [[5, 3], [1, 0]]),
        ("last", False, [[2, 3], [1, 0]]),
    ],
)
def test_several_ratings_of_one_place(how: str, timed: bool, expected: Any) -> None:
    table = ratings(**TWICE) if timed else ratings(**TWICE).drop_columns("time")
    np.testing.assert_array_equal(from_table(table, duplicates=how).matrix.toarray(), expected)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.date32(), pa.date64(), pa.float64()])
def test_the_last_is_by_time_of_any_type(kind: pa.DataType) -> None:
    days = [datetime.date(2020, 1, day) for day in TWICE["time"]]
    time = pa.array(TWICE["time"], kind) if kind == pa.float64() else pa.array(days).cast(kind)
    table = ratings(**{**TWICE, "time": time})
    np.testing.assert_array_equal(from_table(table, duplicates="last").matrix.toarray(), [[5, 3], [1, 0]])


def test_times_that_cannot_be_ordered_are_refused() -> None:
    for cells, message in ((["yesterday"] * 5, "numbers or dates"), ([1, 2, None, 4, 5], "row 2")):
        table = ratings(**{**TWICE, "time": cells})
        with pytest.raises(DataError, match=message):
            from_table(table, duplicates="last")
        from_table(table, duplicates="max")  # which needs no time


def test_two_ratings_are_refused_unless_asked_for() -> None:
    message = "2 more, the first in row 2: user 'a' and item 1, as in row 1; try duplicates=\"last\""
    with pytest.raises(DataError, match=message):
        from_table(ratings(**TWICE))
    with pytest.raises(DataError, match="1 that add up to 0"):
        from_table(ratings(user=[1, 1], item=[2, 2], value=[1, -1]), duplicates="sum")
    with pytest.raises(DataError, match="duplicates: expected one of"):
        from_table(ratings(**TWICE), duplicates="first")


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5)), min_size=1)


@given(pairs)
def test_joined_ratings_are_those_of_a_loop(entries: list[tuple[int, int, int]]) -> None:
    users, items, values = zip(*entries, strict=True)
    table = ratings(user=users, item=items, value=values)
    expected: dict[str, dict[Any, int]] = {"sum": Counter(), "max": {}, "last": {}}
    for user, item, value in entries:
        key = (user, item)
        expected["sum"][key] += value
        expected["max"][key] = max(value, expected["max"].get(key, 0))
        expected["last"][key] = value
    for how, wanted in expected.items():
        found = to_table((rows := from_table(table, duplicates=how)).matrix, rows).to_pylist()
        assert {(row["user"], row["item"]): row["value"] for row in found} == wanted


def test_the_items_of_a_model_are_the_columns() -> None:
    table = ratings(user=[1, 1, 2, 3], item=["b", "x", "y", "a"], rating=[1, 2, 3, 4])
    with pytest.raises(DataError, match=r"the 3 items of training, got 2 of 4 .*: 'x', 'y'; try unknown=\"drop\""):
        from_table(table, items=["c", "b", "a"])
    rows = from_table(table, items=["c", "b", "a"], unknown="drop")
    assert rows.items == ("c", "b", "a") and rows.dropped == 2
    assert rows.users == (1, 2, 3)  # a user without a known item keeps a row
    np.testing.assert_array_equal(rows.matrix.toarray(), [[0, 1, 0], [0, 0, 0], [0, 0, 4]])
    assert from_table(table, items=["b", "x", "y", "a"]).dropped == 0
    with pytest.raises(DataError, match=r"int .such as 5., as in training, got str"):
        from_table(table, items=[5, 6], unknown="drop")
    with pytest.raises(DataError, match="4 of 4"):
        from_table(table, items=["c"], unknown="drop")
    assert from_table(ratings(user=[1], item=[3]), items=np.array([4, 3])).matrix.toarray().tolist() == [[0, 1]]


def test_a_table_without_values_comes_back_without() -> None:
    table = ratings(user=[1, 2], item=["a", "b"])
    rows = from_table(table)
    assert to_table(rows.matrix, rows).equals(table)
    predicted = to_table(np.array([[0.25, 0.0], [0.0, 1.0]], "f4"), rows)
    assert predicted.to_pylist()[0] == {"user": 1, "item": "a", "value": 0.25}


def test_predictions_of_some_rows_have_their_users_and_a_type_that_holds_them() -> None:
    table = ratings(user=["a", "b", "c"], item=[1, 2, 1], stars=pa.array([1, 2, 3], pa.int8()))
    rows = from_table(table)
    found = to_table(np.array([[3.7, 0.0]]), rows, rows=[2])
    assert found.to_pylist() == [{"user": "c", "item": 1, "stars": 3.7}]
    assert to_table(np.array([[3.0, 0.0]]), rows, rows=[2]).schema == table.schema
    with pytest.raises(DataError, match="a block of 3 rows and 2 items, got 1 and 2; try rows="):
        to_table(np.array([[3.0, 0.0]]), rows)


def test_a_matrix_without_ids_is_numbered() -> None:
    rows = SparseRows(coo())
    found = to_table(rows.take(np.array([1])), rows, rows=np.array([1]))
    assert found.to_pylist() == [{"user": 1, "item": 0, "value": 5.0}, {"user": 1, "item": 3, "value": 3.0}]
    assert rows.columns == Columns()


@given(st.lists(st.lists(st.sampled_from([0, 0, 1, 2.5, -3]), min_size=3, max_size=3), min_size=1), st.integers(1, 3))
def test_the_summary_is_that_of_the_entries(cells: list[list[float]], size: int) -> None:
    array = np.array(cells)
    seen = array[array != 0]
    found = Summary.of(SparseRows(scipy.sparse.csr_array(array)).blocks(size))
    assert found.entries == seen.size and found.share == pytest.approx(seen.size / array.size)
    if seen.size:
        assert (found.low, found.high, found.whole) == (seen.min(), seen.max(), bool((seen % 1 == 0).all()))
    else:
        assert (found.low, found.high, found.whole) == (0.0, 0.0, True)


def test_densify_scales_by_the_largest_and_leaves_nothing_where_it_is() -> None:
    rows = SparseRows(coo("i1"))
    encoding = Densify.fit(rows.blocks(1))
    dense = encoding.forward(rows.matrix)
    assert dense.dtype == np.float32 and float(encoding.scale) == 5
    np.testing.assert_array_equal(dense, np.array([[0, 3, 0, 0], [5, 0, 0, 3]], "f4") / np.float32(5))
    np.testing.assert_allclose(encoding.inverse(dense, "float64"), coo().toarray(), rtol=1e-6)
    assert encoding.inverse(dense).dtype == np.float32
    again = Densify.from_state(encoding.state())
    np.testing.assert_array_equal(again.forward(rows.matrix), dense)
    least = Densify.fit(scipy.sparse.csr_array(np.array([[-128, 100]], "i1")))
    assert float(least.scale) == 128


def test_densify_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(DataError, match="none at all"):
        Densify.fit(scipy.sparse.csr_array((3, 3)))
    encoding = Densify.fit(scipy.sparse.csr_array([[1e-3]]))
    with pytest.raises(DataError, match="one of 1e\\+38"):
        encoding.forward(scipy.sparse.csr_array([[1e38]]))
    with pytest.raises(DataError, match="sparse block"):
        encoding.forward(np.ones((1, 1)))
    for state in ({}, {"scale": np.array(0.0)}, {"scale": np.array(np.nan)}, {"scale": np.ones(2)}):
        with pytest.raises(ArtifactError, match="no scale to divide by"):
            Densify.from_state(state)


def test_memory_is_in_proportion_to_the_entries(rng: np.random.Generator) -> None:
    """200,000 users and 50,000 items would be 40 GB; two million ratings are some 24 MB, and a dense block 51 MB."""
    users, items, entries, size = 200_000, 50_000, 2_000_000, 256
    place = (rng.integers(0, users, entries), rng.integers(0, items, entries))
    matrix = scipy.sparse.coo_array((rng.integers(1, 6, entries).astype("f4"), place), shape=(users, items))
    table = ratings(user=place[0], item=place[1], rating=matrix.data)
    tracemalloc.start()
    rows = SparseRows(matrix)
    encoding = Densify.fit(rows.blocks(4096))
    for number, block in enumerate(rows.blocks(size)):
        dense = encoding.forward(block)
        assert dense.shape == (size, items)
        if number == 4:
            break
    assert tracemalloc.get_traced_memory()[1] < 200e6
    del rows, dense, block
    tracemalloc.reset_peak()
    found = from_table(table, duplicates="max")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.matrix.nnz > 0.99 * entries
    assert peak < 300e6  # 150 bytes for each rating


@pytest.mark.parametrize(
    ("name", "users", "items", "entries", "high"),
    [("ml_latest_small_ratings", 671, 9066, 100_004, 5.0), ("anime_ratings", 4714, 7157, 419_943, 10.0)],
)
def test_real_ratings_are_read_whole_and_come_back(
    name: str, users: int, items: int, entries: int, high: float
) -> None:
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    table = parquet.read_table(path)
    rows = from_table(table)
    assert rows.matrix.shape == (users, items)
    summary = rows.summary()
    assert (summary.entries, summary.high) == (entries, high)
    assert summary.share == pytest.approx(entries / users / items)
    names = [rows.columns.user, rows.columns.item, rows.columns.value]
    wanted = table.select(names).sort_by([(name, "ascending") for name in names[:2]]).replace_schema_metadata(None)
    assert to_table(rows.matrix, rows).equals(wanted.combine_chunks())
    # And in another order, block by block, as the command line writes it.
    again = from_table(table.sort_by([(names[2], "descending")]))
    assert again.fingerprint() == rows.fingerprint()
    numbers = np.arange(0, users, 300)
    parts = [to_table(rows.take(n), rows, n) for n in (np.arange(s, min(s + 300, users)) for s in numbers)]
    assert pa.concat_tables(parts).combine_chunks().equals(wanted.combine_chunks())
