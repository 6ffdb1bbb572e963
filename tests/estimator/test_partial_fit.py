"""Training on a stream of batches, one call after the other."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus import Autoencoder, load, presets
from isthmus.errors import DataError, TrainingError
from tests.helpers import small


def line(rows: int, seed: int) -> np.ndarray:
    """Return rows on a line in six columns."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 1)) @ np.arange(1.0, 7.0)[None] + 0.1 * rng.standard_normal((rows, 6))


RECIPE = small(presets.autoencoder(latent_dim=1))


def stream(model: Autoencoder, calls: int, rows: int = 256) -> Autoencoder:
    for call in range(calls):
        model.partial_fit(line(rows, call))
    return model


def test_a_stream_teaches_as_a_fit_does() -> None:
    fresh = line(500, 99)
    model = stream(Autoencoder(RECIPE, random_state=0), 60)
    error = np.square(model.reconstruct(fresh) - fresh).mean()
    whole = Autoencoder(RECIPE.replace({"training.epochs": 60}), random_state=0).fit(line(256, 0))
    assert error < 1.5 * np.square(whole.reconstruct(fresh) - fresh).mean() < 0.1 * fresh.var()
    assert len(model.history_) == 60 and model.metrics_["training_rows"] == 60 * 256
    losses = [row["train/total"] for row in model.history_.rows]
    assert losses[-1] < 0.2 * losses[0]


def test_the_same_stream_gives_the_same_weights() -> None:
    first, second = (stream(Autoencoder(presets.vae(latent_dim=2), random_state=3), 4) for _ in range(2))
    for a, b in zip(first.composition_.parameters(), second.composition_.parameters(), strict=True):
        assert torch.equal(a, b)
    other = stream(Autoencoder(presets.vae(latent_dim=2), random_state=4), 4)
    assert not torch.equal(next(first.composition_.parameters()), next(other.composition_.parameters()))


def test_terms_have_their_final_weights() -> None:
    """An annealed term of a stream would stay at the weight of its first step."""
    model = stream(Autoencoder(presets.beta_vae(beta=4.0, warmup_share=0.9, latent_dim=1), random_state=0), 2)
    row = model.history_.rows[-1]
    assert row["train/kl/weighted"] == pytest.approx(4.0 * row["train/kl"], rel=1e-6)


def test_a_fitted_and_a_loaded_model_go_on(tmp_path: object) -> None:
    model = Autoencoder(RECIPE, random_state=0).fit(line(400, 0))
    before = model.transform(line(5, 1))
    epochs = len(model.history_)
    model.partial_fit(line(300, 2))
    assert not np.array_equal(model.transform(line(5, 1)), before) and len(model.history_) == epochs + 1
    path = model.save(f"{tmp_path}/model")
    again = load(path)
    np.testing.assert_array_equal(again.transform(line(5, 1)), model.transform(line(5, 1)))
    again.partial_fit(line(300, 3))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.transform(line(5, 1)), model.transform(line(5, 1)))
    copy.partial_fit(line(300, 3))
    model.fit(line(400, 0))
    np.testing.assert_array_equal(model.transform(line(5, 1)), before)


def test_later_batches_are_like_the_first() -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 20, "kind": ["a", "b"] * 40})
    model = Autoencoder(small(presets.autoencoder(latent_dim=1))).partial_fit(frame)
    model.partial_fit(frame.assign(kind="c"))
    assert model.reconstruct(frame).dtypes.equals(frame.dtypes)
    with pytest.raises(DataError, match="missing"):
        model.partial_fit(frame[["size"]])
    with pytest.raises(DataError, match=r"double values \(numeric\)"):
        model.partial_fit(frame.assign(size="large"))


def test_a_batch_that_ruins_the_weights_is_taken_back() -> None:
    model = stream(Autoencoder(RECIPE.replace({"preprocessing": "none"}), random_state=0), 3)
    before = {name: value.clone() for name, value in model.composition_.state_dict().items()}
    with pytest.raises(TrainingError, match="the weights are unchanged"):
        model.partial_fit(np.full((64, 6), 3e38))
    assert all(torch.equal(value, before[name]) for name, value in model.composition_.state_dict().items())
    stream(model, 1)
