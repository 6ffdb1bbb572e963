"""Where an image is strange: a number for each pixel, and the regions above a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from isthmus.applications.anomaly.scores import Structure
from isthmus.applications.anomaly.views import View, wanted_of
from isthmus.errors import DataError, RecipeError, check_choice, check_integer, check_number, explain
from isthmus.estimator.inference import Inference
from isthmus.schema import Batch
from isthmus.typing import Doubles

HEATS = ("squared", "structure")
# Of a pixel's eight neighbours, those at the corners touch it too.
_TOUCHING = np.ones((3, 3), bool)


@dataclass(frozen=True, order=True)
class Region:
    """Pixels that touch each other and are all above a threshold; ordered by their share, the smallest first.

    Attributes:
        share: of the whole image's heat, 0 to 1.
        top: first row of pixels.
        left: first column.
        bottom: the row behind the last one, so that ``heat[top:bottom, left:right]`` is the box.
        right: the column behind the last one.
        pixels: how many.
        peak: the highest heat among them.
        row: which image it is of.
    """

    share: float
    top: int
    left: int
    bottom: int
    right: int
    pixels: int
    peak: float
    row: int = 0

    def describe(self) -> str:
        """Return a sentence.

        Example:
            >>> Region(0.25, 2, 3, 6, 9, 20, 1.5).describe()
            'rows 2 to 5, columns 3 to 8: 25 % of the anomaly score on 20 pixels'
        """
        where = f"rows {self.top} to {self.bottom - 1}, columns {self.left} to {self.right - 1}"
        pixels = "1 pixel" if self.pixels == 1 else f"{self.pixels:,} pixels"
        return f"{where}: {self.share:.0%} of the anomaly score on {pixels}".replace("%", " %")


def heat_maps(members: Sequence[Inference], batch: Batch, kind: str = "structure") -> Doubles:
    """Return how strange each pixel is, `(rows, H, W)`, float64, averaged over members and channels.

    A row's map depends on the row alone.

    Args:
        members: trained autoencoders of images.
        batch: encoded rows.
        kind: "structure" for ``1 - SSIM`` under a window of 11 x 11 pixels around each pixel, images mirrored at their
            edges: 0 to 2, whatever the brightness; "squared" for ``(x - E[x | z(x)])^2``, in squared encoded units: as
            sharp as the pixels, and larger where contrast is.

    Raises:
        RecipeError: for another kind, and rows that are no images.
    """
    check_choice("heat map", kind, list(HEATS))
    total: Doubles | None = None
    for member in members:
        why = Structure().misfit(member)
        if why is not None:
            raise RecipeError(f"heat map: {why}")
        found = _heat(View(member, batch), kind)
        total = found if total is None else total + found
    if total is None:
        raise RecipeError(explain("at least one autoencoder", "none", "a fitted detector's members"))
    return total / len(members)


def _heat(view: View, kind: str) -> Doubles:
    if kind == "structure":
        # One span for all batches: that of encoded pixels, which are scaled to [0, 1] unless a recipe says otherwise.
        score = Structure()
        score.span = np.array([_span(view.inference)])
        maps = np.concatenate(list(score.maps(view, padded=True)))
    else:
        x, y = wanted_of(view)
        maps = np.square(x.astype(np.float64) - y)
    return maps if maps.ndim == 3 else maps.mean(1)


def _span(inference: Inference) -> float:
    """Return the range of training values in encoded units."""
    schema = inference.schema
    ends = np.stack([np.full(schema.row, value, dtype=np.float64) for value in (schema.low, schema.high)])
    encoded = np.asarray(inference.encoding.forward(ends), np.float64)
    return float(np.ptp(encoded)) or 1.0


def regions(heat: Any, threshold: float, *, least: int = 1) -> list[Region]:
    """Return the regions of heat maps that lie above a threshold, row by row, the largest share first.

    Args:
        heat: `(H, W)`, or `(rows, H, W)`; not negative.
        threshold: above which a pixel belongs to a region; pixels that touch, also at a corner, are one.
        least: pixels of a region, at least.

    Raises:
        DataError: for another shape, negative heat and heat that is not finite.

    Example:
        >>> heat = np.zeros((6, 8))
        >>> heat[1:3, 2:5], heat[5, 7] = 1.0, 2.0
        >>> [(found.top, found.left, found.bottom, found.right, found.share) for found in regions(heat, 0.5)]
        [(1, 2, 3, 5, 0.75), (5, 7, 6, 8, 0.25)]
    """
    maps = _maps(heat)
    check_number("threshold", threshold, 0.0)
    check_integer("least", least, 1)
    found: list[Region] = []
    for row, image in enumerate(maps):
        found += sorted(_regions(image, threshold, least, row), key=lambda one: (-one.share, one.top, one.left))
    return found


def _regions(image: Doubles, threshold: float, least: int, row: int) -> list[Region]:
    labels, count = ndimage.label(image > threshold, _TOUCHING)
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    pixels = ndimage.sum_labels(np.ones_like(image), labels, numbers).astype(int)
    sums, peaks = ndimage.sum_labels(image, labels, numbers), ndimage.maximum(image, labels, numbers)
    total = float(image.sum()) or 1.0
    return [
        Region(float(heat) / total, at[0].start, at[1].start, at[0].stop, at[1].stop, int(size), float(peak), row)
        for at, size, heat, peak in zip(ndimage.find_objects(labels), pixels, sums, peaks, strict=True)
        if size >= least
    ]


def _maps(heat: Any) -> Doubles:
    maps = np.asarray(heat, np.float64)
    if maps.ndim not in (2, 3):
        raise DataError("heat: " + explain("(H, W) or (rows, H, W)", f"shape {maps.shape}", "heat_maps"))
    if not np.isfinite(maps).all() or (maps < 0).any():
        raise DataError("heat: " + explain("finite numbers, none below 0", "others", "heat_maps"))
    return maps if maps.ndim == 3 else maps[None]
