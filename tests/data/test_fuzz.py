"""A few seconds of the fuzzer of readers, that it can fail, and what it once found."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from isthmus import presets
from isthmus.data.files.npy import NpyRows
from isthmus.data.files.readers import load_file
from isthmus.data.open import open_source
from isthmus.errors import DataError
from isthmus.estimator.prepare import prepare
from isthmus.schema import Schema
from tools import fuzz_readers
from tools.fuzz_damage import damaged
from tools.fuzz_files import MAKERS, Case
from tools.fuzz_tables import Models


@pytest.mark.parametrize("form", fuzz_readers.FORMS)
def test_each_format_read_back_and_damaged(form: str, tmp_path: Path) -> None:
    models = Models(tmp_path / "models")
    counts: Counter[str] = Counter()
    for number in range(1 if form in ("tables", "frames") else 2):
        counts.update(fuzz_readers.run_case(11, number, tmp_path / "now", models, (form,)))
    assert set(counts) <= {"valid", "refused", "read"}, counts


WRONG_READERS: dict[str, tuple[Any, str]] = {
    "another content": (lambda *_, **__: open_source(np.zeros((3, 2))), "wrong read"),
    "no end of memory": (lambda *_, **__: [][1], "IndexError"),
    "a message of nothing": (lambda *_, **__: (_ for _ in ()).throw(DataError("no")), "refused: no|message: no"),
}


@pytest.mark.parametrize("wrong", WRONG_READERS)
def test_the_fuzzer_sees_what_is_wrong(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, message = WRONG_READERS[wrong]
    monkeypatch.setattr(fuzz_readers, "read", reader)
    found = list(fuzz_readers.run_case(0, 0, tmp_path / "now", Models(tmp_path), ("npy",)))
    assert any(part in one for one in found for part in message.split("|")), found


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    def made(number: int) -> tuple[Case, bytes]:
        rng = np.random.default_rng(number)
        case = MAKERS["csv"](rng)
        return case, damaged(case.files["x.csv"], rng)[0]

    assert made(3) == made(3)
    assert made(3) != made(4)


# ---- what it found ---------------------------------------------------------------------------------------------------


def _table(texts: Any) -> pa.Table:
    return pa.table({"a": np.arange(4.0), "b": texts})


def test_a_damaged_file_among_those_of_a_data_set_is_named(tmp_path: Path) -> None:
    for name in ("0", "1"):
        parquet.write_table(_table(["x", "y", "x", "y"]), tmp_path / f"{name}.parquet")
    path = tmp_path / "1.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"1\.parquet' cannot be read"):
        open_source(tmp_path)


@pytest.mark.parametrize("wrong", ["rows", "utf-8", "twice"])
def test_a_data_set_without_rows_or_names_that_are_none(wrong: str, tmp_path: Path) -> None:
    table = pa.table([[1, 2], [3, 4]], names=["aaa", "aaa" if wrong == "twice" else "b"])
    table = table[:0] if wrong == "rows" else table
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    if wrong == "utf-8":
        content = (tmp_path / "x.arrow").read_bytes()
        (tmp_path / "x.arrow").write_bytes(content.replace(b"aaa\0", b"a\xffa\0"))
    message = {"rows": "a table with rows", "utf-8": "UTF-8", "twice": "duplicate field names"}[wrong]
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


def test_each_row_group_is_counted_once(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": range(20)}), tmp_path / "x.parquet", row_group_size=8)
    source = open_source(tmp_path)
    assert len(source) == 20
    assert pa.concat_tables(source.blocks(7))["a"].to_pylist() == list(range(20))


def _as_text(content: bytes) -> Any:
    """Return what says that it is text, and is not."""
    array = pa.array([b"ok", content, b"ok", b"ok"])
    return pa.Array.from_buffers(pa.string(), 4, array.buffers())


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("folder", [False, True])
def test_texts_that_are_not_utf8_are_refused(form: str, folder: bool, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form}"
    if form == "parquet":
        parquet.write_table(_table(_as_text(b"\xff\xfe")), path)
    else:
        with pa.ipc.new_file(path, (table := _table(_as_text(b"\xff\xfe"))).schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=f"x.{form}' cannot be read"):
        list(open_source(tmp_path if folder else path).blocks(2))


def test_labels_of_which_one_is_null_can_be_shuffled(tmp_path: Path) -> None:
    """Arrow joins no such labels of two files."""
    for name, known in (("0", ["x", None, "y"]), ("1", ["y", "x", None])):
        table = _table(pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0]), pa.array(known)))
        with pa.ipc.new_file(tmp_path / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    source = open_source(tmp_path)
    assert pa.concat_tables(source.blocks(3))["b"].null_count == 2
    found = {}
    for rows, block in source.shuffled(0, 0):
        found |= dict(zip(rows.tolist(), block["b"].to_pylist(), strict=True))
    assert [found[row] for row in range(8)] == ["x", None, "y", "x", "y", "x", None, "y"]


def test_numbers_too_large_to_be_squared_are_refused_with_a_way_out() -> None:
    table = pa.table({"a": [1e300, -1e300, 1e200, 0.0] * 3})
    recipe = presets.autoencoder(latent_dim=1)
    with pytest.raises(DataError, match=r"column 'a': expected numbers not too large to be squared.*--column a:log"):
        prepare(table, recipe.replace({"preprocessing": "standard"}))
    prepare(open_source(table, columns=["a:log"]), recipe.replace({"preprocessing": "standard"}))
    prepare(table, recipe)


def test_series_too_large_to_be_squared_are_refused() -> None:
    values = np.array([1e300, -1e300, 0.0, 1e200] * 4)[:, None]
    with pytest.raises(DataError, match="values not too large to be squared"):
        prepare(open_source(values, rows="series:4"), presets.autoencoder(latent_dim=1))


def test_a_message_is_not_as_long_as_what_is_wrong() -> None:
    table = pa.table({f"a{number}" * 1000: [1.0, 2.0] for number in range(100)})
    with pytest.raises(DataError, match=r"there is no column 'b.* \.\.\.") as caught:
        open_source(table, drop=["b" * 10_000])
    assert len(str(caught.value)) < 2000
    with pytest.raises(DataError, match="and 900 more"):
        open_source(pa.table({f"a{number}": [1.0] for number in range(1000)}), drop=["b"])


def test_a_member_of_a_zip_without_a_name_is_passed_over(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (3, 2)).save(stream, "PNG")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", stream.getvalue())
        archive.writestr("b.png", stream.getvalue())
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"b.png", b"\0.png"))
    assert open_source(tmp_path / "x.zip").names == ("a.png",)


def test_a_message_has_no_address_in_it_and_one_line(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3)))
    (tmp_path / "x.npy").write_bytes(stream.getvalue().replace(b"False", b"Falsy"))
    with pytest.raises(DataError, match=r"cannot be read as \.npy") as caught:
        load_file(tmp_path / "x.npy")
    assert "0x" not in str(caught.value) and "\n" not in str(caught.value)


def test_an_array_that_python_2_wrote_is_read_without_a_warning(tmp_path: Path) -> None:
    values = np.arange(6).reshape(2, 3)
    stream = io.BytesIO()
    np.save(stream, values)
    (tmp_path / "x.npy").write_bytes(stream.getvalue().replace(b"(2, 3), }  ", b"(2L, 3L), }"))
    np.testing.assert_array_equal(load_file(tmp_path / "x.npy"), values)
    assert NpyRows(tmp_path / "x.npy").shape == (2, 3)


def test_a_nan_that_signals_is_looked_at_without_a_warning() -> None:
    values = np.array([[0x7FA00000, 0x40000000]] * 8, np.uint32).view(np.float32)
    assert Schema.of(values).whole


def test_an_idx_file_of_many_axes_is_refused_in_few_words(tmp_path: Path) -> None:
    (tmp_path / "x.idx").write_bytes(struct.pack(">HBB", 0, 8, 255) + b"\xff" * 1100)
    with pytest.raises(DataError, match="is no idx file") as caught:
        load_file(tmp_path / "x.idx")
    assert len(str(caught.value)) < 300


def _npz(size: int) -> bytes:
    """Return an archive whose values are damaged, and whose directory states so many bytes of them."""
    stream = io.BytesIO()
    np.savez(stream, np.arange(6.0).reshape(2, 3))
    content = bytearray(stream.getvalue())
    content[content.index(np.float64(5).tobytes())] ^= 1
    place = content.index(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", size, size)
    return bytes(content)


@pytest.mark.parametrize("size", [128 + 48, 10**9])
def test_the_checksum_of_an_array_is_looked_at_whatever_the_archive_states(size: int, tmp_path: Path) -> None:
    """It is compared at the end of a member, which a directory that lies puts beyond the array."""
    (tmp_path / "x.npz").write_bytes(_npz(size))
    with pytest.raises(DataError, match=r"x\.npz"):
        load_file(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x03\x00", b"\x93NUMPY\x01\x00\x10\x00rubbish"])
def test_a_large_array_whose_header_is_damaged_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content + bytes(80))
    with pytest.raises(DataError, match=r"x\.npy' cannot be read as \.npy"):
        NpyRows(tmp_path / "x.npy")
