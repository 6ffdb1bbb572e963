"""Scores and bounds of a variational model, beside exact values of a linear-Gaussian one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from isthmus import Autoencoder, Recipe, Training, presets
from isthmus.codes import Gaussian
from isthmus.composition import Composition
from isthmus.networks import Dense
from isthmus.objectives import KL, Normal, Reconstruction, SquaredError
from tests.helpers import batch_of, build, draw, log_weights, rows, small

COLUMNS, LATENT = 5, 2
VARIANCE = 0.5
LINEAR = Recipe(
    Dense(()),
    Gaussian(LATENT),
    objective=Reconstruction(Normal(VARIANCE)) + 1.0 * KL(),
    preprocessing="none",
    training=Training(epochs=1, validation_fraction=0.0),
)


def mixing() -> torch.Tensor:
    """Return the decoder's matrix, `(columns, latent)`, with orthogonal columns: the exact posterior is diagonal."""
    q, _ = torch.linalg.qr(torch.randn(COLUMNS, LATENT, generator=torch.Generator().manual_seed(0)))
    return q * torch.tensor([1.5, 0.7])


OFFSET = torch.linspace(-1.0, 1.0, COLUMNS)


def set_linear(composition: Composition, *, exact: bool) -> None:
    """Let the model be ``x = W z + b + noise``, with its exact posterior or with a poor one."""
    weight = mixing()
    posterior_variance = 1.0 / (1.0 + (weight**2).sum(0) / VARIANCE)
    to_mean = (posterior_variance / VARIANCE).unsqueeze(1) * weight.t()
    network = composition.network
    with torch.no_grad():
        network.decoder[0].weight.copy_(weight)
        network.decoder[0].bias.copy_(OFFSET)
        network.encoder[0].weight.zero_()
        network.encoder[0].bias.zero_()
        network.encoder[0].weight[:LATENT] = to_mean if exact else 0.5 * to_mean
        network.encoder[0].bias[:LATENT] = -(to_mean @ OFFSET) * (1.0 if exact else 0.5)
        network.encoder[0].bias[LATENT:] = posterior_variance.log() + (0.0 if exact else 1.0)


def marginal() -> MultivariateNormal:
    weight = mixing()
    return MultivariateNormal(OFFSET, weight @ weight.t() + VARIANCE * torch.eye(COLUMNS))


def data(count: int = 40) -> torch.Tensor:
    noise = torch.randn(count, COLUMNS, generator=torch.Generator().manual_seed(1))
    return OFFSET + noise @ torch.linalg.cholesky(marginal().covariance_matrix).t()


def linear(*, exact: bool) -> Autoencoder:
    model = Autoencoder(LINEAR).fit(data().numpy())
    set_linear(model.composition_, exact=exact)
    return model


