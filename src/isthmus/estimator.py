"""`Autoencoder`: any recipe as a scikit-learn transformer."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from isthmus import artifact, presets
from isthmus.conditions import as_condition, labels_of
from isthmus.data.loader import split, take
from isthmus.data.preprocess import SCALINGS, Scaling
from isthmus.data.sources import Rows, as_rows
from isthmus.errors import CollapseWarning, DataError, RecipeError, check_integer, explain, unknown_name
from isthmus.inference import Doubles, Floats, Inference, to_batch
from isthmus.metrics import advice
from isthmus.metrics.health import Health
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from isthmus.seeds import derive
from isthmus.training import CheckpointStore, History, choose_progress, pretrain, runtime, train
from isthmus.training.health import as_metrics, final_health


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Train any recipe, then encode, decode, score and sample.

    Args:
        recipe: a `Recipe`, the name of a preset, or the path of a JSON file.
        random_state: seed of the split, the initial weights, the order and the noise; None for the recipe's own
            `training.seed`. The same seed gives the same model on the same machine.
        verbose: whether training shows its progress (a bar on a terminal, plain lines elsewhere).

    Attributes:
        recipe_: the recipe with every "auto" answered.
        schema_: what a row is.
        scaling_: the fitted preprocessing.
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
    scaling_: Scaling
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
        tags.input_tags.allow_nan = _masks(self.recipe)
        tags.transformer_tags.preserves_dtype = []  # codes are float32, whatever the rows are
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "composition_")

    @property
    def _n_features_out(self) -> int:
        return self._inference().width

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
            X: `(rows, *shape)`: an array, a data frame, a tensor, nested lists, or the path of a file.
            y: ignored; it is there for scikit-learn.
            condition: what encoder and decoder are told: labels `(rows,)` (integers or texts), of which each class
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
            recipe = recipe.replace({"training.seed": _seed(self.random_state)})
        rows = as_rows(X, missing=recipe.missing == "mask")
        schema, told = _schema(rows, condition)
        settings = recipe.training
        device = runtime.choose_device(settings.device)
        kept, held_out = split(len(rows.values), settings.validation_fraction, settings.seed)
        recipe = recipe.resolve(schema, len(kept))
        train_rows = rows.values[kept.numpy()] if len(held_out) else rows.values
        scaling = SCALINGS[recipe.preprocessing].fit(train_rows, schema)
        data = to_batch(train_rows, scaling, _part(told, kept), device)
        validation = None
        if len(held_out):
            validation = to_batch(rows.values[held_out.numpy()], scaling, _part(told, held_out), device)
        with runtime.seeded(derive(recipe.training.seed, "weights"), torch.device("cpu")):
            composition = recipe.build(schema)
            composition.initialise(_spread(data, _INITIAL_ROWS).to(torch.device("cpu")))
            composition.to(device)
        if recipe.training.pretraining:
            pretrain(composition, recipe, data, choose_progress(self.verbose))
        folder = resume_from if resume_from is not None else checkpoint
        store = None if folder is None else CheckpointStore(Path(folder), _digest(recipe, rows, told))
        history = train(
            composition,
            recipe.objective,
            recipe.training,
            data,
            validation,
            progress=choose_progress(self.verbose),
            store=store,
            resume=resume_from is not None,
        )
        health = final_health(composition, data if validation is None else validation, recipe.training.seed)
        _warn_of_collapse(history, recipe, health)
        self.recipe_, self.schema_, self.scaling_ = recipe, schema, scaling
        self.composition_, self.history_ = composition, history
        self.n_features_in_ = schema.width
        if schema.names:
            self.feature_names_in_ = np.asarray(schema.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.metrics_ = _metrics(history, health, len(kept), len(held_out), time.monotonic() - started)
        return self

    # ---- use ---------------------------------------------------------------------------------------------------

    def transform(self, X: Any, *, condition: Any = None) -> Floats:
        """Return the codes `(rows, latent_dim)`: the posterior mean of a variational model. Deterministic.

        Feature maps and sequences of latents are laid out flat, the latent axis first.

        Args:
            X: `(rows, *shape)`, as in `fit`.
            condition: for a conditional model, as in `fit`.

        Raises:
            DataError: for rows unlike the training rows.
        """
        return self._inference().codes(*self._rows(X, condition))

    def inverse_transform(self, X: Any, *, condition: Any = None) -> Floats:
        """Return the expected rows `(rows, *shape)`, in the units of the training data, for codes.

        Raises:
            RecipeError: if the decoder needs more than the code (skips).
        """
        inference = self._inference()
        inference.check_code_alone()
        codes = as_rows(X).values
        if codes.ndim != 2 or codes.shape[1] != inference.width:
            expected = f"codes of shape (rows, {inference.width})"
            raise DataError(explain(expected, f"shape {codes.shape}", "model.transform(X)"))
        return inference.decode(codes, self._told(condition, len(codes)))

    def reconstruct(self, X: Any, *, condition: Any = None) -> Floats:
        """Return the rows as the model rebuilds them from their codes, `(rows, *shape)`, in the units of X.

        Raises:
            DataError: for rows unlike the training rows.
        """
        return self._inference().reconstruct(*self._rows(X, condition))

    def impute(self, X: Any, *, condition: Any = None, samples: int = 64) -> Floats:
        """Return the rows with their missing values (NaN) filled in, and all others as they are.

        A value is filled in by its expectation: for a variational model the average of ``E[x|z]`` over `samples` draws
        from q(z|x), weighted by ``p(x_observed|z) p(z) / q(z|x)``; for any other model the reconstruction.

        Raises:
            DataError: for rows unlike the training rows, and for a model that refuses missing values.

        Paper: Mattei and Frellsen, MIWAE, ICML 2019, https://arxiv.org/abs/1812.02633.
        """
        samples = _count("samples", samples)
        return self._inference().impute(*self._rows(X, condition), samples)

    def score_samples(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return the log-likelihood of each row, `(rows,)`, in nats of the preprocessed row; higher is more typical.

        Scores compare between rows, and between models of one likelihood and one preprocessing. A row with a value
        that the likelihood cannot have, such as one outside [0, 1] for a cross-entropy, scores minus infinity.

        For a deterministic code this is ``log p(x | z(x))``. For a variational one it is the evidence lower bound,
        ``E_q[log p(x|z)] - KL(q(z|x) || p(z))``, estimated with 16 antithetic draws that the row itself decides: the
        same row has the same score at every call, alone or among others, and the errors of different rows are
        independent.
        """
        return self._inference().scores(*self._rows(X, condition))

    def score(self, X: Any, y: Any = None, *, condition: Any = None) -> float:
        """Return the mean of `score_samples`, which `GridSearchCV` maximises."""
        return float(self.score_samples(X, condition=condition).mean())

    def log_likelihood(self, X: Any, *, condition: Any = None, samples: int = 5000) -> Doubles:
        """Return ``log p(x)`` of each row, `(rows,)`, in nats, estimated by importance sampling.

        ``log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)``, z_k drawn from q(z|x): a lower bound on average, which rises to
        the likelihood with K. The row itself decides the draws, as in `score_samples`.

        Args:
            X: `(rows, *shape)`.
            condition: for a conditional model.
            samples: K; papers use 5,000.

        Raises:
            RecipeError: if the code has no posterior.

        Paper: Burda et al., Importance Weighted Autoencoders, ICLR 2016, https://arxiv.org/abs/1509.00519.
        """
        inference = self._inference()
        values, condition = self._rows(X, condition)
        if "posterior" not in self.recipe_.code.provides:
            raise RecipeError(f"a {self.recipe_.code.kind} code has no posterior; try a gaussian one (presets.vae)")
        return inference.log_likelihood(values, condition, _count("samples", samples))

    def sample(
        self, n: int = 1, *, random_state: int | None = None, condition: Any = None, noise: bool = False
    ) -> Floats:
        """Return new rows `(n, *shape)` decoded from codes that are drawn from the prior, in the units of the data.

        Args:
            n: how many.
            random_state: seed of the draw; None draws others at every call.
            condition: for a conditional model; a single label is that of all rows.
            noise: whether rows are drawn from p(x|z) rather than its mean taken; the same for squared error and
                binary cross-entropy, whose noise is no estimate.

        Raises:
            RecipeError: if the code has no prior.
        """
        inference = self._inference()
        n = _count("n", n)
        generator = torch.Generator()
        if random_state is None:
            generator.seed()
        else:
            generator.manual_seed(derive(_seed(random_state), "samples"))
        inference.check_code_alone()
        with torch.no_grad():
            codes = self.composition_.draw_prior(n, generator)
        if codes is None:
            raise RecipeError(
                f"a {self.recipe_.code.kind} code has no prior to sample from; try a gaussian one (presets.vae)"
            )
        told = self._told(condition, n)
        return inference.decode(codes.flatten(1).cpu().numpy(), told, generator if noise else None)

    def interpolate(self, start: Any, end: Any, steps: int = 8, *, condition: Any = None) -> Floats:
        """Return rows decoded on the straight lines between codes, `(pairs, steps, *shape)`, both ends included."""
        inference = self._inference()
        inference.check_code_alone()
        steps = _count("steps", steps, 2)
        first, last = (inference.codes(*self._rows(rows, condition)) for rows in (start, end))
        if first.shape != last.shape:
            raise DataError(explain("as many starts as ends", f"{len(first)} and {len(last)}", "equal numbers of rows"))
        share = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
        codes = first[:, None] * (1 - share) + last[:, None] * share
        told = self._told(condition, len(first))
        rows = inference.decode(codes.reshape(-1, codes.shape[-1]), None if told is None else told.repeat(steps, 0))
        return rows.reshape(len(first), steps, *self.schema_.shape)

    def walk_back(self, X: Any, steps: int = 10, *, random_state: int = 0, condition: Any = None) -> Floats:
        """Return the rows on a walk that corrupts and rebuilds by turns, `(rows, steps + 1, *shape)`, X first.

        The walk goes to where the data are dense: from noise to rows like the training rows, from rows to others.

        Args:
            X: `(rows, *shape)` to start from.
            steps: turns.
            random_state: seed of the corruption.
            condition: for a conditional model.

        Raises:
            RecipeError: if the recipe has no corruption.

        Paper: Bengio et al., Generalized Denoising Auto-Encoders as Generative Models, NeurIPS 2013,
        https://arxiv.org/abs/1305.6663.
        """
        inference = self._inference()
        values, told = self._rows(X, condition)
        generator = torch.Generator().manual_seed(derive(_seed(random_state), "walk"))
        walk = [values.astype(self.schema_.float_dtype)]
        for _ in range(_count("steps", steps)):
            seen = self._corrupted(walk[-1], generator)
            walk.append(inference.reconstruct(seen, told))
        return np.stack(walk, 1)

    def kl_per_latent(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return each latent's KL from the prior, `(latent_dim,)`, averaged over rows, in nats.

        A categorical code has one for each of its variables.

        Raises:
            RecipeError: if the code is not variational, or only the sum over its latents is known.
        """
        inference = self._inference()
        values, condition = self._rows(X, condition)
        if not inference.variational:
            raise RecipeError(f"a {self.recipe_.code.kind} code has no KL; try a gaussian one (presets.vae)")
        if "latent_kl" not in self.recipe_.code.provides:
            raise RecipeError(
                "only the sum of this code's KL over its latents is known, since its posterior or prior joins them; "
                'try code.covariance="diagonal" and code.prior="standard_normal" or "laplace"'
            )
        return inference.kl_per_latent(values, condition)

    def health(self, X: Any, *, condition: Any = None) -> Health:
        """Return whether the code is in use on some rows: the numbers of `metrics.code_health` that apply to it.

        Where a latent has positions (feature maps, sequences), each counts as a row, and nats are those of a position.
        Of more than 5,000, so many that are spread evenly are measured. `metrics.advice` turns the numbers into
        sentences that name remedies; `metrics_` has them, less the lists, for rows that training held out.

        Args:
            X: `(rows, *shape)`.
            condition: for a conditional model.

        Example:
            >>> import numpy as np
            >>> from isthmus import Autoencoder, presets
            >>> X = np.random.default_rng(0).random((200, 8))
            >>> model = Autoencoder(presets.vae(latent_dim=2, hidden_dims=(16,), epochs=3)).fit(X)
            >>> health = model.health(X)
            >>> health["latents"], len(health["kl_per_latent"])
            (2.0, 2)
        """
        return self._inference().health(*self._rows(X, condition), _HEALTH_ROWS)

    def corrupt(self, X: Any, *, random_state: int = 0) -> Floats:
        """Return the rows as the encoder saw them in training: corrupted, in the units of X.

        What a corruption hides (`hide_patches`) is NaN for a model that masks missing values.

        Raises:
            RecipeError: if the recipe has no corruption.
        """
        values = self._values(X)
        return self._corrupted(values, torch.Generator().manual_seed(derive(_seed(random_state), "corruption")))

    def _corrupted(self, values: Any, generator: torch.Generator) -> Floats:
        if self.recipe_.corruption is None:
            raise RecipeError("this recipe has no corruption; try presets.denoising")
        batch = to_batch(values, self.scaling_, None, torch.device("cpu"))
        seen = self.recipe_.corruption(batch, generator)
        rows = self.scaling_.inverse(seen.x.numpy(), self.schema_.float_dtype)
        if seen.mask is not None and self.recipe_.missing == "mask":
            rows[~seen.mask.numpy()] = np.nan
        return rows

    # ---- on disk -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model folder, whole or not at all; see `isthmus.artifact`."""
        self._check_fitted()
        parts = artifact.Artifact(
            self.recipe_,
            self.schema_,
            self.composition_,
            self.scaling_,
            self.metrics_,
            self.history_.to_csv(),
        )
        return artifact.save(parts, path, overwrite=overwrite)

    # ---- inside ------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "composition_"):
            raise NotFittedError("this Autoencoder is not fitted yet; try model.fit(X), or isthmus.load(path)")

    def _inference(self) -> Inference:
        self._check_fitted()
        return Inference(self.recipe_, self.schema_, self.scaling_, self.composition_)

    def _values(self, X: Any) -> Any:
        self._check_fitted()
        rows = as_rows(X, missing=self.recipe_.missing == "mask")
        self.schema_.check(rows.values, rows.names)
        return rows.values

    def _rows(self, X: Any, condition: Any = None) -> tuple[Any, Any]:
        values = self._values(X)
        return values, self._told(condition, len(values))

    def _told(self, condition: Any, rows: int) -> Any:
        return as_condition(condition, rows, self.schema_.condition_labels, self.schema_.condition_dim)


def load(path: str | Path) -> Autoencoder:
    """Return the model that `Autoencoder.save` or `isthmus fit --out` wrote.

    Raises:
        ArtifactError: if it is missing, damaged, incomplete or newer.
    """
    parts = artifact.load(path)
    model = Autoencoder(parts.recipe)
    model.recipe_, model.schema_, model.scaling_ = parts.recipe, parts.schema, parts.scaling
    model.composition_, model.metrics_ = parts.composition, parts.metrics
    model.history_ = History.from_csv(parts.history_csv)
    model.history_.best_epoch = int(parts.metrics["best_epoch"])
    model.history_.stop_reason = parts.metrics["stop_reason"]
    model.n_features_in_ = parts.schema.width
    if parts.schema.names:
        model.feature_names_in_ = np.asarray(parts.schema.names, dtype=object)
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


def _count(where: str, value: Any, minimum: int = 1) -> int:
    value = int(value) if isinstance(value, np.integer) else value
    check_integer(where, value, minimum)
    return int(value)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return _count("random_state", random_state, 0)


def _schema(rows: Rows, condition: Any) -> tuple[Schema, Any]:
    """Return the schema of rows and their condition, and the condition as the parts see it."""
    if condition is None:
        return Schema.of(rows.values, rows.names), None
    labels = labels_of(condition)
    width = len(labels) if labels is not None else math.prod(as_rows(condition).values.shape[1:])
    told = as_condition(condition, len(rows.values), labels, width)
    return Schema.of(rows.values, rows.names, width, labels), told


def _part(condition: Any, rows: Tensor) -> Any:
    return None if condition is None else condition[rows.numpy()]


# Rows on which `health` is measured; its mutual information takes time as their square.
_HEALTH_ROWS = 5000
# Rows that set the initial weights; more would not change them visibly.
_INITIAL_ROWS = 1024


def _spread(data: Batch, rows: int) -> Batch:
    """Return about `rows` rows from all over the data, which may be sorted."""
    step = max(1, data.rows // rows)
    return take(data, torch.arange(0, data.rows, step, device=data.x.device)[:rows])


def _digest(recipe: Recipe, rows: Rows, condition: Any) -> str:
    digest = hashlib.sha256(recipe.digest().encode())
    for array in (rows.values, condition):
        if array is not None:
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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


def _metrics(history: History, health: Health, rows: int, held_out: int, seconds: float) -> dict[str, Any]:
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
