"""Series as a detector takes them: opened, cut into windows, divided for calibration, and back to the user's rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus import presets
from isthmus.data.open import open_source
from isthmus.data.series.series import Series
from isthmus.data.series.step_table import to_long
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.spec import RowsSpec
from isthmus.errors import DataError, explain
from isthmus.recipe import Recipe
from isthmus.typing import Doubles

# Windows that are trained on, about, at the least: beyond, they begin some steps apart.
_WINDOWS = 6000
# Training steps of a batch that the default recipe takes, and at most so many epochs.
_STEPS, _BATCH, _MOST_EPOCHS = 1000, 128, 300


def default_recipe(windows: SeriesWindows) -> Recipe:
    """Return the recipe that measured best over the NAB series and the server machines, one for all of them.

    A plain autoencoder: noise made it worse there. There are no validation rows, as the last epoch is kept.
    """
    batches = -(-len(windows) // _BATCH)
    return presets.autoencoder(
        latent_dim=min(16, windows.width - 1),
        hidden_dims=(256, 128),
        activation="silu",
        preprocessing="standard",
        epochs=int(min(_MOST_EPOCHS, max(2, round(_STEPS / batches)))),
        batch_size=min(_BATCH, len(windows)),
        validation_fraction=0.0,
        patience=None,
    )


def open_series(X: Any, spec: RowsSpec) -> SeriesWindows:
    """Return what the user has as windows of series; an array or a list of numbers is one series of one channel."""
    numbers = isinstance(X, list | tuple) and len(X) > 0 and all(isinstance(x, int | float | np.number) for x in X)
    if numbers or (isinstance(X, np.ndarray) and X.ndim == 1):
        X = np.asarray(X)[:, None]
    source = open_source(X, rows=spec)
    if not isinstance(source, SeriesWindows):
        advice = "an array (steps, channels), or a table with rows='series:64,series=...,time=...'"
        raise DataError(explain("series of any length", f"{source.kind} rows", advice))
    return source


def rewindowed(like: SeriesWindows, series: Sequence[Series], stride: int) -> SeriesWindows:
    """Return other windows of series that were opened: gaps between times are filled there."""
    windows = SeriesWindows(series, like.length, stride, ignore_times=True)
    windows.like, windows.metadata = like.like, like.metadata
    return windows


def training_windows(whole: SeriesWindows, series: Sequence[Series], spec: RowsSpec) -> SeriesWindows:
    """Return the windows to train on, of some series: as far apart as was asked for, or so that there are not many."""
    return rewindowed(whole, series, spec.whole("stride") or stride_of(series, whole.length))


def divided(series: Sequence[Series], length: int, fraction: float) -> tuple[list[Series], list[Series]]:
    """Return the beginnings of series to learn from, and their ends to calibrate on."""
    learned: list[Series] = []
    held: list[Series] = []
    for one in series:
        cut = one.steps - max(length, round(fraction * one.steps))
        if cut < length + length // 2:
            learned.append(one)
            continue
        for part, steps in ((learned, slice(0, cut)), (held, slice(cut, None))):
            times = None if one.times is None else one.times[steps]
            part.append(dataclasses.replace(one, values=one.values[steps], times=times, origin=None))
    if not held:
        longest = max(one.steps for one in series)
        advice = "a shorter window (rows='series:16'), or more steps"
        expected = f"a series of at least {2 * length + length // 2} steps for windows of {length}"
        raise DataError(explain(expected, f"{longest} in the longest", advice))
    return learned, held


def by_row(steps: Sequence[Doubles], windows: SeriesWindows) -> Doubles:
    """Return one number for each row that was given, in their order."""
    if all(one.origin is None for one in windows.series):
        return np.concatenate(steps)
    column = to_long(steps, windows, "anomaly_score")["anomaly_score"]
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def as_steps(values: Any, channels: int) -> np.ndarray[Any, Any]:
    """Return the next steps of a stream as `(steps, channels)`; one vector of several channels is one step."""
    given = np.asarray(values)
    if given.ndim < 2:
        given = given.reshape(-1, 1) if channels == 1 else given.reshape(1, -1)
    if given.ndim != 2 or given.shape[1] != channels:
        advice = "values.reshape(-1, channels)"
        raise DataError("update: " + explain(f"steps of {channels} channels", f"shape {np.shape(values)}", advice))
    return given


def stride_of(series: Sequence[Series], length: int) -> int:
    """Return how many steps apart training windows begin: a quarter of a window at most, and not too many windows."""
    return min(max(1, length // 4), max(1, sum(one.steps for one in series) // _WINDOWS))
