"""Named methods: each a short function that returns a recipe.

Every preset takes the settings that people type as keyword arguments: `network` ("dense", "conv", ..., or a description
such as `isthmus.networks.Conv()`) and that network's own settings (`hidden_dims`, `activation`, `normalisation`,
`dropout`, `residual`, `tied` for the dense one), those of `isthmus.recipe.Training` (`epochs`, `batch_size`,
`learning_rate`, ...), `preprocessing` and, where the method has a choice, `likelihood`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from isthmus.codec import AXES, decode_part
from isthmus.codes import (
    FSQ,
    Categorical,
    CodeSpec,
    Deterministic,
    FlowPrior,
    Gaussian,
    LaplacePrior,
    VampPrior,
    VectorQuantised,
)
from isthmus.corruptions import Corruption, GaussianNoise
from isthmus.errors import RecipeError, check_choice, unknown_name
from isthmus.networks import NetworkSpec
from isthmus.objectives import (
    LIKELIHOODS,
    Commitment,
    Contraction,
    LikelihoodSpec,
    Linear,
    Objective,
    Rate,
    Sparsity,
    SparsityTarget,
    Term,
    Weight,
    WeightedTerm,
)
from isthmus.recipe import Recipe, Training

LatentDim = int | Literal["auto"]
LikelihoodChoice = LikelihoodSpec | Literal["auto_error", "auto_density"]

_TRAINING = [field.name for field in dataclasses.fields(Training)]


def _recipe(
    code: CodeSpec,
    *terms: Term | WeightedTerm,
    settings: dict[str, Any],
    likelihood: LikelihoodChoice = "auto_error",
    corruption: Corruption | None = None,
    own: tuple[str, ...] = (),
    network: str | NetworkSpec = "dense",
) -> Recipe:
    """Deal the keyword arguments of a preset to the parts they belong to."""
    network = settings.get("network", network)
    chosen_network: Any = decode_part("network", AXES["network"], network)
    of_network = [field.name for field in dataclasses.fields(chosen_network)]
    for name in settings:
        if name not in (*of_network, *_TRAINING, "network", "preprocessing", "likelihood"):
            valid = ["latent_dim", *own, "network", *of_network, *_TRAINING, "preprocessing", "likelihood"]
            raise RecipeError(unknown_name("setting", name, valid))
    chosen = settings.get("likelihood", likelihood)
    if isinstance(chosen, str) and chosen in LIKELIHOODS:
        chosen = LIKELIHOODS[chosen]()
    objective = Objective(chosen)
    for term in terms:
        objective = objective + term
    return Recipe(
        network=dataclasses.replace(
            chosen_network, **{name: settings[name] for name in of_network if name in settings}
        ),
        code=code,
        corruption=corruption,
        objective=objective,
        preprocessing=settings.get("preprocessing", "auto"),
        training=Training(**{name: settings[name] for name in _TRAINING if name in settings}),
    )


def autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the plain autoencoder: squared error through a narrow code. For compression, maps and as a baseline.

    Example:
        >>> autoencoder(latent_dim=32, hidden_dims=(512, 256)).network.hidden_dims
        (512, 256)

    Paper: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006.
    """
    return _recipe(Deterministic(latent_dim), settings=settings)


def denoising(latent_dim: LatentDim = "auto", corruption: Corruption | None = None, **settings: Any) -> Recipe:
    """Return the denoising autoencoder: it rebuilds the clean row from a corrupted one. For cleaning and for features.

    Args:
        latent_dim: width of the latent.
        corruption: what the encoder sees; Gaussian noise of standard deviation 0.3 by default.
        **settings: see the module.

    Example:
        >>> from isthmus.corruptions import Mask
        >>> denoising(corruption=Mask(0.5)).corruption
        Mask(rate=0.5)

    Paper: Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008.
    """
    return _recipe(
        Deterministic(latent_dim), settings=settings, corruption=corruption or GaussianNoise(0.3), own=("corruption",)
    )


