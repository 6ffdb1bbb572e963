"""The commands that use a fitted model: encode, decode, clean, fill in, score, sample, interpolate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import DataError, RecipeError, explain
from isthmus.interface.console import print_json, say
from isthmus.interface.options import Condition, Data, Drop, Json, Model, OneCondition, Out, Overwrite, Seed

if TYPE_CHECKING:
    from isthmus.estimator import Autoencoder


def encode(
    model: Model,
    data: Data,
    out: Out,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the codes of DATA: one row of latents for each row (the posterior mean of a variational model)."""
    fitted, rows, told = _prepare_rows(model, out, overwrite, data, drop, condition)
    codes = fitted.transform(rows, condition=told)
    _finish(out, codes, as_json, [f"latent{index}" for index in range(codes.shape[1])])


def decode(
    model: Model,
    codes: Data,
    out: Out,
    condition: Annotated[
        str | None,
        typer.Option("--condition", "-c", help="For a conditional model: a file, or one label for all rows."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the rows that codes stand for, in the units of the training data."""
    from isthmus.interface.reading import read_condition_of, read_rows

    fitted = _prepare(model, out, overwrite)
    values = read_rows(codes).values
    _, told = read_condition_of(fitted, condition, len(values))
    _finish(out, fitted.inverse_transform(values, condition=told), as_json, fitted.schema_.names)


def reconstruct(
    model: Model,
    data: Data,
    out: Out,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write DATA as the model rebuilds it from its codes."""
    fitted, rows, told = _prepare_rows(model, out, overwrite, data, drop, condition)
    _finish(out, fitted.reconstruct(rows, condition=told), as_json, fitted.schema_.names)


def denoise(
    model: Model,
    data: Data,
    out: Out,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write DATA cleaned: rebuilt by a model that was trained to undo noise (recipe `denoising`)."""
    fitted, rows, told = _prepare_rows(model, out, overwrite, data, drop, condition)
    if fitted.recipe_.corruption is None:
        say("note: this model was trained without corruption; a model of the recipe `denoising` cleans better")
    _finish(out, fitted.reconstruct(rows, condition=told), as_json, fitted.schema_.names)


def impute(
    model: Model,
    data: Data,
    out: Out,
    drop: Drop = None,
    condition: Condition = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Draws for each row, of a variational model; more are steadier.")
    ] = 64,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write DATA with its missing values filled in, by a model that was fitted with missing=mask (recipe `imputer`)."""
    fitted = _prepare(model, out, overwrite)
    if fitted.recipe_.missing != "mask":
        expected, got = "a model that takes missing values", f"one of missing={fitted.recipe_.missing}"
        raise RecipeError(explain(expected, got, "isthmus fit --recipe miwae, or fit --set missing=mask"))
    fitted, rows, told = _prepare_rows(model, out, overwrite, data, drop, condition)
    _finish(out, fitted.impute(rows, condition=told, samples=samples), as_json, fitted.schema_.names)


def score(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; standard output if left out.")
    ] = None,
    drop: Drop = None,
    condition: Condition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the log-likelihood of each row (for a variational model its bound), in nats; higher is more typical."""
    fitted, rows, told = _prepare_rows(model, out, overwrite, data, drop, condition)
    scores = fitted.score_samples(rows, condition=told)
    if out is not None:
        _finish(out, scores[:, None], as_json, ["score"])
    elif as_json:
        print_json({"rows": len(scores), "mean": float(scores.mean()), "scores": scores.tolist()})
    else:
        sys.stdout.write("score\n" + "".join(f"{value!r}\n" for value in scores.tolist()))


def sample(
    model: Model,
    out: Out,
    number: Annotated[
        int | None,
        typer.Option("--number", "-n", min=1, help="How many; 64, or as many as a file of conditions has."),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option("--condition", "-c", help="For a conditional model: one label for all rows, or a file."),
    ] = None,
    seed: Seed = 0,
    noise: Annotated[bool, typer.Option("--noise", help="Draw from p(x|z) instead of taking its mean.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write new rows, decoded from codes drawn from the prior (variational models)."""
    from isthmus.interface.reading import read_condition_of

    fitted = _prepare(model, out, overwrite)
    count, told = read_condition_of(fitted, condition, number)
    rows = fitted.sample(count, random_state=seed, noise=noise, condition=told)
    _finish(out, rows, as_json, fitted.schema_.names)


def interpolate(
    model: Model,
    data: Data,
    out: Out,
    rows: Annotated[str, typer.Option("--rows", help="The two rows to go between, counted from 0.")] = "0,1",
    steps: Annotated[int, typer.Option("--steps", min=2, help="Rows on the way, both ends included.")] = 8,
    drop: Drop = None,
    condition: OneCondition = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the rows on the straight line between the codes of two rows of DATA."""
    from isthmus.interface.reading import one_condition, read_rows

    fitted = _prepare(model, out, overwrite)
    told = one_condition(fitted, condition)
    values = read_rows(data, drop, missing=fitted.recipe_.missing == "mask")
    first, last = _row_pair(rows, len(values.values))
    start, end = (type(values)(values.values[[index]], values.names) for index in (first, last))
    _finish(out, fitted.interpolate(start, end, steps, condition=told)[0], as_json, fitted.schema_.names)


# In the order of the help.
USES = (encode, decode, reconstruct, denoise, impute, score, sample, interpolate)


def _row_pair(text: str, rows: int) -> tuple[int, int]:
    try:
        first, last = (int(part) for part in text.split(","))
    except ValueError:
        raise DataError("--rows: " + explain("two row numbers", repr(text), "--rows 0,1")) from None
    for row in (first, last):
        if not 0 <= row < rows:
            raise DataError("--rows: " + explain(f"rows from 0 to {rows - 1}", str(row), "--rows 0,1"))
    return first, last


def _prepare(model: Path, out: Path, overwrite: bool) -> Autoencoder:
    """Refuse an output that cannot be written before any work is done, then load the model."""
    from isthmus.estimator import load
    from isthmus.interface.output import check_output

    check_output(out, overwrite=overwrite)
    return load(model)


def _prepare_rows(
    model: Path, out: Path | None, overwrite: bool, data: str, drop: list[str] | None, condition: str | None
) -> tuple[Autoencoder, Any, Any]:
    """Load the model, and read the rows and what it is told beside them."""
    from isthmus.estimator import load
    from isthmus.interface.reading import read_told

    fitted = load(model) if out is None else _prepare(model, out, overwrite)
    return fitted, *read_told(fitted, data, drop, condition)


def _finish(out: Path, values: Any, as_json: bool, names: Any = None) -> None:
    from isthmus.interface.output import write

    write(out, values, names)
    if as_json:
        print_json({"out": str(out), "shape": list(values.shape), "dtype": str(values.dtype)})
    else:
        say(f"{len(values)} rows written to {out}")
