"""A linear layer that starts from the data, for the networks that are built of several."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Products with fewer columns go to kernels that add up in another order in some of the rows (seen in MKL: 2 to 11).
COLUMNS_OF_ONE_ORDER = 16


class Affine(nn.Module):
    """``W x + b`` over the last axis of x; outside training equal rows give equal results to the last bit."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        missing = COLUMNS_OF_ONE_ORDER - self.weight.shape[0]
        if self.training or missing <= 0:
            return F.linear(x, self.weight, self.bias)
        bias = None if self.bias is None else F.pad(self.bias, (0, missing))
        return F.linear(x, F.pad(self.weight, (0, 0, 0, missing)), bias)[..., :-missing]

    def calibrate(self, x: Tensor, std: float) -> None:
        """Make what comes of `x` zero on average and of standard deviation `std` (see `isthmus.networks.dense`)."""
        nn.init.orthogonal_(self.weight)
        y = F.linear(x, self.weight).flatten(0, -2)
        mean = y.mean(0)
        spread, size = (values.square().mean().sqrt().item() for values in (y - mean, y))
        if spread <= 1e-4 * size:
            return  # what is left of rows that are all the same is rounding, and no measure for anything
        self.weight.mul_(std / spread)
        if self.bias is not None:
            self.bias.copy_(-mean * (std / spread))
