"""What commands print: models, what training measured, the named recipes, JSON, and sentences on standard error."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from isthmus.estimator.autoencoder import Autoencoder

_WIDTH = 80


def print_metrics(model: Autoencoder, title: str) -> None:
    """Print what training measured."""
    metrics = model.metrics_
    typer.echo(title)
    rows = f"{metrics['training_rows']} training rows, {metrics['validation_rows']} validation rows"
    typer.echo(f"  {model.schema_.describe()}: {rows}")
    typer.echo(f"  {metrics['stop_reason']}, {metrics['seconds']:.1f} s")
    names = [n for n in metrics if n.startswith(("train/", "validation/")) and not n.endswith("/weighted")]
    width = max([28, *map(len, names)])
    for name in names:
        typer.echo(f"  {name:{width}} {metrics[name]:.5g} nats per row")
    typer.echo(f"  {'active units':{width}} {metrics['active_units']} of {model.recipe_.code.latent_dim}")


def print_lines(title: str, lines: Iterable[str]) -> None:
    """Print a title and what is indented below it."""
    typer.echo(title)
    for line in lines:
        typer.echo(f"  {line}")


def say_condition(conditions: Any) -> None:
    """Say what a condition is taken for: classes, or numbers."""
    from isthmus.data.condition import labels_of

    labels = labels_of(conditions)
    if labels is None:
        whole = conditions.shape[1] == 1 and bool((conditions == conditions.round()).all())
        hint = "; to make labels of them, save them as integers" if whole else ""
        say(f"condition: {conditions.shape[1]} number(s) a row{hint}")
        return
    shown = ", ".join(map(str, labels[:10])) + (", ..." if len(labels) > 10 else "")
    say(f"condition: {len(labels)} classes ({shown})")


def recipe_facts() -> dict[str, dict[str, str]]:
    """Return each preset's purpose, group and paper."""
    from isthmus.presets import GROUPS

    facts = {}
    for group, presets in GROUPS.items():
        for preset in presets:
            text = inspect.getdoc(preset) or ""
            purpose = text.splitlines()[0].removeprefix("Return ")
            paper = re.search(r"^Paper: (.+?)\s*\Z", text, re.M | re.S)
            facts[preset.__name__] = {
                "purpose": purpose[0].upper() + purpose[1:],
                "group": group,
                "paper": " ".join(paper[1].split()) if paper else "",
            }
    return facts


def print_recipes() -> None:
    """Print the presets by what they are for."""
    facts = recipe_facts()
    indent = max(map(len, facts)) + 4
    group = None
    for name, fact in facts.items():
        if fact["group"] != group:
            typer.echo(("\n" if group else "") + fact["group"])
            group = fact["group"]
        head = f"  {name:{indent - 2}}"
        typer.echo(textwrap.fill(fact["purpose"], _WIDTH, initial_indent=head, subsequent_indent=" " * indent))
    typer.echo("\n`isthmus recipes NAME` prints one as JSON, with all its settings.")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print a sentence on standard error."""
    typer.echo(text, err=True)
