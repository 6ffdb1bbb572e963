"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


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
