"""The JSON Schema of a recipe takes what the recipe takes, and refuses what is out of range."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.errors import RecipeError
from isthmus.presets import PRESETS
from isthmus.recipe import Recipe
from tests.helpers import PARTS, recipe_around

SCHEMA = json.loads(json.dumps(Recipe.json_schema(), allow_nan=False))
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
NOTES = {"$schema", "$defs", "title", "description", "default"}


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _properties(schema: dict[str, Any], value: Any) -> bool:
    known = schema["properties"]
    assert schema["additionalProperties"] is False
    return not isinstance(value, dict) or all(k in known and is_valid(known[k], v) for k, v in value.items())


KEYWORDS: dict[str, Callable[[dict[str, Any], Any], bool]] = {
    "$ref": lambda s, v: is_valid(SCHEMA["$defs"][s["$ref"].removeprefix("#/$defs/")], v),
    "anyOf": lambda s, v: any(is_valid(form, v) for form in s["anyOf"]),
    "enum": lambda s, v: any(_same(v, choice) for choice in s["enum"]),
    "const": lambda s, v: _same(v, s["const"]),
    "type": lambda s, v: TYPES[s["type"]](v),
    "minimum": lambda s, v: not TYPES["number"](v) or v >= s["minimum"],
    "exclusiveMinimum": lambda s, v: not TYPES["number"](v) or v > s["exclusiveMinimum"],
    "maximum": lambda s, v: not TYPES["number"](v) or v <= s["maximum"],
    "pattern": lambda s, v: not isinstance(v, str) or re.search(s["pattern"], v) is not None,
    "minItems": lambda s, v: not isinstance(v, list) or len(v) >= s["minItems"],
    "maxItems": lambda s, v: not isinstance(v, list) or len(v) <= s["maxItems"],
    "items": lambda s, v: not isinstance(v, list) or all(is_valid(s["items"], item) for item in v),
    "prefixItems": lambda s, v: (
        not isinstance(v, list) or all(is_valid(item, x) for item, x in zip(s["prefixItems"], v, strict=False))
    ),
    "properties": _properties,
    "required": lambda s, v: not isinstance(v, dict) or all(name in v for name in s["required"]),
    "additionalProperties": lambda s, v: True,  # with the properties
}


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    """Return whether a value fulfils a schema of the few keywords that a recipe's needs; any other is an error."""
    return all(KEYWORDS[word](schema, value) for word in schema if word not in NOTES)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str) -> None:
    assert is_valid(SCHEMA, json.loads(json.dumps(PRESETS[name]().to_dict())))


@pytest.mark.parametrize("axis", PARTS)
def test_every_part_in_every_setting_is_valid(axis: str) -> None:
    for part in PARTS[axis]:
        recipe = recipe_around(axis, part)
        assert is_valid(SCHEMA, json.loads(json.dumps(recipe.to_dict()))), part


SHORT: list[dict[str, Any]] = [
    {},
    {"network": "conv", "code": "gaussian", "corruption": None},
    {"code": {"kind": "gaussian", "prior": "vamp"}, "training": {"epochs": 3, "betas": [0.5, 0.5]}},
    {"objective": {"likelihood": "auto_density", "terms": [{"term": "sparsity", "weight": {"kind": "linear"}}]}},
    {"corruption": {"kind": "chain", "parts": ["mask", {"kind": "gaussian_noise", "std": [0.1, 0.2]}]}},
]
WRONG: list[dict[str, Any]] = [
    {"colour": 1},
    {"format": 2},
    {"network": "convolutional"},
    {"network": {"kind": "dense", "dropout": 0.99}},
    {"network": {"kind": "dense", "hidden_dims": [8, 0]}},
    {"network": {"hidden_dims": [8]}},
    {"code": {"kind": "gaussian", "latent_dim": 0}},
    {"code": {"kind": "gaussian", "prior": {"kind": "vamp", "components": 0}}},
    {"code": {"kind": "fsq", "levels": []}},
    {"corruption": {"kind": "mask", "rate": 1.5}},
    {"corruption": {"kind": "chain", "parts": [{"kind": "mask", "rate": -1}]}},
    {"training": {"epochs": "all"}},
    {"training": {"learning_rate": 0}},
    {"training": {"betas": [0.9]}},
    {"training": {"device": "gpu"}},
    {"objective": {"likelihood": {"kind": "normal", "variance": "rows"}}},
    {"objective": {"terms": [{"term": "sparsity", "weight": -1}]}},
    {"objective": {"terms": [{"weight": 1}]}},
    {"conditional": "yes"},
]


@pytest.mark.parametrize("data", SHORT, ids=str)
def test_a_short_recipe_is_valid_and_is_read(data: dict[str, Any]) -> None:
    assert is_valid(SCHEMA, data)
    Recipe.from_dict(data)


@pytest.mark.parametrize("data", WRONG, ids=str)
def test_what_a_recipe_refuses_is_not_valid(data: dict[str, Any]) -> None:
    assert not is_valid(SCHEMA, data)
    with pytest.raises(RecipeError):
        Recipe.from_dict(data)


def test_settings_have_range_default_and_description() -> None:
    rate = SCHEMA["$defs"]["corruption.mask"]["properties"]["rate"]
    assert (rate["minimum"], rate["maximum"], rate["default"]) == (0, 1, 0.3) and rate["description"]
    assert SCHEMA["$schema"].endswith("2020-12/schema")
    assert PRESETS["vae"]().json_schema() == Recipe.json_schema()
