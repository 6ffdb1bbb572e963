"""`Autoencoder` as scikit-learn knows it, and what it promises besides."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from isthmus import Autoencoder, Recipe, load, presets
from isthmus.codes import Deterministic, Gaussian
from isthmus.corruptions import Mask
from isthmus.data.batches import split
from isthmus.errors import CollapseWarning, DataError, RecipeError
from isthmus.objectives import KL, Bernoulli, Linear, Objective, Reconstruction, Sparsity
from isthmus.recipe import Training
from tests.helpers import COLUMNS, batch_of, rows, small

X = rows(90)
SMALL = small(presets.autoencoder(latent_dim=2))
VARIATIONAL = small(presets.vae(latent_dim=2))


def fitted(recipe: Recipe = SMALL, x: Any = X, **arguments: Any) -> Autoencoder:
    return Autoencoder(recipe, random_state=0).fit(x, **arguments)


# ---- scikit-learn -------------------------------------------------------------------------------------------------

CHECKED = [
    presets.autoencoder(latent_dim=2, hidden_dims=(8,), epochs=2),
    presets.vae(latent_dim=2, hidden_dims=(8,), epochs=2),
    presets.denoising(latent_dim=1, hidden_dims=(), epochs=2),
]


@parametrize_with_checks([Autoencoder(recipe) for recipe in CHECKED])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    """All of them: none is expected to fail."""
    check(estimator)


def test_clone_is_unfitted_and_equal() -> None:
    model = Autoencoder(VARIATIONAL, random_state=3, verbose=False)
    copied = clone(model.fit(X))
    assert copied.get_params() == model.get_params() and copied.recipe == VARIATIONAL
    assert not hasattr(copied, "composition_")
    np.testing.assert_array_equal(copied.fit(X).transform(X), model.transform(X))


def test_parameters_reach_into_the_recipe() -> None:
    model = Autoencoder(small(presets.beta_vae(beta=4.0)))
    params = model.get_params()
    assert params["recipe__code__latent_dim"] == 3
    assert params["recipe__objective__kl__weight__end"] == 4.0
    assert model.get_params(deep=False).keys() == {"recipe", "random_state", "verbose"}
    before = model.recipe
    model.set_params(recipe__code__latent_dim=2, recipe__training__epochs=1, random_state=5)
    assert (model.recipe.code.latent_dim, model.recipe.training.epochs, model.random_state) == (2, 1, 5)
    assert before.code.latent_dim == 3  # recipes are frozen
    model.set_params(recipe__objective__kl__weight=1.5, recipe__corruption="mask")
    assert model.recipe.objective.weights(0.0) == {"kl": 1.5} and model.recipe.corruption == Mask()
    assert model.set_params(**model.get_params()).get_params() == model.get_params()
    for name in ("nonsense", "recipe__code__nonsense", "recipe__nonsense"):
        with pytest.raises((RecipeError, ValueError), match="nonsense"):
            model.set_params(**{name: 1})


@pytest.mark.parametrize("recipe", ["vae", presets.vae(latent_dim=2)])
def test_grid_search_over_the_latent_dimension(recipe: Any) -> None:
    recipe = recipe if isinstance(recipe, Recipe) else presets.get(recipe)
    search = GridSearchCV(
        Autoencoder(small(recipe), random_state=0),
        {"recipe__code__latent_dim": np.array([1, 2]), "recipe__training__learning_rate": [1e-3, 1e-2]},
        cv=3,
        error_score="raise",
    ).fit(X)
    assert set(search.best_params_) == {"recipe__code__latent_dim", "recipe__training__learning_rate"}
    assert search.best_estimator_.transform(X).shape == (len(X), search.best_params_["recipe__code__latent_dim"])
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    fold_scores = cross_val_score(search.best_estimator_, X, cv=3)
    assert np.isfinite(fold_scores).all()


def test_pipeline_of_scaling_codes_and_a_classifier() -> None:
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    model = make_pipeline(StandardScaler(), Autoencoder(small(presets.autoencoder(latent_dim=3), epochs=40)))
    model = make_pipeline(model, LogisticRegression()).fit(X, y)
    assert model.score(X, y) > 0.75
    assert clone(model).fit(X, y).predict(X).shape == (len(X),)
    inner = Autoencoder(SMALL)
    pipeline = make_pipeline(StandardScaler(), inner).fit(X)
    back = pipeline.inverse_transform(pipeline.transform(X))
    assert back.shape == X.shape and np.abs(back.mean(0) - X.mean(0)).max() < 0.3


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_in_and_out(library: str) -> None:
    frame: Any = pd.DataFrame if library == "pandas" else pl.DataFrame
    data = frame({f"column {i}": X[:, i] for i in range(COLUMNS)})
    model = fitted(x=data)
    assert model.feature_names_in_.tolist() == [f"column {i}" for i in range(COLUMNS)]
    array = model.transform(data)
    np.testing.assert_allclose(array, fitted().transform(X), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(model.transform(X), array)
    framed = clone(model).set_output(transform=library).fit(data).transform(data)
    assert isinstance(framed, frame)
    assert list(framed.columns) == ["autoencoder0", "autoencoder1"]
    np.testing.assert_array_equal(framed.to_numpy(), array)
    if library == "pandas":
        data.index = [f"row {i}" for i in range(len(X))]
        assert clone(model).set_output(transform=library).fit(data).transform(data).index.equals(data.index)
    # set_output is for codes; rows are frames because they were given as frames
    out = fitted(x=data)
    rebuilt = out.reconstruct(data)
    assert isinstance(rebuilt, frame) and isinstance(out.score_samples(data), np.ndarray)
    assert list(rebuilt.columns) == list(data.columns) and list(rebuilt.dtypes) == list(data.dtypes)
    assert out.interpolate(data[:2], data[2:4], 5).shape == (10, COLUMNS)
    assert isinstance(out.sample(3, random_state=0) if out.recipe_.code.kind == "gaussian" else rebuilt, frame)
    assert isinstance(out.inverse_transform(array), frame) and isinstance(out.reconstruct(X), np.ndarray)
    with pytest.raises(DataError, match=r"the training columns .*missing \['column 5'\]"):
        model.transform(
            data.rename(columns={"column 5": "other"}) if library == "pandas" else data.rename({"column 5": "other"})
        )
    with pytest.raises(DataError, match="another order"):
        model.transform(data[[f"column {i}" for i in reversed(range(COLUMNS))]])


def test_a_new_fit_forgets_the_old_names() -> None:
    model = Autoencoder(SMALL).fit(pd.DataFrame(X, columns=list("abcdef")))
    assert hasattr(model, "feature_names_in_")
    model.fit(X)
    assert not hasattr(model, "feature_names_in_") and model.schema_.names is None


@pytest.mark.parametrize(
    "recipe", [SMALL, VARIATIONAL, small(presets.autoencoder(tied=True))], ids=["plain", "vae", "tied"]
)
def test_joblib_and_pickle_and_copies(recipe: Recipe) -> None:
    model = fitted(recipe)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    assert stream.tell() < 60_000, "more than the model was pickled"
    stream.seek(0)
    for again in (joblib.load(stream), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
        if recipe.network.tied:
            network = again.composition_.network
            assert network.decoder[0].tied_to[0] is network.encoder[0]
        again.fit(X)  # and can be trained again
    out = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(model.transform)(X[i : i + 30]) for i in (0, 30, 60)
    )
    np.testing.assert_array_equal(np.concatenate(out), model.transform(X))


# ---- what goes in -------------------------------------------------------------------------------------------------


def test_one_answer_for_every_kind_of_container(tmp_path: Path) -> None:
    """Array, list, tensor, frame, file: the same rows are the same model."""
    wanted = fitted().transform(X)
    np.save(tmp_path / "x.npy", X)
    containers = [X.tolist(), torch.from_numpy(X), tmp_path / "x.npy", str(tmp_path / "x.npy"), np.asfortranarray(X)]
    for container in containers:
        np.testing.assert_array_equal(fitted(x=container).transform(X), wanted)
        np.testing.assert_array_equal(fitted().transform(container), wanted)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int8", "int32", "int64", "float16", "float32", "float64", "bool"]
)
def test_every_type_of_number(dtype: str) -> None:
    scale = {"uint8": 255, "uint16": 65535, "bool": 1, "int8": 100}.get(dtype, 10)
    x = X > 0.5 if dtype == "bool" else (X * scale).astype(dtype)
    model = fitted(x=x)
    back = model.reconstruct(x)
    assert (
        back.dtype == ("float64" if dtype in ("int32", "int64", "float64") else "float32") and np.isfinite(back).all()
    )
    assert np.abs(back.mean(0) - x.astype(float).mean(0)).max() < 0.25 * scale
    assert np.isfinite(model.score_samples(x)).all()


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3), (3, 1, 2, 1)])
@pytest.mark.parametrize("preset", ["autoencoder", "vae"])
def test_rows_of_any_shape(shape: tuple[int, ...], preset: str, tmp_path: Path) -> None:
    x = X.reshape(-1, *shape)
    model = fitted(small(presets.get(preset)), x)
    assert model.n_features_in_ == 6
    assert model.transform(x).shape == (90, 3)
    assert model.reconstruct(x).shape == model.inverse_transform(model.transform(x)).shape == x.shape
    assert model.score_samples(x).shape == (90,)
    assert model.interpolate(x[:2], x[2:4], steps=5).shape == (2, 5, *shape)
    assert load(model.save(tmp_path / "m")).reconstruct(x).shape == x.shape
    if preset == "vae":
        assert model.sample(4, random_state=0).shape == (4, *shape)


@pytest.mark.parametrize("preprocessing", ["unit", "standard", "none"])
def test_everything_that_comes_out_is_in_the_units_of_the_data(preprocessing: str) -> None:
    """A million times the data, moved: the same codes and rows a million times as large."""
    x = rows(90, support="real")
    recipe = small(presets.vae(), epochs=10).replace(
        {"preprocessing": preprocessing, "objective.likelihood": "normal", "corruption": "gaussian_noise"}
    )
    model = fitted(recipe, x)
    assert np.abs(model.reconstruct(x).mean(0) - x.mean(0)).max() < 0.5 * x.std(0).max()
    if preprocessing == "none":
        return
    moved = x * 1024.0 + 4096.0
    other = fitted(recipe, moved)
    np.testing.assert_allclose(other.transform(moved), model.transform(x), rtol=1e-3, atol=1e-3)
    for name in ("reconstruct", "corrupt"):
        np.testing.assert_allclose(
            getattr(other, name)(moved), getattr(model, name)(x) * 1024 + 4096, rtol=1e-3, atol=20
        )
    np.testing.assert_allclose(
        other.sample(5, random_state=0), model.sample(5, random_state=0) * 1024 + 4096, rtol=1e-3, atol=20
    )
    np.testing.assert_allclose(other.score_samples(moved), model.score_samples(x), rtol=1e-3, atol=1e-2)


def test_bits_in_bytes_are_bits() -> None:
    """0 and 1 as uint8, which is not 0 and 1/255: a Bernoulli draw is 0 or 1."""
    x = rows(200, support="binary").astype(np.uint8)
    recipe = Recipe(code=Gaussian(2), objective=Reconstruction(Bernoulli()) + 1.0 * KL(), training=Training(epochs=60))
    model = fitted(recipe, x)
    assert set(np.unique(model.sample(50, random_state=0, noise=True))) == {0.0, 1.0}
    assert np.abs(model.reconstruct(x) - x).mean() < 0.35
    np.testing.assert_allclose(model.score_samples(x), fitted(recipe, x.astype(float)).score_samples(x.astype(float)))


def test_a_dark_picture_is_a_picture() -> None:
    """Whether a row is taken must not depend on its neighbours: pixels of 0 and 1 out of 255 are no mistake."""
    x = (X * 255).astype("uint8")
    x[3] = [0, 1, 0, 0, 1, 0]
    model = fitted(x=x)
    as_float = x.astype(np.float32)
    codes = model.transform(as_float)
    np.testing.assert_array_equal(codes, model.transform(x))
    np.testing.assert_array_equal(model.transform(as_float[3:4]), codes[3:4])
    with pytest.raises(DataError, match="uint8"):
        model.transform(as_float / 255)


# ---- few rows, few columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("preset", ["autoencoder", "vae"])
def test_a_handful_of_rows(count: int, fraction: float, preset: str) -> None:
    """There is always a row to train on; nothing is said to be measured on rows that there are none of."""
    x = X[:count]
    recipe = presets.get(preset).replace(
        {"training.validation_fraction": fraction, "training.epochs": 2, "network.hidden_dims": (4,)}
    )
    model = fitted(recipe, x)
    assert np.isfinite(model.transform(x)).all() and np.isfinite(model.score_samples(x)).all()
    trained, held_out = model.metrics_["training_rows"], model.metrics_["validation_rows"]
    assert trained >= 1 and trained + held_out == count
    assert (held_out > 0) == ("validation/total" in model.history_.names())


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_single_column_and_constant_ones(columns: int) -> None:
    x = np.full((40, columns), 7.0)
    for data in (x, X[:40, :columns], np.c_[x, X[:40, :1]]):
        model = fitted(small(presets.get("autoencoder")).replace({"code.latent_dim": "auto"}), data)
        assert 1 <= model.recipe_.code.latent_dim <= data.shape[1] or data.shape[1] == 1
        assert np.isfinite(model.reconstruct(data)).all()
        if data is x:
            np.testing.assert_allclose(model.reconstruct(data), 7.0, atol=1.0)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0, 5.0, -1e6])
@pytest.mark.parametrize("preset", ["autoencoder", "vae"])
def test_rows_that_are_all_the_same_come_back(value: float, preset: str) -> None:
    x = np.full((64, 5), value)
    model = fitted(small(presets.get(preset)), x)
    np.testing.assert_allclose(model.reconstruct(x), x, atol=0.2, rtol=1e-5)
    assert np.isfinite(model.score_samples(x)).all()


# ---- seeds --------------------------------------------------------------------------------------------------------


def test_a_refit_is_the_same_whatever_happened_between() -> None:
    """pyod seeds at construction, so that a refit differs."""
    model = Autoencoder(VARIATIONAL, random_state=4)
    first = model.fit(X).transform(X)
    model.sample(3)
    np.random.default_rng(0).random(10)
    torch.rand(10)
    model.fit(X[:50])
    assert np.array_equal(model.fit(X).transform(X), first)


def test_random_state_is_the_recipes_seed_or_a_generator() -> None:
    by_recipe = Autoencoder(SMALL.replace({"training.seed": 7})).fit(X).transform(X)
    for state in (7, np.int64(7)):
        np.testing.assert_array_equal(Autoencoder(SMALL, random_state=state).fit(X).transform(X), by_recipe)
    assert Autoencoder(SMALL, random_state=7).fit(X).recipe_.training.seed == 7
    a, b = (Autoencoder(SMALL, random_state=np.random.RandomState(1)).fit(X).transform(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    generator = np.random.RandomState(1)
    c, d = (Autoencoder(SMALL, random_state=generator).fit(X).transform(X) for _ in range(2))
    np.testing.assert_array_equal(a, c)
    assert not np.array_equal(c, d)


def test_initial_weights_follow_the_seed() -> None:
    """Not only the order and the noise: what training starts from."""
    still = SMALL.replace({"training.learning_rate": 1e-12, "training.epochs": 1})

    def start(seed: int) -> torch.Tensor:
        return Autoencoder(still, random_state=seed).fit(X).composition_.network.encoder[0].weight.detach()

    assert torch.equal(start(0), start(0))
    for one, other in ((0, 1), (1, 2)):
        assert (start(one) - start(other)).abs().max() > 0.1


def test_scores_do_not_change_at_every_call() -> None:
    """pyod's VAE scores are sampled."""
    model = fitted(VARIATIONAL)
    first = model.score_samples(X)
    for _ in range(3):
        torch.rand(3)
        np.testing.assert_array_equal(model.score_samples(X), first)
    assert model.score(X) == pytest.approx(first.mean())
    np.testing.assert_array_equal(model.transform(X), model.transform(X))


