"""Codes: what passes the bottleneck."""

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Density, Draw, row_keys
from isthmus.codes.categorical import CategoricalCode, GumbelSoftmax
from isthmus.codes.densities import DiagonalNormal, FullNormal, Posterior, StandardNormal
from isthmus.codes.deterministic import LATENT_ACTIVATIONS, Deterministic, DeterministicCode
from isthmus.codes.gates import Gated, GatedCode, JumpReLU, JumpReLUCode
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
from isthmus.codes.sparse import BatchTopK, BatchTopKCode, SparseCode, SparseSpec, TopK, TopKCode

CODES: dict[str, type[CodeSpec]] = {
    "deterministic": Deterministic,
    "gaussian": Gaussian,
    "top_k": TopK,
    "batch_top_k": BatchTopK,
    "jump_relu": JumpReLU,
    "gated": Gated,
    "vector_quantised": VectorQuantised,
    "fsq": FSQ,
    "categorical": GumbelSoftmax,
}

__all__ = [
    "CODES",
    "COVARIANCES",
    "FSQ",
    "LATENT_ACTIVATIONS",
    "PRIORS",
    "BatchTopK",
    "BatchTopKCode",
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
    "Gated",
    "GatedCode",
    "Gaussian",
    "GaussianCode",
    "GumbelSoftmax",
    "JumpReLU",
    "JumpReLUCode",
    "LaplacePrior",
    "MixturePrior",
    "NormalPrior",
    "Posterior",
    "Prior",
    "PriorSpec",
    "SparseCode",
    "SparseSpec",
    "StandardNormal",
    "TopK",
    "TopKCode",
    "VampPrior",
    "VectorQuantised",
    "VectorQuantisedCode",
    "row_keys",
]
