"""A linear layer that starts from the data, for the networks that are built of several."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.networks.layers import calibrate, linear


class Affine(nn.Module):
    """``W x + b`` over the last axis of x; outside training equal rows give equal results to the last bit."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.training)

    def calibrate(self, x: Tensor, std: float) -> None:
        """Make what comes of `x` zero on average and of standard deviation `std` (see `isthmus.networks.layers`)."""
        bias = torch.zeros(len(self.weight)) if self.bias is None else self.bias
        calibrate(self.weight, bias, lambda: F.linear(x, self.weight).flatten(0, -2), std)
