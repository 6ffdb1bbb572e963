"""What several test files need: small data, small recipes, and every registered part in every setting."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isthmus.codes import CODES, PRIORS, CodeSpec, Draw, Gaussian, VectorQuantised
from isthmus.composition import Composition
from isthmus.corruptions import CORRUPTIONS, Chain, Corruption, GaussianNoise, HideValues, Mask, SaltAndPepper
from isthmus.errors import RecipeError
from isthmus.networks import NETWORKS, Conv
from isthmus.objectives import (
    LIKELIHOODS,
    TERMS,
    Bernoulli,
    Contraction,
    Forward,
    Likelihood,
    LikelihoodSpec,
    Linear,
    Mixed,
    NegativeBinomial,
    Nested,
    Normal,
    OneHot,
    SquaredError,
    StudentT,
    TotalCorrelation,
    WeightedTerm,
)
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.settings import AtLeast, Constraint, ListOf, OneOf, PairOf, Pattern, Range, Setting
from isthmus.settings import settings_of as declared

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
COLUMNS = 6
CLASSES = 4
MIXED = {"real": (0, 3), "binary": (1, 2), "counts": (5,), "unit": (4,)}
# The forms that so many values come in; a recipe is tested on those that its network reads.
SHAPES: list[tuple[int, ...]] = [(6,), (2, 3), (1, 2, 3)]


def rows(
    count: int = 96, columns: int = COLUMNS, support: str = "unit", seed: int = 0, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return rows that two hidden causes explain, so that a narrow code can learn them.

    `support` is what a likelihood asks for: "unit", "binary", "real" (columns of unlike scales and offsets), "counts",
    "categories" (0 to `CLASSES` - 1) or "mixed" (columns as in `MIXED`).
    """
    if support == "mixed":
        kinds = [next(s for s, c in MIXED.items() if column in c) for column in range(columns)]
        x = np.stack([rows(count, columns, kind, seed)[:, i] for i, kind in enumerate(kinds)], 1)
        return x.reshape(count, *shape) if shape else x
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((count, 2))
    mix = np.random.default_rng(99).standard_normal((2, columns))
    x = causes @ mix + 0.1 * rng.standard_normal((count, columns))
    if support == "real":
        x = 5.0 * np.arange(columns) + x * 2.0 ** (np.arange(columns) - 2)
    elif support == "counts":
        x = rng.poisson(np.exp(0.7 * x + 1.0)).astype(float)
    elif support == "categories":
        x = np.clip(np.floor(x + CLASSES / 2), 0, CLASSES - 1)
    else:
        x = 1.0 / (1.0 + np.exp(-x))
        if support == "binary":
            x = (x > 0.5).astype(float)
    return x.reshape(count, *shape) if shape else x


# Widths of a small network, where a recipe leaves them open.
SMALL: dict[str, Any] = {"hidden_dims": (8,), "channels": (4,), "width": 8}


def small(recipe: Recipe, **training: Any) -> Recipe:
    """Return the recipe with a small network and a short training."""
    changes: dict[str, Any] = {f"training.{name}": value for name, value in training.items()}
    changes |= {f"network.{k}": v for k, v in SMALL.items() if getattr(recipe.network, k, None) == "auto"}
    if recipe.code.latent_dim == "auto":
        changes["code.latent_dim"] = 3 * getattr(recipe.code, "classes", 1)
    if hasattr(getattr(recipe.code, "prior", None), "components"):
        changes["code.prior.components"] = LEAST["components"]
    return recipe.replace({"training.epochs": 3, "training.batch_size": 32, "training.patience": None, **changes})


def support_of(recipe: Recipe) -> str:
    """Return the support of the recipe's likelihood, "unit" where it is chosen by the data."""
    likelihood = recipe.objective.likelihood
    return likelihood.support if isinstance(likelihood, LikelihoodSpec) else "unit"


