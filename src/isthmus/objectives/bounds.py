"""Terms that change the bound: importance weights, total correlation, a capacity."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, cast

import torch
from torch import Tensor

from isthmus.errors import RecipeError
from isthmus.objectives.base import Forward, Term
from isthmus.settings import AtLeast, NotNegative, PositiveShare

_LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class ImportanceWeighted(Term):
    """The KL that is left of the K-sample bound: cost + 1 * this term is exactly ``-L_K``.

    ``-L_K - mean_k cost_k`` with ``L_K = log mean_k exp(log w_k)``, ``log w_k = -cost_k + log p(z_k) - log q(z_k|x)``
    and K latents ``z_k`` drawn for each row. On average L_K rises with K towards log p(x); L_1 is the evidence lower
    bound, and the term then a sampled KL. It replaces `kl`.

    Costs leave out values that were not observed, so for rows with missing values the same term is the bound of MIWAE
    (Mattei and Frellsen 2019, https://arxiv.org/abs/1812.02633).

    With `doubly_reparameterised` the encoder's gradient is ``sum_k share_k**2 (d log w_k / d z_k) (d z_k / d phi)``,
    ``share = softmax(log w)``, in which the encoder's parameters move the density q no more, only the latents. It has
    the same expectation as the plain one, whose signal drowns in noise as K grows, and costs one backward pass more
    through the decoder's activations. It is added to this term's own gradient and to no other, so that any weight,
    schedule and other term may be combined with it.

    Args:
        samples: K, the latents drawn for each row; the decoder computes all of them.
        doubly_reparameterised: whether the encoder's gradient is the one of lower variance.

    Example:
        >>> (1.0 * ImportanceWeighted(samples=5)).term.samples
        5

    Papers: Burda et al., Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519; Tucker et al.,
    Doubly Reparameterized Gradient Estimators, 2019, https://arxiv.org/abs/1810.04152.
    """

    kind: ClassVar[str] = "importance_weighted"
    needs: ClassVar[Set[str]] = frozenset({"posterior"})  # type: ignore[misc]
    advice: ClassVar[str] = "use a variational code, such as the gaussian one"
    excludes: ClassVar[Set[str]] = frozenset({"kl", "capacity"})
    samples: Annotated[int, AtLeast(1)] = 50
    doubly_reparameterised: bool = True

    def __call__(self, forward: Forward) -> Tensor:
        code, cost = forward.code, forward.reconstruction
        posterior, prior = code.posterior, code.prior
        if posterior is None or prior is None:
            raise RecipeError("this code reports no posterior and prior; try a variational one, such as gaussian")
        doubly = self.doubly_reparameterised and torch.is_grad_enabled() and code.z.requires_grad
        if doubly:
            posterior = posterior.detached()
        log_weights = prior.log_density(code.z) - posterior.log_density(code.z) - cost
        if code.z.ndim == code.mean.ndim:
            log_weights, cost = log_weights.unsqueeze(0), cost.unsqueeze(0)
        bound = torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
        if doubly:
            bound = bound + _squared_shares(log_weights, code.z)
        return -bound - cost.mean(0)


def _squared_shares(log_weights: Tensor, z: Tensor) -> Tensor:
    """Return zeros `(rows,)` whose gradient turns ``share_k d log w_k / d z_k`` into ``share_k**2 d log w_k / d z_k``.

    A hook on z could do it without a second pass, but it would scale what the cost and other terms send there too.
    """
    (gradient,) = torch.autograd.grad(log_weights.sum(), z, retain_graph=True)
    share = log_weights.detach().softmax(0)
    gradient = gradient.reshape(*log_weights.shape, -1)
    missing = (share.square() - share).unsqueeze(-1) * gradient
    surrogate = (missing * z.reshape(gradient.shape)).sum((0, -1))
    return surrogate - surrogate.detach()


class _DiagonalDensity(Protocol):
    """What a code that provides `diagonal_posterior` gives as its posterior: a normal density for each latent."""

    @property
    def mean(self) -> Tensor:
        """`(rows, latent, *positions)`."""

    @property
    def log_variance(self) -> Tensor:
        """`(rows, latent, *positions)`."""


@dataclass(frozen=True)
class TotalCorrelation(Term):
    """How far the latents depend on each other over the data: ``E[log q(z) - sum_j log q(z_j)]``, in nats.

    ``q(z) = mean over rows of q(z|x)``, estimated from the rows of the batch, each with the weight that makes the
    estimate of q(z) unbiased: a latent's own row ``1 / rows``, the other rows the rest in equal parts. (It is a part of
    the average KL, which is the sum of the mutual information of row and code, this term, and the divergence of each
    latent's own density from its prior.) `KL` with ``beta - 1`` times this term is the beta-TC-VAE.

    Memory and time grow with the batch's rows squared times the latents and positions.

    Args:
        rows: of the training data, which the estimate speaks of; None takes the batch for the whole. The smaller the
            batch, the more its own row counts and the higher the value is with None; Chen et al. give the number.

    Example:
        >>> from isthmus.objectives import KL, Reconstruction, SquaredError
        >>> (Reconstruction(SquaredError()) + 1.0 * KL() + 5.0 * TotalCorrelation()).weights(1.0)
        {'kl': 1.0, 'total_correlation': 5.0}

    Paper: Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, https://arxiv.org/abs/1802.04942 (their
    stratified weights, with the other rows' parts made equal).
    """

    kind: ClassVar[str] = "total_correlation"
    needs: ClassVar[Set[str]] = frozenset({"diagonal_posterior"})  # type: ignore[misc]
    advice: ClassVar[str] = "use a gaussian code, or drop the term"
    minimum_batch: ClassVar[int] = 2
    rows: Annotated[int | None, AtLeast(2)] = None

    def __call__(self, forward: Forward) -> Tensor:
        posterior = cast(_DiagonalDensity, forward.code.posterior)
        mean, log_variance = posterior.mean.flatten(1), posterior.log_variance.flatten(1)
        z = forward.code.z.flatten(-forward.code.mean.ndim + 1).unsqueeze(-2)
        nats = -0.5 * ((z - mean).square() * torch.exp(-log_variance) + log_variance + _LOG_TWO_PI)
        weights = self._log_weights(mean)
        joint = torch.logsumexp(nats.sum(-1) + weights, -1)
        each = torch.logsumexp(nats + weights.unsqueeze(-1), -2).sum(-1)
        return joint - each

    def _log_weights(self, mean: Tensor) -> Tensor:
        """Return the log-weights `(rows, rows)` of every row's posterior in the density at every row's latent."""
        batch = len(mean)
        if batch == 1:
            return mean.new_zeros(1, 1)
        rows = max(batch, self.rows or batch)
        other = math.log((rows - 1) / (rows * (batch - 1)))
        weights = mean.new_full((batch, batch), other)
        return weights.fill_diagonal_(-math.log(rows))


@dataclass(frozen=True)
class Capacity(Term):
    """How far the KL is from a capacity that grows: ``|mean KL - C|`` in nats, KL summed over latents.

    ``C`` rises linearly from 0 to `end` over a share of the training steps and stays; validation always uses `end`.
    A large weight (100 or more) holds the KL at C, so that latents open one by one as it grows. A quantity of the
    batch, not of a row. It replaces `kl`.

    Args:
        end: the final capacity in nats.
        over: share of the training steps over which it is reached, in (0, 1].

    Example:
        >>> (100.0 * Capacity(end=25.0)).term.capacity(0.25)
        12.5

    Paper: Burgess et al., Understanding disentangling in beta-VAE, 2018, https://arxiv.org/abs/1804.03599.
    """

    kind: ClassVar[str] = "capacity"
    needs: ClassVar[Set[str]] = frozenset({"kl"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term or use a gaussian code"
    excludes: ClassVar[Set[str]] = frozenset({"kl", "importance_weighted"})
    end: NotNegative = 25.0
    over: PositiveShare = 0.5

    def capacity(self, progress: float) -> float:
        """Return C at a share of the training steps."""
        return self.end * min(1.0, progress / self.over)

    def __call__(self, forward: Forward) -> Tensor:
        kl = forward.code.quantities["kl"].flatten(1).sum(1).mean()
        return (kl - self.capacity(forward.progress)).abs()
