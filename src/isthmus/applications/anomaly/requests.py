"""What was typed after `isthmus detect` and `isthmus explain`, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus.console.options import Asked
from isthmus.errors import DataError
from isthmus.errors import explain as expected_got


@dataclass(frozen=True)
class FitRequest:
    """The arguments of `isthmus detect fit`.

    Attributes:
        data: DATA.
        asked: how it is read.
        recipes: names and paths.
        settings: PATH=VALUE, for all recipes.
        scores: score types; empty for the default ones.
        n_estimators: autoencoders for each recipe.
        threshold: its kind.
        alpha: the false-alarm rate.
        training_contamination: share of the training rows that are left out as anomalies.
        condition: a file or a column.
        seed: of everything.
        verbose: whether training shows its progress.
    """

    data: str
    asked: Asked
    recipes: tuple[str, ...]
    settings: tuple[str, ...]
    scores: tuple[str, ...]
    n_estimators: int
    threshold: str
    alpha: float
    training_contamination: float
    condition: str | None
    seed: int
    verbose: bool


@dataclass(frozen=True)
class FindRequest:
    """The rows in which anomalies are looked for.

    Attributes:
        data: DATA.
        drop: columns to leave out.
        condition: a file, a column, or one for all rows.
        fdr: the false-discovery rate; None for the detector's threshold.
        most: alarms that are explained, the most anomalous first.
        labels: a file or a column of known labels.
    """

    data: str
    drop: list[str] | None = None
    condition: str | None = None
    fdr: float | None = None
    most: int = 10_000
    labels: str | None = None


def refuse(options: dict[str, Any], why: str) -> None:
    """Raise `DataError` for the first option that is given although it means nothing.

    >>> refuse({"--fdr": None}, "rows that are series")
    """
    for name, value in options.items():
        if value:
            shown = value if isinstance(value, str | float | int) else ", ".join(map(str, value))
            raise DataError(expected_got(f"no {name} for {why}", f"{name} {shown}", "leaving it out"))


def place_of(option: str, what: str, number: int, count: int) -> int:
    """Return the number of a row or an interval; raise `DataError` if there are not so many."""
    if number >= count:
        known = f"{what} from 0 to {count - 1}" if count else f"{what}, of which there is none"
        raise DataError(f"{option} {number}: " + expected_got(known, str(number), f"{option} 0"))
    return number