def test_samples_follow_their_seed() -> None:
    model = fitted(VARIATIONAL)
    np.testing.assert_array_equal(model.sample(5, random_state=1), model.sample(5, random_state=1))
    assert not np.array_equal(model.sample(5, random_state=1), model.sample(5, random_state=2))
    assert not np.array_equal(model.sample(5), model.sample(5))
    noisy = fitted(small(presets.vae(), epochs=2).replace({"objective.likelihood": "normal"}), rows(90, support="real"))
    assert not np.array_equal(noisy.sample(5, random_state=1, noise=True), noisy.sample(5, random_state=1))
    np.testing.assert_array_equal(model.sample(np.int64(2), random_state=np.int64(3)), model.sample(2, random_state=3))
    drawn = model.sample(4, random_state=np.random.RandomState(0))
    assert drawn.shape == (4, 6)


def test_the_noise_of_samples_is_not_that_of_the_weights() -> None:
    """Two streams of one seed are the same numbers; here they would be the initial weights."""
    model = fitted(VARIATIONAL)
    torch_seeded = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    code = model.composition_.code.prior((5, 2), torch.Generator().manual_seed(0))
    assert torch.equal(torch_seeded, code)
    assert not np.array_equal(model.inverse_transform(torch_seeded.numpy()), model.sample(5, random_state=0))


