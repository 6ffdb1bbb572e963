"""Whatever the user has -- an array, a frame, a tensor, a file -- as rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.json
import scipy.sparse
import torch

from isthmus.data.files.readers import READERS, load_file
from isthmus.data.tables.dataframes import are_texts
from isthmus.errors import DataError, DataTypeError, explain, unknown_name
from isthmus.typing import Array

__all__ = [
    "READERS",
    "Rows",
    "as_rows",
    "check_finite",
    "check_values",
    "column_of",
    "load_file",
    "read",
    "read_condition",
    "read_labels",
    "rows_of",
]


@dataclass(frozen=True)
class Rows:
    """Rows of numbers `(rows, *shape)` and, for a table, the names of its columns."""

    values: Array
    names: tuple[str, ...] | None = None


def as_rows(data: Any, *, missing: bool = False) -> Rows:
    """Return finite numeric rows from an array, a data frame, a tensor, a path, or nested lists.

    Integers, floats and booleans keep their type; frames and lists become float64.

    Raises:
        DataError: for anything that is not a non-empty array of finite real numbers with rows and columns.
    """
    if isinstance(data, Rows):
        return Rows(check_values(data.values, data.names, missing=missing), data.names)
    if isinstance(data, str | Path):
        rows = read(data, missing=missing)
        return Rows(check_values(rows.values, rows.names, missing=missing), rows.names)
    if scipy.sparse.issparse(data):
        raise DataTypeError(explain("a dense array", f"a sparse matrix ({type(data).__name__})", "X.toarray()"))
    frame = nw.from_native(data, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return _from_frame(frame, missing=missing)
    return Rows(check_values(dense(data), missing=missing))


def dense(data: Any) -> Any:
    """Return a tensor as an array, and anything else as it is; refuse frames and tensors whose values are not there."""
    if isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame):
        raise DataTypeError(explain("rows in memory", f"a lazy frame ({type(data).__name__})", "X.collect()"))
    if isinstance(data, torch.Tensor):
        if data.layout != torch.strided:
            raise DataTypeError(explain("a dense tensor", f"layout {data.layout}", "X.to_dense()"))
        data = (data.float() if data.dtype == torch.bfloat16 else data).detach().cpu().numpy()
    return data


def _from_frame(frame: nw.DataFrame[Any], *, missing: bool = False) -> Rows:
    if len(frame) == 0:
        check_values(np.empty((0, max(1, len(frame.columns)))))
    columns = []
    for name, column in zip(frame.columns, frame.iter_columns(), strict=True):
        if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
            sample = next((repr(value) for value in column.head(100).to_list() if value is not None), "nothing")
            raise DataError(
                f"column {name!r}: "
                + explain("numbers", f"{column.dtype} (such as {sample})", "dropping it (--drop), or encoding it")
            )
        holes = int(column.is_null().sum())
        if holes and not missing:
            raise DataError(
                f"column {name!r} has {holes} missing values (NaN): try filling them, dropping those rows, --drop, "
                "or letting the model leave them out (missing=mask, presets.miwae)"
            )
        columns.append((column.cast(nw.Float64) if holes else column).to_numpy())
    names = tuple(frame.columns) if are_texts(frame) else None
    dtype = np.result_type(*columns)
    values = np.column_stack([column.astype(dtype, copy=False) for column in columns])
    return Rows(check_values(values, names, missing=missing), names)


def check_values(data: Any, names: tuple[str, ...] | None = None, *, missing: bool = False) -> Array:
    """Return `data` as an array `(rows, *shape)` of finite real numbers, or raise `DataError` saying what is wrong.

    With `missing`, NaN stands for a value that was not observed.
    """
    try:
        array = np.asarray(data)
        if array.dtype.kind in "OUS":
            array = array.astype(np.float64)
    except TypeError as error:
        raise DataTypeError(f"the data hold something that is no number: {error}; try numeric columns only") from None
    except ValueError as error:
        raise DataError(f"the data are no rectangular array of numbers: {error}; try numeric columns only") from None
    if array.dtype.kind == "c":
        raise DataError("Complex data not supported: " + explain("real numbers", str(array.dtype), "X.real"))
    if array.dtype.kind not in "fiub":
        raise DataError(explain("numbers", f"dtype {array.dtype}", "X.astype(float)"))
    if array.ndim < 2:
        raise DataError(
            explain("rows and columns (a 2-D array or more)", f"shape {array.shape}", "to reshape")
            + ". Reshape your data either using array.reshape(-1, 1) if it is a single column or "
            "array.reshape(1, -1) if it is a single row"
        )
    if array.shape[0] == 0:
        raise DataError(
            f"Found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required; the data are empty"
        )
    if 0 in array.shape[1:]:
        raise DataError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required; the rows are empty"
        )
    if array.dtype.kind == "f":
        if array.dtype.itemsize == 2:
            array = array.astype(np.float32)
        check_finite(array, names, missing=missing)
    return array


def check_finite(array: Array, names: tuple[str, ...] | None, *, missing: bool, first_row: int = 0) -> None:
    """Raise `DataError`, saying where, for values that are infinite, or unless `missing` NaN."""
    # One pass without a temporary: a sum is finite only if all of its terms are (it may overflow, so look again).
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    bad = np.isinf(array) if missing else ~np.isfinite(array)
    if not bad.any():
        return
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    what = "NaN" if np.isnan(array[where]) else "inf"
    column = f"column {names[where[1]]!r}" if names else f"place {where[1:]}"
    raise DataError(
        f"the data hold {int(bad.sum())} values that are NaN or inf, the first ({what}) in row {first_row + where[0]}, "
        f"{column}; "
        "try filling them or dropping those rows, or let the model leave NaN out (missing=mask, presets.miwae)"
    )


def read(path: str | Path, drop: tuple[str, ...] = (), *, missing: bool = False) -> Rows:
    """Read a file: .npy, .npz, .csv, .tsv, .jsonl, .parquet, .arrow, .feather or idx, each also with .gz.

    Args:
        path: the file. An .npz with several arrays takes the name of one after a hash sign: ``images.npz#x_train``.
        drop: columns of a table to leave out.
        missing: whether a table may have missing values, which become NaN.

    Raises:
        DataError: if it is missing, empty, damaged, or of another kind.
    """
    return rows_of(load_file(path), path, drop, missing=missing)


def rows_of(loaded: Any, path: str | Path, drop: tuple[str, ...] = (), *, missing: bool = False) -> Rows:
    """Return the rows of what `load_file` returned, without some columns; see `read`."""
    if not isinstance(loaded, pa.Table):
        if drop:
            raise DataError(f"--drop {drop[0]}: " + explain("a table with columns", f"{str(path)!r}", "no --drop"))
        return Rows(_dense(loaded, path))
    for name in drop:
        if name not in loaded.column_names:
            raise DataError("--drop: " + unknown_name("column", name, loaded.column_names))
    left = loaded.drop_columns(list(dict.fromkeys(drop)))
    for place, field in enumerate(left.schema):
        if pa.types.is_null(field.type):  # a column without a single value has no type
            left = left.set_column(place, field.name, left[field.name].cast(pa.float64()))
    return _from_frame(nw.from_native(left, eager_only=True), missing=missing)


def _dense(loaded: Any, path: str | Path) -> Any:
    if scipy.sparse.issparse(loaded):
        got = f"a sparse matrix in {str(path)!r}"
        raise DataTypeError(explain("a dense array", got, "isthmus.read, which takes sparse rows as ratings"))
    return loaded


def column_of(table: pa.Table, name: str, *, missing: bool = False) -> Array:
    """Return a column of a table `(rows,)`: numbers or texts, and unless `missing` one in each row."""
    values = table[name].to_pylist()
    holes = sum(value is None or value == "" for value in values)
    if holes and not missing:
        got = f"{holes} row(s) without one"
        raise DataError(
            f"column {name!r}: " + explain("a value in each row", got, "filling them, or dropping those rows")
        )
    return np.asarray(values)


def read_condition(path: str | Path) -> Array:
    """Read the condition of a model: labels or numbers `(rows,)`, or numbers `(rows, values)`.

    Raises:
        DataError: as `read`, and for a label that is missing.
    """
    loaded = load_file(path)
    if not isinstance(loaded, pa.Table):
        return np.asarray(_dense(loaded, path))
    if loaded.num_columns == 1:
        return column_of(loaded, loaded.column_names[0])
    return rows_of(loaded, path).values


def read_labels(path: str | Path, column: str | None = None) -> Array:
    """Read one label for each row `(rows,)`, numbers or text: a file of one column, or a column of a table.

    Raises:
        DataError: as `read`, and if there is more than one column to choose from.
    """
    loaded = load_file(path)
    if isinstance(loaded, pa.Table):
        if column is None and loaded.num_columns != 1:
            raise DataError(
                explain("one column of labels", f"{loaded.num_columns}", "the name of a column of the data itself")
            )
        name = loaded.column_names[0] if column is None else column
        if name not in loaded.column_names:
            raise DataError(unknown_name("column", name, loaded.column_names))
        return np.asarray(loaded[name].to_pylist())
    if column is not None:
        raise DataError(f"--labels: there is neither a file nor a column {column!r}; {str(path)!r} has no columns")
    labels: Array = _dense(loaded, path).squeeze()
    if labels.ndim != 1:
        raise DataError(explain("one label for each row", f"shape {loaded.shape}", "another array"))
    return labels
