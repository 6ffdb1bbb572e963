"""Likelihoods that need one number for each value: the squared error, and those of values in [0, 1]."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.objectives.base import Likelihood, LikelihoodSpec, Objective
from isthmus.settings import OneOf


def Reconstruction(likelihood: LikelihoodSpec) -> Objective:
    """Return the objective ``-log p(x|z)``, to which terms are added.

    Example:
        >>> Reconstruction(SquaredError()).terms
        ()
    """
    return Objective(likelihood)


def sum_observed(values: Tensor, mask: Tensor | None) -> Tensor:
    """Sum `(rows, *shape)` to `(rows,)`, leaving out what was not observed."""
    if mask is not None:
        values = values * mask
    return values.flatten(1).sum(1)


# A pixel that is constant in the training rows would ask for an infinite logit.
LOGIT_MARGIN = 1e-2


def _logit(mean: Tensor) -> Tensor:
    return torch.logit(mean.clamp(LOGIT_MARGIN, 1.0 - LOGIT_MARGIN))


def solve_increasing(function: Callable[[Tensor], Tensor], wanted: Tensor, limit: float) -> Tensor:
    """Return where an increasing function has the values `wanted`, by bisection of [-limit, limit].

    Example:
        >>> solve_increasing(torch.exp, torch.tensor([1.0, 7.389056]), 8.0).round(decimals=4).tolist()
        [0.0, 2.0]
    """
    low, high = torch.full_like(wanted, -limit), torch.full_like(wanted, limit)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = function(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)


@dataclass(frozen=True)
class SquaredError(LikelihoodSpec):
    """Squared error, which is the Gaussian density of variance 1/2.

    ``-log p(x|z) = sum_j (x_j - xhat_j)**2 + (columns / 2) * log(pi)``; the loss leaves the constant out, so the
    reconstruction term is the squared error summed over columns, and scores keep it.

    Args:
        output: "linear", or "sigmoid" for data in [0, 1]; "auto" chooses by the data.

    Example:
        >>> import torch
        >>> SquaredError("linear").cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()
        2.0
    """

    kind: ClassVar[str] = "squared_error"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    constant: ClassVar[float] = 0.5 * math.log(math.pi)
    output: Annotated[str, OneOf("auto", "linear", "sigmoid")] = "auto"

    @property
    def support(self) -> str:  # type: ignore[override]
        return "unit" if self.output == "sigmoid" else "real"

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        return sum_observed((self.mean(parameters) - x).square(), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        value = parameters.squeeze(1)
        return torch.sigmoid(value) if self.output == "sigmoid" else value

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        # The variance is a convention here, not an estimate: its noise would only hide the row.
        return self.mean(parameters)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (_logit(mean) if self.output == "sigmoid" else mean).unsqueeze(0)


class _Bits(LikelihoodSpec):
    """The cross-entropy of logits, which is linear in x."""

    parameters: ClassVar[int] = 1  # type: ignore[misc]
    constant: ClassVar[float] = 0.0

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        logits = parameters.squeeze(1)
        # Linear in x, it would reward what lies outside [0, 1] without bound; such rows get no likelihood at all
        # (`Composition.log_likelihood`), and here the cost of the nearest row that has one.
        inside = self.domain.nearest(x)
        return sum_observed(F.binary_cross_entropy_with_logits(logits, inside, reduction="none"), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters.squeeze(1))

    @abstractmethod
    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return rows drawn from p(x|z), `(rows, *shape)`."""

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        return _logit(mean).unsqueeze(0)


@dataclass(frozen=True)
class BinaryCrossEntropy(_Bits):
    """Binary cross-entropy for values in [0, 1], grey levels taken as the means of Bernoulli variables.

    ``-log p(x|z) = -sum_j x_j log(xhat_j) + (1 - x_j) log(1 - xhat_j)``. For grey levels this is no normalised density
    (Loaiza-Ganem and Cunningham 2019, https://arxiv.org/abs/1907.06845; `ContinuousBernoulli` is one), so its nats
    compare only with each other; draws are the means.

    Example:
        >>> import torch
        >>> BinaryCrossEntropy().cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()  # 2 log 2
        1.3862943649291992
    """

    kind: ClassVar[str] = "binary_cross_entropy"
    support: ClassVar[str] = "unit"  # type: ignore[misc]

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.mean(parameters)


