"""Values knocked out at random, filled in by isthmus and by scikit-learn, on tables of ADBench.

    python -m benchmarks.data.imputation [--data FOLDER] [--tables NAME ...] [--seeds N] [--write docs/benchmarks.md]

Duplicate rows and constant columns are dropped, then 20 % of all values are knocked out completely at random. Each
method is fitted on the rows with holes, which is all that it sees, and fills those same rows; labels are not used. The
error is that of the values that were knocked out, in units of their column's standard deviation (of the complete
table), so that column means have about 1.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import DEFAULT_DATA, markdown_table, one_thread, where, write_between
from isthmus import Autoencoder, presets

Rows = np.ndarray[Any, np.dtype[np.floating[Any]]]
Method = Callable[[Rows, int], Rows]
SHARE = 0.2


def table(path: Path) -> Rows:
    """Return the rows of a table, without the repeated ones, and without columns that never change."""
    with np.load(path, allow_pickle=False) as archive:
        rows: Rows = archive["X"].astype(np.float64)
    _, first = np.unique(rows, axis=0, return_index=True)
    rows = rows[np.sort(first)]
    kept: Rows = rows[:, np.ptp(rows, axis=0) > 0]
    return kept


def holed(rows: Rows, seed: int, share: float = SHARE) -> Rows:
    """Return the rows with a share of the values knocked out; a column keeps two different values at least."""
    gone: Any = np.random.default_rng([seed, 20]).random(rows.shape) < share
    for column in range(rows.shape[1]):
        seen = rows[~gone[:, column], column]
        if not len(seen) or (seen == seen[0]).all():
            gone[:, column] = False
    return np.where(gone, np.nan, rows)


def by_mean(holes: Rows, seed: int) -> Rows:
    """Fill in column means."""
    from sklearn.impute import SimpleImputer

    filled: Rows = SimpleImputer().fit_transform(holes)
    return filled


def by_iteration(rounds: int) -> Method:
    """Return scikit-learn's IterativeImputer with its defaults (Bayesian ridge regression), in so many rounds."""

    def fill(holes: Rows, seed: int) -> Rows:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        filled: Rows = IterativeImputer(max_iter=rounds, random_state=seed).fit_transform(holes)
        return filled

    return fill


def by_neighbours(holes: Rows, seed: int) -> Rows:
    """Fill in the mean of the five nearest rows, in standardised columns."""
    from sklearn.impute import KNNImputer

    mean, std = np.nanmean(holes, 0), np.nanstd(holes, 0)
    filled: Rows = KNNImputer().fit_transform((holes - mean) / std) * std + mean
    return filled


def by_isthmus(holes: Rows, seed: int) -> Rows:
    """Fill in what an autoencoder expects, with one setting for all tables."""
    model = Autoencoder(presets.imputer(threads=1), random_state=seed).fit(holes)
    filled: Rows = model.impute(holes)
    return filled


METHODS: dict[str, Method] = {
    "means": by_mean,
    "iterative": by_iteration(10),
    "iterative-50": by_iteration(50),
    "neighbours": by_neighbours,
    "isthmus": by_isthmus,
}
NAMES = {
    "means": "column means",
    "iterative": "IterativeImputer",
    "iterative-50": "the same, max_iter=50",
    "neighbours": "KNNImputer",
    "isthmus": "isthmus",
}


def errors(rows: Rows, holes: Rows, filled: Rows) -> tuple[float, float]:
    """Return the root mean squared error of the filled values in standard deviations, and the share explained (R2)."""
    gone, std = np.isnan(holes), rows.std(0)
    if not np.allclose(filled[~gone], holes[~gone], rtol=1e-5):
        raise ValueError("a method changed values that were there")
    square = float(np.mean((((filled - rows) / std)[gone]) ** 2))
    spread = float(np.mean((((rows - rows.mean(0)) / std)[gone]) ** 2))
    return square**0.5, 1 - square / spread


def measured(rows: Rows, method: str, seeds: int) -> list[tuple[float, float, float]]:
    """Return error, share explained and CPU seconds of each seed, which decides the holes too."""
    found = []
    for seed in range(seeds):
        holes = holed(rows, seed)
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rounds that did not converge, which the rows with 50 are there for
            filled = METHODS[method](holes, seed)
        seconds = time.process_time() - began
        found.append((*errors(rows, holes, filled), seconds))
    return found


def shown(found: list[tuple[float, float, float]]) -> list[str]:
    """Return cells: the error's median and range, the median share explained, the median CPU seconds."""
    error, share, seconds = zip(*found, strict=True)
    return [
        f"{median(error):.3f} ({min(error):.3f}-{max(error):.3f})",
        f"{median(share):.2f}",
        f"{median(seconds):.1f}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Fill in every table by every method and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the folder that holds adbench/*.npz")
    parser.add_argument("--tables", nargs="+", help="names such as 43_WDBC; all by default")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--log", type=Path, help="a file of lines to go on from: what stands there is not run again")
    parser.add_argument("--write", type=Path, help="put the table into this page, such as docs/benchmarks.md")
    options = parser.parse_args(argv)
    one_thread()
    done: dict[str, Any] = {}
    if options.log is not None and options.log.is_file():
        for line in options.log.read_text(encoding="utf-8").splitlines():
            done |= json.loads(line)
    found = sorted((options.data / "adbench").glob("*.npz"), key=lambda path: path.stem.partition("_")[2].lower())
    lines = []
    for path in found:
        if options.tables and path.stem not in options.tables:
            continue
        rows = table(path)
        for method in options.methods:
            key = f"{path.stem} {method} {options.seeds}"
            if key not in done:
                done[key] = measured(rows, method, options.seeds)
                if options.log is not None:
                    with options.log.open("a", encoding="utf-8") as log:
                        log.write(json.dumps({key: done[key]}) + "\n")
            name = f"{path.stem.partition('_')[2]}, {rows.shape[0]:,} x {rows.shape[1]}"
            lines.append([name, NAMES[method], *shown(done[key])])
            print(*lines[-1], sep=" | ", flush=True)
    head = ["table", "method", "error", "R2", "CPU seconds"]
    note = f"20 % missing, {options.seeds} seeds, median (range); errors in standard deviations."
    text = f"{markdown_table(head, lines)}\n\n`python -m benchmarks.data.imputation`, {where()}. {note}"
    print(text)
    if options.write is not None:
        write_between(options.write, "imputation", text)


if __name__ == "__main__":
    main()
