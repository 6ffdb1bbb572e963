"""Alarms of series as ranges of steps, each with the channels and steps that caused it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.applications.anomaly.series.window_scores import WindowScore, growing
from isthmus.data.encoded import EncodedRows
from isthmus.data.series.series import Series
from isthmus.data.series.windows import SeriesWindows
from isthmus.typing import Doubles


@dataclass(frozen=True)
class IntervalCause:
    """What one channel has to do with an alarm.

    Attributes:
        channel: its name.
        share: of the anomaly score at the alarm's most anomalous step, in [0, 1].
        step: where the channel is farthest from what was expected.
        seen: its value there, in the units of the data.
        expected: what the model expected there.
    """

    channel: str
    share: float
    step: int
    seen: float
    expected: float


@dataclass(frozen=True)
class AnomalyInterval:
    """A range of steps that are alarms.

    Attributes:
        series: the name of the series.
        first: its first step, counted from 0.
        last: its last step.
        times: the times of both, if there are any.
        step: the most anomalous step.
        anomaly_score: of that step.
        p_value: its conformal p-value.
        causes: channels, the one with the largest share first.
    """

    series: str
    first: int
    last: int
    times: tuple[Any, Any] | None
    step: int
    anomaly_score: float
    p_value: float
    causes: tuple[IntervalCause, ...]

    def describe(self) -> str:
        """Return the alarm in a sentence.

        Example:
            >>> cause = IntervalCause("cpu", 0.7, 12, 0.9, 0.25)
            >>> AnomalyInterval("web", 10, 14, None, 12, 1.5, 0.01, (cause,)).describe()
            'web, steps 10 to 14 (p = 0.01): cpu (70 %) was 0.9 at step 12, where 0.25 was expected'
        """
        first, last = (self.first, self.last) if self.times is None else map(moment, self.times)
        if self.first == self.last:
            place = f"{self.series}, {'step' if self.times is None else 'at'} {first}"
        else:
            place = f"{self.series}, {'steps' if self.times is None else 'from'} {first} to {last}"
        if not self.causes:
            return f"{place} (p = {self.p_value:.2g})"
        why = "; ".join(
            f"{one.channel} ({one.share:.0%}) was {one.seen:.4g} at step {one.step}, where {one.expected:.4g} was "
            "expected"
            for one in self.causes
        ).replace("%)", " %)")
        return f"{place} (p = {self.p_value:.2g}): {why}"


def moment(time: Any) -> str:
    """Return a time for people.

    >>> moment(np.datetime64("2024-05-31T12:00:00.000000")), moment(7)
    ('2024-05-31 12:00:00', '7')
    """
    if isinstance(time, np.datetime64):
        return str(np.datetime_as_string(time, unit="s")).replace("T", " ")
    return f"{time:g}" if isinstance(time, float | np.floating) else str(time)


def intervals_of(alarms: np.ndarray[Any, Any], gap: int = 0) -> list[tuple[int, int]]:
    """Return the first and last step of each range of alarms; a gap of so many other steps or fewer does not end one.

    >>> intervals_of(np.array([1, 1, 0, 1, 0, 0, 1]), gap=1)
    [(0, 3), (6, 6)]
    """
    places = np.flatnonzero(alarms)
    if not len(places):
        return []
    cuts = np.flatnonzero(np.diff(places) > gap + 1)
    firsts, lasts = places[np.append(0, cuts + 1)], places[np.append(cuts, len(places) - 1)]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def found_intervals(
    windows: SeriesWindows, steps: Sequence[Doubles], value: float, p_values: Callable[[Doubles], Doubles], gap: int
) -> list[tuple[int, AnomalyInterval]]:
    """Return the intervals of alarms in order, each with the number of its series, and without causes.

    Args:
        windows: series.
        steps: anomaly scores of the steps of each.
        value: the threshold.
        p_values: of anomaly scores.
        gap: so many steps or fewer that are no alarms do not end an interval.
    """
    found = []
    for number, (series, anomaly_scores) in enumerate(zip(windows.series, steps, strict=True)):
        for first, last in intervals_of(anomaly_scores > value, gap):
            step = first + int(np.nanargmax(anomaly_scores[first : last + 1]))
            times = None if series.times is None else (series.times[first], series.times[last])
            p = float(p_values(anomaly_scores[step : step + 1])[0])
            interval = AnomalyInterval(series.name, first, last, times, step, float(anomaly_scores[step]), p, ())
            found.append((number, interval))
    return found


def with_causes(
    interval: AnomalyInterval, series: Series, score: WindowScore, encoded: EncodedRows, most: int, *, causal: bool
) -> AnomalyInterval:
    """Return an interval with the causes of its most anomalous step; see `causes_at`."""
    return dataclasses.replace(interval, causes=causes_at(series, interval.step, score, encoded, most, causal=causal))


def causes_at(
    series: Series, step: int, score: WindowScore, encoded: EncodedRows, most: int, *, causal: bool
) -> tuple[IntervalCause, ...]:
    """Return why a step is strange: the `most` channels that add most to it.

    Shares are of the average over the windows that hold the step (of the one that ends with it, where `causal`), and
    what was expected is their average, too.

    Args:
        series: which.
        step: the step's number.
        score: fitted.
        encoded: rows of the same model, whose encoding it takes.
        most: how many channels are named.
        causal: whether the window that ends with the step is the only one.
    """
    length, values = encoded.schema.shape[0], series.values
    if causal or len(values) <= length:
        last = step if causal else len(values) - 1
        places, block = np.array([max(0, last + 1 - length)]), growing(values, last, last + 1, length)
    else:
        places = np.arange(max(0, step - length + 1), min(step, len(values) - length) + 1)
        block = np.stack([values[place : place + length] for place in places])
    batch = encoded.batch(block)
    parts = np.nan_to_num(score.by_channel(batch)).mean(0)
    expected = encoded.encoding.inverse(score.expected(batch), "float64")
    errors = np.square(batch.wanted.cpu().numpy().astype(np.float64) - score.expected(batch))
    errors[np.isnan(block)] = np.nan
    total = float(parts.sum()) or 1.0
    found = []
    for channel in np.argsort(-parts, kind="stable")[:most].tolist():
        if np.isnan(errors[:, :, channel]).all():
            continue
        where, error, seen, wanted = _by_step(places, errors, block, expected, channel)
        place = int(np.nanargmax(error))
        share = float(parts[channel]) / total
        cause = IntervalCause(
            series.channels[channel], share, int(where[place]), float(seen[place]), float(wanted[place])
        )
        found.append(cause)
    return tuple(found)


def _by_step(
    places: np.ndarray[Any, Any], errors: Doubles, block: Any, expected: Any, channel: int
) -> tuple[Any, Doubles, Doubles, Doubles]:
    """Return the steps that windows hold, and the channel's mean error, value and mean expectation at each."""
    length = errors.shape[1]
    steps = (places[:, None] + np.arange(length)).ravel()
    error = errors[:, :, channel].ravel()
    kept = ~np.isnan(error)
    where, place = np.unique(steps[kept], return_inverse=True)
    counts = np.bincount(place)
    means = [
        np.bincount(place, np.asarray(one, np.float64)[:, :, channel].ravel()[kept]) / counts
        for one in (errors, block, expected)
    ]
    return where, means[0], means[1], means[2]


def as_table(alarms: list[AnomalyInterval]) -> pa.Table:
    """Return alarms as a table with a row for each alarm and channel.

    Example:
        >>> alarm = AnomalyInterval("web", 10, 14, None, 12, 1.5, 0.01, (IntervalCause("cpu", 0.7, 12, 0.9, 0.25),))
        >>> as_table([alarm]).to_pylist()[0]["channel"]
        'cpu'
    """
    rows = [
        {
            "series": alarm.series,
            "first": alarm.first if alarm.times is None else alarm.times[0],
            "last": alarm.last if alarm.times is None else alarm.times[1],
            "anomaly_score": alarm.anomaly_score,
            "p_value": alarm.p_value,
            "channel": cause.channel,
            "share": cause.share,
            "step": cause.step,
            "seen": cause.seen,
            "expected": cause.expected,
        }
        for alarm in alarms
        for cause in alarm.causes
    ]
    return pa.Table.from_pylist(rows)
