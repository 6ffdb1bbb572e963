"""The command line. Nothing heavy is imported before a command runs: `isthmus --help` answers at once."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from isthmus.errors import DataError, IsthmusError, RecipeError, explain

if TYPE_CHECKING:
    from isthmus.estimator import Autoencoder

app = typer.Typer(
    name="isthmus",
    help="Autoencoders for real data: train, encode, clean, score, sample, and look at what was learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A .npy, .npz, .csv, .tsv, .parquet or idx file (.gz too); FILE.npz#NAME.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write: .npy, .npz, .csv, .parquet or .png.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="A column to leave out; may be given several times.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")] = Path("isthmus-demo"),
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs only, to see that it runs.")] = False,
) -> None:
    """Train an autoencoder and a VAE on real images that ship with isthmus, and write a page of pictures."""
    from isthmus.interface.demo import run_demo

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
    drop: Drop = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe on DATA and write a model folder.

    A run that is killed leaves a checkpoint beside the folder; the same command with --resume ends with the same
    weights as if it had never stopped. Ctrl-C keeps the best model so far.
    """
    from isthmus.artifact import refuse_existing
    from isthmus.estimator import Autoencoder, as_recipe
    from isthmus.interface.advising import AUTO, check_auto, choose_recipe
    from isthmus.interface.output import check_parent

    check_auto(recipe, goal)
    changes = _settings(settings, seed)
    chosen = None if recipe == AUTO else as_recipe(recipe).replace(changes)
    if not out.name:
        raise DataError(f"--out {out}: " + explain("the name of a folder to make", f"{str(out)!r}", "--out model"))
    checkpoint = out.with_name(out.name + ".checkpoint")
    unfinished = _has_checkpoint(checkpoint)
    if resume and not unfinished and (out / "manifest.json").exists():
        _say(f"{str(out)!r} is complete and there is no checkpoint beside it: nothing to resume")
        return
    if unfinished and not resume and not overwrite:
        raise DataError(
            f"a run to {str(out)!r} was stopped: try --resume to continue it, or --overwrite to start again"
        )
    refuse_existing(out, overwrite=overwrite or (resume and unfinished))
    check_parent(out)
    rows = _read(data, drop)
    if chosen is None:
        advised, line = choose_recipe(rows, str(goal))
        chosen = advised.replace(changes)
        _say(line)
    if unfinished and not resume:
        _remove_checkpoint(checkpoint)
    model = Autoencoder(chosen, verbose=not quiet)
    model.fit(rows, checkpoint=None if resume else checkpoint, resume_from=checkpoint if resume else None)
    interrupted = model.history_.stop_reason == "interrupted"
    if interrupted and not model.history_.best_epoch:
        _say("interrupted before the first epoch was over: nothing is written")
        raise typer.Exit(1)
    model.save(out, overwrite=overwrite or resume)
    if not interrupted:
        _remove_checkpoint(checkpoint)
    if as_json:
        _print_json({"out": str(out), **model.metrics_})
    else:
        _print_metrics(model, f"model written to {out}")
    if interrupted:
        again = "--resume goes on" if _has_checkpoint(checkpoint) else "--overwrite starts again"
        _say(f"interrupted: {out} holds the best weights so far; the same command with {again}")
    if interrupted or model.history_.stop_reason.startswith("stopped"):
        raise typer.Exit(1)


@app.command()
def advise(
    data: Data,
    goal: Annotated[
        str | None, typer.Option("--goal", "-g", help="compress, detect, denoise, generate, features or visualise.")
    ] = None,
    drop: Drop = None,
    as_json: Json = False,
) -> None:
    """Measure DATA and propose a recipe for a goal, with the reason for each setting. Nothing is trained."""
    from isthmus.advice import advise as propose
    from isthmus.advice.choose import check_goal
    from isthmus.interface.advising import show, to_json

    check_goal(goal)
    advice = propose(_read(data, drop), str(goal))
    if as_json:
        _print_json(to_json(advice, data, drop or ()))
    else:
        show(advice, data, drop or ())


