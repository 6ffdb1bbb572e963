"""A model on disk: a folder of JSON, safetensors and CSV, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from isthmus.atomic import move_whole, readable_json, temporary_beside, write_whole
from isthmus.composition import Composition
from isthmus.data.encoding import Encoding
from isthmus.data.kinds import encoding_of
from isthmus.errors import ArtifactError, RecipeError
from isthmus.recipe import Recipe
from isthmus.schema import Schema

FORMAT = 1
_MANIFEST = "manifest.json"
_FILES = ("recipe.json", "schema.json", "model.safetensors", "history.csv", "README.md")
_LIBRARIES = ("isthmus", "torch", "numpy", "safetensors")
# A manifest is a few kilobytes; more is no manifest.
_MANIFEST_LIMIT = 10_000_000


@dataclass
class Artifact:
    """What is saved of a trained model.

    Attributes:
        recipe: resolved.
        schema: of the rows.
        composition: with trained weights.
        encoding: fitted.
        metrics: what training measured, plain JSON values.
        history_csv: the history as CSV text.
    """

    recipe: Recipe
    schema: Schema
    composition: Composition
    encoding: Encoding
    metrics: dict[str, Any]
    history_csv: str


def save(artifact: Artifact, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model folder.

    It is written under a temporary name beside `path` and renamed when it is complete.

    Raises:
        ArtifactError: if `path` exists and `overwrite` is false, or exists and is no model folder.
    """
    folder = Path(path)
    refuse_existing(folder, overwrite=overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    contents = _contents(artifact)
    temporary = temporary_beside(folder)
    try:
        for name, data in contents.items():
            write_whole(temporary / name, data)
        move_whole(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Raise `ArtifactError` if `folder` is taken; only a model folder is ever overwritten."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise ArtifactError(f"{str(folder)!r} exists; try another name, or overwrite=True (--overwrite) to replace it")
    advice = "so it is not overwritten; try another name"
    if not folder.is_dir():
        raise ArtifactError(f"{str(folder)!r} is not a model folder, {advice}")
    names = {path.name for path in folder.iterdir()}
    if names:
        try:
            read_manifest(folder)
        except ArtifactError:
            # Other programs write a manifest.json too.
            raise ArtifactError(f"{str(folder)!r} is not a model folder, {advice}") from None
    added = sorted(names - {*_FILES, _MANIFEST})
    if added:
        raise ArtifactError(f"{str(folder)!r} holds more than a model ({', '.join(added)}), {advice}")


def load(path: str | Path) -> Artifact:
    """Read a model folder.

    Raises:
        ArtifactError: if it is missing, damaged (a hash differs), incomplete, or newer than this isthmus.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if "application" in manifest:
        what = str(manifest["application"]).replace("_", " ")
        advice = f"its autoencoders, such as {str(folder / 'autoencoders' / '0')!r}, or isthmus.load (isthmus detect)"
        raise ArtifactError(f"{str(folder)!r} holds an application ({what}) and not one autoencoder; try {advice}")
    data = {name: read_checked(folder, name, manifest) for name in _FILES}
    _check_metrics(folder, manifest["metrics"])
    try:
        recipe = Recipe.from_dict(_json(folder, "recipe.json", data["recipe.json"]))
    except (RecipeError, RecursionError, TypeError) as error:
        raise ArtifactError(f"recipe.json of {str(folder)!r} is not usable: {error}") from None
    schema = Schema.from_dict(_json(folder, "schema.json", data["schema.json"]))
    try:
        tensors = load_tensors(data["model.safetensors"])
    except SafetensorError as error:
        raise ArtifactError(f"model.safetensors of {str(folder)!r} is damaged: {error}") from None
    encoding = _encoding(folder, recipe, schema, tensors)
    weights = {k.removeprefix("composition."): v for k, v in tensors.items() if k.startswith("composition.")}
    strangers = [name for name in tensors if not name.startswith(("composition.", "preprocessing."))]
    if strangers:
        raise ArtifactError(f"model.safetensors of {str(folder)!r} holds what no model has: {', '.join(strangers)}")
    composition = _build(folder, recipe, schema, weights)
    history = _history(folder, data["history.csv"])
    return Artifact(recipe, schema, composition, encoding, manifest["metrics"], history)


def _encoding(folder: Path, recipe: Recipe, schema: Schema, tensors: dict[str, torch.Tensor]) -> Encoding:
    chosen = {k.removeprefix("preprocessing."): v for k, v in tensors.items() if k.startswith("preprocessing.")}
    for name, tensor in chosen.items():
        if tensor.dtype != torch.float64 or tuple(tensor.shape) not in ((), schema.shape):
            raise ArtifactError(
                f"model.safetensors of {str(folder)!r} has a preprocessing.{name} of shape {tuple(tensor.shape)} and "
                f"type {tensor.dtype}, expected float64 of the shape of a row"
            )
    return encoding_of(schema, recipe.preprocessing, {name: tensor.numpy() for name, tensor in chosen.items()})


def _history(folder: Path, data: bytes) -> str:
    """Return the history's text if it is a table of numbers."""
    try:
        text = data.decode()
        lines = [line.split(",") for line in text.splitlines()[1:]]
        [float(cell) for line in lines for cell in line if cell]
    except ValueError as error:
        raise ArtifactError(f"history.csv of {str(folder)!r} is no table of numbers: {error}") from None
    return text


def _build(folder: Path, recipe: Recipe, schema: Schema, weights: dict[str, torch.Tensor]) -> Composition:
    """Build the composition without allocating what the weights do not hold: a stranger's recipe may ask for much."""
    try:
        with torch.device("meta"):
            composition = recipe.build(schema)
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]  # torch appends its own stack
        raise ArtifactError(f"recipe.json of {str(folder)!r} cannot be built: {reason}") from None
    state = composition.state_dict()
    expected = {name: tuple(value.shape) for name, value in state.items()}
    got = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != got:
        wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))[0]
        raise ArtifactError(
            f"model.safetensors of {str(folder)!r} does not fit its recipe: {wrong} has shape {got.get(wrong)}, "
            f"expected {expected.get(wrong)}"
        )
    for name, value in weights.items():
        wanted = state[name].dtype
        if value.dtype != wanted:
            raise ArtifactError(f"model.safetensors of {str(folder)!r}: {name} is {value.dtype}, not {wanted}")
    composition.load_state_dict(weights, assign=True)
    return composition.eval()


