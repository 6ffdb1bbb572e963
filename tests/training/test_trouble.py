"""Losses that are not finite, and Ctrl-C."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import Deterministic
from isthmus.corruptions import Corruption
from isthmus.errors import TrainingError
from isthmus.networks import Dense
from isthmus.recipe import Training
from isthmus.schema import Batch, Schema
from isthmus.training import CheckpointStore, History, train
from tests.helpers import rows, small
from tests.training.test_resume import KillAt, Killed, assert_same_run

X = rows(90).astype(np.float32)
TRAIN, HELD_OUT = Batch(torch.from_numpy(X[:70])), Batch(torch.from_numpy(X[70:]))


@dataclass(frozen=True)
class Poison(Corruption):
    """Lets the batches of some steps be NaN, while training (validation passes a generator)."""

    kind: ClassVar[str] = "poison"
    steps_poisoned: tuple[int, ...] = ()
    seen: list[int] = None  # type: ignore[assignment]

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            return x
        self.seen.append(len(self.seen))
        return x * float("nan") if self.seen[-1] in self.steps_poisoned else x


def fit(
    poisoned: Any,
    validation: bool = True,
    progress: Any = None,
    store: CheckpointStore | None = None,
    done: int = 0,
    **training: Any,
) -> tuple[History, Any]:
    """Train 5 epochs of 5 steps, some of them on NaN, or go on after the steps that are done."""
    settings = {"epochs": 5, "batch_size": 14, "patience": None, "learning_rate": 0.01, **training}
    poison = Poison(tuple(poisoned), list(range(done)))
    recipe = Recipe(Dense((7,)), Deterministic(3), poison, training=Training(**settings))
    recipe = recipe.resolve(Schema.of(X), 70)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition = recipe.build(Schema.of(X))
    history = train(
        composition,
        recipe.objective,
        recipe.training,
        TRAIN,
        HELD_OUT if validation else None,
        progress=progress,
        store=store,
        resume=True,
    )
    return history, composition


def finite(composition: Any) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in composition.state_dict().values())


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("step", [0, 2, 4, 7, 12, 24])
def test_one_nan_rolls_back_lowers_the_rate_and_finishes(step: int, validation: bool) -> None:
    """In the first epoch, in the middle of one, at its last step, and at the very last step."""
    with pytest.warns(RuntimeWarning, match="not finite at epoch.*best weights with a tenth of the learning rate"):
        history, composition = fit([step], validation)
    assert finite(composition)
    assert history.stop_reason.startswith("all 5 epochs done")
    clean, _ = fit([], validation)
    hit = step // 5 + 1
    found = {row["epoch"]: row for row in history}  # whether the epoch that failed has a row is left open
    expected = {row["epoch"]: row for row in clean}
    assert found.keys() | {hit} == expected.keys()
    for epoch, row in found.items():
        if epoch < hit:
            assert row["train/total"] == expected[epoch]["train/total"]
            assert row["learning_rate"] == expected[epoch]["learning_rate"]
        elif epoch > hit:
            assert math.isfinite(row["train/total"])
            assert row["learning_rate"] == pytest.approx(0.1 * expected[epoch]["learning_rate"])
    if 1 < hit < 5:  # it went on from weights as good as those before, not from the start
        assert found[hit + 1]["train/total"] < found[hit - 1]["train/total"] + 0.05
    if validation:
        loss = composition(HELD_OUT).reconstruction.mean().item()
        assert loss == pytest.approx(min(v for v in history["validation/total"] if math.isfinite(v)), rel=1e-5)


@pytest.mark.parametrize("kill", [9, 12, 16, 21])
def test_a_run_that_was_rolled_back_resumes_exactly(kill: int, tmp_path: Path) -> None:
    """The lowered rate and the forgotten moments are part of where a run is."""
    with pytest.warns(RuntimeWarning, match="a tenth of the learning rate"):
        alone = fit([6], checkpoint_seconds=0.0)
    store = CheckpointStore(tmp_path, "digest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(Killed):
            fit([6], progress=KillAt(step=kill), store=store, checkpoint_seconds=0.0)
        resumed = fit([6], store=store, done=kill - 1, checkpoint_seconds=0.0)
    assert_same_run((alone[1], alone[0]), (resumed[1], resumed[0]))


def test_a_nan_in_a_long_epoch_is_noticed_before_its_end() -> None:
    """The loop looks every 50 steps; a roll-back at the last batch of an epoch is one of those."""
    with pytest.warns(RuntimeWarning, match=r"not finite at epoch 1, step 50 "):
        history, composition = fit([10], batch_size=1, epochs=2)  # 70 steps in an epoch
    assert finite(composition) and len(history) == 2 and all(math.isfinite(v) for v in history["train/total"])
    with pytest.warns(RuntimeWarning, match=r"not finite at epoch 5, step 50 "):
        history, composition = fit([45], batch_size=7, epochs=6)  # 10 steps in an epoch: step 50 ends the fifth
    assert finite(composition) and math.isfinite(history["train/total"][-1])


@pytest.mark.parametrize("validation", [True, False])
def test_nan_again_after_an_epoch_keeps_the_best_weights(validation: bool) -> None:
    with pytest.warns(RuntimeWarning) as caught:
        history, composition = fit(range(12, 10_000), validation)
    messages = [str(w.message) for w in caught]
    assert any(
        "a tenth of the learning rate did not help" in m and "best weights so far are kept" in m for m in messages
    )
    assert history.best_epoch == 2 and finite(composition)
    assert history.stop_reason.startswith("stopped: the loss is not finite")
    if validation:
        loss = composition(HELD_OUT).reconstruction.mean().item()
        assert loss == pytest.approx(history["validation/total"][1], rel=1e-5)


@pytest.mark.parametrize("validation", [True, False])
def test_nan_always_stops_with_advice(validation: bool) -> None:
    with (
        pytest.warns(RuntimeWarning, match="best weights with a tenth"),
        pytest.raises(
            TrainingError, match=r"not finite at epoch \d+, step \d+.*try training.learning_rate=0.0003.*ext"
        ),
    ):
        fit(range(10_000), validation)


def test_the_message_names_the_terms_that_are_not_finite() -> None:
    with pytest.warns(RuntimeWarning, match=r"\(.*total.*reconstruction.*\)"):
        fit([3])


def test_a_learning_rate_that_is_far_too_high_ends_in_advice_or_a_model() -> None:
    """No number that a user may set leads to a model of NaN."""
    recipe = small(presets.autoencoder(), learning_rate=10.0, epochs=30).replace({"objective.likelihood": "normal"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model = Autoencoder(recipe, random_state=0).fit(1e3 * X)
        except TrainingError as error:
            message, model = str(error), None
    if model is None:
        assert "learning_rate" in message
    else:
        assert finite(model.composition_) and np.isfinite(model.transform(X)).all()


# ---- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [{"step": 12}, {"step": 24}, {"epoch": 2}, {"epoch": 4}], ids=str)
def test_ctrl_c_keeps_the_best_model_so_far(where: dict[str, int]) -> None:
    progress = KillAt(**where, error=KeyboardInterrupt)
    with pytest.warns(RuntimeWarning, match="interrupted; the best weights so far are kept"):
        history, composition = fit([], progress=progress)
    epochs = where.get("epoch", where.get("step", 0) // 5)
    assert len(history) == epochs and history.stop_reason == "interrupted"
    assert progress.stopped == ["interrupted"]
    assert not composition.training and all(p.grad is None for p in composition.parameters())
    loss = composition(HELD_OUT).reconstruction.mean().item()
    assert loss == pytest.approx(min(history["validation/total"]), rel=1e-6)


def test_ctrl_c_in_the_first_epoch_leaves_a_usable_model() -> None:
    with pytest.warns(RuntimeWarning, match="interrupted"):
        history, composition = fit([], progress=KillAt(step=3, error=KeyboardInterrupt))
    assert len(history) == 0 and finite(composition) and not composition.training


def test_ctrl_c_in_fit_gives_a_fitted_model_that_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small(presets.vae(), epochs=6)
    progress = KillAt(step=9, error=KeyboardInterrupt)
    monkeypatch.setattr("isthmus.estimator.autoencoder.choose_progress", lambda verbose: progress)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        model = Autoencoder(recipe).fit(X)
    model.save(tmp_path / "model")
    assert model.metrics_["stop_reason"] == "interrupted" and model.metrics_["epochs"] == 2
    assert np.isfinite(model.score_samples(X)).all()


def test_ctrl_c_and_resume_is_the_run_that_was_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small(presets.vae(), epochs=4, checkpoint_seconds=0.0)
    alone = Autoencoder(recipe, random_state=0).fit(X)
    progress = KillAt(step=7, error=KeyboardInterrupt)
    monkeypatch.setattr("isthmus.estimator.autoencoder.choose_progress", lambda verbose: progress)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        Autoencoder(recipe, random_state=0).fit(X, checkpoint=tmp_path)
    monkeypatch.undo()
    resumed = Autoencoder(recipe, random_state=0).fit(X, resume_from=tmp_path)
    assert np.array_equal(alone.score_samples(X), resumed.score_samples(X))


def test_generators_are_put_back_after_an_interruption(generators_untouched: Any) -> None:
    for error in (KeyboardInterrupt, RuntimeError):
        with generators_untouched(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fit([], progress=KillAt(step=7, error=error))
            except RuntimeError:
                assert error is RuntimeError
