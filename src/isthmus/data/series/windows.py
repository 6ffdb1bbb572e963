"""Windows of series as rows, and what is said of windows back as one value for each time step."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from isthmus.data.series.resample import insert_gaps
from isthmus.data.series.series import Series
from isthmus.data.source import Source
from isthmus.errors import DataError, check_choice, check_integer, explain
from isthmus.seeds import derive
from isthmus.typing import Array, Integers

# Series of which whole ones are held out, and rows that are too few to hold any out.
_SEVERAL, _FEWEST_ROWS = 5, 4
HOW = ("mean", "max", "min", "last")


class SeriesWindows(Source):
    """The windows of some series: row by row the first series' windows in order of time, then the next series'.

    A block is `(rows, length, channels)`, with NaN where a value is missing, where a step is missing (`insert_gaps`),
    and after the end of a series that is shorter than a window. Windows begin every `stride` steps; the last one ends
    with the series, so that every step is in a window. Blocks are gathered when they are asked for: memory is that of
    the series, not of the windows.

    Args:
        series: the series, all with the same channels.
        length: steps in a window; None for whole series, padded to the longest.
        stride: steps from one window to the next, at most `length`. By default ``max(1, length // 4)``: four windows
            see each step, at the cost of four passes over the series; 1 is the finest and costs `length` passes.
        ignore_times: take the steps as they come, as if they were regular, whatever the times say.

    Attributes:
        series: the series, with a step of NaN for each that was missing.
        names: what the series are called.
        channels: what the channels are called.
        length: steps in a window.
        stride: steps between windows.

    Raises:
        DataError: for no series, other channels in one, a stride longer than a window, irregular sampling.
        RecipeError: for a length or stride that is no positive integer.

    Example:
        >>> windows = SeriesWindows([Series("a", np.arange(5.0)), Series("b", np.arange(2.0))], length=3, stride=3)
        >>> windows.take(np.arange(len(windows)))[:, :, 0].tolist()
        [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [0.0, 1.0, nan]]
    """

    kind: ClassVar[str] = "series"
    in_memory = True
    mixed = True
    # What the user gave, if that was an array or a frame: results are given back as one.
    like: Any = None

    def __init__(
        self, series: Sequence[Series], length: int | None, stride: int | None = None, *, ignore_times: bool = False
    ) -> None:
        if not series:
            raise DataError(explain("at least one series", "none", "another file or folder"))
        for one in series:
            if one.channels != series[0].channels:
                expected = f"the channels of {series[0].name!r} ({', '.join(series[0].channels[:10])})"
                got = f"{', '.join(one.channels[:10])} in {one.name!r}"
                raise DataError(explain(expected, got, "the channels that all series have"))
        filled = list(series) if ignore_times else [insert_gaps(one) for one in series]
        self._sizes = np.array([one.steps for one in filled])
        self._whole = length is None
        self.length = int(self._sizes.max()) if length is None else length
        self.stride = (self.length if length is None else max(1, self.length // 4)) if stride is None else stride
        check_integer("length", self.length)
        check_integer("stride", self.stride)
        if self.stride > self.length:
            got = f"a stride of {self.stride}"
            raise DataError(explain(f"a stride of at most {self.length} (the window)", got, "a shorter one"))
        # One array for all series, which are views of it: a block is one gather.
        flat = filled[0].values if len(filled) == 1 else np.concatenate([one.values for one in filled])
        self._flat = flat
        self._bases = np.concatenate([[0], np.cumsum(self._sizes)])
        self.series = [
            dataclasses.replace(one, values=flat[first : first + one.steps])
            for one, first in zip(filled, self._bases[:-1].tolist(), strict=True)
        ]
        self.names = tuple(one.name for one in filled)
        self.channels = filled[0].channels
        more = np.maximum(self._sizes - self.length, 0)
        self._rows = np.concatenate([[0], np.cumsum(1 - (-more // self.stride))])
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return int(self._rows[-1])

    @property
    def starts(self) -> Integers:
        """The series number and the first step of each row: `(rows, 2)`."""
        return np.stack(self._locate(np.arange(len(self))), axis=1)

    @property
    def lengths(self) -> Integers:
        """The steps of each series."""
        return self._sizes

    def take(self, rows: Integers) -> Array:
        rows = np.asarray(rows)
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            got = f"row {rows[outside][0]}"
            raise DataError(explain(f"rows 0 to {len(self) - 1}", got, "a row that is there"))
        series, starts = self._locate(rows)
        places = starts[:, None] + np.arange(self.length)
        padded = places >= self._sizes[series][:, None]
        holes = bool(padded.any())
        if holes:
            places[padded] = 0
        block: Array = self._flat[places + self._bases[series][:, None]]
        if holes:
            block[padded] = np.nan
        return block

    @property
    def width(self) -> int:
        return self.length * len(self.channels)

    def held_out(self, fraction: float, seed: int) -> Integers:
        """Return the rows that validate a model: of several series whole ones, else the end of each.

        Windows overlap, so that rows drawn from all of them would validate what was trained on.
        """
        counts, starts = np.diff(self._rows), self._rows[:-1]
        wanted = round(fraction * len(self))
        if not wanted or len(self) < _FEWEST_ROWS:
            return np.empty(0, np.int64)
        if len(counts) >= _SEVERAL:
            order = np.random.default_rng(derive(seed, "split")).permutation(len(counts))
            before = np.cumsum(counts[order]) - counts[order]
            chosen = np.sort(order[(before < wanted) & (np.cumsum(counts[order]) < len(self))])
            if len(chosen):
                return np.concatenate([np.arange(starts[one], starts[one] + counts[one]) for one in chosen])
        ends = [max(0, round(fraction * count)) for count in counts]
        pairs = zip(starts, counts, ends, strict=True)
        return np.concatenate([np.arange(start + count - end, start + count) for start, count, end in pairs])

    def fingerprint(self) -> str:
        """Return a digest of all values, and of how they are cut."""
        if self._fingerprint is None:
            digest = hashlib.blake2b(np.ascontiguousarray(self._flat).data, digest_size=16)
            conditions = (
                self.names,
                self.channels,
                self._sizes.tolist(),
                self.length,
                self.stride,
                str(self._flat.dtype),
            )
            digest.update(repr(conditions).encode())
            self._fingerprint = f"series windows {digest.hexdigest()}"
        return self._fingerprint

    def per_step(self, values: Any, how: str = "mean", *, mask: bool = True) -> list[Array]:
        """Return for each series one value per step, from values of the windows' steps.

        Args:
            values: `(rows, length)` or `(rows, length, channels)`, such as squared errors or reconstructions; NaN
                counts nowhere.
            how: the "mean", "max", "min" or "last" (that of the latest window) over the windows that hold the step.
            mask: whether steps at which all channels are missing are NaN; False keeps what the windows say of them.

        Returns:
            float64 arrays `(T,)` or `(T, channels)`, in the order of `series`; NaN where there is no value. Windows'
            padding has no part in them.

        Raises:
            DataError: for values of another shape.

        Example:
            >>> windows = SeriesWindows([Series("a", np.zeros(3))], length=2, stride=1)
            >>> windows.per_step([[1, 2], [4, 6]])[0].tolist()
            [1.0, 3.0, 6.0]
        """
        sums = StepAverage(self, how, mask=mask)
        sums.add(0, values)
        return sums.result()

    def per_step_of_windows(self, scores: Any, how: str = "mean", *, mask: bool = True) -> list[Array]:
        """Return for each series one score per step `(T,)`, from one score for each window `(rows,)`; see `per_step`.

        >>> SeriesWindows([Series("a", np.zeros(3))], 2, 1).per_step_of_windows([1, 2])[0].tolist()
        [1.0, 1.5, 2.0]
        """
        scores = np.asarray(scores)
        if scores.shape != (len(self),):
            raise DataError(explain(f"one score for each of {len(self)} windows", f"shape {scores.shape}", "all rows"))
        return self.per_step(scores, how, mask=mask)

    def observed(self) -> Array:
        """Return which steps of all series, one after another, have a value in some channel: `(steps,)` booleans."""
        seen = np.zeros(len(self._flat), bool)
        for channel in range(len(self.channels)):
            seen |= ~np.isnan(self._flat[:, channel])
        return seen

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the rows `first` to `last` in runs of evenly spaced windows of one series.

        Each is (rows, the first one's place among all series' steps, steps between them, steps of a window that are
        not padding).
        """
        while first < last:
            series = int(np.searchsorted(self._rows, first, side="right")) - 1
            base, size = int(self._bases[series]), int(self._sizes[series])
            number, count = first - int(self._rows[series]), int(self._rows[series + 1] - self._rows[series])
            # All but the last window of a series are a stride apart; the last one ends with it.
            rows = min(count - 1 - number, last - first) if number < count - 1 else 1
            start = min(number * self.stride, max(0, size - self.length))
            yield rows, base + start, self.stride, min(self.length, size)
            first += rows

    def _locate(self, rows: Integers) -> tuple[Integers, Integers]:
        series = np.searchsorted(self._rows, rows, side="right") - 1
        latest = np.maximum(self._sizes[series] - self.length, 0)
        return series, np.minimum((rows - self._rows[series]) * self.stride, latest)


class StepAverage:
    """Values of windows, block by block, to one value for each step of each series.

    Values are added in float64, in the order of the rows, so that the size of the blocks makes no difference, not even
    in the last bit. The mean is taken of the differences from the first value, ``v1 + mean(v - v1)``: the mean of
    equal values is that value.

    Args:
        source: the windows.
        how: the "mean", "max", "min" or "last" over the windows that hold a step.
        mask: whether steps at which all channels are missing are NaN.

    Example:
        >>> sums = StepAverage(SeriesWindows([Series("a", np.zeros(3))], length=2, stride=1))
        >>> sums.add(0, [[1, 2]])
        >>> sums.add(1, [[4, 6]])
        >>> sums.result()[0].tolist()
        [1.0, 3.0, 6.0]
    """

    def __init__(self, source: SeriesWindows, how: str = "mean", *, mask: bool = True) -> None:
        check_choice("how", how, HOW)
        self.source, self.how, self.mask = source, how, mask
        self._next = 0
        self._axes: int | None = None
        self._values = self._sums = self._counts = np.zeros(0)

    def add(self, first_row: int, values: Any) -> None:
        """Add the values of the rows from `first_row` on, which is the first that was not added yet.

        Args:
            first_row: number of the first row.
            values: `(rows, length)`, `(rows, length, channels)`, or one for each window `(rows,)`; in every block the
                same. NaN counts nowhere.

        Raises:
            DataError: for values of another shape, and rows out of order.
        """
        values = np.asarray(values)
        self._check(first_row, values)
        if self._axes is None:
            self._begin(values)
        source = self.source
        if values.ndim == 1:
            values = np.broadcast_to(values[:, None], (len(values), source.length))
        done = 0
        for rows, start, stride, width in source.runs(first_row, first_row + len(values)):
            part = values[done : done + rows]
            if rows <= width:
                for row in range(rows):
                    self._update(slice(start + row * stride, start + row * stride + width), part[row, :width])
            else:
                # Backwards: of the windows that hold a step, the earlier ones hold it further on.
                for place in reversed(range(width)):
                    self._update(slice(start + place, start + place + (rows - 1) * stride + 1, stride), part[:, place])
            done += rows
        self._next += done

    def result(self) -> list[Array]:
        """Return for each series the values of its steps, `(T,)` or `(T, channels)`; NaN where there is none.

        Raises:
            DataError: while rows are missing.
        """
        source = self.source
        if self._next < len(source):
            raise DataError(explain(f"the values of {len(source)} windows", f"{self._next}", "adding the others"))
        values = self._values.copy()
        if self.how == "mean":
            values += np.divide(self._sums, self._counts, out=np.zeros_like(self._sums), where=self._counts > 0)
        if self.mask:
            values[~source.observed()] = np.nan
        return np.split(values, np.cumsum(source.lengths)[:-1])

    def _begin(self, values: Array) -> None:
        """Make room: the first value (or the extreme, or the last), the sum of differences from it, the count."""
        shape = (int(self.source.lengths.sum()), *values.shape[2:])
        self._axes = values.ndim
        self._values = np.full(shape, np.nan)
        if self.how == "mean":
            self._sums, self._counts = np.zeros(shape), np.zeros(shape, np.int32)

    def _update(self, steps: slice, values: Array) -> None:
        """Count one value for each of some steps."""
        values = values.astype(np.float64)
        seen = ~np.isnan(values)
        if self.how == "last":
            np.copyto(self._values[steps], values, where=seen)
        elif self.how == "max":
            np.fmax(self._values[steps], values, out=self._values[steps])
        elif self.how == "min":
            np.fmin(self._values[steps], values, out=self._values[steps])
        else:
            counts, firsts = self._counts[steps], self._values[steps]
            # A first value that is infinite would make NaN, which says that nothing was observed.
            np.copyto(firsts, np.where(np.isinf(values), 0.0, values), where=seen & (counts == 0))
            sums = self._sums[steps]
            with np.errstate(invalid="ignore", over="ignore"):
                np.add(sums, values - firsts, out=sums, where=seen)
            counts += seen

    def _check(self, first_row: int, values: Array) -> None:
        source = self.source
        shape = (len(values) if values.ndim else 0, source.length, len(source.channels))[: values.ndim]
        if values.ndim not in (1, 2, 3) or values.shape != shape or values.dtype.kind not in "fiub":
            expected = f"numbers (rows,), (rows, {source.length}) or (rows, {source.length}, {len(source.channels)})"
            raise DataError(explain(expected, f"{values.dtype} of shape {values.shape}", "the values of whole windows"))
        if self._axes not in (None, values.ndim):
            raise DataError(
                explain(f"values of {self._axes} axes as before", f"{values.ndim}", "the same in each block")
            )
        if first_row != self._next or first_row + len(values) > len(source):
            expected = f"row {self._next} and at most {len(source)} rows in all"
            raise DataError(explain(expected, f"{len(values)} from row {first_row} on", "blocks in the order of rows"))
