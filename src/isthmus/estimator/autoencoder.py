"""`Autoencoder`: any recipe as a scikit-learn transformer."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator

from isthmus import presets
from isthmus.composition import Composition
from isthmus.data.batches import take
from isthmus.data.encoding import Encoding
from isthmus.errors import CollapseWarning, RecipeError, explain, unknown_name
from isthmus.estimator import model_folder
from isthmus.estimator.methods import ModelMethods, seed_of
from isthmus.estimator.prepare import TrainingData, prepare, spread
from isthmus.metrics import advice
from isthmus.metrics.health import Health
from isthmus.recipe import Recipe
from isthmus.schema import Schema
from isthmus.seeds import derive
from isthmus.training import CheckpointStore, History, choose_progress, pretrain, train
from isthmus.training.device import seeded
from isthmus.training.health import as_metrics, final_health
from isthmus.training.partial_fit import IncrementalTraining


class Autoencoder(ModelMethods, BaseEstimator):
    """Train any recipe, then encode, decode, score and sample.

    Args:
        recipe: a `Recipe`, the name of a preset, or the path of a JSON file.
        random_state: seed of the split, the initial weights, the order and the noise; None for the recipe's own
            `training.seed`. The same seed gives the same model on the same machine.
        verbose: whether training shows its progress (a bar on a terminal, plain lines elsewhere).

    Attributes:
        recipe_: the recipe with every "auto" answered.
        schema_: what a row is.
        encoding_: the fitted preprocessing.
        composition_: the trained `torch.nn.Module`.
        history_: losses by epoch.
        metrics_: what training measured.
        n_features_in_: values in a row.

    Example:
        >>> import numpy as np
        >>> from isthmus import Autoencoder, presets
        >>> X = np.random.default_rng(0).random((200, 8))
        >>> model = Autoencoder(presets.vae(latent_dim=2, hidden_dims=(16,), epochs=3)).fit(X)
        >>> model.transform(X).shape, model.reconstruct(X).shape, model.score_samples(X).shape
        ((200, 2), (200, 8), (200,))
        >>> model.sample(5, random_state=0).shape
        (5, 8)
    """

    recipe_: Recipe
    schema_: Schema
    encoding_: Encoding
    composition_: Any
    history_: History
    metrics_: dict[str, Any]
    n_features_in_: int

    def __init__(
        self,
        recipe: Recipe | str | Path = "autoencoder",
        *,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.verbose = verbose

    # ---- scikit-learn ------------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep`, also every setting of the recipe as `recipe__code__latent_dim`."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            try:
                paths = as_recipe(self.recipe).paths()
            except RecipeError:
                paths = {}  # an unusable recipe is reported by fit, as scikit-learn expects
            params |= {f"recipe__{path.replace('.', '__')}": value for path, value in paths.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; `recipe__code__latent_dim=8` replaces a setting inside the recipe."""
        inside = {k: v for k, v in params.items() if k.startswith("recipe__")}
        outside = {k: v for k, v in params.items() if k not in inside}
        for name, value in outside.items():
            if name not in ("recipe", "random_state", "verbose"):
                raise RecipeError(unknown_name("parameter", name, ("recipe", "random_state", "verbose")))
            setattr(self, name, value)
        if inside:
            changes = {name.removeprefix("recipe__").replace("__", "."): value for name, value in inside.items()}
            self.recipe = as_recipe(self.recipe).replace(changes)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = _masks(self.recipe)
        tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever the rows are
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "composition_")

    @property
    def _n_features_out(self) -> int:
        return self.inference().width

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        condition: Any = None,
        checkpoint: str | Path | None = None,
        resume_from: str | Path | None = None,
    ) -> Self:
        """Train on rows.

        Args:
            X: an array `(rows, *shape)`, a data frame, a tensor, nested lists, a path, or what `isthmus.read` returned.
            y: ignored; it is there for scikit-learn.
            condition: the condition of encoder and decoder: labels `(rows,)` (integers or texts), of which each class
                becomes a column, or numbers `(rows, values)`; None for an unconditional model.
            checkpoint: a folder for checkpoints; None for none.
            resume_from: a folder with a checkpoint to continue from; without one there, training starts anew. Further
                checkpoints go there too. Recipe and data must be those of the checkpoint.

        Raises:
            RecipeError: for a recipe that does not fit itself or the data.
            DataError: for data that cannot be used.
            TrainingError: if the loss is not finite and a lower rate does not help.
        """
        started = time.monotonic()
        recipe = as_recipe(self.recipe)
        if self.random_state is not None:
            recipe = recipe.replace({"training.seed": seed_of(self.random_state)})
        prepared = prepare(X, recipe, condition)
        recipe, schema = prepared.recipe, prepared.schema
        composition = initialised(prepared)
        if recipe.training.pretraining:
            pretrain(composition, recipe, prepared.in_memory("pretraining"), choose_progress(self.verbose))
        folder = resume_from if resume_from is not None else checkpoint
        store = None if folder is None else CheckpointStore(Path(folder), prepared.digest())
        history = train(
            composition,
            recipe.objective,
            recipe.training,
            prepared.data,
            prepared.validation,
            progress=choose_progress(self.verbose),
            store=store,
            resume=resume_from is not None,
        )
        measured = prepared.data.representative if prepared.validation is None else prepared.validation
        health = final_health(composition, measured, recipe.training.seed)
        _warn_of_collapse(history, recipe, health)
        self.composition_, self.history_ = composition, history
        self.__dict__.pop("_incremental", None)
        self._describe(recipe, schema, prepared.encoding)
        self.metrics_ = metrics_of(history, health, prepared.data.rows, prepared.held_rows, time.monotonic() - started)
        return self

    def partial_fit(self, X: Any, y: Any = None, *, condition: Any = None) -> Self:
        """Train on one more batch of rows: one pass over them, at a rate that stays.

        The first call decides what a row is, the scaling and the categories, as `fit` would from these rows: make it a
        large one. A model that was fitted or loaded goes on from where it is. Nothing is held out, and a schedule that
        ends (decay of the rate, annealing) has no end to go to: the weights of the terms are their final ones.

        Args:
            X: rows, as in `fit`.
            y: ignored; it is there for scikit-learn.
            condition: as in `fit`; labels must be those of the first call.

        Raises:
            DataError: for rows unlike those of the first call.
            TrainingError: if the loss is not finite; the weights are then those of before.
        """
        started = time.monotonic()
        if not hasattr(self, "composition_"):
            self._begin(X, condition)
        encoded = self.encoded_rows(X, condition)
        if not hasattr(self, "_incremental"):
            first = take(next(iter(encoded.batches())), slice(0, 2))
            self._incremental = IncrementalTraining(
                self.composition_, self.recipe_.objective, self.recipe_.training, first.to(_device_of(self))
            )
            self._incremental.loader.batch_size = int(self.recipe_.training.batch_size)
        for batch in encoded.batches():
            row = self._incremental.take(batch)
            self.history_.rows.append({**row, "epoch": len(self.history_) + 1})
        metrics = self.metrics_
        metrics["training_rows"] += len(encoded)
        metrics["epochs"] = metrics["best_epoch"] = self.history_.best_epoch = len(self.history_)
        metrics["seconds"] = round(metrics["seconds"] + time.monotonic() - started, 3)
        return self

    def _begin(self, X: Any, condition: Any) -> None:
        """Initialise the model without training it."""
        recipe = as_recipe(self.recipe).replace({"training.validation_fraction": 0.0})
        if self.random_state is not None:
            recipe = recipe.replace({"training.seed": seed_of(self.random_state)})
        prepared = prepare(X, recipe, condition)
        self.composition_ = initialised(prepared)
        self._describe(prepared.recipe, prepared.schema, prepared.encoding)
        self.history_ = History([], "partial_fit", 0)
        self.metrics_ = metrics_of(self.history_, {}, 0, 0, 0.0)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_incremental"}

    def _describe(self, recipe: Recipe, schema: Schema, encoding: Encoding) -> None:
        """Set what a model knows of its rows."""
        self.recipe_, self.schema_, self.encoding_ = recipe, schema, encoding
        self.n_features_in_ = schema.width
        if schema.names:
            self.feature_names_in_ = np.asarray(schema.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    # ---- on disk -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model folder, whole or not at all; see `isthmus.estimator.model_folder`."""
        self._check_fitted()
        parts = model_folder.Artifact(
            self.recipe_,
            self.schema_,
            self.composition_,
            self.encoding_,
            self.metrics_,
            self.history_.to_csv(),
        )
        return model_folder.save(parts, path, overwrite=overwrite)


def load(path: str | Path) -> Autoencoder:
    """Return the model that `Autoencoder.save` or `isthmus fit --out` wrote.

    Raises:
        ArtifactError: if it is missing, damaged, incomplete or newer.
    """
    parts = model_folder.load(path)
    history = History.from_csv(parts.history_csv)
    history.best_epoch = int(parts.metrics["best_epoch"])
    history.stop_reason = parts.metrics["stop_reason"]
    return fitted(parts.recipe, parts.schema, parts.encoding, parts.composition, history, parts.metrics)


def fitted(
    recipe: Recipe,
    schema: Schema,
    encoding: Encoding,
    composition: Composition,
    history: History,
    metrics: dict[str, Any],
) -> Autoencoder:
    """Return the autoencoder that trained parts make."""
    model = Autoencoder(recipe)
    model._describe(recipe, schema, encoding)
    model.composition_, model.history_, model.metrics_ = composition, history, metrics
    return model


def as_recipe(recipe: Recipe | str | Path) -> Recipe:
    """Return the recipe for a recipe, a preset's name or a path of a JSON file."""
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Path) or (isinstance(recipe, str) and recipe.endswith(".json")):
        return Recipe.from_json(recipe)
    if isinstance(recipe, str):
        return presets.get(recipe)
    raise RecipeError(explain("a Recipe, a preset's name or a path", repr(recipe), "presets.autoencoder()"))


