"""What `isthmus advise` prints, and the recipe `auto` of `isthmus fit`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.advice import GOALS, Advice, advise
from isthmus.advice.choose import check_goal
from isthmus.console.options import AUTO, Asked
from isthmus.errors import RecipeError, explain
from isthmus.recipe import Recipe

_NOTHING = Asked()


def check_auto(recipe: str, goal: str | None, changes: Mapping[str, Any]) -> None:
    """Refuse a goal without the recipe `auto`, and `auto` without a goal or with gaps, before anything is read."""
    if recipe == AUTO:
        check_goal(goal)
        if changes.get("missing") == "mask":
            got = "--set missing=mask"
            raise RecipeError(explain("rows without missing values, which auto measures", got, "--recipe miwae"))
    elif goal is not None:
        got = f"--recipe {recipe}"
        raise RecipeError(f"--goal {goal}: " + explain("--recipe auto, which takes the goal", got, "one of the two"))


def choose_recipe(rows: Any, goal: str) -> tuple[Recipe, str]:
    """Return the recipe that is advised for a goal, and a line that says which."""
    advice = advise(rows, goal)
    settings = " ".join(_settings(advice))
    return advice.recipe, f"--recipe auto for --goal {goal}: --recipe {advice.preset} {settings}"


def command(advice: Advice, data: str, asked: Asked = _NOTHING) -> list[str]:
    """Return the words of the `isthmus fit` that trains what is advised."""
    head = f"isthmus fit {shlex.quote(data)} --recipe {advice.preset} --out model"
    rows = [f"--rows {shlex.quote(asked.rows)}"] if asked.rows else []
    columns = [f"--column {shlex.quote(text)}" for text in asked.columns]
    dropped = [f"--drop {shlex.quote(name)}" for name in asked.drop]
    return [head, *rows, *columns, *dropped, *_settings(advice)]


def _settings(advice: Advice) -> list[str]:
    pairs = ((path, value if isinstance(value, str) else json.dumps(value)) for path, value in advice.settings.items())
    return [f"--set {shlex.quote(f'{path}={value}')}" for path, value in pairs]


def to_json(advice: Advice, data: str, asked: Asked = _NOTHING) -> dict[str, Any]:
    """Return the advice and its command as plain JSON values."""
    return {**advice.to_dict(), "command": " ".join(command(advice, data, asked))}


# ---- on the terminal -------------------------------------------------------------------------------------------------


def show(advice: Advice, data: str, asked: Asked = _NOTHING) -> None:
    """Print facts, the command, the reasons, the kinds that were weighed, and the warnings."""
    console = Console(highlight=False, emoji=False, markup=False)
    _heading(console, "What the rows are")
    console.print(_pairs(_facts(advice)))
    _heading(console, f"{advice.goal}: {GOALS[advice.goal].purpose}")
    # One word a line where it is broken: it is to be copied.
    console.print(Text(" \\\n      ".join(_folded(command(advice, data, asked), console.width))), soft_wrap=True)
    _heading(console, "Why")
    console.print(_reasons(advice))
    if advice.warnings:
        _heading(console, "Mind")
        console.print(_pairs([("-", warning) for warning in advice.warnings]))
    _heading(console, "The kinds that were weighed")
    console.print(_kinds(advice))
    console.print(_others(advice))


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _folded(words: list[str], width: int) -> list[str]:
    """Return words joined to lines that fit."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 9 <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in pairs:
        table.add_row(Text(name), Text(text))
    return table


def _facts(advice: Advice) -> list[tuple[str, str]]:
    facts = advice.facts
    shape = "x".join(map(str, facts.shape))
    latents = advice.latent_dim
    found = [
        ("rows", f"{facts.rows:,} {facts.kind} rows of shape {shape}, {facts.dtype}"),
        ("values", f"{facts.low:g} to {facts.high:g}, {facts.zeros:.1%} of them zero{_binary(facts.binary)}"),
        ("constant values", f"{facts.constant} of {facts.width}"),
        ("repeated rows", f"{facts.duplicates:,}"),
        ("spectrum", _spectrum(facts.components, facts.signal)),
        ("intrinsic dimension", _dimension(facts.twonn, facts.mle)),
        ("noise", _noise(advice)),
        ("PCA", f"{facts.explained(latents):.1%} of the variance in {latents}, the size that is proposed"),
    ]
    if facts.neighbours is not None:
        found.append(("neighbouring columns", f"correlation {facts.neighbours:.2f}"))
    if facts.measured_rows < facts.rows:
        found.append(("measured on", f"{facts.measured_rows:,} rows, drawn with seed {facts.seed}"))
    return found


def _binary(binary: bool) -> str:
    return ", nothing but 0 and 1" if binary else ""


def _spectrum(components: dict[int, int], signal: int | None) -> str:
    held = ", ".join(str(count) for count in components.values())
    shares = ", ".join(str(share) for share in components)
    out = "" if signal is None else f"; {signal} stand out of the noise"
    return f"{held} components hold {shares} % of the variance{out}"


def _dimension(twonn: float | None, mle: float | None) -> str:
    if twonn is None or mle is None:
        return "not measured: fewer than 30 different rows"
    return f"{twonn:.1f} (TwoNN), {mle:.1f} (maximum likelihood)"


def _noise(advice: Advice) -> str:
    facts = advice.facts
    unit = "standard deviations"
    if facts.scaling == "unit":
        unit = f"of values in [0, 1] that vary by {facts.spread:.2g}"
    if facts.noise_floor is None:
        return f"at most {facts.noise:.2g} {unit} (Laplacian)"
    at_most = "" if facts.noise_is_clear else "at most "
    return f"{at_most}{facts.noise:.2g} {unit} (flat tail: {facts.noise_floor:.0%} of the components)"


def _reasons(advice: Advice) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold")
    for choice in advice.choices:
        value = choice.value if isinstance(choice.value, str) else json.dumps(choice.value)
        table.add_row(Text(choice.setting), Text(value), Text(choice.reason))
    return table


def _kinds(advice: Advice) -> Table:
    """Return the kinds that serve the goal; those that do not are named by `_others`."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("kind", no_wrap=True)
    for name in ("strengths", "limits", "here"):
        table.add_column(name, overflow="fold", ratio=1)
    for weighed in advice.kinds:
        if weighed.serves:
            kind, mark = weighed.kind, "chosen: " if weighed.chosen else ""
            cells = (kind.preset, kind.strengths, kind.limits, mark + weighed.why)
            table.add_row(*(Text(cell, style="bold" if weighed.chosen else "") for cell in cells))
    return table


def _others(advice: Advice) -> Text:
    names = ", ".join(weighed.kind.preset for weighed in advice.kinds if not weighed.serves)
    return Text(f"not made for this goal: {names}")
