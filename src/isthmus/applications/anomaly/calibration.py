"""Which rows calibrate, and which half of the rest judges the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from isthmus.applications.anomaly.thresholds import rank_of, rows_needed
from isthmus.data.batches import take
from isthmus.data.encoded import EncodedRows
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.source import Source
from isthmus.data.streaming import join
from isthmus.errors import DataError, explain
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.typing import Integers

_SHARE = 0.2
# Up to this share, for a threshold at all.
_AT_MOST = 0.35
# Beyond so many rows more of them teach a model little, and make the threshold more precise.
_MANY, _SHARE_BEYOND = 10_000, 0.5
# Calibration rows lie in memory.
_MOST = 50_000
_FEWEST = 4
# Training rows that scores are fitted on, at most, and rows of the last calls of `partial_fit` that are kept.
FITTED, _RECENT = 50_000, 20_000


def calibration_rows(
    source: Source, fraction: float | str, alpha: float | None, seed: int, training_contamination: float = 0.0
) -> Integers:
    """Return the numbers of the calibration rows, in order.

    Windows of a series overlap: of several series whole ones calibrate, of one its end.

    Args:
        source: all rows.
        fraction: share of them; "auto" is a fifth, and of those beyond 10,000 a half, or a few less: so many that the
            rate of a conformal threshold is `alpha` itself, if a third of the rows, about, is enough for that.
        alpha: the false-alarm rate of a conformal threshold; None for another one.
        seed: decides which.
        training_contamination: share of them that will be left out.

    Raises:
        DataError: for fewer than four rows.
    """
    rows = len(source)
    if rows < _FEWEST:
        got = "one sample" if rows == 1 else f"{rows} rows"
        raise DataError(explain(f"at least {_FEWEST} rows to learn from and to calibrate on", got, "more rows"))
    count = _count(rows, alpha, training_contamination) if isinstance(fraction, str) else round(fraction * rows)
    count = min(max(count, 1), rows - 2, _MOST)
    if isinstance(source, SeriesWindows):
        found = source.held_out(count / rows, seed)
        if len(found):
            return found
    generator = np.random.default_rng(derive(seed, "calibration"))
    return np.sort(generator.choice(rows, count, replace=False, shuffle=False))


def _count(rows: int, alpha: float | None, training_contamination: float) -> int:
    count = min(round(_SHARE * min(rows, _MANY) + _SHARE_BEYOND * max(rows - _MANY, 0)), _MOST)
    if alpha is None:
        return count
    # With a whole number of rows above the threshold the rate is alpha itself, and not less.
    above = max(1, rank_of(alpha, count - int(training_contamination * count)))
    needed = whole = rows_needed(alpha / above)
    while whole - int(training_contamination * whole) < needed:
        whole += 1
    return whole if whole <= _AT_MOST * rows or whole <= count else count


def halves(rows: int, calibration: Integers, seed: int) -> Iterator[tuple[Integers, Integers]]:
    """Yield the training rows in two halves, then the other way round; each in order."""
    left = np.setdiff1d(np.arange(rows), calibration)
    order = np.random.default_rng(derive(seed, "halves")).permutation(left)
    first, second = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    yield first, second
    yield second, first


def training_rows(encoded: EncodedRows, out: Integers) -> Batch:
    """Return the encoded rows that are not left out; of many, so many that are spread evenly."""
    rows = np.delete(np.arange(len(encoded)), out)
    if len(rows) > FITTED:
        rows = rows[np.linspace(0, len(rows) - 1, FITTED).astype(np.int64)]
    return encoded.whole(rows)


def in_parts(encoded: EncodedRows, rows: Integers) -> Iterator[Batch]:
    """Yield encoded rows by number, some at a time."""
    for start in range(0, len(rows), FITTED):
        yield encoded.whole(rows[start : start + FITTED])


def last_rows(batches: Sequence[Batch]) -> Batch:
    """Return the last rows of batches, at most as many as are kept."""
    joined = join(list(batches))
    return take(joined, slice(max(0, joined.rows - _RECENT), joined.rows))
