"""How the files of named data sets are read: bounded, never unpickled, into arrays, tables or texts."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.errors import DataError
from isthmus.typing import Array

# No file of these sets unpacks to more.
LARGEST = 1 << 28


@dataclass(frozen=True)
class Content:
    """The content of a split: rows (an array, a table, texts or images), and a label for each or None."""

    rows: Any
    labels: Array | None = None


@dataclass(frozen=True)
class Layout:
    """One arrangement of a data set's files in a folder.

    Attributes:
        files: for each split the names of its files; each may also be gzipped, with .gz after the name.
        read: returns the content of a split from the paths of those files.
        means: for each split the means of some columns, if values may differ by rounding; otherwise digests are
            compared.
    """

    files: Mapping[str, tuple[str, ...]]
    read: Callable[[Sequence[Path], str], Content]
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def find(self, folder: Path, split: str) -> list[Path] | None:
        """Return the split's files in a folder, or None unless all are there."""
        found = []
        for name in self.files.get(split, ()):
            paths = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
            if not paths:
                return None
            found.append(paths[0])
        return found or None


def digest(content: Content, *, ordered: bool = True) -> str:
    """Return the SHA-256 of a split's content: types, shapes and values, whatever the file format.

    Without `ordered`, the order of rows (of bytes, with labels) does not matter.
    """
    result = hashlib.sha256()
    rows, labels = content.rows, content.labels
    if not ordered:
        joined = [
            row.tobytes() + bytes([label]) for row, label in zip(rows, () if labels is None else labels, strict=True)
        ]
        rows, labels = np.frombuffer(b"".join(sorted(joined)), np.uint8), None
    for part in (rows, labels):
        _add(result, part)
    return result.hexdigest()


def _add(result: Any, part: Any) -> None:
    if part is None:
        result.update(b"none;")
    elif isinstance(part, pa.Table):
        for name in part.column_names:
            result.update(f"{name};{part.schema.field(name).type};".encode())
            column = part[name]
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.int64())
            _add(result, column.to_pylist() if pa.types.is_string(column.type) else column.to_numpy())
    elif isinstance(part, np.ndarray) and part.dtype.kind == "U":
        _add(result, part.tolist())
    elif isinstance(part, np.ndarray):
        little = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
        result.update(f"{little.dtype.str}{little.shape};".encode())
        result.update(little.data.cast("B"))
    elif len(part) and isinstance(part[0], np.ndarray):
        result.update(f"pictures({len(part)});".encode())
        for picture in part:
            _add(result, picture)
    else:
        # A text ends where no text can go on.
        result.update(f"texts({len(part)});".encode())
        result.update("\0".join(part).encode())


def unpacked(path: Path) -> bytes:
    """Return a file's bytes, unpacked if it is gzipped; raise `DataError` if there are too many."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        content: bytes = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"the file {str(path)!r} holds more than {LARGEST >> 20} MB; it is not what it is named after")
    return content


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"{name!r} in {archive.filename!r} holds more than {LARGEST >> 20} MB")
    return content


def arrays(path: Path, names: Sequence[str]) -> list[Array]:
    """Return arrays of an .npz by name. A header that states more than there is does not allocate memory."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for name in names:
            stream = io.BytesIO(_member(archive, f"{name}.npy"))
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise DataError(f"the array {name!r} in {str(path)!r} is of a version {version} that no such set has")
            first = version == (1, 0)
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            if dtype.hasobject:
                raise DataError(f"the array {name!r} in {str(path)!r} holds Python objects, which are never read")
            flat = np.frombuffer(stream.read(), dtype)
            found.append(flat.reshape(shape, order="F" if fortran else "C"))
    return found


def npz(rows: str, labels: str | None = None, types: tuple[str, str] | None = None) -> Callable[..., Content]:
    """Return a reader of the arrays `rows` and `labels`, in whose names {split} is the name of the split."""

    def read(paths: Sequence[Path], split: str) -> Content:
        wanted = [name.format(split=split) for name in (rows, labels) if name is not None]
        found = arrays(paths[0], wanted)
        if types is not None:
            found = [array.astype(dtype) for array, dtype in zip(found, types, strict=False)]
        return Content(found[0], found[1].reshape(-1) if len(found) > 1 else None)

    return read


_IDX_UINT8 = 0x08


