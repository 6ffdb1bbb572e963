"""Priors of the Gaussian code: their densities and draws, and the code around them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus import Autoencoder, presets
from isthmus.codes import PRIORS, FlowPrior, Gaussian, GaussianCode, MixturePrior, NormalPrior, PriorSpec, VampPrior
from isthmus.codes.densities import DiagonalNormal, FullNormal
from isthmus.codes.flow import Coupling, CouplingFlow
from isthmus.codes.priors import LaplacePrior
from isthmus.composition import Composition
from isthmus.errors import RecipeError
from isthmus.recipe import Recipe
from isthmus.report.evaluation import study
from tests.helpers import batch_of, build, draw, generator, least, rows

SPECS = [{"flow": FlowPrior(3, 8)}.get(kind, least(cls)) for kind, cls in PRIORS.items()]
each_prior = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
POSITIONS = [(), (3,), (2, 2)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def built(spec: PriorSpec, latent_dim: int = 2, covariance: str = "diagonal", spread: float = 0.5) -> GaussianCode:
    """Return a code in float64 whose prior's parameters have been moved at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        code = Gaussian(latent_dim, covariance, spec).build((4,)).double()
        with torch.no_grad():
            for parameter in code.parameters():
                parameter.add_(spread * torch.randn_like(parameter))
    return code


def pseudo_of(code: GaussianCode, positions: tuple[int, ...] = (), count: int = 4) -> Tensor | None:
    width = code.family.features(code.latent_dim)
    return normal(count, width, *positions, seed=9) if code.pseudo_rows() is not None else None


# ---- densities -----------------------------------------------------------------------------------------------------


@each_prior
def test_density_integrates_to_one(spec: PriorSpec) -> None:
    code = built(spec)
    axis = torch.linspace(-15.0, 15.0, 601, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    density = code.prior_model.density(1, code._posterior(pseudo_of(code)))
    with torch.no_grad():
        mass = density.log_density(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=2e-3)


@each_prior
@pytest.mark.parametrize("positions", POSITIONS)
def test_draws_have_the_density(spec: PriorSpec, positions: tuple[int, ...]) -> None:
    """``E_p[q(z) / p(z)] = 1`` for a normal q inside p, and draws have the moments that weighting by p gives."""
    code = built(spec)
    pseudo = pseudo_of(code, positions)
    count = 20_000
    with torch.no_grad():
        z = code.prior((count, 2, *positions), generator(), pseudo)
        assert z is not None and z.shape == (count, 2, *positions)
        z = z.double()
        density = code.prior_model.density(1 + len(positions), code._posterior(pseudo))
        # Mean and variance of z under p, by weighting draws of a wide normal density.
        scale = 3.0
        wide = scale * normal(count * 5, 2, *positions, seed=3)
        log_q = torch.distributions.Normal(0.0, scale).log_prob(wide).flatten(1).sum(1)
        weights = (density.log_density(wide) - log_q).exp()
    if len(positions) < 2:  # in eight dimensions the weights say little
        assert weights.mean().item() == pytest.approx(1.0, abs=6 * weights.std().item() / len(wide) ** 0.5)
        for power in (1, 2):
            values = wide.flatten(1) ** power * weights[:, None]
            error = (values.var(0) / len(wide) + (z.flatten(1) ** power).var(0) / count).sqrt()
            assert ((values.mean(0) - (z.flatten(1) ** power).mean(0)).abs() < 5 * error).all()
    entropy = -density.log_density(z)
    assert entropy.shape == (count,) and torch.isfinite(entropy).all()


@each_prior
@pytest.mark.parametrize("positions", POSITIONS)
def test_several_samples_are_scored_one_by_one(spec: PriorSpec, positions: tuple[int, ...]) -> None:
    code = built(spec)
    density = code.prior_model.density(1 + len(positions), code._posterior(pseudo_of(code, positions)))
    z = normal(3, 5, 2, *positions, seed=4)
    scores = density.log_density(z)
    assert scores.shape == (3, 5)
    one_by_one = torch.stack([density.log_density(row[None])[0] for sample in z for row in sample]).view(3, 5)
    torch.testing.assert_close(scores, one_by_one)


@each_prior
def test_detached_densities_keep_the_gradient_to_z_only(spec: PriorSpec) -> None:
    code = built(spec)
    pseudo = pseudo_of(code)
    if pseudo is not None:
        pseudo.requires_grad_()
    density = code.prior_model.density(1, code._posterior(pseudo))
    z = normal(5, 2).requires_grad_()
    torch.testing.assert_close(density.detached().log_density(z), density.log_density(z))
    learned = [*code.parameters(), *([] if pseudo is None else [pseudo])]
    learned = [p for p in learned if p is not code.pseudo_rows()]
    density.detached().log_density(z).sum().backward()
    assert z.grad is not None and z.grad.abs().sum() > 0
    assert all(p.grad is None for p in learned)
    density.log_density(z).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in learned)


