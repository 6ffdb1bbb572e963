"""The readers: what the reference library wrote is read back equal, and no bytes raise anything but `DataError`."""

from __future__ import annotations

import gzip
import io
import json
import string
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import csv, parquet

from isthmus.data.arrays import READERS, Rows, as_rows, load_file, read
from isthmus.data.files import delimited, readers
from isthmus.data.open import open_source
from isthmus.errors import DataError

NUMBERS = st.sampled_from(["u1", "u2", "i1", "i2", "i4", "i8", "f4", "f8", "?"])
IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def arrays(dtypes: Any = NUMBERS, min_dims: int = 2, max_dims: int = 4, min_rows: int = 1) -> Any:
    def of(dtype: str) -> Any:
        kind = np.dtype(dtype)
        finite = {"allow_nan": False, "allow_infinity": False} if kind.kind == "f" else {}
        shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=1, max_side=5)
        return hnp.arrays(kind, shapes.filter(lambda s: s[0] >= min_rows), elements=hnp.from_dtype(kind, **finite))

    return dtypes.flatmap(of)


def names(count: int) -> Any:
    # printable, without what a CSV quotes; the first letter keeps a name from being a number
    letters = st.text(string.ascii_letters + string.digits + " _-.éß", max_size=6)
    return st.lists(letters.map(lambda text: "c" + text), min_size=count, max_size=count, unique=True)


def put(folder: Path, name: str, content: bytes, zipped: bool = False) -> Path:
    path = folder / (name + (".gz" if zipped else ""))
    path.write_bytes(gzip.compress(content, 1) if zipped else content)
    return path


def assert_rows(rows: Rows, values: np.ndarray, columns: Any = None) -> None:
    assert rows.values.dtype == values.dtype and rows.values.dtype.isnative
    np.testing.assert_array_equal(rows.values, values)
    assert rows.names == (None if columns is None else tuple(columns))


# ---- read back equal ----------------------------------------------------------------------------------------------


@given(values=arrays(), zipped=st.booleans(), fortran=st.booleans(), big=st.booleans())
def test_npy(values: np.ndarray, zipped: bool, fortran: bool, big: bool, tmp_path: Path) -> None:
    stored = np.asfortranarray(values) if fortran else values
    if big:
        stored = stored.astype(stored.dtype.newbyteorder(">"))
    stream = io.BytesIO()
    np.save(stream, stored)
    read_back = as_rows(put(tmp_path, "x.npy", stream.getvalue(), zipped)).values
    assert read_back.dtype.itemsize == values.dtype.itemsize
    np.testing.assert_array_equal(read_back, values)


@given(values=arrays(), others=st.integers(0, 2), compressed=st.booleans(), zipped=st.booleans())
def test_npz(values: np.ndarray, others: int, compressed: bool, zipped: bool, tmp_path: Path) -> None:
    stream = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(stream, x_train=values, **{f"other_{i}": np.zeros((2, 2)) for i in range(others)})
    path = put(tmp_path, "x.npz", stream.getvalue(), zipped)
    assert_rows(as_rows(f"{path}#x_train"), values)
    if others:
        with pytest.raises(DataError, match=rf"holds {others + 1} arrays .*say which, for example .*#x_train"):
            as_rows(path)
        with pytest.raises(DataError, match=r"no array 'x_tran'; did you mean 'x_train'"):
            as_rows(f"{path}#x_tran")
    else:
        assert_rows(as_rows(path), values)


@given(
    values=arrays(st.sampled_from(["i8", "f8"]), max_dims=2),
    header=st.booleans(),
    data=st.data(),
    zipped=st.booleans(),
    kind=st.sampled_from([".csv", ".tsv"]),
    bom=st.booleans(),
)
def test_csv(values: np.ndarray, header: bool, data: Any, zipped: bool, kind: str, bom: bool, tmp_path: Path) -> None:
    columns = data.draw(names(values.shape[1]))
    text = pd.DataFrame(values, columns=columns).to_csv(
        index=False, header=header, sep="\t" if kind == ".tsv" else ",", float_format="%.17g"
    )
    content = ("\ufeff" if bom else "").encode() + text.encode()
    rows = as_rows(put(tmp_path, f"x{kind}", content, zipped))
    np.testing.assert_array_equal(rows.values, values)
    if header:
        assert rows.names == tuple(columns)
    else:
        assert len(rows.values) == len(values), "a row of numbers was taken for the names"


