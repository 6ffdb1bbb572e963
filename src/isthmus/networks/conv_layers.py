"""Linear maps of feature maps, with their transposes, and the layers of the convolutional network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.networks.layers import ACTIVATIONS, GAINS, HE_GAIN, calibrate, linear

_GROUP = 16  # channels in a group; Wu and He 2018 find 16 as good as any


@dataclass(frozen=True)
class Window:
    """A convolution over maps of a size: `down` gives ``ceil(size / stride)`` positions, `up` is its transpose.

    The weight is `(inner, outer, kernel, kernel)`, where the outer side is the one with more positions.
    """

    kernel: int
    stride: int
    size: tuple[int, int]

    @property
    def positions(self) -> tuple[int, int]:
        """Size of the maps that `down` gives."""
        return -(-self.size[0] // self.stride), -(-self.size[1] // self.stride)

    def _margins(self) -> tuple[int, tuple[int, int]]:
        """Return the padding of every side, and how far the last windows reach beyond it."""
        padding = (self.kernel - 1) // 2
        reach = [
            (count - 1) * self.stride + self.kernel - length - 2 * padding
            for count, length in zip(self.positions, self.size, strict=True)
        ]
        return padding, (reach[0], reach[1])

    def down(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the smaller maps `(rows, outputs, *small)`."""
        padding, (below, right) = self._margins()
        if below > 0 or right > 0:
            x = F.pad(x, (0, max(0, right), 0, max(0, below)))
        return F.conv2d(x, weight, bias, self.stride, padding)

    def up(self, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the larger maps `(rows, inputs, *size)` by the transpose of `down`."""
        padding, (below, right) = self._margins()
        missing = (max(0, -below), max(0, -right))
        x = F.conv_transpose2d(y, weight, bias, self.stride, padding, missing)
        return x[..., : self.size[0], : self.size[1]]


@dataclass(frozen=True)
class Enlarging:
    """Maps repeated to a size and convolved; the weight is `(outer, inner, kernel, kernel)`."""

    window: Window

    def up(self, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return maps of the window's size: each value repeated, then a convolution."""
        height, width = self.window.size
        x = F.interpolate(y, scale_factor=float(self.window.stride))[..., :height, :width]
        return Window(self.window.kernel, 1, self.window.size).down(x, weight, bias)


@dataclass(frozen=True)
class Whole:
    """A linear map between maps `(channels, height, width)` and vectors; the weight is `(vector, maps)`."""

    maps: tuple[int, int, int]

    def down(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return features `(rows, features)` of whole maps."""
        return linear(x.flatten(1), weight, bias, False)

    def up(self, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return whole maps by the transpose of `down`."""
        return linear(y, weight.t(), bias, False).view(-1, *self.maps)


# ---- layers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """What hidden layers do to the maps: the settings of `Conv` of these names."""

    activation: str
    normalisation: str | None
    dropout: float

    def norm(self, channels: int) -> nn.Module | None:
        """Return the normalisation of so many channels."""
        if self.normalisation is None:
            return None
        if self.normalisation == "batch":
            return nn.BatchNorm2d(channels)
        groups = 1 if self.normalisation == "layer" else math.gcd(channels, max(1, channels // _GROUP))
        return nn.GroupNorm(groups, channels)


class ConvLayer(nn.Module):
    """A linear map of maps, then (in hidden layers) normalisation, activation and dropout.

    Args:
        product: the linear map, by a weight and a bias.
        weight: its shape, or the layer whose weight it shares.
        fan_in: inputs of each output.
        channels: of the output.
        style: of a hidden layer; None for nothing but the linear map.
        values: shape of the output, `(channels, height, width)`, for a bias for each value and not for each channel.
        shortcut: whether the input is added in the end.
    """

    def __init__(
        self,
        product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        weight: tuple[int, ...] | ConvLayer,
        fan_in: float,
        channels: int,
        *,
        style: Style | None,
        values: tuple[int, ...] | None = None,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.product = product
        self.values = values
        self.shortcut = shortcut
        self.tied_to: tuple[ConvLayer, ...] = ()  # a tuple hides it from the module tree
        self.bias = nn.Parameter(torch.zeros(math.prod(values) if values else channels))
        if isinstance(weight, ConvLayer):
            self.tied_to = (weight,)
        else:
            gain = GAINS.get(style.activation, HE_GAIN) if style else 1.0
            self.weight = nn.Parameter(torch.randn(*weight) * (gain / math.sqrt(fan_in)))
        self.norm = style.norm(channels) if style else None
        self.activation = ACTIVATIONS[style.activation] if style else None
        self.dropout = style.dropout if style else 0.0

    def calibrate(self, x: Tensor, shift: Tensor | None, std: float) -> None:
        """Set the weights by inputs and what is added to their products (see `isthmus.networks.layers`)."""
        if not self.tied_to:
            calibrate(self.weight, self.bias, lambda: self.product(x, self.weight, None), std, shift)

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        weight = self.tied_to[0].weight if self.tied_to else self.weight
        h = self.product(x, weight, None if self.values else self.bias)
        if self.values:
            h = h + self.bias.view(self.values)
        if shift is not None:
            h = h + shift
        if self.norm is not None:
            h = self.norm(h)
        if self.activation is not None:
            h = self.activation(h)
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        return h + x if self.shortcut else h
