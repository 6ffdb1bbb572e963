"""Autoencoders trained in one loop are those that would be trained alone, but for their noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, presets
from isthmus.errors import RecipeError
from isthmus.estimator.joint import fit_ensemble

ROWS = np.random.default_rng(0).normal(size=(300, 5)) @ np.random.default_rng(1).normal(size=(5, 8))
PLAIN = presets.autoencoder(latent_dim=3, hidden_dims=(16,), epochs=4, threads=1)


def test_one_alone_is_an_autoencoder() -> None:
    model = fit_ensemble([PLAIN], ROWS)[0]
    np.testing.assert_array_equal(model.transform(ROWS), Autoencoder(PLAIN).fit(ROWS).transform(ROWS))


def test_members_do_not_disturb_each_other() -> None:
    """Without noise, without a limit on the gradient: each member's weights are those it has alone."""
    recipe = PLAIN.replace({"training.clip": None, "training.validation_fraction": 0.0})
    wide = recipe.replace({"code.latent_dim": 4})
    together = fit_ensemble([recipe, wide], ROWS)
    assert [model.transform(ROWS).shape[1] for model in together] == [3, 4]
    for model, alone in zip(together, (recipe, wide), strict=True):
        np.testing.assert_allclose(model.transform(ROWS), Autoencoder(alone).fit(ROWS).transform(ROWS), atol=2e-4)


def test_members_see_noise_of_their_own() -> None:
    recipe = presets.denoising(latent_dim=3, hidden_dims=(16,), epochs=2, threads=1)
    first, second = fit_ensemble([recipe, recipe], ROWS)
    assert not np.allclose(first.transform(ROWS), second.transform(ROWS))


def test_what_is_set_aside_is_not_learned() -> None:
    excluded = np.arange(0, 300, 3)
    changed = ROWS.copy()
    changed[excluded] += 7.0
    one, other = (fit_ensemble([PLAIN, PLAIN], rows, excluded=excluded)[1] for rows in (ROWS, changed))
    np.testing.assert_array_equal(one.transform(ROWS), other.transform(ROWS))
    assert one.metrics_["training_rows"] + one.metrics_["validation_rows"] == 200


def test_members_with_an_optimiser_of_their_own_are_trained_in_turn() -> None:
    recipe = presets.aae(latent_dim=2, hidden_dims=(16,), epochs=2, threads=1)
    models = fit_ensemble([recipe, recipe.replace({"training.seed": 1})], ROWS)
    assert all(torch.isfinite(torch.from_numpy(model.transform(ROWS))).all() for model in models)
    assert models[0].history_ is not models[1].history_


def test_recipes_that_cannot_be_trained_together_are_refused() -> None:
    with pytest.raises(RecipeError, match="another training in recipe 1"):
        fit_ensemble([PLAIN, PLAIN.replace({"training.epochs": 9})], ROWS)
    with pytest.raises(RecipeError, match="at least one"):
        fit_ensemble([], ROWS)
