"""From what the user has to what training takes: opened, surveyed, split, encoded."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isthmus.data.arrays import as_rows
from isthmus.data.batches import BatchSource, Loader, split, take
from isthmus.data.condition import as_condition, labels_of
from isthmus.data.encoded import NONE, EncodedRows, fit_in_memory
from isthmus.data.encoding import Encoding
from isthmus.data.in_memory import TableRows
from isthmus.data.kinds import encoding_fitter
from isthmus.data.open import open_source, warn_of
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.source import Source
from isthmus.data.streaming import StreamingBatches
from isthmus.data.tables.dataframes import frame_name
from isthmus.errors import DataError, explain
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.seeds import derive
from isthmus.training.device import choose_device
from isthmus.typing import Array, Integers

# Of rows that are read anew in every epoch so many, and so many numbers, are held out at most: these lie in memory.
_MOST_HELD = 20_000
_MOST_HELD_VALUES = 1 << 25


@dataclass(frozen=True)
class TrainingData:
    """What training starts from.

    Attributes:
        recipe: resolved.
        schema: what a row is, with all that was fitted.
        encoding: fitted on the training rows.
        data: the training rows, or what they are read from.
        validation: the rows that are held out; None if there are none.
        reading: all rows.
    """

    recipe: Recipe
    schema: Schema
    encoding: Encoding
    data: BatchSource
    validation: Batch | None
    encoded: EncodedRows

    @property
    def held_rows(self) -> int:
        """How many rows are held out."""
        return 0 if self.validation is None else self.validation.rows

    def in_memory(self, what: str) -> Batch:
        """Return the training rows, or refuse to do something that needs all of them at once."""
        if isinstance(self.data, Loader):
            return self.data.data
        got = f"{self.data.rows} that are read from disk in every epoch"
        raise DataError(f"{what}: " + explain("rows that fit into memory", got, f"training.{what}=0, or fewer rows"))

    def digest(self) -> str:
        """Return a hash of everything that decides the trained weights."""
        digest = hashlib.sha256(self.recipe.digest().encode())
        digest.update(self.encoded.source.fingerprint().encode())
        if self.encoded.conditions is not None:
            digest.update(np.ascontiguousarray(self.encoded.conditions).data)
        return digest.hexdigest()


def prepare(X: Any, recipe: Recipe, condition: Any = None, excluded: Integers = NONE) -> TrainingData:
    """Open, survey, split and encode the rows that a model is to be trained on.

    Args:
        X: what `open_source` takes.
        recipe: what is to be trained.
        condition: of a conditional model.
        excluded: numbers of rows, in order, that nothing is fitted on: not the scaling, not the weights, and no epoch
            is chosen by them.

    Raises:
        RecipeError: for a recipe that does not fit the data.
        DataError: for data that cannot be used.
    """
    source = open_source(X, missing=recipe.missing == "mask")
    warn_of(source, X)
    conditions, width, labels = _condition(condition, len(source))
    settings = recipe.training
    device = choose_device(settings.device)
    held = np.setdiff1d(_held_out(source, settings.validation_fraction, settings.seed), excluded)
    left_out = np.union1d(held, excluded)
    found = encoding_fitter(source, left_out)
    schema = dataclasses.replace(found.schema, condition_dim=width, condition_labels=labels)
    recipe = recipe.resolve(schema, len(source) - len(left_out))
    encoding, fitted = found.encoding(recipe.preprocessing)
    # A table remembers the library of its frame, for what is decoded from codes alone.
    frame = {"frame": frame_name(source.like)} if isinstance(source, TableRows) and source.like is not None else {}
    metadata = {**source.metadata, **(fitted.metadata or {}), **frame}
    schema = dataclasses.replace(schema, columns=fitted.columns, metadata=metadata or None)
    encoded = EncodedRows(source, schema, encoding, conditions, recipe.missing == "mask")
    block = None if len(excluded) else found.held
    batch_size = int(recipe.training.batch_size)
    data, validation = _feeds(encoded, (held, left_out), block, batch_size, settings.seed, device)
    return TrainingData(recipe, schema, encoding, data, validation, encoded)


def _held_out(source: Source, fraction: float, seed: int) -> Integers:
    """Return the numbers of the rows that are held out, in order: of many rows, few enough to lie in memory."""
    rows = len(source)
    if isinstance(source, SeriesWindows):
        return source.held_out(fraction, seed)
    if fit_in_memory(source, source.width):
        return split(rows, fraction, seed)[1].numpy()
    most = max(1, min(_MOST_HELD, _MOST_HELD_VALUES // source.width, round(rows * fraction)))
    if not fraction or rows < 4:
        return NONE
    # Drawn without an order of all rows, which would take more memory than the training.
    generator = np.random.default_rng(derive(seed, "split"))
    return np.sort(generator.choice(rows, min(most, rows - 2), replace=False, shuffle=False))


def _feeds(
    encoded: EncodedRows, out: tuple[Integers, Integers], block: Any, batch_size: int, seed: int, device: torch.device
) -> tuple[BatchSource, Batch | None]:
    """Return the training rows, and those held out: `out` are their numbers, and those of all that is left out."""
    held, left_out = out
    conditions = None if encoded.conditions is None else encoded.conditions[held]
    validation = None
    if len(held):
        validation = (encoded.whole(held) if block is None else encoded.batch(block, conditions, held)).to(device)
    if encoded.fits:
        kept = np.delete(np.arange(len(encoded)), left_out)
        return Loader(encoded.whole(kept).to(device), batch_size, seed), validation
    return StreamingBatches(encoded, left_out, batch_size, seed, device), validation


def spread(data: Batch, rows: int) -> Batch:
    """Return about `rows` rows from all over the data, which may be sorted."""
    step = max(1, data.rows // rows)
    return take(data, torch.arange(0, data.rows, step, device=data.x.device)[:rows])


def _condition(condition: Any, rows: int) -> tuple[Array | None, int, tuple[int | str, ...] | None]:
    """Return a condition as the parts see it, its width, and its labels if it is labels."""
    if condition is None:
        return None, 0, None
    labels = labels_of(condition)
    width = len(labels) if labels is not None else math.prod(as_rows(condition).values.shape[1:])
    return as_condition(condition, rows, labels, width), width, labels
