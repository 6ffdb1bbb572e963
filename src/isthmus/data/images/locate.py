"""Where images lie -- a folder, a zip archive, a list, a glob -- as names in a fixed order, and their bytes."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from isthmus.errors import DataError, explain, reason_of

# What is taken for an image in a folder, a zip or a glob. A list may name files as it likes.
SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif",
            ".pgm", ".ppm", ".pnm", ".pbm")  # fmt: skip
# The largest file or member that is read: what the largest image takes with three channels of 16 bits.
MAX_BYTES = 1 << 29
# A header lies in this much of a PNG or JPEG, except for those that carry long notes.
_HEAD = 1 << 16
_LITTER = ("__macosx", "thumbs.db")
# The others can be made to ask for a great deal of memory, and no program packs images so.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class UnreadableError(ValueError):
    """A file that cannot be read as an image; the message is the reason, without the name."""


@dataclass(frozen=True)
class Entry:
    """One file or member.

    Attributes:
        name: relative to the root, with slashes.
        size: in bytes; -1 for a link that leads nowhere.
        stamp: what else changes with the content: the time of change in ns, or a member's checksum.
    """

    name: str
    size: int
    stamp: int


class Place(ABC):
    """Files or members that are taken for images, in order.

    Attributes:
        where: the place, for messages.
        entries: the images.
        ignored: names of what is no image by its name; a hidden folder is one.
    """

    where: str
    entries: tuple[Entry, ...]
    ignored: tuple[str, ...]

    @abstractmethod
    def again(self) -> Place:
        """Return the place as it is now."""

    @abstractmethod
    def heads(self, place: int) -> Iterator[BinaryIO]:
        """Yield the start of an entry, then more of it: each enough if a header can be read from it."""

    @abstractmethod
    def read(self, place: int) -> bytes:
        """Return the bytes of an entry.

        Raises:
            UnreadableError: if they cannot be had.
        """


def natural(name: str) -> tuple[Any, ...]:
    """Return the key that sorts names as people do, folder by folder: numbers by value, letters without case.

    >>> sorted(["b/1.png", "a10.png", "a9.png", "A1.png"], key=natural)
    ['A1.png', 'a9.png', 'a10.png', 'b/1.png']
    """
    return (*(_natural_part(part) for part in name.split("/")), ((name,),))


def _natural_part(part: str) -> tuple[Any, ...]:
    # Texts and digits take turns, so that like is compared with like. Not int(): a name may have thousands of digits.
    pieces = re.split("([0-9]+)", part.casefold())
    return tuple(
        (len(piece.lstrip("0")), piece.lstrip("0")) if odd % 2 else (piece,) for odd, piece in enumerate(pieces)
    )


def find(given: Any) -> Place:
    """Return the place that a folder, a zip, an image, a glob, or a list of files names.

    Raises:
        DataError: if there is nothing, or nothing that can be an image.
    """
    if not isinstance(given, str | os.PathLike):
        return _Listed(_paths(given))
    path = Path(given)
    try:
        if path.is_dir():
            return _Folder(path)
        if path.exists():
            return _Archive(path) if path.suffix.lower() == ".zip" else _Listed((path,))
    except DataError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or with a null
        raise DataError(f"{str(given)[:200]!r} cannot be looked up: {error}; try another path") from None
    if any(letter in str(given) for letter in "*?["):
        return _Glob(str(given))
    raise DataError(
        f"images: there is no file or folder {str(given)!r}; try the full path, or a pattern such as 'folder/**/*.png'"
    )


def _paths(given: Any) -> tuple[Path, ...]:
    if isinstance(given, bytes | dict) or not isinstance(given, Iterable):
        raise DataError(explain("a folder, a zip, a pattern or a list of images", type(given).__name__, "a path"))
    listed = list(given)
    for at, path in enumerate(listed):
        if not isinstance(path, str | os.PathLike):
            raise DataError(f"images, place {at}: " + explain("a path", repr(path)[:80], "a list of paths"))
        if Path(path).is_dir():
            raise DataError(f"images, place {at}: " + explain("a file", f"the folder {str(path)!r}", "the files in it"))
    return tuple(map(Path, listed))


def _refuse_empty(where: str, entries: tuple[Entry, ...], ignored: tuple[str, ...]) -> None:
    if not entries:
        rest = f" ({len(ignored)} other file(s), such as {ignored[0]!r})" if ignored else ""
        raise DataError(
            f"{where}: "
            + explain(
                "images (.png, .jpg, .webp, .tif and the like), or Parquet or Arrow files",
                f"none{rest}",
                "the folder that they lie in, or one of the files",
            )
        )


def _hidden(name: str) -> str | None:
    """Return the part of a name down to what is hidden or litter; None if nothing of it is."""
    parts = name.split("/")
    for depth, part in enumerate(parts):
        if part.startswith(".") or part.lower() in _LITTER:
            return "/".join(parts[: depth + 1])
    return None


def _sort_out(names: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of images, and those of everything else."""
    images, others = [], set()
    for name in names:
        hidden = _hidden(name)
        if hidden is None and name.lower().endswith(SUFFIXES):
            images.append(name)
        else:
            others.add(hidden or name)
    return sorted(images, key=natural), tuple(sorted(others, key=natural))


