"""A recipe's JSON Schema, from the declarations of its settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from isthmus.objectives import LIKELIHOODS, SCHEDULES, TERMS, Objective
from isthmus.objectives.base import WEIGHT
from isthmus.recipe.serialise import AXES, NESTED
from isthmus.settings import arguments, settings_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COLUMNS: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        {"type": "string", "pattern": r"^\s*\d+\s*:\s*\d+\s*$"},
    ]
}


def recipe_schema(recipe: type[Any], training: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema, draft 2020-12, of what `Recipe.from_dict` reads.

    A part is its kind alone or an object with its kind and settings; what is missing has its default. That the parts
    fit each other no schema says: the recipe itself checks it.
    """
    meanings = arguments(recipe)
    properties: dict[str, Any] = {"format": {"const": 1, "default": 1, "description": "The version of this format."}}
    for name, axis in AXES.items():
        properties[name] = {**_choice(name, axis.table, optional=axis.optional), "description": meanings[name]}
    properties["objective"] = {**_objective(), "description": meanings["objective"]}
    properties["training"] = {**_settings(training), "description": meanings["training"]}
    plain = {setting.name: setting.json_schema() for setting in settings_of(recipe) if setting.constraints}
    tables: dict[str, Mapping[str, type[Any]]] = {name: axis.table for name, axis in (AXES | NESTED).items()}
    tables |= {"likelihood": LIKELIHOODS, "term": TERMS, "schedule": SCHEDULES}
    return {
        "$schema": DIALECT,
        "title": "isthmus recipe",
        "description": _summary(recipe),
        **_object(properties | plain),
        "$defs": {f"{name}.{kind}": _part(name, cls) for name, table in tables.items() for kind, cls in table.items()},
    }


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


def _choice(name: str, table: Mapping[str, Any], *, optional: bool = False) -> dict[str, Any]:
    """Return the schema of one of the parts of a table, which may also be its kind alone."""
    forms: list[dict[str, Any]] = [{"$ref": f"#/$defs/{name}.{kind}"} for kind in table]
    forms += [{"enum": list(table)}]
    forms += [{"type": "null"}] if optional else []
    return {"anyOf": forms}


def _settings(cls: type[Any], kind: str | None = None, **others: Any) -> dict[str, Any]:
    properties = {setting.name: setting.json_schema() for setting in settings_of(cls)} | others
    if kind is None:
        return _object(properties)
    return _object({"kind": {"const": kind}, **properties}, ("kind",))


def _part(name: str, cls: type[Any]) -> dict[str, Any]:
    """Return the schema of a part; of parts inside a part, that of their table."""
    inside: dict[str, Any] = {}
    for path, axis in NESTED.items():
        outer, _, field = path.rpartition(".")
        if outer == name and any(setting.name == field for setting in settings_of(cls)):
            inside[field] = _choice(path, axis.table)
    if name == "corruption" and cls.kind == "chain":
        inside["parts"] = {"type": "array", "items": _choice(name, AXES[name].table), "minItems": 1}
    if name == "likelihood" and cls.kind == "mixed":
        pair = {"type": "array", "prefixItems": [_COLUMNS, _choice(name, LIKELIHOODS)], "minItems": 2, "maxItems": 2}
        inside["parts"] = {"type": "array", "items": pair, "minItems": 1}
    meanings = arguments(cls)
    inside = {field: {**schema, "description": meanings[field]} for field, schema in inside.items()}
    return {"description": _summary(cls), **_settings(cls, cls.kind, **inside)}


def _objective() -> dict[str, Any]:
    meanings = arguments(Objective)
    likelihood = _choice("likelihood", LIKELIHOODS)
    likelihood["anyOf"].append({"enum": ["auto_error", "auto_density"]})
    weight = {"anyOf": [WEIGHT.json_schema(), *_choice("schedule", SCHEDULES)["anyOf"]], "default": 1.0}
    term = _object({"term": _choice("term", TERMS), "weight": weight}, ("term",))
    return _object(
        {
            "likelihood": {**likelihood, "default": "auto_error", "description": meanings["likelihood"]},
            "terms": {"type": "array", "items": term, "default": [], "description": meanings["terms"]},
        }
    )


def _summary(cls: type[Any]) -> str:
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
