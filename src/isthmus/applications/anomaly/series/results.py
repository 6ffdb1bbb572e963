"""What a detector finds in series: the anomaly score of steps, intervals of alarms, as a table, JSON and sentences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.applications.anomaly.messages import percent
from isthmus.applications.anomaly.series.detector import SeriesDetector
from isthmus.applications.anomaly.series.intervals import AnomalyInterval, found_intervals, with_causes
from isthmus.applications.anomaly.thresholds import p_values
from isthmus.data.files.writers import Writer
from isthmus.data.series.series import Series
from isthmus.data.series.step_table import to_long
from isthmus.data.series.windows import SeriesWindows
from isthmus.typing import Doubles

# Channels that are named for an interval, intervals that JSON holds in full, and lines that are written at a time.
_CHANNELS, _LISTED, _LINES = 3, 1_000, 1 << 14


@dataclass(frozen=True)
class SeriesDetectionResult:
    """Series and what a detector finds in them.

    Attributes:
        detector: fitted.
        windows: the series, with a window at every step.
        most: intervals whose causes are named, the most anomalous first.
        labels: one for each row of `table`; None for none.
    """

    detector: SeriesDetector
    windows: SeriesWindows
    most: int = 10_000
    labels: Any = None

    @cached_property
    def steps(self) -> list[Doubles]:
        """The anomaly scores of the steps of each series; NaN where nothing was observed."""
        return self.detector.score_.steps(self.windows, causal=False)

    @property
    def threshold(self) -> float:
        """The anomaly score above which a step is an alarm."""
        return self.detector.threshold_.value

    @cached_property
    def numbered(self) -> list[tuple[int, AnomalyInterval]]:
        """The intervals of alarms in order, each with the number of its series; the most anomalous with causes."""
        found = found_intervals(self.windows, self.steps, self.threshold, self._p_values, 0)
        order = np.argsort([-one.anomaly_score for _, one in found], kind="stable")[: self.most].tolist()
        encoded = self.detector.score_.encoded_rows(self.windows)
        for place in order:
            number, one = found[place]
            series = self.windows.series[number]
            found[place] = number, with_causes(one, series, self.detector.score_, encoded, _CHANNELS, causal=False)
        return found

    @property
    def intervals(self) -> list[AnomalyInterval]:
        """The intervals of alarms, in order."""
        return [one for _, one in self.numbered]

    @property
    def count(self) -> int:
        """Number of intervals."""
        return len(self.numbered)

    def interval_at(self, series: Series, step: int) -> AnomalyInterval:
        """Return a single step as an interval, with all channels as its causes."""
        number = self.windows.series.index(series)
        anomaly_score = self.steps[number][step : step + 1]
        times = None if series.times is None else (series.times[step], series.times[step])
        p = float(self._p_values(anomaly_score)[0])
        one = AnomalyInterval(series.name, step, step, times, step, float(anomaly_score[0]), p, ())
        return self.explained(number, one)

    def explained(self, number: int, interval: AnomalyInterval) -> AnomalyInterval:
        """Return an interval of a series with all channels as its causes."""
        score, series = self.detector.score_, self.windows.series[number]
        encoded = score.encoded_rows(self.windows)
        return with_causes(interval, series, score, encoded, len(series.channels), causal=False)

    def _p_values(self, anomaly_scores: Doubles) -> Doubles:
        found = p_values(self.detector.calibration_, anomaly_scores)
        found[np.isnan(anomaly_scores)] = np.nan
        return found

    # ---- in words ------------------------------------------------------------------------------------------------

    def guarantee(self) -> str:
        """Return the rate of false alarms, and on what it depends, in a sentence."""
        return f"{self.detector.threshold_.describe('steps')}, as far as the calibration steps show all that is normal"

    def summary(self) -> str:
        """Return how many intervals and steps are alarms."""
        total = sum(len(one) for one in self.steps)
        alarms = sum(int((one > self.threshold).sum()) for one in self.steps)
        what = f"{self.count:,} interval{'' if self.count == 1 else 's'} of alarms"
        series = f"{len(self.steps):,} series" if len(self.steps) > 1 else "one series"
        return f"{what}, {alarms:,} of {total:,} steps ({percent(alarms / total)}), in {series}; {self.guarantee()}"

    def ranked(self) -> list[tuple[int, AnomalyInterval]]:
        """Return the intervals with their numbers, the most anomalous first."""
        return sorted(enumerate(self.intervals), key=lambda pair: -pair[1].anomaly_score)

    def sentences(self, most: int) -> list[str]:
        """Return a sentence for each of the most anomalous intervals."""
        return [f"interval {number}: {one.describe()}" for number, one in self.ranked()[:most]]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, with 1,000 intervals at most, the most anomalous first."""
        return {
            "rows": sum(len(one) for one in self.steps),
            "alarms": sum(int((one > self.threshold).sum()) for one in self.steps),
            "intervals": self.count,
            "threshold": self.detector.threshold_.to_dict(),
            "guarantee": self.guarantee(),
            "explanations": [plain(number, one) for number, one in self.ranked()[:_LISTED]],
        }

    # ---- as a table ----------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> pa.Table:
        """A line for each row that was given: series, time, step, anomaly score, p-value, alarm and interval.

        Steps are counted from 0 in each series. `interval` is missing for steps that are no alarms.
        """
        interval = [np.full(len(one), np.nan) for one in self.steps]
        for number, (place, one) in enumerate(self.numbered):
            interval[place][one.first : one.last + 1] = number
        table = to_long(self.steps, self.windows, "anomaly_score")
        keys = table.column_names[:-1]
        scores = np.asarray(table["anomaly_score"].to_numpy(zero_copy_only=False), np.float64)
        columns = {name: table[name] for name in keys}
        columns["step" if "step" not in keys else "step_number"] = self._whole(
            [np.arange(len(one), dtype=np.float64) for one in self.steps]
        )
        columns["anomaly_score"] = table["anomaly_score"]
        columns["p_value"] = pa.array(self._p_values(scores), from_pandas=True)
        columns["alarm"] = pa.array(scores > self.threshold)
        columns["interval"] = self._whole(interval)
        return pa.table(columns)

    def _whole(self, steps: list[Doubles]) -> Any:
        """Return whole numbers of steps for the rows of the table."""
        return pc.cast(to_long(steps, self.windows, "number of it")["number of it"], pa.int64())

    def row(self, number: int) -> tuple[Series, int]:
        """Return the series and the step of a row of the table."""
        places = [np.full(len(one), place, np.float64) for place, one in enumerate(self.steps)]
        series = self._whole(places)[number].as_py()
        step = self._whole([np.arange(len(one), dtype=np.float64) for one in self.steps])[number].as_py()
        return self.windows.series[series], step

    def write(self, path: Path, *, only_alarms: bool) -> int:
        """Write the table, or its alarms; return how many lines."""
        table = self.table.filter(self.table["alarm"]) if only_alarms else self.table
        with Writer(path, table.num_rows, overwrite=True) as writer:  # who calls has asked
            for start in range(0, max(table.num_rows, 1), _LINES):
                writer.write(table.slice(start, _LINES))
        return len(table)


def plain(number: int | None, interval: AnomalyInterval) -> dict[str, Any]:
    """Return an interval as plain JSON values."""
    first, last = (None, None) if interval.times is None else map(str, interval.times)
    return {
        "interval": number,
        "series": interval.series,
        "first_step": interval.first,
        "last_step": interval.last,
        "first_time": first,
        "last_time": last,
        "anomaly_score": interval.anomaly_score,
        "p_value": interval.p_value,
        "sentence": interval.describe(),
        "channels": [
            {
                "channel": cause.channel,
                "share": cause.share,
                "step": cause.step,
                "seen": cause.seen,
                "expected": cause.expected,
            }
            for cause in interval.causes
        ],
    }
