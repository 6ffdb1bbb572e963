"""`advise`: measure the rows, compare the kinds of autoencoder, and propose a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus import presets
from isthmus.advice.kinds import KINDS, Kind
from isthmus.advice.measure import DataMeasurements, is_flat_image, measure
from isthmus.advice.rows import rows_to_measure
from isthmus.advice.rules import ALIKE, GOALS, Candidate, Choice, Goal, looks_clean
from isthmus.data.batches import split
from isthmus.errors import DataError, RecipeError, explain, unknown_name
from isthmus.objectives import LIKELIHOODS
from isthmus.recipe import Recipe
from isthmus.schema import Schema


@dataclass(frozen=True)
class Weighed:
    """A kind that was considered.

    Attributes:
        kind: its strengths and limits.
        chosen: whether it is proposed.
        why: the reason, in a few words.
        serves: whether it is suitable for the goal.
    """

    kind: Kind
    chosen: bool
    why: str
    serves: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        kind = self.kind
        return {
            "preset": kind.preset,
            "strengths": kind.strengths,
            "limits": kind.limits,
            "chosen": self.chosen,
            "why": self.why,
            "serves": self.serves,
        }


@dataclass(frozen=True)
class Advice:
    """A recipe for some rows and a goal, with the measurements and reasons.

    Attributes:
        goal: a key of `GOALS`.
        preset: the kind that is proposed.
        recipe: that preset with the settings that are proposed.
        facts: the measurements.
        choices: each setting that matters, its value, and the reason in one line.
        kinds: every kind that was considered, the proposed one first.
        warnings: reservations about the proposal.
    """

    goal: str
    preset: str
    recipe: Recipe
    facts: DataMeasurements
    choices: tuple[Choice, ...]
    kinds: tuple[Weighed, ...]
    warnings: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the preset's own, by path, as for `--set`."""
        return {choice.setting: choice.value for choice in self.choices if choice.given and choice.setting != "recipe"}

    @property
    def latent_dim(self) -> int:
        """The proposed number of latents."""
        return int(next(choice.value for choice in self.choices if choice.setting == "code.latent_dim"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "goal": self.goal,
            "preset": self.preset,
            "recipe": self.recipe.to_dict(),
            "settings": self.settings,
            "facts": self.facts.to_dict(),
            "pca_explains": self.facts.explained(self.latent_dim),
            "choices": [
                {"setting": c.setting, "value": c.value, "reason": c.reason, "given": c.given} for c in self.choices
            ],
            "kinds": [weighed.to_dict() for weighed in self.kinds],
            "warnings": list(self.warnings),
        }


def check_goal(goal: str | None) -> Goal:
    """Return a goal by name; raise `RecipeError` with the valid ones for anything else."""
    if goal is None:
        raise RecipeError("goal: " + explain(f"what the model is for, one of {', '.join(GOALS)}", "none", "detect"))
    if goal not in GOALS:
        raise RecipeError(unknown_name("goal", goal, GOALS))
    return GOALS[goal]


def advise(X: Any, goal: str, *, seed: int = 0) -> Advice:
    """Measure rows and propose a recipe for a goal, with the reason for each setting.

    Nothing is trained: this takes seconds. The proposal is a starting point, not the best of several trained models.

    Args:
        X: vectors, images or a table: an array, a data frame, a tensor, nested lists, a path, or what `isthmus.read`
            returned. Categories, dates and missing values of a table are measured as encoded for the network.
        goal: "compress", "detect", "denoise", "generate", "features" or "visualise".
        seed: chooses the rows that spectrum and neighbours are measured on, where there are more than 5,000.

    Raises:
        RecipeError: for an unknown goal.
        DataError: for data that cannot be used or measured: one column, fewer than three rows, rows that are all the
            same.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 30)) + 0.1 * rng.normal(size=(500, 30))
        >>> advice = advise(X, "detect")
        >>> advice.preset, advice.latent_dim, advice.recipe.corruption
        ('denoising', 6, GaussianNoise(std=(0.1, 2.0)))
    """
    wanted = check_goal(goal)
    rows, schema = rows_to_measure(X)
    if rows[0].size < 2:
        got = f"rows of one value ({len(rows)} of them)"
        raise DataError(explain("rows of two values or more", got, "more columns: one cannot be made narrower"))
    facts = measure(rows, schema if schema.columns is None else Schema.of(rows), seed)
    chosen, recipe, given, refused = _first_that_fits(wanted, facts, schema)
    return Advice(
        goal=goal,
        preset=chosen.preset,
        recipe=recipe,
        facts=facts,
        choices=(
            Choice("recipe", chosen.preset, chosen.reason),
            *given,
            *_defaults(recipe, given, facts, schema),
        ),
        kinds=_weigh(wanted, chosen.preset, refused, facts),
        warnings=tuple(text for text in (warn(facts, schema, recipe, goal) for warn in _WARNINGS) if text),
    )


def _first_that_fits(
    goal: Goal, facts: DataMeasurements, schema: Schema
) -> tuple[Candidate, Recipe, tuple[Choice, ...], dict[str, str]]:
    """Return the first candidate that can be trained on these rows, and why those before it cannot."""
    refused: dict[str, str] = {}
    for candidate in goal.candidates:
        reason = _unusable(KINDS[candidate.preset], facts) if candidate.rules else "not proposed by itself"
        if reason is None and candidate.widest is not None and facts.kind == "image" and facts.width > candidate.widest:
            reason = f"for images of at most {candidate.widest:,} values"
        if reason is None:
            try:
                recipe, given = _apply(candidate, facts, tabular=schema.columns is not None)
                recipe.resolve(schema, _training_rows(recipe, facts))
            except RecipeError as error:
                reason = str(error)
            else:
                return candidate, recipe, given, refused
        refused[candidate.preset] = reason
    raise RecipeError(f"no kind of autoencoder fits {schema.describe()}: {refused}")


def _unusable(kind: Kind, facts: DataMeasurements) -> str | None:
    """Return why a kind cannot be proposed for these rows; None if it can."""
    if facts.kind not in kind.rows:
        return f"for rows that are {' or '.join(_PLURAL.get(name, name) for name in kind.rows)}"
    if kind.preset not in presets.PRESETS:
        return "not in this version of isthmus"
    if facts.rows < kind.fewest_rows:
        return f"needs about {kind.fewest_rows:,} rows or more"
    return None


_PLURAL = {"image": "images", "vector": "vectors"}


def _apply(candidate: Candidate, facts: DataMeasurements, *, tabular: bool) -> tuple[Recipe, tuple[Choice, ...]]:
    """Return the preset with the settings of its rules."""
    recipe = presets.get(candidate.preset)
    if tabular:
        facts = dataclasses.replace(facts, neighbours=None)  # each column has a scaling of its own
    given = []
    for rule in candidate.rules:
        choice = rule(facts)
        # Columns of a table have scalings of their own.
        if choice is not None and _has(recipe, choice.setting) and not (tabular and choice.setting == "preprocessing"):
            recipe = recipe.replace({choice.setting: choice.value})
            given.append(choice)
    return recipe, tuple(given)


def _has(recipe: Recipe, setting: str) -> bool:
    return any(path == setting or path.startswith(setting + ".") for path in recipe.paths())


def _training_rows(recipe: Recipe, facts: DataMeasurements) -> int:
    training, _ = split(facts.rows, recipe.training.validation_fraction, recipe.training.seed)
    return len(training)


def _weigh(goal: Goal, chosen: str, refused: dict[str, str], facts: DataMeasurements) -> tuple[Weighed, ...]:
    """Return every kind, the chosen one first, then those that are suitable for the goal, then the others."""
    reasons = {candidate.preset: candidate.reason for candidate in goal.candidates}
    order = [chosen, *(name for name in reasons if name != chosen), *(name for name in KINDS if name not in reasons)]

    def why(name: str) -> str:
        if name == chosen:
            return reasons[name]
        missing = refused.get(name) or _unusable(KINDS[name], facts)
        return missing or reasons.get(name, "not made for this goal")

    return tuple(Weighed(KINDS[name], name == chosen, why(name), name in reasons) for name in order)


# ---- what is left as it is -------------------------------------------------------------------------------------------

_REASONS: dict[str, Callable[[DataMeasurements, Recipe], str]] = {
    "network.hidden_dims": lambda facts, recipe: (
        f"the default for rows of {'128 values or more' if facts.width >= 128 else 'fewer than 128 values'}"
    ),
    "preprocessing": lambda facts, recipe: (
        "one range for all values"
        if recipe.preprocessing == "unit"
        else "equal weight for all columns, whatever their units"
    ),
    "objective.likelihood": lambda facts, recipe: "the reconstruction error is what counts",
    "training.batch_size": lambda facts, recipe: "the default: 256, or all training rows if there are fewer",
    "training.epochs": lambda facts, recipe: "the default: about 5,000 steps, at least 3 and at most 300 epochs",
    "training.patience": lambda facts, recipe: "the default: epochs without a better validation loss before it stops",
}


def _defaults(recipe: Recipe, given: tuple[Choice, ...], facts: DataMeasurements, schema: Schema) -> tuple[Choice, ...]:
    """Return the important settings without a rule, with the values that training will use."""
    resolved = recipe.resolve(schema, _training_rows(recipe, facts))
    values = resolved.paths() | {"objective.likelihood": resolved.likelihood.kind}
    decided = {choice.setting for choice in given}
    return tuple(
        Choice(path, values[path], reason(facts, resolved), given=False)
        for path, reason in _REASONS.items()
        if path not in decided and path in values
    )


# ---- warnings --------------------------------------------------------------------------------------------------------

_FEW_ROWS = 500
_NEARLY_ALL = 0.98


def _few_rows(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if facts.rows >= _FEW_ROWS:
        return None
    return f"{facts.rows} rows are few: a network may overfit; compare with PCA on test rows"


def _duplicates(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if not facts.duplicates:
        return None
    what = "1 row equals" if facts.duplicates == 1 else f"{facts.duplicates:,} rows equal"
    return f"{what} an earlier one: drop duplicates before you split training and test rows, or they are in both"


def _constant(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if not facts.constant or facts.kind == "image":
        return None
    return f"{facts.constant} of {facts.width} columns are constant and carry no information; they can be dropped"


def _linear(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    latents = recipe.code.latent_dim
    if (
        goal in ("detect", "generate")
        or latents == "auto"
        or latents >= facts.width - facts.constant
        or facts.explained(latents) < _NEARLY_ALL
    ):
        return None
    share = f"{facts.explained(latents):.1%} of the variance"
    return f"PCA with {latents} components explains {share}: try it first, it is simpler"


def _nothing_in_common(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if facts.signal != 0:
        return None
    return "no component stands out of the noise: the columns are almost independent, so a code cannot help"


def _ordered(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if is_flat_image(schema):
        side = int(facts.width**0.5)
        return f"rows of {facts.width} values may be images: pass them as {side} x {side} pixels to read them as images"
    if facts.neighbours is None or facts.neighbours < ALIKE:
        return None
    return (
        f"neighbouring columns are alike (correlation {facts.neighbours:.2f}), as in a series: "
        "the proposed recipe does not use their order"
    )


def _mostly_zero(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if facts.kind == "image" or facts.binary or facts.zeros < 0.5:
        return None
    return (
        f"{facts.zeros:.0%} of the values are 0: if they are counts or ratings, set objective.likelihood to one for "
        f"them if it is here ({', '.join(LIKELIHOODS)})"
    )


def _bound(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    if goal != "denoise" or facts.noise_is_clear or facts.binary or looks_clean(facts):
        return None
    what = "edges and texture count as noise" if facts.kind == "image" else "its spectrum has no flat tail"
    return f"the noise of {facts.noise:.2g} is an upper bound ({what}); if you know the noise, set corruption.std to it"


def _unlabelled(facts: DataMeasurements, schema: Schema, recipe: Recipe, goal: str) -> str | None:
    return "train on normal rows only, as far as you know them" if goal == "detect" else None


_WARNINGS = (
    _few_rows,
    _duplicates,
    _constant,
    _linear,
    _nothing_in_common,
    _ordered,
    _mostly_zero,
    _bound,
    _unlabelled,
)