def _masks(recipe: Recipe | str | Path) -> bool:
    try:
        return as_recipe(recipe).missing == "mask"
    except RecipeError:
        return False  # reported by fit


# Rows that set the initial weights; more would not change them visibly.
_INITIAL_ROWS = 1024


def initialised(prepared: TrainingData) -> Composition:
    """Return the untrained composition, its weights set by the recipe's seed and some training rows."""
    recipe = prepared.recipe
    with seeded(derive(recipe.training.seed, "weights"), torch.device("cpu")):
        composition = recipe.build(prepared.schema)
        composition.initialise(spread(prepared.data.representative, _INITIAL_ROWS).to(torch.device("cpu")))
        composition.to(prepared.data.device)
    return composition


def _device_of(model: Autoencoder) -> torch.device:
    device: torch.device = next(model.composition_.parameters()).device
    return device


# Less than these shares is a collapse, of which training warns; the report and `inspect` tell of less.
_COLLAPSE = {"active_share": 0.1, "dead_share": 0.5, "rank_share": 0.1, "codebook_share": 0.1}


def _warn_of_collapse(history: History, recipe: Recipe, health: Health) -> None:
    if not history.best_epoch:
        return
    if history.rows[history.best_epoch - 1]["active_units"] == 0:
        found = [_collapsed(recipe, "codebook_entries" in health and "kl" not in health)]
    else:
        found = [f"the code has collapsed: {text}" for text in (advice(health, **_COLLAPSE) if health else [])]
    for text in found:
        warnings.warn(text, CollapseWarning, stacklevel=3)


