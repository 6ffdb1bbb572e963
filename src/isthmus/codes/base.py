"""The contract of a code: what passes the bottleneck, and what it reports about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Draw:
    """How a stochastic code is sampled; a code that is given none returns its deterministic latent.

    Attributes:
        samples: how many latents for each row (importance-weighted bounds use several).
        generator: where the randomness comes from; None is torch's generator of the device.
        shared: whether all rows share their noise, in antithetic pairs. A row's score then depends on nothing but the
            row, and the pairs cancel the error's odd part.
    """

    samples: int = 1
    generator: torch.Generator | None = None
    shared: bool = False

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal noise `(samples, *like.shape)`, or `like.shape` for one sample."""
        lead = () if self.samples == 1 else (self.samples,)
        if not self.shared:
            return torch.randn(*lead, *like.shape, dtype=like.dtype, device=like.device, generator=self.generator)
        half = torch.randn(
            (self.samples + 1) // 2,
            *like.shape[1:],
            dtype=like.dtype,
            device=like.device,
            generator=self.generator,
        )
        noise = torch.stack([half, -half], 1).flatten(0, 1)[: self.samples].unsqueeze(1)
        return noise.expand(self.samples, *like.shape).reshape(*lead, *like.shape)


@dataclass(slots=True)
class CodeOutput:
    """What a code returns.

    Attributes:
        z: `(rows, latent, *positions)`, or `(samples, rows, latent, *positions)` for several samples.
        mean: `(rows, latent, *positions)`, the deterministic latent.
        quantities: unweighted quantities by name, never multiplied by a coefficient: `kl` is `(rows, latent,
            *positions)` in nats. Only the objective has coefficients and schedules.
        indices: `(rows, *positions)` of a quantised code.
    """

    z: Tensor
    mean: Tensor
    quantities: dict[str, Tensor] = field(default_factory=dict)
    indices: Tensor | None = None


class Code(nn.Module, ABC):
    """Features in, latents out."""

    latent_dim: int
    features_std: float = 0.5
    """Standard deviation of the features that training starts from."""

    @abstractmethod
    def forward(self, features: Tensor, draw: Draw | None = None) -> CodeOutput:
        """Return the latents for features `(rows, features, *positions)`; without a draw the deterministic ones."""

    @abstractmethod
    def prior(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor | None:
        """Return latents of `shape` drawn from the prior; None if the code has no prior to draw from."""


class CodeSpec(ABC):
    """The frozen description of a code, as it stands in a recipe (see `NetworkSpec` for `needs` and `provides`)."""

    kind: ClassVar[str]
    latent_dim: int | Literal["auto"]
    needs: Set[str] = frozenset()

    @property
    @abstractmethod
    def provides(self) -> Set[str]:
        """Names of the quantities and properties that terms may need."""

    @abstractmethod
    def features(self) -> int:
        """Width of the features that the code reads."""

    @abstractmethod
    def build(self) -> Code:
        """Return the code."""
