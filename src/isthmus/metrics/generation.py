"""Metrics of generated rows: precision and recall, density and coverage, the Frechet distance.

All compare features of rows, in a space with meaningful distances. `FeatureSpace` is such a space, fitted on the real
rows; its name is part of every result.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataError, check_integer, explain
from isthmus.metrics.arrays import finite, matrix
from isthmus.seeds import derive
from isthmus.typing import Array

_BLOCK_VALUES = 2**22
_HELD_OUT = 0.1
_LEAST_EPOCHS, _LEAST_STEPS = 20, 1000
_BATCH = 200
# Components with a smaller share of the largest variance are rounding, which whitening would blow up.
_LEAST_VARIANCE = 1e-10
_UNNAMED = "features as given"


@dataclass(frozen=True)
class FeatureSpace:
    """A map of rows to features: layers ``x W + b``, each followed by a ReLU or not.

    `whitened_space` and `classifier_space` fit one on real rows.

    Args:
        name: what the features are and how they were fitted; results have it too.
        weights: of each layer, `(inputs, outputs)`.
        biases: of each layer, `(outputs,)`.
        relu: whether negative outputs of a layer become 0.

    Example:
        >>> space = FeatureSpace("sum of the columns", (np.ones((3, 1)),), (np.zeros(1),))
        >>> space.transform([[1, 2, 3]])
        array([[6.]])
    """

    name: str
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    relu: bool = False

    def transform(self, rows: Any) -> Array:
        """Return the features `(rows, features)` of rows of any shape.

        Raises:
            DataError: if rows have another number of values than those that it was fitted on.
        """
        x = _flat(rows)
        if x.shape[1] != len(self.weights[0]):
            expected, got = f"rows of {len(self.weights[0])} values", f"{x.shape[1]}"
            raise DataError("rows: " + explain(expected, got, "rows of the kind that the space was fitted on"))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = x @ weight + bias
            x = x.clip(0.0) if self.relu else x
        return x


def whitened_space(rows: Any, *, features: int = 32, random_state: int = 0) -> FeatureSpace:
    """Fit principal components of unlabelled rows, each scaled to variance 1.

    Args:
        rows: real rows `(rows, ...)`.
        features: components to keep; fewer if the rows have fewer.
        random_state: seed of the solver for large tables.

    Raises:
        DataError: if there are fewer than two rows, or all are equal.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 5)) * [1, 2, 3, 4, 5]
        >>> space = whitened_space(rows, features=2)
        >>> space.name, space.transform(rows).std(0, ddof=1).round(3)
        ('2 whitened principal components of 200 rows', array([1., 1.]))
    """
    from sklearn.decomposition import PCA

    check_integer("features", features)
    x = matrix("rows", _flat(rows), 2)
    if not np.ptp(x, axis=0).any():
        raise DataError("rows: " + explain("rows that differ", "equal ones", "passing other rows"))
    pca = PCA(min(features, *x.shape), random_state=random_state).fit(x)
    variance = pca.explained_variance_
    kept = variance > _LEAST_VARIANCE * variance[0]
    weight = (pca.components_[kept] / np.sqrt(variance[kept, None])).T
    name = f"{int(kept.sum())} whitened principal components of {len(x):,} rows"
    return FeatureSpace(name, (weight,), (-pca.mean_ @ weight,))


def classifier_space(rows: Any, labels: Any, *, features: int = 64, random_state: int = 0) -> FeatureSpace:
    """Train a small classifier on labelled rows; the features are its last hidden layer.

    Two hidden layers of 2 x `features` and `features` ReLU units, trained on nine tenths of the rows; the accuracy on
    the last tenth is part of the name.

    Args:
        rows: real rows `(rows, ...)`.
        labels: `(rows,)`, at least two different ones.
        features: units of the last hidden layer.
        random_state: seed of the split and the training.

    Raises:
        DataError: if there are fewer than 20 rows, as many labels as rows are not given, or all labels are equal.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 2, 200)
        >>> space = classifier_space(rng.normal(size=(200, 3)) + 5 * labels[:, None], labels, features=16)
        >>> space.name
        'last 16 hidden units of a classifier of 2 labels, trained on 180 rows, right on 100 % of 20 others'
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    check_integer("features", features)
    x, y = matrix("rows", _flat(rows), 20), np.asarray(labels)
    if y.shape != (len(x),):
        raise DataError("labels: " + explain(f"shape ({len(x)},)", f"shape {y.shape}", "one label for each row"))
    order = np.random.default_rng(derive(random_state, "classifier_space")).permutation(len(x))
    held_out, train = np.split(order, [max(1, round(len(x) * _HELD_OUT))])
    if len(np.unique(y[train])) < 2:
        raise DataError("labels: " + explain("at least two labels", "one", "whitened_space(rows)"))
    mean, deviation = x[train].mean(0), x[train].std(0)
    scale = 1.0 / np.where(deviation > 0, deviation, 1.0)
    epochs = max(_LEAST_EPOCHS, _LEAST_STEPS // math.ceil(len(train) / _BATCH))
    network = MLPClassifier(
        (2 * features, features),
        batch_size=min(_BATCH, len(train)),
        max_iter=epochs,
        n_iter_no_change=epochs,  # small tables begin with many steps that lower the loss by little
        random_state=random_state,
    )
    with warnings.catch_warnings():
        # Features need no converged classifier, and its accuracy is stated.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit((x[train] - mean) * scale, y[train])
    right = float(np.mean(network.predict((x[held_out] - mean) * scale) == y[held_out]))
    first, second = network.coefs_[:2]
    name = (
        f"last {features} hidden units of a classifier of {len(network.classes_)} labels, trained on {len(train):,} "
        f"rows, right on {right:.0%} of {len(held_out):,} others".replace("%", " %")
    )
    biases = (network.intercepts_[0] - (mean * scale) @ first, network.intercepts_[1])
    return FeatureSpace(name, (scale[:, None] * first, second), biases, relu=True)


@dataclass(frozen=True)
class PrecisionRecall:
    """What `precision_recall` returns.

    Attributes:
        precision: share of generated rows within the manifold of the real ones, in [0, 1]; higher is better.
        recall: share of real rows within the manifold of the generated ones, in [0, 1]; higher is better.
        neighbours: the k of the balls.
        space: name of the feature space.
    """

    precision: float
    recall: float
    neighbours: int
    space: str


def precision_recall(
    real: Any, generated: Any, *, space: FeatureSpace | None = None, neighbours: int = 3
) -> PrecisionRecall:
    """Return the share of generated rows within the real ones' manifold, and the reverse.

    The manifold of a set is the union of balls around its rows, each as large as the distance to the k-th nearest other
    row of the set. Precision is the share of generated rows in the manifold of the real ones, recall the share of real
    rows in that of the generated ones. One outlier makes a large ball; `density_coverage` is less sensitive to that.
    Both depend on the number of rows, so compare at equal numbers.

    Args:
        real: `(rows, features)`, or rows of any shape if there is a `space`.
        generated: as `real`; the number of rows may differ.
        space: maps the rows to features; None if they are features.
        neighbours: k.

    Raises:
        DataError: if columns differ in number, a set has no more than k rows, or a value is not finite.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real, [[0.5], [0.6], [9.0], [9.1]], neighbours=1)
        PrecisionRecall(precision=0.5, recall=0.0, neighbours=1, space='features as given')

    Paper: Kynkäänniemi et al., Improved precision and recall metric for assessing generative models, 2019,
    https://arxiv.org/abs/1904.06991.
    """
    x, y, name = _features(real, generated, space, neighbours)
    return PrecisionRecall(_share_inside(y, x, neighbours), _share_inside(x, y, neighbours), neighbours, name)


@dataclass(frozen=True)
class DensityCoverage:
    """What `density_coverage` returns.

    Attributes:
        density: in how many real rows' balls a generated row lies, over k; from 0, about 1 for real rows, and above 1
            if generated rows concentrate where real ones are dense.
        coverage: share of real rows whose ball holds a generated row, in [0, 1]; higher is better.
        neighbours: the k of the balls.
        space: name of the feature space.
    """

    density: float
    coverage: float
    neighbours: int
    space: str


def density_coverage(
    real: Any, generated: Any, *, space: FeatureSpace | None = None, neighbours: int = 5
) -> DensityCoverage:
    """Return how densely generated rows lie among the real ones, and how many real ones they cover.

    ``density = sum_ij [y_j in ball_i] / (k M)`` and ``coverage = mean_i [some y_j in ball_i]``, with ball_i around real
    row i, as large as the distance to its k-th nearest other real row, and M generated rows y. For as many generated
    rows from the distribution of the real ones, coverage is about ``1 - 2^-k``.

    Args:
        real: `(rows, features)`, or rows of any shape if there is a `space`.
        generated: as `real`; the number of rows may differ.
        space: maps the rows to features; None if they are features.
        neighbours: k.

    Raises:
        DataError: if columns differ in number, a set has no more than k rows, or a value is not finite.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> density_coverage(real, [[0.5], [0.6], [9.0], [9.1]], neighbours=1)
        DensityCoverage(density=1.0, coverage=0.5, neighbours=1, space='features as given')

    Paper: Naeem et al., Reliable fidelity and diversity metrics for generative models, 2020,
    https://arxiv.org/abs/2002.09797.
    """
    x, y, name = _features(real, generated, space, neighbours)
    blocks = [(int(block.sum()), int(block.any(1).sum())) for block in _inside(x, y, _radii(x, neighbours))]
    pairs, covered = np.sum(blocks, axis=0)
    return DensityCoverage(float(pairs / (neighbours * len(y))), float(covered / len(x)), neighbours, name)


@dataclass(frozen=True)
class FrechetDistance:
    """What `frechet_distance` returns.

    Attributes:
        distance: in squared units of the features, from 0; lower is better.
        space: name of the feature space.
    """

    distance: float
    space: str


def frechet_distance(real: Any, generated: Any, *, space: FeatureSpace | None = None) -> FrechetDistance:
    """Return the Frechet distance of two Gaussians, one fitted to each set of features.

    ``|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))`` with means m and covariances C (divided by rows - 1). This is
    not FID, which is the same formula in the features of one Inception network trained on ImageNet: numbers of
    different spaces are not comparable. It is biased upwards for few rows, so compare at equal numbers of rows, several
    times as many as there are features.

    Args:
        real: `(rows, features)`, or rows of any shape if there is a `space`.
        generated: as `real`; the number of rows may differ.
        space: maps the rows to features; None if they are features.

    Raises:
        DataError: if columns differ in number, a set has fewer than two rows, or a value is not finite.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(frechet_distance(rows, rows + [3.0, 4.0]).distance, 6)
        25.0

    Paper: Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982,
    https://doi.org/10.1016/0047-259X(82)90077-X.
    """
    x, y, name = _features(real, generated, space, 1)
    # With C = R'R from a triangular factor of the rows, tr (C_1 C_2)^(1/2) is the sum of the singular values of
    # R_1 R_2': no matrix is squared, and no root of a rounding below zero is taken.
    a, b = _triangular(x), _triangular(y)
    spread = np.square(a).sum() + np.square(b).sum() - 2.0 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return FrechetDistance(float(np.square(x.mean(0) - y.mean(0)).sum() + max(spread, 0.0)), name)


def _flat(rows: Any) -> Array:
    x = finite("rows", rows)
    if x.ndim < 2:
        raise DataError("rows: " + explain("rows of values", f"shape {x.shape}", "x.reshape(1, -1) if this is one row"))
    return x.reshape(len(x), -1)


def _features(real: Any, generated: Any, space: FeatureSpace | None, neighbours: int) -> tuple[Array, Array, str]:
    check_integer("neighbours", neighbours)
    if space is not None:
        real, generated = space.transform(real), space.transform(generated)
    x, y = matrix("real", real, neighbours + 1), matrix("generated", generated, neighbours + 1)
    if x.shape[1] != y.shape[1]:
        got = f"{x.shape[1]} and {y.shape[1]}"
        raise DataError("real, generated: " + explain("as many features of both", got, "one space for both"))
    return x, y, space.name if space is not None else _UNNAMED


def _triangular(x: Array) -> Array:
    """Return R with ``R'R`` the covariance of the rows."""
    return np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r"))


def _distances(a: Array, b: Array) -> Iterator[Array]:
    """Yield the distances `(block of a, b)`, in blocks so that memory stays bounded."""
    from scipy.spatial.distance import cdist

    block = max(1, _BLOCK_VALUES // len(b))
    for start in range(0, len(a), block):
        yield cdist(a[start : start + block], b)


def _radii(x: Array, neighbours: int) -> Array:
    # A row is its own nearest neighbour, at place 0.
    return np.concatenate([np.partition(d, neighbours, axis=1)[:, neighbours] for d in _distances(x, x)])


def _inside(centres: Array, points: Array, radii: Array) -> Iterator[Array]:
    """Yield, in blocks of centres, which points lie in which closed balls."""
    start = 0
    for distances in _distances(centres, points):
        yield distances <= radii[start : start + len(distances), None]
        start += len(distances)


def _share_inside(points: Array, centres: Array, neighbours: int) -> float:
    """Return the share of points that lie in any ball."""
    found = np.zeros(len(points), bool)
    for block in _inside(centres, points, _radii(centres, neighbours)):
        found |= block.any(0)
    return float(found.mean())
