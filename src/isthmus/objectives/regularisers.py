"""Terms: KL, sparsity, norms, slopes of encoder and decoder, ordered latents."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from isthmus.errors import RecipeError, explain
from isthmus.objectives.base import Forward, Term
from isthmus.objectives.noise import signs
from isthmus.settings import AtLeast, CountOrNone, ListOf, NotNegative, Range


@dataclass(frozen=True)
class KL(Term):
    """The Kullback-Leibler divergence from posterior to prior: with weight 1, minus the evidence lower bound.

    ``sum_j max(KL_j, free_nats)`` over latents; a weight beta gives the beta-VAE, a `Linear` weight a warm-up.

    Args:
        free_nats: each latent's KL, averaged over the batch, is charged only above this (Kingma et al. 2016,
            https://arxiv.org/abs/1606.04934). 0 charges all of it.

    Example:
        >>> (4.0 * KL()).weight
        4.0

    Papers: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Higgins et al., beta-VAE, 2017.
    """

    kind: ClassVar[str] = "kl"
    advice: ClassVar[str] = "drop the term or use a gaussian code"
    free_nats: NotNegative = 0.0

    @property
    def needs(self) -> Set[str]:  # type: ignore[override]
        return frozenset({"kl", "latent_kl"}) if self.free_nats else frozenset({"kl"})

    def __call__(self, forward: Forward) -> Tensor:
        kl = forward.code.quantities["kl"]
        if not self.free_nats:
            return kl.flatten(1).sum(1)
        return kl.mean(0).flatten(1 if kl.ndim > 2 else 0).view(kl.shape[1], -1).sum(1).clamp_min(self.free_nats).sum()


@dataclass(frozen=True)
class Sparsity(Term):
    """The L1 norm of the latent, ``sum_j |z_j|``: few latents stay active for a row.

    Example:
        >>> (1e-3 * Sparsity()).term.kind
        'sparsity'
    """

    kind: ClassVar[str] = "sparsity"
    layerwise: ClassVar[bool] = True

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
    target: Annotated[float, Range(0.001, 0.999)] = 0.05

    def __call__(self, forward: Forward) -> Tensor:
        # float32 rounds a saturated sigmoid to 0 or 1, where the divergence is infinite.
        average = forward.code.mean.transpose(0, 1).flatten(1).mean(1).clamp(1e-6, 1.0 - 1e-6)
        rho = torch.full_like(average, self.target)
        on = rho * (rho.log() - average.log())
        off = (1.0 - rho) * ((1.0 - rho).log() - (1.0 - average).log())
        return (on + off).sum()


@dataclass(frozen=True)
class LatentNorm(Term):
    """Half the squared length of the latent, ``|z|**2 / 2``: minus the log-density of N(0, I), without its constant.

    Example:
        >>> (0.01 * LatentNorm()).term.kind
        'latent_norm'

    Paper: Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436.
    """

    kind: ClassVar[str] = "latent_norm"

    def __call__(self, forward: Forward) -> Tensor:
        z = forward.code.z
        return 0.5 * z.square().flatten(-forward.code.mean.ndim + 1).sum(-1)


def _squared_slopes(x: Tensor, outputs: Iterable[Tensor], *, keep: bool) -> Tensor:
    """Return ``sum over outputs of |d output / d x|**2``, `(rows,)`, for outputs `(rows,)` of independent rows."""
    total = x.new_zeros(len(x))
    for output in outputs:
        # Rows are independent, so the gradient of the sum over rows holds each row's own gradient.
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=keep, retain_graph=True)
        total = total + gradient.square().flatten(1).sum(1)
    return total


@dataclass(frozen=True)
class Contraction(Term):
    """The squared Frobenius norm of the encoder's Jacobian, ``sum_jk (d z_j / d x_k)**2``, for any network.

    Exact, with one backward pass for each latent, or estimated with one for each probe: ``mean over probes v of
    |J^T v|**2``, v of independent signs, whose expectation is the norm and whose variance for one probe is
    ``2 sum_(i != j) (J J^T)_ij**2``. The Jacobian is taken where the encoder was evaluated, at the corrupted row if
    there is a corruption. The network's rows must not depend on each other (no batch normalisation, no
    `batch_top_k` code).

    Args:
        probes: backward passes of the estimate, which codes wider than this get; None (null) for the exact norm of any
            code. Without gradients (validation) the signs are the same at every call.

    Example:
        >>> (0.1 * Contraction()).weight
        0.1

    Papers: Rifai et al., Contractive Auto-Encoders, ICML 2011; Hutchinson, A stochastic estimator of the trace of the
    influence matrix, 1990, https://doi.org/10.1080/03610919008812866.
    """

    kind: ClassVar[str] = "contraction"
    layerwise: ClassVar[bool] = True
    needs: ClassVar[Set[str]] = frozenset({"independent_rows"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.normalisation to layer or null, and use a code that reads each row alone"
    probes: CountOrNone = None

    def __call__(self, forward: Forward) -> Tensor:
        training = torch.is_grad_enabled()
        width = forward.code.mean[0].numel()
        exact = self.probes is None or width <= self.probes
        directions = None if exact else signs(self.probes or 1, forward.code.mean.flatten(1))
        with torch.enable_grad():
            x = forward.seen.x.detach().requires_grad_()
            z = forward.encode(x).flatten(1)
            outputs = z.unbind(1) if directions is None else (z * directions).sum(2).unbind(0)
            total = _squared_slopes(x, outputs, keep=training) / (1 if directions is None else len(directions))
        return total if training else total.detach()


@dataclass(frozen=True)
class DecoderGradient(Term):
    """The squared Frobenius norm of the decoder's Jacobian, ``sum_jk (d x^_j / d z_k)**2``: a smooth decoder.

    Estimated as ``mean over probes v of |J^T v|**2``, v of independent signs over the values of a row, x^ the expected
    row: unbiased, with one backward pass for each probe. Taken at the latents that are decoded. The network's rows must
    not depend on each other (no batch normalisation).

    Args:
        probes: backward passes. Without gradients (validation) the signs are the same at every call.

    Example:
        >>> (1e-3 * DecoderGradient()).term.probes
        1

    Paper: Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436
    (RAE-GP).
    """

    kind: ClassVar[str] = "decoder_gradient"
    needs: ClassVar[Set[str]] = frozenset({"independent_rows", "expectation"})  # type: ignore[misc]
    advice: ClassVar[str] = (
        "set network.normalisation to layer or null, and use a likelihood whose mean has gradients, such as normal"
    )
    probes: Annotated[int, AtLeast(1)] = 1

    def __call__(self, forward: Forward) -> Tensor:
        code, likelihood, training = forward.code, forward.likelihood, torch.is_grad_enabled()
        if likelihood is None:
            raise RecipeError("this pass has no likelihood, so it has no expected rows")
        several = code.z.ndim > code.mean.ndim
        values = []
        for latents in code.z if several else [code.z]:
            directions = signs(self.probes, forward.batch.wanted.flatten(1))
            with torch.enable_grad():
                # Training moves the latents too: the slope is to fall where the codes are.
                z = latents if training and latents.requires_grad else latents.detach().requires_grad_()
                rows = likelihood.mean(forward.decode(z)).flatten(1)
                values.append(_squared_slopes(z, (rows * directions).sum(2).unbind(0), keep=training) / self.probes)
        total = torch.stack(values) if several else values[0]
        return total if training else total.detach()


@dataclass(frozen=True)
class Nested(Term):
    """The cost of the row rebuilt from the first latents alone, so that latents are ordered and any prefix decodes.

    ``mean over n of -log p(x | z_1 .. z_n, 0 .. 0)`` in nats, without the likelihood's constant, for the numbers n in
    `prefixes`. A linear autoencoder with this term finds the principal components, in their order. One decoder pass
    for each number.

    Args:
        prefixes: rising numbers of latents; None (null) for 1, 2, 4, ... Those that are not smaller than the code,
            whose cost is in the loss already, are left out.

    Example:
        >>> Nested().numbers(20), Nested(prefixes=(3, 10)).numbers(8)
        ((1, 2, 4, 8, 16), (3,))

    Papers: Rippel et al., Learning Ordered Representations with Nested Dropout, 2014, https://arxiv.org/abs/1402.0915;
    Kusupati et al., Matryoshka Representation Learning, 2022, https://arxiv.org/abs/2205.13147.
    """

    kind: ClassVar[str] = "nested"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false"
    prefixes: Annotated[tuple[int, ...] | None, ListOf(AtLeast(1), "rising numbers of latents", "[1, 2, 4]")] = None

    def check_together(self) -> None:
        if self.prefixes is not None and list(self.prefixes) != sorted(set(self.prefixes)):
            expected, where = "rising numbers of latents", "objective.nested.prefixes"
            raise RecipeError(f"{where}: " + explain(expected, repr(self.prefixes), "[1, 2, 4]"))

    def numbers(self, latents: int) -> tuple[int, ...]:
        """Return the prefixes of a code of a width."""
        numbers = tuple(2**i for i in range(latents.bit_length())) if self.prefixes is None else self.prefixes
        return tuple(number for number in numbers if number < latents)

    def __call__(self, forward: Forward) -> Tensor:
        code = forward.code
        latents = code.mean.shape[1]
        several = code.z.ndim > code.mean.ndim
        place = torch.arange(latents, device=code.z.device).view(-1, *[1] * (code.mean.ndim - 2))
        values = []
        for z in code.z if several else [code.z]:
            costs = [forward.cost_of(z * (place < number)) for number in self.numbers(latents)]
            values.append(torch.stack(costs).mean(0) if costs else z.new_zeros(len(z)))
        return torch.stack(values) if several else values[0]
