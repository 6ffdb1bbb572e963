"""Series: one score for each step, to the bit the same in a batch, in a stream and after loading, and causes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import isthmus
from isthmus import SeriesDetector, presets
from isthmus.applications.anomaly.series.data import divided
from isthmus.applications.anomaly.series.intervals import as_table, intervals_of
from isthmus.applications.anomaly.series.window_scores import WindowScore, channel_errors, growing
from isthmus.applications.anomaly.thresholds import p_values
from isthmus.data.series.series import Series
from isthmus.data.series.windows import SeriesWindows
from isthmus.errors import ArtifactError, DataError, RecipeError
from isthmus.schema import Batch

LENGTH = 8
RECIPE = presets.autoencoder(
    latent_dim=3, hidden_dims=(16,), epochs=30, preprocessing="standard", validation_fraction=0.0, batch_size=64
)


def waves(steps: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return channels of unlike scales that two waves explain, with a little noise."""
    time = np.arange(steps) + 10_000 * seed
    rng = np.random.default_rng(seed)
    causes = np.stack([np.sin(time / 3), np.cos(time / 7)], 1)
    mixed = causes @ np.random.default_rng(5).normal(size=(2, channels)) + 0.05 * rng.normal(size=(steps, channels))
    return mixed * 10.0 ** np.arange(channels)


