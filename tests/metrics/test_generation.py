"""Generation: loops over all pairs, closed forms of Gaussians, and spaces that say what they are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.neural_network import MLPClassifier

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import (
    FeatureSpace,
    classifier_space,
    density_coverage,
    frechet_distance,
    generation,
    precision_recall,
    whitened_space,
)
from isthmus.seeds import derive

Sets = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def sets(rng: np.random.Generator) -> Sets:
    return rng.normal(size=(40, 3)), 0.8 * rng.normal(size=(30, 3)) + 0.7


def slow_balls(centres: np.ndarray, points: np.ndarray, k: int) -> list[list[bool]]:
    """Return, for each centre, whether each point lies in its ball."""
    inside = []
    for i, a in enumerate(centres):
        others = sorted(np.sqrt(((a - b) ** 2).sum()) for j, b in enumerate(centres) if j != i)
        inside.append([bool(np.sqrt(((a - p) ** 2).sum()) <= others[k - 1]) for p in points])
    return inside


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_recall_density_and_coverage_are_the_slow_ones(sets: Sets, neighbours: int) -> None:
    x, y = sets
    in_real, in_generated = slow_balls(x, y, neighbours), slow_balls(y, x, neighbours)
    both = precision_recall(x, y, neighbours=neighbours)
    assert both.precision == pytest.approx(np.mean([any(row[j] for row in in_real) for j in range(30)]))
    assert both.recall == pytest.approx(np.mean([any(row[i] for row in in_generated) for i in range(40)]))
    spread = density_coverage(x, y, neighbours=neighbours)
    assert spread.density == pytest.approx(sum(map(sum, in_real)) / (neighbours * 30))
    assert spread.coverage == pytest.approx(np.mean([any(row) for row in in_real]))
    assert 0 < both.recall < 1 and 0 < spread.coverage < 1
    assert both.neighbours == spread.neighbours == neighbours


def test_blocks_change_nothing(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = precision_recall(*sets), density_coverage(*sets)
    monkeypatch.setattr(generation, "_BLOCK_VALUES", 3 * 40)
    assert (precision_recall(*sets), density_coverage(*sets)) == whole


def test_precision_is_the_recall_of_the_reverse(sets: Sets) -> None:
    x, y = sets
    assert precision_recall(x, y).precision == precision_recall(y, x).recall


def test_a_sampler_that_knows_one_mode_of_two_is_precise_and_recalls_half(rng: np.random.Generator) -> None:
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 50])
    generated = rng.normal(size=(200, 2)) * 0.9
    both, spread = precision_recall(real, generated), density_coverage(real, generated)
    assert both.precision > 0.9 and both.recall <= 0.5
    assert 0.4 < spread.coverage <= 0.5


def test_one_outlier_spoils_precision_more_than_density(rng: np.random.Generator) -> None:
    """The ball of a far real row holds everything between."""
    real = np.concatenate([rng.normal(size=(200, 2)), [[40.0, 0.0]]])
    generated = rng.normal(size=(100, 2)) * 0.5 + [20.0, 0.0]
    assert precision_recall(real, generated).precision == 1.0
    assert density_coverage(real, generated).density <= 1 / 5


def test_samples_of_the_very_distribution_have_the_expected_values(rng: np.random.Generator) -> None:
    """Naeem et al.: density 1, and coverage 1 - 2^-k for equally many rows."""
    for k in (1, 3):
        runs = [density_coverage(*rng.normal(size=(2, 300, 2)), neighbours=k) for _ in range(10)]
        assert np.mean([run.density for run in runs]) == pytest.approx(1.0, abs=0.06)
        assert np.mean([run.coverage for run in runs]) == pytest.approx(1 - 2.0**-k, abs=0.03)


def test_equal_rows_are_found() -> None:
    """Balls are closed: copies of one row lie at distance 0 of each other."""
    x = np.repeat([[0.1, 0.7], [5.0, 5.3]], 6, axis=0)
    assert precision_recall(x, x).precision == precision_recall(x, x).recall == 1.0
    assert density_coverage(x, x).coverage == 1.0


# ---- Frechet distance --------------------------------------------------------------------------------------------


def test_frechet_distance_is_the_formula(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 1.0
    a, b = np.cov(x.T), np.cov(y.T)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y).distance == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x).distance == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_one_feature_is_known(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 1)), 3 * rng.normal(size=(40, 1)) + 2
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y).distance == pytest.approx(expected)


def test_frechet_distance_of_equal_sets_is_zero_with_fewer_rows_than_features_too(rng: np.random.Generator) -> None:
    x = rng.normal(size=(10, 30))
    assert 0.0 <= frechet_distance(x, x[::-1]).distance < 1e-10
    assert frechet_distance(x, x + 1).distance == pytest.approx(30.0)
    assert frechet_distance(x, 2 * x).distance == pytest.approx((x.mean(0) ** 2).sum() + np.cov(x.T).trace())


# ---- spaces ------------------------------------------------------------------------------------------------------


def test_whitened_features_have_unit_covariance(rng: np.random.Generator) -> None:
    rows = (rng.normal(size=(100, 6)) @ rng.normal(size=(6, 6)) + 10).reshape(100, 2, 3)
    space = whitened_space(rows, features=4)
    np.testing.assert_allclose(np.cov(space.transform(rows).T), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(space.transform(rows).mean(0), 0.0, atol=1e-9)
    assert space.name == "4 whitened principal components of 100 rows"


def test_whitening_leaves_rounding_alone(rng: np.random.Generator) -> None:
    """Two causes in six columns are two features, however many were asked for."""
    rows = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 6))
    assert whitened_space(rows, features=6).transform(rows).shape == (100, 2)
    assert whitened_space(rows, features=6).name.startswith("2 whitened")


def test_classifier_features_are_its_last_hidden_layer(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = rng.integers(0, 3, 300)
    rows = (rng.normal(size=(300, 2)) + 4 * np.eye(3)[labels][:, :2]) * [1.0, 100.0] + [7.0, -300.0]
    rows = np.hstack([rows, np.ones((300, 1))])  # a column that never changes has no scale
    trained: list[tuple[MLPClassifier, np.ndarray]] = []
    fit = MLPClassifier.fit

    def remember(self: MLPClassifier, x: np.ndarray, y: np.ndarray) -> MLPClassifier:
        trained.append((self, x))
        return fit(self, x, y)

    monkeypatch.setattr(MLPClassifier, "fit", remember)
    monkeypatch.setattr(generation, "_LEAST_STEPS", 100)
    space = classifier_space(rows, labels, features=8)
    ((network, seen),) = trained
    np.testing.assert_allclose(seen[:, :2].std(0), 1.0)
    np.testing.assert_allclose(seen.mean(0), 0.0, atol=1e-9)
    order = np.random.default_rng(derive(0, "classifier_space")).permutation(300)[30:]
    logits = space.transform(rows[order]) @ network.coefs_[2] + network.intercepts_[2]
    np.testing.assert_array_equal(network.classes_[logits.argmax(1)], network.predict(seen))
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(exponential / exponential.sum(1, keepdims=True), network.predict_proba(seen), atol=1e-9)
    assert (space.transform(rows) >= 0).all() and space.transform(rows).shape == (300, 8)


def test_the_accuracy_in_a_name_is_of_rows_not_trained_on(rng: np.random.Generator) -> None:
    """Random labels are learned by heart, and guessed elsewhere."""
    space = classifier_space(rng.normal(size=(200, 20)), rng.integers(0, 2, 200), features=16)
    share = int(space.name.split("right on ")[1].split(" %")[0])
    assert 10 <= share <= 85
    assert "trained on 180 rows" in space.name and "of 20 others" in space.name


@pytest.mark.parametrize("metric", [precision_recall, density_coverage, frechet_distance])
def test_results_name_their_space(metric: object, rng: np.random.Generator) -> None:
    real, generated = rng.normal(size=(2, 30, 2, 3))
    space = whitened_space(real, features=2)
    result = metric(real, generated, space=space)  # type: ignore[operator]
    assert result.space == space.name
    plain = metric(space.transform(real), space.transform(generated))  # type: ignore[operator]
    assert plain.space == "features as given"
    assert plain == type(plain)(**{**vars(result), "space": "features as given"})


def test_spaces_are_deterministic_and_picklable(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_LEAST_STEPS", 20)
    rows, labels = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
    for fit in (lambda: whitened_space(rows), lambda: classifier_space(rows, labels, features=4)):
        first, second = fit(), fit()
        again: FeatureSpace = pickle.loads(pickle.dumps(first))
        assert first.name == second.name == again.name
        assert (first.transform(rows) == second.transform(rows)).all()
        assert (first.transform(rows) == again.transform(rows)).all()


def test_wrong_inputs_are_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(30, 2))
    with pytest.raises(DataError, match="real: expected at least 4 rows, got 3"):
        precision_recall(x[:3], x)
    with pytest.raises(DataError, match="generated: expected at least 6 rows, got 5"):
        density_coverage(x, x[:5])
    with pytest.raises(DataError, match="as many features of both, got 2 and 1"):
        frechet_distance(x, x[:, :1])
    with pytest.raises(RecipeError, match="neighbours"):
        precision_recall(x, x, neighbours=0)
    with pytest.raises(DataError, match="finite numbers, got nan"):
        frechet_distance(x, x * np.nan)
    with pytest.raises(DataError, match="rows of 2 values, got 1"):
        whitened_space(x).transform(x[:, :1])
    with pytest.raises(DataError, match=r"got shape \(2,\)"):
        whitened_space(x).transform(x[0])
    with pytest.raises(DataError, match="rows that differ"):
        whitened_space(np.ones((5, 2)))
    with pytest.raises(DataError, match=r"shape \(30,\), got shape \(29,\)"):
        classifier_space(x, np.zeros(29))
    with pytest.raises(DataError, match="at least two labels"):
        classifier_space(x, np.zeros(30))
