"""Parts that are right alone, together: what one must know of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, LatentClassifier, LatentRegressor, presets
from isthmus.codes import Deterministic, Gaussian, TopK, VampPrior
from isthmus.corruptions import Binarise, Mask
from isthmus.errors import RecipeError
from isthmus.networks import Attention, Conv, Dense, Recurrent
from isthmus.objectives import (
    KL,
    Contraction,
    ImportanceWeighted,
    LatentAdversary,
    Objective,
    Poisson,
    Reconstruction,
    TotalCorrelation,
)
from isthmus.recipe import Recipe, Training
from isthmus.schema import Schema
from isthmus.training import loop
from tests.helpers import batch_of, build, rows, small

X = rows(200)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (Dense((8,)), (6,)),
        (Conv((4,)), (2, 3)),
        (Recurrent("lstm", (8,)), (6,)),
        (Recurrent("gru", (8,)), (6,)),
        (Attention(width=8, heads=2), (2, 3)),
    ],
    ids=repr,
)
def test_learned_rows_are_told_nothing(network: Any, shape: tuple[int, ...]) -> None:
    """A condition of zeros, in every network: not a layer that reads its weights out of step."""
    recipe = Recipe(network, Gaussian(2, prior=VampPrior(4)), objective=Objective() + 0.01 * KL())
    composition = build(recipe, rows(shape=shape), condition_dim=3).eval()
    learned = composition.code.pseudo_rows()
    assert learned is not None
    batch = batch_of(learned.detach().numpy(), 3)
    conditions = batch.replace(condition=torch.zeros(len(learned), 3))
    found = composition._pseudo_features()
    assert found is not None
    torch.testing.assert_close(found, composition.network.encode(conditions))


def test_the_best_epoch_is_one_with_every_latent_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where fewer latents look better, as they may under a rate."""
    monkeypatch.setattr(loop.Run, "validate", lambda self: {"total": float(self.composition.open_latents)})
    recipe = presets.autoencoder(4, hidden_dims=(8,), epochs=8, batch_size=25, patience=None, opening=0.5)
    model = Autoencoder(recipe, random_state=0).fit(X)
    assert int(model.composition_.open_latents) == 4 and model.history_.best_epoch == 4


@pytest.mark.parametrize(
    "recipe",
    [
        lambda: Recipe(code=TopK(8, 2), training=Training(opening=0.5)),
        lambda: Recipe(code=Gaussian(2, "full"), training=Training(opening=0.5)),
        lambda: Recipe(code=Gaussian(2), objective=Objective() + ImportanceWeighted(5), training=Training(opening=0.5)),
        lambda: Recipe(code=Gaussian(2), objective=Objective() + TotalCorrelation(), training=Training(opening=0.5)),
    ],
)
def test_latents_open_only_where_zero_means_closed(recipe: Any) -> None:
    with pytest.raises(RecipeError, match=r"training\.opening|needs '(diagonal_)?posterior'"):
        recipe()


def test_a_forced_decoder_refuses_what_it_cannot_feed_back() -> None:
    x = rows(support="counts")
    recipe = Recipe(Recurrent("lstm", (8,), decoder="teacher"), Deterministic(2), objective=Reconstruction(Poisson()))
    with pytest.raises(RecipeError, match=r"network\.decoder=teacher.*counts.*try network\.decoder=repeat"):
        recipe.resolve(Schema.of(x), len(x))


def test_a_term_that_encodes_again_counts_no_row_twice() -> None:
    counts = []
    for terms in ((), (0.01 * Contraction(),)):
        objective = Objective(terms=terms)
        code = TopK(8, 1, dead_after=10_000)
        model = Autoencoder(small(Recipe(Dense((8,)), code, objective=objective)), random_state=0).fit(X)
        counts.append(int(model.composition_.code.rows_since_active.max()))
    seen = 3 * 180
    assert counts[0] <= seen and counts[1] <= seen


def test_a_regressor_leaves_the_targets_alone() -> None:
    y = np.stack([X[:, 0], X[:, 1]], 1)
    y[3, 0] = np.nan
    before = y.copy()
    LatentRegressor(small(presets.autoencoder(2)), training=Training(epochs=1), random_state=0).fit(X, y)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("code", [Gaussian(2, "full"), Gaussian(2, prior=VampPrior(3))])
