"""Greedy layer-wise pretraining."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, presets
from isthmus.composition import Composition
from isthmus.corruptions import Mask
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.training import pretrain
from tests.helpers import build, rows

X = rows(300)
RECIPE = presets.stacked(2, (7, 4), epochs=2, pretraining=30, batch_size=32)


def stage_costs(composition: Composition, x: np.ndarray) -> list[float]:
    """Return the share of the variance of what each stage sees that it does not rebuild."""
    h, costs = torch.from_numpy(x.astype(np.float32)), []
    composition.eval()
    with torch.no_grad():
        for depth, stage in enumerate(composition.network.stages()):
            inner = stage.encoder(h)
            outer = stage.decoder(inner)
            rebuilt = composition.likelihood.mean(outer.unsqueeze(1)) if depth == 0 else outer
            costs.append(float((rebuilt - h).square().sum() / (h - h.mean(0)).square().sum()))
            h = inner
    return costs


def resolved(recipe: Recipe = RECIPE) -> tuple[Composition, Recipe, Batch]:
    recipe = recipe.resolve(Schema.of(X), len(X))
    composition = build(recipe, X)
    batch = Batch(torch.from_numpy(X.astype(np.float32)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch)
    return composition, recipe, batch


def test_each_stage_learns_to_rebuild_what_it_sees() -> None:
    composition, recipe, batch = resolved()
    before = stage_costs(composition, X)
    pretrain(composition, recipe, batch)
    after = stage_costs(composition, X)
    assert len(after) == 2 and all(b > 1.5 * a for a, b in zip(after, before, strict=True)), (before, after)


def test_stages_are_trained_one_after_the_other() -> None:
    """The first stage is what it would be without a second, and the innermost layer is left for the whole."""
    composition, recipe, batch = resolved()
    inner = {k: v.clone() for k, v in composition.network.encoder[2].state_dict().items()}
    pretrain(composition, recipe, batch)
    single, shallow, _ = resolved(RECIPE.replace({"network.hidden_dims": [7]}))
    single.network.encoder[0].load_state_dict(resolved()[0].network.encoder[0].state_dict())
    single.network.decoder[0].load_state_dict(resolved()[0].network.decoder[0].state_dict())
    pretrain(single, shallow, batch)
    for part in ("encoder", "decoder"):
        for name, value in getattr(single.network, part)[0].state_dict().items():
            torch.testing.assert_close(getattr(composition.network, part)[0].state_dict()[name], value)
    assert all(torch.equal(v, inner[k]) for k, v in composition.network.encoder[2].state_dict().items())


@pytest.mark.parametrize("preset", ["contractive", "sparse_l1"])
def test_terms_on_the_encoder_count_in_every_stage(preset: str) -> None:
    recipe = presets.PRESETS[preset](2, weight=1.0, hidden_dims=(6,), pretraining=10, epochs=2)
    composition, resolved_recipe, batch = resolved(recipe)
    without, plain, _ = resolved(presets.autoencoder(2, hidden_dims=(6,), pretraining=10, epochs=2))
    pretrain(composition, resolved_recipe, batch)
    pretrain(without, plain, batch)
    with torch.no_grad():
        size = [float(c.network.encoder[0](batch.x).abs().sum(1).mean()) for c in (composition, without)]
    assert size[0] < 0.9 * size[1]


def test_a_fit_pretrains_and_is_the_same_twice() -> None:
    recipe = presets.stacked(2, (7, 4), corruption=Mask(0.2), epochs=1, pretraining=3, learning_rate=1e-6)
    first, second = (Autoencoder(recipe, random_state=0).fit(X) for _ in range(2))
    without = Autoencoder(recipe.replace({"training.pretraining": 0}), random_state=0).fit(X)
    for name, value in first.composition_.state_dict().items():
        assert torch.equal(value, second.composition_.state_dict()[name])
    moved = first.composition_.network.encoder[0].weight - without.composition_.network.encoder[0].weight
    assert bool(moved.any())
