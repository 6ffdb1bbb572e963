"""Local copies of named data sets: found, read, and compared with the expected content. No network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from isthmus.datasets.layouts import Content, Layout, digest
from isthmus.datasets.registry import DatasetInfo, info
from isthmus.errors import DataError, unknown_name
from isthmus.typing import Array


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split of a named data set.

    Attributes:
        rows: an array `(rows, *shape)`, a `pyarrow.Table`, or a list of texts or of images `(height, width, 3)`.
        labels: one for each row `(rows,)`, or None.
        info: what the data set is, with its licence.
        split: name of the split.
        path: the (first) file that it was read from.
    """

    rows: Any = field(repr=False)
    labels: Array | None = field(repr=False)
    info: DatasetInfo
    split: str
    path: Path

    def __len__(self) -> int:
        return len(self.rows)


def cache_folder() -> Path:
    """Return the folder of downloads: ``$XDG_CACHE_HOME/isthmus``, by default ``~/.cache/isthmus``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # An unset home, an empty text and, by that standard, a relative path all mean the default.
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "isthmus"


def places(folder: str | Path | None = None) -> list[Path]:
    """Return the folders that are searched, in order: the given one, ``$ISTHMUS_DATA``, the cache."""
    data = os.environ.get("ISTHMUS_DATA")
    return [Path(place) for place in (folder, data, cache_folder()) if place]


def load(name: str, *, split: str | None = None, folder: str | Path | None = None) -> Dataset:
    """Read a local copy of a data set and check its content. This never uses the network.

    `folder`, ``$ISTHMUS_DATA`` and the cache are searched for the original files and for compact ones, first in a
    folder of the data set's name.

    Args:
        name: one of `names()`.
        split: one of the data set's splits (`info(name).rows`), by default the first: "train", or "all".
        folder: the folder that is searched first.

    Raises:
        DataError: for an unknown name or split, a copy that is damaged or something else, and if there is no copy: the
            message says what `fetch` would do, and what to do by hand.

    Example:
        >>> from isthmus import datasets
        >>> datasets.load("mnist", split="test").rows.shape  # doctest: +SKIP
        (10000, 28, 28)
    """
    about = info(name)
    split = next(iter(about.rows)) if split is None else split
    if split not in about.rows:
        raise DataError(f"{about.name}: " + unknown_name("split", split, about.rows))
    for place in places(folder):
        for layout, files in copies(about, place, split):
            content = checked(about, layout, files, split)
            return Dataset(content.rows, content.labels, about, split, files[0])
    raise DataError(_absent(about, places(folder)))


def copies(about: DatasetInfo, place: Path, split: str) -> Iterator[tuple[Layout, list[Path]]]:
    """Yield each copy of a split in a folder: its layout, and its files."""
    for folder in (place / about.name, place):
        for layout in about.layouts:
            files = layout.find(folder, split)
            if files is not None:
                yield layout, files


def checked(about: DatasetInfo, layout: Layout, files: list[Path], split: str) -> Content:
    """Return the content of a copy; raise `DataError` unless it is that of the data set."""
    where = ", ".join(repr(str(path)) for path in files[:2]) + (", ..." if len(files) > 2 else "")
    try:
        content = layout.read(files, split)
    except DataError:
        raise
    except Exception as error:
        # Whatever a parser trips over in a damaged file, the file is what is wrong.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{where} cannot be read as {about.name}: {reason}; try another copy") from None
    wanted = about.rows[split]
    if len(content.rows) != wanted:
        raise DataError(f"{about.name}: expected {wanted} rows, got {len(content.rows)} in {where}; try another copy")
    if not _is_same(about, layout, content, split):
        raise DataError(
            f"{where} holds something else than {about.name}: the content's digest differs from that of the original. "
            f"Try another copy; one of another set with the same file names belongs into a folder of its own name"
        )
    return content


def _is_same(about: DatasetInfo, layout: Layout, content: Content, split: str) -> bool:
    if split not in layout.means:
        return digest(content, ordered=about.ordered) == about.digests[split]
    means = np.asarray(content.rows, np.float64).mean(0)[::MEANS_STEP]
    return len(means) == len(layout.means[split]) and bool(np.allclose(means, layout.means[split], atol=1e-4))


# Every how many columns `Layout.means` has one.
MEANS_STEP = 20


def _absent(about: DatasetInfo, looked: list[Path]) -> str:
    where = ", ".join(str(place) for place in looked)
    files = sorted({name for layout in about.layouts for part in layout.files.values() for name in part})
    some = ", ".join(files[:6]) + (", ..." if len(files) > 6 else "")
    hand = f"put one of its files ({some}) into {looked[0] / about.name}"
    if not about.files:
        home = f"its home, {about.homepage} (licence: {about.licence})"
        return f"there is no copy of {about.name} in {where}; try {home}, and {hand}"
    host = urlsplit(about.files[0].url).hostname
    return (
        f"there is no copy of {about.name} in {where}; try isthmus.datasets.fetch({about.name!r}), which downloads "
        f"{about.megabytes:.1f} MB from {host} (licence: {about.licence}), or {hand}"
    )
