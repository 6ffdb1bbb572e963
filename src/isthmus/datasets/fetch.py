"""Downloads of named data sets: the only module that uses the network."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from isthmus.datasets.load import cache_folder, checked, copies
from isthmus.datasets.registry import DatasetInfo, RemoteFile, info
from isthmus.errors import DataError

Progress = Callable[[str, int, int], None]
_PIECE = 1 << 16
# Slower than this many bytes in a second, on average, is given up.
_SLOWEST = 10_000


def fetch(
    name: str, *, folder: str | Path | None = None, timeout: float = 30.0, progress: Progress | None = None
) -> Path:
    """Download a data set, check it, and return its folder, from which `load` reads it.

    Nothing is downloaded if it is there already. Files get their names only when they are complete and checked: by
    their SHA-256 if that is known, and always by the digest of their content.

    Args:
        name: one of `names()`. Its licence is `info(name).licence`.
        folder: where to put it, in a folder of its name; by default the cache, ``~/.cache/isthmus``.
        timeout: seconds to wait for an answer.
        progress: called with a file's name, the bytes received and the (approximate) bytes expected.

    Raises:
        DataError: for an unknown name; a data set that has no public home; no network; an answer that is too long,
            truncated or something else. The message says what to do by hand, and no partial file remains.
    """
    about = info(name)
    place = cache_folder() if folder is None else Path(folder)
    if all(any(_good(about, place, split)) for split in about.rows):
        return place / about.name
    if not about.files:
        names = sorted({file for layout in about.layouts for part in layout.files.values() for file in part})
        raise DataError(
            f"{about.name} has no address to download from: try its home, {about.homepage} ({about.licence}), and put "
            f"one of its files ({', '.join(names[:6])}) into {place / about.name}"
        )
    target = place / about.name
    fetched: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in about.files:
            path = target / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(about, file, path, timeout, progress)
            fetched.append(path)
        for split in about.rows:
            if not any(_good(about, place, split, strict=True)):
                raise DataError(
                    f"{about.name}: what was downloaded has no {split} rows; try its home, {about.homepage}"
                )
    except BaseException as error:
        for path in fetched:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DataError(f"{str(target)!r} cannot be written: {error}; try folder=, another place") from None
        raise
    return target


def _good(about: DatasetInfo, place: Path, split: str, strict: bool = False) -> list[bool]:
    """Return True for each copy in the data set's own folder with the right content."""
    found = []
    for layout, files in copies(about, place, split):
        if (place / about.name) not in files[0].parents:
            continue
        try:
            checked(about, layout, files, split)
            found.append(True)
        except DataError:
            if strict:
                raise
    return found


def _download(about: DatasetInfo, file: RemoteFile, path: Path, timeout: float, progress: Progress | None) -> None:
    """Write one file to `path`, complete and checked, or raise `DataError` and leave nothing."""
    # They import ssl, which only a download needs.
    from http.client import HTTPException
    from urllib.error import HTTPError

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    by_hand = f"try again, or download it by hand to {str(path)!r}"
    try:
        with os.fdopen(handle, "wb") as out:
            try:
                found = _stream(file, out, timeout, progress)
            except (OSError, HTTPException, ValueError) as error:
                if isinstance(error, HTTPError):
                    error.close()
                raise DataError(f"{about.name}: {file.url} did not come: {_reason(error)}; {by_hand}") from None
        if file.sha256 is not None and found != file.sha256:
            raise DataError(
                f"{about.name}: expected a file with SHA-256 {file.sha256}, got {found} from {file.url}; {by_hand}"
            )
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stream(file: RemoteFile, out: object, timeout: float, progress: Progress | None) -> str:
    """Write the content of a URL, and return its SHA-256; raise `OSError` if it cannot be the file."""
    import urllib.request

    if urlsplit(file.url).scheme not in ("http", "https"):
        raise ValueError(f"{file.url!r} is no web address")
    digest, length = hashlib.sha256(), 0
    deadline = time.monotonic() + timeout + file.size / _SLOWEST
    request = urllib.request.Request(file.url, headers={"User-Agent": "isthmus"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        stated = answer.headers.get("Content-Length")
        while piece := answer.read1(_PIECE):
            length += len(piece)
            if length > file.limit:
                raise OSError(f"it is longer than {file.limit} bytes")
            if time.monotonic() > deadline:
                raise OSError(f"it came too slowly ({length} bytes so far)")
            digest.update(piece)
            out.write(piece)  # type: ignore[attr-defined]
            if progress is not None:
                progress(file.name, length, file.size)
    if stated is not None and stated.isdigit() and length != int(stated):
        raise OSError(f"it was cut off after {length} of {stated} bytes")
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
