"""What `isthmus fit` does: train a recipe, keep a checkpoint beside the folder, and write the folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from isthmus.cli.advise import check_auto, choose_recipe
from isthmus.console.inputs import read_training
from isthmus.console.options import AUTO, Asked
from isthmus.console.outputs import check_parent
from isthmus.console.printing import print_json, print_metrics, say, say_condition
from isthmus.errors import DataError, explain
from isthmus.estimator.autoencoder import Autoencoder, as_recipe
from isthmus.estimator.model_folder import refuse_existing
from isthmus.recipe import Recipe
from isthmus.training import CheckpointStore
from isthmus.training.checkpoint import FILE


@dataclass(frozen=True)
class TrainingRequest:
    """The arguments of `isthmus fit`; `changes` are those of --set and --seed."""

    data: str
    out: Path
    recipe: str
    goal: str | None
    changes: dict[str, Any]
    asked: Asked
    condition: str | None
    resume: bool
    overwrite: bool
    quiet: bool
    as_json: bool


def train(request: TrainingRequest) -> None:
    """Train, print what was measured, and write the folder; exit with 1 if training was stopped."""
    out, resume = request.out, request.resume
    check_auto(request.recipe, request.goal, request.changes)
    recipe = None if request.recipe == AUTO else as_recipe(request.recipe).replace(request.changes)
    if not out.name:
        raise DataError(f"--out {out}: " + explain("the name of a folder to make", f"{str(out)!r}", "--out model"))
    checkpoint = out.with_name(out.name + ".checkpoint")
    unfinished = _has_checkpoint(checkpoint)
    if resume and not unfinished and (out / "manifest.json").exists():
        say(f"{str(out)!r} is complete and there is no checkpoint beside it: nothing to resume")
        return
    if unfinished and not resume and not request.overwrite:
        raise DataError(
            f"a run to {str(out)!r} was stopped: try --resume to continue it, or --overwrite to start again"
        )
    refuse_existing(out, overwrite=request.overwrite or (resume and unfinished))
    check_parent(out)
    recipe, source, condition = _read(request, recipe)
    if unfinished and not resume:
        _remove_checkpoint(checkpoint)
    model = Autoencoder(recipe, verbose=not request.quiet)
    model.fit(
        source,
        condition=condition,
        checkpoint=None if resume else checkpoint,
        resume_from=checkpoint if resume else None,
    )
    _finish(model, request, checkpoint)


def _read(request: TrainingRequest, recipe: Recipe | None) -> tuple[Recipe, Any, Any]:
    """Return the recipe, which the rows choose if there is none yet, the rows, and their condition."""
    missing = recipe is not None and recipe.missing == "mask"
    source, condition = read_training(request.data, request.asked, request.condition, missing=missing)
    if condition is not None and not request.quiet:
        say_condition(condition)
    if recipe is None:
        advised, line = choose_recipe(source, str(request.goal))
        recipe = advised.replace(request.changes)
        say(line)
    return recipe, source, condition


def _finish(model: Autoencoder, request: TrainingRequest, checkpoint: Path) -> None:
    """Write the folder, and print what was measured."""
    out = request.out
    interrupted = model.history_.stop_reason == "interrupted"
    if interrupted and not model.history_.best_epoch:
        say("interrupted before the first epoch was over: nothing is written")
        raise typer.Exit(1)
    model.save(out, overwrite=request.overwrite or request.resume)
    if not interrupted:
        _remove_checkpoint(checkpoint)
    if request.as_json:
        print_json({"out": str(out), **model.metrics_})
    else:
        print_metrics(model, f"model written to {out}")
    if interrupted:
        again = "--resume goes on" if _has_checkpoint(checkpoint) else "--overwrite starts again"
        say(f"interrupted: {out} holds the best weights so far; the same command with {again}")
    if interrupted or model.history_.stop_reason.startswith("stopped"):
        raise typer.Exit(1)


def _has_checkpoint(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"checkpoints would go to the folder {str(folder)!r}, which is a file; try another --out")
    return (folder / FILE).exists()


def _remove_checkpoint(folder: Path) -> None:
    CheckpointStore(folder, "").remove()
