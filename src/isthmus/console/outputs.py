"""Writing results: by the suffix of the name, whole or not at all, never over something unless told to."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.atomic import write_whole
from isthmus.data.files.writers import FORMS, SUFFIXES, TEXTS, Texts, Writer, as_array
from isthmus.errors import DataError, explain, unknown_name
from isthmus.schema import Column, Schema
from isthmus.typing import Array

# Written block by block; .npz, and pictures of many images, are written whole.
KINDS = (*SUFFIXES, ".npz", ".png", ".zip")
_ARRAYS = (".npy", ".npz")
_PICTURES = (".png", ".zip")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise `DataError` before any work is done if `path` cannot be written: taken, of no known kind, no folder."""
    if path.suffix.lower() not in KINDS:
        raise DataError(f"--out {path}: " + unknown_name("kind of output", path.suffix or "(no suffix)", KINDS))
    check_free(path, overwrite=overwrite)


def check_rows(path: Path, schema: Schema) -> None:
    """Raise `DataError` before any work is done if a model's rows are nothing that such a file holds."""
    suffix = path.suffix.lower()
    shape = "x".join(map(str, schema.shape))
    texts = [column.name for column in schema.columns or () if column.kind == "date" or isinstance(_first(column), str)]
    if suffix in _ARRAYS and texts:
        got = f"columns of texts or dates ({', '.join(map(repr, texts[:3]))}{', ...' if len(texts) > 3 else ''})"
        raise DataError(f"--out {path}: " + explain(f"numbers for a {suffix} file", got, ".parquet or .csv"))
    if suffix in TEXTS and schema.kind != "tokens":
        raise DataError(
            f"--out {path}: " + explain(f"lines of text for a {suffix} file", f"{schema.kind} rows", ".csv")
        )
    # Series come back as tables of steps.
    if suffix in FORMS and schema.columns is None and len(schema.shape) != 1 and schema.kind != "series":
        got = f"rows of shape {shape}"
        advice = "--out with .npy or .png" if schema.kind == "image" else "--out with .npy"
        raise DataError(f"--out {path}: " + explain("rows of columns for a table", got, advice))
    if suffix in _PICTURES and (schema.kind in ("table", "tokens", "ratings") or len(schema.shape) not in (2, 3)):
        expected = "images (rows with a height and a width) for a picture"
        raise DataError(
            f"--out {path}: " + explain(expected, f"{schema.kind} rows of shape {shape}", "--out with .npy")
        )


def check_numbers(path: Path) -> None:
    """Raise `DataError` before any work is done if a file of a kind does not hold codes or scores."""
    if path.suffix.lower() in (*TEXTS, *_PICTURES):
        raise DataError(f"--out {path}: " + explain("a file that holds numbers", path.suffix, ".npy, .csv or .parquet"))


def _first(column: Column) -> Any:
    return column.values[0] if column.kind == "categorical" and column.values else None


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


def write(path: Path, values: Any, names: Sequence[str] | None = None, texts: Texts | None = None) -> None:
    """Write an array or a table under a temporary name and rename it.

    Args:
        path: its suffix decides, one of `KINDS`; .png and .zip for rows that are images.
        values: `(rows, *shape)`, or an Arrow table.
        names: of the columns of an array.
        texts: gives the lines of text that rows stand for.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        with Writer(path, len(values), names, texts, overwrite=True) as writer:  # who calls has asked
            writer.write(values)
        return
    stream = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(stream, rows=as_array(values))
    else:
        (_write_png if suffix == ".png" else _write_zip)(stream, values)
    write_whole(path, stream.getvalue())


def as_pictures(values: Array) -> Array:
    """Return images whose channels come first, `(rows, 1 or 3, H, W)`, with their channels last; others as they are."""
    first = values.ndim == 4 and values.shape[1] in (1, 3) and values.shape[-1] not in (1, 3)
    return np.moveaxis(values, 1, -1) if first else values


def _write_zip(stream: io.BytesIO, values: Array) -> None:
    """Write each image as a PNG of its own, numbered as the rows are."""
    from PIL import Image

    digits = len(str(len(values) - 1))
    top = _top(values)
    with zipfile.ZipFile(stream, "w") as archive:
        for number, image in enumerate(values):
            picture = io.BytesIO()
            pixels = _bytes(image, top)
            Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(picture, format="png")
            archive.writestr(f"{number:0{digits}d}.png", picture.getvalue())


def _write_png(stream: io.BytesIO, values: Array) -> None:
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
    pixels = _bytes(values, _top(values))
    height, width = pixels.shape[1:3]
    canvas = np.full((rows * (height + 1), columns * (width + 1), *pixels.shape[3:]), 255, np.uint8)
    for index, image in enumerate(pixels):
        y, x = divmod(index, columns)
        canvas[y * (height + 1) : y * (height + 1) + height, x * (width + 1) : x * (width + 1) + width] = image
    return canvas[..., 0] if canvas.ndim == 3 and canvas.shape[-1] == 1 else canvas


def _top(values: Array) -> float:
    """Return the value that is white: of 16 bits, of 8, or 1."""
    high = float(values.max())
    return 65535.0 if high > 4096.0 else 255.0 if high > 1.0 else 1.0


def _bytes(values: Array, top: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.clip(values / top * 255.0, 0, 255).round().astype(np.uint8)
