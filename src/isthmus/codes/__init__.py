"""Codes: what passes the bottleneck."""

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Density, Draw, row_keys
from isthmus.codes.categorical import Categorical, CategoricalCode
from isthmus.codes.densities import DiagonalNormal, FullNormal, Posterior, StandardNormal
from isthmus.codes.deterministic import LATENT_ACTIVATIONS, Deterministic, DeterministicCode
from isthmus.codes.gaussian import COVARIANCES, Gaussian, GaussianCode
from isthmus.codes.priors import (
    PRIORS,
    FlowPrior,
    LaplacePrior,
    MixturePrior,
    NormalPrior,
    Prior,
    PriorSpec,
    VampPrior,
)
from isthmus.codes.quantised import FSQ, FSQCode, VectorQuantised, VectorQuantisedCode

CODES: dict[str, type[CodeSpec]] = {
    "deterministic": Deterministic,
    "gaussian": Gaussian,
    "vector_quantised": VectorQuantised,
    "fsq": FSQ,
    "categorical": Categorical,
}

__all__ = [
    "CODES",
    "COVARIANCES",
    "FSQ",
    "LATENT_ACTIVATIONS",
    "PRIORS",
    "Categorical",
    "CategoricalCode",
    "Code",
    "CodeOutput",
    "CodeSpec",
    "Density",
    "Deterministic",
    "DeterministicCode",
    "DiagonalNormal",
    "Draw",
    "FSQCode",
    "FlowPrior",
    "FullNormal",
    "Gaussian",
    "GaussianCode",
    "LaplacePrior",
    "MixturePrior",
    "NormalPrior",
    "Posterior",
    "Prior",
    "PriorSpec",
    "StandardNormal",
    "VampPrior",
    "VectorQuantised",
    "VectorQuantisedCode",
    "row_keys",
]
