"""Few latents in use for a row: by a penalty, or as a dictionary."""

from __future__ import annotations

from typing import Any

from isthmus.codes import BatchTopK, CodeSpec, Deterministic, Gated, JumpReLU, TopK
from isthmus.errors import check_choice
from isthmus.networks import Dense
from isthmus.objectives import L0, Auxiliary, Gate, Sparsity, SparsityTarget, SquaredError, Weight, WeightedTerm
from isthmus.presets.base import LatentDim, assemble
from isthmus.recipe import Recipe

# A dictionary: one linear layer on each side, whose decoder columns are the directions that the latents stand for.
_DICTIONARY = Dense(hidden_dims=(), unit_decoder=True)
# The weight of the auxiliary term in Gao et al. 2024.
_AUXILIARY = 1.0 / 32.0


def sparse_l1(latent_dim: LatentDim = "auto", weight: Weight = 0.01, **settings: Any) -> Recipe:
    """Return the sparse autoencoder with an L1 penalty on its rectified latents. For features that can be read.

    Example:
        >>> sparse_l1(latent_dim=64, weight=0.1).objective.weights(1.0)
        {'sparsity': 0.1}

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011 (with the L1 norm as its penalty).
    """
    return assemble(
        Deterministic(latent_dim, "relu"), WeightedTerm(Sparsity(), weight), settings=settings, own=("weight",)
    )


def sparse_kl(latent_dim: LatentDim = "auto", target: float = 0.05, weight: Weight = 1.0, **settings: Any) -> Recipe:
    """Return the sparse autoencoder whose latents have a target for their average activation.

    Example:
        >>> sparse_kl(latent_dim=64, target=0.1).objective.terms[0].term
        SparsityTarget(target=0.1)

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """
    term = WeightedTerm(SparsityTarget(target), weight)
    return assemble(Deterministic(latent_dim, "sigmoid"), term, settings=settings, own=("target", "weight"))


def sparse(latent_dim: LatentDim = "auto", penalty: str = "l1", **settings: Any) -> Recipe:
    """Return a sparse autoencoder: few latents are active for a row. For features that can be read.

    Args:
        latent_dim: width of the latent.
        penalty: "l1" for `sparse_l1`, "kl" for `sparse_kl`.
        **settings: those of the two, and see `isthmus.presets`.

    Example:
        >>> sparse(latent_dim=64, penalty="kl", target=0.1) == sparse_kl(latent_dim=64, target=0.1)
        True

    Paper: Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """
    check_choice("penalty", penalty, ["l1", "kl"])
    return (sparse_l1 if penalty == "l1" else sparse_kl)(latent_dim, **settings)


def _dictionary(code: CodeSpec, *terms: WeightedTerm, settings: dict[str, Any], own: tuple[str, ...]) -> Recipe:
    """Return a sparse dictionary: one linear layer on each side and by default a linear squared error."""
    likelihood, network = SquaredError("linear"), _DICTIONARY
    return assemble(code, *terms, settings=settings, likelihood=likelihood, own=own, network=network)


def top_k(latent_dim: LatentDim = "auto", k: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the sparse dictionary of which each row uses exactly k entries. For features that can be read.

    One linear layer on each side, decoder columns of norm 1, squared error, and an auxiliary loss for dead latents.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        k: entries for each row; "auto" is a sixteenth of the latents, from 1 to 32.
        **settings: see `isthmus.presets`.

    Example:
        >>> top_k(latent_dim=64, k=4).objective.weights(1.0)
        {'auxiliary': 0.03125}

    Paper: Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093.
    """
    return _dictionary(TopK(latent_dim, k), WeightedTerm(Auxiliary(), _AUXILIARY), settings=settings, own=("k",))


def batch_top_k(latent_dim: LatentDim = "auto", k: LatentDim = "auto", **settings: Any) -> Recipe:
    """Return the sparse dictionary of which rows use k entries on average, and each as many as it needs.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        k: entries for each row on average; "auto" is a sixteenth of the latents, from 1 to 32.
        **settings: see `isthmus.presets`.

    Example:
        >>> batch_top_k(latent_dim=64, k=4).code
        BatchTopK(latent_dim=64, k=4, dead_after='auto')

    Paper: Bussmann et al., BatchTopK Sparse Autoencoders, 2024, https://arxiv.org/abs/2412.06410.
    """
    return _dictionary(BatchTopK(latent_dim, k), WeightedTerm(Auxiliary(), _AUXILIARY), settings=settings, own=("k",))


def jump_relu(latent_dim: LatentDim = "auto", weight: Weight = 0.2, **settings: Any) -> Recipe:
    """Return the sparse dictionary whose entries have learned thresholds, and a price for each entry in use.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        weight: what an active entry costs, in the units of the squared error: one pays for itself above the square
            root of the weight.
        **settings: see `isthmus.presets`.

    Example:
        >>> jump_relu(latent_dim=64, weight=0.5).objective.weights(1.0)
        {'l0': 0.5, 'auxiliary': 0.03125}

    Paper: Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders,
    2024, https://arxiv.org/abs/2407.14435.
    """
    terms = WeightedTerm(L0(), weight), WeightedTerm(Auxiliary(), _AUXILIARY)
    return _dictionary(JumpReLU(latent_dim), *terms, settings=settings, own=("weight",))


def gated(latent_dim: LatentDim = "auto", sparsity: float = 0.5, **settings: Any) -> Recipe:
    """Return the sparse dictionary in which a gate decides what is in use and another path by how much.

    Args:
        latent_dim: entries of the dictionary; "auto" is four times the row's values, at most 4096.
        sparsity: the weight of the L1 norm of the open gates.
        **settings: see `isthmus.presets`.

    Example:
        >>> gated(latent_dim=64, sparsity=0.2).objective.terms[0].term
        Gate(sparsity=0.2)

    Paper: Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024,
    https://arxiv.org/abs/2404.16014.
    """
    terms = WeightedTerm(Gate(sparsity), 1.0), WeightedTerm(Auxiliary(), _AUXILIARY)
    return _dictionary(Gated(latent_dim), *terms, settings=settings, own=("sparsity",))
