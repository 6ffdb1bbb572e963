"""The Gaussian code against torch.distributions, against sampling, and at its edges."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from isthmus.codes import Draw, Gaussian
from isthmus.codes.base import row_keys
from isthmus.objectives import KL
from tests.helpers import Latents, draw, forward_of, generator

ROWS, LATENT = 5, 3


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, 2 * LATENT, generator=generator(seed), dtype=torch.float64)


def posterior(values: torch.Tensor) -> Normal:
    """Features are the mean, then the log of the variance (not of the deviation)."""
    return Normal(values[:, :LATENT], (0.5 * values[:, LATENT:]).exp())


def test_kl_is_the_closed_form() -> None:
    values = features()
    kl = Gaussian(LATENT).build()(values).quantities["kl"]
    expected = kl_divergence(posterior(values), Normal(torch.zeros(()).double(), torch.ones(()).double()))
    torch.testing.assert_close(kl, expected, rtol=1e-12, atol=1e-12)
    assert kl.shape == (ROWS, LATENT)


def test_kl_is_what_sampling_says() -> None:
    values = features(1)
    q, p = posterior(values), Normal(0.0, 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = q.sample((40_000,))
    difference = q.log_prob(z) - p.log_prob(z)
    error = difference.std(0) / 40_000**0.5
    kl = Gaussian(LATENT).build()(values).quantities["kl"]
    assert ((difference.mean(0) - kl).abs() < 4.5 * error).all()


def test_kl_is_zero_at_the_prior_and_positive_elsewhere() -> None:
    """Not clamped: pyod's VAE clamps its KL to zero, which leaves no gradient."""
    code = Gaussian(1).build()
    at_prior = torch.zeros(1, 2, requires_grad=True)
    assert code(at_prior).quantities["kl"].item() == 0.0
    for mean in (-2.0, -0.1, 0.1, 2.0):
        for log_variance in (-3.0, -0.1, 0.1, 3.0):
            values = torch.tensor([[mean, log_variance]], requires_grad=True)
            kl = code(values).quantities["kl"]
            assert kl.item() > 0
            (gradient,) = torch.autograd.grad(kl.sum(), values)
            expected = torch.tensor([[mean, 0.5 * (torch.tensor(log_variance).exp().item() - 1.0)]])
            torch.testing.assert_close(gradient, expected)


def test_extreme_features_stay_finite() -> None:
    values = torch.tensor([[0.0, -1e4], [0.0, 1e4], [1e4, 0.0]], requires_grad=True)
    output = Gaussian(1).build()(values, draw())
    assert torch.isfinite(output.z).all() and torch.isfinite(output.quantities["kl"]).all()
    output.quantities["kl"].sum().backward()
    assert torch.isfinite(values.grad).all()


def test_rate_sums_latents_and_keeps_rows() -> None:
    kl = torch.tensor([[1.0, 2.0], [0.5, 0.25]])
    forward = forward_of(Latents(torch.zeros(2, 2), quantities={"kl": kl}))
    assert KL()(forward).tolist() == [3.0, 0.75]


def test_rate_sums_positions_too() -> None:
    kl = torch.ones(2, 3, 4, 5)
    assert KL()(forward_of(Latents(torch.zeros(2, 3, 4, 5), quantities={"kl": kl}))).tolist() == [60.0, 60.0]


def test_free_nats_charge_each_latents_average_only_above_them() -> None:
    kl = torch.tensor([[1.0, 0.1], [2.0, 0.2]], requires_grad=True)  # averages 1.5 and 0.15
    rate = KL(free_nats=0.5)(forward_of(Latents(torch.zeros(2, 2), quantities={"kl": kl})))
    assert rate.item() == pytest.approx(1.5 + 0.5)
    rate.backward()
    assert kl.grad.tolist() == [[0.5, 0.0], [0.5, 0.0]]  # what is below has no gradient
    uneven = torch.tensor([[0.2], [1.4]])  # one row is below, their average is not
    assert KL(free_nats=0.5)(forward_of(Latents(torch.zeros(2, 1), quantities={"kl": uneven}))).item() == (
        pytest.approx(0.8)
    )


