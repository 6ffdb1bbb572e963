"""Recipes: Python and JSON are the same, settings are reached by path, and "auto" is answered once."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import presets
from isthmus.codes import CODES, PRIORS, Deterministic, Gaussian
from isthmus.corruptions import CORRUPTIONS, Chain, GaussianNoise, Mask, SaltAndPepper
from isthmus.errors import RecipeError
from isthmus.networks import NETWORKS, Dense
from isthmus.objectives import (
    KL,
    LIKELIHOODS,
    SCHEDULES,
    TERMS,
    BinaryCrossEntropy,
    Contraction,
    Gate,
    Linear,
    Normal,
    Objective,
    Reconstruction,
    Sparsity,
    SquaredError,
    WeightedTerm,
)
from isthmus.presets import PRESETS
from isthmus.recipe import Recipe, Training
from isthmus.schema import Schema
from tests.helpers import PARTS, SMALL, pick, random_recipe, rows


@st.composite
def recipes(draw: Any) -> Recipe:
    """Return any recipe that Python lets you write."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    while True:
        try:
            recipe = random_recipe(rng)
            break
        except RecipeError:
            continue
    weights = st.one_of(
        st.floats(0, 1e6), st.integers(0, 9), st.builds(Linear, st.floats(0, 9), st.floats(0, 9), st.floats(0.01, 1))
    )
    terms = tuple(WeightedTerm(w.term, draw(weights)) for w in recipe.objective.terms)
    likelihood = draw(st.sampled_from([recipe.objective.likelihood, "auto_error", "auto_density"]))
    network: Any = recipe.network
    widths = draw(st.one_of(st.just("auto"), st.lists(st.integers(1, 9), max_size=4).map(tuple)))
    if hasattr(network, "hidden_dims"):
        with contextlib.suppress(RecipeError):  # a network may need a layer
            network = dataclasses.replace(network, hidden_dims=widths)
    code = dataclasses.replace(recipe.code, latent_dim=draw(st.one_of(st.just("auto"), st.integers(1, 99))))  # type: ignore[type-var]
    training = Training(
        epochs=draw(st.one_of(st.just("auto"), st.integers(1, 10**6))),
        learning_rate=draw(st.floats(1e-9, 10)),
        betas=draw(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999))),
        clip=draw(st.one_of(st.none(), st.floats(0.1, 100))),
        patience=draw(st.one_of(st.none(), st.integers(1, 99))),
        seed=draw(st.integers(0, 2**63)),
        compile=draw(st.booleans()),
    )
    return Recipe(
        network,
        code,
        recipe.corruption,
        Objective(likelihood, terms),
        draw(st.sampled_from(["auto", "unit", "standard", "none"])),
        training,
    )


@given(recipe=recipes())
def test_recipe_text_recipe(recipe: Recipe) -> None:
    text = json.dumps(recipe.to_dict(), allow_nan=False)
    again = Recipe.from_dict(json.loads(text))
    assert again == recipe and hash(again) == hash(recipe)
    assert json.dumps(again.to_dict()) == text
    assert again.digest() == recipe.digest()
    assert eval(repr(recipe), _names()) == recipe  # what is printed can be pasted


def _names() -> dict[str, Any]:
    parts = [
        cls for table in (NETWORKS, CODES, PRIORS, CORRUPTIONS, LIKELIHOODS, TERMS, SCHEDULES) for cls in table.values()
    ]
    return {cls.__name__: cls for cls in [*parts, Recipe, Training, Objective, WeightedTerm]}


