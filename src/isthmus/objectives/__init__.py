"""Objectives: what is minimised."""

from isthmus.objectives.adversary import ImageAdversary, LatentAdversary
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
from isthmus.objectives.bounds import Capacity, ImportanceWeighted, TotalCorrelation
from isthmus.objectives.continuous import Laplace, Normal, StudentT
from isthmus.objectives.discrepancy import Discrepancy
from isthmus.objectives.discrete import Categorical, Multinomial, NegativeBinomial, Poisson
from isthmus.objectives.features import FEATURES, Perceptual, register_features
from isthmus.objectives.images import Edges, Frequencies, MultiScaleSimilarity, StructuralSimilarity
from isthmus.objectives.mixed import Mixed
from isthmus.objectives.one_hot import OneHot
from isthmus.objectives.quantisation import Commitment
from isthmus.objectives.reconstruction import (
    Bernoulli,
    BinaryCrossEntropy,
    ContinuousBernoulli,
    Reconstruction,
    SquaredError,
)
from isthmus.objectives.regularisers import (
    KL,
    Contraction,
    DecoderGradient,
    LatentNorm,
    Nested,
    Sparsity,
    SparsityTarget,
)
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
    "one_hot": OneHot,
    "mixed": Mixed,
}
TERMS: dict[str, type[Term]] = {
    "kl": KL,
    "sparsity": Sparsity,
    "sparsity_target": SparsityTarget,
    "contraction": Contraction,
    "auxiliary": Auxiliary,
    "l0": L0,
    "gate": Gate,
    "commitment": Commitment,
    "importance_weighted": ImportanceWeighted,
    "total_correlation": TotalCorrelation,
    "capacity": Capacity,
    "discrepancy": Discrepancy,
    "latent_adversary": LatentAdversary,
    "image_adversary": ImageAdversary,
    "ssim": StructuralSimilarity,
    "ms_ssim": MultiScaleSimilarity,
    "edges": Edges,
    "frequencies": Frequencies,
    "perceptual": Perceptual,
    "latent_norm": LatentNorm,
    "decoder_gradient": DecoderGradient,
    "nested": Nested,
}
SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "logistic": Logistic, "cyclical": Cyclical}

__all__ = [
    "FEATURES",
    "KL",
    "L0",
    "LIKELIHOODS",
    "SCHEDULES",
    "SUPPORTS",
    "TERMS",
    "Auxiliary",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Capacity",
    "Categorical",
    "Commitment",
    "ContinuousBernoulli",
    "Contraction",
    "Cyclical",
    "DecoderGradient",
    "Discrepancy",
    "Edges",
    "Forward",
    "Frequencies",
    "Gate",
    "ImageAdversary",
    "ImportanceWeighted",
    "Laplace",
    "LatentAdversary",
    "LatentNorm",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Logistic",
    "Mixed",
    "MultiScaleSimilarity",
    "Multinomial",
    "NegativeBinomial",
    "Nested",
    "Normal",
    "Objective",
    "OneHot",
    "OwningTerm",
    "Perceptual",
    "Poisson",
    "Reconstruction",
    "Schedule",
    "Shapes",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "StructuralSimilarity",
    "StudentT",
    "Support",
    "Term",
    "TotalCorrelation",
    "Weight",
    "WeightedTerm",
    "register_features",
]
