"""The overhead of a training step: every side against a bare loop that indexes a tensor.

Usage, from the project's root, in the environment that `make benchmark` makes:

    python -m benchmarks.step_overhead [--repeats 7] [--sides ...] [--write docs/benchmarks.md]

Process time on one thread, batch 128, two networks: 784-512-256-32 and 20-32-16-8, both mirrored. Each side trains
twice, for few and for many epochs, and the difference divided by the steps between is the time of a step: imports,
set-up and what follows training cancel out, and what happens once in an epoch is shared by its 99 steps. All sides
run in one process, in turn, writing to the same terminal: progress is on for all that have it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import pty
import subprocess
import sys
import termios
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from benchmarks.common import Clock, Rows, autoencoder, markdown_table, one_thread, spread, where, write_between
from benchmarks.peers import (
    LEARNING_RATE,
    OnEpoch,
    Task,
    Train,
    isthmus,
    pyod,
    pythae,
    textbook_tensors,
)

BATCH = 128
STEPS = 99  # in an epoch
TRAIN_ROWS = STEPS * BATCH
# isthmus gets one batch more and holds it out, so that early stopping has something to look at and every side
# takes the same steps.
VALIDATION_FRACTION = 0.01
ROWS = TRAIN_ROWS + BATCH
BASE = "bare loop"


@dataclass(frozen=True)
class Case:
    """A network, and how many epochs the short and the long training have."""

    task: Task
    epochs: tuple[int, int]

    @property
    def name(self) -> str:
        """Return the widths as one writes them."""
        return "-".join(map(str, self.task.widths))


CASES = (Case(Task((784, 512, 256, 32), BATCH), (1, 4)), Case(Task((20, 32, 16, 8), BATCH), (2, 22)))


def bare_loop(x: Rows, task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """Index a tensor, forward, backward, Adam with its default settings: nothing else."""
    torch.manual_seed(seed)
    rows = torch.from_numpy(x)
    model = autoencoder(task.widths, nn.Sigmoid())
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        order = torch.randperm(len(rows))
        for start in range(0, len(rows), task.batch):
            batch = rows[order[start : start + task.batch]]
            loss = mse_loss(model(batch), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


SIDES: dict[str, Train] = {
    BASE: bare_loop,
    "DataLoader(TensorDataset)": textbook_tensors,
    "pythae": pythae,
    "PyOD": pyod,
    # Progress, history and early stopping are on, with the patience for every epoch, so that none is left out.
    "isthmus": partial(isthmus, verbose=True, validation_fraction=VALIDATION_FRACTION, patience=100),
}


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Let standard output and error be a terminal that another process reads, as when a person watches."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    encoded, writing = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=encoded, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(encoded)
    termios.tcsetwinsize(writing, (40, 120))
    os.environ["TERM"] = "xterm-256color"  # where it says "dumb", no bar would be drawn
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        reader.wait()  # it ends when the last writer is gone


def seconds_per_step(name: str, x: Rows, case: Case) -> float:
    """Return the process time of one step."""
    spent = []
    for epochs in case.epochs:
        gc.collect()
        clock = Clock()
        SIDES[name](x, case.task, epochs, 0, lambda epoch, reconstruct: None)
        spent.append(clock.process)
    few, many = case.epochs
    return (spent[1] - spent[0]) / ((many - few) * STEPS)


def rows_for(case: Case) -> Rows:
    """Return rows in [0, 1] that an autoencoder of this size can learn something from."""
    rng = np.random.default_rng(0)
    columns, latents = case.task.widths[0], case.task.widths[-1]
    mixed = rng.standard_normal((ROWS, latents)) @ rng.standard_normal((latents, columns))
    return (1 / (1 + np.exp(-mixed - 0.3 * rng.standard_normal((ROWS, columns))))).astype(np.float32)


def compare(case: Case, names: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of a step by side, one for each turn; another side begins each turn."""
    x = rows_for(case)
    given = {name: x if name == "isthmus" else x[:TRAIN_ROWS] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with terminal():
        for name in names:  # not counted: imports, and whatever is set up at the first use
            seconds_per_step(name, given[name], case)
        for turn in range(repeats):
            for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
                seconds[name].append(seconds_per_step(name, given[name], case))
    return seconds


def report(found: dict[Case, dict[str, list[float]]], repeats: int, command: str) -> str:
    """Return the table: the bare loop in milliseconds, the sides as ratios to it, turn by turn."""
    names = list(next(iter(found.values())))
    rows = []
    for name in names:
        cells = []
        for by_side in found.values():
            if name == BASE:
                cells.append(f"1 = {median(by_side[name]) * 1000:.2f} ms")
            else:
                cells.append(spread([s / base for s, base in zip(by_side[name], by_side[BASE], strict=True)]))
        rows.append([name, *cells])
    return "\n".join(
        [
            f"Process time of a training step, batch {BATCH}, progress on. {where()}; the sides took",
            f"turns, median (range) of {repeats} turns.",
            "",
            markdown_table(["", *(case.name for case in found)], rows),
            "",
            f"`{command}`",
        ]
    )


def main() -> None:
    """Parse the command line, compare, print and write the table."""
    parser = argparse.ArgumentParser(description="Measure the overhead of a training step.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--write", type=Path, help="Markdown file that gets the table")
    arguments = parser.parse_args()
    one_thread()
    logging.disable(logging.INFO)  # pythae tells its whole configuration at every training
    warnings.simplefilter("ignore")
    names = [name for name in SIDES if name in {BASE, *arguments.sides}]
    found = {case: compare(case, names, arguments.repeats) for case in CASES}
    text = report(found, arguments.repeats, f"python -m benchmarks.step_overhead --repeats {arguments.repeats}")
    print(text)
    if arguments.write:
        write_between(arguments.write, "step-overhead", text)


if __name__ == "__main__":
    main()
