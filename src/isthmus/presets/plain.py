"""Deterministic codes of a dense network."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from isthmus.codes import Deterministic
from isthmus.corruptions import Corruption, GaussianNoise, HideValues
from isthmus.objectives import Contraction, DecoderGradient, LatentNorm, Nested, Weight, WeightedTerm
from isthmus.presets.base import LatentDim, assemble
from isthmus.recipe import Recipe


def autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the plain autoencoder: squared error through a narrow code. For compression, maps and as a baseline.

    Example:
        >>> autoencoder(latent_dim=32, hidden_dims=(512, 256)).network.hidden_dims
        (512, 256)

    Paper: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006.
    """
    return assemble(Deterministic(latent_dim), settings=settings)


def deep(latent_dim: LatentDim = 30, hidden_dims: tuple[int, ...] = (1000, 500, 250), **settings: Any) -> Recipe:
    """Return the deep autoencoder: three hidden layers on each side of a code of 30. For compression and for maps.

    It needs no pretraining: orthogonal directions scaled by the data start it as well (see `isthmus.networks.Dense`).

    Example:
        >>> deep().network.hidden_dims
        (1000, 500, 250)

    Paper: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006.
    """
    return assemble(Deterministic(latent_dim), settings={"hidden_dims": hidden_dims, **settings})


def nested(
    latent_dim: LatentDim = "auto", prefixes: tuple[int, ...] | None = None, weight: Weight = 1.0, **settings: Any
) -> Recipe:
    """Return the autoencoder with ordered latents, any first few of which decode. For codes cut to a size afterwards.

    Args:
        latent_dim: width of the latent.
        prefixes: numbers of latents that are to decode by themselves; None for 1, 2, 4, ...
        weight: of their average cost, beside that of the whole code.
        **settings: see `isthmus.presets`.

    Example:
        >>> nested(latent_dim=32, prefixes=(4, 16)).objective.terms[0].term
        Nested(prefixes=(4, 16))

    Paper: Rippel et al., Learning Ordered Representations with Nested Dropout, 2014, https://arxiv.org/abs/1402.0915;
    Kusupati et al., Matryoshka Representation Learning, 2022, https://arxiv.org/abs/2205.13147.
    """
    term, own = WeightedTerm(Nested(prefixes), weight), ("prefixes", "weight")
    return assemble(Deterministic(latent_dim), term, settings=settings, own=own)


def rae(latent_dim: LatentDim = "auto", weight: Weight = 0.01, slope: Weight = 0.001, **settings: Any) -> Recipe:
    """Return the regularised autoencoder: short codes and a smooth decoder in place of noise. For smooth maps.

    Nothing makes its codes normal, only short: samples decoded from N(0, I) are rough, until a density is fitted to
    the codes, as the paper does after training.

    Args:
        latent_dim: width of the latent.
        weight: of half the squared length of the code.
        slope: of the decoder's squared gradient (RAE-GP); `weight_decay` instead of it is the paper's RAE-L2.
        **settings: see `isthmus.presets`.

    Example:
        >>> rae().objective.weights(1.0)
        {'latent_norm': 0.01, 'decoder_gradient': 0.001}

    Paper: Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436.
    """
    terms, own = (WeightedTerm(LatentNorm(), weight), WeightedTerm(DecoderGradient(), slope)), ("weight", "slope")
    return assemble(Deterministic(latent_dim, sampled_from="normal"), *terms, settings=settings, own=own)


def denoising(latent_dim: LatentDim = "auto", corruption: Corruption | None = None, **settings: Any) -> Recipe:
    """Return the denoising autoencoder: it rebuilds the clean row from a corrupted one. For cleaning and for features.

    Args:
        latent_dim: width of the latent.
        corruption: of the encoder's input; Gaussian noise of standard deviation 0.3 by default.
        **settings: see `isthmus.presets`.

    Example:
        >>> from isthmus.corruptions import Mask
        >>> denoising(corruption=Mask(0.5)).corruption
        Mask(rate=0.5)

    Paper: Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008.
    """
    return assemble(
        Deterministic(latent_dim), settings=settings, corruption=corruption or GaussianNoise(0.3), own=("corruption",)
    )


def imputer(
    latent_dim: LatentDim = 64,
    hidden_dims: tuple[int, ...] | Literal["auto"] = (512,),
    rate: float | tuple[float, float] = (0.0, 0.5),
    **settings: Any,
) -> Recipe:
    """Return the autoencoder that learns to fill in what is missing: values are hidden from it, which it must rebuild.

    For `Autoencoder.impute`, which then gives the expectation of a missing value, the best guess by squared error. The
    encoder has the mask of missing values as input; those that were hidden and those that were not count in the loss
    alike. The code is wide, since hiding is what keeps the network from copying.

    Args:
        latent_dim: width of the latent.
        hidden_dims: widths of the hidden layers.
        rate: share of the values that is hidden; a pair draws it for each row, so that rows with few holes are trained
            as well as rows with many.
        **settings: see `isthmus.presets`.

    Example:
        >>> imputer().corruption.rate, imputer().missing, imputer().network.sees_mask
        ((0.0, 0.5), 'mask', True)

    Paper: Gondara and Wang, MIDA: Multiple Imputation using Denoising Autoencoders, PAKDD 2018,
    https://arxiv.org/abs/1705.02737; the mask as an input: Collier et al., VAEs in the Presence of Missing Data, 2020,
    https://arxiv.org/abs/2006.05301.
    """
    settings = {
        "hidden_dims": hidden_dims,
        "sees_mask": True,
        "preprocessing": "standard",
        "validation_fraction": 0.0,
        **settings,
    }
    recipe = assemble(Deterministic(latent_dim), settings=settings, corruption=HideValues(rate), own=("rate",))
    return dataclasses.replace(recipe, missing="mask")


def stacked(
    latent_dim: LatentDim = "auto",
    hidden_dims: tuple[int, ...] | Literal["auto"] = "auto",
    corruption: Corruption | None = None,
    pretraining: int = 10,
    **settings: Any,
) -> Recipe:
    """Return the stacked denoising autoencoder: its layers are trained one by one, then together. For features.

    Args:
        latent_dim: width of the latent.
        hidden_dims: widths of the layers.
        corruption: what each layer sees; Gaussian noise of standard deviation 0.3 by default.
        pretraining: epochs for each layer.
        **settings: see `isthmus.presets`.

    Example:
        >>> stacked(hidden_dims=(64, 32), pretraining=5).training.pretraining
        5

    Paper: Vincent et al., Stacked Denoising Autoencoders, JMLR 2010.
    """
    settings = {"hidden_dims": hidden_dims, "pretraining": pretraining, **settings}
    return denoising(latent_dim, corruption, **settings)


def contractive(latent_dim: LatentDim = "auto", weight: Weight = 0.1, **settings: Any) -> Recipe:
    """Return the contractive autoencoder: the code is to change little when the row does. For robust features.

    Example:
        >>> contractive(weight=0.01).objective.weights(1.0)
        {'contraction': 0.01}

    Paper: Rifai et al., Contractive Auto-Encoders, ICML 2011.
    """
    return assemble(Deterministic(latent_dim), WeightedTerm(Contraction(), weight), settings=settings, own=("weight",))
