"""Codes: what passes the bottleneck."""

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw, row_keys
from isthmus.codes.deterministic import LATENT_ACTIVATIONS, Deterministic, DeterministicCode
from isthmus.codes.gaussian import Gaussian, GaussianCode

CODES: dict[str, type[CodeSpec]] = {"deterministic": Deterministic, "gaussian": Gaussian}

__all__ = [
    "CODES",
    "LATENT_ACTIVATIONS",
    "Code",
    "CodeOutput",
    "CodeSpec",
    "Deterministic",
    "DeterministicCode",
    "Draw",
    "Gaussian",
    "GaussianCode",
    "row_keys",
]
