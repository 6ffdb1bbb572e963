"""Where images have their channels."""

from __future__ import annotations

# An image's channels are at most so many, first or last.
_CHANNELS = 4


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return which axis of an image `(H, W)`, `(C, H, W)` or `(H, W, C)` has the channels.

    >>> channel_axis((3, 32, 32)), channel_axis((32, 32, 3)), channel_axis((32, 32))
    (0, 2, None)
    """
    if len(shape) != 3:
        return None
    return 0 if shape[0] <= _CHANNELS or shape[2] > _CHANNELS else 2
