"""A setting is declared once: every part's declaration decides what is refused, and where the message says it was."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import timeit
from typing import Annotated, Any, Literal

import pytest

from isthmus.codes import CODES, PRIORS
from isthmus.corruptions import CORRUPTIONS
from isthmus.errors import RecipeError
from isthmus.networks import NETWORKS
from isthmus.objectives import LIKELIHOODS, SCHEDULES, TERMS
from isthmus.recipe import Recipe, Training
from isthmus.settings import AtLeast, ListOf, OneOf, PairOf, Pattern, Range, Setting, Settings, settings_of
from tests.helpers import illegal_values, least, legal_values

TABLES: dict[str, dict[str, type[Any]]] = {
    "network": NETWORKS,
    "code": CODES,
    "code.prior": PRIORS,
    "corruption": CORRUPTIONS,
    "objective.likelihood": LIKELIHOODS,
    "objective.{kind}": TERMS,
    "weight": SCHEDULES,
    "training": {"": Training},
}
# Parts inside a part, which are described as parts are and not by numbers and names.
PARTS_INSIDE = {"prior", "parts"}
CASES = [
    pytest.param(cls, setting, f"{path.format(kind=kind)}.{setting.name}", id=f"{cls.__name__}-{setting.name}")
    for path, table in TABLES.items()
    for kind, cls in table.items()
    for setting in settings_of(cls)
    if setting.name not in PARTS_INSIDE
]
each_setting = pytest.mark.parametrize(("cls", "setting", "where"), CASES)


@dataclasses.dataclass(frozen=True)
class Example(Settings):
    """An example.

    Args:
        rate: of something.
    """

    path = "here"
    rate: Annotated[float, Range(0, 1)] = 0.5
    count: Annotated[int | Literal["auto"], AtLeast(2)] = "auto"
    above: Annotated[float | None, Range(0, open_low=True)] = None
    word: Annotated[str | float, OneOf("column", "row"), Range(0, open_low=True)] = "column"
    widths: Annotated[tuple[int, ...] | None, ListOf(AtLeast(1), "widths", "(2, 3)", most=3)] = None
    pair: Annotated[float | tuple[float, float], PairOf(Range(0, 1)), Range(0, 1)] = 0.1
    device: Annotated[str, Pattern("cpu|cuda(:[0-9]+)?", "cpu or cuda", "cpu")] = "cpu"
    flag: bool = False


REFUSED = [
    ({"rate": 2}, "here.rate: expected a number in [0, 1], got 2; try 1"),
    ({"rate": "x"}, "here.rate: expected a number in [0, 1], got 'x'; try 1"),
    ({"count": 1}, "here.count: expected an integer of at least 2, got 1; try 2"),
    ({"count": "all"}, "here.count: expected an integer of at least 2, got 'all'; try 2"),
    ({"above": 0}, "here.above: expected a number in (0, inf], got 0; try 1"),
    ({"word": "rows"}, "here.word: expected one of column, row, got 'rows'; try 'row'"),
    ({"word": -1.0}, "here.word: expected a number in (0, inf], got -1.0; try 1"),
    ({"widths": 3}, "here.widths: expected widths, got 3; try (2, 3)"),
    ({"widths": ()}, "here.widths: expected widths, got (); try (2, 3)"),
    ({"widths": [1, 2, 3, 4]}, "here.widths: expected widths, got [1, 2, 3, 4]; try (2, 3)"),
    ({"widths": [1, 0]}, "here.widths: expected an integer of at least 1, got 0; try 1"),
    ({"pair": (0.5, 0.2)}, "here.pair[1]: expected a number in [0.5, 1], got 0.2; try 1"),
    ({"device": "gpu"}, "here.device: expected cpu or cuda, got 'gpu'; try cpu"),
    ({"flag": "yes"}, "here.flag: expected one of False, True, got 'yes'; try 'False'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_refusal_names_the_setting_the_range_and_the_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        Example(**changes)
    assert str(refusal.value) == message


def test_lists_become_tuples_and_none_and_auto_are_legal_where_the_type_says_so() -> None:
    example = Example(widths=[4, 5], pair=[0.0, 1.0], count="auto", above=None)  # type: ignore[arg-type]
    assert (example.widths, example.pair) == ((4, 5), (0.0, 1.0))
    assert pickle.loads(pickle.dumps(example)) == copy.deepcopy(example) == example
    with pytest.raises(RecipeError, match=r"here\.rate"):
        dataclasses.replace(example, rate=3)


def test_words_and_json_schema_say_what_the_check_does() -> None:
    by_name = {setting.name: setting for setting in settings_of(Example)}
    assert by_name["rate"].words() == "a number from 0 to 1"
    assert by_name["rate"].json_schema() == {
        "type": "number", "minimum": 0, "maximum": 1, "description": "of something.", "default": 0.5
    }  # fmt: skip
    assert by_name["count"].words() == 'an integer of at least 2; or `"auto"`'
    assert by_name["count"].json_schema() == {
        "anyOf": [{"type": "integer", "minimum": 2}, {"enum": ["auto"]}], "default": "auto"
    }  # fmt: skip
    assert by_name["above"].json_schema()["anyOf"] == [{"type": "number", "exclusiveMinimum": 0}, {"enum": [None]}]
    assert by_name["word"].words() == 'a number above 0; or `"column"`, `"row"`'
    assert by_name["flag"].json_schema() == {"enum": [False, True], "default": False}
    assert by_name["widths"].json_schema()["anyOf"][0]["maxItems"] == 3


@each_setting
def test_every_setting_is_declared_with_a_meaning_and_a_legal_default(
    cls: type[Any], setting: Setting, where: str
) -> None:
    assert setting.constraints, f"{where} takes anything at all"
    assert setting.meaning
    if setting.default is not dataclasses.MISSING:
        assert setting.checked(where, setting.default) == setting.default


@each_setting
def test_illegal_values_are_refused_where_they_are(cls: type[Any], setting: Setting, where: str) -> None:
    part = least(cls)
    for value in illegal_values(setting):
        with pytest.raises(RecipeError) as refusal:
            dataclasses.replace(part, **{setting.name: value})
        assert str(refusal.value).startswith(where) and "expected" in str(refusal.value), value


@each_setting
def test_legal_values_pass_the_check(cls: type[Any], setting: Setting, where: str) -> None:
    for value in [*legal_values(setting), *setting.others]:
        assert setting.checked(where, value) == value


def test_a_recipe_is_made_quickly() -> None:
    assert min(timeit.repeat(Recipe, number=100, repeat=5)) < 0.1  # a millisecond each would be felt in a search
