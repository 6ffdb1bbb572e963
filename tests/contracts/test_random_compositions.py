"""Two hundred random legal compositions: each trains, says finite numbers, and says them again when it was loaded."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import pytest

from isthmus import Autoencoder, load
from isthmus.errors import CollapseWarning
from isthmus.recipe import Recipe
from tests.helpers import random_recipes, rows, shapes_of, small, support_of

COUNT = 200
# `make test` tries so many; `make test-all` tries all.
QUICK = 20


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    # Another seed than the twenty that go through every test of the contract.
    return tuple(small(recipe, epochs=1) for recipe in random_recipes(COUNT, seed=1))


def test_they_are_many_and_differ() -> None:
    assert len({recipe.digest() for recipe in recipes()}) == COUNT
    for axis in ("network", "code"):
        assert len({getattr(recipe, axis).kind for recipe in recipes()}) > 2


@pytest.mark.parametrize(
    "number", [*range(QUICK), *(pytest.param(number, marks=pytest.mark.slow) for number in range(QUICK, COUNT))]
)
def test_a_random_legal_composition_works(number: int, tmp_path: Path) -> None:
    recipe = recipes()[number]
    x = rows(64, support=support_of(recipe), seed=number, shape=shapes_of(recipe)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CollapseWarning)
        model = Autoencoder(recipe, random_state=number).fit(x)
    loss = model.history_.rows[-1]
    assert all(np.isfinite(value) for name, value in loss.items() if name.startswith(("train/", "validation/")))
    rebuilt, scores = model.reconstruct(x), model.score_samples(x)
    assert rebuilt.shape == x.shape and np.isfinite(rebuilt).all() and np.isfinite(scores).all()
    # What is said of a row depends on no other row.
    np.testing.assert_array_equal(model.score_samples(x[5:8]), scores[5:8])
    np.testing.assert_array_equal(model.reconstruct(x[::-1])[::-1], rebuilt)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.score_samples(x), scores)
