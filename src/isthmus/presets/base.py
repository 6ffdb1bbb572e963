"""How a preset's keyword arguments become a recipe."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from isthmus.codes import CodeSpec
from isthmus.corruptions import Corruption
from isthmus.errors import RecipeError
from isthmus.networks import NetworkSpec
from isthmus.objectives import KL, LIKELIHOODS, LikelihoodSpec, Objective, Term, WeightedTerm
from isthmus.recipe import Recipe, Training
from isthmus.recipe.serialise import AXES, Axis, decode_part
from isthmus.recipe.synonyms import likelihood_of, unknown_setting, with_own_names

LatentDim = int | Literal["auto"]
LikelihoodChoice = LikelihoodSpec | Literal["auto_error", "auto_density"]


_TRAINING = [field.name for field in dataclasses.fields(Training)]


def assemble(
    code: CodeSpec,
    *terms: Term | WeightedTerm,
    settings: dict[str, Any],
    likelihood: LikelihoodChoice = "auto_error",
    corruption: Corruption | None = None,
    own: tuple[str, ...] = (),
    network: str | NetworkSpec = "dense",
) -> Recipe:
    """Deal the keyword arguments of a preset to the parts they belong to."""
    network = settings.get("network", network)
    chosen_network: Any = decode_part("network", AXES["network"], network)
    of_network = [field.name for field in dataclasses.fields(chosen_network)]
    valid = ["latent_dim", *own, "network", *of_network, *_TRAINING, "preprocessing", "likelihood"]
    settings = with_own_names("preset", settings, valid)
    if "latent_dim" in settings:  # under another name, or the preset had taken it
        code = dataclasses.replace(code, latent_dim=settings.pop("latent_dim"))  # type: ignore[type-var]
    if "kl_weight" in settings and "beta" not in own and KL() in terms:
        weight = settings.pop("kl_weight")
        terms = tuple(WeightedTerm(KL(), weight) if term == KL() else term for term in terms)
    for name in settings:
        if name not in (*of_network, *_TRAINING, "network", "preprocessing", "likelihood"):
            raise RecipeError(unknown_setting(name, valid))
    chosen = settings.get("likelihood", likelihood)
    if isinstance(chosen, str) and chosen not in ("auto_error", "auto_density"):
        chosen = decode_part("objective.likelihood", Axis(LikelihoodSpec, LIKELIHOODS), likelihood_of(chosen))
    objective = Objective(chosen)
    for term in terms:
        objective = objective + term
    return Recipe(
        network=dataclasses.replace(
            chosen_network, **{name: settings[name] for name in of_network if name in settings}
        ),
        code=code,
        corruption=corruption,
        objective=objective,
        preprocessing=settings.get("preprocessing", "auto"),
        training=Training(**{name: settings[name] for name in _TRAINING if name in settings}),
    )
