"""The sentences that all messages are made of."""

from __future__ import annotations

import pytest

from isthmus.errors import RecipeError, check_choice, check_integer, check_number, explain, unknown_name


def test_explain_and_unknown_name() -> None:
    assert explain("a", "b", "c") == "expected a, got b; try c"
    assert unknown_name("part", "xyz", ["b", "a"]) == "there is no part 'xyz'. The parts are: a, b"
    assert unknown_name("part", "alpa", ["beta", "alpha"]) == (
        "there is no part 'alpa'; did you mean 'alpha'? The parts are: alpha, beta"
    )
    assert "did you mean" not in unknown_name("part", None, ["none"]) or "'none'" in unknown_name(
        "part", None, ["none"]
    )


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, float("nan"), [1]])
def test_what_is_no_positive_integer(value: object) -> None:
    with pytest.raises(RecipeError, match=r"^here: expected an integer of at least 1, got .*; try 1$"):
        check_integer("here", value)
    check_integer("here", 1)
    check_integer("here", 0, 0)


@pytest.mark.parametrize(
    "value", [-0.1, 1.1, "0.5", True, None, float("nan"), float("inf"), [0.5], 10**400], ids=lambda v: str(v)[:9]
)
def test_what_is_no_number_between(value: object) -> None:
    with pytest.raises(RecipeError, match=r"^here: expected a number in \[0, 1\], got .*; try 1$"):
        check_number("here", value, 0.0, 1.0)
    for good in (0, 1, 0.0, 0.5, 1.0):
        check_number("here", good, 0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, float("inf"), -float("inf"), float("nan")])
def test_an_open_end_is_no_number_of_the_range(value: float) -> None:
    with pytest.raises(RecipeError, match=r"here: expected a number in \(0, inf"):
        check_number("here", value, 0.0, open_low=True)
    check_number("here", 1e-300, 0.0, open_low=True)


@pytest.mark.parametrize("value", ["c", None, 1, [], {}])
def test_what_is_no_choice(value: object) -> None:
    with pytest.raises(RecipeError, match=r"^here: expected one of a, bb, got .*; try 'a'$"):
        check_choice("here", value, ["a", "bb"])
    with pytest.raises(RecipeError, match=r"try 'bb'$"):
        check_choice("here", "bbb", ["a", "bb"])
