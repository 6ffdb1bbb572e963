"""isthmus: autoencoders for real data. The public names, each imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus import datasets, presets
    from isthmus.advice import advise
    from isthmus.applications import load
    from isthmus.applications.anomaly.detector import AnomalyDetector
    from isthmus.applications.anomaly.series.detector import SeriesDetector
    from isthmus.data.open import read
    from isthmus.errors import IsthmusError
    from isthmus.estimator.autoencoder import Autoencoder
    from isthmus.estimator.supervised import LatentClassifier, LatentRegressor
    from isthmus.recipe import Recipe, Training

__version__ = "0.1.0"
__all__ = [
    "AnomalyDetector",
    "Autoencoder",
    "IsthmusError",
    "LatentClassifier",
    "LatentRegressor",
    "Recipe",
    "SeriesDetector",
    "Training",
    "__version__",
    "advise",
    "datasets",
    "load",
    "presets",
    "read",
]

# Importing torch takes seconds, and `isthmus --help` needs none of it.
_HOMES = {
    "AnomalyDetector": "isthmus.applications.anomaly.detector",
    "Autoencoder": "isthmus.estimator.autoencoder",
    "IsthmusError": "isthmus.errors",
    "LatentClassifier": "isthmus.estimator.supervised",
    "LatentRegressor": "isthmus.estimator.supervised",
    "Recipe": "isthmus.recipe",
    "SeriesDetector": "isthmus.applications.anomaly.series.detector",
    "Training": "isthmus.recipe",
    "advise": "isthmus.advice",
    "load": "isthmus.applications",
    "read": "isthmus.data.open",
}


def __getattr__(name: str) -> Any:
    if name in ("datasets", "presets"):
        return importlib.import_module(f"isthmus.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}; the public names are {__all__}")


def __dir__() -> list[str]:
    return sorted(__all__)
