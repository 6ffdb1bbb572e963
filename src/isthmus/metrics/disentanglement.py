"""Disentanglement, whether each latent represents one factor of variation: MIG, DCI, SAP, FactorVAE score.

All take `codes` `(rows, latent)`, the means of the codes, and `factors` `(rows, k)`, the integers from which the rows
were generated. All are means over factors or latents, without a unit, and higher is better. Scores are comparable only
for the same factors, rows and settings: estimators differ between papers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataError, check_integer, explain
from isthmus.metrics.arrays import matrix
from isthmus.seeds import derive
from isthmus.typing import Array

_HELD_OUT = 0.2
# The two sizes of a leaf that a forest is tried with: small ones find entangled factors, but follow the noise of
# useless latents too; those of a share of the rows do not.
_LEAF_ROWS, _LEAF_SHARE = 5, 0.01


def information(codes: Any, factors: Any, *, bins: int = 20) -> Array:
    """Return the mutual information `(latent, k)` of each latent with each factor, in nats.

    ``I(z_i; v_j) = sum p(z_i, v_j) log(p(z_i, v_j) / (p(z_i) p(v_j)))`` over the cells of their joint histogram, for
    which a latent is cut into bins of equal width between its lowest and its highest value. For n rows it is too large
    by about ``(bins - 1) (values - 1) / (2 n)``.

    Args:
        codes: `(rows, latent)`.
        factors: `(rows, k)` integers.
        bins: number of bins of a latent.

    Raises:
        DataError: if rows do not match, factors are no integers, or a factor never changes.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> information(v.astype(float), v).round(3)
        array([[0.693, 0.   ],
               [0.   , 0.693]])
    """
    check_integer("bins", bins, 2)
    z, v = _checked(codes, factors)
    cut = _binned(z, bins)
    result = np.zeros((z.shape[1], v.shape[1]))
    for j in range(v.shape[1]):
        values = int(v[:, j].max()) + 1
        for i in range(z.shape[1]):
            joint = np.bincount(cut[:, i] * values + v[:, j], minlength=bins * values).reshape(bins, values)
            result[i, j] = _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)
    return result.clip(0.0)


def mig(codes: Any, factors: Any, *, bins: int = 20) -> float:
    """Return the mutual information gap: the difference between the best latent of a factor and the second best.

    ``mean_j (I(z_a; v_j) - I(z_b; v_j)) / H(v_j)``, a and b being the latents with the largest and the second largest
    mutual information with factor j. In [0, 1]; 1 if one latent determines each factor and no other latent depends on
    it. The information is that of `information`, so it is about the codes' means; the paper's estimate draws from the
    posterior.

    Args:
        codes: `(rows, latent)`. With a single latent the second best counts as 0.
        factors: `(rows, k)` integers.
        bins: number of bins of a latent.

    Raises:
        DataError: as `information`.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> mig(v.astype(float), v), mig(v @ [[1.0, 1.0], [1.0, -1.0]], v)
        (1.0, 0.0)

    Paper: Chen et al., Isolating sources of disentanglement in VAEs, 2018, https://arxiv.org/abs/1802.04942.
    """
    shared = information(codes, factors, bins=bins)
    _, v = _checked(codes, factors)
    entropy = np.array([_entropy(np.bincount(v[:, j])) for j in range(v.shape[1])])
    return float((_gap(shared) / entropy).mean())


@dataclass(frozen=True)
class DCI:
    """What `dci` returns.

    Attributes:
        disentanglement: does a latent represent one factor only? In [0, 1], higher is better.
        completeness: is a factor represented by one latent only? In [0, 1], higher is better.
        informativeness: accuracy of the predicted factors on test rows, mean over factors; higher is better.
        chance: the accuracy of always predicting each factor's most frequent value.
        importance: `(latent, k)`; each column adds to 1, or to 0 if no latent helps.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    chance: float
    importance: Array


