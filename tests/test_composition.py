"""The composition: what travels between the parts, and what a batch costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.codes import Code, Deterministic, Draw, Gaussian
from isthmus.codes.base import CodeOutput
from isthmus.composition import Composition
from isthmus.corruptions import Mask
from isthmus.networks import Dense
from isthmus.objectives import (
    KL,
    Bernoulli,
    BinaryCrossEntropy,
    Contraction,
    Linear,
    Normal,
    Objective,
    Reconstruction,
    Sparsity,
    SparsityTarget,
    SquaredError,
)
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from tests.helpers import CLASSES, PARTS, batch_of, build, draw, generator, rows

FULL = Recipe(
    Dense((7,), "tanh"),
    Gaussian(3),
    Mask(0.3),
    Reconstruction(Normal("row")) + 0.5 * KL() + 0.25 * Sparsity() + 2.0 * Contraction(),
)


def full(condition: int = 0) -> Composition:
    return build(FULL, rows(support="real"), condition)


# ---- what a batch costs -------------------------------------------------------------------------------------------


def test_loss_is_the_sum_of_weight_times_term_averaged_over_rows() -> None:
    composition, batch = full(), batch_of(rows(10, support="real"))
    forward = composition(batch, draw(), corrupt=True, generator=generator(1))
    weights = {"kl": 0.5, "sparsity": 0.25, "contraction": 2.0}
    loss = composition.loss(forward, weights)

    code, mean, log_variance = forward.code, forward.parameters[:, 0], forward.parameters[:, 1]
    variance = log_variance.exp() + FULL.likelihood.floor
    density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(batch.x)  # of the clean rows
    rate = (0.5 * (code.mean**2 + code.quantities["log_variance"].exp() - code.quantities["log_variance"] - 1)).sum(1)
    by_hand = {
        "reconstruction": -density.sum(1).mean(),
        "kl": rate.mean(),
        "sparsity": code.z.abs().sum(1).mean(),
        "contraction": Contraction()(forward).mean(),
    }
    assert loss.raw.keys() == by_hand.keys()
    for name, value in by_hand.items():
        torch.testing.assert_close(loss.raw[name], value, rtol=1e-4, atol=1e-5)
    total = by_hand["reconstruction"] + sum(weights[name] * by_hand[name] for name in weights)
    torch.testing.assert_close(loss.total, total, rtol=1e-4, atol=1e-5)


def test_loss_of_a_batch_is_the_average_of_its_rows_losses() -> None:
    composition, batch = full().eval(), batch_of(rows(6, support="real"))
    whole = composition.loss(composition(batch), FULL.objective.weights(1.0))
    each = [
        composition.loss(composition(Batch(batch.x[i : i + 1])), FULL.objective.weights(1.0)).total for i in range(6)
    ]
    torch.testing.assert_close(whole.total, torch.stack(each).mean(), rtol=1e-5, atol=1e-5)


def test_a_weight_of_zero_is_reported_and_not_followed() -> None:
    composition = full()
    forward = composition(batch_of(rows(5, support="real")), draw())
    loss = composition.loss(forward, {"kl": 0.0, "sparsity": 0.0, "contraction": 0.0})
    assert torch.equal(loss.total, loss.raw["reconstruction"]) and loss.raw["kl"] > 0


def test_the_decoder_is_compared_with_the_clean_row() -> None:
    composition, batch = full(), batch_of(rows(8, support="real"))
    forward = composition(batch, corrupt=True, generator=generator())
    assert not torch.equal(forward.seen.x, batch.x)
    assert forward.batch is batch
    torch.testing.assert_close(
        forward.reconstruction, composition.likelihood.cost(forward.parameters, batch.x, None), rtol=0, atol=0
    )
    # ... while the encoder saw the corrupted one, which is the same rows with values set to zero.
    torch.testing.assert_close(forward.code.mean, composition.encode(forward.seen).mean, rtol=0, atol=0)
    assert ((forward.seen.x == 0) | (forward.seen.x == batch.x)).all()
    without = composition(batch)
    assert without.seen is batch


def test_a_target_is_what_is_rebuilt() -> None:
    composition, batch = full().eval(), batch_of(rows(5, support="real"))
    target = batch.x.roll(1, 0)
    forward = composition(batch.replace(target=target))
    expected = composition.likelihood.cost(forward.parameters, target, None)
    torch.testing.assert_close(forward.reconstruction, expected, rtol=0, atol=0)
    torch.testing.assert_close(forward.code.mean, composition(batch).code.mean, rtol=0, atol=0)


@pytest.mark.parametrize("likelihood", PARTS["likelihood"], ids=repr)
def test_a_value_without_a_density_scores_minus_infinity(likelihood: Any) -> None:
    """... wherever it stands, unless it was not observed."""
    x = rows(5, support=likelihood.support)
    composition = build(
        Recipe(code=Gaussian(2), objective=Reconstruction(likelihood)), rows(support=likelihood.support)
    )
    values, mask = torch.from_numpy(x).float(), torch.ones(5, 6).bool()
    values[1, 2], values[3, 5], mask[3, 5] = -0.5, -0.5, False
    for hidden in (None, mask):
        score = composition.eval().log_likelihood(composition(Batch(values, hidden)))
        outside = composition.likelihood.inside(values)[:, [2, 5]].logical_not() & (hidden is None or hidden[:, [2, 5]])
        assert (torch.isinf(score) == outside.any(1)).all() and not torch.isnan(score).any()
    for support, wrong in {"unit": 1.1, "binary": 0.5, "counts": 0.5, "categories": CLASSES, "mixed": 0.5}.items():
        if likelihood.support == support:
            assert composition.likelihood.inside(torch.full((1, 6), wrong))[0].logical_not().any()
    assert composition.likelihood.inside(torch.from_numpy(x).float()).all()


# ---- missing values -----------------------------------------------------------------------------------------------

LIKELIHOODS = [SquaredError("linear"), Normal(), Normal("row"), BinaryCrossEntropy(), Bernoulli()]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("corrupt", [False, True])
@pytest.mark.parametrize("hole", [0.5, 1e6, float("nan")])
def test_values_under_the_mask_change_nothing(likelihood: Any, corrupt: bool, hole: float) -> None:
    """Neither what the encoder sees, nor what the likelihood charges, nor a gradient."""
    x = rows(20, support=likelihood.support)
    recipe = Recipe(Dense((7,)), Gaussian(2), Mask(0.3), Reconstruction(likelihood) + 1.0 * KL())
    composition = build(recipe, x)
    mask = torch.rand(x.shape, generator=generator(3)) < 0.7
    clean = torch.from_numpy(x).float() * mask
    results = []
    for values in (clean, torch.where(mask, clean, hole)):
        composition.zero_grad()
        forward = composition(Batch(values, mask), draw(), corrupt=corrupt, generator=generator(4))
        loss = composition.loss(forward, {"kl": 1.0})
        loss.total.backward()
        gradients = [p.grad.clone() for p in composition.parameters()]
        results.append((forward.seen.x * mask, forward.code.mean, forward.reconstruction, loss.total, *gradients))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    # ... and a value that was observed does change things.
    other = composition(
        Batch(torch.where(mask, clean + 0.1, 0.0), mask), draw(), corrupt=corrupt, generator=generator(4)
    )
    assert not torch.allclose(other.code.mean, results[0][1]) and not torch.allclose(
        other.reconstruction, results[0][2]
    )


def test_masks_of_everything_and_nothing() -> None:
    composition, batch = full().eval(), batch_of(rows(5, support="real"))
    everything = composition(batch.replace(mask=torch.ones_like(batch.x).bool()))
    torch.testing.assert_close(everything.reconstruction, composition(batch).reconstruction, rtol=0, atol=0)
    nothing = composition(batch.replace(mask=torch.zeros_like(batch.x).bool()))
    assert nothing.reconstruction.tolist() == [0.0] * 5
    assert composition.log_likelihood(nothing).tolist() == [0.0] * 5
    assert (nothing.code.mean == nothing.code.mean[0]).all(), "rows of which nothing was seen have different codes"


@pytest.mark.parametrize("part", PARTS["corruption"], ids=repr)
def test_what_was_never_observed_stays_zero_for_the_encoder(part: Any) -> None:
    x = torch.rand(50, 6, generator=generator()) + 1.0
    mask = torch.rand(50, 6, generator=generator(1)) < 0.5
    seen = part(Batch(x * mask, mask), generator(2))
    assert (seen.x[~mask] == 0).all()
    assert seen.mask is not None and (seen.mask <= mask).all()
    if not hasattr(part, "count"):  # a corruption that hides values from the encoder by the mask
        assert seen.mask is mask


# ---- a condition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network", [Dense((7,)), Dense(()), Dense((7, 5), residual=True), Dense((7,), tied=True)], ids=repr
)
def test_a_condition_reaches_both_sides(network: Dense) -> None:
    recipe = Recipe(network, Deterministic(3), objective=Reconstruction(SquaredError("linear")))
    composition = build(recipe, rows(support="real"), 2).eval()
    batch = batch_of(rows(6, support="real"), 2)
    told = batch.condition
    assert told is not None
    other = batch.replace(condition=told + 1.0)
    assert not torch.allclose(composition.encode(batch).z, composition.encode(other).z)
    z = composition.encode(batch).z
    assert not torch.allclose(composition.decode(z, batch), composition.decode(z, other))
    for side in ("encoder_condition", "decoder_condition"):
        with torch.no_grad():
            getattr(composition.network, side).weight.zero_()
    assert torch.equal(composition.encode(batch).z, composition.encode(other).z)
    assert torch.equal(composition.decode(z, batch), composition.decode(z, other))


def test_a_condition_is_what_appending_columns_would_be() -> None:
    """A linear map added before the first activation equals columns appended to that layer's input, and no other's."""
    composition = build(Recipe(Dense((7, 7), "tanh"), Deterministic(3)), rows(), 2).eval()
    batch, network = batch_of(rows(4), 2), composition.network

    def by_hand(inputs: Tensor, layers: list[Any], extra: nn.Linear) -> Tensor:
        weight = torch.cat([layers[0].weight, extra.weight], 1)
        h = torch.tanh(torch.cat([inputs, batch.condition], 1) @ weight.t() + layers[0].bias)
        h = torch.tanh(h @ layers[1].weight.t() + layers[1].bias)
        return h @ layers[2].weight.t() + layers[2].bias

    code = by_hand(batch.x, list(network.encoder), network.encoder_condition)
    torch.testing.assert_close(network.encode(batch), code)
    row = by_hand(code, list(reversed(network.decoder)), network.decoder_condition)
    torch.testing.assert_close(network.decode(code, batch).squeeze(1), row)


def test_each_sample_keeps_its_rows_condition_and_target() -> None:
    composition, batch = full(2).eval(), batch_of(rows(5, support="real"), 2)
    forward = composition(batch, draw(3))
    for sample in range(3):
        parameters = composition.decode(forward.code.z[sample], batch)
        torch.testing.assert_close(forward.parameters.view(3, 5, 2, 6)[sample], parameters)
        cost = composition.likelihood.cost(parameters, batch.x, None)
        torch.testing.assert_close(forward.reconstruction[sample], cost)


def test_repeat_puts_the_whole_batch_first() -> None:
    batch = Batch(torch.arange(6.0).view(3, 2), torch.ones(3, 2).bool(), torch.arange(3.0).view(3, 1))
    twice = batch.repeat(2)
    assert twice.x.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3], [4, 5]]
    assert twice.mask is not None and twice.mask.shape == (6, 2)
    assert twice.condition is not None and twice.condition.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert twice.target is None and twice.rows == 6
    assert batch.repeat(1) is batch


# ---- latents that grow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [Deterministic(4), Gaussian(4)], ids=repr)
@pytest.mark.parametrize("samples", [None, 1, 3])
def test_open_latents_limit_what_passes(code: Any, samples: int | None) -> None:
    composition = build(Recipe(Dense((7,)), code), rows()).eval()
    batch = batch_of(rows(5))

    def output(open_latents: int | None) -> CodeOutput:
        composition.open_latents.fill_(4 if open_latents is None else open_latents)
        return composition.encode(batch, None if samples is None else draw(samples))

    everything = output(None)
    for count in range(5):
        some = output(count)
        assert (some.z[..., count:] == 0).all() and (some.mean[..., count:] == 0).all()
        assert torch.equal(some.z[..., :count], everything.z[..., :count])
        assert torch.equal(some.mean[..., :count], everything.mean[..., :count])
        forward = composition(batch, None if samples is None else draw(samples))
        flat = some.z if some.z.ndim == 2 else some.z.flatten(0, 1)
        torch.testing.assert_close(forward.parameters, composition.decode(flat, batch.repeat(samples or 1)))


def test_open_latents_limit_maps_by_their_latent_axis() -> None:
    class Maps(Code):
        """A code of feature maps: (rows, latent, height, width)."""

        latent_dim = 3

        def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
            lead = 1 if draw is None else draw.samples
            z = features.view(-1, 3, 2, 2)
            return CodeOutput(z if lead == 1 else z.expand(lead, *z.shape), z)

        def prior(self, *args: Any, **kwargs: Any) -> None:
            return None

    composition = build(Recipe(Dense((7,)), Deterministic(12)), rows()).eval()
    composition.code = Maps()
    composition.open_latents.fill_(2)
    for given in (None, draw(4)):
        output = composition.encode(batch_of(rows(5)), given)
        assert (output.z[..., 2, :, :] == 0).all() and (output.z[..., :2, :, :] != 0).any()
        assert (output.mean[:, 2] == 0).all() and (output.mean[:, :2] != 0).any()


# ---- the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize("options", [{}, {"tied": True}, {"residual": True}, {"normalisation": "batch"}], ids=str)
def test_the_untrained_model_is_close_to_the_mean_row(likelihood: Any, condition: int, options: dict[str, Any]) -> None:
    """It starts from a constant guess, whose cost a trained model must beat."""
    code = Deterministic(2) if options.get("tied") else Gaussian(2)
    x = rows(200, support=likelihood.support)
    if likelihood.support == "real":
        x = (x - x.mean(0)) / x.std(0)
    recipe = Recipe(Dense((9, 5), **options), code, objective=Reconstruction(likelihood), preprocessing="none")
    if options.get("tied") and likelihood == Normal("row"):
        pytest.skip("refused: a tied decoder gives one number for each value")
    composition, batch = build(recipe, x, condition), batch_of(x, condition)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch)
    composition.eval()
    with torch.no_grad():
        forward = composition(batch)
        guess = composition.likelihood.mean(forward.parameters).mean(0)
        torch.testing.assert_close(guess, batch.x.mean(0), atol=0.35, rtol=0)
        bias = composition.likelihood.output_bias(batch.x.mean(0), batch.x.var(0, correction=0))
        constant = composition.likelihood.cost(bias.expand(len(x), *bias.shape), batch.x, None).mean()
        assert forward.reconstruction.mean() < constant + 0.25 * x.shape[1]


def test_schedules_go_from_start_to_end_and_stay() -> None:
    weight = Linear(end=4.0, start=1.0, over=0.5)
    assert [weight(p) for p in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.75, 2.5, 4.0, 4.0, 4.0]
    objective = Objective() + weight * KL() + 0.5 * Sparsity() + SparsityTarget()
    assert objective.weights(0.25) == {"kl": 2.5, "sparsity": 0.5, "sparsity_target": 1.0}
    assert objective.weights(1.0) == {"kl": 4.0, "sparsity": 0.5, "sparsity_target": 1.0}


def test_terms_add_up_in_order_and_leave_the_objective_alone() -> None:
    base = Reconstruction(SquaredError())
    objective = base + 2.0 * KL() + Sparsity()
    assert base.terms == ()
    assert [(w.term.kind, w.weight) for w in objective.terms] == [("kl", 2.0), ("sparsity", 1.0)]
    assert dataclasses.replace(objective, terms=()) == base
