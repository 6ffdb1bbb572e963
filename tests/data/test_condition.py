"""Conditional models: labels and numbers, told to encoder and decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Autoencoder, load, presets
from isthmus.data.condition import as_condition, labels_of
from isthmus.errors import DataError, RecipeError
from tests.helpers import small


def test_labels_become_one_column_for_each_class() -> None:
    assert labels_of(np.array([3, 1, 3])) == (1, 3)
    assert labels_of(["dog", "cat"]) == ("cat", "dog")
    assert labels_of(np.array([True, False])) == (0, 1)
    assert labels_of(np.zeros((3, 2))) is None
    conditions = as_condition([3, 1, 3], 3, (1, 3), 2)
    assert conditions is not None and conditions.tolist() == [[0, 1], [1, 0], [0, 1]]
    one = as_condition("cat", 2, ("cat", "dog"), 2)
    assert one is not None and one.tolist() == [[1, 0], [1, 0]]
    numbers = as_condition([[0.5, 2]], 1, None, 2)
    assert numbers is not None and numbers.tolist() == [[0.5, 2]]
    assert as_condition(None, 5, None, 0) is None


@pytest.mark.parametrize(
    ("condition", "rows", "labels", "width", "message"),
    [
        (None, 2, ("cat", "dog"), 2, "a condition of 2 values a row .one of the labels 'cat', 'dog'., got 0"),
        (["cow", "cat"], 2, ("cat", "dog"), 2, "no label 'cow'"),
        (["cat"], 2, ("cat", "dog"), 2, "one label for each of 2 rows"),
        (np.ones((2, 3)), 2, None, 2, "a condition of 2 values a row, got 3"),
        (np.ones((3, 2)), 2, None, 2, r"shape \(2, values\), got shape \(3, 2\)"),
    ],
)
def test_wrong_conditions_are_refused(condition: Any, rows: int, labels: Any, width: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_condition(condition, rows, labels, width)


def two_classes(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.3, (count, 4)) + np.where(y == 1, 3.0, -3.0)[:, None]
    return x, np.array(["left", "right"])[y]


def test_a_cvae_samples_the_class_that_was_asked_for_and_says_so_after_loading(tmp_path: Path) -> None:
    x, y = two_classes()
    recipe = presets.cvae(latent_dim=2, hidden_dims=(16,), epochs=40, batch_size=32)
    model = Autoencoder(recipe, random_state=0).fit(x, condition=y)
    for label, sign in (("left", -1), ("right", 1)):
        assert (sign * model.sample(50, condition=label, random_state=0).mean(1) > 0.5).all()
    again = load(model.save(tmp_path / "model"))
    assert again.schema_.condition_labels == ("left", "right")
    np.testing.assert_array_equal(
        again.sample(3, condition="left", random_state=1), model.sample(3, condition="left", random_state=1)
    )
    np.testing.assert_array_equal(again.transform(x[:5], condition=y[:5]), model.transform(x[:5], condition=y[:5]))
    between = model.interpolate(x[:1], x[1:2], 4, condition=[y[0]])
    assert between.shape == (1, 4, 4)
    with pytest.raises(DataError, match="no label 'middle'"):
        model.sample(1, condition="middle")


def test_a_conditional_recipe_refuses_to_be_told_nothing() -> None:
    with pytest.raises(RecipeError, match=r"conditional.*condition=labels"):
        Autoencoder(small(presets.cvae())).fit(two_classes()[0])