def dci(codes: Any, factors: Any, *, trees: int = 10, random_state: int = 0) -> DCI:
    """Return disentanglement, completeness and informativeness of codes.

    A random forest predicts each factor from all latents. ``R_ij`` is the importance of latent i for factor j: the
    decrease of the Gini impurity by splits at i, as a share. Disentanglement is ``sum_i w_i (1 - H_k(R_i. / sum_j
    R_ij))`` with the entropy H to the base k, the number of factors, and w_i the share of latent i in all importance.
    Completeness is ``mean_j (1 - H_d(R_.j))``, to the base d, the number of latents. Informativeness is the accuracy on
    a fifth of the rows, which are kept for testing; a fifth of the others decides whether the leaves of a forest have
    at least 5 rows or 1 % of them. (The paper uses lasso and random forests, whose size it cross-validates, and a
    prediction error. Others use boosted trees, whose numbers differ from these.) With 1,500 rows of noisy codes, the
    seed changes the first two by a few hundredths.

    Args:
        codes: `(rows, latent)`.
        factors: `(rows, k)` integers, as classes.
        trees: of each forest.
        random_state: seed of the split and of the forests.

    Raises:
        DataError: if rows do not match, are fewer than 10, factors are no integers, or a factor never changes.

    Example:
        >>> v = np.random.default_rng(0).integers(0, 3, (300, 2))
        >>> scores = dci(v.astype(float), v)
        >>> scores.disentanglement, scores.completeness, scores.informativeness
        (1.0, 1.0, 1.0)

    Paper: Eastwood and Williams, A framework for the quantitative evaluation of disentangled representations, 2018,
    https://openreview.net/forum?id=By-7dz-AZ.
    """
    check_integer("trees", trees)
    z, v = _checked(codes, factors, 10)
    train, test = _split(len(z), _HELD_OUT, derive(random_state, "dci"))
    importance = np.zeros((z.shape[1], v.shape[1]))
    accuracy, chance = [], []
    for j in range(v.shape[1]):
        forest = _forest(z[train], v[train, j], trees, derive(random_state, "forest", j))
        importance[:, j] = forest.feature_importances_
        accuracy.append(np.mean(forest.predict(z[test]) == v[test, j]))
        chance.append(np.mean(v[test, j] == np.bincount(v[train, j]).argmax()))
    return DCI(
        float(_purity(importance) @ importance.sum(1) / max(importance.sum(), 1e-300)),
        float(_purity(importance.T).mean()),
        float(np.mean(accuracy)),
        float(np.mean(chance)),
        importance,
    )


def sap(codes: Any, factors: Any, *, continuous: Collection[int] = (), random_state: int = 0) -> float:
    """Return the separated attribute predictability: the gap between the two most predictive latents of a factor.

    ``mean_j (S_aj - S_bj)``, S_ij being how well latent i alone predicts factor j: for a continuous factor the
    squared correlation; for another, the balanced accuracy (mean over its values) of thresholds, one fewer than it has
    values, set one after another on half of the rows, each where it lowers the Gini impurity of balanced values most,
    and applied to the other half. In [0, 1]. A random latent has an accuracy of 1/m for m values, so the
    maximum for a factor of m values is ``1 - 1/m``.

    Args:
        codes: `(rows, latent)`. With a single latent the second best counts as 0.
        factors: `(rows, k)` integers.
        continuous: the columns of factors whose integers are steps of a quantity, so that a line can fit them.
        random_state: seed of the split.

    Raises:
        DataError: if rows do not match, are fewer than 10, factors are no integers, or a factor never changes; if
            `continuous` names a column that is not there.

    Example:
        >>> v = np.random.default_rng(0).integers(0, 4, (400, 2))
        >>> round(sap(v.astype(float), v), 2), round(sap(v.astype(float), v, continuous=[0, 1]), 2)
        (0.75, 1.0)

    Paper: Kumar et al., Variational inference of disentangled latent concepts from unlabeled observations, 2018,
    https://arxiv.org/abs/1711.00848.
    """
    z, v = _checked(codes, factors, 10)
    if not set(continuous) <= set(range(v.shape[1])):
        expected = f"columns of factors, 0 to {v.shape[1] - 1}"
        raise DataError("continuous: " + explain(expected, f"{sorted(continuous)}", "continuous=[0]"))
    train, test = _split(len(z), 0.5, derive(random_state, "sap"))
    scores = np.zeros((z.shape[1], v.shape[1]))
    for j in range(v.shape[1]):
        for i in range(z.shape[1]):
            if j in continuous:
                scores[i, j] = _squared_correlation(z[:, i], v[:, j].astype(np.float64))
            else:
                scores[i, j] = _threshold_accuracy(z[:, i], v[:, j], train, test)
    return float(_gap(scores).mean())


def factor_vae_score(codes: Any, factors: Any, *, group: int = 64, votes: int = 800, random_state: int = 0) -> float:
    """Return how often the latent with the lowest variance identifies the factor that was fixed.

    For one vote: draw a factor and one of its values, draw `group` rows with that value, and take the latent ``argmin_i
    Var_group(z_i) / Var(z_i)``. From `votes` of these, each latent is assigned the factor that it votes for most often;
    the score is the accuracy on `votes` further ones. In [0, 1]; random codes have about 1/k, for k factors.

    Args:
        codes: `(rows, latent)`. Latents that never vary do not vote.
        factors: `(rows, k)` integers. Values with fewer than `group` rows are not drawn.
        group: rows of one vote.
        votes: number for the assignment, and again for the test.
        random_state: seed of the draws.

    Raises:
        DataError: if rows do not match, factors are no integers, a factor never changes, or has no value with `group`
            rows; if no latent varies.

    Example:
        >>> v = np.random.default_rng(0).integers(0, 3, (600, 2))
        >>> factor_vae_score(v.astype(float), v)
        1.0

    Paper: Kim and Mnih, Disentangling by factorising, 2018, https://arxiv.org/abs/1802.05983 (section 4).
    """
    check_integer("group", group, 2)
    check_integer("votes", votes)
    z, v = _checked(codes, factors, group)
    varies = np.ptp(z, axis=0) > 0
    if not varies.any():
        raise DataError("codes: " + explain("a latent that varies", "none", "a code that has not collapsed"))
    z = z[:, varies] / z[:, varies].std(0)
    pools = [_pools(v[:, j], group, j) for j in range(v.shape[1])]
    rng = np.random.default_rng(derive(random_state, "factor_vae_score"))
    ballots = np.zeros((2, z.shape[1], v.shape[1]), np.int64)
    for half in ballots:
        for _ in range(votes):
            j = int(rng.integers(v.shape[1]))
            pool = pools[j][int(rng.integers(len(pools[j])))]
            rows = z[rng.choice(pool, group, replace=False)]
            half[rows.var(0).argmin(), j] += 1
    learned = ballots[0].argmax(1)
    return float(ballots[1][np.arange(z.shape[1]), learned].sum() / votes)


