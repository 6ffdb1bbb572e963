"""Advice for a code that is not in use."""

from __future__ import annotations

import math

from isthmus.metrics.health import Health

# So many indices for each entry show nearly every entry of a codebook in even use (a perplexity of about 0.9 of it).
_DRAWS_PER_ENTRY = 4


def advice(
    health: Health,
    *,
    active_share: float = 0.5,
    dead_share: float = 0.1,
    rank_share: float = 0.25,
    codebook_share: float = 0.5,
) -> list[str]:
    """Return one sentence for each problem that `code_health` shows, with what to try; none if there is none.

    Args:
        health: from `code_health`.
        active_share: with a prior, fewer active latents than this share are few; none at all are posterior collapse.
        dead_share: without a prior, more dead latents than this share are too many.
        rank_share: an effective rank below this share of the latents in use is low.
        codebook_share: a perplexity below this share of the entries is low. Few indices cannot have a
            high perplexity: it is compared with a quarter of their number, if that is smaller.

    Example:
        >>> import torch
        >>> from isthmus.metrics import code_health
        >>> print(*advice(code_health(torch.zeros(4, 2), torch.zeros(4, 2))))
        the posterior has collapsed: 0 of 2 latents are active and carry 0 nats; try free bits, a longer warm-up of the
        KL, or a smaller beta
    """
    at = {name: value for name, value in health.items() if not isinstance(value, list)}
    found = _unused(at, active_share) if "kl" in at else _dead(at, dead_share)
    used = at["active_units"] if "kl" in at else at["latents"] - at["dead_units"]
    # Latents out of use lower the rank too, and so do few rows; neither is this problem.
    possible, rank = min(used, at["rank_rows"] - 1), at["effective_rank"]
    if possible > 1 and rank < rank_share * possible:
        found.append(
            f"the latents repeat each other: {used:.0f} in use fill {rank:.1f} dimensions (effective rank); try a "
            f"smaller latent_dim, about {math.ceil(rank)}"
        )
    entries = at.get("codebook_entries", 0.0)
    possible = min(entries, at.get("codebook_draws", 0.0) / _DRAWS_PER_ENTRY)
    if entries and at["codebook_perplexity"] < codebook_share * possible:
        found.append(
            f"the codebook is little used: a perplexity of {at['codebook_perplexity']:.1f} of {entries:.0f} entries; "
            "try a restart of dead entries, or a smaller codebook"
        )
    return found


def _unused(at: dict[str, float], share: float) -> list[str]:
    used, latents, nats = at["active_units"], at["latents"], at["kl"]
    numbers = f"{used:.0f} of {latents:.0f} latents are active and carry {nats:.2g} nats"
    remedy = "free bits, a longer warm-up of the KL, or a smaller beta"
    if used == 0:
        return [f"the posterior has collapsed: {numbers}; try {remedy}"]
    if used < share * latents:
        enough = f"latent_dim={used:.0f} is enough if reconstructions are fine"
        return [f"few latents are in use: {numbers}; {enough}, else try {remedy}"]
    return []


def _dead(at: dict[str, float], share: float) -> list[str]:
    dead, latents = at["dead_units"], at["latents"]
    if dead <= share * latents:
        return []
    remedy = "an auxiliary loss on them, their revival, or a smaller latent_dim"
    return [f"{dead:.0f} of {latents:.0f} latents are dead on {at['rows']:.0f} rows; try {remedy}"]
