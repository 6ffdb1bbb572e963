"""Terms of the sparse codes: dead latents, the number of active ones, the gate."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.objectives.base import Forward, Term
from isthmus.settings import CountOrNone, NotNegative


@dataclass(frozen=True)
class Auxiliary(Term):
    """Revives dead latents: the most activated of them rebuild what the reconstruction leaves over (AuxK).

    ``cost(x, xhat + D(z + z_dead) - D(z))``, with D the decoder, ``xhat = D(z)`` and z_dead the pre-activations of
    the dead latents, of each row the `k_aux` largest, and zero elsewhere. No gradient goes to xhat and z, so the
    living latents do not move for the dead ones. For a linear decoder of weights W and the squared error this is
    ``|(x - xhat) - W z_dead|**2``. The gradient reaches the encoder through z_dead, also where a pre-activation is
    negative. Zero, and free, while no latent is dead. Costs two more passes of the decoder while some are.

    Which latents are dead is the code's to say (`dead_after`).

    Args:
        k_aux: dead latents that take part, for each row; None (null) is half as many as the row has values, as in the
            paper. Where fewer are dead, all of them do.

    Example:
        >>> (1 / 32 * Auxiliary()).weight
        0.03125

    Paper: Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093 (A.2).
    """

    kind: ClassVar[str] = "auxiliary"
    needs: ClassVar[Set[str]] = frozenset({"dead_latents"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term or use a sparse code, such as top_k"
    k_aux: CountOrNone = None

    def __call__(self, forward: Forward) -> Tensor:
        dead = forward.code.quantities["dead"]
        if not bool(dead[:1].any()):  # the same for each row
            return forward.batch.x.new_zeros(forward.batch.rows)
        z = forward.code.mean.detach()
        k = max(1, forward.batch.x[0].numel() // 2) if self.k_aux is None else self.k_aux
        revived = self._most_activated(forward.code.quantities["preactivations"], dead, k)
        before = forward.decode(z)
        # The value is that of D(z + z_dead); what the decoder learns is the difference that z_dead makes.
        parameters = forward.decode(z + revived) - (before - before.detach())
        return forward.cost_of_parameters(parameters)

    @staticmethod
    def _most_activated(preactivations: Tensor, dead: Tensor, k: int) -> Tensor:
        """Return the k largest pre-activations of dead latents in their places, and zero elsewhere."""
        ranked = preactivations.detach().masked_fill(~dead, -torch.inf)
        latents = ranked.topk(min(k, ranked.shape[1]), 1, sorted=False).indices
        chosen = torch.zeros_like(dead, memory_format=torch.contiguous_format).scatter(1, latents, True) & dead
        return preactivations * chosen


@dataclass(frozen=True)
class L0(Term):
    """How many latents are active, ``sum_j [f_j > theta_j]``, with a gradient to the learned thresholds.

    The weight says what an active latent costs: with unit decoder columns and the squared error, a latent pays for
    itself if its activation is above the square root of the weight.

    Example:
        >>> (0.2 * L0()).term.kind
        'l0'

    Paper: Rajamanoharan et al., Jumping Ahead, 2024, https://arxiv.org/abs/2407.14435.
    """

    kind: ClassVar[str] = "l0"
    needs: ClassVar[Set[str]] = frozenset({"l0_gradient"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term, use the L1 term `sparsity`, or use a jump_relu code"

    def __call__(self, forward: Forward) -> Tensor:
        return forward.code.quantities["l0"].sum(1)


@dataclass(frozen=True)
class Gate(Term):
    """What the gate of a gated code learns from: ``sparsity * sum_j relu(gate_j) + cost(x, D(relu(gate)))``.

    The second part rebuilds the row from the gate itself, through a decoder that is frozen: its gradient reaches the
    gate and neither the decoder nor what the likelihood learns. Used with weight 1, as in the paper.

    Args:
        sparsity: what an active gate costs, by its size; with unit decoder columns the L1 coefficient of the paper.

    Example:
        >>> Gate(sparsity=0.2).needs
        frozenset({'gate'})

    Paper: Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024,
    https://arxiv.org/abs/2404.16014 (equation 8).
    """

    kind: ClassVar[str] = "gate"
    needs: ClassVar[Set[str]] = frozenset({"gate"})  # type: ignore[misc]
    advice: ClassVar[str] = "drop the term or use a gated code"
    sparsity: NotNegative = 0.5

    def __call__(self, forward: Forward) -> Tensor:
        opened = torch.relu(forward.code.quantities["gate"])
        penalty = self.sparsity * opened.flatten(1).sum(1)
        if not torch.is_grad_enabled():
            return penalty + forward.cost_of(opened)
        # The gradient by the latents alone, handed to the gate: so the decoder stays out of the graph.
        latents = opened.detach().requires_grad_()
        cost = forward.cost_of(latents)
        (slope,) = torch.autograd.grad(cost.sum(), latents)
        return penalty + cost.detach() + ((opened - opened.detach()) * slope).flatten(1).sum(1)
