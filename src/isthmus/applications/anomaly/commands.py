"""`isthmus detect` and `isthmus explain`: fit a detector, write alarms, explain one row or interval."""

from __future__ import annotations

import importlib
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from isthmus.applications.anomaly.requests import FindRequest, FitRequest
from isthmus.console.options import Asked, Column, Condition, Data, Drop, Json, Overwrite, Rows
from isthmus.console.printing import print_json, print_lines, say
from isthmus.errors import ArtifactError, DataError, unknown_name
from isthmus.errors import explain as expected_got

# What stands for no command's name: `isthmus detect MODEL DATA`.
DEFAULT = "MODEL"
_TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".jsonl")
# Alarms whose sentences are printed, and alarms of a page that are explained.
_PRINTED, _ON_PAGE = 10, 1000
# The modules that do what the commands say, by the application that a folder holds. Each has `fit`, `find` and
# `explain`.
ACTIONS = {
    "anomaly_detector": "isthmus.applications.anomaly.row_actions",
    "series_detector": "isthmus.applications.anomaly.series.actions",
}

Detector = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `isthmus detect fit` wrote.")]
Fdr = Annotated[
    float | None,
    typer.Option(
        "--fdr",
        help="In place of the threshold: the false-discovery rate, the share of these alarms that may be false.",
    ),
]


Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", "-r", help="A name, a JSON file, or auto, the default; repeatable, for an ensemble."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="A setting, such as training.epochs=50; repeatable."),
]
Contamination = Annotated[
    float,
    typer.Option("--training-contamination", help="Share of DATA that may be anomalies themselves and is left out."),
]
TrainingCondition = Annotated[
    str | None, typer.Option("--condition", "-c", help="The condition of each row: a file, or a column of DATA.")
]


class _Detect(TyperGroup):
    """Commands, and for anything but the name of one the default command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args or args[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().resolve_command(ctx, args)


class _Find(TyperCommand):
    """The default command, whose name is not typed."""

    def get_usage(self, ctx: Any) -> str:
        return super().get_usage(ctx).replace(f"detect {DEFAULT} [", "detect [")


detect = typer.Typer(
    name="detect",
    cls=_Detect,
    help="Find anomalies: `detect fit NORMAL --out MODEL`, then `detect MODEL NEW --out alarms.csv`.",
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)


@detect.command(DEFAULT, cls=_Find)
def find(
    model: Detector,
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=f"Where to write a line for each row: {', '.join(_TABLES)}.")
    ] = None,
    only_alarms: Annotated[bool, typer.Option("--only-alarms", help="Write a line for each alarm only.")] = False,
    fdr: Fdr = None,
    most: Annotated[
        int, typer.Option("--most", min=0, help="Alarms that are explained, the most anomalous first.")
    ] = 10_000,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the page that `isthmus detect report` writes.")
    ] = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the anomalies among the rows of DATA, and explain each.

    Written are each row's number (from 0), anomaly score, p-value, whether it is an alarm, and for an alarm the three
    columns with the largest shares in its anomaly score, and a sentence. Of series: the series, the time, the step, its
    anomaly score and p-value, whether it is an alarm, and the number of the interval of alarms that it lies in.
    """
    from isthmus.console.outputs import check_free

    if not model.exists():
        advice = "isthmus detect fit NORMAL --out MODEL, which makes one"
        raise DataError(expected_got("a detector's folder, or `fit` or `report`", f"{str(model)!r}", advice))
    if out is not None:
        _check_table(out, overwrite=overwrite)
    if report is not None:
        check_free(report, overwrite=overwrite)
    found = _found(model, FindRequest(data, drop, condition, fdr, most))
    lines = 0 if out is None else found.write(out, only_alarms=only_alarms)
    if report is not None:
        _write_page(found, model, report)
    if as_json:
        print_json({**found.to_json(), "out": None if out is None else str(out)})
        return
    typer.echo(found.summary())
    for sentence in found.sentences(_PRINTED):
        typer.echo(f"  {sentence}")
    if found.count > _PRINTED:
        typer.echo(f"  ... and {found.count - _PRINTED:,} more")
    if out is not None and found.count > most:
        say(f"note: the {most:,} most anomalous of {found.count:,} alarms are explained; --most asks for more")
    if out is not None:
        say(f"{lines:,} rows written to {out}")


