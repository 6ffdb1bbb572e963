"""The contract of everything that rows are read from: arrays, frames, files, folders, data sets larger than memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from isthmus.seeds import derive
from isthmus.typing import Integers

# Rows that lie together in a source and are read at once when it is shuffled.
RUN = 256
# Rows that are taken at a time from what is in memory.
IN_MEMORY = 1 << 10


@dataclass(frozen=True)
class Stated:
    """Kinds and scalings of a table's columns by name, where they are not left to the data."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, str] = field(default_factory=dict)


class Source(ABC):
    """Rows of one kind in a fixed order, which can be read as often as wanted.

    A **block** is some rows as the source has them, before any preprocessing: an array `(rows, *shape)` (vectors,
    images, series, tokens; NaN where a number is missing), an Arrow table (tables), or a `scipy.sparse.csr_array`
    (ratings). Blocks are never changed by who receives them.

    Attributes:
        kind: kind of row, one of `isthmus.schema.KINDS`.
        in_memory: whether all rows lie in memory, so that reading them costs nothing.
        mixed: whether `shuffled` draws each row from all of them, or only pieces of neighbouring rows.
        stated: what the user said of a table's columns.
        metadata: how the rows are read, for a model to read later ones alike (`isthmus.schema.Schema.metadata`).
        notes: what a user should know of how they were read, in sentences.
    """

    kind: ClassVar[str]
    in_memory: bool = False
    mixed: bool = False
    stated: Stated = Stated()
    metadata: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows; it may take a pass over the data the first time."""

    @abstractmethod
    def take(self, rows: Integers) -> Any:
        """Return the block of some rows by number, in the order that is asked for.

        Raises:
            DataError: for rows that cannot be read, saying which and where.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that differs where the rows do, without reading all of them (names, sizes, times of change)."""

    def blocks(self, size: int) -> Iterator[Any]:
        """Yield all rows in order, `size` at a time, the last block shorter."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers that a row has, about."""

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Integers, Any]]:
        """Yield row numbers and their block, each row once, in an order that (seed, epoch) alone decides.

        In memory any row is as near as any other; from elsewhere runs of neighbouring rows are drawn, which who
        trains on them mixes.
        """
        generator = np.random.default_rng(derive(seed, "runs", epoch))
        if self.in_memory:
            order = generator.permutation(len(self))
            for start in range(0, len(order), IN_MEMORY):
                yield order[start : start + IN_MEMORY], self.take(order[start : start + IN_MEMORY])
            return
        for start in generator.permutation(-(-len(self) // RUN)) * RUN:
            rows = np.arange(start, min(start + RUN, len(self)))
            yield rows, self.take(rows)

    def check_unchanged(self) -> None:  # noqa: B027 -- what lies in memory does not change
        """Raise `DataError` if what is read from has changed since it was opened."""