@dataclass(frozen=True)
class Bernoulli(_Bits):
    """Bernoulli likelihood for values that are 0 or 1; draws are bits.

    ``-log p(x|z) = -sum_j x_j log(p_j) + (1 - x_j) log(1 - p_j)``.

    Example:
        >>> import torch
        >>> Bernoulli().cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()  # 2 log 2
        1.3862943649291992
    """

    kind: ClassVar[str] = "bernoulli"
    support: ClassVar[str] = "binary"  # type: ignore[misc]

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.bernoulli(self.mean(parameters), generator=generator)


# Where |logit| is smaller, the closed forms lose digits by cancellation; the series are exact to 1e-13 there.
_NEAR_UNIFORM = 0.5


def _log_normaliser(logits: Tensor) -> Tensor:
    """Return ``log((exp(l) - 1) / l) - l / 2 = log(sinh(|l| / 2) / (|l| / 2))``."""
    size = logits.abs()
    near = size < _NEAR_UNIFORM
    squared = torch.where(near, 0.25 * logits.square(), 0.0)
    terms = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775)
    series = torch.zeros_like(logits)
    for term in reversed(terms):
        series = (series + term) * squared
    far = torch.where(near, 1.0, size)  # neither branch may have an infinite gradient where the other is taken
    return torch.where(near, series, 0.5 * far + torch.log1p(-torch.exp(-far)) - far.log())


def _uniform_mean(logits: Tensor) -> Tensor:
    """Return the continuous Bernoulli's mean, ``1 / (1 - exp(-l)) - 1 / l``."""
    size = logits.abs()
    near = size < _NEAR_UNIFORM
    small, far = torch.where(near, size, 0.0), torch.where(near, 1.0, size)
    terms = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
    series = torch.zeros_like(logits)
    for term in reversed(terms):
        series = series * small.square() + term
    above = torch.where(near, series * small, 1.0 / -torch.expm1(-far) - 1.0 / far - 0.5)
    return 0.5 + torch.where(logits < 0, -above, above)


@dataclass(frozen=True)
class ContinuousBernoulli(LikelihoodSpec):
    """Continuous Bernoulli density for values in [0, 1]: the cross-entropy, normalised.

    ``p(x|z) = prod_j C(l_j) p_j^x_j (1 - p_j)^(1 - x_j)`` with ``p_j = sigmoid(l_j)`` of the decoder's logit ``l_j``
    and ``C(l) = l / tanh(l / 2)``, which is 2 at ``l = 0``. The mean is ``1 / (1 - exp(-l)) - 1 / l``, and not
    ``sigmoid(l)``.

    Example:
        >>> import torch
        >>> ContinuousBernoulli().cost(torch.zeros(1, 1, 2), torch.rand(1, 2), None).item()  # uniform at l = 0
        0.0

    Paper: Loaiza-Ganem and Cunningham, The Continuous Bernoulli: Fixing a Pervasive Error in Variational Autoencoders,
    2019, https://arxiv.org/abs/1907.06845.
    """

    kind: ClassVar[str] = "continuous_bernoulli"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "unit"  # type: ignore[misc]
    constant: ClassVar[float] = 0.0

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        logits = parameters.squeeze(1)
        # -log p = log((exp(l) - 1) / l) - l x, written around the middle of [0, 1], where it is even in l.
        return sum_observed(_log_normaliser(logits) + logits * (0.5 - self.domain.nearest(x)), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return _uniform_mean(parameters.squeeze(1))

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        logits = parameters.squeeze(1)
        size = logits.abs()
        u = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
        # The inverse of the distribution function for l < 0; for l > 0 it is mirrored.
        far = size.clamp_min(1e-6)
        x = torch.where(size > far / 2, torch.log1p(u * torch.expm1(-far)) / -far, u)
        return torch.where(logits > 0, 1.0 - x, x).clamp(0.0, 1.0)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        return solve_increasing(_uniform_mean, mean.clamp(LOGIT_MARGIN, 1.0 - LOGIT_MARGIN), 128.0).unsqueeze(0)
