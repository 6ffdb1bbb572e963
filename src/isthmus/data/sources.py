"""Whatever the user has -- an array, a frame, a tensor, a file -- as rows of numbers."""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.json
import scipy.sparse
import torch

from isthmus.errors import DataError, DataTypeError, explain, unknown_name

Array = np.ndarray[Any, np.dtype[Any]]


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
    if isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame):
        raise DataTypeError(explain("rows in memory", f"a lazy frame ({type(data).__name__})", "X.collect()"))
    if isinstance(data, torch.Tensor):
        if data.layout != torch.strided:
            raise DataTypeError(explain("a dense tensor", f"layout {data.layout}", "X.to_dense()"))
        data = (data.float() if data.dtype == torch.bfloat16 else data).detach().cpu().numpy()
    return Rows(check_values(data, missing=missing))


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
    if not columns:
        raise DataError(explain("a table with columns", "one without (0 feature(s))", "another file or frame"))
    # Frames name their columns by anything; scikit-learn takes names only if all are strings.
    texts = [isinstance(name, str) for name in frame.columns]
    if any(texts) and not all(texts):
        kinds = sorted({type(name).__name__ for name in frame.columns})
        raise DataTypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as feature name / column name types. Try X.columns = X.columns.astype(str)"
        )
    names = tuple(frame.columns) if all(texts) else None
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


def check_finite(array: Array, names: tuple[str, ...] | None, *, missing: bool) -> None:
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
        f"the data hold {int(bad.sum())} values that are NaN or inf, the first ({what}) in row {where[0]}, {column}; "
        "try filling them or dropping those rows, or let the model leave NaN out (missing=mask, presets.miwae)"
    )


def read(path: str | Path, drop: tuple[str, ...] = (), *, missing: bool = False) -> Rows:
    """Read a file: .npy, .npz, .csv, .tsv, .parquet or idx, each also with .gz.

    Args:
        path: the file. An .npz with several arrays takes the name of one after a hash sign: ``images.npz#x_train``.
        drop: columns of a table to leave out.
        missing: whether a table may have holes, which become NaN.

    Raises:
        DataError: if it is missing, empty, damaged, or of another kind.
    """
    return rows_of(load_file(path), path, drop, missing=missing)


def rows_of(loaded: Any, path: str | Path, drop: tuple[str, ...] = (), *, missing: bool = False) -> Rows:
    """Return the rows of what `load_file` returned, without some columns; see `read`."""
    if not isinstance(loaded, pa.Table):
        if drop:
            raise DataError(f"--drop {drop[0]}: " + explain("a table with columns", f"{str(path)!r}", "no --drop"))
        return Rows(loaded)
    for name in drop:
        if name not in loaded.column_names:
            raise DataError("--drop: " + unknown_name("column", name, loaded.column_names))
    left = loaded.drop_columns(list(dict.fromkeys(drop)))
    for place, field in enumerate(left.schema):
        if pa.types.is_null(field.type):  # a column without a single value has no type
            left = left.set_column(place, field.name, left[field.name].cast(pa.float64()))
    return _from_frame(nw.from_native(left, eager_only=True), missing=missing)


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
    """Read what a conditional model is told: labels or numbers `(rows,)`, or numbers `(rows, values)`.

    Raises:
        DataError: as `read`, and for a label that is missing.
    """
    loaded = load_file(path)
    if not isinstance(loaded, pa.Table):
        return np.asarray(loaded)
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
    labels: Array = loaded.squeeze()
    if labels.ndim != 1:
        raise DataError(explain("one label for each row", f"shape {loaded.shape}", "another array"))
    return labels


def load_file(path: str | Path) -> Any:
    """Return what a file holds: an array, or an Arrow table."""
    file, key = Path(str(path)), ""
    if not file.exists():
        text, _, key = str(path).partition("#")
        file = Path(text)
    if not file.exists():
        raise DataError(f"there is no file {str(file)!r}; try the full path, or `ls` to see what is there")
    if file.is_dir():
        raise DataError(explain("a file", f"the folder {str(file)!r}", "one of the files in it"))
    reader = _reader(file)
    try:
        with _open(file) as content:
            if not content.read(1):
                raise DataError(f"the file {str(file)!r} is empty")
            content.seek(0)
            return reader(content, file, key)
    except DataError:
        raise
    except PermissionError:
        raise DataError(f"the file {str(file)!r} may not be read; try `ls -l` to see whose it is") from None
    except Exception as error:
        # Whatever a parser trips over in a damaged file, and they trip over much, the file is what is wrong.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # What a parser quotes of a file that is no text at all is nothing to put on a terminal.
        reason = reason if reason.isprintable() and "\ufffd" not in reason else ascii(reason)[1:120] + "..."
        raise DataError(f"the file {str(file)!r} cannot be read as {suffix_of(file)}: {reason}") from None


