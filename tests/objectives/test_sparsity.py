"""Sparse codes and their terms beside the papers' formulas, finite differences and a planted dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, presets
from isthmus.codes import BatchTopK, CodeSpec, Gated, JumpReLU, TopK
from isthmus.composition import Composition
from isthmus.networks import Dense
from isthmus.objectives import L0, Auxiliary, Gate, Objective, SquaredError, Term, WeightedTerm
from isthmus.recipe import Recipe, Training
from isthmus.schema import Batch
from isthmus.training import train
from tests.helpers import batch_of, build, generator, rows

LINEAR = Dense((), unit_decoder=True)


def compose(code: CodeSpec, *terms: Term, network: Dense = LINEAR) -> Composition:
    """Return the composition in double precision, calibrated."""
    objective = Objective(SquaredError("linear"), tuple(WeightedTerm(term) for term in terms))
    composition = build(Recipe(network, code, objective=objective, preprocessing="none"), rows())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch_of(rows()))
    return composition.double().train()


def batch(count: int = 20) -> Batch:
    return Batch(torch.from_numpy(rows(count)))


def kill(composition: Composition, *latents: int) -> None:
    """Make latents dead: too far down to be active, and counted as silent for long."""
    code: Any = composition.code
    with torch.no_grad():
        for latent in latents:
            composition.network.encoder[-1].bias[latent] -= 3.0  # type: ignore[index]
            code.rows_since_active[latent] = code.dead_after


def finite_difference(value: Any, parameter: Tensor, place: tuple[int, ...], step: float = 1e-6) -> float:
    with torch.no_grad():
        kept = parameter[place].item()
        parameter[place] = kept + step
        up = float(value())
        parameter[place] = kept - step
        down = float(value())
        parameter[place] = kept
    return (up - down) / (2 * step)


# ---- the auxiliary term -------------------------------------------------------------------------------------------


def test_auxiliary_is_the_squared_error_of_what_the_dead_latents_leave() -> None:
    composition = compose(TopK(12, 3), Auxiliary(k_aux=2))
    dead = [1, 4, 7]
    kill(composition, *dead)
    forward = composition(batch())
    assert forward.code.quantities["dead"][0].nonzero().flatten().tolist() == dead
    weight, bias = composition.network.decoder[0].weight, composition.network.decoder[0].bias
    left = forward.batch.x - (forward.code.z @ weight.t() + bias)
    value = Auxiliary(k_aux=2)(forward)
    for row in range(20):
        pre = forward.code.quantities["preactivations"][row]
        chosen = sorted(dead, key=lambda latent: -pre[latent].item())[:2]
        z_dead = torch.zeros(12, dtype=torch.float64)
        z_dead[chosen] = pre[chosen]
        assert value[row].item() == pytest.approx((left[row] - weight @ z_dead).square().sum().item(), rel=1e-10)


@pytest.mark.parametrize("network", [LINEAR, Dense((5,), "tanh"), Dense((5,), "tanh", unit_decoder=True)], ids=str)
@pytest.mark.parametrize("code", [TopK(12, 3), BatchTopK(12, 3), JumpReLU(12), Gated(12)], ids=lambda code: code.kind)
def test_auxiliary_has_the_gradient_of_finite_differences_in_the_encoder(code: CodeSpec, network: Dense) -> None:
    """Through the dead latents; a peer's (sparsify 1.3.3) had none, and nothing but the decoder learned from it."""
    composition = compose(code, Auxiliary(k_aux=2), network=network)
    dead = [1, 4, 7]
    kill(composition, *dead)
    last: Any = composition.network.encoder[-1]
    Auxiliary(k_aux=2)(composition(batch())).sum().backward()
    living = [latent for latent in range(12) if latent not in dead]
    assert not last.weight.grad[living].any() and not last.bias.grad[living].any(), "the living moved for the dead"

    def value() -> Tensor:
        return Auxiliary(k_aux=2)(composition(batch())).sum().detach()

    for latent in dead:
        assert last.weight.grad[latent].all()
        for place in range(last.weight.shape[1]):
            expected = finite_difference(value, last.weight, (latent, place))
            assert last.weight.grad[latent, place].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert last.bias.grad[latent].item() == pytest.approx(
            finite_difference(value, last.bias, (latent,)), rel=1e-5, abs=1e-7
        )


def test_auxiliary_moves_the_dead_columns_of_a_linear_decoder_only() -> None:
    composition = compose(TopK(12, 3), Auxiliary())
    kill(composition, 2, 9)
    output: Any = composition.network.decoder[0]
    Auxiliary()(composition(batch())).sum().backward()
    assert output.weight.grad.any(0).nonzero().flatten().tolist() == [2, 9]
    torch.testing.assert_close(output.bias.grad, torch.zeros_like(output.bias), atol=1e-12, rtol=0)
    for latent in (2, 9):
        expected = finite_difference(
            lambda: Auxiliary()(composition(batch())).sum().detach(), output.weight, (3, latent)
        )
        assert output.weight.grad[3, latent].item() == pytest.approx(expected, rel=1e-5)


