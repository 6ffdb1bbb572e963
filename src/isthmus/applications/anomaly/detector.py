"""`AnomalyDetector`: rows unlike the training rows, a guaranteed false-alarm rate, and explanations of alarms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from isthmus.applications import folder
from isthmus.applications.anomaly.attribution import ReferenceErrors
from isthmus.applications.anomaly.base import Detector, open_once
from isthmus.applications.anomaly.calibration import calibration_rows, training_rows
from isthmus.applications.anomaly.contamination import most_anomalous, two_halves
from isthmus.applications.anomaly.defaults import member_recipes
from isthmus.applications.anomaly.description import describe_detector
from isthmus.applications.anomaly.detector_folder import KIND, restored, stored_of
from isthmus.applications.anomaly.drift import Drift, Reference, compare
from isthmus.applications.anomaly.ensemble import Ensemble
from isthmus.applications.anomaly.explanation import Explanation, explain_rows
from isthmus.applications.anomaly.images.heatmap import heat_maps
from isthmus.applications.anomaly.increment import learn_increment
from isthmus.applications.anomaly.scores import score_types
from isthmus.applications.anomaly.thresholds import (
    KINDS,
    check_level,
    false_discoveries,
    find_threshold,
    p_values,
    warn_of_few,
)
from isthmus.applications.contract import Description
from isthmus.data.arrays import check_values
from isthmus.data.encoded import EncodedRows
from isthmus.data.in_memory import ArrayRows
from isthmus.data.open import open_source
from isthmus.data.series.windows import SeriesWindows
from isthmus.errors import DataError, check_choice, check_integer, check_number, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.estimator.joint import fit_ensemble
from isthmus.estimator.methods import seed_of
from isthmus.estimator.results import collect
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.typing import Booleans, Doubles

File = str | Path | None


class AnomalyDetector(Detector):
    """Find rows that are unlike the training rows, which should be normal ones.

    Part of the rows are calibration rows, chosen before anything is fitted. Autoencoders learn the others; several
    score types of theirs, each on the scale of the training rows, are averaged to one anomaly score; and the
    calibration rows decide above which anomaly score a row is an alarm, so that of new normal rows at most `alpha`
    become alarms, whatever the model and the data, as long as new normal rows are drawn like the old ones.

    A row has the same score to the bit in any batch, alone, and after saving and loading.

    Args:
        recipe: an autoencoder for any kind of row: a `Recipe`, a preset's name, the path of a JSON file; "auto" for
            what `isthmus.advise(X, "detect")` proposes, or a sequence of recipes for an ensemble of different ones.
        scores: score types, which are averaged: "reconstruction" (squared error), "noisy" (the same, seen through
            noise), "likelihood", "bound" (nats; importance-weighted), "neighbours" and "mahalanobis" (distances of
            codes); "auto" for those that measured best (`isthmus.applications.anomaly.scores.default_score_types`).
        n_estimators: autoencoders for each recipe, which differ by their seed and are trained together.
        threshold: "conformal" (with the guarantee above), "pot" (a tail fitted to the calibration rows, for levels
            beyond their reach), "quantile", or "contamination" (alpha is the share of anomalies that is expected).
        alpha: the rate of false alarms.
        training_contamination: share of the rows that are taken for anomalies themselves: the most anomalous are left
            out, as two autoencoders see them that have each learned the other half of the rows, and so are the most
            anomalous calibration rows. The guarantee is as good as this share: if there are fewer anomalies, or they
            are not the most anomalous, up to so many more normal rows become alarms.
        calibration_fraction: share of the rows that calibrate; "auto" is a fifth, of rows beyond 10,000 a half.
        random_state: seed of everything.
        verbose: whether training shows its progress.

    Attributes:
        estimators_: the fitted autoencoders.
        ensemble_: their fitted scores.
        calibration_: anomaly score of the calibration rows, in rising order.
        threshold_: the `Threshold`.
        offset_: minus its value; a row is an alarm if ``score_samples(X) < offset_``.

    Example:
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector
        >>> rows = np.random.default_rng(0).normal(size=(400, 4))
        >>> rows[:, 3] = rows[:, 0] + rows[:, 1]
        >>> detector = AnomalyDetector("denoising", alpha=0.05, random_state=0).fit(rows)
        >>> detector.predict([[0, 0, 0, 0], [2, 2, 0, -4]]).tolist()
        [1, -1]
    """

    estimators_: list[Autoencoder]
    ensemble_: Ensemble
    calibration_: Doubles
    reference_: Reference | None
    reference_errors_: ReferenceErrors

    def __init__(
        self,
        recipe: Recipe | str | Path | Sequence[Recipe | str] = "auto",
        *,
        scores: str | Sequence[str] = "auto",
        n_estimators: int = 1,
        threshold: str = "conformal",
        alpha: float = 0.01,
        training_contamination: float = 0.0,
        calibration_fraction: float | str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.scores = scores
        self.n_estimators = n_estimators
        self.threshold = threshold
        self.alpha = alpha
        self.training_contamination = training_contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, condition: Any = None) -> Self:
        """Learn normal rows, and find the threshold.

        Args:
            X: rows, as in `Autoencoder.fit`.
            y: ignored; it is there for scikit-learn.
            condition: for a conditional recipe.

        Raises:
            RecipeError: for settings out of range, and a recipe that does not fit the data.
            DataError: for data that cannot be used.
        """
        self.check_settings()
        seed = 0 if self.random_state is None else seed_of(self.random_state)
        source = open_once(X)
        kinds = score_types(self.scores, source.kind)
        calibration = calibration_rows(
            source, self.calibration_fraction, self._level, seed, self.training_contamination
        )
        recipes = member_recipes(self.recipe, self.n_estimators, source, calibration, seed)
        if source is not X and isinstance(source, ArrayRows) and recipes[0].missing != "mask":
            check_values(source.values, source.names)  # NaN could not be refused before the recipe was known
        out = calibration
        if self.training_contamination:
            judged = two_halves(recipes[0], kinds, source, len(source), calibration, condition, seed)
            out = np.union1d(calibration, most_anomalous(*judged, self.training_contamination))
        members = fit_ensemble(recipes, source, condition=condition, excluded=out, verbose=self.verbose)
        encoded = members[0].encoded_rows(source, condition)
        self._become(members, kinds, training_rows(encoded, out), seed)
        self._calibrate(encoded.whole(calibration))
        return self

    @property
    def _level(self) -> float | None:
        """The level that decides how many rows calibrate; a tail and a quantile take a fifth."""
        return self.alpha if self.threshold == "conformal" else None

    def check_settings(self) -> None:
        """Raise `RecipeError` for settings out of range."""
        check_integer("n_estimators", self.n_estimators, 1)
        check_choice("threshold", self.threshold, list(KINDS))
        check_level("alpha", self.alpha)
        check_number("training_contamination", self.training_contamination, 0.0, 0.5)
        if self.calibration_fraction != "auto":
            check_level("calibration_fraction", self.calibration_fraction)
        score_types(self.scores)

    def _become(self, members: list[Autoencoder], kinds: Sequence[str], training: Batch, seed: int) -> None:
        self.estimators_ = members
        self.ensemble_ = Ensemble.fit([member.inference() for member in members], kinds, training, seed)
        named = members[0].schema_.kind in ("table", "vector")
        self.reference_ = Reference.of(training) if named else None
        self.reference_errors_ = ReferenceErrors.fit(self.ensemble_.members, training)
        self.__dict__.pop("_recent", None)
        self.set_attributes()

    def set_attributes(self) -> None:
        """Set what scikit-learn asks a fitted detector for."""
        first = self.estimators_[0]
        self.n_features_in_ = first.n_features_in_
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _calibrate(self, rows: Batch) -> None:
        calibration = np.sort(self.ensemble_.anomaly_scores(rows))
        self.calibration_ = calibration[: len(calibration) - int(self.training_contamination * len(calibration))]
        found = find_threshold(self.calibration_, self.threshold, self.alpha)
        self.threshold_ = dataclasses.replace(found, training_contamination=float(self.training_contamination))
        warn_of_few(self.threshold_, "a larger alpha, a larger calibration_fraction, or more rows")

    def partial_fit(self, X: Any, y: Any = None, *, condition: Any = None) -> Self:
        """Learn one more batch of rows, and find the threshold anew.

        The first call decides what a row is, as `fit` would. Of each call a share of the rows calibrates; scores and
        threshold are fitted again on the rows of the last calls (at most 20,000 of each kind), as the autoencoders now
        see them, less the `training_contamination` most anomalous of the calibration rows; no other rows are left out.
        These rows are kept in memory and not saved: a loaded detector starts with those of its next call.

        Args:
            X: rows, as in `fit`.
            y: ignored; it is there for scikit-learn.
            condition: as in `fit`.

        Raises:
            DataError: for rows unlike those of the first call, and for series, whose windows overlap between calls.
        """
        self.check_settings()
        seed = 0 if self.random_state is None else seed_of(self.random_state)
        known = self.estimators_[0].schema_ if hasattr(self, "estimators_") else None
        source = open_source(X, like=known, missing=True)
        if isinstance(source, SeriesWindows):
            raise DataError("partial_fit: " + explain("rows that do not overlap", "windows of series", "fit"))
        kinds = score_types(self.scores, source.kind)
        calls = getattr(self, "calls_", 0)
        drawn = derive(seed, "call", calls)
        held = calibration_rows(source, self.calibration_fraction, self._level, drawn, self.training_contamination)
        members = getattr(self, "estimators_", None) or [
            Autoencoder(recipe) for recipe in member_recipes(self.recipe, self.n_estimators, source, held, seed)
        ]
        recent = getattr(self, "_recent", ((), ()))
        training, calibration = learn_increment(members, source, held, condition, recent)
        self._become(members, kinds, training, seed)
        self._recent, self.calls_ = ((training,), (calibration,)), calls + 1
        self._calibrate(calibration)
        return self

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_recent"}

    # ---- use ---------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return how normal each row is, `(rows,)`, float64: minus the anomaly score, about 0 for a typical row.

        The anomaly score is the average over members and kinds of score of ``log(s / median)``, where s is the row's
        score and the median that of the training rows: 1 is e times as anomalous as a typical row. A score in nats
        counts as ``(s - median) / spread`` (`isthmus.applications.anomaly.ensemble.Scale`).

        Args:
            X: rows, as in `fit`.
            condition: as in `fit`.
            out: a file to write to, block by block.
            overwrite: whether a file that is there may be replaced.

        Raises:
            DataError: for rows unlike the training rows.
        """
        encoded = self.encoded_rows(X, condition)
        blocks = (-found for found in self._score_blocks(encoded))
        return collect(blocks, len(encoded), (out, overwrite), ["score"])

    def decision_function(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return `score_samples` less `offset_`, `(rows,)`: negative for alarms."""
        found: Doubles = self.score_samples(X, condition=condition) - self.offset_
        return found

    def predict(self, X: Any, *, condition: Any = None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return -1 for alarms and 1 for other rows, `(rows,)`."""
        return np.where(self.decision_function(X, condition=condition) < 0, -1, 1)

    def p_values(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return conformal p-values, `(rows,)`: for a new normal row p <= a has a probability of at most a."""
        return p_values(self.calibration_, self._anomaly_scores(X, condition))

    def alarms(self, X: Any, *, fdr: float | None = None, condition: Any = None) -> Booleans:
        """Return which rows are alarms, `(rows,)`.

        Args:
            X: rows, as in `fit`.
            fdr: None for the threshold; else the share of false alarms among the alarms of this very batch, which
                Benjamini and Hochberg's procedure keeps on average for independent rows.
            condition: as in `fit`.
        """
        anomaly_scores = self._anomaly_scores(X, condition)
        if fdr is None:
            return anomaly_scores > self.threshold_.value
        return false_discoveries(p_values(self.calibration_, anomaly_scores), fdr)

    def drift(self, X: Any, *, condition: Any = None) -> Drift:
        """Return whether rows are still like those that were learned, on which the guarantee depends.

        Args:
            X: rows, as in `fit`; some hundreds at least.
            condition: as in `fit`.
        """
        encoded = self.encoded_rows(X, condition)
        batches = list(encoded.batches())
        stability = self.reference_.stability(batches, encoded.schema) if self.reference_ is not None else {}
        anomaly_scores = np.concatenate([self.ensemble_.anomaly_scores(batch) for batch in batches])
        return compare(self.calibration_, anomaly_scores, stability)

    def explain(self, X: Any, *, rows: Sequence[int] | None = None, condition: Any = None) -> Explanation:
        """Return why rows are anomalous: the parts of each with the value seen, the value expected, and a share.

        Of a table and of vectors the parts are columns, of images pixels, of series steps and channels; the shares of a
        row are not negative and sum to 1. `isthmus.applications.anomaly.attribution.attribute` says how they are found.

        Args:
            X: rows, as in `fit`.
            rows: numbers of the rows to explain, such as those of the alarms; None for all.
            condition: as in `fit`, for all rows of X.

        Returns:
            A sequence of one `RowExplanation` for each row, with `to_frame` and `sentences`.

        Raises:
            DataError: for rows unlike the training rows, and numbers of rows that are not there.

        Example:
            >>> import numpy as np
            >>> from isthmus import AnomalyDetector
            >>> rows = np.random.default_rng(0).normal(size=(400, 4))
            >>> rows[:, 3] = rows[:, 0] + rows[:, 1]
            >>> detector = AnomalyDetector("denoising", alpha=0.05, random_state=0).fit(rows)
            >>> reason = detector.explain([[0, 0, 0, 0], [2, 2, 9, 4]])[1]
            >>> reason.alarm, reason.parts[0].place
            (True, 'column 2')
        """
        return explain_rows(
            self.encoded_rows(X, condition),
            self.ensemble_,
            self.reference_errors_,
            self.calibration_,
            self.threshold_,
            rows,
        )

    def pixel_scores(self, X: Any, *, kind: str = "structure", condition: Any = None) -> Doubles:
        """Return the anomaly score of each pixel of images is, `(rows, height, width)`.

        See `isthmus.applications.anomaly.images.heatmap`.

        Args:
            X: rows, as in `fit`.
            kind: "structure" for 1 - SSIM around the pixel, "squared" for its squared error.
            condition: as in `fit`.

        Raises:
            RecipeError: for rows that are no images.
            DataError: for rows unlike the training rows.
        """
        batches = self.encoded_rows(X, condition).batches()
        return np.concatenate([heat_maps(self.ensemble_.members, batch, kind) for batch in batches])

    def describe(self) -> Description:
        """Return what the detector is: rows, score types, threshold and its guarantee."""
        self._check_fitted()
        return describe_detector("anomaly detector", self.estimators_, self.threshold_, self.ensemble_.kinds, "rows")

    def encoded_rows(self, X: Any, condition: Any = None) -> EncodedRows:
        """Return rows that are like the training rows, ready to be encoded."""
        self._check_fitted()
        return self.estimators_[0].encoded_rows(X, condition)

    def _score_blocks(self, encoded: EncodedRows) -> Iterator[Doubles]:
        for batch in encoded.batches():
            yield self.ensemble_.anomaly_scores(batch)

    def _anomaly_scores(self, X: Any, condition: Any = None) -> Doubles:
        return np.concatenate(list(self._score_blocks(self.encoded_rows(X, condition))))

    # ---- on disk -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the detector's folder, whole or not at all; see `isthmus.applications.folder`.

        Raises:
            ArtifactError: if `path` exists and `overwrite` is false, or holds something else.
        """
        self._check_fitted()
        return folder.save(stored_of(self), path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the detector that `save` wrote, with the same scores to the bit; `isthmus.load` does so, too.

        Raises:
            ArtifactError: if it is missing, damaged, incomplete or newer, or something else.
        """
        return folder.restore(path, KIND, lambda stored: restored(cls(), stored))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        return tags
