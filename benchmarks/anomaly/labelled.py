"""Intrusions with labels: a classifier on what a detector of normal rows tells, which is to know new attacks as well.

A plain classifier on KDDTrain+ finds the attacks that it has seen and little else, and KDDTest+ has others. So

* the autoencoder is trained on normal rows only, and gives a code and an anomaly score of each type for every row;
* the normal rows of the classifier are the detector's calibration rows, whose anomaly scores are those of new rows;
* the classifier (gradient-boosted trees) may not fall when the anomaly score rises;
* the level of false alarms is chosen on families of attacks that the classifier has not seen, each left out in turn.

The classifier was chosen in the same way, among the anomaly score alone, logistic regression, and trees of several
sizes with and without the codes. Leaving out single types of attack preferred the same one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.anomaly.intrusions import Part
from isthmus import AnomalyDetector
from isthmus.applications.anomaly.calibration import calibration_rows

LEVELS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15)
# Normal rows that the classifier learns, and as many that set its threshold; attack rows of a type, at most.
NORMAL, OF_A_TYPE = 8_000, 2_000
# Small trees with large leaves, since what is learned has to hold for attacks that are not there.
TREES = {"max_iter": 60, "max_leaf_nodes": 8, "min_samples_leaf": 200, "l2_regularization": 10.0}


@dataclass(frozen=True)
class Labelled:
    """Accuracy on KDDTest+ in shares of one.

    Attributes:
        two_class: attack or not, by what decided it.
        five_class: the family of the attack, or normal.
        alpha: the level of false alarms that was chosen for the trees.
        held_out: their balanced accuracy at this level on families of attacks that were left out.
        seconds: of the processor, for choosing and fitting.
    """

    two_class: dict[str, float]
    five_class: float
    alpha: float
    held_out: float
    seconds: float


def features(detector: AnomalyDetector, rows: Any) -> tuple[Any, int]:
    """Return anomaly score by kind of score and the code of each row, `(rows, kinds + latents)`, and the kinds."""
    found = [detector.ensemble_.by_kind(batch) for batch in detector.encoded_rows(rows).batches()]
    strange = np.stack([np.concatenate([part[kind] for part in found]) for kind in found[0]], 1)
    codes = [np.asarray(member.transform(rows)) for member in detector.estimators_]
    return np.concatenate([strange, *codes], 1).astype(np.float32), strange.shape[1]


def with_labels(detector: AnomalyDetector, train: Part, test: Part, seed: int) -> Labelled:
    """Return what a classifier does on the test rows that learns from the training rows' labels.

    Args:
        detector: fitted at its defaults with this seed on the normal training rows.
        train: all training rows.
        test: the test rows.
        seed: of the choice of rows.
    """
    start = time.process_time()
    generator = np.random.default_rng(seed)
    normal = train.where(~train.attack).rows
    calibration = generator.permutation(_aside(detector, normal, seed))
    attacks = train.where(_some(train.names, train.attack, generator))
    unseen, kinds = features(detector, normal.take(pa.array(calibration[: 2 * NORMAL])))
    learned, judging = unseen[: len(unseen) // 2], unseen[len(unseen) // 2 :]
    strange, _ = features(detector, attacks.rows)
    trees, alone = _left_out(learned, judging, strange, attacks, kinds, seed)
    level, held_out = _best(trees)
    plain_level, _ = _best(alone)
    binary = _fit(learned, strange, attacks.names, kinds, seed)
    family = HistGradientBoostingClassifier(max_iter=60, class_weight="balanced", random_state=seed)
    family.fit(strange, attacks.families)
    seconds = time.process_time() - start

    tested, _ = features(detector, test.rows)
    margins = _margins(binary, tested)
    alarm = margins > _threshold(_margins(binary, judging), level)
    plain = _mean(tested, kinds) > _threshold(_mean(judging, kinds), plain_level)
    families = np.where(alarm, family.predict(tested), "normal")
    two_class = {
        "trees on codes and anomaly score, level chosen": float((alarm == test.attack).mean()),
        "the same at even odds": float(((margins > 0) == test.attack).mean()),
        "anomaly score alone, level chosen": float((plain == test.attack).mean()),
    }
    return Labelled(two_class, float((families == test.families).mean()), level, held_out, seconds)


def _aside(detector: AnomalyDetector, normal: pa.Table, seed: int) -> Any:
    """Return the numbers of the detector's calibration rows."""
    from isthmus import read

    source = read(normal)
    return calibration_rows(source, detector.calibration_fraction, detector.alpha, seed)


def _some(names: Any, attack: Any, generator: np.random.Generator) -> Any:
    """Return which rows are among so many of each attack type."""
    chosen = np.zeros(len(names), bool)
    for name in np.unique(names[attack]):
        chosen[generator.permutation(np.flatnonzero(names == name))[:OF_A_TYPE]] = True
    return chosen


def _fit(normal: Any, attacks: Any, names: Any, kinds: int, seed: int) -> HistGradientBoostingClassifier:
    """Fit trees; a type weighs as the root of its rows, all attacks together as much as the normal rows."""
    counts = dict(zip(*np.unique(names, return_counts=True), strict=True))
    weights = np.array([counts[name] ** -0.5 for name in names])
    weights *= len(normal) / weights.sum()
    model = HistGradientBoostingClassifier(
        **TREES,
        monotonic_cst=[1] * kinds + [0] * (normal.shape[1] - kinds),
        random_state=seed,
    )
    labels = np.concatenate([np.zeros(len(normal)), np.ones(len(attacks))])
    return model.fit(np.concatenate([normal, attacks]), labels, sample_weight=np.r_[np.ones(len(normal)), weights])


def _margins(model: HistGradientBoostingClassifier, rows: Any) -> Any:
    """Return the log-odds of an attack."""
    return model.decision_function(rows)


def _mean(rows: Any, kinds: int) -> Any:
    """Return the mean anomaly score over the kinds of score."""
    return rows[:, :kinds].mean(1)


def _threshold(normal: Any, level: float) -> float:
    """Return what this share of the normal rows' figures lies above."""
    return float(np.quantile(normal, 1.0 - level))


def _left_out(learned: Any, judging: Any, attacks: Any, named: Part, kinds: int, seed: int) -> tuple[Any, Any]:
    """Return the balanced accuracy at each level on families that were left out: of trees, of anomaly score alone."""
    trees: list[list[float]] = []
    alone: list[list[float]] = []
    for family in np.unique(named.families):
        out = named.families == family
        model = _fit(learned, attacks[~out], named.names[~out], kinds, seed)
        trees.append(_recall(_margins(model, attacks[out]), _margins(model, judging)))
        alone.append(_recall(_mean(attacks[out], kinds), _mean(judging, kinds)))
    hits = 1.0 - np.array(LEVELS)
    return (np.mean(trees, 0) + hits) / 2, (np.mean(alone, 0) + hits) / 2


def _recall(attacks: Any, normal: Any) -> list[float]:
    """Return the share of the attacks that is found at each level."""
    return [float((attacks > _threshold(normal, level)).mean()) for level in LEVELS]


def _best(balanced: Any) -> tuple[float, float]:
    """Return the level with the best balanced accuracy, and that accuracy."""
    place = int(balanced.argmax())
    return LEVELS[place], float(balanced[place])