@given(recipe=recipes())
def test_paths_and_replace_agree(recipe: Recipe) -> None:
    paths = recipe.paths()
    assert json.loads(json.dumps(paths)) == paths
    assert recipe.replace({}) == recipe
    assert recipe.replace(paths) == recipe
    for path, value in paths.items():
        assert recipe.replace({path: value}) == recipe, path
    assert {"code.latent_dim", "training.epochs", "preprocessing"} <= paths.keys()
    assert {f"network.{field.name}" for field in dataclasses.fields(recipe.network)} <= paths.keys()  # type: ignore[arg-type]
    for weighted in recipe.objective.terms:
        kind = weighted.term.kind
        found = {path: value for path, value in paths.items() if path.startswith(f"objective.{kind}.weight")}
        assert found == (
            {f"objective.{kind}.weight": weighted.weight}
            if not isinstance(weighted.weight, Linear)
            else {f"objective.{kind}.weight.{name}": value for name, value in found_schedule(weighted.weight).items()}
        )


def found_schedule(weight: Linear) -> dict[str, Any]:
    return {"kind": "linear", "end": weight.end, "start": weight.start, "over": weight.over}


@given(recipe=recipes(), other=recipes(), data=st.data())
def test_replacing_a_path_sets_it_and_nothing_else(recipe: Recipe, other: Recipe, data: Any) -> None:
    shared = sorted(
        path
        for path, value in other.paths().items()
        if path in recipe.paths() and not path.endswith((".kind", "corruption"))
    )
    path = data.draw(st.sampled_from(shared))
    value = other.paths()[path]
    try:
        changed = recipe.replace({path: value})
    except RecipeError:
        return  # the value does not fit the other settings, such as the target of another term
    expected = {**recipe.paths(), path: value}
    assert changed.paths() == expected
    assert changed.replace({path: recipe.paths()[path]}) == recipe


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 99), st.floats(), st.text(max_size=5),
        st.sampled_from([*NETWORKS, *CODES, *CORRUPTIONS, *LIKELIHOODS, *TERMS, "auto", "linear"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["kind", "latent_dim", "hidden_dims", "term", "terms", "weight", "parts", "likelihood", "format"]
                ),
                st.text(max_size=3),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(garbage=JSON)
def test_garbage_raises_nothing_but_recipe_errors(garbage: Any) -> None:
    _only_recipe_errors(garbage)


@settings(max_examples=400)
@given(recipe=recipes(), data=st.data(), garbage=JSON)
def test_garbage_inside_a_recipe_raises_nothing_but_recipe_errors(recipe: Recipe, data: Any, garbage: Any) -> None:
    """At any depth of a recipe that is otherwise right: from_dict, and --set."""
    whole = recipe.to_dict()
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inside = place[key]
        if isinstance(inside, dict | list) and inside and data.draw(st.booleans()):
            place = inside
            continue
        place[key] = garbage
        break
    _only_recipe_errors(whole)
    path = data.draw(st.sampled_from(sorted(recipe.paths())))
    try:
        assert isinstance(recipe.replace({path: garbage}), Recipe)
    except RecipeError as error:
        message = str(error)
    else:
        return
    assert message


def _only_recipe_errors(data: Any) -> None:
    try:
        recipe = Recipe.from_dict(data)
    except RecipeError:
        return
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict(), allow_nan=False)))
    assert again == recipe


def test_nesting_without_end_is_refused() -> None:
    chain: Any = "mask"
    for _ in range(5000):
        chain = {"kind": "chain", "parts": [chain]}
    with pytest.raises(RecipeError):
        Recipe.from_dict({"corruption": chain})


# ---- by hand ------------------------------------------------------------------------------------------------------


def test_the_json_of_a_recipe() -> None:
    recipe = Recipe(
        Dense((256, 64), "tanh", tied=False),
        Gaussian(8),
        Mask(0.3) >> GaussianNoise((0.1, 1.0)),
        Reconstruction(BinaryCrossEntropy()) + Linear(4.0) * KL() + 0.001 * Sparsity(),
    )
    data = recipe.to_dict()
    assert data["format"] == 1
    prior = {"kind": "standard_normal"}
    assert data["code"] == {"kind": "gaussian", "latent_dim": 8, "covariance": "diagonal", "prior": prior}
    assert data["corruption"] == {
        "kind": "chain",
        "parts": [{"kind": "mask", "rate": 0.3}, {"kind": "gaussian_noise", "std": [0.1, 1.0]}],
    }
    assert data["objective"] == {
        "likelihood": {"kind": "binary_cross_entropy"},
        "terms": [
            {
                "term": {"kind": "kl", "free_nats": 0.0},
                "weight": {"kind": "linear", "end": 4.0, "start": 0.0, "over": 0.25},
            },
            {"term": {"kind": "sparsity"}, "weight": 0.001},
        ],
    }  # fmt: skip
    assert data["network"]["hidden_dims"] == [256, 64]


