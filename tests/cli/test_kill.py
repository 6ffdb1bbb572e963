"""A run that is killed at any moment and resumed ends with the weights of the run that was left alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# More for a thorough look: ISTHMUS_KILLS=10 make test-all
KILLS = int(os.environ.get("ISTHMUS_KILLS", "2"))


def command(data: Path, out: Path, *more: str) -> list[str]:
    settings = {
        "training.epochs": 30,
        "training.batch_size": 64,
        "training.checkpoint_seconds": 0,
        "training.threads": 1,
        "network.hidden_dims": "[64, 32]",
        "network.normalisation": "batch",
        "network.dropout": 0.1,
    }
    pairs = [part for path, value in settings.items() for part in ("--set", f"{path}={value}")]
    fit = [sys.executable, "-m", "isthmus", "fit", str(data), "--out", str(out), "--recipe", "beta_vae", "--quiet"]
    return [*fit, *pairs, *more]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kill") / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(2000, 20)).astype("float32"))
    return path


@pytest.fixture(scope="module")
def alone(rows: Path) -> tuple[bytes, float]:
    out = rows.parent / "alone"
    start = time.monotonic()
    subprocess.run(command(rows, out), check=True, capture_output=True)
    return (out / "model.safetensors").read_bytes(), time.monotonic() - start


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, KILLS))])
def test_killed_and_resumed_gives_the_same_weights(
    number: int, rows: Path, alone: tuple[bytes, float], tmp_path: Path
) -> None:
    weights, seconds = alone
    out, checkpoint = tmp_path / "model", tmp_path / "model.checkpoint"
    moments = random.Random(number)
    process = subprocess.Popen(command(rows, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    # From the first checkpoint on; the start, with its imports, is most of the run's seconds.
    time.sleep(moments.uniform(0, 0.4 * seconds))
    if process.poll() is None:
        process.kill()
    process.wait()
    # Killed between the model's rename and the checkpoint's removal, a run has both.
    assert out.exists() or checkpoint.exists()
    if checkpoint.exists():
        subprocess.run(command(rows, out, "--resume"), check=True, capture_output=True)
    assert (out / "model.safetensors").read_bytes() == weights
    assert not checkpoint.exists()
