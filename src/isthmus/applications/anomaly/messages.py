"""Explanations in words: numbers for people, and sentences."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from scipy import ndimage

from isthmus.typing import Doubles

Place = str | tuple[int, ...]

# Parts that a sentence names, and the least share of one that is named beside the first.
_NAMED, _LEAST = 3, 0.05
_DIGITS, _MOST_DIGITS = 3, 9
_NOTHING = 1e-6
_LONGEST = 40
# Of the hottest pixel or step, what its neighbours have at least that count as one region with it.
_WARM = 0.25


@dataclass(frozen=True)
class Part:
    """One part of a row and what it has to do with the row's anomaly score.

    Attributes:
        place: a column's name, a pixel's (y, x), a step and the number of a channel, or a step.
        seen: its value, in the units and type of the data; None if it is missing.
        expected: the value that the rest of the row lets expect.
        share: of the row's anomaly score.
    """

    place: Place
    seen: Any
    expected: Any
    share: float


def sentence(row: int, p_value: float, calibration: int, *, alarm: bool) -> str:
    """Return how anomalous a row is.

    >>> sentence(17, 4 / 1000, 999, alarm=True)
    'Row 17 is more anomalous than all but 0.3 % of normal rows'
    >>> sentence(3, 0.35, 999, alarm=False)
    'Row 3 is no alarm: 35 % of normal rows are at least as anomalous'
    """
    others = round(p_value * (calibration + 1)) - 1
    if not alarm:
        said = f"{percent(others / calibration)} of normal rows are" if others else "no normal row is"
        return f"Row {row} is no alarm: {said} at least as anomalous"
    if others:
        return f"Row {row} is more anomalous than all but {percent(others / calibration)} of normal rows"
    return f"Row {row} is more anomalous than all {calibration:,} calibration rows"


def columns(parts: Sequence[Part]) -> str:
    """Return the parts with the largest shares.

    >>> columns([Part("serror_rate", 1.0, 0.02, 0.61), Part("count", 511, 9, 0.22), Part("flag", "S0", "SF", 0.01)])
    'serror_rate is 1 where 0.02 was expected (61 % of it), count is 511 where 9 was expected (22 %)'
    """
    named = [part for part in parts if part.seen is not None and part.share >= _LEAST] or list(parts[:1])
    # That a value is what was expected is said only if there is nothing better to say.
    named = ([part for part in named if part.seen != part.expected] or named)[:_NAMED]
    said = []
    for place, part in enumerate(named):
        seen, expected = pair(part.seen, part.expected)
        instead = "which the rest of the row makes unlikely" if seen == expected else f"where {expected} was expected"
        comma = "," if seen == expected else ""
        share = f"({percent(part.share)}{'' if place else ' of it'})"
        where = part.place if isinstance(part.place, str) else f"token {part.place[0]}"
        said.append(f"{where} is {seen}{comma} {instead} {share}")
    return ", ".join(said) or "nothing of it was seen"


def region(heat: Doubles) -> str:
    """Return where an image's heat map `(height, width)` is hottest, and how much of it lies there.

    >>> heat = np.zeros((8, 8)); heat[2:4, 5:7] = 0.25
    >>> region(heat)
    'the pixels of lines 2 to 3, columns 5 to 6 hold 100 % of it'
    """
    inside = _around_peak(heat)
    (top, bottom), (left, right) = ((int(i.min()), int(i.max())) for i in np.nonzero(inside))
    share = float(heat[top : bottom + 1, left : right + 1].sum())
    return f"the pixels of lines {top} to {bottom}, columns {left} to {right} hold {percent(share)} of it"


def stretch(shares: Doubles, channels: Sequence[str]) -> str:
    """Return the steps and the channel of a series `(steps, channels)` that hold most.

    >>> shares = np.zeros((9, 2)); shares[3:5, 1] = 0.4; shares[8, 0] = 0.2
    >>> stretch(shares, ["heat", "load"])
    'steps 3 to 4 of load hold 80 % of it'
    """
    channel = int(shares.sum(0).argmax())
    inside = np.flatnonzero(_around_peak(shares[:, channel]))
    first, last = int(inside[0]), int(inside[-1])
    share = percent(float(shares[first : last + 1, channel].sum()))
    of = f" of {channels[channel]}" if shares.shape[1] > 1 else ""
    return (
        f"step {first}{of} holds {share} of it" if first == last else f"steps {first} to {last}{of} hold {share} of it"
    )


def _around_peak(heat: Doubles) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the warm places that hang together with the hottest one."""
    smooth = ndimage.uniform_filter(heat, 3, mode="nearest")
    peak = np.unravel_index(int(smooth.argmax()), heat.shape)
    places, _ = ndimage.label(smooth >= _WARM * smooth.max())
    around = places == places[peak]
    # Smoothing widens a region by one; what is cold itself at its edge is no part of it.
    warm = around & (heat >= _WARM * float(heat[around].max()))
    found: np.ndarray[Any, np.dtype[np.bool_]] = warm if warm.any() else around
    return found


def percent(share: float) -> str:
    """Return a share for people.

    >>> percent(0.614), percent(0.0031), percent(0.00004), percent(1.0), percent(0.9996)
    ('61 %', '0.3 %', '0.004 %', '100 %', '99.96 %')
    """
    hundredths = 100.0 * share
    if 0 < hundredths < 1:
        return f"{float(f'{hundredths:.1g}'):g} %"
    if 99 < hundredths < 100:
        return f"{100.0 - float(f'{100.0 - hundredths:.1g}'):.10g} %"
    return f"{hundredths:.0f} %"


def pair(seen: Any, expected: Any) -> tuple[str, str]:
    """Return two values for people, with as many digits as it takes to tell them apart.

    A number that is nothing beside the other is zero.

    >>> pair(511, 9), pair(1.0, 0.0213), pair(100.01, 100.02), pair("tcp", "a b"), pair(0.9, -4e-10)
    (('511', '9'), ('1', '0.0213'), ('100.01', '100.02'), ('tcp', '"a b"'), ('0.9', '0'))
    """
    seen, expected = _beside(seen, expected), _beside(expected, seen)
    for digits in range(_DIGITS, _MOST_DIGITS + 1):
        found = value(seen, digits), value(expected, digits)
        if found[0] != found[1] or seen == expected:
            break
    return found


def _beside(one: Any, other: Any) -> Any:
    numbers = isinstance(one, float) and isinstance(other, int | float)
    return 0.0 if numbers and abs(one) < _NOTHING * abs(other) else one


def value(given: Any, digits: int = _DIGITS) -> str:
    """Return one value for people.

    >>> value(1234567), value(0.00012345), value(True), value(None), value("")
    ('1,234,567', '0.000123', 'true', 'missing', '""')
    """
    if given is None:
        return "missing"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int):
        return f"{given:,}"
    if isinstance(given, float | Decimal):
        number = float(given)
        if number == round(number) and abs(number) < 1e15:
            return f"{number + 0.0:,.0f}"
        short = f"{number:.{digits}g}"
        return f"{number:,.0f}" if "e+" in short and abs(number) < 1e15 else short
    if isinstance(given, datetime.datetime | datetime.date | datetime.time | datetime.timedelta):
        return str(given)
    text = str(given)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    if text.isprintable() and text and not any(letter in text for letter in ' ,"'):
        return text
    return f'"{text}"' if text.isprintable() else ascii(text)
