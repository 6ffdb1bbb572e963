"""What `isthmus inspect` prints: what a row of some data is, column by column, or what a model is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import typer

from isthmus.applications import load as load_application
from isthmus.console.inputs import read_data
from isthmus.console.options import Asked
from isthmus.console.printing import print_json, print_lines, print_metrics
from isthmus.data.kinds import encoding_fitter
from isthmus.data.ratings.long_format import NAMES
from isthmus.data.source import Source
from isthmus.data.tables.columns import Statistics, check_stated
from isthmus.data.tables.encoding import type_of
from isthmus.errors import DataError
from isthmus.estimator.autoencoder import Autoencoder, load
from isthmus.report.health_text import advice_of, health_lines
from isthmus.schema import Column, Schema

_ROWS = 1 << 14
# Categories, labels, series and tokens that are named before "...".
_NAMED = 6
_TIMES = frozenset(["time", "timestamp", "date", "datetime", "day"])


def inspect_model(path: Path, *, as_json: bool) -> None:
    """Print what a model is, how it was trained, and what its rows are."""
    model = load(path)
    parameters = sum(p.numel() for p in model.composition_.parameters())
    if as_json:
        parts = {"recipe": model.recipe_.to_dict(), "schema": model.schema_.to_dict(), "metrics": model.metrics_}
        print_json({**parts, "advice": advice_of(model), "parameters": parameters})
        return
    recipe = model.recipe_
    terms = ", ".join(f"{w.weight} x {w.term.kind}" for w in recipe.objective.terms) or "no terms"
    typer.echo(f"network    {recipe.network} ({parameters:,} parameters)")
    typer.echo(f"code       {recipe.code}")
    typer.echo(f"corruption {recipe.corruption}")
    typer.echo(f"objective  {recipe.likelihood} + {terms}")
    typer.echo(f"scaling    {recipe.preprocessing}")
    _print_rows(model)
    print_metrics(model, "training")
    for line in health_lines(model):
        typer.echo(line)


def inspect_application(path: Path, *, as_json: bool) -> None:
    """Print what an application says of itself, and where its autoencoders are."""
    model = load_application(path)
    described, count = model.describe(), len(model.estimators_)
    if as_json:
        recipes = [one.recipe_.to_dict() for one in model.estimators_]
        print_json({**described.facts, "recipes": recipes, "schema": model.estimators_[0].schema_.to_dict()})
        return
    print_lines(described.title, described.sentences)
    more = f", ..., {count - 1}" if count > 1 else ""
    typer.echo(f"  isthmus inspect {path / 'autoencoders' / '0'}{more} shows more")


def _print_rows(model: Autoencoder) -> None:
    schema = model.schema_
    read = dict(schema.metadata or {})
    if "rows" in read:
        typer.echo(f"read as    {read['rows']}")
    for name in ("channels", "drop"):
        if read.get(name):
            typer.echo(f"{name:10} {_some(read[name])}")
    if "vocabulary" in read:
        typer.echo(f"vocabulary {_vocabulary(read['vocabulary'])}")
    if schema.condition_labels is not None:
        typer.echo(f"condition  one of the labels {_some(schema.condition_labels)}")
    elif schema.condition_dim:
        typer.echo(f"condition  {schema.condition_dim} number(s) a row")
    if schema.columns is not None:
        _print_columns(schema.columns, {})
    elif schema.names and schema.kind != "ratings":
        typer.echo("columns    " + ", ".join(map(_name, schema.names)))


def inspect_data(path: str, asked: Asked, *, as_json: bool) -> None:
    """Print what a row of some data is.

    Raises:
        DataError: for data that cannot be read.
    """
    source = read_data(path, asked, missing=True)
    if source.kind == "table":
        _inspect_table(path, source, asked, as_json=as_json)
        return
    facts = _FACTS.get(source.kind, _array)(source)
    schema = None if source.kind == "image" and not hasattr(source, "values") else _schema(source)
    if as_json:
        described = {} if schema is None else schema.to_dict()
        described.pop("metadata", None)
        shape = {"kind": source.kind, "rows": len(source), **described}
        print_json({**shape, "facts": dict(facts), "notes": list(source.notes)})
        return
    typer.echo(f"{len(source)} {schema.describe() if schema is not None else _images_line(source)}")
    for name, text in facts:
        typer.echo(f"{name + ':':14} {text}")


def _schema(source: Source) -> Schema:
    schema = encoding_fitter(source).schema
    names = getattr(source, "names", None)
    return schema if names is None or source.kind != "vector" else replace(schema, names=names)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _inspect_table(path: str, source: Any, asked: Asked, *, as_json: bool) -> None:
    columns, troubles = table_columns(source)
    hint = hint_of(source.schema, columns)
    if as_json:
        described = [column.to_dict() for column in columns]
        for column in described:
            column |= {"unusable": troubles[column["name"]]} if column["name"] in troubles else {}
        facts = {"kind": "table", "rows": len(source), "names": [column.name for column in columns]}
        print_json({**facts, "columns": described, "notes": list(source.notes), "hint": hint})
        return
    counts = Counter("unusable" if column.name in troubles else column.kind for column in columns)
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    typer.echo(f"{len(source)} rows of {len(columns)} columns: {kinds}")
    _print_columns(columns, troubles)
    for text in troubles.values():
        typer.echo(f"unusable: {text}")
    if hint:
        typer.echo(f"hint: {hint}")


def table_columns(source: Any) -> tuple[tuple[Column, ...], dict[str, str]]:
    """Return what each column of a table is, and of those that cannot be used why."""
    kinds, scales = source.stated.kinds, source.stated.scales
    check_stated(source.schema.names, kinds, scales)
    each = {field.name: Statistics(pa.schema([field]), kinds) for field in source.schema}
    troubles: dict[str, str] = {}
    for block in source.blocks(_ROWS):
        for name, statistics in each.items():
            if name not in troubles:
                try:
                    statistics.update(block.select([name]))
                except DataError as error:
                    troubles[name] = str(error)
    columns = []
    for name, statistics in each.items():
        column = Column(name, "empty", str(source.schema.field(name).type))
        if name not in troubles:
            try:
                column = statistics.scaled(statistics.columns(), "columns", scales)[0]
            except DataError as error:
                troubles[name] = str(error)
        columns.append(column)
    return tuple(columns), troubles


def _print_columns(columns: tuple[Column, ...], troubles: dict[str, str]) -> None:
    """Print one line for each column, broken nowhere, so that it can be searched."""
    lines = [("column", "kind", "type", "values", "missing", "scaling")]
    for column in columns:
        broken = column.name in troubles
        kind, values, scaling = ("unusable", "", "") if broken else (column.kind, _values(column), _scaling(column))
        missing = f"{column.missing:.1%}" if column.missing else ""
        lines.append((_name(column.name), kind, _type(column.type), values, missing, scaling))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _type(name: str) -> str:
    found = re.fullmatch(r"dictionary<values=(\w+),.*>", name)
    return found[1] if found else name


def _values(column: Column) -> str:
    if column.kind == "empty":
        return "none"
    if column.kind == "categorical":
        rare = f", and {column.rare:.1%} others" if column.rare else ""
        return f"{len(column.values)}: {_some([_short(value) for value in column.values])}{rare}"
    if column.kind == "binary":
        return " or ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in column.values)
    if column.kind == "date":
        low, high = (_moment(value, column.type) for value in (column.low, column.high))
        return f"{low} to {high}"
    return f"{column.low:g} to {column.high:g}" + (", whole" if column.whole else "")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:23] + "…"


def _moment(value: float, kind: str) -> str:
    try:
        wanted = type_of(kind)
        small = pa.types.is_date32(wanted) or pa.types.is_time32(wanted)
        return str(pa.scalar(int(value), pa.int32() if small else pa.int64()).cast(wanted).as_py())
    except (ValueError, OverflowError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return f"{value:g}"


def _scaling(column: Column) -> str:
    return "" if column.kind in ("categorical", "binary", "empty") else column.scaling


def hint_of(schema: pa.Schema, columns: tuple[Column, ...]) -> str:
    """Return which `--rows` to try for a table that looks like ratings or like series; nothing for any other.

    Example:
        >>> schema = pa.schema([("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.float64())])
        >>> hint_of(schema, ())
        'this looks like ratings, one in each row; if it is, try --rows ratings'
    """
    plain = {name: "".join(sign for sign in name.casefold() if sign.isalnum()) for name in schema.names}
    roles = {role for role in ("user", "item") for name in plain.values() if name in NAMES[role]}
    if len(roles) == 2:
        return "this looks like ratings, one in each row; if it is, try --rows ratings"
    times = [field.name for field in schema if pa.types.is_temporal(field.type) or plain[field.name] in _TIMES]
    numbers = [column for column in columns if column.kind in ("numeric", "count") and column.name not in times]
    if len(times) != 1 or not numbers:
        return ""
    names = [column.name for column in columns if column.kind == "categorical" and column.name not in times]
    series = f",series={names[0]}" if len(names) == 1 else ""
    others = [column.name for column in columns if column not in numbers and column.name not in (times[0], *names[:1])]
    left = "".join(f" --drop {name}" for name in others)
    return f"this looks like series, one step in each row; if it is, try --rows series:64{series},time={times[0]}{left}"


# ---- rows of other kinds ---------------------------------------------------------------------------------------------

ColumnStatistics = list[tuple[str, str]]


def _array(source: Any) -> ColumnStatistics:
    names = getattr(source, "names", None)
    return [("columns", ", ".join(map(_name, names)))] if names else []


def _images_line(source: Any) -> str:
    return f"image rows of shape {'x'.join(map(str, source.shape))}, {source.dtype}"


def _images(source: Any) -> ColumnStatistics:
    if not hasattr(source, "labels"):
        return _array(source)
    facts = [("files", f"{len(set(source.names))}, such as {source.names[0]}")]
    if source.labels is not None:
        counts = Counter(source.labels)
        facts.append(("by folder", _some([f"{name} {number}" for name, number in counts.items()], 20)))
    if source.skipped:
        facts.append(("left out", _some([f"{name} ({reason})" for name, reason in source.skipped])))
    if source.ignored:
        facts.append(("other files", f"{source.ignored}, not read"))
    return facts


def _series(source: Any) -> ColumnStatistics:
    if not hasattr(source, "series"):
        return _array(source)
    sizes = source.lengths
    span = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    facts = [
        ("series", f"{len(source.series)} of {span} steps: {_some(source.names)}"),
        ("channels", f"{len(source.channels)}: {_some(source.channels)}"),
        ("windows", f"{source.length} steps, one every {source.stride}"),
        ("sampling", _sampling(source)),
    ]
    missing = float(np.mean([np.isnan(one.values).mean() for one in source.series]))
    return [*facts, ("missing", f"{missing:.1%} of the values")] if missing else facts


def _sampling(source: Any) -> str:
    steps = Counter()  # type: ignore[var-annotated]
    for one in source.series:
        if one.times is not None and one.steps > 1:
            step = np.median(np.diff(one.times).astype(np.float64))
            unit = np.datetime_data(one.times.dtype)[0] if one.times.dtype.kind == "M" else ""
            steps[_duration(step, unit)] += 1
    return ", ".join(f"every {text}" for text in steps) or "steps in the order of the rows"


def _duration(step: float, unit: str) -> str:
    seconds = step * {"D": 86400.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}.get(unit, 0.0)
    for size, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            return f"{seconds / size:g} {name}"
    return f"{step:g}{unit}"


def _tokens(source: Any) -> ColumnStatistics:
    sizes = np.diff(source._starts)
    vocabulary = source.vocabulary
    return [
        ("vocabulary", _vocabulary(vocabulary.to_dict())),
        ("length", f"{vocabulary.length} steps a row; the lines have {sizes.min()} to {sizes.max()}"),
    ]


def _vocabulary(stored: Any) -> str:
    tokens = list(stored.get("tokens", ()))
    return f"{len(tokens)} {stored.get('level', '')} tokens: {_some([repr(token) for token in tokens], 12)}"


def _ratings(source: Any) -> ColumnStatistics:
    users, items = source.matrix.shape
    entries = source.matrix.nnz
    columns = source.columns
    summary = source.summary()
    facts = [
        ("users", f"{users:,}"),
        ("items", f"{items:,}" + (f": {_some(source.items)}" if source.items else "")),
        ("ratings", f"{entries:,}, {entries / max(1, users * items):.2%} of all pairs"),
        ("values", f"{summary.low:g} to {summary.high:g}"),
    ]
    if source.items is not None:
        read = [f"{role} {getattr(columns, role)}" for role in ("user", "item", "value") if getattr(columns, role)]
        facts.append(("read from", ", ".join(read)))
    return facts


_FACTS: dict[str, Any] = {"image": _images, "series": _series, "tokens": _tokens, "ratings": _ratings}


def _some(names: Any, most: int = _NAMED) -> str:
    shown = [_name(str(name)) for name in list(names)[:most]]
    return ", ".join(shown) + (", ..." if len(names) > most else "")


def _name(name: str) -> str:
    return name if name.isprintable() else repr(name)