def test_a_part_may_be_its_kind_alone_and_the_rest_has_defaults() -> None:
    short = {
        "code": "gaussian",
        "corruption": "mask",
        "objective": {"likelihood": "bernoulli", "terms": [{"term": "kl"}]},
    }
    expected = Recipe(code=Gaussian(), corruption=Mask(), objective=Objective(LIKELIHOODS["bernoulli"]()) + KL())
    assert Recipe.from_dict(short) == expected
    assert Recipe.from_dict({}) == Recipe()
    weighted = {"code": "gaussian", "objective": {"terms": [{"term": "kl", "weight": "linear"}]}}
    assert Recipe.from_dict(weighted).objective.terms[0].weight == Linear()


def test_the_sentence_of_examples_is_a_recipe() -> None:
    """ "Sparse variational ... denoising autoencoder" is four arguments."""
    recipe = Recipe(
        network=Dense((32, 64)),
        code=Gaussian(latent_dim=32),
        corruption=Mask(rate=0.3),
        objective=Reconstruction(BinaryCrossEntropy()) + 1.0 * KL() + 1e-3 * Sparsity(),
    )
    assert recipe.objective.weights(0.5) == {"kl": 1.0, "sparsity": 1e-3}
    for axis, value in (("network", "dense"), ("code", "gaussian"), ("corruption", "mask")):
        assert getattr(recipe, axis).kind == value


@pytest.mark.parametrize(
    ("columns", "latent"), [(1, 1), (2, 2), (12, 2), (24, 2), (36, 3), (120, 10), (384, 32), (784, 32)]
)
def test_auto_latents_are_a_twelfth_of_the_row(columns: int, latent: int) -> None:
    schema = Schema.of(np.random.default_rng(0).random((9, columns)))
    assert Recipe().resolve(schema, 9).code.latent_dim == latent


@pytest.mark.parametrize(("columns", "hidden"), [(127, (128, 64)), (128, (512, 256))])
def test_auto_hidden_widths(columns: int, hidden: tuple[int, ...]) -> None:
    assert Recipe().resolve(Schema.of(np.zeros((9, columns))), 9).network.hidden_dims == hidden


@pytest.mark.parametrize(
    ("x", "preprocessing", "error", "density"),
    [
        (rows(support="unit"), "unit", SquaredError("sigmoid"), BinaryCrossEntropy()),
        (rows(support="binary"), "unit", SquaredError("sigmoid"), BinaryCrossEntropy()),
        (rows(support="real"), "standard", SquaredError("linear"), Normal()),
        (np.array([[0, 255]], "u1"), "unit", SquaredError("sigmoid"), BinaryCrossEntropy()),
        (np.array([[0, 255]], "i8"), "standard", SquaredError("linear"), Normal()),
        (np.array([[True, False]]), "unit", SquaredError("sigmoid"), BinaryCrossEntropy()),
        (np.array([[-0.1, 1.0]]), "standard", SquaredError("linear"), Normal()),
    ],
)
def test_auto_follows_the_data(x: np.ndarray, preprocessing: str, error: Any, density: Any) -> None:
    for likelihood, expected in (("auto_error", error), ("auto_density", density)):
        resolved = Recipe(objective=Objective(likelihood)).resolve(Schema.of(x), len(x))  # type: ignore[arg-type]
        assert (resolved.preprocessing, resolved.likelihood) == (preprocessing, expected)