def test_auxiliary_is_zero_while_no_latent_is_dead() -> None:
    composition = compose(TopK(12, 3), Auxiliary())
    forward = composition(batch())
    assert torch.equal(Auxiliary()(forward), torch.zeros(20, dtype=torch.float64))


@pytest.mark.parametrize("k_aux", [None, 1, 3, 50])
def test_auxiliary_takes_part_of_the_dead(k_aux: int | None) -> None:
    composition = compose(TopK(12, 1), Auxiliary(k_aux))
    kill(composition, *range(2, 10))
    forward = composition(batch())
    preactivations = forward.code.quantities["preactivations"]
    preactivations.retain_grad()
    Auxiliary(k_aux)(forward).sum().backward()
    expected = {None: 3, 50: 8}.get(k_aux, k_aux)  # half of six values; all that are dead
    assert ((preactivations.grad != 0).sum(1) == expected).all()


def dead_after_training(weight: float) -> tuple[int, float]:
    """Return how many of ten latents that were made dead are silent on the rows after a training, and its cost."""
    terms = (WeightedTerm(Auxiliary(), weight),) if weight else ()
    recipe = Recipe(LINEAR, TopK(24, 3, dead_after=256), None, Objective(SquaredError("linear"), terms))
    x = planted(512)[0]
    rows_ = Batch(torch.from_numpy(x.astype(np.float32)))
    composition = build(recipe, x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(rows_)
    kill(composition, *range(10))
    settings = Training(epochs=100, batch_size=64, patience=None, learning_rate=0.02, threads=1)
    train(composition, recipe.objective, settings, rows_)
    with torch.no_grad():
        forward = composition(rows_)
    return int((forward.code.z[:, :10] == 0).all(0).sum()), forward.reconstruction.mean().item()


def test_dead_latents_come_back_with_the_auxiliary_term_and_stay_dead_without() -> None:
    dead, cost = dead_after_training(0.0)
    assert dead == 10
    dead_with, cost_with = dead_after_training(1 / 32)
    assert dead_with <= 6 and cost_with < 0.7 * cost


# ---- thresholds ---------------------------------------------------------------------------------------------------


def test_jump_relu_has_the_papers_pseudo_derivatives() -> None:
    """Equations 11 and 12, entry by entry, and the usual gradient to the features."""
    bandwidth = 0.3
    code = JumpReLU(5, bandwidth, dead_after=10).build().double()
    with torch.no_grad():
        code.log_threshold.copy_(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.2], dtype=torch.float64).log())
    theta = code.log_threshold.detach().exp()
    f = 0.6 * torch.randn(30, 5, 2, generator=generator(), dtype=torch.float64)
    weigh = torch.randn(30, 5, 2, generator=generator(1), dtype=torch.float64)
    price = torch.randn(30, 1, generator=generator(2), dtype=torch.float64)
    features = f.clone().requires_grad_()
    output = code(features)
    assert torch.equal(output.z, torch.where(f > theta.view(5, 1), f, 0.0))
    assert torch.equal(output.quantities["l0"][:, 0], (f > theta.view(5, 1)).flatten(1).sum(1).double())
    (to_z,) = torch.autograd.grad((output.z * weigh).sum(), code.log_threshold, retain_graph=True)
    (to_l0,) = torch.autograd.grad((output.quantities["l0"] * price).sum(), code.log_threshold, retain_graph=True)
    expected_z, expected_l0, hits = np.zeros(5), np.zeros(5), 0
    for row, latent, place in np.ndindex(30, 5, 2):
        t = theta[latent].item()
        inside = abs((f[row, latent, place].item() - t) / bandwidth) < 0.5
        hits += inside
        expected_z[latent] += -t / bandwidth * inside * weigh[row, latent, place].item() * t  # the last t: of the log
        expected_l0[latent] += -1.0 / bandwidth * inside * price[row, 0].item() * t
    assert hits > 20
    np.testing.assert_allclose(to_z.numpy(), expected_z, rtol=1e-10)
    np.testing.assert_allclose(to_l0.numpy(), expected_l0, rtol=1e-10)
    (to_features,) = torch.autograd.grad((output.z * weigh).sum(), features)
    assert torch.equal(to_features, weigh * (f > theta.view(5, 1)))
    assert not torch.autograd.grad(code(features).quantities["l0"].sum(), features, allow_unused=True)[0]


