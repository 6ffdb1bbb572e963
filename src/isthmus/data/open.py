"""Whatever the user has, as a source of rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import scipy.sparse

from isthmus.data.arrays import READERS, Rows, check_values, dense, load_file, rows_of
from isthmus.data.files.npy import NpyRows
from isthmus.data.files.readers import suffix_of
from isthmus.data.in_memory import ArrayRows
from isthmus.data.kinds import ROW_KINDS
from isthmus.data.ratings.matrix import SparseRows
from isthmus.data.series.kind import long_options, windows
from isthmus.data.series.series import from_files
from isthmus.data.source import Source, Stated
from isthmus.data.spec import RowsSpec
from isthmus.data.tables.columns import parse_columns
from isthmus.data.tables.dataframes import as_frame, to_table
from isthmus.data.tables.parquet import LARGEST_WHOLE, DatasetRows
from isthmus.data.text.kind import texts
from isthmus.errors import DataError, explain, unknown_name
from isthmus.schema import Schema

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_TEXT_SUFFIXES = (".txt", ".smi", ".smiles")
_DATASET_SUFFIXES = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}


def open_source(
    data: Any,
    *,
    rows: str | RowsSpec | None = None,
    columns: Sequence[str] | Mapping[str, str] = (),
    drop: Sequence[str] = (),
    like: Schema | None = None,
    missing: bool = False,
) -> Source:
    """Return rows as a source: `isthmus.read`.

    Args:
        data: an array, a data frame, a tensor, nested lists, a scipy.sparse matrix, a list of texts or of images'
            paths; a file (.npy, .npz, .csv, .tsv, .parquet, .arrow, .jsonl, .txt, .smi, idx, each also .gz), a folder
            or zip of images, a folder of Parquet or Arrow files, a glob, a URL of such a folder; or a source as it is.
        rows: what a row is, where it is not left to the data: "table", "vector", "image:3x64x64,fit=crop",
            "series:64,series=name,time=timestamp", "tokens,level=word", "ratings,user=userId,item=movieId".
        columns: kinds and scalings of a table's columns, "age:numeric", "price:log", or a mapping.
        drop: columns of a table to leave out.
        like: of a fitted model, whose rows these are to be.
        missing: whether an array may hold NaN, for values that were not observed.

    Raises:
        DataError: for anything that holds no rows.
        RecipeError: for `rows` and `columns` that say nothing.

    Example:
        >>> import numpy as np
        >>> source = open_source(np.zeros((100, 140)), rows="series:140x1")
        >>> source.kind, len(source), source.take(np.array([0])).shape
        ('series', 100, (1, 140, 1))
    """
    if like is not None and rows is None and like.metadata and "rows" in like.metadata and not isinstance(data, Source):
        rows = like.metadata["rows"]
    remembered = like.metadata.get("drop", ()) if like is not None and like.metadata else ()
    spec = RowsSpec.parse(rows) if isinstance(rows, str) else rows
    if isinstance(columns, Mapping):
        columns = [f"{name}:{kind}" for name, kind in columns.items()]
    source = _opened(data, spec, _Drop(tuple(drop), tuple(remembered)), like, missing=missing)
    if columns:
        source.stated = Stated(*parse_columns(columns))
    if spec is not None and not source.metadata:
        source.metadata = {"rows": str(spec)}
    if drop:
        source.metadata = {**source.metadata, "drop": sorted({*drop, *remembered})}
    return _alike(source, like, missing=missing)


# The public name, `isthmus.read`.
read = open_source


@dataclass(frozen=True)
class _Drop:
    """Columns to leave out: those that are stated, and those that were left out when a model was fitted."""

    stated: tuple[str, ...] = ()
    remembered: tuple[str, ...] = ()

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a table that are left out; refuse a stated one that it does not have."""
        for name in self.stated:
            if name not in names:
                raise DataError("--drop: " + unknown_name("column", name, names))
        return tuple(name for name in names if name in self.stated or name in self.remembered)


def _opened(data: Any, spec: RowsSpec | None, drop: _Drop, like: Schema | None, *, missing: bool) -> Source:
    if isinstance(data, Source):
        return data
    if isinstance(data, Rows):
        return ArrayRows(check_values(data.values, data.names, missing=missing), data.names)
    if isinstance(data, str | Path):
        return _of_path(data, spec, drop, like, missing=missing)
    if scipy.sparse.issparse(data):
        return SparseRows(data)
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | Path) for item in data):
        return _of_list([str(item) for item in data], spec, like)
    frame = as_frame(data)
    if isinstance(frame, nw.DataFrame):
        return _of_loaded(to_table(frame), frame, spec, drop, like, missing=missing)
    return _of_array(check_values(dense(data), missing=missing or _is(spec, "series")), spec, like)


def _is(spec: RowsSpec | None, *kinds: str) -> bool:
    return spec is not None and spec.kind in kinds


# ---- paths -----------------------------------------------------------------------------------------------------------


