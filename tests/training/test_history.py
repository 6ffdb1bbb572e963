"""The history, what a person sees of it, and the machine."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, presets
from isthmus.errors import RecipeError
from isthmus.recipe import Training
from isthmus.seeds import derive
from isthmus.training import History, Progress, choose_progress, device
from isthmus.training.progress import Bar, PlainLines, Silent, terms_line
from tests.helpers import rows, small

ROWS = [
    {"epoch": 1, "train/total": 3.5, "validation/total": 4.0, "active_units": 2, "rows_per_second": 10.0},
    {"epoch": 2, "train/total": 1 / 3, "validation/total": math.nan, "active_units": 1, "rows_per_second": 1e7},
    {"epoch": 3, "train/total": math.inf, "late": -1e-300, "rows_per_second": 1.0},
]


def test_csv_gives_the_rows_back_bit_for_bit() -> None:
    again = History.from_csv(History(ROWS).to_csv())
    assert len(again) == 3 and again.names() == History(ROWS).names()
    for row, expected in zip(again, ROWS, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == value or (math.isnan(value) and math.isnan(row[name]))
            assert type(row[name]) is type(value), name
    assert again["late"] == [None, None, -1e-300]
    assert History.from_csv(History().to_csv()).rows == []


def test_a_real_history_survives_csv() -> None:
    history = Autoencoder(small(presets.beta_vae())).fit(rows(60)).history_
    assert History.from_csv(history.to_csv()).rows == history.rows
    assert set(history.names()) == {
        "epoch", "train/total", "train/reconstruction", "train/kl", "train/kl/weighted", "validation/total",
        "validation/reconstruction", "validation/kl", "validation/kl/weighted", "learning_rate", "gradient_norm",
        "rows_per_second", "active_units", "seconds", "health/effective_rank", "health/dead_units",
        "health/average_activation", "health/share_below_0.1", "health/kl", "health/mutual_information",
    }  # fmt: skip
    assert history["seconds"] == sorted(history["seconds"])


def test_plain_lines() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, every=0.0)
    lines.start(2, 20, 5)
    lines.epoch({"epoch": 1, "train/total": 3.0, "train/kl": 1.0, "validation/total": 2.5, "rows_per_second": 1234.0})
    lines.stop("all done")
    assert stream.getvalue().splitlines() == [
        "training: 2 epochs of 10 steps, 5 done",
        "epoch 1/2: train 3 (kl 1) validation 2.5, 1,234 rows/s",
        "training ended: all done",
    ]


def test_plain_lines_are_few_and_the_last_is_always_shown() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, every=1e9)
    lines.start(50, 50, 0)
    lines.last = 0.0
    for epoch in range(1, 51):
        lines.epoch({"epoch": epoch, "train/total": 1.0, "rows_per_second": 1.0})
    lines.stop("end")
    shown = stream.getvalue().splitlines()
    assert len(shown) <= 4 and "epoch 50/50" in shown[-2]


@pytest.mark.parametrize("progress", [Silent(), PlainLines(io.StringIO()), Bar()], ids=lambda p: type(p).__name__)
def test_every_progress_keeps_the_contract(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    progress.start(2, 4, 0)
    for step in range(1, 5):
        assert progress.wants_step() in (True, False)
        progress.step(step // 3, step, 1.5)
    progress.epoch({"epoch": 1, "train/total": 1.5, "train/kl": 0.5, "rows_per_second": 100.0})
    progress.stop("all done")
    assert capsys.readouterr().out == ""


def test_progress_is_chosen_by_the_place() -> None:
    assert isinstance(choose_progress(False), Silent)
    assert isinstance(choose_progress(True), PlainLines)  # under pytest there is no terminal


def test_the_terms_in_one_line() -> None:
    assert terms_line({"train/total": 2.0}) == "train 2"
    row = {"train/total": 2.0, "train/reconstruction": 1.5, "train/kl": 0.5, "train/kl/weighted": 1.0}
    assert terms_line(row) == "train 2 (reconstruction 1.5, kl 0.5)"


def test_a_progress_that_asks_sees_the_running_loss() -> None:
    losses: list[float] = []

    class Asking(Silent):
        def wants_step(self) -> bool:
            return True

        def step(self, epoch: int, done: int, loss: float) -> None:
            losses.append(loss)

    model = Autoencoder(small(presets.autoencoder()))
    import isthmus.estimator.autoencoder as module

    original = module.choose_progress
    module.choose_progress = lambda verbose: Asking()  # type: ignore[assignment]
    try:
        model.fit(rows(60))
    finally:
        module.choose_progress = original
    assert len(losses) == 3 * 2
    assert losses[1::2] == pytest.approx(model.history_["train/total"])


# ---- the machine --------------------------------------------------------------------------------------------------


def test_seeds_of_purposes_differ_and_stay() -> None:
    purposes = ["weights", "training", "split", "order", "validation", "scores", "samples", "corruption"]
    seeds = {derive(seed, purpose) for seed in range(20) for purpose in purposes}
    assert len(seeds) == 20 * len(purposes)
    assert derive(3, "order", 1) != derive(3, "order", 2) != derive(3, "order")
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_seeded_block_puts_the_generator_back() -> None:
    before = torch.get_rng_state()
    with device.seeded(5, torch.device("cpu")):
        first = torch.rand(3)
    with device.seeded(5, torch.device("cpu")):
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())


def test_the_generator_is_put_back_after_an_error() -> None:
    before = torch.get_rng_state()

    def draw_and_fail() -> None:
        with device.seeded(5, torch.device("cpu")):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert torch.equal(before, torch.get_rng_state())


def test_cpus_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cgroup_quota", lambda: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert device.available_cpus() == 6
    monkeypatch.setattr(device, "_cgroup_quota", lambda: 2)
    assert device.available_cpus() == 2
    monkeypatch.setattr(device, "_cgroup_quota", lambda: 64)
    assert device.available_cpus() == 6


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("", None)],
)
def test_a_containers_quota(text: str, quota: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, encoding: text)
    assert device._cgroup_quota() == quota


def test_devices_and_precision() -> None:
    assert device.choose_device("cpu") == torch.device("cpu")
    assert device.choose_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match=r"a device that is here \(cpu\)"):
            device.choose_device("cuda")
    weight = torch.ones(2, 2)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with device.autocast(Training(precision=precision), torch.device("cpu")):
            assert (weight @ weight).dtype == dtype
    assert np.dtype(np.float32).itemsize == 4
