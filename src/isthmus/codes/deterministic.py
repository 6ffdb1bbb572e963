"""The deterministic code: the latent is the features."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw
from isthmus.settings import CountOrAuto, OneOf


def _linear(features: Tensor) -> Tensor:
    return features


LATENT_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": _linear,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Deterministic(CodeSpec):
    """``z = activation(features)``, the bottleneck of the plain autoencoder.

    Args:
        latent_dim: width of the latent, or "auto": a twelfth of the row's values, at least 2 and at most 32.
        activation: "linear", "relu", "sigmoid" (for a sparsity target, which needs activations in (0, 1)) or "tanh".
        sampled_from: what new codes are drawn from: "normal" for N(0, I), where a term brings the codes near it
            (`discrepancy`, `latent_adversary`, roughly `latent_norm`); None (null) for nothing, as the codes of a plain
            autoencoder follow no known distribution.

    Example:
        >>> Deterministic(latent_dim=8).features()
        8
    """

    kind: ClassVar[str] = "deterministic"
    advice: ClassVar[str] = "set network.skips=false, or code.sampled_from=null"
    latent_dim: CountOrAuto = "auto"
    activation: Annotated[str, OneOf(*LATENT_ACTIVATIONS)] = "linear"
    sampled_from: Annotated[str | None, OneOf(None, "normal")] = None

    @property
    def needs(self) -> Set[str]:  # type: ignore[override]
        return frozenset() if self.sampled_from is None else frozenset({"bottleneck"})

    @property
    def provides(self) -> Set[str]:
        unit = {"unit_interval"} if self.activation == "sigmoid" else set()
        return frozenset({"opening"} | unit | (set() if self.sampled_from is None else {"standard_normal_prior"}))

    def features(self) -> int:
        return int(self.latent_dim)

    def build(self, row: tuple[int, ...] = ()) -> DeterministicCode:
        return DeterministicCode(int(self.latent_dim), self.activation, self.sampled_from)


class DeterministicCode(Code):
    """The code that `Deterministic` describes."""

    def __init__(self, latent_dim: int, activation: str, sampled_from: str | None = None) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.has_prior = sampled_from is not None
        self.activation = LATENT_ACTIVATIONS[activation]

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        z = self.activation(features)
        if draw is not None and draw.samples > 1:
            return CodeOutput(z.expand(draw.samples, *z.shape), z)
        return CodeOutput(z, z)

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        return torch.randn(*shape, generator=generator) if self.has_prior else None
