"""The convolutional network, for images."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.networks.base import Network, NetworkSpec, Widths
from isthmus.networks.conv_layers import ConvLayer, Enlarging, Style, Whole, Window
from isthmus.networks.layers import ACTIVATIONS, HIDDEN_STD, OUTPUT_SCALE, linear
from isthmus.schema import Batch
from isthmus.settings import AtLeast, Dropout, ListOf, OneOf

# Maps of this many positions along a side, or fewer, are left to the layer between maps and code ("auto").
_SMALL_MAP = 8


def _each_stage(other: str, example: str) -> ListOf:
    return ListOf(AtLeast(1), f"a list of integers, one for each stage, or {other}", example)


@dataclass(frozen=True)
class Conv(NetworkSpec):
    """Convolutional encoder and mirrored decoder, for images `(height, width)` or `(channels, height, width)`.

    Each stage of the encoder is ``dropout(activation(normalisation(convolution(x) + b)))``, which takes maps of
    ``height x width`` to ``ceil(height / stride) x ceil(width / stride)``; its mirror in the decoder takes them back to
    exactly the size they had, odd or even. The last maps become the code's features by a linear map of all of them
    ("global") or of each position ("spatial"). The output has a bias for each value, the first guess.

    A series `(steps, channels)` has the shape of an image with one channel and would be read as one: give those to a
    recurrent network.

    Args:
        channels: of the encoder's maps, one number for each stage, or "auto": stages until no side has more than 8
            positions, the first of 16 channels, where a channel costs most, the others of 64.
        kernel: side of each convolution's window, at least the stride.
        stride: of each stage, or one number for each of them.
        normalisation: before the activation: "batch"; "layer", over all values of a map; "group", over groups of 16
            channels (Wu and He 2018, https://arxiv.org/abs/1803.08494).
        activation: of the stages; one of `ACTIVATIONS`.
        dropout: probability that a value of a map is dropped in training.
        residual: whether each stage has a second convolution, of stride 1 and with the identity beside it:
            ``x + dropout(activation(normalisation(convolution(x) + b)))`` (He et al. 2016,
            https://arxiv.org/abs/1512.03385).
        bottleneck: "global" for one latent vector for each row, "spatial" for one at each position of the last maps.
        skips: whether the decoder sees the encoder's maps of the same size, appended to its own. Such a network
            denoises well, and a code alone says little (no `sample`, no `inverse_transform`).
        tied: whether the decoder's convolutions are the transposes of the encoder's (biases are its own).
        upsampling: "transposed" convolutions, or "nearest": maps are repeated and then convolved, slower and without
            the chequerboards of Odena et al. 2016 (https://distill.pub/2016/deconv-checkerboard).

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> network = Conv(channels=(16, 32), bottleneck="spatial").build(Widths((1, 28, 27), features=4, latent=4))
        >>> network.positions
        (7, 7)

    Paper: Masci et al., Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction, ICANN 2011; skips from
    Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597.
    """

    kind: ClassVar[str] = "conv"
    channels: Annotated[tuple[int, ...] | Literal["auto"], _each_stage('"auto"', "(16, 32)")] = "auto"
    kernel: Annotated[int, AtLeast(1)] = 3
    stride: Annotated[int | tuple[int, ...], _each_stage("one integer", "2"), AtLeast(1)] = 2
    normalisation: Annotated[str | None, OneOf(None, "batch", "layer", "group")] = None
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu"
    dropout: Dropout = 0.0
    residual: bool = False
    bottleneck: Annotated[str, OneOf("global", "spatial")] = "global"
    skips: bool = False
    tied: bool = False
    upsampling: Annotated[str, OneOf("transposed", "nearest")] = "transposed"

    def check_together(self) -> None:
        if isinstance(self.stride, tuple) and self.channels != "auto" and len(self.stride) != len(self.channels):
            stages = f"as many strides as stages, {len(self.channels)}"
            raise RecipeError("network.stride: " + explain(stages, f"{len(self.stride)}", "one integer for all"))
        if self.kernel < max(self.strides(1)):
            window = f"a window that leaves out no pixel, of {max(self.strides(1))} at least"
            raise RecipeError("network.kernel: " + explain(window, f"{self.kernel}", "a smaller network.stride"))

    def strides(self, stages: int) -> tuple[int, ...]:
        """Return the stride of each of so many stages."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride,) * stages

    @property
    def minimum_batch(self) -> int:
        return 2 if self.normalisation == "batch" else 1

    @property
    def provides(self) -> Set[str]:
        bottleneck = frozenset() if self.skips else frozenset({"bottleneck"})
        return bottleneck if self.normalisation == "batch" else bottleneck | {"independent_rows"}

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        if self.channels != "auto":
            return self
        stages, side = 1, max(row[-2:])
        if isinstance(self.stride, tuple):
            stages = len(self.stride)
        elif self.stride > 1:
            while side > _SMALL_MAP * self.stride**stages:
                stages += 1
        return replace(self, channels=(16, *(64,) * (stages - 1)))

    def misfit(self, widths: Widths) -> str | None:
        row = widths.row
        if len(row) not in (2, 3):
            return (
                f"the conv network reads images (height, width) or (channels, height, width), and these rows have the "
                f"shape {row}; try X.reshape(-1, height, width), or network=dense"
            )
        if len(row) == 3 and row[2] <= 4 < min(row[:2]):
            return (
                f"the conv network reads images (channels, height, width), and the channels of rows of shape {row} "
                "seem to stand last; try numpy.moveaxis(X, -1, 1)"
            )
        return self._tied_misfit(widths) if self.tied else None

    def _tied_misfit(self, widths: Widths) -> str | None:
        if widths.features != widths.latent:
            return (
                f"tied weights need a code that reads as many features as it has latents, and this one reads "
                f"{widths.features} for {widths.latent}; try network.tied=false or a deterministic code"
            )
        if widths.parameters != 1:
            return (
                f"tied weights give one number for each value, and the likelihood needs {widths.parameters}; "
                "try network.tied=false or a likelihood with one parameter, such as squared_error"
            )
        extras = {"residual": self.residual, "skips": self.skips, "upsampling": self.upsampling == "nearest"}
        for name in (name for name, given in extras.items() if given):
            plain = "transposed" if name == "upsampling" else "false"
            return f"tied weights and network.{name} exclude each other; try network.{name}={plain}"
        return None

    def build(self, widths: Widths) -> ConvNetwork:
        if self.channels == "auto":
            raise RecipeError("network.channels is still 'auto'; try recipe.resolve(schema, rows) before build")
        return ConvNetwork(self, widths)


class ConvNetwork(Network):
    """The network that `Conv` describes.

    `encoder[i]` and `decoder[i]` are the stage between maps `i` and `i + 1`, counted from the image inwards.
    """

    def __init__(self, spec: Conv, widths: Widths) -> None:
        super().__init__()
        self.row = widths.row
        self.parameters_per_value = widths.parameters
        self.skips = spec.skips
        height, width = widths.row[-2:]
        self.image = (widths.row[0] if len(widths.row) == 3 else 1, height, width)
        channels = tuple(int(c) for c in spec.channels)
        windows: list[Window] = []
        size = (height, width)
        for stride in spec.strides(len(channels)):
            windows.append(Window(spec.kernel, stride, size))
            size = windows[-1].positions
        self.maps = [self.image, *((c, *w.positions) for c, w in zip(channels, windows, strict=True))]
        self.positions: tuple[int, ...] = size if spec.bottleneck == "spatial" else ()
        self.encoder = nn.ModuleList(
            _down_stage(spec, window, outer, inner)
            for window, outer, inner in zip(windows, (self.image[0], *channels), channels, strict=False)
        )
        outputs = (self.image[0] * widths.parameters, *channels)
        self.decoder = nn.ModuleList(
            _up_stage(spec, window, outputs[i], channels[i], self.encoder[i][0], output=i == 0)  # type: ignore[index]
            for i, window in enumerate(windows)
        )
        self.encoder_head, self.decoder_head = _heads(spec, widths, self.maps[-1])
        self.encoder_condition: nn.Linear | None = None
        self.decoder_condition: nn.Linear | None = None
        if widths.condition:
            self.encoder_condition = nn.Linear(widths.condition, channels[0], bias=False)
            # Beside a vector it is what columns appended to the vector would be.
            told = channels[-1] if self.positions else math.prod(self.maps[-1])
            self.decoder_condition = nn.Linear(widths.condition, told, bias=False)

    def _shift(self, layer: nn.Linear | None, batch: Batch, shape: tuple[int, ...]) -> Tensor | None:
        if layer is None or batch.condition is None:
            return None
        return linear(batch.condition, layer.weight, None, self.training).view(-1, *shape)

    def encode(self, batch: Batch) -> Tensor:
        return self._encode(batch)[0]

    def encode_with_skips(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self._encode(batch)

    def _encode(self, batch: Batch, std: float | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features and skips; a `std` of the features sets the weights on the way."""
        h = batch.x.reshape(-1, *self.image)
        shift = self._shift(self.encoder_condition, batch, (self.maps[1][0], 1, 1))
        passed: list[Tensor] = []
        for stage in self.encoder:
            for layer in stage:  # type: ignore[attr-defined]
                if std is not None:
                    layer.calibrate(h, shift, HIDDEN_STD)
                h, shift = layer(h, shift), None
            passed.append(h)
        if std is not None:
            self.encoder_head.calibrate(h, None, std)
        return self.encoder_head(h), tuple(passed) if self.skips else ()

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        return self._decode(z, batch, skips)

    def _decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...], *, setting: bool = False) -> Tensor:
        """Return the parameters; `setting` sets the weights on the way."""
        if len(skips) != len(self.decoder) * self.skips:
            raise RecipeError(f"the decoder needs the encoder's maps beside the code; got {len(skips)} of them")
        shape = (self.maps[-1][0], 1, 1) if self.positions else self.maps[-1]
        shift = self._shift(self.decoder_condition, batch, shape)
        if setting:
            self.decoder_head.calibrate(z, shift, HIDDEN_STD)
        h: Tensor = self.decoder_head(z, shift)
        for number in reversed(range(len(self.decoder))):
            stage: Any = self.decoder[number]
            for layer in stage:
                if self.skips and layer is stage[-1]:
                    h = torch.cat([h, skips[number]], 1)
                if setting:
                    layer.calibrate(h, None, HIDDEN_STD)
                    if number == 0 and layer is stage[-1] and not layer.tied_to:
                        layer.weight.mul_(OUTPUT_SCALE)
                h = layer(h)
        return h.view(-1, self.parameters_per_value, *self.row)

    def calibrate_encoder(self, batch: Batch, std: float) -> Tensor:
        return self._encode(batch, std)[0]

    def calibrate_decoder(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> None:
        self._decode(z, batch, skips, setting=True)

    def set_output_bias(self, bias: Tensor) -> None:
        output: ConvLayer = self.decoder[0][-1]  # type: ignore[index]
        with torch.no_grad():
            output.bias.copy_(bias.flatten())


def _style(spec: Conv) -> Style:
    return Style(spec.activation, spec.normalisation, spec.dropout)


def _second(spec: Conv, size: tuple[int, int], channels: int) -> list[ConvLayer]:
    """Return the layer of stride 1 with the identity beside it, where the network has such."""
    if not spec.residual:
        return []
    shape = (channels, channels, spec.kernel, spec.kernel)
    product = Window(spec.kernel, 1, size).down
    return [ConvLayer(product, shape, math.prod(shape[1:]), channels, style=_style(spec), shortcut=True)]


def _down_stage(spec: Conv, window: Window, outer: int, inner: int) -> nn.ModuleList:
    shape = (inner, outer, spec.kernel, spec.kernel)
    first = ConvLayer(window.down, shape, math.prod(shape[1:]), inner, style=_style(spec))
    return nn.ModuleList([first, *_second(spec, window.positions, inner)])


def _up_stage(spec: Conv, window: Window, outer: int, inner: int, mirror: ConvLayer, *, output: bool) -> nn.ModuleList:
    inputs, side = inner * (2 if spec.skips else 1), spec.kernel
    product, fan_in = window.up, inputs * (side / window.stride) ** 2
    weight: tuple[int, ...] | ConvLayer = mirror if spec.tied else (inputs, outer, side, side)
    if spec.upsampling == "nearest":
        product, fan_in, weight = Enlarging(window).up, inputs * side**2, (outer, inputs, side, side)
    style, values = (None, (outer, *window.size)) if output else (_style(spec), None)
    last = ConvLayer(product, weight, fan_in, outer, style=style, values=values)
    return nn.ModuleList([*_second(spec, window.positions, inner), last])


def _heads(spec: Conv, widths: Widths, maps: tuple[int, int, int]) -> tuple[ConvLayer, ConvLayer]:
    """Return the layers between the last maps and the code, on both sides."""
    product: Whole | Window = Whole(maps)
    size: tuple[int, ...] = (math.prod(maps),)
    values: tuple[int, ...] | None = maps
    if spec.bottleneck == "spatial":
        product, size, values = Window(1, 1, maps[1:]), (maps[0], 1, 1), None
    encoder = ConvLayer(product.down, (widths.features, *size), size[0], widths.features, style=None)
    weight = encoder if spec.tied else (widths.latent, *size)
    return encoder, ConvLayer(product.up, weight, widths.latent, maps[0], style=_style(spec), values=values)