def exact_bound(model: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """Return the evidence lower bound without sampling: all is quadratic."""
    with torch.no_grad():
        code, output = model.composition_.encode(batch_of(x.numpy())), model.composition_.network.decoder[0]
        weight, mean = output.weight, code.mean
        variance = code.quantities["log_variance"].exp()
        spread = (variance * (weight**2).sum(0)).sum(1)
        error = (x - mean @ weight.t() - output.bias).square().sum(1) + spread
        density = -0.5 * error / VARIANCE - 0.5 * COLUMNS * math.log(2 * math.pi * VARIANCE)
        rate = 0.5 * (mean**2 + variance - variance.log() - 1).sum(1)
    return density - rate


def test_with_the_exact_posterior_every_sample_gives_the_marginal() -> None:
    """``p(x|z) p(z) / q(z|x)`` is then p(x), whatever z."""
    model, x = linear(exact=True), data()
    forward = model.composition_(batch_of(x.numpy()), draw(7))
    weights = log_weights(model.composition_, forward)
    torch.testing.assert_close(weights, marginal().log_prob(x).expand(7, -1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exact_bound(model, x), marginal().log_prob(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_score_is_the_bound_within_its_error(exact: bool) -> None:
    model, x = linear(exact=exact), data()
    scores = torch.from_numpy(model.score_samples(x.numpy()))
    bound = exact_bound(model, x).double()
    # One draw's spread; antithetic pairs cancel its odd part, so eight independent pairs err by less than this.
    forward = model.composition_(batch_of(x.numpy()), draw(4000))
    error = forward.reconstruction.std(0).double() / 8**0.5
    assert ((scores - bound).abs() < 4.5 * error).all()
    assert ((scores - bound).abs() < 0.5 * (scores - scores.mean()).abs().mean()).float().mean() > 0.8


def test_the_errors_of_scores_average_out_over_rows() -> None:
    """A test set's bound is as exact as its size allows; with noise shared by all rows it would never be."""
    model, x = linear(exact=False), data(2000)
    difference = torch.from_numpy(model.score_samples(x.numpy())) - exact_bound(model, x).double()
    assert difference.std() > 0.01
    assert difference.mean().abs() < 4.5 * difference.std() / 2000**0.5


def test_bound_is_below_the_exact_log_likelihood() -> None:
    model, x = linear(exact=False), data(400)
    exact = marginal().log_prob(x)
    assert (exact_bound(model, x) < exact).all()
    assert model.score_samples(x.numpy()).mean() < exact.mean().item()


def test_importance_weighted_bound_rises_with_samples_towards_the_marginal() -> None:
    """Burda et al. 2016, theorem 1, on average over draws."""
    model, x = linear(exact=False), data()
    bounds = []
    with torch.no_grad():
        for samples in (1, 5, 50, 2000):
            repeats = 10_000 // samples
            forward = model.composition_(batch_of(x.numpy()), draw(samples * repeats))
            weights = log_weights(model.composition_, forward).view(repeats, samples, -1)
            bounds.append((torch.logsumexp(weights, 1) - math.log(samples)).mean().item())
    exact = marginal().log_prob(x).mean().item()
    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(exact_bound(model, x).mean().item(), abs=0.02)
    assert bounds[1] > bounds[0] + 0.02
    assert bounds[-1] == pytest.approx(exact, abs=0.02)


def test_trained_linear_model_reaches_the_marginal() -> None:
    """The objective is right if minimising it recovers what the data were drawn from."""
    x = data(2000)
    recipe = LINEAR.replace({"training.epochs": 60, "training.batch_size": 200, "training.learning_rate": 0.02})
    model = Autoencoder(recipe).fit(x.numpy())
    best = MultivariateNormal(x.mean(0), torch.cov(x.t(), correction=0)).log_prob(x).mean().item()
    bound = exact_bound(model, x).mean().item()
    assert marginal().log_prob(x).mean().item() - 0.03 < bound < best
    trained = model.composition_.network.decoder[0].weight.detach()
    covariance = trained @ trained.t() + VARIANCE * torch.eye(COLUMNS)
    assert (covariance - marginal().covariance_matrix).abs().max() < 0.25


@pytest.mark.parametrize("preset", ["vae", "beta_vae"])
@pytest.mark.parametrize("support", ["unit", "real"])
def test_score_of_a_vae_is_the_mean_of_many_draws(preset: str, support: str) -> None:
    x = rows(60, support=support)
    model = Autoencoder(small(presets.get(preset), epochs=20), random_state=0).fit(x)
    scores = model.score_samples(x)
    scaled = batch_of(model.encoding_.forward(x))
    with torch.no_grad():
        forward = model.composition_(scaled, draw(3000))
        kl = forward.code.quantities["kl"].sum(1)
        constant = model.composition_.likelihood.constant * x.shape[1]
        reference = (-forward.reconstruction.mean(0) - constant - kl).numpy()
        error = forward.reconstruction.std(0).numpy() * (1 / 8**0.5 + 1 / 3000**0.5)
    assert (np.abs(scores - reference) < 4.5 * error).all()
    # Errors of different rows are independent: their mean is nearer than each of them.
    assert abs(scores.mean() - reference.mean()) < 4.5 * error.mean() / len(x) ** 0.5
    assert np.corrcoef(scores, reference)[0, 1] > 0.9


def test_score_weighs_the_rate_by_one_whatever_beta() -> None:
    """A score is a bound on the log-likelihood; beta belongs to training."""
    x = rows(60)
    model = Autoencoder(small(presets.vae()), random_state=0).fit(x)
    heavy = Autoencoder(small(presets.beta_vae(beta=50.0)), random_state=0).fit(x)
    heavy.composition_.load_state_dict(model.composition_.state_dict())
    np.testing.assert_array_equal(heavy.score_samples(x), model.score_samples(x))


def test_score_of_a_deterministic_code_is_the_density_of_its_reconstruction() -> None:
    x = rows(60)
    model = Autoencoder(small(presets.autoencoder(), epochs=5), random_state=0).fit(x)
    squared = ((model.reconstruct(x) - x) ** 2).sum(1)
    expected = torch.distributions.Normal(0.0, math.sqrt(0.5)).log_prob(torch.zeros(())).item() * x.shape[1] - squared
    np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-5, atol=1e-5)


def test_score_keeps_the_constant_that_the_loss_leaves_out() -> None:
    x = rows(40)
    composition = build(Recipe(Dense(()), objective=Reconstruction(SquaredError("linear"))), x).eval()
    mask = torch.ones(40, x.shape[1]).bool()
    mask[:, :2] = False
    whole, some = batch_of(x), batch_of(x).replace(mask=mask)
    for batch, observed in ((whole, x.shape[1]), (some, x.shape[1] - 2)):
        forward = composition(batch)
        expected = -forward.reconstruction - 0.5 * math.log(math.pi) * observed
        torch.testing.assert_close(composition.log_likelihood(forward), expected)
        loss = composition.loss(forward, {})
        torch.testing.assert_close(loss.total, forward.reconstruction.mean())
