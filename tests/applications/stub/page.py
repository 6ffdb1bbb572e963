"""The page: how many rows each group has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus.atomic import write_whole


def write_page(groups: Any, path: Path) -> None:
    """Write it."""
    items = "".join(
        f"<li>group {name}: {count} rows</li>"
        for name, count in zip(*np.unique(groups, return_counts=True), strict=True)
    )
    write_whole(path, f"<!doctype html><html><title>Groups</title><ol>{items}</ol></html>".encode())
