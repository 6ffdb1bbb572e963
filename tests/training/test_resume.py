"""A run that is interrupted anywhere and resumed ends with the weights of the run that was left alone, bit for bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus import Autoencoder, Recipe, presets
from isthmus.codes import BatchTopK, Deterministic, Gaussian, GumbelSoftmax, VampPrior, VectorQuantised
from isthmus.composition import Composition
from isthmus.corruptions import Mask
from isthmus.errors import ArtifactError
from isthmus.networks import Dense
from isthmus.objectives import KL, Auxiliary, Commitment, Linear, Objective
from isthmus.recipe import Training
from isthmus.schema import Batch, Schema
from isthmus.training import CheckpointStore, History, train
from tests.helpers import rows, small
from tests.training.test_loop import adversarial

X = rows(90).astype(np.float32)
TRAIN, HELD_OUT = Batch(torch.from_numpy(X[:70])), Batch(torch.from_numpy(X[70:]))


def training(**changes: Any) -> Training:
    return Training(**{"epochs": 5, "batch_size": 16, "patience": None, "checkpoint_seconds": 0.0, **changes})


RECIPES = {
    "plain": Recipe(Dense((9,)), Deterministic(3), training=training()),
    "batch normalisation and dropout": Recipe(
        Dense((9, 6), normalisation="batch", dropout=0.3), Deterministic(3), Mask(0.3), training=training()
    ),
    "vae with a schedule": Recipe(
        Dense((9,)),
        Gaussian(2),
        objective=Objective("auto_density") + Linear(end=2.0, over=0.8) * KL(),
        training=training(weight_decay=0.01, batch_size=13),
    ),
    "normal density": Recipe(Dense((9,)), Gaussian(2), objective=presets.vae().objective, preprocessing="standard"),
    "early stopping": Recipe(
        Dense((32, 32)), Deterministic(4), training=training(epochs=40, learning_rate=0.05, patience=3)
    ),
    "dead latents and a threshold": Recipe(
        Dense((), unit_decoder=True),
        BatchTopK(12, 2, dead_after=20),
        objective=Objective() + 0.1 * Auxiliary(),
        training=training(),
    ),
    "spectral norm": Recipe(Dense((9,), spectral_norm=0.5), Deterministic(3), training=training()),
    "nothing held out": Recipe(Dense((9,)), Deterministic(3), training=training(clip=None)),
    "codebook with restarts": Recipe(
        Dense((9,)),
        VectorQuantised(4, 8, 2, decay=0.8, restart=0.9),
        objective=Objective() + 0.25 * Commitment(),
        training=training(),
    ),
    "annealed temperature": Recipe(
        Dense((9,)), GumbelSoftmax(6, 3), objective=Objective("auto_density") + 0.1 * KL(), training=training()
    ),
    "learned prior": Recipe(
        Dense((9,)),
        Gaussian(3, "full", VampPrior(5)),
        objective=Objective("auto_density") + 0.1 * KL(),
        training=training(),
    ),
    "adversary": adversarial(0.5, epochs=4, checkpoint_seconds=0.0),
}
RECIPES["normal density"] = RECIPES["normal density"].replace(
    {"training.epochs": 4, "training.batch_size": 16, "training.checkpoint_seconds": 0.0}
)


class Killed(Exception):
    """Stands for a power cut: nothing after it runs but what an exception cannot avoid."""


class KillAt:
    """A progress that ends the process at a step or at an epoch's end."""

    def __init__(self, step: int | None = None, epoch: int | None = None, error: type[BaseException] = Killed) -> None:
        self.at_step, self.at_epoch, self.error = step, epoch, error
        self.done: list[int] = []
        self.started: list[int] = []
        self.stopped: list[str] = []

    def start(self, epochs: int, steps: int, done: int) -> None:
        self.started.append(done)

    def wants_step(self) -> bool:
        return True

    def step(self, epoch: int, done: int, loss: float) -> None:
        self.done.append(done)
        if done == self.at_step:
            raise self.error

    def epoch(self, row: Mapping[str, Any]) -> None:
        if row["epoch"] == self.at_epoch:
            raise self.error

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)


def go(name: str, store: CheckpointStore | None = None, progress: Any = None) -> tuple[Composition, History]:
    recipe = RECIPES[name].resolve(Schema.of(X), 70)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition = recipe.build(Schema.of(X))
    validation = None if name == "nothing held out" else HELD_OUT
    history = train(
        composition, recipe.objective, recipe.training, TRAIN, validation, progress=progress, store=store, resume=True
    )
    return composition, history


def untimed(history: History) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "rows_per_second")} for row in history]


