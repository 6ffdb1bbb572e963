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
from isthmus.corruptions import Corruption, GaussianNoise
from isthmus.errors import RecipeError, check_choice, check_number, unknown_name
from isthmus.networks import NetworkSpec
from isthmus.objectives import (
    LIKELIHOODS,
    Capacity,
    Contraction,
    DecoderGradient,
    Discrepancy,
    ImageAdversary,
    ImportanceWeighted,
    LatentAdversary,
    LatentNorm,
    LikelihoodSpec,
    Linear,
    Nested,
    Objective,
    Rate,
    Sparsity,
    SparsityTarget,
    Term,
    TotalCorrelation,
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


def beta_tc_vae(latent_dim: LatentDim = "auto", beta: float = 6.0, rows: int | None = None, **settings: Any) -> Recipe:
    """Return the beta-TC-VAE: only the dependence between latents is charged more. For factors that separate.

    Args:
        latent_dim: width of the latent.
        beta: weight of the total correlation; 1 is the VAE.
        rows: of the training data, for the estimate of the total correlation; None takes each batch for the whole.
        **settings: see the module.

    Example:
        >>> beta_tc_vae(beta=6.0).objective.weights(1.0)
        {'rate': 1.0, 'total_correlation': 5.0}

    Paper: Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, https://arxiv.org/abs/1802.04942.
    """
    check_number("beta", beta, 1.0)
    terms = (Rate(), WeightedTerm(TotalCorrelation(rows), beta - 1.0))
    own = ("beta", "rows")
    return _recipe(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=own)


def capacity_vae(
    latent_dim: LatentDim = "auto", capacity: float = 25.0, over: float = 0.5, weight: Weight = 100.0, **settings: Any
) -> Recipe:
    """Return the VAE whose rate is held at a capacity that grows. For factors that open one by one.

    Args:
        latent_dim: width of the latent.
        capacity: the final rate in nats.
        over: share of the training steps over which it is reached.
        weight: of the distance from the capacity; large enough to hold the rate there.
        **settings: see the module.

    Example:
        >>> capacity_vae(capacity=10.0).objective.terms[0].term
        Capacity(end=10.0, over=0.5)

    Paper: Burgess et al., Understanding disentangling in beta-VAE, 2018, https://arxiv.org/abs/1804.03599.
    """
    term, own = WeightedTerm(Capacity(capacity, over), weight), ("capacity", "over", "weight")
    return _recipe(Gaussian(latent_dim), term, settings=settings, likelihood="auto_density", own=own)


def iwae(latent_dim: LatentDim = "auto", samples: int = 50, **settings: Any) -> Recipe:
    """Return the importance-weighted autoencoder: a bound nearer to the log-likelihood. For scores and samples.

    Args:
        latent_dim: width of the latent.
        samples: latents drawn for each row; time and memory grow with them.
        **settings: see the module.

    Example:
        >>> iwae(samples=5).objective.samples
        5

    Paper: Burda et al., Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519.
    """
    terms, own = ImportanceWeighted(samples), ("samples",)
    return _recipe(Gaussian(latent_dim), terms, settings=settings, likelihood="auto_density", own=own)


def miwae(latent_dim: LatentDim = "auto", samples: int = 20, **settings: Any) -> Recipe:
    """Return the importance-weighted autoencoder for rows with missing values. For filling them in.

    The bound is that of `iwae`, on the observed values alone: the encoder sees zero where nothing was observed, and the
    likelihood leaves those values out.

    Args:
        latent_dim: width of the latent.
        samples: latents drawn for each row.
        **settings: see the module.

    Example:
        >>> miwae().objective.terms[0].term.samples
        20

    Paper: Mattei and Frellsen, MIWAE, 2019, https://arxiv.org/abs/1812.02633.
    """
    return iwae(latent_dim, samples, **settings)


def wae(latent_dim: LatentDim = "auto", weight: Weight = 10.0, **settings: Any) -> Recipe:
    """Return the Wasserstein autoencoder: a deterministic code whose batches look like N(0, I). For sharp samples.

    Example:
        >>> wae(latent_dim=8).code
        Deterministic(latent_dim=8, activation='linear', prior='normal')

    Paper: Tolstikhin et al., Wasserstein Auto-Encoders, 2018, https://arxiv.org/abs/1711.01558 (WAE-MMD).
    """
    term = WeightedTerm(Discrepancy(), weight)
    return _recipe(Deterministic(latent_dim, prior="normal"), term, settings=settings, own=("weight",))


def info_vae(latent_dim: LatentDim = "auto", rate: Weight = 0.1, weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the InfoVAE: little charge for what a row's code tells, and batches that look like the prior.

    Args:
        latent_dim: width of the latent.
        rate: weight of the rate, ``1 - alpha`` in the paper; 0 is the MMD-VAE.
        weight: of the discrepancy between the batch's codes and N(0, I), ``alpha + lambda - 1`` in the paper; 10 to
            1000 for images, whose cost is hundreds of nats.
        **settings: see the module.

    Example:
        >>> info_vae().objective.weights(1.0)
        {'rate': 0.1, 'discrepancy': 1.0}

    Paper: Zhao et al., InfoVAE: Balancing Learning and Inference in Variational Autoencoders, 2019,
    https://arxiv.org/abs/1706.02262.
    """
    terms, own = (WeightedTerm(Rate(), rate), WeightedTerm(Discrepancy(), weight)), ("rate", "weight")
    return _recipe(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=own)


def aae(latent_dim: LatentDim = "auto", weight: Weight = 0.1, **settings: Any) -> Recipe:
    """Return the adversarial autoencoder: a critic tells its codes from N(0, I) until it no longer can. For samples.

    Example:
        >>> aae(weight=1.0).objective.weights(1.0)
        {'latent_adversary': 1.0}

    Paper: Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644.
    """
    term = WeightedTerm(LatentAdversary(), weight)
    return _recipe(Deterministic(latent_dim, prior="normal"), term, settings=settings, own=("weight",))


def vae_gan(latent_dim: LatentDim = "auto", weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the VAE with a critic on its rows: likeness in the critic's features, not by pixels alone. For sharpness.

    Args:
        latent_dim: width of the latent.
        weight: of the critic's verdict and of the distance in its features together.
        **settings: see the module.

    Example:
        >>> vae_gan().objective.weights(1.0)
        {'rate': 1.0, 'image_adversary': 1.0}

    Paper: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016,
    https://arxiv.org/abs/1512.09300 (here the likelihood's cost stays).
    """
    terms = (Rate(), WeightedTerm(ImageAdversary(sampled=True), weight))
    return _recipe(Gaussian(latent_dim), *terms, settings=settings, likelihood="auto_density", own=("weight",))


def rae(latent_dim: LatentDim = "auto", weight: Weight = 0.01, slope: Weight = 0.001, **settings: Any) -> Recipe:
    """Return the regularised autoencoder: short codes and a smooth decoder in place of noise. For smooth maps.

    Nothing makes its codes normal, only short: samples decoded from N(0, I) are rough, until a density is fitted to
    the codes, as the paper does after training.

    Args:
        latent_dim: width of the latent.
        weight: of half the squared length of the code.
        slope: of the decoder's squared gradient (RAE-GP); `weight_decay` instead of it is the paper's RAE-L2.
        **settings: see the module.

    Example:
        >>> rae().objective.weights(1.0)
        {'latent_norm': 0.01, 'decoder_gradient': 0.001}

    Paper: Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436.
    """
    terms, own = (WeightedTerm(LatentNorm(), weight), WeightedTerm(DecoderGradient(), slope)), ("weight", "slope")
    return _recipe(Deterministic(latent_dim, prior="normal"), *terms, settings=settings, own=own)


def nested(
    latent_dim: LatentDim = "auto", prefixes: tuple[int, ...] | None = None, weight: Weight = 1.0, **settings: Any
) -> Recipe:
    """Return the autoencoder with ordered latents, any first few of which decode. For codes cut to a size afterwards.

    Args:
        latent_dim: width of the latent.
        prefixes: numbers of latents that are to decode by themselves; None for 1, 2, 4, ...
        weight: of their average cost, beside that of the whole code.
        **settings: see the module.

    Example:
        >>> nested(latent_dim=32, prefixes=(4, 16)).objective.terms[0].term
        Nested(prefixes=(4, 16))

    Paper: Rippel et al., Learning Ordered Representations with Nested Dropout, 2014, https://arxiv.org/abs/1402.0915;
    Kusupati et al., Matryoshka Representation Learning, 2022, https://arxiv.org/abs/2205.13147.
    """
    term, own = WeightedTerm(Nested(prefixes), weight), ("prefixes", "weight")
    return _recipe(Deterministic(latent_dim), term, settings=settings, own=own)


PRESETS: dict[str, Callable[..., Recipe]] = {
    "autoencoder": autoencoder,
    "denoising": denoising,
    "sparse": sparse,
    "sparse_l1": sparse_l1,
    "sparse_kl": sparse_kl,
    "contractive": contractive,
    "vae": vae,
    "beta_vae": beta_vae,
    "beta_tc_vae": beta_tc_vae,
    "capacity_vae": capacity_vae,
    "iwae": iwae,
    "miwae": miwae,
    "wae": wae,
    "info_vae": info_vae,
    "aae": aae,
    "vae_gan": vae_gan,
    "rae": rae,
    "nested": nested,
}


def get(name: str) -> Recipe:
    """Return a preset's default recipe by name; raise `RecipeError` with the valid names for any other."""
    if name not in PRESETS:
        raise RecipeError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]()
