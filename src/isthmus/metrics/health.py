"""Health of a code, whether it is in use: active and dead latents, rank, mutual information, codebook."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import DataError, check_integer, explain
from isthmus.metrics.arrays import matrix, pair
from isthmus.seeds import derive
from isthmus.typing import Array

Health = dict[str, float | list[float]]

# A latent is active if its mean varies by more than this over rows (Burda et al. 2015, https://arxiv.org/abs/1509.00519).
ACTIVE_VARIANCE = 0.01
# A latent whose average activation is below this is rarely in use.
LOW_ACTIVATION = 0.1
# Differences of this share of a latent's largest value are float32's rounding.
_ROUNDING = 1e-6
_BLOCK_VALUES = 2**22


def count_active(means: Tensor, *, has_prior: bool) -> int:
    """Return how many latents of `(rows, latent, *positions)` are active.

    Under a standard normal prior a latent is active if its mean has a variance above 0.01 over rows; without a prior
    the scale is free, and the limit is 0.01 of the average latent's variance.

    Example:
        >>> count_active(torch.tensor([[1.0, 0.05], [-1.0, -0.05]]), has_prior=True)
        1

    Paper: Burda et al., Importance weighted autoencoders, 2015, https://arxiv.org/abs/1509.00519 (section 5.2).
    """
    variance = means.transpose(0, 1).flatten(1).double().var(1, correction=0)
    limit = ACTIVE_VARIANCE if has_prior else ACTIVE_VARIANCE * float(variance.mean())
    return int((variance > limit).sum())


def effective_rank(rows: Any) -> float:
    """Return the effective rank: the exponential of the entropy of the singular values' shares.

    ``exp(-sum_i p_i log p_i)`` with ``p_i = s_i / sum_j s_j``. From 1 to min(rows, columns), 0 for a matrix of zeros.
    Columns are not centred; subtract their means first for the number of directions that the rows spread over.

    Args:
        rows: `(rows, columns)`.

    Raises:
        DataError: if it is no matrix, or a value is not finite.

    Example:
        >>> round(effective_rank(np.eye(4)), 6), round(effective_rank(np.ones((4, 4))), 6)
        (4.0, 1.0)

    Paper: Roy and Vetterli, The effective rank: a measure of effective dimensionality, 2007,
    https://infoscience.epfl.ch/handle/20.500.14299/10824.
    """
    return _rank(matrix("rows", rows))


def _rank(rows: Array) -> float:
    values = np.linalg.svd(rows, compute_uv=False)
    if not values[0] > 0:
        return 0.0
    return _perplexity(values)


def dead_units(codes: Any, threshold: float = 0.0) -> Array:
    """Return which latents are dead, `(latent,)` booleans: constant over all rows, or never above the threshold.

    A latent is dead if ``max |z| <= threshold``, or if ``max z - min z <= 1e-6 max |z|`` (float32's rounding).

    Args:
        codes: `(rows, latent)`.
        threshold: value that an active latent exceeds on at least one row, in units of the code.

    Raises:
        DataError: if it is no matrix, or a value is not finite.

    Example:
        >>> dead_units([[0.0, 3.0, 0.1, 1.0], [0.0, 3.0, 0.2, 5.0]], threshold=0.5)
        array([ True,  True,  True, False])
    """
    return _dead(matrix("codes", codes), threshold)


def _dead(z: Array, threshold: float) -> Array:
    low, high = z.min(0), z.max(0)
    largest = np.maximum(high, -low)
    dead: Array = (largest <= threshold) | (high - low <= _ROUNDING * largest)
    return dead


def average_activation(codes: Any) -> Array:
    """Return the average activation of each latent, `(latent,)`: ``mean |z|`` over rows, in units of the code.

    For activations of at least 0 (ReLU, sigmoid) this is their mean.

    Args:
        codes: `(rows, latent)`.

    Raises:
        DataError: if it is no matrix, or a value is not finite.

    Example:
        >>> average_activation([[0.0, 1.0], [0.5, -1.0]])
        array([0.25, 1.  ])
    """
    average: Array = np.abs(matrix("codes", codes)).mean(0)
    return average


def share_below(codes: Any, limit: float = LOW_ACTIVATION) -> float:
    """Return the share of latents whose average activation is below a limit, in [0, 1].

    A high share is intended for sparse codes of sigmoids; for a dense code it means unused latents.

    Args:
        codes: `(rows, latent)`.
        limit: on `average_activation`.

    Raises:
        DataError: if it is no matrix, or a value is not finite.

    Example:
        >>> share_below([[0.0, 1.0], [0.1, -1.0]])
        0.5
    """
    return float((average_activation(codes) < limit).mean())


def codebook_perplexity(indices: Any, entries: int) -> float:
    """Return the effective number of codebook entries in use: ``exp(-sum_e p_e log p_e)``, p_e being shares of use.

    From 1 (one entry) to `entries` (all as often); higher is better.

    Args:
        indices: integers in [0, entries), of any shape.
        entries: of the codebook.

    Raises:
        DataError: if there are none, or they are no such integers.

    Example:
        >>> round(codebook_perplexity([0, 1, 0, 1], entries=8), 6)
        2.0

    Paper: van den Oord et al., Neural discrete representation learning, 2017, https://arxiv.org/abs/1711.00937.
    """
    return _perplexity(_uses(indices, entries))


def kl_per_latent(mean: Any, log_variance: Any) -> Array:
    """Return each latent's KL divergence from posterior to prior, `(latent,)`, averaged over rows, in nats.

    ``mean over rows of (mean^2 + exp(log_variance) - log_variance - 1) / 2``; 0 for a collapsed latent.

    Args:
        mean: of the posteriors, `(rows, latent)`.
        log_variance: of the posteriors, `(rows, latent)`.

    Raises:
        DataError: if they are no matrices of one shape, or a value is not finite.

    Example:
        >>> kl_per_latent([[0.0, 2.0]], [[0.0, 0.0]])
        array([0., 2.])
    """
    m, s = pair(("mean", "log_variance"), mean, log_variance)
    m, s = matrix("mean", m), matrix("log_variance", s)
    # expm1: near the prior, exp(s) - 1 - s is the difference of nearly equal numbers.
    kl: Array = 0.5 * (np.square(m) + np.expm1(s) - s).mean(0)
    return kl


def mutual_information(mean: Any, log_variance: Any, *, draws: int | None = None, random_state: int = 0) -> float:
    """Return an estimate of the mutual information of latent and row, in nats: ``I(x; z)`` for Gaussian posteriors.

    ``I(x; z) = E KL(q(z|x) || p) - KL(q(z) || p) = E log q(z|x) - E log q(z)``: the prior cancels. ``q(z)`` is the
    average of the given posteriors, and one z is drawn from each of them; all sums are in float64. From about 0 (a
    collapsed posterior) to log(rows), which is enough to distinguish all given rows: an estimate near it is a lower
    bound. Time grows with rows times draws, memory does not.

    Args:
        mean: of the posteriors, `(rows, latent)`.
        log_variance: of the posteriors, `(rows, latent)`.
        draws: number of rows, evenly spaced, for which a z is drawn; None for all.
        random_state: seed of the draws.

    Raises:
        DataError: if they are no matrices of one shape, or a value is not finite.

    Example:
        >>> far = 100.0 * torch.arange(8).reshape(8, 1)
        >>> nothing = torch.zeros(8, 1)
        >>> round(mutual_information(far, nothing), 4), round(math.log(8), 4), mutual_information(nothing, nothing)
        (2.0794, 2.0794, 0.0)

    Paper: Hoffman and Johnson, ELBO surgery, 2016, http://approximateinference.org/accepted/HoffmanJohnson2016.pdf.
    """
    m, s = pair(("mean", "log_variance"), mean, log_variance)
    m, s = matrix("mean", m), matrix("log_variance", s)
    m = m - m.mean(0)  # the products below cancel less
    means, logs, precisions = torch.tensor(m), torch.tensor(s), torch.tensor(np.exp(-s))
    generator = torch.Generator().manual_seed(derive(random_state, "mutual_information"))
    noise = torch.randn(m.shape, generator=generator, dtype=torch.float64)
    chosen = spread(len(m), draws or len(m))
    z = (means + precisions.rsqrt() * noise)[chosen]
    # log q(z|x) up to the constant of log(2 pi), which both terms share.
    constant = -0.5 * (logs + means.square() * precisions).sum(1)
    own = -0.5 * (logs + noise.square()).sum(1)[chosen]
    scaled = means * precisions
    block = max(1, _BLOCK_VALUES // len(m))
    total = 0.0
    for start in range(0, len(z), block):
        part, itself = z[start : start + block], own[start : start + block]
        others = constant - 0.5 * part.square() @ precisions.T + part @ scaled.T
        others[torch.arange(len(part)), chosen[start : start + block]] = itself
        total += float((itself - others.logsumexp(1) + math.log(len(m))).sum())
    return total / len(z)


def spread(rows: int, most: int) -> Tensor:
    """Return the numbers of at most `most` of the rows, spread evenly over them.

    Example:
        >>> spread(9, 3).tolist(), spread(2, 3).tolist()
        ([0, 3, 6], [0, 1])
    """
    count = min(rows, most)
    return torch.arange(count) * rows // count


def code_health(
    mean: Any,
    log_variance: Any = None,
    kl: Any = None,
    indices: Any = None,
    entries: int | Sequence[int] | None = None,
    *,
    threshold: float = 0.0,
    rank_rows: int | None = None,
    random_state: int = 0,
) -> Health:
    """Return every measure of this file that applies to a code.

    Always `rows`, `latents`, `active_units` (`count_active`; under a prior if `log_variance` or `kl` is given),
    `effective_rank` (of the centred codes, on `rank_rows` of them), `dead_units` (how many),
    `average_activation` (a list) and `share_below_0.1`. With `log_variance` also `mutual_information` and
    `marginal_kl`, which is ``KL(q(z) || p)``, the rest of the KL. With `kl` also `kl_per_group`. With either, `kl`: the
    sum over latents, and `kl_per_latent`, unless `kl` has other columns than the latents. With `indices` also
    `codebook_perplexity`, `codebook_used` (the share of entries that occur), `codebook_usage` (the list of the entries'
    shares, the highest first), `codebook_entries` and `codebook_draws` (how many indices there are), each averaged over
    the symbols if these have codebooks of their own.

    Args:
        mean: the codes, `(rows, latent)`.
        log_variance: of Gaussian posteriors, `(rows, latent)`.
        kl: of the posteriors from the prior, `(rows, groups)`, in nats; None for that from a standard normal prior.
        indices: of codebook entries, integers of any shape; `(rows, symbols)` for several codebooks.
        entries: of the codebook, or of each symbol's own; needed with `indices`.
        threshold: of `dead_units`.
        rank_rows: number of rows, evenly spaced, for `effective_rank`, whose time grows with the rows times the square
            of the latents; None for all.
        random_state: seed of `mutual_information`.

    Raises:
        DataError: if an array has another shape, or values that are not finite or not in range.

    Example:
        >>> health = code_health([[1.0, 0.0], [-1.0, 0.0]])
        >>> health["active_units"], health["dead_units"], health["effective_rank"]
        (1.0, 1.0, 1.0)
    """
    z = matrix("mean", mean)
    has_prior = log_variance is not None or kl is not None
    ranked = z if rank_rows is None or rank_rows >= len(z) else z[spread(len(z), rank_rows).numpy()]
    average = np.abs(z).mean(0)
    health: Health = {
        "rows": float(len(z)),
        "latents": float(z.shape[1]),
        "active_units": float(count_active(torch.tensor(z), has_prior=has_prior)),
        "effective_rank": _rank(ranked - ranked.mean(0)),
        "rank_rows": float(len(ranked)),
        "dead_units": float(_dead(z, threshold).sum()),
        "average_activation": average.tolist(),
        "share_below_0.1": float((average < LOW_ACTIVATION).mean()),
    }
    if kl is not None:
        per_group = matrix("kl", kl).mean(0)
        health |= {"kl_per_group": per_group.tolist(), "kl": float(per_group.sum())}
        if len(per_group) == z.shape[1]:
            health["kl_per_latent"] = per_group.tolist()
    elif log_variance is not None:
        per_latent = kl_per_latent(z, log_variance)
        health |= {"kl_per_latent": per_latent.tolist(), "kl": float(per_latent.sum())}
    if log_variance is not None:
        information = mutual_information(z, log_variance, random_state=random_state)
        health |= {"mutual_information": information, "marginal_kl": float(health["kl"]) - information}  # type: ignore[arg-type]
    if indices is not None:
        health |= _codebook_health(indices, entries)
    return health


def _codebook_health(indices: Any, entries: int | Sequence[int] | None) -> Health:
    """Return the usage of the codebooks, averaged over them."""
    if isinstance(entries, Sequence):
        columns = indices if isinstance(indices, Tensor) else torch.tensor(indices)
        if columns.ndim != 2 or columns.shape[1] != len(entries) or not len(entries):
            got = f"shape {tuple(columns.shape)}"
            raise DataError("indices: " + explain(f"shape (rows, {len(entries)})", got, "one number of entries"))
        books = [_uses(columns[:, symbol], count) for symbol, count in enumerate(entries)]
    else:
        books = [_uses(indices, entries)]
    return {
        "codebook_perplexity": float(np.mean([_perplexity(uses) for uses in books])),
        "codebook_used": float(np.mean([(uses > 0).mean() for uses in books])),
        "codebook_entries": float(np.mean([len(uses) for uses in books])),
        "codebook_draws": float(books[0].sum()),
        "codebook_usage": _usage(books),
    }


def _perplexity(weights: Array) -> float:
    p = weights[weights > 0] / weights.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _usage(books: list[Array]) -> list[float]:
    """Return the share of use of each codebook's most used entry, its second and so on, averaged over codebooks."""
    shares = np.full((len(books), max(len(uses) for uses in books)), np.nan)
    for row, uses in zip(shares, books, strict=True):
        row[: len(uses)] = np.sort(uses)[::-1] / uses.sum()
    average: list[float] = np.nanmean(shares, axis=0).tolist()
    return average


def _uses(indices: Any, entries: int | None) -> Array:
    """Return how often each entry occurs."""
    check_integer("entries", entries)
    flat = np.asarray(indices.detach().cpu() if isinstance(indices, Tensor) else indices).ravel()
    if not flat.size or not np.issubdtype(flat.dtype, np.integer) or flat.min() < 0 or flat.max() >= int(entries or 0):
        got = f"{flat.dtype} from {flat.min()} to {flat.max()}" if flat.size else "none"
        raise DataError("indices: " + explain(f"integers in [0, {entries})", got, "entries=the codebook's size"))
    return np.bincount(flat, minlength=int(entries or 0))