def detector(**settings: Any) -> SeriesDetector:
    return SeriesDetector(**{"rows": f"series:{LENGTH}", "recipe": RECIPE, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def fitted() -> SeriesDetector:
    return detector().fit(waves(2500))


@pytest.fixture(scope="module")
def later() -> np.ndarray:
    """Return new steps, of which 100 to 109 break the second channel's part in the waves."""
    found = waves(200, seed=1)
    found[100:110, 1] = 60.0
    return found


@pytest.mark.parametrize("causal", [False, True])
def test_each_step_has_one_score_and_the_broken_ones_are_alarms(
    fitted: SeriesDetector, later: np.ndarray, causal: bool
) -> None:
    scores = fitted.score_samples(later, causal=causal)
    assert scores.shape == (200,) and scores.dtype == np.float64
    opening = LENGTH - 1 if causal else 0
    assert np.isnan(scores[:opening]).all() and (scores[opening:] < 0).all()
    alarms = fitted.predict(later, causal=causal) == -1
    assert alarms[100:110].all()
    # A window reaches so far, back or to both sides.
    near = np.zeros(200, bool)
    near[100 if causal else 100 - LENGTH + 1 : 110 + LENGTH - 1] = True
    assert alarms[~near].mean() < 0.06
    threshold = fitted.causal_threshold_ if causal else fitted.threshold_
    np.testing.assert_array_equal(alarms, -scores > threshold.value)
    np.testing.assert_array_equal(fitted.decision_function(later, causal=causal), scores + threshold.value)
    assert fitted.offset_ == -fitted.threshold_.value


def test_the_score_is_the_formula(fitted: SeriesDetector, later: np.ndarray) -> None:
    """Window by window and channel by channel, then the mean over the windows that hold a step."""
    model = fitted.estimators_[0]
    windows = np.stack([later[first : first + LENGTH] for first in range(200 - LENGTH + 1)])
    offset, scale = (model.encoding_.state()[name] for name in ("offset", "scale"))
    errors = np.square((windows - model.reconstruct(windows)) / scale).mean(1)
    training = waves(2500)[:2000]
    learned = np.stack([training[first : first + LENGTH] for first in range(2000 - LENGTH + 1)])
    usual = np.median(np.square((learned - model.reconstruct(learned)) / scale).mean(1), 0)
    anomaly_scores = ((errors / usual) ** 0.25).mean(1)
    by_step = [anomaly_scores[max(0, t - LENGTH + 1) : t + 1].mean() for t in range(200)]
    np.testing.assert_allclose(-fitted.score_samples(later), by_step, rtol=1e-4)
    np.testing.assert_allclose(-fitted.score_samples(later, causal=True)[LENGTH - 1 :], anomaly_scores, rtol=1e-4)
    assert offset.shape == (LENGTH, 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 3))
def test_a_stream_has_the_batchs_scores_to_the_bit(fitted: SeriesDetector, cuts: list[int], seed: int) -> None:
    steps = waves(sum(cuts), seed)
    steps[np.random.default_rng(seed).random(steps.shape) < 0.1 * (seed % 2)] = np.nan
    batch = fitted.score_samples(steps, causal=True)
    fitted.restart()
    stream = np.concatenate([fitted.update(part) for part in np.split(steps, np.cumsum(cuts)[:-1])])
    np.testing.assert_array_equal(stream, batch)
    assert len(fitted._recent) <= LENGTH - 1


def test_a_stream_of_single_steps_and_no_later_step_counts(fitted: SeriesDetector, later: np.ndarray) -> None:
    fitted.restart()
    stream = [float(fitted.update(step)[0]) for step in later[:30]]
    for known in (1, LENGTH - 1, LENGTH, 30):
        np.testing.assert_array_equal(fitted.score_samples(later[:known], causal=True), stream[:known])
    assert fitted.update(later[:0]).shape == (0,)
    fitted.restart()
    assert np.isnan(fitted.update(later[0])[0]) and np.isfinite(fitted.update(later[1:LENGTH])[-1])


def test_a_window_has_its_score_alone_and_in_any_batch(fitted: SeriesDetector, later: np.ndarray) -> None:
    encoded = fitted._stream
    block = growing(later, 0, 200, LENGTH)
    together = fitted.score_.anomaly_scores(encoded.batch(block))
    assert np.isfinite(together).all()
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(fitted.score_.anomaly_scores(encoded.batch(block[order])), together[order])
    alone = [fitted.score_.anomaly_scores(encoded.batch(block[row : row + 1]))[0] for row in (0, 50, 104)]
    np.testing.assert_array_equal(alone, together[[0, 50, 104]])


def test_saved_and_loaded_it_is_the_same(fitted: SeriesDetector, later: np.ndarray, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = isthmus.load(tmp_path / "model")
    assert isinstance(loaded, SeriesDetector)
    for causal in (False, True):
        for name in ("score_samples", "p_values", "predict"):
            ours, theirs = (getattr(one, name)(later, causal=causal) for one in (fitted, loaded))
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded.update(later), fitted.score_samples(later, causal=True))
    assert loaded.explain(later) == fitted.explain(later)
    assert loaded.threshold_ == fitted.threshold_ and loaded.rows == fitted.rows
    with pytest.raises(ArtifactError, match="exists"):
        fitted.save(tmp_path / "model")
    loaded.save(tmp_path / "model", overwrite=True)


def test_a_folder_that_was_changed_is_refused(fitted: SeriesDetector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    path = tmp_path / "model" / "application.json"
    path.write_text(path.read_text().replace("0.01", "0.5"))
    with pytest.raises(ArtifactError, match="changed or damaged"):
        SeriesDetector.load(tmp_path / "model")
    fitted.save(tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "application": "anomaly_detector"}))
    with pytest.raises(ArtifactError, match="holds the application anomaly_detector"):
        SeriesDetector.load(tmp_path / "other")


def test_typical_errors_that_do_not_fit_the_members_are_refused(fitted: SeriesDetector) -> None:
    members = [member.inference() for member in fitted.estimators_]
    for wrong in (np.ones((1, 2)), np.ones((2, 3)), np.zeros((1, 3)), np.full((1, 3), np.nan)):
        with pytest.raises(ValueError, match="typical errors"):
            WindowScore.restore(members, {"typical": wrong})


