"""Readers of files: an array, a sparse array or an Arrow table, each checked, and none by running what is in it."""

from __future__ import annotations

import gzip
import io
import re
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse

from isthmus.data.files.delimited import read_delimited, read_json_lines
from isthmus.data.tables.dataframes import without_null_labels
from isthmus.errors import DataError, explain, reason_of, unknown_name

# What a packed file may unpack to: a file of a megabyte may hold a gigabyte of zeros.
_MOST_UNPACKED = 1 << 30
_PIECE = 1 << 20
# Rows of a table or a sparse matrix that take no place in its file, as all rows of nothing do.
_MOST_EMPTY = 1 << 26
# The last bytes of an Arrow stream.
_END = b"\xff\xff\xff\xff\0\0\0\0"


def load_file(path: str | Path) -> Any:
    """Return what a file holds: an array, a `scipy.sparse.csr_array`, or an Arrow table.

    Raises:
        DataError: if it is missing, empty, damaged, of another kind, or packed and larger than 1 GiB unpacked.
    """
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
            return _checked(reader(content, file, key), file)
    except DataError:
        raise
    except PermissionError:
        raise DataError(f"the file {str(file)!r} may not be read; try `ls -l` to see whose it is") from None
    except Exception as error:
        # Whatever a parser trips over in a damaged file, and they trip over much, the file is what is wrong.
        raise DataError(f"the file {str(file)!r} cannot be read as {suffix_of(file)}: {reason_of(error)}") from None


def _open(file: Path) -> Any:
    """Return the file's bytes as a seekable stream, unpacked if it is gzipped."""
    if file.suffix.lower() != ".gz":
        return file.open("rb")
    content = io.BytesIO()
    with gzip.open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            content.write(piece)
            if content.tell() > _MOST_UNPACKED:
                raise _too_large(file)
    content.seek(0)
    return content


def _too_large(file: Path) -> DataError:
    limit = f"at most {_MOST_UNPACKED >> 20:,} MiB once unpacked"
    return DataError(f"the file {str(file)!r}: " + explain(limit, "more", "unpacking it first, if it is to be trusted"))


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


def is_index(name: str) -> bool:
    """Whether a column is the index of a pandas frame, which pandas writes beside the columns."""
    return re.fullmatch(r"__index_level_\d+__", name) is not None


def _checked(loaded: Any, file: Path) -> Any:
    """Return what was read; refuse a table without rows, and one with a name twice."""
    if not isinstance(loaded, pa.Table):
        return loaded
    loaded = loaded.drop_columns([name for name in set(loaded.column_names) if is_index(name)])
    names = loaded.column_names
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        got = f"{twice[:10]} more than once in {str(file)!r}"
        raise DataError(explain("a name of its own for each column", got, "renaming them"))
    if not loaded.num_rows:
        raise DataError(f"the table has no rows (0 sample(s) in {str(file)!r}); try another file")
    if loaded.num_rows > _MOST_EMPTY and all(pa.types.is_null(kind) for kind in loaded.schema.types):
        got = f"{loaded.num_rows} without one"
        raise DataError(f"the file {str(file)!r}: " + explain("rows with values", got, "another file"))
    return without_null_labels(loaded)


# ---- arrays ----------------------------------------------------------------------------------------------------------


def _read_npy(stream: Any, file: Path, key: str) -> Any:
    held = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return _read_array(stream, held)


def array_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns come first, and type, as the header of a .npy stream states them.

    Raises:
        ValueError: for a header that is none. Version 3 is for records alone, which hold no rows.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"its version {version} is not one of {sorted(readers)}")
    with warnings.catch_warnings():
        # numpy says of a file from Python 2 that it takes longer.
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = readers[version](stream)
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype


def _read_array(stream: Any, held: int) -> Any:
    """Return the array in a stream of so many bytes; refuse a header that states others, before memory is asked for."""
    with warnings.catch_warnings():
        # numpy says of a file from Python 2 that it takes longer.
        warnings.simplefilter("ignore", UserWarning)
        return _parsed(stream, held)


