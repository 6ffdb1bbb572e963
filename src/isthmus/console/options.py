"""Arguments and options that several commands take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.errors import RecipeError, explain

DATA = (
    "A file (.npy, .npz, .csv, .tsv, .parquet, .arrow, .jsonl, .txt, .smi, idx; .gz too), FILE.npz#NAME, a folder or "
    "zip of images, a folder of Parquet files, a pattern or a URL."
)
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA)]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Where to write: .npy, .csv, .tsv, .parquet, .arrow, .jsonl or .npz; images also .png or .zip, text .txt.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="A column to leave out; may be given several times.")]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        metavar="SPEC",
        help="What a row is, if not what DATA looks like: table, vector, image:3x64x64, series:64, tokens, ratings.",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME:KIND[:SCALING]",
        help="What a column is, if not what it looks like: age:numeric, code:categorical, price:log; repeatable.",
    ),
]
Condition = Annotated[
    str | None,
    typer.Option(
        "--condition", "-c", help="For a conditional model: a file, a column of DATA, or one label for all rows."
    ),
]
OneCondition = Annotated[
    str | None,
    typer.Option("--condition", "-c", help="For a conditional model: one label (or its numbers, separated by commas)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")]

# The recipe that the rows themselves decide.
AUTO = "auto"


@dataclass(frozen=True)
class Asked:
    """What was typed of DATA beside its path."""

    rows: str | None = None
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: str | None, columns: list[str] | None, drop: list[str] | None) -> Asked:
        """Return what three options hold."""
        return cls(rows, tuple(columns or ()), tuple(drop or ()))


def changes_of(pairs: list[str] | None, seed: int | None = None) -> dict[str, Any]:
    """Return the changes that --set and --seed ask for; a value that is no JSON is taken as text."""
    changes: dict[str, Any] = {}
    for pair in pairs or []:
        path, equals, value = pair.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {pair}: " + explain("PATH=VALUE", repr(pair), "--set code.latent_dim=16"))
        try:
            changes[path.strip()] = json.loads(value)
        except json.JSONDecodeError:
            changes[path.strip()] = value
    if seed is not None:
        changes["training.seed"] = seed
    return changes