def _of_path(path: str | Path, spec: RowsSpec | None, drop: _Drop, like: Schema | None, *, missing: bool) -> Source:
    text = str(path)
    file = Path(text)
    kind = (spec.kind if spec is not None else None) or (like.kind if like is not None else None)
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    several = "://" not in text and (file.is_dir() or (not file.exists() and any(sign in text for sign in "*?[")))
    if several and kind == "series":
        return windows(from_files(text, load_file, **long_options(spec, like, "time", "duplicates")), spec, like)
    form = _dataset_form(text, file)
    if form is not None and kind in (None, "table", "vector"):
        dataset = DatasetRows(text, form, drop.of)
        large = dataset.size > LARGEST_WHOLE or several or "://" in text
        if large and kind != "vector":
            return dataset
    if "://" in text and form is not None:
        return _of_loaded(DatasetRows(text, form).dataset.to_table(), None, spec, drop, like, missing=missing)
    arrays = suffix_of(Path(text.partition("#")[0])) in READERS
    if several or suffix in (*IMAGE_SUFFIXES, ".zip") or (kind == "image" and not arrays):
        return _images(text, spec)
    if file.is_file() and (kind == "tokens" or (spec is None and suffix in _TEXT_SUFFIXES)):
        return texts(text, spec, like)
    if file.is_file() and suffix == ".npy" and file.suffix == ".npy" and file.stat().st_size > LARGEST_WHOLE:
        return _of_npy(file, spec, like, missing=missing)
    loaded = load_file(path)
    if isinstance(loaded, pa.Table):
        return _of_loaded(loaded, None, spec, drop, like, missing=missing)
    if scipy.sparse.issparse(loaded):
        return SparseRows(loaded)
    return _of_array(
        check_values(rows_of(loaded, path, drop.stated).values, missing=missing or _is(spec, "series")), spec, like
    )


def _dataset_form(text: str, file: Path) -> str | None:
    """Return the format of a Parquet or Arrow data set; None for anything else."""
    if file.is_file() and not _has_footer(file):
        return None
    if "://" in text or file.is_file():
        return _DATASET_SUFFIXES.get(file.suffix.lower(), "parquet" if "://" in text else None)
    if file.is_dir():
        for suffix, form in _DATASET_SUFFIXES.items():
            if next(file.rglob(f"*{suffix}"), None) is not None:
                return form
    return None


def _has_footer(file: Path) -> bool:
    """Whether a file is of a format that can be read in pieces; an Arrow stream has no place that says where."""
    if file.suffix.lower() not in (".arrow", ".feather"):
        return True
    with file.open("rb") as stream:
        return stream.read(6) == b"ARROW1"


def _of_npy(file: Path, spec: RowsSpec | None, like: Schema | None, *, missing: bool) -> Source:
    source = NpyRows(file)
    if source.dtype.kind not in "fiub" or len(source.shape) < 2 or spec is not None:
        return _of_array(check_values(load_file(file), missing=missing or _is(spec, "series")), spec, like)
    return source


def _of_list(items: list[str], spec: RowsSpec | None, like: Schema | None) -> Source:
    kind = (spec.kind if spec is not None else None) or (like.kind if like is not None else None)
    images = all(Path(item).suffix.lower() in IMAGE_SUFFIXES for item in items)
    if kind == "image" or (kind is None and images):
        return _images(items, spec)
    if kind == "series":
        return windows(from_files(items, load_file, **long_options(spec, like, "time", "duplicates")), spec, like)
    files = [item for item in items if suffix_of(Path(item)) in READERS and Path(item).is_file()]
    if kind is None and files:
        got = f"names of files such as {files[0]!r}"
        raise DataError(
            explain("texts, images, or series (rows=series:64)", got, "one file, or a folder of Parquet files")
        )
    return texts(items, spec, like)


def _images(given: Any, spec: RowsSpec | None) -> Source:
    from isthmus.data.images.source import open_images  # and Pillow with it, which only images need

    if spec is None or spec.kind != "image":
        return open_images(given)
    sizes = spec.sizes or None
    return open_images(given, shape=sizes, **spec.chosen(fit="fit", errors="on_error"))


# ---- what is in memory -----------------------------------------------------------------------------------------------


def _of_loaded(
    table: pa.Table, frame: Any, spec: RowsSpec | None, drop: _Drop, like: Schema | None, *, missing: bool
) -> Source:
    """Return a table, or a frame with its table, as the kind of row that is asked for."""
    table = _without(table, drop)
    kind = "table" if spec is None else spec.kind
    return ROW_KINDS[kind].from_table(table, frame, spec, like, missing=missing)


def _without(table: pa.Table, drop: _Drop) -> pa.Table:
    """Return a table without some columns; refuse one that has no rows or columns left."""
    left = table.drop_columns(list(drop.of(table.column_names)))
    for field in left.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
            advice = f"leaving it out (--drop {field.name}), or a column for each of its values"
            got = f"{field.type!s:.60}, which holds more than one"
            raise DataError(f"column {field.name!r}: " + explain("one value in each row", got, advice))
    if not left.num_rows or not left.num_columns:
        check_values(np.empty((left.num_rows, left.num_columns)))
    return left


def _of_array(values: Any, spec: RowsSpec | None, like: Schema | None) -> Source:
    if like is not None and tuple(values.shape[1:]) == like.shape and ROW_KINDS[like.kind].shaped:
        return ArrayRows(values, kind=like.kind)  # rows of the model already, such as windows
    return ArrayRows(values) if spec is None else ROW_KINDS[spec.kind].from_array(values, spec, like)


# ---- models ----------------------------------------------------------------------------------------------------------


def _alike(source: Source, like: Schema | None, *, missing: bool) -> Source:
    """Return an array as a table, or a table as an array, where that is what a model was fitted on."""
    if like is None or source.kind == like.kind:
        return source
    return ROW_KINDS[like.kind].adapt(source, like, missing=missing)


def warn_of(source: Source, given: Any) -> None:
    """Warn of what a user should know of how rows were read, unless the user has the source with its notes."""
    if source is not given:
        for note in source.notes:
            warnings.warn(note, UserWarning, stacklevel=4)