@pytest.mark.parametrize(
    ("count", "batch", "steps"), [(1, 1, 1), (100, 100, 1), (256, 256, 1), (257, 256, 2), (60_000, 256, 235)]
)
def test_auto_epochs_and_batches(count: int, batch: int, steps: int) -> None:
    training = Recipe().resolve(Schema.of(rows()), count).training
    assert training.batch_size == batch
    assert isinstance(training.epochs, int) and 3 <= training.epochs <= 300
    assert training.epochs == 300 or abs(training.epochs * steps - 5000) <= steps / 2 + 1 or training.epochs == 3


def test_settings_that_were_made_are_kept() -> None:
    recipe = Recipe(
        Dense((3,)), Deterministic(5, "tanh"), preprocessing="none", training=Training(epochs=7, batch_size=2)
    )
    resolved = recipe.resolve(Schema.of(rows()), 50)
    assert (resolved.network, resolved.code, resolved.preprocessing) == (recipe.network, recipe.code, "none")
    assert (resolved.training.epochs, resolved.training.batch_size) == (7, 2)


def test_digests_differ_where_the_weights_would() -> None:
    base = Recipe()
    others = [
        base.replace({path: value})
        for path, value in {
            "code.latent_dim": 3, "network.activation": "tanh", "corruption": "mask", "training.seed": 1,
            "training.learning_rate": 0.1, "training.betas": [0.9, 0.999], "preprocessing": "unit",
            "objective.likelihood": "bernoulli", "training.precision": "bfloat16",
        }.items()
    ]  # fmt: skip
    assert len({recipe.digest() for recipe in [base, *others]}) == len(others) + 1
    assert base.replace({"training.checkpoint_seconds": 1}).digest() == base.digest()


def test_numbers_of_numpy_are_numbers() -> None:
    changed = Recipe().replace({"code.latent_dim": np.int64(3), "training.learning_rate": np.float32(0.5)})
    assert changed.code.latent_dim == 3 and type(changed.code.latent_dim) is int
    assert changed.replace({"network.hidden_dims": np.array([3, 4])}).network.hidden_dims == (3, 4)
    json.dumps(changed.to_dict())


def test_parts_may_be_set_whole() -> None:
    recipe = Recipe().replace(
        {"code": Gaussian(3), "objective": Objective() + KL(), "corruption": {"kind": "mask", "rate": 0.5}}
    )
    assert recipe == Recipe(code=Gaussian(3), objective=Objective() + KL(), corruption=Mask(0.5))
    assert recipe.replace({"corruption": None}).corruption is None
    assert recipe.replace({"corruption.rate": 0.25}).corruption == Mask(0.25)
    assert recipe.replace({"objective.kl.free_nats": 0.5}).objective.terms[0].term == KL(0.5)


def test_a_recipe_file(tmp_path: Any) -> None:
    recipe = presets.beta_vae(latent_dim=3)
    recipe.to_json(tmp_path / "recipe.json")
    assert Recipe.from_json(tmp_path / "recipe.json") == recipe
    for content, message in [
        (b"", "is no JSON"), (b"{", "is no JSON"), (b"\xff\xfe", "is no JSON"), (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "JSON"),
    ]:  # fmt: skip
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(RecipeError, match=message):
            Recipe.from_json(tmp_path / "bad.json")


# ---- chains and presets -------------------------------------------------------------------------------------------


