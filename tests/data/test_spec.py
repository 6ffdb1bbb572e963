"""What a row is, in a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data.kinds import ROW_KINDS
from isthmus.data.spec import RowsSpec
from isthmus.errors import RecipeError


@pytest.mark.parametrize(
    "text",
    ["table", "vector", "image:3x64x64,fit=crop", "series:64,series=name,time=timestamp", "tokens", "ratings,user=u"],
)
def test_a_kind_is_written_as_it_was_read(text: str) -> None:
    assert str(RowsSpec.parse(text)) == text
    assert RowsSpec.parse(f"  {text} ") == RowsSpec.parse(text)


@given(
    st.sampled_from(sorted(ROW_KINDS)),
    st.lists(st.integers(1, 999), max_size=3),
    st.dictionaries(st.integers(0, 9), st.text("abc: /.-", min_size=1), max_size=3),
)
def test_what_is_read_is_read_again(kind: str, sizes: list[int], values: dict[int, str]) -> None:
    sizes = [] if kind in ("table", "vector", "ratings") else sizes
    names = ROW_KINDS[kind].options
    options = {names[place % len(names)]: value.strip() or "a" for place, value in values.items()} if names else {}
    spec = RowsSpec(kind, tuple(sizes), options)
    assert RowsSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a kind of row, with sizes and options"),
        ("Table", "got 'Table'"),
        ("tabel", r"there is no kind of row 'tabel'; did you mean 'table'"),
        ("table:3", r"rows=table:3: expected sizes of 1 or more where a kind has some"),
        ("image:0x3", "sizes of 1 or more"),
        ("image:1x2x3x4", "sizes of 1 or more"),
        ("series:64,strid=8", r"did you mean 'stride'"),
        ("table,fit=crop", r"there is no option of table row 'fit'"),
        ("series:64,stride", "KIND:AxB,option=value"),
    ],
)
def test_what_says_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RowsSpec.parse(text)


def test_options_that_are_numbers() -> None:
    spec = RowsSpec.parse("series:64,stride=8,time=day")
    assert (spec.whole("stride"), spec.whole("every"), spec.chosen(time="when", series="s")) == (
        8,
        None,
        {"when": "day"},
    )
    for wrong in ("0", "-1", "x", "1.5"):
        with pytest.raises(RecipeError, match="a whole number for stride"):
            RowsSpec.parse(f"series:64,stride={wrong}").whole("stride")
