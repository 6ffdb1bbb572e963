"""What a row is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from isthmus.errors import ArtifactError, DataError
from isthmus.schema import Batch, Schema


@pytest.mark.parametrize(
    ("x", "kind", "shape", "binary", "unit"),
    [
        (np.array([[0.0, 1.0]]), "vector", (2,), True, True),
        (np.array([[0.0, 0.5]]), "vector", (2,), False, True),
        (np.array([[0.0, 2.0]]), "vector", (2,), False, False),
        (np.array([[-1.0, 1.0]]), "vector", (2,), False, False),
        (np.array([[0, 1]], "u1"), "vector", (2,), True, True),
        (np.array([[0, 9]], "u1"), "vector", (2,), False, True),
        (np.array([[True]]), "vector", (1,), True, True),
        (np.zeros((2, 4, 5)), "image", (4, 5), True, True),
        (np.zeros((2, 3, 4, 5)), "image", (3, 4, 5), True, True),
    ],
)
def test_a_schema_is_inferred(x: np.ndarray, kind: str, shape: tuple[int, ...], binary: bool, unit: bool) -> None:
    schema = Schema.of(x)
    assert (schema.kind, schema.shape, schema.binary, schema.in_unit_interval) == (kind, shape, binary, unit)
    assert (schema.low, schema.high, schema.dtype) == (x.min(), x.max(), str(x.dtype))
    assert schema.width == x[0].size
    schema.check(x)


def test_a_schema_is_json() -> None:
    schema = Schema.of(np.zeros((2, 3)), ("a", "b", "c"), 2)
    assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.describe() == "vector rows of shape 3, float64, values 0 to 0"
    for name in dataclasses.asdict(schema):
        if name in ("condition_dim", "binary", "condition_labels", "whole", "columns", "metadata"):
            continue  # they have defaults
        with pytest.raises(ArtifactError, match=r"schema.json does not describe a row"):
            Schema.from_dict({k: v for k, v in schema.to_dict().items() if k != name})


@pytest.mark.parametrize(
    ("x", "whole"),
    [
        (np.array([[0.0, 3.0]]), True),
        (np.array([[-2.0, 3.0]]), True),
        (np.array([[0.0, 0.5]]), False),
        (np.array([[0, 9]], "u1"), True),
        (np.array([[True]]), True),
        (np.array([[1e300, 2.0]]), True),
        (np.array([*[[1.0]] * 150, [1.5]]), False),
    ],
)
def test_whole_numbers_are_known(x: np.ndarray, whole: bool) -> None:
    assert Schema.of(x).whole is whole


def test_a_schema_of_an_older_model_does_not_state_whole_numbers() -> None:
    for x in (np.array([[0.0, 1.0]]), np.array([[0.0, 0.5]])):
        schema = Schema.of(x)
        older = {name: value for name, value in schema.to_dict().items() if name != "whole"}
        assert Schema.from_dict(older) == schema


def test_rows_of_another_schema_are_refused() -> None:
    schema = Schema.of(np.zeros((2, 3)), ("a", "b", "c"))
    schema.check(np.zeros((5, 3)))
    schema.check(np.zeros((5, 3)), ("a", "b", "c"))
    with pytest.raises(DataError, match="expecting 3 features"):
        schema.check(np.zeros((5, 2)))
    with pytest.raises(DataError, match="another order"):
        schema.check(np.zeros((5, 3)), ("a", "c", "b"))


def test_replace_leaves_the_batch_alone() -> None:
    batch = Batch(torch.zeros(2, 3))
    other = batch.replace(target=torch.ones(2, 3))
    assert batch.target is None and batch.wanted is batch.x and other.wanted is other.target
    assert other.x is batch.x and other.rows == 2


@pytest.mark.parametrize("hole", [1.0, float("nan"), float("inf")])
def test_observed_is_zero_where_nothing_was_seen(hole: float) -> None:
    x, mask = torch.tensor([[1.0, hole]]), torch.tensor([[True, False]])
    batch = Batch(x, mask, target=torch.tensor([[2.0, hole]])).observed()
    assert batch.x.tolist() == [[1.0, 0.0]] and batch.target is not None and batch.target.tolist() == [[2.0, 0.0]]
    whole = Batch(x)
    assert whole.observed() is whole
