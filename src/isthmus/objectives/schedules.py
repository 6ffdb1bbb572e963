"""Weights that change during training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from isthmus.settings import AtLeast, NotNegative, PositiveShare, Range, Settings


class Schedule(Settings, ABC):
    """A weight that changes during training.

    Validation and model selection always use the weight at the end, so that epochs compare.
    """

    path: ClassVar[str] = "weight"
    kind: ClassVar[str]

    @property
    @abstractmethod
    def settled(self) -> float:
        """Share of the training steps after which the weight is final."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Return the weight at a share of the training steps."""


@dataclass(frozen=True)
class Linear(Schedule):
    """A weight that goes from `start` to `end` linearly over a share of the training steps, then stays.

    Args:
        end: the final weight, which validation and model selection always use.
        start: the weight at the first step.
        over: share of all training steps, in (0, 1].

    Example:
        >>> [Linear(end=4.0, over=0.5)(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 2.0, 4.0, 4.0]

    Paper: Bowman et al., Generating Sentences from a Continuous Space, 2016, https://arxiv.org/abs/1511.06349.
    """

    kind: ClassVar[str] = "linear"
    end: NotNegative = 1.0
    start: NotNegative = 0.0
    over: PositiveShare = 0.25

    @property
    def settled(self) -> float:
        return self.over

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, progress / self.over)


@dataclass(frozen=True)
class Logistic(Schedule):
    """A weight that rises to `end` along a logistic curve, and stays.

    ``end / (1 + exp(-steepness * (progress / over - 1/2)))`` until `over`, with both ends of the curve stretched to 0
    and to `end`.

    Args:
        end: the final weight.
        over: share of all training steps, in (0, 1].
        steepness: of the curve; 12 leaves 0.2 % of the range at either end before it is stretched.

    Example:
        >>> [round(Logistic(end=4.0, over=0.5)(progress), 3) for progress in (0.0, 0.125, 0.25, 0.5, 1.0)]
        [0.0, 0.181, 2.0, 4.0, 4.0]

    Paper: Bowman et al., Generating Sentences from a Continuous Space, 2016, https://arxiv.org/abs/1511.06349.
    """

    kind: ClassVar[str] = "logistic"
    end: NotNegative = 1.0
    over: PositiveShare = 0.5
    steepness: Annotated[float, Range(0.1, 100)] = 12.0

    @property
    def settled(self) -> float:
        return self.over

    def __call__(self, progress: float) -> float:
        share = min(1.0, progress / self.over)
        low, value, high = (1.0 / (1.0 + math.exp(-self.steepness * (at - 0.5))) for at in (0.0, share, 1.0))
        return self.end * (value - low) / (high - low)


@dataclass(frozen=True)
class Cyclical(Schedule):
    """A weight that rises from 0 to `end` several times over, and stays in the end.

    Each cycle is linear over its first part and constant over the rest; the code, which a weight of zero lets learn
    anew, keeps what it learned in the cycle before.

    Args:
        end: the final weight.
        cycles: how many rises.
        rising: share of a cycle in which the weight rises, in (0, 1].

    Example:
        >>> [Cyclical(end=1.0, cycles=2)(progress) for progress in (0.0, 0.125, 0.25, 0.49, 0.5, 0.75, 1.0)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 1.0]

    Paper: Fu et al., Cyclical Annealing Schedule, NAACL 2019, https://arxiv.org/abs/1903.10145.
    """

    kind: ClassVar[str] = "cyclical"
    end: NotNegative = 1.0
    cycles: Annotated[int, AtLeast(1)] = 4
    rising: PositiveShare = 0.5

    @property
    def settled(self) -> float:
        return (self.cycles - 1 + self.rising) / self.cycles

    def __call__(self, progress: float) -> float:
        if progress >= 1.0:
            return self.end
        return self.end * min(1.0, (progress * self.cycles % 1.0) / self.rising)