@detect.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    alpha: Annotated[float, typer.Option("--alpha", help="The rate of false alarms among normal rows.")] = 0.01,
    recipe: Recipes = None,
    settings: Settings = None,
    scores: Annotated[str, typer.Option("--scores", help="Score types to average, separated by commas.")] = "",
    n_estimators: Annotated[int, typer.Option("--n-estimators", min=1, help="Autoencoders for each recipe.")] = 1,
    threshold: Annotated[
        str, typer.Option("--threshold", help="conformal, pot, quantile, or contamination.")
    ] = "conformal",
    training_contamination: Contamination = 0.0,
    rows: Rows = None,
    column: Column = None,
    drop: Drop = None,
    condition: TrainingCondition = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Learn the rows of DATA, which should be normal ones, and write a detector's folder.

    A part of them are calibration rows, which decide above which anomaly score a row is an alarm: of new normal rows at
    most --alpha become alarms, as long as they are drawn like those of DATA. With `--rows series:64` and the like DATA
    holds series, and each step gets an anomaly score.
    """
    from isthmus.applications.folder import refuse_existing
    from isthmus.console.outputs import check_parent

    if not out.name:
        raise DataError(f"--out {out}: " + expected_got("the name of a folder to make", repr(str(out)), "--out model"))
    refuse_existing(out, overwrite=overwrite)
    check_parent(out)
    request = FitRequest(
        data=data,
        asked=Asked.of(rows, column, drop),
        recipes=tuple(recipe or ["auto"]),
        settings=tuple(settings or ()),
        scores=tuple(name.strip() for name in scores.split(",")) if scores else (),
        n_estimators=n_estimators,
        threshold=threshold,
        alpha=alpha,
        training_contamination=training_contamination,
        condition=condition,
        seed=seed,
        verbose=not quiet,
    )
    detector = _fitted(request)
    detector.save(out, overwrite=overwrite)
    described = detector.describe()
    if as_json:
        print_json({"out": str(out), **described.facts})
    else:
        print_lines(f"{described.title} written to {out}", described.sentences)


@detect.command("report")
def write_report(
    model: Detector,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("alarms.html"),
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Known labels: a file of a label for each row, or a column of DATA."),
    ] = None,
    normal: Annotated[
        str | None, typer.Option("--normal", help="The label of normal rows; 0, normal, false or no if left out.")
    ] = None,
    fdr: Fdr = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one page of the alarms among the rows of DATA: explanations, the anomaly score of all rows, the threshold.

    Of series the page shows each one over time, with the intervals of alarms marked. With labels it also shows how good
    the alarms are: of rows ROC and precision-recall curves, and the rate of false alarms.
    """
    from isthmus.console.outputs import check_free

    check_free(out, overwrite=overwrite)
    found = _found(model, FindRequest(data, drop, condition, fdr, _ON_PAGE, labels))
    _write_page(found, model, out, normal)
    say(f"report written to {out}")


def explain(
    model: Detector,
    data: Data,
    row: Annotated[int | None, typer.Option("--row", min=0, help="The row's number, from 0; of series a step.")] = None,
    interval: Annotated[
        int | None,
        typer.Option("--interval", min=0, help="Of series, in place of --row: the interval's number, from 0."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"Where to write all of it: {', '.join(_TABLES)}; a picture .png or .svg."),
    ] = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Explain the anomaly score of a row of DATA: what was seen, what was expected, and the share of each part.

    Of series a step is explained, or an interval of alarms, by its channels.
    """
    from isthmus.applications.anomaly import explanation_output

    if (row is None) == (interval is None):
        got = "neither" if row is None else "both"
        raise DataError(expected_got("either --row or --interval", got, "--row 0"))
    if out is not None:
        explanation_output.check_out(out, overwrite=overwrite)
    detector, actions = _loaded(model)
    answer = actions.explain(detector, FindRequest(data, drop, condition), row, interval)
    if out is not None:
        answer.write(out)
    if as_json:
        print_json(answer.to_json())
    else:
        answer.show()
    if out is not None:
        say(f"row {row} written to {out}" if interval is None else f"interval {interval} written to {out}")


# What the command line mounts, by the word that is typed.
COMMANDS = {"detect": detect, "explain": explain}


# ---- shared --------------------------------------------------------------------------------------------------------


def _fitted(request: FitRequest) -> Any:
    """Return a fitted detector: of steps for series of any length, of rows for all else."""
    from isthmus.data.spec import RowsSpec

    spec = None if request.asked.rows is None else RowsSpec.parse(request.asked.rows)
    series = spec is not None and spec.kind == "series" and len(spec.sizes) == 1
    actions = importlib.import_module(ACTIONS["series_detector" if series else "anomaly_detector"])
    with warnings.catch_warnings():
        # A part that stopped half-way says so by a warning; what follows would go on with it.
        warnings.filterwarnings("error", message="interrupted", category=RuntimeWarning)
        try:
            return actions.fit(request)
        except RuntimeWarning:
            say("interrupted: nothing is written")
            raise typer.Exit(1) from None


def _loaded(path: Path) -> tuple[Any, Any]:
    """Return the detector of a folder, and what the commands do with it.

    Raises:
        ArtifactError: for a folder of anything else.
    """
    from isthmus.applications import load
    from isthmus.applications.folder import application_of
    from isthmus.estimator.model_folder import read_manifest

    read_manifest(path)
    application = application_of(path)
    if application not in ACTIONS:
        got = "an autoencoder's" if application is None else f"one of the application {application!r}"
        raise ArtifactError(f"{str(path)!r}: " + expected_got("a detector's folder", got, "isthmus detect fit"))
    return load(path), importlib.import_module(ACTIONS[application])


def _found(model: Path, request: FindRequest) -> Any:
    """Return what a detector finds: a `DetectionResult`, or one of series."""
    from isthmus.applications.anomaly.thresholds import check_level

    if request.fdr is not None:
        check_level("--fdr", request.fdr)
    detector, actions = _loaded(model)
    return actions.find(detector, request)


def _check_table(path: Path, *, overwrite: bool) -> None:
    from isthmus.console.outputs import check_free

    if path.suffix.lower() not in _TABLES:
        raise DataError(f"--out {path}: " + unknown_name("kind of table", path.suffix or "(no suffix)", _TABLES))
    check_free(path, overwrite=overwrite)


def _write_page(found: Any, model: Path, page: Path, normal: str | None = None) -> None:
    from isthmus.applications import entry_of
    from isthmus.applications.contract import resolve

    entry = entry_of(model)
    command = shlex.join(["isthmus", *sys.argv[1:]])
    if entry is not None:
        resolve(entry.page)(found, page, name=model.name, normal=normal, command=command)