# ---- a condition --------------------------------------------------------------------------------------------------

CONDITION = np.repeat(np.eye(3), 30, axis=0)


def conditional(preset: str = "vae", epochs: int = 60) -> Autoencoder:
    recipe = small(presets.get(preset), epochs=epochs, learning_rate=0.01)
    data = np.clip(0.2 * X + 0.7 * CONDITION[:, [0, 0, 1, 1, 2, 2]], 0, 1)
    return fitted(recipe, data, condition=CONDITION)


def test_every_verb_takes_the_condition(tmp_path: Path) -> None:
    model = conditional(epochs=3)
    codes = model.transform(X, condition=CONDITION)
    again = load(model.save(tmp_path / "m"))
    for m in (model, again):
        assert m.get_feature_names_out().tolist() == ["autoencoder0", "autoencoder1", "autoencoder2"]
        np.testing.assert_array_equal(m.transform(X, condition=CONDITION), codes)
        np.testing.assert_array_equal(
            m.inverse_transform(codes, condition=CONDITION), m.reconstruct(X, condition=CONDITION)
        )
        assert m.score_samples(X, condition=CONDITION).shape == (90,)
        assert m.sample(3, random_state=0, condition=np.eye(3)).shape == (3, 6)
        assert m.kl_per_latent(X, condition=CONDITION).shape == (3,)
        assert np.isfinite(m.score(X, condition=CONDITION))


