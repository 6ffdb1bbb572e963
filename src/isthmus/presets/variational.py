"""Variational autoencoders: other priors, other bounds, other weights of the rate."""

from __future__ import annotations

import dataclasses
from typing import Any

from isthmus.codes import FlowPrior, Gaussian, LaplacePrior, VampPrior
from isthmus.errors import check_number
from isthmus.objectives import KL, Capacity, ImportanceWeighted, Linear, TotalCorrelation, Weight, WeightedTerm
from isthmus.presets.base import LatentDim, assemble
from isthmus.recipe import Recipe


def vae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the variational autoencoder: the evidence lower bound. For samples, scores and smooth maps.

    The likelihood is binary cross-entropy for data in [0, 1], else a normal density with learned column variances.

    Example:
        >>> vae(latent_dim=20, hidden_dims=(400,)).objective.weights(0.0)
        {'kl': 1.0}

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.
    """
    return assemble(Gaussian(latent_dim), KL(), settings=settings, likelihood="auto_density")


def beta_vae(latent_dim: LatentDim = "auto", beta: float = 4.0, warmup_share: float = 0.25, **settings: Any) -> Recipe:
    """Return the VAE whose rate has the weight `beta`, reached linearly over a share of the steps.

    Args:
        latent_dim: width of the latent.
        beta: the final weight of the rate; above 1 for factors that separate, below 1 for sharper reconstructions.
        warmup_share: share of the training steps over which the weight rises from 0; 0 for none.
        **settings: see `isthmus.presets`.

    Example:
        >>> beta_vae(beta=4.0, warmup_share=0.5).objective.weights(0.25)
        {'kl': 2.0}

    Paper: Higgins et al., beta-VAE, ICLR 2017.
    """
    weight: Weight = Linear(end=beta, over=warmup_share) if warmup_share else beta
    term, own = WeightedTerm(KL(), weight), ("beta", "warmup_share")
    return assemble(Gaussian(latent_dim), term, settings=settings, likelihood="auto_density", own=own)


def beta_tc_vae(latent_dim: LatentDim = "auto", beta: float = 6.0, rows: int | None = None, **settings: Any) -> Recipe:
    """Return the beta-TC-VAE: only the dependence between latents is charged more. For factors that separate.

    Args:
        latent_dim: width of the latent.
        beta: weight of the total correlation; 1 is the VAE.
        rows: of the training data, for the estimate of the total correlation; None takes each batch for the whole.
        **settings: see `isthmus.presets`.

    Example:
        >>> beta_tc_vae(beta=6.0).objective.weights(1.0)
        {'kl': 1.0, 'total_correlation': 5.0}

    Paper: Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, https://arxiv.org/abs/1802.04942.
    """
    check_number("beta", beta, 1.0)
    terms = (KL(), WeightedTerm(TotalCorrelation(rows), beta - 1.0))
    own = ("beta", "rows")
    return assemble(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=own)


def capacity_vae(
    latent_dim: LatentDim = "auto", capacity: float = 25.0, over: float = 0.5, weight: Weight = 100.0, **settings: Any
) -> Recipe:
    """Return the VAE whose rate is held at a capacity that grows. For factors that open one by one.

    Args:
        latent_dim: width of the latent.
        capacity: the final rate in nats.
        over: share of the training steps over which it is reached.
        weight: of the distance from the capacity; large enough to hold the rate there.
        **settings: see `isthmus.presets`.

    Example:
        >>> capacity_vae(capacity=10.0).objective.terms[0].term
        Capacity(end=10.0, over=0.5)

    Paper: Burgess et al., Understanding disentangling in beta-VAE, 2018, https://arxiv.org/abs/1804.03599.
    """
    term, own = WeightedTerm(Capacity(capacity, over), weight), ("capacity", "over", "weight")
    return assemble(Gaussian(latent_dim), term, settings=settings, likelihood="auto_density", own=own)


def sparse_vae(latent_dim: LatentDim = "auto", scale: float = 1.0, **settings: Any) -> Recipe:
    """Return the VAE with a Laplace prior: few latents are far from zero for a row. For features that can be read.

    Args:
        latent_dim: width of the latent; sparse codes are often wider than the row.
        scale: of the Laplace density.
        **settings: see `isthmus.presets`.

    Example:
        >>> sparse_vae(latent_dim=64, scale=0.5).code.prior
        LaplacePrior(scale=0.5)

    Paper: Geadah et al., Sparse-Coding Variational Autoencoders, Neural Computation 2024,
    https://direct.mit.edu/neco/article/36/12/2571/124821.
    """
    code = Gaussian(latent_dim, prior=LaplacePrior(scale))
    return assemble(code, KL(), settings=settings, likelihood="auto_density", own=("scale",))


def vamp_vae(latent_dim: LatentDim = "auto", components: int = 100, **settings: Any) -> Recipe:
    """Return the VAE whose prior is the average posterior of learned rows. For samples and better scores.

    Args:
        latent_dim: width of the latent.
        components: how many learned rows.
        **settings: see `isthmus.presets`.

    Example:
        >>> vamp_vae(components=20).code.prior
        VampPrior(components=20)

    Paper: Tomczak and Welling, VAE with a VampPrior, AISTATS 2018, https://arxiv.org/abs/1705.07120.
    """
    code = Gaussian(latent_dim, prior=VampPrior(components))
    return assemble(code, KL(), settings=settings, likelihood="auto_density", own=("components",))


def flow_vae(latent_dim: LatentDim = "auto", layers: int = 4, **settings: Any) -> Recipe:
    """Return the VAE whose prior is a normalising flow. For samples and better scores.

    Args:
        latent_dim: width of the latent, two at least.
        layers: coupling layers of the flow.
        **settings: see `isthmus.presets`.

    Example:
        >>> flow_vae(layers=2).code.prior.layers
        2

    Paper: Chen et al., Variational Lossy Autoencoder, ICLR 2017, https://arxiv.org/abs/1611.02731; Dinh et al.,
    Density Estimation Using Real NVP, ICLR 2017, https://arxiv.org/abs/1605.08803.
    """
    code = Gaussian(latent_dim, prior=FlowPrior(layers))
    return assemble(code, KL(), settings=settings, likelihood="auto_density", own=("layers",))


def iwae(latent_dim: LatentDim = "auto", samples: int = 50, **settings: Any) -> Recipe:
    """Return the importance-weighted autoencoder: a bound nearer to the log-likelihood. For scores and samples.

    Args:
        latent_dim: width of the latent.
        samples: latents drawn for each row; time and memory grow with them.
        **settings: see `isthmus.presets`.

    Example:
        >>> iwae(samples=5).objective.samples
        5

    Paper: Burda et al., Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519.
    """
    terms, own = ImportanceWeighted(samples), ("samples",)
    return assemble(Gaussian(latent_dim), terms, settings=settings, likelihood="auto_density", own=own)


def miwae(latent_dim: LatentDim = "auto", samples: int = 20, **settings: Any) -> Recipe:
    """Return the importance-weighted autoencoder for rows with missing values. For filling them in.

    The bound is that of `iwae`, on the observed values alone: the encoder sees zero where nothing was observed, and the
    likelihood leaves those values out.

    Args:
        latent_dim: width of the latent.
        samples: latents drawn for each row.
        **settings: see `isthmus.presets`.

    Example:
        >>> miwae().missing, miwae().objective.samples
        ('mask', 20)

    Paper: Mattei and Frellsen, MIWAE, 2019, https://arxiv.org/abs/1812.02633.
    """
    return dataclasses.replace(iwae(latent_dim, samples, **settings), missing="mask")


def cvae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the conditional VAE: encoder and decoder are given a label or numbers. For samples of a chosen class.

    Fit it with ``Autoencoder(presets.cvae()).fit(X, condition=labels)`` and draw with ``sample(10, condition=label)``.

    Example:
        >>> cvae(latent_dim=8).conditional
        True

    Paper: Sohn et al., Learning Structured Output Representation using Deep Conditional Generative Models, 2015,
    https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models.
    """
    return dataclasses.replace(vae(latent_dim, **settings), conditional=True)
