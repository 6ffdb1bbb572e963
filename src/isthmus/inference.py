"""A trained composition at work: rows in the user's units in, numbers and rows out, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.codes import CodeOutput, Draw, row_keys
from isthmus.composition import Composition
from isthmus.data.preprocess import Scaling
from isthmus.errors import RecipeError
from isthmus.metrics.health import Health
from isthmus.objectives import Forward
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.training import runtime
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


def to_batch(values: np.ndarray[Any, Any], scaling: Scaling, condition: Any, device: torch.device) -> Batch:
    """Return rows in the user's units as a batch; NaN becomes a masked zero."""
    mask = None
    if values.dtype.kind == "f" and np.isnan(values.sum(dtype=np.float64)):
        seen = ~np.isnan(values)
        # The offset becomes zero once scaled, which is what the parts see where nothing was observed.
        values, mask = np.where(seen, values, scaling.offset.astype(values.dtype)), torch.from_numpy(seen)
    told = None if condition is None else torch.from_numpy(condition)
    return Batch(torch.from_numpy(scaling.forward(values)), mask, told).to(device)


@dataclass(frozen=True)
class Inference:
    """Everything that is asked of a trained model, without gradients and independent of the other rows."""

    recipe: Recipe
    schema: Schema
    scaling: Scaling
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

    def blocks(self, values: np.ndarray[Any, Any], condition: Any = None) -> Iterator[tuple[Batch, int]]:
        """Yield padded blocks of rows given in the user's units, and how many rows of each are real."""
        for start in range(0, len(values), BLOCK):
            part = slice(start, start + BLOCK)
            told = None if condition is None else condition[part]
            batch = to_batch(values[part], self.scaling, told, torch.device("cpu"))
            yield from self._padded(batch)

    def _padded(self, batch: Batch) -> Iterator[tuple[Batch, int]]:
        device = next(self.composition.parameters()).device
        with torch.no_grad(), runtime.threads(self.recipe.training.threads, self.composition, BLOCK):
            mask = None if batch.mask is None else _pad(batch.mask)
            told = None if batch.condition is None else _pad(batch.condition)
            yield Batch(_pad(batch.x), mask, told).to(device), batch.rows

    def encode(self, values: np.ndarray[Any, Any], condition: Any = None) -> Iterator[tuple[CodeOutput, int]]:
        """Yield the code's output for each block, and how many of its rows are real."""
        for batch, real in self.blocks(values, condition):
            yield self.composition.encode(batch), real

    def codes(self, values: np.ndarray[Any, Any], condition: Any = None) -> Floats:
        """Return the codes `(rows, width)`."""
        return np.concatenate(
            [code.mean.flatten(1)[:real].cpu().numpy() for code, real in self.encode(values, condition)]
        )

    def reconstruct(self, values: np.ndarray[Any, Any], condition: Any = None) -> Floats:
        """Return the expected rows `(rows, *shape)`."""
        rows = []
        for batch, real in self.blocks(values, condition):
            code = self.composition.encode(batch)
            # The whole block: the last few values of an array go through another form of an activation (a sigmoid's
            # last bit differs), so what a block holds must not decide where it ends.
            rows.append(self._expected(self.composition.decode(code.mean, batch, code.skips))[:real])
        return np.concatenate(rows)

    def decode(self, codes: Floats, condition: Any = None, generator: torch.Generator | None = None) -> Floats:
        """Return the expected rows for codes `(rows, width)`, or with a generator rows drawn from p(x|z)."""
        self.check_code_alone()
        rows = []
        for start in range(0, len(codes), BLOCK):
            part = slice(start, start + BLOCK)
            told = None if condition is None else torch.from_numpy(condition[part])
            given = Batch(torch.from_numpy(np.ascontiguousarray(codes[part], dtype=np.float32)), condition=told)
            for batch, real in self._padded(given):
                parameters = self.composition.decode(batch.x.view(-1, *self.latent), batch)
                rows.append(self._expected(parameters, generator)[:real])
        return np.concatenate(rows)

    def _expected(self, parameters: Tensor, generator: torch.Generator | None = None) -> Floats:
        likelihood = self.composition.likelihood
        x = likelihood.mean(parameters) if generator is None else likelihood.draw(parameters, generator)
        return self.scaling.inverse(x.cpu().numpy(), self.schema.float_dtype)

    def check_code_alone(self) -> None:
        """Raise `RecipeError` where the decoder needs more than the code."""
        if "bottleneck" not in self.recipe.network.provides:
            raise RecipeError(
                f"the {self.recipe.network.kind} network passes features from encoder to decoder beside the code, so "
                "a code alone cannot be decoded; try reconstruct, or a model trained with network.skips=false"
            )

    def scores(self, values: np.ndarray[Any, Any], condition: Any = None) -> Doubles:
        """Return ``log p(x | z(x))``, or for a variational code the evidence lower bound, in nats `(rows,)`."""
        scores = []
        for batch, real in self.blocks(values, condition):
            draw = Draw(SCORE_SAMPLES, keys=row_keys(batch.x)) if self.variational else None
            forward = self.composition(batch, draw)
            score = self.composition.log_likelihood(forward).double()
            kl = forward.code.quantities.get("kl")
            if kl is not None:
                score = score - kl.flatten(1).double().sum(1)
            scores.append(score[:real].cpu().numpy())
        return np.concatenate(scores)

    def log_likelihood(self, values: np.ndarray[Any, Any], condition: Any, samples: int) -> Doubles:
        """Return ``log mean_k p(x|z_k) p(z_k) / q(z_k|x)`` with `samples` draws, in nats `(rows,)`."""
        found = []
        for batch, real in self.blocks(values, condition):
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
        observed = batch.x[0].numel() if batch.mask is None else batch.mask.flatten(1).sum(1)
        if code.prior is None or code.posterior is None:
            raise RecipeError("importance weights need a code with a posterior; try a gaussian one (presets.vae)")
        log_ratio = code.prior.log_density(z).double() - code.posterior.log_density(z).double()
        weights: Tensor = log_ratio - cost.double() - self.composition.likelihood.constant * observed
        outside = ~self.composition.likelihood.inside(forward.batch.wanted).flatten(1).all(1)
        weights = weights.masked_fill(outside, -torch.inf)
        return weights

    def impute(self, values: np.ndarray[Any, Any], condition: Any, samples: int) -> Floats:
        """Return the rows with their missing values filled in by their expectation."""
        filled = []
        for batch, real in self.blocks(values, condition):
            if "posterior" in self.recipe.code.provides:
                draw = Draw(samples, keys=row_keys(batch.x))
                forward = self.composition(batch, draw)
                share = torch.softmax(self.log_weights(forward, samples), 0)
                rows = forward.expected().view(samples, batch.rows, *batch.x.shape[1:])
                expected = (rows * share.view(*share.shape, *[1] * (rows.ndim - 2))).sum(0).to(batch.x.dtype)
            else:
                code = self.composition.encode(batch)
                expected = self.composition.likelihood.mean(self.composition.decode(code.mean, batch, code.skips))
            filled.append(self.scaling.inverse(expected[:real].cpu().numpy(), self.schema.float_dtype))
        out = np.concatenate(filled)
        seen = ~np.isnan(values)
        out[seen] = values[seen]
        return out

    def health(self, values: np.ndarray[Any, Any], condition: Any, most: int) -> Health:
        """Return every measure of `metrics.code_health` on at most so many of the rows and positions."""
        outputs = (
            (self.composition.encode(batch, Draw(1, keys=row_keys(batch.x))), real)
            for batch, real in self.blocks(values, condition)
        )
        return sample(outputs, most).health()

    def kl_per_latent(self, values: np.ndarray[Any, Any], condition: Any = None) -> Doubles:
        """Return each latent's KL averaged over rows, in nats; a categorical code has one for each variable."""
        sums = [
            code.quantities["kl"].flatten(1)[:real].double().sum(0).cpu().numpy()
            for code, real in self.encode(values, condition)
        ]
        average: Doubles = np.sum(sums, 0) / len(values)
        return average


def _pad(rows: Tensor) -> Tensor:
    # A copy even of a whole block: the rounding of a product may also depend on how its memory is aligned, and torch
    # aligns what it allocates.
    block = rows.new_zeros(BLOCK, *rows.shape[1:])
    block[: len(rows)] = rows
    return block
