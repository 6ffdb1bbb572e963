"""Server machines: train on a machine's normal days, then raise alarms that name the channels that caused them.

    python examples/server_machines.py [--data FOLDER] [--machine machine-1-6] [--alarms 8]

The data are two machines of the Server Machine Dataset (38 channels, a step each minute; Su et al., Robust Anomaly
Detection for Multivariate Time Series through Stochastic Recurrent Neural Network, KDD 2019).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from isthmus import SeriesDetector
from isthmus.metrics import vus_pr

# A threshold that the calibration steps, 4,700 of a few days, are asked for; quiet minutes within one alarm.
ALPHA, GAP = 0.001, 30


def main() -> None:
    """Fit on the training days, score the test days, and print the most anomalous alarms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--machine", default="machine-2-1")
    parser.add_argument("--alarms", type=int, default=8, help="how many of the most anomalous alarms are printed")
    parser.add_argument("--quick", action="store_true", help="train on a tenth of the training days")
    options = parser.parse_args()
    path = options.data / "smd_2machines.npz"
    if not path.is_file():
        sys.exit(f"expected the server machines in {path}, got no such file; try --data FOLDER")
    with np.load(path, allow_pickle=False) as archive:
        train, test = (archive[f"{options.machine}_{part}"] for part in ("train", "test"))
        labels = archive[f"{options.machine}_test_label"]

    if options.quick:
        train = train[: len(train) // 10]
    started = time.perf_counter()
    detector = SeriesDetector("series:64", alpha=0.01 if options.quick else ALPHA, random_state=0).fit(train)
    print(f"learned {len(train):,} steps of {train.shape[1]} channels in {time.perf_counter() - started:.0f} s")
    share = f"{100 * detector.alpha:g} %"
    print(f"an alarm has a higher anomaly score than all but {share} of the last {detector.threshold_.rows:,} of them")

    alarms = detector.explain(test, gap=GAP)
    print(f"\n{len(alarms)} alarms in {len(test):,} steps; the {options.alarms} most anomalous, in order of time:")
    strangest = sorted(alarms, key=lambda alarm: -alarm.anomaly_score)[: options.alarms]
    for alarm in sorted(strangest, key=lambda alarm: alarm.first):
        within = labels[alarm.first : alarm.last + 1].any()
        print(f"* [{'labelled' if within else 'not labelled'}] {alarm.describe()}")

    anomaly_scores = -detector.score_samples(test)
    random = np.random.default_rng(0).random(len(test))
    print(f"\nVUS-PR {vus_pr(labels, anomaly_scores):.3f}, of a random score {vus_pr(labels, random):.3f}")

    print("\nThe same in a stream, minute by minute:")
    first = int(labels.argmax())
    detector.update(test[: first - 30])
    for step in range(first - 30, first + 30):
        score = detector.update(test[step])[0]
        if score < -detector.causal_threshold_.value:
            print(f"* alarm at step {step}; the first labelled step is {first}")
            break
    else:
        print(f"* no alarm within 30 steps after the first labelled step, {first}")


if __name__ == "__main__":
    main()