def _open(file: Path) -> Any:
    """Return the file's bytes as a seekable stream, unpacked if it is gzipped."""
    if file.suffix.lower() == ".gz":
        with gzip.open(file, "rb") as stream:
            return io.BytesIO(stream.read())
    return file.open("rb")


def suffix_of(file: Path) -> str:
    """Return what the name says the file is: its suffix, or idx."""
    name = file.name.lower().removesuffix(".gz")
    if re.search(r"[.-]idx\d?(-u?byte)?$|-ubyte$", name):
        return ".idx"
    return Path(name).suffix


def _reader(file: Path) -> Callable[[Any, Path, str], Any]:
    kind = suffix_of(file)
    if kind not in READERS:
        raise DataError(f"{str(file)!r}: " + unknown_name("kind of file", kind or "(no suffix)", READERS))
    return READERS[kind]


def _read_npy(stream: Any, file: Path, key: str) -> Any:
    _check_npy_size(stream)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _check_npy_size(stream: Any) -> None:
    """Refuse a header that states more than the file holds, before memory is asked for."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version in readers:
        shape, _, dtype = readers[version](stream)
        start = stream.tell()
        held = stream.seek(0, io.SEEK_END) - start
        stated = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if not dtype.hasobject and held < stated:
            raise ValueError(f"it states {stated} bytes of values and has {held}")
    stream.seek(0)


def _read_npz(stream: Any, file: Path, key: str) -> Any:
    with np.load(stream, allow_pickle=False) as archive:
        if not hasattr(archive, "files"):
            raise DataError(f"the file {str(file)!r} is no .npz archive")
        names = list(archive.files)
        if not key:
            if len(names) != 1:
                example = f"{file}#{names[0]}" if names else "another file"
                raise DataError(
                    f"{str(file)!r} holds {len(names)} arrays ({', '.join(names)}); say which, for example {example}"
                )
            key = names[0]
        if key not in names:
            raise DataError(f"{str(file)!r}: " + unknown_name("array", key, names))
        return archive[key]


def _read_csv(stream: Any, file: Path, key: str, delimiter: str = ",") -> Any:
    from pyarrow import csv

    head = stream.readline(1 << 20).decode("utf-8-sig", errors="replace").strip().split(delimiter)
    stream.seek(0)
    numbers = [_is_number(cell) for cell in head]
    # A first line of numbers, with holes or without, is a row and not the columns' names.
    nameless = any(numbers) and all(
        number or cell.strip().strip('"').lower() in _HOLES for number, cell in zip(numbers, head, strict=True)
    )
    options = csv.ReadOptions(autogenerate_column_names=nameless)
    table = csv.read_csv(stream, options, csv.ParseOptions(delimiter=delimiter))
    if table.num_columns == 1 and ";" in table.column_names[0]:
        raise DataError(explain("columns parted by commas", f"semicolons in {str(file)!r}", "saving it with commas"))
    return _unique_names(table)


def _read_tsv(stream: Any, file: Path, key: str) -> Any:
    return _read_csv(stream, file, key, delimiter="\t")


def _read_parquet(stream: Any, file: Path, key: str) -> Any:
    from pyarrow import parquet

    return _unique_names(parquet.read_table(stream))


def _read_jsonl(stream: Any, file: Path, key: str) -> Any:
    return _unique_names(pa.json.read_json(stream))


def _read_arrow(stream: Any, file: Path, key: str) -> Any:
    # The two forms of Arrow differ in their first bytes.
    opened = pa.ipc.open_file if stream.read(6) == b"ARROW1" else pa.ipc.open_stream
    stream.seek(0)
    return _unique_names(opened(stream).read_all())


def _unique_names(table: pa.Table) -> pa.Table:
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(explain("a name of its own for each column", f"{twice} more than once", "renaming them"))
    return table


_HOLES = ("", "na", "n/a", "null", "none", "nan", "?")


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True


# The idx format of MNIST: two zero bytes, the type, the number of axes, the sizes, all big-endian.
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _read_idx(stream: Any, file: Path, key: str) -> Any:
    zeros, code, axes = struct.unpack(">HBB", stream.read(4))
    if zeros != 0 or code not in _IDX_TYPES or not axes:
        raise DataError(f"the file {str(file)!r} is no idx file: its first bytes are {zeros:04x} {code:02x} {axes:02x}")
    shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
    dtype = np.dtype(_IDX_TYPES[code])
    data = stream.read()
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != wanted:
        raise DataError(f"the file {str(file)!r} states {wanted} bytes of values and has {len(data)}; it is damaged")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


READERS: dict[str, Callable[[Any, Path, str], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".idx": _read_idx,
}
