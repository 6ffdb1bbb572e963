"""What stands in each section of the report, ready for the template: pictures as data URIs, numbers, sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.manifold import TSNE

from isthmus.errors import RecipeError
from isthmus.report import plots
from isthmus.report.evaluation import MEANINGS, Evaluation, flat
from isthmus.report.plots import Series
from isthmus.report.rows import EXAMPLES, ReportRows
from isthmus.typing import Array

Section = dict[str, Any]

_MAPPED = 1500
_PROFILES = 4
_COLUMNS = 30
_PAIRS = 5
_STEPS = 10
_SAMPLES = 60
_WORST_ROWS, _WORST_COLUMNS = 8, 3
# A latent that carries less tells nothing of the row.
_ACTIVE_NATS = 0.01
# Without a prior the scale of a latent is free: the limit is this share of the average latent's variance.
_ACTIVE_SHARE = 0.01


@dataclass(frozen=True)
class Strip:
    """A line of images with its name and a note under each."""

    name: str
    picture: str
    notes: tuple[str, ...] = ()


def strip(subject: ReportRows, name: str, rows: Array, notes: Sequence[str] = ()) -> Strip:
    """Return rows as a line of images."""
    return Strip(name, plots.mosaic(subject.pixels(rows), max(len(rows), 1)), tuple(notes))


# ---- what comes back -------------------------------------------------------------------------------------------------


def rebuilt(subject: ReportRows, studies: Sequence[Evaluation]) -> Section:
    """Return originals beside reconstructions; for a table also what survives of each column."""
    chosen = subject.examples()
    if subject.picture is not None:
        lines = [strip(subject, "original", subject.values[chosen])]
        lines += [strip(subject, studied.name, studied.rebuilt[chosen]) for studied in studies]
        return {"strips": lines}
    shown = chosen[:_PROFILES]
    profiles = [
        _profile(subject, studies[0], {"row": subject.values, **{s.name: s.rebuilt for s in studies}}, int(place))
        for place in shown
    ]
    return {"profiles": profiles, "columns": _columns(subject, studies), "left_out": len(subject.columns) - _COLUMNS}


def _profile(subject: ReportRows, studied: Evaluation, rows: dict[str, Array], place: int) -> dict[str, str]:
    title = f"row {subject.index[place]}"
    if subject.steps:
        # In the units of the data: scaling each step by itself would bend the series.
        lines = {name: values[place].reshape(len(values[place]), -1) for name, values in rows.items()}
        return {"title": title, "picture": plots.channels(lines)}
    scaled = {name: studied.model.encoding_.forward(values[[place]]).reshape(-1) for name, values in rows.items()}
    names = subject.columns if subject.named else None
    label = "standard deviations" if studied.recipe.preprocessing == "standard" else "value"
    return {"title": title, "picture": plots.profile(scaled, names, label=label)}


def _columns(subject: ReportRows, studies: Sequence[Evaluation]) -> list[Section]:
    """Return the share of each column's variance that survives, by model, the columns with the lowest first."""
    shares = []
    for studied in studies:
        scaled = flat(studied.model.encoding_.forward(subject.values)).astype(np.float64)
        variance = scaled.var(0)
        error = np.square(studied.residuals, dtype=np.float64).mean(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares.append(np.where(variance > 0, 1.0 - error / variance, np.nan))
    stacked = np.stack(shares, axis=1)
    order = np.argsort(np.nan_to_num(stacked.mean(1), nan=np.inf), kind="stable")[:_COLUMNS]
    return [
        {"name": subject.columns[place], "shares": [None if np.isnan(v) else float(v) for v in stacked[place]]}
        for place in order
    ]


# ---- noise -----------------------------------------------------------------------------------------------------------


def cleaned(subject: ReportRows, studies: Sequence[Evaluation], noise: float | None) -> list[Section]:
    """Return noisy rows beside cleaned ones: noise put on by hand for every model, or that of each one's training."""
    if noise is not None:
        scaling = studies[0].model.encoding_
        scaled = scaling.forward(subject.values)
        drawn = np.random.default_rng(subject.seed).standard_normal(scaled.shape, dtype=np.float32)
        return [_cleaning(subject, studies, scaling.inverse(scaled + np.float32(noise) * drawn), True)]
    return [
        _cleaning(subject, [studied], studied.model.corrupt(subject.values, random_state=subject.seed), False)
        for studied in studies
        if studied.recipe.corruption is not None
    ]


def _cleaning(subject: ReportRows, studies: Sequence[Evaluation], noisy: Array, by_hand: bool) -> Section:
    results = {studied.name: studied.model.reconstruct(noisy) for studied in studies}
    # What was hidden is drawn in the middle of the range, so that it is not taken for a value.
    noisy = np.where(np.isnan(noisy), (subject.values.min() + subject.values.max()) / 2, noisy)
    scaling = studies[0].model.encoding_
    clean = scaling.forward(subject.values)

    def error(rows: Array) -> float:
        return float(np.square(scaling.forward(rows) - clean, dtype=np.float64).mean())

    section: Section = {
        "by_hand": by_hand,
        "before": error(noisy),
        "after": [
            {
                "name": studied.name,
                "error": error(results[studied.name]),
                "floor": error(studied.rebuilt),
                "trained": studied.recipe.corruption is not None,
            }
            for studied in studies
        ],
    }
    chosen = subject.examples()
    by_model = {f"by {name}": rows for name, rows in results.items()}
    if subject.picture is not None:
        lines = {"original": subject.values, "noisy": noisy, **by_model}
        return {**section, "strips": [strip(subject, name, rows[chosen]) for name, rows in lines.items()]}
    lines = {"clean": subject.values, **by_model, "noisy": noisy}
    return {**section, "profiles": [_profile(subject, studies[0], lines, int(place)) for place in chosen[:_PROFILES]]}


# ---- what the code holds ---------------------------------------------------------------------------------------------


def samples(subject: ReportRows, studies: Sequence[Evaluation]) -> list[Section]:
    """Return rows drawn from each model that has a prior: pictures, or how a table of them compares with the data."""
    found: list[Section] = []
    for studied in studies:
        is_image = subject.picture is not None
        try:
            drawn = studied.model.sample(
                _SAMPLES if is_image else len(subject.values), random_state=subject.seed, noise=not is_image
            )
        except RecipeError:  # the code has no prior
            continue
        if is_image:
            found.append({"name": studied.name, "picture": plots.mosaic(subject.pixels(drawn), EXAMPLES)})
        else:
            found.append({"name": studied.name, "columns": _comparison(subject, drawn)})
    return found


def _comparison(subject: ReportRows, drawn: Array) -> list[Section]:
    real, made = flat(subject.values).astype(np.float64), flat(drawn).astype(np.float64)
    quantiles = (0.05, 0.5, 0.95)
    seen, new = np.quantile(real, quantiles, axis=0), np.quantile(made, quantiles, axis=0)
    return [
        {"name": name, "seen": seen[:, place].tolist(), "new": new[:, place].tolist()}
        for place, name in enumerate(subject.columns[:_COLUMNS])
    ]


def interpolations(subject: ReportRows, studies: Sequence[Evaluation]) -> list[Section]:
    """Return rows on the straight lines between the codes of pairs of rows."""
    chosen = subject.examples()
    pairs = chosen[: len(chosen) // 2 * 2].reshape(-1, 2)[:_PAIRS]
    if not len(pairs):
        return []
    start, end = subject.values[pairs[:, 0]], subject.values[pairs[:, 1]]
    found: list[Section] = []
    for studied in studies:
        if "bottleneck" not in studied.model.recipe_.network.provides:
            continue  # its codes alone are not decoded
        if subject.picture is not None:
            between = studied.model.interpolate(start, end, _STEPS)
            images = subject.pixels(between.reshape(-1, *between.shape[2:]))
            found.append({"name": studied.name, "picture": plots.mosaic(images, _STEPS)})
        else:
            steps = flat(studied.model.interpolate(start[:1], end[:1], 5)[0])
            change = np.abs(flat(studied.model.encoding_.forward(steps.reshape(5, *start.shape[1:]))))
            moved = np.argsort(-np.ptp(change, axis=0), kind="stable")[:8]
            ends = [int(subject.index[place]) for place in pairs[0]]
            table = {"columns": [subject.columns[place] for place in moved], "rows": steps[:, moved].tolist()}
            found.append({"name": studied.name, "ends": ends, **table})
    return found


def maps(subject: ReportRows, studies: Sequence[Evaluation]) -> list[Section]:
    """Return each model's codes in two dimensions, by PCA and, on a sample, by t-SNE."""
    rows = np.random.default_rng(subject.seed).permutation(len(subject.values))[:_MAPPED]
    colours = [plots.BLUE] * len(rows) if subject.labels is None else subject.labels.colours(rows)
    found = []
    for studied in studies:
        codes = studied.codes[rows].astype(np.float64)
        points, shares = _principal(codes)
        labels = tuple(f"direction {place + 1} ({share:.0%})" for place, share in enumerate(shares))
        panels = [{"title": "PCA", "picture": plots.scatter(points, colours, labels=(labels[0], labels[1]))}]
        embedded = _embedded(codes, points, subject.seed)
        if embedded is not None:
            panels.append({"title": "t-SNE", "picture": plots.scatter(embedded, colours, labels=None)})
        found.append({"name": studied.name, "panels": panels, "embedded": embedded is not None})
    return found


def _principal(codes: Array) -> tuple[Array, list[float]]:
    """Return the two directions in which codes vary most `(rows, 2)`, and the share of the variance in each."""
    centred = codes - codes.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(codes), 2))
    taken = min(2, len(directions))
    points[:, :taken] = centred @ directions[:taken].T
    total = float(np.square(values).sum()) or 1.0
    return points, [float(value**2) / total for value in values[:2]] + [0.0] * (2 - min(2, len(values)))


