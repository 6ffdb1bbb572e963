"""The training comparison: all sides in turn, seed by seed, as ratios to the textbook script.

Usage, from the project's root (`make benchmark` does it in an environment of its own):

    python -m benchmarks.run [--data FOLDER] [--seeds 0 1 2] [--sides ...] [--write docs/benchmarks.md]

The target is the test error that the textbook script has after ten epochs. A side's time to it is the time at
the end of the first epoch that is at or under it. isthmus lowers its learning rate over the epochs it was
asked for, so each of its figures is the whole `fit` of a run of its own: 1 epoch, 2 epochs, and so on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.common import DEFAULT_DATA, markdown_table, spread, where, write_between
from benchmarks.peers import SIDES, Epoch, Result

TARGET = 0.0119
LOSS_AT = (2, 5, 10)
BASE = "textbook"
LABELS = {"textbook": "textbook script", "textbook-tensors": "the same, given float tensors", "pyod": "PyOD"}
RUNS = {side: (max(LOSS_AT),) for side in SIDES} | {"isthmus": (1, 2, 3, 5, 10)}
"""How many epochs each side is asked for, a process each."""


def run_once(side: str, epochs: int, seed: int, data: Path) -> Result:
    """Train one side in a fresh process and return what it took."""
    command = [sys.executable, "-m", "benchmarks.peers", side, f"--epochs={epochs}", f"--seed={seed}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, f"--data={data}"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:])} failed:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout)
    result = Result(**found | {"history": [Epoch(**epoch) for epoch in found["history"]]})
    last = result.history[-1]
    print(
        f"{side:16} seed {seed}, {epochs:2} epochs: {last.wall:6.1f} s ({last.process:.1f} s of the processor),"
        f" test error {last.mse:.5f}, {result.peak_mib:4.0f} MiB",
        flush=True,
    )
    if last.process > 1.1 * last.wall:
        print(f"warning: {side} used {last.process / last.wall:.1f} threads, one was agreed on")
    return result


class Side:
    """All runs of one side, and the figures of the table by seed."""

    def __init__(self, results: Sequence[Result], clock: str) -> None:
        self.results = results
        self.clock = clock

    def seconds(self, epoch: Epoch) -> float:
        """Return the time to the end of this epoch, by the clock that was chosen."""
        return epoch.wall if self.clock == "wall" else epoch.process

    def of(self, seed: int) -> list[Result]:
        """Return the runs with this seed, the shortest first."""
        return sorted((r for r in self.results if r.seed == seed), key=lambda r: r.epochs)

    def seconds_to(self, target: float, seed: int) -> float | None:
        """Return the time to the first test error at or under the target, None if it was not reached."""
        reached = [self.seconds(e) for r in self.of(seed) for e in r.history if e.mse <= target]
        return reached[0] if reached else None

    def loss_at(self, epochs: int, seed: int) -> float:
        """Return the test error after so many epochs."""
        return next(e.mse for r in self.of(seed) for e in r.history if e.epoch == epochs)

    def rows_per_second(self, seed: int) -> float:
        """Return the rows per second of the longest run."""
        longest = self.of(seed)[-1]
        return longest.rows * longest.epochs / self.seconds(longest.history[-1])

    def peak_mib(self, seed: int) -> float:
        """Return the peak memory of the longest run."""
        return self.of(seed)[-1].peak_mib


def label(side: str) -> str:
    """Return what the table calls a side: a package with the version that ran."""
    named = LABELS.get(side, side)
    return named if side.startswith("textbook") else f"{named} {version(side)}"


def table(sides: dict[str, Side], seeds: Sequence[int], target: float) -> str:
    """Return the figures as Markdown: the textbook's own in units, the others as ratios, seed by seed."""
    base = sides[BASE]
    # By definition: what the textbook reaches after its ten epochs takes it ten epochs.
    base_seconds = {seed: base.seconds(base.of(seed)[-1].history[-1]) for seed in seeds}
    rows = []
    for name, side in sides.items():
        if name == BASE:
            cells = [f"{median(base_seconds.values()):.1f} s"]
            cells += [f"{median(base.loss_at(n, seed) for seed in seeds):.4f}" for n in LOSS_AT]
            cells += [f"{median(base.rows_per_second(seed) for seed in seeds):.0f}"]
            cells += [f"{median(base.peak_mib(seed) for seed in seeds):.0f} MiB"]
        else:
            seconds = {seed: side.seconds_to(target, seed) for seed in seeds}
            ratios = [s / base_seconds[seed] for seed, s in seconds.items() if s is not None]
            missed = len(seeds) - len(ratios)
            cells = [spread(ratios, 3) if not missed else f"not reached ({missed} of {len(seeds)} seeds)"]
            cells += [spread([side.loss_at(n, s) / base.loss_at(n, s) for s in seeds]) for n in LOSS_AT]
            cells += [spread([side.rows_per_second(s) / base.rows_per_second(s) for s in seeds])]
            cells += [spread([side.peak_mib(s) / base.peak_mib(s) for s in seeds])]
        rows.append([label(name), *cells])
    header = ["", f"time to {target}", *(f"error at {n} epochs" for n in LOSS_AT), "rows/s", "peak memory"]
    return markdown_table(header, rows)


