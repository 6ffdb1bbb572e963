"""The rows that a report is about: which of them are shown, how they look as pictures, and what their labels are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.arrays import as_rows
from isthmus.errors import DataError, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.report.evaluation import flat, unit_range
from isthmus.report.plots import PALETTE
from isthmus.typing import Array

# More rows change no figure visibly, and take time and memory.
_MOST_ROWS, _MOST_VALUES = 10_000, 50_000_000
# A picture of a picture need not be larger.
_MOST_PIXELS = 96
_FEWEST_PIXELS = 4
# A flat row of this many values or more, whose number is a square, is shown as a square image if it is scaled like one.
_LEAST_FLAT_IMAGE = 196
EXAMPLES = 10
_MOST_CLASSES = 20
# Channels of a series that are drawn as lines, one under the other; with more, a picture shows more.
_MOST_CHANNELS = 8


@dataclass(frozen=True)
class Labels:
    """What is known of the rows beside their values: a class each, or a number each.

    Attributes:
        values: `(rows,)`, places in `names`, or numbers if there are no names.
        names: of the classes.
    """

    values: Array
    names: tuple[str, ...] = ()

    def colours(self, rows: Array) -> list[str] | Array:
        """Return a colour for each of some rows, or the number that a colour scale shows."""
        if not self.names:
            return self.values[rows].astype(float)
        return [PALETTE[int(place) % len(PALETTE)] for place in self.values[rows]]

    def legend(self) -> list[tuple[str, str]]:
        """Return each class's name and colour."""
        return [(name, PALETTE[place % len(PALETTE)]) for place, name in enumerate(self.names)]


