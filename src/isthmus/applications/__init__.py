"""What autoencoders are good for: one folder for each domain, and the table that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.applications.contract import Entry, resolve
from isthmus.errors import ArtifactError, unknown_name

_ANOMALY = "isthmus.applications.anomaly"

# By the name that a folder's manifest states. Applications may share commands.
APPLICATIONS = {
    "anomaly_detector": Entry(
        f"{_ANOMALY}.detector:AnomalyDetector", f"{_ANOMALY}.commands:COMMANDS", f"{_ANOMALY}.page:write_detection_page"
    ),
    "series_detector": Entry(
        f"{_ANOMALY}.series.detector:SeriesDetector",
        f"{_ANOMALY}.commands:COMMANDS",
        f"{_ANOMALY}.series.page:write_series_page",
    ),
}


def entry_of(path: str | Path) -> Entry | None:
    """Return the table's entry for the application that a folder holds; None for an autoencoder.

    Raises:
        ArtifactError: for an application that the table does not have.
    """
    from isthmus.applications.folder import application_of  # torch, which the list of commands does without

    application = application_of(path)
    if application is not None and application not in APPLICATIONS:
        raise ArtifactError(f"{str(path)!r}: " + unknown_name("application", application, APPLICATIONS))
    return None if application is None else APPLICATIONS[application]


def load(path: str | Path) -> Any:
    """Return the model that was saved to a folder: an `Autoencoder`, or an application such as an `AnomalyDetector`.

    Raises:
        ArtifactError: if it is missing, damaged, incomplete or newer.
    """
    from isthmus.estimator.autoencoder import load as load_autoencoder

    entry = entry_of(path)
    return load_autoencoder(path) if entry is None else resolve(entry.model).load(path)
