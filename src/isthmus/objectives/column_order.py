"""Columns of a row in another order, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ColumnOrder:
    """An order of columns, as index tensors on whatever device they are asked for.

    It is no buffer: a loaded model's state holds what was trained, and the columns stand in its recipe.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        self.columns = columns
        self._orders: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the columns in this order, and where each column stands in it."""
        if device not in self._orders:
            order = torch.tensor(self.columns, device=device)
            self._orders[device] = order, order.argsort()
        return self._orders[device]
