"""Files of random content that is known, in every format that is read."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse
from PIL import Image
from pyarrow import csv, parquet

Generator = np.random.Generator


@dataclass
class Case:
    """Files, how they are read, and what is in them.

    Attributes:
        files: the bytes of each file, by its path; the first is opened, or the folder that it is in.
        expected: an array, a dictionary of columns, lines, series by name, or ratings by user and item.
        rows: how they are opened.
        opened: name of the file or folder that is opened.
        whole: whether a file that was cut cannot be told from a whole one, as of text.
        guarded: whether a checksum guards the content, so that what is read from a damaged file is right.
        streamed: whether it is read in pieces, as a large file is.
    """

    files: dict[str, bytes]
    expected: Any
    rows: str | None = None
    opened: str = ""
    whole: bool = False
    guarded: bool = False
    streamed: bool = False


def _shape(rng: Generator, axes: int = 0) -> tuple[int, ...]:
    axes = axes or int(rng.integers(2, 5))
    return tuple(int(size) for size in rng.integers(1, 7, axes))


def _values(rng: Generator, shape: tuple[int, ...], kinds: str = "u1 u2 i1 i2 i4 i8 f4 f8 ?") -> Any:
    dtype = np.dtype(str(rng.choice(kinds.split())))
    if dtype.kind == "f":
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-5, 6)).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def _saved(save: Callable[..., Any], *arguments: Any, **keywords: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *arguments, **keywords)
    return stream.getvalue()


def _npy(rng: Generator) -> Case:
    values = _values(rng, _shape(rng))
    stored = np.asfortranarray(values) if rng.random() < 0.3 else values
    return Case({"x.npy": _saved(np.save, stored)}, values)


def _npz(rng: Generator) -> Case:
    values = _values(rng, _shape(rng))
    save: Any = np.savez_compressed if rng.random() < 0.5 else np.savez
    return Case({"x.npz": _saved(save, values)}, values, guarded=True)


def _idx(rng: Generator) -> Case:
    codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    values = _values(rng, _shape(rng), " ".join(codes))
    head = struct.pack(f">HBB{values.ndim}I", 0, codes[values.dtype.str[1:]], values.ndim, *values.shape)
    return Case({"x.idx": head + values.astype(values.dtype.newbyteorder(">")).tobytes()}, values)


def _sparse(rng: Generator) -> Case:
    dense = np.where(rng.random(size := _shape(rng, 2)) < 0.4, rng.integers(1, 6, size), 0).astype(float)
    dense.flat[0] = 1.0
    form = str(rng.choice(["csr", "csc", "coo", "bsr", "dia"]))
    matrix = scipy.sparse.coo_array(dense).asformat(form)
    compressed = bool(rng.random() < 0.5)
    triples = {(int(i), int(j)): float(dense[i, j]) for i, j in np.argwhere(dense)}
    return Case({"x.npz": _saved(scipy.sparse.save_npz, matrix, compressed=compressed)}, triples, guarded=True)


def _word(rng: Generator) -> str:
    letters = list("abcXYZ éß漢 _-.'\"\n,;\t")
    return "w" + "".join(rng.choice(letters, int(rng.integers(0, 6))))


def _table(rng: Generator, plain: bool = False) -> pa.Table:
    rows = int(rng.integers(1, 40))
    columns: dict[str, Any] = {}
    for number in range(int(rng.integers(1, 6))):
        kind = rng.integers(0, 4 if plain else 6)
        name = f"c{number}" if plain else f"c{number}{_word(rng).strip()}".replace(";", "")
        holes = rng.random(rows) < rng.choice([0.0, 0.3])
        values: Any = (
            pa.array(rng.integers(-(10**9), 10**9, rows), mask=holes) if kind == 0
            else pa.array(rng.normal(size=rows), mask=holes) if kind == 1
            else pa.array([_word(rng) for _ in range(rows)]) if kind == 2
            else pa.array(rng.random(rows) < 0.5, mask=holes) if kind == 3
            else pa.array(rng.integers(0, 10**9, rows), pa.timestamp("s")) if kind == 4
            else pa.array([_word(rng) for _ in range(rows)]).dictionary_encode()
        )  # fmt: skip
        columns[name] = values
    columns["first"] = pa.array(np.arange(rows))
    return pa.table(columns)


def _cells(table: pa.Table) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = table.to_pydict()
    return found


def _csv(rng: Generator, kind: str = "csv") -> Case:
    table = _table(rng, plain=True)
    options = csv.WriteOptions(delimiter="\t" if kind == "tsv" else ",")
    content = _saved(lambda stream: csv.write_csv(table, stream, options))
    content = (b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + content
    return Case({f"x.{kind}": content}, _cells(table), whole=True)


def _jsonl(rng: Generator) -> Case:
    table = _table(rng, plain=True)
    lines = [json.dumps(row, ensure_ascii=bool(rng.random() < 0.5)) for row in table.to_pylist()]
    kind = str(rng.choice(["jsonl", "ndjson"]))
    return Case({f"x.{kind}": ("\n".join(lines) + "\n").encode()}, _cells(table), whole=True)


def _packing(rng: Generator, choices: str) -> Any:
    chosen = str(rng.choice(choices.split()))
    return None if chosen == "none" else chosen


def _parquet(rng: Generator) -> Case:
    table = _table(rng)
    packing, groups = str(rng.choice(["none", "snappy", "zstd", "gzip"])), int(rng.integers(1, 40))
    content = _saved(lambda s: parquet.write_table(table, s, compression=packing, row_group_size=groups))
    return Case({"x.parquet": content}, _cells(table))


def _ipc(rng: Generator, table: pa.Table, make: Any) -> bytes:
    stream = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=_packing(rng, "none lz4 zstd"), unify_dictionaries=True)
    with make(stream, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=int(rng.integers(1, 40)))
    return stream.getvalue()


def _arrow(rng: Generator) -> Case:
    table = _table(rng)
    return Case({f"x.{rng.choice(['arrow', 'feather'])}": _ipc(rng, table, pa.ipc.new_file)}, _cells(table))


def _stream(rng: Generator) -> Case:
    table = _table(rng)
    return Case({"x.arrow": _ipc(rng, table, pa.ipc.new_stream)}, _cells(table))


def _folder(rng: Generator) -> Case:
    table = _table(rng)
    cut = int(rng.integers(0, table.num_rows + 1))
    parts = [table] if cut in (0, table.num_rows) else [table.slice(0, cut), table.slice(cut)]
    if rng.random() < 0.5:
        files = {f"d/{i}.arrow": _ipc(rng, part, pa.ipc.new_file) for i, part in enumerate(parts)}
    else:
        files = {f"d/{i}.parquet": _saved(lambda s, p=part: parquet.write_table(p, s)) for i, part in enumerate(parts)}
    return Case(files, _cells(table), opened="d")


def _txt(rng: Generator) -> Case:
    letters = list("abc XYZ.,é漢\"'")
    lines = ["a" + "".join(rng.choice(letters, int(rng.integers(0, 20)))) for _ in range(int(rng.integers(1, 30)))]
    newline = str(rng.choice(["\n", "\r\n"]))
    rows = None if rng.random() < 0.5 else "tokens,level=word"
    return Case({"x.txt": (newline.join(lines) + newline).encode()}, lines, rows, whole=True)


def _smi(rng: Generator) -> Case:
    atoms = ["C", "O", "N", "Cl", "Br", "c1ccccc1", "[NH4+]", "(C)", "=O", "[C@@H]"]
    lines = ["C" + "".join(rng.choice(atoms, int(rng.integers(0, 8)))) for _ in range(int(rng.integers(1, 20)))]
    named = "".join(f"{line} name {i}\n" for i, line in enumerate(lines))
    return Case({"x.smi": named.encode()}, lines, whole=True)


def _image(rng: Generator, form: str, size: tuple[int, int]) -> tuple[bytes, Any]:
    """Return an image's file, and its pixels as they are read from it (a JPEG changes them)."""
    colour = rng.random() < 0.5
    pixels = rng.integers(0, 256, (*size, 3) if colour or form == "WEBP" else size, np.uint8)
    if form in ("PNG", "TIFF") and pixels.ndim == 2 and rng.random() < 0.3:
        pixels = rng.integers(0, 65536, size, np.uint16)
    keywords: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    if form == "TIFF":
        keywords["compression"] = str(rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate"]))
    content = _saved(Image.fromarray(pixels).save, form, **keywords)
    if form in ("JPEG", "WEBP"):
        pixels = np.asarray(Image.open(io.BytesIO(content)))
    return content, np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels


def _picture(form: str, suffix: str) -> Callable[[Generator], Case]:
    def make(rng: Generator) -> Case:
        content, pixels = _image(rng, form, (int(rng.integers(2, 20)), int(rng.integers(2, 20))))
        return Case({f"x.{suffix}": content}, pixels[None])

    return make


def _images(rng: Generator) -> dict[str, tuple[bytes, Any]]:
    size = (int(rng.integers(2, 12)), int(rng.integers(2, 12)))
    found = {}
    for number in range(int(rng.integers(1, 5))):
        form, suffix = [("PNG", "png"), ("TIFF", "tif"), ("JPEG", "jpg")][int(rng.integers(0, 3))]
        content, pixels = _image(rng, form, size)
        pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        found[f"{number}.{suffix}"] = (content, pixels)
    # One depth and one number of channels, so that what is expected is plain.
    first = next(iter(found.items()))
    return {f"{i}.{first[0].split('.')[1]}": first[1] for i in range(len(found))}


def _stacked(found: dict[str, tuple[bytes, Any]]) -> Any:
    return None if any(pixels.dtype == np.uint16 for _, pixels in found.values()) else np.stack(
        [pixels for _, pixels in found.values()]
    )  # fmt: skip


def _zip(rng: Generator) -> Case:
    found = _images(rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for name, (content, _) in found.items():
            archive.writestr(name, content)
    return Case({"x.zip": stream.getvalue()}, _unknown_if_deep(found))


def _image_folder(rng: Generator) -> Case:
    found = _images(rng)
    return Case({f"d/{name}": content for name, (content, _) in found.items()}, _unknown_if_deep(found), opened="d")


def _unknown_if_deep(found: dict[str, tuple[bytes, Any]]) -> Any:
    deep = any(Image.open(io.BytesIO(content)).mode.startswith("I") for content, _ in found.values())
    return None if deep else _stacked(found)


def _long(rng: Generator) -> Case:
    names = ["p", "q", "r"][: int(rng.integers(1, 4))]
    expected = {name: rng.normal(size=(int(rng.integers(1, 12)), 2)) for name in names}
    steps = [(name, step) for name in names for step in range(len(expected[name]))]
    order = rng.permutation(len(steps))
    # Series come in the order of their first row.
    shuffled = [steps[place] for place in order]
    table = pa.table(
        {
            "id": [name for name, _ in shuffled],
            "day": [100 + step for _, step in shuffled],
            "x": [expected[name][step, 0] for name, step in shuffled],
            "y": [expected[name][step, 1] for name, step in shuffled],
        }
    )
    content, name = _written(rng, table)
    return Case({name: content}, expected, "series:4,stride=1,series=id,time=day", whole=name.endswith("csv"))


def _written(rng: Generator, table: pa.Table) -> tuple[bytes, str]:
    if rng.random() < 0.5:
        return _saved(lambda stream: csv.write_csv(table, stream)), "x.csv"
    return _saved(lambda stream: parquet.write_table(table, stream)), "x.parquet"


def _ratings(rng: Generator) -> Case:
    pairs = {(int(u), int(i)) for u, i in rng.integers(0, 9, (int(rng.integers(1, 40)), 2))}
    expected = {pair: float(rng.integers(1, 11)) / 2 for pair in sorted(pairs)}
    order = [list(expected)[place] for place in rng.permutation(len(expected))]
    columns = {
        "userId": [u for u, _ in order],
        "movieId": [i for _, i in order],
        "rating": [expected[p] for p in order],
    }
    content, name = _written(rng, pa.table(columns))
    return Case({name: content}, expected, "ratings", whole=name.endswith("csv"))


MAKERS: dict[str, Callable[[Generator], Case]] = {
    "npy": _npy,
    "npz": _npz,
    "idx": _idx,
    "sparse": _sparse,
    "csv": _csv,
    "tsv": lambda rng: _csv(rng, "tsv"),
    "jsonl": _jsonl,
    "parquet": _parquet,
    "arrow": _arrow,
    "stream": _stream,
    "data set": _folder,
    "txt": _txt,
    "smi": _smi,
    "png": _picture("PNG", "png"),
    "jpeg": _picture("JPEG", "jpg"),
    "webp": _picture("WEBP", "webp"),
    "tiff": _picture("TIFF", "tif"),
    "zip": _zip,
    "images": _image_folder,
    "series": _long,
    "ratings": _ratings,
}
PACKED = ("npy", "npz", "idx", "sparse", "csv", "tsv", "jsonl", "parquet", "arrow", "stream", "txt", "smi")


def packed(case: Case) -> Case:
    """Return a case of one file as gzip."""
    ((name, content),) = case.files.items()
    return Case({name + ".gz": gzip.compress(content, 1, mtime=0)}, case.expected, case.rows, guarded=True)