def test_samples_are_of_the_condition_that_was_asked_for() -> None:
    model = conditional()
    drawn = model.sample(60, random_state=0, condition=np.repeat(np.eye(3), 20, axis=0)).reshape(3, 20, 3, 2)
    assert (drawn.mean((1, 3)).argmax(1) == np.arange(3)).all()


def test_a_condition_that_is_missing_or_of_another_width_is_refused() -> None:
    model = conditional(epochs=2)
    with pytest.raises(DataError, match="a condition of 3 values a row, got 0"):
        model.transform(X)
    with pytest.raises(DataError, match="a condition of 3 values a row, got 2"):
        model.score_samples(X, condition=CONDITION[:, :2])
    with pytest.raises(DataError, match=r"a condition of shape \(90, values\), got shape \(3, 3\)"):
        model.transform(X, condition=np.eye(3))
    with pytest.raises(DataError, match="no condition, since fit was given none"):
        fitted().transform(X, condition=CONDITION)


# ---- what is fitted on what ---------------------------------------------------------------------------------------


def test_held_out_rows_change_nothing_that_is_fitted() -> None:
    """Scaling and weights are fitted on the training rows only; only the choice of an epoch looks at the others."""
    recipe = SMALL.replace({"training.validation_fraction": 0.3, "preprocessing": "standard", "training.epochs": 1})
    kept, held_out = split(len(X), 0.3, 0)
    changed = X.copy()
    changed[held_out.numpy()] = 1.0 - 0.5 * changed[held_out.numpy()]
    one, other = fitted(recipe, X), fitted(recipe, changed)
    np.testing.assert_allclose(one.encoding_.offset, X[kept.numpy()].mean(0), rtol=1e-12)
    np.testing.assert_array_equal(one.encoding_.offset, other.encoding_.offset)
    np.testing.assert_array_equal(one.encoding_.scale, other.encoding_.scale)
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    assert one.history_["validation/total"] != other.history_["validation/total"]


