"""A recipe's parts as JSON values, and values by dotted path."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.codes import CODES, PRIORS, CodeSpec, PriorSpec
from isthmus.corruptions import CORRUPTIONS, Corruption
from isthmus.errors import RecipeError, explain
from isthmus.networks import NETWORKS, NetworkSpec
from isthmus.objectives import (
    LIKELIHOODS,
    SCHEDULES,
    TERMS,
    LikelihoodSpec,
    Objective,
    Schedule,
    Term,
    WeightedTerm,
)
from isthmus.recipe.synonyms import likelihood_of, path_of, setting_of, unknown_setting, with_own_names


@dataclass(frozen=True)
class Axis:
    """One of the exchangeable parts: its base class and its table of names."""

    base: type[Any]
    table: Mapping[str, type[Any]]
    optional: bool = False


AXES: dict[str, Axis] = {
    "network": Axis(NetworkSpec, NETWORKS),
    "code": Axis(CodeSpec, CODES),
    "corruption": Axis(Corruption, CORRUPTIONS, optional=True),
}
# Parts inside a part, by the path that leads there.
NESTED: dict[str, Axis] = {"code.prior": Axis(PriorSpec, PRIORS)}


def encode(value: Any) -> Any:
    """Return the JSON value of a part: its fields by name, led by its kind if it has one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return {**kind, **{f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()  # parameter grids are full of numpy's numbers
    return value


def check_mapping(where: str, value: Any) -> dict[str, Any]:
    """Return a JSON object as a new dictionary; raise `RecipeError` for anything else."""
    if not isinstance(value, Mapping):
        raise RecipeError(
            f"{where}: " + explain("a JSON object", repr(value), "one such as `isthmus recipes vae` prints")
        )
    return dict(value)


def check_fields(where: str, cls: type[Any], data: Mapping[str, Any]) -> None:
    """Raise `RecipeError`, with the valid names, if `data` has a name that is no field of the class."""
    names = [f.name for f in dataclasses.fields(cls)]
    for name in data:
        if name not in names:
            raise RecipeError(f"{where}: " + unknown_setting(name, names))


def decode_part(where: str, axis: Axis, value: Any) -> Any:
    """Return the part that a JSON value, or a kind alone, describes; a part is returned as it is."""
    if isinstance(value, axis.base) or (axis.optional and value is None):
        return value
    data: dict[str, Any] = {"kind": value} if isinstance(value, str) else check_mapping(where, value)
    kind = data.pop("kind", None)
    if not isinstance(kind, str) or kind not in axis.table:
        raise RecipeError(f"{where}: " + unknown_setting(kind, axis.table, "kind"))
    cls = axis.table[kind]
    data = with_own_names(where, data, [f.name for f in dataclasses.fields(cls)])
    check_fields(f"{where} {kind!r}", cls, data)
    if isinstance(data.get("parts"), list | tuple):
        data["parts"] = tuple(_decode_inner(f"{where}.parts", axis, part) for part in data["parts"])
    for path, inner in NESTED.items():
        outer, _, name = path.rpartition(".")
        if outer == where and isinstance(data.get(name), dict | str):
            data[name] = decode_part(path, inner, data[name])
    return cls(**data)


def _decode_inner(where: str, axis: Axis, value: Any) -> Any:
    """Return the part, or the pair of columns and part, that stands inside another part."""
    if isinstance(value, list | tuple):
        return tuple(decode_part(where, axis, item) if place == 1 else item for place, item in enumerate(value))
    return decode_part(where, axis, value)


def decode_objective(value: Any) -> Objective:
    """Return the objective that a JSON value describes."""
    if isinstance(value, Objective):
        return value
    data = check_mapping("objective", value)
    check_fields("objective", Objective, data)
    likelihood = likelihood_of(data.get("likelihood", "auto_error"))
    if likelihood not in ("auto_error", "auto_density"):
        likelihood = decode_part("objective.likelihood", Axis(LikelihoodSpec, LIKELIHOODS), likelihood)
    terms = data.get("terms", [])
    if not isinstance(terms, list | tuple):
        raise RecipeError("objective.terms: " + explain("a list", repr(terms), '[{"term": "kl", "weight": 1}]'))
    return Objective(likelihood, tuple(_decode_term(term) for term in terms))


def _decode_term(value: Any) -> WeightedTerm:
    if isinstance(value, WeightedTerm):
        return value
    data = check_mapping("objective.terms", value)
    check_fields("objective.terms", WeightedTerm, data)
    term = decode_part("objective.terms", Axis(Term, TERMS), data.get("term"))
    weight = data.get("weight", 1.0)
    if isinstance(weight, dict | str):
        weight = decode_part(f"objective.{term.kind}.weight", Axis(Schedule, SCHEDULES), weight)
    return WeightedTerm(term, weight)


def assign(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in a recipe's JSON form; a path must exist, but a part may be replaced whole."""
    place: Any = data
    keys = path.split(".")
    if len(keys) == 1 and path not in data:
        keys = (path_of(path) or path).split(".")
    if keys[0] == "objective" and len(keys) > 2 and keys[1] not in ("likelihood", "terms"):
        for item in data["objective"]["terms"]:
            if item["term"]["kind"] == keys[1]:
                place, keys = (item if keys[2] == "weight" else item["term"]), keys[2:]
                break
        else:
            if keys[1] in TERMS:
                example = [{"term": keys[1], "weight": 1.0}]
                raise RecipeError(
                    f"{path!r}: this recipe has no term {keys[1]!r}; try objective.terms={json.dumps(example)}"
                )
    for depth, key in enumerate(keys):
        if not isinstance(place, dict):
            raise RecipeError(f"{path!r}: {'.'.join(keys[:depth])!r} has no settings inside; try setting it whole")
        key = setting_of(key, place, ".".join(keys[:depth]))
        if key not in place or key == "format":
            valid = [name for name in place if name != "format"]
            raise RecipeError(f"{path!r}: " + unknown_setting(key, valid))
        if depth == len(keys) - 1:
            if key == "kind":
                _keep_shared(place, ".".join(keys[:depth]), value)
            place[key] = value
        place = place[key]


def _keep_shared(part: dict[str, Any], where: str, kind: Any) -> None:
    """Drop the settings that a part of another kind does not have."""
    axes = {**AXES, **NESTED}
    table: Mapping[str, type[Any]] = axes[where].table if where in axes else LIKELIHOODS
    known = isinstance(kind, str) and kind in table
    shared = [field.name for field in dataclasses.fields(table[kind])] if known else list(part)
    for name in [name for name in part if name not in shared]:
        del part[name]
