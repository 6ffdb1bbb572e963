"""How many dimensions rows really have, from the distances to their nearest neighbours."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from isthmus.typing import Doubles


def _distances(x: Doubles, count: int) -> Doubles:
    """Return the distances to the nearest other rows, `(rows, count)`, nearest first."""
    places = NearestNeighbors(n_neighbors=count).fit(x).kneighbors(return_distance=False)
    # Measured anew, since the search squares before it subtracts, and finds zero between rows that are very near.
    columns = [np.sqrt(((x - x[places[:, near]]) ** 2).sum(1)) for near in range(count)]
    return np.sort(np.stack(columns, axis=1), axis=1)


def two_nn(x: Doubles, discard: float = 0.1) -> float:
    """Return the intrinsic dimension from the distances to the two nearest neighbours.

    For a uniform density in d dimensions, the ratio ``mu = r2 / r1`` has ``P(mu <= m) = 1 - m**-d``: d is the slope of
    ``-log(1 - F(mu))`` on ``log(mu)``, through the origin.

    Args:
        x: `(rows, columns)`, all different.
        discard: share of the largest ratios that are left out, as far from the law.

    Example:
        >>> x = np.random.default_rng(0).random((2000, 3))
        >>> round(two_nn(x), 1)
        2.9

    Paper: Facco et al., Estimating the intrinsic dimension of datasets by a minimal neighborhood information,
    Scientific Reports 2017, https://arxiv.org/abs/1803.06992.
    """
    near = _distances(x, 2)
    logs = np.sort(np.log(near[:, 1] / near[:, 0]))
    kept = logs[: int(len(logs) * (1 - discard))]
    law = -np.log1p(-np.arange(1, len(kept) + 1) / len(logs))
    return _at_most(x, float(kept @ law), float(kept @ kept))


def levina_bickel(x: Doubles, first: int = 10, last: int = 20) -> float:
    """Return the intrinsic dimension by maximum likelihood.

    With T_j the distance to the j-th neighbour, ``m_k(x) = (k - 2) / sum_{j<k} log(T_k / T_j)``, averaged over the rows
    and over k. (k - 2 instead of k - 1 makes it unbiased.)

    Args:
        x: `(rows, columns)`, all different; more rows than `last`.
        first: the smallest number of neighbours.
        last: the largest.

    Example:
        >>> x = np.random.default_rng(0).random((2000, 3))
        >>> round(levina_bickel(x), 1)
        2.9

    Paper: Levina and Bickel, Maximum Likelihood Estimation of Intrinsic Dimension, NIPS 2004.
    """
    logs = np.log(_distances(x, last))
    estimates = []
    for k in range(first, last + 1):
        spread = (logs[:, k - 1 : k] - logs[:, : k - 1]).sum(1)
        # Rows whose neighbours are all equally far, as on a lattice, say nothing.
        told = spread[spread > 1e-9]
        estimates.append(float(((k - 2) / told).mean()) if len(told) else float(x.shape[1]))
    return _at_most(x, float(np.mean(estimates)), 1.0)


def _at_most(x: Doubles, above: float, below: float) -> float:
    """Return a ratio, as long as it is no more than there are columns."""
    columns = float(x.shape[1])
    return above / below if above < columns * below else columns
