"""Pages of the site that are made from the code, so that they cannot disagree with it.

A page asks for one with `<!-- generated: NAME -->`; NAME is a key of `GENERATED`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from isthmus.settings import Setting, arguments, settings_of

ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"<!-- generated: (\w+) -->")


# ---- what mkdocs calls -------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """List the design notes, whose names are not known beforehand."""
    notes = sorted(path.name for path in (ROOT / "docs" / "design").glob("*.md"))
    config.nav.append({"Design": [f"design/{name}" for name in notes]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Say how the benchmarks are run where nobody has run them yet."""
    if files.get_file_from_path("benchmarks.md") is None:
        from mkdocs.structure.files import File

        text = "# Benchmarks\n\nNot measured in this copy. `make benchmark` writes this page.\n"
        files.append(File.generated(config, "benchmarks.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts where a page asks for them."""
    return MARKER.sub(lambda match: GENERATED[match[1]](), markdown)


# ---- files of the project's root ---------------------------------------------------------------------------------

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def root_file(name: str) -> str:
    """Return a file of the root as a page: its links lead to pages, and what is no page is not linked."""

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target or not target:
            return match[0]
        page = PAGES.get(target, target.removeprefix("docs/"))
        return f"[{label}]({page}{anchor})" if page != target else label

    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)]*)?\)", link, text)


# ---- from the docstrings -----------------------------------------------------------------------------------------


def summary(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").splitlines()[0]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---" for _ in head], *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def recipe_table() -> str:
    """Return the presets: what each is for, what it is made of, and its paper."""
    from isthmus.presets import PRESETS

    rows = []
    for name, preset in PRESETS.items():
        recipe = preset()
        purpose = summary(preset).removeprefix("Return ")
        terms = [weighted.term.kind for weighted in recipe.objective.terms]
        corruption = [recipe.corruption.kind] if recipe.corruption else []
        parts = ", ".join(f"`{part}`" for part in [recipe.code.kind, *corruption, *terms])
        paper = re.search(r"Papers?: (.+?)\s*\Z", inspect.getdoc(preset) or "", re.S)
        cited = " ".join(paper[1].split()) if paper else ""
        cited = re.sub(r",? (https://\S+?)\.?$", r" ([link](\1))", cited)
        rows.append((f"[`{name}`](#isthmus.presets.{name})", purpose[0].upper() + purpose[1:], parts, cited))
    return table(("name", "what it is for", "code, corruption, terms", "paper"), rows)


# ---- settings ----------------------------------------------------------------------------------------------------


HEAD = ("path", "default", "values", "meaning")
Row = tuple[str, str, str, str]


def _row(setting: Setting, path: str) -> Row:
    # A part inside a part goes by its kind.
    default = getattr(setting.default, "kind", setting.default)
    shown = "" if default is dataclasses.MISSING else f"`{json.dumps(default)}`"
    return f"`{path}`", shown, setting.words(), setting.meaning


def _fields(cls: type[Any], prefix: str) -> list[Row]:
    return [_row(setting, f"{prefix}.{setting.name}") for setting in settings_of(cls)]


def _part(cls: Any, prefix: str, first: list[Row] | None = None) -> str:
    rows = [*(first or []), *_fields(cls, prefix)]
    text = f"### `{cls.kind}`\n\n{summary(cls)}\n\n"
    return text + (table(HEAD, rows) if rows else "No settings.\n")