def _contents(artifact: Artifact) -> dict[str, bytes]:
    tensors = {f"composition.{k}": v.detach().cpu().contiguous() for k, v in artifact.composition.state_dict().items()}
    for name, array in artifact.encoding.state().items():
        tensors[f"preprocessing.{name}"] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)).reshape(
            array.shape
        )
    contents = {
        "recipe.json": _dump(artifact.recipe.to_dict()),
        "schema.json": _dump(artifact.schema.to_dict()),
        "model.safetensors": save_tensors(tensors),
        "history.csv": artifact.history_csv.encode(),
    }
    contents["README.md"] = _card(artifact).encode("utf-8", "surrogatepass")
    manifest = {
        "format": FORMAT,
        "libraries": {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "metrics": artifact.metrics,
    }
    contents["manifest.json"] = _dump(manifest)
    return contents


def _card(artifact: Artifact) -> str:
    """Return the model card: what it is, what it was trained on, how well, and how to use it."""
    metrics = "\n".join(f"| {name} | {value} |" for name, value in artifact.metrics.items())
    recipe = readable_json(artifact.recipe.to_dict())
    terms = ", ".join(weighted.term.kind for weighted in artifact.recipe.objective.terms) or "none"
    return f"""# An isthmus model

A {artifact.recipe.network.kind} autoencoder with a {artifact.recipe.code.kind} code of
{artifact.recipe.code.latent_dim} latents (likelihood: {artifact.recipe.likelihood.kind}; terms: {terms}).

**Data**: {artifact.schema.describe()}.

```python
import isthmus

model = isthmus.load("this folder")
codes = model.transform(X)
```

| measured in training | |
|---|---|
{metrics}

Losses are in nats per row, summed over columns. Scores hold for rows like the training rows; check them on rows of your
own before you rely on them.

```json
{recipe}
```
"""


def _dump(value: Any) -> bytes:
    # As `json.loads` reads bytes.
    return (readable_json(value) + "\n").encode("utf-8", "surrogatepass")


def _json(folder: Path, name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} of {str(folder)!r} is no JSON: {error}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest; raise `ArtifactError` if it is missing, damaged or newer."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ArtifactError(f"{str(folder)!r} {what}; try the folder that model.save or --out made")
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArtifactError(f"{str(folder)!r} is not a model folder: it has no manifest.json")
    if path.stat().st_size > _MANIFEST_LIMIT:
        raise ArtifactError(f"manifest.json of {str(folder)!r} is too large to be one")
    manifest = _json(folder, "manifest.json", path.read_bytes())
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtifactError(f"manifest.json of {str(folder)!r} does not state a format")
    if manifest["format"] > FORMAT:
        raise ArtifactError(
            f"{str(folder)!r} was written in format {manifest['format']}, and this isthmus reads up to {FORMAT}; "
            "try a newer isthmus"
        )
    if not isinstance(manifest.get("sha256"), dict) or not isinstance(manifest.get("metrics"), dict):
        raise ArtifactError(f"manifest.json of {str(folder)!r} lacks its hashes or metrics")
    return manifest


_COUNTS = ("training_rows", "validation_rows", "epochs", "best_epoch", "seconds", "active_units")


def _check_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Refuse metrics that are not the numbers, and the one text, that every model has."""
    numbers = [metrics.get(name) for name in _COUNTS]
    numbers += [value for name, value in metrics.items() if name not in (*_COUNTS, "stop_reason")]
    wrong = any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers)
    if wrong or not isinstance(metrics.get("stop_reason"), str):
        raise ArtifactError(f"manifest.json of {str(folder)!r} has metrics that no training writes")


def read_checked(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """Return a file of a folder; raise `ArtifactError` if it is missing, or its hash is not the manifest's."""
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{str(folder)!r} is incomplete: {name} is missing")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(name):
        raise ArtifactError(
            f"{name} of {str(folder)!r} was changed or damaged: its SHA-256 differs from the manifest's"
        )
    return data
