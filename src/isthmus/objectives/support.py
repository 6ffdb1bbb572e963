"""Which values a likelihood gives a density, and whether the data are such values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from isthmus.errors import explain
from isthmus.schema import Schema

# How far scaled values may lie outside the support.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Support:
    """The values that have a density.

    Args:
        words: the values in words, for a refusal.
        advice: what to try with other data.
        low: the least value.
        high: the greatest value.
        whole: whether the values between are the whole numbers only.
        raw: whether preprocessing must leave the values alone.

    Example:
        >>> import torch
        >>> SUPPORTS["counts"].holds(torch.tensor([0.0, 3.0, 0.5, -1.0])).tolist()
        [True, True, False, False]
    """

    words: str
    advice: str
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    raw: bool = False

    def holds(self, x: Tensor) -> Tensor:
        """Return booleans of the shape of `x`, up to rounding: which of the values have a density."""
        inside = (x >= self.low - _ROUNDING) & (x <= self.high + _ROUNDING)
        return inside & ((x - x.round()).abs() <= _ROUNDING) if self.whole else inside

    def nearest(self, x: Tensor) -> Tensor:
        """Return the nearest values that have a density."""
        x = x.clamp(self.low, self.high)
        return x.round() if self.whole else x

    def misfit(self, schema: Schema, preprocessing: str) -> str | None:
        """Return what was expected, what came and what to try; None if preprocessed data of the schema fit."""
        low, high, whole = {
            "none": (schema.low, schema.high, schema.whole),
            "unit": (0.0, 1.0, schema.binary),
        }.get(preprocessing, (-math.inf, math.inf, False))
        fits = self.low <= low and high <= self.high and (whole or not self.whole)
        if fits and not (self.raw and preprocessing != "none"):
            return None
        seen = f"values from {schema.low:g} to {schema.high:g}"
        if self.whole and not schema.whole:
            seen += ", not all of them whole"
        if preprocessing != "none":
            seen += f" under preprocessing={preprocessing}"
        return explain(self.words, seen, self.advice)


SUPPORTS: dict[str, Support] = {
    "real": Support("any numbers", "normal"),
    "unit": Support("values in [0, 1]", "preprocessing=unit or normal", 0.0, 1.0),
    "binary": Support(
        "values that are 0 or 1", "binary_cross_entropy for grey levels, or normal", 0.0, 1.0, whole=True
    ),
    "counts": Support(
        "whole numbers of at least 0", "normal for measurements, or preprocessing=none for counts",
        0.0, whole=True, raw=True,
    ),
    "categories": Support(
        "categories numbered from 0", "more classes, preprocessing=none, or normal for measurements",
        0.0, whole=True, raw=True,
    ),
    "mixed": Support("columns in the units of their likelihoods", "preprocessing=none", raw=True),
}  # fmt: skip
