"""What autoencoders are good for: one file for each domain, and the table that names them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from isthmus.errors import ArtifactError, unknown_name

# The kind that a folder's manifest states, and the class that reads it.
APPLICATIONS = {
    "anomaly_detector": ("isthmus.applications.anomaly.detector", "AnomalyDetector"),
    "series_detector": ("isthmus.applications.anomaly.series.detector", "SeriesDetector"),
}


def load(path: str | Path) -> Any:
    """Return the model that was saved to a folder: an `Autoencoder`, or an application such as an `AnomalyDetector`.

    Raises:
        ArtifactError: if it is missing, damaged, incomplete or newer.
    """
    # Both need torch, which the list of commands does without.
    from isthmus.applications.folder import application_of
    from isthmus.estimator.autoencoder import load as load_autoencoder

    application = application_of(path)
    if application is None:
        return load_autoencoder(path)
    if application not in APPLICATIONS:
        raise ArtifactError(f"{str(path)!r}: " + unknown_name("application", application, APPLICATIONS))
    module, name = APPLICATIONS[application]
    return getattr(importlib.import_module(module), name).load(path)
