"""Network intrusion: train on normal connections, find attacks that were never seen, and explain each of them.

The 41 columns of NSL-KDD are used without preparation: numbers, rates, and three categorical columns. Only normal
connections of the training file are used for training; the test file has 37 kinds of attack, all unknown to the
detector.

    python examples/network_intrusion.py --data FOLDER [--quick]

FOLDER has the files of NSL-KDD; without it the local copy of `isthmus.datasets.fetch("nsl-kdd")` is read. `--quick`
trains on 6,000 connections, as a test.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus import AnomalyDetector, datasets
from isthmus.applications.anomaly.explanation import Explanation
from isthmus.metrics.detection import auroc, average_precision, false_alarm_rate

Array = np.ndarray[Any, np.dtype[Any]]

# The four families of attacks, by the names of the attacks.
FAMILIES = {
    "DoS": "neptune smurf back teardrop pod land apache2 udpstorm processtable worm mailbomb",
    "Probe": "satan ipsweep nmap portsweep mscan saint",
    "R2L": "guess_passwd ftp_write imap phf multihop warezmaster warezclient spy xlock xsnoop snmpguess snmpgetattack "
    "httptunnel sendmail named",
    "U2R": "buffer_overflow loadmodule rootkit perl sqlattack xterm ps",
}
FAMILY_OF = {attack: family for family, attacks in FAMILIES.items() for attack in attacks.split()}
SHOWN, QUICK_ROWS = 10, 6_000


def main() -> None:
    """Fit, evaluate, explain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with the files of NSL-KDD")
    parser.add_argument("--quick", action="store_true", help="train on 6,000 rows only")
    parser.add_argument("--seed", type=int, default=0, help="seed of the detector and of the choice of alarms")
    asked = parser.parse_args()
    train = datasets.load("nsl-kdd", folder=asked.data)
    test = datasets.load("nsl-kdd", split="test", folder=asked.data)
    normal = np.flatnonzero(_texts(train.labels) == "normal")
    generator = np.random.default_rng(asked.seed)
    if asked.quick:
        normal = np.sort(generator.choice(normal, QUICK_ROWS, replace=False))
    detector = AnomalyDetector(alpha=0.01, random_state=asked.seed).fit(train.rows.take(pa.array(normal)))
    print(f"learned from {len(normal):,} normal connections; {detector.threshold_.describe()}\n")

    attacks = _texts(test.labels)
    anomaly_scores = -detector.score_samples(test.rows)
    alarms = anomaly_scores > detector.threshold_.value
    judge(attacks, anomaly_scores, alarms)
    for family in FAMILIES:
        rows = chosen(attacks, alarms, family, generator)
        print(f"\n{family}: {len(rows)} of its alarms")
        explanation = detector.explain(test.rows, rows=rows.tolist())
        for reason in explanation:
            print(f"  {attacks[reason.row]:16} {reason.sentence}")
    print("\nColumns with the largest shares of the anomaly score, averaged over up to 200 alarms of an attack")
    for attack, columns in typical(detector, test.rows, attacks, alarms).items():
        print(f"  {attack:16} {columns}")


def judge(attacks: Array, anomaly_scores: Array, alarms: Array) -> None:
    """Print the share of alarms among the attacks of each family, and how well the anomaly score ranks them."""
    attacked = attacks != "normal"
    print(
        f"AUROC {auroc(attacked, anomaly_scores):.4f}, "
        f"average precision {average_precision(attacked, anomaly_scores):.4f}"
    )
    print(f"false alarms among the {int((~attacked).sum()):,} normal rows {false_alarm_rate(attacked, alarms):.2%}")
    families = np.array([FAMILY_OF.get(attack, "") for attack in attacks.tolist()])
    for family in FAMILIES:
        inside = families == family
        print(f"  {family:6} {int(inside.sum()):6,} attacks, {alarms[inside].mean():.1%} are alarms")


def chosen(attacks: Array, alarms: Array, family: str, generator: np.random.Generator) -> Array:
    """Return the numbers of ten alarms of a family: one of each of its attacks by turns, drawn at random."""
    queues = []
    for attack in FAMILIES[family].split():
        rows = np.flatnonzero((attacks == attack) & alarms)
        if len(rows):
            queues.append(generator.permutation(rows).tolist())
    found: list[int] = []
    while queues and len(found) < SHOWN:
        found += [queue.pop() for queue in queues][: SHOWN - len(found)]
        queues = [queue for queue in queues if queue]
    return np.sort(np.array(found))


def typical(detector: AnomalyDetector, rows: Any, attacks: Array, alarms: Array) -> dict[str, str]:
    """Return the three columns that have most of the anomaly score of each attack's alarms."""
    found = {}
    for attack in sorted(
        set(FAMILY_OF) & set(attacks.tolist()), key=lambda name: (list(FAMILIES).index(FAMILY_OF[name]), name)
    ):
        numbers = np.flatnonzero((attacks == attack) & alarms)[:200]
        if len(numbers):
            explanation: Explanation = detector.explain(rows, rows=numbers.tolist())
            shares = explanation.shares.mean(0)
            names = rows.column_names
            best = np.argsort(-shares, kind="stable")[:3].tolist()
            found[attack] = ", ".join(f"{names[place]} {shares[place]:.0%}" for place in best)
    return found


def _texts(labels: Any) -> Array:
    return np.asarray(labels).astype(str)


if __name__ == "__main__":
    main()