def test_free_nats_need_a_kl_of_each_latent(code: Any) -> None:
    with pytest.raises(RecipeError, match="needs 'latent_kl'"):
        Recipe(code=code, objective=Objective() + KL(free_nats=0.5))


def test_free_nats_are_of_a_latent_and_not_of_its_positions() -> None:
    recipe = Recipe(Conv((4,), bottleneck="spatial"), Gaussian(2), objective=Objective() + KL(free_nats=0.5))
    composition = build(recipe, rows(shape=(2, 3))).eval()
    forward = composition(batch_of(rows(20, shape=(2, 3))))
    kl = forward.code.quantities["kl"]
    assert kl.ndim == 4
    wanted = kl.mean(0).flatten(1).sum(1).clamp_min(0.5).sum()
    torch.testing.assert_close(KL(free_nats=0.5)(forward), wanted)


def test_a_row_without_a_density_has_no_likelihood_either_way() -> None:
    model = Autoencoder(small(presets.vae(2)), random_state=0).fit(X)
    odd = X[:3].copy()
    odd[1, 2] = 3.0
    for scores in (model.score_samples(odd), model.log_likelihood(odd, samples=10)):
        assert np.isneginf(scores[1]) and np.isfinite(scores[[0, 2]]).all()


def test_joint_fine_tuning_keeps_unit_columns_and_averages_over_labels() -> None:
    base = Autoencoder(small(presets.top_k(8, 2)), random_state=0).fit(X)
    y = np.full(200, -1)
    y[:12] = np.arange(12) % 2
    training = Training(epochs=1, batch_size=20, learning_rate=1e-3)
    model = LatentClassifier(base, reconstruction_weight=1.0, training=training, random_state=0).fit(X, y)
    directions = model.predictor_.autoencoder.network.decoder[-1].weight
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(8))
    row = model.history_.rows[0]
    # The head starts from zero, so the cross-entropy of two classes from log 2, however few rows have a label.
    assert abs(row["train/prediction"] - np.log(2)) < 0.15 and row["validation/prediction"] > 0.3


def test_bits_are_drawn_first_and_only_from_rows() -> None:
    with pytest.raises(RecipeError, match="binarise before all others"):
        Mask(0.5) >> Binarise()
    assert (Binarise() >> Mask(0.5)).parts[1] == Mask(0.5)
    recipe = presets.stacked(2, (6, 4), corruption=Binarise() >> Mask(0.2), pretraining=1, epochs=1, batch_size=32)
    assert np.isfinite(Autoencoder(recipe, random_state=0).fit(X).score(X))


@pytest.mark.parametrize(
    "network", [Conv((4,), bottleneck="spatial"), Attention(width=8, heads=2, bottleneck="sequence")]
)
def test_a_full_covariance_of_maps_takes_the_importance_weighted_gradient(network: Any) -> None:
    recipe = Recipe(network, Gaussian(2, "full"), objective=Objective() + ImportanceWeighted(3))
    model = Autoencoder(small(recipe), random_state=0).fit(rows(shape=(2, 3)))
    assert np.isfinite(model.history_.rows[-1]["train/total"])


def test_a_discrete_code_fills_in_by_its_reconstruction() -> None:
    x = X.copy()
    x[::3, 1] = np.nan
    recipe = small(presets.categorical_vae(6, 3)).replace({"missing": "mask"})
    filled = Autoencoder(recipe, random_state=0).fit(x).impute(x)
    assert np.isfinite(filled).all()


def test_pretraining_leaves_terms_of_the_whole_code_to_the_whole() -> None:
    objective = Objective() + 0.1 * LatentAdversary() + 0.01 * Contraction()
    training = Training(epochs=1, pretraining=1, batch_size=32)
    recipe = Recipe(Dense((8, 6)), Deterministic(3), objective=objective, training=training)
    assert np.isfinite(Autoencoder(recipe, random_state=0).fit(X).score(X))
