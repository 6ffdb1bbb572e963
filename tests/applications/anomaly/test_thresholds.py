"""p-values, thresholds and the false-discovery rate against what is known of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, expon, norm

from isthmus.applications.anomaly.thresholds import (
    Threshold,
    false_discoveries,
    find_threshold,
    p_values,
    rank_of,
    rows_needed,
)
from isthmus.errors import DataError, RecipeError


def p_slowly(calibration: Any, value: float) -> float:
    return (1 + sum(1 for other in calibration if other >= value)) / (1 + len(calibration))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(-1, 6), min_size=1, max_size=10))
def test_p_values_count_what_is_at_least_as_strange(calibration: list[int], values: list[int]) -> None:
    found = p_values(np.array(calibration, float), np.array(values, float))
    assert found.tolist() == [p_slowly(calibration, value) for value in values]


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.lists(st.integers(-1, 9), min_size=1, max_size=10),
    st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.3, 0.5]),
)
def test_above_the_threshold_is_a_p_value_of_at_most_the_level(
    calibration: list[int], values: list[int], level: float
) -> None:
    """With ties and with too few rows alike."""
    rows, new = np.array(calibration, float), np.array(values, float)
    threshold = find_threshold(rows, "conformal", level)
    assert ((new > threshold.value) == (p_values(rows, new) <= level + 1e-12)).all()


def test_rounding_takes_no_alarm_away() -> None:
    """0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996 in floating point."""
    assert rank_of(0.29, 99) == 29 and rank_of(0.07, 99) == 7 and rank_of(0.01, 98) == 0
    assert rows_needed(0.01) == 99 and rows_needed(0.05) == 19 and rows_needed(0.3) == 3
    assert math.isinf(find_threshold(np.arange(98.0), "conformal", 0.01).value)
    assert find_threshold(np.arange(99.0), "conformal", 0.01).value == 98.0


def test_the_count_of_false_alarms_has_the_distribution_that_it_should() -> None:
    """Of 200 new rows with 99 calibration rows at 5 %: beta-binomial(200, 5, 95), over 4,000 draws of all."""
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(4000, 299))
    counts = np.array([(row[99:] > find_threshold(row[:99], "conformal", 0.05).value).sum() for row in draws])
    exact = betabinom(200, 5, 95)
    assert abs(counts.mean() - exact.mean()) < 4 * exact.std() / math.sqrt(4000)
    assert abs(counts.std() / exact.std() - 1) < 0.06


def test_the_false_discovery_rate_stays_under_its_level_over_a_thousand_runs() -> None:
    """200 rows, a fifth of them anomalies, each run with 500 calibration rows of its own; and it finds them."""
    generator = np.random.default_rng(1)
    for level in (0.05, 0.2):
        shares, power = [], []
        for _ in range(1000):
            calibration = generator.normal(size=500)
            rows = np.concatenate([generator.normal(size=160), generator.normal(3.5, size=40)])
            found = false_discoveries(p_values(calibration, rows), level)
            shares.append(found[:160].sum() / max(1, found.sum()))
            power.append(found[160:].mean())
        # The exact rate is at most 0.8 of the level; the average of 1,000 runs may lie three deviations above.
        assert np.mean(shares) + 0.0 <= 0.8 * level + 3 * np.std(shares) / math.sqrt(1000)
        assert np.mean(shares) > 0.3 * level  # a procedure that finds nothing keeps any level
        assert np.mean(power) > 0.4


def test_without_anomalies_false_discoveries_are_rare() -> None:
    generator = np.random.default_rng(2)
    runs = [
        false_discoveries(p_values(generator.normal(size=300), generator.normal(size=100)), 0.1).any()
        for _ in range(1000)
    ]
    assert np.mean(runs) <= 0.1 + 3 * math.sqrt(0.09 / 1000)


def test_benjamini_and_hochbergs_own_example() -> None:
    """Their table of 1995: at 0.05 the four smallest of fifteen are rejected."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590]
    assert false_discoveries(np.array([*p, 1.0]), 0.05).tolist() == [True] * 4 + [False] * 11
    # A step-up procedure: the last p-value under its bound takes all smaller ones with it.
    assert false_discoveries(np.array([0.03, 0.04]), 0.05).tolist() == [True, True]
    assert false_discoveries(np.zeros(0), 0.05).shape == (0,)


def test_quantile_and_contamination_leave_their_share_above() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    for kind in ("quantile", "contamination"):
        assert (values > find_threshold(values, kind, 0.05).value).sum() == 50


@pytest.mark.parametrize("density", [norm, expon])
def test_a_tail_reaches_beyond_the_calibration_rows(density: Any) -> None:
    """At 1 in 10,000 from 2,000 rows: within 20 % of the true quantile, on average over 20 draws."""
    found = [find_threshold(density.rvs(size=2000, random_state=seed), "pot", 1e-4).value for seed in range(20)]
    assert abs(np.median(found) / density.isf(1e-4) - 1) < 0.2
    inside = find_threshold(np.arange(1000.0), "pot", 0.2)
    assert inside.value == np.quantile(np.arange(1000.0), 0.8)


def test_a_tail_does_not_depend_on_the_unit() -> None:
    values = expon.rvs(size=500, random_state=0)
    one, other = (find_threshold(values * unit, "pot", 1e-3).value for unit in (1.0, 1e6))
    assert other / one == pytest.approx(1e6, rel=1e-6)


@pytest.mark.parametrize("kind", ["conformal", "quantile", "contamination", "pot"])
def test_a_threshold_says_what_it_is(kind: str) -> None:
    text = find_threshold(np.arange(1000.0), kind, 0.01).describe()
    assert "1 %" in text and "1,000 calibration rows" in text
    assert "nothing is an alarm" in Threshold("conformal", 0.01, math.inf, 5).describe()


def test_what_cannot_be_a_threshold_is_refused() -> None:
    with pytest.raises(DataError, match="calibration rows"):
        find_threshold(np.zeros(0))
    with pytest.raises(DataError, match="NaN"):
        find_threshold(np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="at least 200"):
        find_threshold(np.arange(50.0), "pot", 0.001)
    with pytest.raises(RecipeError, match="level"):
        find_threshold(np.arange(50.0), "conformal", 1.0)
    for level in (1e-320, 0.0, -1.0, np.nan, True, "much"):
        with pytest.raises(RecipeError, match="a share between 0 and 1"):
            find_threshold(np.arange(50.0), "conformal", level)  # type: ignore[arg-type]
    assert find_threshold(np.arange(50.0), "conformal", 1 - 1e-13).value == 0.0
    with pytest.raises(RecipeError, match="conformal, quantile"):
        find_threshold(np.arange(50.0), "best")
