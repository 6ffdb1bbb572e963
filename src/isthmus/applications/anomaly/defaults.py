"""The recipe that a detector starts from where none is named."""

from __future__ import annotations

import numpy as np

from isthmus.advice import advise
from isthmus.data.encoded import NONE
from isthmus.data.source import Numbers, Source
from isthmus.estimator.autoencoder import as_recipe
from isthmus.recipe import Recipe

# What is not measured by `advise`, by kind of row.
_STARTS = {"series": "denoising", "tokens": "autoencoder", "ratings": "denoising"}
# Rows that are measured, at most.
_MEASURED = 100_000


def default_recipe(source: Source, excluded: Numbers = NONE) -> Recipe:
    """Return the recipe for rows of a source: what `advise` measures, or a start for rows that it does not measure.

    Nothing is held out for validation, as the last epoch is kept and calibration rows are set aside anyway.

    Args:
        source: all rows.
        aside: numbers of rows that are not looked at.
    """
    if source.kind in _STARTS:
        recipe = as_recipe(_STARTS[source.kind])
    else:
        rows = np.setdiff1d(np.arange(len(source)), excluded)
        places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED)).astype(np.int64))
        recipe = advise(source.take(rows[places]), "detect").recipe
    return recipe.replace({"training.validation_fraction": 0.0, "training.patience": None})
