"""`isthmus detect` and `isthmus explain`: fit a detector, write alarms and their reasons, explain one row."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from isthmus.console.options import Asked, Column, Condition, Data, Drop, Json, Overwrite, Rows
from isthmus.console.printing import print_json, say
from isthmus.errors import ArtifactError, DataError, unknown_name
from isthmus.errors import explain as expected_got

if TYPE_CHECKING:
    from isthmus.applications.anomaly.detector import AnomalyDetector
    from isthmus.applications.anomaly.results import DetectionResult
    from isthmus.data.source import Source

# What stands for no command's name: `isthmus detect MODEL DATA`.
DEFAULT = "MODEL"
_TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".jsonl")
# Alarms whose sentences are printed, and parts of a row that `explain` prints.
_PRINTED, _PARTS = 10, 12

Detector = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `isthmus detect fit` wrote.")]
Fdr = Annotated[
    float | None,
    typer.Option("--fdr", help="In place of the threshold: the share of these alarms that may be false, on average."),
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
        int, typer.Option("--most", min=0, help="Alarms that get reasons, the most anomalous first.")
    ] = 10_000,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the page that `isthmus detect report` writes.")
    ] = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the anomalies among the rows of DATA, and say what is strange about each.

    Written are each row's number (from 0), anomaly score, p-value, whether it is an alarm, and for an alarm the three
    columns with the largest shares in its anomaly score, and a sentence.
    """
    from isthmus.console.outputs import check_free

    if not model.exists():
        advice = "isthmus detect fit NORMAL --out MODEL, which makes one"
        raise DataError(expected_got("a detector's folder, or `fit` or `report`", f"{str(model)!r}", advice))
    if out is not None:
        _check_table(out, overwrite=overwrite)
    if report is not None:
        check_free(report, overwrite=overwrite)
    found = _found(model, data, drop, condition, fdr, most)
    lines = 0 if out is None else found.write(out, only_alarms=only_alarms)
    if report is not None:
        _write_page(found, model, report)
    if as_json:
        print_json({**found.to_json(), "out": None if out is None else str(out)})
        return
    typer.echo(found.summary())
    for reason in found.reasons(_PRINTED):
        typer.echo(f"  {reason.sentence}")
    if found.count > _PRINTED:
        typer.echo(f"  ... and {found.count - _PRINTED:,} more")
    if out is not None and found.count > most:
        say(f"note: the {most:,} most anomalous of {found.count:,} alarms have reasons; --most asks for more")
    if out is not None:
        say(f"{lines:,} rows written to {out}")


@detect.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    alpha: Annotated[float, typer.Option("--alpha", help="The rate of false alarms among normal rows.")] = 0.01,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", "-r", help="A name, a JSON file, or auto, the default; repeatable, for an ensemble."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="PATH=VALUE", help="A setting, such as training.epochs=50; repeatable."),
    ] = None,
    scores: Annotated[str, typer.Option("--scores", help="Kinds of score that are averaged, parted by commas.")] = "",
    n_estimators: Annotated[int, typer.Option("--n-estimators", min=1, help="Autoencoders for each recipe.")] = 1,
    threshold: Annotated[
        str, typer.Option("--threshold", help="conformal, pot, quantile, or contamination.")
    ] = "conformal",
    training_contamination: Annotated[
        float,
        typer.Option(
            "--training-contamination", help="Share of DATA that may be anomalies themselves and is left out."
        ),
    ] = 0.0,
    rows: Rows = None,
    column: Column = None,
    drop: Drop = None,
    condition: Annotated[
        str | None,
        typer.Option("--condition", "-c", help="What is told beside the row: a file, or a column of DATA."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    overwrite: Overwrite = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Json = False,
) -> None:
    """Learn the rows of DATA, which should be normal ones, and write a detector's folder.

    A part of them is set aside and decides above which anomaly score a row is an alarm: of new normal rows at most
    --alpha become alarms, as long as they are drawn like those of DATA.
    """
    from isthmus.applications.anomaly.detector import AnomalyDetector
    from isthmus.applications.folder import refuse_existing
    from isthmus.console.inputs import read_training
    from isthmus.console.outputs import check_parent

    if not out.name:
        raise DataError(f"--out {out}: " + expected_got("the name of a folder to make", repr(str(out)), "--out model"))
    refuse_existing(out, overwrite=overwrite)
    check_parent(out)
    options: dict[str, Any] = {} if not scores else {"scores": [name.strip() for name in scores.split(",")]}
    detector = AnomalyDetector(
        n_estimators=n_estimators,
        threshold=threshold,
        alpha=alpha,
        training_contamination=training_contamination,
        random_state=seed,
        verbose=not quiet,
        **options,
    )
    recipes = _recipes(recipe or ["auto"], settings)
    source, told = read_training(data, Asked.of(rows, column, drop), condition, missing=True)
    with warnings.catch_warnings():
        # A part that stopped half-way says so by a warning; what follows would go on with it.
        warnings.filterwarnings("error", message="interrupted", category=RuntimeWarning)
        try:
            detector.set_params(recipe=recipes(source, detector)).fit(source, condition=told)
        except RuntimeWarning:
            say("interrupted: nothing is written")
            raise typer.Exit(1) from None
    detector.save(out, overwrite=overwrite)
    if as_json:
        from isthmus.applications.anomaly.results import facts

        print_json({"out": str(out), **facts(detector)})
    else:
        _print_detector(detector, f"detector written to {out}")


@detect.command("report")
def write_report(
    model: Detector,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("alarms.html"),
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="What is known: a file of a label for each row, or a column of DATA."),
    ] = None,
    normal: Annotated[
        str | None, typer.Option("--normal", help="The label of normal rows; 0, normal, false or no if left out.")
    ] = None,
    fdr: Fdr = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one page of the alarms among the rows of DATA: their reasons, the anomaly score of all rows, the threshold.

    With labels also how good the alarms are: ROC and precision-recall curves, and the rate of false alarms.
    """
    from isthmus.console.outputs import check_free

    check_free(out, overwrite=overwrite)
    found = _found(model, data, drop, condition, fdr, _PRINTED * 100, labels)
    _write_page(found, model, out, normal)
    say(f"report written to {out}")


def explain(
    model: Detector,
    data: Data,
    row: Annotated[int, typer.Option("--row", min=0, help="The row's number, from 0.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"Where to write all of it: {', '.join(_TABLES)}; a picture .png or .svg."),
    ] = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say why a row of DATA is strange to a detector: what was seen, what was expected, and the share of each part."""
    from isthmus.applications.anomaly import explanation_output

    if out is not None:
        explanation_output.check_out(out, overwrite=overwrite)
    found = _found(model, data, drop, condition, None, 1)
    if row >= len(found.source):
        raise DataError(
            f"--row {row}: " + expected_got(f"a row from 0 to {len(found.source) - 1}", str(row), "--row 0")
        )
    explanation = found.detector.explain(found.source, rows=[row], condition=found.condition)
    if out is not None:
        explanation_output.write(explanation, out)
    if as_json:
        from isthmus.applications.anomaly.results import plain

        print_json(plain(explanation[0], _PARTS))
    else:
        explanation_output.show(explanation, _PARTS)
    if out is not None:
        say(f"row {row} written to {out}")


