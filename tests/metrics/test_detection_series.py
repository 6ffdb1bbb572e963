"""Detection in series: fast formulas against literal loops over thresholds, buffers and ranges."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import (
    auroc,
    average_precision,
    best_range_f1,
    period,
    point_adjusted_f1,
    range_f1,
    vus_pr,
    vus_roc,
)

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=25).filter(
    lambda steps: len({label for label, _ in steps}) == 2
)


def intervals_of(values: list[bool] | np.ndarray) -> list[tuple[int, int]]:
    """Return the first and the last step of each run."""
    found, start = [], None
    for step, inside in enumerate([*values, False]):
        if inside and start is None:
            start = step
        elif not inside and start is not None:
            found.append((start, step - 1))
            start = None
    return found


def soft_labels(labels: list[bool], length: int) -> list[float]:
    soft = [float(label) for label in labels]
    for first, last in intervals_of(labels):
        for step in range(len(labels)):
            distance = max(first - step, step - last, 0)
            if 0 < distance <= length / 2:
                soft[step] = max(soft[step], math.sqrt(1 - distance / length))
    return soft


def slow_volumes(labels: list[bool], scores: list[float], buffer: int) -> tuple[float, float]:
    """Return the volumes, step by step as the paper writes them."""
    roc, pr = [], []
    for length in range(buffer + 1):
        soft = soft_labels(labels, length)
        ranges = intervals_of([value > 0 for value in soft])
        positives = (sum(labels) + sum(soft)) / 2
        curve, area = [(0.0, 0.0)], 0.0
        for level in sorted(set(scores), reverse=True):
            alarms = [step for step in range(len(labels)) if scores[step] >= level]
            hits = sum(soft[step] for step in alarms)
            existence = sum(any(first <= step <= last for step in alarms) for first, last in ranges) / len(ranges)
            recall = min(1.0, hits / positives) * existence
            area += (recall - curve[-1][1]) * hits / len(alarms)
            curve.append(((len(alarms) - hits) / (len(labels) - positives), recall))
        curve.append((1.0, 1.0))
        pr.append(area)
        roc.append(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(curve)))
    return float(np.mean(roc)), float(np.mean(pr))


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(0, 9))
def test_volumes_are_the_slow_ones(steps: list[tuple[bool, int]], buffer: int) -> None:
    labels, scores = (list(part) for part in zip(*steps, strict=True))
    roc, pr = slow_volumes(labels, scores, buffer)
    assert vus_roc(labels, scores, buffer=buffer) == pytest.approx(roc)
    assert vus_pr(labels, scores, buffer=buffer) == pytest.approx(pr)


def test_without_a_buffer_a_single_range_is_average_precision() -> None:
    """Existence is 1 from the first hit on."""
    labels = np.repeat([0, 1, 0], [30, 10, 20])
    scores = np.random.default_rng(0).random(60) + 0.3 * labels
    assert vus_pr(labels, scores, buffer=0) == pytest.approx(average_precision(labels, scores))
    assert vus_roc(labels, scores, buffer=0) == pytest.approx(auroc(labels, scores))


def test_a_score_that_comes_early_gains_by_the_buffer() -> None:
    labels = np.repeat([0, 1, 0], [100, 20, 200])
    early = np.roll(labels, -10).astype(float)
    wrong = np.roll(labels, -90).astype(float)
    assert vus_pr(labels, early, buffer=40) > vus_pr(labels, early, buffer=0) + 0.1
    assert vus_pr(labels, early, buffer=40) > vus_pr(labels, wrong, buffer=40) + 0.3
    assert vus_roc(labels, early, buffer=40) > vus_roc(labels, wrong, buffer=40) + 0.1


def test_a_random_score_has_about_the_share_of_anomalies() -> None:
    labels = np.repeat([0, 1, 0], [2000, 200, 1800])
    found = [vus_pr(labels, np.random.default_rng(seed).random(4000), buffer=20) for seed in range(5)]
    assert 0.04 < np.mean(found) < 0.07


def test_the_period_of_a_wave_with_noise() -> None:
    steps = np.arange(2000)
    wave = np.sin(steps * 2 * np.pi / 48) + 0.5 * np.random.default_rng(0).normal(size=2000) + 1000
    assert period(wave) == 48
    assert period(np.arange(50.0)) == 125 and period(np.arange(50.0), otherwise=7) == 7
    assert period(np.tile([0.0, 1.0], 100), least=3) == 4  # not 2


# ---- ranges ----------------------------------------------------------------------------------------------------------

WEIGHTS = {
    "flat": lambda place, size: 1,
    "front": lambda place, size: size - place + 1,
    "middle": lambda place, size: place if place <= size / 2 else size - place + 1,
    "back": lambda place, size: place,
}


def slow_range_f1(
    labels: list[bool], alarms: list[bool], existence: float, bias: str, cardinality: str, beta: float
) -> float:
    def overlap(one: tuple[int, int], others: list[tuple[int, int]], bias: str) -> float:
        touching = [other for other in others if other[0] <= one[1] and one[0] <= other[1]]
        size = one[1] - one[0] + 1
        mine = whole = 0.0
        for place in range(1, size + 1):
            weight = WEIGHTS[bias](place, size)
            step = one[0] + place - 1
            whole += weight
            mine += weight * any(first <= step <= last for first, last in touching)
        factor = 1 / len(touching) if cardinality == "reciprocal" and len(touching) > 1 else 1
        return factor * mine / whole

    real, raised = intervals_of(labels), intervals_of(alarms)
    if not raised:
        return 0.0
    recalls = []
    for one in real:
        share = overlap(one, raised, bias)
        recalls.append(existence * (share > 0) + (1 - existence) * share)
    recall, precision = np.mean(recalls), np.mean([overlap(one, real, "flat") for one in raised])
    total = beta**2 * precision + recall
    return float((1 + beta**2) * precision * recall / total) if precision * recall else 0.0


@settings(max_examples=120, deadline=None)
@given(
    STEPS,
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(sorted(WEIGHTS)),
    st.sampled_from(["one", "reciprocal"]),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_range_f1_is_the_slow_one(
    steps: list[tuple[bool, int]], existence: float, bias: str, cardinality: str, beta: float
) -> None:
    labels = [label for label, _ in steps]
    alarms = [score >= 3 for _, score in steps]
    found = range_f1(labels, alarms, existence=existence, bias=bias, cardinality=cardinality, beta=beta)
    assert found == pytest.approx(slow_range_f1(labels, alarms, existence, bias, cardinality, beta))


def test_best_range_f1_is_that_of_the_best_threshold() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 0, 1, 0], [20, 4, 10, 3, 23])
    scores = rng.random(60) + 0.5 * labels
    each = [range_f1(labels, scores >= level) for level in np.sort(scores)[::-1][:30]]
    assert best_range_f1(labels, scores) == pytest.approx(max(each))
    assert best_range_f1(labels, scores, existence=1.0) > best_range_f1(labels, scores)


# ---- point-adjusted --------------------------------------------------------------------------------------------------


def slow_adjusted(labels: list[bool], scores: list[float]) -> float:
    best = 0.0
    for level in set(scores):
        alarms = [score >= level for score in scores]
        for first, last in intervals_of(labels):
            if any(alarms[first : last + 1]):
                alarms[first : last + 1] = [True] * (last - first + 1)
        hits = sum(a and b for a, b in zip(alarms, labels, strict=True))
        best = max(best, 2 * hits / (sum(alarms) + sum(labels)))
    return best


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_point_adjusted_f1_is_the_slow_one(steps: list[tuple[bool, int]]) -> None:
    labels, scores = (list(part) for part in zip(*steps, strict=True))
    assert point_adjusted_f1(labels, scores, draws=1).value == pytest.approx(slow_adjusted(labels, scores))


def test_noise_stands_beside_it_and_depends_on_the_seed_alone() -> None:
    labels = np.repeat([0, 1, 0], [800, 100, 100])
    score = np.random.default_rng(1).random(1000)
    found = point_adjusted_f1(labels, score)
    assert found == point_adjusted_f1(labels, score) and 0.8 < found.random < 1.0
    assert found.random != point_adjusted_f1(labels, score, random_state=1).random
    assert found.random == point_adjusted_f1(labels, -score).random


def test_what_is_wrong_is_said() -> None:
    for call in (vus_pr, vus_roc, range_f1, best_range_f1, point_adjusted_f1):
        with pytest.raises(DataError, match="only normal rows"):
            call([0, 0, 0], [0, 1, 0])
    with pytest.raises(DataError, match="alarms: expected 0 and 1"):
        range_f1([0, 1], [0.5, 1])
    for setting in ({"buffer": -1}, {"buffer": 1.5}):
        with pytest.raises(RecipeError):
            vus_pr([0, 1], [0, 1], **setting)
    for wrong in ({"bias": "flatt"}, {"cardinality": "x"}, {"existence": 2.0}, {"beta": 0.0}):
        with pytest.raises(RecipeError):
            range_f1([0, 1], [0, 1], **wrong)