def settings_table() -> str:
    """Return every path of a recipe with its default and its meaning, part by part."""
    from isthmus.codes import CODES, PRIORS
    from isthmus.corruptions import CORRUPTIONS
    from isthmus.networks import NETWORKS
    from isthmus.objectives import LIKELIHOODS, SCHEDULES, TERMS
    from isthmus.objectives.base import WEIGHT
    from isthmus.recipe import Recipe, Training

    whole = arguments(Recipe)
    objective = arguments(type(Recipe().objective))
    rows = {setting.name: _row(setting, setting.name) for setting in settings_of(Recipe)}
    sections = ["## Preprocessing\n", table(HEAD, [rows["preprocessing"]])]
    sections += ["## Missing values and conditions\n", table(HEAD, [rows["missing"], rows["conditional"]])]
    sections += ["## Training\n", table(HEAD, _fields(Training, "training"))]
    sections += [f"## Network\n\n`network` is {whole['network']}\n"]
    sections += [_part(cls, "network") for cls in NETWORKS.values()]
    sections += [f"## Code\n\n`code` is {whole['code']}\n"]
    sections += [_part(cls, "code") for cls in CODES.values()]
    sections += ["## Prior of a Gaussian code\n\n`code.prior` is the prior of the gaussian code.\n"]
    sections += [_part(cls, "code.prior") for cls in PRIORS.values()]
    sections += [f"## Corruption\n\n`corruption` is {whole['corruption']}\n"]
    sections += [_part(cls, "corruption") for cls in CORRUPTIONS.values()]
    sections += [f"## Likelihood\n\n`objective.likelihood` is {objective['likelihood']}\n"]
    sections += [_part(cls, "objective.likelihood") for cls in LIKELIHOODS.values()]
    sections += ["## Terms\n\n`objective.terms` is the list of weighted terms. A term is reached by its kind.\n"]
    for kind, cls in TERMS.items():
        weight = (
            f"`objective.{kind}.weight`",
            "`1.0`",
            f"{WEIGHT.words()}; or a schedule",
            "The term's weight in the sum.",
        )
        sections.append(_part(cls, f"objective.{kind}", [weight]))
    sections += ["## Schedules of a weight\n\nHere for the term `kl`; any other term's kind may stand in its place.\n"]
    sections += [_part(cls, "objective.kl.weight") for cls in SCHEDULES.values()]
    return "\n".join(sections)


# ---- the command line --------------------------------------------------------------------------------------------


def _option(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{_value_name(parameter)}`"
    elif getattr(parameter, "is_flag", False):
        name = ", ".join(f"`{option}`" for option in parameter.opts)
    else:
        name = ", ".join(f"`{option} {_value_name(parameter)}`" for option in parameter.opts)
    if parameter.required:
        return name, f"{parameter.help} Required."
    told = not getattr(parameter, "is_flag", False) and parameter.default is not None
    return name, f"{parameter.help} Default: `{parameter.default}`." if told else parameter.help


def _value_name(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _usage(name: str, parameters: list[Any]) -> str:
    words = ["isthmus", name]
    for parameter in sorted(parameters, key=lambda p: p.param_type_name != "argument"):
        if parameter.param_type_name == "argument":
            words.append(_value_name(parameter) if parameter.required else f"[{_value_name(parameter)}]")
        elif parameter.required:
            words.append(f"{parameter.opts[0]} {_value_name(parameter)}")
    return " ".join([*words, "[OPTIONS]"])


def command_line() -> str:
    """Return every command with its arguments and options."""
    from typer.main import get_command

    from isthmus.cli.app import app

    sections = []
    for name, command in _commands(get_command(app)):
        parameters = [parameter for parameter in command.params if parameter.name != "help"]
        rows = table(("argument or option", "meaning"), map(_option, parameters))
        text = inspect.cleandoc(command.help or "")
        sections.append(f"## isthmus {name}\n\n{text}\n\n```text\n{_usage(name, parameters)}\n```\n\n{rows}")
    return "\n".join(sections)


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the words and the command of each; the default command of a group has no word of its own."""
    from isthmus.applications.anomaly.commands import DEFAULT

    for name in group.list_commands(None):
        command = group.commands[name]
        words = before.strip() if name == DEFAULT else f"{before}{name}"
        if hasattr(command, "commands"):
            yield from _commands(command, f"{words} ")
        else:
            yield words, command


GENERATED: dict[str, Callable[[], str]] = {
    "readme": partial(root_file, "README.md"),
    "contributing": partial(root_file, "CONTRIBUTING.md"),
    "changelog": partial(root_file, "CHANGELOG.md"),
    "recipes": recipe_table,
    "settings": settings_table,
    "commands": command_line,
}
