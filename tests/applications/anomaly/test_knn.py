"""Nearest neighbours against all distances, and the same to the bit alone and among others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isthmus.applications.anomaly.knn import NearestCodes


@pytest.mark.parametrize("width", [1, 5, 12, 13, 40])
@pytest.mark.parametrize("codes", [7, 300])
def test_against_all_distances(width: int, codes: int) -> None:
    generator = np.random.default_rng(width)
    bank = generator.normal(size=(codes, width)).astype(np.float32)
    rows = generator.normal(size=(50, width)).astype(np.float32)
    wanted = np.sort(cdist(rows.astype(float), bank.astype(float)), axis=1)[:, :5]
    np.testing.assert_allclose(NearestCodes(bank).nearest(rows, 5), wanted, rtol=1e-12)
    own = np.sort(cdist(bank.astype(float), bank.astype(float)), axis=1)[:, 1:6]
    np.testing.assert_allclose(NearestCodes(bank).nearest(bank, 5, skip=1), own, rtol=1e-12)


@pytest.mark.parametrize("width", [3, 30])
def test_alone_and_among_others(width: int) -> None:
    """Also where codes are so near each other, and so far from zero, that a float32 product cannot tell them apart."""
    generator = np.random.default_rng(0)
    bank = (1000 + 1e-3 * generator.normal(size=(500, width))).astype(np.float32)
    bank[:20] *= 1e4
    rows = (1000 + 1e-3 * generator.normal(size=(64, width))).astype(np.float32)
    whole = NearestCodes(bank).nearest(rows, 5)
    for row in range(0, 64, 7):
        np.testing.assert_array_equal(NearestCodes(bank).nearest(rows[row : row + 1], 5)[0], whole[row])
    exact = np.sort(cdist(rows.astype(float), bank.astype(float)), axis=1)[:, :5]
    np.testing.assert_allclose(whole, exact, rtol=1e-9)


@pytest.mark.parametrize("width", [3, 30])
def test_what_overflows_is_infinitely_far(width: int) -> None:
    bank = np.random.default_rng(0).normal(size=(100, width)).astype(np.float32)
    rows = np.zeros((3, width), np.float32)
    rows[0, 0], rows[1, 1] = np.inf, 1e30
    found = NearestCodes(bank).nearest(rows, 5)
    assert np.isinf(found[0]).all() and np.isfinite(found[1:]).all()
    np.testing.assert_allclose(found[1], 1e30, rtol=1e-6)