def test_csv_as_arrow_writes_it(tmp_path: Path) -> None:
    table = pa.table({"a": [1.5, -2.0], "b,c": [3, 4], 'd"e': [True, False]})
    csv.write_csv(table, tmp_path / "x.csv")
    rows = as_rows(tmp_path / "x.csv")
    assert rows.names == ("a", "b,c", 'd"e')
    assert rows.values.tolist() == [[1.5, 3.0, 1.0], [-2.0, 4.0, 0.0]]


@given(values=arrays(max_dims=2), data=st.data(), zipped=st.booleans())
def test_parquet(values: np.ndarray, data: Any, zipped: bool, tmp_path: Path) -> None:
    columns = data.draw(names(values.shape[1]))
    stream = io.BytesIO()
    parquet.write_table(pa.table({name: values[:, i] for i, name in enumerate(columns)}), stream)
    assert_rows(as_rows(put(tmp_path, "x.parquet", stream.getvalue(), zipped)), values, columns)


@given(
    values=arrays(st.sampled_from(sorted(IDX_CODES))),
    zipped=st.booleans(),
    name=st.sampled_from(["x.idx", "t10k-images-idx3-ubyte", "x-ubyte"]),
)
def test_idx(values: np.ndarray, zipped: bool, name: str, tmp_path: Path) -> None:
    """Written as http://yann.lecun.com/exdb/mnist describes it."""
    head = struct.pack(">HBB", 0, IDX_CODES[values.dtype.str[1:]], values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    content = head + values.astype(values.dtype.newbyteorder(">")).tobytes()
    assert_rows(as_rows(put(tmp_path, name, content, zipped)), values)


@given(
    values=arrays(max_dims=2),
    data=st.data(),
    zipped=st.booleans(),
    kind=st.sampled_from([".arrow", ".feather"]),
    streamed=st.booleans(),
    packing=st.sampled_from([None, "lz4", "zstd"]),
)
def test_arrow(
    values: np.ndarray, data: Any, zipped: bool, kind: str, streamed: bool, packing: str | None, tmp_path: Path
) -> None:
    columns = data.draw(names(values.shape[1]))
    table = pa.table({name: values[:, i] for i, name in enumerate(columns)})
    path = put(tmp_path, f"x{kind}", ipc_of(table, streamed, packing), zipped)
    assert_rows(as_rows(path), values, columns)
    assert open_source(path).table.to_pydict() == table.to_pydict()


def ipc_of(table: pa.Table, streamed: bool = False, packing: str | None = None, rows: int = 2) -> bytes:
    stream = io.BytesIO()
    make = pa.ipc.new_stream if streamed else pa.ipc.new_file
    with make(stream, table.schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return stream.getvalue()


JSON_VALUES = {
    "number": st.one_of(st.integers(-(2**62), 2**62), st.none()),
    "float": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none()),
    "flag": st.one_of(st.booleans(), st.none()),
    # A letter first, so that no text is a time, which Arrow makes of "2024-01-01".
    "text": st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map("x".__add__), st.none()),
}


@given(
    rows=st.lists(st.fixed_dictionaries(JSON_VALUES), min_size=1, max_size=6),
    omitted=st.booleans(),
    ascii_only=st.booleans(),
    zipped=st.booleans(),
    kind=st.sampled_from([".jsonl", ".ndjson"]),
    bom=st.booleans(),
)
def test_json_lines(
    rows: list[Any], omitted: bool, ascii_only: bool, zipped: bool, kind: str, bom: bool, tmp_path: Path
) -> None:
    """A missing value is null, or not written at all."""
    for row in rows:  # an integer among floats is a float
        row["float"] = row["float"] and float(row["float"])
    given = [{name: value for name, value in row.items() if value is not None or not omitted} for row in rows]
    if not any(given):
        given[0]["number"] = rows[0]["number"] = 1
    text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in given)
    path = put(tmp_path, f"x{kind}", ("\ufeff" if bom else "").encode() + text.encode(), zipped)
    table = load_file(path)
    for name in JSON_VALUES:
        expected = [row[name] for row in rows]
        found = table[name].to_pylist() if name in table.column_names else [None] * len(rows)
        assert found == expected


