"""Linear maps of latents of which few are not zero, beside the matrix products that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from isthmus import presets
from isthmus.codes import TopK
from isthmus.composition import Composition
from isthmus.networks import Dense, dense, sparse_linear
from isthmus.objectives import Objective, Sparsity
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from tests.helpers import build, generator, rows


def latents_and_values(count: int, width: int, k: int) -> tuple[Tensor, Tensor]:
    scores = torch.randn(count, width, generator=generator(), dtype=torch.float64)
    values, latents = scores.topk(k, 1)
    return latents, values


def test_linear_of_kept_has_the_value_and_gradients_of_the_product() -> None:
    latents, values = latents_and_values(7, 20, 3)
    latents[:, 0] = 4  # one latent of every row, and others of none
    latents[0] = torch.tensor([4, 4, 5])  # twice in one row: a sum
    weight = torch.randn(5, 20, generator=generator(1), dtype=torch.float64)
    z = torch.zeros(7, 20, dtype=torch.float64).scatter_add(1, latents, values)
    torch.testing.assert_close(sparse_linear.sparse_decode(latents, values, weight), z @ weight.t())
    inputs = (values.requires_grad_(), weight.requires_grad_())
    assert gradcheck(lambda values, weight: sparse_linear.sparse_decode(latents, values, weight), inputs)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_linear_for_kept_has_the_gradients_of_the_product(share: float) -> None:
    """Whether few features got a gradient, none or all."""
    x = torch.randn(9, 4, generator=generator(), dtype=torch.float64)
    weight = torch.randn(sparse_linear.LEAST_WIDTH, 4, generator=generator(1), dtype=torch.float64)
    bias = torch.randn(sparse_linear.LEAST_WIDTH, generator=generator(2), dtype=torch.float64)
    weigh = torch.randn(9, sparse_linear.LEAST_WIDTH, generator=generator(3), dtype=torch.float64)
    weigh *= torch.rand(weigh.shape, generator=generator(4)) < share
    found = []
    for linear in (sparse_linear.sparse_gradient_encode, F.linear):
        inputs = [value.clone().requires_grad_() for value in (x, weight, bias)]
        y = linear(*inputs)
        found.append([y, *torch.autograd.grad((y * weigh).sum(), inputs)])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def wide(*terms: Any, network: Dense, condition: int = 0) -> Composition:
    recipe = Recipe(network, TopK(sparse_linear.LEAST_WIDTH, 4), objective=Objective(terms=terms))
    return build(recipe, rows(), condition).double().train()


@pytest.mark.parametrize("network", [Dense(()), Dense((7, 5), "tanh", normalisation="layer"), Dense((), tied=True)])
@pytest.mark.parametrize("condition", [0, 2])
def test_a_step_through_what_is_kept_has_the_gradients_of_a_dense_step(
    network: Dense, condition: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.from_numpy(rows(20))
    told = torch.randn(20, condition, generator=generator(), dtype=torch.float64) if condition else None
    calls = []

    def spy(*arguments: Tensor) -> Tensor:
        calls.append(arguments)
        return sparse_linear.sparse_decode(*arguments)

    monkeypatch.setattr(dense, "sparse_decode", spy)
    found = []
    for plain in (False, True):
        composition = wide(0.1 * Sparsity(), network=network, condition=condition)
        if plain:
            monkeypatch.setattr(dense, "worthwhile", lambda *_: False)
            monkeypatch.setattr(dense, "sparse_gradient_encode", F.linear)
        loss = composition.loss(composition(Batch(x, condition=told)), {"sparsity": 0.1}).total
        loss.backward()
        found.append((loss, {name: p.grad for name, p in composition.named_parameters()}))
    assert len(calls) == 1
    torch.testing.assert_close(found[0][0], found[1][0])
    for name, gradient in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], gradient, msg=name)


@pytest.mark.parametrize("features", [2, sparse_linear.LEAST_WIDTH])
def test_a_term_that_differentiates_gradients_still_can(features: int) -> None:
    """By the rows and by the weights, as the contraction term does, of few features and of all."""
    x = torch.randn(3, 4, generator=generator(), dtype=torch.float64).requires_grad_()
    weight = torch.randn(sparse_linear.LEAST_WIDTH, 4, generator=generator(1), dtype=torch.float64).requires_grad_()
    bias = torch.randn(sparse_linear.LEAST_WIDTH, generator=generator(2), dtype=torch.float64).requires_grad_()
    found = []
    for linear in (sparse_linear.sparse_gradient_encode, F.linear):
        cost = linear(x, weight, bias)[:, :features].square().sum()
        slopes = torch.autograd.grad(cost, (x, weight, bias), create_graph=True)
        total = sum(slope.square().sum() for slope in slopes)
        found.append(torch.autograd.grad(total, (x, weight, bias)))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_gradient_that_is_zero_here_may_not_be_beside() -> None:
    """What is skipped is zero; how it changes is not."""
    x = torch.randn(3, 4, generator=generator(), dtype=torch.float64)
    weight = torch.randn(sparse_linear.LEAST_WIDTH, 4, generator=generator(1), dtype=torch.float64).requires_grad_()
    gates = torch.zeros(sparse_linear.LEAST_WIDTH, dtype=torch.float64, requires_grad=True)
    features = sparse_linear.sparse_gradient_encode(
        x, weight, torch.zeros(sparse_linear.LEAST_WIDTH, dtype=torch.float64)
    )
    (slope,) = torch.autograd.grad((gates * features).sum(), weight, create_graph=True)
    (found,) = torch.autograd.grad(slope.sum(), gates)
    torch.testing.assert_close(found, x.sum().expand(sparse_linear.LEAST_WIDTH))


def test_few_latents_closed_latents_and_use_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("it was used")

    monkeypatch.setattr(dense, "sparse_decode", refuse)
    batch = Batch(torch.from_numpy(rows(5)))
    narrow = build(Recipe(Dense(()), TopK(30, 4)), rows()).double().train()
    narrow(batch)
    composition = wide(network=Dense(()))
    composition.set_progress(0.1, opening=0.5)
    forward = composition(batch)
    assert forward.code.kept is None and not forward.code.z[:, sparse_linear.LEAST_WIDTH // 2 :].any()
    composition.set_progress(1.0, opening=0.5)
    composition.eval()(batch)
    with pytest.raises(AssertionError, match="it was used"):
        composition.train()(batch)


def test_training_through_what_is_kept_finds_what_dense_training_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus import Autoencoder

    recipe = presets.top_k(sparse_linear.LEAST_WIDTH, k=2, epochs=2, batch_size=32, threads=1)
    costs = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(dense, "worthwhile", lambda *_: False)
            monkeypatch.setattr(dense, "sparse_gradient_encode", F.linear)
        history = Autoencoder(recipe, random_state=0).fit(rows(64)).history_
        costs.append(history["validation/reconstruction"])
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-3)
