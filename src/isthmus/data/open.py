"""Whatever the user has, as a source of rows."""

from __future__ import annotations

import dataclasses
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
from isthmus.data.in_memory import ArrayRows, TableRows
from isthmus.data.ratings.matrix import SparseRows, from_table
from isthmus.data.series.resample import resample
from isthmus.data.series.series import from_files, from_long
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.source import Source, Stated
from isthmus.data.spec import RowsSpec
from isthmus.data.tables.columns import is_number, parse_columns
from isthmus.data.tables.dataframes import as_frame, to_table
from isthmus.data.tables.parquet import LARGEST_WHOLE, DatasetRows
from isthmus.data.text.tokens import TextLines
from isthmus.data.text.vocabulary import Vocabulary
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
        return _windows(from_files(text, load_file, **_long(spec, like, "time", "duplicates")), spec, like)
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
        return _texts(text, spec, like)
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
        return _windows(from_files(items, load_file, **_long(spec, like, "time", "duplicates")), spec, like)
    files = [item for item in items if suffix_of(Path(item)) in READERS and Path(item).is_file()]
    if kind is None and files:
        got = f"names of files such as {files[0]!r}"
        raise DataError(
            explain("texts, images, or series (rows=series:64)", got, "one file, or a folder of Parquet files")
        )
    return _texts(items, spec, like)


def _images(given: Any, spec: RowsSpec | None) -> Source:
    from isthmus.data.images.source import open_images  # and Pillow with it, which only images need

    if spec is None or spec.kind != "image":
        return open_images(given)
    sizes = spec.sizes or None
    return open_images(given, shape=sizes, **spec.chosen(fit="fit", errors="on_error"))


def _texts(lines: Any, spec: RowsSpec | None, like: Schema | None) -> Source:
    known = like.metadata.get("vocabulary") if like is not None and like.metadata else None
    vocabulary = None if known is None else Vocabulary.from_dict(known)
    options: dict[str, Any] = {"too_long": "cut"}
    if spec is not None:
        options |= spec.chosen(level="level", long="too_long")
        options |= {"length": spec.sizes[0]} if spec.sizes else {}
        options |= {"most": spec.whole("most")} if "most" in spec.options else {}
    source = TextLines(lines, vocabulary, **options)
    source.metadata = {
        "rows": str(spec or RowsSpec("tokens")),
        "symbols": source.vocabulary.symbols,
        "vocabulary": source.vocabulary.to_dict(),
    }
    if source.long:
        done = "left out" if options["too_long"] == "skip" else "cut"
        steps = source.vocabulary.length
        source.notes = (f"{source.long} line(s) longer than {steps} steps were {done} (rows=tokens:LENGTH)",)
    if source.empty:
        source.notes += (f"{source.empty} line(s) without text were left out",)
    return source


# ---- what is in memory -----------------------------------------------------------------------------------------------


def _of_loaded(
    table: pa.Table, frame: Any, spec: RowsSpec | None, drop: _Drop, like: Schema | None, *, missing: bool
) -> Source:
    """Return a table, or a frame with its table, as the kind of row that is asked for."""
    table = _without(table, drop)
    kind = spec.kind if spec is not None else None
    if spec is not None and kind == "ratings":
        return _ratings(table, spec, like)
    if spec is not None and kind == "series" and len(spec.sizes) < 2:
        windows = _windows(from_long(table, **_long(spec, like, "series", "time", "duplicates")), spec, like)
        windows.like = None if frame is None else frame.to_native()
        return windows
    if spec is not None and kind == "tokens":
        texts = [name for name in table.column_names if not is_number(table[name].type)]
        if table.num_columns != 1 or not texts:
            got = f"{table.num_columns} columns ({', '.join(table.column_names[:10])})"
            raise DataError(explain("one column of text", got, "leaving out the others (--drop)"))
        return _texts(table[texts[0]].to_pylist(), spec, like)
    if kind in ("vector", "series", "image"):
        return _of_array(_as_array(table, missing=missing or kind == "series"), spec, like)
    numbers = all(is_number(kind) or pa.types.is_boolean(kind) for kind in table.schema.types)
    if frame is not None and numbers and not any(isinstance(name, str) for name in frame.columns):
        # Frames number their columns where nobody named them; such a frame is an array.
        return ArrayRows(check_values(frame.to_numpy(), missing=missing))
    return TableRows(table, None if frame is None else _left(frame, table))


def _left(frame: nw.DataFrame[Any], table: pa.Table) -> Any:
    """Return the columns of a frame that a table has left."""
    native = frame.to_native()
    return native if len(frame.columns) == table.num_columns else frame.select(table.column_names).to_native()


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
    if like is not None and like.kind in ("series", "image", "tokens") and tuple(values.shape[1:]) == like.shape:
        return ArrayRows(values, kind=like.kind)  # rows of the model already, such as windows
    if spec is None:
        return ArrayRows(values)
    if spec.kind == "ratings":
        return SparseRows(scipy.sparse.csr_array(values))
    if spec.kind == "series" and len(spec.sizes) < 2:
        windows = _windows(from_files(["array"], lambda _: values), spec, like)
        windows.like = values
        return windows
    if spec.kind in ("image", "series"):
        return _reshaped(values, spec)
    if spec.kind == "tokens":
        raise DataError(explain("texts for tokens", f"an array of {values.dtype}", "a .txt file, or a list of str"))
    return ArrayRows(values.reshape(len(values), -1))


