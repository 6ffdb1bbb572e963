"""Quantised codes against brute force, explicit formulas and sampling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, presets
from isthmus.codes import FSQ, CodeSpec, VectorQuantised, VectorQuantisedCode
from isthmus.codes.base import Draw
from isthmus.errors import RecipeError
from isthmus.objectives import Commitment
from tests.helpers import Latents, draw, forward_of, generator, rows


def built(spec: CodeSpec, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


# ---- vector quantisation -------------------------------------------------------------------------------------------


def brute_force(code: VectorQuantisedCode, h: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise `(rows, latent, *positions)` by loops."""
    flat = h.reshape(*h.shape[:2], -1)
    z, indices = torch.empty_like(flat), torch.empty(len(h), code.groups, flat.shape[2], dtype=torch.long)
    values = code.latent_dim // code.groups
    for row in range(len(h)):
        for position in range(flat.shape[2]):
            for group in range(code.groups):
                part = slice(group * values, (group + 1) * values)
                distances = [(flat[row, part, position] - entry).square().sum() for entry in code.codebook[group]]
                best = int(np.argmin(distances))
                indices[row, group, position] = best
                z[row, part, position] = code.codebook[group, best]
    return z.view(h.shape), indices.view(len(h), code.groups, *h.shape[2:])


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("positions", [(), (4,), (2, 3)])
def test_the_latent_is_the_nearest_entry(groups: int, positions: tuple[int, ...]) -> None:
    code = built(VectorQuantised(6, 7, groups)).eval()
    h = 0.5 * normal(5, 6, *positions, seed=1)
    output = code(h)
    z, indices = brute_force(code, h)
    assert torch.equal(output.z, z) and torch.equal(output.mean, z)
    assert torch.equal(output.indices, indices)
    assert output.posterior is None and output.prior is None
    again = code(output.z)
    assert torch.equal(again.z, output.z) and torch.equal(again.indices, output.indices)
    many = code(h, draw(3))
    assert many.z.shape == (3, *h.shape) and (many.z == z).all()


def test_gradient_goes_straight_through_and_commitment_pulls_features_only() -> None:
    code = built(VectorQuantised(4, 8, 2)).train()
    h = normal(5, 4, 3).requires_grad_()
    output = code(h, Draw())
    upstream = normal(5, 4, 3, seed=2)
    (gradient,) = torch.autograd.grad(output.z, h, upstream, retain_graph=True)
    assert torch.equal(gradient, upstream)
    term = Commitment()(forward_of(Latents(output.mean, quantities=output.quantities)))
    expected = (h - output.z.detach()).square().sum((1, 2))
    torch.testing.assert_close(term, expected)
    (gradient,) = torch.autograd.grad(term.sum(), h)
    torch.testing.assert_close(gradient, 2.0 * (h - output.z).detach())
    assert not list(code.parameters())


def test_entries_are_the_papers_moving_averages() -> None:
    """Counts and sums, appendix A.1 of van den Oord et al. 2017, with Laplace smoothing; three steps by loops."""
    spec = VectorQuantised(3, 4, 1, decay=0.7, restart=0.0)
    code = built(spec).double().train()
    batch = 10
    # The paper's counts are shares times the batch's rows.
    counts = (code.shares[0] * batch).tolist()
    sums = code.sums[0] * batch
    for step in range(3):
        h = normal(batch, 3, seed=step).double()
        chosen = brute_force(code, h)[1][:, 0]
        code(h, Draw())
        for k in range(4):
            mine = h[chosen == k]
            counts[k] = 0.7 * counts[k] + 0.3 * len(mine)
            sums[k] = 0.7 * sums[k] + 0.3 * mine.sum(0)
        total, epsilon = sum(counts), 1e-5 / 4 * batch
        for k in range(4):
            count = (counts[k] + epsilon) / (total + 4 * epsilon) * total
            torch.testing.assert_close(code.codebook[0, k], sums[k] / count, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            code.shares[0] * batch, torch.tensor(counts, dtype=torch.float64), rtol=1e-10, atol=1e-12
        )


def test_only_a_training_step_moves_the_codebook() -> None:
    code = built(VectorQuantised(3, 8)).train()
    before = {name: value.clone() for name, value in code.state_dict().items()}
    h = normal(20, 3)
    code(h)  # a term encodes again
    with torch.no_grad():
        code(h, Draw())
    code.eval()
    code(h, Draw())
    assert all(torch.equal(value, before[name]) for name, value in code.state_dict().items())
    code.train()
    code(h, Draw())
    assert not any(torch.equal(value, before[name]) for name, value in code.state_dict().items())


