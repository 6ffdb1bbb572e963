"""Importance-weighted bounds, total correlation and capacity beside exact values, loops and explicit gradients."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch.distributions import MultivariateNormal

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import DiagonalNormal, Gaussian
from isthmus.composition import Composition
from isthmus.errors import RecipeError
from isthmus.objectives import KL, Capacity, Forward, ImportanceWeighted, Normal, Reconstruction, TotalCorrelation
from isthmus.schema import Batch
from tests.helpers import Latents, build, draw, forward_of, log_weights, rows, small
from tests.objectives.test_bounds import LINEAR, OFFSET, VARIANCE, data, marginal, set_linear


def linear(term: ImportanceWeighted, *, exact: bool) -> Composition:
    recipe = dataclasses.replace(LINEAR, objective=Reconstruction(Normal(VARIANCE)) + 1.0 * term)
    composition = build(recipe, data().numpy())
    set_linear(composition, exact=exact)
    return composition.double()


def total(composition: Composition, forward: Forward, weight: float = 1.0) -> torch.Tensor:
    return composition.loss(forward, {"importance_weighted": weight}).total


# ---- importance weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubly", [True, False])
@pytest.mark.parametrize("samples", [None, 1, 2, 7])
def test_cost_and_term_are_minus_the_bound(samples: int | None, doubly: bool) -> None:
    composition = linear(ImportanceWeighted(5, doubly), exact=False)
    forward = composition(Batch(data(6).double()), None if samples is None else draw(samples))
    weights = log_weights(composition, forward).detach().numpy().reshape(samples or 1, 6)
    bound = logsumexp(weights, 0) - math.log(samples or 1)
    cost = forward.reconstruction.view(samples or 1, 6).mean(0)
    value = composition.terms["importance_weighted"](forward)
    assert value.shape == (6,)
    np.testing.assert_allclose((cost + value).detach().numpy(), -bound, rtol=1e-10)
    assert total(composition, forward).item() == pytest.approx(-bound.mean(), rel=1e-10)


def test_one_sample_is_the_evidence_lower_bound() -> None:
    composition = linear(ImportanceWeighted(1), exact=False)
    batch = Batch(data().double())
    with torch.no_grad():
        values = torch.stack(
            [composition.terms["importance_weighted"](composition(batch, draw(1, s))) for s in range(400)]
        )
        rate = KL()(composition(batch)).mean()
    assert values.mean().item() == pytest.approx(rate.item(), abs=0.05)


def test_with_the_exact_posterior_the_bound_is_the_log_likelihood() -> None:
    composition = linear(ImportanceWeighted(4), exact=True)
    x = data()
    loss = total(composition, composition(Batch(x.double()), draw(4)))
    assert loss.item() == pytest.approx(-marginal().log_prob(x).mean().item(), abs=1e-5)


def test_the_bound_rises_with_samples_towards_the_log_likelihood() -> None:
    x = data()
    composition = linear(ImportanceWeighted(1), exact=False)
    losses = []
    with torch.no_grad():
        for samples in (1, 5, 50, 2000):
            batch = Batch(x.double().repeat(4000 // samples, 1))
            losses.append(total(composition, composition(batch, draw(samples))).item())
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[1] > 0.02
    assert losses[-1] == pytest.approx(-marginal().log_prob(x).mean().item(), abs=0.02)


def test_values_that_were_not_observed_leave_the_bound_of_the_rest() -> None:
    """Mattei and Frellsen 2019: with many samples, the log-likelihood of the observed columns."""
    x, seen = data(5).double(), torch.tensor([True, False, True, True, False])
    composition = linear(ImportanceWeighted(1), exact=False)
    batch = Batch(x, mask=seen.expand(5, -1))
    other = batch.replace(x=torch.where(seen, x, 1e3))
    with torch.no_grad():
        losses = [-total(composition, composition(b, draw(20_000))) for b in (batch, other)]
    covariance = marginal().covariance_matrix[seen][:, seen]
    exact = MultivariateNormal(OFFSET[seen], covariance).log_prob(x[:, seen].float()).mean().item()
    assert losses[0] == losses[1]
    assert losses[0].item() == pytest.approx(exact, abs=0.03)


def gradients(composition: Composition, samples: int, seed: int, weight: float, copies: int) -> dict[str, torch.Tensor]:
    forward = composition(Batch(data(3).double().repeat(copies, 1)), draw(samples, seed))
    parameters = dict(composition.network.named_parameters())
    found = torch.autograd.grad(total(composition, forward, weight), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_doubly_reparameterised_gradient_has_the_plain_ones_expectation_and_less_variance(weight: float) -> None:
    """At every weight of the term: what the cost sends to the latents is left as it is."""
    samples, repeats = 16, 150
    found: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for doubly in found:
        composition = linear(ImportanceWeighted(samples, doubly), exact=False)
        for seed in range(repeats):
            each = gradients(composition, samples, seed, weight, copies=20)
            found[doubly].append(torch.cat([each["encoder.0.weight"].flatten(), each["encoder.0.bias"]]))
    better, plain = (torch.stack(found[doubly]) for doubly in (True, False))
    difference = better - plain  # of the same draws
    error = difference.std(0) / repeats**0.5
    assert (difference.mean(0).abs() < 4.5 * error + 1e-12).all()
    assert plain.mean(0).abs().max() > 20 * error.max() / repeats**0.5
    if weight == 1.0:
        assert better.var(0).sum() < 0.25 * plain.var(0).sum()


def test_doubly_reparameterised_gradient_is_the_published_one() -> None:
    samples = 5
    composition = linear(ImportanceWeighted(samples, True), exact=False)
    forward = composition(Batch(data(4).double()), draw(samples))
    z, encoder = forward.code.z, list(composition.network.encoder.parameters())
    posterior = forward.code.posterior.detached()
    weights = forward.code.prior.log_density(z) - posterior.log_density(z) - forward.reconstruction
    (slope,) = torch.autograd.grad(weights.sum(), z, retain_graph=True)
    share = weights.softmax(0).detach().unsqueeze(-1)
    expected = torch.autograd.grad(z, encoder, grad_outputs=-(share**2) * slope / 4, retain_graph=True)
    got = torch.autograd.grad(total(composition, forward), encoder)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_decoders_gradient_is_the_bounds_own() -> None:
    plain, doubly = (gradients(linear(ImportanceWeighted(6, d), exact=False), 6, 0, 1.0, 1) for d in (False, True))
    for name in ("decoder.0.weight", "decoder.0.bias"):
        torch.testing.assert_close(plain[name], doubly[name], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(plain["encoder.0.bias"], doubly["encoder.0.bias"])


def test_it_stands_in_place_of_the_rate() -> None:
    for other in (KL(), Capacity()):
        with pytest.raises(RecipeError, match="count the same thing"):
            Recipe(code=Gaussian(2), objective=Reconstruction(Normal()) + other + 1.0 * ImportanceWeighted())
    with pytest.raises(RecipeError, match=r"'importance_weighted' needs 'posterior'.*variational"):
        Recipe(objective=Reconstruction(Normal()) + 1.0 * ImportanceWeighted())
    assert Recipe(code=Gaussian(2), objective=Reconstruction(Normal()) + ImportanceWeighted(9)).objective.samples == 9


# ---- total correlation -------------------------------------------------------------------------------------------


def correlated(mean: torch.Tensor, log_variance: torch.Tensor, z: torch.Tensor) -> Forward:
    code: Any = Latents(mean, z)
    code.posterior = DiagonalNormal(mean, log_variance)
    return forward_of(code)


def random_code(count: int, latents: int, samples: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(count, latents, generator=generator).double()
    log_variance = torch.randn(count, latents, generator=generator).double() - 1.0
    noise = torch.randn(*([samples] if samples else []), count, latents, generator=generator).double()
    return mean, log_variance, mean + (0.5 * log_variance).exp() * noise


@pytest.mark.parametrize("rows_", [None, 4, 100])
@pytest.mark.parametrize("samples", [0, 3])
def test_total_correlation_is_what_loops_say(rows_: int | None, samples: int) -> None:
    mean, log_variance, z = random_code(5, 3, samples)
    value = TotalCorrelation(rows_)(correlated(mean, log_variance, z))
    assert value.shape == ((samples, 5) if samples else (5,))
    size = max(5, rows_ or 5)
    for s, i in itertools.product(range(max(1, samples)), range(5)):
        at = (z[s] if samples else z)[i]
        joint, each = 0.0, np.zeros(3)
        for k in range(5):
            weight = 1 / size if k == i else (size - 1) / size / 4
            densities = norm.pdf(at, mean[k], (0.5 * log_variance[k]).exp())
            joint += weight * densities.prod()
            each += weight * densities
        got = (value[s, i] if samples else value[i]).item()
        assert got == pytest.approx(math.log(joint) - np.log(each).sum(), rel=1e-9)


def test_the_weights_make_the_density_unbiased() -> None:
    """Averaged over every batch that holds a row, its estimate of q(z) is the mean over all rows."""
    count, batch = 8, 4
    mean, log_variance, z = random_code(count, 2)
    density = torch.exp(DiagonalNormal(mean, log_variance).log_density(z[:1].expand(count, -1)))
    weights = TotalCorrelation(count)._log_weights(mean[:batch])[0].exp()
    estimates = [
        (weights * density[[0, *others]]).sum() for others in itertools.combinations(range(1, count), batch - 1)
    ]
    torch.testing.assert_close(torch.stack(estimates).mean(), density.mean())


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
def test_total_correlation_of_a_correlated_normal(correlation: float) -> None:
    """Posteriors of variance v around correlated means add up to a normal, whose total correlation is known."""
    count, variance = 1500, 0.25
    covariance = (1 - variance) * torch.tensor([[1.0, correlation], [correlation, 1.0]])
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(count, 2, generator=generator) @ torch.linalg.cholesky(covariance).t()
    z = mean + variance**0.5 * torch.randn(count, 2, generator=generator)
    value = TotalCorrelation()(correlated(mean, torch.full_like(mean, math.log(variance)), z)).mean().item()
    exact = -0.5 * math.log(1 - (correlation * (1 - variance)) ** 2)
    assert value == pytest.approx(exact, abs=0.03)


def test_one_latent_or_one_row_has_no_total_correlation() -> None:
    mean, log_variance, z = random_code(6, 1)
    torch.testing.assert_close(TotalCorrelation(9)(correlated(mean, log_variance, z)), torch.zeros(6).double())
    mean, log_variance, z = random_code(1, 3)
    torch.testing.assert_close(TotalCorrelation(9)(correlated(mean, log_variance, z)), torch.zeros(1).double())


def test_gradient_of_the_total_correlation_is_that_of_finite_differences() -> None:
    inputs = tuple(part.requires_grad_() for part in random_code(4, 2))
    assert torch.autograd.gradcheck(lambda *parts: TotalCorrelation(50)(correlated(*parts)), inputs)


def test_feature_maps_count_every_position_as_a_latent() -> None:
    mean, log_variance, z = random_code(4, 6)
    flat = TotalCorrelation()(correlated(mean, log_variance, z))
    maps = [part.view(4, 2, 3) for part in (mean, log_variance, z)]
    torch.testing.assert_close(TotalCorrelation()(correlated(*maps)), flat)


def test_it_is_added_to_the_rate_beta_minus_one_times() -> None:
    assert presets.beta_tc_vae(beta=3.0).objective.weights(1.0) == {"kl": 1.0, "total_correlation": 2.0}
    with pytest.raises(RecipeError, match=r"beta: expected a number in \[1"):
        presets.beta_tc_vae(beta=0.5)


# ---- capacity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("progress", "capacity"), [(0.0, 0.0), (0.1, 2.0), (0.5, 10.0), (1.0, 10.0)])
def test_capacity_is_the_distance_of_the_average_rate(progress: float, capacity: float) -> None:
    kl = torch.tensor([[1.0, 2.0], [4.0, 0.0], [0.0, 8.0]])  # 15 nats in three rows
    forward = dataclasses.replace(forward_of(Latents(torch.zeros(3, 2), quantities={"kl": kl})), progress=progress)
    assert Capacity(10.0, 0.5)(forward).item() == pytest.approx(abs(5.0 - capacity))


def test_capacity_pulls_the_rate_from_both_sides() -> None:
    for end, sign in ((1.0, 1.0), (100.0, -1.0)):
        kl = torch.full((3, 2), 2.0, requires_grad=True)
        Capacity(end)(forward_of(Latents(torch.zeros(3, 2), quantities={"kl": kl}))).backward()
        assert kl.grad is not None and (kl.grad == sign / 3).all()


def test_trained_rate_stands_at_the_capacity() -> None:
    recipe = small(presets.capacity_vae(capacity=3.0), epochs=60, learning_rate=0.01, patience=None)
    model = Autoencoder(recipe, random_state=0).fit(rows(128))
    assert model.kl_per_latent(rows(128)).sum() == pytest.approx(3.0, abs=0.3)
