"""Reconstruction: loops over every pixel and window, and values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import mse, psnr, reconstruction, ssim


def slow_ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Return the index of two images `(H, W)`: every window, every pixel."""
    weight = [[math.exp(-((a - 5) ** 2 + (b - 5) ** 2) / (2 * 1.5**2)) for b in range(11)] for a in range(11)]
    w = np.array(weight) / np.sum(weight)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = float((w * a).sum()), float((w * b).sum())
            variance_a, variance_b = float((w * (a - mean_a) ** 2).sum()), float((w * (b - mean_b) ** 2).sum())
            covariance = float((w * (a - mean_a) * (b - mean_b)).sum())
            above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
            values.append(above / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))
    return float(np.mean(values))


@pytest.fixture
def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.random((2, 3, 15, 13)) * 200
    return x, np.clip(x + rng.normal(size=x.shape) * 40, 0, 255)


def test_ssim_is_the_slow_one(images: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = images
    for row in range(2):
        expected = [slow_ssim(x[row, c], y[row, c], 255.0) for c in range(3)]
        assert ssim(x, y, 255.0)[row] == pytest.approx(np.mean(expected), abs=1e-10)
        for c in range(3):
            assert ssim(x[:, c], y[:, c], 255.0)[row] == pytest.approx(expected[c], abs=1e-10)


def test_ssim_of_flat_images_is_known() -> None:
    """Without variance only the means are compared."""
    x, y = np.full((1, 12, 12), 100.0), np.full((1, 12, 12), 150.0)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(x, y, 255.0) == pytest.approx(expected)
    assert ssim(x, x, 255.0) == pytest.approx(1.0)


def test_ssim_is_symmetric_and_free_of_units(images: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = images
    np.testing.assert_allclose(ssim(x, y, 255.0), ssim(y, x, 255.0))
    np.testing.assert_allclose(ssim(x / 255, y / 255, 1.0), ssim(x, y, 255.0))
    assert (ssim(x, y, 1.0) != ssim(x, y, 255.0)).all()


def test_ssim_in_blocks_is_the_same(images: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (np.concatenate([a, a[::-1], a[:1]]) for a in images)
    whole = ssim(x, y, 255.0)
    monkeypatch.setattr(reconstruction, "_BLOCK_VALUES", 2 * x[0].size)
    assert (ssim(x, y, 255.0) == whole).all() and len(whole) == 5


def test_mse_and_psnr_are_known() -> None:
    x = np.zeros((2, 3, 4))
    y = np.stack([np.full((3, 4), 0.5), np.zeros((3, 4))])
    assert mse(x, y).tolist() == [0.25, 0.0]
    assert psnr(x, y, 1.0)[0] == pytest.approx(10 * math.log10(4))
    assert psnr(x, y, 255.0)[0] == pytest.approx(10 * math.log10(255**2 / 0.25))
    assert psnr(x, y, 1.0)[1] == math.inf


def test_psnr_over_all_pixels_is_not_the_mean_of_rows(rng: np.random.Generator) -> None:
    x, y = rng.random((3, 5)), rng.random((3, 5))
    total = sum((x[i, j] - y[i, j]) ** 2 for i in range(3) for j in range(5)) / 15
    assert psnr(x.reshape(1, -1), y.reshape(1, -1), 1.0)[0] == pytest.approx(-10 * math.log10(total))


def test_bytes_do_not_wrap_around() -> None:
    x, y = np.array([[0, 255]], np.uint8), np.array([[255, 0]], np.uint8)
    assert mse(x, y)[0] == 255**2
    assert psnr(x, y, 255)[0] == pytest.approx(0.0)


def test_tensors_are_taken_and_keep_no_graph() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    assert mse(x, torch.zeros(2, 3)).tolist() == [1.0, 1.0]


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(DataError, match=r"one shape, got shapes \(2, 3\) and \(2, 1\)"):
        mse(np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(DataError, match="finite"):
        mse([[np.inf]], [[0.0]])
    for shape in ((2, 10, 28), (2, 28, 10), (28, 28), (1, 1, 1, 28, 28), (1, 28, 28, 3)):
        with pytest.raises(DataError, match="H and W at least 11"):
            ssim(np.zeros(shape), np.zeros(shape), 1.0)
    for data_range in (0.0, -1.0, math.nan, "1"):
        with pytest.raises(RecipeError, match="data_range"):
            psnr([[0.0]], [[1.0]], data_range)  # type: ignore[arg-type]
        with pytest.raises(RecipeError, match="data_range"):
            ssim(np.zeros((1, 11, 11)), np.zeros((1, 11, 11)), data_range)  # type: ignore[arg-type]
