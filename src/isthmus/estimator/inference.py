"""A trained composition at work: rows in the user's units in, numbers and rows out, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.codes import CodeOutput, Draw, row_keys
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

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

# Rows go through the network in blocks of exactly this many (the last one padded), since a matrix product's rounding
# may depend on its shape: so a row has the same code and score alone and among a million.
BLOCK = 256
# Latents for each row in a bound; enough that the bound's error is far below its spread over rows.
SCORE_SAMPLES = 16
# Latents that go through the decoder at a time in an importance-weighted estimate.
_SAMPLES_AT_A_TIME = 50


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

    def blocks(self, batch: Batch) -> Iterator[tuple[Batch, int]]:
        """Yield padded blocks of encoded rows, and how many rows of each are real."""
        device = next(self.composition.parameters()).device
        for start in range(0, batch.rows, BLOCK):
            part = take(batch, slice(start, start + BLOCK))
            with torch.no_grad(), threads(self.recipe.training.threads, self.composition, BLOCK):
                mask = None if part.mask is None else _pad(part.mask)
                conditions = None if part.condition is None else _pad(part.condition)
                yield Batch(_pad(part.x), mask, conditions).to(device), part.rows

    def encode(self, batch: Batch) -> Iterator[tuple[CodeOutput, int]]:
        """Yield the code's output for each block, and how many of its rows are real."""
        for block, real in self.blocks(batch):
            yield self.composition.encode(block), real

    def codes(self, batch: Batch) -> Floats:
        """Return the codes `(rows, width)`."""
        return np.concatenate([code.mean.flatten(1)[:real].cpu().numpy() for code, real in self.encode(batch)])

    def reconstruct(self, batch: Batch, types: Any = None) -> Any:
        """Return the expected rows as a block in the user's units; `types` is what `Encoding.inverse` takes."""
        return self.in_units(self.expected(batch), types)

    def expected(self, batch: Batch) -> Floats:
        """Return ``E[p(x | z(x))]`` in encoded units, `(rows, *shape)`."""
        rows = []
        for block, real in self.blocks(batch):
            code = self.composition.encode(block)
            # The whole block: the last few values of an array go through another form of an activation (a sigmoid's
            # last bit differs), so what a block holds must not decide where it ends.
            rows.append(self._expected(self.composition.decode(code.mean, block, code.skips))[:real])
        return np.concatenate(rows)

    def decode(self, codes: Floats, condition: Any = None, generator: torch.Generator | None = None) -> Any:
        """Return a block: the expected rows for codes `(rows, width)`, or with a generator rows drawn from p(x|z)."""
        self.check_code_alone()
        conditions = None if condition is None else torch.from_numpy(condition)
        given = Batch(torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float32)), condition=conditions)
        rows = []
        for block, real in self.blocks(given):
            parameters = self.composition.decode(block.x.view(-1, *self.latent), block)
            rows.append(self._expected(parameters, generator)[:real])
        return self.in_units(np.concatenate(rows))

    def _expected(self, parameters: Tensor, generator: torch.Generator | None = None) -> Floats:
        likelihood = self.composition.likelihood
        x = likelihood.mean(parameters) if generator is None else likelihood.draw(parameters, generator)
        found: Floats = x.cpu().numpy()
        return found

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
        scores = []
        for batch, real in self.blocks(rows):
            draw = Draw(SCORE_SAMPLES, keys=row_keys(batch.x)) if self.variational else None
            forward = self.composition(batch, draw)
            score = self.composition.log_likelihood(forward).double()
            kl = forward.code.quantities.get("kl")
            if kl is not None:
                score = score - kl.flatten(1).double().sum(1)
            scores.append(score[:real].cpu().numpy())
        return np.concatenate(scores)

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
        costs = []
        for block, real in self.blocks(rows):
            forward = self.composition(block)
            wanted = forward.batch.wanted
            observed = torch.ones_like(wanted, dtype=torch.bool) if block.mask is None else block.mask
            outside = observed & ~self.composition.likelihood.inside(wanted)
            by_value = self._value_costs(forward.parameters, wanted, observed).masked_fill(outside, math.inf)
            found = by_value.flatten(1)[:real].double().cpu().numpy()
            costs.append(found if groups is None else np.stack([found[:, group].sum(1) for group in groups], 1))
        return np.concatenate(costs)

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
        found = []
        for batch, real in self.blocks(rows):
            keys, parts, left = row_keys(batch.x), [], samples
            while left:
                count = min(_SAMPLES_AT_A_TIME, left)
                left -= count
                forward = self.composition(batch, Draw(count, keys=keys))
                parts.append(torch.logsumexp(self.log_weights(forward, count), 0))
                keys = keys + 1
            found.append((torch.logsumexp(torch.stack(parts), 0) - math.log(samples))[:real].cpu().numpy())
        return np.concatenate(found)

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
        filled = []
        for batch, real in self.blocks(rows):
            if "posterior" in self.recipe.code.provides:
                forward = self.composition(batch, Draw(samples, keys=row_keys(batch.x)))
                share = torch.softmax(self.log_weights(forward, samples), 0)
                drawn = forward.expected().view(samples, batch.rows, *batch.x.shape[1:])
                expected = (drawn * share.view(*share.shape, *[1] * (drawn.ndim - 2))).sum(0).to(batch.x.dtype)
            else:
                code = self.composition.encode(batch)
                expected = self.composition.likelihood.mean(self.composition.decode(code.mean, batch, code.skips))
            filled.append(expected[:real].cpu().numpy())
        return self.in_units(np.concatenate(filled), types)

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
            for code, real in self.encode(batch):
                sums.append(code.quantities["kl"].flatten(1)[:real].double().sum(0).cpu().numpy())
        average: Doubles = np.sum(sums, 0) / rows
        return average


def _pad(rows: Tensor) -> Tensor:
    # A copy even of a whole block: the rounding of a product may also depend on how its memory is aligned, and torch
    # aligns what it allocates.
    block = rows.new_zeros(BLOCK, *rows.shape[1:])
    block[: len(rows)] = rows
    return block