def sparse_l1(latent_dim: LatentDim = "auto", weight: Weight = 0.01, **settings: Any) -> Recipe:
    """Return the sparse autoencoder with an L1 penalty on its rectified latents. For features that can be read.

    Example:
        >>> sparse_l1(latent_dim=64, weight=0.1).objective.weights(1.0)
        {'sparsity': 0.1}

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011 (with the L1 norm as its penalty).
    """
    return _recipe(
        Deterministic(latent_dim, "relu"), WeightedTerm(Sparsity(), weight), settings=settings, own=("weight",)
    )


def sparse_kl(latent_dim: LatentDim = "auto", target: float = 0.05, weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the sparse autoencoder whose latents have a target for their average activation.

    Example:
        >>> sparse_kl(latent_dim=64, target=0.1).objective.terms[0].term
        SparsityTarget(target=0.1)

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """
    term = WeightedTerm(SparsityTarget(target), weight)
    return _recipe(Deterministic(latent_dim, "sigmoid"), term, settings=settings, own=("target", "weight"))


def sparse(latent_dim: LatentDim = "auto", penalty: str = "l1", **settings: Any) -> Recipe:
    """Return a sparse autoencoder: few latents are active for a row. For features that can be read.

    Args:
        latent_dim: width of the latent.
        penalty: "l1" for `sparse_l1`, "kl" for `sparse_kl`.
        **settings: those of the two, and see the module.

    Example:
        >>> sparse(latent_dim=64, penalty="kl", target=0.1) == sparse_kl(latent_dim=64, target=0.1)
        True

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """
    check_choice("penalty", penalty, ["l1", "kl"])
    return (sparse_l1 if penalty == "l1" else sparse_kl)(latent_dim, **settings)


def contractive(latent_dim: LatentDim = "auto", weight: Weight = 0.1, **settings: Any) -> Recipe:
    """Return the contractive autoencoder: the code is to change little when the row does. For robust features.

    Example:
        >>> contractive(weight=0.01).objective.weights(1.0)
        {'contraction': 0.01}

    Paper: Rifai et al., Contractive Auto-Encoders, ICML 2011.
    """
    return _recipe(Deterministic(latent_dim), WeightedTerm(Contraction(), weight), settings=settings, own=("weight",))


def vae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the variational autoencoder: the evidence lower bound. For samples, scores and smooth maps.

    The likelihood is binary cross-entropy for data in [0, 1], else a normal density with learned column variances.

    Example:
        >>> vae(latent_dim=20, hidden_dims=(400,)).objective.weights(0.0)
        {'rate': 1.0}

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.
    """
    return _recipe(Gaussian(latent_dim), Rate(), settings=settings, likelihood="auto_density")


def beta_vae(latent_dim: LatentDim = "auto", beta: float = 4.0, warmup_share: float = 0.25, **settings: Any) -> Recipe:
    """Return the VAE whose rate has the weight `beta`, reached linearly over a share of the steps.

    Args:
        latent_dim: width of the latent.
        beta: the final weight of the rate; above 1 for factors that separate, below 1 for sharper reconstructions.
        warmup_share: share of the training steps over which the weight rises from 0; 0 for none.
        **settings: see the module.

    Example:
        >>> beta_vae(beta=4.0, warmup_share=0.5).objective.weights(0.25)
        {'rate': 2.0}

    Paper: Higgins et al., beta-VAE, ICLR 2017.
    """
    weight: Weight = Linear(end=beta, over=warmup_share) if warmup_share else beta
    term, own = WeightedTerm(Rate(), weight), ("beta", "warmup_share")
    return _recipe(Gaussian(latent_dim), term, settings=settings, likelihood="auto_density", own=own)


def sparse_vae(latent_dim: LatentDim = "auto", scale: float = 1.0, **settings: Any) -> Recipe:
    """Return the VAE with a Laplace prior: few latents are far from zero for a row. For features that can be read.

    Args:
        latent_dim: width of the latent; sparse codes are often wider than the row.
        scale: of the Laplace density.
        **settings: see the module.

    Example:
        >>> sparse_vae(latent_dim=64, scale=0.5).code.prior
        LaplacePrior(scale=0.5)

    Paper: Geadah et al., Sparse-Coding Variational Autoencoders, Neural Computation 2024,
    https://direct.mit.edu/neco/article/36/12/2571/124821.
    """
    code = Gaussian(latent_dim, prior=LaplacePrior(scale))
    return _recipe(code, Rate(), settings=settings, likelihood="auto_density", own=("scale",))


def vamp_vae(latent_dim: LatentDim = "auto", components: int = 100, **settings: Any) -> Recipe:
    """Return the VAE whose prior is the average posterior of learned rows. For samples and better scores.

    Args:
        latent_dim: width of the latent.
        components: how many learned rows.
        **settings: see the module.

    Example:
        >>> vamp_vae(components=20).code.prior
        VampPrior(components=20)

    Paper: Tomczak and Welling, VAE with a VampPrior, AISTATS 2018, https://arxiv.org/abs/1705.07120.
    """
    code = Gaussian(latent_dim, prior=VampPrior(components))
    return _recipe(code, Rate(), settings=settings, likelihood="auto_density", own=("components",))


def flow_vae(latent_dim: LatentDim = "auto", layers: int = 4, **settings: Any) -> Recipe:
    """Return the VAE whose prior is a normalising flow. For samples and better scores.

    Args:
        latent_dim: width of the latent, two at least.
        layers: coupling layers of the flow.
        **settings: see the module.

    Example:
        >>> flow_vae(layers=2).code.prior.layers
        2

    Paper: Chen et al., Variational Lossy Autoencoder, ICLR 2017, https://arxiv.org/abs/1611.02731; Dinh et al.,
    Density Estimation Using Real NVP, ICLR 2017, https://arxiv.org/abs/1605.08803.
    """
    code = Gaussian(latent_dim, prior=FlowPrior(layers))
    return _recipe(code, Rate(), settings=settings, likelihood="auto_density", own=("layers",))


def categorical_vae(latent_dim: LatentDim = "auto", classes: int = 10, **settings: Any) -> Recipe:
    """Return the VAE with categorical latents, relaxed by the Gumbel-softmax. For discrete codes and groups of rows.

    Args:
        latent_dim: width of the latent, ``variables * classes``.
        classes: of each variable.
        **settings: see the module.

    Example:
        >>> categorical_vae(latent_dim=30, classes=10).code.classes
        10

    Paper: Jang et al., Categorical Reparameterization with Gumbel-Softmax, ICLR 2017,
    https://arxiv.org/abs/1611.01144; Maddison et al., The Concrete Distribution, ICLR 2017,
    https://arxiv.org/abs/1611.00712.
    """
    code = Categorical(latent_dim, classes)
    return _recipe(code, Rate(), settings=settings, likelihood="auto_density", own=("classes",))


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
        **settings: see the module.

    Example:
        >>> vq_vae(latent_dim=16, entries=256).code.entries
        256

    Paper: van den Oord et al., Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937.
    """
    code, own = VectorQuantised(latent_dim, entries, groups), ("entries", "groups", "weight")
    return _recipe(code, WeightedTerm(Commitment(), weight), settings=settings, own=own)


def fsq(latent_dim: LatentDim = "auto", levels: tuple[int, ...] = (8, 5, 5, 5), **settings: Any) -> Recipe:
    """Return the autoencoder whose latents are rounded to a few levels. For symbols and compression, without a term.

    Args:
        latent_dim: width of the latent.
        levels: numbers of levels, of the first latents in order, and again from the start.
        **settings: see the module.

    Example:
        >>> fsq(latent_dim=4).code.levels
        (8, 5, 5, 5)

    Paper: Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023, https://arxiv.org/abs/2309.15505.
    """
    return _recipe(FSQ(latent_dim, levels), settings=settings, own=("levels",))


PRESETS: dict[str, Callable[..., Recipe]] = {
    "autoencoder": autoencoder,
    "denoising": denoising,
    "sparse": sparse,
    "sparse_l1": sparse_l1,
    "sparse_kl": sparse_kl,
    "contractive": contractive,
    "vae": vae,
    "beta_vae": beta_vae,
    "sparse_vae": sparse_vae,
    "vamp_vae": vamp_vae,
    "flow_vae": flow_vae,
    "categorical_vae": categorical_vae,
    "vq_vae": vq_vae,
    "fsq": fsq,
}


def get(name: str) -> Recipe:
    """Return a preset's default recipe by name; raise `RecipeError` with the valid names for any other."""
    if name not in PRESETS:
        raise RecipeError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]()
