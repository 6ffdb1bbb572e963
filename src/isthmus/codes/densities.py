"""Densities over latents: the posteriors and priors of the variational codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.codes.base import Density

_LOG_TWO_PI = math.log(2.0 * math.pi)


def sum_latents(values: Tensor, latent_axes: int) -> Tensor:
    """Sum the last `latent_axes` axes: what is left are samples and rows."""
    return values.flatten(-latent_axes).sum(-1)


@dataclass(frozen=True, slots=True)
class StandardNormal:
    """``N(0, I)``: ``log p(z) = -sum_j (z_j**2 + log(2 pi)) / 2``.

    Attributes:
        latent_axes: how many axes a row's latent has, 1 for a vector.

    Example:
        >>> StandardNormal(1).log_density(torch.zeros(3, 2)).tolist()[0]  # -log(2 pi)
        -1.8378770351409912
    """

    latent_axes: int

    def log_density(self, z: Tensor) -> Tensor:
        return sum_latents(-0.5 * (z.square() + _LOG_TWO_PI), self.latent_axes)

    def detached(self) -> Density:
        return self


@dataclass(frozen=True, slots=True)
class DiagonalNormal:
    """``N(mean, diag(exp(log_variance)))``, one for each row.

    Attributes:
        mean: `(rows, latent, *positions)`.
        log_variance: of the same shape.
    """

    mean: Tensor
    log_variance: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        nats = (z - self.mean).square() * torch.exp(-self.log_variance) + self.log_variance + _LOG_TWO_PI
        return sum_latents(-0.5 * nats, self.mean.ndim - 1)

    def detached(self) -> Density:
        return DiagonalNormal(self.mean.detach(), self.log_variance.detach())
