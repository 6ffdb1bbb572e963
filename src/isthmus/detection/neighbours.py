"""Distances to the nearest of some stored codes, the same for a row alone and among a million."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

# Candidates beyond those wanted, so that rounding seldom leaves it open which are the nearest.
_SPARE = 16
# Up to this width a tree is quicker than a product.
_FEW = 12
# Distances that are computed at a time.
_AT_A_TIME = 1 << 23


def nearest(bank: Floats, rows: Floats, count: int, *, skip: int = 0) -> Doubles:
    """Return Euclidean distances to the nearest stored codes `(rows, count)`, in rising order.

    Narrow codes are searched by a tree, one row after the other. Of others a product of matrices finds candidates; its
    rounding depends on the shapes. So the distances of the candidates are computed again, one difference after the
    other in float64, and where the bound on the product's error leaves it open whether another code is nearer, those of
    all codes. Hence a row's distances depend on the row alone.

    Args:
        bank: stored codes `(codes, width)`, float32.
        rows: `(rows, width)`, float32.
        count: neighbours, at most as many as there are codes, less `skip`.
        skip: of the nearest, so many are left out: 1 where the rows are the stored codes themselves.

    A row that overflowed is infinitely far.
    """
    wanted = count + skip
    usable = np.isfinite(rows).all(1)
    if not usable.all():
        found = np.full((len(rows), count), np.inf)
        if usable.any():
            found[usable] = nearest(bank, rows[usable], count, skip=skip)
        return found
    if bank.shape[1] <= _FEW:
        distances = cKDTree(bank).query(rows, wanted)[0].reshape(len(rows), wanted)
        return np.asarray(distances[:, skip:], np.float64)
    found = np.empty((len(rows), count))
    squares = np.square(bank).sum(1)
    step = max(1, _AT_A_TIME // len(bank))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        found[start : start + step] = np.sqrt(_squares(bank, squares, part, wanted)[:, skip:])
    return found


def _squares(bank: Floats, squares: Floats, rows: Floats, wanted: int) -> Doubles:
    size = min(len(bank), wanted + _SPARE)
    own = np.square(rows).sum(1)
    about = own[:, None] + squares[None] - 2.0 * (rows @ bank.T)
    if size == len(bank):
        return np.sort(_exact(bank[None], rows), axis=1)[:, :wanted]
    # Less the largest error of a float32 product of so many terms, twice over: no distance is smaller.
    error = 2.0 * (bank.shape[1] + 8) * float(np.finfo(np.float32).eps)
    about -= np.float32(error) * np.square(np.sqrt(own)[:, None] + np.sqrt(squares)[None])
    places = np.argpartition(about, size - 1, axis=1)[:, :size]
    exact = np.sort(_exact(bank[places], rows), axis=1)[:, :wanted]
    farthest = np.take_along_axis(about, places, 1).max(1)
    for row in np.flatnonzero(~(exact[:, -1] < farthest)):
        exact[row] = np.sort(_exact(bank[None], rows[row : row + 1]), axis=1)[0, :wanted]
    return exact


def _exact(codes: Floats, rows: Floats) -> Doubles:
    """Return squared distances `(rows, codes)` of rows `(rows, width)` to codes `(rows or 1, codes, width)`."""
    total = np.zeros((len(rows), codes.shape[1]))
    for place in range(rows.shape[1]):
        total += np.square(codes[:, :, place].astype(np.float64) - rows[:, place, None])
    return total