def assert_same_run(one: tuple[Composition, History], other: tuple[Composition, History]) -> None:
    first, second = one[0].state_dict(), other[0].state_dict()
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key
    assert untimed(one[1]) == untimed(other[1])
    assert (one[1].best_epoch, one[1].stop_reason) == (other[1].best_epoch, other[1].stop_reason)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_steps_and_resumed(name: str, seed: int, tmp_path: Path) -> None:
    """Three kills in one run, at random steps, the first and the last of an epoch among them."""
    alone = go(name)
    recipe = RECIPES[name].resolve(Schema.of(X), 70)
    per_epoch = -(-70 // int(recipe.training.batch_size))
    steps = len(alone[1]) * per_epoch
    chance = random.Random(f"{name}{seed}")
    kills = sorted([*chance.sample(range(2, steps), 2), per_epoch * chance.randint(1, len(alone[1]) - 1) + seed - 1])
    store = CheckpointStore(tmp_path / "checkpoint", "digest")
    for kill in kills:
        progress = KillAt(step=kill)
        with pytest.raises(Killed):
            go(name, store, progress)
        assert progress.stopped == ["interrupted"]
    last = KillAt()
    resumed = go(name, store, last)
    # The step that was shown when the power went had not been saved yet.
    assert last.started == [kills[-1] - 1] and last.done[0] == kills[-1]
    assert_same_run(alone, resumed)


@pytest.mark.parametrize("name", RECIPES)
def test_killed_between_epochs(name: str, tmp_path: Path) -> None:
    alone = go(name)
    store = CheckpointStore(tmp_path, "digest")
    for epoch in (1, 2):
        with pytest.raises(Killed):
            go(name, store, KillAt(epoch=epoch))
    assert_same_run(alone, go(name, store))


@pytest.mark.parametrize("name", ["plain", "vae with a schedule"])
def test_checkpoints_change_nothing_and_a_finished_run_stays_finished(name: str, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "digest")
    alone = go(name)
    assert_same_run(alone, go(name, store))
    again = KillAt()
    assert_same_run(alone, go(name, store, again))
    assert again.done == []  # no step was taken twice


def test_best_weights_and_the_last_optimiser_state_are_not_mixed(tmp_path: Path) -> None:
    """pythae saves the best weights with the last optimiser state; a checkpoint holds both sides of each."""
    store = CheckpointStore(tmp_path, "digest")
    name = "early stopping"
    alone = go(name)
    best, total = alone[1].best_epoch, len(alone[1])
    assert best < total
    with pytest.raises(Killed):
        go(name, store, KillAt(epoch=total - 1))
    found = store.load()
    assert found is not None
    tensors, state = found
    assert state["best_epoch"] == best
    for key, value in alone[0].state_dict().items():
        assert torch.equal(tensors[f"best/{key}"], value)
    assert_same_run(alone, go(name, store))


def test_the_estimator_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small(presets.vae(), checkpoint_seconds=0.0, epochs=4)
    alone = Autoencoder(recipe, random_state=3).fit(X)
    kill = KillAt(step=6)
    monkeypatch.setattr("isthmus.estimator.autoencoder.choose_progress", lambda verbose: kill)
    with pytest.raises(Killed):
        Autoencoder(recipe, random_state=3).fit(X, checkpoint=tmp_path / "c")
    monkeypatch.undo()
    resumed = Autoencoder(recipe, random_state=3).fit(X, resume_from=tmp_path / "c")
    for key, value in alone.composition_.state_dict().items():
        assert torch.equal(resumed.composition_.state_dict()[key], value)
    assert np.array_equal(alone.score_samples(X), resumed.score_samples(X))
    assert untimed(alone.history_) == untimed(resumed.history_)


def test_resume_from_an_empty_place_starts_anew(tmp_path: Path) -> None:
    recipe = small(presets.autoencoder())
    alone = Autoencoder(recipe, random_state=3).fit(X)
    model = Autoencoder(recipe, random_state=3).fit(X, resume_from=tmp_path / "nothing")
    assert np.array_equal(alone.transform(X), model.transform(X))


# ---- checkpoints that are refused ---------------------------------------------------------------------------------


def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: Any = X, condition: Any = None) -> Recipe:
    recipe = small(presets.autoencoder(), checkpoint_seconds=0.0, seed=3)
    with monkeypatch.context() as context:
        context.setattr("isthmus.estimator.autoencoder.choose_progress", lambda verbose: KillAt(step=4))
        with pytest.raises(Killed):
            Autoencoder(recipe).fit(x, checkpoint=tmp_path, condition=condition)
    return recipe


