"""The Gaussian code: a normal posterior, and a prior that may be learned."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Density, Draw
from isthmus.codes.densities import LOG_VARIANCE_RANGE, DiagonalNormal, FullNormal, Posterior
from isthmus.codes.priors import NormalPrior, Prior, PriorSpec
from isthmus.errors import RecipeError, explain
from isthmus.settings import CountOrAuto, OneOf

__all__ = ["COVARIANCES", "LOG_VARIANCE_RANGE", "Gaussian", "GaussianCode"]

COVARIANCES: dict[str, type[Posterior]] = {"diagonal": DiagonalNormal, "full": FullNormal}


@dataclass(frozen=True)
class Gaussian(CodeSpec):
    """Variational code: ``q(z|x) = N(mean, covariance)`` and a prior p(z).

    Reports `kl` in nats. Where posterior and prior are both products over latents it is each latent's closed form, for
    the standard normal prior ``(mean**2 + exp(log_variance) - log_variance - 1) / 2``. A full covariance adds to the
    sum of those ``(sum_j log variance_j - log det covariance) / 2``, what its latents tell of each other. For a prior
    that is no product the sum over latents is estimated by the drawn latents, ``-entropy(q) - log p(z)``, averaged over
    the samples; without a draw it is taken at the mean.

    Args:
        latent_dim: width of the latent, or "auto" (see `Deterministic`).
        covariance: "diagonal", or "full": the encoder gives a Cholesky factor of ``latent_dim * (latent_dim + 1) / 2``
            numbers. With feature maps it joins the latents of one position.
        prior: one of `PRIORS`: standard_normal, laplace, vamp, mixture or flow, with its settings.

    Example:
        >>> Gaussian(latent_dim=16).features(), Gaussian(latent_dim=16, covariance="full").features()
        (32, 152)

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114 (appendix B).
    """

    kind: ClassVar[str] = "gaussian"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false, or use a deterministic code"
    latent_dim: CountOrAuto = "auto"
    covariance: Annotated[str, OneOf(*COVARIANCES)] = "diagonal"
    prior: PriorSpec = NormalPrior()  # noqa: RUF009 - frozen

    def check_together(self) -> None:
        if not isinstance(self.prior, PriorSpec):
            raise RecipeError("code.prior: " + explain("a prior", repr(self.prior), "NormalPrior() or VampPrior()"))

    @property
    def provides(self) -> Set[str]:
        diagonal = COVARIANCES[self.covariance].independent
        names = {"kl", "posterior"} | ({"diagonal_posterior"} if diagonal else set())
        return frozenset(names | ({"latent_kl", "opening"} if diagonal and self.prior.factorised else set()))

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if self.latent_dim != "auto" and self.latent_dim < self.prior.smallest:
            wanted = f"at least {self.prior.smallest}, which the prior {self.prior.kind!r} needs"
            return "code.latent_dim: " + explain(wanted, str(self.latent_dim), "a wider latent, or another prior")
        return None

    def features(self) -> int:
        return COVARIANCES[self.covariance].features(int(self.latent_dim))

    def build(self, row: tuple[int, ...] = ()) -> GaussianCode:
        latent_dim = int(self.latent_dim)
        return GaussianCode(latent_dim, COVARIANCES[self.covariance], self.prior.build(latent_dim, row))


def _wide(features: Tensor) -> Tensor:
    # Densities are differences of large numbers, which mixed precision would round away.
    return features.float() if features.dtype == torch.bfloat16 else features


class GaussianCode(Code):
    """The code that `Gaussian` describes; its posterior says what the features are."""

    features_std = 0.1  # close to the prior, so that the rate does not drown the first steps

    def __init__(self, latent_dim: int, family: type[Posterior], prior: Prior) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.family = family
        self.prior_model = prior

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        posterior = self.family.of(_wide(features), self.latent_dim)
        mean = posterior.mean
        z = mean if draw is None else posterior.at(draw.normal(mean))
        prior = self.prior_model.density(mean.ndim - 1, self._posterior(pseudo))
        quantities = {"kl": self._kl(posterior, prior, z)}
        if posterior.independent:
            quantities["log_variance"] = posterior.log_variance
        return CodeOutput(z, mean, quantities, posterior=posterior, prior=prior)

    def _posterior(self, features: Tensor | None) -> Posterior | None:
        return None if features is None else self.family.of(_wide(features), self.latent_dim)

    def _kl(self, posterior: Posterior, prior: Density, z: Tensor) -> Tensor:
        each = self.prior_model.kl(posterior.mean, posterior.log_variance)
        if each is None:
            score = prior.log_density(z)
            expected = score.mean(0) if score.ndim > 1 else score
            return (-posterior.entropy() - expected)[:, None]
        if posterior.independent:
            return each
        together = DiagonalNormal(posterior.mean, posterior.log_variance).entropy() - posterior.entropy()
        return (each.flatten(1).sum(1) + together)[:, None]

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        return self.prior_model.sample(shape, generator, self._posterior(pseudo))

    def pseudo_rows(self) -> Tensor | None:
        return self.prior_model.pseudo_rows()

    def initialise(self, x: Tensor, features: Tensor) -> None:
        self.prior_model.initialise(x)
