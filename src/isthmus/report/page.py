"""The report: one page of pictures that shows what models have learned, in a file that needs nothing else."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from isthmus.atomic import write_whole
from isthmus.errors import DataError, check_number, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.report import health_text, sections
from isthmus.report.evaluation import Evaluation, ModelMetrics, health, in_words, study, unit_of
from isthmus.report.flattening import flattened
from isthmus.report.rows import ReportRows, report_rows_of

_LIBRARIES = ("isthmus", "torch", "numpy", "scikit-learn", "matplotlib")


def write_report(
    models: Mapping[str, Autoencoder],
    rows: Any,
    path: str | Path,
    *,
    labels: Any = None,
    label_names: Sequence[str] | None = None,
    title: str = "What the autoencoder learned",
    about_rows: str = "",
    noise: float | None = None,
    command: str = "",
    seed: int = 0,
) -> Path:
    """Write one self-contained HTML page about fitted models; a file that is there is replaced.

    Of many rows, 10,000 that are spread evenly are measured and shown, which the page says.

    Args:
        models: the models by the name that the page calls them; all of rows of one shape.
        rows: `(rows, *shape)`, anything `fit` takes; best rows that the models have not seen.
        path: of the page.
        labels: `(rows,)`, a class or a number for each row, which colours the maps.
        label_names: names of the classes, if the labels are places in them.
        title: of the page.
        about_rows: what the rows are, such as "1,500 test images that no model was trained on".
        noise: standard deviation, in preprocessed units, of Gaussian noise that is put on by hand for every model to
            clean; None shows each denoising model the corruption of its own training.
        command: how the page can be made again.
        seed: of the samples, the noise and the t-SNE map.

    Returns:
        The path of the page.

    Raises:
        DataError: for rows or labels that do not fit the models, and for no model at all.
    """
    if not models:
        raise DataError(explain("at least one model", "none", 'write_report({"model": model}, X, "report.html")'))
    if noise is not None:
        check_number("noise", noise, 0.0)
    models, rows = flattened(models, rows)
    subject = report_rows_of(next(iter(models.values())), rows, labels, label_names, seed)
    studies = [study(name, model, subject.values) for name, model in models.items()]
    content = _content(subject, studies, noise)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            about_rows=about_rows,
            making=making(_made(subject, studies, command)),
            **content,
        )
    )
    path = Path(path)
    write_whole(path, page.encode())
    return path


def _content(subject: ReportRows, studies: Sequence[Evaluation], noise: float | None) -> dict[str, Any]:
    first = studies[0]
    return {
        "subject": subject,
        "schema": first.model.schema_.describe(),
        "unit": unit_of(first.model),
        "names": [studied.name for studied in studies],
        "widths": (first.figures.values, sorted({studied.figures.latents for studied in studies})),
        "summary": _summary(studies),
        "warnings": [(studied.name, text) for studied in studies for text in health(studied)],
        "recipes": [_recipe(studied) for studied in studies],
        "noise": noise,
        "rebuilt": sections.rebuilt(subject, studies),
        "cleaned": sections.cleaned(subject, studies, noise),
        "samples": sections.samples(subject, studies),
        "interpolations": sections.interpolations(subject, studies),
        "maps": sections.maps(subject, studies),
        "legend": [] if subject.labels is None else subject.labels.legend(),
        "losses": [sections.losses(studied) for studied in studies],
        "latents": [sections.latents(studied) for studied in studies],
        "health_table": health_text.table([studied.health for studied in studies]),
        "health": [health_text.section(studied.name, studied.health) for studied in studies],
        "errors": [sections.errors(subject, studied) for studied in studies],
    }


def _recipe(studied: Evaluation) -> dict[str, Any]:
    return {
        "name": studied.name,
        "words": in_words(studied.recipe, studied.figures.values),
        "json": json.dumps(studied.recipe.to_dict(), indent=2),
    }


# ---- the table of figures --------------------------------------------------------------------------------------------


def _summary(studies: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the lines of the table at the top: a name, a cell for each model, and what the name means."""
    figures = [studied.figures for studied in studies]
    lines = [
        ("Numbers in a row → in its code", [f"{f.values:,} → {f.latents}" for f in figures], ""),
        (
            "Compression ratio",
            [f"{f.compression_ratio:.3g} : 1" for f in figures],
            f"bytes of a row as it came ({figures[0].row_bytes:,}) to bytes of its code as float32 "
            f"({', '.join(dict.fromkeys(f'{f.code_bytes:,}' for f in figures))})",
        ),
        ("Mean squared error", [f"{f.mse:.4g}" for f in figures], _error_hint(studies)),
        ("PSNR", [_or_dash(f.psnr, ".1f", " dB") for f in figures], "the same error in decibels; higher is better"),
        ("Explained variance", [_or_dash(f.explained, ".1%") for f in figures], "100 % is a perfect copy"),
        ("Log-likelihood of a row", [_score(f) for f in figures], _score_hint(figures)),
        ("Loss on training rows", [_metric(studied, "train/total") for studied in studies], "nats per row"),
        (
            "Loss on held-out rows",
            [_metric(studied, "validation/total") for studied in studies],
            "nats per row; validation rows, which choose the best epoch",
        ),
        (
            "Active latents",
            [
                f"{f.active_units} of {studied.recipe.code.latent_dim}"
                for f, studied in zip(figures, studies, strict=True)
            ],
            "those that differ from row to row",
        ),
        ("Rows it learned from", [f"{f.training_rows:,}" for f in figures], ""),
        ("Epochs", [f"{f.epochs}" for f in figures], "passes over these rows"),
        ("Training took", [f"{f.seconds:,.1f} s" for f in figures], ""),
    ]
    return [
        {"name": name, "cells": cells, "hint": hint}
        for name, cells, hint in lines
        if any(cell != "–" for cell in cells)
    ]


