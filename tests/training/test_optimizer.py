"""The fused, flattened optimiser beside plain torch, and its learning rate beside the formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from isthmus.recipe import Training
from isthmus.training.optimizer import FlatParameters, Optimizer
from tests.helpers import generator

STEPS = 40


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 3, bias=False), nn.Linear(3, 1))


def data(step: int) -> torch.Tensor:
    # one step in ten has a gradient far above the average, which is clipped
    return torch.randn(16, 5, generator=generator(step)) * (20.0 if step % 10 == 7 else 1.0)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    x = data(step)
    return (model(x).squeeze(1) - x.sum(1)).square().mean()


def plain_rate(settings: Training, step: int, steps: int) -> float:
    """The docstring of `Training` in numbers."""
    warmup = min(settings.warmup_steps, steps // 4)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "linear":  # stays, then falls to zero over the last two fifths
        start = 0.6 * steps
        return settings.learning_rate * (1.0 if step < start else 1.0 - (step - start) / (0.4 * steps))
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    return settings.learning_rate


def plain_loop(settings: Training) -> tuple[nn.Module, list[float]]:
    """AdamW on separate tensors; weights of matrices decay, the others do not; clipped by the running average."""
    model = network()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=1.0, betas=settings.betas, eps=1e-8, foreach=False, fused=False)
    average, norms = None, []
    for step in range(STEPS):
        adam.zero_grad()
        loss_of(model, step).backward()
        gradients = [p.grad for p in model.parameters()]
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        norms.append(norm)
        if settings.clip is not None:
            limit = norm if average is None else settings.clip * average
            used = min(norm, limit)
            for gradient in gradients:
                gradient *= used / norm
            average = norm if average is None else 0.95 * average + 0.05 * used
        for group in adam.param_groups:
            group["lr"] = plain_rate(settings, step, STEPS)
        adam.step()
    return model, norms


SETTINGS = [
    Training(),
    Training(weight_decay=0.1),
    Training(clip=None),
    Training(clip=1.0, betas=(0.8, 0.999)),
    Training(weight_decay=0.3, clip=3.0, schedule="cosine", warmup_steps=7),
    Training(schedule="constant", warmup_steps=0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.schedule}-{s.weight_decay}-{s.clip}")
def test_flat_fused_adam_is_plain_adam(settings: Training) -> None:
    model = network()
    optimiser = Optimizer(list(model.parameters()), settings, STEPS)
    norms = []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss_of(model, step).backward()
        norms.append(optimiser.step(step).item())
    expected, expected_norms = plain_loop(settings)
    assert norms == pytest.approx(expected_norms, rel=1e-3)
    if settings.clip is not None:
        assert max(norms) > 3 * settings.clip * sorted(norms)[STEPS // 2]  # there was something to clip
    moved = [(p - q).abs().max().item() for p, q in zip(model.parameters(), network().parameters(), strict=True)]
    assert min(moved) > 0.005
    for got, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 10, 1000])
@pytest.mark.parametrize("steps", [1, 3, 100])
def test_learning_rate_follows_its_formula(schedule: str, warmup: int, steps: int) -> None:
    settings = Training(schedule=schedule, warmup_steps=warmup, learning_rate=0.5)
    optimiser = Optimizer(list(network().parameters()), settings, steps)
    rates = [optimiser.rate(step) for step in range(steps)]
    assert rates == pytest.approx([plain_rate(settings, step, steps) for step in range(steps)], rel=1e-9, abs=1e-12)
    assert all(0 < rate <= 0.5 for rate in rates)
    assert schedule != "constant" or rates[-1] == 0.5
    optimiser.rate_scale = 0.1
    assert [optimiser.rate(step) for step in range(steps)] == pytest.approx([0.1 * rate for rate in rates])


def test_parameters_are_views_of_one_buffer_and_are_released() -> None:
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    flat = FlatParameters(list(model.parameters()))
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.untyped_storage().data_ptr() == flat.values.untyped_storage().data_ptr()
        assert parameter.grad.untyped_storage().data_ptr() == flat.gradients.untyped_storage().data_ptr()
        assert parameter.data_ptr() % 64 == flat.values.data_ptr() % 64
    matrices = sum(p.numel() for p in model.parameters() if p.ndim >= 2)
    assert matrices <= flat.matrices < len(flat.values)
    with torch.no_grad():
        flat.values.add_(1.0)
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value + 1.0)
    flat.release()
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value + 1.0) and parameter.grad is None
        assert parameter.untyped_storage().nbytes() == parameter.numel() * 4


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_weights_decay_and_biases_do_not(decay: float) -> None:
    """With no gradient AdamW does nothing but decay."""
    model = nn.Linear(3, 2)
    before = [p.detach().clone() for p in model.parameters()]
    optimiser = Optimizer(list(model.parameters()), Training(weight_decay=decay, learning_rate=0.5), 10)
    optimiser.zero_grad()
    optimiser.step(4)
    kept = 1.0 - optimiser.rate(4) * decay
    torch.testing.assert_close(model.weight.detach(), before[0] * kept)
    torch.testing.assert_close(model.bias.detach(), before[1])


def test_an_owner_of_nothing_but_vectors_does_not_decay() -> None:
    vector = nn.Parameter(torch.ones(3))
    optimiser = Optimizer([vector], Training(weight_decay=0.5, learning_rate=0.5), 10)
    optimiser.zero_grad()
    optimiser.step(4)
    assert vector.tolist() == [1.0, 1.0, 1.0]


def test_state_goes_on_where_it_was() -> None:
    settings: Any = Training(weight_decay=0.1)
    straight = network()
    one = Optimizer(list(straight.parameters()), settings, STEPS)
    for step in range(20):
        one.zero_grad()
        loss_of(straight, step).backward()
        one.step(step)
        if step == 9:
            state = {name: value.clone() for name, value in one.state().items()}
            average = one.norm_average
    resumed = network()
    other = Optimizer(list(resumed.parameters()), settings, STEPS)
    other.load_state(state)
    other.norm_average = average
    for step in range(10, 20):
        other.zero_grad()
        loss_of(resumed, step).backward()
        other.step(step)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_gradient_that_is_not_finite_leaves_the_average_alone() -> None:
    model = network()
    optimiser = Optimizer(list(model.parameters()), Training(), STEPS)
    loss_of(model, 0).backward()
    optimiser.step(0)
    average = optimiser.norm_average
    assert average > 0
    optimiser.flat.gradients.fill_(float("nan"))
    optimiser.step(1)
    assert optimiser.norm_average == average
