"""The recipe that a detector starts from where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.advice import advise
from isthmus.data.encoded import NONE
from isthmus.data.source import Source
from isthmus.estimator.autoencoder import as_recipe
from isthmus.recipe import Recipe
from isthmus.seeds import derive
from isthmus.typing import Integers

# What is not measured by `advise`, by kind of row.
_STARTS = {"series": "denoising", "tokens": "autoencoder", "ratings": "denoising"}
# Rows that are measured, at most.
_MEASURED = 100_000


def default_recipe(source: Source, excluded: Integers = NONE) -> Recipe:
    """Return the recipe for rows of a source: what `advise` measures, or a start for rows that it does not measure.

    There are no validation rows, as the last epoch is kept and calibration rows are excluded anyway.

    Args:
        source: all rows.
        excluded: numbers of rows that are not looked at.
    """
    if source.kind in _STARTS:
        recipe = as_recipe(_STARTS[source.kind])
    else:
        rows = np.setdiff1d(np.arange(len(source)), excluded)
        places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED)).astype(np.int64))
        recipe = advise(source.take(rows[places]), "detect").recipe
    return recipe.replace({"training.validation_fraction": 0.0, "training.patience": None})


def member_recipes(asked: Any, n_estimators: int, source: Source, calibration: Integers, seed: int) -> list[Recipe]:
    """Return a recipe for each autoencoder of an ensemble, which differ by their seeds.

    Args:
        asked: a recipe, a name or a path, "auto", or a sequence of these.
        n_estimators: autoencoders for each.
        source: all rows.
        calibration: numbers of the rows that "auto" does not look at.
        seed: of all.
    """
    several = isinstance(asked, Sequence) and not isinstance(asked, str)
    found: list[Recipe] = []
    for one in asked if several else [asked]:
        recipe = default_recipe(source, calibration) if isinstance(one, str) and one == "auto" else as_recipe(one)
        for _ in range(n_estimators):
            found.append(recipe.replace({"training.seed": derive(seed, "member", len(found))}))
    return found