def report(sides: dict[str, Side], seeds: Sequence[int], target: float, command: str) -> str:
    """Return the table with what one has to know to read it."""
    base = sides[BASE]
    lines = [
        "Fashion-MNIST, 60,000 training and 10,000 test images in [0, 1]; 784-512-256-32-256-512-784, ReLU,",
        f"sigmoid output, mean squared error, batch 256. {where()}; the sides took turns.",
        f"Time is {base.clock} time. First row in units, others as ratios to it; median (range) over the seeds",
        f"{', '.join(map(str, seeds))}.",
        "",
        table(sides, seeds, target),
        "",
        f"`{command}`",
    ]
    if "isthmus" in sides:
        steps = [e for r in sides["isthmus"].results for e in r.history]
        by_epochs = {n: [e for e in steps if e.epoch == n] for n in RUNS["isthmus"]}
        found = "; ".join(
            f"{n}: {spread([e.mse for e in es], 4)} in {spread([base.seconds(e) for e in es], 1)} s"
            for n, es in by_epochs.items()
        )
        lines[-2:-2] = [
            "",
            f"isthmus by epochs asked for, test error and seconds of the whole `fit`: {found}.",
        ]
    return "\n".join(lines)


def choices(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the options that change the figures and are not at their defaults, as one would type them."""
    found = {}
    for name in ("seeds", "sides", "target", "clock"):
        value = getattr(arguments, name)
        if value != parser.get_default(name):
            found[f"--{name}"] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found


def main() -> None:
    """Parse the command line, run everything, print and write the table."""
    parser = argparse.ArgumentParser(description="Train the same network by isthmus and its peers.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of fashion_mnist.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--target", type=float, default=TARGET, help="test error to reach (default: %(default)s)")
    parser.add_argument(
        "--clock", choices=["wall", "process"], default="wall", help="process time suits a machine that others use"
    )
    parser.add_argument("--write", type=Path, help="Markdown file that gets the table")
    parser.add_argument("--raw", type=Path, help="JSON file that gets every run")
    arguments = parser.parse_args()
    if BASE not in arguments.sides:
        parser.error(f"the ratios are to the {BASE} side; add it to --sides")
    names = [name for name in SIDES if name in arguments.sides]
    results: list[Result] = []
    for turn, seed in enumerate(arguments.seeds):
        # Another side begins each time, so that a machine that slows down favours none.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            results += [run_once(name, epochs, seed, arguments.data) for epochs in RUNS[name]]
            if arguments.raw:
                arguments.raw.write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    sides = {name: Side([r for r in results if r.side == name], arguments.clock) for name in names}
    chosen = " ".join(f"{flag} {value}" for flag, value in choices(arguments, parser).items())
    command = f"python -m benchmarks.run {chosen}" if chosen else "make benchmark"
    text = report(sides, arguments.seeds, arguments.target, command)
    print(f"\n{text}")
    if arguments.write:
        write_between(arguments.write, "training", text)


if __name__ == "__main__":
    main()
