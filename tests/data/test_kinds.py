"""What every kind of row keeps: opened, encoded, decoded, saved and refused, for each line of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from isthmus.data.encoded import EncodedRows
from isthmus.data.kinds import ROW_KINDS, check_compatible, encoding_fitter, encoding_of
from isthmus.data.open import open_source
from isthmus.errors import DataError
from isthmus.recipe.auto import preprocessing_for
from isthmus.schema import Schema

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (12, 1, 4, 4)).astype(np.uint8)
RATINGS = pa.table({"user": [0, 0, 1, 1, 2], "item": [5, 7, 5, 9, 7], "rating": [1.0, 4.0, 5.0, 2.0, 3.0]})
OTHER_RATINGS = pa.table({"user": [0, 1], "item": [1, 2], "rating": [1.0, 2.0]})

# Of each kind: rows, what `rows=` says of them, and rows that are not those of a model of the first.
EXAMPLES: dict[str, tuple[Any, str | None, Any]] = {
    "vector": (RNG.random((12, 3)), None, RNG.random((4, 5))),
    "table": (pa.table({"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"]}), None, pa.table({"c": [1.0]})),
    "image": (PIXELS, "image:1x4x4", PIXELS[:, :, :3]),
    "series": (RNG.random((40, 2)), "series:8", RNG.random((40, 3))),
    "tokens": (["abc", "cab", "bca"], "tokens", RNG.random((3, 99))),
    "ratings": (RATINGS, "ratings", OTHER_RATINGS),
}
KINDS = pytest.mark.parametrize("kind", ROW_KINDS)


def fitted(kind: str) -> tuple[Any, Schema, Any]:
    rows, spec, _ = EXAMPLES[kind]
    source = open_source(rows, rows=spec)
    fitter = encoding_fitter(source)
    encoding, schema = fitter.encoding(preprocessing_for("auto_error", fitter.schema))
    return source, schema, encoding


def test_each_kind_has_an_example() -> None:
    missing = ROW_KINDS.keys() - EXAMPLES.keys()
    assert not missing, f"add rows of the kind(s) {sorted(missing)} to EXAMPLES in tests/data/test_kinds.py"
    assert all(kind.name == name for name, kind in ROW_KINDS.items())


@KINDS
def test_rows_are_opened_as_their_kind(kind: str) -> None:
    source, schema, _ = fitted(kind)
    assert source.kind == schema.kind == kind
    assert ("columns" if kind == "table" else kind) in schema.describe()


@KINDS
def test_rows_come_back_from_their_encoding(kind: str) -> None:
    source, schema, encoding = fitted(kind)
    batch = next(iter(EncodedRows(source, schema, encoding, None, True).batches()))
    assert tuple(batch.x.shape) == (len(source), *schema.row)
    back = encoding.inverse(batch.x.numpy(), schema.dtype)
    block = source.take(np.arange(len(source)))
    if isinstance(block, pa.Table):
        assert back["b"].to_pylist() == block["b"].to_pylist()
        np.testing.assert_allclose(back["a"], block["a"], atol=1e-4)
    else:
        dense = block.toarray() if hasattr(block, "toarray") else block
        np.testing.assert_allclose(np.asarray(back, float), np.asarray(dense, float), atol=1e-4)


@KINDS
def test_a_saved_encoding_is_the_same(kind: str) -> None:
    source, schema, encoding = fitted(kind)
    again = Schema.from_dict(schema.to_dict())
    assert again.to_dict() == schema.to_dict()
    restored = encoding_of(again, preprocessing_for("auto_error", schema), encoding.state())
    first, second = (
        next(iter(EncodedRows(source, s, e, None, True).batches())).x
        for s, e in ((schema, encoding), (again, restored))
    )
    assert first.equal(second)


@KINDS
def test_rows_of_the_model_are_taken_and_others_refused(kind: str) -> None:
    rows, _, others = EXAMPLES[kind]
    _, schema, _ = fitted(kind)
    source = open_source(rows, like=schema)
    check_compatible(source, schema)
    assert source.kind == kind
    with pytest.raises(DataError):
        check_compatible(open_source(others, like=schema), schema)


def test_windows_in_memory_are_scaled_by_channel() -> None:
    rows = RNG.normal(size=(50, 6, 2)) * [1.0, 100.0] + np.arange(6)[:, None]
    fitter = encoding_fitter(open_source(rows, rows="series:6x2"))
    scale = np.broadcast_to(fitter.encoding("standard")[0].state()["scale"], (6, 2))
    assert np.ptp(scale, axis=0).max() == 0 and scale[0, 1] > 10 * scale[0, 0]
