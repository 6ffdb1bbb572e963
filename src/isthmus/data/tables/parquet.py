"""Tables that stay on disk: Parquet and Arrow data sets."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.files.readers import is_index
from isthmus.data.source import Source
from isthmus.data.tables.dataframes import without_null_labels
from isthmus.errors import DataError, MissingPackageError, explain, reason_of
from isthmus.seeds import derive
from isthmus.typing import Integers

# Rows that are read at a time.
_CHUNK = 1 << 14
# Read from a file at a time.
_BUFFER = 1 << 20
# What the files of a folder are called.
SUFFIXES = {"parquet": (".parquet",), "arrow": (".arrow", ".feather")}
# Smaller files are read as a whole.
LARGEST_WHOLE = 1 << 28


@dataclass(frozen=True)
class Piece:
    """A part of a data set that is read by itself: a row group, a record batch, or a whole file.

    Attributes:
        fragment: of the data set.
        start: number of its first row.
        rows: how many it has.
        batch: number of a record batch in a local Arrow file, from which it is read without the rest.
    """

    fragment: ds.Fragment
    start: int
    rows: int
    batch: int | None = None


class DatasetRows(Source):
    """A Parquet or Arrow data set: a file, a folder of files, or one that is partitioned, on any file system.

    Args:
        path: of a file or a folder, or a URL such as "s3://bucket/folder" or one that fsspec knows.
        form: "parquet" or "arrow" (the IPC file format).
        drop: tells which of the columns are left out.

    Raises:
        DataError: for what is no such data set.
    """

    kind = "table"

    def __init__(
        self, path: str | Path, form: str, drop: Callable[[Sequence[str]], Sequence[str]] = lambda names: ()
    ) -> None:
        self.path = str(path)
        self.form = form
        self.dataset = _dataset(self.path, form)
        self._readers: dict[str, pa.ipc.RecordBatchFileReader] = {}
        known = _names(self.dataset, self.path)
        left_out = set(drop(known))
        names = [name for name in known if name not in left_out and not is_index(name)]
        self.schema = pa.schema([self.dataset.schema.field(name) for name in names])
        self.pieces = self._pieces()
        self.rows = sum(piece.rows for piece in self.pieces)
        if not self.rows or not names:
            got = f"{self.rows} row(s) and {len(names)} column(s) (0 sample(s)) in {self.path!r}"
            raise DataError(explain("a table with rows and columns", got, "another file or folder"))
        self.marks = self._marks()

    def __len__(self) -> int:
        return self.rows

    @property
    def size(self) -> int:
        """Bytes that all of it would take in memory, about."""
        return self.rows * sum(_width(kind) for kind in self.schema.types)

    def _pieces(self) -> list[Piece]:
        pieces, start = [], 0
        for fragment in self.dataset.get_fragments():
            batches = self._batches(fragment)
            if batches is not None:
                for place, rows in enumerate(batches):
                    pieces.append(Piece(fragment, start, rows, place))
                    start += rows
                continue
            for part, rows in self._counted(fragment):
                pieces.append(Piece(part, start, rows))
                start += rows
        return pieces

    def _batches(self, fragment: ds.Fragment) -> list[int] | None:
        """Return the rows of each record batch of a local Arrow file without partitions; None for any other."""
        if self.form != "arrow" or not isinstance(fragment.filesystem, pa.fs.LocalFileSystem):
            return None
        try:
            if fragment.physical_schema.names != self.dataset.schema.names:
                return None
            reader = self._reader(fragment.path)
            return [reader.get_batch(place).num_rows for place in range(reader.num_record_batches)]
        except Exception as error:  # whatever a parser trips over
            raise self._unreadable(fragment.path, error) from None

    def _reader(self, path: str) -> pa.ipc.RecordBatchFileReader:
        if path not in self._readers:
            self._readers[path] = pa.ipc.open_file(pa.memory_map(path))
        return self._readers[path]

    def _counted(self, fragment: ds.Fragment) -> list[tuple[ds.Fragment, int]]:
        try:
            parts = fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]
            return [(part, _rows_of(part)) for part in parts]
        except Exception as error:  # whatever a parser trips over
            raise self._unreadable(fragment.path, error) from None

    def _marks(self) -> dict[str, tuple[int, Any]]:
        """Return the size of each file and when it was changed."""
        if not hasattr(self.dataset, "files"):
            return {}
        files = self.dataset.filesystem.get_file_info(self.dataset.files)
        return {file.path: (file.size, file.mtime_ns) for file in files}

    @property
    def width(self) -> int:
        return len(self.schema)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((sorted(self._marks().items()), self.schema.names)).encode()).hexdigest()

    def check_unchanged(self) -> None:
        now = self._marks()
        for path, mark in self.marks.items():
            if now.get(path) != mark:
                was, came = f"{mark[0]} bytes", f"{now[path][0]} bytes" if path in now else "nothing"
                raise DataError(
                    f"the file {path!r} was changed while it was read: "
                    + explain(f"the {was} of before", f"{came} now", "a copy that is never written to")
                )

    def blocks(self, size: int) -> Iterator[pa.Table]:
        chunks = (chunk for piece in self.pieces for chunk in self._chunks(piece))
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for chunk in chunks:
            waiting.append(chunk)
            rows += chunk.num_rows
            if rows < size:
                continue
            table = pa.Table.from_batches(waiting)
            while rows >= size:
                yield table.slice(0, size)
                table = table.slice(size)
                rows -= size
            waiting = table.to_batches()
        if rows:
            yield pa.Table.from_batches(waiting)

    def take(self, rows: Integers) -> pa.Table:
        found = []
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        for piece in self.pieces:
            first, last = np.searchsorted(wanted, [piece.start, piece.start + piece.rows])
            start = piece.start
            for chunk in self._chunks(piece) if first < last else ():
                here = wanted[first:last]
                here = here[(here >= start) & (here < start + chunk.num_rows)] - start
                if len(here):
                    found.append(chunk.take(pa.array(here)))
                start += chunk.num_rows
        table = pa.Table.from_batches(found, self.schema)
        return table.take(pa.array(np.argsort(order, kind="stable")))

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Integers, pa.Table]]:
        """Yield the pieces in an order that (seed, epoch) alone decides, each piece from its first row to its last."""
        for place in np.random.default_rng(derive(seed, "pieces", epoch)).permutation(len(self.pieces)):
            piece = self.pieces[place]
            start = piece.start
            for chunk in self._chunks(piece):
                yield np.arange(start, start + chunk.num_rows), pa.Table.from_batches([chunk])
                start += chunk.num_rows

    def _chunks(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a piece in order; refuse one that ends early or late."""
        rows = 0
        try:
            for chunk in self._parsed(piece):
                if chunk.num_rows:
                    # Neither format's reader looks at the values; what uses them trusts that they are texts and labels.
                    chunk.validate(full=True)
                    rows += chunk.num_rows
                    yield without_null_labels(chunk)
        except Exception as error:  # whatever a parser trips over
            self.check_unchanged()
            raise self._unreadable(piece.fragment.path, error, piece.start + rows) from None
        if rows != piece.rows:
            where = f"row {piece.start + rows}"
            raise DataError(
                f"the file {piece.fragment.path!r} ends at {where}: "
                + explain(f"{piece.rows} rows", f"{rows}", "a copy that is never written to")
            )

    def _parsed(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a piece as the format's reader gives them."""
        if piece.batch is not None:
            batch = self._reader(piece.fragment.path).get_batch(piece.batch)
            batch.validate(full=True)  # before anything reads at the places that it states
            # Its columns may be other than those of the first file.
            table = pa.Table.from_batches([batch]).select(self.schema.names).cast(self.schema)
            yield from table.to_batches(max_chunksize=_CHUNK)
            return
        yield from piece.fragment.to_batches(
            schema=self.dataset.schema,
            columns=self.schema.names,
            batch_size=_CHUNK,
            batch_readahead=1,
            fragment_readahead=1,
            fragment_scan_options=_options(piece.fragment),
            use_threads=False,
        )

    def _unreadable(self, path: str, error: Exception, row: int | None = None) -> DataError:
        reason = reason_of(error)
        where = "" if row is None else f" from row {row} on"
        return DataError(f"the file {path!r} cannot be read{where}: {reason}")


def _options(fragment: ds.Fragment) -> Any:
    if isinstance(fragment, ds.ParquetFileFragment):
        # A row group is read page by page; read at once, a large one would not fit.
        return ds.ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=_BUFFER, pre_buffer=False)
    return None


