"""What the comparisons of detectors rest on: rows are split as the protocol says, and runs are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

tables = pytest.importorskip("benchmarks.anomaly.tables", reason="the benchmarks are not beside the tests")
intrusions = pytest.importorskip("benchmarks.anomaly.intrusions")


def test_equal_rows_are_never_on_both_sides_and_rows_of_both_kinds_are_left_out(tmp_path: Path) -> None:
    rows = np.repeat(np.arange(40.0), 2)[:, None] * [1.0, 2.0]
    labels = np.repeat(np.arange(40) >= 30, 2).astype(int)
    labels[[0, 79]] = 1, 0  # a normal row and an anomaly that are there as the other kind too
    path = tmp_path / "1_some.npz"
    np.savez(path, X=rows, y=labels)
    different, anomaly = tables.load(path)
    assert len(different) == 38 and anomaly.sum() == 9

    train, test, tested = tables.split(different, anomaly, seed=0)
    assert len(train) == 14 and len(test) == 24 and tested.sum() == 9
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    assert train.max() < 60  # normal rows only


def test_columns_are_standardised_by_the_training_rows() -> None:
    train, test = tables.standardised(np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[3.0, 6.0]]))
    assert train.tolist() == [[-1.0, 0.0], [1.0, 0.0]] and test.tolist() == [[2.0, 1.0]]


def test_runs_are_kept_and_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    kept = tables.Run("knn", "wdbc", 0, auroc=0.5, normal=10)
    tables.Cache(path).add(kept)
    # The table's file is not there: running it again would fail.
    found = list(tables.measured({"wdbc": tmp_path / "none.npz"}, ["knn"], 1, tables.Cache(path)))
    assert found == [kept]


def test_a_method_that_failed_says_so_in_the_table() -> None:
    runs = [tables.Run("knn", "wdbc", 0, failed="ValueError: no"), tables.Run("pca", "wdbc", 0, auroc=0.75)]
    text = tables.detection_table(runs, ["wdbc"], ["knn", "pca"])
    assert "failed: ValueError: no" in text and "75.0 ± 0.0" in text


def test_categories_become_a_column_each_by_the_training_rows() -> None:
    train = pa.table({"flag": ["a", "b"], "count": [0, 2]})
    test = pa.table({"flag": ["c"], "count": [4]})
    first, second = intrusions.one_hot(train, test)
    assert first.tolist() == [[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]
    assert second.tolist() == [[-1.0, -1.0, 3.0]]
