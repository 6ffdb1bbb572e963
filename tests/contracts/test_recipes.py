"""What every composition keeps: each registered part in each setting, every preset, and random legal compositions.

A new part, setting or preset is tested by standing in its table.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import pickle
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, load
from isthmus.codes import Draw
from isthmus.errors import CollapseWarning
from isthmus.networks import NETWORKS
from isthmus.presets import PRESETS
from isthmus.recipe import Recipe
from isthmus.schema import Schema
from tests.helpers import (
    PARTS,
    batch_of,
    build,
    draw,
    generator,
    needs_rate,
    random_recipes,
    recipe_around,
    rows,
    shapes_of,
    small,
    support_of,
)

Generators = Callable[[], AbstractContextManager[None]]


def _cases() -> dict[str, Recipe]:
    cases: dict[str, Recipe] = {}
    for axis, parts in PARTS.items():
        for number, part in enumerate(parts):
            cases[f"{axis}-{part.kind}-{number}"] = small(recipe_around(axis, part))
    for name, preset in PRESETS.items():
        # What is told is tested by `_forms`, whether or not a recipe insists on it.
        cases[f"preset-{name}"] = small(preset().replace({"conditional": False}))
    for number, recipe in enumerate(random_recipes(20)):
        cases[f"random-{number}"] = small(recipe)
    return cases


CASES = _cases()
each_case = pytest.mark.parametrize("case", CASES)


def _quick() -> set[str]:
    """Return the cases that every run fits: each preset, a setting of each kind of part, three random compositions."""
    first = {case.rpartition("-")[0]: case for case in reversed(CASES) if not case.startswith(("preset", "random"))}
    return {*first.values(), *(case for case in CASES if case.startswith("preset")), *(f"random-{i}" for i in range(3))}


QUICK = _quick()


def _slow_unless(quick: bool) -> Any:
    return () if quick else pytest.mark.slow


# Of tests that train: what `make test` leaves out, `make test-all` runs.
each_fit = pytest.mark.parametrize("case", [pytest.param(case, marks=_slow_unless(case in QUICK)) for case in CASES])


def _forms(case: str) -> list[tuple[tuple[int, ...], int]]:
    """Return shapes of a row that the recipe reads, and widths of a condition."""
    shapes = shapes_of(CASES[case])
    return [*((shape, 0) for shape in shapes[:2]), *((shape, 2) for shape in dict.fromkeys([shapes[-1], shapes[0]]))]


each_form = pytest.mark.parametrize(
    ("case", "shape", "condition"),
    [
        pytest.param(case, *form, marks=_slow_unless(case in QUICK or number == 0))
        for case in CASES
        for number, form in enumerate(_forms(case))
    ],
)


def data_for(case: str, count: int = 96, seed: int = 0) -> np.ndarray:
    return rows(count, support=support_of(CASES[case]), seed=seed, shape=shapes_of(CASES[case])[0])


@functools.cache
def fitted(case: str) -> Autoencoder:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CollapseWarning)  # three epochs fill no code
        return Autoencoder(CASES[case], random_state=1).fit(data_for(case))


def outputs(model: Autoencoder, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return everything that a model says about rows."""
    found = {"codes": model.transform(x), "rows": model.reconstruct(x), "scores": model.score_samples(x)}
    if model.composition_.draw_prior(1, generator()) is not None:
        found["samples"] = model.sample(5, random_state=3)
        found["noisy samples"] = model.sample(5, random_state=3, noise=True)
    return found


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


def weights(model: Autoencoder) -> dict[str, torch.Tensor]:
    return dict(model.composition_.state_dict())


