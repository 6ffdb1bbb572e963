"""The categorical code and its Gumbel noise against torch.distributions, explicit formulas and sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, presets
from isthmus.codes import CategoricalCode, GumbelSoftmax
from isthmus.codes.base import Draw, row_keys
from isthmus.objectives import KL
from tests.helpers import Latents, draw, forward_of, generator


def built(spec: GumbelSoftmax) -> CategoricalCode:
    return spec.build()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def logits(seed: int = 0, *positions: int) -> tuple[Tensor, Tensor]:
    """Return features of 2 variables of 4 classes, and their probabilities `(rows, variables, classes, ...)`."""
    h = 1.5 * normal(3, 8, *positions, seed=seed)
    return h, h.unflatten(1, (2, 4)).softmax(2)


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("positions", [(), (2,)])
def test_draws_fall_on_classes_by_their_probabilities(keys: bool, positions: tuple[int, ...]) -> None:
    count = 20_000
    h, p = logits(0, *positions)
    code = built(GumbelSoftmax(8, 4)).eval()
    z = code(h, Draw(count, generator(), row_keys(h) if keys else None)).z
    assert z.shape == (count, *h.shape) and set(z.unique().tolist()) == {0.0, 1.0}
    found = z.unflatten(2, (2, 4))
    assert (found.sum(3) == 1).all()
    assert ((found.mean(0) - p).abs() < 4.5 * (p * (1 - p) / count).sqrt()).all()


def test_low_temperatures_are_nearly_one_hot_and_high_ones_even() -> None:
    h, _ = logits()
    for temperature, least, most in [(0.01, 0.97, 1.0), (100.0, 0.25, 0.29)]:
        code = built(GumbelSoftmax(8, 4, temperature, temperature)).train()
        z = code(h, draw(500)).z.unflatten(2, (2, 4))
        torch.testing.assert_close(z.sum(3), torch.ones(500, 3, 2))
        assert least <= z.amax(3).mean() <= most


def test_the_relaxation_is_the_softmax_of_noisy_logits() -> None:
    h, p = logits()
    code = built(GumbelSoftmax(8, 4, 0.7, 0.7)).train()
    noise = Draw(5, generator(3)).gumbel(p)
    expected = ((p.log() + noise) / 0.7).softmax(3).flatten(2, 3)
    torch.testing.assert_close(code(h, draw(5, seed=3)).z, expected)
    hard = built(GumbelSoftmax(8, 4, 0.7, 0.7, hard=True)).train()
    one_hot = hard(h, draw(5, seed=3)).z
    assert torch.equal(one_hot.unflatten(2, (2, 4)).argmax(3), expected.unflatten(2, (2, 4)).argmax(3))
    assert set(one_hot.unique().tolist()) == {0.0, 1.0}
    gradients = []
    for each in (code, hard):
        features = h.clone().requires_grad_()
        gradients.append(torch.autograd.grad((each(features, draw(5, seed=3)).z * expected).sum(), features)[0])
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_the_temperature_falls_from_the_first_to_the_last() -> None:
    code = built(GumbelSoftmax(8, 4, 2.0, 0.5))
    found = []
    for progress in (0.0, 0.5, 1.0):
        code.progress = progress
        found.append(code.temperature)
    assert found == pytest.approx([2.0, 1.0, 0.5])


def test_the_deterministic_latent_is_the_likeliest_class() -> None:
    h, p = logits(1, 3)
    h.requires_grad_()
    output = built(GumbelSoftmax(8, 4)).eval()(h)
    expected = torch.zeros_like(p).scatter_(2, p.argmax(2, keepdim=True), 1.0).flatten(1, 2)
    assert torch.equal(output.z, expected) and torch.equal(output.mean, expected)
    assert torch.equal(output.indices, p.argmax(2)) and output.indices.shape == (3, 2, 3)
    upstream = normal(*h.shape, seed=4)
    (gradient,) = torch.autograd.grad(output.z, h, upstream)
    again = h.detach().requires_grad_()
    (soft,) = torch.autograd.grad(again.unflatten(1, (2, 4)).softmax(2).flatten(1, 2), again, upstream)
    torch.testing.assert_close(gradient, soft)


def test_categorical_kl_is_that_to_the_uniform_prior() -> None:
    h, p = logits(2, 3)
    kl = built(GumbelSoftmax(8, 4))(h).quantities["kl"]
    uniform = torch.distributions.Categorical(torch.ones(4))
    expected = torch.distributions.kl_divergence(torch.distributions.Categorical(p.movedim(2, -1)), uniform)
    torch.testing.assert_close(kl, expected)
    assert kl.shape == (3, 2, 3)
    torch.testing.assert_close(built(GumbelSoftmax(8, 4))(torch.zeros(1, 8)).quantities["kl"], torch.zeros(1, 2))
    certain = built(GumbelSoftmax(4, 4))(torch.tensor([[1e4, 0.0, 0.0, 0.0]])).quantities["kl"]
    assert certain.item() == pytest.approx(math.log(4.0))
    rate = KL()(forward_of(Latents(h, quantities={"kl": kl})))
    torch.testing.assert_close(rate, kl.sum((1, 2)))


def test_categorical_prior_is_uniform() -> None:
    z = built(GumbelSoftmax(6, 3)).prior((5000, 6, 2), generator())
    assert z.shape == (5000, 6, 2)
    one_hot = z.unflatten(1, (2, 3))
    assert (one_hot.sum(2) == 1).all()
    assert ((one_hot.mean((0, 3)) - 1 / 3).abs() < 4.5 * (2 / 9 / 10_000) ** 0.5).all()


def test_latent_width_is_a_multiple_of_the_classes() -> None:
    assert "a multiple of code.classes (10), got 7; try 10" in (GumbelSoftmax(7).misfit((9,)) or "")
    assert GumbelSoftmax("auto", 5).resolve((28, 28), 100).latent_dim == 160


def test_gumbel_noise_is_gumbel_and_follows_the_row() -> None:
    x = normal(6, 4)
    like = torch.zeros(6, 3)
    keyed = Draw(5, keys=row_keys(x)).gumbel(like)
    assert keyed.shape == (5, 6, 3)
    order = torch.tensor([3, 0, 5, 0])
    assert torch.equal(Draw(5, keys=row_keys(x[order])).gumbel(like[:4]), keyed[:, order])
    # Pairs come from u and 1 - u: exp(-exp(-g)) gives u back.
    uniform = torch.exp(-torch.exp(-keyed.double()))
    torch.testing.assert_close(uniform[0] + uniform[1], torch.ones(6, 3).double(), rtol=0, atol=1e-5)
    assert Draw(1, keys=row_keys(x)).gumbel(like).shape == (6, 3)
    for noise in (draw(20_000).gumbel(like), Draw(20_000, keys=row_keys(x)).gumbel(like)[::2]):
        error = 4.5 * math.pi / 6**0.5 / noise[:, 0, 0].numel() ** 0.5
        assert ((noise.mean(0) - 0.5772157).abs() < error).all()
        assert torch.isfinite(noise).all() and (noise.var(0) - math.pi**2 / 6).abs().max() < 0.2
    assert torch.equal(draw(3, seed=1).gumbel(like), draw(3, seed=1).gumbel(like))


def test_categorical_vae_tells_groups_of_rows_apart() -> None:
    """Four groups of rows and one variable of four classes: each group gets a class of its own."""
    rng = np.random.default_rng(0)
    group = np.arange(400) % 4
    x = (rng.random((400, 12)) < np.repeat(np.eye(4), 3, axis=1)[group] * 0.9 + 0.05).astype(float)
    settings = {"hidden_dims": (16,), "epochs": 40, "batch_size": 50, "patience": None}
    recipe = presets.categorical_vae(latent_dim=4, classes=4, **settings)
    model = Autoencoder(recipe, random_state=0).fit(x)
    codes = model.transform(x)
    assert codes.shape == (400, 4) and model.kl_per_latent(x).shape == (1,)
    purity = np.mean([np.max(codes[group == g].mean(0)) for g in range(4)])
    assert purity > 0.9 and len({int(codes[group == g].mean(0).argmax()) for g in range(4)}) == 4
