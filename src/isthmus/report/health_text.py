"""The health of a code in words, for `inspect` and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.estimator.autoencoder import Autoencoder
from isthmus.metrics import advice
from isthmus.metrics.health import Health
from isthmus.report import plots
from isthmus.training.health import from_metrics

# What each number of `code_health` is called, and what it means.
MEANINGS = {
    "active_units": ("active latents", "those that vary enough from row to row to matter"),
    "dead_units": ("dead latents", "the same on every row"),
    "effective_rank": ("effective rank", "directions that the codes spread over"),
    "average_activation": ("average activation", "mean size of a latent"),
    "share_below_0.1": ("share below 0.1", "latents whose average activation is less; high in a sparse code"),
    "kl": ("KL from the prior", "nats that the posterior costs"),
    "mutual_information": ("mutual information", "nats of them that tell rows apart"),
    "codebook_perplexity": ("codebook perplexity", "entries in even use"),
    "codebook_used": ("codebook entries in use", "share of them that occur at all"),
}
_OF_LATENTS = ("active_units", "dead_units", "effective_rank")


def figures(health: Health) -> list[tuple[str, str, str]]:
    """Return the numbers that apply as (name, text, what it means).

    Example:
        >>> figures({"latents": 4.0, "dead_units": 1.0, "share_below_0.1": 0.25})
        [('dead latents', '1 of 4', 'the same on every row'), ('share below 0.1', '25%', 'latents whose average \
activation is less; high in a sparse code')]
    """
    found = []
    for name, (title, meaning) in MEANINGS.items():
        if name in health:
            value = float(np.mean(health[name]))
            found.append((title, _text(name, value, health), meaning))
    return found


def _text(name: str, value: float, health: Health) -> str:
    if name in _OF_LATENTS:
        return f"{value:,.{1 if name == 'effective_rank' else 0}f} of {health['latents']:,.0f}"
    if name == "codebook_perplexity":
        return f"{value:,.1f} of {np.mean(health['codebook_entries']):,.3g}"
    if name in ("share_below_0.1", "codebook_used"):
        return f"{value:.0%}"
    return f"{value:.3g} nats" if name in ("kl", "mutual_information") else f"{value:.3g}"


def advice_of(model: Autoencoder) -> list[str]:
    """Return what is wrong with a model's code by its metrics, with remedies; none if its health is not known."""
    health = from_metrics(model.metrics_)
    return advice(health) if health else []


def health_lines(model: Autoencoder) -> list[str]:
    """Return the lines that `inspect` prints; none for a model that was trained before its health was measured."""
    health = from_metrics(model.metrics_)
    if not health:
        return []
    lines = [f"  {title:28} {text}" for title, text, _ in figures(health)]
    found = [f"  advice: {text}" for text in advice(health)] or ["  no sign of collapse"]
    return [f"health of the code, on {health['rows']:.0f} rows", *lines, *found]


def table(healths: Sequence[Health]) -> list[dict[str, Any]]:
    """Return the lines of a table: a name, what it means, and a cell for each model."""
    columns = [{title: text for title, text, _ in figures(health)} for health in healths]
    return [
        {"name": title, "hint": meaning, "cells": [column.get(title, "–") for column in columns]}
        for title, meaning in MEANINGS.values()
        if any(title in column for column in columns)
    ]


def section(name: str, health: Health) -> dict[str, Any]:
    """Return what the report says of a code's health: advice, and pictures where they say more than numbers."""
    panels = []
    average = np.asarray(health["average_activation"])
    if health["share_below_0.1"] and len(average) > 1:
        picture = plots.histogram(average, label="average activation of a latent", what="latents")
        panels.append({"title": "How large latents are on average", "picture": picture})
    if "codebook_usage" in health:
        usage = np.asarray(health["codebook_usage"])
        picture = plots.bars(usage, label="share of use", limit=0.0, what="entry, most used first")
        panels.append({"title": "How often each entry of the codebook is used", "picture": picture})
    return {
        "name": name,
        "rows": int(float(np.mean(health["rows"]))),
        "advice": advice(health),
        "panels": panels,
    }
