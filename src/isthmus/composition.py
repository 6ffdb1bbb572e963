"""The composition of the four parts: read this first.

x --corruption--> x~ --network.encode--> features --code--> z --network.decode--> parameters of p(x|z)
objective: the likelihood's cost of x under the parameters, plus weighted terms
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.codes import Code, CodeOutput, Draw
from isthmus.corruptions import Corruption
from isthmus.errors import DataError, explain
from isthmus.networks import Network
from isthmus.objectives import Forward, Likelihood, OwningTerm
from isthmus.schema import Batch


@dataclass(slots=True)
class Loss:
    """The losses of a batch: scalars, averaged over its rows.

    Attributes:
        total: the loss that is minimised.
        raw: the cost and the terms by name, unweighted, in nats per row (`reconstruction` is the likelihood's cost).
    """

    total: Tensor
    raw: dict[str, Tensor]


class Trainable(nn.Module, ABC):
    """The contract of the training loop: the autoencoder, or another model that is built around one.

    Attributes:
        owning_terms: parts with parameters and an `own_loss` of their own, by name.
    """

    owning_terms: nn.ModuleDict

    @abstractmethod
    def owners(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield ("autoencoder", the parameters that the loss trains), then each owning term with its own."""

    @abstractmethod
    def forward(
        self,
        batch: Batch,
        draw: Draw | None = None,
        *,
        corrupt: bool = False,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Run the batch through all parts; the result is for `loss`."""

    @abstractmethod
    def loss(self, forward: Any, weights: Mapping[str, float]) -> Loss:
        """Return the loss, averaged over the rows of the batch."""

    @abstractmethod
    def encode(self, batch: Batch, draw: Draw | None = None) -> CodeOutput:
        """Return the code's output, on which its health is measured."""

    def set_progress(self, progress: float, opening: float = 0.0) -> None:
        """Inform the parts of the progress of training."""

    def after_step(self) -> None:
        """Enforce constraints on the weights after an optimiser step."""


class Composition(Trainable):
    """An autoencoder: a network, a code, a corruption and an objective's likelihood and terms.

    **Progressive training.** `open_latents` is the number of latents in use; the others are zero. Progressive training
    raises it on a schedule.

    **Terms with parameters.** `owners` lists every group of parameters that minimises a loss of its own: the
    autoencoder first, then each `OwningTerm`.
    """

    def __init__(
        self,
        network: Network,
        code: Code,
        corruption: Corruption | None,
        likelihood: Likelihood,
        terms: Mapping[str, Callable[[Forward], Tensor]],
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.network = network
        self.code = code
        self.corruption = corruption
        self.likelihood = likelihood
        self.terms = dict(terms)
        self.owning_terms = nn.ModuleDict({k: term for k, term in terms.items() if isinstance(term, OwningTerm)})
        self.open_latents: Tensor
        self.register_buffer("open_latents", torch.tensor(code.latent_dim))
        self.progress = 1.0

    def owners(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield ("autoencoder", its parameters), then each term that owns parameters, with them."""
        owned = {id(p) for p in self.owning_terms.parameters()}
        yield "autoencoder", [p for p in self.parameters() if id(p) not in owned]
        for name, term in self.owning_terms.items():
            yield name, list(term.parameters())

    def encode(self, batch: Batch, draw: Draw | None = None) -> CodeOutput:
        """Return the code's output for the batch as it is; without a draw the deterministic latent."""
        features, skips = self.network.encode_with_skips(batch.observed())
        output: CodeOutput = self.code(features, draw, self._pseudo_features())
        output.skips = skips
        if not self._all_open:
            output.kept = None
            positions = output.mean.ndim - 2
            output.z, output.mean = self._closed(output.z, positions), self._closed(output.mean, positions)
        return output

    def _closed(self, z: Tensor, positions: int) -> Tensor:
        """Return latents `(*samples, rows, latent, *positions)` with zeros for those that are not open yet."""
        open_ = torch.arange(self.code.latent_dim, device=z.device) < self.open_latents
        return z * open_.view(-1, *[1] * positions)

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """Return the likelihood's parameters for latents `(rows, latent, *positions)`.

        The batch gives the condition and, where the network uses it, the target for teacher forcing; `skips` is what
        the encoder passes on in addition to the code.
        """
        parameters: Tensor = self.network.decode(z, batch, skips)
        return parameters

    def draw_prior(self, rows: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Return latents `(rows, latent, *positions)` drawn from the code's prior; None if it has none."""
        shape = (rows, self.code.latent_dim, *self.network.positions)
        z = self.code.prior(shape, generator, self._pseudo_features())
        return z if z is None or self._all_open else self._closed(z, z.ndim - 2)

    def set_progress(self, progress: float, opening: float = 0.0) -> None:
        """Inform the parts of the progress of training.

        Args:
            progress: share of the training steps that are done; 1 for validation and for use.
            opening: share of the steps over which the latents open one after the other, 0 if all are open.
        """
        self.progress = progress
        self.code.progress = progress
        if opening:
            share = min(1.0, progress / opening)
            opened = max(1, math.ceil(share * self.code.latent_dim))
            self.open_latents.fill_(opened)

    def after_step(self) -> None:
        """Enforce constraints on the weights after an optimiser step."""
        with torch.no_grad():
            self.network.after_step()
            self.code.after_step()

    @property
    def _all_open(self) -> bool:
        return int(self.open_latents) >= self.code.latent_dim

    def _pseudo_features(self) -> Tensor | None:
        rows = self.code.pseudo_rows()
        if rows is None:
            return None
        # Learned rows belong to no condition: they are told nothing, which is zeros.
        conditions = rows.new_zeros(len(rows), self.condition_dim) if self.condition_dim else None
        return self.network.encode(Batch(rows, condition=conditions))

    def forward(
        self,
        batch: Batch,
        draw: Draw | None = None,
        *,
        corrupt: bool = False,
        generator: torch.Generator | None = None,
    ) -> Forward:
        """Run the batch through all parts.

        Args:
            batch: clean rows.
            draw: how the code is sampled; None for the deterministic latent.
            corrupt: whether the encoder's input is the corrupted rows.
            generator: of the corruption's random numbers; None for torch's generator.
        """
        batch = batch.observed()
        seen = self.corruption(batch, generator) if corrupt and self.corruption is not None else batch
        if seen.target is not None and seen.target is not batch.wanted:
            batch = batch.replace(target=seen.target)  # a corruption may draw what is to be rebuilt, too
        code = self.encode(seen, draw)
        samples = code.z.shape[0] if code.z.ndim > code.mean.ndim else 1
        z = code.z.flatten(0, 1) if code.z.ndim > code.mean.ndim else code.z
        repeated = batch.repeat(samples)
        skips = tuple(skip.repeat(samples, *[1] * (skip.ndim - 1)) for skip in code.skips)
        if code.kept is None:
            parameters = self.decode(z, repeated, skips)
        else:
            parameters = self.network.decode_kept(z, code.kept, repeated, skips)
        counted = batch.mask if seen.scored is None else seen.scored
        if counted is not None and samples > 1:
            counted = counted.repeat(samples, *[1] * (counted.ndim - 1))
        cost = self.likelihood.cost(parameters, repeated.wanted, counted)
        if samples > 1:
            cost = cost.view(samples, -1)

        def encode(x: Tensor) -> Tensor:
            return self.encode(seen.replace(x=x)).mean

        return Forward(
            batch,
            seen,
            code,
            parameters,
            cost,
            encode,
            partial(self.decode, batch=batch, skips=code.skips),
            self.likelihood,
            self.progress,
        )

    def loss(self, forward: Forward, weights: Mapping[str, float]) -> Loss:
        """Return the cost plus ``weight * term`` over the terms, averaged over the rows of the batch."""
        total = forward.reconstruction.mean()
        raw = {"reconstruction": total}
        for name, term in self.terms.items():
            value = term(forward)
            raw[name] = value.mean() if value.ndim else value
            weight = weights[name]
            if weight:
                total = total + weight * raw[name]
        return Loss(total, raw)

    def log_likelihood(self, forward: Forward) -> Tensor:
        """Return ``log p(x|z)`` `(rows,)`, averaged over samples, in nats with all constants.

        A row with a value outside the likelihood's support, such as one outside [0, 1], has minus infinity.
        """
        cost = forward.reconstruction.mean(0) if forward.reconstruction.ndim > 1 else forward.reconstruction
        mask = forward.batch.mask
        # As a tensor in either case: a row without holes has the same score to the bit beside rows with some.
        columns = torch.tensor(forward.batch.wanted[0].numel()) if mask is None else mask.flatten(1).sum(1)
        score = -cost - self.likelihood.constant * columns
        inside = self.likelihood.inside(forward.batch.observed().wanted)
        return score.masked_fill(~inside.flatten(1).all(1), -torch.inf)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Set the initial weights from some training rows; the untrained decoder then returns their mean.

        The decoder is initialised with sampled latents, since its input in training has that noise.

        Raises:
            DataError: if a value of these rows is outside the likelihood's support, which for mixed columns cannot be
                seen from the schema.
        """
        self._check_support(batch.observed().wanted)
        features = self.network.calibrate_encoder(batch, self.code.features_std)
        self.code.initialise(batch.x, features)
        _, skips = self.network.encode_with_skips(batch)
        self.network.calibrate_decoder(self.code(features, Draw(), self._pseudo_features()).z, batch, skips)
        wanted = batch.wanted
        seen = torch.ones_like(wanted) if batch.mask is None else batch.mask.to(wanted.dtype)
        count = seen.sum(0).clamp_min(1.0)
        mean = (wanted * seen).sum(0) / count
        variance = ((wanted - mean).square() * seen).sum(0) / count
        self.network.set_output_bias(self.likelihood.output_bias(mean, variance))

    def _check_support(self, wanted: Tensor) -> None:
        outside = (~self.likelihood.inside(wanted)).flatten(1)
        if outside.any():
            row, column = outside.nonzero()[0].tolist()
            value = f"{wanted.flatten(1)[row, column].item():g} in column {column}"
            advice = "another likelihood for it, or preprocessing=none"
            raise DataError(explain("values that the likelihood can have", value, advice))
