"""The population stability index by hand, over blocks, with holes and with categories."""

from __future__ import annotations

import math

import numpy as np
import torch

from isthmus.applications.anomaly.drift import Drift, Reference, compare
from isthmus.schema import Batch, Schema


def batch(values: np.ndarray) -> Batch:  # type: ignore[type-arg]
    mask = torch.from_numpy(~np.isnan(values)) if np.isnan(values).any() else None
    return Batch(torch.from_numpy(np.nan_to_num(values).astype(np.float32)), mask)


def test_the_index_by_hand() -> None:
    """All rows in one tenth of the training rows: sum (q - p) log(q / p) with p = 0.1 and q = 1 or 0."""
    training = np.arange(1000.0)[:, None]
    schema = Schema.of(training)
    reference = Reference.of(batch(training))
    assert reference is not None
    found = reference.stability([batch(np.full((50, 1), 950.0))], schema)
    least = 0.01  # half of 50 rows
    assert math.isclose(found["column 0"], 0.9 * math.log(10) + 9 * (least - 0.1) * math.log(least / 0.1), rel_tol=1e-3)
    same = reference.stability([batch(training[:500:1]), batch(training[500:])], schema)
    assert same["column 0"] < 1e-9


def test_holes_count_nowhere() -> None:
    training = np.random.default_rng(0).normal(size=(2000, 2))
    holed = training.copy()
    holed[::2, 0] = np.nan
    reference = Reference.of(batch(training))
    assert reference is not None
    assert max(reference.stability([batch(holed)], Schema.of(training)).values()) < 0.02


def test_wide_rows_have_no_columns_to_name() -> None:
    assert Reference.of(batch(np.zeros((2, 5000)))) is None


def test_sentences() -> None:
    calibration = np.random.default_rng(0).normal(size=500)
    same = compare(calibration, np.random.default_rng(1).normal(size=500), {"a": 0.1})
    assert not same.found and same.sentence.startswith("no drift")
    columns = compare(calibration, calibration, {"a": 0.3, "b": 0.1})
    assert columns.found and "a (0.30)" in columns.sentence and "b (" not in columns.sentence
    assert Drift(0.5, 1e-9, {}).found and compare(calibration, calibration + 1, {}).p_value < 1e-9