@each_form
def test_shapes(case: str, shape: tuple[int, ...], condition: int) -> None:
    recipe = CASES[case]
    x = rows(40, support=support_of(recipe), shape=shape)
    composition = build(recipe, x, condition).eval()
    batch = batch_of(x[:10], condition)
    latent = (recipe.code.latent_dim, *composition.network.positions)
    parameters = composition.network.parameters_per_value
    for samples in (None, 1, 4):
        forward = composition(batch, None if samples is None else draw(samples), corrupt=True, generator=generator())
        lead = () if samples in (None, 1) else (samples,)
        assert forward.code.mean.shape == (10, *latent)
        assert forward.code.z.shape == (*lead, 10, *latent)
        assert forward.parameters.shape == ((samples or 1) * 10, parameters, *shape)
        assert forward.reconstruction.shape == (*lead, 10)
        assert forward.seen.x.shape == batch.x.shape
        assert composition.log_likelihood(forward).shape == (10,)
        assert composition.likelihood.mean(forward.parameters).shape == ((samples or 1) * 10, *shape)
        assert composition.likelihood.draw(forward.parameters, generator()).shape == ((samples or 1) * 10, *shape)
        indices = forward.code.indices
        for quantity in forward.code.quantities.values():
            # Of each latent, the sum over them all, or of each symbol.
            allowed = [(10, *latent), (10, 1), *([] if indices is None else [tuple(indices.shape)])]
            assert tuple(quantity.shape) in allowed
        for name, term in composition.terms.items():
            assert term(forward).shape in ((), (10,), (*lead, 10)), name
        loss = composition.loss(forward, composition_weights(recipe))
        assert loss.total.shape == () and torch.isfinite(loss.total)
        assert loss.raw.keys() == {"reconstruction", *composition.terms}


def composition_weights(recipe: Recipe) -> dict[str, float]:
    return dict(recipe.objective.weights(1.0))


