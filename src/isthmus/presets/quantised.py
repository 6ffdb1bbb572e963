"""Discrete codes."""

from __future__ import annotations

from typing import Any, Literal

from isthmus.codes import FSQ, GumbelSoftmax, VectorQuantised
from isthmus.objectives import KL, Commitment, Weight, WeightedTerm
from isthmus.presets.base import LatentDim, assemble
from isthmus.recipe import Recipe


def categorical_vae(latent_dim: LatentDim = "auto", classes: int = 10, **settings: Any) -> Recipe:
    """Return the VAE with categorical latents, relaxed by the Gumbel-softmax. For discrete codes and groups of rows.

    Args:
        latent_dim: width of the latent, ``variables * classes``.
        classes: of each variable.
        **settings: see `isthmus.presets`.

    Example:
        >>> categorical_vae(latent_dim=30, classes=10).code.classes
        10

    Paper: Jang et al., Categorical Reparameterization with Gumbel-Softmax, ICLR 2017,
    https://arxiv.org/abs/1611.01144; Maddison et al., The Concrete Distribution, ICLR 2017,
    https://arxiv.org/abs/1611.00712.
    """
    code = GumbelSoftmax(latent_dim, classes)
    return assemble(code, KL(), settings=settings, likelihood="auto_density", own=("classes",))


def vq_vae(
    latent_dim: LatentDim = "auto",
    entries: int = 512,
    groups: int | Literal["auto"] = "auto",
    weight: Weight = 0.25,
    **settings: Any,
) -> Recipe:
    """Return the vector-quantised autoencoder: latents are entries of a learned codebook. For symbols and compression.

    Args:
        latent_dim: width of the latent.
        entries: vectors in each codebook.
        groups: sub-vectors that are quantised apart; 1 for feature maps, where every position is a symbol.
        weight: of the commitment term.
        **settings: see `isthmus.presets`.

    Example:
        >>> vq_vae(latent_dim=16, entries=256).code.entries
        256

    Paper: van den Oord et al., Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937.
    """
    code, own = VectorQuantised(latent_dim, entries, groups), ("entries", "groups", "weight")
    return assemble(code, WeightedTerm(Commitment(), weight), settings=settings, own=own)


def fsq(latent_dim: LatentDim = "auto", levels: tuple[int, ...] = (8, 5, 5, 5), **settings: Any) -> Recipe:
    """Return the autoencoder whose latents are rounded to a few levels. For symbols and compression, without a term.

    Args:
        latent_dim: width of the latent.
        levels: numbers of levels, of the first latents in order, and again from the start.
        **settings: see `isthmus.presets`.

    Example:
        >>> fsq(latent_dim=4).code.levels
        (8, 5, 5, 5)

    Paper: Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023, https://arxiv.org/abs/2309.15505.
    """
    return assemble(FSQ(latent_dim, levels), settings=settings, own=("levels",))
