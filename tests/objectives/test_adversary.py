"""Adversaries: who minimises what, beside explicit slopes and distances, and what becomes of the codes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import Draw, Gaussian
from isthmus.composition import Composition
from isthmus.errors import RecipeError
from isthmus.networks import Dense
from isthmus.objectives import Forward, ImageAdversary, LatentAdversary, Reconstruction, SquaredError, Term
from isthmus.objectives.adversary import ConvCritic, DenseCritic
from tests.helpers import batch_of, build, draw, rows, small

LATENT = LatentAdversary(width=6, r1=0.3)
IMAGE = ImageAdversary(width=6, r1=0.3)
TERMS = [LATENT, IMAGE, dataclasses.replace(IMAGE, sampled=True), dataclasses.replace(IMAGE, matching=0.0)]


def built(term: Term, x: np.ndarray | None = None, code: Any = None) -> Composition:
    recipe = Recipe(Dense((5,), "tanh"), code or Gaussian(2), objective=Reconstruction(SquaredError()) + 1.0 * term)
    return build(recipe, rows(24) if x is None else x).double().train()


def passed(composition: Composition, x: np.ndarray | None = None, samples: int = 1, seed: int = 0) -> Forward:
    batch = batch_of(rows(24) if x is None else x)
    return composition(batch.replace(x=batch.x.double()), draw(samples, seed))


def own_loss(composition: Composition, forward: Forward, seed: int = 5) -> torch.Tensor:
    (term,) = composition.owning_terms.values()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return term.own_loss(forward)  # type: ignore[operator]


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_each_side_moves_its_own_parameters_only(term: Term) -> None:
    composition = built(term)
    forward = passed(composition)
    owned = {name: dict.fromkeys(parameters) for name, parameters in composition.owners()}
    composition.loss(forward, {term.kind: 1.0}).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in owned["autoencoder"])
    composition.zero_grad()  # as the loop does before an owner's step
    own_loss(composition, forward).backward()  # after the graph of the autoencoder's pass is gone
    assert all(p.grad is None or not p.grad.any() for p in owned["autoencoder"])
    assert all(p.grad is not None and p.grad.any() for p in owned[term.kind])


@pytest.mark.parametrize("r1", [0.0, 0.3])
def test_the_critics_loss_is_cross_entropy_and_the_slope_at_draws(r1: float) -> None:
    composition = built(LatentAdversary(width=6, r1=r1))
    forward, critic = passed(composition), composition.owning_terms["latent_adversary"].critic
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        real = torch.randn(24, 2, dtype=torch.float64)
    made = forward.code.z.detach()
    probabilities = torch.cat([torch.sigmoid(critic(real)), 1 - torch.sigmoid(critic(made))])
    expected = -probabilities.log().view(2, -1).mean(1).sum()
    slopes = torch.stack([jacobian(lambda row: critic(row.unsqueeze(0))[0], row) for row in real])
    expected = expected + 0.5 * r1 * slopes.square().sum(1).mean()
    torch.testing.assert_close(own_loss(composition, forward), expected)


def test_the_image_critics_loss_compares_expected_rows_with_real_ones() -> None:
    composition = built(ImageAdversary(width=6, r1=0.0, sampled=True))
    forward, critic = passed(composition), composition.owning_terms["image_adversary"].critic
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        noise = torch.randn(24, 2, dtype=torch.float64)
    drawn = composition.likelihood.mean(composition.decode(noise, forward.batch))
    made = torch.cat([critic(forward.expected()), critic(drawn)])
    expected = F.softplus(-critic(forward.batch.x)).mean() + F.softplus(made).mean()
    torch.testing.assert_close(own_loss(composition, forward), expected)


def test_the_autoencoder_pays_for_codes_that_are_told_from_draws() -> None:
    composition = built(LATENT)
    critic = composition.owning_terms["latent_adversary"].critic
    one = passed(composition)
    expected = -torch.sigmoid(critic(one.code.z)).log()
    torch.testing.assert_close(composition.terms["latent_adversary"](one), expected)
    several = passed(composition, samples=3)
    value = composition.terms["latent_adversary"](several)
    assert value.shape == (3, 24)
    torch.testing.assert_close(value[2], -torch.sigmoid(critic(several.code.z[2])).log())


@pytest.mark.parametrize("samples", [1, 3])
def test_the_distance_in_features_is_what_loops_say(samples: int) -> None:
    composition = built(ImageAdversary(adversarial=0.0, matching=0.5, width=4))
    forward, critic = passed(composition, samples=samples), composition.owning_terms["image_adversary"].critic
    value = composition.terms["image_adversary"](forward).view(samples, 24)
    real, made = critic.features(forward.batch.x), critic.features(forward.expected())
    for sample, row in ((0, 0), (samples - 1, 5)):
        layers = []
        for wanted, got in zip(real, made, strict=True):
            total = sum((wanted[:, unit] - wanted[:, unit].mean()).square().mean() for unit in range(wanted.shape[1]))
            layers.append((got[sample * 24 + row] - wanted[row]).square().sum() / total)
        torch.testing.assert_close(value[sample, row], 0.5 * 6 * sum(layers) / len(layers))


def test_the_distance_is_the_same_however_the_critic_scales_its_layers() -> None:
    """Else the critic could raise it, or the two could run away together."""
    composition = built(ImageAdversary(adversarial=0.0))
    forward, critic = passed(composition), composition.owning_terms["image_adversary"].critic
    before = composition.terms["image_adversary"](forward)
    with torch.no_grad():
        critic.layers[1].weight.mul_(100.0)
        critic.layers[1].bias.mul_(100.0)
    torch.testing.assert_close(composition.terms["image_adversary"](forward), before)


def test_validation_hears_no_verdict_of_a_critic_that_learns() -> None:
    """The first epoch's critic knows nothing, and would make it the best."""
    for term, codes in ((LATENT, 1), (dataclasses.replace(IMAGE, matching=0.0, sampled=True), 2)):
        composition = built(term)
        with torch.no_grad():
            value = composition.terms[term.kind](passed(composition))
        torch.testing.assert_close(value, torch.full((24,), codes * math.log(2.0)).double())


