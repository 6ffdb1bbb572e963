"""Metrics of anomaly detection in series: VUS, range-based F1, and the point-adjusted F1.

All take `labels` `(steps,)`, 1 for a step within an anomaly, and `anomaly_scores` `(steps,)`, higher is more
anomalous, or `alarms` `(steps,)`. An anomalous range is a run of steps with label 1. Compute them for each series
separately: in concatenated series, a range would continue from one into the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isthmus.errors import check_choice, check_integer, check_number
from isthmus.metrics.arrays import finite, pair
from isthmus.metrics.detection import binary, labelled
from isthmus.seeds import derive
from isthmus.typing import Array

BIASES = ("flat", "front", "middle", "back")
CARDINALITIES = ("one", "reciprocal")


# ---- volume under the surface ----------------------------------------------------------------------------------------


def vus_pr(labels: Any, anomaly_scores: Any, *, buffer: int = 100) -> float:
    """Return the volume under the surface of precision and recall over thresholds and buffer lengths.

    Labels are made soft: with a buffer of length l, a step at a distance d <= l/2 from an anomalous range (from its
    nearest step) counts as ``sqrt(1 - d / l)`` of an anomaly, so that an alarm a little early or late is not wrong. At
    a threshold, with the alarms A and the soft labels y:

    - ``TP = sum_A y`` and ``P = (sum labels + sum y) / 2``,
    - ``recall = min(1, TP / P) * existence``, existence being the share of ranges (with their buffers; those that touch
      are one) that have an alarm, and ``precision = TP / #A``.

    The area is ``sum_n (recall_n - recall_(n-1)) precision_n`` over all thresholds, and the volume its mean over
    l = 0, 1, ..., buffer. In [0, 1], higher is better; a random score has about the share of anomalous steps.

    Args:
        labels: `(steps,)`, 1 within an anomaly.
        anomaly_scores: `(steps,)`, higher is more anomalous.
        buffer: the longest buffer L, in steps. The paper uses the period of the series (`period` estimates it);
            100 is common. Values with different L are not comparable.

    Raises:
        DataError: for labels of one class only, and values that are not finite.
        RecipeError: for a buffer that is no integer of 0 or more.

    Versions of the authors' code differ from this, and from each other, in details: 250 thresholds rather than all, the
    sum of the buffers where two ranges meet (here the greater label counts), straight lines between precisions.

    Example:
        >>> labels = [0, 0, 0, 1, 1, 0, 0, 0]
        >>> vus_pr(labels, [0, 0, 0, 1, 1, 0, 0, 0], buffer=0), vus_pr(labels, [0, 0, 0, 0, 1, 1, 0, 0], buffer=4)
        (1.0, 0.598)

    Paper: Paparrizos et al., Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly
    Detection, VLDB 2022, https://doi.org/10.14778/3551793.3551830.
    """
    return _volumes(labels, anomaly_scores, buffer)[1]


def vus_roc(labels: Any, anomaly_scores: Any, *, buffer: int = 100) -> float:
    """Return the volume under the surface of true and false alarm rates over thresholds and buffer lengths.

    The true alarm rate is the recall of `vus_pr`; the false alarm rate is ``(#A - TP) / (steps - P)``. The area is
    that under straight lines between thresholds, from (0, 0) to (1, 1). In [0, 1], higher is better; a random score
    has about 0.5, or less where ranges are many.

    Args:
        labels: `(steps,)`, 1 within an anomaly.
        anomaly_scores: `(steps,)`, higher is more anomalous.
        buffer: as in `vus_pr`.

    Raises:
        DataError: as `vus_pr`.
        RecipeError: as `vus_pr`.

    Example:
        >>> vus_roc([0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], buffer=0)
        1.0

    Paper: as `vus_pr`.
    """
    return _volumes(labels, anomaly_scores, buffer)[0]


def period(values: Any, *, least: int = 3, most: int = 400, otherwise: int = 125) -> int:
    """Return the period of a series in steps: the lag of the highest local maximum of its autocorrelation.

    The paper of `vus_pr` uses it as the longest buffer.

    Args:
        values: `(steps,)`, one channel.
        least: the shortest lag.
        most: the longest lag.
        otherwise: what is returned if no lag between the two is a local maximum.

    Raises:
        DataError: for values that are not finite.

    Example:
        >>> period(np.sin(np.arange(500) * 2 * np.pi / 25))
        25
    """
    series = finite("values", values).ravel()
    check_integer("least", least)
    check_integer("most", most, least)
    series = series - series.mean()
    size = 1 << (2 * len(series) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(series, size)) ** 2
    lags = np.fft.irfft(spectrum, size)[: min(most + 2, len(series))]
    inner = np.arange(max(1, least), len(lags) - 1)
    peaks = inner[(lags[inner] > lags[inner - 1]) & (lags[inner] >= lags[inner + 1])]
    return int(peaks[np.argmax(lags[peaks])]) if len(peaks) else otherwise


def _volumes(labels: Any, anomaly_scores: Any, buffer: int) -> tuple[float, float]:
    """Return the volumes under both surfaces: of ROC, of precision and recall."""
    truth, scores = labelled(labels, anomaly_scores)
    check_integer("buffer", buffer, 0)
    order = np.argsort(-scores, kind="stable")
    # The last step of each run of equal scores: an alarm for one of them is one for all.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    alarms = ends + 1.0
    rank = np.empty(len(scores), np.int64)
    rank[order] = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    distance = _distance(truth)
    roc, pr = [], []
    for length in range(buffer + 1):
        reach = length // 2
        inside = distance <= reach
        soft = np.where(inside, np.sqrt(1.0 - np.minimum(distance, reach) / max(length, 1)), 0.0)
        hits = np.cumsum(soft[order])[ends]
        positives = (truth.sum() + soft.sum()) / 2
        first = np.sort(_first(rank, inside))
        found = np.searchsorted(first, np.arange(len(ends)), side="right") / len(first)
        recall = np.minimum(1.0, hits / positives) * found
        pr.append(float(np.diff(recall, prepend=0.0) @ (hits / alarms)))
        false = (alarms - hits) / (len(truth) - positives)
        roc.append(float(np.trapezoid([0.0, *recall, 1.0], [0.0, *false, 1.0])))
    return float(np.mean(roc)), float(np.mean(pr))


def _first(rank: Array, inside: Array) -> Array:
    """Return for each run of `inside` the highest rank of its steps."""
    # Of every second segment: the others are between the runs. One more step, for a run that ends with the series.
    firsts: Array = np.minimum.reduceat(np.append(rank, len(rank)), _bounds(inside).ravel())[::2]
    return firsts


def _distance(truth: Array) -> Array:
    """Return how many steps each step is from the nearest anomalous one."""
    places = np.flatnonzero(truth)
    steps = np.arange(len(truth))
    after = np.searchsorted(places, steps)
    right = places[np.minimum(after, len(places) - 1)]
    left = places[np.maximum(after - 1, 0)]
    distance: Array = np.minimum(np.abs(right - steps), np.abs(steps - left))
    return distance


def _bounds(truth: Array) -> Array:
    """Return the first step of each run of ones and the step after its last, `(runs, 2)`."""
    edges = np.flatnonzero(np.diff(truth.astype(np.int8), prepend=0, append=0))
    bounds: Array = edges.reshape(-1, 2)
    return bounds


# ---- range-based F1 --------------------------------------------------------------------------------------------------


def range_f1(
    labels: Any, alarms: Any, *, existence: float = 0.0, bias: str = "flat", cardinality: str = "one", beta: float = 1.0
) -> float:
    """Return the F1 of ranges: how much of each anomalous range has an alarm, and of each range of alarms is anomalous.

    ``recall = mean over anomalous ranges R of  existence * [R has an alarm] + (1 - existence) * overlap(R, alarms)``,
    ``precision = mean over ranges of alarms A of  overlap(A, anomalous ranges)``, with ``overlap(R, .) = cardinality(k)
    * sum of the positional weights of R's steps that are covered / sum of all its weights``, k being how many ranges
    cover it. ``F = (1 + beta^2) precision recall / (beta^2 precision + recall)``, 0 without alarms. Each range has the
    same weight, whatever its length.

    Args:
        labels: `(steps,)`, 1 within an anomaly.
        alarms: `(steps,)`, 1 for an alarm.
        existence: weight, in [0, 1], of detecting a range at all (alpha in the paper); in recall only.
        bias: which steps of a range have more weight: "flat" (none), "front" (early steps), "middle", "back". For
            recall; precision is flat, as in the paper.
        cardinality: "one", or "reciprocal" for 1/k, where k is the number of pieces in which a range is detected.
        beta: weight of recall relative to precision.

    Raises:
        DataError: for labels without an anomaly or a normal step, and values other than 0 and 1.
        RecipeError: for another bias or cardinality, an existence outside [0, 1], a beta that is not positive.

    Example:
        >>> range_f1([0, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 1, 0])
        0.5

    Paper: Tatbul et al., Precision and Recall for Time Series, NeurIPS 2018, https://arxiv.org/abs/1803.03639.
    """
    check_number("existence", existence, 0.0, 1.0)
    check_number("beta", beta, 0.0, open_low=True)
    check_choice("bias", bias, BIASES)
    check_choice("cardinality", cardinality, CARDINALITIES)
    truth, raised = pair(("labels", "alarms"), labels, alarms)
    truth, _ = labelled(truth, raised)
    return _range_f(truth, binary("alarms", raised), existence, bias, cardinality, beta)


def best_range_f1(labels: Any, anomaly_scores: Any, *, thresholds: int = 200, **settings: Any) -> float:
    """Return the best `range_f1` over thresholds, which is an upper bound: no detector knows the best threshold.

    Args:
        labels: `(steps,)`, 1 within an anomaly.
        anomaly_scores: `(steps,)`, higher is more anomalous.
        thresholds: how many are tried, at even ranks of the upper half of the scores and closer towards the top.
        settings: `existence`, `bias`, `cardinality` and `beta` of `range_f1`.

    Raises:
        DataError: as `range_f1`.
        RecipeError: as `range_f1`, and for thresholds below 1.

    Example:
        >>> best_range_f1([0, 1, 1, 0, 0], [0.1, 0.7, 0.9, 0.2, 0.3])
        1.0
    """
    truth, scores = labelled(labels, anomaly_scores)
    check_integer("thresholds", thresholds)
    ordered = np.sort(scores)[::-1]
    # Alarms are few: numbers of them in a geometric row, from one to half of the steps.
    ranks = np.unique(np.geomspace(1, max(1, len(scores) // 2), thresholds).round().astype(np.int64)) - 1
    return max(range_f1(truth, scores >= level, **settings) for level in np.unique(ordered[ranks]))


def _range_f(truth: Array, raised: Array, existence: float, bias: str, cardinality: str, beta: float) -> float:
    if not raised.any():
        return 0.0
    precision = float(_overlaps(raised, truth, "flat", cardinality).mean())
    share = _overlaps(truth, raised, bias, cardinality)
    recall = float((existence * (share > 0) + (1 - existence) * share).mean())
    if precision == 0.0 or recall == 0.0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _overlaps(ranges: Array, others: Array, bias: str, cardinality: str) -> Array:
    """Return for each run of `ranges` the weighted share of its steps that `others` cover."""
    bounds = _bounds(ranges)
    sizes = bounds[:, 1] - bounds[:, 0]
    owner = np.repeat(np.arange(len(bounds)), sizes)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    weight = {
        "flat": np.ones(len(owner)),
        "front": sizes[owner] - place + 1.0,
        "middle": np.minimum(place, sizes[owner] - place + 1.0),
        "back": place.astype(np.float64),
    }[bias]
    covered = others[ranges]
    shares: Array = np.bincount(owner, weight * covered) / np.bincount(owner, weight)
    if cardinality == "reciprocal":
        # A piece begins where a covered step is the first of its range or follows one that is not covered.
        begins = covered & ((place == 1) | ~np.append(False, covered[:-1]))
        shares = shares / np.maximum(1, np.bincount(owner, begins))
    return shares


# ---- point-adjusted F1 -----------------------------------------------------------------------------------------------


class PointAdjusted(NamedTuple):
    """What `point_adjusted_f1` returns.

    Attributes:
        value: the point-adjusted F1 of the score, at its best threshold.
        random: that of random noise on the same labels, mean over draws, with which `value` has to be compared.
    """

    value: float
    random: float


def point_adjusted_f1(labels: Any, anomaly_scores: Any, *, draws: int = 5, random_state: int = 0) -> PointAdjusted:
    """Return the point-adjusted F1 at the best threshold, and that of random noise.

    An alarm at one step of an anomalous range counts as one at all of its steps; then ``F1 = 2 TP / (2 TP + FP + FN)``
    over steps, at the best of all thresholds. If ranges are long, random noise detects them too and is often better
    than published methods, so this number is never given alone.

    Args:
        labels: `(steps,)`, 1 within an anomaly.
        anomaly_scores: `(steps,)`, higher is more anomalous.
        draws: of uniform noise, over which its value is averaged.
        random_state: seed of the noise.

    Raises:
        DataError: as `vus_pr`.
        RecipeError: for draws below 1.

    Example:
        >>> labels = np.repeat([0, 1, 0], [800, 100, 100])
        >>> point_adjusted_f1(labels, np.arange(1000) == 850)
        PointAdjusted(value=1.0, random=0.96)

    Paper: Xu et al., Unsupervised Anomaly Detection via Variational Auto-Encoder for Seasonal KPIs, WWW 2018,
    https://arxiv.org/abs/1802.03903; a critique: Kim et al., Towards a Rigorous Evaluation of Time-series
    Anomaly Detection, AAAI 2022, https://arxiv.org/abs/2109.05257.
    """
    truth, scores = labelled(labels, anomaly_scores)
    check_integer("draws", draws)
    check_integer("random_state", random_state, 0)
    noise = (
        np.random.default_rng(derive(random_state, "point adjusted", draw)).random(len(truth)) for draw in range(draws)
    )
    return PointAdjusted(_adjusted(truth, scores), float(np.mean([_adjusted(truth, one) for one in noise])))


def _adjusted(truth: Array, scores: Array) -> float:
    """Return the best F1 over thresholds where each range has the highest score of its steps."""
    bounds = _bounds(truth)
    sizes = bounds[:, 1] - bounds[:, 0]
    highest = np.maximum.reduceat(np.append(scores, -np.inf), bounds.ravel())[::2]
    values = np.concatenate([scores[~truth], highest])
    weight = np.concatenate([np.zeros(int((~truth).sum())), sizes])
    count = np.concatenate([np.ones(int((~truth).sum())), sizes])
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    hits, alarms = np.cumsum(weight[order])[ends], np.cumsum(count[order])[ends]
    return float((2 * hits / (alarms + sizes.sum())).max())
