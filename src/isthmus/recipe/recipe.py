"""Recipes: an autoencoder and its training as frozen dataclasses, in Python and in JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from isthmus.atomic import readable_json
from isthmus.codes import CodeSpec, Deterministic
from isthmus.composition import Composition
from isthmus.corruptions import Corruption
from isthmus.errors import RecipeError, explain
from isthmus.networks import Dense, NetworkSpec, Widths
from isthmus.objectives import (
    BinaryCrossEntropy,
    LikelihoodSpec,
    Mixed,
    Objective,
    OneHot,
    Shapes,
)
from isthmus.recipe.auto import (
    AUTOMATIC,
    PREPROCESSING,
    check_preprocessing,
    is_unit,
    likelihood_for,
    preprocessing_for,
)
from isthmus.recipe.json_schema import recipe_schema
from isthmus.recipe.serialise import AXES, assign, check_fields, check_mapping, decode_objective, decode_part, encode
from isthmus.recipe.synonyms import with_own_names
from isthmus.recipe.training import Training
from isthmus.schema import Schema
from isthmus.settings import (
    OneOf,
    Settings,
)

FORMAT = 1


@dataclass(frozen=True)
class Recipe(Settings):
    """An autoencoder: four parts, the preprocessing and the training.

    Args:
        network: how features are computed.
        code: what passes the bottleneck.
        corruption: of the encoder's input in training; None for x itself.
        objective: what is minimised.
        missing: "refuse" rows with missing values (NaN), or "mask" them: the encoder sees zero there and the
            likelihood leaves them out; "auto" masks where training rows of a table, series or text have some.
        conditional: whether encoder and decoder need a condition beside the row, such as its class.
        preprocessing: "unit" (to [0, 1]), "standard" (mean 0, deviation 1 by column), "none"; "auto" is "unit" for
            8- and 16-bit integers and values in [0, 1], else "standard"; and "none" for a likelihood of counts,
            categories or mixed columns, which have their own units. For the numbers of a table also "robust" (median
            0, quartiles as of a normal density), "log", "quantile", and "columns", which "auto" is there: "standard",
            or "log" for columns with a long tail.
        training: how it is trained.

    Raises:
        RecipeError: for values out of range and for parts that do not fit.

    Example:
        >>> from isthmus.codes import Gaussian
        >>> from isthmus.objectives import Bernoulli, KL, Reconstruction
        >>> recipe = Recipe(code=Gaussian(latent_dim=8), objective=Reconstruction(Bernoulli()) + 1.0 * KL())
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
        >>> recipe.replace({"code.latent_dim": 2}).code.latent_dim
        2
    """

    network: NetworkSpec = field(default_factory=Dense)
    code: CodeSpec = field(default_factory=Deterministic)
    corruption: Corruption | None = None
    objective: Objective = field(default_factory=Objective)
    preprocessing: Annotated[str, OneOf(*PREPROCESSING)] = "auto"
    training: Training = field(default_factory=Training)
    missing: Annotated[str, OneOf("auto", "refuse", "mask")] = "auto"
    conditional: bool = False

    def check_together(self) -> None:
        """Raise `RecipeError` unless the four parts are parts that fit each other."""
        for name, axis in AXES.items():
            value = getattr(self, name)
            if not isinstance(value, axis.base) and not (axis.optional and value is None):
                expected = f"a {axis.base.__name__}"
                raise RecipeError(f"{name}: " + explain(expected, repr(value), f"{sorted(axis.table)} by name"))
        if not isinstance(self.objective, Objective):
            raise RecipeError("objective: " + explain("an Objective", repr(self.objective), "Reconstruction(...)"))
        if not isinstance(self.training, Training):
            raise RecipeError("training: " + explain("a Training", repr(self.training), "Training()"))
        self.check()

    def check(self) -> None:
        """Raise `RecipeError`, with advice, unless each part's needs are provided by another part."""
        provided = {*self.network.provides, *self.code.provides}
        likelihood = self.objective.likelihood
        provided |= likelihood.provides if isinstance(likelihood, LikelihoodSpec) else LikelihoodSpec.provides
        provided -= self.code.breaks
        if self.training.opening:
            if "opening" not in provided:
                raise RecipeError(
                    f"training.opening={self.training.opening}: latents of the {self.code.kind} code cannot open one "
                    "by one; try a deterministic, gaussian or fsq code, or training.opening=0"
                )
            # Closed latents are zero, which no posterior knows.
            provided -= {"posterior", "diagonal_posterior"}
        network, code = f"the {self.network.kind} network", f"the {self.code.kind} code"
        if self.training.pretraining and "stages" not in provided:
            raise RecipeError(
                f"training.pretraining={self.training.pretraining} trains layers one by one; {network} has no form "
                "for; try network.kind=dense, or training.pretraining=0"
            )
        users = [(f"the term {w.term.kind!r}", w.term.needs, w.term.advice) for w in self.objective.terms]
        users += [(network, self.network.needs, self.network.advice), (code, self.code.needs, self.code.advice)]
        for user, needs, advice in users:
            for need in sorted(needs - provided):
                others = f"neither {network}, {code} nor the likelihood"
                raise RecipeError(f"{user} needs {need!r}, which {others} provides here; {advice}")

    def resolve(self, schema: Schema, rows: int) -> Recipe:
        """Return the recipe with every "auto" answered for data of a schema.

        Args:
            schema: of the data.
            rows: number of training rows.

        Raises:
            RecipeError: if the parts do not fit each other, or the data.
        """
        if self.conditional and not schema.condition_dim:
            raise RecipeError(
                "this recipe is conditional: "
                + explain("a condition", "none", "fit(X, condition=labels), or --condition")
            )
        preprocessing = self.preprocessing
        if preprocessing == "auto":
            preprocessing = preprocessing_for(self.objective.likelihood, schema)
        check_preprocessing(preprocessing, schema)
        code = self.code.resolve(schema.row, rows)
        network = self.network.resolve(schema.row, rows)
        likelihood = self._fitting_likelihood(schema, preprocessing)
        resolved = dataclasses.replace(
            self,
            network=network,
            code=code,
            corruption=None if self.corruption is None else self.corruption.resolve(schema),
            objective=dataclasses.replace(self.objective, likelihood=likelihood),
            preprocessing=preprocessing,
            missing=("mask" if schema.holes else "refuse") if self.missing == "auto" else self.missing,
            training=self.training.resolve(rows),
        )
        resolved._check_misfits(schema)
        _check_batches(resolved, rows)
        return resolved

    def _fitting_likelihood(self, schema: Schema, preprocessing: str) -> LikelihoodSpec:
        """Return the likelihood with every "auto" answered; that of a table has a part for each kind of column."""
        if self.objective.likelihood in AUTOMATIC and schema.kind == "tokens":
            return OneHot().resolve(schema)
        given = likelihood_for(self.objective.likelihood, unit=is_unit(preprocessing, schema)).resolve(schema)
        numbers, bits, choices = schema.groups
        whole = isinstance(given, Mixed) or not (bits or choices) or (preprocessing == "unit" and not choices)
        if whole or numbers:
            unsupported = given.unsupported(schema, preprocessing)
            if unsupported is not None:
                raise RecipeError(unsupported)
        if whole:
            return given
        parts: list[Any] = [(f"0:{numbers}", given)] if numbers else []
        parts += [(f"{numbers}:{numbers + bits}", BinaryCrossEntropy())] if bits else []
        parts += [(f"{numbers + bits}:{schema.row[0]}", OneHot(choices))] if choices else []
        return Mixed(tuple(parts)) if len(parts) > 1 else parts[0][1]

    def _check_misfits(self, schema: Schema) -> None:
        parts = [self.code, self.likelihood, self.corruption, *(w.term for w in self.objective.terms)]
        reasons = [self.network.misfit(self.widths(schema))]
        reasons += [part.misfit(schema.row) for part in parts if part is not None]
        for why in reasons:
            if why is not None:
                raise RecipeError(why)

    @property
    def likelihood(self) -> LikelihoodSpec:
        """The likelihood of a resolved recipe."""
        if not isinstance(self.objective.likelihood, LikelihoodSpec):
            raise RecipeError("the likelihood is still 'auto'; try recipe.resolve(schema, rows) first")
        return self.objective.likelihood

    def widths(self, schema: Schema) -> Widths:
        """Return what the network is asked for; the recipe must be resolved."""
        if self.code.latent_dim == "auto":
            raise RecipeError("code.latent_dim is still 'auto'; try recipe.resolve(schema, rows) first")
        return Widths(
            row=schema.row,
            features=self.code.features(),
            latent=self.code.latent_dim,
            parameters=self.likelihood.parameters,
            condition=schema.condition_dim,
            support=self.likelihood.support,
        )

    def build(self, schema: Schema) -> Composition:
        """Return the composition of a resolved recipe, initialised from torch's generator."""
        widths = self.widths(schema)
        network = self.network.build(widths)
        shapes = Shapes((widths.latent, *network.positions), schema.row)
        return Composition(
            network=network,
            code=self.code.build(schema.row),
            corruption=self.corruption,
            likelihood=self.likelihood.build(schema.row),
            terms={w.term.kind: w.term.build(shapes) for w in self.objective.terms},
            condition_dim=widths.condition,
        )

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema, draft 2020-12, of a recipe in JSON: every setting with its range and default."""
        return recipe_schema(cls, Training)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": FORMAT, **encode(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Rebuild from `to_dict`.

        A part may also be its kind alone ("mask"), and what is missing has its default.

        Raises:
            RecipeError: for an unknown name, with the valid ones, and for a newer format.
        """
        try:
            return cls._from_dict(check_mapping("recipe", data))
        except RecursionError:
            raise RecipeError("recipe: its parts are nested without end; try fewer parts inside parts") from None

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Recipe:
        version = data.pop("format", FORMAT)
        if version != FORMAT:
            raise RecipeError(
                "recipe: " + explain(f"format {FORMAT}", repr(version), "the isthmus release that wrote it, or newer")
            )
        check_fields("recipe", cls, data)
        values: dict[str, Any] = dict(data)
        for name, axis in AXES.items():
            if name in data:
                values[name] = decode_part(name, axis, data[name])
        if "objective" in data:
            values["objective"] = decode_objective(data["objective"])
        if "training" in data and not isinstance(data["training"], Training):
            settings = check_mapping("training", data["training"])
            settings = with_own_names("training", settings, [f.name for f in dataclasses.fields(Training)])
            check_fields("training", Training, settings)
            values["training"] = Training(**settings)
        return cls(**values)

    @classmethod
    def from_json(cls, path: str | Path) -> Recipe:
        """Read a recipe from a JSON file."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"the recipe file {str(path)!r} cannot be read: {error.strerror}") from None
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecipeError(f"the recipe file {str(path)!r} is no JSON ({error})") from None
        return cls.from_dict(data)

    def to_json(self, path: str | Path) -> None:
        """Write the recipe to a JSON file."""
        Path(path).write_text(readable_json(self.to_dict()) + "\n", encoding="utf-8")

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a copy with values replaced by dotted path, all at once.

        Terms are reached by their kind: ``{"objective.kl.weight": 4}``.

        Raises:
            RecipeError: for a path that does not exist, with the ones that do.
        """
        data = self.to_dict()
        for path, value in changes.items():
            assign(data, path, encode(value))
        return Recipe.from_dict(data)

    def paths(self) -> dict[str, Any]:
        """Return every dotted path and its value."""
        found: dict[str, Any] = {}

        def walk(value: Any, prefix: str) -> None:
            if isinstance(value, dict):
                for key, inner in value.items():
                    walk(inner, f"{prefix}.{key}" if prefix else key)
            elif prefix == "objective.terms":
                for item in value:
                    walk({k: v for k, v in item.items() if k != "term"}, f"objective.{item['term']['kind']}")
                    walk(
                        {k: v for k, v in item["term"].items() if k != "kind"},
                        f"objective.{item['term']['kind']}",
                    )
            else:
                found[prefix] = value

        walk(encode(self), "")
        return found

    def digest(self) -> str:
        """Return a hash of everything that decides the trained weights."""
        text = json.dumps(self.replace({"training.checkpoint_seconds": 0}).to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _check_batches(recipe: Recipe, rows: int) -> None:
    network = recipe.network
    smallest = rows // -(-rows // int(recipe.training.batch_size))
    if smallest < network.minimum_batch:
        raise RecipeError(
            f"network.normalisation={getattr(network, 'normalisation', None)}: "
            + explain(
                f"batches of {network.minimum_batch} rows or more", f"{smallest}", "layer normalisation, or more rows"
            )
        )
    for term in (weighted.term for weighted in recipe.objective.terms):
        if smallest < term.minimum_batch:
            wanted = f"batches of {term.minimum_batch} rows or more, which the term {term.kind!r} needs"
            raise RecipeError("training.batch_size: " + explain(wanted, f"{smallest}", "a larger one, or more rows"))