def test_interpolation_ends_at_its_ends_and_is_straight_in_between() -> None:
    model = fitted()
    lines = model.interpolate(X[:3], X[3:6], steps=5)
    np.testing.assert_allclose(lines[:, 0], model.reconstruct(X[:3]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lines[:, -1], model.reconstruct(X[3:6]), rtol=1e-5, atol=1e-6)
    middle = model.inverse_transform(0.5 * (model.transform(X[:3]) + model.transform(X[3:6])))
    np.testing.assert_allclose(lines[:, 2], middle, rtol=1e-4, atol=1e-5)


def test_kl_per_latent_is_the_average_of_the_codes_kl() -> None:
    model = fitted(small(presets.vae(), epochs=20))
    code = model.composition_.encode(batch_of(model.encoding_.forward(rows(300))))
    expected = code.quantities["kl"].detach().double().mean(0)
    np.testing.assert_allclose(model.kl_per_latent(rows(300)), expected, rtol=1e-4)


def test_corrupt_shows_what_the_encoder_saw() -> None:
    model = fitted(small(presets.denoising(corruption=Mask(0.5))))
    seen = model.corrupt(X, random_state=1)
    kept = np.isclose(seen, X, atol=1e-6)
    assert 0.4 < kept.mean() < 0.6 and (seen[~kept] == 0).all()
    np.testing.assert_array_equal(seen, model.corrupt(X, random_state=1))
    assert not np.array_equal(seen, model.corrupt(X, random_state=2))


def test_a_denoising_model_cleans_better_than_it_was_given() -> None:
    x = rows(600)
    model = fitted(small(presets.denoising(latent_dim=2, hidden_dims=(32,)), epochs=150, learning_rate=0.01), x)
    noisy = np.clip(model.corrupt(x, random_state=3), 0, 1)
    assert ((model.reconstruct(noisy) - x) ** 2).mean() < 0.7 * ((noisy - x) ** 2).mean()


def test_typical_rows_score_higher_than_others() -> None:
    x = rows(400)
    shuffled = np.random.default_rng(0).permuted(x, axis=0)  # the same columns, nothing in common
    for preset in ("autoencoder", "vae"):
        model = fitted(small(presets.get(preset), epochs=60, learning_rate=0.01).replace({"code.latent_dim": 2}), x)
        assert np.median(model.score_samples(x)) > np.median(model.score_samples(shuffled))


@pytest.mark.parametrize("preset", ["autoencoder", "vae"])
def test_rows_outside_the_range_score_lower_or_are_refused(preset: str) -> None:
    """Binary cross-entropy has no bound outside [0, 1]: there an outlier could score best of all."""
    model = fitted(small(presets.get(preset), epochs=60, learning_rate=0.02), X)
    usual = model.score_samples(X)
    for outlier in (X * 5, X - 3, 1 + X, -X):
        try:
            scores = model.score_samples(outlier)
        except DataError:
            continue
        assert np.median(scores) < usual.min()


def test_defaults_fit_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small(presets.autoencoder())
    Autoencoder(recipe).fit(X)
    assert capsys.readouterr() == ("", "")
    Autoencoder(recipe, verbose=True).fit(X)
    out, err = capsys.readouterr()
    assert out == "" and "training: 3 epochs of 3 steps" in err and "epoch 3/3" in err and "training ended" in err


def test_metrics_are_those_of_the_epoch_that_was_kept() -> None:
    model = fitted(small(presets.vae(), epochs=10))
    best = model.history_.rows[model.metrics_["best_epoch"] - 1]
    assert model.metrics_["epochs"] == 10 and model.metrics_["stop_reason"] == model.history_.stop_reason
    for name in ("train/total", "validation/total", "validation/kl", "active_units"):
        assert model.metrics_[name] == pytest.approx(best[name], abs=1e-6)
    assert not [name for name in model.metrics_ if isinstance(model.metrics_[name], np.generic)]


def test_schedules_and_terms_by_name_in_a_recipe_file(tmp_path: Path) -> None:
    recipe = Recipe(code=Deterministic(2), objective=Objective() + Linear(end=0.1) * Sparsity())
    recipe.to_json(tmp_path / "r.json")
    for given in (tmp_path / "r.json", str(tmp_path / "r.json")):
        assert Autoencoder(given).get_params()["recipe__objective__sparsity__weight__end"] == 0.1
    Autoencoder(small(Recipe.from_json(tmp_path / "r.json"))).fit(X)


def test_a_collapsed_code_is_told_with_a_remedy() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 4))
    recipe = presets.beta_vae(latent_dim=2, beta=50.0, hidden_dims=(8,), epochs=5)
    with pytest.warns(CollapseWarning, match=r"none of its 2 latents differs .*terms: kl.*try a smaller weight"):
        Autoencoder(recipe).fit(noise)


@pytest.mark.parametrize("likelihood", ["binary_cross_entropy", "bernoulli"])
def test_a_row_outside_the_support_scores_below_every_other(likelihood: str) -> None:
    x = (X > 0.5).astype(float) if likelihood == "bernoulli" else X
    recipe = presets.vae(latent_dim=2, hidden_dims=(8,), epochs=3, likelihood=likelihood)
    model = Autoencoder(recipe).fit(x)
    for value in (-0.01, 1.01, 2.0, 1e4, -1e4):
        row = x[:1].copy()
        row[0, 0] = value
        assert model.score_samples(row).tolist() == [-np.inf]
    assert np.isfinite(model.score_samples(x)).all()


def test_large_numbers_come_back_with_their_digits() -> None:
    stamps = 1.7e9 + np.arange(500.0)[:, None] + np.array([0.0, 1.0])
    recipe = presets.autoencoder(latent_dim=2, hidden_dims=(16,), epochs=100)
    rebuilt = Autoencoder(recipe).fit(stamps).reconstruct(stamps)
    assert rebuilt.dtype == np.float64
    assert np.abs(rebuilt - stamps).max() < 64  # float32 has steps of 128 there