def test_the_end_of_each_series_calibrates_and_teaches_nothing() -> None:
    """What stands there changes the threshold, and neither weights nor scaling nor usual errors."""
    quiet, loud = waves(900), waves(900)
    loud[720:] += np.random.default_rng(0).normal(size=(180, 3)) * [1, 10, 100]
    one, other = detector().fit(quiet), detector().fit(loud)
    np.testing.assert_array_equal(one.score_.typical, other.score_.typical)
    np.testing.assert_array_equal(one.score_samples(quiet), other.score_samples(quiet))
    assert other.threshold_.value > 1.5 * one.threshold_.value
    assert one.threshold_.rows == 180 == len(one.calibration_)
    assert len(one.causal_calibration_) == 180 - LENGTH + 1
    expected = p_values(one.calibration_, -one.score_samples(loud))
    np.testing.assert_array_equal(one.p_values(loud), expected)


def test_each_half_judges_the_other_and_the_detector_learns_all(tmp_path: Path) -> None:
    """What is odd in the first half is odd to those that have learned the second; the detector itself has seen it."""
    steps = waves(1200)
    steps[200:260, 1] += 60.0 * np.sin(np.arange(60))
    both = detector(calibration="halves", alpha=0.05).fit(steps)
    assert both.threshold_.rows == 1200 and len(both.causal_calibration_) == 1200 - 2 * (LENGTH - 1)
    half = detector(calibration_fraction=0.5, alpha=0.05).fit(steps)
    # The detector that learned the first half judged the second one, as here.
    assert set(half.calibration_) < set(both.calibration_)
    other = sorted(set(both.calibration_) - set(half.calibration_))
    assert np.mean(other) > 1.2 * half.calibration_.mean()
    both.save(tmp_path / "model")
    assert isthmus.load(tmp_path / "model").calibration == "halves"


@pytest.mark.parametrize("kind", ["conformal", "pot", "quantile"])
def test_steps_like_those_that_were_learned_are_seldom_alarms(kind: str) -> None:
    found = detector(threshold=kind, alpha=0.05, calibration_fraction=0.5).fit(waves(3000))
    for causal in (False, True):
        rate = (found.predict(waves(3000, seed=3), causal=causal) < 0).mean()
        assert 0.01 < rate < 0.12


def test_an_alarm_names_the_channel_the_step_and_what_was_expected(fitted: SeriesDetector, later: np.ndarray) -> None:
    for causal in (False, True):
        (alarm,) = [one for one in fitted.explain(later, causal=causal, gap=LENGTH) if one.first <= 105 <= one.last]
        assert alarm.p_value == pytest.approx(1 / (501 - (LENGTH - 1) * causal)) and alarm.times is None
        assert alarm.anomaly_score == -np.nanmin(fitted.score_samples(later, causal=causal))
        first = alarm.causes[0]
        assert first.channel == "1" and 100 <= first.step < 110 and first.seen == 60.0
        assert abs(first.expected - 60.0) > 10 and first.share > 0.4
        shares = [one.share for one in alarm.causes]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)
        assert "1 (" in alarm.describe() and "was 60 at step" in alarm.describe()
    assert len(fitted.explain(later, most=1)[0].causes) == 1
    table = as_table(fitted.explain(later, most=2))
    assert table.num_rows == 2 * len(fitted.explain(later)) and table["channel"][0].as_py() == "1"


def test_ranges_of_alarms() -> None:
    assert intervals_of(np.zeros(4, bool)) == []
    assert intervals_of(np.array([1, 0, 0, 1, 1], bool)) == [(0, 0), (3, 4)]
    assert intervals_of(np.array([1, 0, 0, 1, 1], bool), gap=1) == [(0, 0), (3, 4)]
    assert intervals_of(np.array([1, 0, 0, 1, 1], bool), gap=2) == [(0, 4)]


