"""What "auto" stands for in a recipe, once the data are known."""

from __future__ import annotations

from isthmus.data.encoding import SCALINGS
from isthmus.data.kinds import ROW_KINDS
from isthmus.data.tables.columns import SCALES
from isthmus.errors import RecipeError, explain
from isthmus.objectives import BinaryCrossEntropy, LikelihoodSpec, Normal, SquaredError
from isthmus.schema import Schema

AUTOMATIC = ("auto_error", "auto_density")


def likelihood_for(likelihood: LikelihoodSpec | str, *, unit: bool) -> LikelihoodSpec:
    """Return the likelihood of numbers, or where it is left open that of data in [0, 1] or of any others."""
    if likelihood == "auto_density":
        return BinaryCrossEntropy() if unit else Normal()
    if likelihood == "auto_error":
        likelihood = SquaredError()
    if isinstance(likelihood, SquaredError) and likelihood.output == "auto":
        return SquaredError("sigmoid" if unit else "linear")
    return likelihood  # type: ignore[return-value]


def is_unit(preprocessing: str, schema: Schema) -> bool:
    """Whether preprocessed numbers lie in [0, 1]."""
    return preprocessing == "unit" or (preprocessing == "none" and schema.low >= 0 and schema.high <= 1)


def preprocessing_for(likelihood: LikelihoodSpec | str, schema: Schema) -> str:
    """Return the preprocessing of rows of a schema, where it is left open."""
    if isinstance(likelihood, LikelihoodSpec) and likelihood.domain.raw:
        return "none"
    own = ROW_KINDS[schema.kind].preprocessing
    if own is not None:
        return own
    if schema.in_unit_interval:
        return "unit"
    return "columns" if schema.columns is not None else "standard"


_OF_TABLES = [scale for scale in ("columns", *SCALES) if scale not in SCALINGS]
PREPROCESSING = [
    "auto",
    *SCALINGS,
    *_OF_TABLES,
    *(kind.preprocessing for kind in ROW_KINDS.values() if kind.preprocessing),
]


def check_preprocessing(preprocessing: str, schema: Schema) -> None:
    """Raise `RecipeError` for a preprocessing that rows of a schema do not have."""
    own = ROW_KINDS[schema.kind].preprocessing
    legal = [own] if own else [*SCALINGS, *_OF_TABLES] if schema.columns is not None else list(SCALINGS)
    if preprocessing not in legal:
        expected = f"one of {', '.join(legal)} for {schema.kind} rows"
        raise RecipeError("preprocessing: " + explain(expected, repr(preprocessing), "auto"))
