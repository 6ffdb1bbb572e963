"""The named data sets: what they hold, whose they are, under which licence, and where they can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.datasets.layouts import Layout
from isthmus.errors import DataError, unknown_name


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        name: what it is called in the data set's folder.
        url: where it is.
        size: bytes; about, where the SHA-256 is not known.
        sha256: of the file; None where only the digest of what it holds is known.
    """

    name: str
    url: str
    size: int
    sha256: str | None = None

    @property
    def limit(self) -> int:
        """Number of bytes from which on it is something else."""
        return self.size if self.sha256 is not None else 4 * self.size + (1 << 20)


@dataclass(frozen=True)
class DatasetInfo:
    """What a named data set is.

    Attributes:
        name: what it is asked for by.
        holds: what the rows and the labels are.
        kind: kind of row: "image", "series", "table", "vector", "ratings" or "text".
        rows: number of rows of each split.
        licence: as its owners state it.
        homepage: where it comes from, and whom to ask.
        citation: what to cite.
        files: what `fetch` downloads; nothing where there is no stable public address.
        digests: for each split the SHA-256 of what it holds, which does not depend on the container.
        ordered: whether the order of the rows is part of the digest.
        layouts: in which files it may lie in a folder.
    """

    name: str
    holds: str
    kind: str
    rows: Mapping[str, int]
    licence: str
    homepage: str
    citation: str
    files: tuple[RemoteFile, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    ordered: bool = True
    layouts: tuple[Layout, ...] = field(default=(), repr=False)

    @property
    def megabytes(self) -> float:
        """Size of all downloads, in millions of bytes."""
        return sum(file.size for file in self.files) / 1e6


def names() -> list[str]:
    """Return the names of all data sets.

    >>> "mnist" in names()
    True
    """
    return sorted(_all())


def info(name: str) -> DatasetInfo:
    """Return what a data set is; raise `DataError` for an unknown name.

    >>> info("mnist").rows["train"], info("mnist").licence
    (60000, 'CC BY-SA 3.0')
    """
    found = _all()
    key = str(name).lower().replace("_", "-")
    if key not in found:
        raise DataError(unknown_name("data set", name, found))
    return found[key]


def _all() -> Mapping[str, DatasetInfo]:
    from isthmus.datasets.entries import ENTRIES

    return ENTRIES