# ---- loose files -----------------------------------------------------------------------------------------------------


class _Loose(Place):
    """Files below a root."""

    root: Path

    def _enter(self, names: Iterable[str], where: str) -> None:
        images, others = _sort_out(names)
        found = [(name, _look(self.root / name)) for name in images]
        # A pipe or a device would be waited for without end.
        self.entries = tuple(Entry(name, *seen) for name, seen in found if seen is not None)
        self.ignored = others + tuple(name for name, seen in found if seen is None)
        self.where = where
        _refuse_empty(where, self.entries, self.ignored)

    def path(self, place: int) -> Path:
        return self.root / self.entries[place].name

    def heads(self, place: int) -> Iterator[BinaryIO]:
        self._check(place)
        try:
            with self.path(place).open("rb") as stream:
                yield stream
        except OSError as error:
            raise UnreadableError(_reason(error)) from None

    def read(self, place: int) -> bytes:
        self._check(place)
        try:
            with self.path(place).open("rb") as stream:
                return stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableError(_reason(error)) from None

    def _check(self, place: int) -> None:
        size = self.entries[place].size
        if size < 0:
            raise UnreadableError("there is no such file" if not self.path(place).is_symlink() else "a broken link")
        _check_size(size)


def _look(path: Path) -> tuple[int, int] | None:
    """Return size and time of a regular file; None for what is none; (-1, 0) for what is not there."""
    try:
        seen = path.stat()
    except (OSError, ValueError):
        return -1, 0
    return (seen.st_size, seen.st_mtime_ns) if stat.S_ISREG(seen.st_mode) else None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _check_size(size: int) -> None:
    if size == 0:
        raise UnreadableError("it is empty")
    if size > MAX_BYTES:
        raise UnreadableError(f"it has {size:,} bytes, and at most {MAX_BYTES:,} are read")


class _Folder(_Loose):
    """All images in a folder and below; links to files are followed, links to folders are not."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._enter(self._walk(), f"the folder {str(folder)!r}")

    def again(self) -> Place:
        return _Folder(self.root)

    def _walk(self) -> Iterator[str]:
        for folder, below, files in os.walk(self.root, onerror=_refuse_folder):
            relative = Path(folder).relative_to(self.root)
            closed = [name for name in below if _hidden(name) is not None or os.path.islink(os.path.join(folder, name))]
            # Git's own folder has more files than the images; each closed folder counts as one.
            yield from ((relative / name).as_posix() + "/" for name in closed)
            below[:] = [name for name in below if name not in set(closed)]
            yield from ((relative / name).as_posix() for name in files)


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"the folder {str(error.filename)!r} may not be read ({_reason(error)}); try `ls -l`") from None


class _Glob(_Loose):
    """All images that a pattern meets; `**` stands for any folders, links to folders aside."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        parts = Path(pattern).parts
        first = next(at for at, part in enumerate(parts) if any(letter in part for letter in "*?["))
        self.root = Path(*parts[:first])
        try:
            met = [path for path in self.root.glob("/".join(parts[first:])) if not path.is_dir()]
        except (ValueError, IndexError, NotImplementedError, re.error, OSError) as error:
            raise DataError(f"the pattern {pattern!r} cannot be used: {error}; try 'folder/**/*.png'") from None
        self._enter(sorted({path.relative_to(self.root).as_posix() for path in met}), f"the pattern {pattern!r}")

    def again(self) -> Place:
        return _Glob(self._pattern)