@pytest.mark.parametrize(
    "change",
    [
        {"code.latent_dim": 2},
        {"training.seed": 4},
        {"training.learning_rate": 0.001},
        {"training.epochs": 7},
        {"network.activation": "tanh"},
        {"corruption": "mask"},
        {"preprocessing": "standard"},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_recipe_is_refused(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = killed(tmp_path, monkeypatch)
    with pytest.raises(ArtifactError, match=r"another recipe or of other data.*without resuming"):
        Autoencoder(recipe.replace(change)).fit(X, resume_from=tmp_path)


def test_time_between_checkpoints_is_no_other_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = killed(tmp_path, monkeypatch)
    Autoencoder(recipe.replace({"training.checkpoint_seconds": 99})).fit(X, resume_from=tmp_path)


@pytest.mark.parametrize("other", ["value", "order", "type", "shape", "condition"])
def test_a_checkpoint_of_other_data_is_refused(other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = killed(tmp_path, monkeypatch)
    x, condition = X.copy(), None
    if other == "value":
        x[50, 3] += 1e-6
    elif other == "order":
        x = x[::-1]
    elif other == "type":
        x = x.astype(np.float64)
    elif other == "shape":
        x = x.reshape(90, 2, 3)
    else:
        condition = np.ones((90, 1))
    with pytest.raises(ArtifactError, match="another recipe or of other data"):
        Autoencoder(recipe).fit(x, resume_from=tmp_path, condition=condition)


def saved(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path, "digest")
    with pytest.raises(Killed):
        go("plain", store, KillAt(step=7))
    return store


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float, tmp_path: Path) -> None:
    store = saved(tmp_path)
    content = store.path.read_bytes()
    store.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=r"is damaged.*without resuming"):
        go("plain", store)


@pytest.mark.parametrize("seed", range(12))
def test_a_checkpoint_with_a_flipped_bit_is_refused(seed: int, tmp_path: Path) -> None:
    """Wherever the bit is: a weight that is wrong is worse than a run that starts again."""
    store = saved(tmp_path)
    content = bytearray(store.path.read_bytes())
    content[random.Random(seed).randrange(8, len(content))] ^= 1 << (seed % 8)
    store.path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="checkpoint"):
        go("plain", store)


def rewrite(store: CheckpointStore, **changes: Any) -> None:
    """Write the checkpoint again with other tensors or metadata, everything else as it was."""
    from safetensors import safe_open

    tensors = load_file(store.path)
    with safe_open(store.path, "pt") as file:
        metadata = dict(file.metadata())
    tensors = {name: tensor for name, tensor in tensors.items() if name not in changes.get("drop", ())}
    tensors |= changes.get("tensors", {})
    metadata |= changes.get("metadata", {})
    save_file(tensors, store.path, metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"format": "2"}}, "has format 2, this isthmus reads 1"),
        ({"metadata": {"state": "{"}}, "is damaged"),
        ({"metadata": {"state": "[]"}}, "is damaged"),
        ({"metadata": {"state": json.dumps({"epoch": 1, "unheard_of": 2})}}, "is damaged"),
        ({"drop": ["generator"]}, "is damaged"),
        ({"drop": ["autoencoder/values"]}, "is damaged"),
        ({"drop": ["best/network.encoder.0.bias"]}, "is damaged"),
        ({"tensors": {"autoencoder/values": torch.zeros(3)}}, "is damaged"),
    ],
    ids=str,
)
def test_a_checkpoint_that_lacks_something_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    store = saved(tmp_path)
    rewrite(store, **changes)
    with pytest.raises(ArtifactError, match=message):
        go("plain", store)


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path)
    before = store.path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="no space"):
        store.save({"a": torch.zeros(3)}, {})
    monkeypatch.undo()
    assert store.path.read_bytes() == before
    assert [path.name for path in store.folder.iterdir()] == [store.path.name]
    assert_same_run(go("plain"), go("plain", store))


def test_a_process_killed_while_it_writes_leaves_nothing_for_good(tmp_path: Path) -> None:
    """Killed between writing and renaming; the next process has another number."""
    script = """
import os, pathlib, sys, torch
from isthmus.training import CheckpointStore
store = CheckpointStore(pathlib.Path(sys.argv[1]), "digest")
os.fsync = lambda number: os._exit(9)
store.save({"a": torch.zeros(3)}, {})
"""
    folder = tmp_path / "c"
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert done.returncode == 9 and list(folder.iterdir())
    store = CheckpointStore(folder, "digest")
    assert store.load() is None
    store.save({"a": torch.zeros(3)}, {})
    store.remove()
    assert not folder.exists()


def test_remove_leaves_what_is_not_the_checkpoint(tmp_path: Path) -> None:
    store = saved(tmp_path / "c")
    (tmp_path / "c" / "mine.txt").write_text("keep")
    store.remove()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["mine.txt"]
    store.remove()
    other = saved(tmp_path / "d")
    other.remove()
    assert not (tmp_path / "d").exists()
    assert store.load() is None


def test_a_full_disk_does_not_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointStore, "save", full)
    recipe = presets.autoencoder(latent_dim=2, hidden_dims=(8,), epochs=3, checkpoint_seconds=0)
    with pytest.warns(RuntimeWarning, match=r"no checkpoint could be written .*No space left.*training continues"):
        model = Autoencoder(recipe).fit(np.random.default_rng(0).random((50, 4)), checkpoint=tmp_path / "c")
    assert len(model.history_) == 3
