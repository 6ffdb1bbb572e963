"""Objectives: what is minimised."""

from isthmus.objectives.base import (
    Forward,
    Likelihood,
    LikelihoodSpec,
    Objective,
    OwningTerm,
    Shapes,
    Term,
    Weight,
    WeightedTerm,
)
from isthmus.objectives.quantisation import Commitment
from isthmus.objectives.reconstruction import (
    Bernoulli,
    BinaryCrossEntropy,
    Normal,
    NormalLikelihood,
    Reconstruction,
    SquaredError,
)
from isthmus.objectives.regularisers import Contraction, Rate, Sparsity, SparsityTarget
from isthmus.objectives.schedules import Cyclical, Linear, Logistic, Schedule

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
    "commitment": Commitment,
}
SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "logistic": Logistic, "cyclical": Cyclical}

__all__ = [
    "LIKELIHOODS",
    "SCHEDULES",
    "TERMS",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Commitment",
    "Contraction",
    "Cyclical",
    "Forward",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Logistic",
    "Normal",
    "NormalLikelihood",
    "Objective",
    "OwningTerm",
    "Rate",
    "Reconstruction",
    "Schedule",
    "Shapes",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "Term",
    "Weight",
    "WeightedTerm",
]
