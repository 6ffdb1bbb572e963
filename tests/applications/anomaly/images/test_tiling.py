"""Patches: each pixel is in one, maps have the image's size, averages are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.applications.anomaly.images.tiling import Tiling
from isthmus.errors import DataError, RecipeError

SIZES = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(0, 9), st.integers(0, 9)).filter(
    lambda one: one[1] <= one[0]
)


@settings(max_examples=100, deadline=None)
@given(SIZES)
def test_cut_and_join_give_the_image_back(sizes: tuple[int, int, int, int]) -> None:
    """Each pixel is in a patch at its own place: overlapping copies average to the pixel."""
    size, stride, more, still_more = sizes
    image = np.random.default_rng(0).random((1, size + more, size + still_more))
    patches = Tiling(size, stride)
    cut = patches.cut(image)
    assert cut.shape[1:] == (size, size)
    np.testing.assert_allclose(patches.join(cut, *image.shape[1:]), image[0])


def test_one_number_for_each_patch() -> None:
    """Where two patches overlap, a pixel has the mean of both."""
    joined = Tiling(2, 1).join([1.0, 3.0, 5.0, 7.0], 3, 3)
    np.testing.assert_array_equal(joined, [[1, 2, 3], [3, 4, 5], [5, 6, 7]])


def test_the_last_patch_ends_with_the_image() -> None:
    assert Tiling(4, 3).starts(10) == (0, 3, 6)
    assert Tiling(4, 3).starts(11) == (0, 3, 6, 7)
    assert Tiling(4).starts(4) == (0,)


def test_channels_and_types_are_kept() -> None:
    images = np.arange(2 * 3 * 6 * 6, dtype=np.uint8).reshape(2, 3, 6, 6)
    cut = Tiling(3, 3).cut(images)
    assert cut.dtype == np.uint8 and cut.shape == (8, 3, 3, 3)
    np.testing.assert_array_equal(cut[6], images[1, :, 3:, :3])


def test_a_large_image_comes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((40, 50))
    sizes: list[int] = []

    def score(rows: Any) -> Any:
        sizes.append(len(rows))
        return rows

    whole = Tiling(8, 4).heat_map(image, score)
    assert len(sizes) == 1
    monkeypatch.setattr("isthmus.applications.anomaly.images.tiling._BLOCK_BYTES", 20_000)
    np.testing.assert_array_equal(Tiling(8, 4).heat_map(image, score), whole)
    assert len(sizes) > 3
    np.testing.assert_allclose(whole, image)


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda: Tiling(4, 5), DataError, "leave no pixel out"),
        (lambda: Tiling(0), RecipeError, "size"),
        (lambda: Tiling(4).cut(np.zeros((1, 3, 9))), DataError, "at least 4 pixels"),
        (lambda: Tiling(4).cut(np.zeros((3, 9))), DataError, r"\(3, 9\)"),
        (lambda: Tiling(4).cut(np.zeros((0, 9, 9))), DataError, "at least one image"),
        (lambda: Tiling(2, 2).join(np.zeros(3), 4, 4), DataError, "4 numbers"),
    ],
)
def test_what_cannot_be_cut(act: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        act()
