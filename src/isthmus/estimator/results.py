"""Results on their way out: blocks as one, of the kind that was given, or as a file that is written as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.data.encoded import EncodedRows
from isthmus.data.files.writers import Texts, Writer
from isthmus.data.in_memory import TableRows
from isthmus.data.series.step_table import to_long
from isthmus.data.series.windows import SeriesWindows, StepAverage
from isthmus.data.tables.columns import missing_in
from isthmus.data.tables.dataframes import frame_name, like_frame
from isthmus.data.tables.encoding import type_of

# A file to write to, None for none, and whether it may be replaced.
Out = tuple[str | Path | None, bool]


def collect(
    blocks: Iterator[Any],
    rows: int,
    out: Out,
    names: Any,
    encoded: EncodedRows | None = None,
    *,
    floats: bool = False,
    texts: Texts | None = None,
) -> Any:
    """Return blocks as one, like the frame that was given; or write them to a file and return its path."""
    path, overwrite = out
    if path is not None:
        with Writer(Path(path), rows, names, texts, overwrite=overwrite) as writer:
            for block in blocks:
                writer.write(block)
        return Path(path)
    whole = joined(list(blocks))
    like = encoded.source.like if encoded is not None and isinstance(encoded.source, TableRows) else None
    return like_frame(whole, like, types=not floats) if isinstance(whole, pa.Table) else whole


def windows_to_steps(source: SeriesWindows, blocks: Iterator[Any], out: Out, name: str | None = None) -> Any:
    """Return values of windows as values of the series' steps, beside the columns of series and time."""
    average, first = StepAverage(source, mask=name is not None), 0
    for block in blocks:
        average.add(first, block)
        first += len(block)
    values = average.result()
    if isinstance(source.like, np.ndarray):
        return collect(iter(values), len(values[0]), out, name and [name])
    table = to_long(values, source, name or "value")
    if out[0] is not None:
        return collect(iter([table]), table.num_rows, out, None)
    return like_frame(table, None if source.like is None else frame_name(source.like))


def joined(blocks: list[Any]) -> Any:
    """Return blocks as one."""
    if isinstance(blocks[0], pa.Table):
        return pa.concat_tables(blocks, promote_options="permissive").combine_chunks()
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def types_given(encoded: EncodedRows) -> dict[str, Any] | None:
    """Return the column types of a table that was given, which its reconstruction has, too."""
    if encoded.source.kind != "table":
        return None
    schema = encoded.source.schema  # type: ignore[attr-defined]
    types = dict(zip(schema.names, schema.types, strict=True))
    # Texts of which none is there are numbers to some readers.
    texts = {column.name: column.type for column in encoded.schema.columns or () if column.kind == "categorical"}
    return {
        name: type_of(texts[name])
        if name in texts and pa.types.is_floating(kind) and _none_seen(encoded, name)
        else kind
        for name, kind in types.items()
    }


def _none_seen(encoded: EncodedRows, name: str) -> bool:
    source = encoded.source
    return isinstance(source, TableRows) and missing_in(source.table[name]) == len(source)
