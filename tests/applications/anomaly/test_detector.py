"""The detector: the promise, the same score in any batch, saving, contaminated rows, rows that come in pieces."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binom
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import isthmus
from isthmus import AnomalyDetector, Autoencoder, presets
from isthmus.applications.anomaly.defaults import default_recipe
from isthmus.applications.anomaly.views import View
from isthmus.data import open as open_module
from isthmus.data.open import open_source
from isthmus.errors import ArtifactError, DataError, RecipeError

RECIPE = presets.denoising(latent_dim=3, hidden_dims=(32,), epochs=30, threads=1, validation_fraction=0.0)


CHECKED = presets.denoising(latent_dim=2, hidden_dims=(16,), epochs=20, threads=1, validation_fraction=0.0)


@parametrize_with_checks([AnomalyDetector(CHECKED, alpha=0.1, random_state=0)])
@pytest.mark.filterwarnings("ignore:no threshold keeps:UserWarning")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    """All of those for outlier detectors: none is expected to fail."""
    check(estimator)


def rows_on_a_curve(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return six columns that two numbers decide, but for a little noise."""
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, count))
    clean = np.stack([a, b, a + b, a * b, np.sin(a), a - 2 * b], 1)
    return clean + 0.1 * generator.normal(size=clean.shape)


def strange(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return rows whose columns are each as usual, and do not belong together."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.permutation(column) for column in rows_on_a_curve(count, seed + 1).T], 1)


@pytest.fixture(scope="module")
def detector() -> AnomalyDetector:
    return AnomalyDetector(RECIPE, alpha=0.05, random_state=0).fit(rows_on_a_curve(1500, 0))


def test_it_tells_strange_rows_from_normal_ones(detector: AnomalyDetector) -> None:
    X = np.concatenate([rows_on_a_curve(500, 1), strange(500, 2)])
    labels = np.repeat([0, 1], 500)
    assert roc_auc_score(labels, -detector.score_samples(X)) > 0.95


def test_the_verbs_agree(detector: AnomalyDetector) -> None:
    """An alarm is a negative decision is a p-value of at most alpha."""
    X = np.concatenate([rows_on_a_curve(500, 1), strange(50, 2)])
    alarms = detector.alarms(X)
    assert 20 < alarms.sum() < 120
    assert ((detector.decision_function(X) < 0) == alarms).all()
    assert ((detector.predict(X) == -1) == alarms).all()
    assert ((detector.p_values(X) <= 0.05) == alarms).all()
    np.testing.assert_array_equal(detector.decision_function(X), detector.score_samples(X) - detector.offset_)


def test_the_false_alarm_rate_is_the_promised_one() -> None:
    """Over many splits the rate on fresh rows is alpha; of one split it is a draw from a beta distribution."""
    counts = []
    for seed in range(12):
        recipe = RECIPE.replace({"training.epochs": 2})
        fitted = AnomalyDetector(recipe, alpha=0.1, random_state=seed).fit(rows_on_a_curve(300, 100 + seed))
        counts.append(int(fitted.alarms(rows_on_a_curve(1000, 200 + seed)).sum()))
        calibration = len(fitted.calibration_)
        assert calibration == 59
    # 6 of 59: the rate of a split is a draw from Beta(6, 54), of mean 0.1.
    rates = np.array(counts) / 1000
    low, high = beta(6, 54).ppf([1e-5, 1 - 1e-5])
    assert ((low < rates) & (rates < high)).all()
    spread = beta(6, 54).std() / np.sqrt(12)
    assert abs(rates.mean() - 0.1) < 4 * spread


def test_calibrationreach_nothing_that_is_fitted() -> None:
    """Other values in these rows change neither scaling nor weights nor scores, only the threshold."""
    X = rows_on_a_curve(400, 0)
    first = AnomalyDetector(RECIPE, alpha=0.05, random_state=0).fit(X)
    calibration = _aside(first, X)
    changed = X.copy()
    changed[calibration] *= 1.5
    second = AnomalyDetector(RECIPE, alpha=0.05, random_state=0).fit(changed)
    fresh = rows_on_a_curve(100, 5)
    np.testing.assert_array_equal(first.score_samples(fresh), second.score_samples(fresh))
    assert second.threshold_.value > first.threshold_.value


def _aside(detector: AnomalyDetector, X: Any) -> Any:
    from isthmus.applications.anomaly.calibration import calibration_rows

    found = calibration_rows(open_source(X), "auto", detector.alpha, 0)
    assert len(found) == len(detector.calibration_)
    return found


@pytest.mark.parametrize("scores", [("reconstruction", "neighbours"), ("noisy", "mahalanobis", "likelihood")])
def test_a_row_has_the_same_score_to_the_bit_in_any_batch(scores: tuple[str, ...]) -> None:
    detector = AnomalyDetector(RECIPE, scores=scores, alpha=0.05, n_estimators=2, random_state=0)
    detector.fit(rows_on_a_curve(600, 0))
    X = np.concatenate([rows_on_a_curve(300, 1), strange(5, 2) * 100])
    whole = detector.score_samples(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(detector.score_samples(X[order]), whole[order])
    for row in (0, 7, 299, 304):
        assert detector.score_samples(X[row : row + 1])[0] == whole[row]
    np.testing.assert_array_equal(np.concatenate([detector.score_samples(part) for part in (X[:130], X[130:])]), whole)


@pytest.mark.parametrize("scores", [("reconstruction", "neighbours", "noisy"), ("bound", "mahalanobis")])
def test_saving_keeps_every_bit(tmp_path: Path, scores: tuple[str, ...]) -> None:
    recipe = RECIPE if "bound" not in scores else presets.vae(latent_dim=2, hidden_dims=(16,), epochs=3, threads=1)
    fitted = AnomalyDetector(recipe, scores=scores, n_estimators=2, alpha=0.05, random_state=0)
    fitted.fit(rows_on_a_curve(400, 0))
    fitted.save(tmp_path / "model")
    again = isthmus.load(tmp_path / "model")
    X = np.concatenate([rows_on_a_curve(100, 1), strange(20, 2)])
    assert isinstance(again, AnomalyDetector)
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    np.testing.assert_array_equal(again.p_values(X), fitted.p_values(X))
    np.testing.assert_array_equal(again.alarms(X), fitted.alarms(X))
    assert again.threshold_ == fitted.threshold_ and again.drift(X) == fitted.drift(X)
    assert isinstance(isthmus.load(tmp_path / "model" / "autoencoders" / "1"), Autoencoder)
    with pytest.raises(ArtifactError, match="exists"):
        fitted.save(tmp_path / "model")
    again.save(tmp_path / "model", overwrite=True)


def test_a_damaged_folder_is_refused(detector: AnomalyDetector, tmp_path: Path) -> None:
    folder = detector.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="anomaly detector"):
        isthmus.estimator.autoencoder.load(folder)  # type: ignore[attr-defined]
    for name in ("application.json", "application.safetensors", "autoencoders/0/manifest.json"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ArtifactError, match="changed or damaged"):
            isthmus.load(folder)
        (folder / name).write_bytes(data)
    (folder / "autoencoders" / "0" / "recipe.json").unlink()
    with pytest.raises(ArtifactError, match="incomplete"):
        isthmus.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": [{"member": 5, "score": "reconstruction", "scale": {"least": 0.0, "centre": 0.0, "spread": 1.0}}]},
        {"parts": [{"member": 0, "score": "neighbours", "scale": {"least": 0.0, "centre": 0.0, "spread": 1.0}}]},
        {"parts": [{"member": 0, "score": "magic", "scale": {"least": 0.0, "centre": 0.0, "spread": 1.0}}]},
        {"parts": [{"member": -1, "score": "reconstruction", "scale": {"least": 0.0, "centre": 0.0, "spread": 1.0}}]},
        {"parts": [{"member": 0, "score": "reconstruction", "scale": {"least": 0.0, "centre": 0.0, "spread": 0.0}}]},
        {"parts": [{"member": 0, "score": "reconstruction", "scale": []}]},
        {"threshold": {"kind": "conformal"}},
        {"threshold": {"kind": "conformal", "level": 0.05, "value": 99.0, "rows": 299, "training_contamination": 0.0}},
        {"threshold": {"kind": "best", "level": 0.05, "value": 1.0, "rows": 99}},
        {"threshold": {"kind": "pot", "level": 0.05, "value": float("nan"), "rows": 99}},
        {"threshold": {"kind": "pot", "level": 0.05, "value": 10**400, "rows": 99}},
        {"threshold": {"kind": "pot", "level": 0.05, "value": 1.0, "rows": "many"}},
        {"settings": {"alpha": 3}},
        {"autoencoders": "many"},
    ],
)
def test_a_strangers_settings_are_checked(detector: AnomalyDetector, tmp_path: Path, change: dict[str, Any]) -> None:
    """Hashes say that nothing was damaged, not that it was written by isthmus."""
    import hashlib

    folder = detector.save(tmp_path / "model")
    settings = json.loads((folder / "application.json").read_text()) | change
    data = json.dumps(settings).encode()
    (folder / "application.json").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["application.json"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        isthmus.load(folder)


def test_training_contamination_leaves_out_the_anomalies_among_the_training_rows() -> None:
    """A tight group of anomalies is learned like any other rows, unless the most anomalous are left out."""
    group = np.random.default_rng(0).normal([1.5, -1.5, 1.5, -1.5, 1.5, -1.5], 0.6, size=(60, 6))
    X = np.concatenate([rows_on_a_curve(940, 0), group[:45]])
    fresh = np.concatenate([rows_on_a_curve(500, 1), group[45:]])
    labels = np.repeat([0, 1], [500, 15])
    caught = {}
    for trim in (0.0, 0.06):
        fitted = AnomalyDetector(RECIPE, training_contamination=trim, alpha=0.02, random_state=0).fit(X)
        caught[trim] = fitted.alarms(fresh)[labels == 1].mean()
    assert caught[0.06] > caught[0.0] + 0.3


def test_rows_that_come_in_pieces() -> None:
    pieces = [rows_on_a_curve(400, seed) for seed in range(6)]
    recipe = RECIPE.replace({"training.batch_size": 8})
    grown = AnomalyDetector(recipe, alpha=0.05, random_state=0)
    first = 0
    for piece in pieces:
        grown.partial_fit(piece)
        first = first or len(grown.calibration_)
    assert first == 79 and len(grown.calibration_) == 6 * first
    X = np.concatenate([rows_on_a_curve(500, 11), strange(500, 12)])
    assert roc_auc_score(np.repeat([0, 1], 500), -grown.score_samples(X)) > 0.9
    assert binom(500, 0.05).ppf(1e-4) <= grown.alarms(X)[:500].sum() <= binom(500, 0.05).ppf(1 - 1e-4)


def test_drift_is_found_where_it_is_and_not_elsewhere(detector: AnomalyDetector) -> None:
    same = detector.drift(rows_on_a_curve(800, 3))
    assert not same.found and "no drift" in same.sentence
    moved = rows_on_a_curve(800, 3)
    moved[:, 4] += 1.0
    drift = detector.drift(moved)
    assert drift.found and drift.p_value < 1e-6
    assert next(iter(drift.stability)) == "column 4"


def test_false_discoveries_stay_under_their_level(detector: AnomalyDetector) -> None:
    """The thousand runs of the issue stand in test_thresholds; here the detector's own p-values."""
    shares = []
    for seed in range(20):
        X = np.concatenate([rows_on_a_curve(200, 50 + seed), strange(100, 80 + seed)])
        found = detector.alarms(X, fdr=0.2)
        shares.append(found[:200].sum() / max(1, found.sum()))
        assert found[200:].mean() > 0.5
    assert np.mean(shares) < 0.2


def test_members_differ_and_are_averaged(detector: AnomalyDetector) -> None:
    fitted = AnomalyDetector(RECIPE, n_estimators=3, alpha=0.05, random_state=0).fit(rows_on_a_curve(400, 0))
    X = rows_on_a_curve(50, 1)
    batch = fitted.encoded_rows(X).whole(np.arange(50))
    parts = fitted.ensemble_.by_part(batch)
    assert parts.shape == (9, 50)
    assert len({part.tobytes() for part in parts}) == 9
    np.testing.assert_allclose(-fitted.score_samples(X), parts.mean(0), rtol=1e-12)


def test_too_few_rows_for_the_promise_are_told_of() -> None:
    with pytest.warns(UserWarning, match=r"nothing is an alarm; it takes 99 of them"):
        fitted = AnomalyDetector(RECIPE, alpha=0.01, random_state=0).fit(rows_on_a_curve(100, 0))
    assert not fitted.alarms(strange(20, 1) * 100).any()
    assert (fitted.predict(strange(20, 1)) == 1).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1}, "alpha"),
        ({"training_contamination": 0.9}, "training_contamination"),
        ({"n_estimators": 0}, "n_estimators"),
        ({"threshold": "conforml"}, "conformal"),
        ({"scores": ("reconstuction",)}, "reconstruction"),
        ({"scores": ()}, "different scores"),
        ({"scores": ("bound",)}, "importance-weighted"),
        ({"calibration_fraction": 1.5}, "calibration_fraction"),
        ({"recipe": "denoisng"}, "denoising"),
    ],
)
def test_settings_out_of_range_are_refused_with_advice(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        AnomalyDetector(**{"recipe": RECIPE, **settings}).fit(rows_on_a_curve(100, 0))


def test_rows_unlike_the_training_rows_are_refused(detector: AnomalyDetector) -> None:
    with pytest.raises(DataError):
        detector.predict(np.zeros((3, 5)))
    with pytest.raises(DataError, match="at least 4 rows"):
        AnomalyDetector(RECIPE).fit(rows_on_a_curve(3, 0))


def test_it_can_be_cloned_and_fitted_again() -> None:
    first = AnomalyDetector(RECIPE, alpha=0.05, random_state=3)
    X = rows_on_a_curve(300, 0)
    scores = first.fit(X).score_samples(X)
    np.testing.assert_array_equal(clone(first).fit(X).score_samples(X), scores)


def test_any_recipe_will_do() -> None:
    X = rows_on_a_curve(300, 0)
    for name in ("vae", "contractive", "wae"):
        chosen = presets.get(name).replace({"training.epochs": 2, "code.latent_dim": 4})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            AnomalyDetector(chosen, alpha=0.05, random_state=0).fit(X).predict(X)


def test_a_row_is_not_the_less_strange_the_less_is_known_of_it() -> None:
    X = rows_on_a_curve(800, 0)
    X[::5, 3] = np.nan
    fitted = AnomalyDetector(RECIPE.replace({"missing": "mask"}), alpha=0.05, random_state=0).fit(X)
    odd = strange(300, 2)
    holed = odd.copy()
    holed[:, 3:] = np.nan
    kept = fitted.ensemble_.by_kind(fitted.encoded_rows(odd).whole(np.arange(300)))["reconstruction"]
    half = fitted.ensemble_.by_kind(fitted.encoded_rows(holed).whole(np.arange(300)))["reconstruction"]
    assert abs(np.median(half) - np.median(kept)) < 1.5  # half the values gone, and not half the error
    empty = np.full((1, 6), np.nan)
    assert fitted.predict(empty).tolist() == [-1] and fitted.p_values(empty)[0] == 1 / (1 + len(fitted.calibration_))


def test_channels_may_come_first_or_last() -> None:
    """The same pictures have the same anomaly score, to rounding, and heat maps of their height and width."""
    first = np.random.default_rng(0).integers(0, 255, (60, 3, 12, 12)).astype(np.uint8)
    recipe = presets.autoencoder(latent_dim=2, hidden_dims=(), epochs=1, threads=1, validation_fraction=0.0)
    scores = []
    for rows in (first, np.moveaxis(first, 1, -1)):
        fitted = AnomalyDetector(recipe, scores="structure", alpha=0.2, random_state=0).fit(rows)
        assert fitted.pixel_scores(rows[:2]).shape == (2, 12, 12)
        part = fitted.ensemble_.parts[0].score
        view = View(fitted.ensemble_.members[0], fitted.encoded_rows(rows).whole(np.arange(4)))
        assert next(part.maps(view)).shape[:2] == (4, 3)  # type: ignore[attr-defined]
        scores.append(fitted.score_samples(rows))
    assert np.isfinite(scores).all()


def test_a_tail_takes_a_fifth_of_the_rows() -> None:
    fitted = AnomalyDetector(RECIPE, threshold="pot", alpha=0.008, random_state=0).fit(rows_on_a_curve(1000, 0))
    assert len(fitted.calibration_) == 200 and np.isfinite(fitted.threshold_.value)


def test_alarms_themselves_say_which_rows_are_explained(detector: AnomalyDetector) -> None:
    X = strange(20, 2)
    alarms = detector.alarms(X)
    assert detector.explain(X, rows=alarms).rows.tolist() == np.flatnonzero(alarms).tolist()
    with pytest.raises(DataError, match="mask of 20 rows"):
        detector.explain(X, rows=alarms[:3])


@pytest.mark.parametrize("latent", [3, 20])
def test_what_overflows_is_an_alarm(latent: int) -> None:
    """Some sensors write the largest number for no data: a finite one that float32 cannot square."""
    recipe = RECIPE.replace({"code.latent_dim": latent, "training.epochs": 2})
    fitted = AnomalyDetector(recipe, alpha=0.05, random_state=0).fit(rows_on_a_curve(400, 0))
    X = rows_on_a_curve(3, 1)
    X[1] = 5e37
    assert fitted.predict(X)[1] == -1 and fitted.p_values(X)[1] == 1 / (1 + len(fitted.calibration_))
    assert np.isfinite(fitted.score_samples(X)[[0, 2]]).all()


def test_training_contamination_keeps_as_many_rows_as_the_guarantee_takes_and_says_what_it_costs() -> None:
    fitted = AnomalyDetector(RECIPE, training_contamination=0.05, alpha=0.01, random_state=0).fit(
        rows_on_a_curve(400, 0)
    )
    assert np.isfinite(fitted.threshold_.value) and len(fitted.calibration_) == 99
    assert "if 5 % of the rows were anomalies" in fitted.threshold_.describe()


def test_few_rows_are_no_drift(detector: AnomalyDetector) -> None:
    assert not any(detector.drift(rows_on_a_curve(30, seed)).found for seed in range(10, 20))


def test_the_recipe_is_chosen_without_the_calibration_rows() -> None:
    source = open_source(rows_on_a_curve(500, 0))
    calibration = np.arange(0, 500, 4)
    changed = source.take(np.arange(500)).copy()
    changed[calibration] = np.random.default_rng(1).normal(size=(125, 6)) * 100
    assert default_recipe(open_source(changed), calibration) == default_recipe(source, calibration)
    assert default_recipe(open_source(changed)) != default_recipe(source)


@pytest.mark.parametrize("contamination", [0.0, 0.1])
def test_fit_opens_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contamination: float) -> None:
    np.savetxt(tmp_path / "rows.csv", np.random.default_rng(0).normal(size=(200, 4)), delimiter=",")
    opened, load_file = [], open_module.load_file
    monkeypatch.setattr(open_module, "load_file", lambda path: opened.append(path) or load_file(path))
    recipe = presets.denoising(latent_dim=2, hidden_dims=(8,), epochs=1)
    AnomalyDetector(recipe, training_contamination=contamination, alpha=0.1).fit(tmp_path / "rows.csv")
    assert len(opened) == 1