@given(
    values=arrays(st.sampled_from(["i8", "f8", "f4", "u1"]), min_dims=2, max_dims=2),
    form=st.sampled_from(["csr", "csc", "coo", "bsr", "dia"]),
    matrix=st.booleans(),
    compressed=st.booleans(),
    zipped=st.booleans(),
)
def test_sparse_npz(
    values: np.ndarray, form: str, matrix: bool, compressed: bool, zipped: bool, tmp_path: Path
) -> None:
    make = scipy.sparse.coo_matrix if matrix else scipy.sparse.coo_array
    stream = io.BytesIO()
    scipy.sparse.save_npz(stream, make(values).asformat(form), compressed=compressed)
    path = put(tmp_path, "x.npz", stream.getvalue(), zipped)
    found = load_file(path)
    assert isinstance(found, scipy.sparse.csr_array) and found.dtype == values.dtype
    np.testing.assert_array_equal(found.toarray(), values)
    with pytest.raises(DataError, match=r"a dense array, got a sparse matrix.*isthmus\.read"):
        as_rows(path)


def test_every_reader_has_a_round_trip_here() -> None:
    """A new kind of file needs one."""
    tested = {".npy", ".npz", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".idx"}
    assert set(READERS) == tested


def test_names_that_only_look_like_another_kind(tmp_path: Path) -> None:
    for name in ("my-idx.csv", "table.idx.csv", "a-ubyte.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
        assert as_rows(tmp_path / name).values.tolist() == [[1, 2]], name
    (tmp_path / "A.CSV").write_text("a,b\n1,2\n")
    assert as_rows(tmp_path / "A.CSV").values.tolist() == [[1, 2]]
    np.save(tmp_path / "a#b.npy", np.ones((2, 2)))
    assert as_rows(tmp_path / "a#b.npy").values.shape == (2, 2)


# ---- random bytes -------------------------------------------------------------------------------------------------


def in_npz(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", content)
    return stream.getvalue()


def _valid() -> dict[str, bytes]:
    """Return a small valid file of each kind, to be damaged."""
    found = {}
    values = np.arange(12.0).reshape(4, 3)
    for kind, save in (("x.npy", np.save), ("x.npz", np.savez), ("y.npz", np.savez_compressed)):
        stream = io.BytesIO()
        save(stream, values)
        found[kind] = stream.getvalue()
    stream = io.BytesIO()
    parquet.write_table(pa.table({"a": values[:, 0], "b": values[:, 1]}), stream)
    found["x.parquet"] = stream.getvalue()
    found["x.arrow"] = ipc_of(pa.table({"a": values[:, 0], "b": ["x", "y", "z", None]}), packing="lz4")
    found["x.feather"] = ipc_of(pa.table({"a": values[:, 0], "b": values[:, 1]}), streamed=True)
    found["x.jsonl"] = b'{"a": 1, "b": 2.5}\n{"a": 3, "b": null}\n'
    found["x.csv"] = b"a,b\n1,2\n3,4.5\n"
    found["x.tsv"] = b"a\tb\n1\t2\n3\t4.5\n"
    found["x.idx"] = struct.pack(">HBB2I", 0, 8, 2, 2, 3) + bytes(range(6))
    return found


VALID = _valid()


def only_data_errors(path: Path) -> None:
    """Fail on any other error, and on rows that are none."""
    try:
        rows = as_rows(path)
    except DataError:
        return
    assert np.isfinite(rows.values).all() and rows.values.ndim >= 2 and rows.values.size


@pytest.mark.parametrize("kind", [*VALID, "x.npy.gz", "x.csv.gz"])
@settings(max_examples=80)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)))
def test_random_bytes_raise_nothing_but_data_errors(kind: str, content: bytes, tmp_path: Path) -> None:
    only_data_errors(put(tmp_path, kind, content))


