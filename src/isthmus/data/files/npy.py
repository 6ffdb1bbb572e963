"""An array in a `.npy` file that stays on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from isthmus.data.files.readers import array_header
from isthmus.data.source import Source
from isthmus.errors import DataError, explain, reason_of
from isthmus.typing import Array, Integers


class NpyRows(Source):
    """An array in a `.npy` file that is read in pieces, `(rows, *shape)`.

    Args:
        path: of the file.
        kind: "vector" for two axes and "image" for more, unless stated.

    Raises:
        DataError: for a file whose size is not what its header states.
    """

    def __init__(self, path: str | Path, kind: str | None = None) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            try:
                self.shape, fortran, self.dtype = array_header(file)
            except Exception as error:  # whatever a parser trips over
                raise DataError(f"the file {str(path)!r} cannot be read as .npy: {reason_of(error)}") from None
            self.offset = file.tell()
        if self.dtype.hasobject or not self.shape or 0 in self.shape:
            got = f"shape {self.shape} of {self.dtype} (0 sample(s))"
            raise DataError(f"{str(path)!r}: " + explain("an array of numbers with rows", got, "another file"))
        if fortran:
            raise DataError(
                f"{str(path)!r}: "
                + explain(
                    "rows one after the other", "columns (Fortran order)", "np.save(name, np.ascontiguousarray(x))"
                )
            )
        self.row_bytes = int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize
        self.kind = kind or ("vector" if len(self.shape) == 2 else "image")  # type: ignore[misc]
        self.mark = self._mark()
        held = self.mark[0] - self.offset
        if held != self.row_bytes * self.shape[0]:
            got = f"{held} bytes, which end in row {held // max(1, self.row_bytes)}"
            raise DataError(
                f"the file {str(path)!r}: "
                + explain(f"{self.shape[0]} rows of {self.row_bytes} bytes", got, "a whole copy of it")
            )

    def _mark(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return self.row_bytes * len(self)

    @property
    def width(self) -> int:
        return int(np.prod(self.shape[1:]))

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((str(self.path), self.shape, str(self.dtype), self._mark())).encode()).hexdigest()

    def check_unchanged(self) -> None:
        now = self._mark()
        if now != self.mark:
            was, came = f"the {self.mark[0]} bytes of before", f"{now[0]} bytes now"
            raise DataError(
                f"the file {str(self.path)!r} was changed while it was read: "
                + explain(was, came, "a copy that is never written to")
            )

    def take(self, rows: Integers) -> Array:
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype.newbyteorder("="))
        with self.path.open("rb") as file:
            # Neighbours are read at once.
            for part in np.split(np.arange(len(wanted)), np.nonzero(np.diff(wanted) != 1)[0] + 1):
                if len(part):
                    file.seek(self.offset + int(wanted[part[0]]) * self.row_bytes)
                    data = file.read(len(part) * self.row_bytes)
                    if len(data) != len(part) * self.row_bytes:
                        row = int(wanted[part[0]]) + len(data) // self.row_bytes
                        raise DataError(f"the file {str(self.path)!r} ends in row {row}; try a whole copy of it")
                    out[order[part]] = np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])
        return out
