"""Classifier and regressor on codes: frozen and fine-tuned, with labels for a part of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from isthmus import Autoencoder, LatentClassifier, LatentRegressor, presets
from isthmus.errors import DataError, RecipeError
from isthmus.recipe import Training

RECIPE = presets.autoencoder(latent_dim=2, hidden_dims=(16,), epochs=15, batch_size=32)
SHORT = Training(epochs=30, batch_size=16)


def clusters(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    centres = 2.0 * np.random.default_rng(5).standard_normal((3, 5))
    return centres[y] + 0.7 * rng.standard_normal((count, 5)), y


X, Y = clusters()
TEST, WANTED = clusters(seed=1)
NAMES = np.array(["a", "b", "c"])


@pytest.fixture(scope="module")
def base() -> Autoencoder:
    return Autoencoder(RECIPE, random_state=0).fit(X)


def weights(model: Autoencoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.composition_.state_dict().items()}


def test_a_frozen_encoder_is_left_alone_and_gives_logistic_regression_on_the_codes(base: Autoencoder) -> None:
    before = weights(base)
    model = LatentClassifier(base, fine_tune=False, training=SHORT, random_state=0).fit(X, NAMES[Y])
    for name, value in model.predictor_.autoencoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    reference = LogisticRegression().fit(base.transform(X), NAMES[Y])
    assert (model.predict(TEST) == reference.predict(base.transform(TEST))).mean() > 0.95
    probabilities = model.predict_proba(TEST)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (NAMES[probabilities.argmax(1)] == model.predict(TEST)).all()


def test_a_frozen_encoder_runs_as_in_use() -> None:
    """Its running averages stay where they were, and its dropout is off."""
    recipe = RECIPE.replace({"network.normalisation": "batch", "network.dropout": 0.3})
    base = Autoencoder(recipe, random_state=0).fit(X)
    before = weights(base)
    model = LatentClassifier(base, fine_tune=False, training=SHORT, random_state=0).fit(X, Y)
    for name, value in model.predictor_.autoencoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_fine_tuning_moves_the_encoder_of_a_copy_and_not_the_decoder(base: Autoencoder) -> None:
    before = weights(base)
    model = LatentClassifier(base, training=SHORT, random_state=0).fit(X, Y)
    after = model.predictor_.autoencoder.state_dict()
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert any("encoder" in name for name in moved) and not any("decoder" in name for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in base.composition_.state_dict().items())
    assert model.score(TEST, WANTED) > 0.9


@pytest.mark.parametrize("unlabelled", [-1, None, float("nan")])
def test_rows_without_a_label_teach_no_class(base: Autoencoder, unlabelled: Any) -> None:
    y: Any = list(Y)
    for row in range(30, 300):
        y[row] = unlabelled
    model = LatentClassifier(base, fine_tune=False, training=SHORT, random_state=0).fit(X, y)
    alone = LatentClassifier(base, fine_tune=False, training=SHORT, random_state=0).fit(X[:30], Y[:30])
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_allclose(model.predict_proba(TEST), alone.predict_proba(TEST), atol=1e-6)


def test_joint_training_learns_from_rows_without_labels_too(base: Autoencoder) -> None:
    y = np.where(np.arange(300) < 30, Y, -1)
    model = LatentClassifier(base, reconstruction_weight=0.5, training=SHORT, random_state=0).fit(X, y)
    row = model.history_.rows[-1]
    assert row["train/total"] == pytest.approx(row["train/prediction"] + 0.5 * row["train/reconstruction"], rel=0.05)
    assert model.score(TEST, WANTED) > 0.85


def test_a_regressor_predicts_in_units() -> None:
    target = 100.0 + 50.0 * X[:, 0]
    target[:50] = np.nan
    model = LatentRegressor(RECIPE, training=Training(epochs=80, batch_size=16), random_state=0).fit(X, target)
    wanted = 100.0 + 50.0 * TEST[:, 0]
    assert model.predict(TEST).shape == (300,)
    assert model.score(TEST, wanted) > 0.9
    both = LatentRegressor(RECIPE, training=SHORT, random_state=0).fit(X, np.stack([target, -target], 1))
    assert both.predict(TEST).shape == (300, 2)


def test_what_cannot_be_learned_is_refused(base: Autoencoder) -> None:
    with pytest.raises(DataError, match="a label for some of the rows"):
        LatentClassifier(base).fit(X, np.full(300, -1))
    with pytest.raises(DataError, match="one label for each of 300 rows"):
        LatentClassifier(base).fit(X, Y[:5])
    with pytest.raises(DataError, match="two classes"):
        LatentClassifier(base).fit(X, np.zeros(300, int))
    with pytest.raises(DataError, match="expecting 5 features"):
        LatentClassifier(base).fit(X[:, :3], Y)
    with pytest.raises(RecipeError, match="reconstruction_weight"):
        LatentClassifier(base, reconstruction_weight=-1.0).fit(X, Y)
    conditions = Autoencoder(RECIPE, random_state=0).fit(X, condition=Y)
    with pytest.raises(RecipeError, match="is conditional"):
        LatentClassifier(conditions).fit(X, Y)
