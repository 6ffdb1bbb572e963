"""Strengths and limits of each kind of autoencoder, for any goal.

A kind has the name of its preset. A kind that this version does not have is considered and shown, but never proposed.
"""

from __future__ import annotations

from dataclasses import dataclass

EVERY = ("vector", "image", "series")


@dataclass(frozen=True)
class Kind:
    """A kind of autoencoder.

    Attributes:
        preset: its name in `isthmus.presets`.
        strengths: in a few words.
        limits: weaknesses and costs.
        rows: the kinds of row that it is for.
        fewest_rows: number of rows that it needs.
    """

    preset: str
    strengths: str
    limits: str
    rows: tuple[str, ...] = EVERY
    fewest_rows: int = 0


_ALL = (
    Kind(
        "autoencoder", "simple, quick, the lowest error for a code of its size", "gaps in its latent space; no samples"
    ),
    Kind("denoising", "learns the data manifold, cannot just copy; denoises", "needs noise like that of the data"),
    Kind("sparse_l1", "few active latents for each row, interpretable", "shrinks latents; the weight needs tuning"),
    Kind("sparse_kl", "every latent is used about equally often", "two settings to tune; latents lie in [0, 1]"),
    Kind(
        "contractive", "codes that are insensitive to small changes", "a backward pass for each latent: slow when wide"
    ),
    Kind("vae", "samples, a smooth map, a bound on the likelihood", "blurs; may leave latents unused"),
    Kind("beta_vae", "disentangled factors, with beta above 1", "blurs more than a VAE; beta needs tuning"),
    Kind("deep", "more layers, a smaller code for the same error", "slow; overfits few rows", fewest_rows=2000),
    Kind("conv_autoencoder", "recognises shapes anywhere; few weights", "images only; slow on a CPU", ("image",)),
    Kind("conv_denoising", "denoises from neighbouring pixels; cannot copy", "images only; slow on a CPU", ("image",)),
    Kind("conv_vae", "samples of images, with few weights", "blurs; slow on a CPU", ("image",), 1000),
    Kind("lstm_autoencoder", "series of any length", "slow: one step after the other", ("series",)),
    Kind("transformer_autoencoder", "long-range dependence in series", "much data, slow on a CPU", ("series",), 5000),
    Kind("masked_autoencoder", "strong features from large sets of images", "much data", ("image",), 10_000),
    Kind(
        "top_k",
        "exactly k latents for each row, no shrinkage",
        "dead latents; more latents than columns",
        fewest_rows=5000,
    ),
    Kind("vq_vae", "discrete codes, sharp images", "codebook may die; samples need a second model", fewest_rows=5000),
    Kind("fsq", "discrete codes without a codebook that can die", "samples need a second model", fewest_rows=2000),
    Kind("rae", "sharp: a deterministic code", "samples need a density fitted to the codes"),
    Kind("wae", "codes as a whole follow the prior; sharper than a VAE", "no likelihood; needs large batches"),
)
KINDS: dict[str, Kind] = {kind.preset: kind for kind in _ALL}
# Presets without a kind of their own, and the kind whose strengths and limits they share: the table would be too long.
VARIANTS: dict[str, str] = {
    "sparse": "sparse_l1",
    "stacked": "deep",
    "nested": "autoencoder",
    "batch_top_k": "top_k",
    "jump_relu": "top_k",
    "gated": "top_k",
    "gru_autoencoder": "lstm_autoencoder",
    "beta_tc_vae": "beta_vae",
    "capacity_vae": "beta_vae",
    "cvae": "vae",
    "imputer": "denoising",
    "miwae": "vae",
    "iwae": "vae",
    "sparse_vae": "vae",
    "vamp_vae": "vae",
    "flow_vae": "vae",
    "info_vae": "wae",
    "aae": "wae",
    "vae_gan": "conv_vae",
    "categorical_vae": "vq_vae",
}
