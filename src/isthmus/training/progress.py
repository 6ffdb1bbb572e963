"""Progress of training: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Is called after every step and epoch; it must not read numbers from the device unless it shows them."""

    def start(self, epochs: int, steps: int, done: int) -> None:
        """Training begins: epochs and steps in all, and steps already done (after a resume)."""

    def wants_step(self) -> bool:
        """Return whether the next `step` will be shown, for which its loss is read from the device."""

    def step(self, epoch: int, done: int, loss: float) -> None:
        """Show a step: its epoch, the steps done so far, and the running loss of the epoch."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show the row that an epoch added to the history."""

    def stop(self, reason: str) -> None:
        """Training ended."""


class Silent:
    """Shows nothing."""

    def start(self, epochs: int, steps: int, done: int) -> None:
        pass

    def wants_step(self) -> bool:
        return False

    def step(self, epoch: int, done: int, loss: float) -> None:
        pass

    def epoch(self, row: Mapping[str, Any]) -> None:
        pass

    def stop(self, reason: str) -> None:
        pass


def terms_line(row: Mapping[str, Any]) -> str:
    """Return the losses of an epoch in one line.

    >>> terms_line({"train/total": 3.25, "train/kl": 1.0, "train/kl/weighted": 1.0, "validation/total": 3.5})
    'train 3.25 (kl 1) validation 3.5'
    """
    terms = [
        f"{name.removeprefix('train/')} {value:.4g}"
        for name, value in row.items()
        if name.startswith("train/") and name.count("/") == 1 and name != "train/total"
    ]
    inside = f" ({', '.join(terms)})" if terms else ""
    validation = f" validation {row['validation/total']:.4g}" if "validation/total" in row else ""
    train = f"train {row['train/total']:.4g}{inside}" if "train/total" in row else "train not finite"
    return train + validation


class PlainLines:
    """One line for each epoch, but not more than one in half a second; the last one always."""

    def __init__(self, stream: TextIO | None = None, every: float = 0.5) -> None:
        self.stream = stream or sys.stderr
        self.every = every
        self.last = 0.0
        self.epochs = 0
        self.pending: str | None = None

    def start(self, epochs: int, steps: int, done: int) -> None:
        self.epochs = epochs
        self._print(
            f"training: {epochs} epochs of {max(1, steps // epochs)} steps" + (f", {done} done" if done else "")
        )

    def wants_step(self) -> bool:
        return False

    def step(self, epoch: int, done: int, loss: float) -> None:
        pass

    def epoch(self, row: Mapping[str, Any]) -> None:
        line = f"epoch {row['epoch']}/{self.epochs}: {terms_line(row)}, {row['rows_per_second']:,.0f} rows/s"
        if time.monotonic() - self.last >= self.every:
            self._print(line)
            self.last, self.pending = time.monotonic(), None
        else:
            self.pending = line

    def stop(self, reason: str) -> None:
        if self.pending:
            self._print(self.pending)
        self._print(f"training ended: {reason}")

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


# Columns of a terminal that hold every term beside the bar.
_WIDE = 120


class Bar:
    """A rich progress bar with the loss terms and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=Console(stderr=True),
        )
        self.epochs = 0
        self.last = 0.0
        self.losses = ""

    def start(self, epochs: int, steps: int, done: int) -> None:
        self.epochs = epochs
        self.progress.start()
        self.task = self.progress.add_task("training", total=steps, completed=done, losses="")

    def wants_step(self) -> bool:
        now = time.monotonic()
        if now - self.last < 0.2:
            return False
        self.last = now
        return True

    def step(self, epoch: int, done: int, loss: float) -> None:
        losses = self.losses or f"train {loss:.4g}"
        if self.progress.console.width < _WIDE:
            losses = losses.split(" (")[0]  # else the bar, the percentage and the time left would give way to it
        self.progress.update(self.task, completed=done, description=f"epoch {epoch + 1}/{self.epochs}", losses=losses)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.losses = terms_line(row)

    def stop(self, reason: str) -> None:
        self.progress.stop()
        self.progress.console.print(f"training ended: {reason}", highlight=False)


def choose_progress(verbose: bool) -> Progress:
    """Return a bar on a terminal, plain lines elsewhere, and nothing unless `verbose`."""
    if not verbose:
        return Silent()
    return Bar() if sys.stderr.isatty() else PlainLines()
