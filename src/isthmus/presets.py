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
from isthmus.codes import BatchTopK, CodeSpec, Deterministic, Gated, Gaussian, JumpReLU, TopK
from isthmus.corruptions import Corruption, GaussianNoise
from isthmus.errors import RecipeError, check_choice, unknown_name
from isthmus.networks import Dense, NetworkSpec
from isthmus.objectives import (
    L0,
    LIKELIHOODS,
    Auxiliary,
    Contraction,
    Gate,
    LikelihoodSpec,
    Linear,
    Objective,
    Rate,
    Sparsity,
    SparsityTarget,
    SquaredError,
    Term,
    Weight,
    WeightedTerm,
)
from isthmus.recipe import Recipe, Training

LatentDim = int | Literal["auto"]
LikelihoodChoice = LikelihoodSpec | Literal["auto_error", "auto_density"]

# A dictionary: one linear layer on each side, whose decoder columns are the directions that the latents stand for.
_DICTIONARY = Dense(hidden_dims=(), unit_decoder=True)
# The weight of the auxiliary term in Gao et al. 2024.
_AUXILIARY = 1.0 / 32.0

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


def _dictionary(code: CodeSpec, *terms: WeightedTerm, settings: dict[str, Any], own: tuple[str, ...]) -> Recipe:
    """Return a sparse dictionary: one linear layer on each side and, unless told otherwise, a linear squared error."""
    likelihood, network = SquaredError("linear"), _DICTIONARY
    return _recipe(code, *terms, settings=settings, likelihood=likelihood, own=own, network=network)


def top_k(latent_dim: LatentDim = "auto", k: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the sparse dictionary of which each row uses exactly k entries. For features that can be read.

    One linear layer on each side, decoder columns of norm 1, squared error, and an auxiliary loss for dead latents.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        k: entries for each row; "auto" is a sixteenth of the latents, from 1 to 32.
        **settings: see the module.

    Example:
        >>> top_k(latent_dim=64, k=4).objective.weights(1.0)
        {'auxiliary': 0.03125}

    Paper: Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093.
    """
    return _dictionary(TopK(latent_dim, k), WeightedTerm(Auxiliary(), _AUXILIARY), settings=settings, own=("k",))


def batch_top_k(latent_dim: LatentDim = "auto", k: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the sparse dictionary of which rows use k entries on average, and each as many as it needs.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        k: entries for each row on average; "auto" is a sixteenth of the latents, from 1 to 32.
        **settings: see the module.

    Example:
        >>> batch_top_k(latent_dim=64, k=4).code
        BatchTopK(latent_dim=64, k=4, dead_after='auto')

    Paper: Bussmann et al., BatchTopK Sparse Autoencoders, 2024, https://arxiv.org/abs/2412.06410.
    """
    return _dictionary(BatchTopK(latent_dim, k), WeightedTerm(Auxiliary(), _AUXILIARY), settings=settings, own=("k",))


def jump_relu(latent_dim: LatentDim = "auto", weight: Weight = 0.1, **settings: Any) -> Recipe:
    """Return the sparse dictionary whose entries have learned thresholds, and a price for each entry in use.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        weight: what an active entry costs, in the units of the squared error: one pays for itself above the square
            root of the weight.
        **settings: see the module.

    Example:
        >>> jump_relu(latent_dim=64, weight=0.5).objective.weights(1.0)
        {'l0': 0.5, 'auxiliary': 0.03125}

    Paper: Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders,
    2024, https://arxiv.org/abs/2407.14435.
    """
    terms = WeightedTerm(L0(), weight), WeightedTerm(Auxiliary(), _AUXILIARY)
    return _dictionary(JumpReLU(latent_dim), *terms, settings=settings, own=("weight",))


def gated(latent_dim: LatentDim = "auto", sparsity: float = 0.1, **settings: Any) -> Recipe:
    """Return the sparse dictionary in which a gate decides what is in use and another path by how much.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        sparsity: the weight of the L1 norm of the open gates.
        **settings: see the module.

    Example:
        >>> gated(latent_dim=64, sparsity=0.2).objective.terms[0].term
        Gate(sparsity=0.2)

    Paper: Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024,
    https://arxiv.org/abs/2404.16014.
    """
    terms = WeightedTerm(Gate(sparsity), 1.0), WeightedTerm(Auxiliary(), _AUXILIARY)
    return _dictionary(Gated(latent_dim), *terms, settings=settings, own=("sparsity",))


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


def cvae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the conditional VAE: encoder and decoder are told a label or numbers. For samples of a chosen class.

    Fit it with ``Autoencoder(presets.cvae()).fit(X, condition=labels)`` and draw with ``sample(10, condition=label)``.

    Example:
        >>> cvae(latent_dim=8).conditional
        True

    Paper: Sohn et al., Learning Structured Output Representation using Deep Conditional Generative Models, 2015.
    """
    return dataclasses.replace(vae(latent_dim, **settings), conditional=True)


PRESETS: dict[str, Callable[..., Recipe]] = {
    "autoencoder": autoencoder,
    "denoising": denoising,
    "sparse": sparse,
    "sparse_l1": sparse_l1,
    "sparse_kl": sparse_kl,
    "top_k": top_k,
    "batch_top_k": batch_top_k,
    "jump_relu": jump_relu,
    "gated": gated,
    "contractive": contractive,
    "vae": vae,
    "beta_vae": beta_vae,
    "cvae": cvae,
}


def get(name: str) -> Recipe:
    """Return a preset's default recipe by name; raise `RecipeError` with the valid names for any other."""
    if name not in PRESETS:
        raise RecipeError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]()
