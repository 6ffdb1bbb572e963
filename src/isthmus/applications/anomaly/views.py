"""What the scores of rows have in common: the codes and reconstructions of a block, computed once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from isthmus.data.batches import take
from isthmus.data.images.axes import channel_axis
from isthmus.estimator.inference import Inference
from isthmus.schema import Batch
from isthmus.typing import Doubles, Floats


class View:
    """Encoded rows as one autoencoder sees them, where each part is computed when it is first asked for."""

    def __init__(self, inference: Inference, batch: Batch) -> None:
        self.inference, self.batch = inference, batch

    @cached_property
    def codes(self) -> Floats:
        """The codes, `(rows, width)`, float32."""
        return self.inference.codes(self.batch)

    @cached_property
    def expected(self) -> Floats:
        """What the rows are rebuilt as, in encoded units, `(rows, *shape)`."""
        return self.inference.expected(self.batch)

    @cached_property
    def errors(self) -> Doubles:
        """Squared errors in encoded units, float64, `(rows, values)`; zero where nothing was observed."""
        return squared_errors(self.batch, self.expected)

    def take(self, rows: torch.Tensor) -> View:
        """Return a view of some of the rows."""
        return View(self.inference, take(self.batch, rows))


def squared_errors(batch: Batch, expected: Floats) -> Doubles:
    """Return ``(x - expected)^2`` of each value, `(rows, values)`; zero where nothing was observed."""
    found: Doubles = np.square(batch.wanted.cpu().numpy().astype(np.float64) - expected).reshape(batch.rows, -1)
    if batch.mask is not None:
        found[~batch.mask.cpu().numpy().reshape(batch.rows, -1)] = 0.0
    return found


def by_row(batch: Batch, errors: Doubles) -> Doubles:
    """Return the sum of a row's errors, `(rows,)`, as if all of its values had been observed.

    Or a row would be the less strange the less is known of it. Of one with nothing at all it is infinite.
    """
    found: Doubles = errors.sum(1)
    if batch.mask is None:
        return found
    seen = batch.mask.cpu().numpy().reshape(batch.rows, -1).sum(1)
    share = np.maximum(seen, 1) / errors.shape[1]
    return np.where(seen > 0, found / share, np.inf)


def wanted_of(view: View) -> tuple[Floats, Floats]:
    """Return images and what they are rebuilt as, channels first, equal where nothing was observed."""
    x, y = view.batch.wanted.cpu().numpy(), view.expected.reshape(view.batch.wanted.shape)
    if view.batch.mask is not None:
        x = np.where(view.batch.mask.cpu().numpy(), x, y)
    if channel_axis(view.inference.schema.shape) == 2:
        x, y = np.moveaxis(x, -1, 1), np.moveaxis(y, -1, 1)
    return x, y
