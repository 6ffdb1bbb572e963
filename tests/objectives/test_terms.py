"""The terms against explicit Jacobians, finite differences and numbers worked out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.autograd.functional import jacobian

from isthmus.codes import Deterministic, Gaussian
from isthmus.composition import Composition
from isthmus.corruptions import Mask
from isthmus.networks import Dense
from isthmus.objectives import Contraction, Objective, Sparsity, SparsityTarget
from isthmus.recipe import Recipe
from tests.helpers import Latents, batch_of, build, forward_of, generator, rows

NETWORKS = [
    Dense((5,), "tanh"),
    Dense((5,), "sigmoid"),
    Dense((5,), "relu"),
    Dense((), "relu"),
    Dense((7, 5), "elu", residual=True),
    Dense((5, 5), "silu", residual=True),
    Dense((6, 5), "gelu", normalisation="layer"),
    Dense((6, 5), "tanh", normalisation="layer", residual=True),
    Dense((6,), "selu", tied=True),
]
CODES = [Deterministic(3), Deterministic(3, "sigmoid"), Deterministic(3, "tanh"), Gaussian(3)]
CASES = [
    (network, code, condition)
    for network, code, condition in itertools.product(NETWORKS, CODES, (0, 2))
    if not (network.tied and isinstance(code, Gaussian))
]


def contractive(network: Dense, code: Any, condition: int, **changes: Any) -> Composition:
    recipe = Recipe(network, code, objective=Objective() + 1.0 * Contraction(), **changes)
    return build(recipe, rows(), condition).double().train()


def explicit(composition: Composition, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
    """Return each row's squared Frobenius norm from the whole Jacobian, one row at a time."""
    norms = []
    for number in range(len(x)):
        told = None if condition is None else condition[number : number + 1]

        def encode(row: torch.Tensor, told: torch.Tensor | None = told) -> torch.Tensor:
            batch = batch_of(rows(1)).replace(x=row.unsqueeze(0), condition=told)
            return composition.encode(batch).mean[0]

        norms.append(jacobian(encode, x[number]).square().sum())
    return torch.stack(norms)


@pytest.mark.parametrize(("network", "code", "condition"), CASES, ids=str)
def test_contraction_is_the_jacobians_squared_frobenius_norm(network: Dense, code: Any, condition: int) -> None:
    composition = contractive(network, code, condition)
    batch = batch_of(rows(5), condition)
    batch = batch.replace(x=batch.x.double(), condition=None if batch.condition is None else batch.condition.double())
    value = Contraction()(composition(batch))
    assert value.shape == (5,) and value.requires_grad
    torch.testing.assert_close(value, explicit(composition, batch.x, batch.condition), rtol=1e-9, atol=1e-12)
    with torch.no_grad():  # as validation asks for it
        quiet = Contraction()(composition(batch))
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, value.detach(), rtol=1e-12, atol=1e-15)


