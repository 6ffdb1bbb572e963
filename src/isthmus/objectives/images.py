"""Terms for images against blur: structure, edges, frequencies, features of a network.

Each compares the expected images with those wanted, `(height, width)` or `(channels, height, width)` in preprocessed
units, and gives nats-like values `(rows,)` on the scale of a squared error that is summed over columns, so that a
weight of 1 is a weight like the likelihood's. What does not count (missing values) is equal on both sides.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.errors import explain
from isthmus.objectives.base import Forward, Term
from isthmus.settings import AtLeast, NotNegative, Positive, Range

# Wang et al. 2004: a window of 11 pixels, 1.5 wide; constants for values from 0 to `value_range`.
_WIDTH = 1.5
_K1, _K2 = 0.01, 0.03
# Wang et al. 2003: how much each scale counts, from the finest.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# A power of a similarity of zero or less has no gradient, or an infinite one.
_LEAST_SIMILARITY = 1e-2


class ImageTerm(Term):
    """A term that compares images `(rows, channels, height, width)`."""

    needs: ClassVar[Set[str]] = frozenset({"expectation"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term, or use a likelihood whose mean has gradients, such as normal"

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if len(row) in (2, 3) and min(row[-2:]) >= 2:
            return None
        shape = "x".join(map(str, row))
        expected = "images of shape (height, width) or (channels, height, width), 2x2 or larger"
        return f"the term {self.kind!r}: " + explain(expected, f"rows of shape {shape}", "the recipe without this term")

    @abstractmethod
    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Return the value `(rows,)` for images `(rows, channels, height, width)`."""

    def __call__(self, forward: Forward) -> Tensor:
        wanted, counted = forward.batch.wanted, forward.counted
        made = forward.expected().to(torch.promote_types(wanted.dtype, torch.float32))
        samples = len(made) // len(wanted)
        shape = (samples, *[1] * (wanted.ndim - 1))
        wanted = wanted.repeat(shape)
        if counted is not None:
            made = torch.where(counted.repeat(shape), made, wanted)
        if made.ndim == 3:
            made, wanted = made.unsqueeze(1), wanted.unsqueeze(1)
        # Variances are small differences of averages, and Fourier transforms know no half precision.
        with torch.autocast(made.device.type, enabled=False):
            value = self.compare(made, wanted)
        return value.view(samples, -1) if samples > 1 else value


def _values(x: Tensor) -> int:
    return x[0].numel()


def _averages(length: int, size: int, like: Tensor) -> Tensor:
    """Return the matrix `(windows, length)` of Gaussian averages over all windows of a size."""
    first = torch.arange(length - size + 1, device=like.device).unsqueeze(1)
    place = torch.arange(length, device=like.device) - first
    centred = (place - (size - 1) / 2).to(like.dtype)
    weight = torch.exp(-0.5 * (centred / _WIDTH).square()) * ((place >= 0) & (place < size))
    return weight / weight.sum(1, keepdim=True)


def _smooth(x: Tensor, window: int) -> Tensor:
    """Return Gaussian averages over windows that lie within the images."""
    height, width = x.shape[-2:]
    size = min(window, height, width)
    # Two products of matrices: on a CPU many times faster than a convolution of single planes.
    return _averages(height, size, x) @ x @ _averages(width, size, x).t()


