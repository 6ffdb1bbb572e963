"""`log_likelihood` and `walk_back` beside what they are defined by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from isthmus import Autoencoder, presets
from isthmus.errors import RecipeError
from tests.helpers import rows, small


def linear_model() -> tuple[Autoencoder, np.ndarray]:
    """Return a linear Gaussian model, whose likelihood has a closed form: x = W z + b + noise."""
    x = rows(300, 4, support="real")
    recipe = presets.vae(latent_dim=2, hidden_dims=(), epochs=40, patience=None)
    return Autoencoder(recipe, random_state=0).fit(x), x


def test_the_estimate_is_the_marginal_likelihood_of_a_linear_model() -> None:
    model, x = linear_model()
    block = model.composition_.network.decoder[0]
    weight, bias = block.weight.detach().double().numpy(), block.bias.detach().double().numpy()
    likelihood = model.composition_.likelihood
    noise = (likelihood.log_spread.exp() + likelihood.floor).detach().double().numpy()
    scaled = model.encoding_.forward(x[:40]).astype(float)
    exact = stats.multivariate_normal(bias, weight @ weight.T + np.diag(noise)).logpdf(scaled)
    estimate = model.log_likelihood(x[:40], samples=20_000)
    np.testing.assert_allclose(estimate, exact, atol=0.05)


def test_the_bound_rises_with_the_samples() -> None:
    """The posterior of a curved model is not Gaussian, so there is a gap to close."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 300))
    x = np.stack([np.sin(2 * first), np.cos(2 * first), first * second, second**2], 1)
    recipe = presets.beta_vae(beta=0.3, latent_dim=2, hidden_dims=(32,), epochs=40, batch_size=32, patience=None)
    model = Autoencoder(recipe, random_state=0).fit(x)
    bounds = [model.score_samples(x).mean(), *(model.log_likelihood(x, samples=k).mean() for k in (10, 100, 1000))]
    assert (np.diff(bounds) > 0.02).all(), bounds


def test_rows_decide_their_own_draws() -> None:
    model, x = linear_model()
    whole = model.log_likelihood(x, samples=120)
    np.testing.assert_array_equal(model.log_likelihood(x[7:9], samples=120), whole[7:9])


def test_a_code_without_posterior_is_refused() -> None:
    model = Autoencoder(small(presets.autoencoder(latent_dim=2)), random_state=0).fit(rows())
    with pytest.raises(RecipeError, match="no posterior"):
        model.log_likelihood(rows())


def test_a_walk_goes_back_to_the_data() -> None:
    """Data on a line: a walk from far off it ends near it, and each step is a corruption and a reconstruction."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 1)) @ np.ones((1, 6)) + 0.01 * rng.standard_normal((500, 6))
    recipe = presets.denoising(latent_dim=1, hidden_dims=(32,), epochs=40, patience=None)
    model = Autoencoder(recipe, random_state=0).fit(x)
    start = rng.standard_normal((50, 6))
    walk = model.walk_back(start, 5)
    assert walk.shape == (50, 6, 6)
    np.testing.assert_allclose(walk[:, 0], start, rtol=1e-6)

    def off(values: np.ndarray) -> float:
        return float((values - values.mean(1, keepdims=True)).std())

    assert off(walk[:, -1]) < 0.2 * off(start)
    np.testing.assert_array_equal(model.walk_back(start, 5), walk)
    assert not np.array_equal(model.walk_back(start, 5, random_state=1), walk)
    with pytest.raises(RecipeError, match="no corruption"):
        Autoencoder(small(presets.autoencoder(latent_dim=1)), random_state=0).fit(x).walk_back(x)
    assert torch.is_grad_enabled()
