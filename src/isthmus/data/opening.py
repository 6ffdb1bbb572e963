"""Whatever the user has, as a source of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import torch

from isthmus.data.columns import is_number
from isthmus.data.frames import to_table
from isthmus.data.memory import ArrayRows, TableRows
from isthmus.data.source import Source
from isthmus.data.sources import Rows, check_values, load_file, rows_of
from isthmus.errors import DataError, DataTypeError, explain, unknown_name
from isthmus.schema import Schema


def open_source(data: Any, *, drop: tuple[str, ...] = (), like: Schema | None = None, missing: bool = False) -> Source:
    """Return rows as a source: of an array, a data frame, a tensor, nested lists, a path, or a source as it is.

    Args:
        data: what the user has.
        drop: columns of a table to leave out.
        like: of a fitted model, whose rows these are to be.
        missing: whether an array may hold NaN, for values that were not observed.

    Raises:
        DataError: for anything that holds no rows.
    """
    if isinstance(data, Source):
        return _alike(data, like, missing=missing)
    if isinstance(data, Rows):
        return ArrayRows(check_values(data.values, data.names, missing=missing), data.names)
    if isinstance(data, str | Path):
        return _alike(_of_file(data, drop, missing=missing), like, missing=missing)
    frame = nw.from_native(data, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return _alike(_of_frame(frame, drop, missing=missing), like, missing=missing)
    if isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame):
        raise DataTypeError(explain("rows in memory", f"a lazy frame ({type(data).__name__})", "X.collect()"))
    if isinstance(data, torch.Tensor):
        if data.layout != torch.strided:
            raise DataTypeError(explain("a dense tensor", f"layout {data.layout}", "X.to_dense()"))
        data = (data.float() if data.dtype == torch.bfloat16 else data).detach().cpu().numpy()
    return _alike(ArrayRows(check_values(data, missing=missing)), like, missing=missing)


def _of_file(path: str | Path, drop: tuple[str, ...], *, missing: bool) -> Source:
    loaded = load_file(path)
    if isinstance(loaded, pa.Table):
        return TableRows(without(loaded, drop))
    return ArrayRows(check_values(rows_of(loaded, path, drop).values, missing=missing))


def without(table: pa.Table, drop: tuple[str, ...]) -> pa.Table:
    """Return a table without some columns; refuse one that has no rows or columns left."""
    for name in drop:
        if name not in table.column_names:
            raise DataError("--drop: " + unknown_name("column", name, table.column_names))
    left = table.drop_columns(list(dict.fromkeys(drop))) if drop else table
    if not left.num_rows or not left.num_columns:
        check_values(np.empty((left.num_rows, left.num_columns)))
    return left


def _of_frame(frame: nw.DataFrame[Any], drop: tuple[str, ...], *, missing: bool) -> Source:
    table = without(to_table(frame), drop)
    numbers = all(is_number(kind) or pa.types.is_boolean(kind) for kind in table.schema.types)
    if numbers and frame.columns and not any(isinstance(name, str) for name in frame.columns):
        # Frames number their columns where nobody named them; such a frame is an array.
        return ArrayRows(check_values(frame.to_numpy(), missing=missing))
    return TableRows(table, frame.to_native())


def _alike(source: Source, like: Schema | None, *, missing: bool) -> Source:
    """Return an array as a table, or a table as an array, where that is what a model was fitted on."""
    if like is None or source.kind == like.kind:
        return source
    if isinstance(source, TableRows) and like.kind == "vector":
        for name, kind in zip(source.schema.names, source.schema.types, strict=True):
            if not (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
                got = f"{kind} values"
                raise DataError(f"column {name!r}: " + explain("numbers, as in training", got, f"--drop {name}"))
        columns = [column.cast(pa.float64()).to_numpy() for column in source.table.columns]
        names = tuple(source.schema.names)
        return ArrayRows(check_values(np.column_stack(columns), names, missing=missing), names)
    if isinstance(source, ArrayRows) and source.values.ndim == 2 and like.kind == "table":
        columns, width = list(like.columns or ()), source.values.shape[1]
        if len(columns) != width or any(column.kind == "categorical" for column in columns):
            like.check(source.values)  # says so if the number of columns differs
            advice = f"a frame with the columns {list(like.names or ())[:10]}"
            raise DataError(explain("a table (the rows of the training data)", "an array of numbers", advice))
        arrays = [source.values[:, place] for place in range(width)]
        return TableRows(pa.table(arrays, names=list(like.names or ())), source.values)
    return source


def frame_name(like: Any) -> str:
    """Return the name of the library that a native frame is of."""
    if isinstance(like, np.ndarray):
        return "pyarrow"
    return str(nw.from_native(like, eager_only=True).implementation.value)
