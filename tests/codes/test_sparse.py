"""The sparse codes: what they keep, what they count, and what they are refused for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus.codes import BatchTopK, CodeSpec, Draw, Gated, JumpReLU, TopK
from isthmus.codes.sparse import SparseCode
from isthmus.errors import RecipeError
from isthmus.objectives import Contraction, Objective
from isthmus.recipe import Recipe
from isthmus.schema import Schema
from tests.helpers import generator, rows

SPARSE: list[CodeSpec] = [TopK(12, 3), BatchTopK(12, 3), JumpReLU(12), Gated(12)]


def features(count: int = 40, latents: int = 12, positions: tuple[int, ...] = (), seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(count, latents, *positions, generator=generator(seed))


def code_of(spec: CodeSpec, dead_after: int = 100) -> Any:
    return spec.resolve((6,), dead_after).build()


# ---- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, -10.0, 10.0])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_a_top_k_code_has_exactly_k_non_zeros(k: int, training: bool, shift: float) -> None:
    """Also where fewer than k features are positive."""
    output = code_of(TopK(12, k)).train(training)(features() + shift)
    assert ((output.z != 0).sum(1) == k).all()
    assert (output.quantities["l0"] == k).all()


def test_top_k_keeps_the_k_largest_of_each_row_and_position() -> None:
    f = features(5, 12, (2, 3))
    z = code_of(TopK(12, 4))(f).z.numpy()
    for row in range(5):
        for place in np.ndindex(2, 3):
            values = f[(row, slice(None), *place)].numpy()
            kept = np.argsort(-values)[:4]
            expected = np.zeros(12, np.float32)
            expected[kept] = values[kept]
            np.testing.assert_array_equal(z[(row, slice(None), *place)], expected)
    assert torch.equal(code_of(TopK(12, 4))(f).quantities["l0"], torch.full((5, 1), 24.0))


def test_top_k_of_equal_features_keeps_k_of_them() -> None:
    z = code_of(TopK(12, 3))(torch.ones(2, 12)).z
    assert (z.sum(1) == 3).all() and torch.equal(z[0], z[1])


def test_batch_top_k_keeps_the_largest_of_the_batch_in_training() -> None:
    f = features(20) * torch.linspace(0.1, 2.0, 20)[:, None]
    output = code_of(BatchTopK(12, 3)).train()(f)
    kept = f >= f.flatten().sort(descending=True).values[3 * 20 - 1]
    assert torch.equal(output.z, f * kept)
    l0 = output.quantities["l0"]
    assert l0.sum() == 60 and l0.min() < 3 < l0.max()


def test_batch_top_k_threshold_averages_the_smallest_kept_values() -> None:
    code = code_of(BatchTopK(12, 3)).train()
    with torch.no_grad():
        code.initialise(features(), features())
        expected = features().flatten().sort(descending=True).values[3 * 40 - 1].double()
        assert code.threshold.item() == pytest.approx(expected.item(), rel=1e-6)
        code(features(seed=50))
    assert code.threshold.item() == pytest.approx(expected.item(), rel=1e-6), "a pass without gradients is no training"
    for seed in range(1, 30):
        f = features(seed=seed).requires_grad_()
        code(f, Draw())
        expected = 0.99 * expected + 0.01 * f.detach().flatten().sort(descending=True).values[3 * 40 - 1]
    assert code.threshold.item() == pytest.approx(expected.item(), rel=1e-5)
    code.eval()(features(seed=99))
    assert code.threshold.item() == pytest.approx(expected.item(), rel=1e-5)


def test_batch_top_k_has_k_latents_on_average_outside_training_and_rows_are_alone() -> None:
    code = code_of(BatchTopK(64, 5)).train()
    with torch.no_grad():
        code.initialise(features(200, 64), features(200, 64))
    for seed in range(200):
        code(features(100, 64, seed=seed).requires_grad_(), Draw())
    fresh = features(4000, 64, seed=1000)
    whole = code.eval()(fresh)
    assert whole.quantities["l0"].mean().item() == pytest.approx(5.0, rel=0.03)
    assert torch.equal(code(fresh[17:18]).z, whole.z[17:18])
    assert torch.equal(whole.z, fresh * (fresh >= code.threshold))


def test_batch_top_k_takes_independent_rows_away() -> None:
    """The Jacobian of a row is then no longer what the gradient of a batch's sum gives."""
    with pytest.raises(RecipeError, match=r"'contraction' needs 'independent_rows'.*reads each row alone"):
        Recipe(code=BatchTopK(12, 3), objective=Objective() + 1.0 * Contraction())
    Recipe(code=TopK(12, 3), objective=Objective() + 1.0 * Contraction())