def test_a_long_table_of_several_series_keeps_its_rows() -> None:
    one, two = waves(300), waves(250, seed=1)
    rows = [{"name": "a", "day": day, "x": x, "y": y} for day, (x, y, _) in enumerate(one)]
    rows += [{"name": "b", "day": day, "x": x, "y": y} for day, (x, y, _) in enumerate(two)]
    order = np.random.default_rng(0).permutation(len(rows))
    table = pa.Table.from_pylist([rows[row] for row in order])
    found = detector(rows=f"series:{LENGTH},series=name,time=day", alpha=0.02).fit(table)
    scores = found.score_samples(table)
    assert scores.shape == (550,)
    sorted_table = pa.Table.from_pylist(rows)
    np.testing.assert_array_equal(found.score_samples(sorted_table)[order], scores)
    later = two[:, :2].copy()
    later[100:105] = [50.0, 0.0]
    told = pa.table({"name": ["c"] * 250, "day": np.arange(250) + 7, "x": later[:, 0], "y": later[:, 1]})
    detected = found.detect(told)
    assert detected.column_names == ["name", "day", "anomaly_score", "p_value", "alarm"] and detected.num_rows == 250
    assert all(detected["alarm"].to_pylist()[100:105])
    alarm = max(found.explain(told), key=lambda one: one.anomaly_score)
    assert alarm.series == "c" and alarm.times == (alarm.first + 7, alarm.last + 7) and "from" in alarm.describe()


def test_missing_values_have_no_part() -> None:
    steps = waves(900)
    steps[np.random.default_rng(0).random(steps.shape) < 0.05] = np.nan
    steps[500:540, 1] = np.nan
    found = detector().fit(steps)
    scores = found.score_samples(steps)
    assert scores.shape == (900,) and np.isfinite(scores).all()
    later = waves(100, seed=2)
    later[40:70] = np.nan
    for causal in (False, True):
        gone = np.isnan(found.score_samples(later, causal=causal))
        expected = np.arange(100) < (LENGTH - 1 if causal else 0)
        expected[40 + LENGTH - 1 : 70 if causal else 70 - LENGTH + 1] = True
        np.testing.assert_array_equal(gone, expected)
        assert (found.predict(later, causal=causal)[gone] == 1).all()
        assert np.isnan(found.p_values(later, causal=causal)[gone]).all()


def test_a_channels_errors_are_averaged_over_what_was_observed() -> None:
    import torch

    x = torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    mask = torch.tensor([[[True, True], [True, False]], [[False, True], [False, True]]])
    errors = channel_errors(Batch(x, mask), np.full((2, 2, 2), -1.0, np.float32))
    np.testing.assert_array_equal(errors, [[10.0, 9.0], [np.nan, 4.0]])


def test_a_window_is_judged_by_the_channels_that_were_observed(fitted: SeriesDetector, later: np.ndarray) -> None:
    later = later.copy()
    later[:, 1] = np.nan
    batch = fitted._stream.batch(growing(later, 100, 105, LENGTH))
    errors = channel_errors(batch, fitted.score_.members[0].expected(batch))
    expected = ((errors / fitted.score_.typical[0]) ** 0.25)[:, [0, 2]].mean(1)
    np.testing.assert_allclose(fitted.score_.anomaly_scores(batch), expected)
    np.testing.assert_array_equal(np.isnan(fitted.score_.by_channel(batch)), [[False, True, False]] * 5)


def test_one_channel_as_a_vector_a_list_or_a_column() -> None:
    wave = waves(600, channels=1)[:, 0]
    found = detector().fit(wave)
    scores = found.score_samples(wave)
    np.testing.assert_array_equal(scores, found.score_samples(wave[:, None]))
    np.testing.assert_array_equal(scores, found.score_samples(wave.tolist()))
    np.testing.assert_array_equal(found.update(wave[:50]), found.score_samples(wave, causal=True)[:50])
    assert found.update(wave[50]).shape == (1,) and found.fit_predict(wave).shape == (600,)


def test_a_series_shorter_than_a_window_has_scores(fitted: SeriesDetector) -> None:
    for steps in (1, LENGTH - 1, LENGTH):
        scores = fitted.score_samples(waves(steps))
        assert scores.shape == (steps,) and np.isfinite(scores).all() and len(set(scores)) == 1
        causal = fitted.score_samples(waves(steps), causal=True)
        np.testing.assert_array_equal(np.isnan(causal), np.arange(steps) < LENGTH - 1)


