"""Whether rows are rows of a fitted model, whatever they are read from."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.data.files.npy import NpyRows
from isthmus.data.in_memory import ArrayRows
from isthmus.data.source import Source
from isthmus.data.tables.encoding import check_table
from isthmus.errors import DataError, explain
from isthmus.schema import Schema

# What the numbers of a row stand for, by kind of row; other ones would be taken for the model's in silence.
_MEANINGS = {"vocabulary": "vocabulary", "items": "items", "channels": "channels"}


def check_compatible(source: Source, schema: Schema) -> None:
    """Raise `DataError` unless the rows of a source are rows of a schema: of its kind, shape, type and meaning."""
    if isinstance(source, ArrayRows):
        schema.check(source.values, source.names)
        return
    if source.kind != schema.kind:
        expected = f"{schema.kind} rows (the rows of the training data)"
        raise DataError(explain(expected, f"{source.kind} rows", "rows like them"))
    if source.kind == "table":
        check_table(schema, source.schema)  # type: ignore[attr-defined]
        return
    for name, what in _MEANINGS.items():
        wanted, got = (schema.metadata or {}).get(name), source.metadata.get(name)
        if wanted is not None and got is not None and wanted != got:
            advice = "the rows themselves, or isthmus.read(..., like=model.schema_)"
            raise DataError(explain(f"the {what} of the model", "others", advice))
    if isinstance(source, NpyRows) or source.kind == "image":
        shape, kind = _row(source)
        _check_shape(schema, shape)
        if schema.dtype in ("uint8", "uint16") and kind in ("uint8", "uint16") and kind != schema.dtype:
            raise DataError(explain(f"{schema.dtype} values, as in training", f"{kind} values", "images of one depth"))
    else:
        _check_shape(schema, tuple(source.take(np.arange(min(1, len(source)))).shape[1:]))


def _row(source: Any) -> tuple[tuple[int, ...], str]:
    shape = source.shape[1:] if isinstance(source, NpyRows) else source.shape
    return tuple(shape), str(source.dtype)


def _check_shape(schema: Schema, shape: tuple[int, ...]) -> None:
    if shape != schema.shape:
        wanted, got = ("x".join(map(str, sizes)) for sizes in (schema.shape, shape))
        advice = f"--rows {schema.kind}:{wanted}" if schema.kind == "image" else "rows of the training shape"
        raise DataError(explain(f"rows of shape {wanted} (the rows of the training data)", f"{got}", advice))
