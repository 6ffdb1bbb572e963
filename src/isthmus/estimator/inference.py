"""A trained composition at work: rows in the user's units in, numbers and rows out, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from isthmus.codes import Draw, row_keys
from isthmus.composition import Composition
from isthmus.data.batches import take
from isthmus.data.encoding import Encoding
from isthmus.data.tables.encoding import places
from isthmus.errors import RecipeError
from isthmus.metrics.health import Health
from isthmus.objectives import Forward
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.training.device import threads
from isthmus.training.health import sample
from isthmus.typing import Doubles, Floats

# Rows go through the network in blocks of one size (the last one padded), since a matrix product's rounding may depend
# on its shape: so a row has the same code and score alone and among a million. Small, so that one row is fast.
BLOCK = 32
# Many rows of a network whose arithmetic is short go in larger blocks where these were seen to have equal bits.
_LARGE_BLOCK = 256
# Products of a weight and a value for each row, from which larger blocks bring nothing: they leave the cache.
_MOST_WORK = 4_000_000
# Latents for each row in a bound; enough that the bound's error is far below its spread over rows.
SCORE_SAMPLES = 16
# Latents that go through the decoder at a time in an importance-weighted estimate.
_SAMPLES_AT_A_TIME = 50
# Whether a function of a block had equal bits in blocks of both sizes, by composition and case.
_EQUAL_BITS: WeakKeyDictionary[Composition, dict[Any, bool]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Inference:
    """Everything that is asked of a trained model, without gradients and independent of the other rows."""

    recipe: Recipe
    schema: Schema
    encoding: Encoding
    composition: Composition

    @property
    def variational(self) -> bool:
        """Whether the code has a posterior, and a row a bound."""
        return "kl" in self.recipe.code.provides

    @property
    def latent(self) -> tuple[int, ...]:
        """Shape of a row's latent."""
        return (self.composition.code.latent_dim, *self.composition.network.positions)

    @property
    def width(self) -> int:
        """Values in a row's code."""
        return math.prod(self.latent)

    def blocks(self, batch: Batch, size: int = _LARGE_BLOCK) -> Iterator[tuple[Batch, int]]:
        """Yield padded blocks of encoded rows, and how many rows of each are real."""
        device = self._device
        with torch.no_grad(), threads(self.recipe.training.threads, self.composition, size):
            for start in range(0, batch.rows, size):
                part = take(batch, slice(start, start + size))
                mask = None if part.mask is None else _pad(part.mask, size)
                conditions = None if part.condition is None else _pad(part.condition, size)
                yield Batch(_pad(part.x, size), mask, conditions).to(device), part.rows

    @property
    def _device(self) -> torch.device:
        return next(self.composition.parameters()).device

    def each(self, batch: Batch, function: Callable[[Batch], Tensor], samples: int = 1) -> Any:
        """Return what a function of a block says of each row, as an array.

        The first rows of many go through the function both ways, in small blocks and in a large one: only if they say
        the same to the bit are the others taken in large blocks. What is said of a row never depends on the size.

        Args:
            batch: any rows.
            function: of a padded block, whose rows it takes one by one; the same function at every call.
            samples: latents that it draws for each row.
        """

        def found(rows: Batch, size: int) -> list[Floats]:
            # The whole block leaves the network before it is cut: the last few values of an array go through another
            # form of an activation (a sigmoid's last bit differs), so what is real must not decide where it ends.
            return [function(block)[:real].cpu().numpy() for block, real in self.blocks(rows, size)]

        if self._device.type != "cpu":  # a GPU takes as long for a small block
            return np.concatenate(found(batch, _LARGE_BLOCK))
        large = batch.rows - batch.rows % _LARGE_BLOCK
        if not large or samples * sum(parameter.numel() for parameter in self.composition.parameters()) > _MOST_WORK:
            return np.concatenate(found(batch, BLOCK))
        # Another number of threads may add up in another order.
        case = (function.__code__, samples, batch.mask is None, torch.get_num_threads())
        known, seen, parts = _EQUAL_BITS.setdefault(self.composition, {}), 0, []
        if case not in known:
            first, seen = take(batch, slice(0, _LARGE_BLOCK)), _LARGE_BLOCK
            parts = found(first, BLOCK)
            known[case] = np.array_equal(np.concatenate(parts), found(first, _LARGE_BLOCK)[0], equal_nan=True)
        if known[case] and large > seen:
            parts += found(take(batch, slice(seen, large)), _LARGE_BLOCK)
            seen = large
        if batch.rows > seen:
            parts += found(take(batch, slice(seen, batch.rows)), BLOCK)
        return np.concatenate(parts)

    def codes(self, batch: Batch) -> Floats:
        """Return the codes `(rows, width)`."""
        codes: Floats = self.each(batch, lambda block: self.composition.encode(block).mean.flatten(1))
        return codes

    def reconstruct(self, batch: Batch, types: Any = None) -> Any:
        """Return the expected rows as a block in the user's units; `types` is what `Encoding.inverse` takes."""
        return self.in_units(self.expected(batch), types)

    def expected(self, batch: Batch) -> Floats:
        """Return ``E[p(x | z(x))]`` in encoded units, `(rows, *shape)`."""
        rows: Floats = self.each(batch, self._expected)
        return rows

    def _expected(self, block: Batch) -> Tensor:
        code = self.composition.encode(block)
        return self.composition.likelihood.mean(self.composition.decode(code.mean, block, code.skips))

    def decode(self, codes: Floats, condition: Any = None, generator: torch.Generator | None = None) -> Any:
        """Return a block: the expected rows for codes `(rows, width)`, or with a generator rows drawn from p(x|z)."""
        self.check_code_alone()
        conditions = None if condition is None else torch.from_numpy(condition)
        given = Batch(torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float32)), condition=conditions)

        def parameters(block: Batch) -> Tensor:
            return self.composition.decode(block.x.view(-1, *self.latent), block)

        likelihood = self.composition.likelihood
        if generator is None:
            return self.in_units(self.each(given, lambda block: likelihood.mean(parameters(block))))
        drawn = [
            likelihood.draw(parameters(block), generator)[:real].cpu().numpy() for block, real in self.blocks(given)
        ]
        return self.in_units(np.concatenate(drawn))

    def in_units(self, rows: Floats, types: Any = None) -> Any:
        """Return encoded rows as a block in the user's units; `types` is what `Encoding.inverse` takes."""
        return self.encoding.inverse(rows, types or self.schema.float_dtype)

    def check_code_alone(self) -> None:
        """Raise `RecipeError` where the decoder needs more than the code."""
        if "bottleneck" not in self.recipe.network.provides:
            raise RecipeError(
                f"the {self.recipe.network.kind} network passes features from encoder to decoder beside the code, so "
                "a code alone cannot be decoded; try reconstruct, or a model trained with network.skips=false"
            )

    def scores(self, rows: Batch) -> Doubles:
        """Return ``log p(x | z(x))``, or for a variational code the evidence lower bound, in nats `(rows,)`."""
        samples = SCORE_SAMPLES if self.variational else 1

        def score(block: Batch) -> Tensor:
            draw = Draw(samples, keys=row_keys(block.x)) if self.variational else None
            forward = self.composition(block, draw)
            likelihood, kl = self.composition.log_likelihood(forward).double(), forward.code.quantities.get("kl")
            return likelihood if kl is None else likelihood - kl.flatten(1).double().sum(1)

        scores: Doubles = self.each(rows, score, samples)
        return scores

    def column_costs(self, rows: Batch) -> Doubles:
        """Return ``-log p(x_j | z(x))`` of each value of a row, or column of a table, in nats `(rows, columns)`."""
        if self.schema.columns is not None:
            return self.costs_of(rows, places(self.schema.columns))
        return self.costs_of(rows, None)

    def step_costs(self, rows: Batch) -> Doubles:
        """Return ``-log p(x_t | z(x))`` of each step, summed over channels, in nats `(rows, steps)`; NaN if unseen."""
        steps, width = self.schema.shape[0], int(np.prod(self.schema.row[1:]))
        costs = self.costs_of(rows, [slice(step * width, (step + 1) * width) for step in range(steps)])
        if rows.mask is not None:
            costs[~rows.mask.view(rows.rows, steps, -1).any(2).numpy()] = np.nan
        return costs

    def costs_of(self, rows: Batch, groups: Sequence[slice] | None) -> Doubles:
        """Return the cost of each value, or of groups of them, in nats with all constants `(rows, groups)`."""
        found: Doubles = self.each(rows, self._block_costs)
        return found if groups is None else np.stack([found[:, group].sum(1) for group in groups], 1)

    def _block_costs(self, block: Batch) -> Tensor:
        forward = self.composition(block)
        wanted = forward.batch.wanted
        observed = torch.ones_like(wanted, dtype=torch.bool) if block.mask is None else block.mask
        outside = observed & ~self.composition.likelihood.inside(wanted)
        by_value = self._value_costs(forward.parameters, wanted, observed).masked_fill(outside, math.inf)
        return by_value.flatten(1).double()

    def _value_costs(self, parameters: Tensor, wanted: Tensor, observed: Tensor) -> Tensor:
        """Return ``-log p(x_j|z)`` `(rows, *shape)` in nats, zero where nothing was observed."""
        likelihood = self.composition.likelihood
        # A cost is the sum of the values' costs times the mask, so its slopes along the mask are the values' costs.
        with torch.enable_grad():
            mask = observed.to(wanted.dtype).requires_grad_()
            total = likelihood.cost(parameters, wanted, mask).sum()
        slopes = torch.autograd.grad(total, mask, allow_unused=True)[0] if total.requires_grad else None
        if slopes is not None:
            return torch.where(observed, slopes + likelihood.constant, 0.0)
        # Of a likelihood that only asks whether a value is observed: one value at a time.
        found = torch.zeros_like(wanted)
        for place in range(wanted[0].numel()):
            only = torch.zeros_like(observed)
            only.flatten(1)[:, place] = observed.flatten(1)[:, place]
            seen = only.flatten(1).sum(1)
            found.flatten(1)[:, place] = likelihood.cost(parameters, wanted, only) + likelihood.constant * seen
        return found

    def log_likelihood(self, rows: Batch, samples: int) -> Doubles:
        """Return ``log mean_k p(x|z_k) p(z_k) / q(z_k|x)`` with `samples` draws, in nats `(rows,)`."""

        def of(block: Batch) -> Tensor:
            keys, parts, left = row_keys(block.x), [], samples
            while left:
                count = min(_SAMPLES_AT_A_TIME, left)
                left -= count
                forward = self.composition(block, Draw(count, keys=keys))
                parts.append(torch.logsumexp(self.log_weights(forward, count), 0))
                keys = keys + 1
            return torch.logsumexp(torch.stack(parts), 0) - math.log(samples)

        found: Doubles = self.each(rows, of, samples)
        return found

    def log_weights(self, forward: Forward, samples: int) -> Tensor:
        """Return ``log p(x|z) + log p(z) - log q(z|x)`` `(samples, rows)` in nats, in float64."""
        code, batch = forward.code, forward.batch
        z = code.z if samples > 1 else code.z[None]
        cost = forward.reconstruction.view(samples, -1)
        # As a tensor in either case: a row without holes has the same weights to the bit beside rows with some.
        observed = torch.tensor(batch.x[0].numel()) if batch.mask is None else batch.mask.flatten(1).sum(1)
        if code.prior is None or code.posterior is None:
            raise RecipeError("importance weights need a code with a posterior; try a gaussian one (presets.vae)")
        log_ratio = code.prior.log_density(z).double() - code.posterior.log_density(z).double()
        weights: Tensor = log_ratio - cost.double() - self.composition.likelihood.constant * observed
        outside = ~self.composition.likelihood.inside(forward.batch.wanted).flatten(1).all(1)
        weights = weights.masked_fill(outside, -torch.inf)
        return weights

    def impute(self, rows: Batch, samples: int, types: Any = None) -> Any:
        """Return the rows as a block in the user's units, with missing values by their expectation."""

        def weighted(block: Batch) -> Tensor:
            forward = self.composition(block, Draw(samples, keys=row_keys(block.x)))
            share = torch.softmax(self.log_weights(forward, samples), 0)
            drawn = forward.expected().view(samples, block.rows, *block.x.shape[1:])
            expected: Tensor = (drawn * share.view(*share.shape, *[1] * (drawn.ndim - 2))).sum(0)
            return expected.to(block.x.dtype)

        if "posterior" in self.recipe.code.provides:
            return self.in_units(self.each(rows, weighted, samples), types)
        return self.reconstruct(rows, types)

    def health(self, batches: Iterable[Batch], most: int) -> Health:
        """Return every measure of `metrics.code_health` on at most so many of the rows and positions."""
        outputs = (
            (self.composition.encode(block, Draw(1, keys=row_keys(block.x))), real)
            for batch in batches
            for block, real in self.blocks(batch)
        )
        return sample(outputs, most).health()

    def kl_per_latent(self, batches: Iterable[Batch]) -> Doubles:
        """Return each latent's KL averaged over rows, in nats; a categorical code has one for each variable."""
        sums, rows = [], 0
        for batch in batches:
            rows += batch.rows
            for block, real in self.blocks(batch):
                code = self.composition.encode(block)
                sums.append(code.quantities["kl"].flatten(1)[:real].double().sum(0).cpu().numpy())
        average: Doubles = np.sum(sums, 0) / rows
        return average


def _pad(rows: Tensor, size: int) -> Tensor:
    # A copy even of a whole block: the rounding of a product may also depend on how its memory is aligned, and torch
    # aligns what it allocates.
    block = rows.new_zeros(size, *rows.shape[1:])
    block[: len(rows)] = rows
    return block