def test_mixture_is_the_weighted_sum_of_its_components() -> None:
    code = built(MixturePrior(3))
    model: Any = code.prior_model
    z = normal(6, 2, 4, seed=1)
    weights = model.logits.softmax(0)
    expected = torch.zeros(6, dtype=torch.float64)
    for position in range(4):
        at = z[:, :, position]
        total = torch.zeros(6, dtype=torch.float64)
        for k in range(3):
            component = torch.distributions.Normal(model.mean[k], (0.5 * model.log_variance[k]).exp())
            total = total + weights[k] * component.log_prob(at).sum(1).exp()
        expected = expected + total.log()
    torch.testing.assert_close(model.density(2).log_density(z), expected)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("positions", [(), (3,)])
def test_vamp_is_the_average_of_the_posteriors_of_its_rows(covariance: str, positions: tuple[int, ...]) -> None:
    code = built(VampPrior(5), covariance=covariance)
    pseudo = pseudo_of(code, positions, 5)
    features = normal(4, code.family.features(2), *positions, seed=2)
    z = normal(6, 2, *positions, seed=1)
    each = [code._posterior(row[None]).log_density(z).exp() for row in pseudo]  # type: ignore[union-attr]
    output = code(features, None, pseudo)
    torch.testing.assert_close(output.prior.log_density(z), (sum(each) / 5).log())  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match="pseudo-rows"):
        code(features)
    with pytest.raises(RecipeError, match="pseudo-rows"):
        code.prior((1, 2))


def test_vamp_rows_are_training_rows_at_first_and_reach_the_prior_through_the_encoder() -> None:
    x = rows(40)
    recipe = Recipe(code=Gaussian(2, prior=VampPrior(7)))
    composition: Composition = build(recipe, x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch_of(x))
    pseudo = composition.code.pseudo_rows()
    assert pseudo is not None and pseudo.shape == (7, 6)
    assert all((batch_of(x).x == row).all(1).any() for row in pseudo) and len(pseudo.unique(dim=0)) == 7
    output = composition.eval().encode(batch_of(x[:3]))
    own = composition.encode(batch_of(pseudo.detach().numpy()))
    z = torch.randn(3, 2, generator=generator())
    each = torch.stack([DiagonalNormal(m, v).log_density(z) for m, v in zip(
        own.posterior.mean[:, None], own.posterior.log_variance[:, None], strict=True)])  # fmt: skip
    torch.testing.assert_close(output.prior.log_density(z), each.logsumexp(0) - math.log(7))
    few = VampPrior(5).build(2, (6,))
    few.initialise(batch_of(x[:2]).x)
    assert len(few.pseudo_rows().unique(dim=0)) == 2  # type: ignore[union-attr]


# ---- the flow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 5])
def test_flow_is_inverted_and_its_determinant_is_that_of_the_jacobian(width: int) -> None:
    flow = CouplingFlow(width, 3, 8).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.7 * normal(*parameter.shape, seed=parameter.numel()))
    z = normal(4, width, seed=1)
    noise, log_determinant = flow(z)
    torch.testing.assert_close(flow.inverse(noise), z, rtol=1e-9, atol=1e-9)
    assert (noise - z).abs().max() > 0.1
    for row in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda one: flow(one)[0], z[row])
        expected = torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(log_determinant[row], expected)
    density = FlowPrior(3, 8).build(width).double()
    density.flow = flow
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(1) + log_determinant
    torch.testing.assert_close(density.density(1).log_density(z), expected)


