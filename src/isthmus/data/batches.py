"""Split and batch: rows in memory, batches taken at once, in an order that (seed, epoch) alone decides."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from isthmus.schema import Batch
from isthmus.seeds import derive


def split(rows: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the (training, validation) row numbers: `fraction` of the rows drawn without replacement, each sorted.

    Fewer than four rows are all for training.

    >>> train, validation = split(10, 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    held_out = min(max(round(rows * fraction), 1), rows - 2) if fraction > 0 and rows >= 4 else 0
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(derive(seed, "split")))
    return order[held_out:].sort().values, order[:held_out].sort().values


class BatchSource(ABC):
    """What training reads batches from.

    Attributes:
        rows: training rows.
        batch_size: the largest batch.
        device: where batches lie.
    """

    rows: int
    batch_size: int
    device: torch.device

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.rows // self.batch_size)

    @property
    @abstractmethod
    def representative(self) -> Batch:
        """Rows that may stand for all: all of them, or some that were drawn."""

    @abstractmethod
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `start` on."""


class Loader(BatchSource):
    """Batches of rows that are in memory, on the device that computes.

    The rows of an epoch are dealt into batches whose sizes differ by one at most, so that no row of a short last batch
    counts more than others.

    Args:
        data: all rows.
        batch_size: the largest batch.
        seed: decides the order, together with the epoch.
    """

    def __init__(self, data: Batch, batch_size: int, seed: int = 0) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.rows, self.device = data.rows, data.x.device

    @property
    def representative(self) -> Batch:
        return self.data

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", number))
        order = torch.randperm(self.data.rows, generator=generator).to(self.data.x.device)
        for rows in order.tensor_split(self.steps)[start:]:
            yield take(self.data, rows)

    def blocks(self) -> Iterator[Batch]:
        """Yield the rows in their own order, in blocks of the batch size, the last one shorter."""
        for start in range(0, self.data.rows, self.batch_size):
            yield take(self.data, slice(start, start + self.batch_size))


def take(data: Batch, rows: Tensor | slice) -> Batch:
    """Return some rows of a batch."""
    if data.mask is None and data.condition is None and data.target is None:  # the usual case, and every step's
        return Batch(data.x.index_select(0, rows) if isinstance(rows, Tensor) else data.x[rows])
    parts = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    return data.replace(**{name: None if part is None else part[rows] for name, part in parts.items()})
