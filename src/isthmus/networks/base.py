"""The contract of a network: rows to features, latents to the parameters of p(x|z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from isthmus.schema import Batch
from isthmus.settings import Settings


@dataclass(frozen=True)
class Widths:
    """What the other parts ask of a network.

    Attributes:
        row: shape of a row.
        features: width that the code reads (twice the latent dimension for a Gaussian code).
        latent: width of the latent.
        parameters: numbers that the likelihood needs for each value of a row.
        condition: width of the condition, 0 without one.
        support: what the likelihood is for, as in its spec: under "unit" and "binary" the first parameter of a value is
            the logit of its mean, under "real" its mean. For decoders that read their own output.
    """

    row: tuple[int, ...]
    features: int
    latent: int
    parameters: int = 1
    condition: int = 0
    support: str = "real"


@dataclass(frozen=True)
class Stage:
    """One encoder layer and the decoder layer that undoes it.

    Attributes:
        encoder: `(rows, *outer) -> (rows, width)`.
        decoder: `(rows, width) -> (rows, outer)`.
        width: of the inner layer.
    """

    encoder: nn.Module
    decoder: nn.Module
    width: int


class Network(nn.Module, ABC):
    """An encoder and a decoder.

    * **Rows of any shape.** `batch.x` is `(rows, *row)`: a vector, an image `(channels, height, width)`, a series
      `(steps, channels)`, token ids `(steps,)`. A network states in `NetworkSpec.misfit` which it can read.
    * **Latents of any shape.** The latent axis is axis 1 and positions follow: `(rows, latent)`,
      `(rows, latent, height, width)` for feature maps, `(rows, latent, steps)` for sequences.
    * **Missing values and unequal lengths** come as `batch.mask`; `batch.x` is zero there.
    * **A condition** comes as `batch.condition` to both `encode` and `decode`.
    * **Teacher forcing**: `decode` gets the batch, and may read `batch.wanted` while `self.training`.
    * **Skips**: what passes from encoder to decoder beside the code comes from `encode_with_skips` and goes to
      `decode`. A network that has any does not provide `bottleneck`.
    * **Layer-wise pretraining**: blocks on both sides are numbered from the data inwards, so that the weights of a
      shallow network load into a deeper one by name.

    Attributes:
        parameters_per_value: numbers that `decode` gives for each value of a row, `Widths.parameters`.
        positions: shape of the latent after its axis 1: () for a vector, `(height, width)` for feature maps.
    """

    parameters_per_value: int
    positions: tuple[int, ...] = ()

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """Return features `(rows, features, *positions)`."""

    def encode_with_skips(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the features, and what the decoder is to see beside the code, each `(rows, ...)`."""
        return self.encode(batch), ()

    @abstractmethod
    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """Return the likelihood's parameters `(rows, parameters, *row)` for latents `(rows, latent, *positions)`."""

    def stages(self) -> Sequence[Stage]:
        """Return the pairs of layers that greedy pretraining trains, from the data inwards.

        A network that has any provides `stages`.
        """
        return ()

    def decode_kept(
        self, z: Tensor, kept: tuple[Tensor, Tensor], batch: Batch, skips: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Return what `decode` returns, for latents of which few are not zero.

        A network that can, saves the time that zeros take. This default takes them as they are.

        Args:
            z: `(rows, latent)`.
            kept: `(rows, kept)` latents, and their values, which hold the gradient: z is zero elsewhere.
            batch: as for `decode`.
            skips: as for `decode`.
        """
        return self.decode(z, batch, skips)

    def after_step(self) -> None:
        """Put the weights back where they must be after an optimiser step, such as columns of norm one."""

    def calibrate_encoder(self, batch: Batch, std: float) -> Tensor:
        """Set the encoder's initial weights by the data and return the features of the batch.

        A network that can, centres each layer's pre-activations on these rows and scales them to a standard deviation
        of one half, and its features to `std`. This default leaves the weights as they are.
        """
        return self.encode(batch)

    def calibrate_decoder(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> None:
        """Set the decoder's initial weights by latents of the batch, as `calibrate_encoder` does the encoder's."""

    @abstractmethod
    def set_output_bias(self, bias: Tensor) -> None:
        """Start from a constant guess: `bias` is `(parameters, *row)`, usually from the mean of the training rows."""


class NetworkSpec(Settings, ABC):
    """The frozen description of a network, as it stands in a recipe.

    `needs` and `provides` are the compatibility system: a part that needs a property no other part provides is refused
    when the recipe is checked. A network provides `independent_rows` when a row's output never depends on other rows,
    and `bottleneck` when all that the decoder learns of a row passes through the code.
    """

    path: ClassVar[str] = "network"
    kind: ClassVar[str]
    needs: Set[str] = frozenset()
    advice: ClassVar[str] = "use another network"

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        """Return the description with every "auto" answered for rows of a shape, of which there are `rows`."""
        return self

    @property
    def reads_steps(self) -> bool:
        """Whether the first axis of a row is time to this network; asked of a resolved description, to draw rows."""
        return False

    @property
    def minimum_batch(self) -> int:
        """Rows that a batch must have at least in training."""
        return 1

    @property
    @abstractmethod
    def provides(self) -> Set[str]:
        """Names of the properties that other parts may need."""

    @abstractmethod
    def misfit(self, widths: Widths) -> str | None:
        """Return why this network cannot be built for `widths`, with advice; None if it can."""

    @abstractmethod
    def build(self, widths: Widths) -> Network:
        """Return the network, initialised."""
