"""An industrial table: train on normal operation of a machine, raise alarms, explain them, and test for drift.

    python examples/industrial_table.py [--data FOLDER] [--quick]

The rows are nine sensors of the radiators of a space shuttle (Statlog, in ADBench's copy: 45,586 normal rows and 3,511
of other states, `adbench/32_shuttle.npz`). They were published without names, and are `sensor 1` to `sensor 9` here.
`--quick` trains on 2,000 rows, as a test.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus import AnomalyDetector
from isthmus.metrics.detection import auroc

Array = np.ndarray[Any, np.dtype[Any]]

ROWS, QUICK_ROWS = 10_000, 2_000
# Of the new rows, so many are normal, and so many are not.
NORMAL, OTHERS = 5_000, 100
ALPHA, FDR, SHOWN = 0.01, 0.1, 5


def main() -> None:
    """Fit, raise alarms, explain the most anomalous rows, and test for drift."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with adbench/")
    parser.add_argument("--quick", action="store_true", help="train on 2,000 rows only")
    parser.add_argument("--seed", type=int, default=0, help="seed of the detector and of the choice of rows")
    asked = parser.parse_args()
    train, new, other = load(asked.data, QUICK_ROWS if asked.quick else ROWS, asked.seed)

    start = time.perf_counter()
    detector = AnomalyDetector(alpha=ALPHA, random_state=asked.seed).fit(table(train))
    print(f"learned from {len(train):,} rows in {time.perf_counter() - start:.0f} s;", detector.threshold_.describe())

    rows = table(new)
    anomaly_scores = -detector.score_samples(rows)
    alarms = anomaly_scores > detector.threshold_.value
    found = detector.alarms(rows, fdr=FDR)
    print(f"\n{len(new):,} new rows, {int(other.sum())} in another state; AUROC {auroc(other, anomaly_scores):.4f}")
    print(f"  at a false-alarm rate of {ALPHA:.0%}: {described(alarms, other)}")
    print(f"  at a false-discovery rate of {FDR:.0%}: {described(found, other)}")

    print(f"\nThe {SHOWN} most anomalous rows, and why")
    strangest = np.argsort(-anomaly_scores, kind="stable")[:SHOWN]
    for reason in detector.explain(rows, rows=strangest.tolist()):
        print(f"  {reason.sentence}")

    print("\nDrift")
    usual = new[~other]
    print(f"  new normal rows: {detector.drift(table(usual)).sentence}")
    worn = usual.copy()
    worn[:, 6] += worn[:, 6].std()
    print(f"  the same, sensor 7 shifted by one standard deviation: {detector.drift(table(worn)).sentence}")


def load(folder: Path, rows: int, seed: int) -> tuple[Array, Array, Array]:
    """Return normal rows to learn from, new rows of both kinds, and which of the latter are not normal.

    Raises:
        SystemExit: there is no such file.
    """
    path = folder / "adbench" / "32_shuttle.npz"
    if not path.is_file():
        sys.exit(f"expected the table in {path}, got no such file; try --data FOLDER with the folder that has adbench/")
    with np.load(path, allow_pickle=False) as archive:
        values, other = archive["X"], archive["y"].ravel() > 0
    generator = np.random.default_rng(seed)
    normal = generator.permutation(np.flatnonzero(~other))
    strange = generator.permutation(np.flatnonzero(other))[:OTHERS]
    numbers = np.concatenate([normal[rows : rows + NORMAL], strange])
    return values[normal[:rows]], values[numbers], other[numbers]


def table(values: Array) -> pa.Table:
    """Return rows with column names, which explanations and drift use."""
    return pa.table({f"sensor {place + 1}": column for place, column in enumerate(values.T)})


def described(alarms: Array, other: Array) -> str:
    """Return a sentence about the alarms: how many are true and how many false."""
    false = int((alarms & ~other).sum())
    of_normal, of_alarms = false / int((~other).sum()), false / max(int(alarms.sum()), 1)
    hits = f"{int((alarms & other).sum())} of {int(other.sum())} found"
    return f"{hits}, {false} false alarms ({of_normal:.1%} of the normal rows, {of_alarms:.0%} of the alarms)"


if __name__ == "__main__":
    main()
