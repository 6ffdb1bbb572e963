"""The command line. Nothing heavy is imported before a command runs: `isthmus --help` answers at once."""

from __future__ import annotations

import contextlib
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from isthmus.applications import APPLICATIONS
from isthmus.applications.contract import resolve
from isthmus.cli.use import USES
from isthmus.console.options import DATA, Asked, Column, Data, Drop, Json, Model, Overwrite, Rows, changes_of
from isthmus.console.printing import print_json, print_recipes, recipe_facts, say
from isthmus.errors import DataError, IsthmusError, explain


def application_commands() -> dict[str, Any]:
    """Return the commands of all applications in the table, by name: functions, and groups as `typer.Typer`."""
    found: dict[str, Any] = {}
    for entry in APPLICATIONS.values():
        found |= resolve(entry.commands)
    return found


class _Commands(TyperGroup):
    """The commands in the order of the help, with those of applications before `inspect`."""

    def list_commands(self, ctx: Any) -> list[str]:
        applications = [name for name in application_commands() if name in self.commands]
        names = [name for name in self.commands if name not in applications]
        place = names.index("inspect")
        return [*names[:place], *applications, *names[place:]]


app = typer.Typer(
    name="isthmus",
    cls=_Commands,
    help="Autoencoders for real data: train, encode, clean, score, sample, and look at what was learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def mount(group: typer.Typer, name: str, command: Any) -> None:
    """Add an application's command, or group of commands."""
    if isinstance(command, typer.Typer):
        group.add_typer(command, name=name)
    else:
        group.command(name)(command)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")] = Path("isthmus-demo"),
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs only, to see that it runs.")] = False,
) -> None:
    """Train an autoencoder and a VAE on real images that ship with isthmus, and write a page of pictures."""
    from isthmus.cli.demo import run_demo

    run_demo(out, overwrite=overwrite, seed=seed, quick=quick)


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to make.")],
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="A name that `isthmus recipes` lists, a JSON file, or auto.")
    ] = "autoencoder",
    goal: Annotated[str | None, typer.Option("--goal", help="What `--recipe auto` is to serve; see advise.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="PATH=VALUE", help="A setting, such as code.latent_dim=16; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="The same as --set training.seed=...")] = None,
    rows: Rows = None,
    column: Column = None,
    drop: Drop = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--condition",
            "-c",
            help="The condition of each row: a file of labels or numbers, or a column of DATA; `folder` is that of an "
            "image.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe on DATA and write a model folder.

    A run that is killed leaves a checkpoint beside the folder; the same command with --resume ends with the same
    weights as if it had never stopped. Ctrl-C keeps the best model so far.
    """
    from isthmus.cli.train import TrainingRequest, train

    asked = Asked.of(rows, column, drop)
    changes = changes_of(settings, seed)
    train(TrainingRequest(data, out, recipe, goal, changes, asked, condition, resume, overwrite, quiet, as_json))


@app.command()
def advise(
    data: Data,
    goal: Annotated[
        str | None, typer.Option("--goal", "-g", help="compress, detect, denoise, generate, features or visualise.")
    ] = None,
    rows: Rows = None,
    column: Column = None,
    drop: Drop = None,
    as_json: Json = False,
) -> None:
    """Measure DATA and propose a recipe for a goal, with the reason for each setting. Nothing is trained."""
    from isthmus.advice import advise as propose
    from isthmus.advice.choose import check_goal
    from isthmus.cli.advise import show, to_json
    from isthmus.console.inputs import read_data

    check_goal(goal)
    asked = Asked.of(rows, column, drop)
    advice = propose(read_data(data, asked), str(goal))
    if as_json:
        print_json(to_json(advice, data, asked))
    else:
        show(advice, data, asked)


for use in USES:
    app.command()(use)
for name, command in application_commands().items():
    mount(app, name, command)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="MODEL|DATA", help=f"A model folder, or data. {DATA}")],
    rows: Rows = None,
    column: Column = None,
    drop: Drop = None,
    as_json: Json = False,
) -> None:
    """Show what a model is and how well it was trained, or what the rows of DATA are, column by column."""
    from isthmus.applications import entry_of
    from isthmus.cli import inspect

    if (Path(path) / "manifest.json").exists():
        if rows or column or drop:
            raise DataError(explain("no --rows, --column or --drop for a model", "some", "leaving them out"))
        show = inspect.inspect_model if entry_of(path) is None else inspect.inspect_application
        show(Path(path), as_json=as_json)
    else:
        inspect.inspect_data(path, Asked.of(rows, column, drop), as_json=as_json)


@app.command()
def report(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="A file of one label for each row, or a column of DATA; images have their folders."
        ),
    ] = None,
    drop: Drop = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one page of pictures: reconstructions, the latent map, losses term by term, the worst rows."""
    from isthmus.console.inputs import read_labelled
    from isthmus.console.outputs import check_free
    from isthmus.estimator.autoencoder import load
    from isthmus.report.page import write_report

    check_free(out, overwrite=overwrite)
    fitted = load(model)
    rows, classes = read_labelled(fitted, data, drop, labels)
    write_report({model.name: fitted}, rows, out, labels=classes, command=shlex.join(["isthmus", *sys.argv[1:]]))
    say(f"report written to {out}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one as JSON, to edit and pass to --recipe.")] = None,
    as_json: Json = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a recipe instead.")] = False,
) -> None:
    """List the named recipes and what they are for, or print one as JSON."""
    from isthmus import presets
    from isthmus.recipe import Recipe

    if schema:
        print_json((presets.get(name) if name is not None else Recipe).json_schema())
        return
    if name is not None:
        print_json(presets.get(name).to_dict())
        return
    if as_json:
        print_json(recipe_facts())
    else:
        print_recipes()


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, without the place in the source."""

    def show(message: Warning | str, category: type[Warning], *_: Any) -> None:
        say(f"{'warning' if issubclass(category, RuntimeWarning | UserWarning) else category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


# What typer makes of Ctrl-C.
_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 for a failed job, or 2 for bad usage or bad data."""
    try:
        with _plain_warnings():
            app()
    except IsthmusError as error:
        say(f"error: {error}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(1)
    except SystemExit as stop:
        if stop.code != _INTERRUPTED:
            raise
        say("interrupted")
        sys.exit(1)
    except MemoryError:
        say("error: the machine's memory does not hold this; try fewer rows or a smaller network")
        sys.exit(1)
    except OSError as error:
        say(f"error: {error.strerror or error}{f': {error.filename!r}' if error.filename else ''}")
        sys.exit(1)
    sys.exit(0)
