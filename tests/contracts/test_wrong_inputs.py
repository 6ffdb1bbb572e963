"""What is wrong is refused early, in words that say what was expected, what came, and what to try.

Nothing is written and nothing is lost: a model that was fitted stays the model it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

import isthmus
from isthmus import Autoencoder, Recipe, load, presets
from isthmus.codes import Deterministic, Gaussian
from isthmus.corruptions import Chain, GaussianNoise, Mask, SaltAndPepper
from isthmus.errors import ArtifactError, DataError, IsthmusError, MissingPackageError, RecipeError, TrainingError
from isthmus.networks import Dense
from isthmus.objectives import (
    KL,
    Bernoulli,
    Linear,
    Normal,
    Objective,
    Reconstruction,
    Sparsity,
    SparsityTarget,
    SquaredError,
)
from isthmus.recipe import Training
from isthmus.schema import Schema
from tests.helpers import rows, small

X = rows(60)
IMAGES = (rows(60, 12).reshape(60, 3, 4) * 255).astype("uint8")


def ae(**settings: Any) -> Autoencoder:
    return Autoencoder(presets.autoencoder(**{"latent_dim": 2, "hidden_dims": (4,), "epochs": 1, **settings}))


def with_column(value: float) -> np.ndarray:
    x = X.copy()
    x[7, 2] = value
    return x


@pytest.fixture(scope="module")
def models() -> dict[str, Autoencoder]:
    return {
        "plain": ae().fit(X),
        "vae": Autoencoder(small(presets.vae())).fit(X),
        "images": ae().fit(IMAGES),
        "frame": ae().fit(pd.DataFrame(X, columns=list("abcdef"))),
        "told": ae().fit(X, condition=np.eye(3)[np.arange(60) % 3]),
    }


Wrong = tuple[Callable[[], Any], type[Exception], str]

RECIPES: dict[str, Wrong] = {
    "no such preset": (
        lambda: Autoencoder("denoisng").fit(X),
        RecipeError,
        "no preset 'denoisng'; did you mean 'denoising'",
    ),
    "no preset at all": (
        lambda: presets.get("xyz"),
        RecipeError,
        "The presets are: aae, autoencoder, batch_top_k",
    ),
    "recipe of another type": (
        lambda: Autoencoder(5).fit(X),
        RecipeError,
        "expected a Recipe, a preset's name or a path, got 5",
    ),
    "recipe class": (lambda: Autoencoder(Recipe).fit(X), RecipeError, "expected a Recipe, a preset's name or a path"),
    "recipe file that is not there": (
        lambda: Autoencoder("no.json").fit(X),
        RecipeError,
        "'no.json' cannot be read: No such file",
    ),
    "recipe file that is a folder": (
        lambda: Autoencoder(Path("/tmp")).fit(X),
        RecipeError,
        "cannot be read: Is a directory",
    ),
    "misspelt setting": (
        lambda: presets.vae(latent_dimm=3),
        RecipeError,
        "no setting 'latent_dimm'.*The settings are: activation",
    ),
    "misspelt near": (lambda: presets.vae(epoch=3), RecipeError, "no setting 'epoch'; did you mean 'epochs'"),
    "beta of a vae": (lambda: presets.vae(beta=3.0), RecipeError, "no setting 'beta'"),
    "latent of zero": (
        lambda: Gaussian(0),
        RecipeError,
        r"code.latent_dim: expected an integer of at least 1, got 0; try 1",
    ),
    "latent of a half": (lambda: Gaussian(2.5), RecipeError, r"code.latent_dim: expected an integer.*got 2\.5"),
    "latent of text": (lambda: Deterministic("many"), RecipeError, "code.latent_dim: expected an integer.*got 'many'"),
    "latent that is true": (lambda: Deterministic(True), RecipeError, "code.latent_dim: expected an integer.*got True"),
    "activation": (
        lambda: Dense(activation="rleu"),
        RecipeError,
        "network.activation: expected one of relu,.*got 'rleu'; try 'relu'",
    ),
    "latent activation": (
        lambda: Deterministic(2, "softmax"),
        RecipeError,
        "code.activation: expected one of linear, relu",
    ),
    "hidden width of zero": (
        lambda: Dense((4, 0)),
        RecipeError,
        "network.hidden_dims: expected an integer of at least 1, got 0",
    ),
    "hidden widths of a number": (
        lambda: Dense(4),
        RecipeError,
        r"network.hidden_dims: expected a list of widths or .*got 4; try \(512, 256\)",
    ),
    "hidden widths of text": (
        lambda: Dense("512,256"),
        RecipeError,
        "network.hidden_dims: expected a list of widths.*'512,256'",
    ),
    "normalisation": (
        lambda: Dense(normalisation="group"),
        RecipeError,
        "network.normalisation: expected one of None, batch, layer",
    ),
    "dropout of all": (
        lambda: Dense(dropout=1.0),
        RecipeError,
        r"network.dropout: expected a number in \[0, 0.95\], got 1.0",
    ),
    "epochs of none": (
        lambda: Training(epochs=0),
        RecipeError,
        "training.epochs: expected an integer of at least 1, got 0",
    ),
    "learning rate of zero": (
        lambda: Training(learning_rate=0),
        RecipeError,
        r"training.learning_rate: expected a number in \(0, 10\], got 0",
    ),
    "learning rate of text": (
        lambda: Training(learning_rate="3e-3"),
        RecipeError,
        "training.learning_rate.*got '3e-3'",
    ),
    "learning rate of nan": (
        lambda: Training(learning_rate=float("nan")),
        RecipeError,
        "training.learning_rate.*got nan",
    ),
    "one beta": (
        lambda: Training(betas=0.9),
        RecipeError,
        r"training.betas: expected two numbers, got 0.9; try \(0.9, 0.99\)",
    ),
    "fraction of all": (
        lambda: Training(validation_fraction=1.0),
        RecipeError,
        r"validation_fraction: expected a number in \[0, 0.9\]",
    ),
    "patience of zero": (
        lambda: Training(patience=0),
        RecipeError,
        "training.patience: expected an integer of at least 1",
    ),
    "device": (
        lambda: Training(device="gpu"),
        RecipeError,
        "training.device: expected auto, cpu, cuda, cuda:N or mps, got 'gpu'",
    ),
    "device that is not here": (
        lambda: ae(device="mps").fit(X),
        RecipeError,
        r"training.device: expected a device that is here \(cpu.*got 'mps'; try auto",
    ),
    "device with a number that is none": (
        lambda: ae(device="cpu:x").fit(X),
        RecipeError,
        "training.device: expected a device such as cuda:0, got 'cpu:x'",
    ),
    "precision": (
        lambda: Training(precision="float16"),
        RecipeError,
        "training.precision: expected one of float32, bfloat16, got 'float16'",
    ),
    "threads": (lambda: Training(threads=0), RecipeError, "training.threads: expected an integer of at least 1"),
    "seed": (lambda: Training(seed=-1), RecipeError, "training.seed: expected an integer of at least 0, got -1"),
    "preprocessing": (
        lambda: Recipe(preprocessing="minmax"),
        RecipeError,
        "preprocessing: expected one of auto, unit, standard, none, columns, robust, quantile, log, .*got 'minmax'",
    ),
    "network of another part": (
        lambda: Recipe(network=Gaussian(2)),
        RecipeError,
        r"network: expected a NetworkSpec, got Gaussian\(latent_dim=2",
    ),
    "class instead of a part": (lambda: Recipe(code=Gaussian), RecipeError, "code: expected a CodeSpec, got <class"),
    "likelihood as objective": (
        lambda: Recipe(objective=SquaredError()),
        RecipeError,
        r"objective: expected an Objective.*try Reconstruction\(...\)",
    ),
    "text as likelihood": (
        lambda: Objective("mse"),
        RecipeError,
        "objective.likelihood: expected a likelihood, got 'mse'",
    ),
    "text as term": (lambda: Objective() + "rate", RecipeError, "term"),
    "term twice": (
        lambda: Objective() + KL() + 2.0 * KL(),
        RecipeError,
        "the term 'kl' is there twice; try one term with the sum",
    ),
    "weight below zero": (
        lambda: -1.0 * KL(),
        RecipeError,
        r"objective.kl.weight: expected a number in \[0, inf\], got -1.0",
    ),
    "weight without end": (
        lambda: presets.sparse_l1(weight=float("inf")),
        RecipeError,
        "objective.sparsity.weight.*got inf",
    ),
    "free nats": (lambda: KL(free_nats=-1.0), RecipeError, "objective.kl.free_nats: expected a number"),
    "target": (
        lambda: SparsityTarget(target=1.0),
        RecipeError,
        r"objective.sparsity_target.target: expected a number in \[0.001, 0.999\]",
    ),
    "schedule over nothing": (
        lambda: Linear(over=0.0),
        RecipeError,
        r"weight.over: expected a number in \(0, 1\], got 0.0",
    ),
    "variance": (
        lambda: Normal("diagonal"),
        RecipeError,
        "objective.likelihood.variance: expected one of column, row, got 'diagonal'",
    ),
    "variance of zero": (
        lambda: Normal(0.0),
        RecipeError,
        r"objective.likelihood.variance: expected a number in \(0, inf\]",
    ),
    "output": (
        lambda: SquaredError("tanh"),
        RecipeError,
        "objective.likelihood.output: expected one of auto, linear, sigmoid",
    ),
    "rate of corruption": (lambda: Mask(1.5), RecipeError, r"corruption.rate: expected a number in \[0, 1\], got 1.5"),
    "deviation below zero": (lambda: GaussianNoise(-0.1), RecipeError, "corruption.std: expected a number"),
    "deviations upside down": (
        lambda: GaussianNoise((1.0, 0.1)),
        RecipeError,
        r"corruption.std\[1\]: expected a number in \[1, inf\], got 0.1",
    ),
    "three deviations": (
        lambda: GaussianNoise((1.0, 2.0, 3.0)),
        RecipeError,
        "corruption.std: expected a number or a pair of numbers",
    ),
    "pepper above salt": (lambda: SaltAndPepper(0.1, low=1.0, high=0.0), RecipeError, "corruption.(low|high)"),
    "chain of nothing": (
        lambda: Chain(()),
        RecipeError,
        r"corruption.parts: expected one or more corruptions, got \(\)",
    ),
    "chain with text": (lambda: Mask(0.1) >> "noise", RecipeError, "corruption"),
    "batch larger than the data": (
        lambda: ae(batch_size=500).fit(X),
        RecipeError,
        'training.batch_size: expected at most the 54 training rows, got 500; try a smaller one, or "auto"',
    ),
    "batch of one row with batch normalisation": (
        lambda: ae(batch_size=1, normalisation="batch").fit(X),
        RecipeError,
        "normalisation",
    ),
    "not resolved": (
        lambda: Recipe().build(Schema.of(X)),
        RecipeError,
        r"still 'auto'; try recipe.resolve\(schema, rows\)",
    ),
    "path that does not exist": (
        lambda: Recipe().replace({"code.latent": 3}),
        RecipeError,
        "'code.latent': there is no setting 'latent'; did you mean 'latent_dim'",
    ),
    "path into a value": (
        lambda: Recipe().replace({"preprocessing.kind": 3}),
        RecipeError,
        "'preprocessing' has no settings inside; try setting it whole",
    ),
    "path of a term that is not there": (
        lambda: presets.vae().replace({"objective.sparsity.weight": 1}),
        RecipeError,
        "no term 'sparsity'; try objective.terms=",
    ),
    "newer recipe": (
        lambda: Recipe.from_dict({"format": 2}),
        RecipeError,
        "recipe: expected format 1, got 2; try the isthmus release",
    ),
    "field of json": (
        lambda: Recipe.from_dict({"networks": {}}),
        RecipeError,
        "recipe: there is no setting 'networks'; did you mean 'network'",
    ),
    "kind of json": (
        lambda: Recipe.from_dict({"code": {"kind": "gausian"}}),
        RecipeError,
        "code: there is no kind 'gausian'; did you mean 'gaussian'",
    ),
    "json without a kind": (
        lambda: Recipe.from_dict({"code": {"latent_dim": 3}}),
        RecipeError,
        "code: there is no kind None. The kinds are: batch_top_k",
    ),
    "terms of json": (
        lambda: Recipe.from_dict({"objective": {"terms": "rate"}}),
        RecipeError,
        "objective.terms: expected a list, got 'rate'",
    ),
    "parameter": (
        lambda: ae().set_params(latent_dim=3),
        RecipeError,
        "no parameter 'latent_dim'. The parameters are: random_state, recipe",
    ),
    "parameter in the recipe": (
        lambda: ae().set_params(recipe__code__latents=3),
        RecipeError,
        "'code.latents': there is no setting 'latents'",
    ),
    "random state of text": (
        lambda: Autoencoder(random_state="a").fit(X),
        RecipeError,
        "random_state: expected an integer of at least 0, got 'a'",
    ),
    "random state below zero": (
        lambda: Autoencoder(random_state=-1).fit(X),
        RecipeError,
        "random_state: expected an integer of at least 0, got -1",
    ),
}


DATA: dict[str, Wrong] = {
    "nan": (
        lambda: ae().fit(with_column(np.nan)),
        DataError,
        r"1 values that are NaN or inf, the first \(NaN\) in row 7, place \(2,\); try filling",
    ),
    "infinite": (lambda: ae().fit(with_column(-np.inf)), DataError, r"1 values .* the first \(inf\) in row 7"),
    "nan in a frame": (
        lambda: Autoencoder(ae().recipe.replace({"missing": "refuse"})).fit(
            pd.DataFrame(with_column(np.nan), columns=list("abcdef"))
        ),
        DataError,
        "column 'c' has 1 missing values.*try filling",
    ),
    "one axis": (
        lambda: ae().fit(X[0]),
        DataError,
        r"expected rows and columns .*got shape \(6,\); try .*reshape\(1, -1\)",
    ),
    "no rows": (
        lambda: ae().fit(X[:0]),
        DataError,
        r"0 sample\(s\) \(shape=\(0, 6\)\) while a minimum of 1 is required",
    ),
    "words": (lambda: ae().fit([["a", "b"]]), DataError, "no rectangular array of numbers: could not convert.*'a'"),
    "ragged": (lambda: ae().fit([[1.0], [1.0, 2.0]]), DataError, "no rectangular array of numbers"),
    "no such file": (lambda: ae().fit("data.npyy"), DataError, "there is no file 'data.npyy'; try the full path"),
    "too large for float32": (lambda: ae(preprocessing="none").fit(X * 1e39), DataError, "float32"),
    "too large to be squared": (
        lambda: ae(preprocessing="standard").fit((X - 0.5) * 1e300),
        DataError,
        "float32|large",
    ),
    "condition of another length": (
        lambda: ae().fit(X, condition=np.ones((3, 1))),
        DataError,
        r"expected a condition of shape \(60, values\), got shape \(3, 1\)",
    ),
    "condition of fractions": (lambda: ae().fit(X, condition=np.ones(60)), DataError, "labels .integers or texts."),
    "condition with nan": (lambda: ae().fit(X, condition=np.full((60, 1), np.nan)), DataError, "NaN"),
    "bits that are none": (
        lambda: Autoencoder(Recipe(objective=Reconstruction(Bernoulli()))).fit(X),
        RecipeError,
        "values that are 0 or 1",
    ),
}

USE: dict[str, tuple[str, Callable[[Autoencoder], Any], type[Exception], str]] = {
    "columns": (
        "plain",
        lambda m: m.transform(X[:, :4]),
        DataError,
        "X has 4 features, but Autoencoder is expecting 6 features",
    ),
    "shape of an image": (
        "images",
        lambda m: m.transform(IMAGES[:, :, :2]),
        DataError,
        r"expected rows of shape 3x4 \(the rows of the training data\), got rows of shape 3x2",
    ),
    "flat image": (
        "images",
        lambda m: m.score_samples(IMAGES.reshape(60, 12)),
        DataError,
        "expected rows of shape 3x4.*got rows of shape 12",
    ),
    "one image without its axis": (
        "images",
        lambda m: m.reconstruct(IMAGES[0]),
        DataError,
        "expected rows of shape 3x4",
    ),
    "image instead of a vector": (
        "plain",
        lambda m: m.transform(X.reshape(60, 2, 3)),
        DataError,
        "expected rows of shape 6.*got rows of shape 2x3",
    ),
    "pixels that were scaled": ("images", lambda m: m.transform(IMAGES / 255.0), DataError, "uint8"),
    "pixels that were not": ("plain", lambda m: m.transform((X * 255).astype("uint8")), DataError, "255"),
    "nan": ("plain", lambda m: m.score_samples(with_column(np.nan)), DataError, "NaN"),
    "missing column": (
        "frame",
        lambda m: m.transform(pd.DataFrame(X, columns=list("abcdeg"))),
        DataError,
        r"the training columns .*got missing \['f'\], unknown \['g'\]; try X\[list\(model.schema_.names\)\]",
    ),
    "columns in another order": (
        "frame",
        lambda m: m.transform(pd.DataFrame(X, columns=list("abcdfe"))),
        DataError,
        "the same columns in another order",
    ),
    "codes of another width": (
        "plain",
        lambda m: m.inverse_transform(np.ones((3, 5))),
        DataError,
        r"expected codes of shape \(rows, 2\), got shape \(3, 5\); try model.transform\(X\)",
    ),
    "codes of one axis": ("plain", lambda m: m.inverse_transform(np.ones(2)), DataError, "rows and columns"),
    "samples without a prior": (
        "plain",
        lambda m: m.sample(3),
        RecipeError,
        "a deterministic code has no prior to sample from; try a gaussian one",
    ),
    "samples of none": ("vae", lambda m: m.sample(0), RecipeError, "n: expected an integer of at least 1, got 0"),
    "samples of a half": ("vae", lambda m: m.sample(2.5), RecipeError, "n: expected an integer of at least 1, got 2.5"),
    "samples with a seed below zero": (
        "vae",
        lambda m: m.sample(2, random_state=-1),
        RecipeError,
        "random_state: expected an integer of at least 0, got -1",
    ),
    "samples with a seed of text": (
        "vae",
        lambda m: m.sample(2, random_state="x"),
        RecipeError,
        "random_state: expected an integer",
    ),
    "kl without a prior": (
        "plain",
        lambda m: m.kl_per_latent(X),
        RecipeError,
        "a deterministic code has no KL; try a gaussian one",
    ),
    "corrupt without a corruption": (
        "plain",
        lambda m: m.corrupt(X),
        RecipeError,
        "this recipe has no corruption; try presets.denoising",
    ),
    "interpolation of unlike numbers": (
        "plain",
        lambda m: m.interpolate(X[:2], X[:3]),
        DataError,
        "expected as many starts as ends, got 2 and 3",
    ),
    "interpolation in one step": (
        "plain",
        lambda m: m.interpolate(X[:2], X[2:4], steps=1),
        RecipeError,
        "steps: expected an integer of at least 2, got 1",
    ),
    "condition that is missing": (
        "told",
        lambda m: m.transform(X),
        DataError,
        "expected a condition of 3 values a row, got 0; try",
    ),
    "condition of another width": (
        "told",
        lambda m: m.transform(X, condition=np.ones((60, 2))),
        DataError,
        "expected a condition of 3 values a row, got 2",
    ),
    "condition for a model without": (
        "plain",
        lambda m: m.transform(X, condition=np.ones((60, 2))),
        DataError,
        "expected no condition, since fit was given none",
    ),
    "samples without their condition": (
        "told",
        lambda m: Autoencoder(small(presets.vae())).fit(X, condition=np.ones((60, 1))).sample(2),
        DataError,
        "a condition of 1 values a row, got 0",
    ),
}


def check(call: Callable[[], Any], error: type[Exception], message: str) -> str:
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, IsthmusError)
    assert isinstance(caught.value, ValueError), "old code that catches ValueError must go on working"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrong", RECIPES)
def test_a_recipe_that_is_none(wrong: str) -> None:
    check(*RECIPES[wrong])


@pytest.mark.parametrize("wrong", DATA)
def test_data_that_are_none(wrong: str) -> None:
    check(*DATA[wrong])


@pytest.mark.parametrize("wrong", USE)
def test_a_use_that_is_none(wrong: str, models: dict[str, Autoencoder]) -> None:
    name, call, error, message = USE[wrong]
    model = models[name]
    before = {key: value.clone() for key, value in model.composition_.state_dict().items()}
    check(lambda: call(model), error, message)
    for key, value in before.items():
        assert torch.equal(model.composition_.state_dict()[key], value)


def test_there_are_enough_of_them() -> None:
    assert len(RECIPES) + len(DATA) + len(USE) >= 100


@pytest.mark.parametrize(
    "method",
    ["transform", "inverse_transform", "reconstruct", "score_samples", "score", "kl_per_latent", "corrupt"],
)
def test_a_model_that_was_not_fitted(method: str) -> None:
    with pytest.raises(NotFittedError, match=r"not fitted yet; try model.fit\(X\), or isthmus.load\(path\)"):
        getattr(Autoencoder(), method)(X)


def test_a_model_that_was_not_fitted_neither_samples_nor_saves(tmp_path: Path) -> None:
    for call in (lambda m: m.sample(2), lambda m: m.save(tmp_path / "m"), lambda m: m.get_feature_names_out()):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call(Autoencoder())
    assert not list(tmp_path.iterdir())


def test_a_fit_that_fails_leaves_the_fitted_model() -> None:
    model = ae().fit(X)
    codes = model.transform(X)
    for wrong in (with_column(np.nan), X[:0], "nowhere.csv"):
        with pytest.raises(DataError):
            model.fit(wrong)
    model.set_params(recipe__training__batch_size=500)
    with pytest.raises(RecipeError):
        model.fit(X)
    np.testing.assert_array_equal(model.transform(X), codes)


def test_a_fit_that_fails_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        ae().fit(with_column(np.nan), checkpoint=tmp_path / "c")
    with pytest.raises(RecipeError):
        ae(batch_size=500).fit(X, checkpoint=tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_load_of_what_is_not_there(tmp_path: Path) -> None:
    check(lambda: load(tmp_path / "no"), ArtifactError, "does not exist; try the folder that model.save")


def test_names_of_the_package() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'AutoEncoder'; the public names are \['AnomalyDetector', 'Autoencoder'"
    ):
        isthmus.AutoEncoder  # noqa: B018


def test_the_errors_are_few_and_of_the_kinds_that_python_knows() -> None:
    assert [issubclass(e, IsthmusError) for e in (RecipeError, DataError, ArtifactError, TrainingError)] == [True] * 4
    assert issubclass(TrainingError, RuntimeError) and issubclass(MissingPackageError, ImportError)
    assert {e.exit_status for e in (RecipeError, DataError, ArtifactError)} == {2}
    assert TrainingError.exit_status == MissingPackageError.exit_status == 1
    assert (Objective() + Sparsity()).terms[0].weight == 1.0