@dataclass(frozen=True)
class ReportRows:
    """Rows to report on.

    Attributes:
        values: `(rows, *shape)`.
        index: `(rows,)`, where each of them was in the data.
        given: how many rows the data had.
        columns: a name for each value of a row.
        named: whether the data named them.
        picture: `(height, width)` or `(height, width, channels)` of a row as an image, and whether channels came
            first; None for rows that are no images.
        steps: whether rows are drawn as series: `(steps,)` or `(steps, channels)`.
        low: the value shown as black.
        high: the value shown as white.
        labels: of the rows; None if nothing is known.
        seed: of the pictures that draw.
    """

    values: Array
    index: Array
    given: int
    columns: tuple[str, ...]
    named: bool
    picture: tuple[int, ...] | None
    channels_first: bool
    steps: bool
    low: float
    high: float
    labels: Labels | None
    seed: int

    def pixels(self, rows: Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return rows as images `(n, height, width)` or `(n, height, width, 3)`, small enough to be shown in a row."""
        if self.picture is None:
            raise DataError(
                explain("rows that are images", f"rows of {flat(rows).shape[1]} columns", "a table's charts")
            )
        shown = np.clip((rows.astype(np.float64) - self.low) / max(self.high - self.low, 1e-12), 0.0, 1.0)
        height, width, *channels = self.picture
        if self.channels_first:
            shown = np.moveaxis(shown.reshape(-1, *channels, height, width), 1, -1)
        shown = shown.reshape(-1, *self.picture)
        step = -(-max(height, width) // _MOST_PIXELS)
        shown = shown[:, ::step, ::step]
        if channels:
            shown = shown[..., :3] if channels[0] >= 3 else shown[..., 0]
        return (255.0 * shown).round().astype(np.uint8)

    def examples(self) -> Array:
        """Return the places of the rows that are shown: the first of each class, else the first ones."""
        if self.labels is not None and len(self.labels.names) > 1:
            present = np.unique(self.labels.values)[:EXAMPLES]
            first = [int(np.argmax(self.labels.values == place)) for place in present]
            if len(first) > 1:
                return np.array(first)
        return np.arange(min(EXAMPLES, len(self.values)))


def report_rows_of(
    model: Autoencoder, rows: Any, labels: Any = None, label_names: Sequence[str] | None = None, seed: int = 0
) -> ReportRows:
    """Return what a report shows of rows of a model's schema.

    Raises:
        DataError: for rows that are not of the schema, and labels that do not fit them.
    """
    read = as_rows(rows, missing=model.recipe_.missing == "mask")
    if read.values.dtype.kind == "f" and np.isnan(read.values).any():
        raise DataError(
            explain("rows without missing values, which a report cannot draw", "some", "isthmus impute first")
        )
    schema = model.schema_
    schema.check(read.values, read.names)
    most = int(np.clip(_MOST_VALUES // schema.width, 16, _MOST_ROWS))
    given = len(read.values)
    # Spread evenly, so that data sorted by class are all represented.
    index = np.arange(given) if given <= most else np.linspace(0, given - 1, most).astype(int)
    unit = model.recipe_.preprocessing == "unit"
    low, high = unit_range(model) if unit else (schema.low, schema.high)
    steps = _is_series(model)
    picture, channels_first = (None, False) if steps else _picture(model)
    return ReportRows(
        values=read.values[index],
        index=index,
        given=given,
        columns=schema.names or tuple(f"column {place}" for place in range(schema.width)),
        named=schema.names is not None,
        picture=picture,
        channels_first=channels_first,
        steps=steps,
        low=low,
        high=high,
        labels=None if labels is None else _labels(labels, label_names, given, index),
        seed=seed,
    )


def _is_series(model: Autoencoder) -> bool:
    """Return whether rows are drawn as lines over time: the network reads them so, and they have few channels."""
    shape = model.schema_.shape
    if not model.recipe_.network.reads_steps or len(shape) > 2:
        return False
    return len(shape) == 1 or shape[1] <= _MOST_CHANNELS


def _picture(model: Autoencoder) -> tuple[tuple[int, ...] | None, bool]:
    """Return the shape of a row as an image, channels last, and whether they came first; None if it is no image."""
    schema = model.schema_
    shape = schema.shape
    side = math.isqrt(schema.width)
    if schema.kind == "vector":
        square = side * side == schema.width >= _LEAST_FLAT_IMAGE
        image_like = schema.names is None and model.recipe_.preprocessing == "unit"
        return ((side, side), False) if square and image_like else (None, False)
    if schema.kind != "image":
        return None, False
    if len(shape) == 2 and min(shape) >= _FEWEST_PIXELS:
        return shape, False
    if len(shape) == 3 and shape[0] <= 4 and min(shape[1:]) >= _FEWEST_PIXELS:
        return (*shape[1:], shape[0]), True
    if len(shape) == 3 and shape[2] <= 4 and min(shape[:2]) >= _FEWEST_PIXELS:
        return shape, False
    return None, False


def _labels(labels: Any, names: Sequence[str] | None, rows: int, index: Array) -> Labels:
    array = np.asarray(labels)
    if array.shape != (rows,):
        raise DataError(explain(f"{rows} labels, one for each row", f"shape {array.shape}", "y of the same rows"))
    if names is not None:
        if array.dtype.kind not in "iub" or array.min() < 0 or array.max() >= len(names):
            got = f"{array.dtype} from {array.min()} to {array.max()}"
            raise DataError(explain(f"labels that are places in the {len(names)} names", got, "label_names=None"))
        return Labels(array[index].astype(int), tuple(str(name) for name in names))
    if array.dtype.kind not in "iubf":
        array = array.astype(str)
    elif not np.isfinite(array.astype(float)).all():
        raise DataError(explain("labels that are all known", "NaN or inf among them", "a class of its own for unknown"))
    kinds, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(kinds) <= _MOST_CLASSES:
        return Labels(places[index], tuple(_name(kind) for kind in kinds))
    if array.dtype.kind in "iubf":
        return Labels(array[index])
    frequent = np.argsort(-counts, kind="stable")[: _MOST_CLASSES - 1]
    rank = np.full(len(kinds), _MOST_CLASSES - 1)
    rank[frequent] = np.arange(_MOST_CLASSES - 1)
    return Labels(rank[places][index], (*(str(kinds[place]) for place in frequent), "others"))


def _name(kind: Any) -> str:
    return f"{kind:g}" if isinstance(kind, np.floating) else str(kind)