def _collapsed(recipe: Recipe, quantised: bool) -> str:
    terms = ", ".join(weighted.term.kind for weighted in recipe.objective.terms)
    remedies = "more epochs, or check that the columns depend on each other at all"
    if quantised:
        smaller = "a smaller weight of the term, " if terms else ""
        remedies = f"a restart of dead entries (code.restart), {smaller}a lower learning rate, {remedies}"
    elif terms:
        longer = "a longer warm-up of it (presets.beta_vae(beta=0.5, warmup_share=0.5))"
        remedies = f"a smaller weight of the term, {longer}, {remedies}"
    return (
        f"the code has collapsed: none of its {recipe.code.latent_dim} latents differs from row to row (terms: "
        f"{terms or 'none'}); try {remedies}"
    )


def metrics_of(history: History, health: Health, rows: int, held_out: int, seconds: float) -> dict[str, Any]:
    """Return what a model's training measured, as plain JSON values."""
    best = history.rows[history.best_epoch - 1] if history.best_epoch else {}
    chosen = {k: v for k, v in best.items() if k.startswith(("train/", "validation/"))}
    chosen |= {"active_units": best.get("active_units", 0)} | {
        name: value for name, value in as_metrics(health).items() if name != "active_units"
    }
    return {
        "training_rows": rows,
        "validation_rows": held_out,
        "epochs": len(history),
        "best_epoch": history.best_epoch,
        "stop_reason": history.stop_reason,
        "seconds": round(seconds, 3),
        **{name: round(value, 6) if isinstance(value, float) else value for name, value in chosen.items()},
    }