def _checked(codes: Any, factors: Any, least_rows: int = 2) -> tuple[Array, Array]:
    """Return codes as float64 and factors as integers from 0 on, without gaps."""
    z, raw = matrix("codes", codes, least_rows), matrix("factors", factors)
    if len(z) != len(raw):
        got = f"{len(z)} and {len(raw)}"
        raise DataError("codes, factors: " + explain("as many rows of both", got, "the factors of the same rows"))
    if (raw != raw.round()).any():
        raise DataError("factors: " + explain("integers", "fractions", "np.unique(column, return_inverse=True)[1]"))
    columns = [np.unique(column, return_inverse=True)[1] for column in raw.T]
    for j, column in enumerate(columns):
        if not column.any():
            raise DataError("factors: " + explain("factors that vary", f"one value in column {j}", "leaving it out"))
    return z, np.stack(columns, 1)


def _binned(z: Array, bins: int) -> Array:
    low, width = z.min(0), np.ptp(z, axis=0)
    share = (z - low) / np.where(width > 0, width, 1.0)
    place: Array = np.minimum((share * bins).astype(np.int64), bins - 1)
    return place


def _entropy(counts: Array) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _gap(scores: Array) -> Array:
    """Return the difference between each column's largest and second largest entry."""
    ordered = np.sort(np.vstack([np.zeros(scores.shape[1]), scores]), axis=0)
    lead: Array = ordered[-1] - ordered[-2]
    return lead


def _purity(importance: Array) -> Array:
    """Return ``1 - H(row / its sum)`` for each row, to the base of their length; 0 for rows of zeros."""
    total = importance.sum(1)
    if importance.shape[1] == 1:
        return np.where(total > 0, 1.0, 0.0)
    p = importance / np.where(total > 0, total, 1.0)[:, None]
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(1) / np.log(importance.shape[1])
    return np.where(total > 0, 1.0 - entropy, 0.0)


def _split(rows: int, held_out: float, seed: int) -> tuple[Array, Array]:
    order = np.random.default_rng(seed).permutation(rows)
    first = max(1, round(rows * held_out))
    return order[first:], order[:first]


def _forest(z: Array, factor: Array, trees: int, seed: int) -> Any:
    """Return the better of two forests, one with small leaves and one with large ones."""
    from sklearn.ensemble import RandomForestClassifier  # slow to import, and training imports this package

    # The rows are shuffled already.
    held_out = max(1, round(len(z) * _HELD_OUT))
    forests = []
    for leaf in sorted({_LEAF_ROWS, max(_LEAF_ROWS, int(len(z) * _LEAF_SHARE))}, reverse=True):
        # All latents compete at every split: among a random few, useless ones win and get importance.
        forest = RandomForestClassifier(trees, max_features=None, min_samples_leaf=leaf, random_state=seed)
        forests.append(forest.fit(z[held_out:], factor[held_out:]))
    return max(forests, key=lambda forest: forest.score(z[:held_out], factor[:held_out]))


def _squared_correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = (a @ a) * (b @ b)
    return float((a @ b) ** 2 / scale) if scale > 0 else 0.0


def _threshold_accuracy(latent: Array, factor: Array, train: Array, test: Array) -> float:
    from sklearn.tree import DecisionTreeClassifier

    # A tree over one number is a set of thresholds; best first, it takes the most useful ones.
    tree = DecisionTreeClassifier(max_leaf_nodes=int(factor.max()) + 1, class_weight="balanced", random_state=0)
    tree.fit(latent[train, None], factor[train])
    right = tree.predict(latent[test, None]) == factor[test]
    seen = np.bincount(factor[test])
    return float((np.bincount(factor[test], right)[seen > 0] / seen[seen > 0]).mean())


def _pools(factor: Array, group: int, column: int) -> list[Array]:
    """Return the rows of each value that has enough of them."""
    counts = np.bincount(factor)
    order = np.split(np.argsort(factor, kind="stable"), np.cumsum(counts)[:-1])
    pools = [rows for rows in order if len(rows) >= group]
    if not pools:
        expected = f"a value of factor {column} with at least {group} rows"
        raise DataError("factors: " + explain(expected, f"{counts.max()}", f"group={counts.max()}"))
    return pools