# What happens to bytes: some are replaced by others, of any number.
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4)


def damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    changed = bytearray(content)
    for place, length, new in damage:
        start = int(place * len(changed))
        changed[start : start + length] = new
    return bytes(changed)


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=100)
@given(damage=DAMAGE)
def test_damaged_files_raise_nothing_but_data_errors(kind: str, damage: Any, tmp_path: Path) -> None:
    only_data_errors(put(tmp_path, kind, damaged(VALID[kind], damage)))


@settings(max_examples=150)
@given(kind=st.sampled_from(sorted(VALID)), damage=DAMAGE, inside=st.booleans())
def test_damaged_gzip_raises_nothing_but_data_errors(kind: str, damage: Any, inside: bool, tmp_path: Path) -> None:
    if inside:
        content = gzip.compress(damaged(VALID[kind], damage), 1, mtime=0)
    else:
        content = damaged(gzip.compress(VALID[kind], 1, mtime=0), damage)
    only_data_errors(put(tmp_path, kind + ".gz", content))


def npy_header(shape: Any, descr: Any = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": descr})
    return stream.getvalue() + bytes(80)


# Rows that take no place.
NOTHING = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
LIARS: dict[str, tuple[str, bytes]] = {
    "npy of terabytes": ("x.npy", npy_header((10**12, 5))),
    "npy beyond integers": ("x.npy", npy_header((10**30, 5))),
    "npy of less than nothing": ("x.npy", npy_header((-3, 5))),
    "npy of objects": ("x.npy", npy_header((3, 5), "|O")),
    "npy of records": ("x.npy", npy_header((3,), [("a", "<f8")])),
    "npy of texts": ("x.npy", npy_header((2, 5), "<U2")),
    "npy of dates": ("x.npy", npy_header((2, 5), "<M8[s]")),
    "npy of complex numbers": ("x.npy", npy_header((1, 5), "<c16")),
    "npy that is Python": ("x.npy", npy_header((1, 5)).replace(b"'shape': (1, 5)", b"'shape': exit()")),
    "idx of exabytes": ("x.idx", struct.pack(">HBB2I", 0, 8, 2, 4_000_000_000, 4_000_000_000)),
    "idx of no axis": ("x.idx", struct.pack(">HBB", 0, 8, 0) + b"a"),
    "idx of many axes": ("x.idx", struct.pack(">HBB", 0, 8, 255) + bytes(4 * 255)),
    "idx of no known type": ("x.idx", struct.pack(">HBB2I", 0, 7, 2, 1, 1) + b"a"),
    "npz of none": ("x.npz", b"PK\x05\x06" + bytes(18)),
    "npz of terabytes": ("x.npz", in_npz(npy_header((10**12, 5)))),
    "npz of objects": ("x.npz", in_npz(npy_header((3, 5), "|O"))),
    "npz of text": ("x.npz", in_npz(b"text")),
    "npy called npz": ("x.npz", npy_header((2, 5))),
    "csv with a short row": ("x.csv", b"a,b\n1,2\n3\n"),
    "csv with a hole": ("x.csv", b"a,b\n1,2\n,4\n"),
    "csv with a hole in its first row and no names": ("x.csv", b"1,,3\n4,5,6\n"),
    "csv with NA in its first row and no names": ("x.csv", b"NA,2\n3,4\n"),
    "csv of names alone": ("x.csv", b"a,b\n"),
    "csv with a name twice": ("x.csv", b"a,a\n1,2\n"),
    "csv of words": ("x.csv", b"a,b\n1,dog\n"),
    "csv in utf-16": ("x.csv", "a,b\n1,2\n".encode("utf-16")),
    "stream that was cut between two batches": ("x.arrow", ipc_of(pa.table({"a": range(4)}), streamed=True)[:-8]),
    "arrow of no column with values": ("x.arrow", ipc_of(pa.table({"a": NOTHING}), rows=2**31)),
    "json nested without end": ("x.jsonl", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "json nested over lines": ("x.jsonl", b'{"a":\n' * 100_000),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("liar", LIARS)
def test_files_that_lie(liar: str, zipped: bool, tmp_path: Path) -> None:
    """Refused, and without the memory that they ask for."""
    name, content = LIARS[liar]
    path = put(tmp_path, name, content, zipped)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            as_rows(path)
        # Inside an archive numpy asks for all of it, but reads, and fails, before it touches any.
        assert tracemalloc.get_traced_memory()[1] < 50e6 or name.endswith(".npz")
    finally:
        tracemalloc.stop()


TEXTS: dict[str, tuple[str, bytes, str]] = {
    "too few cells": ("x.csv", b'a,b\n"x\ny",1\n\n2\n3,4\n', r"line 5 of .*x\.csv.*': expected 2 cell.*, got 1; try"),
    "too many cells": ("x.tsv", b"a\tb\n1\t2\n1\t2\t3\n", r"line 3 of .*x\.tsv.*': expected 2 cell.*, got 3; try"),
    "the end within a row": ("x.csv", b"a,b\n1,2\n3", "line 3 .* got 1; .*; the file may end too early"),
    "the end within quotes": ("x.csv", b'a,b\n1,2\n3,"x\n5,6\n', "line 3 .* the end of the file inside one"),
    "latin-1": ("x.csv", "a,b\n1,x\n2,\xe9\n".encode("latin1"), "line 3 .* got the byte 0xe9; try iconv -f LATIN1"),
    "latin-1 names": ("x.csv", "a,\xe9\n1,2\n".encode("latin1"), "line 1 .* got the byte 0xe9; try iconv"),
    "utf-16": ("x.csv", "a,b\n1,2\n".encode("utf-16"), "line 1 .* zero bytes, as in UTF-16; try iconv -f UTF-16"),
    "utf-16 without a mark": ("x.csv", "a,b\n1,2\n".encode("utf-16-le"), "line 1 .* zero bytes, as in UTF-16"),
    "semicolons": ("x.csv", b"a;b\n1,5;2,5\n", "columns separated by commas, got semicolons"),
    "names alone": ("x.csv", b"a,b\n", "the table has no rows"),
    "names alone, no newline": ("x.csv", b"a,b", "the table has no rows"),
    "a name twice": ("x.csv", b"a,a\n1,2\n", r"a name of its own for each column, got \['a'\] more than once"),
    "json cut": ("x.jsonl", b'{"a": 1}\n{"a": ', "line 2 .* a whole JSON object on each line, got a part of one"),
    "json array": ("x.jsonl", b'[{"a": 1}]', r"line 1 .* a JSON object on each line.*jq -c '\.\[\]'"),
    "json of two kinds": ("x.jsonl", b'{"a": 1}\n{"a": "x"}\n', "line 2 .*'a': expected a number, .* a text"),
    "json name twice": ("x.jsonl", b'{"a": 1}\n{"a": 2, "a": 3}\n', "line 2 .* got two for 'a'"),
    "json with a comma": ("x.jsonl", b'{"a": 1}\n{"a": 2,}\n', "line 2 of .*x.jsonl.*': expected a JSON object"),
    "json in latin-1": ("x.jsonl", '{"a": 1}\n{"a": "\xe9"}'.encode("latin1"), "line 2 .* 0xe9; try iconv"),
    "json of nothing": ("x.jsonl", b"{}\n{}\n", "objects with names and values, got empty ones"),
    "json nested": ("x.jsonl", b'{"b": 1, "a": [1, 2]}\n', r"'a': expected one value in each row, got list.*--drop a"),
    "feather 1": ("x.feather", b"FEA1" + bytes(20), "Arrow IPC, got Feather version 1"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_wrong_with_a_table_of_text_is_said_with_its_line(text: str, zipped: bool, tmp_path: Path) -> None:
    name, content, message = TEXTS[text]
    with pytest.raises(DataError, match=message):
        open_source(put(tmp_path, name, content, zipped))


def test_a_nested_column_may_be_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, "x.jsonl", b'{"b": 1, "a": [1, 2]}\n')
    assert open_source(path, drop=["a"]).table.to_pydict() == {"b": [1]}


def test_quotes_and_newlines_in_cells_and_marks_without_a_partner(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfname,size\r\n"two\nlines, ""quoted""",1\r\n5" pipe,2\r\n'
    table = load_file(put(tmp_path, "x.csv", content))
    assert table.to_pydict() == {"name": ['two\nlines, "quoted"', '5" pipe'], "size": [1, 2]}


def test_rows_on_both_sides_of_what_is_parsed_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 1 << 10)
    rows = [(f"two\nlines of {number}", number) for number in range(1000)]
    content = "name,size\n" + "".join(f'"{name}",{size}\n' for name, size in rows)
    table = load_file(put(tmp_path, "x.csv", content.encode()))
    assert list(zip(*table.to_pydict().values(), strict=True)) == rows
    with pytest.raises(DataError, match="rows of at most 0 MiB, got a longer one"):
        load_file(put(tmp_path, "x.csv", b"a,b\n1," + b"x" * 5000 + b"\n"))


def test_a_row_of_more_than_a_megabyte(tmp_path: Path) -> None:
    width = 3_000
    names = ",".join(f"column_of_a_wide_table_{i:0400}" for i in range(width))
    content = names + "\n" + ",".join("0." + "123456789" * 44 for _ in range(width)) + "\n"
    assert load_file(put(tmp_path, "x.csv", content.encode())).shape == (1, width)


def test_what_is_packed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_MOST_UNPACKED", 1 << 20)
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros((400, 400)))
    for path in (
        put(tmp_path, "x.csv", b"a,b\n" + b"1,2\n" * (1 << 19), True),
        put(tmp_path, "x.npz", stream.getvalue()),
    ):
        with pytest.raises(DataError, match="at most 1 MiB once unpacked, got more; try unpacking it first"):
            load_file(path)


SPARSE: dict[str, dict[str, Any]] = {
    "an index too large": {"indices": np.array([0, 7])},
    "a negative index": {"indices": np.array([0, -1])},
    "pointers that fall": {"indptr": np.array([0, 2, 1])},
    "pointers beyond the values": {"indptr": np.array([0, 1, 9])},
    "another number of axes": {"shape": np.array([2, 3, 4])},
    "an index too large by column": {"format": np.array(b"csc"), "indices": np.array([0, 10**6]), "shape": [9, 2]},
    "another number of axes and of values": {"shape": np.array([6])},
    "no known format": {"format": np.array(b"lil")},
    "rows without end": {"format": np.array(b"csc"), "shape": np.array([10**12, 2])},
    "values of objects": {"data": np.array([1, "x"], object)},
    "fewer values": {"data": np.array([1.0])},
}


@pytest.mark.parametrize("change", SPARSE)
def test_a_sparse_file_is_checked_before_it_is_used(change: str, tmp_path: Path) -> None:
    parts = {"indices": np.array([0, 2]), "indptr": np.array([0, 1, 2]), "data": np.ones(2), "shape": np.array([2, 3])}
    np.savez(tmp_path / "x.npz", **({**parts, "format": np.array(b"csr")} | SPARSE[change]))
    with pytest.raises(DataError, match=r"x\.npz"):
        load_file(tmp_path / "x.npz")


def test_a_sparse_file_of_empty_rows_without_end_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_array(([1.0], [0], [0, 1]), shape=(1 << 27, 1))
    scipy.sparse.save_npz(tmp_path / "x.npz", matrix)
    with pytest.raises(DataError, match=r"at most 67,108,864 rows and columns, got shape \(134217728, 1\)"):
        load_file(tmp_path / "x.npz")


@pytest.mark.parametrize("change", [-1, 1])
def test_an_idx_file_of_another_length_says_both(change: int, tmp_path: Path) -> None:
    content = VALID["x.idx"] + b"x" if change > 0 else VALID["x.idx"][:-1]
    with pytest.raises(DataError, match=rf"states 6 bytes of values and has {6 + change}; it is damaged"):
        as_rows(put(tmp_path, "x.idx", content))


def test_an_encrypted_or_unknown_archive(tmp_path: Path) -> None:
    content = bytearray(VALID["x.npz"])
    for place in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1  # "encrypted"
    with pytest.raises(DataError):
        as_rows(put(tmp_path, "x.npz", bytes(content)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("arr_0.npy", VALID["x.npy"])
    assert as_rows(put(tmp_path, "y.npz", stream.getvalue())).values.shape == (4, 3)
    content = bytearray(stream.getvalue())
    for place in (content.index(b"PK\x03\x04") + 8, content.index(b"PK\x01\x02") + 10):
        content[place] = 99  # no known method
    with pytest.raises(DataError):
        as_rows(put(tmp_path, "z.npz", bytes(content)))


def test_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that cannot be read: a process that reads a thousand of them must not run out."""
    opened: list[Any] = []
    original = Path.open

    def spy(path: Path, *arguments: Any, **keywords: Any) -> Any:
        opened.append(original(path, *arguments, **keywords))
        return opened[-1]

    monkeypatch.setattr(Path, "open", spy)
    for name, content in VALID.items():
        for damaged in (content, content[: len(content) // 2], b"\x00" + content):
            for zipped in (False, True):
                only_data_errors(put(tmp_path, name, damaged, zipped))
    assert opened and all(file.closed for file in opened)


# ---- what is not a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_keep_their_names_and_numbers(frame: Callable[[Any], Any]) -> None:
    rows = as_rows(frame({"a": [1, 2, 3], "b": [0.5, -1.0, 2.0], "c": [True, False, True]}))
    assert rows.names == ("a", "b", "c")
    assert rows.values.tolist() == [[1, 0.5, 1], [2, -1, 0], [3, 2, 1]]
    assert rows.values.dtype == np.float64
    whole = as_rows(frame({"a": np.array([1, 200], "u1"), "b": np.array([3, 4], "u1")}))
    assert whole.values.dtype == np.uint8


@pytest.mark.parametrize("columns", [None, [10, 20, 30], [0, 2, 1], [2.5, 1.5, 0.5]], ids=str)
def test_frames_whose_columns_have_no_names(columns: Any) -> None:
    """pandas numbers them; a number is then a column's name, never a row's place."""
    x = np.arange(12.0).reshape(4, 3)
    assert_rows(as_rows(pd.DataFrame(x, columns=columns)), x)


def test_numbers_keep_their_type_and_lists_get_one() -> None:
    assert as_rows(np.ones((2, 2), np.uint8)).values.dtype == np.uint8
    assert as_rows(np.ones((2, 2), np.float16)).values.dtype == np.float32
    assert as_rows([[1, 2], [3, 4]]).values.dtype == np.int64
    assert as_rows([["1", "2.5"]]).values.tolist() == [[1.0, 2.5]]
    assert as_rows(torch.ones(2, 2, requires_grad=True)).values.dtype == np.float32
    assert as_rows(torch.ones(2, 2, dtype=torch.bfloat16)).values.tolist() == [[1, 1], [1, 1]]
    nullable = pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": [0.5, 1.5]})
    assert as_rows(nullable).values.tolist() == [[1, 0.5], [2, 1.5]]


def test_an_array_is_not_copied() -> None:
    x = np.ones((3, 2))
    assert as_rows(x).values is x


def test_large_numbers_whose_sum_overflows_are_finite() -> None:
    x = np.full((3, 2), 1e308)
    assert as_rows(x).values is x
    x = np.array([[np.finfo(np.float64).max, -np.finfo(np.float64).max]] * 2)
    assert as_rows(x).values is x


WRONG: dict[str, tuple[Any, str]] = {
    "one axis": (np.ones(3), r"rows and columns.*shape \(3,\).*reshape"),
    "no axis": (3.0, r"rows and columns.*shape \(\)"),
    "no rows": (np.ones((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
    "no columns": (np.ones((3, 0)), r"0 feature\(s\)"),
    "nan": (
        np.array([[1.0, 2.0], [np.nan, 4.0]]),
        r"1 values that are NaN or inf, the first \(NaN\) in row 1, place \(0,\)",
    ),
    "inf": (np.array([[1.0, np.inf], [-np.inf, 4.0]]), r"2 values that are NaN or inf, the first \(inf\) in row 0"),
    "complex": (np.ones((2, 2), complex), r"Complex data not supported.*X\.real"),
    "dates": (np.zeros((2, 2), "M8[s]"), "expected numbers, got dtype datetime64"),
    "words": ([["a", "b"]], "no rectangular array of numbers.*could not convert"),
    "ragged": ([[1, 2], [3]], "no rectangular array of numbers"),
    "dictionaries": ([[{}, {}]], "something that is no number"),
    "nothing": (None, "rows and columns|no number"),
    "sparse": (scipy.sparse.eye(3).tocsr(), r"a dense array, got a sparse matrix.*X\.toarray\(\)"),
    "frame of words": (
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        r"column 'b': expected numbers, got .*'x'.*--drop",
    ),
    "frame with a hole": (pd.DataFrame({"a": [1.0, None]}), "column 'a' has 1 missing values"),
    "polars with a hole": (pl.DataFrame({"a": [1, None, None]}), "column 'a' has 2 missing values"),
    "polars with nan": (pl.DataFrame({"a": [1.0, float("nan")]}), "NaN.*row 1, column 'a'"),
    "frame with a category": (pd.DataFrame({"a": pd.Categorical(["x", "y"])}), "column 'a': expected numbers"),
    "frame without columns": (pd.DataFrame(index=[1, 2]), r"a table with columns.*0 feature"),
    "frame without rows": (pd.DataFrame({"a": np.zeros(0)}), r"0 sample\(s\)"),
    "frame with unlike names": (
        pd.DataFrame({1: [1.0], "a": [2.0]}),
        "only supported if all input features have string",
    ),
    "sparse tensor": (torch.eye(3).to_sparse(), "dense"),
    "lazy frame": (pl.DataFrame({"a": [1]}).lazy(), "collect"),
    "series": (pd.Series([1.0, 2.0]), "rows and columns"),
    "no such file": ("no/such.npy", "there is no file 'no/such.npy'; try"),
    "a folder": (Path("/tmp"), "expected a file, got the folder '/tmp'"),
    "no known kind": (__file__, r"no kind of file '.py'.*The kind of files are: .arrow, .csv"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_rows_is_refused_with_the_reason(wrong: str) -> None:
    data, message = WRONG[wrong]
    with pytest.raises(DataError, match=message):
        as_rows(data)


def test_an_empty_file_and_one_that_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        read(put(tmp_path, "x.npy", b""))
    with pytest.raises(DataError, match="is empty"):
        read(put(tmp_path, "x.npy", b"", zipped=True))
    with pytest.raises(DataError, match="Not a gzipped file"):
        read(put(tmp_path, "x.npy.gz", VALID["x.npy"]))


def test_columns_that_nobody_named_are_numbered(tmp_path: Path) -> None:
    """Programs write 0,1,2 for such; any other first line of numbers is a row."""
    (tmp_path / "numbered.csv").write_text("0,1,2\n5,6,7\n8,9,10\n")
    (tmp_path / "rows.csv").write_text("0,1,3\n5,6,7\n")
    (tmp_path / "one.csv").write_text("0\n1\n")
    assert load_file(tmp_path / "numbered.csv").to_pydict() == {"0": [5, 8], "1": [6, 9], "2": [7, 10]}
    assert load_file(tmp_path / "rows.csv").num_rows == 2 and load_file(tmp_path / "one.csv").num_rows == 2
