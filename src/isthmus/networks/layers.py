"""What the networks' layers share: activations, and weights that start from the data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
# Gains that keep the variance of a layer's output: He et al. 2015 for the rectifiers (the smooth ones are close
# enough to them), Glorot and Bengio 2010 for the saturating ones, Klambauer et al. 2017 for selu.
GAINS = {"selu": 1.0, "tanh": 5.0 / 3.0, "sigmoid": 1.0}
HE_GAIN = math.sqrt(2.0)
# Measured on Fashion-MNIST and MNIST, each beside He's initialisation: smaller or larger by a factor of two is as good,
# and an output layer that starts small leaves the first steps to the mean row.
HIDDEN_STD = 0.5
OUTPUT_SCALE = 0.1
# A QR decomposition of larger matrices would take longer than it saves.
_LARGEST_ORTHOGONAL = 4096
# Products with fewer columns go to kernels that add up in another order in every fourth row (seen in MKL: 2 to 11).
COLUMNS_OF_ONE_ORDER = 16


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, training: bool) -> Tensor:
    """Return ``x W^T + b`` over the last axis of x.

    Outside training, equal rows give equal results to the last bit, wherever they stand.
    """
    missing = COLUMNS_OF_ONE_ORDER - weight.shape[0]
    if training or missing <= 0:
        return F.linear(x, weight, bias)
    padded = F.linear(x, F.pad(weight, (0, 0, 0, missing)), None if bias is None else F.pad(bias, (0, missing)))
    return padded[..., :-missing]


def calibrate(
    weight: Tensor, bias: Tensor, product: Callable[[], Tensor], std: float, shift: Tensor | None = None
) -> None:
    """Make the pre-activations of some rows zero on average and of standard deviation `std`, in place.

    Orthogonal directions (Saxe et al. 2014, https://arxiv.org/abs/1312.6120) scaled by the data (Mishkin and Matas
    2016, https://arxiv.org/abs/1511.06422). Centring through the bias takes the rows' common part, which would
    otherwise be most of every unit's input, out of the way.

    Args:
        weight: of the layer, one output or one input on axis 0.
        bias: `(units,)`, one for each index of the products' axes after the first, or for each channel.
        product: gives what the layer makes of the rows by the present weight, without the bias:
            `(rows, units)` or `(rows, channels, *positions)`.
        std: standard deviation that is wanted of the products.
        shift: what is added to each row's products, `(rows, *units)`; centred too.
    """
    if min(len(weight), weight[0].numel()) <= _LARGEST_ORTHOGONAL:
        nn.init.orthogonal_(weight)
    y = product()
    by_channel = bias.numel() != y[0].numel()
    mean = y.mean((0, *range(2, y.ndim)) if by_channel else 0, keepdim=True)
    spread, size = (values.square().mean().sqrt().item() for values in (y - mean, y))
    if spread <= 1e-4 * size:
        return  # what is left of rows that are all the same is rounding, and no measure for anything
    scale = std / spread
    weight.mul_(scale)
    bias.copy_(-mean.flatten() * scale)
    if shift is not None:
        bias.sub_(shift.mean(0).flatten())


class Linear(nn.Module):
    """``W x + b`` over the last axis of x; outside training equal rows give equal results to the last bit."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.training)

    def calibrate(self, x: Tensor, std: float) -> None:
        """Make what comes of `x` zero on average and of standard deviation `std`."""
        bias = torch.zeros(len(self.weight)) if self.bias is None else self.bias
        calibrate(self.weight, bias, lambda: F.linear(x, self.weight).flatten(0, -2), std)
