"""Metrics of reconstructions: squared error, PSNR, SSIM. Each returns one number for each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import DataError, check_number, explain
from isthmus.metrics.arrays import pair
from isthmus.typing import Array

_WINDOW, _SIGMA = 11, 1.5
# The paper's K1 and K2: they keep the quotient finite where a window is flat.
_K = (0.01, 0.03)
_BLOCK_VALUES = 2**19


def mse(rows: Any, reconstructed: Any) -> Array:
    """Return each row's squared error, averaged over its values: `(rows,)`, in squared units of the data.

    ``mean_j (x_j - xhat_j)^2``; lower is better. Integers are not wrapped around.

    Args:
        rows: `(rows, ...)`.
        reconstructed: of the same shape.

    Raises:
        DataError: if the shapes differ or a value is not finite.

    Example:
        >>> mse([[0, 2], [1, 1]], [[1, 0], [1, 1]])
        array([2.5, 0. ])
    """
    x, y = pair(("rows", "reconstructed"), rows, reconstructed)
    error: Array = np.square(x - y).reshape(len(x), -1).mean(1)
    return error


def psnr(rows: Any, reconstructed: Any, data_range: float) -> Array:
    """Return each row's peak signal-to-noise ratio in decibel: `(rows,)`.

    ``10 log10(data_range^2 / mse)``; higher is better, infinite for equal rows. The mean over rows is not the ratio
    over all pixels; for that, pass `rows.reshape(1, -1)` and the same of the reconstructions.

    Args:
        rows: `(rows, ...)`.
        reconstructed: of the same shape.
        data_range: the largest possible difference, 255 for bytes and 1 for values in [0, 1].

    Raises:
        DataError: if the shapes differ or a value is not finite.
        RecipeError: if `data_range` is not above 0.

    Example:
        >>> psnr([[0.0, 1.0]], [[0.1, 0.9]], data_range=1.0).round(6)
        array([20.])
    """
    check_number("data_range", data_range, 0.0, open_low=True)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(data_range**2 / mse(rows, reconstructed))


def ssim(images: Any, reconstructed: Any, data_range: float) -> Array:
    """Return each image's structural similarity: `(rows,)`.

    ``((2 m_x m_y + c1) (2 s_xy + c2)) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2))``, averaged over all places where
    the window lies inside the image, and over channels. m are means, s^2 variances and s_xy the covariance under a
    Gaussian window of 11 x 11 pixels with a standard deviation of 1.5; ``c1 = (0.01 data_range)^2``,
    ``c2 = (0.03 data_range)^2``. At most 1, for equal images; higher is better.

    Args:
        images: `(rows, H, W)`, or `(rows, C, H, W)` with the channels first; H and W at least 11.
        reconstructed: of the same shape.
        data_range: the largest possible difference, 255 for bytes and 1 for values in [0, 1].

    Raises:
        DataError: if the shapes differ, are none of these, or a value is not finite.
        RecipeError: if `data_range` is not above 0.

    Example:
        >>> image = np.random.default_rng(0).random((1, 16, 16))
        >>> ssim(image, image, data_range=1.0), bool(ssim(image, 1 - image, data_range=1.0) < 0)
        (array([1.]), True)

    Paper: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004,
    https://doi.org/10.1109/TIP.2003.819861.
    """
    check_number("data_range", data_range, 0.0, open_low=True)
    x, y = pair(("images", "reconstructed"), images, reconstructed)
    if x.ndim not in (3, 4) or min(x.shape[-2:]) < _WINDOW:
        expected = f"(rows, H, W) or (rows, C, H, W) with H and W at least {_WINDOW}"
        raise DataError("images: " + explain(expected, f"shape {x.shape}", "np.moveaxis(x, -1, 1) for channels last"))
    block = max(1, _BLOCK_VALUES // x[0].size)
    parts = []
    for i in range(0, len(x), block):
        part = ssim_map(x[i : i + block], y[i : i + block], data_range)
        parts.append(part.reshape(len(part), -1).mean(1))
    return np.concatenate(parts)


def ssim_map(images: Array, reconstructed: Array, data_range: float, window: int = _WINDOW) -> Array:
    """Return the structural similarity at each place where the window lies inside: `(..., H - w + 1, W - w + 1)`.

    The formula is that of `ssim`. Each value is a sum in a fixed order, and so the same in any batch.

    Args:
        images: `(..., H, W)`, float64.
        reconstructed: of the same shape.
        data_range: the largest possible difference.
        window: its width w in pixels, odd.

    Example:
        >>> image = np.random.default_rng(0).random((16, 20))
        >>> ssim_map(image, image, data_range=1.0).shape
        (6, 10)
    """
    c1, c2 = ((k * data_range) ** 2 for k in _K)
    mean_x, mean_y = _blur(images, window), _blur(reconstructed, window)
    variance_x = _blur(images * images, window) - mean_x**2
    variance_y = _blur(reconstructed * reconstructed, window) - mean_y**2
    covariance = _blur(images * reconstructed, window) - mean_x * mean_y
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    index: Array = above / below
    return index


def _blur(images: Array, window: int) -> Array:
    """Return the means under the window, for the places where it lies inside."""
    place = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (place / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (-2, -1):
        left = images.shape[axis] - window + 1
        at = [slice(None)] * images.ndim
        total: Array | None = None
        for shift, weight in enumerate(weights.tolist()):
            at[axis] = slice(shift, shift + left)
            total = weight * images[tuple(at)] if total is None else total + weight * images[tuple(at)]
        images = images if total is None else total
    return images
