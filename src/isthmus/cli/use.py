"""The commands that use a fitted model: encode, decode, clean, fill in, score, sample, interpolate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.console.options import Condition, Data, Drop, Json, Model, OneCondition, Out, Overwrite, Seed
from isthmus.console.printing import print_json, say
from isthmus.errors import DataError, RecipeError, explain

if TYPE_CHECKING:
    from isthmus.data.source import Source
    from isthmus.estimator.autoencoder import Autoencoder


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
    from isthmus.console.outputs import check_numbers

    check_numbers(out)
    fitted, rows, conditions = _prepare_rows(model, out, overwrite, data, drop, condition)
    names = [f"latent{index}" for index in range(len(fitted.get_feature_names_out()))]
    _stream(out, fitted.transform, rows, as_json, (len(names),), "float32", names, condition=conditions)


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
    from isthmus.console.inputs import read_codes, read_condition_of

    fitted = _prepare(model, out, overwrite, rows=True)
    values = read_codes(codes)
    _, conditions = read_condition_of(fitted, condition, len(values))
    _finish(out, fitted, fitted.inverse_transform(values, condition=conditions), as_json)


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
    fitted, rows, conditions = _prepare_rows(model, out, overwrite, data, drop, condition, rows=True)
    _rebuild(out, fitted, fitted.reconstruct, rows, as_json, condition=conditions)


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
    fitted, rows, conditions = _prepare_rows(model, out, overwrite, data, drop, condition, rows=True)
    if fitted.recipe_.corruption is None:
        say("note: this model was trained without corruption; a model of the recipe `denoising` cleans better")
    _rebuild(out, fitted, fitted.reconstruct, rows, as_json, condition=conditions)


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
    from isthmus.console.inputs import read_with_condition

    fitted = _prepare(model, out, overwrite, rows=True)
    if fitted.recipe_.missing != "mask":
        expected, got = "a model that takes missing values", f"one of missing={fitted.recipe_.missing}"
        raise RecipeError(explain(expected, got, "isthmus fit --recipe miwae, or fit --set missing=mask"))
    rows, conditions = read_with_condition(fitted, data, drop, condition)
    _rebuild(out, fitted, fitted.impute, rows, as_json, condition=conditions, samples=samples)


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
    """Write the log-likelihood of each row (for a variational model its bound), in nats; higher is more typical.

    Of series each time step has a score, beside its series and time.
    """
    from isthmus.console.outputs import check_numbers
    from isthmus.data.series.windows import SeriesWindows

    if out is not None:
        check_numbers(out)
    fitted, rows, conditions = _prepare_rows(model, out, overwrite, data, drop, condition)
    if isinstance(rows, SeriesWindows):
        _score_steps(fitted, rows, out, as_json, conditions)
        return
    if out is not None:
        _stream(out, fitted.score_samples, rows, as_json, (), "float64", ["score"], condition=conditions)
        return
    scores = fitted.score_samples(rows, condition=conditions)
    if as_json:
        print_json({"rows": len(scores), "mean": float(scores.mean()), "scores": scores.tolist()})
    else:
        sys.stdout.write("score\n" + "".join(f"{value!r}\n" for value in scores.tolist()))


def _score_steps(fitted: Autoencoder, rows: Any, out: Path | None, as_json: bool, conditions: Any) -> None:
    """Write a score for each time step of series."""
    if out is not None:
        _stream(out, fitted.score_steps, rows, as_json, (), "float64", condition=conditions)
        return
    scores = fitted.score_steps(rows, condition=conditions)
    table = hasattr(scores, "to_pylist")
    if as_json:
        values = scores.to_pylist() if table else scores.tolist()
        print_json({"steps": len(values), "scores": values})
    else:
        lines = scores["score"].to_pylist() if table else scores.tolist()
        sys.stdout.write("score\n" + "".join(f"{value!r}\n" for value in lines))


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
    from isthmus.console.inputs import read_condition_of

    fitted = _prepare(model, out, overwrite, rows=True)
    count, conditions = read_condition_of(fitted, condition, number)
    rows = fitted.sample(count, random_state=seed, noise=noise, condition=conditions)
    _finish(out, fitted, rows, as_json)


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
    import numpy as np

    from isthmus.console.inputs import one_condition, read_alike, some_rows

    fitted = _prepare(model, out, overwrite, rows=True)
    conditions = one_condition(fitted, condition)
    source = read_alike(fitted, data, drop)
    start, end = (some_rows(source, np.array([row])) for row in _row_pair(rows, len(source)))
    found = fitted.interpolate(start, end, steps, condition=conditions)
    _finish(out, fitted, found if fitted.schema_.columns is not None else found[0], as_json)


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


def _prepare(model: Path, out: Path, overwrite: bool, *, rows: bool = False) -> Autoencoder:
    """Refuse an output that cannot be written before any work is done, then load the model.

    With `rows`, what is written is rows of the model, which not every kind of file holds.
    """
    from isthmus.console.outputs import check_output, check_rows
    from isthmus.estimator.autoencoder import load

    check_output(out, overwrite=overwrite)
    fitted = load(model)
    if rows:
        check_rows(out, fitted.schema_)
    return fitted


def _prepare_rows(
    model: Path,
    out: Path | None,
    overwrite: bool,
    data: str,
    drop: list[str] | None,
    condition: str | None,
    *,
    rows: bool = False,
) -> tuple[Autoencoder, Source, Any]:
    """Load the model, and read the rows and their condition."""
    from isthmus.console.inputs import read_with_condition
    from isthmus.estimator.autoencoder import load

    fitted = load(model) if out is None else _prepare(model, out, overwrite, rows=rows)
    return fitted, *read_with_condition(fitted, data, drop, condition)


def _rebuild(out: Path, fitted: Autoencoder, verb: Any, rows: Source, as_json: bool, **options: Any) -> None:
    """Write what a verb makes of rows that is such rows again."""
    schema = fitted.schema_
    dtype = None if schema.columns is not None else "int32" if schema.kind == "tokens" else schema.float_dtype
    _stream(out, verb, rows, as_json, schema.shape, dtype, schema.names, **options)


def _stream(
    out: Path,
    verb: Any,
    rows: Source,
    as_json: bool,
    shape: tuple[int, ...],
    dtype: str | None,
    names: Any = None,
    **options: Any,
) -> None:
    """Write what a verb makes of rows: block by block, where the kind of file allows it."""
    from isthmus.console.outputs import as_pictures, write
    from isthmus.data.files.writers import SUFFIXES

    if out.suffix.lower() in SUFFIXES:
        verb(rows, out=out, overwrite=True, **options)
    else:
        values = verb(rows, **options)
        write(out, values if out.suffix.lower() == ".npz" else as_pictures(values), names)
    from isthmus.data.series.windows import SeriesWindows

    count = int(rows.lengths.sum()) if isinstance(rows, SeriesWindows) and verb.__name__ != "transform" else len(rows)
    _report(out, (count, *shape), dtype, as_json)


def _finish(out: Path, fitted: Autoencoder, values: Any, as_json: bool) -> None:
    """Write rows that a model made out of codes."""
    import narwhals as nw

    from isthmus.console.outputs import as_pictures, write
    from isthmus.data.files.writers import texts_of
    from isthmus.data.tables.dataframes import to_table

    if fitted.schema_.columns is not None:
        values = to_table(nw.from_native(values, eager_only=True))
    elif out.suffix.lower() in (".png", ".zip"):
        values = as_pictures(values)
    write(out, values, fitted.schema_.names, texts_of(fitted.schema_))
    dtype = None if fitted.schema_.columns is not None else str(values.dtype)
    _report(out, tuple(values.shape), dtype, as_json)


def _report(out: Path, shape: tuple[int, ...], dtype: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"out": str(out), "shape": list(shape)} | ({} if dtype is None else {"dtype": dtype}))
    else:
        say(f"{shape[0]} rows written to {out}")
