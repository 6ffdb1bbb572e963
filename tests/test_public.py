"""The public surface is a list, everything in it says what it does, and the first look at it is quick."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import isthmus
from isthmus.estimator.fitted import FittedModel
from isthmus.estimator.methods import ModelMethods
from isthmus.objectives import Likelihood
from isthmus.training import Progress

PUBLIC = [
    "AnomalyDetector",
    "Autoencoder",
    "IsthmusError",
    "LatentClassifier",
    "LatentRegressor",
    "Recipe",
    "SeriesDetector",
    "Training",
    "__version__",
    "advise",
    "datasets",
    "load",
    "presets",
    "read",
]


def test_the_public_names_are_this_list() -> None:
    """Whoever adds or takes one changes this line, and the changelog."""
    assert sorted(isthmus.__all__) == sorted(PUBLIC)
    assert dir(isthmus) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(isthmus, name) is not None
    assert inspect.isclass(isthmus.Autoencoder) and inspect.isfunction(isthmus.load)
    assert isinstance(isthmus.presets, ModuleType)


def test_the_verbs_of_the_estimator_are_this_list() -> None:
    names = {*vars(isthmus.Autoencoder), *vars(ModelMethods), *vars(FittedModel)}
    own = {name for name in names if not name.startswith("_") and not name.endswith("_request")}
    assert {
        "corrupt",
        "decode",
        "encode",
        "health",
        "impute",
        "log_likelihood",
        "walk_back",
        "fit",
        "get_params",
        "interpolate",
        "inference",
        "inverse_transform",
        "kl_per_latent",
        "partial_fit",
        "encoded_rows",
        "reconstruct",
        "sample",
        "save",
        "score",
        "score_columns",
        "score_steps",
        "score_samples",
        "set_params",
        "transform",
    } == own - set(isthmus.Autoencoder.__annotations__) - set(FittedModel.__annotations__)


def modules() -> list[str]:
    found = ["isthmus"]
    for info in pkgutil.walk_packages(isthmus.__path__, "isthmus."):
        if not info.name.endswith("__main__"):
            found.append(info.name)
    return found


def public(owner: Any, module: str) -> list[tuple[str, Any]]:
    return [
        (name, value)
        for name, value in vars(owner).items()
        if not name.startswith("_") and getattr(value, "__module__", module) == module
    ]


@pytest.mark.parametrize("name", modules())
def test_everything_public_has_a_docstring(name: str) -> None:
    """Of a method that overrides another, the contract's counts."""
    module = importlib.import_module(name)
    assert module.__doc__, name
    undocumented = []
    for label, value in public(module, name):
        if inspect.isclass(value):
            # what a dataclass writes by itself is no docstring
            if not value.__doc__ or value.__doc__.startswith(f"{value.__name__}("):
                undocumented.append(label)
            for inner, method in public(value, name):
                function = inspect.unwrap(method.fget if isinstance(method, property) else method)
                if isinstance(method, classmethod | staticmethod):
                    function = method.__func__
                if (
                    inspect.isfunction(function)
                    and not inspect.getdoc(getattr(value, inner))
                    and not _inherits(value, inner)
                ):
                    undocumented.append(f"{label}.{inner}")
        elif inspect.isfunction(value) and not value.__doc__:
            undocumented.append(label)
    assert not undocumented


def _inherits(cls: type, name: str) -> bool:
    """Return whether a contract documents the name: as an attribute, or for classes that are not its subclasses."""
    for base in cls.__mro__[1:]:
        if name in getattr(base, "__annotations__", {}) and f"{name}: " in (base.__doc__ or ""):
            return True
    for protocol in (Likelihood, Progress):
        methods = {m for m in vars(protocol) if not m.startswith("_")}
        if name in methods and methods <= set(dir(cls)) | set(getattr(cls, "__annotations__", {})) | {"constant"}:
            return bool(inspect.getdoc(getattr(protocol, name)))
    return False


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh Python has loaded after a statement."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "numpy", "sklearn", "pandas", "scipy", "pyarrow", "matplotlib"}


@pytest.mark.parametrize("module", ["isthmus", "isthmus.errors", "isthmus.cli.app"])
def test_importing_it_is_light(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


def test_optional_packages_are_not_loaded_by_the_main_path() -> None:
    loaded = loaded_by("from isthmus import Autoencoder, load, presets")
    assert "torch" in loaded
    assert not loaded & {"matplotlib", "jinja2", "typer", "polars", "PIL", "torch._dynamo", "hypothesis"}