def test_equal_rows_take_equal_entries_where_narrow_products_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for kernels that add up narrow products in another order in every fourth row."""
    exact = torch.bmm

    def bmm(a: Tensor, b: Tensor) -> Tensor:
        wobble = 1e-3 * (torch.arange(a.shape[1]) % 4 == 0)[:, None] * torch.arange(b.shape[2])
        return exact(a, b) + (wobble if b.shape[2] < 16 else 0.0)

    code = built(VectorQuantised(2, 2)).eval()
    code.codebook = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]])
    monkeypatch.setattr(torch, "bmm", bmm)
    assert (code(torch.tensor([[-1e-4, 0.0]]).repeat(9, 1)).indices == 0).all()


def far_away(spec: VectorQuantised) -> VectorQuantisedCode:
    """Return a code all of whose entries but one are far from any feature."""
    code: VectorQuantisedCode = built(spec).train()
    code.codebook[:, 1:] += 1000.0
    code.sums[:, 1:] += 1000.0 / spec.entries
    return code


def test_dead_entries_restart_at_features_of_the_batch() -> None:
    code, left = far_away(VectorQuantised(2, 16, decay=0.9)), far_away(VectorQuantised(2, 16, decay=0.9, restart=0.0))
    before = code.codebook[0, 1:].clone()
    for step in range(60):
        h = normal(64, 2, seed=step)
        entries = code.codebook.clone()
        code(h, Draw(generator=generator(step)))
        left(h, Draw(generator=generator(step)))
        moved = (code.codebook[0] - entries[0]).abs().amax(1) > 10.0
        for entry in code.codebook[0, moved]:
            assert (h == entry).all(1).any()  # it is one of the features
            assert torch.isfinite(entry).all()
        torch.testing.assert_close(code.sums / code.shares[..., None], code.codebook, rtol=1e-3, atol=1e-3)
    assert (code.codebook[0].abs() < 10.0).all() and (before > 10.0).any()
    assert left.perplexity.item() < 1.1
    assert code.perplexity.item() > 8.0
    # Restarts give an entry time, and are no use.
    assert torch.allclose(code.usage.sum(1), torch.ones(1), atol=1e-4)


def test_restarts_are_decided_by_the_draws_generator() -> None:
    def run(seed: int) -> Tensor:
        code = far_away(VectorQuantised(2, 16, decay=0.5))
        for step in range(10):
            code(normal(64, 2, seed=step), Draw(generator=generator(seed)))
        return code.codebook

    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))


def test_the_first_entries_are_features_that_are_far_apart() -> None:
    """Ten tight groups of very unlike sizes: a uniform choice of ten features would miss most of the small ones."""
    centres = 10.0 * normal(10, 4, seed=3)
    sizes = [500] + [5] * 9
    h = torch.cat([centre + 1e-3 * normal(size, 4) for centre, size in zip(centres, sizes, strict=True)])
    code = built(VectorQuantised(4, 10))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        code.initialise(torch.zeros(len(h), 1), h)
    assert len(torch.cdist(code.codebook[0], centres).argmin(1).unique()) == 10
    assert all((h == entry).all(1).any() for entry in code.codebook[0])
    torch.testing.assert_close(code.sums / code.shares[..., None], code.codebook)


def test_more_entries_than_rows_are_no_trouble() -> None:
    code = built(VectorQuantised(2, 50))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        code.initialise(torch.zeros(3, 1), normal(3, 2))
    assert torch.isfinite(code.codebook).all()
    assert (code(normal(3, 2)).quantities["commitment"] == 0).all()


def test_prior_draws_entries_as_often_as_they_were_used() -> None:
    code = built(VectorQuantised(4, 3, 2)).eval()
    code.usage = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.1, 0.9]])
    z = code.prior((2000, 4, 5), generator())
    assert z.shape == (2000, 4, 5)
    indices = code(z).indices
    assert torch.equal(code(z).z, z)
    for group in range(2):
        found = torch.bincount(indices[:, group].flatten(), minlength=3) / 10_000
        assert (found - code.usage[group]).abs().max() < 4.5 * 0.5 / 100


def test_auto_cuts_the_latent_in_pairs() -> None:
    def groups(latent_dim: Any, row: tuple[int, ...] = (6,)) -> tuple[Any, Any]:
        spec = VectorQuantised(latent_dim, 8, "auto").resolve(row, 100)
        return spec.latent_dim, spec.groups

    assert [groups(n) for n in (1, 2, 3, 8, 9, 7)] == [(1, 1), (2, 1), (3, 1), (8, 4), (9, 3), (7, 1)]
    assert groups("auto", (28, 28)) == (32, 16) and groups("auto", (1,)) == (1, 1) and groups("auto", (84,)) == (6, 3)
    assert "a divisor of code.latent_dim (6), got 4; try 1" in (VectorQuantised(6, 8, 4).misfit((9,)) or "")
    assert VectorQuantised(6, 8, 3).misfit((9,)) is None


# ---- finite scalar quantisation ------------------------------------------------------------------------------------


def test_fsq_has_as_many_codes_as_the_product_of_its_levels() -> None:
    levels = (4, 3, 2)
    code = built(FSQ(3, levels))
    output = code(3.0 * normal(20_000, 3))
    assert len(torch.unique(output.z, dim=0)) == len(torch.unique(output.indices, dim=0)) == math.prod(levels)
    for latent, count in enumerate(levels):
        expected = torch.linspace(-1.0, 1.0, count)
        torch.testing.assert_close(torch.unique(output.z[:, latent]), expected)
        assert torch.equal(torch.unique(output.indices[:, latent]), torch.arange(count))


def test_fsq_takes_the_nearest_level_and_quantises_levels_to_themselves() -> None:
    code = built(FSQ(5, (8, 5, 2)))
    assert code.levels == [8, 5, 2, 8, 5]
    h = normal(50, 5, 2)
    output = code(h)
    for latent, count in enumerate(code.levels):
        grid = torch.linspace(-1.0, 1.0, count)
        nearest = (torch.tanh(h[:, latent])[..., None] - grid).abs().argmin(-1)
        assert torch.equal(output.indices[:, latent], nearest)
        torch.testing.assert_close(output.z[:, latent], grid[nearest])
    again = code(torch.atanh(output.z.clamp(-0.9999, 0.9999)))
    assert torch.equal(again.z, output.z)
    assert output.quantities == {} and code(h, draw(3)).z.shape == (3, 50, 5, 2)


def test_fsq_gradient_is_that_of_tanh() -> None:
    h = normal(5, 3).requires_grad_()
    upstream = normal(5, 3, seed=1)
    (gradient,) = torch.autograd.grad(built(FSQ(3, (5,)))(h).z, h, upstream)
    torch.testing.assert_close(gradient, upstream * (1.0 - torch.tanh(h).square()).detach())


def test_fsq_prior_is_uniform_over_the_levels() -> None:
    code = built(FSQ(2, (3, 4)))
    z = code.prior((4000, 2, 5), generator())
    indices = code(torch.atanh(z.clamp(-0.9999, 0.9999))).indices
    for latent, count in enumerate((3, 4)):
        found = torch.bincount(indices[:, latent].flatten(), minlength=count) / 20_000
        assert len(found) == count and (found - 1.0 / count).abs().max() < 4.5 * 0.5 / 20_000**0.5


@pytest.mark.parametrize("levels", [(), "88", (1,), (3, 2.0), 8, None])
def test_fsq_refuses_levels_that_are_none(levels: Any) -> None:
    with pytest.raises(RecipeError, match=r"code\.levels.*expected.*got.*try"):
        FSQ(3, levels)


# ---- in training ---------------------------------------------------------------------------------------------------


def fit(recipe: Any, epochs: int = 40) -> Autoencoder:
    settings = {"epochs": epochs, "batch_size": 64, "learning_rate": 0.01, "patience": None}
    changes = {f"training.{name}": value for name, value in settings.items()}
    return Autoencoder(recipe.replace({"network.hidden_dims": (32,), **changes})).fit(rows(600, 12))


def test_vq_vae_learns_and_uses_its_codebook() -> None:
    model = fit(presets.vq_vae(latent_dim=4, entries=32))
    losses = model.history_["validation/reconstruction"]
    assert losses[-1] < 0.5 * losses[0]
    x = rows(600, 12)
    assert ((model.reconstruct(x) - x) ** 2).sum(1).mean() < 0.25 * ((x - x.mean(0)) ** 2).sum(1).mean()
    perplexity = model.composition_.code.perplexity
    assert perplexity.shape == (2,) and (perplexity > 0.4 * 32).all()


def test_fsq_learns() -> None:
    model = fit(presets.fsq(latent_dim=4))
    losses = model.history_["validation/reconstruction"]
    assert losses[-1] < 0.5 * losses[0]
