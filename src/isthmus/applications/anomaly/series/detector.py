"""`SeriesDetector`: anomaly scores of steps of series, and intervals of alarms with their causes, also of streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from isthmus.applications import folder
from isthmus.applications.anomaly.base import Detector
from isthmus.applications.anomaly.description import describe_detector
from isthmus.applications.anomaly.series.data import (
    as_steps,
    by_row,
    default_recipe,
    divided,
    open_series,
    rewindowed,
    training_windows,
)
from isthmus.applications.anomaly.series.intervals import AnomalyInterval, found_intervals, with_causes
from isthmus.applications.anomaly.series.window_scores import WindowScore, growing
from isthmus.applications.anomaly.thresholds import (
    KINDS,
    Threshold,
    check_level,
    check_threshold,
    find_threshold,
    p_values,
    stored_calibration,
    warn_of_few,
)
from isthmus.applications.contract import Description
from isthmus.data.encoded import EncodedRows
from isthmus.data.series.series import Series
from isthmus.data.series.step_table import to_long
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.spec import RowsSpec
from isthmus.errors import DataError, RecipeError, check_choice, check_integer, explain
from isthmus.estimator.autoencoder import Autoencoder, as_recipe
from isthmus.estimator.joint import fit_ensemble
from isthmus.estimator.methods import seed_of
from isthmus.recipe import Recipe
from isthmus.seeds import derive
from isthmus.typing import Doubles, Integers

# The name in a folder's manifest, and the parameters in its settings.
KIND = "series_detector"
_SETTINGS = ("rows", "threshold", "alpha", "calibration", "calibration_fraction")
# Steps that a stream takes at a time.
_AT_A_TIME = 1024


class SeriesDetector(Detector):
    """Find steps of series that are unlike those of the training series, which should be normal.

    Autoencoders learn windows. A window's anomaly score is the mean over channels of ``(e / q)^(1/4)``, e being the
    channel's squared error and q the usual one on training windows
    (`isthmus.applications.anomaly.series.window_scores`). A step's anomaly score is the mean over all windows that hold
    it, which look at what comes before and after it. With ``causal=True`` it is that of the one window that ends with
    the step: nothing later counts, and `update` gives the same number to the bit
    while a series comes in. Before a window is full there is none.

    A threshold for each of the two is found from calibration steps. With ``calibration="end"`` they are the end of
    each training series, which is taken out as a whole, since windows overlap, before anything is fitted. With
    "halves" two further detectors learn a half of each series and judge the other one, and all of it calibrates the
    detector that has learned the whole: three times the work, for series that are short or whose end is not like the
    rest. Steps of a series are not exchangeable: neighbours have nearly the same score, and what is normal drifts. So
    neither has the guarantee of a conformal threshold that independent rows have: the rate is right as far as
    the calibration steps show all that is normal. Compare the rate with normal steps of your own.

    Args:
        rows: the length of a window and how series are read, as in `isthmus.read`:
            "series:64,series=name,time=timestamp". Its stride, by default chosen such that there are about 6,000
            training windows, is that of training; scores always come from a window at every step.
        recipe: of the autoencoder: a `Recipe`, a preset's name, the path of a JSON file; "auto" for a fully connected
            one with squared error on standardised channels.
        n_estimators: autoencoders that differ by their seed, and whose scores are averaged.
        threshold: "conformal", "pot" (a generalised Pareto tail fitted to the calibration steps, for an alpha beyond
            their reach), "quantile" or "contamination"; see `isthmus.applications.anomaly.thresholds.find_threshold`.
        alpha: the rate of false alarms, per step.
        calibration: "end" or "halves".
        calibration_fraction: share of each training series, at its end, that calibrates; unused with halves.
        random_state: seed of everything.
        verbose: whether training shows its progress.

    Attributes:
        estimators_: the fitted autoencoders.
        score_: the fitted `WindowScore`.
        calibration_: anomaly score of the calibration steps, in rising order, and `causal_calibration_`.
        threshold_: the `Threshold` on it, and `causal_threshold_`.
        offset_: minus the threshold's value; a step is an alarm if ``score_samples(X) < offset_``.

    Example:
        >>> import numpy as np
        >>> from isthmus import SeriesDetector
        >>> wave = np.sin(np.arange(1200) / 5) + np.random.default_rng(0).normal(0, 0.05, 1200)
        >>> detector = SeriesDetector("series:16", random_state=0).fit(wave[:1000])
        >>> later = wave[1000:].copy()
        >>> later[100:110] = 0.0
        >>> alarms = np.flatnonzero(detector.predict(later) < 0)
        >>> bool(alarms.min() > 80), bool(alarms.max() < 130)
        (True, True)
        >>> np.array_equal(detector.update(later), detector.score_samples(later, causal=True), equal_nan=True)
        True
    """

    estimators_: list[Autoencoder]
    score_: WindowScore
    calibration_: Doubles
    causal_calibration_: Doubles
    causal_threshold_: Threshold
    _recent: Doubles
    _stream: EncodedRows

    def __init__(
        self,
        rows: str = "series:64",
        *,
        recipe: Recipe | str | Path = "auto",
        n_estimators: int = 1,
        threshold: str = "conformal",
        alpha: float = 0.01,
        calibration: str = "end",
        calibration_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.rows = rows
        self.recipe = recipe
        self.n_estimators = n_estimators
        self.threshold = threshold
        self.alpha = alpha
        self.calibration = calibration
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn normal series, and find the thresholds.

        Args:
            X: one series as an array `(steps,)` or `(steps, channels)`; several in a long frame, table or file with
                ``rows="series:64,series=name,time=timestamp"``, or in a folder with a file for each. NaN is a missing
                value.
            y: ignored; it is there for scikit-learn.

        Raises:
            RecipeError: for settings out of range.
            DataError: for data that cannot be used, and series too short to learn from and to calibrate on.
        """
        spec = self.check_settings()
        whole = open_series(X, spec)
        if self.calibration == "end":
            learned, held = divided(whole.series, whole.length, self.calibration_fraction)
            self.estimators_, self.score_ = self._learned(whole, learned, spec)
            judged = [(self.score_, rewindowed(whole, held, 1))]
        else:
            first, second = divided(whole.series, whole.length, 0.5)
            judged = [
                (self._learned(whole, learned, spec)[1], rewindowed(whole, held, 1))
                for learned, held in ((first, second), (second, first))
            ]
            self.estimators_, self.score_ = self._learned(whole, whole.series, spec)
        self._set_attributes()
        self._calibrate(judged)
        return self

    def _learned(
        self, whole: SeriesWindows, series: Sequence[Series], spec: RowsSpec
    ) -> tuple[list[Autoencoder], WindowScore]:
        """Return members that have learned some series, and their score."""
        seed = 0 if self.random_state is None else seed_of(self.random_state)
        training = training_windows(whole, series, spec)
        recipe = default_recipe(training) if isinstance(self.recipe, str) and self.recipe == "auto" else None
        recipe = (recipe or as_recipe(self.recipe)).replace({"missing": "mask"})
        recipes = [
            recipe.replace({"training.seed": derive(seed, "member", place)}) for place in range(self.n_estimators)
        ]
        members = fit_ensemble(recipes, training, verbose=self.verbose)
        return members, WindowScore.fit([member.inference() for member in members], training)

    def check_settings(self) -> RowsSpec:
        """Return what `rows` says; raise `RecipeError` for settings out of range."""
        spec = RowsSpec.parse(self.rows)
        if spec.kind != "series" or len(spec.sizes) != 1 or spec.sizes[0] < 2:
            expected = "rows that are windows of two steps or more"
            raise RecipeError("rows: " + explain(expected, repr(self.rows), "series:64"))
        check_integer("n_estimators", self.n_estimators, 1)
        check_choice("threshold", self.threshold, list(KINDS))
        check_level("alpha", self.alpha)
        check_choice("calibration", self.calibration, ["end", "halves"])
        check_level("calibration_fraction", self.calibration_fraction)
        return spec

    def _set_attributes(self) -> None:
        """Set what scikit-learn asks a fitted detector for, and begin a new stream."""
        self.n_features_in_ = int(self.estimators_[0].schema_.shape[1])
        self.restart()

    def _calibrate(self, judged: Sequence[tuple[WindowScore, SeriesWindows]]) -> None:
        """Find the thresholds from the anomaly score of steps to members that have not learned them."""
        for causal in (False, True):
            found = np.concatenate([one for score, windows in judged for one in score.steps(windows, causal=causal)])
            calibration = np.sort(found[~np.isnan(found)])
            threshold = find_threshold(calibration, self.threshold, self.alpha)
            if causal:
                self.causal_calibration_, self.causal_threshold_ = calibration, threshold
            else:
                self.calibration_, self.threshold_ = calibration, threshold
        # Causal calibration has the fewer steps.
        warn_of_few(self.causal_threshold_, "a larger alpha, calibration='halves', longer series, or threshold='pot'")

    # ---- use ---------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any, *, causal: bool = False) -> Doubles:
        """Return how normal each step is, float64: minus its anomaly score, at most 0; about -1 is typical.

        Args:
            X: series, as in `fit`.
            causal: whether a step is judged by the window that ends with it alone, and not by all that hold it.

        Returns:
            For an array `(steps,)`; for a table one number for each of its rows, in their order; for files one series
            after the other. NaN, which is never an alarm, for steps of which no window has observed anything, and with
            `causal` for the steps before the first window is full.

        Raises:
            DataError: for series unlike the training series.
        """
        windows = self.opened(X)
        return -by_row(self.score_.steps(windows, causal=causal), windows)

    def decision_function(self, X: Any, *, causal: bool = False) -> Doubles:
        """Return `score_samples` less the threshold's: negative for alarms."""
        found: Doubles = self.score_samples(X, causal=causal) + self._threshold(causal).value
        return found

    def predict(self, X: Any, *, causal: bool = False) -> Integers:
        """Return -1 for alarms and 1 for other steps, as many as `score_samples` has."""
        return np.where(self.decision_function(X, causal=causal) < 0, -1, 1)

    def p_values(self, X: Any, *, causal: bool = False) -> Doubles:
        """Return conformal p-values, as many as `score_samples` has: shares of calibration steps at least as anomalous.

        ``(1 + #{calibration >= s}) / (1 + n)``; NaN where the score is. They are about single steps: neighbouring ones
        are nearly the same evidence, so many low values in a row say little more than one does.
        """
        windows = self.opened(X)
        return self._p(by_row(self.score_.steps(windows, causal=causal), windows), causal)

    def explain(self, X: Any, *, causal: bool = False, most: int = 3, gap: int = 0) -> list[AnomalyInterval]:
        """Return the alarms as intervals of steps, in order, each with the channels that caused it.

        Args:
            X: series, as in `fit`.
            causal: as in `score_samples`.
            most: channels that are named for each alarm.
            gap: so many steps or fewer between alarms do not end an interval.

        `isthmus.applications.anomaly.series.intervals.as_table` makes a table of them, and `AnomalyInterval.describe` a
        sentence.
        """
        check_integer("most", most)
        check_integer("gap", gap, 0)
        windows = self.opened(X)
        steps, encoded = self.score_.steps(windows, causal=causal), self.score_.encoded_rows(windows)
        found = found_intervals(windows, steps, self._threshold(causal).value, lambda s: self._p(s, causal), gap)
        return [
            with_causes(one, windows.series[number], self.score_, encoded, most, causal=causal) for number, one in found
        ]

    def detect(self, X: Any, *, causal: bool = False) -> pa.Table:
        """Return a table of all steps: the columns of series and time, `anomaly_score`, `p_value` and `alarm`."""
        windows = self.opened(X)
        steps = self.score_.steps(windows, causal=causal)
        table = to_long(steps, windows, "anomaly_score")
        found = np.asarray(table["anomaly_score"].to_numpy(zero_copy_only=False), np.float64)
        table = table.append_column("p_value", pa.array(self._p(found, causal), from_pandas=True))
        return table.append_column("alarm", pa.array(found > self._threshold(causal).value))

    def describe(self) -> Description:
        """Return what the detector is: rows, threshold and its guarantee."""
        self._check_fitted()
        title = "anomaly detector of series"
        return describe_detector(title, self.estimators_, self.threshold_, ["reconstruction"], "steps")

    # ---- streams -----------------------------------------------------------------------------------------------

    def update(self, values: Any) -> Doubles:
        """Take the next steps of one series as they come, and return their scores, `(steps,)`.

        They are those of ``score_samples(..., causal=True)`` on the whole series, to the bit, however it is divided
        over calls: a step's score is that of the window that ends with it, and never changes afterwards; NaN before the
        first window is full. What is kept between calls are the last steps, one fewer than a window has. `restart`
        begins another series.

        Args:
            values: `(steps, channels)`; `(steps,)` for one channel, `(channels,)` or a number for a single step.

        Raises:
            DataError: for another number of channels, and infinite values.
        """
        self._check_fitted()
        given = as_steps(values, self.n_features_in_)
        if not len(given):
            return np.zeros(0)
        new = Series("stream", given).values.astype(np.float64)
        length = int(self.estimators_[0].schema_.shape[0])
        known = np.concatenate([self._recent, new])
        full = max(len(self._recent), length - 1)
        scores = [np.full(min(len(known), full) - len(self._recent), np.nan)]
        for first in range(full, len(known), _AT_A_TIME):
            block = growing(known, first, min(first + _AT_A_TIME, len(known)), length)
            scores.append(-self.score_.anomaly_scores(self._stream.batch(block)))
        self._recent = known[max(0, len(known) - length + 1) :]
        return np.concatenate(scores)

    def restart(self) -> Self:
        """Forget the steps that `update` has taken: the next ones are the first of a series."""
        self._check_fitted()
        self._recent = np.zeros((0, self.n_features_in_))
        one = Series("stream", np.zeros((1, self.n_features_in_)))
        self._stream = self.score_.encoded_rows(SeriesWindows([one], int(self.estimators_[0].schema_.shape[0])))
        return self

    # ---- on disk -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the detector's folder, whole or not at all; see `isthmus.applications.folder`.

        Raises:
            ArtifactError: if `path` exists and `overwrite` is false, or holds something else.
        """
        self._check_fitted()
        parameters = {name: getattr(self, name) for name in _SETTINGS}
        thresholds = {"threshold": self.threshold_, "causal_threshold": self.causal_threshold_}
        settings: dict[str, Any] = {"settings": parameters} | {name: one.to_dict() for name, one in thresholds.items()}
        arrays = self.score_.state() | {"calibration": self.calibration_, "causal": self.causal_calibration_}
        sentences = (
            f"Rows: {self.estimators_[0].schema_.describe()}.",
            f"Threshold: {self.threshold_.describe('steps')}.",
        )
        usage = ("detector", "alarms = detector.explain(X)")
        text = folder.card("An isthmus detector of anomalies in series", sentences, parameters, usage)
        return folder.save(folder.Stored(KIND, settings, arrays, self.estimators_, text), path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the detector that `save` wrote, with the same scores to the bit; `isthmus.load` does so, too.

        Raises:
            ArtifactError: if it is missing, damaged, incomplete or newer, or something else.
        """
        return folder.restore(path, KIND, cls._restored)

    @classmethod
    def _restored(cls, stored: folder.Stored) -> Self:
        parameters = {name: stored.settings["settings"][name] for name in _SETTINGS}
        detector = cls(recipe=stored.estimators[0].recipe_, n_estimators=len(stored.estimators), **parameters)
        length = stored.estimators[0].schema_.shape[0]
        if not isinstance(detector.rows, str) or detector.check_settings().sizes[0] != length:
            raise RecipeError("rows: " + explain(f"windows of {length} steps", repr(detector.rows), "another folder"))
        detector.estimators_ = stored.estimators
        detector.score_ = WindowScore.restore([member.inference() for member in stored.estimators], stored.arrays)
        detector.calibration_, detector.causal_calibration_ = (
            stored_calibration(stored.arrays[name]) for name in ("calibration", "causal")
        )
        thresholds = [Threshold.from_dict(stored.settings[name]) for name in ("threshold", "causal_threshold")]
        calibrations = (detector.calibration_, detector.causal_calibration_)
        detector.threshold_, detector.causal_threshold_ = (
            check_threshold(*pair) for pair in zip(thresholds, calibrations, strict=True)
        )
        detector._set_attributes()
        return detector

    def opened(self, X: Any) -> SeriesWindows:
        """Return series that are like the training series, with a window at every step."""
        self._check_fitted()
        source = open_series(X, RowsSpec.parse(self.rows))
        known = (self.estimators_[0].schema_.metadata or {}).get("channels")
        if known is not None and list(known) != list(source.channels):
            got = f"{len(source.channels)}: {', '.join(source.channels[:10])}"
            raise DataError(explain(f"the training series' channels {', '.join(known[:10])}", got, "the same columns"))
        return rewindowed(source, source.series, 1)

    def _threshold(self, causal: bool) -> Threshold:
        self._check_fitted()
        return self.causal_threshold_ if causal else self.threshold_

    def _p(self, anomaly_scores: Doubles, causal: bool) -> Doubles:
        found = p_values(self.causal_calibration_ if causal else self.calibration_, anomaly_scores)
        found[np.isnan(anomaly_scores)] = np.nan
        return found
