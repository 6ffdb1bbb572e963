"""Estimated slopes, norms and nested prefixes beside explicit Jacobians, closed forms and principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.autograd.functional import jacobian

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import Deterministic, Gaussian
from isthmus.composition import Composition
from isthmus.errors import RecipeError
from isthmus.networks import Dense
from isthmus.objectives import (
    Contraction,
    DecoderGradient,
    LatentNorm,
    Nested,
    Normal,
    Reconstruction,
    SquaredError,
    Term,
)
from isthmus.schema import Batch
from tests.helpers import Latents, build, draw, forward_of, rows

COPIES = 4000


def built(term: Term, code: Any = None, output: str = "sigmoid") -> Composition:
    objective = Reconstruction(SquaredError(output)) + 1.0 * term
    return build(Recipe(Dense((5,), "tanh"), code or Deterministic(4), objective=objective), rows()).double().train()


def copies() -> Batch:
    """Return one row many times: each copy gets a probe of its own."""
    return Batch(torch.from_numpy(rows(1)).expand(COPIES, -1))


def seeded(term: Any, forward: Any) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return term(forward)


def assert_estimates(found: torch.Tensor, jacobian_: torch.Tensor, probes: int) -> None:
    """Compare mean and variance with Hutchinson's: J J^T is on the side that was probed."""
    product = jacobian_ @ jacobian_.t()
    variance = 2 * (product.square().sum() - product.diagonal().square().sum()) / probes
    assert (found.mean() - product.trace()).abs() < 4.5 * (variance / COPIES).sqrt()
    assert found.var().item() == pytest.approx(variance.item(), rel=0.15)


@pytest.mark.parametrize("probes", [1, 3])
def test_probed_contraction_is_unbiased_with_the_variance_of_hutchinsons_estimate(probes: int) -> None:
    term = Contraction(probes)
    composition = built(term)
    found = seeded(term, composition(copies()))
    assert found.shape == (COPIES,) and found.requires_grad
    slope = jacobian(lambda x: composition.encode(Batch(x.unsqueeze(0))).mean[0], torch.from_numpy(rows(1))[0])
    assert_estimates(found.detach(), slope, probes)


@pytest.mark.parametrize("probes", [4, 9])
def test_contraction_is_exact_where_probes_would_cost_more(probes: int) -> None:
    composition = built(Contraction(probes))
    forward = composition(Batch(torch.from_numpy(rows(6))))
    torch.testing.assert_close(Contraction(probes)(forward), Contraction()(forward))
    assert not torch.allclose(seeded(Contraction(3), forward), Contraction()(forward))


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_decoder_gradient_is_unbiased_with_the_variance_of_hutchinsons_estimate(probes: int, output: str) -> None:
    """Of the expected row, whatever the likelihood makes of the decoder's output."""
    term = DecoderGradient(probes)
    composition = built(term, output=output)
    forward = composition(copies())
    found = seeded(term, forward)
    assert found.shape == (COPIES,) and found.requires_grad

    def decode(z: torch.Tensor) -> torch.Tensor:
        return composition.likelihood.mean(composition.decode(z.unsqueeze(0), forward.batch))[0]

    assert_estimates(found.detach(), jacobian(decode, forward.code.z[0].detach()), probes)


def test_slopes_are_the_same_at_every_validation() -> None:
    for term in (Contraction(1), DecoderGradient(2)):
        composition = built(term)
        with torch.no_grad():
            forward = composition(Batch(torch.from_numpy(rows(6))))
            first, second = term(forward), term(forward)
        assert torch.equal(first, second) and not first.requires_grad
        forward = composition(Batch(torch.from_numpy(rows(6))))
        assert not torch.equal(term(forward), term(forward))


def test_the_decoders_slope_teaches_decoder_and_codes() -> None:
    composition = built(DecoderGradient())
    parameters = dict(composition.named_parameters())
    term = composition.terms["decoder_gradient"]
    value = seeded(term, composition(Batch(torch.from_numpy(rows(3))))).mean()
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        place = parameter.numel() // 2
        ends, flat, before = [], parameter.data.view(-1), parameter.data.view(-1)[place].item()
        for step in (1e-5, -1e-5):
            flat[place] = before + step
            ends.append(seeded(term, composition(Batch(torch.from_numpy(rows(3))))).mean().item())
        flat[place] = before
        got = 0.0 if gradient is None else gradient.view(-1)[place].item()
        assert got == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8), name


def test_samples_have_slopes_of_their_own() -> None:
    composition = built(DecoderGradient(), Gaussian(4))
    value = DecoderGradient()(composition(Batch(torch.from_numpy(rows(6))), draw(3)))
    assert value.shape == (3, 6) and len(value.unique()) == 18


def test_latent_norm_is_minus_the_log_density_of_the_prior() -> None:
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    log_density = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    constant = 1.5 * np.log(2 * np.pi)
    torch.testing.assert_close(LatentNorm()(forward_of(Latents(z))), -log_density - constant)
    maps = Latents(torch.zeros(2, 3, 4), torch.full((5, 2, 3, 4), 2.0))
    assert (LatentNorm()(forward_of(maps)) == 24.0).all() and LatentNorm()(forward_of(maps)).shape == (5, 2)


