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
from isthmus.objectives.schedules import Cyclical, Linear, Logistic, Schedule
from isthmus.objectives.sparsity import L0, Auxiliary, Gate
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
    "auxiliary": Auxiliary,
    "l0": L0,
    "gate": Gate,
}
SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "logistic": Logistic, "cyclical": Cyclical}

__all__ = [
    "L0",
    "LIKELIHOODS",
    "SCHEDULES",
    "SUPPORTS",
    "TERMS",
    "Auxiliary",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Categorical",
    "ContinuousBernoulli",
    "Contraction",
    "Cyclical",
    "Forward",
    "Gate",
    "Laplace",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Logistic",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "Objective",
    "OwningTerm",
    "Poisson",
    "Rate",
    "Reconstruction",
    "Schedule",
    "Shapes",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "StudentT",
    "Support",
    "Term",
    "Weight",
    "WeightedTerm",
]
