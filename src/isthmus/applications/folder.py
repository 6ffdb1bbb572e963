"""An application on disk: a folder with a model folder for each autoencoder, written whole or not at all.

```
manifest.json           format, application, versions of libraries, SHA-256 of every file
application.json           settings, and what else is plain JSON
application.safetensors    fitted arrays
autoencoders/0, autoencoders/1    an `isthmus.Autoencoder` each, which `isthmus.load` reads, too
README.md
```

Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from isthmus.atomic import move_whole, readable_json, temporary_beside, write_whole
from isthmus.errors import ArtifactError, IsthmusError, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.estimator.autoencoder import load as load_autoencoder
from isthmus.estimator.model_folder import FORMAT, read_checked, read_manifest

_SETTINGS, _ARRAYS, _CARD, _MANIFEST = "application.json", "application.safetensors", "README.md", "manifest.json"
_FILES = (_SETTINGS, _ARRAYS, _CARD)
_LIBRARIES = ("isthmus", "torch", "numpy", "scikit-learn", "safetensors")
_MOST_ESTIMATORS = 1000
_FLOATS = (torch.float32, torch.float64)

# What settings that somebody else wrote may raise.
_UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, IsthmusError)

Model = TypeVar("Model")
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass
class Stored:
    """What is saved of an application.

    Attributes:
        application: its name in the table of applications, such as "anomaly_detector".
        settings: plain JSON values.
        arrays: floating-point arrays, by name.
        estimators: fitted autoencoders.
        card: the text of README.md.
    """

    application: str
    settings: dict[str, Any]
    arrays: Arrays
    estimators: list[Autoencoder]
    card: str


def save(stored: Stored, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write an application's folder, under a temporary name beside `path`, and rename it when it is complete.

    Raises:
        ArtifactError: if `path` exists and `overwrite` is false, or exists and holds no application.
    """
    folder = Path(path)
    refuse_existing(folder, overwrite=overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder)
    try:
        _write(stored, temporary)
        move_whole(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(stored: Stored, folder: Path) -> None:
    for place, estimator in enumerate(stored.estimators):
        estimator.save(folder / "autoencoders" / str(place))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in stored.arrays.items()}
    contents = {
        _SETTINGS: (readable_json({**stored.settings, "autoencoders": len(stored.estimators)}) + "\n").encode(),
        _ARRAYS: save_tensors(tensors),
        _CARD: stored.card.encode("utf-8", "surrogatepass"),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    for name in _manifests(len(stored.estimators)):
        hashes[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest = {
        "format": FORMAT,
        "application": stored.application,
        "libraries": {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        "sha256": hashes,
        "metrics": stored.estimators[0].metrics_,
    }
    for name, data in {**contents, _MANIFEST: (readable_json(manifest) + "\n").encode()}.items():
        write_whole(folder / name, data)


def _manifests(count: int) -> list[str]:
    """Return the autoencoders' manifests, whose hashes cover all that is in their folders."""
    return [f"autoencoders/{place}/{_MANIFEST}" for place in range(count)]


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Raise `ArtifactError` if `folder` is taken; only an application's folder is ever overwritten."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise ArtifactError(f"{str(folder)!r} exists; try another name, or overwrite=True (--overwrite) to replace it")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    if names and (application_of(folder) is None or names - {*_FILES, _MANIFEST, "autoencoders"}):
        raise ArtifactError(
            f"{str(folder)!r} is not only an application's folder, so it is not overwritten; try another"
        )


def application_of(path: str | Path) -> str | None:
    """Return which application a folder holds; None for an autoencoder, and for what is no model at all."""
    try:
        manifest = read_manifest(Path(path))
    except ArtifactError:
        return None
    found = manifest.get("application")
    return found if isinstance(found, str) else None


def load(path: str | Path) -> Stored:
    """Read an application's folder.

    Raises:
        ArtifactError: if it is missing, damaged (a hash differs), incomplete, newer than this isthmus, or
            an autoencoder's.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    application = manifest.get("application")
    if not isinstance(application, str):
        raise ArtifactError(f"{str(folder)!r} holds an autoencoder and no application; try isthmus.load")
    data = {name: read_checked(folder, name, manifest) for name in _FILES}
    try:
        settings = json.loads(data[_SETTINGS])
        count = settings["autoencoders"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ArtifactError(f"{_SETTINGS} of {str(folder)!r} is not usable: {error}") from None
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_ESTIMATORS:
        raise ArtifactError(f"{_SETTINGS} of {str(folder)!r} names {count!r} autoencoders")
    for name in _manifests(count):
        read_checked(folder, name, manifest)
    estimators = [load_autoencoder(folder / "autoencoders" / str(place)) for place in range(count)]
    rows = {estimator.schema_.row for estimator in estimators}
    if len(rows) > 1:
        raise ArtifactError(f"{str(folder)!r} has autoencoders of rows of different shapes: {sorted(rows)}")
    text = data[_CARD].decode(errors="replace")
    return Stored(application, settings, _arrays(folder, data[_ARRAYS]), estimators, text)


def restore(path: str | Path, application: str, build: Callable[[Stored], Model]) -> Model:
    """Return the application that `build` makes of a folder; raise `ArtifactError` for a folder of anything else."""
    stored = load(path)
    if stored.application != application:
        raise ArtifactError(f"{str(path)!r} holds the application {stored.application}; try isthmus.load")
    try:
        return build(stored)
    except _UNUSABLE as error:
        raise ArtifactError(f"{str(path)!r} is no usable {application}: {error!r}") from None


def _arrays(folder: Path, data: bytes) -> Arrays:
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise ArtifactError(f"{_ARRAYS} of {str(folder)!r} is damaged: {error}") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS or torch.isnan(tensor).any():
            got = f"{name} ({tensor.dtype})"
            raise ArtifactError(f"{_ARRAYS} of {str(folder)!r}: " + explain("floats, none NaN", got, "another folder"))
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def card(title: str, sentences: Sequence[str], settings: Mapping[str, Any], usage: tuple[str, str]) -> str:
    """Return the text of README.md: what it is, its settings, and how to use it.

    Args:
        title: of the text.
        sentences: about it.
        settings: plain JSON values.
        usage: the name of a variable, and a line of Python that uses it.
    """
    facts = "\n".join(f"* {sentence}" for sentence in sentences)
    return f"""# {title}

{facts}

```python
import isthmus

{usage[0]} = isthmus.load("this folder")
{usage[1]}
```

```json
{readable_json(dict(settings))}
```
"""
