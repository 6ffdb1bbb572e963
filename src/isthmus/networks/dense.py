"""The fully connected network."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError
from isthmus.networks.base import Network, NetworkSpec, Stage, Widths
from isthmus.networks.layers import (
    ACTIVATIONS,
    GAINS,
    HE_GAIN,
    HIDDEN_STD,
    OUTPUT_SCALE,
    calibrate,
    linear,
)
from isthmus.networks.sparse_linear import sparse_decode, sparse_gradient_encode, worthwhile
from isthmus.schema import Batch
from isthmus.settings import AtLeast, Dropout, ListOf, OneOf, Range


@dataclass(frozen=True)
class Dense(NetworkSpec):
    """Fully connected encoder and mirrored decoder.

    The encoder is row - hidden_dims - features, the decoder latent - reversed hidden_dims - row. Each hidden layer is
    ``dropout(activation(normalisation(W x + b)))``, plus a shortcut when `residual`: the identity between layers of
    one width, else a linear map without bias (He et al. 2016, https://arxiv.org/abs/1512.03385).

    Args:
        hidden_dims: widths of the encoder's hidden layers, or "auto": (512, 256) for rows of 128 values or more,
            (128, 64) for shorter ones. An empty tuple is a single layer on each side.
        activation: of the hidden layers; one of `ACTIVATIONS`.
        normalisation: "batch" or "layer" normalisation before the activation.
        dropout: probability that a hidden unit is dropped in training.
        residual: whether hidden layers have shortcuts.
        tied: whether each decoder layer uses the transpose of its encoder layer's weights (biases are its own).
        unit_decoder: whether each latent's direction, its column in the decoder's first layer, has norm 1: divided by
            its norm at the start and after each step. So a latent's size is a length in the decoder's first layer, and
            a penalty on latents cannot be escaped by small latents and large weights. Without hidden layers, and with
            as many features as latents, directions start as the transpose of the encoder's weights (Gao et al. 2024,
            https://arxiv.org/abs/2406.04093).
        spectral_norm: limit on the largest singular value of each decoder layer's weights (those of shortcuts left
            aside), by division after each step; None (null) for no limit. The value is a power iteration's, kept from
            step to step (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).
        sees_mask: whether the encoder has the mask of missing values as input, one more input for each; without it,
            what is missing looks to the encoder like a value at zero, the mean of a standardised column.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> Dense(hidden_dims=(256, 64)).build(Widths(row=(784,), features=32, latent=32)).encoder_widths
        (784, 256, 64, 32)
    """

    kind: ClassVar[str] = "dense"
    hidden_dims: Annotated[
        tuple[int, ...] | Literal["auto"], ListOf(AtLeast(1), 'a list of widths or "auto"', "(512, 256)", least=0)
    ] = "auto"
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu"
    normalisation: Annotated[str | None, OneOf(None, "batch", "layer")] = None
    dropout: Dropout = 0.0
    residual: bool = False
    tied: bool = False
    unit_decoder: bool = False
    spectral_norm: Annotated[float | None, Range(0, open_low=True)] = None
    sees_mask: bool = False

    @property
    def minimum_batch(self) -> int:
        return 2 if self.normalisation == "batch" else 1

    @property
    def provides(self) -> Set[str]:
        alone = frozenset[str]() if self.normalisation == "batch" else {"independent_rows"}
        return frozenset({"bottleneck", "stages"}) | alone

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        if self.hidden_dims != "auto":
            return self
        return replace(self, hidden_dims=(512, 256) if math.prod(row) >= 128 else (128, 64))

    def misfit(self, widths: Widths) -> str | None:
        if self.tied and widths.features != widths.latent:
            return (
                f"tied weights need a code that reads as many features as it has latents, and this one reads "
                f"{widths.features} for {widths.latent}; try network.tied=false or a deterministic code"
            )
        if self.tied and widths.parameters != 1:
            return (
                f"tied weights give one number for each value, and the likelihood needs {widths.parameters}; "
                "try network.tied=false or a likelihood with one parameter, such as squared_error"
            )
        if self.tied and self.residual:
            return "tied weights and residual shortcuts exclude each other; try network.residual=false"
        if self.tied and (self.unit_decoder or self.spectral_norm is not None):
            return (
                "tied weights are the encoder's, which a limit on the decoder's would change too; "
                "try network.tied=false, or network.unit_decoder=false and network.spectral_norm=null"
            )
        if self.unit_decoder and self.spectral_norm is not None:
            return (
                "columns of norm 1 and a limit on the largest singular value exclude each other; "
                "try network.spectral_norm=null"
            )
        return None

    def build(self, widths: Widths) -> DenseNetwork:
        if self.hidden_dims == "auto":
            raise RecipeError("network.hidden_dims is still 'auto'; try recipe.resolve(schema, rows) before build")
        return DenseNetwork(self, widths)


class Block(nn.Module):
    """One layer: linear, then (in hidden layers) normalisation, activation, dropout and the shortcut."""

    def __init__(
        self,
        spec: Dense,
        inputs: int,
        outputs: int,
        *,
        hidden: bool,
        tied_to: Block | None = None,
        limited: bool = False,
        feeds_code: bool = False,
    ) -> None:
        super().__init__()
        self.feeds_code = feeds_code
        self.tied_to: tuple[Block, ...] = () if tied_to is None else (tied_to,)  # a tuple hides it from the module tree
        self.bias = nn.Parameter(torch.zeros(outputs))
        if tied_to is None:
            gain = GAINS.get(spec.activation, HE_GAIN) if hidden else 1.0
            self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain / math.sqrt(inputs)))
        self.norm: nn.Module | None = None
        self.activation: Callable[[Tensor], Tensor] | None = None
        self.dropout = 0.0
        self.shortcut: nn.Linear | None = None
        self.left_singular: Tensor
        if limited:
            self.register_buffer("left_singular", F.normalize(torch.randn(outputs), dim=0))
        self.residual = hidden and spec.residual
        if hidden:
            self.activation = ACTIVATIONS[spec.activation]
            self.dropout = spec.dropout
            if spec.normalisation is not None:
                self.norm = nn.BatchNorm1d(outputs) if spec.normalisation == "batch" else nn.LayerNorm(outputs)
            if self.residual and inputs != outputs:
                self.shortcut = nn.Linear(inputs, outputs, bias=False)

    def calibrate(self, x: Tensor, shift: Tensor | None, std: float) -> None:
        """Set the weights by inputs `x` and what is added to their products (see `isthmus.networks.layers`)."""
        if not self.tied_to:
            calibrate(self.weight, self.bias, lambda: F.linear(x, self.weight), std, shift)

    def limit_spectral_norm(self, limit: float, iterations: int) -> None:
        """Divide the weights by ``max(1, sigma / limit)``, sigma being their largest singular value."""
        left = self.left_singular
        for _ in range(iterations):
            right = F.normalize(left @ self.weight, dim=0)
            left = F.normalize(self.weight @ right, dim=0)
        self.left_singular.copy_(left)
        sigma = left @ self.weight @ right
        self.weight.div_((sigma / limit).clamp_min(1.0))

    @property
    def matrix(self) -> Tensor:
        """`(outputs, inputs)`, the layer's own weights or those it is tied to."""
        return self.tied_to[0].weight.t() if self.tied_to else self.weight

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        if self.feeds_code and self.training:
            return self._finish(sparse_gradient_encode(x, self.matrix, self.bias), x, shift)
        return self._finish(linear(x, self.matrix, self.bias, self.training), x, shift)

    def of_kept(self, z: Tensor, latents: Tensor, values: Tensor, shift: Tensor | None) -> Tensor:
        """Return the layer of z, which is `values` at `latents` and zero elsewhere."""
        return self._finish(sparse_decode(latents, values, self.matrix) + self.bias, z, shift)

    def _finish(self, h: Tensor, x: Tensor, shift: Tensor | None) -> Tensor:
        if shift is not None:
            h = h + shift
        if self.norm is not None:
            h = self.norm(h)
        if self.activation is not None:
            h = self.activation(h)
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        if self.residual:
            h = h + (x if self.shortcut is None else linear(x, self.shortcut.weight, None, self.training))
        return h


