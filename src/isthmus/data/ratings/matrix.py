"""Ratings: sparse matrices and tables of (user, item, value, time), with memory in proportion to the entries.

A row is a user, a column an item, and what is not there was not rated. Outside ids go in and come out again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import scipy.sparse

from isthmus.data.encoding import Encoding
from isthmus.data.ratings.long_format import Columns, Id, find_columns, read_entries
from isthmus.data.source import Source
from isthmus.errors import ArtifactError, DataError, DataTypeError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers

__all__ = ["Columns", "Densify", "SparseRows", "Summary", "from_table", "to_table"]

Csr = Any  # scipy.sparse.csr_array, which ships no types


class SparseRows(Source):
    """The ratings of each user as a row of a sparse matrix `(users, items)`.

    Args:
        matrix: any `scipy.sparse` matrix or array with two axes. Entries of one place are summed, as scipy does, and
            stored zeros are dropped; the matrix itself is left as it is. Bits become uint8.
        users: the outside id of each row, all integers or all texts; None if rows have none but their number.
        items: the same for the columns.
        columns: names and types for the way back; see `to_table`.
        dropped: number of entries that a reader left out, for reports.

    Raises:
        DataError: for a matrix that is damaged, empty, or holds NaN or inf; for ids that are too few, mixed or twice.

    Example:
        >>> import scipy.sparse
        >>> matrix = scipy.sparse.coo_array(([5, 3, 4], ([0, 1, 1], [2, 0, 2])), shape=(2, 3))
        >>> rows = SparseRows(matrix, users=["ann", "bob"], items=[10, 20, 30])
        >>> len(rows), rows.take(np.array([1])).toarray().tolist()
        (2, [[3, 0, 4]])
    """

    kind: ClassVar[str] = "ratings"
    in_memory: bool = True

    def __init__(
        self,
        matrix: Any,
        *,
        users: Iterable[Id] | None = None,
        items: Iterable[Id] | None = None,
        columns: Columns | None = None,
        dropped: int = 0,
    ) -> None:
        self.matrix: Csr = _canonical(matrix)
        self.users = None if users is None else _ids(users, "user", self.matrix.shape[0], "rows")
        self.items = None if items is None else _ids(items, "item", self.matrix.shape[1], "columns")
        self.columns = columns or Columns()
        self.dropped = dropped
        _check_finite(self)

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def take(self, rows: Integers) -> Csr:
        rows = np.asarray(rows)
        if rows.dtype.kind not in "iu" or (rows.size and not 0 <= rows.min() <= rows.max() < len(self)):
            raise DataError(explain(f"row numbers from 0 to {len(self) - 1}", f"{rows!r:.80}", "numbers in that range"))
        return self.matrix[rows]

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(f"ratings {self.matrix.shape} {self.matrix.dtype.str}".encode(), digest_size=16)
        for part in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            digest.update(np.ascontiguousarray(part).data.cast("B"))
        for ids in (self.users, self.items):
            digest.update(repr(ids).encode())
        return digest.hexdigest()

    def summary(self) -> Summary:
        """Return the extremes of the ratings and how many there are, in one pass over them."""
        return Summary.of([self.matrix])


@dataclass(frozen=True)
class Summary:
    """What the entries of a sparse matrix are; `nothing` has no part in it.

    Attributes:
        low: the smallest entry; 0 if there is none.
        high: the largest.
        whole: whether all are whole numbers.
        entries: how many there are.
        share: the entries' share of all places, in [0, 1].
    """

    low: float
    high: float
    whole: bool
    entries: int
    share: float

    @classmethod
    def of(cls, blocks: Iterable[Csr]) -> Summary:
        """Return the summary of all blocks `(rows, items)` together.

        >>> Summary.of([scipy.sparse.csr_array([[0.0, 2.5], [4.0, 0.0]])])
        Summary(low=2.5, high=4.0, whole=False, entries=2, share=0.5)
        """
        low, high, whole, entries, places = np.inf, -np.inf, True, 0, 0
        for block in blocks:
            values = block.data
            places += block.shape[0] * block.shape[1]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
                whole = whole and (values.dtype.kind in "iu" or bool((values == np.floor(values)).all()))
                entries += values.size
        low, high = (low, high) if entries else (0.0, 0.0)
        return cls(low, high, whole, entries, entries / places if places else 0.0)


@dataclass(frozen=True, eq=False)
class Densify(Encoding):
    """The encoding of ratings: ``x / scale`` as a dense array, where `scale` is the largest size of a training value.

    Ratings in [0, max] come to lie in [0, 1]. Nothing is centred: 0 is no rating, before and after. Only the block that
    is given becomes dense, `4 * rows * items` bytes of it.

    Example:
        >>> block = scipy.sparse.csr_array([[0, 5], [2, 0]])
        >>> encoding = Densify.fit(block)
        >>> encoding.forward(block).tolist()
        [[0.0, 1.0], [0.4, 0.0]]
        >>> encoding.inverse(encoding.forward(block)).tolist()
        [[0.0, 5.0], [2.0, 0.0]]
    """

    kind: ClassVar[str] = "ratings"
    scale: np.ndarray[Any, np.dtype[np.floating[Any]]]

    @classmethod
    def fit(cls, blocks: Csr | Iterable[Csr], schema: Schema | None = None) -> Densify:
        """Fit on one training block, or on an iterable of them, in one pass over their entries.

        Raises:
            DataError: if there is not a single rating.
        """
        summary = Summary.of([blocks] if scipy.sparse.issparse(blocks) else blocks)
        if not summary.entries:
            raise DataError(explain("training rows with ratings", "none at all", "other rows"))
        return cls(np.asarray(max(abs(summary.low), abs(summary.high)) or 1.0))

    def forward(self, block: Csr) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the block `(rows, items)` as dense float32.

        Raises:
            DataError: for what is no sparse block, and for ratings that float32 cannot hold once scaled.
        """
        if not scipy.sparse.issparse(block):
            raise DataTypeError(explain("a sparse block of ratings", type(block).__name__, "scipy.sparse.csr_array(x)"))
        block = block.tocsr()
        with np.errstate(over="ignore"):
            values = np.divide(block.data, self.scale, dtype=np.float64).astype(np.float32)
        if not np.isfinite(values).all():
            largest = float(np.abs(block.data.astype(np.float64)).max())
            raise DataError(explain("ratings that float32 can hold once scaled", f"one of {largest:g}", "a logarithm"))
        dense: Array = scipy.sparse.csr_array((values, block.indices, block.indptr), shape=block.shape).toarray()
        return dense

    def inverse(self, rows: Array, dtype: Any = None) -> Array:
        """Return the dense array `(rows, items)` in the user's units: one number for each item."""
        return np.asarray(rows * self.scale, dtype or "float32")

    def state(self) -> dict[str, Array]:
        """Return the fitted arrays by name."""
        return {"scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Densify:
        """Rebuild from `state`; raise `ArtifactError` for anything else."""
        if set(state) != {"scale"} or np.shape(state["scale"]) != () or not 0 < float(state["scale"]) < np.inf:
            raise ArtifactError(f"the model's preprocessing ({cls.kind!r}, {sorted(state)}) has no scale to divide by")
        return cls(np.asarray(state["scale"]))


def _ids(given: Iterable[Id], what: str, count: int, axis: str) -> tuple[Id, ...]:
    """Return one id for each place, all integers or all texts and no two the same; raise `DataError` otherwise."""
    ids = tuple(value.item() if isinstance(value, np.generic) else value for value in given)
    if len(ids) != count:
        raise DataError(explain(f"{count} {what} ids, one for each of the {axis}", str(len(ids)), "one for each"))
    kinds = sorted({type(value).__name__ for value in ids})
    if kinds not in (["int"], ["str"]):
        raise DataError(explain(f"{what} ids that are all integers or all texts", " and ".join(kinds), "texts for all"))
    if len(set(ids)) != count:
        seen: set[Id] = set()
        twice = next(value for value in ids if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise DataError(explain(f"{what} ids of which no two are the same", f"{twice!r} twice", "other ids"))
    return ids


def _canonical(matrix: Any) -> Csr:
    """Return a csr array with sorted indices, without duplicates and stored zeros; the given one is not changed."""
    if not scipy.sparse.issparse(matrix):
        got = type(matrix).__name__
        raise DataTypeError(explain("a scipy.sparse matrix or array", got, "scipy.sparse.csr_array(x)"))
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(explain("a sparse matrix of users and items", f"shape {matrix.shape}", "two axes, not empty"))
    if matrix.dtype.kind not in "fiub":
        raise DataError(explain("ratings that are real numbers", f"dtype {matrix.dtype}", "X.astype('float32')"))
    dtype = _value_dtype(matrix.dtype)
    try:
        rows = _as_csr(matrix)
    except (ValueError, IndexError, TypeError) as error:
        raise DataError(f"the sparse matrix is damaged: {error}; try X.tocoo().tocsr() where it is made") from None
    if not rows.has_canonical_format:
        rows = rows.copy()  # its arrays may be the user's
        rows.sum_duplicates()
    if rows.nnz != np.count_nonzero(rows.data):
        rows = rows.copy()
        rows.eliminate_zeros()
    if rows.dtype != dtype and dtype.kind in "iu" and rows.nnz:
        fits = np.iinfo(dtype).min <= rows.data.min() and rows.data.max() <= np.iinfo(dtype).max
        dtype = dtype if fits else rows.dtype
    return rows.astype(dtype, copy=False)


def _value_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    return dtype


def _as_csr(matrix: Any) -> Csr:
    """Return a csr array, possibly of the same memory. Indices are checked first: scipy's loops would not do it."""
    if matrix.format in ("csr", "csc"):
        make = scipy.sparse.csr_array if matrix.format == "csr" else scipy.sparse.csc_array
        matrix = make((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        matrix.check_format(full_check=True)
        canonical = matrix.has_canonical_format
    else:
        matrix = matrix.tocoo()
        for axis, places in enumerate(matrix.coords):
            if places.size and not 0 <= places.min() <= places.max() < matrix.shape[axis]:
                raise ValueError(f"axis {axis} has index {places.min()} or {places.max()}, of {matrix.shape[axis]}")
        canonical = False
    # Sums of small integers would wrap around; those of bits are bits.
    if not canonical and matrix.dtype.kind in "iu" and matrix.dtype.itemsize < 8:
        matrix = matrix.astype(np.int64)
    return scipy.sparse.csr_array(matrix)


def _check_finite(source: SparseRows) -> None:
    values = source.matrix.data
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    entry = int(np.flatnonzero(~np.isfinite(values))[0])
    row = int(np.searchsorted(source.matrix.indptr, entry, side="right")) - 1
    column = int(source.matrix.indices[entry])
    user = f" (user {source.users[row]!r})" if source.users else ""
    item = f" (item {source.items[column]!r})" if source.items else ""
    got = f"{values[entry]} in row {row}{user}, column {column}{item}"
    raise DataError(explain("finite ratings", got, "leaving those entries out"))


def from_table(
    table: pa.Table,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    duplicates: str = "refuse",
    items: Sequence[Id] | None = None,
    unknown: str = "refuse",
) -> SparseRows:
    """Return the ratings of a table that has one rating in each row.

    Users and items come in the order of their ids: numbers by size, texts letter by letter. Other columns are passed
    over. A rating of 0 is refused, since a sparse matrix cannot distinguish it from no rating.

    Args:
        table: the ratings, in any order. Ids are integers or texts.
        user: name of the column of users; by default one with a usual name (user, userId, customer_id, ...), else the
            first of two or three columns.
        item: the same for items (item, movieId, product, ISBN, ...), else the second.
        value: the same for ratings (rating, value, count, score, ...), else the third. Without one each is 1.
        time: the same for times (time, timestamp, date, ...). They only decide which rating is the last.
        duplicates: several ratings of one item by one user: "refuse" them; take their "sum", their "max" or the "last"
            (by time, or the later row where there are no times or the same).
        items: the columns of the matrix, those of a fitted model; by default the items of the table.
        unknown: whether items that are not among `items` are refused, or left out ("drop", counted in `dropped`).

    Raises:
        DataError: for columns that are not found or ambiguous, missing values, zeros, and what is refused above.

    Example:
        >>> table = pa.table({"userId": [7, 7, 2], "movieId": ["b", "a", "a"], "rating": [4.0, 3.5, 5.0]})
        >>> rows = from_table(table)
        >>> rows.users, rows.items, rows.matrix.toarray().tolist()
        ((2, 7), ('a', 'b'), [[5.0, 0.0], [3.5, 4.0]])
        >>> to_table(rows.matrix, rows).to_pylist()[0]
        {'userId': 2, 'movieId': 'a', 'rating': 5.0}
    """
    columns = find_columns(table, user=user, item=item, value=value, time=time)
    found = read_entries(table, columns, duplicates=duplicates, items=items, unknown=unknown)
    return SparseRows(found.matrix, users=found.users, items=found.items, columns=found.columns, dropped=found.dropped)


def to_table(block: Any, source: SparseRows, rows: Sequence[int] | Integers | None = None) -> pa.Table:
    """Return ratings as a table of (user, item, value) with the outside ids, names and types of the source's own.

    Args:
        block: `(rows, items)`, sparse, or dense as `Densify.inverse` gives it. Where it is 0 there is no rating.
        source: where the ids, names and types come from.
        rows: which rows of the source the block has; all of them by default.

    Returns:
        The ratings, ordered by row and column. Values that the original type cannot hold, such as 3.7 in a column of
        integers, keep the block's type. Without a value column in the original there is none here, if all are 1.

    Raises:
        DataError: for a block of other rows or columns than the source's.
    """
    block = _canonical(block if scipy.sparse.issparse(block) else scipy.sparse.csr_array(np.atleast_2d(block)))
    numbers = np.arange(len(source)) if rows is None else np.asarray(rows)
    if block.shape != (len(numbers), source.matrix.shape[1]):
        wanted = f"a block of {len(numbers)} rows and {source.matrix.shape[1]} items"
        raise DataError(explain(wanted, f"{block.shape[0]} and {block.shape[1]}", "rows=, the numbers of its rows"))
    columns = source.columns
    users = np.repeat(numbers, np.diff(block.indptr))
    parts = {
        columns.user: _outside(users, source.users, columns.user_type),
        columns.item: _outside(block.indices, source.items, columns.item_type),
    }
    if columns.value is not None or not (block.data == 1).all():
        parts[columns.value or "value"] = _values(block.data, columns.value_type)
    return pa.table(parts)


def _outside(places: Array, ids: tuple[Id, ...] | None, kind: pa.DataType | None) -> pa.Array:
    """Return the outside ids at some places, in their column's type."""
    if ids is None:
        return pa.array(places, pa.int64())
    if kind is not None and pa.types.is_dictionary(kind):
        known = pa.array(ids, kind.value_type)
        try:
            return pa.DictionaryArray.from_arrays(pa.array(places, kind.index_type), known, ordered=kind.ordered)
        except pa.ArrowInvalid:  # more ids than a small index counts
            return pa.DictionaryArray.from_arrays(pa.array(places, pa.int64()), known, ordered=kind.ordered)
    if kind is not None and pa.types.is_string_view(kind):  # which Arrow cannot take from
        return pa.array(ids, pa.large_string()).take(pa.array(places)).cast(kind)
    return pa.array(ids, kind).take(pa.array(places))


def _values(values: Array, kind: pa.DataType | None) -> pa.Array:
    made = pa.array(values)
    if kind is None:
        return made
    try:
        return made.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return made