def test_a_channel_that_never_moved_and_then_does_is_an_alarm() -> None:
    steps = np.column_stack([waves(900, channels=2), np.full(900, 3.0)])
    found = detector().fit(steps)
    assert found.score_.typical[0, 2] >= max(1e-6, 0.01 * np.median(found.score_.typical))
    later = np.column_stack([waves(100, seed=1, channels=2), np.full(100, 3.0)])
    later[50, 2] = 4.0
    assert found.predict(later)[50] == -1
    assert found.explain(later)[0].causes[0].channel == "2"


def test_members_are_averaged() -> None:
    steps = waves(600)
    both = detector(n_estimators=2).fit(steps)
    singles = [WindowScore(both.score_.members[i : i + 1], both.score_.typical[i : i + 1]) for i in (0, 1)]
    batch = both._stream.batch(growing(steps, 100, 110, LENGTH))
    expected = np.mean([one.anomaly_scores(batch) for one in singles], 0)
    np.testing.assert_allclose(both.score_.anomaly_scores(batch), expected)
    assert not np.allclose(*[one.anomaly_scores(batch) for one in singles])


def test_the_same_seed_is_the_same_detector() -> None:
    steps = waves(600)
    one, same, other = (clone(detector(random_state=seed)).fit(steps) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.score_samples(steps), same.score_samples(steps))
    assert not np.allclose(one.score_samples(steps), other.score_samples(steps))


def test_the_default_recipe_fits() -> None:
    found = SeriesDetector("series:16", alpha=0.05, random_state=0).fit(waves(200, channels=1))
    assert found.estimators_[0].recipe_.network.hidden_dims == (256, 128)
    assert found.estimators_[0].recipe_.missing == "mask"
    assert np.isfinite(found.threshold_.value)


def test_series_are_divided_at_their_ends() -> None:
    series = [Series("a", np.arange(100.0)), Series("b", np.arange(9.0)), Series("c", np.arange(30.0))]
    learned, held = divided(series, 8, 0.2)
    assert [(one.name, one.steps) for one in learned] == [("a", 80), ("b", 9), ("c", 22)]
    assert [(one.name, one.values[0, 0], one.steps) for one in held] == [("a", 80.0, 20), ("c", 22.0, 8)]


def test_too_few_calibration_steps_are_told_of() -> None:
    with pytest.warns(UserWarning, match="nothing is an alarm"):
        found = detector(alpha=0.001).fit(waves(400))
    assert (found.predict(waves(100)) == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": "table"}, "rows: expected rows that are windows"),
        ({"rows": "series:1"}, "rows: expected rows that are windows"),
        ({"rows": "series"}, "rows: expected rows that are windows"),
        ({"alpha": 0.0}, "alpha"),
        ({"n_estimators": 0}, "n_estimators"),
        ({"threshold": "pott"}, "threshold"),
        ({"calibration_fraction": 1.0}, "calibration_fraction"),
        ({"calibration": "half"}, "calibration"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        detector(**change).fit(waves(200))


def test_data_that_cannot_be_used(fitted: SeriesDetector) -> None:
    with pytest.raises(DataError, match="a series of at least 20 steps"):
        detector().fit(waves(19))
    with pytest.raises(DataError, match="channels"):
        fitted.score_samples(waves(100, channels=2))
    with pytest.raises(DataError, match="steps of 3 channels"):
        fitted.update(np.zeros((4, 2)))
    with pytest.raises(DataError, match="inf at step 1 of channel '2'"):
        fitted.update([[0, 0, 0], [0, 0, np.inf]])
    with pytest.raises(NotFittedError):
        detector().predict(waves(100))
    windows = SeriesWindows([Series("a", waves(50))], LENGTH)
    assert fitted.score_samples(windows).shape == (50,)


def test_what_explain_gives_is_plain() -> None:
    found = detector().fit(waves(900))
    later = waves(100, seed=1)
    later[50] = 500.0
    alarm = found.explain(later)[0]
    assert json.loads(json.dumps(dataclasses.asdict(alarm)))["series"] == "array"
