"""Several autoencoders trained in one loop: an ensemble that reads, encodes and shuffles its rows once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from isthmus.codes import CodeOutput, Draw
from isthmus.composition import Composition, Loss, Trainable
from isthmus.data.encoded import NONE
from isthmus.errors import RecipeError, explain
from isthmus.estimator.autoencoder import Autoencoder, fitted, initialised, metrics_of
from isthmus.estimator.prepare import TrainingData, prepare
from isthmus.objectives import Forward
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from isthmus.training import choose_progress, train
from isthmus.training.health import final_health
from isthmus.typing import Integers


class JointTraining(Trainable):
    """Compositions that see the same batches, each through noise of its own, against the training loop's contract.

    Its loss is the sum of theirs, of which no part reaches the weights of two of them; what it reports are averages.
    """

    def __init__(self, members: Sequence[Composition]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.owning_terms = nn.ModuleDict()

    def _each(self) -> Iterator[Composition]:
        yield from self.members  # type: ignore[misc]

    def owners(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters of all."""
        yield "autoencoder", list(self.parameters())

    def forward(
        self,
        batch: Batch,
        draw: Draw | None = None,
        *,
        corrupt: bool = False,
        generator: torch.Generator | None = None,
    ) -> list[Forward]:
        """Run the batch through all of them."""
        return [member(batch, draw, corrupt=corrupt, generator=generator) for member in self._each()]

    def loss(self, forward: Sequence[Forward], weights: Mapping[str, float]) -> Loss:
        """Return the sum of the losses, and the averages of their parts."""
        found = [member.loss(one, weights) for member, one in zip(self._each(), forward, strict=True)]
        raw = {name: torch.stack([one.raw[name] for one in found]).mean() for name in found[0].raw}
        return Loss(torch.stack([one.total for one in found]).sum(), raw)

    def encode(self, batch: Batch, draw: Draw | None = None) -> CodeOutput:
        """Return the first one's code, whose health stands for all."""
        return next(self._each()).encode(batch, draw)

    def set_progress(self, progress: float, opening: float = 0.0) -> None:
        """Tell all where training is."""
        for member in self._each():
            member.set_progress(progress, opening)

    def after_step(self) -> None:
        """Put the weights of all back where they must be."""
        for member in self._each():
            member.after_step()


def fit_ensemble(
    recipes: Sequence[Recipe], X: Any, *, condition: Any = None, excluded: Integers = NONE, verbose: bool = False
) -> list[Autoencoder]:
    """Return one fitted autoencoder for each recipe, all of the same rows and the same encoding.

    They are trained in one loop where no recipe has a term with an optimiser of its own (an adversary), else one after
    the other.

    Args:
        recipes: which may differ in network, code, corruption and seed, the first of which decides all else.
        X: rows, as in `Autoencoder.fit`.
        condition: as in `Autoencoder.fit`.
        excluded: numbers of rows, in order, that nothing is fitted on.
        verbose: whether training shows its progress.

    Raises:
        RecipeError: for no recipe, for recipes that differ in what they share, or that do not fit the data.
        DataError: for data that cannot be used.

    Example:
        >>> import numpy as np
        >>> from isthmus import presets
        >>> rows = np.random.default_rng(0).random((100, 4))
        >>> recipe = presets.denoising(latent_dim=2, hidden_dims=(8,), epochs=2)
        >>> models = fit_ensemble([recipe, recipe.replace({"training.seed": 1})], rows)
        >>> len(models), bool((models[0].transform(rows) == models[1].transform(rows)).all())
        (2, False)
    """
    started = time.monotonic()
    _check_alike(recipes)
    prepared = prepare(X, recipes[0], condition, excluded)
    each = [_like(prepared, recipe) for recipe in recipes]
    compositions = [initialised(one) for one in each]
    groups = [list(zip(each, compositions, strict=True))]
    if any(composition.owning_terms for composition in compositions):
        groups = [[pair] for pair in groups[0]]
    models: list[Autoencoder] = []
    for group in groups:
        models += _trained(group, verbose, started)
    return models


def _trained(group: Sequence[tuple[TrainingData, Composition]], verbose: bool, started: float) -> list[Autoencoder]:
    prepared, first = group[0]
    recipe = prepared.recipe
    history = train(
        first if len(group) == 1 else JointTraining([composition for _, composition in group]),
        recipe.objective,
        recipe.training,
        prepared.data,
        prepared.validation,
        progress=choose_progress(verbose),
    )
    measured = prepared.data.representative if prepared.validation is None else prepared.validation
    models = []
    for one, composition in group:
        health = final_health(composition, measured, one.recipe.training.seed)
        seconds = time.monotonic() - started
        metrics = metrics_of(history, health, prepared.data.rows, prepared.held_rows, seconds)
        models.append(fitted(one.recipe, one.schema, one.encoding, composition, history, metrics))
    return models


def _like(prepared: TrainingData, recipe: Recipe) -> TrainingData:
    """Return the same rows prepared for another recipe."""
    rows = prepared.data.rows
    return dataclasses.replace(prepared, recipe=recipe.resolve(prepared.schema, rows))


def _check_alike(recipes: Sequence[Recipe]) -> None:
    if not recipes:
        raise RecipeError(explain("at least one recipe", "none", "[presets.denoising()]"))
    first = _shared(recipes[0])
    for number, recipe in enumerate(recipes):
        differing = [name for name, value in _shared(recipe).items() if value != first[name]]
        if differing:
            got = f"another {differing[0]} in recipe {number}"
            advice = "recipes that differ in network, code, corruption and seed"
            raise RecipeError(explain("recipes that can be trained together", got, advice))


def _shared(recipe: Recipe) -> dict[str, Any]:
    """Return what all members have in common."""
    return {
        "objective": recipe.objective,
        "preprocessing": recipe.preprocessing,
        "training": dataclasses.replace(recipe.training, seed=0),
        "missing": recipe.missing,
        "conditional": recipe.conditional,
    }