def _idx_array(path: Path) -> Array:
    data = unpacked(path)
    zeros, code, axes = struct.unpack_from(">HBB", data)
    if zeros or code != _IDX_UINT8:
        raise DataError(f"the file {str(path)!r} is no idx file of bytes: it begins with {data[:4].hex()}")
    shape = struct.unpack_from(f">{axes}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def idx(paths: Sequence[Path], split: str) -> Content:
    """Read MNIST's format: images, then labels."""
    images, labels = (_idx_array(path) for path in paths)
    return Content(images, labels)


def parquet(labels: str | None = None, drop: Sequence[str] = ()) -> Callable[..., Content]:
    """Return a reader of a Parquet table, of which one column is the labels."""

    def read(paths: Sequence[Path], split: str) -> Content:
        from pyarrow import parquet as files

        with files.ParquetFile(paths[0]) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > LARGEST:
                raise DataError(f"the file {str(paths[0])!r} holds more than {LARGEST >> 20} MB")
            return split_labels(file.read(), labels, drop)

    return read


def split_labels(table: pa.Table, labels: str | None, drop: Sequence[str] = ()) -> Content:
    """Return a table with texts of one type, without its labels and other columns to drop."""
    for place, column in enumerate(table.schema):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        kind = pa.string() if pa.types.is_large_string(kind) else kind
        if kind != column.type:
            table = table.set_column(place, column.name, table[column.name].cast(kind))
    table = table.replace_schema_metadata(None)
    if labels is None:
        return Content(table.drop_columns(list(drop)))
    conditions = table[labels]
    return Content(
        table.drop_columns([labels, *drop]),
        np.asarray(conditions.to_pylist()) if pa.types.is_string(conditions.type) else conditions.to_numpy(),
    )


def csv(
    labels: str, names: Sequence[str] | None = None, drop: Sequence[str] = (), types: Any = None
) -> Callable[..., Content]:
    """Return a reader of a CSV table with a header, or with `names`."""

    def read(paths: Sequence[Path], split: str) -> Content:
        from pyarrow import csv as files

        options = files.ReadOptions(column_names=list(names) if names else None)
        convert = files.ConvertOptions(column_types=types or {})
        return split_labels(files.read_csv(io.BytesIO(unpacked(paths[0])), options, None, convert), labels, drop)

    return read


def lines(paths: Sequence[Path], split: str) -> Content:
    """Read one text per line."""
    return Content([line.strip() for line in unpacked(paths[0]).decode("utf-8").split("\n") if line.strip()])


def numbers(paths: Sequence[Path], split: str) -> Content:
    """Read a text file of comma-separated numbers, and from a second file, if there is one, a 0 or 1 for each row."""
    rows = np.loadtxt(io.BytesIO(unpacked(paths[0])), np.float32, delimiter=",", ndmin=2)
    conditions = np.loadtxt(io.BytesIO(unpacked(paths[1])), np.int8, ndmin=1) if len(paths) > 1 else None
    return Content(rows, conditions)


def ucr(name: str) -> Callable[..., Content]:
    """Return a reader of a UCR series set: .txt or .tsv (label first), .ts (label last), or the zip of the archive.

    Labels become 0 for class 1, the normal one, and 1 for the others.
    """

    def read(paths: Sequence[Path], split: str) -> Content:
        path = paths[0]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                wanted = re.compile(rf"(.*/)?{name}_{split.upper()}\.(txt|ts)")
                members = [member for member in archive.namelist() if wanted.fullmatch(member)]
                if not members:
                    raise DataError(f"the file {str(path)!r} holds no {name}_{split.upper()}.txt")
                text, kind = _member(archive, members[0]).decode(), Path(members[0]).suffix
        else:
            text, kind = unpacked(path).decode(), Path(path.name.removesuffix(".gz")).suffix
        if kind == ".ts":
            _, _, data = text.partition("@data")
            table = np.loadtxt(io.StringIO(data.strip().replace(":", ",")), delimiter=",", ndmin=2)
            rows, classes = table[:, :-1], table[:, -1]
        else:
            table = np.loadtxt(io.StringIO(text.replace(",", " ")), ndmin=2)
            rows, classes = table[:, 1:], table[:, 0]
        return Content(rows.astype(np.float32), (classes != 1).astype(np.int8))

    return read


def smd(machine: str) -> Callable[..., Content]:
    """Return a reader of one machine of the compact server machine set; only its test rows have labels."""

    def read(paths: Sequence[Path], split: str) -> Content:
        names = [f"{machine}_{split}"] + ([f"{machine}_test_label"] if split == "test" else [])
        found = arrays(paths[0], names)
        return Content(found[0], found[1] if len(found) > 1 else None)

    return read


def ecg5000(paths: Sequence[Path], split: str) -> Content:
    """Read the compact ECG5000: the official training rows in their order, or the others."""
    x, anomaly, train = arrays(paths[0], ["x", "anomaly", "official_train_index"])
    places = train if split == "train" else np.setdiff1d(np.arange(len(x)), train)
    return Content(x[places], anomaly[places])


def pictures(paths: Sequence[Path], split: str) -> Content:
    """Read images, each `(height, width, 3)` uint8, from a zip of them or one by one, by name."""
    if paths[0].suffix == ".zip":
        with zipfile.ZipFile(paths[0]) as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith((".png", ".jpg")))
            return Content([_picture(_member(archive, name)) for name in names])
    return Content([_picture(unpacked(path)) for path in sorted(paths)])


def _picture(content: bytes) -> Array:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > 1 << 22:
            raise DataError(f"a picture of {image.width}x{image.height} is larger than any of this set")
        return np.asarray(image.convert("RGB"))
