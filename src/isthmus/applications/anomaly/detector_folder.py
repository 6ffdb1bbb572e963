"""What an `AnomalyDetector`'s folder holds, and the detector that it is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from isthmus.applications import folder
from isthmus.applications.anomaly.attribution import ReferenceErrors, owners
from isthmus.applications.anomaly.drift import Reference
from isthmus.applications.anomaly.ensemble import Ensemble
from isthmus.applications.anomaly.thresholds import Threshold, check_threshold, stored_calibration

if TYPE_CHECKING:
    from isthmus.applications.anomaly.detector import AnomalyDetector

Detector = TypeVar("Detector", bound="AnomalyDetector")

# The name in a folder's manifest, and the parameters in its settings.
KIND = "anomaly_detector"
_SETTINGS = ("scores", "threshold", "alpha", "training_contamination", "calibration_fraction")


def stored_of(detector: AnomalyDetector) -> folder.Stored:
    """Return what is saved of a fitted detector."""
    parts, arrays = detector.ensemble_.state()
    parameters = {name: getattr(detector, name) for name in _SETTINGS}
    settings: dict[str, Any] = {
        "settings": {**parameters, "scores": list(detector.ensemble_.kinds)},
        "threshold": detector.threshold_.to_dict(),
        "parts": parts,
    }
    arrays["calibration"] = detector.calibration_
    arrays |= detector.reference_errors_.state()
    if detector.reference_ is not None:
        arrays |= detector.reference_.state()
    schema = detector.estimators_[0].schema_
    sentences = (f"Rows: {schema.describe()}.", f"Threshold: {detector.threshold_.describe()}.")
    usage = ("detector", "alarms = detector.alarms(X)")
    text = folder.card("An isthmus anomaly detector", sentences, settings["settings"], usage)
    return folder.Stored(KIND, settings, arrays, detector.estimators_, text)


def restored(detector: Detector, stored: folder.Stored) -> Detector:
    """Return an unfitted detector with all that a folder holds of a fitted one."""
    parameters = {name: stored.settings["settings"][name] for name in _SETTINGS}
    parameters["scores"] = tuple(parameters["scores"])
    detector.set_params(recipe=[member.recipe_ for member in stored.estimators], n_estimators=1, **parameters)
    detector.check_settings()
    detector.estimators_ = stored.estimators
    arrays = stored.arrays
    detector.calibration_ = stored_calibration(arrays["calibration"])
    threshold = Threshold.from_dict(stored.settings["threshold"])
    detector.threshold_ = check_threshold(threshold, detector.calibration_)
    inferences = [member.inference() for member in stored.estimators]
    detector.ensemble_ = Ensemble.restore(inferences, stored.settings["parts"], arrays)
    schema = stored.estimators[0].schema_
    detector.reference_errors_ = ReferenceErrors.restore(arrays, owners(schema))
    detector.reference_ = Reference.restore(arrays, int(np.prod(schema.row)))
    detector.set_attributes()
    return detector
