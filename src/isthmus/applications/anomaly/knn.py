"""Distances to the nearest of some stored codes, the same for a row alone and among a million."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from isthmus.typing import Doubles, Singles

# Candidates beyond those wanted, so that rounding seldom leaves it open which are the nearest.
_SPARE = 16
# Up to this width a tree is quicker than a product.
_FEW = 12
# Distances that are computed at a time.
_AT_A_TIME = 1 << 23


class NearestCodes:
    """Stored codes, among which the nearest are looked for.

    Narrow codes are searched by a tree, one row after the other. Of others a product of matrices finds candidates; its
    rounding depends on the shapes. So the distances of the candidates are computed again, one difference after the
    other in float64, and where the bound on the product's error leaves it open whether another code is nearer, those of
    all codes. Hence a row's distances depend on the row alone.

    Args:
        codes: `(codes, width)`, float32, all finite.
    """

    def __init__(self, codes: Singles) -> None:
        self.codes = codes
        self.tree = cKDTree(codes) if codes.shape[1] <= _FEW else None
        self.squares = np.square(codes, dtype=np.float64).sum(1).astype(np.float32)

    def nearest(self, rows: Singles, count: int, *, skip: int = 0) -> Doubles:
        """Return Euclidean distances to the nearest codes `(rows, count)`, in rising order.

        A row that overflowed is infinitely far.

        Args:
            rows: `(rows, width)`, float32.
            count: neighbours, at most as many as there are codes, less `skip`.
            skip: of the nearest, so many are left out: 1 where the rows are the stored codes themselves.
        """
        wanted = count + skip
        found = np.full((len(rows), count), np.inf)
        usable = np.flatnonzero(np.isfinite(rows).all(1))
        step = max(1, _AT_A_TIME // len(self.codes))
        for start in range(0, len(usable), step):
            part = usable[start : start + step]
            if self.tree is not None:
                distances = self.tree.query(rows[part], wanted)[0].reshape(len(part), wanted)
            else:
                with np.errstate(over="ignore", invalid="ignore"):
                    distances = np.sqrt(self._squares(rows[part], wanted))
            found[part] = distances[:, skip:]
        return found

    def _squares(self, rows: Singles, wanted: int) -> Doubles:
        size = min(len(self.codes), wanted + _SPARE)
        if size == len(self.codes):
            return np.sort(_exact(self.codes[None], rows), axis=1)[:, :wanted]
        own = np.square(rows).sum(1)
        about = own[:, None] + self.squares[None] - 2.0 * (rows @ self.codes.T)
        # Less the largest error of a float32 product of so many terms, twice over: no distance is smaller.
        error = 2.0 * (rows.shape[1] + 8) * float(np.finfo(np.float32).eps)
        about -= np.float32(error) * np.square(np.sqrt(own)[:, None] + np.sqrt(self.squares)[None])
        # Torch finds the smallest ten times as fast as NumPy parts them from the others.
        found = torch.from_numpy(about).topk(size, dim=1, largest=False, sorted=False)
        exact = np.sort(_exact(self.codes[found.indices.numpy()], rows), axis=1)[:, :wanted]
        farthest = found.values.numpy().max(1)
        for row in np.flatnonzero(~(exact[:, -1] < farthest)):
            exact[row] = np.sort(_exact(self.codes[None], rows[row : row + 1]), axis=1)[0, :wanted]
        return exact


def _exact(codes: Singles, rows: Singles) -> Doubles:
    """Return squared distances `(rows, codes)` of rows `(rows, width)` to codes `(rows or 1, codes, width)`."""
    total = np.zeros((len(rows), codes.shape[1]))
    for place in range(rows.shape[1]):
        total += np.square(codes[:, :, place].astype(np.float64) - rows[:, place, None])
    return total
