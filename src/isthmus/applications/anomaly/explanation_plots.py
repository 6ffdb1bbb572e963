"""Pictures of one strange row: an image and its heat map, a series with strange steps shaded, columns as bars."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from isthmus.applications.anomaly.explanation import Explanation
from isthmus.applications.anomaly.messages import pair, percent
from isthmus.data.images.axes import channel_axis
from isthmus.errors import DataError, explain
from isthmus.report.plots import BLUE, INK, ORANGE, dress, legend_above, shorten
from isthmus.typing import Array

# A picture of a pixel is enlarged to at least so many for a whole image.
_SIDE = 256
_BARS = 12
# Shading of the most anomalous step.
_STRONGEST = 0.55
_MOST_CHANNELS = 8


def picture(explanation: Explanation, number: int, kind: str) -> bytes:
    """Return a picture of one row's reasons, "png" or "svg".

    Raises:
        DataError: for lines of text, and images as an SVG.
    """
    if explanation.part == "pixel":
        if kind != "png":
            raise DataError("--out: " + explain("a .png file for an image", f".{kind}", "--out picture.png"))
        return _png(np.concatenate(_with_gaps(image_and_heat(explanation, number)), axis=1))
    if explanation.part == "token":
        raise DataError("--out: " + explain("a table for a line of text", f".{kind}", "--out reasons.csv"))
    figure = series(explanation, number) if explanation.part == "step" else columns(explanation, number)
    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format=kind, dpi=150, facecolor="white")
    return stream.getvalue()


# ---- images ----------------------------------------------------------------------------------------------------------


def image_and_heat(explanation: Explanation, number: int) -> list[Array]:
    """Return an image, what it was rebuilt as, and its heat map, each `(H, W, 3)` in bytes."""
    seen, expected = _pixels(explanation, explanation.seen[number]), _pixels(explanation, explanation.expected[number])
    low, high = explanation.schema.low, explanation.schema.high
    shown = [np.clip((one - low) / max(high - low, 1e-12), 0.0, 1.0) * 255.0 for one in (seen, expected)]
    return [*(one.round().astype(np.uint8) for one in shown), heat(explanation.shares[number])]


def heat(shares: Array) -> Array:
    """Return a heat map `(H, W)` as colours `(H, W, 3)` in bytes; the hottest pixel is the brightest."""
    colours: Array = mpl.colormaps["inferno"](shares / max(float(shares.max()), 1e-300))[..., :3]
    return np.asarray((colours * 255.0).round(), np.uint8)


def _pixels(explanation: Explanation, row: Array) -> Array:
    """Return one row `(H, W, 3)` in float64."""
    row = np.asarray(row, np.float64).reshape(explanation.schema.shape)
    axis = channel_axis(row.shape)
    if axis is None:
        return np.repeat(row[..., None], 3, -1)
    row = np.moveaxis(row, axis, -1)
    return row[..., :3] if row.shape[-1] >= 3 else np.repeat(row[..., :1], 3, -1)


def _with_gaps(images: list[Array]) -> list[Array]:
    times = max(1, -(-_SIDE // max(images[0].shape[:2])))
    large = [one.repeat(times, 0).repeat(times, 1) for one in images]
    gap = np.full((large[0].shape[0], 8, 3), 255, np.uint8)
    return [large[0], gap, large[1], gap, large[2]]


def _png(pixels: Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="png")
    return stream.getvalue()


# ---- charts ----------------------------------------------------------------------------------------------------------


def series(explanation: Explanation, number: int) -> Figure:
    """Return a series and what was expected as lines, each channel's anomalous steps shaded; the worst channels."""
    seen, expected = (
        np.asarray(block[number], float).reshape(explanation.shares.shape[1:])
        for block in (explanation.seen, explanation.expected)
    )
    shares = explanation.shares[number]
    shown = np.sort(np.argsort(-shares.sum(0), kind="stable")[:_MOST_CHANNELS])
    figure = Figure(figsize=(6.4, 2.6 if len(shown) == 1 else 0.8 + 1.2 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, channel in zip(grid, shown.tolist(), strict=True):
        dress(axes)
        _shade(axes, shares[:, channel] / max(float(shares.max()), 1e-300))
        axes.plot(expected[:, channel], color=BLUE, linewidth=1.2, label="expected")
        axes.plot(seen[:, channel], color=INK, linewidth=1.2, label="seen")
        name = explanation.channels[channel] if len(explanation.channels) > 1 else "value"
        _plain(axes.set_ylabel(shorten(name), fontsize=8))
        axes.yaxis.set_major_locator(MaxNLocator(3))
    grid[-1].set_xlabel("step")
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(grid[0])
    return figure


def columns(explanation: Explanation, number: int) -> Figure:
    """Return the shares of the columns that have most as bars, with what was seen and expected."""
    parts = explanation[number].parts[:_BARS]
    figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    dress(axes)
    places = np.arange(len(parts))[::-1]
    axes.barh(places, [part.share for part in parts], color=ORANGE, alpha=0.8)
    axes.set_yticks(places, [shorten(str(part.place)) for part in parts])
    for place, part in zip(places.tolist(), parts, strict=True):
        seen, expected = pair(part.seen, part.expected)
        _plain(axes.text(part.share, place, f"  {seen}, expected {expected}", va="center", fontsize=8, color=INK))
    for text in axes.get_yticklabels():
        _plain(text)
    longest = max(part.share for part in parts)
    axes.set_xlim(0, 1.45 * longest)
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(0.0, longest) if tick <= longest * 1.001 or tick == 0])
    axes.xaxis.set_major_formatter(lambda share, _: percent(share))
    axes.set_xlabel("share of the anomaly score")
    return figure


def _shade(axes: Axes, strength: Array) -> None:
    for step, share in enumerate(strength.tolist()):
        if share > 0.05:
            axes.axvspan(step - 0.5, step + 0.5, color=ORANGE, alpha=_STRONGEST * share, linewidth=0)


def _plain(text: Any) -> None:
    text.set_parse_math(False)  # a column may be named "price in $"
