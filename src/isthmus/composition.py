"""The composition of the four parts: read this first.

x --corruption--> x~ --network.encode--> features --code--> z --network.decode--> parameters of p(x|z)
objective: the likelihood's cost of x under the parameters, plus weighted terms
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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
    """What a batch costs: scalars, averaged over its rows.

    Attributes:
        total: what is minimised.
        raw: the cost and the terms by name, unweighted, in nats per row (`reconstruction` is the likelihood's cost).
    """

    total: Tensor
    raw: dict[str, Tensor]


class Composition(nn.Module):
    """An autoencoder: a network, a code, a corruption and an objective's likelihood and terms.

    **Latents that grow.** `open_latents` limits how many latents pass; the others are zero. None opens all. Progressive
    training raises it on a schedule.

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
    ) -> None:
        super().__init__()
        self.network = network
        self.code = code
        self.corruption = corruption
        self.likelihood = likelihood
        self.terms = dict(terms)
        self.owning_terms = nn.ModuleDict({k: term for k, term in terms.items() if isinstance(term, OwningTerm)})
        self.open_latents: int | None = None

    def owners(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield ("autoencoder", its parameters), then each term that owns parameters, with them."""
        owned = {id(p) for p in self.owning_terms.parameters()}
        yield "autoencoder", [p for p in self.parameters() if id(p) not in owned]
        for name, term in self.owning_terms.items():
            yield name, list(term.parameters())

    def encode(self, batch: Batch, draw: Draw | None = None) -> CodeOutput:
        """Return the code's output for the batch as it is; without a draw the deterministic latent."""
        output: CodeOutput = self.code(self.network.encode(batch.observed()), draw)
        if self.open_latents is not None:
            axis = output.z.ndim - output.mean.ndim + 1
            open_ = torch.arange(output.z.shape[axis], device=output.z.device) < self.open_latents
            output.z = output.z * open_.view(-1, *[1] * (output.z.ndim - axis - 1))
            output.mean = output.mean * open_.view(-1, *[1] * (output.mean.ndim - 2))
        return output

    def decode(self, z: Tensor, batch: Batch) -> Tensor:
        """Return the likelihood's parameters for latents `(rows, latent, *positions)`.

        The batch gives the condition and, where the network uses it, the target for teacher forcing.
        """
        parameters: Tensor = self.network.decode(z, batch)
        return parameters

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
            corrupt: whether the encoder sees the corrupted rows.
            generator: where the corruption's randomness comes from; None is torch's generator.
        """
        batch = batch.observed()
        seen = self.corruption(batch, generator) if corrupt and self.corruption is not None else batch
        code = self.encode(seen, draw)
        samples = code.z.shape[0] if code.z.ndim > code.mean.ndim else 1
        z = code.z.flatten(0, 1) if code.z.ndim > code.mean.ndim else code.z
        repeated = batch.repeat(samples)
        parameters = self.decode(z, repeated)
        cost = self.likelihood.cost(parameters, repeated.wanted, repeated.mask)
        if samples > 1:
            cost = cost.view(samples, -1)

        def encode(x: Tensor) -> Tensor:
            return self.encode(seen.replace(x=x)).mean

        return Forward(batch, seen, code, parameters, cost, encode)

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

        A row with a value that the likelihood gives no density, such as one outside [0, 1], has minus infinity.
        """
        cost = forward.reconstruction.mean(0) if forward.reconstruction.ndim > 1 else forward.reconstruction
        mask = forward.batch.mask
        columns = forward.batch.wanted[0].numel() if mask is None else mask.flatten(1).sum(1)
        score = -cost - self.likelihood.constant * columns
        inside = self.likelihood.inside(forward.batch.observed().wanted)
        return score.masked_fill(~inside.flatten(1).all(1), -torch.inf)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Set the initial weights by some training rows; the untrained decoder then gives their mean.

        The decoder is set by sampled latents: the noise is part of what it gets in training.

        Raises:
            DataError: if a value of these rows has no density, which a schema alone does not tell of mixed columns.
        """
        self._check_support(batch.observed().wanted)
        features = self.network.calibrate_encoder(batch, self.code.features_std)
        self.network.calibrate_decoder(self.code(features, Draw()).z, batch)
        wanted = batch.wanted
        self.network.set_output_bias(self.likelihood.output_bias(wanted.mean(0), wanted.var(0, correction=0)))

    def _check_support(self, wanted: Tensor) -> None:
        outside = (~self.likelihood.inside(wanted)).flatten(1)
        if outside.any():
            row, column = outside.nonzero()[0].tolist()
            value = f"{wanted.flatten(1)[row, column].item():g} in column {column}"
            advice = "another likelihood for it, or preprocessing=none"
            raise DataError(explain("values that the likelihood can have", value, advice))
