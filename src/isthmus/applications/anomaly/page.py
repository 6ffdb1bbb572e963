"""The page of a detection: the alarms, the anomaly scores of all rows, and the explanations of the highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.applications.anomaly import explanation_plots
from isthmus.applications.anomaly.explanation import Explanation, RowExplanation
from isthmus.applications.anomaly.explanation_output import where
from isthmus.applications.anomaly.messages import pair, percent
from isthmus.applications.anomaly.results import DetectionResult
from isthmus.atomic import write_whole
from isthmus.errors import DataError
from isthmus.errors import explain as expected_got
from isthmus.metrics.detection import (
    auroc,
    average_precision,
    beta_binomial_interval,
    binomial_interval,
    false_alarm_rate,
    precision_at_k,
)
from isthmus.report import plots
from isthmus.report.page import environment, making
from isthmus.typing import Booleans, Doubles

# Alarms that are shown, of rows with pictures, and the parts of each.
_ROWS, _PICTURES, _PARTS = 40, 16, 5
_MOST_PIXELS = 96
# Labels that mean a normal row, if nothing is said.
_NORMAL = ("0", "0.0", "normal", "false", "no", "good", "benign", "inlier")


@dataclass(frozen=True)
class Line:
    """One alarm of the page.

    Attributes:
        row: its number.
        label: its label; empty for none.
        anomaly_scores: for people.
        p_value: for people.
        sentence: why.
        parts: name, seen, expected, share in percent, and the share itself.
        picture: a data URI; empty for a table.
    """

    row: int
    label: str
    anomaly_scores: str
    p_value: str
    sentence: str
    parts: tuple[tuple[str, str, str, str, float], ...]
    picture: str


def write_detection_page(
    found: DetectionResult, path: str | Path, *, name: str, normal: str | None = None, command: str = ""
) -> Path:
    """Write one self-contained HTML page about a detector's alarms; a file that is there is replaced.

    Args:
        found: rows and what the detector makes of them.
        path: of the page.
        name: what the page calls the detector.
        normal: the label of normal rows; None for any of 0, normal, false, no, good, benign, inlier.
        command: how the page can be made again.

    Raises:
        DataError: for labels of which none, or all, are that of normal rows.
    """
    truth = None if found.labels is None else anomalies(found.labels, normal)
    detector = found.detector
    schema = detector.estimators_[0].schema_
    content = {
        "name": name,
        "schema": schema.describe(),
        "score_types": detector.ensemble_.kinds,
        "n_estimators": len(detector.estimators_),
        "rows": len(found.anomaly_scores),
        "count": found.count,
        "share": percent(found.count / len(found.anomaly_scores)),
        "guarantee": found.guarantee(),
        "threshold": detector.threshold_,
        "finite": math.isfinite(detector.threshold_.value),
        "fdr": found.fdr,
        "calibration": len(detector.calibration_),
        "histogram": histogram(detector.calibration_, found.anomaly_scores, detector.threshold_.value),
        "drift": drift(found),
        "alarms": alarms(found),
        "part": "" if found.explanation is None else found.explanation.part,
        "labelled": None if truth is None else evaluated(found, truth),
        "making": making([("command", command), ("rows", f"{len(found.anomaly_scores):,}")]),
    }
    page = environment().get_template("detection.html.j2").render(**content)
    path = Path(path)
    write_whole(path, page.encode())
    return path


def drift(found: DetectionResult) -> dict[str, Any] | None:
    """Return whether the rows are like the training rows; None for too few to tell."""
    if len(found.anomaly_scores) < 50:
        return None
    compared = found.detector.drift(found.source, condition=found.condition)
    return {"found": compared.found, "sentence": compared.sentence[0].upper() + compared.sentence[1:]}


def alarms(found: DetectionResult) -> list[Line]:
    """Return the most anomalous alarms."""
    if found.explanation is None:
        return []
    labels = None if found.labels is None else np.asarray(found.labels)
    explanation = found.explanation
    most = _ROWS if explanation.part in ("column", "token") else _PICTURES
    lines = []
    for reason in found.explanations(most):
        place = int(np.searchsorted(explanation.rows, reason.row))
        lines.append(
            Line(
                reason.row,
                "" if labels is None else str(labels[reason.row]),
                f"{reason.anomaly_score:.3g}",
                f"{reason.p_value:.2g}",
                _why(reason),
                _parts(explanation, reason) if explanation.part == "column" else (),
                _picture(explanation, place),
            )
        )
    return lines


def _why(reason: RowExplanation) -> str:
    """Return the sentence without the number of the row, which has a column of its own."""
    said = reason.sentence.partition(": ")[2] or reason.sentence
    return said[0].upper() + said[1:]


def _parts(explanation: Explanation, reason: RowExplanation) -> tuple[tuple[str, str, str, str, float], ...]:
    shown = [part for place, part in enumerate(reason.parts[:_PARTS]) if not place or part.share >= 0.01]
    return tuple(
        (where(explanation, part), *pair(part.seen, part.expected), percent(part.share), part.share) for part in shown
    )


def _picture(explanation: Explanation, place: int) -> str:
    if explanation.part == "pixel":
        images = np.stack(explanation_plots.image_and_heat(explanation, place))
        step = -(-max(images.shape[1:3]) // _MOST_PIXELS)
        # Enlarged, so that what lies between them stays narrow.
        times = max(1, _MOST_PIXELS // max(images.shape[1:3]))
        return plots.mosaic(images[:, ::step, ::step].repeat(times, 1).repeat(times, 2), 3)
    return plots.as_svg(explanation_plots.series(explanation, place)) if explanation.part == "step" else ""


# ---- charts --------------------------------------------------------------------------------------------------------


def histogram(calibration: Doubles, anomaly_scores: Doubles, threshold: float, unit: str = "rows") -> str:
    """Return the anomaly scores of rows, or steps, beside the calibration ones, as shares on a log scale."""
    figure, axes = plots.chart(width=7.6, height=3.2)
    both = np.concatenate([calibration, anomaly_scores])
    both = both[np.isfinite(both)]
    # A few rows may be so far out that all others would share one bar.
    low, high = float(both.min()), float(min(both.max(), 3.0 * np.quantile(both, 0.99) - 2.0 * np.median(both)))
    high = max(high, threshold * 1.1 if math.isfinite(threshold) else high, low + 1e-9)
    edges = np.linspace(low, high, 61)
    for name, values, colour in (
        (f"{len(calibration):,} calibration {unit}", calibration, plots.BLUE),
        (f"{len(anomaly_scores):,} {unit} of this page", anomaly_scores, plots.ORANGE),
    ):
        kept = np.clip(values, low, high)
        axes.hist(
            kept,
            bins=edges.tolist(),
            weights=np.full(len(kept), 100.0 / len(kept)),
            color=colour,
            alpha=0.55,
            label=name,
        )
    plots.logarithmic(axes, "y")
    axes.set_ylim(bottom=60.0 / max(len(calibration), len(anomaly_scores)))
    if math.isfinite(threshold):
        axes.axvline(threshold, color=plots.INK, linewidth=1.6, linestyle="--", label="threshold")
    axes.set_xlabel("anomaly score" + (" (the last bar holds all beyond)" if high < both.max() else ""))
    axes.set_ylabel(f"% of the {unit}")
    plots.legend_above(axes)
    return plots.as_svg(figure)


def curve(x: Doubles, y: Doubles, point: tuple[float, float], names: tuple[str, str], chance: tuple[Any, Any]) -> str:
    """Return a curve, with the point of the threshold and the line of chance."""
    figure, axes = plots.chart(width=4.4, height=3.4)
    axes.plot(*chance, color=plots.INK, linewidth=1, linestyle=":", label="chance")
    axes.plot(x, y, color=plots.BLUE, linewidth=1.8, label="detector", drawstyle="steps-post")
    axes.plot(*point, color=plots.ORANGE, marker="o", linestyle="", label="these alarms")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    plots.legend_above(axes)
    return plots.as_svg(figure)


# ---- with labels ---------------------------------------------------------------------------------------------------


def anomalies(labels: Any, normal: str | None) -> Booleans:
    """Return which rows are anomalies by their labels.

    Raises:
        DataError: if none or all of them are.
    """
    texts = np.array([str(label) for label in np.asarray(labels).tolist()])
    known = (normal,) if normal is not None else _NORMAL
    found: Booleans = ~np.isin(texts if normal is not None else np.char.lower(texts), known)
    if found.all() or not found.any():
        seen = ", ".join(map(repr, np.unique(texts)[:6].tolist()))
        expected = f"labels of which some are that of normal rows ({' or '.join(map(repr, known))}) and some are not"
        raise DataError("--labels: " + expected_got(expected, seen, "--normal LABEL"))
    return found


def evaluated(found: DetectionResult, truth: Booleans) -> dict[str, Any]:
    """Return how good the alarms are."""
    anomaly_scores, normal = found.anomaly_scores, int((~truth).sum())
    false, caught = int(found.alarms[~truth].sum()), int(found.alarms[truth].sum())
    order = np.argsort(-anomaly_scores, kind="stable")
    hits = np.cumsum(truth[order])
    # Rows that tie are above a threshold together.
    last = np.flatnonzero(np.append(np.diff(anomaly_scores[order]) != 0, True))
    last = last[np.unique(np.linspace(0, len(last) - 1, 600).astype(int))]
    recall = hits[last] / hits[-1]
    alarm_rate = (last + 1 - hits[last]) / normal
    precision = hits[last] / (last + 1)
    point = (false / normal, caught / int(truth.sum()))
    roc = curve(
        np.concatenate([[0.0], alarm_rate]),
        np.concatenate([[0.0], recall]),
        point,
        ("share of normal rows above", "share of anomalies above"),
        ([0, 1], [0, 1]),
    )
    share = float(truth.mean())
    recalled = curve(
        recall,
        precision,
        (point[1], caught / found.count if found.count else 1.0),
        ("share of anomalies above", "anomalies among those above"),
        ([0, 1], [share, share]),
    )
    lines = _quality(found, truth, false, caught)
    return {"lines": lines, "roc": roc, "precision": recalled, "labels": _by_label(found, truth)}


def _quality(found: DetectionResult, truth: Booleans, false: int, caught: int) -> list[tuple[str, str, str]]:
    """Return measures of the alarms, as (name, value, hint)."""
    anomaly_scores, count, normal = found.anomaly_scores, int(truth.sum()), int((~truth).sum())
    rate = percent(false_alarm_rate(truth, found.alarms))
    return [
        ("Anomalies among the rows", f"{count:,} of {len(truth):,}", ""),
        ("Detected", f"{caught:,} ({percent(caught / count)})", "anomalies that are alarms"),
        ("False alarms", f"{false:,} of {normal:,} ({rate})", _beside_guarantee(found, false, normal)),
        ("Precision", percent(caught / found.count) if found.count else "–", "alarms that are anomalies"),
        (
            "AUROC",
            f"{auroc(truth, anomaly_scores):.4f}",
            "how often an anomaly has a higher anomaly score than a normal row",
        ),
        ("Average precision", f"{average_precision(truth, anomaly_scores):.4f}", f"{truth.mean():.3g} by chance"),
        (
            f"Precision of the {count:,} highest anomaly scores",
            percent(precision_at_k(truth, anomaly_scores)),
            "as many as there are anomalies",
        ),
    ]


def _beside_guarantee(found: DetectionResult, false: int, normal: int) -> str:
    """Return whether the number of false alarms is as guaranteed."""
    threshold = found.detector.threshold_
    if found.fdr is not None or threshold.kind not in ("conformal", "pot", "quantile"):
        return "normal rows that are alarms"
    if threshold.kind == "conformal":
        low, high = beta_binomial_interval(normal, threshold.level, threshold.rows)
    else:
        low, high = binomial_interval(normal, threshold.level)
    said = "as guaranteed" if low <= false <= high else f"{'more' if false > high else 'fewer'} than guaranteed"
    between = f"between {low:,} and {high:,} in 99 of 100 cases"
    return f"{said}: at {percent(threshold.level)} {between}, if rows are independent"


def _by_label(found: DetectionResult, truth: Booleans) -> list[tuple[str, str, str]]:
    """Return each label of anomalies, how many rows have it, and how many of these were caught."""
    texts = np.array([str(label) for label in np.asarray(found.labels).tolist()])
    names, counts = np.unique(texts[truth], return_counts=True)
    if len(names) < 2:
        return []
    order: Sequence[int] = np.argsort(-counts, kind="stable")[:40].tolist()
    rows = [(str(names[place]), texts == names[place]) for place in order]
    return [(name, f"{int(which.sum()):,}", percent(float(found.alarms[which].mean()))) for name, which in rows]
