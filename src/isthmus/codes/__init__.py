"""Codes: what passes the bottleneck."""

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Density, Draw, row_keys
from isthmus.codes.densities import DiagonalNormal, StandardNormal
from isthmus.codes.deterministic import LATENT_ACTIVATIONS, Deterministic, DeterministicCode
from isthmus.codes.gaussian import Gaussian, GaussianCode

CODES: dict[str, type[CodeSpec]] = {"deterministic": Deterministic, "gaussian": Gaussian}

__all__ = [
    "CODES",
    "LATENT_ACTIVATIONS",
    "Code",
    "CodeOutput",
    "CodeSpec",
    "Density",
    "Deterministic",
    "DeterministicCode",
    "DiagonalNormal",
    "Draw",
    "Gaussian",
    "GaussianCode",
    "StandardNormal",
    "row_keys",
]
