"""Which rows calibrate: how many, drawn by the seed alone, and of series the end."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.applications.anomaly.calibration import calibration_rows, halves
from isthmus.applications.anomaly.thresholds import rank_of
from isthmus.data.open import open_source


@pytest.mark.parametrize("rows", [300, 500, 3357, 9000, 40_000, 300_000])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.003])
def test_the_rate_is_alpha_itself(rows: int, alpha: float) -> None:
    """floor(alpha (n + 1)) / (n + 1) is alpha, where a third of the rows is enough."""
    found = calibration_rows(open_source(np.zeros((rows, 1))), "auto", alpha, 0)
    count = len(found)
    assert len(np.unique(found)) == count and (np.diff(found) > 0).all() and found.max() < rows
    if rows >= 3 / alpha:
        assert rank_of(alpha, count) / (count + 1) == pytest.approx(alpha, rel=0.01)
        assert 0.1 * rows < count < 0.501 * rows or count == round(1 / alpha) - 1
    else:
        assert count == round(0.2 * rows)


def test_the_seed_decides() -> None:
    source = open_source(np.zeros((1000, 1)))
    first, again, other = (calibration_rows(source, 0.3, 0.1, seed) for seed in (0, 0, 1))
    assert len(first) == 300
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_of_a_series_the_end_calibrates() -> None:
    from isthmus import read

    source = read(np.random.default_rng(0).normal(size=(1000, 2)), rows="series:20")
    found = calibration_rows(source, 0.25, 0.1, 0)
    assert found[-1] == len(source) - 1 and (np.diff(found) == 1).all()


def test_halves_are_all_rows_that_are_left() -> None:
    calibration = np.array([1, 5, 9])
    (learned, judged), (second, first) = halves(20, calibration, 0)
    np.testing.assert_array_equal(learned, first)
    np.testing.assert_array_equal(judged, second)
    np.testing.assert_array_equal(np.union1d(learned, judged), np.setdiff1d(np.arange(20), calibration))
    assert not np.intersect1d(learned, judged).size
