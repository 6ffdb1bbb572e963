"""What a detector finds among rows: anomaly scores, alarms and explanations, as a table, as JSON and in sentences."""

from __future__ import annotations

import dataclasses
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
from isthmus.applications.anomaly.thresholds import false_discoveries, p_values
from isthmus.data.files.writers import Writer
from isthmus.data.source import Source
from isthmus.typing import Booleans, Doubles

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
        condition: of the rows, for a conditional detector.
        fdr: the false-discovery rate; None for the detector's threshold.
        most: alarms that are explained, the most anomalous first.
        labels: one for each row; None for none.
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
    def alarms(self) -> Booleans:
        """Which rows are alarms, `(rows,)`."""
        if self.fdr is not None:
            return false_discoveries(self.p_values, self.fdr)
        return self.anomaly_scores > self.detector.threshold_.value

    @property
    def count(self) -> int:
        """Number of alarms."""
        return int(self.alarms.sum())

    @cached_property
    def most_anomalous(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The numbers of the alarms that are explained, the most anomalous first."""
        rows = np.flatnonzero(self.alarms)
        return rows[np.argsort(-self.anomaly_scores[rows], kind="stable")][: self.most]

    @cached_property
    def explanation(self) -> Explanation | None:
        """The explanations of these alarms, in the order of the rows; None without any."""
        if not len(self.most_anomalous):
            return None
        found = self.detector.explain(self.source, rows=self.most_anomalous.tolist(), condition=self.condition)
        return dataclasses.replace(found, alarms=np.ones(len(found), bool))

    def explanations(self, most: int) -> Iterator[RowExplanation]:
        """Yield the explanations of the most anomalous alarms, the most anomalous first."""
        if self.explanation is not None:
            for row in self.most_anomalous[:most]:
                yield self.explanation[int(np.searchsorted(self.explanation.rows, row))]

    # ---- in words ------------------------------------------------------------------------------------------------

    def guarantee(self) -> str:
        """Return the guaranteed rate of false alarms, in a sentence."""
        if self.fdr is None:
            return self.detector.threshold_.describe()
        if not self.count and self.fdr / len(self.anomaly_scores) < 1 / (1 + len(self.detector.calibration_)):
            rows = len(self.detector.calibration_)
            return (
                f"with {rows:,} calibration rows no p-value is below {1 / (1 + rows):.2g}, which is too coarse for a "
                "single alarm among so many rows: fit on more rows, or leave out --fdr"
            )
        level = percent(self.fdr)
        return f"of these alarms at most {level} are false, on average, if rows are independent (Benjamini-Hochberg)"

    def summary(self) -> str:
        """Return how many alarms there are, and the guaranteed rate of false ones."""
        rows = len(self.anomaly_scores)
        alarms = f"{self.count:,} alarm{'' if self.count == 1 else 's'} among {rows:,} rows"
        return f"{alarms} ({percent(self.count / rows)}); {self.guarantee()}"

    def sentences(self, most: int) -> list[str]:
        """Return a sentence for each of the most anomalous alarms."""
        return [one.sentence for one in self.explanations(most)]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, with the explanations of 1,000 alarms at most, the most anomalous first."""
        return {
            "rows": len(self.anomaly_scores),
            "alarms": self.count,
            "threshold": self.detector.threshold_.to_dict(),
            "fdr": self.fdr,
            "guarantee": self.guarantee(),
            "explanations": [plain(one) for one in self.explanations(_LISTED)],
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
        explained: list[RowExplanation | None] = [None] * len(rows)
        if self.explanation is not None:
            known = self.explanation.rows
            places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
            explained = [
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
                cells = [_cell(one, place) for one in explained]
                for number, (name, kind) in enumerate(_CELLS.items()):
                    columns[f"{name}_{place + 1}"] = pa.array([cell and cell[number] for cell in cells], kind)
        columns["sentence"] = pa.array([one and one.sentence for one in explained], pa.string())
        return pa.table(columns)


_CELLS = {"column": pa.string(), "seen": pa.string(), "expected": pa.string(), "share": pa.float64()}


def _cell(explained: RowExplanation | None, place: int) -> tuple[str, str, str, float] | None:
    if explained is None or place >= len(explained.parts):
        return None
    part = explained.parts[place]
    return str(part.place), value(part.seen, 6), value(part.expected, 6), round(part.share, 4)


def plain(explained: RowExplanation, most: int | None = None) -> dict[str, Any]:
    """Return an explanation as plain JSON values, with its largest parts."""
    parts = [
        {
            "place": part.place if isinstance(part.place, str) else list(part.place),
            "seen": _json(part.seen),
            "expected": _json(part.expected),
            "share": part.share,
        }
        for part in explained.parts[: _NAMED if most is None else most]
    ]
    head = {
        "row": explained.row,
        "anomaly_score": explained.anomaly_score,
        "p_value": explained.p_value,
        "alarm": explained.alarm,
    }
    return {**head, "sentence": explained.sentence, "parts": parts}


def _json(given: Any) -> Any:
    return given if isinstance(given, bool | int | float | str | None) else str(given)
