"""The likelihood of one-hot choices: a column of categories in a table, a step of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.errors import RecipeError, explain
from isthmus.objectives.base import Likelihood, LikelihoodSpec
from isthmus.objectives.reconstruction import sum_observed
from isthmus.objectives.support import SUPPORTS
from isthmus.schema import Schema
from isthmus.settings import AtLeast, ListOf

_WHERE = "objective.likelihood.sizes"
# A category that no training row has would ask for an infinite logarithm.
_LEAST_MEAN = 1e-4


@dataclass(frozen=True)
class OneHot(LikelihoodSpec):
    """Likelihood of one-hot choices: the values of a row stand in groups, in each of which one is 1 and the others 0.

    ``-log p(x|z) = -sum_j sum_k x_jk log softmax(logits_j)_k`` over the groups j and their values k; the decoder gives
    one logit for each value. A row of several axes is numbered through, and the groups follow each other without gaps.
    A group may hold a distribution instead of one 1, whose cross-entropy this is. Nothing is counted for a value that
    was not observed, nor for a group of zeros; a group is meant to be observed or missing as a whole. `mean` is the
    probabilities, and draws are one-hot.

    Args:
        sizes: values in each group, the whole list repeated until the row is full: ``(27,)`` for text of any length
            with 27 symbols, ``(3, 70, 11)`` for three columns of categories; "auto" is groups along the last axis.

    Raises:
        RecipeError: for sizes that are not whole numbers of at least 1.

    Example:
        >>> import torch
        >>> likelihood = OneHot((2, 4)).build((6,))
        >>> x = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]])
        >>> likelihood.cost(torch.zeros(1, 1, 6), x, None).item()  # log 2 + log 4
        2.07944...
    """

    kind: ClassVar[str] = "one_hot"
    parameters: ClassVar[int] = 1  # type: ignore[misc]
    support: ClassVar[str] = "unit"  # type: ignore[misc]
    sizes: Annotated[
        tuple[int, ...] | Literal["auto"],
        ListOf(AtLeast(1), "the number of values in each group, 1 at least", "(3, 70, 11), or auto"),
    ] = "auto"

    def misfit(self, row: tuple[int, ...]) -> str | None:
        width = math.prod(row)
        if self.sizes == "auto" or width % sum(self.sizes) == 0:
            return None
        expected = f"groups that fill rows of {width} values"
        advice = "sizes of which a multiple fills the row, or auto for groups along the last axis"
        return f"{_WHERE}: " + explain(expected, f"groups of {sum(self.sizes)} values together", advice)

    def resolve(self, schema: Schema) -> LikelihoodSpec:
        return replace(self, sizes=(schema.shape[-1],)) if self.sizes == "auto" else self

    def build(self, row: tuple[int, ...]) -> Likelihood:
        if (misfit := self.misfit(row)) is not None:
            raise RecipeError(misfit)
        sizes = (row[-1],) if self.sizes == "auto" else self.sizes
        return OneHotLikelihood(sizes * (math.prod(row) // sum(sizes)))


class OneHotLikelihood:
    """The likelihood that `OneHot` describes, for rows of certain groups.

    Args:
        sizes: values in each group of the row.
    """

    constant = 0.0
    support = "unit"

    def __init__(self, sizes: Sequence[int]) -> None:
        starts: dict[int, list[int]] = {}
        start = 0
        for size in sizes:
            starts.setdefault(size, []).append(start)
            start += size
        self.sizes = list(starts)
        # Groups of one size lie together, so that all of them are one softmax, and no group is padded.
        columns = [first + k for size, firsts in starts.items() for first in firsts for k in range(size)]
        self._order = ColumnOrder(columns)
        self.widths = [size * len(firsts) for size, firsts in starts.items()]

    def _by_group(self, function: Callable[[Tensor], Tensor], parameters: Tensor) -> Tensor:
        """Return a function of the logits `(groups, size)` of groups of one size, as `(rows, *shape)`."""
        row = parameters.shape[2:]
        if len(self.sizes) == 1:
            return function(parameters.reshape(-1, self.sizes[0])).view(-1, *row)
        order, places = self._order(parameters.device)
        dealt = torch.split(parameters.flatten(1).index_select(1, order), self.widths, 1)
        found = [
            function(piece.reshape(-1, size)).view(piece.shape) for size, piece in zip(self.sizes, dealt, strict=True)
        ]
        return torch.cat(found, 1).index_select(1, places).view(-1, *row)

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density, those in [0, 1]."""
        return SUPPORTS[self.support].holds(x)

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``-log p(x|z)`` `(rows,)` in nats, summed over the observed values."""
        log_p = self._by_group(lambda logits: F.log_softmax(logits, 1), parameters)
        return sum_observed(-SUPPORTS[self.support].nearest(x) * log_p, mask)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the probabilities `(rows, *shape)`, which add up to 1 in each group."""
        return self._by_group(lambda logits: F.softmax(logits, 1), parameters)

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return one-hot choices drawn from p(x|z), `(rows, *shape)`."""

        def choose(logits: Tensor) -> Tensor:
            chosen = torch.multinomial(F.softmax(logits, 1), 1, generator=generator)
            return torch.zeros_like(logits).scatter_(1, chosen, 1.0)

        return self._by_group(choose, parameters)

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the logits `(1, *shape)` of a constant guess, the logarithms of the categories' shares."""
        return mean.clamp_min(_LEAST_MEAN).log().unsqueeze(0)


class ColumnOrder:
    """An order of columns, as index tensors on whatever device they are asked for.

    It is no buffer: a loaded model's state holds what was trained, and the columns stand in its recipe.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        self.columns = columns
        self._orders: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the columns in this order, and where each column stands in it."""
        if device not in self._orders:
            order = torch.tensor(self.columns, device=device)
            self._orders[device] = order, order.argsort()
        return self._orders[device]