def test_draws_have_the_posteriors_mean_and_variance() -> None:
    values = features(2)
    q = posterior(values)
    z = Gaussian(LATENT).build()(values, draw(40_000)).z
    assert z.shape == (40_000, ROWS, LATENT)
    assert ((z.mean(0) - q.mean).abs() < 4.5 * q.stddev / 200).all()
    assert ((z.var(0) / q.variance - 1).abs() < 4.5 * (2 / 40_000) ** 0.5).all()


def test_no_draw_gives_the_mean() -> None:
    values = features(3)
    output = Gaussian(LATENT).build()(values)
    assert torch.equal(output.z, values[:, :LATENT]) and torch.equal(output.mean, output.z)


def test_gradient_of_a_draw_is_the_reparameterised_one() -> None:
    values = features(4).requires_grad_()
    z = Gaussian(LATENT).build()(values, draw(1, seed=5)).z
    noise = torch.randn(ROWS, LATENT, generator=generator(5), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(z.sum(), values)
    torch.testing.assert_close(gradient[:, :LATENT], torch.ones(ROWS, LATENT, dtype=torch.float64))
    deviation = (0.5 * values[:, LATENT:]).exp()
    torch.testing.assert_close(gradient[:, LATENT:], 0.5 * deviation * noise)


def keyed(x: torch.Tensor, samples: int, latent: int = 3) -> torch.Tensor:
    """Return the noise of rows, `(samples, rows, latent)`."""
    return Draw(samples, keys=row_keys(x)).normal(torch.zeros(len(x), latent)).view(samples, len(x), latent)


@pytest.mark.parametrize("samples", [1, 2, 5, 16])
def test_the_noise_of_a_row_is_the_rows_and_cancels_in_pairs(samples: int) -> None:
    x = torch.randn(6, 4, generator=generator())
    noise = keyed(x, samples)
    order = torch.tensor([3, 0, 5, 0])
    assert torch.equal(keyed(x[order], samples), noise[:, order])
    pairs = noise[: samples // 2 * 2].view(-1, 2, 6, 3)
    assert (pairs.sum(1) == 0).all()
    assert len(torch.unique(noise[::2])) == noise[::2].numel()  # and otherwise nothing is drawn twice
    assert Draw(1, keys=row_keys(x)).normal(torch.zeros(6, 3)).shape == (6, 3)


def test_the_noise_of_rows_is_standard_normal_and_independent() -> None:
    """Of rows that are as alike as rows can be: 0, 1, 2, ... in one column."""
    x = torch.zeros(4000, 5)
    x[:, 2] = torch.arange(4000.0)
    noise = keyed(x, 8, latent=4)[::2]  # (4 pairs, rows, latents)
    flat = noise.permute(1, 0, 2).reshape(4000, 16).double()
    error = 4.5 / 4000**0.5
    assert (flat.mean(0).abs() < error).all()
    assert ((flat.var(0) - 1).abs() < 2**0.5 * error).all()
    assert (((flat**4).mean(0) - 3).abs() < 96**0.5 * error).all()  # the normal's fourth moment
    correlations = torch.corrcoef(flat.t()) - torch.eye(16)
    assert (correlations.abs() < error).all()
    neighbours = (flat[1:] * flat[:-1]).mean(0)
    assert (neighbours.abs() < error).all()
    assert torch.isfinite(flat).all() and flat.abs().max() > 3.5


def test_keys_are_of_the_rows_numbers() -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [-0.0, 0.0], [0.0, 1.0]])
    keys = row_keys(x).tolist()
    assert keys[2] == keys[3] and keys[0] == keys[4] and len(set(keys)) == 3
    assert row_keys(x.view(5, 1, 2)).tolist() == keys
    many = row_keys(torch.randint(0, 2, (2000, 30), generator=generator()).float())
    assert len(torch.unique(many)) > 1990


def test_noise_comes_from_the_given_generator_only() -> None:
    a, b = (draw(3, seed=1).normal(torch.zeros(2, 2)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, draw(3, seed=2).normal(torch.zeros(2, 2)))
    assert len(torch.unique(a)) == a.numel()


def test_prior_is_standard_normal() -> None:
    z = Gaussian(2).build().prior((20_000, 2), generator())
    assert z is not None
    assert (z.mean(0).abs() < 4.5 / 20_000**0.5).all()
    assert ((z.var(0) - 1).abs() < 4.5 * (2 / 20_000) ** 0.5).all()
