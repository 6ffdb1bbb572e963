"""Training rows that may be anomalies themselves: the most anomalous, to models that have not learned them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.applications.anomaly.calibration import FITTED, halves, in_parts
from isthmus.applications.anomaly.ensemble import Ensemble
from isthmus.estimator.joint import fit_ensemble
from isthmus.recipe import Recipe
from isthmus.typing import Doubles, Integers


def two_halves(
    recipe: Recipe, score_types: Sequence[str], X: Any, count: int, calibration: Integers, condition: Any, seed: int
) -> tuple[Integers, Doubles]:
    """Return the numbers of the training rows and their anomaly scores, `(rows,)` each.

    Two autoencoders learn a half of the training rows each and score the other half.

    Args:
        recipe: of both.
        score_types: whose scores are averaged.
        X: all rows.
        count: their number.
        calibration: numbers of the rows that are not training rows.
        condition: of all rows, for a conditional recipe.
        seed: divides the rows.
    """
    rows, anomaly_scores = [], []
    for learned, judged in halves(count, calibration, seed):
        member = fit_ensemble([recipe], X, condition=condition, excluded=np.union1d(calibration, judged))[0]
        encoded = member.encoded_rows(X, condition)
        ensemble = Ensemble.fit([member.inference()], score_types, encoded.whole(learned[-FITTED:]), seed)
        rows.append(judged)
        anomaly_scores.append(np.concatenate([ensemble.anomaly_scores(batch) for batch in in_parts(encoded, judged)]))
    return np.concatenate(rows), np.concatenate(anomaly_scores)


def most_anomalous(numbers: Integers, anomaly_scores: Doubles, share: float) -> Integers:
    """Return the numbers of a share of the rows, those with the highest anomaly scores, in rising order.

    >>> most_anomalous(np.array([7, 8, 9, 10]), np.array([0.0, 5.0, 1.0, 9.0]), 0.5).tolist()
    [8, 10]
    """
    most = int(share * len(numbers))
    return np.sort(numbers[np.argsort(-anomaly_scores, kind="stable")[:most]])
