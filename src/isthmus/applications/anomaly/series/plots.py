"""Pictures of series over time: the channels, the anomaly score of each step, and the intervals of alarms shaded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from isthmus.data.series.series import Series
from isthmus.report import plots
from isthmus.typing import Doubles

# Points of a line, at most: of more, the least and the greatest of each run are drawn.
_POINTS = 2000
_LONGEST_NAME = 40


def over_time(
    series: Series,
    anomaly_scores: Doubles,
    threshold: float,
    channels: Sequence[int],
    intervals: Sequence[tuple[int, int]],
    known: Sequence[tuple[int, int]] = (),
    steps: slice = slice(None),
) -> Figure:
    """Return a chart of some channels, one below the other, and of the anomaly score.

    Args:
        series: which.
        anomaly_scores: of its steps.
        threshold: the anomaly score above which a step is an alarm.
        channels: the numbers of the channels that are drawn.
        intervals: first and last step of each interval of alarms.
        known: first and last step of each range that the labels call anomalous.
        steps: what is drawn of the series.
    """
    rows = len(channels) + 1
    figure = Figure(figsize=(10.4, 0.5 + 1.15 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    each = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    at = np.arange(series.steps) if series.times is None else series.times
    first, last, _ = steps.indices(series.steps)
    for axes, channel in zip(each, channels, strict=False):
        plots.dress(axes)
        _line(axes, at[first:last], series.values[first:last, channel], plots.BLUE)
        name = series.channels[channel]
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        axes.set_title(short, loc="left", fontsize=8.5, color=plots.INK, pad=2, parse_math=False)
    axes = each[-1]
    plots.dress(axes)
    _line(axes, at[first:last], anomaly_scores[first:last], plots.INK)
    axes.set_title("anomaly score, and threshold", loc="left", fontsize=8.5, color=plots.INK, pad=2)
    if np.isfinite(threshold):
        axes.axhline(threshold, color=plots.INK, linewidth=1.0, linestyle="--")
    for axes in each:
        _shade(axes, at, known, plots.GREEN, 0.18, 0.0)
        # An interval of one step would be too narrow to be seen.
        _shade(axes, at, intervals, plots.ORANGE, 0.45, 0.002 * (last - first))
        axes.set_xlim(*_numbers(at[[first, last - 1]]))
    _dates(each[-1], at)
    return figure


def _line(axes: Axes, at: Any, values: Any, colour: str) -> None:
    if len(values) > _POINTS:
        runs = np.array_split(np.arange(len(values)), _POINTS // 2)
        kept = [place for run in runs for place in _extremes(values, run)]
        at, values = at[kept], values[kept]
    axes.plot(at, values, color=colour, linewidth=0.9)


def _extremes(values: Any, run: Any) -> list[int]:
    """Return the places of the least and the greatest value of a run, in order; of the first if all are missing."""
    inside = values[run]
    if np.isnan(inside).all():
        return [int(run[0])]
    return sorted({int(run[np.nanargmin(inside)]), int(run[np.nanargmax(inside)])})


def _shade(axes: Axes, at: Any, ranges: Sequence[tuple[int, int]], colour: str, alpha: float, least: float) -> None:
    for first, last in ranges:
        more = max(0, int(np.ceil((least - (last - first)) / 2)))
        low, high = max(0, first - more), min(len(at) - 1, last + more)
        axes.axvspan(*_numbers(at[[low, high]]), color=colour, alpha=alpha, linewidth=0)


def _numbers(ends: Any) -> tuple[float, float]:
    """Return two places of the axis as numbers, a little apart."""
    low, high = np.asarray(date2num(ends) if ends.dtype.kind == "M" else ends, np.float64).tolist()  # type: ignore[no-untyped-call]
    return low, high if high > low else low + 1e-9


def _dates(axes: Axes, at: Any) -> None:
    if at.dtype.kind == "M":
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.set_xlabel("step" if at.dtype.kind in "iu" else "time")


def as_bytes(figure: Figure, form: str) -> bytes:
    """Return a figure as "png" or "svg", on white paper."""
    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=150, facecolor="white", metadata={"Date": None} if form == "svg" else None)
    return stream.getvalue()