def _dataset(path: str, form: str) -> ds.Dataset:
    try:
        if "://" in path:
            system, inner = pa.fs.FileSystem.from_uri(path) if _is_arrows(path) else _of_fsspec(path)
            return ds.dataset(inner, format=form, partitioning="hive", filesystem=system)
        if not Path(path).is_dir():
            return ds.dataset(path, format=form)
        files = sorted(str(file) for kind in SUFFIXES[form] for file in Path(path).rglob(f"*{kind}"))
        found = ds.dataset(files, format=form, partitioning="hive", partition_base_dir=path)
        return _joined(found, files, path, form)
    except (DataError, MissingPackageError):
        raise
    except Exception as error:  # whatever a parser trips over
        if Path(path).is_file():
            # Arrow says in two sentences before its reason that it could not make a data set.
            reason = reason_of(error).rpartition("Is this a ")[2].rpartition("file?: ")[2]
            raise DataError(f"the file {path!r} cannot be read as .{form}: {reason}") from None
        reason = f"there is nothing at {path!r}" if isinstance(error, FileNotFoundError) else reason_of(error)
        raise DataError(f"{path!r} cannot be read as a data set of {form} files: {reason}") from None


def _joined(found: ds.Dataset, files: list[str], path: str, form: str) -> ds.Dataset:
    """Return a data set with the types that hold the values of all its files; refuse files of other columns."""
    schemas = [_schema_of(fragment) for fragment in found.get_fragments()]
    for file, schema in zip(files, schemas, strict=True):
        others = sorted(set(schemas[0].names) ^ set(schema.names))
        if others:
            expected, got = f"the columns of {files[0]!r} in all files", f"others in {file!r} ({', '.join(others)})"
            raise DataError(f"the folder {path!r}: " + explain(expected, got, "a folder for each table"))
    if all(schema.equals(schemas[0]) for schema in schemas):
        return found
    parts = [found.schema.field(name) for name in found.schema.names if name not in schemas[0].names]
    try:
        whole = pa.unify_schemas([*schemas, pa.schema(parts)], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        got = f"others ({reason_of(error)})"
        raise DataError(
            f"the folder {path!r}: " + explain("columns of one type in all files", got, "one type for all")
        ) from None
    return ds.dataset(files, whole, format=form, partitioning="hive", partition_base_dir=path)


def _schema_of(fragment: ds.Fragment) -> pa.Schema:
    try:
        schema = fragment.physical_schema
        schema.names  # noqa: B018 -- reading them is what fails
    except UnicodeDecodeError:
        got = f"other bytes in {fragment.path!r}"
        raise DataError(explain("names of columns in UTF-8", got, "renaming them")) from None
    except Exception as error:  # whatever a parser trips over
        raise DataError(f"the file {fragment.path!r} cannot be read: {reason_of(error)}") from None
    return schema


def _rows_of(part: ds.Fragment) -> int:
    # Of a row group, count_rows counts the whole file.
    grouped = isinstance(part, ds.ParquetFileFragment)
    return sum(group.num_rows for group in part.row_groups) if grouped else part.count_rows()


def _names(dataset: ds.Dataset, path: str) -> list[str]:
    try:
        names: list[str] = dataset.schema.names
    except UnicodeDecodeError:
        raise DataError(f"{path!r}: " + explain("names of columns in UTF-8", "other bytes", "renaming them")) from None
    return names


def _is_arrows(path: str) -> bool:
    return path.partition("://")[0] in ("file", "s3", "gs", "gcs", "hdfs", "abfs", "abfss")


def _of_fsspec(path: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise MissingPackageError(f"to read {path!r} takes fsspec: try pip install fsspec") from None
    system, inner = fsspec.core.url_to_fs(path)
    return system, inner


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 16  # texts: an offset, and a few letters
