"""The source of images: a folder, a zip, a list or a glob, decoded once where that fits and by workers where not."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from isthmus.data.images.decode import read_header, read_pixels
from isthmus.data.images.layout import Header, Layout, check_options, layout_of, unequal
from isthmus.data.images.locate import Place, UnreadableError, find
from isthmus.data.source import Source
from isthmus.errors import DataError, explain
from isthmus.seeds import derive
from isthmus.typing import Array, Integers

# A shuffled block has about this many bytes and at most so many rows, and so many blocks are decoded ahead.
_BLOCK_BYTES, _BLOCK_ROWS, _AHEAD = 1 << 25, 4096, 2
# Two threads read images of fewer pixels no faster than one, since Python itself is most of the work.
_FEW_PIXELS = 100 * 100
# Files that a worker takes at once: small images take less time than handing them over.
_FILES_AT_ONCE, _PIXELS_AT_ONCE = 64, 1 << 18


def open_images(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    shape: tuple[int, ...] | None = None,
    fit: str = "resize",
    on_error: str = "refuse",
    cache_bytes: int = 1 << 30,
    workers: int | None = None,
) -> ImageFiles:
    """Open images as rows: `(H, W)` if all are grey, else `(3, H, W)`; uint8, or uint16 if any has 16 bits.

    Opening reads every header, to refuse what cannot be read before anything is trained. Formats, modes, transparency
    and what is refused: see `isthmus.data.images.decode`. EXIF orientation is applied. Among colour images a grey one
    has three equal channels; among 16-bit images the values of an 8-bit one are multiplied by 257.

    Args:
        given: a folder (all that is below it, in natural order; links to folders are not followed), a .zip, an image, a
            pattern such as ``"scans/**/*.png"``, or a list of files, whose order is kept.
        shape: of a row: `(H, W)` or `(1, H, W)` for grey, `(3, H, W)` for colour. None leaves images as they are, which
            must then have one size.
        fit: how an image gets that shape. "resize" stretches it (bilinear, averaging where it shrinks), "crop" scales
            the shorter side and cuts out the centre, "tile" cuts it into tiles that do not overlap, which are the rows;
            what is left at the right and at the bottom is dropped.
        on_error: "refuse" an image that cannot be read, or "skip" it; every image is then decoded on opening.
        cache_bytes: decoded rows are kept in memory if all of them take at most so many bytes.
        workers: threads that decode; None for the number of usable processors, at most four, and one
            for images so small that more do not help.

    Raises:
        DataError: for images that are missing, damaged, of unequal size, too large, or of a refused kind, by name.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("cat/10.png", "cat/9.png", "dog/1.png"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     Image.new("RGB", (8, 6), "red").save(folder / name)
        >>> images = open_images(folder, shape=(3, 4, 4))
        >>> images.names, images.labels
        (('cat/9.png', 'cat/10.png', 'dog/1.png'), ('cat', 'cat', 'dog'))
        >>> images.take(np.array([2])).shape
        (1, 3, 4, 4)
    """
    shape = check_options(shape, fit, on_error, cache_bytes, workers)
    place = find(given)
    files, bad = _read_headers(place, shape, fit)
    if bad and on_error == "refuse":
        first = next(iter(bad))
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise DataError(_refusal(place, first, bad[first]) + more)
    while files:
        layout = layout_of(files, shape, fit)
        if layout is None and on_error == "refuse":
            break
        # Whatever the sizes, what is damaged shows when pixels are decoded, and may be all that is in the way.
        room = 0 if layout is None else cache_bytes
        source = ImageFiles(
            place, files, layout or Layout((1, 1), False, "resize"), bad, room, workers, (fit, on_error)
        )
        found = source.damaged() if on_error == "skip" else {}
        if not found and layout is not None:
            return source
        if not found:
            break
        bad |= found
        files = {at: header for at, header in files.items() if at not in found}
    if files:
        raise DataError(f"{place.where}: " + unequal(place, files))
    first = min(bad)
    raise DataError(
        f"{place.where}: none of its {len(bad)} image(s) can be read, such as {place.entries[first].name!r} "
        f"({bad[first]}); try other files"
    )


def _read_headers(place: Place, shape: tuple[int, ...] | None, fit: str) -> tuple[dict[int, Header], dict[int, str]]:
    """Return the header of each image that has one, and why the others have none, by their place in the order."""
    headers, bad = {}, {}
    for at in range(len(place.entries)):
        try:
            header = _read_header(place, at)
            if fit == "tile" and shape is not None:
                Layout(shape, False, fit).grid(header)
            headers[at] = header
        except UnreadableError as error:
            bad[at] = str(error)
    return headers, bad


def _read_header(place: Place, at: int) -> Header:
    reason: UnreadableError | None = None
    for head in place.heads(at):
        try:
            return read_header(head)
        except UnreadableError as error:
            reason = error
    raise reason or UnreadableError("it is empty")


def _refusal(place: Place, at: int, reason: str) -> str:
    return (
        f"the image {place.entries[at].name!r} in {place.where} cannot be read: {reason}; "
        "try mending it or taking it away, or on_error='skip' to leave such files out"
    )


def _usable_processors() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


class ImageFiles(Source):
    """Rows that are images, or tiles of them; made by `open_images`.

    Blocks are `(rows, *shape)` arrays, uint8 or uint16, channels first. Rows that fit into the cache are decoded once,
    when they are first asked for; `in_memory` is True from when all have been. Others are decoded whenever they are
    asked for, and ahead of it by workers where rows are shuffled. Shuffling yields each row once, the images in a full
    permutation, whether or not they are cached; tiles of one image stay in one block, so that it is decoded once.

    Attributes:
        shape: of a row, `(H, W)` or `(C, H, W)`.
        dtype: of a value.
        names: the file of each row, relative to the folder, the zip, or the folder that holds all listed files.
        labels: the sub-folder of each row, if every image lies in one of two or more that lie side by side; else None.
        places: `(rows, 3)`, the image that a row is from (counted without skipped ones), and the tile's row and column.
        skipped: name and reason of each image that was left out.
        ignored: how many files were not taken for images: hidden ones, other suffixes, links to folders.
    """

    kind = "image"
    mixed = True

    def __init__(
        self,
        place: Place,
        files: dict[int, Header],
        layout: Layout,
        bad: dict[int, str],
        cache_bytes: int,
        workers: int | None,
        options: tuple[str, ...],
    ) -> None:
        self._place, self._layout = place, layout
        self._options = (*options, layout.shape)
        self._files, self._headers = list(files), list(files.values())
        self.shape, self.dtype = layout.shape, layout.dtype
        self._grids = np.array([layout.grid(header) for header in self._headers], dtype=np.int64)
        counts = self._grids.prod(1)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        of = np.repeat(np.arange(len(files)), counts)
        tile = np.arange(len(of)) - self._starts[of]
        self.places = np.stack([of, tile // self._grids[of, 1], tile % self._grids[of, 1]], axis=1)
        names = [place.entries[at].name for at in self._files]
        folders = _side_by_side(names)
        self.names = tuple(names[file] for file in of)
        self.labels = None if folders is None else tuple(folders[file] for file in of)
        self.skipped = tuple((place.entries[at].name, bad[at]) for at in sorted(bad))
        self.ignored = len(place.ignored)
        if self.skipped:
            self.notes = (
                f"{len(self.skipped)} image(s) that cannot be read were left out, such as {self.skipped[0][0]!r}",
            )
        fits = len(of) * layout.row_bytes <= cache_bytes
        self._cache = self._empty(len(of)) if fits else None
        self._have = np.zeros(len(files), dtype=bool)
        pixels = np.mean([header.height * header.width for header in self._headers])
        alone = pixels < _FEW_PIXELS
        self._workers = workers or (1 if alone else _usable_processors())
        self._at_once = max(1, min(_FILES_AT_ONCE, int(_PIXELS_AT_ONCE // pixels)))

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Integers) -> Array:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise DataError("rows: " + explain(f"numbers from 0 to {len(self) - 1}", f"{rows.min()} to {rows.max()}",
                                               "len() of the images"))  # fmt: skip
        with self._pool() as pool:
            return self._begin(rows, pool)()

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Integers, Array]]:
        generator = np.random.default_rng(derive(seed, "runs", epoch))
        order = generator.permutation(len(self._files))
        counts = np.diff(self._starts)[order]
        # What a block holds depends on the rows alone, never on what is cached.
        block = (np.cumsum(counts) - counts) * max(self._layout.row_bytes, _BLOCK_BYTES // _BLOCK_ROWS) // _BLOCK_BYTES
        pieces = np.split(order, np.flatnonzero(np.diff(block)) + 1)
        waiting: deque[tuple[Integers, Callable[[], Array]]] = deque()
        with self._pool() as pool:
            for files in pieces:
                rows = np.concatenate([np.arange(self._starts[file], self._starts[file + 1]) for file in files])
                generator.shuffle(rows)
                waiting.append((rows, self._begin(rows, pool)))
                if len(waiting) > _AHEAD:
                    numbers, finish = waiting.popleft()
                    yield numbers, finish()
            while waiting:
                numbers, finish = waiting.popleft()
                yield numbers, finish()

    @property
    def width(self) -> int:
        return int(np.prod(self.shape))

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(repr(self._options).encode(), digest_size=16)
        for entry in self._place.entries:
            digest.update(repr(entry).encode("utf-8", "backslashreplace") + b"\n")
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        before, now = self._place.entries, self._place.again().entries
        if before == now:
            return
        old, new = {entry.name: entry for entry in before}, {entry.name: entry for entry in now}
        for entry in (*before, *now):
            what = (
                "vanished" if entry.name not in new or new[entry.name].size < 0
                else "came" if entry.name not in old
                else "changed" if new[entry.name] != old[entry.name] else None
            )  # fmt: skip
            if what:
                raise DataError(f"{self._place.where}: {entry.name!r} {what} since it was opened; try opening it anew")
        raise DataError(f"{self._place.where} changed since it was opened; try opening it anew")

    def untile(self, values: Array) -> list[Array]:
        """Return one array for each image, put together from what belongs to its tiles.

        Args:
            values: `(rows, ..., h, w)`, such as rebuilt tiles or maps of errors, of any size; or `(rows,)`, one number
                for each tile.

        Returns:
            Arrays `(..., down * h, across * w)` in the order of the images, or `(down, across)` of numbers; what was
            dropped at the right and at the bottom is not in them.

        Raises:
            DataError: unless there is one value for each row.
        """
        values = np.asarray(values)
        if values.ndim == 2 or values.shape[:1] != (len(self),):
            raise DataError(explain(f"values ({len(self)}, ..., h, w) or ({len(self)},)", f"shape {values.shape}",
                                    "one for each tile"))  # fmt: skip
        tiles = values[:, None, None] if values.ndim == 1 else values
        whole = []
        for (down, across), start, stop in zip(self._grids, self._starts[:-1], self._starts[1:], strict=True):
            grid = tiles[start:stop].reshape(down, across, *tiles.shape[1:])
            # (down, across, ..., h, w) to (..., down, h, across, w)
            axes = (*range(2, grid.ndim - 2), 0, grid.ndim - 2, 1, grid.ndim - 1)
            height, width = tiles.shape[-2:]
            whole.append(grid.transpose(axes).reshape(*tiles.shape[1:-2], down * height, across * width))
        return whole

    def damaged(self) -> dict[int, str]:
        """Decode every image; return why those that cannot be cannot, by their place among all files."""
        found: dict[int, str] = {}

        def look(files: Integers) -> None:
            for file in files:
                try:
                    self._decode(file)
                except UnreadableError as error:
                    found[self._files[file]] = str(error)

        with self._pool() as pool:
            for task in [pool.submit(look, part) for part in self._parts(np.arange(len(self._files)))]:
                task.result()
        self._settle()
        return found

    # ---- decoding ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Yield threads, of which none is started before there is work, and none outlives the block."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="images")
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)

    def _empty(self, rows: int) -> Array:
        try:
            return np.empty((rows, *self.shape), self.dtype)
        except (MemoryError, ValueError):
            size = f"{rows * self._layout.row_bytes / 2**30:,.1f} GiB"
            raise DataError(explain("rows that fit in memory", size, "smaller images (--rows image:3x64x64)")) from None

    def _parts(self, files: Integers) -> list[Integers]:
        return [files[start : start + self._at_once] for start in range(0, len(files), self._at_once)]

    def _decode(self, file: int) -> Array:
        """Return the rows of an image, and keep them if there is room."""
        rows = slice(self._starts[file], self._starts[file + 1])
        if self._cache is not None and self._have[file]:
            return self._cache[rows]
        pixels = read_pixels(self._place.read(self._files[file]), self._headers[file], self._layout)
        if self._cache is not None:
            self._cache[rows] = pixels
            self._have[file] = True
        return pixels

    def _begin(self, rows: Integers, pool: ThreadPoolExecutor) -> Callable[[], Array]:
        """Start to decode a block; return what waits for it."""
        cache = self._cache
        if cache is not None and self.in_memory:
            return lambda: cache[rows]
        out = self._empty(len(rows))
        of = self.places[rows, 0]
        order = np.argsort(of, kind="stable")
        wanted, firsts = np.unique(of[order], return_index=True)
        groups = dict(zip(wanted.tolist(), np.split(order, firsts[1:]), strict=True))

        def fill(files: Integers) -> None:
            for file in files.tolist():
                try:
                    decoded = self._decode(file)
                except UnreadableError as error:
                    raise DataError(_refusal(self._place, self._files[file], str(error))) from None
                at = groups[file]
                out[at] = decoded[rows[at] - self._starts[file]]

        parts = self._parts(wanted)
        if len(parts) <= 1 and len(rows) <= 1:
            for part in parts:
                fill(part)
            parts = []
        tasks = [pool.submit(fill, part) for part in parts]

        def finish() -> Array:
            for task in tasks:
                task.result()
            self._settle()
            return out

        return finish

    def _settle(self) -> None:
        self.in_memory = self._cache is not None and bool(self._have.all())


def _side_by_side(names: list[str]) -> list[str] | None:
    """Return the folder of each name, if they lie side by side in two folders or more."""
    folders = [name.split("/")[:-1] for name in names]
    # All of them may lie in one outer folder, as in the archive of a folder.
    first, last = min(folders), max(folders)
    depth = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    if any(len(folder) != depth + 1 for folder in folders):
        return None
    return [folder[depth] for folder in folders]
