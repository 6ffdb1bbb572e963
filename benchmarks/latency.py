"""What one row and many rows take, beside the bare forward pass of the trained module.

Usage, from the project's root:

    python -m benchmarks.latency [--repeats 7] [--write docs/benchmarks.md]

Wall time on one thread, rows in memory. `transform` stands beside the encoder's forward pass and `score_samples` beside
encoder and decoder, both on tensors that are encoded already: for a variational model with as many latents for each
row as a score draws. Many rows go through the bare module in batches of 256. All sides run in one process, in turn.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common import markdown_table, one_thread, spread, where, write_between
from isthmus import AnomalyDetector, Autoencoder, presets
from isthmus.codes import Draw
from isthmus.data.batches import Loader
from isthmus.estimator.inference import SCORE_SAMPLES
from isthmus.schema import Batch

TRAIN_ROWS = 256
BARE_BATCH = 256
# Name of a case: a preset, the shape of a row, and how many rows are many.
CASES: dict[str, tuple[str, tuple[int, ...], int]] = {
    "autoencoder, 30 columns": ("autoencoder", (30,), 8192),
    "vae, 30 columns": ("vae", (30,), 2048),
    "vae, 784 columns": ("vae", (784,), 512),
    "conv_vae, 28x28": ("conv_vae", (1, 28, 28), 256),
    "lstm_autoencoder, 32 steps of 3": ("lstm_autoencoder", (32, 3), 1024),
}
DETECTOR = "AnomalyDetector, 30 columns"
DETECTOR_ROWS = 1024
Calls = dict[str, Callable[[], object]]


def encoder(model: Autoencoder, batch: Batch) -> Callable[[], object]:
    """Return the forward pass that a code takes."""
    composition, parts = model.composition_, list(Loader(batch, BARE_BATCH).blocks())

    def run() -> None:
        with torch.no_grad():
            for part in parts:
                composition.encode(part)

    return run


def both(model: Autoencoder, batch: Batch) -> Callable[[], object]:
    """Return the forward pass that a score takes."""
    composition, parts = model.composition_, list(Loader(batch, BARE_BATCH).blocks())
    draw = Draw(SCORE_SAMPLES) if model.inference().variational else None

    def run() -> None:
        with torch.no_grad():
            for part in parts:
                composition(part, draw)

    return run


def calls(model: Autoencoder, rows: np.ndarray) -> Calls:
    """Return the sides of a comparison on some rows."""
    batch = model.encoded_rows(rows).whole(np.arange(len(rows)))
    return {
        "encoder": encoder(model, batch),
        "transform": lambda: model.transform(rows),
        "encoder and decoder": both(model, batch),
        "score_samples": lambda: model.score_samples(rows),
    }


def milliseconds(sides: Calls, repeats: int, inner: int) -> dict[str, list[float]]:
    """Return the milliseconds of a call by side, one for each turn: the mean of `inner` calls."""
    for call in sides.values():  # not counted: what is set up at the first use
        call()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        names = list(sides)
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            began = time.perf_counter()
            for _ in range(inner):
                sides[name]()
            found[name].append((time.perf_counter() - began) * 1000 / inner)
    return found


def lines(case: str, model: Autoencoder, rows: np.ndarray, repeats: int) -> list[list[str]]:
    """Return the lines of the table for one model."""
    one = milliseconds(calls(model, rows[:1]), repeats, 10)
    many = milliseconds(calls(model, rows), repeats, 1)
    return [
        [
            f"{case}: `{verb}`",
            spread(one[verb]),
            f"{median(one[bare]):.2f}",
            f"{len(rows):,}",
            spread(many[verb], 0),
            f"{median(many[bare]):.0f}",
            spread([a / b for a, b in zip(many[verb], many[bare], strict=True)]),
        ]
        for bare, verb in (("encoder", "transform"), ("encoder and decoder", "score_samples"))
    ]


def detector_lines(repeats: int) -> list[list[str]]:
    """Return the line of the detector, beside one forward pass of its autoencoder."""
    rows = np.random.default_rng(0).normal(size=(DETECTOR_ROWS, 30))
    detector = AnomalyDetector(presets.get("denoising").replace({"training.epochs": 1})).fit(rows)
    model = detector.estimators_[0]

    def measured(part: np.ndarray, inner: int) -> dict[str, list[float]]:
        batch = model.encoded_rows(part).whole(np.arange(len(part)))
        sides: Calls = {"bare": both(model, batch), "score_samples": lambda: detector.score_samples(part)}
        return milliseconds(sides, repeats, inner)

    one, many = measured(rows[:1], 10), measured(rows, 1)
    ratios = [a / b for a, b in zip(many["score_samples"], many["bare"], strict=True)]
    verb, bare = many["score_samples"], f"{median(many['bare']):.0f}"
    line = [f"{DETECTOR}: `score_samples`", spread(one["score_samples"]), f"{median(one['bare']):.2f}"]
    return [[*line, f"{DETECTOR_ROWS:,}", spread(verb, 0), bare, spread(ratios, 1)]]


def report(repeats: int) -> str:
    """Measure, and return the table."""
    found = []
    for case, (preset, shape, count) in CASES.items():
        rows = np.random.default_rng(0).random((count, *shape))
        recipe = presets.get(preset).replace({"training.epochs": 1, "training.threads": 1})
        found += lines(case, Autoencoder(recipe).fit(rows[:TRAIN_ROWS]), rows, repeats)
    found += detector_lines(repeats)
    header = ["milliseconds", "one row", "bare", "rows", "many rows", "bare", "ratio"]
    return "\n".join(
        [
            f"Wall time of a call on rows in memory, beside the bare module's forward pass. {where()}; the sides took",
            f"turns, median (range) of {repeats} turns.",
            "",
            markdown_table(header, found),
            "",
            f"`python -m benchmarks.latency --repeats {repeats}`",
        ]
    )


def main() -> None:
    """Parse the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(description="Measure what one row and many rows take.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", type=Path, help="Markdown file that gets the table")
    arguments = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    text = report(arguments.repeats)
    print(text)
    if arguments.write:
        write_between(arguments.write, "latency", text)


if __name__ == "__main__":
    main()