def _or_dash(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _score(figures: ModelMetrics) -> str:
    return f"{'≥ ' if figures.is_bound else ''}{figures.score:,.1f} nats"


def _score_hint(figures: Sequence[ModelMetrics]) -> str:
    hint = "higher is more typical; comparable only between models of one likelihood"
    return hint + ("; ≥ marks a lower bound" if any(f.is_bound for f in figures) else "")


def _error_hint(studies: Sequence[Evaluation]) -> str:
    unit = unit_of(studies[0].model)
    scale = {"unit": "values taken as shares of their range", "standard": f"in {unit}"}
    return f"{scale.get(studies[0].recipe.preprocessing, unit)}, averaged over all values; lower is better"


def _metric(studied: Evaluation, name: str) -> str:
    value = studied.model.metrics_.get(name)
    return "–" if value is None else f"{value:,.5g}"


# ---- how it was made -------------------------------------------------------------------------------------------------


def _made(subject: ReportRows, studies: Sequence[Evaluation], command: str) -> list[tuple[str, str]]:
    seeds = [f"{studied.name} {studied.recipe.training.seed}" for studied in studies]
    return [
        ("command", command),
        ("rows", f"{len(subject.values):,} of the {subject.given:,} that were given"),
        ("seeds", f"{', '.join(seeds)}; pictures {subject.seed}"),
    ]


def making(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return how a page was made: its own facts, versions, the machine and the time; those that say something."""
    libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
    lines = [
        *facts,
        ("versions", ", ".join([*libraries, f"Python {platform.python_version()}"])),
        ("machine", f"{platform.system()} {platform.machine()}"),
        ("written", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]
    return [(name, text) for name, text in lines if text]


def environment() -> Environment:
    """Return what fills in the templates of pages."""
    # Names of models, columns and classes come from anywhere, so all of them are escaped.
    environment = Environment(
        loader=PackageLoader("isthmus.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    return environment


def _percent(share: float) -> str:
    """Return a share in whole percents; a negative one that rounds to nothing is nothing."""
    return f"{round(share * 100) + 0:.0f}%"


def _number(value: float) -> str:
    """Return a number with four digits."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
