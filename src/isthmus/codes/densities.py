"""Densities over latents: the posteriors and priors of the variational codes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from isthmus.codes.base import Density

_LOG_TWO_PI = math.log(2.0 * math.pi)
# exp() of these neither under- nor overflows in float32, and no useful posterior lies outside.
LOG_VARIANCE_RANGE = (-15.0, 10.0)


def sum_latents(values: Tensor, latent_axes: int) -> Tensor:
    """Sum the last `latent_axes` axes: what is left are samples and rows."""
    return values.flatten(-latent_axes).sum(-1)


# ---- priors --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StandardNormal(Density):
    """``N(0, I)``: ``log p(z) = -sum_j (z_j**2 + log(2 pi)) / 2``.

    Attributes:
        latent_axes: how many axes a row's latent has, 1 for a vector.

    Example:
        >>> StandardNormal(1).log_density(torch.zeros(3, 2)).tolist()[0]  # -log(2 pi)
        -1.8378770351409912
    """

    latent_axes: int

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density `(*samples, rows)` in nats."""
        return sum_latents(-0.5 * (z.square() + _LOG_TWO_PI), self.latent_axes)

    def detached(self) -> Density:
        """Return the same density without gradients to its parameters."""
        return self


@dataclass(frozen=True, slots=True)
class Laplace(Density):
    """Independent Laplace densities: ``log p(z) = -sum_j (|z_j| / scale + log(2 scale))``.

    Attributes:
        scale: of each latent; its standard deviation is ``sqrt(2) * scale``.
        latent_axes: how many axes a row's latent has, 1 for a vector.

    Example:
        >>> round(Laplace(0.5, 1).log_density(torch.ones(1, 2)).item(), 3)
        -4.0
    """

    scale: float
    latent_axes: int

    def log_density(self, z: Tensor) -> Tensor:
        return sum_latents(-z.abs() / self.scale - math.log(2.0 * self.scale), self.latent_axes)

    def detached(self) -> Density:
        return self


@dataclass(frozen=True, slots=True)
class Mixture(Density):
    """``log p(z) = log sum_k exp(log_weights_k) p_k(z)``, with the rows of a posterior as components.

    Attributes:
        components: `components.mean` is `(components, latent, *positions)`.
        log_weights: `(components,)`; they sum to one after exp().
    """

    components: Posterior
    log_weights: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        latent_axes = self.components.mean.ndim - 1
        each = self.components.log_density(z.unsqueeze(-latent_axes - 1))
        return torch.logsumexp(each + self.log_weights, -1)

    def detached(self) -> Density:
        return Mixture(self.components.detached(), self.log_weights.detach())


@dataclass(frozen=True, slots=True)
class EachPosition(Density):
    """One density of vectors `(latent,)` for every position: joint over latents, a product over positions.

    Attributes:
        vectors: the density of vectors.
        latent_axes: how many axes a row's latent has, 1 for a vector.
    """

    vectors: Density
    latent_axes: int

    def log_density(self, z: Tensor) -> Tensor:
        if self.latent_axes == 1:
            return self.vectors.log_density(z)
        return sum_latents(self.vectors.log_density(z.movedim(-self.latent_axes, -1)), self.latent_axes - 1)

    def detached(self) -> Density:
        return EachPosition(self.vectors.detached(), self.latent_axes)


# ---- posteriors ----------------------------------------------------------------------------------------------------


