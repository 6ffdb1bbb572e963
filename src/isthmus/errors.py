"""The few exceptions of isthmus, and the one sentence pattern they share: expected, got, try.

Every message says what was expected, what came (value, shape, where) and what to try. The command line prints the
message without a traceback and exits with `exit_status`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable


class IsthmusError(Exception):
    """Base of all errors that isthmus raises on purpose."""

    exit_status = 1


class RecipeError(IsthmusError, ValueError):
    """A recipe that cannot be built: a misspelt name, a value out of range, parts that do not fit."""

    exit_status = 2


class DataError(IsthmusError, ValueError):
    """Data that cannot be used: wrong shape, dtype, range, missing values, an unreadable file."""

    exit_status = 2


class DataTypeError(DataError, TypeError):
    """Data of a type that holds no numbers, such as a dictionary among them or a sparse matrix."""


class ArtifactError(IsthmusError, ValueError):
    """A model folder or checkpoint that is damaged, newer, or of other data."""

    exit_status = 2


class TrainingError(IsthmusError, RuntimeError):
    """Training that could not go on, such as a loss that stays NaN."""


class MissingPackageError(IsthmusError, ImportError):
    """An optional package that the called feature needs is not installed."""


class CollapseWarning(UserWarning):
    """A code that carries nothing: its latents are the same for every row."""


def explain(expected: str, got: str, advice: str) -> str:
    """Return the one-sentence message used everywhere.

    >>> explain("a 2-D array", "shape (3,)", "X.reshape(1, -1) if this is one row")
    'expected a 2-D array, got shape (3,); try X.reshape(1, -1) if this is one row'
    """
    return f"expected {_short(expected)}, got {_short(got)}; try {_short(advice)}"


# What is in a message may come from a file: a name of a million letters, or a million names.
_MOST_LETTERS, _MOST_NAMES = 600, 100


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + " ..."


def unknown_name(what: str, name: object, valid: Iterable[str]) -> str:
    """Return the message for a misspelt name: the nearest match first, then all the valid ones.

    >>> unknown_name("preset", "denoisng", ["vae", "denoising"])
    "there is no preset 'denoisng'; did you mean 'denoising'? The presets are: denoising, vae"
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name)[:_MOST_LETTERS], names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    shown = _short(", ".join(names[:_MOST_NAMES]))
    return f"there is no {what} {_short(repr(name))}{hint} The {what}s are: {shown}{more}"


def reason_of(error: BaseException) -> str:
    r"""Return what another library's error says, for a message: one line, not long, without addresses in memory.

    >>> reason_of(ValueError("no number\nat line 3"))
    'no number'
    """
    text = str(error).strip() or type(error).__name__
    line = re.sub(r" object at 0x[0-9a-fA-F]+", "", text.splitlines()[0])[:200]
    # What a parser quotes of a file that is no text at all is nothing to put on a terminal.
    return line if line.isprintable() and "\ufffd" not in line else ascii(line)[1:-1]


def check_integer(where: str, value: object, minimum: int = 1) -> None:
    """Raise `RecipeError` unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise RecipeError(f"{where}: " + explain(f"an integer of at least {minimum}", repr(value), str(minimum)))


_LARGEST = sys.float_info.max


def check_number(where: str, value: object, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Raise `RecipeError` unless `value` is a number in [low, high], or in (low, high] with `open_low`."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    if not number or not (low < value if open_low else low <= value) or not value <= high:  # type: ignore[operator]
        bracket = "(" if open_low else "["
        example = high if high != float("inf") else low + 1.0
        raise RecipeError(
            f"{where}: " + explain(f"a number in {bracket}{low:g}, {high:g}]", repr(value), f"{example:g}")
        )


def check_choice(where: str, value: object, choices: Iterable[object]) -> None:
    """Raise `RecipeError` unless `value` is one of `choices`."""
    allowed = list(choices)
    if value not in allowed:
        names = [str(choice) for choice in allowed]
        near = difflib.get_close_matches(str(value), names, n=1)
        raise RecipeError(f"{where}: " + explain("one of " + ", ".join(names), repr(value), repr((near or names)[0])))