def test_contraction_of_an_image_sums_over_its_pixels() -> None:
    composition = build(Recipe(Dense((5,), "tanh"), Deterministic(2)), rows(shape=(2, 3))).double()
    batch = batch_of(rows(4, shape=(2, 3)))
    batch = batch.replace(x=batch.x.double())
    flat = explicit(composition, batch.x, None)
    torch.testing.assert_close(Contraction()(composition(batch)), flat, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("network", [Dense((5,), "tanh"), Dense((5, 5), "silu", residual=True)], ids=str)
@pytest.mark.parametrize("code", [Deterministic(2, "sigmoid"), Gaussian(2)], ids=str)
def test_gradient_of_the_contraction_is_that_of_finite_differences(network: Dense, code: Any) -> None:
    composition = contractive(network, code, 0)
    x = torch.from_numpy(rows(3))
    parameters = [p for name, p in composition.named_parameters() if name.startswith("network.encoder")]

    def value(*_: torch.Tensor) -> torch.Tensor:
        return Contraction()(composition(batch_of(rows(3)).replace(x=x))).mean()

    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        flat = parameter.data.view(-1)
        for place in range(0, flat.numel(), 7):
            before = flat[place].item()
            ends = []
            for step in (1e-5, -1e-5):
                flat[place] = before + step
                ends.append(value().item())
            flat[place] = before
            expected = (ends[0] - ends[1]) / 2e-5
            got = 0.0 if gradient is None else gradient.view(-1)[place].item()
            assert got == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_contraction_is_taken_where_the_encoder_was_evaluated() -> None:
    """At the corrupted row, if there is a corruption."""
    composition = contractive(Dense((5,), "tanh"), Deterministic(2), 0, corruption=Mask(0.5))
    batch = batch_of(rows(4))
    batch = batch.replace(x=batch.x.double())
    forward = composition(batch, corrupt=True, generator=generator())
    assert not torch.equal(forward.seen.x, batch.x)
    expected = explicit(composition, forward.seen.x, None)
    torch.testing.assert_close(Contraction()(forward), expected, rtol=1e-9, atol=1e-12)


def test_contraction_leaves_no_gradient_in_the_rows() -> None:
    composition = contractive(Dense((5,), "tanh"), Deterministic(2), 0)
    batch = batch_of(rows(4))
    x = batch.x.double().requires_grad_()
    Contraction()(composition(batch.replace(x=x))).sum().backward()
    assert x.grad is None


def test_sparsity_is_the_l1_norm_of_each_row() -> None:
    z = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, -0.25]])
    assert Sparsity()(forward_of(Latents(z))).tolist() == [3.0, 0.75]


def test_sparsity_keeps_samples_and_sums_positions() -> None:
    mean = torch.zeros(2, 3, 4)
    z = torch.full((5, 2, 3, 4), -0.5)
    value = Sparsity()(forward_of(Latents(mean, z)))
    assert value.shape == (5, 2) and (value == 6.0).all()
    assert Sparsity()(forward_of(Latents(mean + 1.0))).tolist() == [12.0, 12.0]


def test_sparsity_reads_the_latent_that_is_decoded() -> None:
    assert Sparsity()(forward_of(Latents(torch.zeros(1, 2), torch.ones(1, 2)))).item() == 2.0


def bernoulli_kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize("target", [0.05, 0.3])
def test_sparsity_target_is_the_divergence_of_average_activations(target: float) -> None:
    z = torch.tensor([[0.2, 0.9], [0.4, 0.5], [0.3, 0.4]])  # averages over rows: 0.3 and 0.6
    value = SparsityTarget(target)(forward_of(Latents(z)))
    assert value.shape == ()
    assert value.item() == pytest.approx(bernoulli_kl(target, 0.3) + bernoulli_kl(target, 0.6), rel=1e-5, abs=1e-6)
    if target == 0.3:
        alone = SparsityTarget(target)(forward_of(Latents(z[:, :1])))
        assert alone.item() == pytest.approx(0.0, abs=1e-6)


def test_sparsity_target_pulls_towards_the_target() -> None:
    z = torch.tensor([[0.01, 0.9], [0.01, 0.9]], requires_grad=True)
    SparsityTarget(0.3)(forward_of(Latents(z))).backward()
    assert (z.grad[:, 0] < 0).all() and (z.grad[:, 1] > 0).all()


def test_sparsity_target_averages_positions_and_survives_saturation() -> None:
    z = torch.tensor([[[0.2, 0.4]], [[0.3, 0.5]]])  # one latent at two positions: average 0.35
    assert SparsityTarget(0.1)(forward_of(Latents(z))).item() == pytest.approx(bernoulli_kl(0.1, 0.35), rel=1e-5)
    for value in (0.0, 1.0):
        z = torch.full((3, 2), value, requires_grad=True)
        cost = SparsityTarget(0.1)(forward_of(Latents(z)))
        assert torch.isfinite(cost) and cost > 0.1
