"""The maximum mean discrepancy beside explicit loops, and what it does to codes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import Deterministic
from isthmus.errors import RecipeError
from isthmus.objectives import Discrepancy
from isthmus.objectives.noise import standard_normal
from tests.helpers import Latents, batch_of, forward_of, generator, rows, small

Generators = Callable[[], AbstractContextManager[None]]


def codes(count: int = 7, latents: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, latents, generator=generator(seed)).double()


def quiet(z: torch.Tensor, term: Discrepancy | None = None) -> torch.Tensor:
    """Return the value as validation sees it: the draws are always the same."""
    with torch.no_grad():
        return (term or Discrepancy())(forward_of(Latents(z if z.ndim == 2 else z[0], z)))


def looped(z: np.ndarray, drawn: np.ndarray, scales: tuple[float, ...]) -> float:
    """Return the unbiased estimate, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        unit = 2.0 * len(a)
        return sum(scale * unit / (scale * unit + ((a - b) ** 2).sum()) for scale in scales)

    count, total = len(z), 0.0
    for i, j in itertools.product(range(count), repeat=2):
        if i != j:
            total += (kernel(z[i], z[j]) + kernel(drawn[i], drawn[j])) / (count * (count - 1))
        total -= 2.0 * kernel(z[i], drawn[j]) / count**2
    return total


@pytest.mark.parametrize("scales", [(1.0,), (0.1, 0.5, 3.0), Discrepancy().scales])
def test_discrepancy_is_what_loops_over_pairs_say(scales: tuple[float, ...]) -> None:
    z = codes()
    with torch.no_grad():
        drawn = standard_normal(z)
    value = quiet(z, Discrepancy(scales))
    assert value.shape == ()
    assert value.item() == pytest.approx(looped(z.numpy(), drawn.numpy(), scales), rel=1e-10)


def test_several_samples_are_averaged_and_positions_are_latents() -> None:
    z = codes(10, 6).view(2, 5, 6)
    with torch.no_grad():
        drawn = standard_normal(z)
    each = [looped(a.numpy(), b.numpy(), Discrepancy().scales) for a, b in zip(z, drawn, strict=True)]
    assert quiet(z).item() == pytest.approx(np.mean(each), rel=1e-10)
    maps = codes(5, 6).view(5, 2, 3)
    with torch.no_grad():
        assert Discrepancy()(forward_of(Latents(maps))) == quiet(maps.flatten(1))


def test_it_is_unbiased() -> None:
    """Zero on average for codes from the prior, which the biased estimate is not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = torch.stack([Discrepancy()(forward_of(Latents(torch.randn(8, 2)))) for _ in range(800)])
    assert found.mean().abs() < 4 * found.std() / 800**0.5
    assert found.min() < 0 < found.max()


@pytest.mark.parametrize("change", ["shift", "narrow", "wide", "one point"])
def test_it_sees_codes_that_are_not_the_priors(change: str) -> None:
    z = codes(400, 2)
    changed = {"shift": z + 1.0, "narrow": 0.3 * z, "wide": 4.0 * z, "one point": 0.0 * z}[change]
    assert abs(quiet(z).item()) < 0.02
    assert 0.1 < quiet(changed).item() <= 2 * len(Discrepancy().scales)


def test_gradient_is_that_of_finite_differences() -> None:
    z = codes(5, 2).requires_grad_()

    def value(z: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Discrepancy()(forward_of(Latents(z)))

    assert torch.autograd.gradcheck(value, z)


def test_gradient_leads_codes_to_the_prior() -> None:
    z = (codes(64, 2) + 2.0).requires_grad_()
    Discrepancy()(forward_of(Latents(z))).backward()
    assert z.grad is not None and (z.grad.mean(0) > 0).all()


def test_draws_are_new_in_training_and_the_same_in_validation(generators_untouched: Generators) -> None:
    z = codes()
    with generators_untouched():
        first, second = quiet(z), quiet(z)
    assert first == second
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert Discrepancy()(forward_of(Latents(z))) != Discrepancy()(forward_of(Latents(z)))


def test_a_row_alone_has_no_pairs() -> None:
    assert quiet(codes(1)).item() == 0.0


def test_settings() -> None:
    assert Discrepancy([1, 2]).scales == (1, 2)  # type: ignore[arg-type]
    for wrong in ((), (0.0,), (1.0, -1.0), "1"):
        with pytest.raises(RecipeError, match=r"objective\.discrepancy.scales: expected"):
            Discrepancy(wrong)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="batches of 2 rows or more, which the term 'discrepancy' needs"):
        Autoencoder(presets.wae(batch_size=1)).fit(rows(20))


@pytest.mark.parametrize("preset", ["wae", "info_vae"])
def test_trained_codes_look_like_the_prior(preset: str) -> None:
    recipe = small(presets.PRESETS[preset](weight=10.0), epochs=80, learning_rate=0.01)
    x = rows(192)
    model = Autoencoder(recipe.replace({"code.latent_dim": 2, "training.batch_size": 64}), random_state=0).fit(x)
    codes = model.transform(x)
    if preset == "info_vae":  # its codes are what the posteriors add up to
        output = model.composition_.encode(batch_of(model.encoding_.forward(x)))
        spread = output.quantities["log_variance"].exp().detach().numpy().mean(0)
        covariance = np.cov(codes.T) + np.diag(spread)
    else:
        covariance = np.cov(codes.T)
    assert np.abs(codes.mean(0)).max() < 0.2
    assert np.abs(covariance - np.eye(2)).max() < 0.3


def test_a_deterministic_code_samples_from_the_prior_it_was_brought_to() -> None:
    code = Deterministic(3, sampled_from="normal").build()
    z = code.prior((4000, 3), generator())
    assert z is not None and z.mean(0).abs().max() < 0.08 and (z.var(0) - 1).abs().max() < 0.1
    again = code.prior((4000, 3), generator())
    assert again is not None and torch.equal(z, again)
    assert Deterministic(3).build().prior((2, 3)) is None
    assert Deterministic(3, sampled_from="normal").provides == {"standard_normal_prior", "opening"}
    assert Deterministic(3).provides == {"opening"}
    with pytest.raises(RecipeError, match=r"code\.sampled_from: expected one of None, normal"):
        Deterministic(3, sampled_from="uniform")
    model = Autoencoder(small(presets.wae()), random_state=0).fit(rows())
    assert model.sample(3, random_state=0).shape == (3, 6)
    with pytest.raises(RecipeError, match="no prior"):
        Autoencoder(small(presets.autoencoder())).fit(rows()).sample()


def test_a_prior_needs_a_decoder_that_lives_by_the_code_alone() -> None:
    assert Deterministic(sampled_from="normal").needs == {"bottleneck"} and not Deterministic().needs
    assert Recipe(code=Deterministic(2, sampled_from="normal")).code.provides == {"standard_normal_prior", "opening"}
