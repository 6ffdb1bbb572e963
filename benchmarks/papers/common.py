"""What the reproductions share: MNIST, and the writing of their tables into one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DEFAULT_DATA, markdown_table, where, write_between

PAGE = Path("docs/papers.md")


def arguments(doc: str) -> argparse.ArgumentParser:
    """Return a parser with what every reproduction takes."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the folder with mnist.npz")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--write", type=Path, help=f"put the table into this page, such as {PAGE}")
    return parser


def mnist(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return x_train, y_train, x_test and y_test; images as rows of bytes."""
    with np.load(folder / "mnist.npz", allow_pickle=False) as archive:
        found = {name: archive[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    return {name: rows.reshape(len(rows), -1) if name.startswith("x") else rows for name, rows in found.items()}


def publish(name: str, head: list[str], rows: list[list[str]], command: str, page: Path | None, note: str = "") -> None:
    """Print a table, and put it between the marks of `name` in a page if one is given."""
    text = f"{markdown_table(head, rows)}\n\n`{command}`, {where()}. {note}".rstrip()
    print(text)
    if page is not None:
        write_between(page, name, text)
