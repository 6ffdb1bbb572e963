"""Which parts of a row make it anomalous: shares of its squared error, by correcting one column after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from isthmus.applications.anomaly.views import squared_errors
from isthmus.data.batches import take
from isthmus.data.tables.encoding import TableEncoding, places
from isthmus.estimator.inference import Inference
from isthmus.schema import Batch, Schema
from isthmus.typing import Array, Doubles, Singles

# Columns that are mended one after the other, and those that are tried each time.
_STEPS, _TRIED = 5, 8
# Training rows that the usual errors are taken from, and rows that are mended at a time.
_USUAL_ROWS, _AT_A_TIME = 5_000, 1_024
# Values of all tried copies together, so that wide rows stay small in memory.
_VALUES = 1 << 23


@dataclass(frozen=True)
class ReferenceErrors:
    """What training rows are like, for the reasons of others.

    Attributes:
        centre: the mean of each encoded value, `(values,)`, which stands where one is left out.
        low: the least of each, `(values,)`; nothing below it is expected.
        high: the largest of each, `(values,)`.
        errors: the mean squared error of each part, `(parts,)`.
    """

    centre: Singles
    low: Singles
    high: Singles
    errors: Doubles

    @classmethod
    def fit(cls, members: Sequence[Inference], training: Batch) -> Self:
        """Fit on encoded training rows; of many, on 5,000 that are spread evenly."""
        rows = np.unique(np.linspace(0, training.rows - 1, _USUAL_ROWS).astype(np.int64))
        batch = take(training, torch.from_numpy(rows))
        x = training.x.cpu().numpy().reshape(training.rows, -1)
        errors = _by_part(squared_errors(batch, expected_by(members, batch)), owners(members[0].schema))
        return cls(x.mean(0, dtype=np.float64).astype(np.float32), x.min(0), x.max(0), errors.mean(0))

    def state(self) -> dict[str, Array]:
        """Return the fitted arrays."""
        return {f"reasons.{name}": getattr(self, name) for name in ("centre", "low", "high", "errors")}

    @classmethod
    def restore(cls, state: Mapping[str, Array], owner: Array) -> Self:
        """Restore what `state` returned; `owner` is `owners` of the schema."""
        values = len(owner)
        wanted = {"centre": values, "low": values, "high": values, "errors": int(owner.max()) + 1}
        for name, length in wanted.items():
            if state[f"reasons.{name}"].shape != (length,):
                raise ValueError(f"reasons.{name} of shape {state[f'reasons.{name}'].shape}, not ({length},)")
        centre, low, high = (state[f"reasons.{name}"].astype(np.float32) for name in ("centre", "low", "high"))
        return cls(centre, low, high, state["reasons.errors"].astype(np.float64))


@dataclass(frozen=True)
class Shares:
    """What is found of some rows.

    Attributes:
        shares: of each part, `(rows, parts)`: not negative, and 1 in all for each row.
        expected: encoded rows as they should have been, `(rows, *shape)`.
    """

    shares: Doubles
    expected: Singles


def owners(schema: Schema) -> Array:
    """Return the part that each encoded value belongs to, `(values,)`: a column of a table, a token, else itself."""
    if schema.columns is not None:
        found = np.empty(int(np.prod(schema.row)), np.int64)
        for number, place in enumerate(places(schema.columns)):
            found[place] = number
        return found
    if schema.kind == "tokens":
        return np.repeat(np.arange(schema.row[0]), schema.row[-1])
    return np.arange(int(np.prod(schema.row)))


def expected_by(members: Sequence[Inference], batch: Batch) -> Singles:
    """Return the mean reconstruction over the members, in encoded units `(rows, *shape)`."""
    total = np.asarray(members[0].expected(batch), np.float64)
    for member in members[1:]:
        total = total + member.expected(batch)
    return np.asarray(total / len(members), np.float32)


def attribute(members: Sequence[Inference], batch: Batch, usual: ReferenceErrors) -> Shares:
    """Return how much each part has of a row's anomaly score.

    Rows of columns are corrected. Of the eight columns with the largest squared errors beyond their usual ones, each in
    turn is left out (its training mean stands in its place) and the row is rebuilt; the column without which the sum of
    the other columns' errors falls lowest is replaced by what it was rebuilt as; and so on, up to five times or until
    the row's error is no more than usual. A column's share is that fall of the error by its mending, and what is left
    of its own error beyond the usual one. So a faulty column has the errors that it caused in others, too.

    Parts of other rows (pixels, steps, tokens) have their squared errors beyond the usual ones.

    Args:
        members: autoencoders.
        batch: encoded rows.
        usual: of the training rows.
    """
    schema = members[0].schema
    owner = owners(schema)
    if schema.kind not in ("table", "vector"):
        expected = expected_by(members, batch)
        errors = _by_part(squared_errors(batch, expected), owner)
        return Shares(_normalised(np.maximum(errors - usual.errors, 0.0), errors), expected)
    step = int(np.clip(_VALUES // (len(owner) * _TRIED), 1, _AT_A_TIME))
    found = [
        _Attribution(members, take(batch, slice(first, first + step)), usual, owner).run()
        for first in range(0, batch.rows, step)
    ]
    return Shares(np.concatenate([one.shares for one in found]), np.concatenate([one.expected for one in found]))


class _Attribution:
    """Some rows, as they are corrected."""

    def __init__(self, members: Sequence[Inference], batch: Batch, usual: ReferenceErrors, owner: Array) -> None:
        self.members, self.batch, self.usual, self.owner = members, batch, usual, owner
        self.rows = batch.x.cpu().numpy().copy()
        self.seen = None if batch.mask is None else batch.mask.cpu().numpy()
        self.parts = len(usual.errors)

    def run(self) -> Shares:
        """Correct the rows, and return the attribution."""
        count = len(self.rows)
        falls, open_ = np.zeros((count, self.parts)), np.ones((count, self.parts), bool)
        expected = self._expected(np.arange(count), self.rows)
        errors = first = self._errors(self.rows, expected, self.seen)
        going = np.arange(count)
        for _ in range(min(_STEPS, self.parts)):
            going = going[errors[going].sum(1) > self.usual.errors.sum()]
            if not len(going):
                break
            column, filled, left = self._best(going, np.where(open_[going], errors[going] - self.usual.errors, -np.inf))
            before = errors[going].sum(1)
            filled = self._possible(going, column, filled)
            helps = left < before
            going, column, filled, before = going[helps], column[helps], filled[helps], before[helps]
            if not len(going):
                break
            self.rows[going] = filled
            expected[going] = self._expected(going, filled)
            errors = errors.copy()
            errors[going] = self._errors(filled, expected[going], None if self.seen is None else self.seen[going])
            falls[going, column] += np.maximum(before - errors[going].sum(1), 0.0)
            open_[going, column] = False
        left = np.maximum(errors - self.usual.errors, 0.0)
        # Where the network expects something farther out than what was seen, it is confused by the other columns.
        left[self._distance(self.rows) < self._distance(expected)] = 0.0
        expected = np.clip(expected, self.usual.low, self.usual.high)
        return Shares(_normalised(falls + left, first), expected)

    def _best(self, going: Array, excess: Doubles) -> tuple[Array, Singles, Doubles]:
        """Return the column of each row that is best left out, the row with it filled in, and what error is left."""
        tried = np.argsort(-excess, axis=1, kind="stable")[:, :_TRIED]
        count, columns = tried.shape
        inside = tried[:, :, None] == self.owner
        rows = np.repeat(self.rows[going][:, None], columns, 1)
        shape = (count * columns, -1)
        blank = np.where(inside, self.usual.centre, rows)
        found = self._expected(np.repeat(going, columns), blank.reshape(shape)).reshape(rows.shape)
        errors = np.square(rows.astype(np.float64) - found)
        errors[inside] = 0.0
        if self.seen is not None:
            errors[~np.repeat(self.seen[going][:, None], columns, 1)] = 0.0
        left = errors.sum(2)
        best, number = left.argmin(1), np.arange(count)
        filled = np.where(inside[number, best], found[number, best], rows[number, best])
        return tried[number, best], filled, left[number, best]

    def _possible(self, going: Array, column: Array, filled: Singles) -> Singles:
        """Return rows whose filled-in columns have values that such a column can have: whole numbers, one category."""
        inside = column[:, None] == self.owner
        found = np.clip(filled, self.usual.low, self.usual.high)
        encoding = self.members[0].encoding
        if isinstance(encoding, TableEncoding):
            found = encoding.forward(encoding.inverse(found))
        return np.where(inside, found, self.rows[going])

    def _expected(self, going: Array, rows: Singles) -> Singles:
        batch = take(self.batch, torch.from_numpy(going))
        return expected_by(self.members, batch.replace(x=torch.from_numpy(np.ascontiguousarray(rows)).to(batch.x)))

    def _distance(self, rows: Singles) -> Doubles:
        """Return each part's squared distance from the mean of the training rows."""
        return _by_part(np.square(rows.astype(np.float64) - self.usual.centre), self.owner, self.parts)

    def _errors(self, rows: Singles, expected: Singles, seen: Array | None) -> Doubles:
        squares = np.square(rows.astype(np.float64) - expected)
        if seen is not None:
            squares[~seen] = 0.0
        return _by_part(squares, self.owner, self.parts)


def _by_part(squares: Doubles, owner: Array, parts: int | None = None) -> Doubles:
    """Return sums `(rows, parts)` of values `(rows, values)`; a part's values lie side by side."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    parts = int(owner.max()) + 1 if parts is None else parts
    found = np.zeros((len(squares), parts))
    found[:, owner[starts]] = squares if len(starts) == len(owner) else np.add.reduceat(squares, starts, axis=1)
    return found


def _normalised(weights: Doubles, errors: Doubles) -> Doubles:
    """Return shares of weights; of the errors where a row has no weight, and all the same where it has no error."""
    for instead in (errors, np.ones_like(errors)):
        total = weights.sum(1, keepdims=True)
        weights = np.where((total > 0) & np.isfinite(total), weights, instead)
    found: Doubles = weights / weights.sum(1, keepdims=True)
    return found
