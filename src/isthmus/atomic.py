"""Files and folders that appear whole or not at all, and JSON that people can read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path`: written under a temporary name beside it, flushed to the disk, then renamed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(folder: Path) -> Path:
    """Return a new folder beside `folder`, in which it is made before `move_whole`."""
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))


def move_whole(temporary: Path, folder: Path) -> None:
    """Move a finished folder to its place. What was there goes away after that, and comes back if it fails."""
    temporary.chmod(0o755)
    if not folder.exists():
        temporary.replace(folder)
        return
    old = temporary_beside(folder)
    try:
        folder.replace(old / folder.name)
        try:
            temporary.replace(folder)
        except BaseException:
            (old / folder.name).replace(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


# What fits on a line stays on it; lists of plain values that do not are filled up to the second width.
_LINE, _FILLED = 200, 120


def readable_json(value: Any, indent: int = 0) -> str:
    """Return JSON with whatever is short on a line of its own: a column of a table, a term, a list of sizes.

    Example:
        >>> print(readable_json({"shape": [1, 28, 28], "names": None, "columns": [{"name": "a"}, {"name": "b"}]}))
        {
          "shape": [1, 28, 28],
          "names": null,
          "columns": [
            {"name": "a"},
            {"name": "b"}
          ]
        }

    Raises:
        ValueError: for NaN and infinite numbers, which JSON does not have.
    """
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    depth = _depth(value)
    listed = isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value)
    if not depth or not value or (indent and depth <= 2 and not listed and len(line) + indent <= _LINE):
        return line
    inner, margin = indent + 2, " " * (indent + 2)
    if isinstance(value, dict):
        keys = (json.dumps(str(key), ensure_ascii=False) for key in value)
        items = [f"{key}: {readable_json(item, inner)}" for key, item in zip(keys, value.values(), strict=True)]
    else:
        items = [readable_json(item, inner) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    body = _fill(items, _FILLED - inner) if depth == 1 and first == "[" else items
    return first + "\n" + ",\n".join(margin + item for item in body) + "\n" + " " * indent + last


def _depth(value: Any) -> int:
    """Return how many lists and objects stand in each other."""
    if not isinstance(value, dict | list | tuple):
        return 0
    return 1 + max((_depth(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)


def _fill(items: list[str], width: int) -> list[str]:
    """Return items joined by commas to lines of a width."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 3 <= width:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines
