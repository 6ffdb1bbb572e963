"""Likelihoods of counts and of categories.

The probabilities of counts are written by deviances and by the error of Stirling's formula (Loader, Fast and Accurate
Computation of Binomial Probabilities, 2000): each part is as small as the result, where the difference of log-gamma
functions that a textbook gives loses all digits of float32 at counts of some thousands.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.objectives.base import Likelihood, LikelihoodSpec
from isthmus.objectives.reconstruction import LOGIT_MARGIN, solve_increasing, sum_observed
from isthmus.objectives.support import SUPPORTS, Support
from isthmus.schema import Schema
from isthmus.settings import AtLeast, OneOf, Range

# A column that is zero in all training rows would ask for an infinite logarithm.
_LEAST_MEAN = 1e-4
# exp() of this is far above any count that float32 tells from the next.
_LARGEST_LOG_MEAN = 40.0
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def _stirling_error(x: Tensor) -> Tensor:
    """Return ``log Gamma(x + 1) - (x + 1/2) log x + x - log(2 pi) / 2`` for ``x > 0``."""
    small, large = x.clamp_max(16.0), x.clamp_min(16.0)
    inverse = 1.0 / large
    square = inverse.square()
    series = inverse * (1 / 12 + square * (-1 / 360 + square * (1 / 1260 + square * (-1 / 1680))))
    return torch.where(
        x > 16.0, series, torch.lgamma(small + 1.0) - (small + 0.5) * small.log() + small - _HALF_LOG_TWO_PI
    )


def _deviance(x: Tensor, log_ratio: Tensor) -> Tensor:
    """Return ``x log(x / m) + m - x`` for ``log_ratio = log(x / m)``."""
    return x * (log_ratio + torch.expm1(-log_ratio))


def _poisson_nats(x: Tensor, log_mean: Tensor) -> Tensor:
    """Return ``m - x log m + log x!``, minus the log-probability of the count x for the mean m."""
    some = x.clamp_min(1.0)
    nats = _deviance(some, some.log() - log_mean) + _stirling_error(some) + 0.5 * some.log() + _HALF_LOG_TWO_PI
    return torch.where(x > 0, nats, log_mean.exp())


@dataclass(frozen=True)
class Poisson(LikelihoodSpec):
    """Poisson likelihood of counts; the decoder gives the logarithm of each mean.

    ``-log p(x|z) = sum_j mean_j - x_j log(mean_j) + log(x_j!)``. The variance is the mean; for counts that vary more
    there is `NegativeBinomial`. Rows are counts as they are: preprocessing "auto" leaves them unscaled.

    Example:
        >>> import torch
        >>> Poisson().cost(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]]), None).item()
        2.0
    """

    kind: ClassVar[str] = "poisson"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "counts"  # type: ignore[misc]
    constant: ClassVar[float] = 0.0

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        log_mean = parameters.squeeze(1).clamp(max=_LARGEST_LOG_MEAN)
        return sum_observed(_poisson_nats(self.domain.nearest(x), log_mean), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.squeeze(1).clamp(max=_LARGEST_LOG_MEAN).exp()

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return _draw_poisson(self.mean(parameters), generator)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        return mean.clamp_min(_LEAST_MEAN).log().unsqueeze(0)


def _draw_poisson(mean: Tensor, generator: torch.Generator | None) -> Tensor:
    # torch counts in 64-bit integers on the way.
    return torch.poisson(mean.clamp_max(1e15), generator=generator)


@dataclass(frozen=True)
class NegativeBinomial(LikelihoodSpec):
    """Negative binomial likelihood of counts that vary more than Poisson's; the decoder gives each log-mean.

    With ``r_j = 1 / dispersion_j``, ``-log p(x|z) = sum_j log Gamma(r_j) + log(x_j!) - log Gamma(x_j + r_j)
    - r_j log(r_j / (r_j + mean_j)) - x_j log(mean_j / (r_j + mean_j))``. The variance is
    ``mean + dispersion * mean**2``; where the dispersion goes to zero this is `Poisson`.

    Args:
        dispersion: "column": one learned dispersion for each column; a number above 0: fixed.

    Example:
        >>> import torch
        >>> geometric = NegativeBinomial(dispersion=1.0).build((1,))
        >>> geometric.cost(torch.zeros(1, 1, 1), torch.zeros(1, 1), None).item()  # log 2
        0.69314...

    Paper: Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, Nature Methods 2018.
    """

    kind: ClassVar[str] = "negative_binomial"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "counts"  # type: ignore[misc]
    dispersion: Annotated[str | float, OneOf("column"), Range(0, open_low=True)] = "column"

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return NegativeBinomialLikelihood(self, row)


# Beyond these the density is Poisson's, or all but zero everywhere.
_LOG_DISPERSION_RANGE = (-15.0, 15.0)


class NegativeBinomialLikelihood(nn.Module):
    """The likelihood that `NegativeBinomial` describes; it owns the columns' log-dispersions."""

    constant = 0.0
    support = "counts"

    def __init__(self, spec: NegativeBinomial, row: tuple[int, ...]) -> None:
        super().__init__()
        self.row = row
        start = torch.zeros(math.prod(row))
        if isinstance(spec.dispersion, str):
            self.log_dispersion = nn.Parameter(start)
        else:
            self.register_buffer("log_dispersion", start + math.log(spec.dispersion))

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density."""
        return SUPPORTS[self.support].holds(x)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-means and ``log r``."""
        log_dispersion = self.log_dispersion.view(self.row).clamp(*_LOG_DISPERSION_RANGE)
        return parameters.squeeze(1).clamp(max=_LARGEST_LOG_MEAN), -log_dispersion

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        x = SUPPORTS[self.support].nearest(x)
        log_mean, log_r = self._split(parameters)
        mean, r = log_mean.exp(), log_r.exp()
        some = x.clamp_min(1.0)
        log_trials = (r + some).log()
        log_ratio = (r + mean).log() - log_trials  # r over its expected share of the r + x trials; u in the paper's D
        nats = (
            _deviance(r.expand_as(some), log_ratio)
            + _deviance(some, some.log() - log_mean + log_ratio)
            + _stirling_error(some)
            + _stirling_error(r)
            - _stirling_error(r + some)
            + 0.5 * (some.log() - log_r + log_trials)
            + _HALF_LOG_TWO_PI
        )
        return sum_observed(torch.where(x > 0, nats, r * torch.log1p(mean / r)), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected counts `(rows, *shape)`."""
        return self._split(parameters)[0].exp()

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return counts drawn from p(x|z), `(rows, *shape)`: Poisson, with a gamma distributed mean."""
        log_mean, log_r = self._split(parameters)
        r = log_r.exp().expand_as(log_mean).contiguous()
        # The gamma of torch.distributions takes no generator; this is what it calls.
        gamma = torch._standard_gamma(r, generator=generator)
        return _draw_poisson(gamma * log_mean.exp() / r, generator)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the log-means `(1, *shape)` of a constant guess; learned dispersions are set to it."""
        mean = mean.clamp_min(_LEAST_MEAN)
        if isinstance(self.log_dispersion, nn.Parameter):
            with torch.no_grad():
                dispersion = ((variance - mean) / mean.square()).clamp(1e-2, 1e2)
                self.log_dispersion.copy_(dispersion.log().flatten())
        return mean.log().unsqueeze(0)


@dataclass(frozen=True)
class Multinomial(LikelihoodSpec):
    """Multinomial likelihood of rows of counts: one softmax over all values of the row, given the row's total.

    ``-log p(x|z, n) = -sum_j x_j log(p_j) - log(n! / prod_j x_j!)`` with ``n = sum_j x_j`` and ``p = softmax``. Where
    values were not observed, it is the likelihood of the others given their own total. What a total is, the likelihood
    does not say: `mean` and `draw` take the average total of the training rows.

    Example:
        >>> import torch
        >>> Multinomial().build((2,)).cost(torch.zeros(1, 1, 2), torch.tensor([[1.0, 1.0]]), None).item()  # log 2
        0.69314...

    Paper: Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, https://arxiv.org/abs/1802.05814
    (without the coefficient, which no parameter changes).
    """

    kind: ClassVar[str] = "multinomial"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "counts"  # type: ignore[misc]

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return MultinomialLikelihood()


class MultinomialLikelihood(nn.Module):
    """The likelihood that `Multinomial` describes; it keeps the average total of the training rows.

    Attributes:
        total: counts in a row of `mean` and `draw`; 1 until `output_bias` sets it, so that the mean is probabilities.
    """

    constant = 0.0
    support = "counts"
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(1))

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density."""
        return SUPPORTS[self.support].holds(x)

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        x, logits = SUPPORTS[self.support].nearest(x).flatten(1), parameters.flatten(1)
        seen = torch.ones_like(x).bool() if mask is None else mask.flatten(1).bool()
        x = torch.where(seen, x, 0.0)
        log_p = torch.log_softmax(logits.masked_fill(~seen, torch.finfo(logits.dtype).min), 1)
        total = x.sum(1, keepdim=True)
        log_total = total.clamp_min(1.0).log()
        # Counts of a given total are independent Poisson counts, divided by the probability of their total.
        log_mean = log_total + torch.where(seen, log_p, 0.0)
        nats = torch.where(seen, _poisson_nats(x, log_mean), 0.0)
        cost = nats.sum(1) - _poisson_nats(total, log_total).squeeze(1)
        return torch.where(total.squeeze(1) > 0, cost, 0.0)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected counts `(rows, *shape)` of a row with the average total."""
        probabilities = torch.softmax(parameters.flatten(1), 1)
        return self.total * probabilities.view(-1, *parameters.shape[2:])

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return counts `(rows, *shape)` with the average total, rounded."""
        p = torch.softmax(parameters.flatten(1), 1)
        rest = p.flip(1).cumsum(1).flip(1)
        chance = torch.where(rest > 0, p / rest, 1.0).clamp(0.0, 1.0)
        chance[:, -1] = 1.0
        left = self.total.round().to(p).expand(len(p)).contiguous()
        drawn = torch.empty_like(p)
        for column in range(p.shape[1]):
            drawn[:, column] = torch.binomial(left, chance[:, column].contiguous(), generator=generator)
            left = left - drawn[:, column]
        return drawn.view(-1, *parameters.shape[2:])

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the logits `(1, *shape)` of a constant guess; the average total is set to it."""
        with torch.no_grad():
            self.total.copy_(mean.sum().clamp_min(1.0))
        return mean.clamp_min(_LEAST_MEAN).log().unsqueeze(0)


# More than this is a table of identifiers or of measurements, not of categories.
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Categorical(LikelihoodSpec):
    """Categorical likelihood: each value of a row is a category, a whole number from 0 to `classes` - 1.

    ``-log p(x|z) = -sum_j log softmax(logits_j)[x_j]``: the decoder gives `classes` logits for each value. `mean` is
    the most probable category, since an average of categories is none; draws are categories.

    Args:
        classes: number of categories, 2 at least; "auto" is one more than the highest number in the training rows.

    Example:
        >>> import torch
        >>> Categorical(classes=4).cost(torch.zeros(1, 4, 1), torch.tensor([[3.0]]), None).item()  # log 4
        1.38629...
    """

    kind: ClassVar[str] = "categorical"
    provides: ClassVar[Set[str]] = frozenset()  # type: ignore[misc]
    support: ClassVar[str] = "categories"  # type: ignore[misc]
    constant: ClassVar[float] = 0.0
    classes: Annotated[int | Literal["auto"], AtLeast(2)] = "auto"

    @property
    def parameters(self) -> int:  # type: ignore[override]
        if self.classes == "auto":
            raise RecipeError("the number of classes is still 'auto'; try recipe.resolve(schema, rows) first")
        return self.classes

    @property
    def domain(self) -> Support:
        support = SUPPORTS[self.support]
        if self.classes == "auto":
            return support
        return replace(support, high=self.classes - 1.0, words=f"whole numbers from 0 to {self.classes - 1}")

    def resolve(self, schema: Schema) -> LikelihoodSpec:
        if self.classes != "auto":
            return self
        if not schema.high < _MOST_CLASSES:
            got = f"values up to {schema.high:g}"
            raise RecipeError(
                "objective.likelihood.classes: "
                + explain(f"at most {_MOST_CLASSES} categories where they are counted", got, "their number")
            )
        return replace(self, classes=max(2, math.floor(schema.high) + 1))

    def build(self, row: tuple[int, ...]) -> Likelihood:
        return self

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        category = self.domain.nearest(x).long()
        return sum_observed(F.cross_entropy(parameters, category, reduction="none"), mask)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.argmax(1).to(parameters.dtype)

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        p = torch.softmax(parameters, 1).movedim(1, -1)
        drawn = torch.multinomial(p.reshape(-1, self.parameters), 1, generator=generator)
        return drawn.view(p.shape[:-1]).to(parameters.dtype)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        # Of all distributions over the numbers with this mean, the one that says least else.
        last = self.parameters - 1.0
        numbers = torch.arange(self.parameters, dtype=mean.dtype, device=mean.device)

        def mean_of(slope: Tensor) -> Tensor:
            return (torch.softmax(slope.unsqueeze(-1) * numbers, -1) * numbers).sum(-1)

        margin = LOGIT_MARGIN * last
        slope = solve_increasing(mean_of, mean.clamp(margin, last - margin), 64.0)
        return (slope.unsqueeze(-1) * (numbers - last / 2)).movedim(-1, 0)
