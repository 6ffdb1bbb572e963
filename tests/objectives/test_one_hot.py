"""One-hot choices against torch's own categorical distribution and cross-entropy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import OneHotCategorical

from isthmus.errors import RecipeError
from isthmus.objectives import Bernoulli, Mixed, OneHot, Reconstruction
from isthmus.recipe import Recipe
from isthmus.schema import Schema
from tests.helpers import generator

ROWS = 5
SIZES = (3, 1, 4, 3, 2)
STEPS = (4, 3)  # steps of a text and its symbols


def logits_of(row: tuple[int, ...], seed: int = 0) -> Tensor:
    return 2.0 * torch.randn(ROWS, 1, *row, generator=generator(seed), dtype=torch.float64)


def choices(sizes: tuple[int, ...], count: int = ROWS, seed: int = 1) -> Tensor:
    drawn = [F.one_hot(torch.randint(n, (count,), generator=generator(seed + i)), n) for i, n in enumerate(sizes)]
    return torch.cat(drawn, 1).double()


def slow_cost(sizes: tuple[int, ...], logits: Tensor, x: Tensor) -> Tensor:
    groups = zip(logits.flatten(1).split(sizes, 1), x.flatten(1).split(sizes, 1), strict=True)
    return torch.stack([-OneHotCategorical(logits=group).log_prob(chosen) for group, chosen in groups]).sum(0)


@pytest.mark.parametrize(
    ("spec", "row", "sizes"),
    [
        (OneHot(SIZES), (13,), SIZES),
        (OneHot((2, 4)), (12,), (2, 4, 2, 4)),
        (OneHot((3,)), STEPS, (3, 3, 3, 3)),
        (OneHot(), STEPS, (3, 3, 3, 3)),
        (OneHot(), (2, 2, 3), (3, 3, 3, 3)),
        (OneHot(), (6,), (6,)),
        (OneHot((4, 2)), (2, 3), (4, 2)),  # groups need not end with an axis
    ],
    ids=repr,
)
def test_cost_is_that_of_one_categorical_for_each_group(
    spec: OneHot, row: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    likelihood, logits, x = spec.build(row), logits_of(row), choices(sizes).view(ROWS, *row)
    torch.testing.assert_close(likelihood.cost(logits, x, None), slow_cost(sizes, logits, x))
    mean = likelihood.mean(logits)
    expected = [F.softmax(group, 1) for group in logits.flatten(1).split(sizes, 1)]
    torch.testing.assert_close(mean, torch.cat(expected, 1).view(ROWS, *row))


def test_cost_of_text_is_the_cross_entropy_of_its_symbols() -> None:
    logits, ids = logits_of(STEPS), torch.randint(3, (ROWS, 4), generator=generator(2))
    cost = OneHot().build(STEPS).cost(logits, F.one_hot(ids, 3).double(), None)
    torch.testing.assert_close(cost, F.cross_entropy(logits[:, 0].movedim(2, 1), ids, reduction="none").sum(1))


def test_a_distribution_costs_its_cross_entropy() -> None:
    logits, target = logits_of((4,)), F.softmax(logits_of((4,), 3)[:, 0], 1)
    cost = OneHot().build((4,)).cost(logits, target, None)
    torch.testing.assert_close(cost, F.cross_entropy(logits[:, 0], target, reduction="none"))


def test_padded_steps_count_nothing() -> None:
    logits = logits_of(STEPS).requires_grad_()
    x = choices((3,) * 4).view(ROWS, *STEPS)
    mask = (torch.arange(4) < torch.tensor([0, 1, 2, 3, 4])[:, None]).unsqueeze(2).expand(ROWS, *STEPS)
    likelihood = OneHot().build(STEPS)
    cost = likelihood.cost(logits, x, mask)
    for row in range(ROWS):
        seen = logits[row : row + 1, :, :row], x[row : row + 1, :row]
        expected = slow_cost((3,) * row, *seen)[0] if row else torch.zeros(()).double()
        torch.testing.assert_close(cost[row], expected)
    (gradient,) = torch.autograd.grad(cost.sum(), logits)
    assert (gradient[:, 0][~mask] == 0).all() and (gradient[:, 0][mask] != 0).all()


@pytest.mark.parametrize("sizes", [(3,), (2, 1, 3)])
def test_gradients_are_those_of_finite_differences(sizes: tuple[int, ...]) -> None:
    likelihood, x = OneHot(sizes).build((6,)), torch.rand(ROWS, 6, generator=generator(4), dtype=torch.float64)
    weight = torch.rand(ROWS, 6, generator=generator(5), dtype=torch.float64)
    logits = logits_of((6,)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: likelihood.cost(given, x, None), (logits,))
    assert torch.autograd.gradcheck(lambda given: (likelihood.mean(given) * weight).sum(), (logits,))


@pytest.mark.parametrize("sizes", [(3,), (2, 1, 3)])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_keep_their_digits_in_float32(sizes: tuple[int, ...], size: float) -> None:
    likelihood, pattern = OneHot(sizes).build((6,)), torch.tensor([1.0, 0.5, 0.0, -1.0, 1.0, 0.25])
    logits = (size * pattern).view(1, 1, 6).requires_grad_()
    x = choices(sizes * (6 // sum(sizes)), 1)
    cost = likelihood.cost(logits, x.float(), None)
    expected = slow_cost(sizes * (6 // sum(sizes)), logits.detach().double(), x)
    torch.testing.assert_close(cost.double().detach(), expected, rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(cost.sum(), logits)
    assert torch.isfinite(gradient).all() and torch.isfinite(likelihood.mean(logits)).all()


def test_draws_are_choices_with_the_probabilities() -> None:
    likelihood, count = OneHot((3, 1, 4)).build((8,)), 20_000
    logits = logits_of((8,))[:1].expand(count, 1, 8)
    drawn = likelihood.draw(logits, generator())
    assert torch.equal(drawn, likelihood.draw(logits, generator()))
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and likelihood.inside(drawn).all()
    for group in drawn.split((3, 1, 4), 1):
        assert (group.sum(1) == 1).all()
    p = likelihood.mean(logits)[0]
    assert ((drawn.mean(0) - p).abs() < 4.5 * (p * (1 - p) / count).sqrt() + 1e-12).all()
    # Groups are drawn independently of each other.
    both = (drawn[:, 0] * drawn[:, 4]).mean()
    assert (both - p[0] * p[4]).abs() < 4.5 * (p[0] * p[4] / count).sqrt()


def test_probabilities_of_all_rows_sum_to_one() -> None:
    likelihood = OneHot((3, 2)).build((5,))
    x = torch.cat([torch.eye(3).repeat_interleave(2, 0), torch.eye(2).repeat(3, 1)], 1).double()
    cost = likelihood.cost(logits_of((5,))[:1].expand(6, 1, 5), x, None)
    assert torch.exp(-cost).sum().item() == pytest.approx(1.0, abs=1e-12)


def test_output_bias_of_a_category_that_never_comes_is_finite_and_unlikely() -> None:
    likelihood = OneHot().build((3,))
    bias = likelihood.output_bias(torch.tensor([0.25, 0.75, 0.0]), torch.zeros(3))
    assert torch.isfinite(bias).all()
    torch.testing.assert_close(
        likelihood.mean(bias.unsqueeze(0))[0], torch.tensor([0.25, 0.75, 0.0]), atol=2e-4, rtol=0
    )


def test_groups_are_found_in_the_data_and_stand_in_the_recipe() -> None:
    x = choices((3,) * 4, 64).view(64, *STEPS).numpy()
    resolved = Recipe(objective=Reconstruction(OneHot())).resolve(Schema.of(x), len(x))
    assert resolved.likelihood == OneHot((3,)) and resolved.preprocessing == "unit"
    for likelihood in (OneHot(), OneHot((3,)), OneHot((3, 70, 11))):
        recipe = Recipe(objective=Reconstruction(likelihood))
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_choices_stand_beside_other_columns() -> None:
    spec = Mixed((((0, 3), Bernoulli()), ((1, 2, 4, 5, 6), OneHot((2, 3)))))
    x, logits = choices((1, 2, 1, 3)), logits_of((7,))
    x = x[:, [0, 1, 2, 3, 4, 5, 6]]
    cost = spec.build((7,)).cost(logits, x, None)
    bits = F.binary_cross_entropy_with_logits(logits[:, 0, [0, 3]], x[:, [0, 3]], reduction="none").sum(1)
    torch.testing.assert_close(cost, bits + slow_cost((2, 3), logits[..., [1, 2, 4, 5, 6]], x[:, [1, 2, 4, 5, 6]]))
    assert spec.provides == {"expectation"}


@pytest.mark.parametrize("sizes", [(), "all", 3, (0,), (2, -1), (2.0,), (True,), None, ((2,),)], ids=repr)
def test_sizes_that_are_none(sizes: Any) -> None:
    with pytest.raises(
        RecipeError,
        match=r"likelihood\.sizes: expected (the number of values in each group|an integer of at least 1).*; try",
    ):
        OneHot(sizes)


def test_groups_that_do_not_fill_the_row() -> None:
    x = np.eye(7)
    message = "expected groups that fill rows of 7 values, got groups of 3 values together; try sizes"
    with pytest.raises(RecipeError, match=message):
        Recipe(objective=Reconstruction(OneHot((1, 2)))).resolve(Schema.of(x), len(x))
    with pytest.raises(RecipeError, match=message):
        OneHot((3,)).build((7,))
    with pytest.raises(RecipeError, match="'one_hot' cannot hold the data"):
        Recipe(objective=Reconstruction(OneHot()), preprocessing="none").resolve(Schema.of(3 * x), len(x))
