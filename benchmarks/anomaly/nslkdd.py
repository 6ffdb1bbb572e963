"""NSL-KDD: detection from normal rows alone, and with labels a classifier on codes and anomaly score.

Usage, from the project's root (`make benchmark-anomaly` does it in an environment of its own):

    python -m benchmarks.anomaly.nslkdd [--data FOLDER] [--seeds 3] [--methods isthmus knn] [--write FILE]

All train on KDDTrain+ alone and are tested on all of KDDTest+, which holds 17 attacks that KDDTrain+ does not have.
isthmus is given the 41 columns as they are; the others one-hot categories and standardised columns.

Data: Tavallaee et al., A Detailed Analysis of the KDD CUP 99 Data Set, CISDA 2009.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.anomaly.intrusions import FAMILIES, Part, load, one_hot
from benchmarks.anomaly.labelled import Labelled, with_labels
from benchmarks.anomaly.methods import METHODS, in_process, measure, ready
from benchmarks.common import DEFAULT_DATA, markdown_table, spread, where, write_between

ALPHAS = (0.01, 0.05)
# Of the normal rows, so many set the threshold of a method that has none of its own.
CALIBRATION = 10_000
# What grows with the square of its rows learns from a part of them.
MOST_ROWS = {"ocsvm": 10_000}
# A run of these takes minutes, and their seeds differ little.
ONE_SEED = ("knn", "pca", "pyod-ae", "pyod-vae")
ONE_CLASS = ("isthmus", "knn", "iforest", "pca", "ocsvm", "pyod-ae", "pyod-vae")


@dataclass(frozen=True)
class DetectionResult:
    """One method with one seed: AUROC of all attacks and by family, accuracy and false alarms by level, cost."""

    auroc: float
    families: dict[str, float]
    accuracy: dict[float, float]
    false_alarms: dict[float, float]
    seconds: float
    peak_mib: float
    rows: int


def judged(test: Part, anomaly_scores: Any, p: Any, **spent: Any) -> DetectionResult:
    """Return the figures from anomaly score and from p-values of the test rows."""
    attack, families = test.attack, test.families
    by_family = {
        family: float(roc_auc_score(attack[kept], anomaly_scores[kept]))
        for family in FAMILIES
        if (kept := ~attack | (families == family)).any()
    }
    alarms = {alpha: p <= alpha for alpha in ALPHAS}
    return DetectionResult(
        float(roc_auc_score(attack, anomaly_scores)),
        by_family,
        {alpha: float((found == attack).mean()) for alpha, found in alarms.items()},
        {alpha: float(found[~attack].mean()) for alpha, found in alarms.items()},
        **spent,
    )


def conformal(calibration: Any, anomaly_scores: Any) -> Any:
    """Return p-values ``(1 + #{calibration >= s}) / (1 + n)``."""
    ordered = np.sort(calibration)
    return (1 + len(ordered) - np.searchsorted(ordered, anomaly_scores)) / (1 + len(ordered))


def baseline(method: str, train: Part, test: Part, seed: int) -> DetectionResult:
    """Return what a method does that learns from normal rows but those that calibrate it."""
    first, second = one_hot(train.where(~train.attack).rows, test.rows)
    order = np.random.default_rng(seed).permutation(len(first))
    learned = order[CALIBRATION:][: MOST_ROWS.get(method)]
    judged_rows = np.concatenate([first[order[:CALIBRATION]], second])
    found = measure(method, first[learned], judged_rows, seed)
    calibration, anomaly_scores = found.anomaly_scores[:CALIBRATION], found.anomaly_scores[CALIBRATION:]
    p = conformal(calibration, anomaly_scores)
    return judged(
        test, anomaly_scores, p, seconds=found.fit_s + found.score_s, peak_mib=found.peak_mib, rows=len(learned)
    )


def detect(train: Part, test: Part, seed: int) -> tuple[DetectionResult, Labelled]:
    """Fit isthmus' detector at its defaults on normal rows; with labels, a classifier on what it tells."""
    from benchmarks.peers import peak_mib
    from isthmus import AnomalyDetector

    peak, start = peak_mib(), time.process_time()
    detector = AnomalyDetector(random_state=seed).fit(train.where(~train.attack).rows)
    anomaly_scores = -np.asarray(detector.score_samples(test.rows))
    seconds = time.process_time() - start
    spent = {"seconds": seconds, "peak_mib": peak_mib() - peak}
    rows = int((~train.attack).sum()) - len(detector.calibration_)
    found = judged(test, anomaly_scores, detector.p_values(test.rows), rows=rows, **spent)
    return found, with_labels(detector, train, test, seed)


# ---- tables ----------------------------------------------------------------------------------------------------------


def one_class_table(runs: dict[str, list[DetectionResult]]) -> str:
    """Return the figures of detection from normal rows alone."""
    rows = []
    for method, found in runs.items():
        rows.append(
            [
                METHODS[method].label,
                spread([100 * f.auroc for f in found]),
                *(f"{100 * mean(f.families[family] for f in found):.1f}" for family in FAMILIES),
                *(spread([100 * f.accuracy[alpha] for f in found], 1) for alpha in ALPHAS),
                *(f"{100 * mean(f.false_alarms[alpha] for f in found):.1f}" for alpha in ALPHAS),
                f"{found[0].rows:,}",
                f"{mean(f.seconds for f in found):.0f}",
                f"{max(f.peak_mib for f in found):.0f}",
            ]
        )
    header = [
        "",
        "AUROC",
        *FAMILIES,
        *(f"accuracy at {a:.0%}" for a in ALPHAS),
        *(f"alarms at {a:.0%}" for a in ALPHAS),
    ]
    return markdown_table([*header, "rows learned", "s", "MiB"], rows)


def labelled_table(found: Sequence[Labelled]) -> str:
    """Return the figures of classification, with what chose the threshold."""
    two: Callable[[Labelled, str], float] = lambda f, name: 100 * f.two_class[name]  # noqa: E731
    rows = [[name, spread([two(f, name) for f in found])] for name in found[0].two_class]
    table = markdown_table(["two classes", "accuracy, %"], rows)
    chosen = ", ".join(f"{f.alpha:.0%} ({100 * f.held_out:.1f} %)" for f in found)
    return "\n".join(
        [
            table,
            f"\nFive classes: {spread([100 * f.five_class for f in found])} %. Levels that were chosen, with the"
            f" balanced accuracy on\nfamilies that were left out: {chosen}. Seconds for choosing and fitting:"
            f" {mean(f.seconds for f in found):.0f}.",
        ]
    )


def report(runs: dict[str, list[DetectionResult]], labelled: Sequence[Labelled], command: str, overlap: int) -> str:
    """Return both tables with what one has to know to read them."""
    parts = [
        "## NSL-KDD\n",
        "Learned from the normal rows of KDDTrain+, tested on all of KDDTest+; AUROC x 100, also for the attacks of"
        "\neach family; accuracy in per cent where rows with a conformal p-value of at most 1 or 5 % are alarms, and"
        "\nthe share of KDDTest+'s normal rows that are. They are from another distribution than KDDTrain+'s, so the"
        f"\nfalse-alarm rate is not guaranteed for them. {overlap} rows of KDDTest+ equal a normal row of KDDTrain+."
        f"\nMedian (range) over the seeds; {', '.join(METHODS[m].label for m in ONE_SEED)} have one. {where()}.\n",
        one_class_table(runs),
    ]
    if labelled:
        parts += [
            "\nWith labels: gradient-boosted trees on the codes and the anomaly score of the same detector, monotone in"
            "\nthe anomaly score. The false-alarm rate is the one that is best at finding families of attacks that were"
            "\nnot in the trees' training data: each family of KDDTrain+ is left out in turn, as described in"
            "\n`benchmarks/README.md`. Balanced accuracy is half of the share of normal rows that pass, plus half of"
            "\nthat of the families found.\n",
            labelled_table(labelled),
        ]
    return "\n".join([*parts, f"\n`{command}`"])


def shared_rows(train: Part, test: Part) -> int:
    """Return how many test rows equal a normal training row."""
    known = {tuple(row.values()) for row in train.where(~train.attack).rows.to_pylist()}
    return sum(tuple(row.values()) in known for row in test.rows.to_pylist())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run everything, print and write the tables."""
    parser = argparse.ArgumentParser(description="Detect intrusions by isthmus and its peers.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of nslkdd_train.parquet")
    parser.add_argument("--seeds", type=int, default=3, help="so many seeds, from 0")
    parser.add_argument("--methods", nargs="+", choices=ONE_CLASS, default=list(ONE_CLASS))
    parser.add_argument("--write", type=Path, help="Markdown file that gets the tables")
    asked = parser.parse_args(arguments)
    train, test = load(asked.data, "train"), load(asked.data, "test")
    ready(asked.methods)
    runs: dict[str, list[DetectionResult]] = {}
    labelled: list[Labelled] = []
    for method in asked.methods:
        for seed in range(1 if method in ONE_SEED else asked.seeds):
            if method == "isthmus":
                found, classified = in_process(detect, train, test, seed)
                labelled.append(classified)
            else:
                found = baseline(method, train, test, seed)
            runs.setdefault(method, []).append(found)
            print(f"{method:12} seed {seed}: {100 * found.auroc:.2f} in {found.seconds:.0f} s", flush=True)
    command = "python -m benchmarks.anomaly.nslkdd" + (f" --seeds {asked.seeds}" if asked.seeds != 3 else "")
    text = report(runs, labelled, command, shared_rows(train, test))
    print(f"\n{text}")
    if asked.write:
        write_between(asked.write, "nslkdd", text)


if __name__ == "__main__":
    main()
