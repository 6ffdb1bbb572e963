"""Objectives: what is minimised."""

from isthmus.objectives.base import (
    Forward,
    Likelihood,
    LikelihoodSpec,
    Linear,
    Objective,
    OwningTerm,
    Term,
    Weight,
    WeightedTerm,
)
from isthmus.objectives.reconstruction import (
    Bernoulli,
    BinaryCrossEntropy,
    Normal,
    NormalLikelihood,
    Reconstruction,
    SquaredError,
)
from isthmus.objectives.regularisers import Contraction, Rate, Sparsity, SparsityTarget

LIKELIHOODS: dict[str, type[LikelihoodSpec]] = {
    "squared_error": SquaredError,
    "binary_cross_entropy": BinaryCrossEntropy,
    "bernoulli": Bernoulli,
    "normal": Normal,
}
TERMS: dict[str, type[Term]] = {
    "rate": Rate,
    "sparsity": Sparsity,
    "sparsity_target": SparsityTarget,
    "contraction": Contraction,
}
SCHEDULES: dict[str, type[Linear]] = {"linear": Linear}

__all__ = [
    "LIKELIHOODS",
    "SCHEDULES",
    "TERMS",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Contraction",
    "Forward",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Normal",
    "NormalLikelihood",
    "Objective",
    "OwningTerm",
    "Rate",
    "Reconstruction",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "Term",
    "Weight",
    "WeightedTerm",
]
