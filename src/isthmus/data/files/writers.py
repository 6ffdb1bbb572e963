"""Results written as they come: block by block, under a temporary name that becomes the file's own at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa

from isthmus.atomic import temporary_beside
from isthmus.data.text.vocabulary import Vocabulary
from isthmus.errors import DataError, explain, unknown_name
from isthmus.schema import Schema
from isthmus.typing import Array

Texts = Callable[[Array], list[str]]


class Writer:
    """A file that takes the blocks of one result, in order.

    Args:
        path: its suffix decides: .npy, .csv, .tsv, .parquet, .arrow or .jsonl; .txt or .smi for lines of text.
        rows: of all blocks together.
        names: of the columns of a block that is an array `(rows, columns)`.
        texts: gives the lines that a block stands for, if it stands for some.
        overwrite: whether a file that is there may be replaced.

    Raises:
        DataError: for a file that is there, a suffix that is none of these, arrays of more axes in a table, and lines
            of what has none.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        names: Sequence[str] | None = None,
        texts: Texts | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        check_suffix(path)
        if path.exists() and not overwrite:
            raise DataError(f"out={path}: it exists; try another name, or overwrite=True to replace it")
        if path.suffix.lower() in TEXTS and texts is None:
            got = "rows or codes that are numbers"
            raise DataError(f"out={path}: " + explain(f"rows of text for a {path.suffix} file", got, ".csv or .npy"))
        self.path, self.rows, self.names, self.texts = path, rows, names, texts
        self.form: Any = None

    def __enter__(self) -> Self:
        self.folder = temporary_beside(self.path)
        self.temporary = self.folder / self.path.name
        self.stream: BinaryIO = self.temporary.open("wb")
        return self

    def write(self, block: Any) -> None:
        """Append a block: an array, or an Arrow table."""
        kind = self.path.suffix.lower()
        if kind == ".npy":
            self._append(as_array(block))
            return
        if kind in TEXTS and self.texts is not None:
            self.stream.write("".join(f"{line}\n" for line in self.texts(block)).encode())
            return
        table = block if isinstance(block, pa.Table) else as_table(block, self.names)
        if self.form is None:
            self.form = FORMS[kind](self.stream, table.schema)
        self.form.write(table.cast(self.form.schema) if hasattr(self.form, "schema") else table)

    def _append(self, block: Array) -> None:
        if self.form is None:
            self.form = True
            header = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(self.stream, {**header, "shape": (self.rows, *block.shape[1:])})
        self.stream.write(np.ascontiguousarray(block).data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and hasattr(self.form, "close"):
                self.form.close()
            self.stream.close()
            if kind is None:
                self.temporary.replace(self.path)
        finally:
            self.stream.close()
            self.temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()


class _Lines:
    """JSON lines: an object for each row."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        self.stream = stream

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table."""
        lines = (json.dumps(row, default=str, ensure_ascii=False) for row in table.to_pylist())
        self.stream.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Do nothing: lines are whole as they are."""


def _csv(stream: BinaryIO, schema: pa.Schema, delimiter: str = ",") -> Any:
    from pyarrow import csv

    return csv.CSVWriter(stream, schema, write_options=csv.WriteOptions(quoting_style="needed", delimiter=delimiter))


def _tsv(stream: BinaryIO, schema: pa.Schema) -> Any:
    return _csv(stream, schema, "\t")


def _parquet(stream: BinaryIO, schema: pa.Schema) -> Any:
    from pyarrow import parquet

    return parquet.ParquetWriter(stream, schema)


def _arrow(stream: BinaryIO, schema: pa.Schema) -> Any:
    return pa.ipc.new_file(stream, schema)


FORMS: dict[str, Callable[[BinaryIO, pa.Schema], Any]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _Lines,
}
TEXTS = (".txt", ".smi", ".smiles")
SUFFIXES = (".npy", *FORMS, *TEXTS)


def check_suffix(path: Path) -> None:
    """Raise `DataError` for a name whose suffix is no kind of output that is written block by block."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"out={path}: " + unknown_name("kind of output", path.suffix or "(no suffix)", SUFFIXES))


def texts_of(schema: Schema) -> Texts | None:
    """Return what turns rows of tokens into lines of text; None for rows of another kind."""
    if schema.kind != "tokens" or not schema.metadata:
        return None
    return Vocabulary.from_dict(schema.metadata.get("vocabulary")).decode


def as_table(values: Array, names: Sequence[str] | None) -> pa.Table:
    """Return an array `(rows,)` or `(rows, columns)` as a table."""
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        shape = "x".join(map(str, values.shape[1:]))
        raise DataError(explain("rows of columns for a table", f"rows of shape {shape}", "--out with .npy or .png"))
    columns = list(names) if names else [f"column{index}" for index in range(values.shape[1])]
    return pa.table([pa.array(values[:, index]) for index in range(values.shape[1])], names=columns)


def as_array(block: Any) -> Array:
    """Return a block as an array; refuse a table whose columns are no numbers."""
    if not isinstance(block, pa.Table):
        found: Array = block
        return found
    kinds = {str(kind) for kind in block.schema.types if not (pa.types.is_integer(kind) or pa.types.is_floating(kind))}
    if kinds:
        got = f"columns of {', '.join(sorted(kinds))}"
        raise DataError("out: " + explain("numbers for a .npy file", got, ".parquet or .csv"))
    return np.column_stack([column.cast(pa.float64()).to_numpy() for column in block.columns])