def test_every_latent_is_moved_by_others() -> None:
    flow = CouplingFlow(5, 2, 8).double()
    nn.init.normal_(flow.layers[0].output.weight), nn.init.normal_(flow.layers[1].output.weight)  # type: ignore
    jacobian = torch.autograd.functional.jacobian(lambda one: flow(one)[0], normal(5))
    assert ((jacobian - torch.diag(jacobian.diag())).abs().sum(1) > 1e-6).all()


def test_a_layer_scales_within_bounds() -> None:
    layer = Coupling(4, 8, first=True).double()
    with torch.no_grad():
        layer.output.bias.fill_(1e6)
    assert layer(normal(3, 4))[1].abs().max() <= 2 * 2.0 + 1e-9


def test_outside_training_a_flow_scores_equal_rows_alike_where_narrow_products_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stands for kernels that add up narrow products in another order in every fourth row."""
    exact = torch.nn.functional.linear

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        wobble = 1e-6 * (torch.arange(len(x)) % 4 == 0) if len(weight) < 16 else torch.zeros(len(x))
        return exact(x, weight, bias) + wobble[:, None]

    flow = CouplingFlow(3, 4, 8)
    z = torch.randn(1, 3, generator=generator()).repeat(37, 1)
    expected = flow.eval()(z)[0]
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    noise, log_determinant = flow(z)
    assert (noise == noise[0]).all() and (log_determinant == log_determinant[0]).all()
    torch.testing.assert_close(noise, expected)
    assert not (flow.train()(z)[0] == noise[0]).all()


def test_a_flow_needs_two_latents() -> None:
    x = rows(40)
    with pytest.raises(RecipeError, match=r"code\.latent_dim: expected at least 2, which the prior 'flow' needs"):
        build(Recipe(code=Gaussian(1, prior=FlowPrior())), x)


# ---- the code around them ------------------------------------------------------------------------------------------


@each_prior
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_kl_is_what_sampling_says(spec: PriorSpec, covariance: str, positions: tuple[int, ...]) -> None:
    """``E_q[log q - log p]`` by the densities, whatever the form in which the code reports it."""
    code = built(spec, 3, covariance)
    features = 0.7 * normal(4, code.family.features(3), *positions, seed=1)
    pseudo = pseudo_of(code, positions)
    count = 4000
    with torch.no_grad():
        output = code(features, draw(count), pseudo)
        difference = output.posterior.log_density(output.z) - output.prior.log_density(output.z)
        kl = output.quantities["kl"]
    wanted = (4, 3, *positions) if spec.factorised and covariance == "diagonal" else (4, 1)
    assert kl.shape == wanted
    assert ("latent_kl" in Gaussian(3, covariance, spec).provides) == (wanted != (4, 1))
    error = difference.std(0) / count**0.5
    assert ((difference.mean(0) - kl.flatten(1).sum(1)).abs() < 4.5 * error).all()


@each_prior
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_an_estimated_kl_averages_samples_and_without_a_draw_is_taken_at_the_mean(
    spec: PriorSpec, covariance: str
) -> None:
    if spec.factorised:
        pytest.skip("its KL is exact")
    code = built(spec, 3, covariance)
    features, pseudo = normal(4, code.family.features(3), seed=1), pseudo_of(code)
    many = code(features, draw(6), pseudo)
    entropy = many.posterior.entropy()
    torch.testing.assert_close(many.quantities["kl"][:, 0], -entropy - many.prior.log_density(many.z).mean(0))
    still = code(features, None, pseudo)
    assert torch.equal(still.z, still.mean)
    torch.testing.assert_close(still.quantities["kl"][:, 0], -entropy - still.prior.log_density(still.mean))


def test_properties_say_what_a_posterior_and_a_prior_allow() -> None:
    both = {"kl", "posterior"}
    assert Gaussian(2).provides == both | {"diagonal_posterior", "latent_kl", "opening"}
    assert Gaussian(2, prior=LaplacePrior()).provides == both | {"diagonal_posterior", "latent_kl", "opening"}
    assert Gaussian(2, prior=MixturePrior()).provides == both | {"diagonal_posterior"}
    assert Gaussian(2, "full").provides == both
    assert Gaussian(4, "full").features() == 4 + 4 * 5 // 2
    assert "log_variance" not in Gaussian(2, "full").build()(torch.zeros(1, 5)).quantities


def test_priors_are_set_by_path_and_by_name() -> None:
    recipe = presets.vae(latent_dim=4)
    vamp = recipe.replace({"code.prior": "vamp"})
    assert vamp.code == Gaussian(4, prior=VampPrior())
    assert vamp.replace({"code.prior.components": 7}).code == Gaussian(4, prior=VampPrior(7))
    changed = vamp.replace({"code.prior.components": 7, "code.prior.kind": "mixture"})
    assert changed.code == Gaussian(4, prior=MixturePrior(7))
    assert changed.replace({"code.prior.kind": "standard_normal"}).code == Gaussian(4, prior=NormalPrior())
    assert Recipe.from_dict(changed.to_dict()) == changed
    assert changed.paths()["code.prior.kind"] == "mixture"
    with pytest.raises(RecipeError, match="no kind 'vam'; did you mean 'vamp'"):
        recipe.replace({"code.prior": "vam"})
    with pytest.raises(RecipeError, match="no setting 'layers'"):
        recipe.replace({"code.prior": {"kind": "vamp", "layers": 2}})
    with pytest.raises(RecipeError, match=r"code\.prior: expected a prior.*try"):
        Gaussian(2, prior=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [MixturePrior(3), LaplacePrior()], ids=lambda spec: spec.kind)
def test_a_kl_of_each_latent_is_refused_where_there_is_none(spec: PriorSpec) -> None:
    x = rows(60)
    recipe = presets.vae(latent_dim=2, hidden_dims=(8,), epochs=2, batch_size=20)
    model = Autoencoder(dataclasses.replace(recipe, code=Gaussian(2, prior=spec))).fit(x)
    studied = study("m", model, x)
    assert studied.figures.is_bound
    if spec.factorised:
        assert model.kl_per_latent(x).shape == (2,) and studied.kl is not None
        return
    with pytest.raises(RecipeError, match=r'only the sum of this code.s KL.*try code\.covariance="diagonal"'):
        model.kl_per_latent(x)
    assert studied.kl is None


@pytest.mark.parametrize("spec", [VampPrior(3), MixturePrior(3), FlowPrior(6, 16)], ids=lambda spec: spec.kind)
def test_learned_priors_come_near_what_they_are_to_hold(spec: PriorSpec) -> None:
    """Latents in three groups: near the density they were drawn from, and far better than any single normal one."""
    centres = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]])
    z = centres[torch.arange(600) % 3] + 0.3 * normal(600, 2).float()
    true = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(3)),
        torch.distributions.Independent(torch.distributions.Normal(centres, 0.3), 1),
    )
    code = built(spec, spread=0.0).float()
    pseudo = None if code.pseudo_rows() is None else normal(3, 4).float().requires_grad_()
    learned = [*code.parameters(), *([] if pseudo is None else [pseudo])]
    optimiser = torch.optim.Adam(learned, 0.03)
    for _ in range(200):
        optimiser.zero_grad()
        score = code.prior_model.density(1, code._posterior(pseudo)).log_density(z).mean()
        (-score).backward()
        optimiser.step()
    normal_density = torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.t()))
    assert score.item() > true.log_prob(z).mean().item() - 0.5
    assert score.item() > normal_density.log_prob(z).mean().item() + 0.8


def test_full_posterior_of_one_latent_is_the_diagonal_one() -> None:
    features = normal(4, 2, 3)
    full, diagonal = FullNormal.of(features, 1), DiagonalNormal.of(features, 1)
    torch.testing.assert_close(full.log_variance, diagonal.log_variance)
    torch.testing.assert_close(full.entropy(), diagonal.entropy())
    z = normal(5, 4, 1, 3)
    torch.testing.assert_close(full.log_density(z), diagonal.log_density(z))
    torch.testing.assert_close(full.at(z), diagonal.at(z))