def test_what_was_not_observed_is_no_clue() -> None:
    composition = built(IMAGE)
    batch = batch_of(rows(24))
    mask = torch.rand(24, 6, generator=torch.Generator().manual_seed(0)) > 0.4
    batch = batch.replace(x=batch.x.double(), mask=mask)
    forward = composition(batch, draw())
    critic = composition.owning_terms["image_adversary"].critic
    seen: list[torch.Tensor] = []
    handle = critic.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    own_loss(composition, forward)
    handle.remove()
    real, made = seen
    assert (made[~mask] == real[~mask]).all() and (made[mask] != real[mask]).all()


def test_one_row_or_equal_rows_give_finite_values() -> None:
    composition = built(IMAGE)
    same = passed(composition, np.tile(rows(1), (8, 1)))
    value = composition.terms["image_adversary"](same)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert all(torch.isfinite(p.grad).all() for p in composition.parameters() if p.grad is not None)
    assert torch.isfinite(composition.terms["image_adversary"](passed(composition, rows(1)))).all()


@pytest.mark.parametrize(
    ("row", "kind"),
    [((40,), DenseCritic), ((7, 9), DenseCritic), ((8, 11), ConvCritic), ((3, 16, 9), ConvCritic)],
)
def test_the_critic_is_made_for_the_row(row: tuple[int, ...], kind: type[Any]) -> None:
    x = rows(12, math.prod(row), shape=row)
    composition = built(IMAGE, x)
    critic = composition.owning_terms["image_adversary"].critic
    assert isinstance(critic, kind)
    assert critic(torch.from_numpy(x)).shape == (12,)
    forward = passed(composition, x)
    assert composition.terms["image_adversary"](forward).shape == (12,)
    own_loss(composition, forward).backward()


def test_a_description_is_built_before_it_is_called() -> None:
    forward = passed(built(LATENT))
    for term in (LATENT, IMAGE):
        with pytest.raises(RecipeError, match=r"try recipe\.build"):
            term(forward)


def test_rows_are_drawn_only_where_the_code_is_all() -> None:
    assert ImageAdversary(sampled=True).needs - ImageAdversary().needs == {"bottleneck"}


def test_adversarial_training_brings_the_codes_to_the_prior() -> None:
    """Codes that start far off: mean and covariance of N(0, I), and rows that are still rebuilt."""
    x = rows(256)
    recipe = small(presets.aae(weight=0.3), epochs=80, batch_size=64, learning_rate=0.005)
    recipe = recipe.replace({"code.latent_dim": 2, "training.validation_fraction": 0.0})
    model = Autoencoder(recipe, random_state=0).fit(x)
    codes = model.transform(x)
    plain = Autoencoder(
        recipe.replace({"objective.latent_adversary.weight": 0.0, "training.epochs": 20}), random_state=0
    ).fit(x)
    far = plain.transform(x)
    assert np.abs(np.cov(far.T) - np.eye(2)).max() > 0.5
    assert np.abs(codes.mean(0)).max() < 0.25
    assert np.abs(np.cov(codes.T) - np.eye(2)).max() < 0.35
    assert ((model.reconstruct(x) - x) ** 2).sum(1).mean() < 0.3 * ((x - x.mean(0)) ** 2).sum(1).mean()


def test_the_loop_gives_each_owner_its_own_step() -> None:
    """A term of weight zero trains its critic, and leaves the autoencoder as if it were not there."""
    x = rows(64)
    recipes = [small(presets.aae(weight=0.0)), small(presets.autoencoder())]
    models = [Autoencoder(recipe, random_state=3).fit(x) for recipe in recipes]
    start = build(recipes[0], x, seed=0)
    critics = [dict(m.owning_terms.named_parameters()) for m in (models[0].composition_, start)]
    assert any(not torch.equal(critics[0][name], critics[1][name]) for name in critics[0])
    for draws in (None, Draw(2)):
        forward = models[0].composition_(batch_of(x), draws)
        assert torch.isfinite(models[0].composition_.loss(forward, {"latent_adversary": 0.0}).total)