# A neighbourhood of fewer rows says nothing.
_FEWEST_MAPPED = 20


def _embedded(codes: Array, principal: Array, seed: int) -> Array | None:
    """Return the t-SNE map `(rows, 2)`; None where it could add nothing: few rows, two latents, or codes alike."""
    deviation = float(principal[:, 0].std())
    if len(codes) < _FEWEST_MAPPED or codes.shape[1] <= 2 or deviation < 1e-9:
        return None
    start = (1e-4 * principal / deviation).astype(np.float32)
    perplexity = min(30.0, (len(codes) - 1) / 3)
    embedded: Array = TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(codes)
    return embedded


def latents(studied: Evaluation) -> Section:
    """Return how much each latent carries, as bars and in numbers."""
    section: Section = {"name": studied.name, "active": studied.figures.active_units}
    section["total"] = int(studied.recipe.code.latent_dim)
    if studied.kl is not None:
        picture = plots.bars(studied.kl, label="KL from the prior, nats", limit=_ACTIVE_NATS)
        return {**section, "picture": picture, "kl": float(studied.kl.sum())}
    spread = studied.codes.astype(np.float64).var(0)
    picture = plots.bars(spread, label="variance over rows", limit=_ACTIVE_SHARE * float(spread.mean()))
    return {**section, "picture": picture, "kl": None}


