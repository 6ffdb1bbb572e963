"""Named methods: each a short function that returns a recipe.

Every preset takes the settings that people type as keyword arguments: `network` ("dense", "conv", ..., or a description
such as `isthmus.networks.Conv()`) and that network's own settings (`hidden_dims`, `activation`, `normalisation`,
`dropout`, `residual`, `tied` for the dense one; `channels`, `kernel`, `stride`, `skips` and more for the convolutional
one), those of `isthmus.recipe.Training` (`epochs`, `batch_size`, `learning_rate`, ...), `preprocessing` and, where the
method has a choice, `likelihood`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from isthmus.codec import AXES, decode_part
from isthmus.codes import (
    FSQ,
    BatchTopK,
    Categorical,
    CodeSpec,
    Deterministic,
    FlowPrior,
    Gated,
    Gaussian,
    JumpReLU,
    LaplacePrior,
    TopK,
    VampPrior,
    VectorQuantised,
)
from isthmus.corruptions import Corruption, GaussianNoise, HidePatches
from isthmus.errors import RecipeError, check_choice, check_number, unknown_name
from isthmus.networks import Attention, Conv, Dense, NetworkSpec, Recurrent
from isthmus.objectives import (
    L0,
    LIKELIHOODS,
    Auxiliary,
    Capacity,
    Commitment,
    Contraction,
    DecoderGradient,
    Discrepancy,
    Gate,
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
    SquaredError,
    Term,
    TotalCorrelation,
    Weight,
    WeightedTerm,
)
from isthmus.recipe import Recipe, Training

LatentDim = int | Literal["auto"]
LikelihoodChoice = LikelihoodSpec | Literal["auto_error", "auto_density"]

# Measured on ECG5000: 640 steps end at a mean squared error of 0.118, where the default rate of 0.004 ends at 0.136.
_RECURRENT_RATE = 0.01
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


def jump_relu(latent_dim: LatentDim = "auto", weight: Weight = 0.2, **settings: Any) -> Recipe:
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


def gated(latent_dim: LatentDim = "auto", sparsity: float = 0.5, **settings: Any) -> Recipe:
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


def deep(latent_dim: LatentDim = 30, hidden_dims: tuple[int, ...] = (1000, 500, 250), **settings: Any) -> Recipe:
    """Return the deep autoencoder: three hidden layers on each side of a code of 30. For compression and for maps.

    It needs no pretraining: orthogonal directions scaled by the data start it as well (see `isthmus.networks.Dense`).

    Example:
        >>> deep().network.hidden_dims
        (1000, 500, 250)

    Paper: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006.
    """
    return _recipe(Deterministic(latent_dim), settings={"hidden_dims": hidden_dims, **settings})


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
        **settings: see the module.

    Example:
        >>> stacked(hidden_dims=(64, 32), pretraining=5).training.pretraining
        5

    Paper: Vincent et al., Stacked Denoising Autoencoders, JMLR 2010.
    """
    settings = {"hidden_dims": hidden_dims, "pretraining": pretraining, **settings}
    return denoising(latent_dim, corruption, **settings)


def cvae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the conditional VAE: encoder and decoder are told a label or numbers. For samples of a chosen class.

    Fit it with ``Autoencoder(presets.cvae()).fit(X, condition=labels)`` and draw with ``sample(10, condition=label)``.

    Example:
        >>> cvae(latent_dim=8).conditional
        True

    Paper: Sohn et al., Learning Structured Output Representation using Deep Conditional Generative Models, 2015.
    """
    return dataclasses.replace(vae(latent_dim, **settings), conditional=True)


# Measured on 10,000 images of Fashion-MNIST, 32 latents, 5 epochs: a test error of 0.0134 at 0.01 where 0.004 reaches
# 0.0156, since a kernel has few weights and each must go far; the dense network is worse at 0.01 than at 0.004.
_CONV_RATE = 0.01


def conv_autoencoder(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the convolutional autoencoder: squared error through a narrow code. For images.

    Example:
        >>> conv_autoencoder(latent_dim=32, channels=(16, 32), residual=True).network.channels
        (16, 32)

    Paper: Masci et al., Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction, ICANN 2011.
    """
    return _recipe(Deterministic(latent_dim), settings={"learning_rate": _CONV_RATE, **settings}, network="conv")


def conv_vae(latent_dim: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the variational autoencoder with a convolutional network. For samples and scores of images.

    Example:
        >>> conv_vae(latent_dim=20).code
        Gaussian(latent_dim=20)

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.
    """
    return _recipe(Gaussian(latent_dim), Rate(), settings=settings, likelihood="auto_density", network="conv")


def conv_denoising(latent_dim: LatentDim = "auto", corruption: Corruption | None = None, **settings: Any) -> Recipe:
    """Return the convolutional denoising autoencoder with skips from encoder to decoder. For cleaning images.

    What passes beside the code makes clean images sharper and the code itself poorer; `skips=False` is for features.

    Args:
        latent_dim: width of the latent.
        corruption: what the encoder sees; Gaussian noise of standard deviation 0.3 by default.
        **settings: see the module.

    Example:
        >>> conv_denoising().network.skips, conv_denoising(skips=False).network.skips
        (True, False)

    Paper: Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597; the noise from Vincent et al., Extracting
    and Composing Robust Features with Denoising Autoencoders, ICML 2008.
    """
    noise = corruption or GaussianNoise(0.3)
    code = Deterministic(latent_dim)
    return _recipe(code, settings=settings, corruption=noise, own=("corruption",), network=Conv(skips=True))


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
        Deterministic(latent_dim=8, activation='linear', sampled_from='normal')

    Paper: Tolstikhin et al., Wasserstein Auto-Encoders, 2018, https://arxiv.org/abs/1711.01558 (WAE-MMD).
    """
    term = WeightedTerm(Discrepancy(), weight)
    return _recipe(Deterministic(latent_dim, sampled_from="normal"), term, settings=settings, own=("weight",))


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


def aae(latent_dim: LatentDim = "auto", weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the adversarial autoencoder: a critic tells its codes from N(0, I) until it no longer can. For samples.

    Example:
        >>> aae(weight=0.1).objective.weights(1.0)
        {'latent_adversary': 0.1}

    Paper: Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644.
    """
    term = WeightedTerm(LatentAdversary(), weight)
    return _recipe(Deterministic(latent_dim, sampled_from="normal"), term, settings=settings, own=("weight",))


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
    return _recipe(Deterministic(latent_dim, sampled_from="normal"), *terms, settings=settings, own=own)


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
    "top_k": top_k,
    "batch_top_k": batch_top_k,
    "jump_relu": jump_relu,
    "gated": gated,
    "contractive": contractive,
    "vae": vae,
    "beta_vae": beta_vae,
    "cvae": cvae,
    "deep": deep,
    "stacked": stacked,
    "conv_autoencoder": conv_autoencoder,
    "conv_vae": conv_vae,
    "conv_denoising": conv_denoising,
    "sparse_vae": sparse_vae,
    "vamp_vae": vamp_vae,
    "flow_vae": flow_vae,
    "categorical_vae": categorical_vae,
    "vq_vae": vq_vae,
    "fsq": fsq,
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
