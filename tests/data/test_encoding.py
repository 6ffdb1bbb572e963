"""Scaling: its inverse, what it is fitted on, and the edges of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.data.encoding import SCALINGS, Scaling, from_state
from isthmus.errors import ArtifactError
from isthmus.schema import Schema

EPSILON = float(np.finfo(np.float32).eps)
TYPES = ["u1", "u2", "i1", "i2", "i4", "i8", "f4", "f8", "?"]


@st.composite
def tables(draw: Any) -> np.ndarray:
    """Return rows with columns of unlike offsets and spreads, some of them constant."""
    count, columns = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind != "f":
        return rng.integers(0, 2 if dtype.kind == "b" else 120, (count, columns)).astype(dtype)
    offsets = np.array(draw(st.lists(st.floats(-1e9, 1e9), min_size=columns, max_size=columns)))
    spreads = np.array(draw(st.lists(st.sampled_from([0.0, 1e-6, 1.0, 1e6]), min_size=columns, max_size=columns)))
    return (offsets + spreads * rng.standard_normal((count, columns))).astype(dtype)


def fit(kind: str, x: np.ndarray) -> Scaling:
    return SCALINGS[kind].fit(x, Schema.of(x))


@pytest.mark.parametrize("kind", SCALINGS)
@given(x=tables())
def test_the_inverse_gives_the_rows_back(kind: str, x: np.ndarray) -> None:
    """To float32's rounding of the value, and of the column's scale."""
    scaling = fit(kind, x)
    forward = scaling.forward(x)
    assert forward.dtype == np.float32 and forward.shape == x.shape and np.isfinite(forward).all()
    back = scaling.inverse(forward)
    assert back.dtype == np.float32
    wide = x.astype(np.float64)
    allowed = EPSILON * (2 * np.abs(wide) + 2 * np.abs(forward * scaling.scale))
    assert (np.abs(back - wide) <= allowed + 1e-30).all()


@given(x=tables())
def test_standard_columns_have_mean_zero_and_deviation_one(x: np.ndarray) -> None:
    forward = fit("standard", x).forward(x).astype(np.float64)
    steps = x.astype(np.float64) - x[0].astype(np.float64)  # exact where values are alike: the offset is gone
    varies = steps.std(0) > 0
    deviation = np.where(varies, steps.std(0), 1.0)
    expected = (steps - steps.mean(0)) / deviation
    allowed = 1e-5 + 1e-5 * np.abs(expected) + 3e-16 * np.abs(x[0].astype(float)) / deviation  # the offset's rounding
    assert (np.abs(forward - expected) <= allowed)[:, varies].all()
    assert (forward[:, ~varies] == 0).all()


def test_standard_is_the_formula() -> None:
    x = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    scaling = fit("standard", x)
    assert scaling.offset.tolist() == [2.0, 20.0, 5.0] and scaling.scale.tolist() == [1.0, 10.0, 1.0]
    assert scaling.forward(np.array([[4.0, 20.0, 6.0]])).tolist() == [[2.0, 0.0, 1.0]]
    assert scaling.inverse(np.array([[2.0, 0.0, 1.0]])).tolist() == [[4.0, 20.0, 6.0]]


def test_standard_scales_each_pixel_of_an_image() -> None:
    x = np.random.default_rng(0).random((50, 2, 3)) * np.arange(1.0, 7.0).reshape(2, 3)
    scaling = fit("standard", x)
    assert scaling.offset.shape == (2, 3)
    np.testing.assert_allclose(scaling.forward(x).std(0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, -1e12])
@pytest.mark.parametrize("dtype", ["f8", "i8"])
def test_a_huge_offset_leaves_the_digits_of_the_difference(offset: float, dtype: str) -> None:
    """float32 alone would round a clock in milliseconds to minutes."""
    differences = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    x = (offset + differences).astype(dtype)
    np.testing.assert_allclose(fit("standard", x).forward(x), differences / np.sqrt(5.0), rtol=1e-6)


def test_a_constant_column_is_zero_and_comes_back() -> None:
    for value in (0.0, 0.1, -7.0, 1e-30, 1e20):
        for dtype in ("f4", "f8"):
            x = np.full((999, 1), value, dtype)
            scaling = fit("standard", x)
            assert np.abs(scaling.forward(x)).max() <= 1e-4 and scaling.scale.item() == 1.0, value
            np.testing.assert_allclose(scaling.inverse(scaling.forward(x)), x, rtol=1e-6)
            # a new value in it is no reason for a number without end
            assert np.isfinite(scaling.forward(x + np.asarray(1.0, dtype))).all()


def test_a_column_that_hardly_varies_is_no_constant() -> None:
    """Small is not constant: what counts is the rounding of float64."""
    x = np.array([[1e-20], [3e-20]])
    np.testing.assert_allclose(fit("standard", x).forward(x), [[-1.0], [1.0]], rtol=1e-6)
    x = np.array([[1e6 + 1e-5], [1e6 + 3e-5]] * 5)
    np.testing.assert_allclose(fit("standard", x).forward(x), [[-1.0], [1.0]] * 5, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["i8", "f8"])
def test_numbers_of_sixteen_digits_are_scaled(dtype: str) -> None:
    """Order numbers, clocks in nanoseconds: float64 holds their differences, so they are no rounding."""
    x = (10**15 + np.arange(500)).astype(dtype)[:, None]
    forward = fit("standard", x).forward(x)
    np.testing.assert_allclose(forward[:, 0], (np.arange(500) - 249.5) / np.arange(500).std(), atol=0.01)


@pytest.mark.parametrize("relative", [1e-16, 1e-14, 1e-12, 1e-10])
def test_nothing_that_is_fitted_scales_to_huge_numbers(relative: float) -> None:
    """Whether a deviation is taken for rounding or not, what is left of it is not taken for millions."""
    for offset in (1.0, 1e6, 1e18, -1e25):
        x = offset * (1.0 + relative * np.random.default_rng(0).standard_normal((200, 1)))
        assert np.abs(fit("standard", x).forward(x)).max() < 10.0


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [
        (np.array([[3, 200]], "u1"), 0.0, 255.0),
        (np.array([[3, 200]], "u2"), 0.0, 65535.0),
        (np.array([[0.2, 0.7]]), 0.0, 1.0),
        (np.array([[True, False]]), 0.0, 1.0),
        (np.array([[-2.0, 6.0]]), -2.0, 6.0),
        (np.array([[5, 9]], "i8"), 5.0, 9.0),
        (np.array([[4.0, 4.0]]), 4.0, 5.0),
    ],
)
def test_unit_uses_the_range_of_the_type_or_of_the_data(x: np.ndarray, low: float, high: float) -> None:
    scaling = fit("unit", x)
    assert (scaling.offset.item(), (scaling.offset + scaling.scale).item()) == (low, high)
    np.testing.assert_allclose(scaling.forward(x), (x.astype(float) - low) / (high - low), rtol=1e-6)


def test_none_is_the_identity() -> None:
    x = np.array([[1.5, -2.0]])
    scaling = fit("none", x)
    assert scaling.forward(x).tolist() == x.tolist() == scaling.inverse(x).tolist()


@pytest.mark.parametrize("kind", SCALINGS)
def test_only_the_rows_that_it_is_fitted_on_count(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    schema = Schema.of(np.concatenate([x, [[1e3, -1e3, 5.0]]]))
    one, other = (SCALINGS[kind].fit(x, s) for s in (schema, Schema.of(x)))
    np.testing.assert_array_equal(one.offset, other.offset)
    np.testing.assert_array_equal(one.scale, other.scale)


@pytest.mark.parametrize("kind", SCALINGS)
@given(x=hnp.arrays("f8", (4, 3), elements=st.floats(-100, 100)))
def test_a_row_is_scaled_alone_as_among_others(kind: str, x: np.ndarray) -> None:
    scaling = fit(kind, x)
    whole = scaling.forward(x)
    for number in range(4):
        assert scaling.forward(x[number : number + 1]).tobytes() == whole[number : number + 1].tobytes()


def test_the_same_numbers_of_another_type_scale_alike() -> None:
    scaling = fit("unit", np.array([[0, 255]], "u1"))
    x = np.array([[0, 7, 255]])
    results = [scaling.forward(x.astype(dtype)) for dtype in ("u1", "u2", "i4", "i8", "f4", "f8")]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=2 * EPSILON)


@pytest.mark.parametrize("kind", SCALINGS)
def test_state_is_the_scaling(kind: str) -> None:
    x = np.random.default_rng(0).random((9, 4)) * 7
    scaling = fit(kind, x)
    again = from_state(kind, scaling.state())
    assert type(again) is type(scaling)
    assert again.forward(x).tobytes() == scaling.forward(x).tobytes()


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("auto", {"offset": np.zeros(1), "scale": np.ones(1)}),
        ("unit", {"offset": np.zeros(1)}),
        ("unit", {}),
        ("unit", {"offset": np.zeros(1), "scale": np.ones(1), "more": np.ones(1)}),
        ("standard", {"offset": np.zeros(1), "scale": np.zeros(1)}),
        ("standard", {"offset": np.full(1, np.nan), "scale": np.ones(1)}),
    ],
)
def test_a_state_that_is_none_is_refused(kind: str, state: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactError, match="preprocessing"):
        from_state(kind, state)