# A step moves the weights little, so the last step's vector is nearly right; the first one is random.
_POWER_ITERATIONS = 2
_FIRST_POWER_ITERATIONS = 100


class DenseNetwork(Network):
    """The network that `Dense` describes."""

    def __init__(self, spec: Dense, widths: Widths) -> None:
        super().__init__()
        row = math.prod(widths.row)
        hidden = tuple(int(width) for width in spec.hidden_dims)
        self.row = widths.row
        self.parameters_per_value = widths.parameters
        self.encoder_widths = (row, *hidden, widths.features)
        decoder_widths = (row * widths.parameters, *hidden, widths.latent)
        last = len(hidden)
        self.encoder = nn.ModuleList(
            Block(spec, self.encoder_widths[i], self.encoder_widths[i + 1], hidden=i < last, feeds_code=i == last)
            for i in range(last + 1)
        )
        # Numbered from the data inwards, like the encoder: decoder[0] gives the output.
        self.decoder = nn.ModuleList(
            Block(
                spec,
                decoder_widths[i + 1],
                decoder_widths[i],
                hidden=i > 0,
                tied_to=self.encoder[i] if spec.tied else None,  # type: ignore[arg-type]
                limited=spec.spectral_norm is not None,
            )
            for i in range(last + 1)
        )
        # A linear map added before the first activation is the same as columns appended to that layer's input, and
        # leaves tied weights as they are.
        self.encoder_condition: nn.Linear | None = None
        self.decoder_condition: nn.Linear | None = None
        if widths.condition:
            self.encoder_condition = nn.Linear(widths.condition, self.encoder_widths[1], bias=False)
            self.decoder_condition = nn.Linear(widths.condition, decoder_widths[last], bias=False)
        # Zero to start with: what is missing then looks like a mean, and nothing is told of a row without holes.
        self.encoder_mask: nn.Linear | None = None
        if spec.sees_mask:
            self.encoder_mask = nn.Linear(row, self.encoder_widths[1], bias=False)
            nn.init.zeros_(self.encoder_mask.weight)
        self.unit_decoder, self.spectral_norm = spec.unit_decoder, spec.spectral_norm
        with torch.no_grad():
            self._constrain(_FIRST_POWER_ITERATIONS)

    def after_step(self) -> None:
        self._constrain(_POWER_ITERATIONS)

    def _constrain(self, power_iterations: int) -> None:
        """Put the decoder's weights back to columns of norm 1, or under the limit of their singular values."""
        if self.unit_decoder:
            directions: Tensor = self.decoder[-1].weight  # type: ignore[assignment]
            directions.div_(directions.norm(dim=0).clamp_min(torch.finfo(directions.dtype).tiny))
        if self.spectral_norm is not None:
            for block in self.decoder:
                block.limit_spectral_norm(self.spectral_norm, power_iterations)  # type: ignore[operator]

    def _shift(self, layer: nn.Linear | None, batch: Batch) -> Tensor | None:
        if layer is None or batch.condition is None:
            return None
        return linear(batch.condition, layer.weight, None, self.training)

    def _encoder_shift(self, batch: Batch) -> Tensor | None:
        """Return what the encoder's first layer is given beside the row: the condition, and what is missing."""
        shift = self._shift(self.encoder_condition, batch)
        if self.encoder_mask is None or batch.mask is None:
            return shift
        missing = (~batch.mask).flatten(1).to(batch.x.dtype)
        told = linear(missing, self.encoder_mask.weight, None, self.training)
        return told if shift is None else shift + told

    def encode(self, batch: Batch) -> Tensor:
        h = batch.x.flatten(1) if batch.x.ndim != 2 else batch.x
        shift = self._encoder_shift(batch)
        for block in self.encoder:
            h, shift = block(h, shift), None
        return h

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        shift = self._shift(self.decoder_condition, batch)
        h = z
        for block in reversed(self.decoder):
            h, shift = block(h, shift), None
        return h.view(h.shape[0], self.parameters_per_value, *self.row)

    def decode_kept(
        self, z: Tensor, kept: tuple[Tensor, Tensor], batch: Batch, skips: tuple[Tensor, ...] = ()
    ) -> Tensor:
        first: Block = self.decoder[-1]  # type: ignore[assignment]
        if not worthwhile(kept[0], first.matrix):
            return self.decode(z, batch, skips)
        h = first.of_kept(z, *kept, self._shift(self.decoder_condition, batch))
        for block in reversed(self.decoder[:-1]):
            h = block(h)
        return h.view(h.shape[0], self.parameters_per_value, *self.row)

    def calibrate_encoder(self, batch: Batch, std: float) -> Tensor:
        h = batch.x.flatten(1)
        shift = self._encoder_shift(batch)
        for depth, block in enumerate(self.encoder):
            block.calibrate(h, shift, std if depth == len(self.encoder) - 1 else HIDDEN_STD)  # type: ignore[operator]
            h, shift = block(h, shift), None
        return h

    def calibrate_decoder(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> None:
        shift = self._shift(self.decoder_condition, batch)
        h = z
        for block in reversed(self.decoder):
            block.calibrate(h, shift, HIDDEN_STD)  # type: ignore[operator]
            if block is self.decoder[0] and not block.tied_to:
                block.weight.mul_(OUTPUT_SCALE)  # type: ignore[operator]
            h, shift = block(h, shift), None
        if self.unit_decoder and len(self.decoder) == 1:
            read, written = self.encoder[0].weight.t(), self.decoder[0].weight  # type: ignore[operator]
            if read.shape == written.shape:
                written.copy_(read)  # type: ignore[operator]
        self._constrain(_FIRST_POWER_ITERATIONS)

    def stages(self) -> list[Stage]:
        pairs = zip(self.encoder, self.decoder, self.encoder_widths[1:-1], strict=False)
        return [Stage(encoder, decoder, width) for encoder, decoder, width in pairs]

    def set_output_bias(self, bias: Tensor) -> None:
        output: Block = self.decoder[0]  # type: ignore[assignment]
        with torch.no_grad():
            output.bias.copy_(bias.flatten())