@app.command()
def encode(
    model: Model, data: Data, out: Out, drop: Drop = None, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Write the codes of DATA: one row of latents for each row (the posterior mean of a variational model)."""
    fitted = _prepare(model, out, overwrite)
    codes = fitted.transform(_read(data, drop))
    _finish(out, codes, as_json, [f"latent{index}" for index in range(codes.shape[1])])


@app.command()
def decode(model: Model, codes: Data, out: Out, overwrite: Overwrite = False, as_json: Json = False) -> None:
    """Write the rows that codes stand for, in the units of the training data."""
    fitted = _prepare(model, out, overwrite)
    _finish(out, fitted.inverse_transform(_read(codes).values), as_json, fitted.schema_.names)


@app.command()
def reconstruct(
    model: Model, data: Data, out: Out, drop: Drop = None, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Write DATA as the model rebuilds it from its codes."""
    fitted = _prepare(model, out, overwrite)
    _finish(out, fitted.reconstruct(_read(data, drop)), as_json, fitted.schema_.names)


@app.command()
def denoise(
    model: Model, data: Data, out: Out, drop: Drop = None, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Write DATA cleaned: rebuilt by a model that was trained to undo noise (recipe `denoising`)."""
    fitted = _prepare(model, out, overwrite)
    if fitted.recipe_.corruption is None:
        _say("note: this model was trained without corruption; a model of the recipe `denoising` cleans better")
    _finish(out, fitted.reconstruct(_read(data, drop)), as_json, fitted.schema_.names)


@app.command()
def score(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; standard output if left out.")
    ] = None,
    drop: Drop = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the log-likelihood of each row (for a variational model its bound), in nats; higher is more typical."""
    fitted = _load(model) if out is None else _prepare(model, out, overwrite)
    scores = fitted.score_samples(_read(data, drop))
    if out is not None:
        _finish(out, scores[:, None], as_json, ["score"])
    elif as_json:
        _print_json({"rows": len(scores), "mean": float(scores.mean()), "scores": scores.tolist()})
    else:
        sys.stdout.write("score\n" + "".join(f"{value!r}\n" for value in scores.tolist()))


@app.command()
def sample(
    model: Model,
    out: Out,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 64,
    seed: Seed = 0,
    noise: Annotated[bool, typer.Option("--noise", help="Draw from p(x|z) instead of taking its mean.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write new rows, decoded from codes drawn from the prior (variational models)."""
    fitted = _prepare(model, out, overwrite)
    _finish(out, fitted.sample(number, random_state=seed, noise=noise), as_json, fitted.schema_.names)


@app.command()
def interpolate(
    model: Model,
    data: Data,
    out: Out,
    rows: Annotated[str, typer.Option("--rows", help="The two rows to go between, counted from 0.")] = "0,1",
    steps: Annotated[int, typer.Option("--steps", min=2, help="Rows on the way, both ends included.")] = 8,
    drop: Drop = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the rows on the straight line between the codes of two rows of DATA."""
    fitted = _prepare(model, out, overwrite)
    values = _read(data, drop)
    first, last = _row_pair(rows, len(values.values))
    start, end = (type(values)(values.values[[index]], values.names) for index in (first, last))
    _finish(out, fitted.interpolate(start, end, steps)[0], as_json, fitted.schema_.names)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="MODEL|DATA", help="A model folder, or a data file.")],
    as_json: Json = False,
) -> None:
    """Show what a model is and how well it was trained, or what the rows of a file are."""
    if Path(path).is_dir():
        from isthmus.interface.wellness import advice_of, health_lines

        model = _load(Path(path))
        if as_json:
            _print_json(
                {
                    "recipe": model.recipe_.to_dict(),
                    "schema": model.schema_.to_dict(),
                    "metrics": model.metrics_,
                    "advice": advice_of(model),
                    "parameters": sum(p.numel() for p in model.composition_.parameters()),
                }
            )
        else:
            _print_model(model)
            for line in health_lines(model):
                typer.echo(line)
        return
    from isthmus.schema import Schema

    rows = _read(path)
    schema = Schema.of(rows.values, rows.names)
    if as_json:
        _print_json({"rows": len(rows.values), **schema.to_dict()})
    else:
        typer.echo(f"{len(rows.values)} {schema.describe()}")
        if schema.names:
            typer.echo("columns: " + ", ".join(name if name.isprintable() else repr(name) for name in schema.names))


@app.command()
def report(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    labels: Annotated[
        str | None, typer.Option("--labels", help="A file of one label for each row, or a column of DATA.")
    ] = None,
    drop: Drop = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one page of pictures: reconstructions, the latent map, losses term by term, the worst rows."""
    from isthmus.interface.output import check_free
    from isthmus.interface.report import write_report

    check_free(out, overwrite=overwrite)
    fitted = _load(model)
    rows, classes = _read_labelled(data, drop, labels)
    fitted.schema_.check(rows.values, rows.names)
    write_report({model.name: fitted}, rows, out, labels=classes, command=shlex.join(["isthmus", *sys.argv[1:]]))
    _say(f"report written to {out}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one as JSON, to edit and pass to --recipe.")] = None,
    as_json: Json = False,
) -> None:
    """List the named recipes and what they are for, or print one as JSON."""
    from isthmus import presets

    if name is not None:
        _print_json(presets.get(name).to_dict())
        return
    purposes = {
        key: (preset.__doc__ or "").splitlines()[0].removeprefix("Return ") for key, preset in presets.PRESETS.items()
    }
    if as_json:
        _print_json(purposes)
        return
    for key, purpose in purposes.items():
        typer.echo(f"{key:12} {purpose[0].upper()}{purpose[1:]}")


def _settings(pairs: list[str] | None, seed: int | None) -> dict[str, Any]:
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


def _read(data: str, drop: list[str] | None = None) -> Any:
    from isthmus.data.sources import as_rows, read

    return as_rows(read(data, drop=tuple(drop or ())))


def _read_labelled(data: str, drop: list[str] | None, labels: str | None) -> tuple[Any, Any]:
    """Return rows, and labels from a file of their own or from a column of the same file (which is then dropped)."""
    from isthmus.data.sources import read_labels

    if labels is None:
        return _read(data, drop), None
    if Path(labels.partition("#")[0]).exists():
        rows, classes = _read(data, drop), read_labels(labels)
    else:
        rows, classes = _read(data, [*(drop or []), labels]), read_labels(data, column=labels)
    if len(classes) != len(rows.values):
        raise DataError(explain(f"{len(rows.values)} labels, one for each row", str(len(classes)), "another file"))
    return rows, classes


def _row_pair(text: str, rows: int) -> tuple[int, int]:
    try:
        first, last = (int(part) for part in text.split(","))
    except ValueError:
        raise DataError("--rows: " + explain("two row numbers", repr(text), "--rows 0,1")) from None
    for row in (first, last):
        if not 0 <= row < rows:
            raise DataError("--rows: " + explain(f"rows from 0 to {rows - 1}", str(row), "--rows 0,1"))
    return first, last


def _load(path: Path) -> Autoencoder:
    from isthmus.estimator import load

    return load(path)


def _prepare(model: Path, out: Path, overwrite: bool) -> Autoencoder:
    """Refuse an output that cannot be written before any work is done, then load the model."""
    from isthmus.interface.output import check_output

    check_output(out, overwrite=overwrite)
    return _load(model)


def _has_checkpoint(folder: Path) -> bool:
    from isthmus.training.checkpoint import FILE

    if folder.exists() and not folder.is_dir():
        raise DataError(f"checkpoints would go to the folder {str(folder)!r}, which is a file; try another --out")
    return (folder / FILE).exists()


def _remove_checkpoint(folder: Path) -> None:
    from isthmus.training import CheckpointStore

    CheckpointStore(folder, "").remove()


def _finish(out: Path, values: Any, as_json: bool, names: Any = None) -> None:
    from isthmus.interface.output import write

    write(out, values, names)
    if as_json:
        _print_json({"out": str(out), "shape": list(values.shape), "dtype": str(values.dtype)})
    else:
        _say(f"{len(values)} rows written to {out}")


def _print_metrics(model: Autoencoder, title: str) -> None:
    metrics = model.metrics_
    typer.echo(title)
    typer.echo(
        f"  {model.schema_.describe()}: {metrics['training_rows']} to train, {metrics['validation_rows']} held out"
    )
    typer.echo(f"  {metrics['stop_reason']}, {metrics['seconds']:.1f} s")
    for name, value in metrics.items():
        if name.startswith(("train/", "validation/")) and not name.endswith("/weighted"):
            typer.echo(f"  {name:28} {value:.5g} nats per row")
    typer.echo(f"  {'active units':28} {metrics['active_units']} of {model.recipe_.code.latent_dim}")


def _print_model(model: Autoencoder) -> None:
    recipe = model.recipe_
    parameters = sum(p.numel() for p in model.composition_.parameters())
    terms = ", ".join(f"{w.weight} x {w.term.kind}" for w in recipe.objective.terms) or "no terms"
    typer.echo(f"network    {recipe.network} ({parameters:,} parameters)")
    typer.echo(f"code       {recipe.code}")
    typer.echo(f"corruption {recipe.corruption}")
    typer.echo(f"objective  {recipe.likelihood} + {terms}")
    typer.echo(f"scaling    {recipe.preprocessing}")
    _print_metrics(model, "training")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, without the place in the source."""

    def show(message: Warning | str, category: type[Warning], *_: Any) -> None:
        _say(f"{'warning' if issubclass(category, RuntimeWarning | UserWarning) else category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 for a failed job, or 2 for bad usage or bad data."""
    try:
        with _plain_warnings():
            app()
    except IsthmusError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(1)
    except MemoryError:
        _say("error: the machine's memory does not hold this; try fewer rows or a smaller network")
        sys.exit(1)
    except OSError as error:
        _say(f"error: {error.strerror or error}{f': {error.filename!r}' if error.filename else ''}")
        sys.exit(1)
    sys.exit(0)