def test_jump_relu_thresholds_follow_the_expected_loss() -> None:
    """Over many rows, the pseudo-derivative of the mean l0 is the derivative that the mean really has."""
    code = JumpReLU(1, bandwidth=0.1, threshold=0.4, dead_after=10).build().double()
    f = torch.randn(400_000, 1, generator=generator(), dtype=torch.float64)
    code(f).quantities["l0"].mean().backward()
    density = np.exp(-0.5 * 0.4**2) / np.sqrt(2 * np.pi)
    assert code.log_threshold.grad.item() == pytest.approx(-density * 0.4, rel=0.02)


def test_jump_relu_thresholds_move_in_training() -> None:
    """A peer's never did (SAELens#494). A higher price for a latent makes higher thresholds, and fewer latents."""
    found = []
    for weight in (0.0, 0.01, 0.1):
        recipe = presets.jump_relu(12, weight=weight, epochs=20, batch_size=32, learning_rate=0.02, patience=None)
        model = Autoencoder(recipe, random_state=0).fit(rows(256))
        code: Any = model.composition_.code
        threshold = code.log_threshold.detach().exp()
        assert ((threshold - 0.1).abs() > 1e-4).all(), "a threshold did not move"
        found.append((threshold.mean().item(), (model.transform(rows(256)) != 0).sum(1).mean()))
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] > found[1][1] > found[2][1]


def test_l0_is_a_sum_over_latents_in_nats() -> None:
    composition = compose(JumpReLU(12), L0())
    forward = composition(batch())
    assert torch.equal(L0()(forward), (forward.code.z != 0).sum(1).double())


# ---- gates --------------------------------------------------------------------------------------------------------


def gated() -> Composition:
    composition = compose(Gated(12), Gate(0.3), network=Dense((5,), "tanh", unit_decoder=True))
    code: Any = composition.code
    with torch.no_grad():
        code.log_scale.copy_(0.5 * torch.randn(12, generator=generator(3)))
        code.bias.copy_(0.3 * torch.randn(12, generator=generator(4)))
    return composition


def test_gated_is_a_gate_times_a_magnitude() -> None:
    composition = gated()
    code: Any = composition.code
    f = composition.network.encode(batch())
    magnitude = f * code.log_scale.exp() + code.bias
    expected = (f > 0).double() * magnitude.clamp_min(0.0)
    output = code(f)
    torch.testing.assert_close(output.z, expected)
    assert torch.equal(output.quantities["gate"], f)
    assert 0 < (output.z != 0).sum() < (f > 0).sum(), "some magnitude is negative behind an open gate"


def test_gate_term_is_its_formula_and_leaves_the_decoder_alone() -> None:
    composition = gated()
    forward = composition(batch())
    gate = forward.code.quantities["gate"]
    gate.retain_grad()
    value = Gate(0.3)(forward)

    def explicit(gate: Tensor) -> Tensor:
        opened = gate.clamp_min(0.0)
        rebuilt = composition.decode(opened, batch()).squeeze(1)
        return 0.3 * opened.sum(1) + (batch().x - rebuilt).square().sum(1)

    torch.testing.assert_close(value, explicit(gate))
    with torch.no_grad():
        torch.testing.assert_close(Gate(0.3)(composition(batch())), value.detach())
    (3.0 * value).mean().backward()
    assert all(p.grad is None or not p.grad.any() for p in composition.network.decoder.parameters())
    assert all(p.grad.any() for p in composition.network.encoder.parameters())
    free = gate.detach().clone().requires_grad_()
    (3.0 * explicit(free)).mean().backward()
    torch.testing.assert_close(gate.grad, free.grad)
    numeric = finite_difference(lambda: 3.0 * explicit(free.detach()).mean(), free.data, (4, 2))
    assert gate.grad[4, 2].item() == pytest.approx(numeric, rel=1e-5, abs=1e-9)


# ---- a planted dictionary -----------------------------------------------------------------------------------------


def planted(count: int = 3000, atoms: int = 20, columns: int = 16, active: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return rows that are sums of three of twenty directions, and the directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((atoms, columns))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = np.zeros((count, atoms))
    for row in weights:
        row[rng.choice(atoms, active, replace=False)] = rng.uniform(0.5, 1.5, active)
    return weights @ directions + 0.01 * rng.standard_normal((count, columns)), directions


@pytest.mark.parametrize("preset", ["top_k", pytest.param("batch_top_k", marks=pytest.mark.slow)])
def test_a_planted_dictionary_is_found(preset: str) -> None:
    x, directions = planted()
    settings = {"preprocessing": "none", "epochs": 30, "batch_size": 128, "threads": 1}
    model = Autoencoder(presets.PRESETS[preset](latent_dim=32, k=3, **settings), random_state=0).fit(x)
    columns = model.composition_.network.decoder[0].weight.detach().numpy()
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1.0, rtol=1e-5)
    best = (directions @ columns).max(1)
    assert best.mean() > 0.9
