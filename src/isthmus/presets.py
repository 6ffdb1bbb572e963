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
from isthmus.codes import CodeSpec, Deterministic, Gaussian
from isthmus.corruptions import Corruption, GaussianNoise, HidePatches
from isthmus.errors import RecipeError, check_choice, unknown_name
from isthmus.networks import Attention, NetworkSpec, Recurrent
from isthmus.objectives import (
    LIKELIHOODS,
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

# Measured on ECG5000: 640 steps end at a mean squared error of 0.118, where the default rate of 0.004 ends at 0.136.
_RECURRENT_RATE = 0.01

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


def lstm_autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the LSTM autoencoder of series. For anomalies in them, maps of them and features.

    Example:
        >>> lstm_autoencoder(latent_dim=8, decoder="reversed", frame=4).network.decoder
        'reversed'

    Paper: Srivastava et al., Unsupervised Learning of Video Representations using LSTMs, ICML 2015,
    https://arxiv.org/abs/1502.04681.
    """
    settings = {"learning_rate": _RECURRENT_RATE, **settings}
    return _recipe(Deterministic(latent_dim), settings=settings, network=Recurrent(cell="lstm"))


def gru_autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the autoencoder of series with gated recurrent units: fewer weights than an LSTM of the same width.

    Example:
        >>> gru_autoencoder(latent_dim=8).network.cell
        'gru'

    Paper: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014,
    https://arxiv.org/abs/1406.1078.
    """
    settings = {"learning_rate": _RECURRENT_RATE, **settings}
    return _recipe(Deterministic(latent_dim), settings=settings, network=Recurrent(cell="gru"))


def transformer_autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the transformer autoencoder of images and series: their patches attend to each other.

    Example:
        >>> transformer_autoencoder(latent_dim=8, bottleneck="sequence", patch=4).network.bottleneck
        'sequence'

    Paper: Vaswani et al., Attention Is All You Need, NeurIPS 2017, https://arxiv.org/abs/1706.03762; its encoder on
    patches: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, https://arxiv.org/abs/2010.11929.
    """
    return _recipe(Deterministic(latent_dim), settings=settings, network=Attention())


def masked_autoencoder(
    latent_dim: LatentDim = 32, rate: float = 0.75, patch: int = 4, count: str = "all", **settings: Any
) -> Recipe:
    """Return the masked autoencoder: it fills in the patches that its encoder did not see. For features, and to repair.

    Args:
        latent_dim: width of each patch's latent.
        rate: share of the patches that is hidden.
        patch: side of a patch, or steps of a span, in network and corruption.
        count: "all" counts every value, so that whole rows are rebuilt and scored too; "hidden", as in the paper, only
            what was hidden: what comes out for visible patches is then left to chance.
        **settings: see the module.

    Example:
        >>> masked_autoencoder(patch=7).corruption
        HidePatches(rate=0.75, patch=7, count='all', form='image')

    Paper: He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, https://arxiv.org/abs/2111.06377.
    """
    form = "series" if settings.get("form") == "series" else "image"
    return _recipe(
        Deterministic(latent_dim),
        settings=settings,
        corruption=HidePatches(rate, patch, count, form),
        network=Attention(patch=patch, bottleneck="sequence"),
        own=("rate", "patch", "count"),
    )


PRESETS: dict[str, Callable[..., Recipe]] = {
    "autoencoder": autoencoder,
    "denoising": denoising,
    "sparse": sparse,
    "sparse_l1": sparse_l1,
    "sparse_kl": sparse_kl,
    "contractive": contractive,
    "vae": vae,
    "beta_vae": beta_vae,
    "lstm_autoencoder": lstm_autoencoder,
    "gru_autoencoder": gru_autoencoder,
    "transformer_autoencoder": transformer_autoencoder,
    "masked_autoencoder": masked_autoencoder,
}


def get(name: str) -> Recipe:
    """Return a preset's default recipe by name; raise `RecipeError` with the valid names for any other."""
    if name not in PRESETS:
        raise RecipeError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]()
