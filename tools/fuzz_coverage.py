"""The readers under a fuzzer that follows coverage, where atheris is installed (`pip install atheris`).

    python -m tools.fuzz_coverage --minutes 5

The first byte of an input chooses the kind of file, the rest is the file. A refusal must be a message of the library;
anything else ends the run, with the input in the folder that libFuzzer names.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris
import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import csv, parquet

with atheris.instrument_imports(include=["isthmus.data", "isthmus.schema", "zipfile", "numpy.lib"]):
    from isthmus.data.open import open_source
    from isthmus.errors import IsthmusError

SUFFIXES = (
    ".npy", ".npz", ".csv", ".tsv", ".jsonl", ".parquet", ".arrow", ".idx", ".txt", ".smi", ".png", ".tiff", ".zip",
    ".csv.gz", ".npy.gz",
)  # fmt: skip
SPECS = {".csv": (None, "series:4", "ratings"), ".parquet": (None, "series:4", "ratings")}
PLACE = Path(tempfile.mkdtemp())


def read(data: bytes) -> None:
    """Read one input to its end."""
    if len(data) < 2:
        return
    suffix = SUFFIXES[data[0] % len(SUFFIXES)]
    specs = SPECS.get(suffix, (None,))
    path = PLACE / f"x{suffix}"
    path.write_bytes(data[2:])
    try:
        for block in open_source(path, rows=specs[data[1] % len(specs)], missing=True).blocks(1000):
            if block.shape[0] > 1_000_000:
                raise AssertionError(f"{block.shape[0]} rows of {len(data)} bytes")
    except IsthmusError as error:
        if not str(error):
            raise AssertionError("a refusal without a word") from error


def seeds(folder: Path) -> None:
    """Write a small valid file of each kind."""
    table = pa.table({"user": [1, 2, 3, 4], "item": [5, 6, 5, 7], "value": [1.5, 2.0, 0.5, 9.0]})
    made: dict[str, bytes] = {".txt": b"one\ntwo\n", ".smi": b"CCO a\nCCN b\n", ".jsonl": b'{"a": 1}\n{"a": 2}\n'}
    made[".idx"] = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4])
    for suffix, save in ((".npy", np.save), (".npz", np.savez)):
        stream = io.BytesIO()
        save(stream, np.arange(12.0).reshape(4, 3))
        made[suffix] = stream.getvalue()
    for suffix, put in ((".csv", csv.write_csv), (".parquet", parquet.write_table)):
        stream = io.BytesIO()
        put(table, stream)
        made[suffix] = stream.getvalue()
    made[".tsv"] = made[".csv"].replace(b",", b"\t")
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    made[".arrow"] = stream.getvalue()
    for suffix, form in ((".png", "PNG"), (".tiff", "TIFF")):
        stream = io.BytesIO()
        Image.new("L", (4, 3), 9).save(stream, form)
        made[suffix] = stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", made[".png"])
    made[".zip"] = stream.getvalue()
    for suffix, content in made.items():
        for spec in range(len(SPECS.get(suffix, (None,)))):
            name = f"{suffix[1:]}{spec}"
            (folder / name).write_bytes(bytes([SUFFIXES.index(suffix), spec]) + content)


def main() -> None:
    """Run for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    corpus = Path(tempfile.mkdtemp())
    seeds(corpus)
    limits = [f"-max_total_time={round(options.minutes * 60)}", "-rss_limit_mb=3000", "-timeout=20", "-max_len=8192"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={PLACE}/", str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
