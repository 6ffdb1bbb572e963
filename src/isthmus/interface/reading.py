"""What commands read: rows, and labels or conditions beside them, from a file or from a column of the same table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.sources import (
    Rows,
    as_rows,
    check_values,
    column_of,
    load_file,
    read,
    read_condition,
    read_labels,
    rows_of,
)
from isthmus.errors import DataError, explain, unknown_name

if TYPE_CHECKING:
    from isthmus.estimator import Autoencoder

Drop = list[str] | None
_OPTION = "--condition"


def read_rows(data: str, drop: Drop = None, *, missing: bool = False) -> Rows:
    """Return the rows of a file, without some columns; with `missing`, NaN and holes are kept as NaN."""
    return as_rows(read(data, drop=tuple(drop or ()), missing=missing), missing=missing)


def read_labelled(data: str, drop: Drop, labels: str | None) -> tuple[Rows, Any]:
    """Return rows, and labels from a file of their own or from a column of the same file (which is then dropped)."""
    if labels is None:
        return read_rows(data, drop), None
    if _is_file(labels):
        rows, classes = read_rows(data, drop), read_labels(labels)
    else:
        rows, classes = _column("--labels", data, drop, labels, missing=False)
    _check_length("--labels", "labels", len(rows.values), len(classes))
    return rows, classes


def read_training(data: str, drop: Drop, condition: str | None, *, missing: bool) -> tuple[Rows, Any]:
    """Return the rows to train on, and the condition: labels `(rows,)`, numbers `(rows, values)`, or None.

    Of a single column, integers and texts are labels, and fractions are numbers.
    """
    if condition is None:
        return read_rows(data, drop, missing=missing), None
    if _is_file(condition):
        rows, told = read_rows(data, drop, missing=missing), _told(condition)
    else:
        rows, told = _column(_OPTION, data, drop, condition, missing=missing)
    _check_length(_OPTION, "conditions", len(rows.values), len(told))
    return rows, _numbers(told[:, None]) if told.ndim == 1 and told.dtype.kind == "f" else told


def read_told(model: Autoencoder, data: str, drop: Drop, condition: str | None) -> tuple[Rows, Any]:
    """Return the rows that a model is to see, and what it is told beside them: by a file, a column, or one for all."""
    missing = model.recipe_.missing == "mask"
    _check_told(model, condition)
    if condition is None:
        return read_rows(data, drop, missing=missing), None
    if not _is_file(condition):
        one = _one(model, condition)
        if one is not None:
            rows = read_rows(data, drop, missing=missing)
            return rows, np.repeat(one, len(rows.values), 0)
        rows, told = _column(_OPTION, data, drop, condition, missing=missing, nor=f", nor is it {_known(model)}")
    else:
        rows, told = read_rows(data, drop, missing=missing), _told(condition)
    _check_length(_OPTION, "conditions", len(rows.values), len(told))
    return rows, _fitting(model, told)


def read_condition_of(model: Autoencoder, condition: str | None, count: int | None) -> tuple[int, Any]:
    """Return how many rows are to be decoded, and their condition: from a file, or one for all.

    Args:
        model: the fitted model.
        condition: what was typed.
        count: how many rows there are; None for as many as the file has, or 64.
    """
    _check_told(model, condition)
    if condition is not None and _is_file(condition):
        told = _fitting(model, _told(condition))
        _check_length(_OPTION, "conditions", len(told) if count is None else count, len(told))
        return len(told), told
    count = 64 if count is None else count
    return count, one_condition(model, condition, count)


def one_condition(model: Autoencoder, condition: str | None, count: int = 1) -> Any:
    """Return the one condition of `count` rows, or None for a model that is told nothing."""
    _check_told(model, condition)
    if condition is None:
        return None
    one = _one(model, condition)
    if one is None:
        raise DataError(f"{_OPTION} {condition}: " + explain(_known(model), repr(condition), _example(model)))
    return np.repeat(one, count, 0)


def _is_file(text: str) -> bool:
    return Path(text).is_file() or Path(text.partition("#")[0]).is_file()


def _column(option: str, data: str, drop: Drop, name: str, *, missing: bool, nor: str = "") -> tuple[Rows, Any]:
    """Return the rows without a column, and that column."""
    loaded = load_file(data)
    columns = getattr(loaded, "column_names", None)
    if columns is None:
        raise DataError(f"{option} {name}: there is neither a file nor a column {name!r}; {data!r} has no columns{nor}")
    if name not in columns:
        raise DataError(f"{option}: there is no file {name!r}{nor}, and " + unknown_name("column", name, columns))
    rows = rows_of(loaded, data, (*(drop or ()), name), missing=missing)
    return as_rows(rows, missing=missing), column_of(loaded, name, missing=option == "--labels")


def _told(path: str) -> Any:
    try:
        told = read_condition(path)
    except DataError as error:
        raise DataError(f"{_OPTION} {path}: {error}") from None
    if told.ndim == 0:
        got = "a single number"
        raise DataError(f"{_OPTION} {path}: " + explain("one value or more for each row", got, "another array"))
    return told if told.ndim == 1 else _numbers(told)


def _numbers(told: Any) -> Any:
    """Return numbers `(rows, values)`, or refuse what is none."""
    if told.dtype.kind in "fiub" and not np.isfinite(told).all():
        got = "NaN or inf"
    elif told.dtype.kind in "USO" and told.size:
        got = repr(str(told.flat[0]))
    else:
        return check_values(told)
    raise DataError(f"{_OPTION}: " + explain("numbers", got, "another file or column"))


def _check_length(option: str, what: str, rows: int, got: int) -> None:
    if rows != got:
        raise DataError(f"{option}: " + explain(f"{rows} {what}, one for each row", str(got), "another file"))


def _check_told(model: Autoencoder, condition: str | None) -> None:
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
        return f"{numbers} numbers, parted by commas" if numbers > 1 else "a number"
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


def _fitting(model: Autoencoder, told: Any) -> Any:
    """Return a condition as the model knows it: one number a row as a column, whole numbers as integers for labels."""
    if model.schema_.condition_labels is None:
        return _numbers(told[:, None]) if told.ndim == 1 else told
    if told.ndim == 2 and told.shape[1] == 1:
        told = told[:, 0]
    if told.ndim == 1 and told.dtype.kind == "f" and (told == np.floor(told)).all():
        return told.astype(np.int64)
    return told
