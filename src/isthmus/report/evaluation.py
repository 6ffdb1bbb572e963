"""What can be said of a trained model on some rows: its figures, its health, and its recipe in a sentence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataError, explain
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.metrics import advice
from isthmus.metrics.health import Health
from isthmus.recipe import Recipe
from isthmus.typing import Array

_CODE_BYTES = 4  # codes are float32


@dataclass(frozen=True)
class ModelMetrics:
    """A model's figures on rows it is shown, and what its training took.

    Attributes:
        rows: how many rows were measured.
        values: numbers in a row.
        latents: numbers in a code.
        mse: mean squared error, in preprocessed units: shares of the range, or standard deviations.
        explained: share of the rows' variance that survives the round trip; None if they do not vary.
        psnr: peak signal-to-noise ratio in decibels, for images; None for other rows and for an exact copy.
        score: mean log-likelihood in nats per row, or its lower bound.
        is_bound: whether `score` is a bound (variational models).
        row_bytes: size of a row as it came.
        code_bytes: size of its code in float32.
        active_units: latents that vary from row to row, as training measured them.
        training_rows: rows the model learned from.
        epochs: passes over them.
        seconds: how long training took.
    """

    rows: int
    values: int
    latents: int
    mse: float
    explained: float | None
    psnr: float | None
    score: float
    is_bound: bool
    row_bytes: int
    code_bytes: int
    active_units: int
    training_rows: int
    epochs: int
    seconds: float

    @property
    def compression_ratio(self) -> float:
        """Bytes of a row as it came for each byte of its code as float32."""
        return self.row_bytes / self.code_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "compression_ratio": self.compression_ratio}


@dataclass(frozen=True)
class Evaluation:
    """A model and what it makes of some rows.

    Attributes:
        name: what the page calls it.
        model: fitted.
        figures: on the rows.
        codes: `(rows, latents)`.
        rebuilt: `(rows, *shape)`, in the units of the rows.
        residuals: `(rows, values)`, row less rebuilt row, in preprocessed units.
        kl: `(latents,)`, in nats; None for codes without a prior, and where only the sum over latents is known.
        health: of the code, from `Autoencoder.health`.
    """

    name: str
    model: Autoencoder
    figures: ModelMetrics
    codes: Array
    rebuilt: Array
    residuals: Array
    kl: Array | None
    health: Health

    @property
    def errors(self) -> Array:
        """Mean squared error of each row, `(rows,)`."""
        errors: Array = np.square(self.residuals, dtype=np.float64).mean(1)
        return errors

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.model.recipe_


def study(name: str, model: Autoencoder, values: Array) -> Evaluation:
    """Measure a fitted model on rows `(rows, *shape)`.

    Raises:
        DataError: if the rows are not of the model's schema, or it needs a condition that a report has no place for.
    """
    told = model.schema_.condition_dim if hasattr(model, "schema_") else 0
    if told:
        raise DataError(
            explain("a model without a condition", f"{name!r}, which is conditioned on {told} values", "another model")
        )
    codes, rebuilt = np.asarray(model.transform(values)), model.reconstruct(values)
    scaled = flat(model.encoding_.forward(values))
    residuals = scaled - flat(model.encoding_.forward(rebuilt))
    variational = "kl" in model.recipe_.code.provides
    kl = model.kl_per_latent(values) if "latent_kl" in model.recipe_.code.provides else None
    metrics, latents = model.metrics_, int(codes.shape[1])
    spread = float(scaled.var(0, dtype=np.float64).mean())
    mse = float(np.square(residuals, dtype=np.float64).mean())
    figures = ModelMetrics(
        rows=len(values),
        values=model.schema_.width,
        latents=latents,
        mse=mse,
        explained=1.0 - mse / spread if spread > 0 else None,
        psnr=_psnr(model, values, rebuilt),
        score=model.score(values),
        is_bound=variational,
        row_bytes=values[0].nbytes,
        code_bytes=latents * _CODE_BYTES,
        active_units=int(metrics.get("active_units", latents)),
        training_rows=int(metrics.get("training_rows", 0)),
        epochs=int(metrics.get("epochs", len(model.history_))),
        seconds=float(metrics.get("seconds", 0.0)),
    )
    return Evaluation(name, model, figures, codes, rebuilt, residuals, kl, model.health(values))


def flat(rows: Array) -> Array:
    """Return rows `(rows, *shape)` as `(rows, values)`."""
    return rows.reshape(len(rows), -1)


def unit_range(model: Autoencoder) -> tuple[float, float]:
    """Return what 0 and 1 of the network stand for, where preprocessing is "unit"."""
    low, high = model.encoding_.inverse(np.array([[0.0], [1.0]]), "float64").flatten().tolist()
    return low, high


def unit_of(model: Autoencoder) -> str:
    """Return what an error of 1 means, in words."""
    return {"unit": "of the range", "standard": "standard deviations of the column"}.get(
        model.recipe_.preprocessing, "in the units of the data"
    )


def _psnr(model: Autoencoder, values: Array, rebuilt: Array) -> float | None:
    """Return the peak signal-to-noise ratio of images; the peak is the range of their type or of the training rows."""
    schema = model.schema_
    if schema.kind != "image":
        return None
    low, high = unit_range(model) if model.recipe_.preprocessing == "unit" else (schema.low, schema.high)
    peak = high - low
    error = float(np.square(values.astype(np.float64) - rebuilt).mean())
    return 10.0 * math.log10(peak**2 / error) if error > 0 and peak > 0 else None


# ---- health ----------------------------------------------------------------------------------------------------------


def health(studied: Evaluation) -> list[str]:
    """Return what is wrong with a model, each with the remedy to try first; empty for a healthy one."""
    return [*_latent_health(studied), *_training_health(studied.model), *_fit_health(studied)]


def _latent_health(studied: Evaluation) -> list[str]:
    found = [f"{text[0].upper()}{text[1:]}." for text in advice(studied.health)]
    if found or "kl" in studied.health:
        return found
    active, total = studied.figures.active_units, int(studied.recipe.code.latent_dim)
    # A latent of a sparse code may be in use and still vary little, being zero on nearly every row.
    if "dead_latents" not in studied.recipe.code.provides and active < 0.75 * total:
        return [
            f"Only {active} of {total} latents vary from row to row. Try latent_dim={max(active, 1)}, a lower "
            "learning rate, or normalisation='batch'."
        ]
    return []


def _training_health(model: Autoencoder) -> list[str]:
    metrics, found = model.metrics_, []
    reason = str(metrics.get("stop_reason", ""))
    if reason.startswith(("interrupted", "stopped")):
        found.append(f"Training did not end by itself ({reason}). Try training it to the end.")
    history = np.array([_number(value) for value in model.history_["validation/total"]])
    if len(history) < 10 or not np.isfinite(history).all():
        return found
    best, drop = history.min(), history[0] - history.min()
    # The loss on a few held-out rows jumps from epoch to epoch: a single one at the end says little.
    last = float(history[-5:].min())
    if last - best > 0.1 * drop:
        found.append(
            f"It overfits: the loss on held-out rows was lowest in epoch {int(history.argmin()) + 1} of {len(history)} "
            "and rose afterwards (the weights of that epoch were kept). Try more rows, a smaller network, dropout, or "
            "the denoising recipe."
        )
    elif history[-max(2, len(history) // 10) - 1] - last > 0.05 * drop:
        found.append("The loss was still falling when training ended. Try more epochs.")
    return found


def _fit_health(studied: Evaluation) -> list[str]:
    explained = studied.figures.explained
    if explained is not None and explained < 0.1:
        return [
            f"Reconstructions are hardly better than the average row: {max(explained, 0.0):.0%} of the variance "
            "survives. Try a larger latent_dim or more epochs, and rows like those it was trained on."
        ]
    return []


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


# ---- words -----------------------------------------------------------------------------------------------------------

# What is said of a network that has the setting; its value replaces the braces.
_EXTRAS = {
    "activation": "{}",
    "normalisation": "{} normalisation",
    "dropout": "dropout {}",
    "residual": "residual",
    "tied": "tied weights",
    "skips": "skips",
}
# What a part of the loss stands for; a term that is missing here goes by its name.
MEANINGS = {
    "total": "what is minimised",
    "reconstruction": "what comes back wrong",
    "kl": "KL",
    "sparsity": "how far latents are from zero",
    "sparsity_target": "how far latents are from their target activity",
    "contraction": "how much the code moves when the row does",
}
_NAMES = {"gaussian": "Gaussian", "gaussian_noise": "Gaussian noise", "salt_and_pepper": "salt and pepper"}


def in_words(recipe: Recipe, values: int) -> dict[str, str]:
    """Return a resolved recipe's parts in words, for rows of so many values."""
    network: Any = recipe.network
    hidden = getattr(network, "hidden_dims", getattr(network, "channels", None))
    widths = f" {' – '.join(map(str, (values, *hidden, recipe.code.latent_dim)))}" if hidden is not None else ""
    extras = [text.format(value) for name, text in _EXTRAS.items() if (value := getattr(network, name, None))]
    terms = [f"{_weight(weighted.weight)} × {_plain(weighted.term)}" for weighted in recipe.objective.terms]
    training = recipe.training
    return {
        "network": f"{_spaced(network.kind)}{widths} and back" + (f" ({', '.join(extras)})" if extras else ""),
        "code": f"{_spaced(recipe.code.kind)}, {recipe.code.latent_dim} latents",
        "encoder sees": "the row itself" if recipe.corruption is None else f"the row with {_plain(recipe.corruption)}",
        "minimised": " + ".join([_spaced(recipe.likelihood.kind), *terms]),
        "training": f"up to {training.epochs} epochs of batches of {training.batch_size}, "
        f"learning rate {training.learning_rate:g}",
    }


def _weight(weight: Any) -> str:
    return f"{weight:g}" if isinstance(weight, int | float) else f"(0 → {weight.end:g})"


def _spaced(kind: str) -> str:
    return _NAMES.get(kind, kind.replace("_", " "))


def _plain(part: Any) -> str:
    """Return a part as words: its kind and the settings that are set."""
    if hasattr(part, "parts"):
        return ", then ".join(_plain(inner) for inner in part.parts)
    settings = [
        f"{field.name} {_setting(getattr(part, field.name))}"
        for field in dataclasses.fields(part)
        if getattr(part, field.name)
    ]
    return _spaced(part.kind) + (f" ({', '.join(settings)})" if settings else "")


def _setting(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, tuple) else str(value)
