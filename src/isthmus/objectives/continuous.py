"""Densities of real numbers around a location that the decoder gives: Normal, Laplace, Student's t."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from isthmus.objectives.base import Likelihood, LikelihoodSpec
from isthmus.objectives.reconstruction import sum_observed
from isthmus.objectives.support import SUPPORTS
from isthmus.settings import OneOf, Range, Share

Spread = Annotated[str | float, OneOf("column", "row"), Range(0, open_low=True)]


class LocationSpread(nn.Module, ABC):
    """A density with a location from the decoder and a spread: learned by column, from the decoder, or fixed.

    What the spread is (a variance, a scale) is the density's matter. It owns the logarithms of learned spreads.

    Args:
        spread: "column", "row" or a number.
        floor: added to a spread that is not fixed.
        row: shape of a row.
    """

    constant = 0.0
    support = "real"
    log_range = (-15.0, 20.0)

    def __init__(self, spread: str | float, floor: float, row: tuple[int, ...]) -> None:
        super().__init__()
        self.by_row = spread == "row"
        self.fixed = not isinstance(spread, str)
        self.floor = 0.0 if self.fixed else floor
        # Flat, since only matrices are meant to decay (`isthmus.training.optimizer`).
        self.row = row
        start = torch.zeros(math.prod(row))
        if spread == "column":
            self.log_spread = nn.Parameter(start)
        elif not self.by_row:
            self.register_buffer("log_spread", start + math.log(spread))  # type: ignore[arg-type]

    @abstractmethod
    def spread_of(self, variance: Tensor) -> Tensor:
        """Return the spread of a density that has this variance."""

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the location `(rows, *shape)` and the spread, which broadcasts to it."""
        if self.by_row:
            location, log_spread = parameters.unbind(1)
        else:
            location, log_spread = parameters.squeeze(1), self.log_spread.view(self.row)
        # Between bounds that neither under- nor overflow once squared and divided by; a fixed spread is taken as it is.
        return location, log_spread.exp() if self.fixed else log_spread.clamp(*self.log_range).exp() + self.floor

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density."""
        return SUPPORTS[self.support].holds(x)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the location `(rows, *shape)`, the expected row where the density has one."""
        return self.split(parameters)[0]

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the parameters `(parameters, *shape)` of a constant guess; learned spreads are set to it."""
        # The floor is added to what is learned, so it is taken off here.
        least = self.spread_of(torch.full_like(variance, 1e-6))
        log_spread = torch.maximum(self.spread_of(variance) - self.floor, least).log()
        if self.by_row:
            return torch.stack([mean, log_spread])
        if isinstance(self.log_spread, nn.Parameter):
            with torch.no_grad():
                self.log_spread.copy_(log_spread.flatten())
        return mean.unsqueeze(0)


# Half the log of 2 pi: the normal density's constant, for each value.
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Normal(LikelihoodSpec):
    """Gaussian density, whose variance is learned.

    ``-log p(x|z) = sum_j (x_j - mean_j)**2 / (2 variance_j) + log(variance_j) / 2 + log(2 pi) / 2``.

    Args:
        variance: "column": one learned variance for each column; "row": the decoder gives one for each value of each
            row; a number: fixed, in preprocessed units.
        floor: added to every learned variance, since the density has no bound where the variance may reach zero.

    Example:
        >>> import torch
        >>> Normal(variance=1.0).build((2,)).cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()
        2.83787...

    Paper: Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2021,
    https://arxiv.org/abs/2006.13202.
    """

    kind: ClassVar[str] = "normal"
    support: ClassVar[str] = "real"  # type: ignore[misc]
    variance: Spread = "column"
    floor: Share = 1e-4

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return 2 if self.variance == "row" else 1

    @property
    def provides(self) -> Set[str]:  # type: ignore[override]
        return frozenset({"variance", "expectation"})

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return NormalLikelihood(self.variance, self.floor, row)


class NormalLikelihood(LocationSpread):
    """The likelihood that `Normal` describes; its spread is the variance."""

    log_range = (-30.0, 20.0)

    def spread_of(self, variance: Tensor) -> Tensor:
        return variance

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        mean, variance = self.split(parameters)
        nats = 0.5 * ((x - mean).square() / variance + variance.log()) + _HALF_LOG_TWO_PI
        return sum_observed(nats, mask)

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, variance = self.split(parameters)
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + variance.sqrt() * noise


@dataclass(frozen=True)
class Laplace(LikelihoodSpec):
    """Laplace density, which outlying values move less than they move a normal one.

    ``-log p(x|z) = sum_j |x_j - location_j| / scale_j + log(2 scale_j)``. The location is mean and median; the best
    constant guess is the median, and the variance ``2 scale**2``.

    Args:
        scale: "column": one learned scale for each column; "row": the decoder gives one for each value of each row;
            a number: fixed, in preprocessed units.
        floor: added to every learned scale, since the density has no bound where the scale may reach zero.

    Example:
        >>> import torch
        >>> Laplace(scale=0.5).build((2,)).cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()
        4.0
    """

    kind: ClassVar[str] = "laplace"
    support: ClassVar[str] = "real"  # type: ignore[misc]
    scale: Spread = "column"
    floor: Share = 1e-3

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return 2 if self.scale == "row" else 1

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return LaplaceLikelihood(self.scale, self.floor, row)


class LaplaceLikelihood(LocationSpread):
    """The likelihood that `Laplace` describes; its spread is the scale."""

    def spread_of(self, variance: Tensor) -> Tensor:
        return (0.5 * variance).sqrt()

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        location, scale = self.split(parameters)
        return sum_observed((x - location).abs() / scale + scale.log() + math.log(2.0), mask)

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        location, scale = self.split(parameters)
        # The difference of two exponential draws; the inverse distribution function is infinite at 0.
        noise = torch.empty((2, *location.shape), dtype=location.dtype, device=location.device)
        first, second = noise.exponential_(generator=generator).unbind(0)
        return location + scale * (first - second)


@dataclass(frozen=True)
class StudentT(LikelihoodSpec):
    """Student's t density: normal in the middle, with heavy tails, so that outliers count little.

    ``-log p(x|z) = sum_j (nu_j + 1) / 2 * log(1 + ((x_j - location_j) / scale_j)**2 / nu_j) + log(scale_j)
    + log(nu_j pi) / 2 + log Gamma(nu_j / 2) - log Gamma((nu_j + 1) / 2)``. The location is the mean for more than one
    degree of freedom and the median for any; `mean` returns it.

    Args:
        scale: "column": one learned scale for each column; "row": the decoder gives one for each value of each row;
            a number: fixed, in preprocessed units.
        degrees: degrees of freedom ``nu``, a number above 0 (1 is the Cauchy density), or "learned" for each column,
            between 0.14 and 8,100.
        floor: added to every learned scale, since the density has no bound where the scale may reach zero.

    Example:
        >>> import torch
        >>> cauchy = StudentT(scale=1.0, degrees=1.0).build((1,))
        >>> cauchy.cost(torch.zeros(1, 1, 1), torch.ones(1, 1), None).item()  # log(2 pi)
        1.83787...

    Paper: Lange et al., Robust Statistical Modeling Using the t Distribution, JASA 1989.
    """

    kind: ClassVar[str] = "student_t"
    support: ClassVar[str] = "real"  # type: ignore[misc]
    scale: Spread = "column"
    degrees: Annotated[str | float, OneOf("learned"), Range(0, open_low=True)] = "learned"
    floor: Share = 1e-3

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return 2 if self.scale == "row" else 1

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return StudentTLikelihood(self, row)


# Close enough to normal to start from the variance, with tails that an outlier can still fatten.
_FIRST_DEGREES = 5.0
_LOG_DEGREES_RANGE = (-2.0, 9.0)


def _log_gamma_step(a: Tensor) -> Tensor:
    """Return ``log Gamma(a + 1/2) - log Gamma(a)``; the difference loses all digits where `a` is large."""
    small, large = a.clamp_max(10.0), a.clamp_min(10.0)
    inverse = 1.0 / large
    square = inverse.square()
    series = inverse * (-1 / 8 + square * (1 / 192 + square * (-1 / 640 + square * (17 / 14336))))
    return torch.where(a > 10.0, 0.5 * large.log() + series, torch.lgamma(small + 0.5) - torch.lgamma(small))


class StudentTLikelihood(LocationSpread):
    """The likelihood that `StudentT` describes; its spread is the scale. It owns learned degrees of freedom."""

    def __init__(self, spec: StudentT, row: tuple[int, ...]) -> None:
        super().__init__(spec.scale, spec.floor, row)
        self.learned = isinstance(spec.degrees, str)
        degrees = _FIRST_DEGREES if isinstance(spec.degrees, str) else float(spec.degrees)
        log_degrees = torch.full((math.prod(row),), math.log(degrees))
        if self.learned:
            self.log_degrees = nn.Parameter(log_degrees)
        else:
            self.register_buffer("log_degrees", log_degrees)

    def degrees(self) -> Tensor:
        """Return the degrees of freedom, of the shape of a row."""
        log_degrees = self.log_degrees.clamp(*_LOG_DEGREES_RANGE) if self.learned else self.log_degrees
        return log_degrees.exp().view(self.row)

    def spread_of(self, variance: Tensor) -> Tensor:
        # Up to two degrees of freedom there is no variance; the sample has one all the same.
        degrees = self.degrees().detach().to(variance.device).clamp_min(2.5)
        return (variance * (degrees - 2.0) / degrees).sqrt()

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        location, scale = self.split(parameters)
        degrees = self.degrees()
        tail = 0.5 * (degrees + 1.0) * torch.log1p(((x - location) / scale).square() / degrees)
        constant = 0.5 * (degrees.log() + math.log(math.pi)) - _log_gamma_step(0.5 * degrees)
        return sum_observed(tail + scale.log() + constant, mask)

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        location, scale = self.split(parameters)
        degrees = self.degrees()
        u, angle = torch.rand((2, *location.shape), dtype=location.dtype, device=location.device, generator=generator)
        # Polar method (Bailey 1994). Few degrees of freedom reach beyond float32; such draws end at its square root.
        radius = (degrees * torch.expm1((-2.0 / degrees * (1.0 - u).log()).clamp(max=80.0))).sqrt()
        return location + scale * radius * torch.cos(2.0 * math.pi * angle)