def _similarity(made: Tensor, wanted: Tensor, window: int, value_range: float) -> tuple[Tensor, Tensor]:
    """Return SSIM, and its part without the means (contrast and structure), `(rows,)` each."""
    c1, c2 = (_K1 * value_range) ** 2, (_K2 * value_range) ** 2
    mean_a, mean_b = _smooth(made, window), _smooth(wanted, window)
    var_a = _smooth(made.square(), window) - mean_a.square()
    var_b = _smooth(wanted.square(), window) - mean_b.square()
    covariance = _smooth(made * wanted, window) - mean_a * mean_b
    structure = (2.0 * covariance + c2) / (var_a + var_b + c2)
    whole = structure * (2.0 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return whole.flatten(1).mean(1), structure.flatten(1).mean(1)


@dataclass(frozen=True)
class StructuralSimilarity(ImageTerm):
    """``values * (1 - SSIM)``: means, contrasts and correlation in small windows; from 0 to twice a row's values.

    ``SSIM = mean of (2 m_a m_b + c1)(2 cov + c2) / ((m_a**2 + m_b**2 + c1)(v_a + v_b + c2))`` over channels and over
    all Gaussian windows that lie within the image, with ``c1 = (0.01 L)**2``, ``c2 = (0.03 L)**2``. As blur takes
    contrast away, it costs here what it saves in squared error.

    Args:
        window: side of the windows in pixels (standard deviation 1.5); that of the image where it is smaller.
        value_range: L, from the lowest to the highest preprocessed value: 1 for images scaled to [0, 1].

    Example:
        >>> import torch
        >>> flat, edge = torch.full((1, 1, 8, 8), 0.5), torch.eye(8).view(1, 1, 8, 8)
        >>> StructuralSimilarity().compare(edge, edge).item(), StructuralSimilarity().compare(flat, edge).item()
        (0.0, 63.8...)

    Paper: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004,
    https://doi.org/10.1109/TIP.2003.819861.
    """

    kind: ClassVar[str] = "ssim"
    window: Annotated[int, AtLeast(2)] = 11
    value_range: Positive = 1.0

    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        return _values(made) * (1.0 - _similarity(made, wanted, self.window, self.value_range)[0])


@dataclass(frozen=True)
class MultiScaleSimilarity(ImageTerm):
    """``values * (1 - MS-SSIM)``: structural similarity at several scales; from 0 to a row's values.

    ``MS-SSIM = SSIM_S**w_S * product over s < S of CS_s**w_s``, CS being SSIM without the means, on images halved s
    times by averaging. There are as many scales, up to five, as leave the halved image at least one window wide, and
    one at least; the published weights of those are divided by their sum. A similarity below 0.01 counts as 0.01.

    Args:
        window: side of the windows in pixels (standard deviation 1.5); that of the image where it is smaller.
        value_range: from the lowest to the highest preprocessed value: 1 for images scaled to [0, 1].

    Example:
        >>> MultiScaleSimilarity().scales(28, 28), MultiScaleSimilarity().scales(176, 200)
        (2, 5)

    Paper: Wang et al., Multi-Scale Structural Similarity for Image Quality Assessment, 2003,
    https://doi.org/10.1109/ACSSC.2003.1292216.
    """

    kind: ClassVar[str] = "ms_ssim"
    window: Annotated[int, AtLeast(2)] = 11
    value_range: Positive = 1.0

    def scales(self, height: int, width: int) -> int:
        """Return how many scales an image of a size has."""
        side, count = min(height, width), 1
        while count < len(_SCALES) and side // 2 >= self.window:
            side, count = side // 2, count + 1
        return count

    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        values, count = _values(made), self.scales(*made.shape[-2:])
        weights = [weight / sum(_SCALES[:count]) for weight in _SCALES[:count]]
        product = made.new_ones(len(made))
        for scale, weight in enumerate(weights):
            whole, structure = _similarity(made, wanted, self.window, self.value_range)
            part = whole if scale == count - 1 else structure
            product = product * part.clamp_min(_LEAST_SIMILARITY).pow(weight)
            if scale < count - 1:
                made, wanted = F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2)
        return values * (1.0 - product)


@dataclass(frozen=True)
class Edges(ImageTerm):
    """The difference in how steep the images are: ``sum of ||step of x^| - |step of x||**power``.

    A step is the difference of two neighbours, down and to the right; the sum runs over all. Steps that are too small,
    which is what blur is, cost as much as steps too large, wherever they lead.

    Args:
        power: from 1 to 2; with 1 few large differences cost no more than many small ones.

    Example:
        >>> import torch
        >>> edge, ramp = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.25, 0.75, 1.0]])
        >>> Edges().compare(ramp.view(1, 1, 1, 4), edge.view(1, 1, 1, 4)).item()
        1.0

    Paper: Mathieu et al., Deep multi-scale video prediction beyond mean square error, 2016,
    https://arxiv.org/abs/1511.05440.
    """

    kind: ClassVar[str] = "edges"
    power: Annotated[float, Range(1, 2)] = 1.0

    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        total = made.new_zeros(len(made))
        for axis in (-2, -1):
            difference = made.diff(dim=axis).abs() - wanted.diff(dim=axis).abs()
            total = total + difference.abs().pow(self.power).flatten(1).sum(1)
        return total


@dataclass(frozen=True)
class Frequencies(ImageTerm):
    """The focal frequency loss: a squared error in which the frequencies that are worst count most.

    ``sum over frequencies of w |F(x^) - F(x)|**2`` with the orthonormal Fourier transform F of each channel and
    ``w = (|F(x^) - F(x)| / its largest in the image)**alpha``, through which no gradient flows. All w are at most 1, so
    the value is at most the squared error, and equals it for alpha 0 (Parseval). A larger alpha
    turns to the largest errors only.

    Args:
        alpha: how much the worst frequencies are preferred.

    Example:
        >>> import torch
        >>> x = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
        >>> squared = (x - x.flip(-1)).square().sum().item()
        >>> abs(Frequencies(alpha=0.0).compare(x, x.flip(-1)).item() - squared) < 1e-5
        True

    Paper: Jiang et al., Focal Frequency Loss for Image Reconstruction and Synthesis, 2021,
    https://arxiv.org/abs/2012.12821.
    """

    kind: ClassVar[str] = "frequencies"
    alpha: NotNegative = 1.0

    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        error = torch.fft.fft2(made - wanted, norm="ortho")
        power = error.real.square() + error.imag.square()
        size = power.detach().sqrt()
        largest = size.amax((-3, -2, -1), keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
        weighted: Tensor = (size / largest).pow(self.alpha) * power
        return weighted.flatten(1).sum(1)
