"""Rows whose columns are of different kinds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.objectives.base import Likelihood, LikelihoodSpec
from isthmus.objectives.one_hot import ColumnOrder
from isthmus.objectives.reconstruction import sum_observed

_WHERE = "objective.likelihood.parts"
_EXAMPLE = '(((0, 1), Normal()), ("2:5", Bernoulli()))'


def _numbers(columns: Any) -> tuple[int, ...]:
    """Return the column numbers that a sequence of integers, a slice or its text names."""
    if isinstance(columns, str) and (found := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", columns)):
        columns = slice(int(found[1]), int(found[2]))
    if isinstance(columns, slice) and columns.step is None and isinstance(columns.stop, int):
        columns = range(columns.start or 0, columns.stop)
    plain = isinstance(columns, Sequence) and not isinstance(columns, str)
    if not plain or not columns or any(isinstance(c, bool) or not isinstance(c, int) or c < 0 for c in columns):
        expected = 'column numbers from 0 on, or a slice such as "0:4"'
        raise RecipeError(f"{_WHERE}: " + explain(expected, repr(columns), _EXAMPLE))
    return tuple(columns)


@dataclass(frozen=True)
class Mixed(LikelihoodSpec):
    """Different likelihoods for different columns: ``-log p(x|z) = sum over parts of -log p(their columns | z)``.

    The decoder gives as many numbers for each value as the part that needs most. Rows of more than one axis are
    numbered through. Unless all parts take real numbers, or all take numbers in [0, 1], preprocessing "auto" leaves the
    rows as they are, since a scaled count is none: measurements among them are best standardised beforehand.

    Args:
        parts: pairs of columns and a likelihood. Columns are integers from 0 on, a slice, or its text "start:stop", and
            are kept as integers; each column of a row stands in exactly one part. Settings that are "auto" are chosen
            for whole rows, and must be stated here.

    Raises:
        RecipeError: for anything else, and for a column that is named twice.

    Example:
        >>> from isthmus.objectives import Bernoulli, Normal
        >>> likelihood = Mixed((((0, 3), Normal("row")), ("1:3", Bernoulli())))
        >>> likelihood.parts[1][0], likelihood.parameters
        ((1, 2), 2)
    """

    kind: ClassVar[str] = "mixed"
    parts: tuple[tuple[tuple[int, ...], LikelihoodSpec], ...] = ()

    def check_together(self) -> None:
        if not isinstance(self.parts, list | tuple) or not self.parts:
            raise RecipeError(f"{_WHERE}: " + explain("pairs of columns and likelihood", repr(self.parts), _EXAMPLE))
        object.__setattr__(self, "parts", tuple(self._part(part) for part in self.parts))
        for column, times in Counter(self._columns()).items():
            if times > 1:
                raise RecipeError(
                    f"{_WHERE}: " + explain("each column once", f"column {column} more than once", "one part for it")
                )

    @staticmethod
    def _part(part: Any) -> tuple[tuple[int, ...], LikelihoodSpec]:
        if not isinstance(part, list | tuple) or len(part) != 2 or not isinstance(part[1], LikelihoodSpec):
            raise RecipeError(f"{_WHERE}: " + explain("a pair of columns and likelihood", repr(part), _EXAMPLE))
        for field in dataclasses.fields(part[1]):  # type: ignore[arg-type]
            if getattr(part[1], field.name) == "auto":
                got = f"{part[1].kind}.{field.name}='auto'"
                raise RecipeError(f"{_WHERE}: " + explain("settings that are stated", got, "stating it"))
        return _numbers(part[0]), part[1]

    def _columns(self) -> list[int]:
        return [column for columns, _ in self.parts for column in columns]

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return max(likelihood.parameters for _, likelihood in self.parts)

    @property
    def support(self) -> str:  # type: ignore[override]
        supports = {likelihood.support for _, likelihood in self.parts}
        return supports.pop() if len(supports) == 1 else "mixed"

    @property
    def provides(self) -> Set[str]:  # type: ignore[override]
        return frozenset({"expectation"}).intersection(*(likelihood.provides for _, likelihood in self.parts))

    def misfit(self, row: tuple[int, ...]) -> str | None:
        width = math.prod(row)
        missing = sorted(set(range(width)) - set(self._columns()))
        beyond = sorted(column for column in self._columns() if column >= width)
        for what, columns in (("missing", missing), ("beyond the last", beyond)):
            if columns:
                shown = ", ".join(map(str, columns[:10])) + (", ..." if len(columns) > 10 else "")
                advice = "a part for them" if columns is missing else "to leave them out"
                expected = f"each of the {width} columns in one part"
                return f"{_WHERE}: " + explain(expected, f"{shown} {what}", advice)
        reasons = (likelihood.misfit((len(columns),)) for columns, likelihood in self.parts)
        return next((reason for reason in reasons if reason is not None), None)

    def build(self, row: tuple[int, ...]) -> Likelihood:
        built = [(columns, likelihood.build((len(columns),))) for columns, likelihood in self.parts]
        return MixedLikelihood(self.support, [likelihood.parameters for _, likelihood in self.parts], built, row)


class MixedLikelihood(nn.Module):
    """The likelihood that `Mixed` describes.

    Args:
        support: what the data must be, as in `LikelihoodSpec`.
        widths: numbers that each part reads for each value.
        parts: columns and the likelihood of rows of only these.
        row: shape of a row.
    """

    # The parts' constants differ, and no number for each value would hold their sum; the cost has them.
    constant = 0.0

    def __init__(
        self,
        support: str,
        widths: list[int],
        parts: list[tuple[tuple[int, ...], Likelihood]],
        row: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.support = support
        self.widths = widths
        self.row = row
        self.parts = [likelihood for _, likelihood in parts]
        self.owners = nn.ModuleList(part for part in self.parts if isinstance(part, nn.Module))
        self.sizes = [len(columns) for columns, _ in parts]
        self._order = ColumnOrder([column for columns, _ in parts for column in columns])

    def _dealt(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return each part's columns of `(rows, ..., columns)`."""
        return torch.split(values.index_select(-1, self._order(values.device)[0]), self.sizes, -1)

    def _joined(self, pieces: list[Tensor]) -> Tensor:
        joined = torch.cat(pieces, -1).index_select(-1, self._order(pieces[0].device)[1])
        return joined.view(-1, *self.row)

    def _dealt_parameters(self, parameters: Tensor) -> list[Tensor]:
        pieces = self._dealt(parameters.flatten(2))
        return [piece[:, :width] for piece, width in zip(pieces, self.widths, strict=True)]

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density."""
        pieces = self._dealt(x.flatten(1))
        return self._joined([part.inside(piece) for part, piece in zip(self.parts, pieces, strict=True)])

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``-log p(x|z)`` `(rows,)` in nats with all constants, summed over the observed values."""
        seen = torch.ones_like(x) if mask is None else mask.to(x.dtype)
        pieces = zip(
            self.parts, self._dealt_parameters(parameters), self._dealt(x.flatten(1)), self._dealt(seen.flatten(1)),
            strict=True,
        )  # fmt: skip
        costs = [
            part.cost(given, values, None if mask is None else observed) + part.constant * sum_observed(observed, None)
            for part, given, values, observed in pieces
        ]
        return torch.stack(costs).sum(0)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected row `(rows, *shape)`, of each part what it calls its mean."""
        pieces = self._dealt_parameters(parameters)
        return self._joined([part.mean(piece) for part, piece in zip(self.parts, pieces, strict=True)])

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return rows drawn from p(x|z), `(rows, *shape)`."""
        pieces = self._dealt_parameters(parameters)
        return self._joined([part.draw(piece, generator) for part, piece in zip(self.parts, pieces, strict=True)])

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the parameters `(parameters, *shape)` of a constant guess; those that a part does not read are 0."""
        bias = mean.new_zeros(max(self.widths), math.prod(self.row))
        places = torch.split(self._order(mean.device)[0], self.sizes)
        for part, width, columns in zip(self.parts, self.widths, places, strict=True):
            bias[:width, columns] = part.output_bias(mean.flatten()[columns], variance.flatten()[columns])
        return bias.view(-1, *self.row)
