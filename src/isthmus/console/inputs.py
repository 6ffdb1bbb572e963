"""What commands read: rows, and labels or conditions beside them, from a file or from a column of the same table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.console.options import Asked
from isthmus.console.printing import say
from isthmus.data.arrays import as_rows, check_values, column_of, read, read_condition, read_labels
from isthmus.data.in_memory import ArrayRows, TableRows
from isthmus.data.open import open_source
from isthmus.data.ratings.matrix import SparseRows
from isthmus.data.source import Source, Stated
from isthmus.errors import DataError, explain, unknown_name
from isthmus.typing import Integers

if TYPE_CHECKING:
    from isthmus.estimator.autoencoder import Autoencoder

Drop = list[str] | None
_OPTION = "--condition"
# What `--condition` and `--labels` call the sub-folder that an image lies in.
FOLDER = "folder"
# Rows of a column, or of columns alone, which may be taken out of a table.
_COLUMNS = (None, "table", "vector")


def read_codes(path: str) -> Any:
    """Return the numbers of a file `(rows, values)`."""
    return as_rows(read(path)).values


def read_data(data: str, asked: Asked = Asked(), *, missing: bool = False) -> Source:  # noqa: B008 -- frozen
    """Return DATA as a source, and say what is worth knowing of it."""
    return _noted(open_source(data, rows=asked.rows, columns=asked.columns, drop=asked.drop, missing=missing))


def read_training(data: str, asked: Asked, condition: str | None, *, missing: bool) -> tuple[Source, Any]:
    """Return the rows to train on, and the condition: labels `(rows,)`, numbers `(rows, values)`, or None.

    Of a single column, integers and texts are labels, and fractions are numbers.
    """
    if condition is None:
        return read_data(data, asked, missing=missing), None
    if _is_file(condition):
        rows, conditions = read_data(data, asked, missing=missing), _encoded_condition(condition)
    else:
        rows, conditions = _apart(_OPTION, data, condition, asked, missing=missing)
    _check_length(_OPTION, "conditions", len(rows), len(conditions))
    return rows, _numbers(conditions[:, None]) if conditions.ndim == 1 and conditions.dtype.kind == "f" else conditions


def read_alike(model: Autoencoder, data: str, drop: Drop) -> Source:
    """Return rows that are like those that a model was fitted on, without the columns that were dropped then."""
    missing = model.recipe_.missing == "mask"
    return _noted(open_source(data, drop=tuple(drop or ()), like=model.schema_, missing=missing))


def read_with_condition(model: Autoencoder, data: str, drop: Drop, condition: str | None) -> tuple[Source, Any]:
    """Return the rows that a model is to see, and their condition: by a file, a column, or one for all."""
    _check_condition(model, condition)
    if condition is None:
        return read_alike(model, data, drop), None
    if _is_file(condition):
        rows, conditions = read_alike(model, data, drop), _encoded_condition(condition)
    else:
        one = _one(model, condition)
        if one is not None:
            rows = read_alike(model, data, drop)
            return rows, np.repeat(one, len(rows), 0)
        rows, conditions = _apart_alike(_OPTION, model, data, drop, condition, nor=f", nor is it {_known(model)}")
    _check_length(_OPTION, "conditions", len(rows), len(conditions))
    return rows, _fitting(model, conditions)


def read_labelled(model: Autoencoder, data: str, drop: Drop, labels: str | None) -> tuple[Source, Any]:
    """Return rows, and labels from a file of their own or from a column of the same file (which is then dropped).

    Images that lie in sub-folders are labelled by them. Windows of series that lack values are left out.
    """
    if labels is None:
        rows = read_alike(model, data, drop)
        return (_complete(rows) if rows.kind == "series" else rows), getattr(rows, "labels", None)
    if _is_file(labels):
        rows, classes = read_alike(model, data, drop), read_labels(labels)
    else:
        rows, classes = _apart_alike("--labels", model, data, drop, labels)
    _check_length("--labels", "labels", len(rows), len(classes))
    return rows, classes


def read_condition_of(model: Autoencoder, condition: str | None, count: int | None) -> tuple[int, Any]:
    """Return how many rows are to be decoded, and their condition: from a file, or one for all.

    Args:
        model: the fitted model.
        condition: what was typed.
        count: how many rows there are; None for as many as the file has, or 64.
    """
    _check_condition(model, condition)
    if condition is not None and _is_file(condition):
        conditions = _fitting(model, _encoded_condition(condition))
        _check_length(_OPTION, "conditions", len(conditions) if count is None else count, len(conditions))
        return len(conditions), conditions
    count = 64 if count is None else count
    return count, one_condition(model, condition, count)


def one_condition(model: Autoencoder, condition: str | None, count: int = 1) -> Any:
    """Return the one condition of `count` rows, or None for an unconditional model."""
    _check_condition(model, condition)
    if condition is None:
        return None
    one = _one(model, condition)
    if one is None:
        raise DataError(f"{_OPTION} {condition}: " + explain(_known(model), repr(condition), _example(model)))
    return np.repeat(one, count, 0)


# ---- a column beside the rows ----------------------------------------------------------------------------------------


def _apart(option: str, data: str, name: str, asked: Asked, *, missing: bool) -> tuple[Source, Any]:
    """Return rows without a column, and that column; or the sub-folders of images."""
    plain = asked.rows in _COLUMNS
    source = open_source(
        data, rows=None if plain else asked.rows, columns=asked.columns, drop=asked.drop, missing=missing
    )
    if name == FOLDER and getattr(source, "labels", None) is not None:
        return _noted(source), np.asarray(source.labels)  # type: ignore[attr-defined]
    conditions = _column(option, data, source, name)
    rest = _without(source, data, (name,), asked.drop)
    if asked.rows == "vector" and isinstance(rest, TableRows):
        rest = open_source(rest.table, rows="vector", missing=missing)
    said = source.stated
    kinds, scales = ({key: kind for key, kind in one.items() if key != name} for one in (said.kinds, said.scales))
    rest.stated = Stated(kinds, scales)
    # A later table may have the column, which is no part of a row, or may not.
    rest.metadata = {**rest.metadata, "drop": sorted({*asked.drop, name})}
    return _noted(rest), conditions


def _apart_alike(
    option: str, model: Autoencoder, data: str, drop: Drop, name: str, nor: str = ""
) -> tuple[Source, Any]:
    """Return rows that are like those of a model without a column, and that column; or the sub-folders of images."""
    schema, missing = model.schema_, model.recipe_.missing == "mask"
    if schema.kind not in _COLUMNS:
        source = open_source(data, drop=tuple(drop or ()), like=schema, missing=missing)
        if name == FOLDER and getattr(source, "labels", None) is not None:
            return _noted(source), np.asarray(source.labels)  # type: ignore[attr-defined]
    else:
        source = open_source(data, drop=tuple(drop or ()), missing=True)
    conditions = _column(option, data, source, name, nor)
    left_out = {name, *((schema.metadata or {}).get("drop", ()))}
    known = [column for column in source.schema.names if column in left_out]  # type: ignore[attr-defined]
    return _noted(open_source(_without(source, data, known, drop or ()), like=schema, missing=missing)), conditions


def _column(option: str, data: str, source: Source, name: str, nor: str = "") -> Any:
    if source.kind != "table":
        folders = f"; {FOLDER!r} stands for the folder that an image lies in" if source.kind == "image" else ""
        raise DataError(
            f"{option} {name}: there is neither a file nor a column {name!r}; {data!r} has no columns{nor}{folders}"
        )
    names = source.schema.names  # type: ignore[attr-defined]
    if name not in names:
        raise DataError(f"{option}: there is no file {name!r}{nor}, and " + unknown_name("column", name, names))
    held = isinstance(source, TableRows)
    table = source.table if held else source.dataset.to_table(columns=[name])  # type: ignore[attr-defined]
    return column_of(table, name, missing=option == "--labels")


def _without(source: Source, data: str, names: Sequence[str], dropped: Sequence[str]) -> Source:
    """Return a table without some more columns than those that were dropped when it was opened."""
    if isinstance(source, TableRows):
        left = source.table.drop_columns(list(names))
        if not left.num_columns:
            check_values(np.empty((left.num_rows, 0)))
        return TableRows(left)
    return open_source(data, rows="table", drop=(*dropped, *names))


def some_rows(source: Source, rows: Integers) -> Source:
    """Return some rows of a source, in the order that is asked for, in memory."""
    block = source.take(rows)
    if source.kind == "table":
        return TableRows(block)
    return SparseRows(block) if source.kind == "ratings" else ArrayRows(block, kind=source.kind)


def _complete(source: Source) -> Source:
    """Return the rows of series without missing values, and say how many had some."""
    whole = ~np.concatenate([np.isnan(block).any((1, 2)) for block in source.blocks(1 << 12)])
    if whole.all():
        return source
    say(f"note: {int((~whole).sum())} of {len(source)} windows lack values and are left out")
    if not whole.any():
        raise DataError(explain("windows without missing values", "none", "shorter windows, --rows series:16"))
    return some_rows(source, np.flatnonzero(whole))


def _noted(source: Source) -> Source:
    for note in source.notes:
        say(f"note: {note}")
    return source


def _is_file(text: str) -> bool:
    return Path(text).is_file() or Path(text.partition("#")[0]).is_file()


def _encoded_condition(path: str) -> Any:
    try:
        conditions = read_condition(path)
    except DataError as error:
        raise DataError(f"{_OPTION} {path}: {error}") from None
    if conditions.ndim == 0:
        got = "a single number"
        raise DataError(f"{_OPTION} {path}: " + explain("one value or more for each row", got, "another array"))
    return conditions if conditions.ndim == 1 else _numbers(conditions)


def _numbers(conditions: Any) -> Any:
    """Return numbers `(rows, values)`, or refuse what is none."""
    if conditions.dtype.kind in "fiub" and not np.isfinite(conditions).all():
        got = "NaN or inf"
    elif conditions.dtype.kind in "USO" and conditions.size:
        got = repr(str(conditions.flat[0]))
    else:
        return check_values(conditions)
    raise DataError(f"{_OPTION}: " + explain("numbers", got, "another file or column"))


def _check_length(option: str, what: str, rows: int, got: int) -> None:
    if rows != got:
        raise DataError(f"{option}: " + explain(f"{rows} {what}, one for each row", str(got), "another file"))


def _check_condition(model: Autoencoder, condition: str | None) -> None:
    """Refuse a condition for a model that knows none, and none for a model that needs one."""
    needed = model.schema_.condition_dim
    if condition is not None and not needed:
        got = f"{_OPTION} {condition}"
        expected = f"no {_OPTION}, since the model was fitted without one"
        raise DataError(explain(expected, got, f"leaving it out, or isthmus fit ... {_OPTION}"))
    if condition is None and needed:
        raise DataError("the model is conditional: " + explain(f"{_OPTION} ({_known(model)})", "none", _example(model)))


def _known(model: Autoencoder) -> str:
    labels = model.schema_.condition_labels
    if labels is None:
        numbers = model.schema_.condition_dim
        return f"{numbers} numbers, separated by commas" if numbers > 1 else "a number"
    return "one of the labels " + ", ".join(map(repr, labels[:20])) + (", ..." if len(labels) > 20 else "")


def _example(model: Autoencoder) -> str:
    labels = model.schema_.condition_labels
    return f"{_OPTION} {','.join(['0.5'] * model.schema_.condition_dim) if labels is None else labels[0]}"


def _one(model: Autoencoder, text: str) -> Any:
    """Return the label `(1,)` or the numbers `(1, values)` that a text stands for; None if it stands for neither."""
    labels = model.schema_.condition_labels
    if labels is not None:
        found = [label for label in labels if str(label) == text]
        return np.asarray(found[:1]) if found else None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    return _numbers(np.asarray([numbers])) if len(numbers) == model.schema_.condition_dim else None


def _fitting(model: Autoencoder, conditions: Any) -> Any:
    """Return a condition as the model knows it: one number a row as a column, whole numbers as integers for labels."""
    if model.schema_.condition_labels is None:
        return _numbers(conditions[:, None]) if conditions.ndim == 1 else conditions
    if conditions.ndim == 2 and conditions.shape[1] == 1:
        conditions = conditions[:, 0]
    if conditions.ndim == 1 and conditions.dtype.kind == "f" and (conditions == np.floor(conditions)).all():
        return conditions.astype(np.int64)
    return conditions