@pytest.mark.parametrize("spec", SPARSE, ids=lambda spec: spec.kind)
def test_several_samples_are_the_same(spec: CodeSpec) -> None:
    output = code_of(spec).eval()(features(), Draw(3))
    assert output.z.shape == (3, 40, 12) and (output.z == output.mean).all()
    assert code_of(spec).prior((2, 12)) is None


# ---- what is counted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [(), (2,)])
@pytest.mark.parametrize("spec", SPARSE, ids=lambda spec: spec.kind)
def test_rows_are_counted_since_each_latent_was_last_active(spec: CodeSpec, positions: tuple[int, ...]) -> None:
    code: SparseCode = code_of(spec, dead_after=70).train()
    expected = np.zeros(12, int)
    for seed, count in enumerate([30, 20, 40, 10]):
        f = features(count, 12, positions, seed) - 0.6 * torch.arange(12.0).view(-1, *[1] * len(positions))
        if seed == 2:
            f[:, 5] += 20.0  # one comes back
        output = code(f.requires_grad_(), Draw())
        for latent in range(12):
            active = bool((output.z[:, latent] != 0).any())
            expected[latent] = 0 if active else expected[latent] + count
        assert code.rows_since_active.tolist() == expected.tolist()
        dead = output.quantities["dead"]
        assert dead.shape == output.z.shape
        assert dead.transpose(0, 1).flatten(1).all(1).tolist() == (expected >= 70).tolist()
        assert dead.transpose(0, 1).flatten(1).any(1).tolist() == (expected >= 70).tolist()
    assert 0 < (expected >= 70).sum() < 12 and expected[5] < expected[6]


@pytest.mark.parametrize("spec", SPARSE, ids=lambda spec: spec.kind)
def test_counts_stand_still_outside_training(spec: CodeSpec) -> None:
    code = code_of(spec)
    silent = torch.full((10, 12), -5.0) - torch.arange(12.0)
    code.train()(silent.clone().requires_grad_(), Draw())
    before = code.rows_since_active.clone()
    assert before.any()
    code.eval()(silent)
    with torch.no_grad():
        code.train()(silent)
    assert torch.equal(code.rows_since_active, before)


def test_a_latent_that_is_kept_and_zero_is_not_active() -> None:
    code = code_of(TopK(12, 3)).train()
    output = code(torch.zeros(10, 12, requires_grad=True), Draw())
    assert (code.rows_since_active == 10).all() and not output.quantities["l0"].any()


# ---- descriptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [TopK(), BatchTopK(), JumpReLU(), Gated()], ids=lambda spec: spec.kind)
def test_auto_is_overcomplete(spec: Any) -> None:
    small, large = spec.resolve((2, 3), 1000), spec.resolve((28, 28), 60_000)
    assert (small.latent_dim, large.latent_dim) == (24, 3136)
    assert spec.resolve((2000,), 10).latent_dim == 4096
    assert (small.dead_after, large.dead_after) == (1000, 60_000)
    assert spec.resolve((2,), 10**9).dead_after == 10_000_000
    assert large.features() == 3136
    if hasattr(spec, "k"):
        assert (small.k, large.k, spec.resolve((1,), 10).k) == (1, 32, 1)


@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_k_is_at_most_the_number_of_latents(kind: Any) -> None:
    with pytest.raises(RecipeError, match=r"code\.k: expected at most as many as there are latents, 4, got 5; try"):
        kind(4, 5)
    x = rows()
    with pytest.raises(RecipeError, match="there are latents, 24"):
        Recipe(code=kind(k=25)).resolve(Schema.of(x), len(x))
