"""Codes: what passes the bottleneck."""

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Density, Draw, row_keys
from isthmus.codes.densities import DiagonalNormal, StandardNormal
from isthmus.codes.deterministic import LATENT_ACTIVATIONS, Deterministic, DeterministicCode
from isthmus.codes.gates import Gated, GatedCode, JumpReLU, JumpReLUCode
from isthmus.codes.gaussian import Gaussian, GaussianCode
from isthmus.codes.sparse import BatchTopK, BatchTopKCode, SparseCode, SparseSpec, TopK, TopKCode

CODES: dict[str, type[CodeSpec]] = {
    "deterministic": Deterministic,
    "gaussian": Gaussian,
    "top_k": TopK,
    "batch_top_k": BatchTopK,
    "jump_relu": JumpReLU,
    "gated": Gated,
}

__all__ = [
    "CODES",
    "LATENT_ACTIVATIONS",
    "BatchTopK",
    "BatchTopKCode",
    "Code",
    "CodeOutput",
    "CodeSpec",
    "Density",
    "Deterministic",
    "DeterministicCode",
    "DiagonalNormal",
    "Draw",
    "Gated",
    "GatedCode",
    "Gaussian",
    "GaussianCode",
    "JumpReLU",
    "JumpReLUCode",
    "SparseCode",
    "SparseSpec",
    "StandardNormal",
    "TopK",
    "TopKCode",
    "row_keys",
]
