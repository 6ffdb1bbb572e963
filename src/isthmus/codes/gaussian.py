"""The Gaussian code: a diagonal posterior and a standard normal prior."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw
from isthmus.codes.densities import DiagonalNormal, StandardNormal
from isthmus.errors import check_integer

# exp() of these neither under- nor overflows in float32, and no useful posterior lies outside.
LOG_VARIANCE_RANGE = (-15.0, 10.0)


@dataclass(frozen=True)
class Gaussian(CodeSpec):
    """Variational code: ``q(z|x) = N(mean, diag(exp(log_variance)))``, prior ``N(0, I)``.

    Reports `kl`, for each latent, in nats:
    ``KL(q || p) = (mean**2 + exp(log_variance) - log_variance - 1) / 2``.

    Args:
        latent_dim: width of the latent, or "auto" (see `Deterministic`).

    Example:
        >>> Gaussian(latent_dim=16).features()
        32

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114 (appendix B).
    """

    kind: ClassVar[str] = "gaussian"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false, or use a deterministic code"
    latent_dim: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.latent_dim != "auto":
            check_integer("code.latent_dim", self.latent_dim)

    @property
    def provides(self) -> Set[str]:
        return frozenset({"kl", "posterior", "diagonal_posterior"})

    def features(self) -> int:
        return 2 * int(self.latent_dim)

    def build(self, row: tuple[int, ...] = ()) -> GaussianCode:
        return GaussianCode(int(self.latent_dim))


class GaussianCode(Code):
    """The code that `Gaussian` describes: features are the mean, then the log-variance."""

    features_std = 0.1  # close to the prior, so that the rate does not drown the first steps

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        mean, log_variance = features.chunk(2, 1)
        log_variance = log_variance.clamp(*LOG_VARIANCE_RANGE)
        variance = log_variance.exp()
        kl = 0.5 * (mean.square() + variance - log_variance - 1.0)
        z = mean if draw is None else mean + variance.sqrt() * draw.normal(mean)
        posterior, prior = DiagonalNormal(mean, log_variance), StandardNormal(mean.ndim - 1)
        return CodeOutput(z, mean, {"kl": kl, "log_variance": log_variance}, posterior=posterior, prior=prior)

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        return torch.randn(*shape, generator=generator)