def _reshaped(values: Any, spec: RowsSpec) -> Source:
    width = int(np.prod(values.shape[1:]))
    if int(np.prod(spec.sizes)) != width:
        got = f"{'x'.join(map(str, spec.sizes))} for rows of {width} values"
        raise DataError(f"rows={spec}: " + explain(f"sizes whose product is {width}", got, f"{spec.kind}:{width}x1"))
    return ArrayRows(values.reshape(len(values), *spec.sizes), kind=spec.kind)


def _as_array(table: pa.Table, *, missing: bool) -> Any:
    names = tuple(table.column_names)
    for name in names:
        kind = table[name].type
        if not (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise DataError(
                f"column {name!r}: " + explain("numbers", f"{kind} values", f"leaving it out (--drop {name})")
            )
    columns = [column.cast(pa.float64()).to_numpy() for column in table.columns]
    return check_values(np.column_stack(columns), names, missing=missing)


def _ratings(table: pa.Table, spec: RowsSpec, like: Schema | None) -> Source:
    names = spec.chosen(user="user", item="item", value="value", time="time")
    known = like.metadata.get("items") if like is not None and like.metadata else None
    options = spec.chosen(duplicates="duplicates", unknown="unknown")
    source = from_table(table, items=known, **names, **options)
    source.metadata = {"rows": str(spec), "items": list(source.items or ())}
    if source.dropped:
        source.notes = (f"{source.dropped} rating(s) of items that the model does not know were left out",)
    return source


def _long(spec: RowsSpec | None, like: Schema | None, *names: str) -> dict[str, Any]:
    """Return what the readers of series are told: stated names, and the channels of a model."""
    stated = {} if spec is None else spec.options
    found: dict[str, Any] = {name: stated.get(name) for name in names if name != "duplicates" or name in stated}
    return found | {"channels": like.metadata.get("channels") if like is not None and like.metadata else None}


def _windows(series: Any, spec: RowsSpec | None, like: Schema | None) -> SeriesWindows:
    spec = spec or RowsSpec("series")
    if len(spec.sizes) > 1:
        raise DataError(f"rows={spec}: " + explain("the length of a window", f"{spec.sizes}", "series:64"))
    if "every" in spec.options:
        every = spec.options["every"]
        step = float(every) if every.replace(".", "", 1).isdigit() else every
        series = [resample(one, step, spec.options.get("how", "mean")) for one in series]
    length = spec.sizes[0] if spec.sizes else None
    if length is None and like is not None:
        length = like.shape[0]
    source = SeriesWindows(series, length, spec.whole("stride"))
    # A model of whole series knows their length; later ones are windows of it.
    known = dataclasses.replace(spec, sizes=(source.length,))
    source.metadata = {"rows": str(known), "channels": list(source.channels)}
    wanted = like.metadata.get("channels") if like is not None and like.metadata else None
    if wanted is not None and list(wanted) != list(source.channels):
        got = f"{', '.join(source.channels[:10])}"
        raise DataError(explain(f"the channels {', '.join(wanted[:10])}, as in training", got, "the same columns"))
    return source


# ---- models ----------------------------------------------------------------------------------------------------------


def _alike(source: Source, like: Schema | None, *, missing: bool) -> Source:
    """Return an array as a table, or a table as an array, where that is what a model was fitted on."""
    if like is None or source.kind == like.kind:
        return source
    if isinstance(source, TableRows) and like.kind == "vector":
        return ArrayRows(_as_array(source.table, missing=missing), tuple(source.schema.names))
    if isinstance(source, ArrayRows) and source.values.ndim == 2 and like.kind == "table":
        columns, width = list(like.columns or ()), source.values.shape[1]
        if len(columns) != width or any(column.kind == "categorical" for column in columns):
            like.check(source.values)  # says so if the number of columns differs
            advice = f"a frame with the columns {list(like.names or ())[:10]}"
            raise DataError(explain("a table (the rows of the training data)", "an array of numbers", advice))
        arrays = [source.values[:, place] for place in range(width)]
        return TableRows(pa.table(arrays, names=list(like.names or ())), source.values)
    if isinstance(source, ArrayRows) and tuple(source.values.shape[1:]) == like.shape and like.kind != "ratings":
        return ArrayRows(source.values, source.names, kind=like.kind)
    if isinstance(source, ArrayRows) and like.kind == "ratings" and source.values.ndim == 2:
        return SparseRows(scipy.sparse.csr_array(source.values))
    return source


def warn_of(source: Source, given: Any) -> None:
    """Warn of what a user should know of how rows were read, unless the user has the source with its notes."""
    if source is not given:
        for note in source.notes:
            warnings.warn(note, UserWarning, stacklevel=4)