def test_corruptions_chain_in_order_and_flatten() -> None:
    a, b, c = Mask(0.1), GaussianNoise(0.2), SaltAndPepper(0.3)
    assert (a >> b >> c) == (a >> (b >> c)) == Chain((a, b, c))
    assert (a >> b).steps == (a, b) and a.steps == (a,)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_the_settings_that_people_type(name: str) -> None:
    widths = {k: v for k, v in SMALL.items() if hasattr(presets.get(name).network, k)}
    assert widths, "a network of no width"
    if hasattr(presets.get(name).network, "activation"):
        widths["activation"] = "tanh"
    recipe = PRESETS[name](
        latent_dim=7, **widths, epochs=3, batch_size=9, learning_rate=0.5, patience=None, seed=4,
        validation_fraction=0.2, device="cpu", precision="bfloat16", preprocessing="unit",
        likelihood=BinaryCrossEntropy(),
    )  # fmt: skip
    assert recipe.code.latent_dim == 7 and recipe.preprocessing == "unit" and recipe.likelihood == BinaryCrossEntropy()
    network: Any = recipe.network
    assert all(getattr(network, k) == v for k, v in widths.items())
    training = recipe.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.patience) == (3, 9, 0.5, None)
    assert (training.seed, training.validation_fraction, training.device, training.precision) == (
        4,
        0.2,
        "cpu",
        "bfloat16",
    )
    assert presets.get(name) == PRESETS[name]()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("wrong", ["latent_dimm", "nonsense", "beta", "weight", "target", "corruption", "warmup_share"])
def test_presets_refuse_settings_that_they_do_not_have(name: str, wrong: str) -> None:
    if wrong in inspect.signature(PRESETS[name]).parameters or (name, wrong) == ("sparse", "weight"):
        return
    with pytest.raises(RecipeError, match=f"no setting '{wrong}'"):
        PRESETS[name](**{wrong: 1})


def test_presets_are_the_methods_they_are_named_after() -> None:
    def summary(recipe: Recipe) -> tuple[str, Any, dict[str, float]]:
        return recipe.code.kind, recipe.corruption, dict(recipe.objective.weights(1.0))

    assert summary(presets.autoencoder()) == ("deterministic", None, {})
    assert summary(presets.denoising())[1] == GaussianNoise(0.3)
    assert summary(presets.sparse_l1(weight=0.2)) == ("deterministic", None, {"sparsity": 0.2})
    assert summary(presets.sparse_kl(weight=0.2)) == ("deterministic", None, {"sparsity_target": 0.2})
    auxiliary = {"auxiliary": 1 / 32}
    assert summary(presets.top_k()) == ("top_k", None, auxiliary)
    assert summary(presets.batch_top_k()) == ("batch_top_k", None, auxiliary)
    assert summary(presets.jump_relu(weight=0.3)) == ("jump_relu", None, {"l0": 0.3, **auxiliary})
    assert summary(presets.gated()) == ("gated", None, {"gate": 1.0, **auxiliary})
    for dictionary in (presets.top_k(k=2), presets.batch_top_k(k=2), presets.jump_relu(), presets.gated()):
        assert dictionary.network == Dense((), unit_decoder=True)
        assert dictionary.objective.likelihood == SquaredError("linear")
    assert presets.top_k(hidden_dims=(8,), likelihood="bernoulli").network == Dense((8,), unit_decoder=True)
    assert presets.gated(sparsity=0.3).objective.terms[0].term == Gate(0.3)
    assert summary(presets.contractive(weight=0.2)) == ("deterministic", None, {"contraction": 0.2})
    assert summary(presets.vae()) == ("gaussian", None, {"kl": 1.0})
    assert summary(presets.beta_vae(beta=7.0)) == ("gaussian", None, {"kl": 7.0})
    assert presets.vae().objective.weights(0.0) == {"kl": 1.0}
    assert presets.beta_vae(beta=4.0).objective.weights(0.0) == {"kl": 0.0}
    assert presets.beta_vae(beta=4.0, warmup_share=0.0).objective.weights(0.0) == {"kl": 4.0}
    assert presets.sparse_l1().code == Deterministic(activation="relu")
    assert presets.sparse_kl().code == Deterministic(activation="sigmoid")
    assert presets.contractive().objective.terms[0].term == Contraction()


def test_every_kind_is_the_name_it_is_listed_under() -> None:
    for table in (NETWORKS, CODES, CORRUPTIONS, LIKELIHOODS, TERMS, SCHEDULES):
        for name, cls in table.items():
            assert cls.kind == name
    assert pick(np.random.default_rng(0), PARTS["code"]) in PARTS["code"]
