"""Likelihoods against torch.distributions, with masks, and what they say besides their cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import distributions

from isthmus.objectives import (
    LIKELIHOODS,
    Bernoulli,
    BinaryCrossEntropy,
    LikelihoodSpec,
    Normal,
    SquaredError,
)
from tests.helpers import PARTS, generator, likelihood_of

ROWS = 7
SHAPES = [(4,), (2, 3), (1, 2, 2)]


def parameters_for(spec: LikelihoodSpec, row: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, spec.parameters, *row, generator=generator(seed), dtype=torch.float64)


def data_for(spec: LikelihoodSpec, row: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    if spec.support == "real":
        return torch.randn(ROWS, *row, generator=generator(seed), dtype=torch.float64)
    x = torch.rand(ROWS, *row, generator=generator(seed), dtype=torch.float64)
    return x.round() if spec.support == "binary" else x


def built(spec: LikelihoodSpec, row: tuple[int, ...]) -> Any:
    likelihood: Any = likelihood_of(spec, row)
    if isinstance(likelihood, torch.nn.Module):
        likelihood = likelihood.double()
        for parameter in likelihood.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator(9), dtype=torch.float64)
    return likelihood


def reference(spec: LikelihoodSpec, likelihood: Any, parameters: torch.Tensor) -> distributions.Distribution:
    """Return p(x|z) in torch's own words."""
    first = parameters[:, 0]
    if isinstance(spec, SquaredError):
        mean = 1 / (1 + (-first).exp()) if spec.output == "sigmoid" else first
        return distributions.Normal(mean, math.sqrt(0.5))
    if isinstance(spec, BinaryCrossEntropy):
        return distributions.Bernoulli(logits=first, validate_args=False)
    assert isinstance(spec, Normal)
    if spec.variance == "row":
        variance = parameters[:, 1].exp() + spec.floor
    elif spec.variance == "column":
        variance = likelihood.log_variance.view(likelihood.row).exp() + spec.floor
    else:
        variance = torch.tensor(spec.variance, dtype=torch.float64)
    return distributions.Normal(first, variance.sqrt())