class _Listed(_Loose):
    """Files by name, in the order given; names are relative to the folder that holds all of them."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        if not paths:
            raise DataError(explain("a list of images", "an empty list", "the folder that they lie in"))
        self._paths = paths
        full = [Path(os.path.abspath(path)) for path in paths]
        try:
            self.root = Path(os.path.commonpath([path.parent for path in full]))
        except ValueError as error:  # several drives
            raise DataError(f"the listed images have no folder in common ({error}); try one folder") from None
        self.where = f"the list of {len(paths)} image(s)"
        self.ignored = ()
        self.entries = tuple(Entry(path.relative_to(self.root).as_posix(), *_stated(path)) for path in full)

    def again(self) -> Place:
        return _Listed(self._paths)


def _stated(path: Path) -> tuple[int, int]:
    seen = _look(path)
    if seen is None:
        raise DataError(explain("files", f"{str(path)!r}, which is no regular file", "leaving it out"))
    return seen


# ---- archives --------------------------------------------------------------------------------------------------------


class _Archive(Place):
    """The images in a zip, read without unpacking it to disk. Names are never used as paths."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.where = f"the archive {str(file)!r}"
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:
            raise DataError(f"{self.where} cannot be read: {reason_of(error)}; try unpacking it "
                            "to see whether it is whole") from None  # fmt: skip
        weakref.finalize(self, self._zip.close)
        self._lock = threading.Lock()
        members: dict[str, list[zipfile.ZipInfo]] = {}
        for info in self._zip.infolist():
            if info.filename and not info.is_dir():
                members.setdefault(info.filename.replace("\\", "/").lstrip("/"), []).append(info)
        images, self.ignored = _sort_out(members)
        # A name that comes twice is two rows.
        pairs = [(name, info) for name in images for info in members[name]]
        self._infos = [info for _, info in pairs]
        self.entries = tuple(Entry(name, info.file_size, info.CRC) for name, info in pairs)
        _refuse_empty(self.where, self.entries, self.ignored)
        locked = next((name for name, info in pairs if info.flag_bits & 1), None)
        if locked is not None:
            raise DataError(f"{self.where} is encrypted ({locked!r}); try unpacking it with its password first")

    def again(self) -> Place:
        return _Archive(self._file)

    def heads(self, place: int) -> Iterator[BinaryIO]:
        start = self._read(place, _HEAD)
        # The headers of the other formats may point to anywhere.
        if start.startswith((b"\x89PNG", b"\xff\xd8")):
            yield io.BytesIO(start)
        if len(start) == _HEAD or not start.startswith((b"\x89PNG", b"\xff\xd8")):
            yield io.BytesIO(self.read(place))

    def read(self, place: int) -> bytes:
        return self._read(place, MAX_BYTES + 1)

    def _read(self, place: int, most: int) -> bytes:
        info = self._infos[place]
        _check_size(info.file_size)
        if info.compress_type not in _PACKINGS:
            raise UnreadableError(f"it is packed by method {info.compress_type}, and only stored and deflated are read")
        try:
            with self._lock, self._zip.open(info) as stream:
                data = stream.read(most)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
            raise UnreadableError(f"the archive is damaged there ({reason_of(error)})") from None
        if len(data) != min(most, info.file_size):
            raise UnreadableError(f"the archive states {info.file_size} bytes and has {len(data)}")
        return data
