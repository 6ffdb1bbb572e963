"""Terms: rate, sparsity, contraction."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.errors import check_number
from isthmus.objectives.base import Forward, Term


@dataclass(frozen=True)
class Rate(Term):
    """The Kullback-Leibler divergence from posterior to prior: with weight 1, minus the evidence lower bound.

    ``sum_j max(KL_j, free_nats)`` over latents; a weight beta gives the beta-VAE, a `Linear` weight a warm-up.

    Args:
        free_nats: each latent's KL, averaged over the batch, is charged only above this (Kingma et al. 2016,
            https://arxiv.org/abs/1606.04934). 0 charges all of it.

    Example:
        >>> (4.0 * Rate()).weight
        4.0

    Papers: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Higgins et al., beta-VAE, 2017.
    """

    kind: ClassVar[str] = "rate"
    needs: ClassVar[Set[str]] = frozenset({"kl"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term or use a gaussian code"
    free_nats: float = 0.0

    def __post_init__(self) -> None:
        check_number("objective.rate.free_nats", self.free_nats, 0.0)

    def __call__(self, forward: Forward) -> Tensor:
        kl = forward.code.quantities["kl"]
        if not self.free_nats:
            return kl.flatten(1).sum(1)
        return kl.mean(0).clamp_min(self.free_nats).sum()


@dataclass(frozen=True)
class Sparsity(Term):
    """The L1 norm of the latent, ``sum_j |z_j|``: few latents stay active for a row.

    Example:
        >>> (1e-3 * Sparsity()).term.kind
        'sparsity'
    """

    kind: ClassVar[str] = "sparsity"

    def __call__(self, forward: Forward) -> Tensor:
        z = forward.code.z
        return z.abs().flatten(-forward.code.mean.ndim + 1).sum(-1)


@dataclass(frozen=True)
class SparsityTarget(Term):
    """Divergence of each latent's average activation from a target, summed over latents.

    ``sum_j target log(target / a_j) + (1 - target) log((1 - target) / (1 - a_j))`` with ``a_j`` the mean of latent j
    over the batch (and positions): a quantity of the batch, not of a row.

    Args:
        target: wanted average activation, in (0, 1).

    Example:
        >>> SparsityTarget(target=0.05).needs
        frozenset({'unit_interval'})

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """

    kind: ClassVar[str] = "sparsity_target"
    needs: ClassVar[Set[str]] = frozenset({"unit_interval"})  # type: ignore[misc]
    advice: ClassVar[str] = "set code.activation=sigmoid or use the L1 term `sparsity`"
    target: float = 0.05

    def __post_init__(self) -> None:
        check_number("objective.sparsity_target.target", self.target, 0.001, 0.999)

    def __call__(self, forward: Forward) -> Tensor:
        # float32 rounds a saturated sigmoid to 0 or 1, where the divergence is infinite.
        average = forward.code.mean.transpose(0, 1).flatten(1).mean(1).clamp(1e-6, 1.0 - 1e-6)
        rho = torch.full_like(average, self.target)
        on = rho * (rho.log() - average.log())
        off = (1.0 - rho) * ((1.0 - rho).log() - (1.0 - average).log())
        return (on + off).sum()


@dataclass(frozen=True)
class Contraction(Term):
    """The squared Frobenius norm of the encoder's Jacobian, ``sum_jk (d z_j / d x_k)**2``, exact for any network.

    One backward pass for each latent. The Jacobian is taken where the encoder was evaluated, at the corrupted row if
    there is a corruption. The network's rows must not depend on each other (no batch normalisation, no
    `batch_top_k` code).

    Example:
        >>> (0.1 * Contraction()).weight
        0.1

    Paper: Rifai et al., Contractive Auto-Encoders, ICML 2011.
    """

    kind: ClassVar[str] = "contraction"
    needs: ClassVar[Set[str]] = frozenset({"independent_rows"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.normalisation to layer or null, and use a code that reads each row alone"

    def __call__(self, forward: Forward) -> Tensor:
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            x = forward.seen.x.detach().requires_grad_()
            z = forward.encode(x).flatten(1)
            total = x.new_zeros(x.shape[0])
            for unit in z.unbind(1):
                # Rows are independent, so the gradient of the sum over rows holds each row's own gradient.
                (gradient,) = torch.autograd.grad(unit.sum(), x, create_graph=training, retain_graph=True)
                total = total + gradient.square().flatten(1).sum(1)
        return total if training else total.detach()
