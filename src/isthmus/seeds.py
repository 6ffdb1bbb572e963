"""Seeds for each purpose, derived from one.

Two streams from the same seed are the same numbers: noise drawn with the seed of the initial weights is the weights,
and a network is far from average on it.
"""

from __future__ import annotations

import zlib

import numpy as np


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """Return the seed of one purpose.

    >>> derive(0, "weights") == derive(0, "weights"), derive(0, "weights") == derive(0, "noise")
    (True, False)
    """
    return int(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers]).generate_state(1)[0])
