"""Checks of the metrics' arguments: arrays of finite numbers with equal numbers of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from isthmus.errors import DataError, explain
from isthmus.typing import Array


def finite(where: str, values: Any) -> Array:
    """Return an array or tensor as float64 on the CPU.

    Raises:
        DataError: if it is empty, or has values that are not finite numbers.

    Example:
        >>> finite("codes", [[1, 2]])
        array([[1., 2.]])
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array: Array = np.asarray(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: " + explain("an array of numbers", str(error), "np.asarray(rows)")) from error
    if not array.size:
        raise DataError(f"{where}: " + explain("at least one value", f"shape {array.shape}", "passing some rows"))
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{where}: " + explain("finite numbers", f"{array[first]} at {first}", "leaving that row out"))
    return array


def matrix(where: str, values: Any, least_rows: int = 1) -> Array:
    """Return `(rows, columns)` as float64.

    Raises:
        DataError: if it has another number of axes, fewer than `least_rows` rows, or values that are not finite.

    Example:
        >>> matrix("codes", [[1, 2], [3, 4]]).shape
        (2, 2)
    """
    array = finite(where, values)
    if array.ndim != 2:
        raise DataError(f"{where}: " + explain("a 2-D array", f"shape {array.shape}", "x.reshape(len(x), -1)"))
    if len(array) < least_rows:
        raise DataError(f"{where}: " + explain(f"at least {least_rows} rows", f"{len(array)}", "passing more rows"))
    return array


def pair(names: tuple[str, str], first: Any, second: Any) -> tuple[Array, Array]:
    """Return two arrays of one shape as float64.

    Raises:
        DataError: if the shapes differ or a value is not finite.

    Example:
        >>> pair(("rows", "reconstructed"), [[1]], [[2]])[1]
        array([[2.]])
    """
    a, b = finite(names[0], first), finite(names[1], second)
    if a.shape != b.shape:
        got = f"shapes {a.shape} and {b.shape}"
        raise DataError(f"{names[0]}, {names[1]}: " + explain("arrays of one shape", got, "passing the rows' own"))
    return a, b
