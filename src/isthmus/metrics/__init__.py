"""Metrics: pure functions over arrays, which need no weights but those they fit themselves."""

from isthmus.metrics.disentanglement import DCI, dci, factor_vae_score, information, mig, sap
from isthmus.metrics.generation import (
    DensityCoverage,
    FeatureSpace,
    FrechetDistance,
    PrecisionRecall,
    classifier_space,
    density_coverage,
    frechet_distance,
    precision_recall,
    whitened_space,
)
from isthmus.metrics.health import (
    average_activation,
    code_health,
    codebook_perplexity,
    count_active,
    dead_units,
    effective_rank,
    kl_per_latent,
    mutual_information,
    share_below,
)
from isthmus.metrics.reconstruction import mse, psnr, ssim
from isthmus.metrics.remedies import advice

__all__ = [
    "DCI",
    "DensityCoverage",
    "FeatureSpace",
    "FrechetDistance",
    "PrecisionRecall",
    "advice",
    "average_activation",
    "classifier_space",
    "code_health",
    "codebook_perplexity",
    "count_active",
    "dci",
    "dead_units",
    "density_coverage",
    "effective_rank",
    "factor_vae_score",
    "frechet_distance",
    "information",
    "kl_per_latent",
    "mig",
    "mse",
    "mutual_information",
    "precision_recall",
    "psnr",
    "sap",
    "share_below",
    "ssim",
    "whitened_space",
]
