"""What the rows of a set of images are: their shape, their depth, and how each image gets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.images.locate import Place, UnreadableError
from isthmus.errors import DataError, explain, unknown_name

FITS = ("resize", "crop", "tile")
ON_ERROR = ("refuse", "skip")
# Pillow's own limit, from which on it warns; here it is an error.
MAX_PIXELS = 89_478_485


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says of itself.

    Attributes:
        height: of the upright image.
        width: of the upright image.
        colour: whether it has three channels.
        deep: whether they have 16 bits.
    """

    height: int
    width: int
    colour: bool
    deep: bool


@dataclass(frozen=True)
class Layout:
    """What all rows of a set are.

    Attributes:
        shape: of a row, `(H, W)` or `(C, H, W)`.
        deep: whether values are uint16.
        fit: "resize", "crop" or "tile"; None if all images have the size already.
    """

    shape: tuple[int, ...]
    deep: bool
    fit: str | None

    @property
    def colour(self) -> bool:
        """Whether rows have three channels."""
        return len(self.shape) == 3 and self.shape[0] == 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a value."""
        return np.dtype(np.uint16 if self.deep else np.uint8)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def grid(self, header: Header) -> tuple[int, int]:
        """Return how many tiles, down and across, an image gives: 1 and 1 unless it is cut.

        Raises:
            UnreadableError: if it is smaller than a tile.
        """
        if self.fit != "tile":
            return 1, 1
        height, width = self.shape[-2:]
        down, across = header.height // height, header.width // width
        if not down or not across:
            raise UnreadableError(f"it is {header.height}x{header.width}, smaller than a tile of {height}x{width}")
        return down, across


def check_options(
    shape: tuple[int, ...] | None, fit: str, on_error: str, cache_bytes: int, workers: int | None
) -> tuple[int, ...] | None:
    """Return the shape as integers; raise `DataError` for choices that are none of `open_images`."""
    for what, value, valid in (("fit", fit, FITS), ("on_error", on_error, ON_ERROR)):
        if value not in valid:
            raise DataError(f"{what}: " + unknown_name("choice", value, valid))
    for what, number, least in (("cache_bytes", cache_bytes, 0), ("workers", workers, 1)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise DataError(f"{what}: " + explain(f"an integer of at least {least}", repr(number), str(least)))
    if shape is None:
        if fit == "tile":
            raise DataError("fit='tile': " + explain("the shape of a tile", "none", "--rows image:3x64x64"))
        return None
    whole = tuple(shape)
    sizes = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in whole)
    if not sizes or not (len(whole) == 2 or (len(whole) == 3 and whole[0] in (1, 3))):
        raise DataError(
            "shape: " + explain("(H, W), (1, H, W) or (3, H, W), channels first", f"{shape!r}", "--rows image:3x64x64")
        )
    if whole[-1] * whole[-2] > MAX_PIXELS:
        raise DataError("shape: " + explain(f"at most {MAX_PIXELS:,} pixels", f"{shape!r}", "a smaller one"))
    return tuple(int(size) for size in whole)


def layout_of(files: dict[int, Header], shape: tuple[int, ...] | None, fit: str) -> Layout | None:
    """Return what rows are; None if images of several sizes are to stay as they are."""
    deep = any(header.deep for header in files.values())
    if shape is not None:
        return Layout(shape, deep, fit)
    sizes = {(header.height, header.width) for header in files.values()}
    if len(sizes) > 1:
        return None
    colour = any(header.colour for header in files.values())
    return Layout((3, *sizes.pop()) if colour else sizes.pop(), deep, None)


def unequal(place: Place, files: dict[int, Header]) -> str:
    """Return the message for images of several sizes."""
    counts: dict[tuple[int, int], list[int]] = {}
    for at, header in files.items():
        counts.setdefault((header.height, header.width), []).append(at)
    most = sorted(counts.items(), key=lambda item: (-len(item[1]), item[0]))
    shown = ", ".join(f"{len(at)} of {h}x{w} (such as {place.entries[at[0]].name!r})" for (h, w), at in most[:3])
    rest = f" and {len(most) - 3} more sizes" if len(most) > 3 else ""
    channels = 3 if any(header.colour for header in files.values()) else 1
    return explain("images of one size", shown + rest, f"--rows image:{channels}x64x64 to give them one")
