"""Likelihoods: how well the decoder's parameters explain a row."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import check_choice, check_number
from isthmus.objectives.base import Likelihood, LikelihoodSpec, Objective


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
_LOGIT_MARGIN = 1e-2


def _logit(mean: Tensor) -> Tensor:
    return torch.logit(mean.clamp(_LOGIT_MARGIN, 1.0 - _LOGIT_MARGIN))


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
    output: str = "auto"

    def __post_init__(self) -> None:
        check_choice("objective.likelihood.output", self.output, ["auto", "linear", "sigmoid"])

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


@dataclass(frozen=True)
class BinaryCrossEntropy(LikelihoodSpec):
    """Binary cross-entropy for values in [0, 1], grey levels taken as the means of Bernoulli variables.

    ``-log p(x|z) = -sum_j x_j log(xhat_j) + (1 - x_j) log(1 - xhat_j)``. For grey levels this is no normalised density
    (Loaiza-Ganem and Cunningham 2019, https://arxiv.org/abs/1907.06845), so its nats compare only with each other;
    draws are the means.

    Example:
        >>> import torch
        >>> BinaryCrossEntropy().cost(torch.zeros(1, 1, 2), torch.ones(1, 2), None).item()  # 2 log 2
        1.3862943649291992
    """

    kind: ClassVar[str] = "binary_cross_entropy"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "unit"  # type: ignore[misc]
    constant: ClassVar[float] = 0.0

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        logits = parameters.squeeze(1)
        # Linear in x, it would reward what lies outside [0, 1] without bound; such rows get no likelihood at all
        # (`Composition.log_likelihood`), and here the cost of the nearest row that has one.
        inside = x.clamp(0.0, 1.0)
        return sum_observed(F.binary_cross_entropy_with_logits(logits, inside, reduction="none"), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters.squeeze(1))

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.mean(parameters)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        return _logit(mean).unsqueeze(0)


@dataclass(frozen=True)
class Bernoulli(BinaryCrossEntropy):
    """Bernoulli likelihood for values that are 0 or 1; draws are bits."""

    kind: ClassVar[str] = "bernoulli"
    support: ClassVar[str] = "binary"  # type: ignore[misc]

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.bernoulli(self.mean(parameters), generator=generator)


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
    variance: str | float = "column"
    floor: float = 1e-4

    def __post_init__(self) -> None:
        if isinstance(self.variance, str):
            check_choice("objective.likelihood.variance", self.variance, ["column", "row"])
        else:
            check_number("objective.likelihood.variance", self.variance, 0.0, open_low=True)
        check_number("objective.likelihood.floor", self.floor, 0.0, 1.0)

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return 2 if self.variance == "row" else 1

    @property
    def provides(self) -> Set[str]:  # type: ignore[override]
        return frozenset({"variance"})

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return NormalLikelihood(self, row)


class NormalLikelihood(nn.Module):
    """The likelihood that `Normal` describes; it owns the columns' log-variances."""

    constant = 0.0
    support = "real"

    def __init__(self, spec: Normal, row: tuple[int, ...]) -> None:
        super().__init__()
        self.by_row = spec.variance == "row"
        self.floor = 0.0 if isinstance(spec.variance, float | int) else spec.floor
        # Flat, since only matrices are meant to decay (`isthmus.training.optimise`).
        self.row = row
        start = torch.zeros(math.prod(row))
        if spec.variance == "column":
            self.log_variance = nn.Parameter(start)
        else:
            fixed = float(spec.variance) if isinstance(spec.variance, float | int) else 1.0
            self.register_buffer("log_variance", start + math.log(fixed))

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        if self.by_row:
            mean, log_variance = parameters.unbind(1)
        else:
            mean, log_variance = parameters.squeeze(1), self.log_variance.view(self.row)
        return mean, log_variance.clamp(max=20.0).exp() + self.floor

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        mean, variance = self._split(parameters)
        nats = 0.5 * ((x - mean).square() / variance + variance.log()) + _HALF_LOG_TWO_PI
        return sum_observed(nats, mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return self._split(parameters)[0]

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, variance = self._split(parameters)
        return mean + variance.sqrt() * torch.randn(
            mean.shape, dtype=mean.dtype, device=mean.device, generator=generator
        )

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        # The floor is added to what is learned, so it is taken off here.
        log_variance = (variance - self.floor).clamp_min(1e-6).log()
        if self.by_row:
            return torch.stack([mean, log_variance])
        if isinstance(self.log_variance, nn.Parameter):
            with torch.no_grad():
                self.log_variance.copy_(log_variance.flatten())
        return mean.unsqueeze(0)
