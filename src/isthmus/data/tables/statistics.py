"""Statistics of a column of numbers, from one pass over its blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.typing import Doubles

# Values kept of a column for its quantiles; between one and two times so many.
_KEPT = 10_000
# 2**64 over the golden ratio: the multiples of it, modulo 2**64, are spread as evenly as those of any number.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass
class RunningStatistics:
    """Count, extremes, moments and a spread-out sample of a column of numbers."""

    count: int = 0
    low: float = np.inf
    high: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0
    whole: bool = True
    bits: bool = True
    sample: Doubles = field(default_factory=lambda: np.empty(0))
    keys: np.ndarray[Any, np.dtype[np.uint64]] = field(default_factory=lambda: np.empty(0, np.uint64))
    limit: np.uint64 = _ALL

    @np.errstate(over="ignore", invalid="ignore")  # what is too large to be squared is refused by who needs the squares
    def update(self, values: Doubles) -> None:
        """Take in the finite values of the next block."""
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if self.whole:
            self.whole = bool((values == np.floor(values)).all())
        if self.bits:
            self.bits = self.low >= 0 and self.high <= 1 and bool(((values == 0) | (values == 1)).all())
        # Moments of the block about its first value, joined to those of the blocks before (Chan et al. 1979).
        steps = values - values[0]
        mean = float(steps.mean())
        squares = float(np.square(steps - mean).sum())
        total, change = self.count + len(values), float(values[0]) + mean - self.mean
        self.squares += squares + change * change * self.count * (len(values) / total)
        self.mean += change * (len(values) / total)
        self._keep(values)
        self.count = total

    def _keep(self, values: Doubles) -> None:
        """Add to the sample: a row's number alone decides, so no draw, the same for any blocks, and no row's period."""
        keys = np.arange(self.count, self.count + len(values), dtype=np.uint64) * _GOLDEN
        inside = keys <= self.limit
        self.sample = np.concatenate([self.sample, values[inside]])
        self.keys = np.concatenate([self.keys, keys[inside]])
        while len(self.sample) >= 2 * _KEPT:
            self.limit >>= np.uint64(1)
            inside = self.keys <= self.limit
            self.sample, self.keys = self.sample[inside], self.keys[inside]

    @property
    def deviation(self) -> float:
        """Standard deviation; the range where the squares of small numbers vanish."""
        if not self.count:
            return 0.0
        return float(np.sqrt(self.squares / self.count)) or self.high - self.low
