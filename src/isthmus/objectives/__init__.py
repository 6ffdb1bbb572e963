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
from isthmus.objectives.discrepancy import Discrepancy
from isthmus.objectives.features import FEATURES, Perceptual, register_features
from isthmus.objectives.images import Edges, Frequencies, MultiScaleSimilarity, StructuralSimilarity
from isthmus.objectives.reconstruction import (
    Bernoulli,
    BinaryCrossEntropy,
    Normal,
    NormalLikelihood,
    Reconstruction,
    SquaredError,
)
from isthmus.objectives.regularisers import (
    Contraction,
    DecoderGradient,
    LatentNorm,
    Nested,
    Rate,
    Sparsity,
    SparsityTarget,
)
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
    "LIKELIHOODS",
    "SCHEDULES",
    "TERMS",
    "Bernoulli",
    "BinaryCrossEntropy",
    "Capacity",
    "Contraction",
    "Cyclical",
    "DecoderGradient",
    "Discrepancy",
    "Edges",
    "Forward",
    "Frequencies",
    "ImageAdversary",
    "ImportanceWeighted",
    "LatentAdversary",
    "LatentNorm",
    "Likelihood",
    "LikelihoodSpec",
    "Linear",
    "Logistic",
    "MultiScaleSimilarity",
    "Nested",
    "Normal",
    "NormalLikelihood",
    "Objective",
    "OwningTerm",
    "Perceptual",
    "Rate",
    "Reconstruction",
    "Schedule",
    "Shapes",
    "Sparsity",
    "SparsityTarget",
    "SquaredError",
    "StructuralSimilarity",
    "Term",
    "TotalCorrelation",
    "Weight",
    "WeightedTerm",
    "register_features",
]
