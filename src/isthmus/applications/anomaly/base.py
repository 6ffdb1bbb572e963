"""What detectors of rows and of series have in common as scikit-learn's outlier detectors."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError

from isthmus.applications.anomaly.thresholds import Threshold
from isthmus.data.open import open_source, warn_of
from isthmus.data.source import Source


class Detector(OutlierMixin, BaseEstimator):
    """A detector with a threshold on its anomaly score."""

    threshold_: Threshold

    @property
    def offset_(self) -> float:
        """Minus the threshold on the anomaly score, which `decision_function` subtracts."""
        self._check_fitted()
        return -self.threshold_.value

    def _check_fitted(self) -> None:
        # While it calibrates itself a detector has autoencoders and no threshold yet.
        if not hasattr(self, "estimators_"):
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted yet; try detector.fit(X), or isthmus.load(path)")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "threshold_")


def open_once(X: Any) -> Source:
    """Return rows opened once for all that is done with them, with a warning of what they are read as."""
    source = open_source(X, missing=True)
    warn_of(source, X)
    return source
