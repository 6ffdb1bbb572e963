"""Images and heart beats: one class of MNIST, pneumonia X-rays and ECG5000, normal rows only for training.

Usage, from the project's root:

    python -m benchmarks.anomaly.images [--data FOLDER] [--seeds 5] [--digits 0 1 2] [--only mnist,ecg5000]
        [--methods isthmus knn] [--cache runs.jsonl] [--write docs/benchmarks-anomaly.md]

Splits are those of the data's makers: of MNIST one digit of the training images trains and all test images are tested;
of the X-rays the normal training ones train and the test ones are tested; of the heart beats the normal ones among the
500 official training rows train and all other rows are tested. Test rows that equal a training row are dropped. So
seeds change the methods, not the rows. isthmus is given images as they are, all others flat rows from 0 to 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.anomaly.methods import METHODS, PLAIN, measure, ready
from benchmarks.anomaly.tables import ALPHA, Cache, Run, cost_table, detection_table, promise_table
from benchmarks.common import DEFAULT_DATA, where, write_between

SETS = ("mnist", "pneumonia", "ecg5000")
FILES = {"mnist": "mnist.npz", "pneumonia": "pneumoniamnist.npz", "ecg5000": "ecg5000.npz"}
DEFAULT_METHODS = ("isthmus", *PLAIN)


@dataclass(frozen=True)
class Task:
    """Normal training rows, test rows, and which of these are anomalies."""

    train: Any
    test: Any
    anomaly: Any


def load(folder: Path, name: str) -> Any:
    """Return the arrays of a set.

    Raises:
        SystemExit: there is no such file.
    """
    path = folder / FILES[name]
    if not path.is_file():
        sys.exit(f"expected {path}, got no such file; try --data FOLDER with the folder that holds {FILES[name]}")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def task(folder: Path, name: str, digit: int | None = None) -> Task:
    """Return one task of a set."""
    data = load(folder, name)
    if name == "mnist":
        return apart(data["x_train"][data["y_train"] == digit], data["x_test"], data["y_test"] != digit)
    if name == "pneumonia":
        train = data["train_images"][data["train_labels"].ravel() == 0]
        return apart(train, data["test_images"], data["test_labels"].ravel() == 1)
    chosen = np.zeros(len(data["x"]), bool)
    chosen[data["official_train_index"]] = True
    anomaly = data["anomaly"].astype(bool)
    return apart(data["x"][chosen & ~anomaly], data["x"][~chosen], anomaly[~chosen])


def apart(train: Any, test: Any, anomaly: Any) -> Task:
    """Return a task without the test rows that equal a training row."""
    known = {row.tobytes() for row in train}
    new = np.array([row.tobytes() not in known for row in test])
    return Task(train, test[new], anomaly[new])


def plain(rows: Any) -> Any:
    """Return flat rows in float32; pixels from 0 to 1."""
    flat = rows.reshape(len(rows), -1).astype(np.float32)
    return flat / 255 if rows.dtype == np.uint8 else flat


def run(method: str, label: str, given: Task, seed: int) -> Run:
    """Fit and score one method on one task."""
    train, test = given.train, given.test
    if method != "isthmus":
        train, test = plain(train), plain(test)
    try:
        found = measure(method, train, test, seed)
        auroc = float(roc_auc_score(given.anomaly, found.anomaly_scores))
    except (RuntimeError, ValueError) as error:
        return Run(method, label, seed, failed=str(error))
    alarms = None if found.alarms is None else int(found.alarms[~given.anomaly].sum())
    times = (round(found.fit_s, 3), round(found.score_s, 3), round(found.peak_mib, 1))
    return Run(method, label, seed, auroc, *times, int((~given.anomaly).sum()), alarms, found.calibration)


def measured(
    tasks: dict[str, tuple[str, int | None]], folder: Path, methods: Sequence[str], seeds: int, cache: Cache
) -> Iterator[Run]:
    """Yield all runs, seed by seed, those of the cache as they are."""
    for seed in range(seeds):
        for label, (name, digit) in tasks.items():
            given: Task | None = None
            for method in methods:
                found = cache.runs.get((method, label, seed))
                if found is None:
                    given = given or task(folder, name, digit)
                    found = run(method, label, given, seed)
                    cache.add(found)
                    told = found.failed or f"{100 * found.auroc:.1f} in {found.fit_s + found.score_s:.1f} s"
                    print(f"{label:10} seed {seed} {method:14} {told}", flush=True)
                yield found


def report(runs: Sequence[Run], tasks: dict[str, tuple[str, int | None]], methods: Sequence[str], command: str) -> str:
    """Return all tables with what one has to know to read them."""
    digits = [label for label, (name, _) in tasks.items() if name == "mnist"]
    others = [label for label in tasks if label not in digits]
    parts = ["## Images and heart beats\n", f"AUROC x 100, mean ± deviation over the seeds. {where()}.\n"]
    if digits:
        parts += [
            "One class of MNIST; published: 89.7 DCAE, 94.8 Deep SVDD, 97.5 LSA:\n",
            detection_table(runs, digits, methods),
            "",
        ]
    for label in others:
        parts += [detection_table(runs, [label], methods), ""]
    parts += [
        "Seconds of the processor for all of them, mean over the seeds, and the most memory on any:\n",
        cost_table(runs, list(tasks), methods),
        f"\nFalse alarms of isthmus at alpha = {ALPHA} on the normal test rows. The binomial interval is that of a rate"
        f"\nof exactly {ALPHA}; the beta-binomial one adds that the threshold depends on the random calibration rows."
        "\nWith fewer than 99 of them there is no threshold, and no alarm. Test images of MNIST are of other writers,"
        "\nand test X-rays differ from training ones: the false-alarm rate is guaranteed for rows that are drawn like"
        "\nthe training rows.\n",
        promise_table(runs, list(tasks)),
    ]
    return "\n".join([*parts, f"\n`{command}`"])


def tasks_of(only: str | None, digits: Sequence[int]) -> dict[str, tuple[str, int | None]]:
    """Return the tasks that are asked for, by their label.

    Raises:
        SystemExit: for a set that there is not.
    """
    wanted = SETS if not only else tuple(name.strip().lower() for name in only.split(","))
    unknown = [name for name in wanted if name not in SETS]
    if unknown:
        sys.exit(f"expected sets of {', '.join(SETS)}, got {', '.join(unknown)}; try --only ecg5000")
    found: dict[str, tuple[str, int | None]] = {}
    for name in wanted:
        if name == "mnist":
            found |= {f"digit {digit}": (name, digit) for digit in digits}
        else:
            found[name] = (name, None)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run everything, print and write the tables."""
    parser = argparse.ArgumentParser(description="Detect anomalous images and heart beats by isthmus and its peers.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder that holds mnist.npz and others")
    parser.add_argument("--seeds", type=int, default=5, help="so many seeds, from 0")
    parser.add_argument("--digits", type=int, nargs="+", choices=range(10), default=list(range(10)))
    parser.add_argument("--only", help=f"of {', '.join(SETS)}, with commas between")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(DEFAULT_METHODS))
    parser.add_argument("--cache", type=Path, help="JSON lines: runs that are there are not run again")
    parser.add_argument("--write", type=Path, help="Markdown file that gets the tables")
    asked = parser.parse_args(arguments)
    tasks = tasks_of(asked.only, asked.digits)
    ready(asked.methods)
    runs = list(measured(tasks, asked.data, asked.methods, asked.seeds, Cache(asked.cache)))
    text = report(runs, tasks, asked.methods, _command(asked))
    print(f"\n{text}")
    if asked.write:
        write_between(asked.write, "images", text)


def _command(asked: argparse.Namespace) -> str:
    words = ["python -m benchmarks.anomaly.images", f"--seeds {asked.seeds}"]
    if asked.digits != list(range(10)):
        words.append(f"--digits {' '.join(map(str, asked.digits))}")
    if asked.only:
        words.append(f"--only {asked.only}")
    if asked.methods != list(DEFAULT_METHODS):
        words.append(f"--methods {' '.join(asked.methods)}")
    return " ".join(words)


if __name__ == "__main__":
    main()