def build(recipe: Recipe, x: np.ndarray, condition_dim: int = 0, seed: int = 0) -> Composition:
    """Return the untrained composition for some rows; torch's global generator is left alone."""
    schema = Schema.of(x, None, condition_dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return recipe.resolve(schema, len(x)).build(schema)


def batch_of(x: np.ndarray, condition_dim: int = 0) -> Batch:
    """Return rows as they are as a batch, with a condition if asked."""
    told = torch.randn(len(x), condition_dim, generator=torch.Generator().manual_seed(7)) if condition_dim else None
    return Batch(torch.from_numpy(x.astype(np.float32)), condition=told)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(samples: int = 1, seed: int = 0) -> Draw:
    return Draw(samples, generator(seed))


@dataclasses.dataclass
class Latents:
    """A code's output with chosen numbers."""

    mean: torch.Tensor
    z: torch.Tensor | None = None
    quantities: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    indices: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.z is None:
            self.z = self.mean


def forward_of(code: Latents, x: torch.Tensor | None = None, encode: Any = None) -> Forward:
    """Return a `Forward` for a term that reads no more than the code's output, the rows and the encoder."""
    x = torch.zeros(len(code.mean), 1) if x is None else x
    batch = Batch(x)
    return Forward(batch, batch, code, x, torch.zeros(len(x)), encode or (lambda values: code.mean))


# ---- every part in every setting ---------------------------------------------------------------------------------

TABLES: dict[str, dict[str, type[Any]]] = {
    "network": NETWORKS,
    "code": CODES,
    "corruption": CORRUPTIONS,
    "likelihood": LIKELIHOODS,
    "term": TERMS,
}
# Settings that neither a default nor a declaration reveals.
MORE: dict[type[Any], list[dict[str, Any]]] = {
    Chain: [{"parts": (SaltAndPepper(0.1, 0.0, 1.0), Mask(0.1))}],
    GaussianNoise: [{"std": (0.05, 0.2)}],
    HideValues: [{"rate": 0.3}],
    SaltAndPepper: [{"low": 0.0, "high": 1.0}],
    StudentT: [{"degrees": 3.0}],
    Conv: [{"kernel": 4}, {"stride": 1}, {"stride": (2, 1)}, {"bottleneck": "spatial", "tied": True}],
    Contraction: [{"probes": 1}],
    TotalCorrelation: [{"rows": 1000}],
    Nested: [{"prefixes": (2,)}],
    OneHot: [{"sizes": (3,)}, {"sizes": (2, 1, 3)}],
}
# What a part cannot be made without, or is too large without.
LEAST: dict[str, Any] = {
    "hidden_dims": (8, 5),
    "channels": (4, 3),
    "latent_dim": 3,
    "samples": 3,
    "width": 8,
    "classes": CLASSES,
    "components": 4,
    "entries": 8,
    "heads": 2,
}
MIXED_PARTS = (
    (MIXED["real"], Normal("row")),
    (MIXED["binary"], Bernoulli()),
    (MIXED["counts"], NegativeBinomial()),
    (MIXED["unit"], SquaredError("sigmoid")),
)
LEAST_OF: dict[type[Any], dict[str, Any]] = {
    CODES["categorical"]: {"classes": 3},
    Chain: {"parts": (Mask(0.1), GaussianNoise(0.1))},
    Mixed: {"parts": MIXED_PARTS},
}


def least_settings(cls: type[Any]) -> dict[str, Any]:
    """Return the settings of the smallest instance of a part that are not its defaults."""
    return {f.name: LEAST[f.name] for f in dataclasses.fields(cls) if f.name in LEAST} | LEAST_OF.get(cls, {})


def least(cls: type[Any]) -> Any:
    """Return the smallest instance of a part."""
    return cls(**least_settings(cls))


def settings_of(cls: type[Any]) -> Iterator[Any]:
    """Yield a part with each setting changed in turn.

    A new setting is found by being there: its declaration lists the choices and the range.
    """
    first = least(cls)
    yield first
    for setting in declared(cls):
        if setting.name in least_settings(cls):
            continue
        present = getattr(first, setting.name)
        for value in legal_values(setting):
            if value != present:
                yield dataclasses.replace(first, **{setting.name: value})
    for more in MORE.get(cls, []):
        yield dataclasses.replace(first, **more)


def legal_values(setting: Setting) -> list[Any]:
    """Return legal values of a setting: the choices that it declares, and a number inside its range."""
    return [value for constraint in setting.constraints for value in _LEGAL[type(constraint)](constraint)]


def illegal_values(setting: Setting) -> list[Any]:
    """Return values that no declared constraint of a setting allows."""
    wrong = [_Nonsense(), "no such choice!", float("nan")]
    return wrong + [value for constraint in setting.constraints for value in _ILLEGAL[type(constraint)](constraint)]


class _Nonsense:
    """Not a value of any setting."""


def _inside(allowed: Range) -> list[float]:
    if allowed.low == -math.inf:
        return []
    return [allowed.low + (0.2 if allowed.high > 1000 else 0.2 * (allowed.high - allowed.low))]


def _outside(allowed: Range) -> list[float]:
    below = allowed.low if allowed.open_low else allowed.low - 0.5
    return [value for value in (below, allowed.high + 0.5) if math.isfinite(value)]


def _lists_outside(allowed: ListOf) -> list[Any]:
    short, wrong = [[]] if allowed.least else [], _ILLEGAL[type(allowed.item)](allowed.item)
    return [*short, *([value] * max(1, allowed.least) for value in wrong)]


# No integers and no lists: those of `LEAST` and `MORE` are small enough to be trained.
_LEGAL: dict[type[Constraint], Any] = {
    AtLeast: lambda allowed: [],
    Range: _inside,
    OneOf: lambda allowed: list(allowed.choices),
    ListOf: lambda allowed: [],
    PairOf: lambda allowed: [],
    Pattern: lambda allowed: [],
}
_ILLEGAL: dict[type[Constraint], Any] = {
    AtLeast: lambda allowed: [allowed.low - 1, allowed.low + 0.5, True],
    Range: _outside,
    OneOf: lambda allowed: [],
    ListOf: _lists_outside,
    PairOf: lambda allowed: [[1.0, 0.5], [1.0], *([value, value] for value in _outside(allowed.number))],
    Pattern: lambda allowed: ["", 3],
}


_PRIORS = [prior for cls in PRIORS.values() for prior in settings_of(cls)]
MORE[Gaussian] = [{"prior": prior} for prior in _PRIORS[1:]]
MORE[Gaussian] += [{"prior": least(PRIORS[kind]), "covariance": "full"} for kind in ("laplace", "vamp")]
MORE[VectorQuantised] = [{"groups": 3}]
PARTS: dict[str, list[Any]] = {
    axis: [part for cls in table.values() for part in settings_of(cls)] for axis, table in TABLES.items()
}


def random_recipe(rng: np.random.Generator) -> Recipe:
    """Return a random composition of registered parts; raise `RecipeError` if they do not fit each other."""
    network, code, likelihood = (pick(rng, PARTS[axis]) for axis in ("network", "code", "likelihood"))
    corruption: Corruption | None = pick(rng, [None, *PARTS["corruption"]])
    kinds = [kind for kind in TERMS if rng.random() < 3 / len(TERMS) or (kind == "kl" and needs_rate(code))]
    terms = [pick(rng, [t for t in PARTS["term"] if t.kind == kind]) for kind in kinds]
    weights = [pick(rng, [0.01, 0.1, Linear(end=0.1, over=0.5)]) for _ in terms]
    recipe = Recipe(network, code, corruption)
    objective = dataclasses.replace(
        recipe.objective,
        likelihood=likelihood,
        terms=tuple(WeightedTerm(t, w) for t, w in zip(terms, weights, strict=True)),
    )
    return dataclasses.replace(recipe, objective=objective)


def needs_rate(code: CodeSpec) -> bool:
    """Return whether a code may have a prior with parameters, which nothing but the rate reaches."""
    return "kl" in code.provides and "latent_kl" not in code.provides


def pick(rng: np.random.Generator, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


@functools.cache
def shapes_of(recipe: Recipe) -> list[tuple[int, ...]]:
    """Return those of `SHAPES` whose rows, of the likelihood's support, the recipe takes; none if its parts misfit."""
    found = []
    for shape in SHAPES:
        x = rows(support=support_of(recipe), shape=shape)
        with contextlib.suppress(RecipeError):
            recipe.resolve(Schema.of(x), len(x))
            found.append(shape)
    return found


def random_recipes(count: int, seed: int = 0) -> Iterator[Recipe]:
    """Yield random compositions whose parts fit."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        try:
            recipe = random_recipe(rng)
        except RecipeError:
            continue
        if shapes_of(recipe):
            found += 1
            yield recipe


def recipe_around(axis: str, part: Any) -> Recipe:
    """Return a recipe that holds a part, with the first other parts that it fits."""
    term, likelihood = (part if axis == "term" else None), (part if axis == "likelihood" else None)
    weight = 0.1
    if axis == "code" and needs_rate(part):
        term, weight = TERMS["kl"](), 0.01  # more would leave nothing in the code of such short rows
    networks = [part] if axis == "network" else [least(cls) for cls in NETWORKS.values()]
    codes = [part] if axis == "code" else PARTS["code"]
    likelihoods = [likelihood] if likelihood else ["auto_error", *PARTS["likelihood"]]
    for network in networks:
        for code in codes:
            for choice in likelihoods:
                try:
                    recipe = Recipe(network, code, part if axis == "corruption" else None)
                    recipe = dataclasses.replace(
                        recipe,
                        objective=dataclasses.replace(
                            recipe.objective, likelihood=choice, terms=(WeightedTerm(term, weight),) if term else ()
                        ),
                    )
                except RecipeError:
                    continue
                if shapes_of(recipe):
                    return recipe
    raise AssertionError(f"no recipe holds {part}")


def log_weights(composition: Composition, forward: Forward) -> torch.Tensor:
    """Return ``log p(x|z) + log p(z) - log q(z|x)``, `(samples, rows)`: the importance weights of a Gaussian code."""
    code = forward.code
    log_variance = code.quantities["log_variance"]
    constant = composition.likelihood.constant * forward.batch.wanted[0].numel()
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(code.z).sum(-1)
    posterior = torch.distributions.Normal(code.mean, (0.5 * log_variance).exp()).log_prob(code.z).sum(-1)
    return -forward.reconstruction - constant + prior - posterior


def likelihood_of(spec: LikelihoodSpec, row: tuple[int, ...]) -> Likelihood:
    return spec.build(row)
