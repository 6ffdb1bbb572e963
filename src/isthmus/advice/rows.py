"""The rows that are measured: arrays unchanged, and tables encoded as for the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.data.arrays import as_rows
from isthmus.data.fit_encoding import EncodingFitter
from isthmus.data.in_memory import TableRows
from isthmus.data.kinds import encoding_fitter
from isthmus.data.open import open_source
from isthmus.data.source import Source
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array

# Of more rows that lie on disk, so many that are spread evenly are measured.
_MOST_ON_DISK = 100_000
# Recipes to start from, where nothing can be measured.
_STARTS = {
    "series": "lstm_autoencoder, or gru_autoencoder",
    "tokens": "autoencoder, or vae",
    "ratings": "autoencoder, or vae",
}


def rows_to_measure(X: Any) -> tuple[Array, Schema]:
    """Return rows `(rows, *shape)` to measure, and their schema.

    Raises:
        DataError: for series, texts and ratings, which are not measured.
    """
    source = open_source(X)
    if source.kind in _STARTS:
        got = f"{source.kind} rows"
        advice = f"--recipe {_STARTS[source.kind]}, as it is"
        raise DataError(explain("a table, vectors or images to measure", got, advice))
    if source.kind == "table":
        found = encoding_fitter(source)
        if not _is_plain(source, found.schema):
            return _encoded(source, found)
    if isinstance(source, TableRows):
        rows = as_rows(source.table if source.like is None else source.like)
        return rows.values, Schema.of(rows.values, rows.names)
    values = _taken(source)
    if source.kind == "table":
        values = np.column_stack([column.to_numpy() for column in values.columns])
    return values, Schema.of(values, getattr(source, "names", None) if values.ndim == 2 else None)


def _is_plain(source: Source, schema: Schema) -> bool:
    """Return whether all columns of a table are numeric without missing values, with no kind stated."""
    if source.stated.kinds or source.stated.scales:
        return False
    return all(column.kind in ("numeric", "binary") and not column.missing for column in schema.columns or ())


def _encoded(source: Source, found: EncodingFitter) -> tuple[Array, Schema]:
    encoding, schema = found.encoding("columns")
    rows = encoding.forward(_taken(source))
    # Zero is the mean of a number, and what the network sees of a value that is missing.
    rows = np.nan_to_num(rows, copy=False)
    # Places of categories that no row has tell nothing, and are no columns of the user's.
    varying = (rows != rows[0]).any(0)
    return rows[:, varying] if varying.any() else rows, schema


def _taken(source: Source) -> Any:
    values = getattr(source, "values", None)
    if values is not None:
        return values
    count = len(source)
    if source.in_memory or count <= _MOST_ON_DISK:
        return source.take(np.arange(count))
    return source.take(np.linspace(0, count - 1, _MOST_ON_DISK).astype(np.int64))
