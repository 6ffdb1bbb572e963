"""What `isthmus detect` and `isthmus explain` do with series of any length, whose steps are scored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import typer

from isthmus.applications.anomaly.messages import percent
from isthmus.applications.anomaly.requests import FindRequest, FitRequest, place_of, refuse
from isthmus.applications.anomaly.series.data import default_recipe, divided, training_windows
from isthmus.applications.anomaly.series.detector import SeriesDetector
from isthmus.applications.anomaly.series.intervals import AnomalyInterval, as_table, moment
from isthmus.applications.anomaly.series.page import as_picture
from isthmus.applications.anomaly.series.results import SeriesDetectionResult, plain
from isthmus.atomic import write_whole
from isthmus.console.inputs import read_alike, read_data
from isthmus.console.options import AUTO, Asked, changes_of
from isthmus.data.arrays import column_of, load_file, read_labels
from isthmus.data.files.writers import Writer
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.spec import RowsSpec
from isthmus.errors import DataError, unknown_name
from isthmus.errors import explain as expected_got
from isthmus.estimator.autoencoder import as_recipe

_PICTURES = (".png", ".svg")
_CHANNELS = 12
_SERIES = "series, whose steps are scored"


def fit(request: FitRequest) -> SeriesDetector:
    """Return a detector that has learned the series of a request; misspelt names are refused before they are read."""
    refuse(
        {
            "--scores": request.scores,
            "--training-contamination": request.training_contamination,
            "--condition": request.condition,
            "--column": request.asked.columns,
            "second --recipe": request.recipes[1:],
        },
        _SERIES,
    )
    changes = changes_of(list(request.settings))
    rows = str(request.asked.rows)
    detector = SeriesDetector(
        rows,
        n_estimators=request.n_estimators,
        threshold=request.threshold,
        alpha=request.alpha,
        random_state=request.seed,
        verbose=request.verbose,
    )
    detector.check_settings()
    (name,) = request.recipes
    # The default recipe is an "autoencoder", whose sizes wait for the rows; misspelt settings do not.
    checked = as_recipe("autoencoder" if name == AUTO else name).replace(changes)
    known = None if name == AUTO else checked
    source = read_data(request.data, request.asked, missing=True)
    if known is None and changes:
        # The recipe depends on the number of training windows.
        whole = _series(source)
        learned, _ = divided(whole.series, whole.length, detector.calibration_fraction)
        known = default_recipe(training_windows(whole, learned, RowsSpec.parse(rows))).replace(changes)
    detector.set_params(recipe=known or AUTO)
    return detector.fit(source)


def _series(source: Any) -> SeriesWindows:
    if not isinstance(source, SeriesWindows):
        raise DataError(expected_got("series of any length", f"{source.kind} rows", "--rows series:64"))
    return source


def find(detector: SeriesDetector, request: FindRequest) -> SeriesDetectionResult:
    """Return the anomalies in the series of a request."""
    refuse({"--fdr": request.fdr, "--condition": request.condition}, f"{_SERIES} and not independent")
    first = detector.estimators_[0]
    numbered = [str(number) for number in range(first.schema_.shape[1])]
    if list((first.schema_.metadata or {}).get("channels", ())) == numbered:
        # The training series were arrays, whose channels have no names to be looked up.
        source = read_data(request.data, Asked.of(detector.rows, None, request.drop), missing=True)
    else:
        source = read_alike(first, request.data, request.drop)
    found = SeriesDetectionResult(detector, detector.opened(source), request.most)
    if request.labels is None:
        return found
    labels = _labels(request.data, request.labels)
    if len(labels) != found.table.num_rows:
        expected = f"{found.table.num_rows} labels, one for each row"
        raise DataError("--labels: " + expected_got(expected, str(len(labels)), "another file"))
    return dataclasses.replace(found, labels=labels)


def _labels(data: str, name: str) -> Any:
    """Return labels of a file of their own, or of a column of DATA."""
    if Path(name.partition("#")[0]).is_file():
        return read_labels(name)
    table = load_file(data) if Path(data).is_file() else None
    if not isinstance(table, pa.Table):
        got = f"{name!r}, and {data!r} is no table that could have such a column"
        raise DataError("--labels: " + expected_got("a file of labels", got, "a file with one label for each row"))
    if name not in table.column_names:
        raise DataError(f"--labels: there is no file {name!r}, and {unknown_name('column', name, table.column_names)}")
    return column_of(table, name, missing=True)


def explain(detector: SeriesDetector, request: FindRequest, row: int | None, interval: int | None) -> IntervalAnswer:
    """Return why a step, or an interval of alarms, of the series of a request is anomalous."""
    found = find(detector, dataclasses.replace(request, most=0))
    if interval is not None:
        place, one = found.numbered[place_of("--interval", "an interval", interval, found.count)]
        return IntervalAnswer(found, place, found.explained(place, one), interval)
    series, step = found.row(place_of("--row", "a row", row or 0, found.table.num_rows))
    place = found.windows.series.index(series)
    if np.isnan(found.steps[place][step]):
        got = f"step {step} of {series.name!r}, of which nothing was observed"
        raise DataError(f"--row {row}: " + expected_got("a row with an anomaly score", got, "another row"))
    return IntervalAnswer(found, place, found.interval_at(series, step), None)


@dataclass(frozen=True)
class IntervalAnswer:
    """The explanation of an interval or a step, as `isthmus explain` shows it.

    Attributes:
        found: all series.
        place: the number of the interval's series.
        interval: with all channels as causes.
        number: of the interval; None for a single step.
    """

    found: SeriesDetectionResult
    place: int
    interval: AnomalyInterval
    number: int | None

    def write(self, path: Path) -> None:
        """Write a line for each channel, or a picture of the series around the interval."""
        suffix = path.suffix.lower()
        if suffix in _PICTURES:
            write_whole(path, as_picture(self.found, self.place, self.interval, suffix.removeprefix(".")))
            return
        table = as_table([self.interval])
        with Writer(path, table.num_rows, overwrite=True) as writer:
            writer.write(table)

    def show(self) -> None:
        """Print a sentence and the channels with the largest shares."""
        one = self.interval
        alarm = one.anomaly_score > self.found.threshold
        what = f"interval {self.number}" if self.number is not None else "an alarm" if alarm else "no alarm"
        where = (
            f"step {one.step}"
            if one.times is None
            else f"step {one.step} of {moment(one.times[0])} to {moment(one.times[1])}"
        )
        typer.echo(f"{one.series}: {what}, most anomalous at {where}")
        typer.echo(f"anomaly score {one.anomaly_score:.4g}, p-value {one.p_value:.3g}")
        lines = [("channel", "step", "seen", "expected", "share")]
        for cause in one.causes[:_CHANNELS]:
            numbers = (str(cause.step), f"{cause.seen:.4g}", f"{cause.expected:.4g}", percent(cause.share))
            lines.append((cause.channel, *numbers))
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        for line in lines:
            first, *rest = (
                cell.ljust(width) if not place else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            typer.echo("  ".join([first, *rest]))
        if len(one.causes) > _CHANNELS:
            typer.echo(f"{len(one.causes) - _CHANNELS:,} more channels")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return plain(self.number, self.interval)
