"""Detection: counted by hand, drawn again and again, and the intervals hold what they promise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import (
    auroc,
    average_precision,
    beta_binomial_interval,
    binomial_interval,
    false_alarm_rate,
    precision_at_k,
)

LABELLED = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=12).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@settings(max_examples=60, deadline=None)
@given(LABELLED)
def test_auroc_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for (la, a), (lb, b) in itertools.product(rows, rows) if la and not lb]
    labels, scores = zip(*rows, strict=True)
    assert auroc(labels, scores) == pytest.approx(np.mean(pairs))


@settings(max_examples=60, deadline=None)
@given(LABELLED)
def test_average_precision_adds_steps_of_recall(rows: list[tuple[bool, int]]) -> None:
    labels, scores = (np.array(part, float) for part in zip(*rows, strict=True))
    area = before = 0.0
    for level in sorted(set(scores), reverse=True):
        hits = labels[scores >= level]
        area += (hits.sum() / labels.sum() - before) * hits.mean()
        before = hits.sum() / labels.sum()
    assert average_precision(labels, scores) == pytest.approx(area)


@settings(max_examples=60, deadline=None)
@given(LABELLED, st.integers(1, 12), st.integers(0, 99))
def test_precision_at_k_is_the_mean_over_orders_of_ties(rows: list[tuple[bool, int]], k: int, seed: int) -> None:
    k = min(k, len(rows))
    labels, scores = (np.array(part, float) for part in zip(*rows, strict=True))
    rng = np.random.default_rng(seed)
    draws = [labels[np.lexsort((rng.random(len(rows)), -scores))[:k]].mean() for _ in range(2000)]
    assert precision_at_k(labels, scores, k) == pytest.approx(np.mean(draws), abs=0.06)


def test_k_is_the_number_of_anomalies() -> None:
    labels, scores = [0, 1, 1, 0, 0], [0.0, 5.0, 1.0, 4.0, 3.0]
    assert precision_at_k(labels, scores) == precision_at_k(labels, scores, 2) == 0.5
    assert precision_at_k(labels, scores, 1) == 1.0 and precision_at_k(labels, scores, 5) == 0.4


def test_false_alarms_are_those_of_normal_rows() -> None:
    assert false_alarm_rate([0, 1, 0, 0], [1, 1, 0, 0]) == pytest.approx(1 / 3)
    assert false_alarm_rate(np.zeros(4), np.array([True, False, False, False])) == 0.25


def test_the_binomial_interval_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    low, high = binomial_interval(500, 0.02, 0.9)
    counts = rng.binomial(500, 0.02, 20_000)
    assert 0.9 <= ((counts >= low) & (counts <= high)).mean() < 0.96
    assert (counts < low).mean() <= 0.055 and (counts > high).mean() <= 0.055


@pytest.mark.parametrize(("alpha", "calibration"), [(0.05, 99), (0.1, 45), (0.5, 3)])
def test_the_beta_binomial_interval_is_that_of_conformal_alarms(alpha: float, calibration: int) -> None:
    """Simulated with the definition of the p-value; a binomial one is too narrow."""
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(3000):
        held, fresh = np.sort(rng.random(calibration)), rng.random(300)
        p = (1 + calibration - np.searchsorted(held, fresh)) / (1 + calibration)
        counts.append(int((p <= alpha).sum()))
    inside = {
        interval: np.mean([interval[0] <= count <= interval[1] for count in counts])
        for interval in (beta_binomial_interval(300, alpha, calibration, 0.95), binomial_interval(300, alpha, 0.95))
    }
    ours, plain = inside.values()
    assert 0.94 <= ours < 0.975 and plain < 0.9
    assert np.percentile(counts, 2.5) == pytest.approx(next(iter(inside))[0], abs=3)


def test_a_product_that_should_be_whole_is() -> None:
    """0.07 * 100 is 7.000000000000001, 0.29 * 100 is 28.999999999999996."""
    assert beta_binomial_interval(1000, 0.29, 99) == beta_binomial_interval(1000, 0.2901, 99)
    assert beta_binomial_interval(1000, 0.29, 99) != beta_binomial_interval(1000, 0.2899, 99)
    assert beta_binomial_interval(10, 1.0, 9) == (10, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([0, 0], [1, 2]), "only normal rows"),
        (lambda: auroc([1, 1], [1, 2]), "only anomalies"),
        (lambda: auroc([0, 2], [1, 2]), "expected 0 and 1, got 2 at row 1"),
        (lambda: auroc([0, 1], [1, 2, 3]), "arrays of one shape"),
        (lambda: auroc([0, 1], [1, np.nan]), "finite numbers, got nan"),
        (lambda: average_precision([[0], [1]], [[1], [2]]), "one value for each row"),
        (lambda: precision_at_k([0, 1], [1, 2], 3), "at most 2"),
        (lambda: false_alarm_rate([1, 1], [0, 1]), "at least one normal row"),
        (lambda: false_alarm_rate([0, 1], [0, -1]), "alarms: expected 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(call: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_settings_out_of_range() -> None:
    for call in (
        lambda: binomial_interval(10, 1.5),
        lambda: binomial_interval(0, 0.5),
        lambda: beta_binomial_interval(10, 0.1, 0),
        lambda: precision_at_k([0, 1], [1, 2], 0),
    ):
        with pytest.raises(RecipeError):
            call()
