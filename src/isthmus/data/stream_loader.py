"""Batches of rows that are read anew in every epoch, while the step before is taken."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from isthmus.data.loader import Feed, take
from isthmus.data.reading import Reading, block_rows, select
from isthmus.data.source import Numbers
from isthmus.schema import Batch
from isthmus.seeds import derive

# Blocks that wait to be trained on; each is some megabytes.
_AHEAD = 2
# Rows that stand for all in what is measured on some.
_SAMPLE = 5000
# An order that no epoch has.
_SAMPLE_EPOCH = 1 << 30


class StreamLoader(Feed):
    """Batches from a source that is read in shuffled blocks, in an order that (seed, epoch) alone decides.

    Batches have `batch_size` rows or one less, as `Loader` deals them. A thread reads and encodes ahead.

    Args:
        reading: all rows.
        held: row numbers, sorted, that are held out.
        batch_size: the largest batch.
        seed: decides the order, together with the epoch.
        device: where batches are put.
    """

    def __init__(self, reading: Reading, held: Numbers, batch_size: int, seed: int, device: torch.device) -> None:
        self.reading, self.held, self.batch_size, self.seed, self.device = reading, held, batch_size, seed, device
        self.rows = len(reading) - len(held)
        self._some: Batch | None = None

    @property
    def some(self) -> Batch:
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
        sizes = [len(part) for part in np.array_split(np.empty(self.rows, np.int8), self.steps)]
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
        """Yield the training rows in shuffled blocks, each of them mixed: numbers are mixed faster than tables."""
        generator = torch.Generator().manual_seed(derive(self.seed, "mixing", epoch))
        told = self.reading.told
        most = block_rows(self.reading.schema)
        for numbers, block in self.reading.source.shuffled(self.seed, epoch):
            inside = ~np.isin(numbers, self.held)
            block, numbers = (block, numbers) if inside.all() else (select(block, inside), numbers[inside])
            parts = []
            for start in range(0, len(numbers), most):
                part = slice(start, start + most)
                rows = block.slice(start, most) if hasattr(block, "slice") else block[part]
                parts.append(self.reading.batch(rows, None if told is None else told[numbers[part]]))
            if parts:
                yield take(join(parts), torch.randperm(len(numbers), generator=generator))
        self.reading.source.check_unchanged()


def join(parts: list[Batch]) -> Batch:
    """Return blocks as one."""
    if len(parts) == 1:
        return parts[0]
    masks = None
    if any(part.mask is not None for part in parts):
        masks = torch.cat([torch.ones_like(p.x, dtype=torch.bool) if p.mask is None else p.mask for p in parts])
    told = [part.condition for part in parts if part.condition is not None]
    return Batch(torch.cat([part.x for part in parts]), masks, torch.cat(told) if told else None)


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
