"""How strange windows of series are to autoencoders, by channel, and from there how strange each step is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.encoded import EncodedRows
from isthmus.data.series.windows import SeriesWindows, StepAverage
from isthmus.estimator.inference import Inference
from isthmus.schema import Batch
from isthmus.typing import Doubles, Floats

# A channel's typical error, in encoded units, counts as at least: a share of its mean error, since the median of a
# channel that moves now and then is next to nothing; a share of the typical channel's; and this.
_OF_MEAN, _OF_OTHERS, _LEAST = 0.1, 0.01, 1e-6


@dataclass(frozen=True)
class WindowScore:
    """The anomaly score of windows, of all steps together.

    ``s(w) = mean over members and observed channels c of (e_c(w) / q_c)^(1/4)``, where ``e_c(w)`` is the squared error
    of the channel in encoded units, averaged over its observed steps, and ``q_c`` the median of that over training
    windows, so that 1 is usual. Each channel is measured by what is usual for it, and the root keeps one that runs far
    out from drowning the others: between the error itself, which measured better on single channels, and its
    logarithm, which did on 38.

    A window's anomaly score depends on it alone, to the bit.

    Attributes:
        members: trained autoencoders of one schema and encoding.
        typical: ``q``, `(members, channels)`.
    """

    members: tuple[Inference, ...]
    typical: Doubles

    @classmethod
    def fit(cls, members: Sequence[Inference], training: SeriesWindows) -> WindowScore:
        """Return the score of windows beside training windows."""
        found: list[list[Doubles]] = [[] for _ in members]
        for batch in _reading(members[0], training).batches():
            for errors, member in zip(found, members, strict=True):
                errors.append(channel_errors(batch, member.expected(batch)))
        return cls(tuple(members), np.stack([_typical(np.concatenate(errors)) for errors in found]))

    def by_channel(self, batch: Batch) -> Doubles:
        """Return what each channel adds to the anomaly score of windows, `(rows, channels)`: NaN where missing."""
        total = np.zeros((batch.rows, self.typical.shape[1]))
        for member, typical in zip(self.members, self.typical, strict=True):
            total += np.sqrt(np.sqrt(channel_errors(batch, member.expected(batch)) / typical))
        total /= len(self.members)
        total /= np.maximum(1, (~np.isnan(total)).sum(1))[:, None]
        return total

    def anomaly_scores(self, batch: Batch) -> Doubles:
        """Return the anomaly score of windows, `(rows,)`: about 1 is usual, NaN says that nothing was observed."""
        return added(self.by_channel(batch))

    def steps(self, windows: SeriesWindows, *, causal: bool) -> list[Doubles]:
        """Return the anomaly score of the steps of each series, from a window at every step."""
        found = np.concatenate([self.anomaly_scores(batch) for batch in self.encoded_rows(windows).batches()])
        return up_to(windows, found) if causal else around(windows, found)

    def encoded_rows(self, windows: SeriesWindows) -> EncodedRows:
        """Return windows ready to be encoded as the members' training windows were."""
        return _reading(self.members[0], windows)

    def expected(self, batch: Batch) -> Floats:
        """Return what the members expect, on average, in encoded units `(rows, steps, channels)`."""
        found: Floats = np.mean([member.expected(batch) for member in self.members], axis=0)
        return found

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the fitted arrays."""
        return {"typical": self.typical}

    @classmethod
    def restore(cls, members: Sequence[Inference], state: Mapping[str, Any]) -> WindowScore:
        """Restore what `state` returned."""
        typical = np.asarray(state["typical"], np.float64)
        channels = members[0].schema.shape[1]
        if typical.shape != (len(members), channels) or not (np.isfinite(typical).all() and (typical > 0).all()):
            raise ValueError(f"typical errors of shape {typical.shape} for {len(members)} members")
        return cls(tuple(members), typical)


def _reading(member: Inference, windows: SeriesWindows) -> EncodedRows:
    return EncodedRows(windows, member.schema, member.encoding, None, True)


def channel_errors(batch: Batch, expected: Floats) -> Doubles:
    """Return the squared error of each channel, averaged over its observed steps, `(rows, channels)`; NaN for none."""
    errors: Doubles = np.square(batch.wanted.cpu().numpy().astype(np.float64) - expected)
    rows, steps, channels = errors.shape
    seen = np.ones(errors.shape, bool) if batch.mask is None else batch.mask.cpu().numpy()
    # One step after the other: what a library's sum adds first may depend on the number of rows.
    total, counts = np.zeros((rows, channels)), np.zeros((rows, channels))
    for step in range(steps):
        total += np.where(seen[:, step], errors[:, step], 0.0)
        counts += seen[:, step]
    return np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)


def added(parts: Doubles) -> Doubles:
    """Return the sum over channels, `(rows,)`, one after the other; NaN where all are missing."""
    total = np.zeros(len(parts))
    for channel in parts.T:
        total += np.where(np.isnan(channel), 0.0, channel)
    total[np.isnan(parts).all(1)] = np.nan
    return total


def around(source: SeriesWindows, windows: Doubles) -> list[Doubles]:
    """Return for each series the anomaly score of its steps: the mean over the windows that hold a step."""
    average = StepAverage(source, "mean", mask=False)
    average.add(0, windows)
    return average.result()


def up_to(source: SeriesWindows, windows: Doubles) -> list[Doubles]:
    """Return for each series the anomaly score of its steps as they come: that of the window that ends with a step.

    NaN before the first window is full: one that is mostly missing is strange for that alone.

    Args:
        source: windows at every step.
        windows: their anomaly score.
    """
    found, first = [], 0
    for steps in source.lengths.tolist():
        count = max(1, steps - source.length + 1)
        opening = min(steps, source.length - 1)
        found.append(np.concatenate([np.full(opening, np.nan), windows[first : first + steps - opening]]))
        first += count
    return found


def growing(values: np.ndarray[Any, Any], first: int, last: int, length: int) -> np.ndarray[Any, Any]:
    """Return the windows that end with the steps `first` to `last` (left out), `(rows, length, channels)`.

    Before so many steps have come, a window holds those that have, and NaN after them, as that of a short series does.

    >>> growing(np.arange(4.0)[:, None], 0, 4, 3)[:, :, 0].tolist()
    [[0.0, nan, nan], [0.0, 1.0, nan], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    """
    block = np.full((last - first, length, values.shape[1]), np.nan, values.dtype)
    for row, step in enumerate(range(first, last)):
        seen = values[max(0, step + 1 - length) : step + 1]
        block[row, : len(seen)] = seen
    return block


def _typical(errors: Doubles) -> Doubles:
    seen = ~np.isnan(errors).all(0)
    median, mean = np.full(errors.shape[1], np.nan), np.full(errors.shape[1], np.nan)
    median[seen], mean[seen] = np.nanmedian(errors[:, seen], 0), np.nanmean(errors[:, seen], 0)
    found = np.fmax(median, _OF_MEAN * mean)
    usual = float(np.nanmedian(found)) if seen.any() else 0.0
    return np.fmax(found, max(_OF_OTHERS * usual, _LEAST))
