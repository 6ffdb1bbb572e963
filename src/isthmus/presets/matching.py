"""Batches of codes, or of rows, that are to look like others: by a distance or to a critic."""

from __future__ import annotations

from typing import Any

from isthmus.codes import Deterministic, Gaussian
from isthmus.objectives import KL, Discrepancy, ImageAdversary, LatentAdversary, Weight, WeightedTerm
from isthmus.presets.base import LatentDim, assemble
from isthmus.recipe import Recipe


def wae(latent_dim: LatentDim = "auto", weight: Weight = 10.0, **settings: Any) -> Recipe:
    """Return the Wasserstein autoencoder: a deterministic code whose batches look like N(0, I). For sharp samples.

    Example:
        >>> wae(latent_dim=8).code
        Deterministic(latent_dim=8, activation='linear', sampled_from='normal')

    Paper: Tolstikhin et al., Wasserstein Auto-Encoders, 2018, https://arxiv.org/abs/1711.01558 (WAE-MMD).
    """
    term = WeightedTerm(Discrepancy(), weight)
    return assemble(Deterministic(latent_dim, sampled_from="normal"), term, settings=settings, own=("weight",))


def info_vae(latent_dim: LatentDim = "auto", rate: Weight = 0.1, weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the InfoVAE: little charge for what a row's code tells, and batches that look like the prior.

    Args:
        latent_dim: width of the latent.
        rate: weight of the rate, ``1 - alpha`` in the paper; 0 is the MMD-VAE.
        weight: of the discrepancy between the batch's codes and N(0, I), ``alpha + lambda - 1`` in the paper; 10 to
            1000 for images, whose cost is hundreds of nats.
        **settings: see `isthmus.presets`.

    Example:
        >>> info_vae().objective.weights(1.0)
        {'kl': 0.1, 'discrepancy': 1.0}

    Paper: Zhao et al., InfoVAE: Balancing Learning and Inference in Variational Autoencoders, 2019,
    https://arxiv.org/abs/1706.02262.
    """
    terms, own = (WeightedTerm(KL(), rate), WeightedTerm(Discrepancy(), weight)), ("rate", "weight")
    return assemble(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=own)


def aae(latent_dim: LatentDim = "auto", weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the adversarial autoencoder: a critic tells its codes from N(0, I) until it no longer can. For samples.

    Example:
        >>> aae(weight=0.1).objective.weights(1.0)
        {'latent_adversary': 0.1}

    Paper: Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644.
    """
    term = WeightedTerm(LatentAdversary(), weight)
    return assemble(Deterministic(latent_dim, sampled_from="normal"), term, settings=settings, own=("weight",))


def vae_gan(latent_dim: LatentDim = "auto", weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the VAE with a critic on its rows: likeness in the critic's features, not by pixels alone. For sharpness.

    Args:
        latent_dim: width of the latent.
        weight: of the critic's verdict and of the distance in its features together.
        **settings: see `isthmus.presets`.

    Example:
        >>> vae_gan().objective.weights(1.0)
        {'kl': 1.0, 'image_adversary': 1.0}

    Paper: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016,
    https://arxiv.org/abs/1512.09300 (here the likelihood's cost stays).
    """
    terms = (KL(), WeightedTerm(ImageAdversary(sampled=True), weight))
    return assemble(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=("weight",))
