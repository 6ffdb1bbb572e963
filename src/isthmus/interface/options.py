"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A .npy, .npz, .csv, .tsv, .parquet or idx file (.gz too); FILE.npz#NAME.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write: .npy, .npz, .csv, .parquet or .png.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="A column to leave out; may be given several times.")]
Condition = Annotated[
    str | None,
    typer.Option(
        "--condition", "-c", help="For a conditional model: a file, a column of DATA, or one label for all rows."
    ),
]
OneCondition = Annotated[
    str | None,
    typer.Option("--condition", "-c", help="For a conditional model: one label (or its numbers, parted by commas)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")]
