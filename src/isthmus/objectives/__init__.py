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
from isthmus.objectives.continuous import Laplace, Normal, StudentT
from isthmus.objectives.discrete import Categorical, Multinomial, NegativeBinomial, Poisson
from isthmus.objectives.mixed import Mixed
from isthmus.objectives.reconstruction import (
    Bernoulli,
    BinaryCrossEntropy,
    ContinuousBernoulli,
    Reconstruction,
    SquaredError,
)
from isthmus.objectives.regularisers import Contraction, Rate, Sparsity, SparsityTarget
from isthmus.objectives.support import SUPPORTS, Support

LIKELIHOODS: dict[str, type[LikelihoodSpec]] = {
    "squared_error": SquaredError,
    "binary_cross_entropy": BinaryCrossEntropy,
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "normal": Normal,
    "laplace": Laplace,
    "student_t": StudentT,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "multinomial": Multinomial,
    "categorical": Categorical,
    "mixed": Mixed,
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
    "SUPPORTS",
    "TERMS",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Categorical",
    "ContinuousBernoulli",
    "Contraction",
    "Forward",
    "Laplace",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "Objective",
    "OwningTerm",
    "Poisson",
    "Rate",
    "Reconstruction",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "StudentT",
    "Support",
    "Term",
    "Weight",
    "WeightedTerm",
]
