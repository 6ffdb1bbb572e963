"""What `isthmus detect` and `isthmus explain` do with rows that are scored one by one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.applications.anomaly import explanation_output
from isthmus.applications.anomaly.calibration import calibration_rows
from isthmus.applications.anomaly.defaults import default_recipe
from isthmus.applications.anomaly.detector import AnomalyDetector
from isthmus.applications.anomaly.explanation import Explanation
from isthmus.applications.anomaly.requests import FindRequest, FitRequest, place_of, refuse
from isthmus.applications.anomaly.results import DetectionResult, plain
from isthmus.console.inputs import read_labelled, read_training, read_with_condition
from isthmus.console.options import AUTO, changes_of
from isthmus.data.source import Source
from isthmus.estimator.autoencoder import as_recipe
from isthmus.estimator.methods import seed_of

# Parts of a row that are printed.
_PARTS = 12


def fit(request: FitRequest) -> AnomalyDetector:
    """Return a detector that has learned the rows of a request; misspelt names are refused before they are read."""
    detector = AnomalyDetector(
        scores=request.scores or "auto",
        n_estimators=request.n_estimators,
        threshold=request.threshold,
        alpha=request.alpha,
        training_contamination=request.training_contamination,
        random_state=request.seed,
        verbose=request.verbose,
    )
    changes = changes_of(list(request.settings))
    known = {name: as_recipe(name).replace(changes) for name in request.recipes if name != AUTO}
    source, condition = read_training(request.data, request.asked, request.condition, missing=True)
    if changes and AUTO in request.recipes:
        known[AUTO] = _advised(source, detector).replace(changes)
    detector.set_params(recipe=[known.get(name, name) for name in request.recipes])
    return detector.fit(source, condition=condition)


def _advised(source: Source, detector: AnomalyDetector) -> Any:
    """Return the default recipe, which must not depend on the calibration rows."""
    level = detector.alpha if detector.threshold == "conformal" else None
    calibration = calibration_rows(
        source,
        detector.calibration_fraction,
        level,
        seed_of(detector.random_state),
        detector.training_contamination,
    )
    return default_recipe(source, calibration)


def find(detector: AnomalyDetector, request: FindRequest) -> DetectionResult:
    """Return the anomalies among the rows of a request."""
    first = detector.estimators_[0]
    if request.labels is not None:
        source, labels = read_labelled(first, request.data, request.drop, request.labels)
        return DetectionResult(detector, source, None, request.fdr, request.most, labels)
    source, condition = read_with_condition(first, request.data, request.drop, request.condition)
    labels = getattr(source, "labels", None)
    return DetectionResult(detector, source, condition, request.fdr, request.most, labels)


def explain(detector: AnomalyDetector, request: FindRequest, row: int | None, interval: int | None) -> RowAnswer:
    """Return why a row of a request is anomalous."""
    refuse({"--interval": None if interval is None else str(interval)}, "rows that are not steps of series")
    found = find(detector, dataclasses.replace(request, most=1))
    row = place_of("--row", "a row", row or 0, len(found.source))
    return RowAnswer(detector.explain(found.source, rows=[row], condition=found.condition))


@dataclass(frozen=True)
class RowAnswer:
    """The explanation of one row, as `isthmus explain` shows it."""

    explanation: Explanation

    def write(self, path: Path) -> None:
        """Write a line for each part, or a picture."""
        explanation_output.write(self.explanation, path)

    def show(self) -> None:
        """Print a sentence and the parts with the largest shares."""
        explanation_output.show(self.explanation, _PARTS)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return plain(self.explanation[0], _PARTS)
