"""The loop: what it minimises, what it keeps, and terms that own parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isthmus import Autoencoder, Recipe, load, presets
from isthmus.codes import Deterministic, Draw, Gaussian
from isthmus.composition import Composition
from isthmus.corruptions import GaussianNoise, Mask
from isthmus.data.batches import Loader
from isthmus.metrics import count_active
from isthmus.networks import Dense
from isthmus.objectives import (
    KL,
    TERMS,
    Contraction,
    Forward,
    Linear,
    Objective,
    OwningTerm,
    Reconstruction,
    Shapes,
    SquaredError,
    Term,
    WeightedTerm,
)
from isthmus.recipe import Training
from isthmus.schema import Batch, Schema
from isthmus.seeds import derive
from isthmus.training import train
from isthmus.training.loop import Run
from tests.helpers import rows, small
from tests.training.test_optimizer import plain_rate

X = rows(80).astype(np.float32)
TRAIN, HELD_OUT = Batch(torch.from_numpy(X[:60])), Batch(torch.from_numpy(X[60:]))


def resolved(recipe: Recipe) -> Recipe:
    return recipe.resolve(Schema.of(X), 60)


def make(recipe: Recipe, seed: int = 0) -> Composition:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resolved(recipe).build(Schema.of(X))


def settings(**changes: Any) -> Training:
    return Training(**{"epochs": 4, "batch_size": 16, "patience": None, **changes})


def run_of(recipe: Recipe, validation: Batch | None = HELD_OUT) -> Run:
    recipe = resolved(recipe)
    return Run(make(recipe).train(), recipe.objective, recipe.training, TRAIN, validation)


# ---- a term that owns parameters ----------------------------------------------------------------------------------


class AdversaryTerm(OwningTerm):
    """Guesses whether latents are the code's or standard normal; the autoencoder is to make that hard."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.judge = nn.Linear(latent_dim, 1)

    def forward(self, forward: Forward) -> Tensor:
        return nn.functional.softplus(-self.judge(forward.code.z)).squeeze(1)

    def own_loss(self, forward: Forward) -> Tensor:
        z = forward.code.z.detach()
        prior = torch.linspace(-2, 2, z.numel()).view_as(z)
        return nn.functional.softplus(self.judge(z)).mean() + nn.functional.softplus(-self.judge(prior)).mean()


@dataclass(frozen=True)
class Adversary(Term):
    kind: ClassVar[str] = "adversary"

    def __call__(self, forward: Forward) -> Tensor:
        raise AssertionError("a term that owns parameters is built before it is used")

    def build(self, shapes: Shapes) -> Callable[[Forward], Tensor]:
        assert shapes.row == X.shape[1:]
        return AdversaryTerm(shapes.latent[0])


def adversarial(weight: Any = 0.5, **changes: Any) -> Recipe:
    objective = Reconstruction(SquaredError("sigmoid")) + WeightedTerm(Adversary(), weight)
    return Recipe(Dense((7,), "tanh"), Deterministic(3), objective=objective, training=settings(**changes))


def plain_training(recipe: Recipe) -> tuple[Composition, list[dict[str, float]]]:
    """The same training, written without the loop: separate tensors, no clipping, no buffers."""
    recipe = resolved(recipe)
    s = recipe.training
    assert s.clip is None
    composition = make(recipe).train()
    groups = {name: parameters for name, parameters in composition.owners() if parameters}
    adams = {
        name: torch.optim.AdamW(ps, lr=1.0, betas=s.betas, eps=1e-8, weight_decay=0.0) for name, ps in groups.items()
    }
    loader = Loader(TRAIN, int(s.batch_size), s.seed)
    steps, step, history = int(s.epochs) * loader.steps, 0, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(s.seed, "training"))
        for epoch in range(int(s.epochs)):
            totals: dict[str, float] = {}
            for batch in loader.epoch(epoch):
                forward = composition(batch, Draw(), corrupt=True)
                weights = {w.term.kind: w.at(step / steps) for w in recipe.objective.terms}
                raw = {"reconstruction": forward.reconstruction.mean()}
                raw |= {name: term(forward).mean() for name, term in composition.terms.items()}
                total = raw["reconstruction"] + sum(weights[name] * raw[name] for name in weights)
                gradients = torch.autograd.grad(total, groups["autoencoder"])
                own = {
                    name: torch.autograd.grad(term.own_loss(forward), groups[name])
                    for name, term in composition.owning_terms.items()
                }
                for name, found in {"autoencoder": gradients, **own}.items():
                    for parameter, gradient in zip(groups[name], found, strict=True):
                        parameter.grad = gradient
                for name, value in {"total": total, **raw}.items():
                    totals[name] = totals.get(name, 0.0) + value.item() * batch.rows
                for name in weights:
                    key = f"{name}/weighted"
                    totals[key] = totals.get(key, 0.0) + weights[name] * raw[name].item() * batch.rows
                for adam in adams.values():
                    adam.param_groups[0]["lr"] = plain_rate(s, step, steps)
                    adam.step()
                step += 1
            history.append({f"train/{name}": value / TRAIN.rows for name, value in totals.items()})
    return composition, history


