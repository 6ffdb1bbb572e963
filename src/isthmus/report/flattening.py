"""Models of tables as models of arrays, which is what pages draw."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.data.arrays import Rows
from isthmus.data.encoding import Standard
from isthmus.data.in_memory import ArrayRows
from isthmus.data.source import Source
from isthmus.data.tables.encoding import places
from isthmus.errors import DataError, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.schema import Column

# Kinds of rows that a page does not draw yet, and what they are.
_UNDRAWN = {"tokens": "lines of text", "ratings": "ratings"}
# Scalings after which a column is still a line in its own unit.
_LINES = ("standard", "robust", "unit", "none")


def flattened(models: Mapping[str, Autoencoder], rows: Any) -> tuple[dict[str, Autoencoder], Any]:
    """Return models and rows as they are, or those of tables as vectors: a place for each number, bit and category.

    Numbers keep their unit, unless they are bent by a logarithm or by quantiles. A value that is missing is the mean.

    Raises:
        DataError: for models of tables whose columns differ, and for models of text and of ratings.
    """
    first = next(iter(models.values()))
    columns = first.schema_.columns if hasattr(first, "schema_") else None
    if columns is None:
        if hasattr(first, "schema_") and first.schema_.kind in _UNDRAWN:
            expected, got = "a model of tables, vectors, images or series", f"one of {_UNDRAWN[first.schema_.kind]}"
            raise DataError(explain(expected, got, "isthmus inspect MODEL, reconstruct or score, which know them"))
        return dict(models), _array(rows) if isinstance(rows, Source) else rows
    for name, model in models.items():
        if model.schema_.columns != columns:
            raise DataError(explain("models that were fitted on the same rows", f"{name!r} on others", "a page each"))
    encoded = first.encoded_rows(rows, alone=True)
    x = encoded.whole(np.arange(len(encoded))).x.numpy()
    encoding, names = _lines(columns)
    values = encoding.inverse(x, "float64")
    schema = replace(
        first.schema_,
        kind="vector",
        shape=(x.shape[1],),
        columns=None,
        metadata=None,
        names=names,
        low=float(values.min()),
        high=float(values.max()),
    )
    found = {}
    for name, model in models.items():
        plain = copy.copy(model)
        plain.schema_, plain.encoding_ = schema, encoding
        plain.recipe_ = replace(model.recipe_, preprocessing="standard")
        found[name] = plain
    return found, Rows(values, names)


def _array(source: Source) -> Rows:
    blocks = list(source.blocks(1 << 12))
    values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return Rows(values, source.names if isinstance(source, ArrayRows) else None)


def _lines(columns: tuple[Column, ...]) -> tuple[Standard, tuple[str, ...]]:
    """Return the scaling of each place of an encoded row, and its name."""
    width = sum(column.width for column in columns)
    offset, scale, names = np.zeros(width), np.ones(width), [""] * width
    for column, place in zip(columns, places(columns), strict=True):
        if column.kind == "categorical":
            labels = [f"{column.name}={value}" for value in column.values]
            names[place] = [*labels, f"{column.name}=(other)"]
        elif column.kind != "empty":
            line = column.scaling in _LINES
            names[place] = [column.name if line else f"{column.scaling} of {column.name}"]
            if line:
                offset[place], scale[place] = column.offset, column.scale
    return Standard(offset, scale), tuple(names)
