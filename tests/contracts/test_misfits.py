"""Every composition whose parts do not fit is refused before anything is built, and told what to do."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from isthmus import Autoencoder
from isthmus.codes import PRIORS, Deterministic, Gaussian
from isthmus.codes.base import Code, CodeSpec
from isthmus.errors import DataError, RecipeError
from isthmus.networks import Dense, NetworkSpec, Widths
from isthmus.objectives import (
    KL,
    TERMS,
    Bernoulli,
    BinaryCrossEntropy,
    Categorical,
    ContinuousBernoulli,
    Contraction,
    Laplace,
    Linear,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Normal,
    Objective,
    Poisson,
    Reconstruction,
    SparsityTarget,
    SquaredError,
    StudentT,
    WeightedTerm,
)
from isthmus.recipe import Recipe, Training
from isthmus.schema import Schema
from tests.helpers import PARTS, rows

UNIT, BINARY, REAL, COUNTS, CATEGORIES, MIXED = (
    rows(support=support) for support in ("unit", "binary", "real", "counts", "categories", "mixed")
)


def _stand(network: NetworkSpec, code: CodeSpec) -> bool:
    """Return whether network and code fit each other without any term."""
    try:
        Recipe(network, code)
    except RecipeError:
        return False
    return True


PAIRS = [pair for pair in itertools.product(PARTS["network"], PARTS["code"]) if _stand(*pair)]
COMBINATIONS = [(*pair, term) for pair, term in itertools.product(PAIRS, PARTS["term"])]


@pytest.mark.parametrize("kind", TERMS)
def test_a_term_is_refused_exactly_where_no_part_provides_what_it_needs(kind: str) -> None:
    """All networks x codes x settings of the term. Advice is given, and names the term."""
    refused = accepted = 0
    for network, code, term in COMBINATIONS:
        if term.kind != kind:
            continue
        missing = term.needs - ((network.provides | code.provides | {"expectation"}) - code.breaks)
        objective = Objective(terms=(WeightedTerm(term),))
        if missing:
            with pytest.raises(RecipeError) as caught:
                Recipe(network, code, objective=objective)
            message = str(caught.value)
            assert repr(kind) in message and any(repr(need) in message for need in missing)
            assert term.advice and message.endswith(term.advice)
            assert network.kind in message and code.kind in message
            refused += 1
        else:
            Recipe(network, code, objective=objective)
            accepted += 1
    assert accepted, f"no network and code at hand lets {kind!r} be used"
    needed = frozenset[str]().union(*(term.needs for term in PARTS["term"] if term.kind == kind))
    everywhere = frozenset.intersection(*(frozenset(network.provides | code.provides) for network, code in PAIRS))
    everywhere |= {"expectation"}  # of the likelihoods that are chosen by the data
    assert bool(refused) == bool(needed - everywhere)


def test_a_term_on_expected_rows_is_refused_where_their_mean_has_no_gradient() -> None:
    for part in PARTS["term"]:
        if "expectation" not in part.needs:
            continue
        for likelihood in (Categorical(4), Mixed(((range(5), Normal()), ((5,), Categorical(4))))):
            with pytest.raises(
                RecipeError, match=r"needs 'expectation'.*nor the likelihood provides.*mean has gradients"
            ):
                Recipe(objective=Reconstruction(likelihood) + 1.0 * part)
        Recipe(objective=Reconstruction(Normal()) + 1.0 * part)


@pytest.mark.parametrize(
    ("parts", "x", "message"),
    [
        # Known by hand, not by `needs` and `provides`.
        (lambda: Recipe(code=Deterministic(2), objective=Objective() + 1.0 * KL()), UNIT, "'kl' needs 'kl'.*gauss"),
        (
            lambda: Recipe(code=Deterministic(2, "relu"), objective=Objective() + 1.0 * SparsityTarget()),
            UNIT,
            "needs 'unit_interval'.*code.activation=sigmoid",
        ),
        (
            lambda: Recipe(code=Gaussian(2), objective=Objective() + 1.0 * SparsityTarget()),
            UNIT,
            "needs 'unit_interval'",
        ),
        (
            lambda: Recipe(Dense(normalisation="batch"), objective=Objective() + 1.0 * Contraction()),
            UNIT,
            "'contraction' needs 'independent_rows'.*network.normalisation",
        ),
        (lambda: Recipe(Dense(tied=True), Gaussian(2)), UNIT, "tied weights need.*reads 4 for 2.*network.tied=false"),
        (
            lambda: Recipe(Dense(tied=True), objective=Reconstruction(Normal("row"))),
            REAL,
            "one number for each value, and the likelihood needs 2.*squared_error",
        ),
        (lambda: Recipe(Dense(tied=True, residual=True)), UNIT, "exclude each other.*network.residual=false"),
        (
            lambda: Recipe(objective=Reconstruction(Bernoulli())),
            UNIT,
            "'bernoulli' cannot hold the data.*values that are 0 or 1.*binary_cross_entropy",
        ),
        (
            lambda: Recipe(objective=Reconstruction(Bernoulli())),
            REAL,
            "'bernoulli' cannot hold the data.*0 or 1",
        ),
        (
            lambda: Recipe(objective=Reconstruction(BinaryCrossEntropy())),
            REAL,
            r"'binary_cross_entropy' cannot hold the data.*values in \[0, 1\].*preprocessing=unit",
        ),
        (
            lambda: Recipe(objective=Reconstruction(SquaredError("sigmoid"))),
            REAL,
            r"'squared_error' cannot hold the data.*values in \[0, 1\]",
        ),
        (
            lambda: Recipe(objective=Reconstruction(SquaredError("sigmoid")), preprocessing="standard"),
            UNIT,
            "'squared_error' cannot hold the data",
        ),
        (
            lambda: Recipe(objective=Reconstruction(BinaryCrossEntropy()), preprocessing="none"),
            REAL,
            "cannot hold the data",
        ),
        # Bits that were standardised are no longer 0 or 1, nor are bits in bytes that were divided by 255.
        (
            lambda: Recipe(objective=Reconstruction(Bernoulli()), preprocessing="standard"),
            BINARY,
            "'bernoulli' cannot hold the data",
        ),
        (
            lambda: Recipe(objective=Reconstruction(Poisson())),
            REAL,
            "'poisson' cannot hold the data: expected whole numbers of at least 0, got .*not all of them whole; try no",
        ),
        (lambda: Recipe(objective=Reconstruction(Multinomial())), COUNTS - 1.0, "'multinomial' cannot.*from -1 to"),
        (
            lambda: Recipe(objective=Reconstruction(NegativeBinomial()), preprocessing="standard"),
            COUNTS,
            "'negative_binomial' cannot hold.*under preprocessing=standard; try .*preprocessing=none",
        ),
        (lambda: Recipe(objective=Reconstruction(Poisson()), preprocessing="unit"), COUNTS, "preprocessing=none"),
        (
            lambda: Recipe(objective=Reconstruction(Categorical(3))),
            CATEGORIES,
            "'categorical' cannot.*whole numbers from 0 to 2, got values from 0 to 3; try more classes",
        ),
        (lambda: Recipe(objective=Reconstruction(Categorical())), UNIT, "from 0 to 1, got .*not all of them whole"),
        (
            lambda: Recipe(objective=Reconstruction(Categorical())),
            COUNTS * 1e6,
            "classes: expected at most 1000 categories where they are counted, got .*; try their number",
        ),
        (lambda: Recipe(objective=Reconstruction(ContinuousBernoulli())), REAL, r"values in \[0, 1\]"),
        (
            lambda: Recipe(objective=Reconstruction(Mixed((((0, 1, 2), Normal()), ("4:6", Poisson()))))),
            MIXED,
            "parts: expected each of the 6 columns in one part, got 3 missing; try a part for them",
        ),
        (
            lambda: Recipe(objective=Reconstruction(Mixed((("0:6", Normal()), ([9], Poisson()))))),
            MIXED,
            "parts: expected each of the 6 columns in one part, got 9 beyond the last; try to leave them out",
        ),
        (
            lambda: Recipe(
                objective=Reconstruction(Mixed((("0:5", Normal()), ([5], Poisson())))), preprocessing="standard"
            ),
            MIXED,
            "'mixed' cannot hold.*under preprocessing=standard; try preprocessing=none",
        ),
        (
            lambda: Recipe(objective=Reconstruction(Mixed((("0:2", Bernoulli()), ("2:6", Bernoulli()))))),
            UNIT,
            "'mixed' cannot hold the data: expected values that are 0 or 1",
        ),
    ],
)
def test_known_misfit(parts: Any, x: np.ndarray, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parts().resolve(Schema.of(x), len(x))


def test_a_likelihood_takes_what_its_range_can_hold() -> None:
    for likelihood, x in [
        (SquaredError(), REAL),
        (SquaredError("linear"), REAL),
        (SquaredError("sigmoid"), UNIT),
        (BinaryCrossEntropy(), UNIT),
        (BinaryCrossEntropy(), BINARY),
        (Bernoulli(), BINARY),
        (Normal(), REAL),
        (Poisson(), COUNTS),
        (Poisson(), BINARY),
        (Multinomial(), COUNTS.astype("uint8")),
        (NegativeBinomial(), CATEGORIES),
        (Categorical(), COUNTS),
        (Categorical(4), CATEGORIES),
        (Categorical(9), CATEGORIES),
        (StudentT(), UNIT),
        (Mixed((("0:2", Normal()), ("2:6", Laplace()))), REAL),
        (Mixed((("0:2", Bernoulli()), ("2:6", Poisson()))), BINARY),
    ]:
        Recipe(objective=Reconstruction(likelihood)).resolve(Schema.of(x), len(x))


@pytest.mark.parametrize(
    ("likelihood", "x", "preprocessing"),
    [
        (Poisson(), COUNTS, "none"),
        (Multinomial(), COUNTS.astype("uint8"), "none"),
        (Categorical(), CATEGORIES, "none"),
        (Mixed((("0:4", Normal()), ([4, 5], Poisson()))), COUNTS, "none"),
        (Mixed((("0:4", Normal()), ([4, 5], Laplace()))), COUNTS, "standard"),
        (Mixed((("0:4", ContinuousBernoulli()), ([4, 5], BinaryCrossEntropy()))), UNIT, "unit"),
        (Normal(), COUNTS, "standard"),
        (ContinuousBernoulli(), UNIT, "unit"),
    ],
)
def test_counts_and_categories_are_left_as_they_are(likelihood: Any, x: np.ndarray, preprocessing: str) -> None:
    assert Recipe(objective=Reconstruction(likelihood)).resolve(Schema.of(x), len(x)).preprocessing == preprocessing


def test_classes_are_counted_in_the_data() -> None:
    def classes(x: np.ndarray) -> int:
        return Recipe(objective=Reconstruction(Categorical())).resolve(Schema.of(x), len(x)).likelihood.parameters

    assert classes(CATEGORIES) == 4 and classes(BINARY) == 2 and classes(np.zeros((9, 2))) == 2
    with pytest.raises(RecipeError, match=r"still 'auto'; try recipe\.resolve"):
        Categorical().parameters  # noqa: B018


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "expected pairs of columns and likelihood"),
        (((0, 1), Normal()), "expected a pair of columns and likelihood, got \\(0, 1\\)"),
        (((Normal(), (0, 1)),), "expected a pair of columns and likelihood"),
        ((((0, 1), Normal()), ((1, 2), Poisson())), "expected each column once, got column 1 more than once"),
        ((((0, 0), Normal()),), "expected each column once, got column 0 more than once"),
        ((((0, -1), Normal()),), "expected column numbers from 0 on"),
        ((((0, 1.0), Normal()),), "expected column numbers from 0 on"),
        ((((0, True), Normal()),), "expected column numbers from 0 on"),
        ((((), Normal()),), "expected column numbers from 0 on"),
        ((("2:2", Normal()),), "expected column numbers from 0 on"),
        ((("all", Normal()),), "expected column numbers from 0 on"),
        (((slice(0, None), Normal()),), "expected column numbers from 0 on"),
        (((slice(0, 4, 2), Normal()),), "expected column numbers from 0 on"),
        ((((0,), SquaredError()),), "expected settings that are stated, got squared_error.output='auto'"),
        ((((0,), Categorical()),), "got categorical.classes='auto'; try stating it"),
    ],
    ids=repr,
)
def test_mixed_parts_that_are_none(parts: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Mixed(parts)
    assert "objective.likelihood.parts" in str(caught.value) and "try" in str(caught.value)


def test_mixed_columns_are_numbers_slices_or_their_text() -> None:
    first = Mixed((((0, 1, 2), Normal()), ((3,), Poisson())))
    for columns in (slice(0, 3), slice(3), range(3), "0:3", " 0 : 3 ", [0, 1, 2]):
        assert Mixed([[columns, Normal()], [(3,), Poisson()]]) == first  # type: ignore[arg-type]
    data = {"objective": {"likelihood": {"kind": "mixed", "parts": [["0:3", "normal"], [[3], {"kind": "poisson"}]]}}}
    assert Recipe.from_dict(data).likelihood == first
    nested = Mixed((("0:4", first), ("4:6", StudentT("row"))))
    recipe = Recipe(objective=Reconstruction(nested))
    assert Recipe.from_dict(recipe.to_dict()).likelihood == nested
    assert recipe.replace(recipe.paths()) == recipe
    for parts in ([["0:3", "no such likelihood"]], [["0:3", {"kind": "normal", "parts": []}]], [["0:3"]], "0:3", 5):
        with pytest.raises(RecipeError, match=r"objective\.likelihood"):
            recipe.replace({"objective.likelihood.parts": parts})


def test_values_of_a_mixed_column_that_have_no_density_are_refused_by_name() -> None:
    """The schema has one range for all columns, so this is seen when the first rows come."""
    likelihood = Mixed((((0, 1, 2, 3, 4), Normal()), ((5,), Poisson())))
    recipe = Recipe(code=Deterministic(2), objective=Reconstruction(likelihood), training=Training(epochs=1))
    with pytest.raises(DataError, match=r"expected values that the likelihood can have, got \S+ in column 5; try"):
        Autoencoder(recipe).fit(np.roll(MIXED, 1, axis=1))
    Autoencoder(recipe).fit(MIXED)


def test_decoder_range_is_chosen_by_the_data() -> None:
    """A decoder whose range cannot hold the data (pythae): a sigmoid for standardised columns."""

    def output(x: np.ndarray, **changes: Any) -> str:
        return Recipe(**changes).resolve(Schema.of(x), len(x)).likelihood.output

    assert output(UNIT) == "sigmoid"
    assert output(REAL) == "linear"
    assert output(REAL, preprocessing="unit") == "sigmoid"
    assert output(UNIT, preprocessing="standard") == "linear"
    assert output(UNIT, preprocessing="none") == "sigmoid"
    assert output(REAL, preprocessing="none") == "linear"
    assert output((UNIT * 255).astype("uint8"), preprocessing="none") == "linear"


@dataclass(frozen=True)
class NeedyCode(CodeSpec):
    """A code that asks for what no part provides."""

    kind = "needy"
    latent_dim: int = 2
    needs: Set[str] = frozenset({"feature_maps"})

    @property
    def provides(self) -> Set[str]:
        return frozenset()

    def features(self) -> int:
        return 2

    def build(self) -> Code:
        raise AssertionError("it was built")


@dataclass(frozen=True)
class NeedyNetwork(Dense):
    kind = "needy"
    needs: Set[str] = frozenset({"indices"})


@pytest.mark.parametrize(
    ("changes", "need"), [({"code": NeedyCode()}, "feature_maps"), ({"network": NeedyNetwork()}, "indices")]
)
def test_needs_of_networks_and_codes_count_too(changes: dict[str, Any], need: str) -> None:
    """`NetworkSpec` and `CodeSpec` state what they need; a promise that nobody reads is none."""
    with pytest.raises(RecipeError, match=f"needs '{need}'"):
        Recipe(**changes)


@dataclass(frozen=True)
class Refusing(Dense):
    kind = "refusing"

    def misfit(self, widths: Widths) -> str | None:
        return f"rows of shape {widths.row} with {widths.latent} latents and {widths.condition} told; try others"


def test_a_network_is_asked_with_the_widths_of_the_data() -> None:
    network: NetworkSpec = Refusing()
    message = re.escape("rows of shape (2, 3) with 2 latents and 4 told; try others")
    with pytest.raises(RecipeError, match=message):
        Recipe(network, Gaussian(2)).resolve(Schema.of(UNIT.reshape(-1, 2, 3), None, 4), 10)


SETTINGS = {
    f"{axis}-{part.kind}-{field.name}": (part, field.name)
    for axis, parts in PARTS.items()
    for part in {type(p): p for p in parts}.values()
    for field in dataclasses.fields(part)
}
SETTINGS |= {
    f"prior-{kind}-{field.name}": (cls(), field.name)
    for kind, cls in PRIORS.items()
    for field in dataclasses.fields(cls)
}
SETTINGS |= {f"training-{field.name}": (Training(), field.name) for field in dataclasses.fields(Training)}
SETTINGS |= {f"schedule-{field.name}": (Linear(), field.name) for field in dataclasses.fields(Linear)}
SETTINGS |= {f"recipe-{field.name}": (Recipe(), field.name) for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "value",
    [object(), "no such choice", {"a": 1}, float("nan"), float("inf"), -1e9],
    ids=["object", "text", "object of JSON", "nan", "inf", "negative"],
)
def test_every_setting_refuses_nonsense_in_words_that_help(setting: str, value: Any) -> None:
    """Expected, got, try, and the name that --set understands; never an error of Python's own."""
    part, name = SETTINGS[setting]
    if value == -1e9 and name in ("low", "high"):
        return  # any finite number is one
    with pytest.raises(RecipeError) as caught:
        dataclasses.replace(part, **{name: value})
    message = str(caught.value)
    assert name in message
    assert "expected" in message and "got" in message and "try" in message
