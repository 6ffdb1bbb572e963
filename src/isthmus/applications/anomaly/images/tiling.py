"""Large images by their patches: cut, scored, and put together to one map of exactly the image's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataError, check_integer, explain
from isthmus.typing import Array, Doubles

# Bytes of patches that are cut at a time.
_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True)
class Tiling:
    """Squares of images, side by side or overlapping.

    Starts are `stride` apart; the last patch of a line ends with the image, so that every pixel is in a patch.

    Args:
        size: of a patch, in pixels, both ways.
        stride: between the starts of two patches; None for half of `size`.

    Example:
        >>> images = np.arange(2 * 5 * 7).reshape(2, 5, 7)
        >>> patches = Tiling(4, 2)
        >>> patches.cut(images).shape, patches.starts(7)
        ((12, 4, 4), (0, 2, 3))
    """

    size: int
    stride: int | None = None

    def __post_init__(self) -> None:
        check_integer("size", self.size, 1)
        if self.stride is not None:
            check_integer("stride", self.stride, 1)
            if self.stride > self.size:
                got = f"a stride of {self.stride} for patches of {self.size}"
                raise DataError(explain("patches that leave no pixel out", got, f"stride={self.size}"))

    @property
    def step(self) -> int:
        """Pixels between the starts of two patches."""
        return max(1, self.size // 2) if self.stride is None else self.stride

    def starts(self, length: int) -> tuple[int, ...]:
        """Return where patches start along one side of an image.

        Raises:
            DataError: if the side is shorter than a patch.
        """
        if length < self.size:
            raise DataError(explain(f"images of at least {self.size} pixels", f"{length}", "smaller patches"))
        regular = range(0, length - self.size + 1, self.step)
        return tuple(regular) if regular[-1] == length - self.size else (*regular, length - self.size)

    def cut(self, images: Any) -> Array:
        """Return all patches of images, image by image, line by line.

        Args:
            images: `(rows, H, W)` or `(rows, C, H, W)`, of any type, which is kept.

        Returns:
            `(patches, size, size)` or `(patches, C, size, size)`.

        Raises:
            DataError: for another shape, and images smaller than a patch.
        """
        images = _checked(images)
        parts = [block for image in images for block in self.blocks(image)]
        if not parts:
            raise DataError(explain("at least one image", "none", "more images"))
        return np.concatenate(parts)

    def blocks(self, image: Array) -> Iterator[Array]:
        """Yield an image's patches, some lines of them at a time: `(patches, ..., size, size)`."""
        across = self.starts(image.shape[-1])
        line_bytes = len(across) * self.size * self.size * image.itemsize * int(np.prod(image.shape[:-2]))
        lines = max(1, _BLOCK_BYTES // max(1, line_bytes))
        down = self.starts(image.shape[-2])
        for first in range(0, len(down), lines):
            cut = [
                image[..., top : top + self.size, left : left + self.size]
                for top in down[first : first + lines]
                for left in across
            ]
            yield np.stack(cut)

    def join(self, values: Any, height: int, width: int) -> Doubles:
        """Return a map `(height, width)`: at each pixel the average of what its patches say.

        Args:
            values: in the order of `cut`, `(patches, size, size)`, or `(patches,)`, one number for each patch.
            height: of the image.
            width: of the image.

        Raises:
            DataError: for other shapes.

        Example:
            >>> Tiling(2, 1).join([0.0, 3.0], 2, 3).tolist()
            [[0.0, 1.5, 3.0], [0.0, 1.5, 3.0]]
        """
        values = np.asarray(values, np.float64)
        places = [(top, left) for top in self.starts(height) for left in self.starts(width)]
        wanted = {(len(places),), (len(places), self.size, self.size)}
        if values.shape not in wanted:
            expected = f"{len(places):,} numbers, or maps of {self.size} x {self.size} pixels"
            raise DataError("values: " + explain(expected, f"shape {values.shape}", "one for each patch of `cut`"))
        total, count = np.zeros((height, width)), np.zeros((height, width))
        for (top, left), value in zip(places, values, strict=True):
            box = slice(top, top + self.size), slice(left, left + self.size)
            total[box] += value
            count[box] += 1.0
        return total / count

    def heat_map(self, image: Any, score: Callable[[Array], Any]) -> Doubles:
        """Return how strange each pixel of a large image is, `(H, W)`, some patches at a time.

        Args:
            image: `(H, W)` or `(C, H, W)`.
            score: what gives one number, or a map, for each of some patches, higher is more anomalous: of an
                `AnomalyDetector` that was fitted on patches, ``lambda rows: -detector.score_samples(rows)`` or
                ``detector.pixel_scores``.

        Raises:
            DataError: for another shape.

        Example:
            >>> image = np.zeros((6, 9))
            >>> image[2, 8] = 1.0
            >>> heat = Tiling(3).heat_map(image, lambda rows: rows.max((1, 2)))
            >>> heat.shape, int(np.argwhere(heat == 1.0)[:, 1].min())
            ((6, 9), 8)
        """
        image = _checked(np.asarray(image)[None])[0]
        values = np.concatenate([np.asarray(score(block), np.float64) for block in self.blocks(image)])
        return self.join(values, *image.shape[-2:])


def _checked(images: Any) -> Array:
    found: Array = np.asarray(images)
    if found.ndim not in (3, 4):
        expected = "images (rows, H, W) or (rows, C, H, W)"
        raise DataError(explain(expected, f"shape {found.shape}", "images[None] for a single one"))
    return found