def _parsed(stream: Any, held: int) -> Any:
    shape, _, dtype = array_header(stream)
    stated = int(np.prod(shape, dtype=object)) * dtype.itemsize
    left = held - stream.tell()
    # More may be a second array, or an archive's word for what is not there, and then no checksum is looked at.
    if not dtype.hasobject and left != stated:
        raise ValueError(f"it states {stated} bytes of values and has {left}")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _read_npz(stream: Any, file: Path, key: str) -> Any:
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = list(members)
        if not key and {"format", "shape", "data"} <= set(names):
            return _sparse({name: _member(archive, info, file) for name, info in members.items()}, file)
        if not key:
            if len(names) != 1:
                example = f"{file}#{names[0]}" if names else "another file"
                raise DataError(
                    f"{str(file)!r} holds {len(names)} arrays ({', '.join(names)}); say which, for example {example}"
                )
            key = names[0]
        if key not in names:
            raise DataError(f"{str(file)!r}: " + unknown_name("array", key, names))
        return _member(archive, members[key], file)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> Any:
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > _MOST_UNPACKED:
        raise _too_large(file)
    with archive.open(info) as stream:
        found = _read_array(stream, info.file_size)
        # The checksum is compared when all is read.
        stream.read(1)
        return found


def _sparse(parts: dict[str, Any], file: Path) -> Any:
    """Return the matrix that `scipy.sparse.save_npz` wrote, checked: its loops would follow any index."""
    stated = parts["format"].item()
    form = stated.decode("ascii") if isinstance(stated, bytes) else str(stated)
    shape = tuple(int(size) for size in parts["shape"])
    if len(shape) != 2 or min(shape) < 1:
        raise DataError(
            f"the file {str(file)!r}: " + explain("a sparse matrix of two axes", f"shape {shape}", "another")
        )
    if max(shape) > _MOST_EMPTY and max(shape) > parts["data"].size:
        raise DataError(
            f"the file {str(file)!r}: "
            + explain(f"at most {_MOST_EMPTY:,} rows and columns", f"shape {shape}", "leaving out empty ones")
        )
    if form in ("csr", "csc", "bsr"):
        make = {"csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array, "bsr": scipy.sparse.bsr_array}[form]
        matrix = make((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
    elif form == "coo":
        places = tuple(parts["coords"]) if "coords" in parts else (parts["row"], parts["col"])
        matrix = scipy.sparse.coo_array((parts["data"], places), shape=shape)
    elif form == "dia":
        matrix = scipy.sparse.dia_array((parts["data"], parts["offsets"]), shape=shape)
    else:
        raise DataError(f"the file {str(file)!r}: " + unknown_name("sparse format", form, ("csr", "csc", "coo")))
    rows = scipy.sparse.csr_array(matrix)
    rows.check_format(full_check=True)
    return rows


# The idx format of MNIST: two zero bytes, the type, the number of axes, the sizes, all big-endian.
_MOST_AXES = 8
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _read_idx(stream: Any, file: Path, key: str) -> Any:
    zeros, code, axes = struct.unpack(">HBB", stream.read(4))
    if zeros != 0 or code not in _IDX_TYPES or not 1 <= axes <= _MOST_AXES:
        raise DataError(f"the file {str(file)!r} is no idx file: its first bytes are {zeros:04x} {code:02x} {axes:02x}")
    shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
    dtype = np.dtype(_IDX_TYPES[code])
    data = stream.read()
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != wanted:
        raise DataError(f"the file {str(file)!r} states {wanted} bytes of values and has {len(data)}; it is damaged")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _read_csv(stream: Any, file: Path, key: str) -> Any:
    return read_delimited(stream, file, ",")


def _read_tsv(stream: Any, file: Path, key: str) -> Any:
    return read_delimited(stream, file, "\t")


def _read_json(stream: Any, file: Path, key: str) -> Any:
    return read_json_lines(stream, file)


def _read_parquet(stream: Any, file: Path, key: str) -> Any:
    from pyarrow import parquet

    table = parquet.read_table(stream)
    table.validate(full=True)
    return table


def _read_arrow(stream: Any, file: Path, key: str) -> Any:
    """Return the table of an Arrow IPC file (Feather version 2) or stream; nothing is taken for valid unseen."""
    start = stream.read(6)
    stream.seek(0)
    if start[:4] == b"FEA1":
        raise DataError(f"{str(file)!r}: " + explain("Arrow IPC", "Feather version 1", "writing it with version=2"))
    if start == b"ARROW1":
        with pa.ipc.open_file(stream) as reader:
            table = reader.read_all()
    else:
        with pa.ipc.open_stream(stream) as reader:
            table = reader.read_all()
        # A stream that was cut may lack whole batches, and nothing but the mark at its end tells. Old files, whose
        # messages begin otherwise, have a mark that cannot be told from what stands before it.
        stream.seek(stream.tell() - len(_END))
        if start.startswith(_END[:4]) and stream.read(len(_END)) != _END:
            got = f"the end of {str(file)!r} without one"
            raise DataError(explain("the mark that ends an Arrow stream", got, "a whole copy of it"))
    table.validate(full=True)
    return table


READERS: dict[str, Callable[[Any, Path, str], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".idx": _read_idx,
}
