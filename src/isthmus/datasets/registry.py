"""The named data sets: their content, owners, licences and addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.datasets.layouts import Layout
from isthmus.errors import DataError, unknown_name


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        name: its name in the data set's folder.
        url: its address.
        size: bytes; approximate if the SHA-256 is not known.
        sha256: of the file; None if only the digest of its content is known.
    """

    name: str
    url: str
    size: int
    sha256: str | None = None

    @property
    def limit(self) -> int:
        """Number of bytes above which it is something else."""
        return self.size if self.sha256 is not None else 4 * self.size + (1 << 20)


@dataclass(frozen=True)
class DatasetInfo:
    """A named data set.

    Attributes:
        name: the name for `load` and `fetch`.
        holds: the content: rows and labels.
        kind: kind of row: "image", "series", "table", "vector", "ratings" or "text".
        rows: number of rows of each split.
        licence: as its owners state it.
        homepage: of its owners.
        citation: what to cite.
        files: what `fetch` downloads; none if there is no stable public address.
        digests: for each split the SHA-256 of its content, whatever the file format.
        ordered: whether the order of the rows is part of the digest.
        layouts: the arrangements of its files in a folder.
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
    """Return the facts about a data set; raise `DataError` for an unknown name.

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
