"""Each kind of score against its formula, computed slowly, and their common scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.neighbors import NearestNeighbors

from isthmus import Autoencoder, presets
from isthmus.applications.anomaly.ensemble import Ensemble, Scale
from isthmus.applications.anomaly.scores import SCORES, Score, default_score_types, in_blocks, score_types
from isthmus.applications.anomaly.views import View, squared_errors
from isthmus.errors import ArtifactError, RecipeError
from isthmus.estimator.inference import BLOCK, Inference
from isthmus.estimator.joint import fit_ensemble
from isthmus.schema import Batch

GENERATOR = np.random.default_rng(0)
TRAIN = GENERATOR.normal(size=(700, 3)) @ GENERATOR.normal(size=(3, 6)) + 2.0
NEW = np.concatenate([TRAIN[:5] + 0.1, GENERATOR.normal(size=(30, 6)) * 3])


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(presets.vae(latent_dim=2, hidden_dims=(16,), epochs=4, threads=1), random_state=0).fit(TRAIN)


def batch_of(model: Autoencoder, rows: Any) -> Batch:
    return model.encoded_rows(rows).whole(np.arange(len(rows)))


def fitted(model: Autoencoder, kind: str) -> tuple[Score, Any, Any]:
    """Return the score, that of the training rows, and that of new ones."""
    score = SCORES[kind]()
    own = score.fit(View(model.inference(), batch_of(model, TRAIN)), 0)
    return score, own, score.of(View(model.inference(), batch_of(model, NEW)))


def standard(rows: Any, model: Autoencoder) -> Any:
    return (rows - model.encoding_.offset) / model.encoding_.scale  # type: ignore[attr-defined]


def test_reconstruction_is_the_squared_error(model: Autoencoder) -> None:
    wanted = np.square(standard(NEW, model) - standard(model.reconstruct(NEW).astype(float), model)).sum(1)
    np.testing.assert_allclose(fitted(model, "reconstruction")[2], wanted, rtol=1e-3)


def test_likelihood_and_bound_are_the_models_own(model: Autoencoder) -> None:
    np.testing.assert_array_equal(fitted(model, "likelihood")[2], -model.score_samples(NEW))
    np.testing.assert_array_equal(fitted(model, "bound")[2], -model.log_likelihood(NEW, samples=64))


def test_neighbours_are_the_five_nearest_codes(model: Autoencoder) -> None:
    codes = model.transform(TRAIN).astype(float)
    index = NearestNeighbors(n_neighbors=6).fit(codes)
    _, own, new = fitted(model, "neighbours")
    np.testing.assert_allclose(own, index.kneighbors(codes)[0][:, 1:].mean(1), rtol=1e-5)
    np.testing.assert_allclose(new, index.kneighbors(model.transform(NEW), 5)[0].mean(1), rtol=1e-5)


def test_equal_codes_count_once(model: Autoencoder) -> None:
    """Or a row that is there six times would be next to itself whatever the others."""
    repeated = np.concatenate([TRAIN, np.repeat(TRAIN[:1], 20, 0)])
    score = SCORES["neighbours"]()
    own = score.fit(View(model.inference(), batch_of(model, repeated)), 0)
    assert len(own) == len(repeated) and own[0] > 0
    np.testing.assert_allclose(own[:700], fitted(model, "neighbours")[1])


def test_mahalanobis_is_the_distance_from_the_mean_code(model: Autoencoder) -> None:
    codes = model.transform(TRAIN).astype(float)
    inverse = np.linalg.inv(np.cov(codes.T, ddof=0))
    wanted = [mahalanobis(code, codes.mean(0), inverse) ** 2 for code in model.transform(NEW).astype(float)]
    np.testing.assert_allclose(fitted(model, "mahalanobis")[2], wanted, rtol=1e-3)


def test_noisy_is_the_error_through_noise(model: Autoencoder) -> None:
    score, _, new = fitted(model, "noisy")
    noise = score.state()["noise"]
    x = standard(NEW, model)
    # Standardised columns have a deviation of one.
    assert noise.shape == (8, 6) and 0.5 < noise.std() < 1.1
    total = np.zeros(len(NEW))
    for draw in noise.astype(float):
        seen = (x + draw) * model.encoding_.scale + model.encoding_.offset  # type: ignore[attr-defined]
        total += np.square(standard(model.reconstruct(seen).astype(float), model) - x).sum(1)
    np.testing.assert_allclose(new, total / 8, rtol=2e-3)


def test_what_was_not_observed_is_no_error() -> None:
    batch = Batch(torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]]))
    np.testing.assert_array_equal(squared_errors(batch, np.array([[3.0, 5.0]])), [[4.0, 0.0]])


@pytest.mark.parametrize("kind", list(SCORES))
def test_state_is_all_that_was_fitted(model: Autoencoder, kind: str) -> None:
    if SCORES[kind]().misfit(model.inference()) is not None:
        pytest.skip("not for rows like these")
    score, _, new = fitted(model, kind)
    again = SCORES[kind]().restore(score.state(), model.inference())
    np.testing.assert_array_equal(again.of(View(model.inference(), batch_of(model, NEW))), new)
    if score.state():
        with pytest.raises(ArtifactError):
            SCORES[kind]().restore({}, model.inference())
        wrong = {name: np.zeros((1, 1, 1, 1)) for name in score.state()}
        with pytest.raises(ArtifactError):
            SCORES[kind]().restore(wrong, model.inference())


def test_the_scale_is_the_logarithm_of_the_ratio_to_the_median() -> None:
    scores = np.array([1.0, 2.0, 4.0, 8.0, 1e9])
    scale = Scale.fit(scores, ratio=True)
    np.testing.assert_allclose(scale(np.array([4.0, 40.0, 0.4])), [0.0, np.log(10), -np.log(10)])
    assert scale(np.zeros(1))[0] == pytest.approx(np.log(1e-6))  # a perfect rebuilding has a logarithm
    nats = Scale.fit(np.random.default_rng(0).normal(-50, 3, 100_000), ratio=False)
    np.testing.assert_allclose(nats(np.array([-50.0, -47.0])), [0.0, 1.0], atol=0.02)
    assert np.isinf(nats(np.array([np.inf]))[0])
    assert np.isfinite(Scale.fit(np.zeros(5), ratio=True)(np.array([0.0, 1.0]))).all()
    assert np.isfinite(Scale.fit(np.full(5, np.inf), ratio=False)(np.array([0.0, 1.0]))).all()


def test_an_ensemble_averages_kinds_and_members() -> None:
    recipe = presets.vae(latent_dim=3, hidden_dims=(8,), epochs=1, threads=1)
    model, other = fit_ensemble([recipe, recipe.replace({"code.latent_dim": 2})], TRAIN)
    kinds = ("reconstruction", "neighbours")
    members: list[Inference] = [model.inference(), other.inference()]
    ensemble = Ensemble.fit(members, kinds, batch_of(model, TRAIN), 0)
    batch = batch_of(model, NEW)
    parts = [
        Scale.fit(own, ratio=True)(new)
        for one in (model, other)
        for kind in kinds
        for _, own, new in [fitted(one, kind)]
    ]
    np.testing.assert_allclose(ensemble.anomaly_scores(batch), np.mean(parts, 0))
    np.testing.assert_allclose(ensemble.by_kind(batch)["neighbours"], (parts[1] + parts[3]) / 2)
    assert ensemble.kinds == kinds


def test_products_have_one_shape() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 7))
    matrix = np.random.default_rng(1).normal(size=(7, 7))
    shapes = []

    def product(block: Any) -> Any:
        shapes.append(block.shape)
        return block @ matrix

    np.testing.assert_allclose(in_blocks(rows, product), rows @ matrix, rtol=1e-9)
    assert set(shapes) == {(BLOCK, 7)}


def test_names_of_kinds() -> None:
    assert score_types("auto", "table") == default_score_types("table") == ("reconstruction", "noisy", "neighbours")
    assert score_types("noisy") == ("noisy",)
    with pytest.raises(RecipeError, match="neighbours"):
        score_types(("neighbors",))
    with pytest.raises(RecipeError, match="different"):
        score_types(("noisy", "noisy"))


def test_noise_is_as_strong_as_the_rows_spread() -> None:
    wide = TRAIN * 50.0
    recipe = presets.autoencoder(latent_dim=2, hidden_dims=(), epochs=1, threads=1, preprocessing="none")
    model = Autoencoder(recipe).fit(wide)
    noise = fitted(model, "noisy")[0]
    score = SCORES["noisy"]()
    score.fit(View(model.inference(), batch_of(model, wide)), 0)
    ratio = score.state()["noise"].std() / noise.state()["noise"].std()
    assert 45 < ratio < 55
