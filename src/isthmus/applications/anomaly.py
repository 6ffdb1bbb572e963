"""`AnomalyDetector`: rows unlike the training rows, with a promise on false alarms and a reason for each alarm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError

from isthmus.advice import advise
from isthmus.data.opening import open_source
from isthmus.data.reading import NONE, Reading
from isthmus.data.source import Numbers, Source
from isthmus.delivery import deliver
from isthmus.detection.ensemble import Ensemble
from isthmus.detection.scores import Doubles, kinds_of
from isthmus.detection.splitting import calibration_rows, halves
from isthmus.detection.thresholds import (
    KINDS,
    Bits,
    Threshold,
    check_level,
    false_discoveries,
    find_threshold,
    p_values,
    warn_of_few,
)
from isthmus.errors import check_choice, check_integer, check_number
from isthmus.estimator import Autoencoder, as_recipe
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.together import fit_together
from isthmus.verbs import seed_of

# Training rows that scores are fitted on, at most, spread evenly.
_FITTED = 50_000
# What is not measured by `advise`, by kind of row.
_STARTS = {"series": "denoising", "tokens": "autoencoder", "ratings": "denoising"}

File = str | Path | None


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Find rows that are unlike the training rows, which should be normal ones.

    Part of the rows is set aside for calibration before anything is fitted. Autoencoders learn the others; several
    kinds of score of theirs, each on the scale of the training rows, are averaged to one strangeness; and the
    calibration rows decide above which strangeness a row is an alarm, so that of new normal rows at most `alpha` become
    alarms, whatever the model and the data, as long as new normal rows are drawn like the old ones.

    A row has the same score to the bit in any batch, alone, and after saving and loading.

    Args:
        recipe: an autoencoder for any kind of row: a `Recipe`, a preset's name, the path of a JSON file; "auto" for
            what `isthmus.advise(X, "detect")` proposes, or a sequence of recipes for an ensemble of different ones.
        scores: kinds of score, which are averaged: "reconstruction" (squared error), "noisy" (the same, seen through
            noise), "likelihood", "bound" (nats; importance-weighted), "neighbours" and "mahalanobis" (distances of
            codes).
        members: autoencoders for each recipe, which differ by their seed and are trained together.
        threshold: "conformal" (with the promise above), "pot" (a tail fitted to the calibration rows, for levels
            beyond their reach), "quantile", or "contamination" (alpha is the share of anomalies that is expected).
        alpha: the rate of false alarms.
        trim: share of the rows that may be anomalies themselves: the strangest are left out, as two autoencoders see
            them that have each learned the other half of the rows. The promise is then as good as this share.
        calibration_fraction: share of the rows that is set aside; "auto" is a fifth, of rows beyond 10,000 a half.
        random_state: seed of everything.
        verbose: whether training shows its progress.

    Attributes:
        members_: the fitted autoencoders.
        ensemble_: their fitted scores.
        calibration_: strangeness of the calibration rows, in rising order.
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

    members_: list[Autoencoder]
    ensemble_: Ensemble
    calibration_: Doubles
    threshold_: Threshold

    def __init__(
        self,
        recipe: Recipe | str | Path | Sequence[Recipe | str] = "auto",
        *,
        scores: str | Sequence[str] = ("reconstruction", "neighbours"),
        members: int = 1,
        threshold: str = "conformal",
        alpha: float = 0.01,
        trim: float = 0.0,
        calibration_fraction: float | str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.scores = scores
        self.members = members
        self.threshold = threshold
        self.alpha = alpha
        self.trim = trim
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
        kinds = self._checked()
        seed = 0 if self.random_state is None else seed_of(self.random_state)
        source = open_source(X, missing=True)
        recipes = self._recipes(source, seed)
        aside = calibration_rows(source, self.calibration_fraction, self.alpha, seed)
        trimmed = self._trimmed(recipes, X, aside, kinds, condition, seed) if self.trim else NONE
        out = np.union1d(aside, trimmed)
        members = fit_together(recipes, X, condition=condition, aside=out, verbose=self.verbose)
        reading = members[0].reading(X, condition)
        self._become(members, kinds, _training_rows(reading, out), seed)
        self._calibrate(reading.whole(aside))
        return self

    def _checked(self) -> tuple[str, ...]:
        check_integer("members", self.members, 1)
        check_choice("threshold", self.threshold, list(KINDS))
        check_level("alpha", self.alpha)
        check_number("trim", self.trim, 0.0, 0.5)
        if self.calibration_fraction != "auto":
            check_level("calibration_fraction", self.calibration_fraction)
        return kinds_of(self.scores)

    def _recipes(self, source: Source, seed: int) -> list[Recipe]:
        """Return a recipe for each member."""
        several = isinstance(self.recipe, Sequence) and not isinstance(self.recipe, str)
        asked: Sequence[Any] = self.recipe if several else [self.recipe]  # type: ignore[assignment]
        found: list[Recipe] = []
        for one in asked:
            recipe = default_recipe(source) if isinstance(one, str) and one == "auto" else as_recipe(one)
            for _ in range(self.members):
                found.append(recipe.replace({"training.seed": derive(seed, "member", len(found))}))
        return found

    def _trimmed(
        self, recipes: Sequence[Recipe], X: Any, aside: Numbers, kinds: Sequence[str], condition: Any, seed: int
    ) -> Numbers:
        """Return the numbers of the training rows that are strangest to autoencoders that have not seen them."""
        rows, strangeness = [], []
        source = open_source(X, missing=True)
        for learned, judged in halves(len(source), aside, seed):
            member = fit_together(recipes[:1], X, condition=condition, aside=np.union1d(aside, judged))[0]
            reading = member.reading(X, condition)
            ensemble = Ensemble.fit([member.inference()], kinds, reading.whole(learned[-_FITTED:]), seed)
            rows.append(judged)
            strangeness.append(np.concatenate([ensemble.strangeness(batch) for batch in _parts(reading, judged)]))
        numbers, found = np.concatenate(rows), np.concatenate(strangeness)
        count = int(self.trim * len(numbers))
        return np.sort(numbers[np.argsort(-found, kind="stable")[:count]])

    def _become(self, members: list[Autoencoder], kinds: Sequence[str], training: Batch, seed: int) -> None:
        self.members_ = members
        self.ensemble_ = Ensemble.fit([member.inference() for member in members], kinds, training, seed)
        self._describe()

    def _describe(self) -> None:
        """Set what scikit-learn asks a fitted detector for."""
        first = self.members_[0]
        self.n_features_in_ = first.n_features_in_
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _calibrate(self, rows: Batch) -> None:
        calibration = np.sort(self.ensemble_.strangeness(rows))
        self.calibration_ = calibration[: len(calibration) - int(self.trim * len(calibration))]
        self.threshold_ = find_threshold(self.calibration_, self.threshold, self.alpha)
        warn_of_few(self.threshold_, "a larger alpha, a larger calibration_fraction, or more rows")

    # ---- use ---------------------------------------------------------------------------------------------------

    @property
    def offset_(self) -> float:
        """Minus the threshold on strangeness, which `decision_function` subtracts."""
        self._check_fitted()
        return -self.threshold_.value

    def score_samples(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return how normal each row is, `(rows,)`, float64: minus the strangeness, about 0 for a typical row.

        The strangeness is the average over members and kinds of score of ``(f(s) - median) / spread``, both of the
        training rows, where s is a row's score and f the logarithm, or the identity for a score in nats.

        Args:
            X: rows, as in `fit`.
            condition: as in `fit`.
            out: a file to write to, block by block.
            overwrite: whether a file that is there may be replaced.

        Raises:
            DataError: for rows unlike the training rows.
        """
        reading = self.reading(X, condition)
        blocks = (-found for found in self._strange(reading))
        return deliver(blocks, len(reading), (out, overwrite), ["score"])

    def decision_function(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return `score_samples` less `offset_`, `(rows,)`: negative for alarms."""
        found: Doubles = self.score_samples(X, condition=condition) - self.offset_
        return found

    def predict(self, X: Any, *, condition: Any = None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return -1 for alarms and 1 for other rows, `(rows,)`."""
        return np.where(self.decision_function(X, condition=condition) < 0, -1, 1)

    def p_values(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return conformal p-values, `(rows,)`: for a new normal row p <= a has a probability of at most a."""
        return p_values(self.calibration_, self._strangeness(X, condition))

    def alarms(self, X: Any, *, fdr: float | None = None, condition: Any = None) -> Bits:
        """Return which rows are alarms, `(rows,)`.

        Args:
            X: rows, as in `fit`.
            fdr: None for the threshold; else the share of false alarms among the alarms of this very batch, which
                Benjamini and Hochberg's procedure keeps on average for independent rows.
            condition: as in `fit`.
        """
        strangeness = self._strangeness(X, condition)
        if fdr is None:
            return strangeness > self.threshold_.value
        return false_discoveries(p_values(self.calibration_, strangeness), fdr)

    def reading(self, X: Any, condition: Any = None) -> Reading:
        """Return rows that are like the training rows, ready to be encoded."""
        self._check_fitted()
        return self.members_[0].reading(X, condition)

    def _strange(self, reading: Reading) -> Iterator[Doubles]:
        for batch in reading.batches():
            yield self.ensemble_.strangeness(batch)

    def _strangeness(self, X: Any, condition: Any = None) -> Doubles:
        return np.concatenate(list(self._strange(self.reading(X, condition))))

    def _check_fitted(self) -> None:
        if not hasattr(self, "threshold_"):
            raise NotFittedError("this AnomalyDetector is not fitted yet; try detector.fit(X), or isthmus.load(path)")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "threshold_")


def default_recipe(source: Source) -> Recipe:
    """Return the recipe for rows of a source: what `advise` measures, or a start for rows that it does not measure.

    Nothing is held out for validation, as the last epoch is kept and calibration rows are set aside anyway.
    """
    recipe = as_recipe(_STARTS[source.kind]) if source.kind in _STARTS else advise(source, "detect").recipe
    return recipe.replace({"training.validation_fraction": 0.0, "training.patience": None})


def _training_rows(reading: Reading, out: Numbers) -> Batch:
    """Return the encoded rows that are not left out; of many, so many that are spread evenly."""
    rows = np.delete(np.arange(len(reading)), out)
    if len(rows) > _FITTED:
        rows = rows[np.linspace(0, len(rows) - 1, _FITTED).astype(np.int64)]
    return reading.whole(rows)


def _parts(reading: Reading, rows: Numbers) -> Iterator[Batch]:
    for start in range(0, len(rows), _FITTED):
        yield reading.whole(rows[start : start + _FITTED])
