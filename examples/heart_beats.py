"""Heart beats: train on normal beats of a patient, find abnormal ones, and print the anomalous steps of each.

    python examples/heart_beats.py [--data FOLDER] [--out beats.png] [--quick]

The data are ECG5000: beats of 140 steps, of which 292 normal ones are used for training and 4,500 others for
testing (the official split). The record is chf07 of the BIDMC Congestive Heart Failure Database, PhysioNet.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector

# Of 292 beats as many are held out as a rate of 2 % takes.
ALPHA = 0.02


def main() -> None:
    """Fit on normal beats, and print the anomaly scores of the others and their explanations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="a picture of the most anomalous beats")
    parser.add_argument("--quick", action="store_true", help="train for a few seconds")
    options = parser.parse_args()
    path = options.data / "ecg5000.npz"
    if not path.is_file():
        sys.exit(f"expected the heart beats in {path}, got no such file; try --data FOLDER")
    with np.load(path, allow_pickle=False) as archive:
        beats, abnormal = archive["x"], archive["anomaly"] == 1
        official = np.isin(np.arange(len(beats)), archive["official_train_index"])
    train, test, truth = beats[official & ~abnormal], beats[~official], abnormal[~official]

    started = time.perf_counter()
    recipe = "denoising" if options.quick else "auto"
    detector = AnomalyDetector(recipe, alpha=ALPHA, random_state=0).fit(train)
    print(f"learned {len(train)} normal beats in {time.perf_counter() - started:.0f} s")
    print(detector.threshold_.describe())

    anomaly_scores = -detector.score_samples(test)
    alarms = anomaly_scores > detector.threshold_.value
    print(f"AUROC on {len(test):,} other beats: {roc_auc_score(truth, anomaly_scores):.4f}")
    print(f"alarms: {alarms[truth].mean():.1%} of the abnormal beats, {alarms[~truth].mean():.1%} of the normal ones")

    order = np.argsort(-anomaly_scores)
    shown = order[np.linspace(0, truth.sum() - 1, 6).astype(int)]
    reasons = detector.explain(test, rows=shown.tolist())
    print("\nfrom the most anomalous beat to a hardly anomalous one:")
    for place in np.argsort(-reasons.anomaly_scores):
        share = reasons.shares[place]
        first, last = stretch(share)
        kind = "abnormal" if truth[reasons.rows[place]] else "normal"
        where = f"{share[first : last + 1].sum():.0%} of it in steps {first} to {last}"
        print(f"* beat {reasons.rows[place]} ({kind}): anomaly score {reasons.anomaly_scores[place]:.2f}, {where}")
    if options.out:
        draw(options.out, reasons, truth, detector.threshold_.value)
        print(f"\nthese beats and their expected values: {options.out}")


def stretch(share: np.ndarray) -> tuple[int, int]:
    """Return the shortest run of steps with half of the anomaly score."""
    total = np.concatenate([[0.0], np.cumsum(share)])
    ends = np.searchsorted(total, total[:-1] + 0.5 * total[-1])
    found = [(end - start, start) for start, end in enumerate(ends) if end < len(total)]
    length, start = min(found)
    return start, start + max(1, length) - 1


def draw(path: Path, reasons: object, truth: np.ndarray, threshold: float) -> None:
    """Write a picture of some beats with their expected values, the anomalous steps shaded."""
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    order = np.argsort(-reasons.anomaly_scores)
    for axes, place in zip(grid.ravel(), order, strict=True):
        share = reasons.shares[place]
        axes.imshow(
            (share / share.max())[None],
            aspect="auto",
            extent=(-0.5, len(share) - 0.5, -6, 5),
            cmap="Oranges",
            vmin=0.0,
            vmax=1.6,
            alpha=0.9,
        )
        axes.plot(reasons.expected[place], color="#3b82f6", linewidth=1.2, label="expected")
        axes.plot(reasons.seen[place], color="#333333", linewidth=1.2, label="seen")
        alarm = "alarm" if reasons.anomaly_scores[place] > threshold else "no alarm"
        kind = "abnormal" if truth[reasons.rows[place]] else "normal"
        axes.set_title(f"beat {reasons.rows[place]}, {kind}: {alarm}", fontsize=9)
        axes.set_ylim(-6, 5)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=9)
    grid[0, 0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle("shaded: steps that make the beat strange", fontsize=10)
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
