"""Metrics of anomaly detection: how well anomaly scores rank anomalies above normal rows, and false-alarm rates.

All take `labels` `(rows,)`, 1 for an anomaly and 0 for a normal row, and one number for each row: `anomaly_scores`,
higher is more anomalous, or `alarms`, 1 or True for an alarm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus.errors import DataError, check_integer, check_number, explain
from isthmus.metrics.arrays import pair
from isthmus.typing import Array


def auroc(labels: Any, anomaly_scores: Any) -> float:
    """Return the probability that an anomaly has a higher anomaly score than a normal row; a tie counts one half.

    The area under the ROC curve, in [0, 1]: 0.5 for random scores, higher is better.

    Args:
        labels: `(rows,)`, 1 for an anomaly.
        anomaly_scores: `(rows,)`, higher is more anomalous.

    Raises:
        DataError: for labels of one class only, and values that are not finite.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
        0.875
    """
    return float(roc_auc_score(*labelled(labels, anomaly_scores)))


def average_precision(labels: Any, anomaly_scores: Any) -> float:
    """Return the area under the curve of precision over recall, ``sum_n (R_n - R_(n-1)) P_n`` over all thresholds.

    In [0, 1]: the share of anomalies for random scores, higher is better.

    Args:
        labels: `(rows,)`, 1 for an anomaly.
        anomaly_scores: `(rows,)`, higher is more anomalous.

    Raises:
        DataError: as `auroc`.

    Example:
        >>> average_precision([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8])
        0.833
    """
    return float(average_precision_score(*labelled(labels, anomaly_scores)))


def precision_at_k(labels: Any, anomaly_scores: Any, k: int | None = None) -> float:
    """Return the share of anomalies among the k rows with the highest anomaly scores.

    Ties at the last place count by their expectation over all orders.

    Args:
        labels: `(rows,)`, 1 for an anomaly.
        anomaly_scores: `(rows,)`, higher is more anomalous.
        k: number of rows; by default the number of anomalies, for which precision equals recall.

    Raises:
        DataError: as `auroc`, and for more rows than there are.

    Example:
        >>> precision_at_k([0, 1, 1, 0], [0.1, 0.9, 0.5, 0.5])
        0.75
    """
    truth, scores = labelled(labels, anomaly_scores)
    k = int(truth.sum()) if k is None else k
    check_integer("k", k)
    if k > len(truth):
        raise DataError("k: " + explain(f"at most {len(truth)}, the number of rows", str(k), "a smaller one"))
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, level = scores > last, scores == last
    share = float(truth[level].mean())
    return (float(truth[above].sum()) + (k - int(above.sum())) * share) / k


def false_alarm_rate(labels: Any, alarms: Any) -> float:
    """Return the share of normal rows with an alarm, in [0, 1].

    `binomial_interval` and `beta_binomial_interval` give the counts that are compatible with a guaranteed rate.

    Args:
        labels: `(rows,)`, 1 for an anomaly; all may be 0.
        alarms: `(rows,)`, 1 for an alarm.

    Raises:
        DataError: without normal rows, and for values other than 0 and 1.

    Example:
        >>> false_alarm_rate([0, 0, 0, 0, 1], [0, 1, 0, 0, 1])
        0.25
    """
    truth, raised = pair(("labels", "alarms"), labels, alarms)
    truth, raised = binary("labels", truth), binary("alarms", raised)
    if truth.all():
        raise DataError("labels: " + explain("at least one normal row (0)", "none", "passing normal rows too"))
    return float(raised[~truth].mean())


def binomial_interval(rows: int, rate: float, level: float = 0.99) -> tuple[int, int]:
    """Return the interval of the number of alarms among `rows` normal rows if each is an alarm with probability `rate`.

    The quantiles (1 - level)/2 and (1 + level)/2 of the binomial distribution, both included, so that the count lies
    within with a probability of at least `level`. This is for a fixed threshold; for one that depends on a random
    calibration set there is `beta_binomial_interval`.

    Args:
        rows: normal rows that the threshold was not fitted on.
        rate: the false-alarm rate.
        level: the probability that the count lies within.

    Raises:
        RecipeError: for a rate or level outside (0, 1], and for 0 rows.

    Example:
        >>> binomial_interval(1000, 0.01)
        (3, 19)
    """
    _check(rows, rate, level)
    low, high = stats.binom.interval(level, rows, rate)
    return int(low), int(high)


def beta_binomial_interval(rows: int, alpha: float, calibration_rows: int, level: float = 0.99) -> tuple[int, int]:
    """Return the interval of the number of alarms among `rows` normal rows under a conformal threshold.

    A row is an alarm if ``p = (1 + #{calibration rows at least as anomalous}) / (1 + n) <= alpha``. Over the draw
    of n calibration rows, the rate of false alarms is Beta(k, n + 1 - k) with ``k = floor(alpha (n + 1))``, so the
    count is beta-binomial: the rate is at most alpha on average over calibration sets. Scores without ties.

    Args:
        rows: normal rows that are exchangeable with the calibration rows.
        alpha: the guaranteed false-alarm rate.
        calibration_rows: n.
        level: the probability that the count lies within.

    Raises:
        RecipeError: as `binomial_interval`.

    Example:
        >>> beta_binomial_interval(1000, 0.01, calibration_rows=999)
        (1, 24)
        >>> beta_binomial_interval(1000, 0.01, calibration_rows=50)  # too few: there is never an alarm
        (0, 0)

    Paper: Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 2023,
    https://arxiv.org/abs/2104.08279.
    """
    _check(rows, alpha, level)
    check_integer("calibration_rows", calibration_rows)
    # 0.01 * 100 may be a little below 1.
    k = math.floor(alpha * (calibration_rows + 1) * (1 + 1e-12))
    if k == 0 or k > calibration_rows:
        return (0, 0) if k == 0 else (rows, rows)
    low, high = stats.betabinom.interval(level, rows, k, calibration_rows + 1 - k)
    return int(low), int(high)


def labelled(labels: Any, anomaly_scores: Any) -> tuple[Array, Array]:
    """Return labels as booleans and anomaly scores as float64, both `(rows,)`.

    Raises:
        DataError: for labels other than 0 and 1 or of one class only, and values that are not finite.

    Example:
        >>> labelled([0, 1], [0.5, 2])
        (array([False,  True]), array([0.5, 2. ]))
    """
    truth, scores = pair(("labels", "anomaly_score"), labels, anomaly_scores)
    truth = binary("labels", truth)
    if truth.all() or not truth.any():
        only = "only anomalies (1)" if truth.all() else "only normal rows (0)"
        raise DataError("labels: " + explain("anomalies and normal rows", only, "leaving such a set out"))
    return truth, scores


def binary(where: str, values: Array) -> Array:
    """Return zeros and ones `(rows,)` as booleans.

    >>> binary("alarms", np.array([0.0, 1.0]))
    array([False,  True])
    """
    if values.ndim != 1:
        raise DataError(f"{where}: " + explain("one value for each row", f"shape {values.shape}", "values.ravel()"))
    other = (values != 0) & (values != 1)
    if other.any():
        row = int(other.argmax())
        raise DataError(f"{where}: " + explain("0 and 1", f"{values[row]:g} at row {row}", "(values == anomaly)"))
    return values.astype(bool)


def _check(rows: int, rate: float, level: float) -> None:
    check_integer("rows", rows)
    check_number("rate", rate, 0.0, 1.0, open_low=True)
    check_number("level", level, 0.0, 1.0, open_low=True)
