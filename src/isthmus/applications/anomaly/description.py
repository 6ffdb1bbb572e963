"""What a fitted detector is, as plain values and in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isthmus.applications.anomaly.thresholds import Threshold
from isthmus.applications.contract import Description
from isthmus.estimator.autoencoder import Autoencoder


def describe_detector(
    title: str, estimators: Sequence[Autoencoder], threshold: Threshold, score_types: Sequence[str], unit: str
) -> Description:
    """Return the description of a detector.

    Args:
        title: what it is.
        estimators: its fitted autoencoders.
        threshold: on its anomaly score.
        score_types: which it averages.
        unit: what has a score: "rows" or "steps".
    """
    first = estimators[0]
    facts = {
        "rows": first.schema_.describe(),
        "n_estimators": len(estimators),
        "scores": list(score_types),
        "training_rows": int(first.metrics_["training_rows"]),
        "threshold": threshold.to_dict(),
        "guarantee": threshold.describe(unit),
        "seconds": float(first.metrics_["seconds"]),
    }
    several = f"{len(estimators)} autoencoders" if len(estimators) > 1 else "one autoencoder"
    value = f"{threshold.value:.4g}" if math.isfinite(threshold.value) else "infinity, so that nothing is an alarm"
    sentences = (
        f"{facts['rows']}: {facts['training_rows']:,} training rows, {threshold.rows:,} calibration {unit}",
        f"{several}, scored by {' and '.join(score_types)}, {facts['seconds']:.1f} s",
        threshold.describe(unit),
        f"threshold on the anomaly score: {value}",
    )
    return Description(title, sentences, facts)
