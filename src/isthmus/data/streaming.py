"""Batches of rows that are read anew in every epoch, while the step before is taken."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from isthmus.data.batches import BatchSource, take
from isthmus.data.encoded import EncodedRows, block_rows, select
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.typing import Integers

# Blocks that wait to be trained on; each is some megabytes.
_AHEAD = 2
# Bytes of encoded rows that wait to be mixed, and how many of them come out at a time at the end.
_POOL = 1 << 27
_REST = 1 << 14
# Rows that stand for all in what is measured on some.
_SAMPLE = 5000
# An order that no epoch has.
_SAMPLE_EPOCH = 1 << 30


class StreamingBatches(BatchSource):
    """Batches from a source that is read in shuffled pieces, in an order that (seed, epoch) alone decides.

    Rows of a piece wait in a pool until they are drawn. Batches have `batch_size` rows or one less, as `Loader` deals
    them. A thread reads and encodes ahead.

    Args:
        reading: all rows.
        held: row numbers, sorted, that are held out.
        batch_size: the largest batch.
        seed: decides the order, together with the epoch.
        device: where batches are put.
    """

    def __init__(self, encoded: EncodedRows, held: Integers, batch_size: int, seed: int, device: torch.device) -> None:
        self.encoded, self.held, self.batch_size, self.seed, self.device = encoded, held, batch_size, seed, device
        self.rows = len(encoded) - len(held)
        self._some: Batch | None = None

    @property
    def representative(self) -> Batch:
        if self._some is None:
            parts, rows = [], 0
            for batch in self._encoded(_SAMPLE_EPOCH):
                parts.append(batch)
                rows += batch.rows
                if rows >= _SAMPLE:
                    break
            self._some = take(join(parts), slice(0, _SAMPLE)).to(self.device)
        return self._some

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        least, more = divmod(self.rows, self.steps)
        sizes = [least + 1] * more + [least] * (self.steps - more)
        waiting: list[Batch] = []
        held = done = 0
        for block in _ahead(self._encoded(number)):
            waiting.append(block)
            held += block.rows
            if done < len(sizes) and held < sizes[done]:
                continue
            joined, first = join(waiting), 0
            while done < len(sizes) and held - first >= sizes[done]:
                if done >= start:
                    yield take(joined, slice(first, first + sizes[done])).to(self.device)
                first += sizes[done]
                done += 1
            waiting, held = [take(joined, slice(first, held))], held - first

    def _encoded(self, epoch: int) -> Iterator[Batch]:
        """Yield the training rows in blocks, mixed."""
        conditions = self.encoded.conditions
        most = block_rows(self.encoded.schema)
        generator = torch.Generator().manual_seed(derive(self.seed, "mixing", epoch))
        pool = (
            None
            if self.encoded.source.mixed
            else ShuffleBuffer(_POOL // (4 * math.prod(self.encoded.schema.row)), generator)
        )
        for numbers, block in self.encoded.source.shuffled(self.seed, epoch):
            inside = ~np.isin(numbers, self.held)
            block, numbers = (block, numbers) if inside.all() else (select(block, inside), numbers[inside])
            for start in range(0, len(numbers), most):
                part = slice(start, start + most)
                rows = block.slice(start, most) if hasattr(block, "slice") else block[part]
                batch = self.encoded.batch(
                    rows, None if conditions is None else conditions[numbers[part]], numbers[part]
                )
                if pool is None:
                    yield batch
                elif (mixed := pool.swap(batch)) is not None:
                    yield mixed
        if pool is not None:
            yield from pool.rest()
        if not self.encoded.source.in_memory:
            self.encoded.source.check_unchanged()


class ShuffleBuffer:
    """Rows that wait, of which as many are drawn as come: neighbours in a file are far apart in an epoch.

    Args:
        rows: how many wait.
        generator: decides which are drawn.
    """

    def __init__(self, rows: int, generator: torch.Generator) -> None:
        self.rows, self.generator = max(1, rows), generator
        self.waiting: list[Batch] = []
        self.held = 0
        self.full: Batch | None = None

    def swap(self, batch: Batch) -> Batch | None:
        """Take in rows and return as many that waited; None until there are enough."""
        if self.full is None:
            self.waiting.append(batch)
            self.held += batch.rows
            if self.held >= self.rows:
                self.full, self.waiting = join(self.waiting), []
            return None
        if batch.rows > self.full.rows:
            return take(batch, torch.randperm(batch.rows, generator=self.generator))
        if batch.mask is not None and self.full.mask is None:
            self.full = self.full.replace(mask=torch.ones_like(self.full.x, dtype=torch.bool))
        places = torch.randperm(self.full.rows, generator=self.generator)[: batch.rows]
        drawn = take(self.full, places)
        self.full.x[places] = batch.x
        if self.full.mask is not None:
            self.full.mask[places] = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
        if self.full.condition is not None and batch.condition is not None:
            self.full.condition[places] = batch.condition
        return drawn

    def rest(self) -> Iterator[Batch]:
        """Yield the rows that still wait, mixed."""
        left = self.full if self.full is not None else join(self.waiting) if self.waiting else None
        if left is not None:
            for places in torch.randperm(left.rows, generator=self.generator).split(_REST):
                yield take(left, places)


def join(parts: list[Batch]) -> Batch:
    """Return blocks as one."""
    if len(parts) == 1:
        return parts[0]
    masks = None
    if any(part.mask is not None for part in parts):
        masks = torch.cat([torch.ones_like(p.x, dtype=torch.bool) if p.mask is None else p.mask for p in parts])
    conditions = [part.condition for part in parts if part.condition is not None]
    return Batch(torch.cat([part.x for part in parts]), masks, torch.cat(conditions) if conditions else None)


def _ahead(blocks: Iterator[Batch]) -> Iterator[Batch]:
    """Yield what an iterator yields, which a thread runs ahead of; its errors are raised here."""
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    stop = threading.Event()
    end = object()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for block in blocks:
                if not put(block):
                    return
            put(end)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="isthmus-reader", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
