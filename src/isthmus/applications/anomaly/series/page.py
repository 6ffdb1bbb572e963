"""The page of anomalies in series: each series over time with its intervals of alarms, and what caused each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.applications.anomaly.messages import percent
from isthmus.applications.anomaly.page import anomalies, histogram
from isthmus.applications.anomaly.series.intervals import AnomalyInterval, intervals_of, moment
from isthmus.applications.anomaly.series.plots import as_bytes, over_time
from isthmus.applications.anomaly.series.results import SeriesDetectionResult
from isthmus.atomic import write_whole
from isthmus.data.series.series import Series
from isthmus.metrics.detection import auroc, average_precision, false_alarm_rate
from isthmus.report import plots
from isthmus.report.page import environment, making
from isthmus.typing import Booleans

# Series and channels of each that are drawn, and intervals that are listed.
_SERIES, _CHANNELS, _LISTED = 20, 5, 100
# Steps to both sides of an interval in a picture of its own, in windows.
_AROUND = 3


@dataclass(frozen=True)
class Drawn:
    """A series of the page: its name, how many intervals it has, its chart, and whether channels are left out."""

    name: str
    intervals: int
    picture: str
    note: str


@dataclass(frozen=True)
class Line:
    """An interval of the page, in texts: its channels are (name, share, seen, expected)."""

    number: int
    series: str
    first: str
    last: str
    steps: str
    anomaly_score: str
    p_value: str
    channels: tuple[tuple[str, str, str, str], ...]


def write_series_page(
    found: SeriesDetectionResult, path: str | Path, *, name: str, normal: str | None = None, command: str = ""
) -> Path:
    """Write one self-contained HTML page about the anomalies in series; a file that is there is replaced.

    Args:
        found: series and what the detector finds in them.
        path: of the page.
        name: what the page calls the detector.
        normal: the label of normal steps; None for any of 0, normal, false, no, good, benign, inlier.
        command: how the page can be made again.

    Raises:
        DataError: for labels of which none, or all, are that of normal steps.
    """
    truth = None if found.labels is None else anomalies(found.labels, normal)
    detector, scores = found.detector, np.concatenate(found.steps)
    scores = scores[~np.isnan(scores)]
    ranked = found.ranked()[:_LISTED]
    content = {
        "name": name,
        "schema": detector.estimators_[0].schema_.describe(),
        "series": len(found.steps),
        "steps": len(scores),
        "count": found.count,
        "share": percent(float((scores > found.threshold).mean())),
        "guarantee": found.guarantee(),
        "threshold": detector.threshold_,
        "finite": math.isfinite(found.threshold),
        "histogram": histogram(detector.calibration_, scores, found.threshold, "steps"),
        "drawn": drawn(found, truth),
        "lines": [_line(number, one) for number, one in ranked],
        "labelled": None if truth is None else evaluated(found, truth),
        "n_estimators": len(detector.estimators_),
        "calibration": len(detector.calibration_),
        "making": making([("command", command), ("steps", f"{len(scores):,}")]),
    }
    path = Path(path)
    write_whole(path, environment().get_template("series_detection.html.j2").render(**content).encode())
    return path


def as_picture(found: SeriesDetectionResult, place: int, interval: AnomalyInterval, form: str) -> bytes:
    """Return a series around an interval, with the channels that caused it, as a "png" or an "svg"."""
    around = _AROUND * found.windows.length
    steps = slice(max(0, interval.first - around), interval.last + around + 1)
    series = found.windows.series[place]
    channels = [series.channels.index(cause.channel) for cause in interval.causes[:_CHANNELS]]
    ranges = [(interval.first, interval.last)]
    figure = over_time(series, found.steps[place], found.threshold, channels, ranges, (), steps)
    return as_bytes(figure, form)


def drawn(found: SeriesDetectionResult, truth: Booleans | None) -> list[Drawn]:
    """Return a chart of each series, those with the most anomalous intervals first."""
    inside: dict[int, list[AnomalyInterval]] = {place: [] for place in range(len(found.steps))}
    for place, one in found.numbered:
        inside[place].append(one)
    order = sorted(inside, key=lambda place: -max((one.anomaly_score for one in inside[place]), default=0.0))
    known = [[] for _ in found.steps] if truth is None else [intervals_of(one) for one in _by_step(found, truth)]
    result = []
    for place in order[:_SERIES]:
        series, intervals = found.windows.series[place], inside[place]
        channels = _channels(series, intervals)
        ranges = [(one.first, one.last) for one in intervals]
        figure = over_time(series, found.steps[place], found.threshold, channels, ranges, known[place])
        left = len(series.channels) - len(channels)
        note = f"{left} other channels are not drawn" if left else ""
        result.append(Drawn(series.name, len(intervals), plots.as_svg(figure), note))
    return result


def _channels(series: Series, intervals: Sequence[AnomalyInterval]) -> list[int]:
    """Return the numbers of the channels with the largest shares in the intervals, in their own order."""
    shares = np.zeros(len(series.channels))
    for one in intervals:
        for cause in one.causes:
            shares[series.channels.index(cause.channel)] += cause.share
    return sorted(np.argsort(-shares, kind="stable")[:_CHANNELS].tolist())


def _line(number: int, one: AnomalyInterval) -> Line:
    first, last = (one.first, one.last) if one.times is None else one.times
    channels = tuple(
        (cause.channel, percent(cause.share), f"{cause.seen:.4g}", f"{cause.expected:.4g}") for cause in one.causes
    )
    steps = f"{one.last - one.first + 1:,}"
    score, p = f"{one.anomaly_score:.3g}", f"{one.p_value:.2g}"
    return Line(number, one.series, moment(first), moment(last), steps, score, p, channels)


def _by_step(found: SeriesDetectionResult, truth: Booleans) -> list[Booleans]:
    """Return which steps of each series are anomalous by the labels of the rows."""
    result, first = [np.zeros(len(one), bool) for one in found.steps], 0
    tables: dict[int, int] = {}
    for steps, series in zip(result, found.windows.series, strict=True):
        origin = series.origin
        if origin is None:
            rows, places = np.arange(series.steps), np.arange(series.steps)
            start, first = first, first + series.steps
        else:
            rows, places = origin.rows, origin.steps
            if id(origin.keys) not in tables:
                tables[id(origin.keys)], first = first, first + origin.keys.num_rows
            start = tables[id(origin.keys)]
        np.logical_or.at(steps, places, truth[start + rows])
    return result


def evaluated(found: SeriesDetectionResult, truth: Booleans) -> list[tuple[str, str, str]]:
    """Return how good the alarms are, as (name, value, hint)."""
    table = found.table
    scores = np.asarray(table["anomaly_score"].to_numpy(zero_copy_only=False), np.float64)
    alarms = np.asarray(table["alarm"].to_numpy(zero_copy_only=False), bool)
    seen = ~np.isnan(scores)
    ranges = [
        (steps, first, last)
        for steps, anomalous in zip(found.steps, _by_step(found, truth), strict=True)
        for first, last in intervals_of(anomalous)
    ]
    hit = sum(bool((steps[first : last + 1] > found.threshold).any()) for steps, first, last in ranges)
    rate = false_alarm_rate(truth[seen], alarms[seen])
    return [
        ("Anomalous ranges", f"{len(ranges):,}", "runs of rows with such a label"),
        ("Detected", f"{hit:,} of {len(ranges):,}", "ranges with an alarm at one step or more"),
        ("False-alarm rate", percent(rate), "normal rows that are alarms"),
        ("AUROC", f"{auroc(truth[seen], scores[seen]):.4f}", "of rows"),
        ("Average precision", f"{average_precision(truth[seen], scores[seen]):.4f}", f"{truth.mean():.3g} by chance"),
    ]
