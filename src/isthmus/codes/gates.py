"""Sparse codes that decide for each latent: a learned threshold, or a gate."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from isthmus.codes.base import CodeOutput, Draw
from isthmus.codes.sparse import SparseCode, SparseSpec
from isthmus.settings import CountOrAuto, Positive


def _by_latent(values: Tensor, like: Tensor) -> Tensor:
    """Shape `(latent,)` so that it meets axis 1 of `(rows, latent, *positions)`."""
    return values.view(-1, *[1] * (like.ndim - 2))


@dataclass(frozen=True)
class JumpReLU(SparseSpec):
    """Each latent passes above a threshold of its own, which is learned: ``z_j = f_j * [f_j > theta_j]``.

    The jump has no gradient to the threshold, so pseudo-derivatives stand in for it, with K the rectangle of width 1
    and height 1 around 0 and e the bandwidth:

    * ``d z_j / d theta_j = -(theta_j / e) K((f_j - theta_j) / e)``
    * ``d [f_j > theta_j] / d theta_j = -(1 / e) K((f_j - theta_j) / e)``, for `l0`, which the term `L0` weighs.

    What is learned is ``log(theta_j)``, so thresholds stay positive. Features get the usual gradient of z and none of
    `l0`. Reports `l0` with that gradient, and `preactivations` and `dead` (see `SparseCode`).

    Args:
        latent_dim: width of the latent; "auto" is four times the row's values, at most 4096.
        bandwidth: e, in the units of the features, whose standard deviation is one half when training starts. Wider
            moves thresholds by more of the rows, and with more bias.
        threshold: where every threshold starts.
        dead_after: rows without an activation after which a latent counts as dead (see the term `Auxiliary`); "auto"
            is the number of training rows, at most ten million.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> output = JumpReLU(latent_dim=3, threshold=0.5).resolve((1,), 8).build()(torch.tensor([[0.4, 0.6, -2.0]]))
        >>> [round(value, 2) for value in output.z[0].tolist()]
        [0.0, 0.6, 0.0]

    Paper: Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders,
    2024, https://arxiv.org/abs/2407.14435.
    """

    kind: ClassVar[str] = "jump_relu"
    latent_dim: CountOrAuto = "auto"
    bandwidth: Positive = 0.1
    threshold: Positive = 0.1
    dead_after: CountOrAuto = "auto"

    @property
    def provides(self) -> Set[str]:
        return frozenset({"dead_latents", "l0_gradient"})

    def build(self, row: tuple[int, ...] = ()) -> JumpReLUCode:
        return JumpReLUCode(int(self.latent_dim), self.bandwidth, self.threshold, int(self.dead_after))


class JumpReLUCode(SparseCode):
    """The code that `JumpReLU` describes."""

    def __init__(self, latent_dim: int, bandwidth: float, threshold: float, dead_after: int) -> None:
        super().__init__(latent_dim, dead_after)
        self.bandwidth = bandwidth
        self.log_threshold = nn.Parameter(torch.full((latent_dim,), math.log(threshold)))

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        threshold = _by_latent(self.log_threshold.exp(), features)
        fixed = threshold.detach()
        passes = features.detach() > fixed
        kernel = ((features.detach() - fixed).abs() < 0.5 * self.bandwidth).to(features.dtype) / self.bandwidth
        # Exactly zero, with the gradient of the threshold: it carries the pseudo-derivatives and changes no value.
        moved = threshold - fixed
        z = features.masked_fill(~passes, 0.0) - (fixed * kernel) * moved
        l0 = (passes.to(features.dtype) - kernel * moved).flatten(1).sum(1, keepdim=True)
        return self.output(z, features, passes.transpose(0, 1).flatten(1).any(1), l0, draw)


@dataclass(frozen=True)
class Gated(SparseSpec):
    """A gate decides which latents are active, and a path of its own how much: ``z = [gate > 0] * relu(magnitude)``.

    Both read the same weights: ``gate = f`` and ``magnitude = f * exp(r) + b``, with f the features, and r and b
    learned for each latent. So the penalty for being active, which the term `Gate` puts on the gate, does not shrink
    the magnitudes. The gate learns from that term alone, since a step has no gradient; without it this code is a
    rectifier with a jump.

    Reports `gate`, `(rows, latent, *positions)`, and `l0`, `preactivations` (the gate) and `dead` (see `SparseCode`).

    Args:
        latent_dim: width of the latent; "auto" is four times the row's values, at most 4096.
        dead_after: rows without an activation after which a latent counts as dead (see the term `Auxiliary`); "auto"
            is the number of training rows, at most ten million.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> Gated(latent_dim=2).resolve((1,), 8).build()(torch.tensor([[0.4, -1.0]])).quantities["l0"].tolist()
        [[1.0]]

    Paper: Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024,
    https://arxiv.org/abs/2404.16014.
    """

    kind: ClassVar[str] = "gated"
    latent_dim: CountOrAuto = "auto"
    dead_after: CountOrAuto = "auto"

    @property
    def provides(self) -> Set[str]:
        return frozenset({"dead_latents", "gate"})

    def build(self, row: tuple[int, ...] = ()) -> GatedCode:
        return GatedCode(int(self.latent_dim), int(self.dead_after))


class GatedCode(SparseCode):
    """The code that `Gated` describes."""

    def __init__(self, latent_dim: int, dead_after: int) -> None:
        super().__init__(latent_dim, dead_after)
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))
        self.bias = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        magnitude = features * _by_latent(self.log_scale.exp(), features) + _by_latent(self.bias, features)
        z = torch.relu(magnitude) * (features.detach() > 0)
        nonzero = z.detach() != 0
        active = nonzero.transpose(0, 1).flatten(1).any(1)
        output = self.output(z, features, active, nonzero.flatten(1).sum(1, keepdim=True).to(z.dtype), draw)
        output.quantities["gate"] = features
        return output
