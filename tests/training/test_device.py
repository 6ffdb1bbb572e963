"""Which device computes, and the branches that only a GPU takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, load, presets
from isthmus.errors import RecipeError
from isthmus.networks.sparse_linear import LEAST_WIDTH, sparse_gradient_encode, worthwhile
from isthmus.recipe import Training
from isthmus.training import device as devices
from isthmus.training.optimizer import Optimizer
from tests.helpers import generator, rows

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]
on_gpu = pytest.mark.parametrize("name", [pytest.param("cuda:0", marks=gpu)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_device_that_is_not_here_is_refused_and_auto_takes_the_cpu() -> None:
    assert devices.choose_device("auto") == torch.device("cpu")
    with pytest.raises(RecipeError, match=r"training\.device: expected a device that is here \(cpu.*got 'cuda:0'; try"):
        devices.choose_device("cuda:0")


@on_gpu
def test_mixed_precision_multiplies_in_bfloat16_and_keeps_float32_weights(name: str) -> None:
    a = torch.ones(4, 4, device=name)
    for precision, expected in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with devices.autocast(Training(precision=precision), torch.device(name)):
            assert (a @ a).dtype == expected
    x = rows(256)
    found = {}
    for precision in ("float32", "bfloat16"):
        settings: dict[str, Any] = {"device": name, "precision": precision, "epochs": 20}
        model = Autoencoder(presets.autoencoder(latent_dim=2, **settings), random_state=0).fit(x)
        assert {p.dtype for p in model.composition_.parameters()} == {torch.float32}
        losses = model.history_["train/total"]
        assert losses[-1] < 0.9 * losses[0]
        found[precision] = model.reconstruct(x)
    assert not np.array_equal(found["float32"], found["bfloat16"])
    np.testing.assert_allclose(found["float32"], found["bfloat16"], atol=0.2)


@on_gpu
def test_the_optimizer_steps_as_on_a_cpu_and_clips_by_the_last_average_that_it_was_told(name: str) -> None:
    settings = Training(clip=2.0, weight_decay=0.1, warmup_steps=0)
    found = []
    for place in ("cpu", name):
        weights = [torch.nn.Parameter(torch.full((3, 2), 0.5, device=place))]
        optimizer = Optimizer(weights, settings, steps=4)
        optimizer.norm_average = 1.0
        for step, size in enumerate((0.1, 50.0)):  # the second is clipped
            optimizer.flat.gradients.fill_(size)
            optimizer.step(step)
        found.append((optimizer, weights[0].detach().cpu()))
    (on_cpu, expected), (there, got) = found
    assert on_cpu.norm_average != 1.0 and there.norm_average == 1.0  # reading it would wait for the device
    torch.testing.assert_close(got, expected, rtol=0.01, atol=1e-4)
    assert float(torch.linalg.vector_norm(there.flat.gradients)) == pytest.approx(2.0, rel=1e-4)
    there.settle(3.0)
    on_cpu.settle(3.0)
    assert there.norm_average == 3.0 != on_cpu.norm_average


@on_gpu
def test_a_resumed_run_draws_what_the_run_would_have_drawn(name: str) -> None:
    device = torch.device(name)
    before = torch.cuda.get_rng_state(device)
    with devices.seeded(7, device):
        state = devices.generator_state(device)
        first = torch.randn(5, device=device)
        assert not torch.equal(torch.randn(5, device=device), first)
        devices.set_generator_state(state, device)
        assert torch.equal(torch.randn(5, device=device), first)
    assert torch.equal(torch.cuda.get_rng_state(device), before)


@on_gpu
def test_sparse_sums_are_left_to_the_cpu_and_both_give_the_same_gradients(name: str) -> None:
    x, gradient = torch.randn(8, 6, generator=generator(1)), torch.zeros(8, LEAST_WIDTH)
    gradient[torch.arange(8), torch.arange(8) * 5] = 1.0
    found = []
    for place in ("cpu", name):
        # A leaf of its own on each device.
        weight = torch.randn(LEAST_WIDTH, 6, generator=generator(2)).to(place).requires_grad_()
        bias = torch.zeros(LEAST_WIDTH, device=place, requires_grad=True)
        sparse_gradient_encode(x.to(place), weight, bias).backward(gradient.to(place))
        assert weight.grad is not None and bias.grad is not None
        found.append((weight.grad.cpu(), bias.grad.cpu()))
        kept = torch.zeros(8, 4, dtype=torch.long, device=place)
        assert worthwhile(kept, torch.zeros(3, LEAST_WIDTH, device=place)) == (place == "cpu")
    for on_cpu, there in zip(*found, strict=True):
        torch.testing.assert_close(there, on_cpu)


@on_gpu
def test_a_model_trained_there_says_the_same_alone_and_nearly_the_same_on_a_cpu(name: str, tmp_path: Path) -> None:
    x = rows(300)
    model = Autoencoder(presets.vae(latent_dim=2, device=name, epochs=3), random_state=0).fit(x)
    assert next(model.composition_.parameters()).device == torch.device(name)
    scores = model.score_samples(x)
    np.testing.assert_array_equal(model.score_samples(x[5:6]), scores[5:6])
    np.testing.assert_array_equal(model.transform(x[::-1])[::-1], model.transform(x))
    again = load(model.save(tmp_path / "model"))
    again.composition_.to("cpu")
    np.testing.assert_allclose(again.score_samples(x), scores, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(again.reconstruct(x), model.reconstruct(x), rtol=1e-3, atol=1e-3)