# ---- training --------------------------------------------------------------------------------------------------------


def losses(studied: Evaluation) -> Section:
    """Return the loss and each of its terms over the epochs, raw, and weighted where the weight is not 1."""
    history = studied.model.history_
    names = [name.removeprefix("train/") for name in history.names() if name.startswith("train/")]
    terms = [name for name in names if "/" not in name]
    if len(terms) <= 2:
        terms = ["total"]  # with one term, the total is that term
    best = int(studied.model.metrics_.get("best_epoch", 0))
    panels = []
    for term in terms:
        lines = [
            *_lines(studied, term, ""),
            *(_lines(studied, f"{term}/weighted", "weighted ") if term in terms else ()),
        ]
        raw = [line.values for line in lines if not line.dashed]
        weighted = [line.values for line in lines if line.dashed]
        if weighted and np.allclose(raw, weighted, rtol=1e-6, equal_nan=True):
            lines = [line for line in lines if not line.dashed]
        title = f"{term.replace('_', ' ')}: {MEANINGS[term]}" if term in MEANINGS else term.replace("_", " ")
        panels.append({"title": title, "picture": plots.curves(lines, best_epoch=best)})
    return {"name": studied.name, "panels": panels if len(history) else [], "best": best, "epochs": len(history)}


def _lines(studied: Evaluation, term: str, prefix: str) -> list[Series]:
    history, found = studied.model.history_, []
    for side, name, colour in (("train", "training", plots.BLUE), ("validation", "held out", plots.ORANGE)):
        values = [float("nan") if value is None else float(value) for value in history[f"{side}/{term}"]]
        if not np.isnan(values).all():
            found.append(Series(prefix + name, values, colour, dashed=bool(prefix)))
    return found


# ---- errors ----------------------------------------------------------------------------------------------------------


def errors(subject: ReportRows, studied: Evaluation) -> Section:
    """Return the histogram of the rows' errors and the worst rows beside their reconstructions."""
    values = studied.errors
    worst = np.argsort(-values, kind="stable")
    section: Section = {
        "name": studied.name,
        "picture": plots.histogram(values, label="mean squared error of a row"),
        "median": float(np.median(values)),
        "highest": float(values[worst[0]]),
        "classes": _by_class(subject, values),
    }
    if subject.picture is not None:
        shown = worst[:EXAMPLES]
        notes = [f"{value:.3f}" for value in values[shown]]
        lines = [strip(subject, "original", subject.values[shown])]
        return {**section, "strips": [*lines, strip(subject, "rebuilt", studied.rebuilt[shown], notes)]}
    return {**section, "rows": [_worst(subject, studied, int(place)) for place in worst[:_WORST_ROWS]]}


def _by_class(subject: ReportRows, values: Array) -> list[tuple[str, float]]:
    """Return the classes and their mean errors, the highest first."""
    if subject.labels is None:
        return []
    places = subject.labels.values
    means = [
        (name, float(values[places == place].mean()))
        for place, name in enumerate(subject.labels.names)
        if (places == place).any()
    ]
    return sorted(means, key=lambda pair: -pair[1])


def _worst(subject: ReportRows, studied: Evaluation, place: int) -> Section:
    residuals = studied.residuals[place]
    seen, expected = flat(subject.values[[place]])[0], flat(studied.rebuilt[[place]])[0]
    columns = np.argsort(-np.abs(residuals), kind="stable")[:_WORST_COLUMNS]
    cells = [
        {
            "name": subject.columns[column],
            "seen": float(seen[column]),
            "expected": float(expected[column]),
            "off": float(residuals[column]),
        }
        for column in columns
    ]
    label = ""
    if subject.labels is not None and subject.labels.names:
        label = subject.labels.names[int(subject.labels.values[place])]
    return {"row": int(subject.index[place]), "label": label, "error": float(studied.errors[place]), "cells": cells}
