"""Each measure against data whose truth is known, and each formula against a slow one."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import scipy.ndimage

from isthmus.advice import measure as m
from isthmus.errors import DataError
from isthmus.schema import Schema


def facts_of(x: np.ndarray, seed: int = 0) -> m.DataMeasurements:
    return m.measure(x, Schema.of(x), seed)


def linear(rng: np.random.Generator, rows: int = 1500, columns: int = 50, factors: int = 5) -> np.ndarray:
    return rng.normal(size=(rows, factors)) @ rng.normal(size=(factors, columns))


def curved(rng: np.random.Generator, rows: int = 2000) -> np.ndarray:
    """Return 5 dimensions bent into 15 of 50: the five, their squares, and five of their products."""
    s = rng.uniform(-1, 1, (rows, 5))
    bent = np.concatenate([s, s**2, s * np.roll(s, 1, axis=1)], axis=1)
    return bent @ rng.normal(size=(15, 50))


def smooth_images(rng: np.random.Generator, count: int = 40, size: int = 32) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    a, b, c = rng.uniform(-1, 1, (3, count, 1, 1))
    return 0.5 + 0.2 * a * x + 0.2 * b * y + 0.1 * c * np.sin(2 * x)


# ---- intrinsic dimension ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimate", [m.two_nn, m.levina_bickel])
@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_dimension_of_a_cube_in_more_columns(estimate: Callable[..., float], dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    turn = np.linalg.qr(rng.normal(size=(20, 20)))[0][:dimension]
    x = rng.random((1500, dimension)) @ turn
    assert estimate(x) == pytest.approx(dimension, rel=0.12)


def sorted_distances(x: np.ndarray) -> np.ndarray:
    return np.array([sorted(float(np.sqrt(((a - b) ** 2).sum())) for j, b in enumerate(x) if j != i)
                     for i, a in enumerate(x)])  # fmt: skip


def test_two_nn_is_the_papers_fit(rng: np.random.Generator) -> None:
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 8))
    near = sorted_distances(x)
    ratios = sorted(row[1] / row[0] for row in near)
    points = [(np.log(r), -np.log(1 - (i + 1) / 60)) for i, r in enumerate(ratios[:54])]
    slope = sum(a * b for a, b in points) / sum(a * a for a, _ in points)
    assert m.two_nn(x) == pytest.approx(slope, rel=1e-9)


def test_levina_bickel_is_the_papers_formula(rng: np.random.Generator) -> None:
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 8))
    near = sorted_distances(x)
    by_k = []
    for k in range(4, 7):
        each = [(k - 2) / sum(np.log(row[k - 1] / row[j]) for j in range(k - 1)) for row in near]
        by_k.append(np.mean(each))
    assert m.levina_bickel(x, 4, 6) == pytest.approx(np.mean(by_k), rel=1e-9)


def test_a_lattice_has_no_more_dimensions_than_columns() -> None:
    x = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), -1).reshape(-1, 3)
    assert m.two_nn(x) == 3.0
    assert 0 < m.levina_bickel(x) <= 3.0


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_a_linear_table_with_noise(rng: np.random.Generator) -> None:
    x = linear(rng)
    noisy = x + 0.1 * rng.normal(size=x.shape)
    facts = facts_of(noisy)
    assert facts.noise == pytest.approx(np.median(0.1 / noisy.std(0)), rel=0.05)
    assert facts.noise_is_clear and facts.signal == 5
    assert facts.intrinsic == pytest.approx(5, abs=0.6)
    assert facts.components == {90: 4, 95: 5, 99: 5}
    assert facts.explained(5) > 0.99 > facts.explained(4)


def test_a_curved_table_with_noise(rng: np.random.Generator) -> None:
    x = curved(rng)
    noisy = x + 0.1 * rng.normal(size=x.shape)
    facts = facts_of(noisy)
    assert facts.noise == pytest.approx(np.median(0.1 / noisy.std(0)), rel=0.1)
    assert facts.noise_is_clear and facts.signal == 15
    assert facts.intrinsic == pytest.approx(5, abs=0.8)
    # PCA needs more components than there are dimensions: that is what a network can save.
    assert facts.components[95] > 7 and facts.explained(5) < 0.9


def test_noise_that_differs_by_column(rng: np.random.Generator) -> None:
    noise = rng.uniform(0.05, 0.4, 50)
    x = linear(rng) + noise * rng.normal(size=(1500, 50))
    facts = facts_of(x)
    assert facts.noise == pytest.approx(np.median(noise / x.std(0)), rel=0.1)
    assert facts.signal == 5


def test_a_table_wider_than_long(rng: np.random.Generator) -> None:
    x = linear(rng, 200, 400, 3) + 0.5 * rng.normal(size=(200, 400))
    floor = m.noise_floor(x)
    assert floor.std == pytest.approx(0.5, rel=0.05)
    assert floor.signal == 3 and floor.share > 0.9


def test_no_noise_is_none(rng: np.random.Generator) -> None:
    facts = facts_of(linear(rng))
    assert facts.noise < 1e-3
    assert facts.signal == 5


def test_nothing_but_noise(rng: np.random.Generator) -> None:
    facts = facts_of(rng.normal(size=(1500, 30)))
    assert facts.signal == 0
    assert facts.noise == pytest.approx(1.0, rel=0.03)
    assert facts.intrinsic is not None and facts.intrinsic > 12


def test_without_a_flat_tail_the_noise_is_a_bound(rng: np.random.Generator) -> None:
    s = rng.uniform(-1.5, 1.5, (1500, 5))
    x = np.sin(s @ rng.normal(size=(5, 30)) + rng.uniform(0, 6, 30)) + 0.05 * rng.normal(size=(1500, 30))
    facts = facts_of(x)
    assert not facts.noise_is_clear
    assert facts.noise > np.median(0.05 / x.std(0))


@pytest.mark.parametrize(("ratio", "columns", "rows"), [(1.0, 400, 400), (0.3, 300, 1000), (0.02, 40, 2000)])
def test_median_of_pure_noise(ratio: float, columns: int, rows: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(rows, columns))
    median = float(np.median(np.linalg.svd(x, compute_uv=False) ** 2 / rows))
    assert m.marchenko_pastur_median(ratio) == pytest.approx(median, rel=0.02)


def test_the_published_median() -> None:
    # Gavish and Donoho: 4 / sqrt(3) / 2.858 is the root of the median for square matrices.
    assert 4 / 3**0.5 / m.marchenko_pastur_median(1.0) ** 0.5 == pytest.approx(2.858, abs=1e-3)


def test_spectrum_is_that_of_the_covariance(rng: np.random.Generator) -> None:
    x = linear(rng, 100, 7, 7)
    variances, directions = m.spectrum(x)
    covariance = np.cov(x.T)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)
    np.testing.assert_allclose(covariance @ directions, directions * variances, atol=1e-9 * variances[0])


def test_components_for_a_share() -> None:
    variances = np.array([5.0, 3.0, 1.0, 1.0])
    assert [m.components_for(variances, share) for share in (0.5, 0.51, 0.8, 0.9, 1.0)] == [1, 2, 2, 3, 4]


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_noise_of_images(noise: float, rng: np.random.Generator) -> None:
    images = smooth_images(rng)
    assert m.image_noise(images + noise * rng.normal(size=images.shape)) == pytest.approx(noise, rel=0.04)


def test_image_noise_is_immerkaers_formula(rng: np.random.Generator) -> None:
    image = rng.random((1, 9, 12))
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    left = scipy.ndimage.convolve(image[0], kernel)[1:-1, 1:-1]
    expected = np.sqrt(np.pi / 2) / (6 * (12 - 2) * (9 - 2)) * np.abs(left).sum()
    assert m.image_noise(image) == pytest.approx(expected, rel=1e-9)


def test_channels_may_be_first_or_last(rng: np.random.Generator) -> None:
    images = smooth_images(rng, 30) + 0.1 * rng.normal(size=(30, 32, 32))
    # Channels differ by much: across them there is no smoothness to rely on.
    coloured = np.stack([images, 1 - images, rng.permutation(images)], axis=1)
    first, last = coloured, np.moveaxis(coloured, 1, -1)
    assert m.image_noise(m.channels_first(first)) == m.image_noise(m.channels_first(last))
    assert m.channels_first(last).shape == (90, 32, 32)
    assert m.image_noise(m.channels_first(last)) == pytest.approx(0.1, rel=0.05)


def test_facts_of_images_are_in_units_of_the_scaled_pixels(rng: np.random.Generator) -> None:
    images = np.clip(255 * (smooth_images(rng, 60) + 0.05 * rng.normal(size=(60, 32, 32))), 0, 255).astype(np.uint8)
    facts = facts_of(images)
    assert facts.noise == pytest.approx(0.05, rel=0.05)
    assert facts.scaling == "unit" and facts.noise_floor is None and facts.signal is None
    assert facts.spread == pytest.approx((images / 255).std(0).mean(), rel=1e-6)


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_counting(rng: np.random.Generator) -> None:
    x = rng.integers(0, 3, (400, 4)).astype(float)
    x[:, 2] = 7.0
    x[x == 0] *= rng.choice([-1.0, 1.0], (x == 0).sum())  # -0.0 equals 0.0
    facts = facts_of(x)
    assert facts.duplicates == 400 - len(np.unique(x + 0.0, axis=0)) > 0
    assert facts.constant == 1
    assert facts.zeros == pytest.approx((x == 0).mean())
    assert (facts.rows, facts.width, facts.low, facts.high) == (400, 4, 0.0, 7.0)


def test_neighbouring_columns(rng: np.random.Generator) -> None:
    walk = rng.normal(size=(300, 40)).cumsum(1)
    expected = np.mean([np.corrcoef(walk[:, j], walk[:, j + 1])[0, 1] for j in range(39)])
    assert facts_of(walk).neighbours == pytest.approx(expected, rel=1e-4)


def test_scaling_by_what_the_rows_are(rng: np.random.Generator) -> None:
    unit = rng.random((20, 5))
    assert m.scaling_for(Schema.of(unit)) == "standard"  # a table, whatever its range
    assert m.scaling_for(Schema.of((unit > 0.5).astype(float))) == "unit"
    assert m.scaling_for(Schema.of(rng.random((20, 256)))) == "unit"  # 16 x 16 pixels, flat
    assert m.scaling_for(Schema.of(rng.random((20, 256)), tuple(map(str, range(256))))) == "standard"
    assert m.scaling_for(Schema.of(rng.random((20, 6, 6)))) == "unit"
    assert m.scaling_for(Schema.of(rng.normal(size=(20, 6, 6)))) == "standard"


def test_a_seed_decides_which_rows_are_looked_at(
    rng: np.random.Generator, generators_untouched: Callable[[], AbstractContextManager[None]]
) -> None:
    x = linear(rng, 6000, 6, 3) + rng.normal(size=(6000, 6))
    with generators_untouched():
        first, again, other = facts_of(x), facts_of(x), facts_of(x, seed=1)
    assert first == again and first.measured_rows == m.SPECTRUM_ROWS
    assert first.variances != other.variances
    assert json.loads(json.dumps(first.to_dict()))["components"]["99"] == first.components[99]


def test_a_column_that_varies_only_in_rows_not_looked_at(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5500, 4))
    x[:, 1] = 0.0
    x[np.setdiff1d(np.arange(5500), m.choose(5500, m.SPECTRUM_ROWS, 0))[0], 1] = 5.0
    assert facts_of(x).constant == 0
    assert len(facts_of(x).variances) == 3


def test_few_different_rows_have_no_dimension(rng: np.random.Generator) -> None:
    facts = facts_of(np.repeat(rng.normal(size=(20, 5)), 10, axis=0))
    assert facts.intrinsic is facts.twonn is facts.mle is None
    assert facts_of(rng.normal(size=(3, 4))).rows == 3


@pytest.mark.parametrize(
    ("rows", "message"), [(np.ones((2, 3)), "three rows or more"), (np.ones((50, 3)), "rows that are all the same")]
)
def test_what_cannot_be_measured(rows: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        facts_of(rows)
