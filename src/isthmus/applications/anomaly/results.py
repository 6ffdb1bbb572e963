"""What a detector finds among rows: anomaly score, alarms and their reasons, as a table, as JSON and in sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.applications.anomaly.detector import AnomalyDetector
from isthmus.applications.anomaly.explanation import Explanation, RowExplanation
from isthmus.applications.anomaly.messages import percent, value
from isthmus.applications.anomaly.thresholds import Bits, Doubles, false_discoveries, p_values
from isthmus.data.files.writers import Writer
from isthmus.data.source import Source

# Columns that a line of the table names, and lines that are written at a time.
_NAMED = 3
_LINES = 1 << 14
# Alarms that JSON holds in full.
_LISTED = 1_000


@dataclass(frozen=True)
class DetectionResult:
    """Rows and what a detector makes of them.

    Attributes:
        detector: fitted.
        source: the rows.
        condition: what a conditional detector was told of them.
        fdr: the share of false alarms among all; None for the detector's threshold.
        most: alarms that get reasons, the most anomalous first.
        labels: what is known of the rows, one for each; None for nothing.
    """

    detector: AnomalyDetector
    source: Source
    condition: Any = None
    fdr: float | None = None
    most: int = 10_000
    labels: Any = None

    @cached_property
    def anomaly_scores(self) -> Doubles:
        """Of each row, `(rows,)`."""
        found: Doubles = -self.detector.score_samples(self.source, condition=self.condition)
        return found

    @cached_property
    def p_values(self) -> Doubles:
        """Of each row, `(rows,)`."""
        return p_values(self.detector.calibration_, self.anomaly_scores)

    @cached_property
    def alarms(self) -> Bits:
        """Which rows are alarms, `(rows,)`."""
        if self.fdr is not None:
            return false_discoveries(self.p_values, self.fdr)
        return self.anomaly_scores > self.detector.threshold_.value

    @property
    def count(self) -> int:
        """Number of alarms."""
        return int(self.alarms.sum())

    @cached_property
    def strangest(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The numbers of the alarms that get reasons, the most anomalous first."""
        rows = np.flatnonzero(self.alarms)
        return rows[np.argsort(-self.anomaly_scores[rows], kind="stable")][: self.most]

    @cached_property
    def explanation(self) -> Explanation | None:
        """The reasons of these alarms, in the order of the rows; None without any."""
        if not len(self.strangest):
            return None
        found = self.detector.explain(self.source, rows=self.strangest.tolist(), condition=self.condition)
        return dataclasses.replace(found, alarms=np.ones(len(found), bool))

    def reasons(self, most: int) -> Iterator[RowExplanation]:
        """Yield the reasons of the most anomalous alarms, the most anomalous first."""
        if self.explanation is not None:
            for row in self.strangest[:most]:
                yield self.explanation[int(np.searchsorted(self.explanation.rows, row))]

    # ---- in words ------------------------------------------------------------------------------------------------

    def promise(self) -> str:
        """Return what the alarms promise, in a sentence."""
        if self.fdr is None:
            return self.detector.threshold_.describe()
        if not self.count and self.fdr / len(self.anomaly_scores) < 1 / (1 + len(self.detector.calibration_)):
            least = 1 / (1 + len(self.detector.calibration_))
            return (
                f"with {len(self.detector.calibration_):,} rows held out no p-value is below {least:.2g}, which is too "
                "coarse for a single alarm among so many rows: fit on more rows, or leave out --fdr"
            )
        level = percent(self.fdr)
        return f"of these alarms at most {level} are false, on average, if rows are independent (Benjamini-Hochberg)"

    def summary(self) -> str:
        """Return how many alarms there are, and what they promise."""
        rows = len(self.anomaly_scores)
        alarms = f"{self.count:,} alarm{'' if self.count == 1 else 's'} among {rows:,} rows"
        return f"{alarms} ({percent(self.count / rows)}); {self.promise()}"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, with the reasons of 1,000 alarms at most, the most anomalous first."""
        return {
            "rows": len(self.anomaly_scores),
            "alarms": self.count,
            "threshold": plain_threshold(self.detector),
            "fdr": self.fdr,
            "promise": self.promise(),
            "reasons": [plain(reason) for reason in self.reasons(_LISTED)],
        }

    # ---- as a table ----------------------------------------------------------------------------------------------

    def write(self, path: Path, *, only_alarms: bool) -> int:
        """Write a line for each row, or for each alarm; return how many."""
        rows = np.flatnonzero(self.alarms) if only_alarms else np.arange(len(self.anomaly_scores))
        with Writer(path, len(rows), overwrite=True) as writer:  # who calls has asked
            for start in range(0, max(len(rows), 1), _LINES):
                writer.write(self._lines(rows[start : start + _LINES]))
        return len(rows)

    def _lines(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Table:
        reasons: list[RowExplanation | None] = [None] * len(rows)
        if self.explanation is not None:
            known = self.explanation.rows
            places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
            reasons = [
                self.explanation[place] if known[place] == row else None
                for place, row in zip(places.tolist(), rows.tolist(), strict=True)
            ]
        columns: dict[str, Any] = {
            "row": pa.array(rows),
            "anomaly_score": pa.array(self.anomaly_scores[rows]),
            "p_value": pa.array(self.p_values[rows]),
            "alarm": pa.array(self.alarms[rows]),
        }
        if self.detector.estimators_[0].schema_.kind in ("table", "vector"):
            for place in range(_NAMED):
                cells = [_cell(reason, place) for reason in reasons]
                for number, (name, kind) in enumerate(_CELLS.items()):
                    columns[f"{name}_{place + 1}"] = pa.array([cell and cell[number] for cell in cells], kind)
        columns["sentence"] = pa.array([reason and reason.sentence for reason in reasons], pa.string())
        return pa.table(columns)


def plain_threshold(detector: AnomalyDetector) -> dict[str, Any]:
    """Return the threshold as plain JSON values; its bound is None if nothing is an alarm."""
    threshold = detector.threshold_
    return {**dataclasses.asdict(threshold), "value": threshold.value if math.isfinite(threshold.value) else None}


def facts(detector: AnomalyDetector) -> dict[str, Any]:
    """Return what a detector is as plain JSON values."""
    return {
        "rows": detector.estimators_[0].schema_.describe(),
        "n_estimators": len(detector.estimators_),
        "scores": list(kinds_in(detector)),
        "training_rows": int(detector.estimators_[0].metrics_["training_rows"]),
        "threshold": plain_threshold(detector),
        "promise": detector.threshold_.describe(),
        "seconds": float(detector.estimators_[0].metrics_["seconds"]),
    }


def lines(detector: AnomalyDetector) -> list[str]:
    """Return what a detector is, line by line."""
    told = facts(detector)
    held = detector.threshold_.rows
    several = f"{told['n_estimators']} autoencoders" if told["n_estimators"] > 1 else "one autoencoder"
    return [
        f"{told['rows']}: {told['training_rows']:,} to learn from, {held:,} held out for the threshold",
        f"{several}, scored by {' and '.join(told['scores'])}, {told['seconds']:.1f} s",
        told["promise"],
    ]


def kinds_in(detector: AnomalyDetector) -> tuple[str, ...]:
    """Return the kinds of score that a detector averages."""
    return tuple(dict.fromkeys(part.score.kind for part in detector.ensemble_.parts))


_CELLS = {"column": pa.string(), "seen": pa.string(), "expected": pa.string(), "share": pa.float64()}


def _cell(reason: RowExplanation | None, place: int) -> tuple[str, str, str, float] | None:
    if reason is None or place >= len(reason.parts):
        return None
    part = reason.parts[place]
    return str(part.place), value(part.seen, 6), value(part.expected, 6), round(part.share, 4)


def plain(reason: RowExplanation, most: int | None = None) -> dict[str, Any]:
    """Return a reason as plain JSON values, with its largest parts."""
    parts = [
        {
            "place": part.place if isinstance(part.place, str) else list(part.place),
            "seen": _json(part.seen),
            "expected": _json(part.expected),
            "share": part.share,
        }
        for part in reason.parts[: _NAMED if most is None else most]
    ]
    head = {"row": reason.row, "anomaly_score": reason.anomaly_score, "p_value": reason.p_value, "alarm": reason.alarm}
    return {**head, "sentence": reason.sentence, "parts": parts}


def _json(given: Any) -> Any:
    return given if isinstance(given, bool | int | float | str | None) else str(given)