def test_norm_shortens_the_codes_of_a_regularised_autoencoder() -> None:
    x = rows(96)
    lengths = []
    for weight in (0.0, 0.1):
        recipe = presets.rae(latent_dim=2, hidden_dims=(8,), epochs=20, batch_size=32, weight=weight)
        lengths.append(np.square(Autoencoder(recipe, random_state=0).fit(x).transform(x)).sum(1).mean())
    assert lengths[1] < 0.5 * lengths[0]


# ---- nested prefixes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefixes", "latents", "numbers"),
    [(None, 1, ()), (None, 2, (1,)), (None, 8, (1, 2, 4)), (None, 9, (1, 2, 4, 8)), ((2, 3, 8), 8, (2, 3))],
)
def test_prefixes(prefixes: Any, latents: int, numbers: tuple[int, ...]) -> None:
    assert Nested(prefixes).numbers(latents) == numbers


@pytest.mark.parametrize("samples", [1, 3])
def test_nested_is_the_average_cost_of_prefixes(samples: int) -> None:
    composition = built(Nested((1, 3)), Gaussian(4))
    forward = composition(Batch(torch.from_numpy(rows(5))), draw(samples))
    value = composition.terms["nested"](forward).view(samples, 5)
    z = forward.code.z.view(samples, 5, 4)
    for sample in range(samples):
        costs = []
        for number in (1, 3):
            first = torch.cat([z[sample, :, :number], torch.zeros(5, 4 - number).double()], 1)
            rebuilt = composition.likelihood.mean(composition.decode(first, forward.batch))
            costs.append((rebuilt - forward.batch.x).square().sum(1))
        torch.testing.assert_close(value[sample], (costs[0] + costs[1]) / 2)


def test_nested_cuts_latents_not_positions() -> None:
    seen: list[torch.Tensor] = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return z.flatten(1).sum(1).view(-1, 1, 1)

    forward = forward_of(Latents(torch.ones(2, 3, 4)), torch.zeros(2, 1))
    forward.decode, forward.likelihood = decode, SquaredError("linear")
    value = Nested((2,))(forward)
    assert seen[0].tolist() == [[[1.0] * 4, [1.0] * 4, [0.0] * 4]] * 2
    assert value.tolist() == [64.0, 64.0]


def test_a_single_latent_has_no_prefixes() -> None:
    composition = built(Nested(), Deterministic(1))
    assert composition.terms["nested"](composition(Batch(torch.from_numpy(rows(5))))).tolist() == [0.0] * 5


def test_values_that_do_not_count_cost_nothing_in_prefixes_either() -> None:
    composition = built(Nested((1,)))
    x = torch.from_numpy(rows(5))
    mask = torch.ones(5, 6).bool()
    mask[:, :2] = False
    values = [
        composition.terms["nested"](composition(Batch(torch.where(mask, x, other), mask=mask))) for other in (0.0, 9.0)
    ]
    assert torch.equal(values[0], values[1])
    assert (values[0] < composition.terms["nested"](composition(Batch(torch.where(mask, x, 0.0))))).all()


@pytest.mark.parametrize("wrong", [(), (0,), (2, 1), (2, 2), 3, "1"])
def test_prefixes_rise(wrong: Any) -> None:
    with pytest.raises(RecipeError, match=r"objective\.nested\.prefixes: expected"):
        Nested(wrong)


def spread(count: int = 400) -> np.ndarray:
    """Return rows whose principal components differ in size."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    x = rng.standard_normal((count, 8)) * np.array([3.0, 2.0, 1.5, 1.0, 0.2, 0.2, 0.2, 0.2]) @ q.T
    return (x - x.mean(0)) / x.std()


def test_a_linear_nested_autoencoder_finds_the_principal_components_in_order() -> None:
    x = spread()
    recipe = presets.nested(
        latent_dim=4, prefixes=(1, 2, 3), weight=3.0, hidden_dims=(), preprocessing="none", epochs=60, batch_size=100,
        learning_rate=0.03, validation_fraction=0.0, likelihood=SquaredError("linear"),
    )  # fmt: skip
    model = Autoencoder(recipe, random_state=0).fit(x)
    plain = Autoencoder(recipe.replace({"objective.nested.weight": 0.0}), random_state=0).fit(x)
    for count in (1, 2, 3, 4):
        errors = []
        for one in (model, plain):
            codes = one.transform(x)
            codes[:, count:] = 0.0
            errors.append(((one.inverse_transform(codes) - x) ** 2).sum(1).mean())
        pca = PCA(count).fit(x)
        best = ((pca.inverse_transform(pca.transform(x)) - x) ** 2).sum(1).mean()
        assert (1 - 1e-5) * best < errors[0] < 1.01 * best
        if count < 4:
            assert errors[1] > 1.2 * best


def test_likelihoods_with_a_variance_have_slopes_of_their_mean() -> None:
    objective = Reconstruction(Normal("row")) + 1.0 * DecoderGradient()
    composition = build(Recipe(Dense((5,)), Deterministic(2), objective=objective), rows(support="real"))
    value = composition.terms["decoder_gradient"](composition(Batch(torch.from_numpy(rows(6).astype(np.float32)))))
    assert value.shape == (6,) and torch.isfinite(value).all()