class Posterior(Density, ABC):
    """A normal density for each row, ``mean + scale * noise``, made from features.

    Attributes:
        mean: `(rows, latent, *positions)`.
        log_variance: the log of each latent's own variance, of the same shape.
        independent: whether the latents are independent of each other.
    """

    __slots__ = ()
    mean: Tensor
    log_variance: Tensor
    independent: ClassVar[bool]

    @staticmethod
    @abstractmethod
    def features(latent_dim: int) -> int:
        """Return the width of the features that describe it."""

    @classmethod
    @abstractmethod
    def of(cls, features: Tensor, latent_dim: int) -> Self:
        """Return the density that features `(rows, features, *positions)` describe."""

    @abstractmethod
    def at(self, noise: Tensor) -> Tensor:
        """Return latents for standard normal noise, both `(*samples, rows, latent, *positions)`."""

    @abstractmethod
    def detached(self) -> Self:
        """Return the same density without gradients to its parameters."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Return ``-E[log q(z)]`` `(rows,)` in nats."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """Return the densities of some rows, by index."""


@dataclass(frozen=True, slots=True)
class DiagonalNormal(Posterior):
    """``N(mean, diag(exp(log_variance)))``, one for each row.

    Attributes:
        mean: `(rows, latent, *positions)`.
        log_variance: of the same shape.
    """

    independent: ClassVar[bool] = True
    mean: Tensor
    log_variance: Tensor

    @staticmethod
    def features(latent_dim: int) -> int:
        return 2 * latent_dim

    @classmethod
    def of(cls, features: Tensor, latent_dim: int) -> Self:
        mean, log_variance = features.chunk(2, 1)
        return cls(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def at(self, noise: Tensor) -> Tensor:
        return self.mean + self.log_variance.exp().sqrt() * noise

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density `(*samples, rows)` in nats."""
        nats = (z - self.mean).square() * torch.exp(-self.log_variance) + self.log_variance + _LOG_TWO_PI
        return sum_latents(-0.5 * nats, self.mean.ndim - 1)

    def detached(self) -> Self:
        return type(self)(self.mean.detach(), self.log_variance.detach())

    def entropy(self) -> Tensor:
        return sum_latents(0.5 * (self.log_variance + 1.0 + _LOG_TWO_PI), self.mean.ndim - 1)

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.mean[rows], self.log_variance[rows])


@dataclass(frozen=True, slots=True)
class FullNormal(Posterior):
    """``N(mean, L L^T)``, one for each row and position: the latents of a position depend on each other.

    Features are the mean, then ``2 log L_jj``, then the entries of L below the diagonal, row by row.

    Attributes:
        mean: `(rows, latent, *positions)`.
        lower: L, `(rows, *positions, latent, latent)`, lower triangular.
    """

    independent: ClassVar[bool] = False
    mean: Tensor
    lower: Tensor

    @staticmethod
    def features(latent_dim: int) -> int:
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    @classmethod
    def of(cls, features: Tensor, latent_dim: int) -> Self:
        widths = [latent_dim, latent_dim, features.shape[1] - 2 * latent_dim]
        mean, log_variance, below = features.split(widths, 1)
        deviation = (0.5 * log_variance.clamp(*LOG_VARIANCE_RANGE)).exp().movedim(1, -1)
        i, j = torch.tril_indices(latent_dim, latent_dim, -1, device=features.device)
        empty = features.new_zeros(*deviation.shape[:-1], latent_dim**2)
        strict = empty.index_copy(-1, i * latent_dim + j, below.movedim(1, -1).contiguous())
        return cls(mean, torch.diag_embed(deviation) + strict.unflatten(-1, (latent_dim, latent_dim)))

    def at(self, noise: Tensor) -> Tensor:
        axis = 1 - self.mean.ndim
        turned = (self.lower * noise.movedim(axis, -1).unsqueeze(-2)).sum(-1)
        return self.mean + turned.movedim(-1, axis)

    def log_density(self, z: Tensor) -> Tensor:
        difference = (z - self.mean).movedim(1 - self.mean.ndim, -1).unsqueeze(-1)
        noise = torch.linalg.solve_triangular(self.lower, difference, upper=False).squeeze(-1)
        nats = noise.square() + 2.0 * self._log_diagonal() + _LOG_TWO_PI
        return sum_latents(-0.5 * nats, self.mean.ndim - 1)

    def detached(self) -> Self:
        return type(self)(self.mean.detach(), self.lower.detach())

    @property
    def log_variance(self) -> Tensor:  # type: ignore[override]
        return self.lower.square().sum(-1).log().movedim(-1, 1)

    def entropy(self) -> Tensor:
        return sum_latents(self._log_diagonal() + 0.5 * (1.0 + _LOG_TWO_PI), self.mean.ndim - 1)

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.mean[rows], self.lower[rows])

    def _log_diagonal(self) -> Tensor:
        return self.lower.diagonal(dim1=-2, dim2=-1).log()
