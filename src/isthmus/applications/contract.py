"""What an application is: a model made of autoencoders, its folder, its commands and its page."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from isthmus.estimator.autoencoder import Autoencoder


@dataclass(frozen=True)
class Description:
    """What `isthmus inspect` prints of a fitted application.

    Attributes:
        title: what it is, such as "anomaly detector".
        sentences: the same for people, one a line.
        facts: plain JSON values.
    """

    title: str
    sentences: tuple[str, ...]
    facts: Mapping[str, Any]


class Application(Protocol):
    """A fitted or unfitted application: a scikit-learn estimator that is saved as a folder.

    Attributes:
        estimators_: the fitted autoencoders, each of which `isthmus.load` reads from the folder, too.
    """

    estimators_: list[Autoencoder]

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows; `isthmus.errors.DataError` for rows that cannot be used."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a folder, whole or not at all, with `isthmus.applications.folder.save`."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return what `save` wrote, with equal results to the bit; `ArtifactError` for any other folder."""

    def describe(self) -> Description:
        """Return what a fitted application is."""


@dataclass(frozen=True)
class Entry:
    """One line of the table of applications: where its things are, as "module:name", imported when they are used.

    Attributes:
        model: its class, an `Application`.
        commands: a mapping from a command's name to its function, or to a `typer.Typer` of several. Its module is
            imported by `isthmus --help` and so imports nothing heavy.
        page: the function that writes its page.
    """

    model: str
    commands: str
    page: str


def resolve(place: str) -> Any:
    """Return what is at "module:name".

    >>> resolve("math:floor")(2.5)
    2
    """
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