# ---- shared --------------------------------------------------------------------------------------------------------


def _recipes(names: list[str], settings: list[str] | None) -> Callable[[Source, AnomalyDetector], Any]:
    """Return what gives the recipes for a source; misspelt names and settings are refused at once."""
    from isthmus.applications.anomaly.calibration import calibration_rows
    from isthmus.applications.anomaly.defaults import default_recipe
    from isthmus.console.options import AUTO, changes_of
    from isthmus.estimator.autoencoder import as_recipe
    from isthmus.estimator.methods import seed_of

    changes = changes_of(settings)
    known = {name: as_recipe(name).replace(changes) for name in names if name != AUTO}

    def of(source: Source, detector: AnomalyDetector) -> Any:
        if changes and AUTO in names:
            # What is advised must not depend on the rows that the detector will set aside.
            seed = seed_of(detector.random_state)
            level = detector.alpha if detector.threshold == "conformal" else None
            calibration = calibration_rows(
                source, detector.calibration_fraction, level, seed, detector.training_contamination
            )
            known[AUTO] = default_recipe(source, calibration).replace(changes)
        return [known.get(name, name) for name in names]

    return of


def load_detector(path: Path) -> AnomalyDetector:
    """Return the detector of a folder; raise `ArtifactError` for a folder of anything else."""
    from isthmus.applications import load
    from isthmus.applications.anomaly.detector import AnomalyDetector
    from isthmus.estimator.autoencoder import Autoencoder

    detector = load(path)
    if not isinstance(detector, AnomalyDetector):
        got = f"one of a model of the kind {type(detector).__name__}"
        advice = "isthmus detect fit" if isinstance(detector, Autoencoder) else "isthmus.load, which knows it"
        raise ArtifactError(f"{str(path)!r}: " + expected_got("the folder of an AnomalyDetector", got, advice))
    return detector


def _found(
    model: Path,
    data: str,
    drop: list[str] | None,
    condition: str | None,
    fdr: float | None,
    most: int,
    labels: str | None = None,
) -> DetectionResult:
    from isthmus.applications.anomaly.results import DetectionResult
    from isthmus.applications.anomaly.thresholds import check_level
    from isthmus.console.inputs import read_labelled, read_with_condition

    if fdr is not None:
        check_level("--fdr", fdr)
    detector = load_detector(model)
    first = detector.estimators_[0]
    if labels is not None:
        source, classes = read_labelled(first, data, drop, labels)
        return DetectionResult(detector, source, None, fdr, most, classes)
    source, told = read_with_condition(first, data, drop, condition)
    return DetectionResult(detector, source, told, fdr, most, getattr(source, "labels", None))


def _check_table(path: Path, *, overwrite: bool) -> None:
    from isthmus.console.outputs import check_free

    if path.suffix.lower() not in _TABLES:
        raise DataError(f"--out {path}: " + unknown_name("kind of table", path.suffix or "(no suffix)", _TABLES))
    check_free(path, overwrite=overwrite)


def _write_page(found: DetectionResult, model: Path, page: Path, normal: str | None = None) -> None:
    from isthmus.applications.anomaly.page import write_detection_page

    command = shlex.join(["isthmus", *sys.argv[1:]])
    write_detection_page(found, page, name=model.name, normal=normal, command=command)


def _print_detector(detector: AnomalyDetector, title: str) -> None:
    from isthmus.applications.anomaly.results import lines

    typer.echo(title)
    for line in lines(detector):
        typer.echo(f"  {line}")
