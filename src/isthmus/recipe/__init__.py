"""A recipe: the four parts and the settings of training as frozen dataclasses, and as JSON."""

from isthmus.recipe.recipe import Recipe
from isthmus.recipe.training import Training

__all__ = ["Recipe", "Training"]
