"""What `isthmus explain` prints and writes: the reasons of one row as lines, as a table, as a picture."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.applications.anomaly import explanation_plots
from isthmus.applications.anomaly.explanation import Explanation
from isthmus.applications.anomaly.messages import Part, pair, percent
from isthmus.atomic import write_whole
from isthmus.console.outputs import check_free
from isthmus.data.files.writers import FORMS, Writer
from isthmus.errors import DataError, unknown_name

_PICTURES = (".png", ".svg")
_BAR = 20


def check_out(path: Path, *, overwrite: bool) -> None:
    """Raise `DataError` before any work is done if a file cannot be written."""
    kinds = (*FORMS, *_PICTURES)
    if path.suffix.lower() not in kinds:
        raise DataError(f"--out {path}: " + unknown_name("kind of output", path.suffix or "(no suffix)", kinds))
    check_free(path, overwrite=overwrite)


def write(explanation: Explanation, path: Path) -> None:
    """Write the first row's reasons: a line for each part, or a picture."""
    if path.suffix.lower() in _PICTURES:
        write_whole(path, explanation_plots.picture(explanation, 0, path.suffix.lower().removeprefix(".")))
        return
    table = explanation.to_frame()
    with Writer(path, table.num_rows, overwrite=True) as writer:
        writer.write(table if isinstance(table, pa.Table) else pa.table(table))


def show(explanation: Explanation, most: int) -> None:
    """Print the sentence of the first row, and its parts with the largest shares."""
    reason = explanation[0]
    typer.echo(reason.sentence)
    typer.echo(f"anomaly score {reason.anomaly_score:.4g}, p-value {reason.p_value:.3g}")
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column(explanation.part)
    for name in ("seen", "expected", "share"):
        table.add_column(name, justify="right")
    table.add_column("")
    for part in reason.parts[:most]:
        seen, expected = pair(part.seen, part.expected)
        bar = Text("█" * round(_BAR * part.share), style="cyan")
        table.add_row(Text(where(explanation, part)), Text(seen), Text(expected), percent(part.share), bar)
    console = Console(highlight=False, emoji=False, markup=False)
    console.print(table)
    rest = reason.parts[most:]
    if rest:
        left = percent(sum(part.share for part in rest))
        typer.echo(f"{len(rest):,} more {explanation.part}s have {left}")


def where(explanation: Explanation, part: Part) -> str:
    """Return a part's name for people."""
    if isinstance(part.place, str):
        return part.place
    if explanation.part == "pixel":
        return f"line {part.place[0]}, column {part.place[1]}"
    if explanation.part == "token":
        return f"{part.place[0]}"
    channel = f" of {explanation.channels[part.place[1]]}" if len(explanation.channels) > 1 else ""
    return f"{part.place[0]}{channel}"
