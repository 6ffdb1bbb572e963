"""Writing results: by the suffix of the name, whole or not at all, never over something unless told to."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import DataError, explain, unknown_name
from isthmus.files import write_whole

Array = np.ndarray[Any, np.dtype[Any]]


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise `DataError` before any work is done if `path` cannot be written: taken, of no known kind, no folder."""
    if path.suffix.lower() not in WRITERS:
        raise DataError(f"--out {path}: " + unknown_name("kind of output", path.suffix or "(no suffix)", WRITERS))
    check_free(path, overwrite=overwrite)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise `DataError` if `path` is taken and may not be overwritten, or its folder cannot take it."""
    if path.is_dir():
        raise DataError(f"--out {path}: " + explain("a file name", "a folder", f"{path / 'result.npy'}"))
    if path.exists() and not overwrite:
        raise DataError(f"--out {path} exists; try another name, or --overwrite to replace it")
    check_parent(path)


def check_parent(path: Path) -> None:
    """Raise `DataError` if the folder that `path` would lie in is not there or cannot take it."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise DataError(f"--out {path}: there is no folder {str(parent)!r}; try making it first")
    if not os.access(parent, os.W_OK):
        raise DataError(f"--out {path}: the folder {str(parent)!r} may not be written to; try another place")


def write(path: Path, values: Array, names: Sequence[str] | None = None) -> None:
    """Write an array under a temporary name and rename it.

    Args:
        path: its suffix decides: .npy, .npz, .csv, .parquet, or .png for rows that are images.
        values: `(rows, *shape)`.
        names: of the columns of a table.
    """
    stream = io.BytesIO()
    WRITERS[path.suffix.lower()](stream, values, names)
    write_whole(path, stream.getvalue())


def _write_npy(stream: io.BytesIO, values: Array, names: Sequence[str] | None) -> None:
    np.save(stream, values, allow_pickle=False)


def _write_npz(stream: io.BytesIO, values: Array, names: Sequence[str] | None) -> None:
    np.savez_compressed(stream, rows=values)


def _table(values: Array, names: Sequence[str] | None) -> Any:
    import pyarrow as pa

    if values.ndim != 2:
        shape = "x".join(map(str, values.shape[1:]))
        raise DataError(explain("rows of columns for a table", f"rows of shape {shape}", "--out with .npy or .png"))
    columns = list(names) if names else [f"column{index}" for index in range(values.shape[1])]
    return pa.table([pa.array(values[:, index]) for index in range(values.shape[1])], names=columns)


def _write_csv(stream: io.BytesIO, values: Array, names: Sequence[str] | None) -> None:
    from pyarrow import csv

    csv.write_csv(_table(values, names), stream, csv.WriteOptions(quoting_style="needed"))


def _write_parquet(stream: io.BytesIO, values: Array, names: Sequence[str] | None) -> None:
    from pyarrow import parquet

    parquet.write_table(_table(values, names), stream)


def _write_png(stream: io.BytesIO, values: Array, names: Sequence[str] | None) -> None:
    from PIL import Image

    Image.fromarray(mosaic(values)).save(stream, format="png")


# A mosaic is to be looked at: more pictures than this are thumbnails of nothing.
_MOSAIC_MOST = 10_000


def mosaic(values: Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return grey or colour images `(n, H, W)`, `(n, H, W, 3)` or `(n, rows of them, H, W)` as one picture.

    >>> import numpy as np
    >>> mosaic(np.zeros((4, 8, 8), "float32")).shape
    (18, 18)
    """
    if values.ndim == 4 and values.shape[-1] not in (1, 3):
        rows, columns = values.shape[:2]
        values = values.reshape(-1, *values.shape[2:])
    else:
        columns = int(np.ceil(np.sqrt(len(values))))
        rows = -(-len(values) // columns)
    if values.ndim not in (3, 4) or len(values) > _MOSAIC_MOST:
        raise DataError(
            explain(
                f"up to {_MOSAIC_MOST} images (rows with a height and a width) for a picture",
                f"shape {values.shape}",
                "--out with .npy",
            )
        )
    top = 255.0 if values.max() > 1.0 else 1.0
    pixels = np.clip(values / top * 255.0, 0, 255).round().astype(np.uint8)
    height, width = pixels.shape[1:3]
    canvas = np.full((rows * (height + 1), columns * (width + 1), *pixels.shape[3:]), 255, np.uint8)
    for index, image in enumerate(pixels):
        y, x = divmod(index, columns)
        canvas[y * (height + 1) : y * (height + 1) + height, x * (width + 1) : x * (width + 1) + width] = image
    return canvas[..., 0] if canvas.ndim == 3 and canvas.shape[-1] == 1 else canvas


WRITERS: dict[str, Callable[[io.BytesIO, Array, Sequence[str] | None], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".png": _write_png,
}
