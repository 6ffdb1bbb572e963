"""What a conditional model is given beside the row: numbers as they are, labels as one column for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.data.arrays import as_rows
from isthmus.errors import DataError, explain, unknown_name
from isthmus.typing import Singles

Label = int | str


def labels_of(condition: Any) -> tuple[Label, ...] | None:
    """Return the sorted classes if a condition is labels (one integer or text a row), None if it is numbers.

    Raises:
        DataError: for labels that are fractions.
    """
    values = np.asarray(condition)
    if values.ndim != 1:
        return None
    if values.dtype.kind not in "iubUSO":
        raise DataError(
            "condition: "
            + explain(
                "labels (integers or texts), or numbers (rows, values)", f"{values.dtype} values", "y.astype(int)"
            )
        )
    return tuple(sorted({_label(value) for value in values}, key=lambda label: (isinstance(label, str), label)))


def as_condition(condition: Any, rows: int, labels: tuple[Label, ...] | None, width: int) -> Singles | None:
    """Return the encoded condition, `(rows, width)`.

    Args:
        condition: labels `(rows,)`, one label for all rows, numbers `(rows, width)`, or None.
        rows: how many rows there are.
        labels: the classes that the model knows, None if the condition is numbers.
        width: values of the condition of each row, 0 for an unconditional model.

    Raises:
        DataError: for anything else, and for a label that it does not know.
    """
    if condition is None:
        if width:
            raise DataError(explain(f"a condition of {width} values a row{_examples(labels)}", "0", _ADVICE))
        return None
    if not width:
        raise DataError(
            explain(
                "no condition, since fit was given none (0 values a row)", "one", "leaving it out, or another model"
            )
        )
    if labels is not None:
        return _one_hot(condition, rows, labels)
    values = as_rows(condition).values
    if values.ndim != 2 or len(values) != rows:
        expected = f"a condition of shape ({rows}, values)"
        raise DataError(explain(expected, f"shape {values.shape}", "one row for each row"))
    if values.shape[1] != width:
        raise DataError(explain(f"a condition of {width} values a row", f"{values.shape[1]}", _ADVICE))
    return np.ascontiguousarray(values, dtype=np.float32)


_ADVICE = "the one fit was given"


def _examples(labels: tuple[Label, ...] | None) -> str:
    return "" if labels is None else f" (one of the labels {', '.join(map(repr, labels[:10]))})"


def _one_hot(condition: Any, rows: int, labels: tuple[Label, ...]) -> Singles:
    given = np.asarray(condition)
    if given.ndim == 0:
        given = np.repeat(given, rows)
    if given.shape != (rows,):
        raise DataError(explain(f"one label for each of {rows} rows", f"shape {given.shape}", _ADVICE))
    places = {label: place for place, label in enumerate(labels)}
    conditions = np.zeros((rows, len(labels)), np.float32)
    for row, value in enumerate(given):
        label = _label(value)
        if label not in places:
            raise DataError("condition: " + unknown_name("label", label, [str(known) for known in labels]))
        conditions[row, places[label]] = 1.0
    return conditions


def _label(value: Any) -> Label:
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return int(value)
    return str(value)