@pytest.mark.parametrize(
    "recipe",
    [
        adversarial(clip=None, learning_rate=0.02),
        adversarial(Linear(end=2.0, over=0.5), clip=None, learning_rate=0.02),
        Recipe(Dense((7,)), Deterministic(3), Mask(0.3), training=settings(clip=None)),
        Recipe(
            Dense((7,), dropout=0.3),
            Gaussian(2),
            GaussianNoise(0.1),
            Objective("auto_density") + Linear(end=3.0, over=0.7) * KL() + 0.1 * Contraction(),
            training=settings(clip=None, batch_size=13, schedule="cosine"),
        ),
    ],
    ids=["adversary", "adversary with a schedule", "denoising", "everything"],
)
def test_the_loop_is_what_a_plain_loop_does(recipe: Recipe) -> None:
    recipe = resolved(recipe)
    composition = make(recipe)
    history = train(composition, recipe.objective, recipe.training, TRAIN)
    expected, expected_history = plain_training(recipe)
    for name, value in composition.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=2e-3, atol=2e-5, msg=name)
    for row, expected_row in zip(history, expected_history, strict=True):
        for name, number in expected_row.items():
            assert row[name] == pytest.approx(number, rel=1e-4, abs=1e-6), name


def test_an_adversary_learns_by_its_own_loss_and_the_autoencoder_by_its_verdict() -> None:
    def judge_of(weight: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        recipe = resolved(adversarial(weight, epochs=10))
        composition = make(recipe)
        train(composition, recipe.objective, recipe.training, TRAIN)
        state = composition.state_dict()
        own = {k: v for k, v in state.items() if k.startswith("owning_terms.")}
        return own, {k: v for k, v in state.items() if k not in own}

    start = dict(make(adversarial()).state_dict().items())
    own, autoencoder = judge_of(0.0)
    assert len(own) == 2 and all(not torch.equal(value, start[name]) for name, value in own.items())
    plain = resolved(Recipe(Dense((7,), "tanh"), Deterministic(3), training=settings(epochs=10)))
    alone = make(plain)
    train(alone, plain.objective, plain.training, TRAIN)
    for name, value in alone.state_dict().items():  # a weight of zero is no influence
        assert torch.equal(value, autoencoder[name])
    _, moved = judge_of(2.0)
    assert any(not torch.allclose(moved[name], autoencoder[name], atol=1e-3) for name in moved)


def test_an_adversary_lowers_its_own_loss() -> None:
    recipe = resolved(adversarial(0.0, epochs=30, learning_rate=0.05))
    composition = make(recipe)
    term: Any = composition.owning_terms["adversary"]
    before = term.own_loss(composition(TRAIN)).item()
    train(composition, recipe.objective, recipe.training, TRAIN)
    assert term.own_loss(composition(TRAIN)).item() < before - 0.05


def test_owners_share_no_parameter() -> None:
    composition = make(adversarial())
    owners = dict(composition.owners())
    assert list(owners) == ["autoencoder", "adversary"]
    numbers = [id(p) for parameters in owners.values() for p in parameters]
    assert len(numbers) == len(set(numbers)) == len(list(composition.parameters()))
    assert {tuple(p.shape) for p in owners["adversary"]} == {(1, 3), (1,)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_term_in_the_table_works_in_the_estimator(precision: str, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setitem(TERMS, "adversary", Adversary)
    model = Autoencoder(adversarial(precision=precision), random_state=0).fit(X)
    again = load(model.save(tmp_path / "model"))
    assert np.array_equal(again.transform(X), model.transform(X))
    assert "owning_terms.adversary.judge.weight" in again.composition_.state_dict()
    assert model.history_["train/adversary"][-1] > 0


# ---- epochs and batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 16, 59, 60])
def test_an_epoch_sees_every_row_once_in_batches_of_nearly_one_size(batch_size: int) -> None:
    loader = Loader(Batch(torch.arange(60.0).view(60, 1)), batch_size, seed=3)
    for epoch in (0, 1):
        batches = [batch.x.flatten() for batch in loader.epoch(epoch)]
        sizes = [len(batch) for batch in batches]
        assert len(batches) == loader.steps == math.ceil(60 / batch_size)
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
        assert sorted(torch.cat(batches).tolist()) == list(range(60))


def test_the_loss_of_an_epoch_is_averaged_over_rows() -> None:
    """Batches of 7 and 8 rows: a mean of the batches' means would weigh rows unequally."""
    recipe = resolved(Recipe(Dense((7,)), Deterministic(3), training=settings(batch_size=8, learning_rate=1e-12)))
    history = train(make(recipe), recipe.objective, recipe.training, TRAIN)
    composition = make(recipe).eval()
    expected = composition(TRAIN).reconstruction.mean().item()
    assert history["train/total"] == pytest.approx([expected] * 4, rel=1e-6)


# ---- validation and selection -------------------------------------------------------------------------------------

WARMED = Recipe(
    Dense((7,), dropout=0.4, normalisation="layer"),
    Gaussian(2),
    Mask(0.3),
    Objective("auto_density") + Linear(end=3.0, start=0.5, over=1.0) * KL(),
    training=settings(epochs=3),
)


def test_validation_uses_the_training_formula_with_the_final_weights_in_evaluation_mode() -> None:
    """PyTorch-VAE weighs the KL in validation unlike in training."""
    run = run_of(WARMED)
    for batch in run.loader.epoch(0):
        run.train_step(batch)
    found = run.validate()
    composition = run.composition
    assert composition.training
    composition.eval()
    with torch.no_grad():
        noise = torch.Generator().manual_seed(derive(run.settings.seed, "validation"))
        forward = composition(HELD_OUT, Draw(generator=noise), corrupt=True, generator=noise)
        reconstruction = forward.reconstruction.mean().item()
        rate = forward.code.quantities["kl"].sum(1).mean().item()
    assert found["reconstruction"] == pytest.approx(reconstruction, rel=1e-6)
    assert found["kl"] == pytest.approx(rate, rel=1e-6)
    assert found["total"] == pytest.approx(reconstruction + 3.0 * rate, rel=1e-6)
    composition.train()
    assert run.validate() == found  # the same noise at every call
    before = torch.get_rng_state()
    run.validate()
    assert torch.equal(before, torch.get_rng_state())


def test_validation_in_blocks_is_validation_at_once() -> None:
    many = Batch(torch.from_numpy(rows(2500).astype(np.float32)))
    recipe = resolved(Recipe(Dense((7,)), Deterministic(3), training=settings()))
    run = Run(make(recipe).train(), recipe.objective, recipe.training, TRAIN, many)
    composition = run.composition
    found = run.validate()["total"]
    assert found == pytest.approx(composition.eval()(many).reconstruction.mean().item(), rel=1e-5)


def test_weights_of_a_schedule_follow_the_steps() -> None:
    recipe = resolved(WARMED)
    history = train(make(recipe), recipe.objective, recipe.training, TRAIN, HELD_OUT)
    steps = 3 * 4
    weights = [0.5 + 2.5 * step / steps for step in range(steps)]
    for epoch, row in enumerate(history):
        part = weights[4 * epoch : 4 * epoch + 4]
        assert min(part) - 1e-9 <= row["train/kl/weighted"] / row["train/kl"] <= max(part) + 1e-9
        assert row["validation/kl/weighted"] == pytest.approx(3.0 * row["validation/kl"])
        assert row["learning_rate"] == pytest.approx(plain_rate(recipe.training, 4 * epoch + 3, steps))


@pytest.mark.parametrize("normalisation", [None, "batch"])
def test_early_stopping_restores_the_best_weights(normalisation: str | None) -> None:
    """Buffers too: a network with another epoch's running averages is another network."""
    few = Batch(TRAIN.x[:12])
    recipe = resolved(
        Recipe(
            Dense((32, 32), normalisation=normalisation),
            Deterministic(4),
            training=settings(epochs=200, batch_size=6, learning_rate=0.03, patience=5),
        )
    )
    composition = make(recipe)
    history = train(composition, recipe.objective, recipe.training, few, HELD_OUT)
    losses = history["validation/total"]
    assert len(losses) < 200 and "no better validation loss for 5 epochs" in history.stop_reason
    assert history.best_epoch == int(np.argmin(losses)) + 1 == len(losses) - 5
    assert losses[-1] > min(losses)
    assert not composition.training
    with torch.no_grad():
        again = composition(HELD_OUT).reconstruction.mean().item()
    assert again == pytest.approx(min(losses), rel=1e-6)
    assert all(p.grad is None for p in composition.parameters())


def test_without_held_out_rows_the_last_weights_are_kept() -> None:
    recipe = resolved(Recipe(Dense((7,)), Deterministic(3), training=settings(patience=1, clip=None)))
    composition = make(recipe)
    history = train(composition, recipe.objective, recipe.training, TRAIN)
    assert len(history) == 4 and history.best_epoch == 4
    for name, value in plain_training(recipe)[0].state_dict().items():
        torch.testing.assert_close(composition.state_dict()[name], value, rtol=2e-3, atol=2e-5)
    assert "validation/total" not in history.names()
    assert history.stop_reason.startswith("all 4 epochs done")


def test_patience_counts_from_the_best_epoch() -> None:
    recipe = resolved(Recipe(Dense((7,)), Deterministic(3), training=settings(epochs=9, patience=9)))
    composition = make(recipe)
    history = train(composition, recipe.objective, recipe.training, TRAIN, HELD_OUT)
    assert len(history) == 9


# ---- collapse made visible ----------------------------------------------------------------------------------------


def test_active_units_are_latents_whose_mean_varies() -> None:
    means = torch.zeros(1000, 4)
    means[:, 0] = torch.linspace(-1, 1, 1000)
    means[:, 1] = 0.09 * torch.linspace(-1, 1, 1000) * 3**0.5  # variance 0.0081: below 0.01
    means[:, 2] = 0.11 * torch.linspace(-1, 1, 1000) * 3**0.5 + 7.0  # 0.0121, whatever its mean
    assert count_active(means, has_prior=True) == 2
    # Without a prior the scale is free: the limit is a hundredth of the average variance, here about 0.0009.
    assert count_active(means, has_prior=False) == 3
    assert count_active(1000 * means, has_prior=False) == 3
    assert count_active(means.view(1000, 4, 1).expand(-1, -1, 3), has_prior=True) == 2
    assert count_active(torch.ones(10, 3), has_prior=True) == 0


def test_a_heavy_rate_collapses_the_code_and_history_says_so() -> None:
    x = rows(200)
    heavy = small(presets.beta_vae(beta=200.0, warmup_share=0.0), epochs=40, learning_rate=0.02)
    light = small(presets.beta_vae(beta=0.01, warmup_share=0.0), epochs=40, learning_rate=0.02)
    assert Autoencoder(heavy).fit(x).history_["active_units"][-1] == 0
    assert Autoencoder(light).fit(x).history_["active_units"][-1] >= 2
    model = Autoencoder(light).fit(x)
    kl = model.kl_per_latent(x)
    assert kl.shape == (3,) and (kl >= 0).all()
    assert kl.sum() == pytest.approx(
        model.composition_.encode(Batch(torch.from_numpy(x).float())).quantities["kl"].sum(1).mean().item(), rel=1e-4
    )


# ---- settings that must at least run ------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["autoencoder", "contractive", "vae", "sparse_kl"])
def test_bfloat16_runs_on_a_cpu_and_stays_close(preset: str) -> None:
    x = rows(64)
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = Autoencoder(small(presets.get(preset), precision=precision, epochs=5), random_state=0).fit(x)
        assert all(p.dtype == torch.float32 for p in model.composition_.parameters())
        assert model.transform(x).dtype == np.float32 and np.isfinite(model.score_samples(x)).all()
        losses[precision] = model.history_["train/total"]
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)


def test_threads_are_as_asked_and_put_back() -> None:
    before = torch.get_num_threads()
    Autoencoder(small(presets.autoencoder(), threads=2)).fit(rows(64))
    assert torch.get_num_threads() == before
    seen: list[int] = []
    recipe = resolved(Recipe(Dense((7,)), Deterministic(3), training=settings(threads=2)))
    composition = make(recipe)
    composition.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    train(composition, recipe.objective, recipe.training, TRAIN)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


def test_early_stopping_waits_for_a_warm_up() -> None:
    """Under a rising weight the loss with the final one may rise too; patience counts from the warm-up's end."""
    noise = np.random.default_rng(0).normal(size=(200, 6))
    recipe = presets.beta_vae(latent_dim=2, beta=8.0, warmup_share=0.5, hidden_dims=(8,), epochs=60, patience=3)
    history = Autoencoder(recipe).fit(noise).history_
    assert len(history) >= 33
