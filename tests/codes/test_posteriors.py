"""Posteriors and the KLs of the Gaussian code against torch.distributions, numeric integration and gradcheck."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from isthmus.codes import FullNormal, Gaussian
from isthmus.codes.priors import LaplacePrior, VampPrior
from tests.helpers import draw, generator

ROWS, LATENT = 4, 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def explicit(features: Tensor) -> MultivariateNormal:
    """Features are the mean, twice the logs of the factor's diagonal, and what is below it, row by row."""
    lower = torch.zeros(len(features), LATENT, LATENT, dtype=torch.float64)
    place = 2 * LATENT
    for i in range(LATENT):
        lower[:, i, i] = (0.5 * features[:, LATENT + i]).exp()
        for j in range(i):
            lower[:, i, j] = features[:, place]
            place += 1
    return MultivariateNormal(features[:, :LATENT], scale_tril=lower)


@pytest.fixture
def features() -> Tensor:
    return normal(ROWS, FullNormal.features(LATENT))


def test_full_posterior_is_the_multivariate_normal(features: Tensor) -> None:
    q, expected = FullNormal.of(features, LATENT), explicit(features)
    z = normal(7, ROWS, LATENT, seed=1)
    torch.testing.assert_close(q.log_density(z), expected.log_prob(z))
    torch.testing.assert_close(q.entropy(), expected.entropy())
    torch.testing.assert_close(q.log_variance, expected.variance.log())
    torch.testing.assert_close(q.at(z), expected.mean + (expected.scale_tril @ z[..., None])[..., 0])
    chosen = q.select(torch.tensor([2, 0, 2]))
    torch.testing.assert_close(chosen.log_density(z[:, :3]), explicit(features[[2, 0, 2]]).log_prob(z[:, :3]))


def test_full_posterior_at_positions_is_one_for_each(features: Tensor) -> None:
    many = normal(ROWS, FullNormal.features(LATENT), 2, 2, seed=3)
    q, z = FullNormal.of(many, LATENT), normal(5, ROWS, LATENT, 2, 2, seed=4)
    expected = torch.zeros(5, ROWS, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            one = explicit(many[:, :, i, j])
            expected += one.log_prob(z[..., i, j])
            drawn = one.mean + (one.scale_tril @ z[..., i, j, None])[..., 0]
            torch.testing.assert_close(q.at(z)[..., i, j], drawn)
            torch.testing.assert_close(q.log_variance[:, :, i, j], one.variance.log())
    torch.testing.assert_close(q.log_density(z), expected)


def test_full_kl_is_the_closed_form(features: Tensor) -> None:
    output = Gaussian(LATENT, "full").build()(features, draw(2))
    standard = MultivariateNormal(torch.zeros(LATENT).double(), torch.eye(LATENT).double())
    expected = kl_divergence(explicit(features), standard)
    torch.testing.assert_close(output.quantities["kl"], expected[:, None])
    zero = Gaussian(LATENT, "full").build()(torch.zeros(1, 9, dtype=torch.float64)).quantities["kl"]
    assert zero.item() == pytest.approx(0.0, abs=1e-12)


def test_full_draws_have_the_covariance(features: Tensor) -> None:
    z = Gaussian(LATENT, "full").build()(features, draw(20_000)).z
    expected = explicit(features)
    for row in range(ROWS):
        covariance = expected.covariance_matrix[row]
        spread = covariance.diagonal()
        error = ((spread[:, None] * spread + covariance**2) / 20_000).sqrt()
        assert ((torch.cov(z[:, row].t()) - covariance).abs() < 4.5 * error).all()


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_laplace_kl_is_the_integral(scale: float) -> None:
    code = Gaussian(1, prior=LaplacePrior(scale)).build()
    for mean, deviation in [(0.0, 1.0), (0.5, 0.2), (-2.0, 0.7), (3.0, 1.5), (0.01, 3.0)]:
        q, p = stats.norm(mean, deviation), stats.laplace(0.0, scale)
        low, high = mean - 12 * deviation, mean + 12 * deviation
        expected, _ = integrate.quad(
            lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), low, high, points=[0.0], limit=200
        )
        features = torch.tensor([[mean, 2 * np.log(deviation)]], dtype=torch.float64)
        assert code(features).quantities["kl"].item() == pytest.approx(expected, rel=1e-7)


def test_laplace_kl_is_least_where_the_docstring_says() -> None:
    """At mean 0 and deviation scale * sqrt(pi / 2)."""
    code = Gaussian(1, prior=LaplacePrior(0.7)).build()
    at = 2 * np.log(0.7 * np.sqrt(np.pi / 2))
    values = torch.tensor([[0.0, at], [0.0, at + 0.1], [0.0, at - 0.1], [0.1, at]], dtype=torch.float64)
    least, *others = code(values).quantities["kl"].flatten().tolist()
    assert least == pytest.approx(0.0484, abs=1e-4) and min(others) > least


@pytest.mark.parametrize("kind", ["laplace", "full", "full laplace", "vamp"])
def test_gradients_of_the_kl_agree_with_finite_differences(kind: str) -> None:
    prior = {"laplace": LaplacePrior(0.8), "vamp": VampPrior(3)}.get(kind.split()[-1])
    covariance = "full" if "full" in kind else "diagonal"
    spec = Gaussian(2, covariance, prior) if prior else Gaussian(2, covariance)
    code = spec.build((3,)).double()
    width = spec.features()
    inputs = [normal(3, width).requires_grad_()]
    if kind == "vamp":
        inputs.append(normal(3, width, seed=1).requires_grad_())

    def kl(features: Tensor, pseudo: Tensor | None = None) -> Tensor:
        return code(features, draw(2), pseudo).quantities["kl"]

    assert torch.autograd.gradcheck(kl, tuple(inputs))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("prior", ["laplace", "standard"])
def test_extreme_features_stay_finite(covariance: str, prior: str) -> None:
    spec = Gaussian(2, covariance, LaplacePrior()) if prior == "laplace" else Gaussian(2, covariance)
    width = spec.features()
    values = torch.zeros(4, width)
    values[0, 2:4], values[1, 2:4], values[2, :2] = -1e4, 1e4, 1e4
    values.requires_grad_()
    output = spec.build()(values, draw())
    assert torch.isfinite(output.z).all() and torch.isfinite(output.quantities["kl"]).all()
    output.quantities["kl"].sum().backward()
    assert torch.isfinite(values.grad).all()
