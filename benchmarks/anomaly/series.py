"""Anomalies in series: server machines (SMD) and the Numenta benchmark (NAB), one table of detectors for each.

    python -m benchmarks.anomaly.series [--data FOLDER] [--seeds N] [--sets smd nab] [--methods NAME ...]
        [--write docs/benchmarks.md]

SMD: two machines of 38 channels, trained on the training part, scored on the test part. NAB: 35 series of one channel;
each is trained on its first 15 % (Numenta's probationary period) and scored on the rest. Series without an anomalous
step there have no VUS-PR: they are left out of it, and of all that needs anomalies, and count for false alarms only.

Every method sees the same steps, standardised by the training part (a constant channel: by 1), with windows of 64.
Methods have one setting for all series. Metrics are means over series, for methods with a seed then over seeds (with
the lowest and the highest seed in brackets). `range F1` is at the best threshold, as is the point-adjusted F1, which
has the value of random noise in parentheses. `false alarms` is the share of normal steps above a conformal threshold at
1 %, calibrated on the last fifth of the training part, which no method is trained on; with `halves` isthmus is trained
on all of the training part, and two more detectors, trained on a half each, calibrate it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.common import DEFAULT_DATA, markdown_table, one_thread, where, write_between
from isthmus import Autoencoder, SeriesDetector, presets
from isthmus.applications.anomaly.thresholds import find_threshold
from isthmus.data.series.series import Series
from isthmus.data.series.windows import SeriesWindows
from isthmus.metrics import best_range_f1, point_adjusted_f1, vus_pr, vus_roc

Steps = np.ndarray[Any, np.dtype[np.float64]]
LENGTH, ALPHA, HELD = 64, 0.01, 0.2
MACHINES = ("machine-1-6", "machine-2-1")
PROBATION = 0.15


@dataclass(frozen=True, eq=False)
class Task:
    """A series: the part to learn from, the part to score, and its labels."""

    name: str
    train: Steps
    test: Steps
    labels: np.ndarray[Any, np.dtype[np.int8]]


# From training steps, steps to score and a seed to the anomaly score of each step of both the held end and the test
# part.
Method = Callable[[Steps, Sequence[Steps], int], list[Steps]]


def machines(folder: Path) -> Iterator[Task]:
    """Yield the two server machines."""
    with np.load(folder / "smd_2machines.npz", allow_pickle=False) as archive:
        for name in MACHINES:
            train, test = (archive[f"{name}_{part}"].astype(np.float64) for part in ("train", "test"))
            yield Task(name, train, test, archive[f"{name}_test_label"])


def numenta(folder: Path) -> Iterator[Task]:
    """Yield the 35 series of NAB."""
    table = pq.read_table(folder / "nab.parquet")
    names, values, labels = (table[name].to_numpy() for name in ("series", "value", "in_window"))
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        cut = int(PROBATION * rows.sum())
        yield Task(name, values[rows][:cut, None], values[rows][cut:, None], labels[rows][cut:])


def standardised(train: Steps, others: Sequence[Steps]) -> list[Steps]:
    """Return all in units of the training steps."""
    mean, deviation = train.mean(0), train.std(0)
    deviation = np.where(deviation == 0, 1.0, deviation)
    return [(part - mean) / deviation for part in (train, *others)]


def windows_of(steps: Steps, stride: int = 1) -> SeriesWindows:
    """Return windows of one series."""
    return SeriesWindows([Series("series", steps)], min(LENGTH, len(steps)), stride)


def flat(steps: Steps, stride: int = 1) -> Steps:
    """Return windows as rows."""
    source = windows_of(steps, stride)
    rows: Steps = source.take(np.arange(len(source))).reshape(len(source), -1)
    return rows


def stride_for(steps: Steps) -> int:
    """Return a stride that leaves about 6,000 training windows."""
    return max(1, min(LENGTH // 4, len(steps) // 6000))


def principal(rows: Steps, share: float = 0.95) -> tuple[Steps, Steps]:
    """Return the mean and the directions that hold a share of the variance; of one column none."""
    mean = rows.mean(0)
    if rows.shape[1] == 1:
        return mean, np.zeros((1, 0))
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    count = int(np.searchsorted(np.cumsum(values) / max(values.sum(), 1e-12), share)) + 1
    return mean, vectors[:, :count]


def residual(rows: Steps, mean: Steps, directions: Steps) -> Steps:
    """Return the squared errors `(rows, columns)` of the projection."""
    centred = rows - mean
    return np.asarray(np.square(centred - centred @ directions @ directions.T))


def averaged(steps: Steps, errors: Steps) -> Steps:
    """Return for each step the mean squared error over channels and over the windows that hold it."""
    source = windows_of(steps)
    return source.per_step(errors.reshape(len(source), source.length, -1).mean(2))[0]


def by_random(train: Steps, parts: Sequence[Steps], seed: int) -> list[Steps]:
    """Score at random."""
    generator = np.random.default_rng(seed)
    return [generator.random(len(part)) for part in parts]


def by_pca(train: Steps, parts: Sequence[Steps], seed: int) -> list[Steps]:
    """Score by the squared error of PCA on single steps, 95 % of the variance; one channel: the squared deviation."""
    train, *parts = standardised(train, parts)
    fitted = principal(train)
    return [residual(part, *fitted).mean(1) for part in parts]


def by_subsequences(train: Steps, parts: Sequence[Steps], seed: int) -> list[Steps]:
    """Score by the squared error of PCA on windows, 95 % of the variance, averaged over windows."""
    train, *parts = standardised(train, parts)
    fitted = principal(flat(train, stride_for(train)))
    return [averaged(part, residual(flat(part), *fitted)) for part in parts]


def by_autoencoder(train: Steps, parts: Sequence[Steps], seed: int) -> list[Steps]:
    """Score by the squared error of a plain autoencoder of the same network and training, averaged over windows."""
    train, *parts = standardised(train, parts)
    rows = flat(train, stride_for(train))
    recipe = presets.autoencoder(
        latent_dim=min(16, rows.shape[1] - 1),
        hidden_dims=(256, 128),
        activation="silu",
        preprocessing="none",
        epochs=int(min(300, max(2, round(1000 / -(-len(rows) // 128))))),
        batch_size=min(128, len(rows)),
        validation_fraction=0.0,
        patience=None,
    )
    model = Autoencoder(recipe, random_state=seed).fit(rows)
    found = []
    for part in parts:
        windows = flat(part)
        found.append(averaged(part, np.square(windows - model.reconstruct(windows))))
    return found


def by_forest(train: Steps, parts: Sequence[Steps], seed: int) -> list[Steps]:
    """Score by an Isolation Forest on windows, averaged over windows."""
    from sklearn.ensemble import IsolationForest

    train, *parts = standardised(train, parts)
    forest = IsolationForest(random_state=seed).fit(flat(train, stride_for(train)))
    return [windows_of(part).per_step_of_windows(-forest.score_samples(flat(part)))[0] for part in parts]


@dataclass(frozen=True)
class Measured:
    """What is measured of a method on one series; NaN where there is no anomaly."""

    vus_pr: float
    vus_roc: float
    range_f1: float
    adjusted: float
    adjusted_random: float
    false_alarms: float
    seconds: float


def measured(task: Task, held: Steps, anomaly_scores: Steps, seconds: float) -> Measured:
    """Return the measures of the scores of a test part, with a threshold from the held end of the training part."""
    threshold = find_threshold(held, "conformal", ALPHA).value
    false = float((anomaly_scores[task.labels == 0] > threshold).mean())
    if not task.labels.any():
        return Measured(np.nan, np.nan, np.nan, np.nan, np.nan, false, seconds)
    adjusted = point_adjusted_f1(task.labels, anomaly_scores)
    return Measured(
        vus_pr(task.labels, anomaly_scores),
        vus_roc(task.labels, anomaly_scores),
        best_range_f1(task.labels, anomaly_scores),
        adjusted.value,
        adjusted.random,
        false,
        seconds,
    )


def compared(task: Task, method: Method, seed: int) -> Measured:
    """Run a method that has no threshold: it learns all but the last fifth of the training part, which calibrates."""
    cut = len(task.train) - max(LENGTH, round(HELD * len(task.train)))
    started = time.perf_counter()
    held, anomaly_scores = method(task.train[:cut], (task.train[cut:], task.test), seed)
    return measured(task, held, anomaly_scores, time.perf_counter() - started)


@cache
def fitted(task: Task, seed: int, calibration: str) -> tuple[SeriesDetector, float]:
    """Return isthmus.SeriesDetector as it comes, fitted, and the seconds that took."""
    started = time.perf_counter()
    detector = SeriesDetector(alpha=ALPHA, calibration=calibration, calibration_fraction=HELD, random_state=seed).fit(
        task.train
    )
    return detector, time.perf_counter() - started


def by_isthmus(task: Task, seed: int, causal: bool = False, calibration: str = "end") -> Measured:
    """Run isthmus.SeriesDetector."""
    detector, seconds = fitted(task, seed, calibration)
    started = time.perf_counter()
    anomaly_scores = -detector.score_samples(task.test, causal=causal)
    anomaly_scores[np.isnan(anomaly_scores)] = np.nanmin(anomaly_scores)  # before the first window is full
    seconds += time.perf_counter() - started
    return measured(task, detector.causal_calibration_ if causal else detector.calibration_, anomaly_scores, seconds)


METHODS: dict[str, tuple[Callable[[Task, int], Measured], bool]] = {
    "random": (lambda task, seed: compared(task, by_random, seed), True),
    "PCA": (lambda task, seed: compared(task, by_pca, seed), False),
    "sub-sequence PCA": (lambda task, seed: compared(task, by_subsequences, seed), False),
    "Isolation Forest on windows": (lambda task, seed: compared(task, by_forest, seed), True),
    "plain windowed autoencoder": (lambda task, seed: compared(task, by_autoencoder, seed), True),
    "isthmus SeriesDetector": (by_isthmus, True),
    "the same, causal": (lambda task, seed: by_isthmus(task, seed, causal=True), True),
    "calibrated by halves": (lambda task, seed: by_isthmus(task, seed, calibration="halves"), True),
    "by halves, causal": (lambda task, seed: by_isthmus(task, seed, causal=True, calibration="halves"), True),
}
# Those by halves take three times as long, and differ in the false alarms alone.
DEFAULT = [name for name in METHODS if "halves" not in name]
HEADINGS = (
    "VUS-PR",
    "VUS-ROC",
    "range F1",
    "point-adjusted F1 (random's)",
    "false alarms at 1 %",
    "seconds, all series",
)


def row(runs: Sequence[Sequence[Measured]]) -> list[str]:
    """Return the cells of a method: for each seed the measures of all series."""

    def over(name: str) -> Steps:
        return np.array([np.nanmean([getattr(one, name) for one in run]) for run in runs])

    def told(name: str, form: str = ".3f") -> str:
        values = over(name)
        spread = f" [{values.min():{form}}, {values.max():{form}}]" if len(values) > 1 else ""
        return f"{values.mean():{form}}{spread}"

    seconds = float(np.mean([sum(one.seconds for one in run) for run in runs]))
    adjusted = f"{over('adjusted').mean():.3f} ({over('adjusted_random').mean():.3f})"
    return [told("vus_pr"), told("vus_roc"), told("range_f1"), adjusted, told("false_alarms"), f"{seconds:.0f}"]


def main() -> None:
    """Run the comparison and print its tables."""
    one_thread()
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=["smd", "nab"], choices=["smd", "nab"])
    parser.add_argument("--methods", nargs="+", default=DEFAULT, choices=list(METHODS))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    texts = []
    for name in options.sets:
        tasks = list((machines if name == "smd" else numenta)(options.data))
        rows = []
        for method in options.methods:
            run, seeded = METHODS[method]
            seeds = range(options.seeds if seeded else 1)
            rows.append([method, *row([[run(task, seed) for task in tasks] for seed in seeds])])
            print(*rows[-1], sep=" | ", flush=True)
        scored = sum(bool(task.labels.any()) for task in tasks)
        title = f"{name.upper()}: {len(tasks)} series, {scored} with anomalies, {options.seeds} seeds"
        texts.append(f"{title}\n\n{markdown_table(['', *HEADINGS], rows)}")
    text = "\n\n".join([*texts, where()])
    print(text)
    if options.write is not None:
        write_between(options.write, "series", text)


if __name__ == "__main__":
    main()