@pytest.mark.parametrize("row", SHAPES, ids=str)
@pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
def test_cost_is_the_negative_log_density_less_the_constant(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    likelihood = built(spec, row)
    parameters, x = parameters_for(spec, row), data_for(spec, row)
    cost = likelihood.cost(parameters, x, None)
    log_density = reference(spec, likelihood, parameters).log_prob(x).flatten(1)
    expected = -log_density.sum(1) - likelihood.constant * log_density.shape[1]
    assert cost.shape == (ROWS,)
    torch.testing.assert_close(cost, expected, rtol=1e-6, atol=1e-6)


def test_squared_error_is_the_normal_density_of_variance_one_half() -> None:
    spec = SquaredError("linear")
    parameters, x = parameters_for(spec, (4,)), data_for(spec, (4,))
    cost = spec.cost(parameters, x, None)
    torch.testing.assert_close(cost, ((parameters[:, 0] - x) ** 2).sum(1))
    density = likelihood_of(Normal(variance=0.5), (4,))
    torch.testing.assert_close(cost + 4 * spec.constant, density.cost(parameters, x, None), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
def test_masks_of_nothing_everything_and_some(spec: LikelihoodSpec) -> None:
    row = (4,)
    likelihood = built(spec, row)
    parameters, x = parameters_for(spec, row), data_for(spec, row)
    everything, nothing = torch.ones(ROWS, 4).bool(), torch.zeros(ROWS, 4).bool()
    torch.testing.assert_close(likelihood.cost(parameters, x, everything), likelihood.cost(parameters, x, None))
    assert likelihood.cost(parameters, x, nothing).tolist() == [0.0] * ROWS
    some = torch.rand(ROWS, 4, generator=generator(3)) < 0.5
    density = -reference(spec, likelihood, parameters).log_prob(x) - likelihood.constant
    torch.testing.assert_close(likelihood.cost(parameters, x, some), (density * some).sum(1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
@pytest.mark.parametrize("hole", [0.5, -3.0, 1e9])
def test_values_under_the_mask_change_neither_cost_nor_gradient(spec: LikelihoodSpec, hole: float) -> None:
    row = (4,)
    likelihood = built(spec, row)
    parameters, x = parameters_for(spec, row).requires_grad_(), data_for(spec, row)
    mask = torch.rand(ROWS, 4, generator=generator(3)) < 0.5
    clean = likelihood.cost(parameters, x, mask)
    holed = likelihood.cost(parameters, torch.where(mask, x, hole), mask)
    torch.testing.assert_close(holed, clean)
    gradients = [torch.autograd.grad(cost.sum(), parameters)[0] for cost in (clean, holed)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
def test_mean_is_the_expected_row(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, (4,))
    parameters = parameters_for(spec, (4,))
    expected = reference(spec, likelihood, parameters).mean
    torch.testing.assert_close(likelihood.mean(parameters), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", [Bernoulli(), Normal(), Normal("row"), Normal(0.2)], ids=repr)
def test_draws_have_the_densitys_mean_and_variance(spec: LikelihoodSpec) -> None:
    count = 20_000
    likelihood = built(spec, (2,))
    parameters = parameters_for(spec, (2,))[:1]
    p = reference(spec, likelihood, parameters)
    drawn = likelihood.draw(parameters.expand(count, -1, -1), generator())
    error = (p.variance / count).sqrt()
    assert ((drawn.mean(0) - p.mean).abs() < 4.5 * error).all()
    assert ((drawn.var(0) / p.variance - 1).abs() < 0.06).all()
    if isinstance(spec, Bernoulli):
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn, likelihood.draw(parameters.expand(count, -1, -1), generator()))


@pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
@pytest.mark.parametrize("row", SHAPES, ids=str)
def test_output_bias_is_the_best_constant_guess(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    """No other constant parameters cost less on the rows whose moments it was made of."""
    likelihood = likelihood_of(spec, row)
    x = data_for(spec, row).float()
    if spec.support != "real":  # away from the margin in which logits are kept finite
        x = x * 0.8 + 0.1
    bias = likelihood.output_bias(x.mean(0), x.var(0, correction=0))
    assert bias.shape == (spec.parameters, *row)
    guess = bias.unsqueeze(0).expand(ROWS, *bias.shape)
    torch.testing.assert_close(likelihood.mean(guess), x.mean(0).expand_as(x), rtol=1e-4, atol=1e-4)
    cost = likelihood.cost(guess, x, None).sum()
    for step in (0.02, -0.02):
        for number in range(spec.parameters):
            other = guess.clone()
            other[:, number] += step
            assert likelihood.cost(other, x, None).sum() > cost
    if isinstance(likelihood, torch.nn.Module):
        for parameter in likelihood.parameters():
            for step in (0.05, -0.05):
                with torch.no_grad():
                    parameter += step
                    assert likelihood.cost(guess, x, None).sum() > cost
                    parameter -= step


@pytest.mark.parametrize("spec", [BinaryCrossEntropy(), Bernoulli(), SquaredError("sigmoid")], ids=repr)
def test_output_bias_of_a_constant_column_is_finite(spec: LikelihoodSpec) -> None:
    bias = likelihood_of(spec, (2,)).output_bias(torch.tensor([0.0, 1.0]), torch.zeros(2))
    assert torch.isfinite(bias).all() and bias[0, 0] < -3 and bias[0, 1] > 3


def test_learned_variance_has_a_floor() -> None:
    for variance in ("column", "row"):
        spec = Normal(variance, floor=1e-3)
        likelihood: Any = likelihood_of(spec, (1,))
        parameters = torch.full((1, spec.parameters, 1), -50.0)
        if variance == "column":
            likelihood.log_variance.data.fill_(-50.0)
        cost = likelihood.cost(parameters, torch.full((1, 1), -50.0), None)
        assert cost.item() == pytest.approx(0.5 * math.log(1e-3) + 0.5 * math.log(2 * math.pi), rel=1e-5)


def test_extreme_parameters_stay_finite() -> None:
    for spec in PARTS["likelihood"]:
        likelihood = likelihood_of(spec, (1,))
        for value in (-1e4, 1e4):
            parameters = torch.full((1, spec.parameters, 1), value, requires_grad=True)
            cost = likelihood.cost(parameters, torch.ones(1, 1), None)
            (gradient,) = torch.autograd.grad(cost.sum(), parameters)
            assert torch.isfinite(cost).all() and torch.isfinite(gradient).all(), (spec, value)


def test_every_likelihood_has_a_reference_here() -> None:
    """A new likelihood needs a line in `reference`."""
    assert set(LIKELIHOODS.values()) == {SquaredError, BinaryCrossEntropy, Bernoulli, Normal}