@each_form
def test_gradients_reach_every_parameter(case: str, shape: tuple[int, ...], condition: int) -> None:
    recipe = CASES[case]
    x = rows(64, support=support_of(recipe), shape=shape)
    composition = build(recipe, x, condition).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # A threshold learns from features near it, so their scale counts.
        composition.initialise(batch_of(x, condition))
    owned = dict(composition.owners())
    assert sum(p.numel() for ps in owned.values() for p in ps) == sum(p.numel() for p in composition.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batch = batch_of(x, condition)
        if getattr(recipe.network, "sees_mask", False):  # it has weights for what is missing
            batch = batch.replace(mask=torch.rand(batch.x.shape, generator=generator()) < 0.8)
        forward = composition(batch, Draw(), corrupt=True)
    composition.loss(forward, composition_weights(recipe)).total.backward()
    reached = {name: p.grad is not None and bool(p.grad.any()) for name, p in composition.named_parameters()}
    assert all(reached.values()), [name for name, found in reached.items() if not found]
    assert all(bool(torch.isfinite(p.grad).all()) for p in composition.parameters())


@each_case
def test_recipe_is_the_same_after_json(case: str, tmp_path: Path) -> None:
    recipe = CASES[case]
    x = data_for(case)
    for version in (recipe, recipe.resolve(Schema.of(x), len(x))):
        assert Recipe.from_dict(json.loads(json.dumps(version.to_dict(), allow_nan=False))) == version
        version.to_json(tmp_path / "recipe.json")
        assert Recipe.from_json(tmp_path / "recipe.json") == version
        assert version.replace(version.paths()) == version
        assert pickle.loads(pickle.dumps(version)) == version
        assert version.digest() == Recipe.from_dict(version.to_dict()).digest()


@each_case
def test_resolving_twice_changes_nothing(case: str) -> None:
    x = data_for(case)
    resolved = CASES[case].resolve(Schema.of(x), len(x))
    assert resolved.resolve(Schema.of(x), len(x)) == resolved
    assert "auto" not in [v for k, v in resolved.paths().items() if k not in ("training.device", "training.threads")]


@each_fit
def test_what_a_model_says_has_the_shape_and_units_of_its_rows(case: str) -> None:
    x = data_for(case)
    model = fitted(case)
    said = outputs(model, x)
    positions = model.composition_.network.positions
    assert said["codes"].shape == (len(x), CASES[case].code.latent_dim * math.prod(positions))
    assert said["rows"].shape == x.shape and said["rows"].dtype == model.schema_.float_dtype
    assert said["scores"].shape == (len(x),) and said["scores"].dtype == np.float64
    for name, values in said.items():
        assert np.isfinite(values).all(), name
    if "bottleneck" in model.recipe_.network.provides:
        np.testing.assert_array_equal(model.inverse_transform(said["codes"]), said["rows"])
    # In the units of the data: nearer to each column's mean than a multiple of what the column spans.
    assert (np.abs(said["rows"].mean(0) - x.mean(0)) < 2 * np.ptp(x, axis=0)).all()


@each_fit
def test_saved_and_loaded_says_the_same_bit_for_bit(case: str, tmp_path: Path) -> None:
    model, x = fitted(case), data_for(case)
    again = load(model.save(tmp_path / "model"))
    assert_same(outputs(model, x), outputs(again, x))
    assert (again.recipe_, again.schema_, again.metrics_) == (model.recipe_, model.schema_, model.metrics_)
    assert again.history_.rows == model.history_.rows
    for name, value in weights(model).items():
        assert torch.equal(weights(again)[name], value), name
    again.save(tmp_path / "again")
    for file in ("recipe.json", "schema.json", "model.safetensors", "history.csv", "README.md"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "model" / file).read_bytes(), file


@each_fit
def test_pickled_and_copied_says_the_same_bit_for_bit(case: str) -> None:
    model, x = fitted(case), data_for(case)
    assert_same(outputs(model, x), outputs(copy.deepcopy(model), x))
    assert_same(outputs(model, x), outputs(pickle.loads(pickle.dumps(model)), x))


@each_fit
def test_a_row_says_the_same_alone_and_among_others(case: str) -> None:
    model = fitted(case)
    x = data_for(case, 270, seed=5)  # more than one block
    whole = {"codes": model.transform(x), "rows": model.reconstruct(x), "scores": model.score_samples(x)}

    def parts(model: Autoencoder, order: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "codes": model.transform(x[order]),
            "rows": model.reconstruct(x[order]),
            "scores": model.score_samples(x[order]),
        }

    orders = [np.array([0]), np.array([269]), np.arange(7), np.arange(100, 233), np.arange(270)[::-1]]
    orders.append(np.random.default_rng(0).permutation(270))
    for order in orders:
        assert_same(parts(model, order), {name: values[order] for name, values in whole.items()})
    assert_same(parts(model, np.arange(270)), whole)  # and again at the next call


@each_fit
def test_same_seed_same_model_and_generators_are_left_alone(
    case: str, generators_untouched: Generators, tmp_path: Path
) -> None:
    x = data_for(case)
    before = x.copy()
    with generators_untouched():
        first = Autoencoder(CASES[case], random_state=1).fit(x)
        said = outputs(first, x)
        first.score(x)
        load(first.save(tmp_path / "model"))
        if "latent_kl" in first.recipe_.code.provides:
            first.kl_per_latent(x)
        if first.recipe_.corruption is not None:
            first.corrupt(x)
    torch.manual_seed(12345)  # what the global generators hold must not matter
    second = fitted(case)
    for name, value in weights(first).items():
        assert torch.equal(weights(second)[name], value), name
    assert_same(said, outputs(second, x))
    untimed = [[{k: v for k, v in row.items() if "second" not in k} for row in m.history_] for m in (first, second)]
    assert untimed[0] == untimed[1]
    other = Autoencoder(CASES[case], random_state=2).fit(x)
    assert any(not torch.equal(weights(other)[name], value) for name, value in weights(first).items())
    assert x.tobytes() == before.tobytes(), "fit changed its input"


@each_fit
def test_loss_falls(case: str) -> None:
    recipe = CASES[case].replace(
        {"training.epochs": 40, "training.validation_fraction": 0.25, "training.learning_rate": 0.01}
    )
    if needs_rate(recipe.code):
        # A prior that learns can start where nothing is left to gain: at codes that carry nothing.
        recipe = recipe.replace({"objective.kl.weight": 0.01})
    history = Autoencoder(recipe).fit(data_for(case)).history_
    losses = history["validation/total"]  # under the final weights, so epochs compare
    assert len(losses) == 40
    # A random composition may have next to nothing to gain on rows that it has not seen, such as counts under noise.
    least = 0.0 if case.startswith("random") else 0.005
    assert min(losses) < losses[0] - least * abs(losses[0])
    assert history["train/reconstruction"][-1] < history["train/reconstruction"][0]
    assert losses[history.best_epoch - 1] == min(losses)


@each_fit
def test_history_holds_every_term_raw_and_weighted(case: str) -> None:
    recipe = CASES[case]
    x = data_for(case)
    history = fitted(case).history_
    assert len(history) == 3
    final = recipe.objective.weights(1.0)
    for row in history:
        sides = ("train", "validation") if recipe.training.validation_fraction else ("train",)
        for side in sides:
            weighted = [row[f"{side}/{name}/weighted"] for name in final]
            assert row[f"{side}/total"] == pytest.approx(row[f"{side}/reconstruction"] + sum(weighted), rel=1e-5)
        for name, weight in final.items() if len(sides) == 2 else ():
            assert row[f"validation/{name}/weighted"] == pytest.approx(weight * row[f"validation/{name}"])
        assert row["rows_per_second"] > 0 and row["gradient_norm"] > 0 and row["learning_rate"] > 0
        assert 0 <= row["active_units"] <= recipe.code.latent_dim
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert fitted(case).metrics_["training_rows"] + fitted(case).metrics_["validation_rows"] == len(x)


@each_case
def test_several_samples_of_a_latent_are_independent_and_agree_with_one(case: str) -> None:
    composition = build(CASES[case], data_for(case)).eval()
    batch = batch_of(data_for(case, 8))
    many = composition(batch, draw(6)).code
    if "kl" in CASES[case].code.provides:
        distinct = len({tuple(z.flatten().tolist()) for z in many.z})
        # Classes may well fall alike, and those that are all but certain do.
        certain = many.indices is not None and float(many.quantities["kl"].detach().min()) > 0.9 * np.log(
            many.entries[0]
        )
        assert distinct == 6 if many.indices is None else distinct > 1 or certain
    else:
        assert (many.z == many.mean).all()
    one = composition(batch, draw(1))
    assert torch.equal(one.code.mean, many.mean)
    again = composition(batch, draw(1))
    assert torch.equal(one.reconstruction, again.reconstruction)


@each_case
def test_parts_are_frozen_and_hashable(case: str) -> None:
    recipe = CASES[case]
    hash(recipe)
    for part in (recipe, recipe.network, recipe.code, recipe.objective, recipe.training):
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.kind = "other"  # type: ignore[union-attr]


def test_every_registered_name_is_in_a_case() -> None:
    """The list of cases is made from the tables; this would notice if it were not."""
    kinds: set[Any] = set()
    for recipe in CASES.values():
        kinds |= {recipe.network.kind, recipe.code.kind, *(w.term.kind for w in recipe.objective.terms)}
        kinds |= {getattr(recipe.corruption, "kind", None), getattr(recipe.objective.likelihood, "kind", None)}
    registered = {name for axis in PARTS for name in (part.kind for part in PARTS[axis])}
    assert registered <= kinds
    assert {f"preset-{name}" for name in PRESETS} <= QUICK <= CASES.keys()
    assert {CASES[case].network.kind for case in QUICK} == set(NETWORKS)
    for axis in PARTS:
        assert {part.kind for part in PARTS[axis]} == {case.split("-")[1] for case in QUICK if case.startswith(axis)}
