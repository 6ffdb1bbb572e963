"""Every picture of the report, as a data URI: mosaics of images in their own pixels, charts in matplotlib.

Charts are made with matplotlib's objects and never with pyplot, whose figures are global. Their paper is transparent
and their ink a middle grey, so that one picture reads on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from isthmus.typing import Array

INK = "#808080"
BLUE, ORANGE, GREEN = "#3b82f6", "#f08c1a", "#22a06b"
# Ten hues that are told apart on white and on near-black, then their paler twins.
PALETTE = tuple(to_hex(colour) for name in ("tab10", "Set2") for colour in mpl.colormaps[name].colors)  # type: ignore[attr-defined]
_GAP = 2
_DOTS_PER_INCH = 170
_LONGEST_NAME = 16


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    values: Sequence[float]
    colour: str
    dashed: bool = False


# ---- images ----------------------------------------------------------------------------------------------------------


def mosaic(images: np.ndarray[Any, np.dtype[np.uint8]], columns: int) -> str:
    """Return images `(n, height, width)` or `(n, height, width, 3)` side by side, pixel for pixel, as a PNG.

    What lies between them is transparent. The page enlarges the picture without smoothing.
    """
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=-1)
    height, width = images.shape[1:3]
    lines = -(-len(images) // columns)
    canvas = np.zeros((lines * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 4), np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (height + _GAP), place % columns * (width + _GAP)
        canvas[top : top + height, left : left + width, :3] = image
        canvas[top : top + height, left : left + width, 3] = 255
    picture = Image.fromarray(canvas)
    if (canvas[..., 0] == canvas[..., 1]).all() and (canvas[..., 1] == canvas[..., 2]).all():
        picture = picture.convert("LA")
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return _uri("image/png", stream.getvalue())


# ---- charts ----------------------------------------------------------------------------------------------------------


def curves(series: Sequence[Series], *, best_epoch: int = 0) -> str:
    """Return lines over epochs as an SVG; on a log scale where that shows more; the best epoch is marked."""
    figure, axes = chart()
    values = np.array([value for line in series for value in line.values], dtype=float)
    finite = values[np.isfinite(values)]
    for line in series:
        epochs = np.arange(1, len(line.values) + 1)
        axes.plot(
            epochs,
            line.values,
            color=line.colour,
            linestyle="--" if line.dashed else "-",
            marker="o" if len(epochs) < 3 else None,
            linewidth=1.8,
            label=line.name,
        )
    # Beyond a factor of three, the early epochs would flatten all the later ones.
    if len(finite) and finite.min() > 0 and finite.max() > 3 * finite.min():
        logarithmic(axes, "y")
    if best_epoch:
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=":", label="best epoch")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("nats per row")
    legend_above(axes)
    return as_svg(figure)


def bars(values: Array, *, label: str, limit: float, what: str = "latent, largest first") -> str:
    """Return values `(n,)`, largest first, as bars in an SVG; those at or below `limit` are grey."""
    figure, axes = chart(width=4.8, height=3.0)
    ordered = np.sort(np.asarray(values, dtype=float))[::-1]
    colours = [BLUE if value > limit else INK for value in ordered]
    axes.bar(np.arange(1, len(ordered) + 1), ordered, color=colours, width=0.8)
    axes.set_xlim(0.3, len(ordered) + 0.7)
    axes.set_xlabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    return as_svg(figure)


def histogram(values: Array, *, label: str, what: str = "rows") -> str:
    """Return the histogram of positive values `(n,)` as an SVG, with the median and the highest hundredth marked."""
    figure, axes = chart(width=4.8, height=3.0)
    low, high = float(values.min()), float(values.max())
    count = int(np.clip(np.sqrt(len(values)), 5, 40))
    bent = low > 0 and high > 10 * low
    edges = np.geomspace(low, high, count + 1) if bent else np.linspace(low, max(high, low + 1e-12), count + 1)
    axes.hist(values, bins=edges.tolist(), color=BLUE, alpha=0.85)
    if bent:
        logarithmic(axes, "x")
    marks = {"median": (float(np.median(values)), INK), "highest 1 %": (float(np.quantile(values, 0.99)), ORANGE)}
    for name, (place, colour) in marks.items():
        axes.axvline(place, color=colour, linewidth=1.6, linestyle="--", label=name)
    axes.set_xlabel(label)
    axes.set_ylabel(what)
    legend_above(axes)
    return as_svg(figure)


def profile(lines: Mapping[str, Array], names: Sequence[str] | None, *, label: str) -> str:
    """Return rows of a table as lines over their columns, as an SVG: the first thin with dots, the others on top."""
    figure, axes = chart(width=5.2, height=2.9)
    colours = (INK, BLUE, ORANGE, GREEN)
    width = 0
    for place, (name, values) in enumerate(lines.items()):
        width = len(values)
        marker = "o" if width <= 40 else None
        axes.plot(
            np.arange(width), values, color=colours[place % 4], marker=marker, markersize=3.5, linewidth=1.4, label=name
        )
    if names is not None and width <= 30:
        axes.set_xticks(np.arange(width), [shorten(name) for name in names], rotation=60, ha="right", fontsize=8)
        for text in axes.get_xticklabels():
            text.set_parse_math(False)  # a column may be named "price in $"
    else:
        axes.set_xlabel("column")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    legend_above(axes)
    return as_svg(figure)


def channels(lines: Mapping[str, Array]) -> str:
    """Return series `(steps, channels)` as lines over time, as an SVG: one chart for each channel."""
    count = next(iter(lines.values())).shape[1]
    figure = Figure(figsize=(5.2, 2.9 if count == 1 else 1.0 + 1.1 * count), layout="constrained")
    FigureCanvasAgg(figure)
    colours = (INK, BLUE, ORANGE, GREEN)
    grid = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for channel, axes in enumerate(grid):
        dress(axes)
        for place, (name, values) in enumerate(lines.items()):
            axes.plot(values[:, channel], color=colours[place % 4], linewidth=1.4, label=name)
        axes.set_ylabel("value" if count == 1 else f"channel {channel}", fontsize=8 if count > 1 else None)
        axes.yaxis.set_major_locator(MaxNLocator(5 if count == 1 else 2))
    grid[-1].set_xlabel("step")
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(grid[0])
    return as_svg(figure)


def scatter(points: Array, colours: Sequence[str] | Array, *, labels: tuple[str, str] | None) -> str:
    """Return points `(rows, 2)` as a PNG; `colours` is one name for each, or one number for each.

    Without labels there are no axes either: the directions mean nothing.
    """
    figure = Figure(figsize=(4.6, 4.2), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    dress(axes)
    size = float(np.clip(9000 / max(1, len(points)), 3, 24))
    numbers = isinstance(colours, np.ndarray)
    drawn = axes.scatter(
        points[:, 0], points[:, 1], c=colours, s=size, alpha=0.75, linewidths=0, cmap="viridis" if numbers else None
    )
    if numbers:
        bar = figure.colorbar(drawn, ax=axes, shrink=0.7)
        bar.ax.tick_params(colors=INK, labelsize=9)
        bar.outline.set_visible(False)
    if labels is None:
        axes.set_axis_off()
    else:
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=True)
    return _uri("image/png", stream.getvalue())


def shorten(name: str) -> str:
    """Return a column's name cut to what fits under a chart."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def chart(width: float = 3.7, height: float = 2.7) -> tuple[Figure, Axes]:
    """Return a figure with one chart."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    dress(axes)
    return figure, axes


def dress(axes: Axes) -> None:
    """Give a chart the ink of all others."""
    axes.set_facecolor("none")
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
        spine.set_linewidth(0.6)


def logarithmic(axes: Axes, side: str) -> None:
    """Make the x or y axis logarithmic, with plain numbers at it: 0.01 and not a power of ten."""
    axes.set(**{f"{side}scale": "log"})
    axis: Any = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes: Axes) -> None:
    """Put the legend above the chart, where it can hide nothing."""
    entries = len(axes.get_legend_handles_labels()[1])
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=entries if entries <= 3 else 2,
        frameon=False,
        labelcolor=INK,
        fontsize=8.5,
        handlelength=1.3,
        handletextpad=0.5,
        columnspacing=1.1,
        borderpad=0.1,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def as_svg(figure: Figure) -> str:
    """Return a figure as the data URI of an SVG."""
    stream = io.BytesIO()
    # Text stays text: the reader's own fonts draw it, in any script, and the file is a tenth of the size. That
    # matplotlib's font lacks a letter of a column's name is then of no concern.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "isthmus"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _uri("image/svg+xml", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
