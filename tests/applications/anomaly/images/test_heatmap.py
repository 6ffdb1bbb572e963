"""Heat maps and regions: closed forms, a defect that is found, the same map alone and among others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus
from isthmus import AnomalyDetector, Autoencoder, presets
from isthmus.applications.anomaly.images.heatmap import Region, heat_maps, regions
from isthmus.applications.anomaly.scores import Structure
from isthmus.applications.anomaly.views import View
from isthmus.errors import DataError, RecipeError
from isthmus.metrics import ssim

RECIPE = presets.denoising(latent_dim=4, hidden_dims=(32,), epochs=30, threads=1, validation_fraction=0.0)


def stripes(count: int, seed: int, shape: tuple[int, ...] = (16, 20)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images of a wave whose phase is drawn."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (count, *[1] * len(shape)))
    wave = np.sin(np.arange(shape[-1]) / 2 + phase) + np.zeros(shape)
    return np.round(127 + 100 * wave).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(RECIPE).fit(stripes(400, 0))


def view_of(model: Autoencoder, rows: Any) -> View:
    return View(model.inference(), model.encoded_rows(rows).whole(np.arange(len(rows))))


def test_structure_is_one_minus_ssim(model: Autoencoder) -> None:
    view = view_of(model, stripes(30, 1))
    score = Structure()
    score.fit(view, 0)
    x = view.batch.x.numpy()
    np.testing.assert_allclose(score.of(view), 1 - ssim(x, view.expected, float(np.ptp(x))), rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 9), (4, 5), (3, 8, 12)])
def test_structure_of_small_and_of_colour_images(shape: tuple[int, ...]) -> None:
    rows = stripes(60, 0, shape)
    model = Autoencoder(RECIPE.replace({"training.epochs": 1})).fit(rows)
    view, score = view_of(model, rows), Structure()
    found = score.fit(view, 0)
    assert found.shape == (60,) and (found > 0).all() and (found <= 2).all()
    assert heat_maps([model.inference()], view.batch).shape == (60, *shape[-2:])


@pytest.mark.parametrize("kind", ["squared", "structure"])
def test_a_defect_is_where_it_was_put(model: Autoencoder, kind: str) -> None:
    rows = stripes(5, 2)
    rows[3, 4:9, 12:16] = 255 - rows[3, 4:9, 12:16]
    batch = view_of(model, rows).batch
    maps = heat_maps([model.inference()], batch, kind)
    assert maps.shape == (5, 16, 20)
    normal = float(np.delete(maps, 3, axis=0).max())
    found = regions(maps, normal)
    assert {region.row for region in found} == {3}
    first = found[0]
    assert first.top <= 8 and first.bottom >= 5 and first.left <= 15 and first.right >= 13
    down, across = divmod(int(maps[3].argmax()), 20)
    assert 3 <= down <= 9 and 11 <= across <= 16


@pytest.mark.parametrize("kind", ["squared", "structure"])
def test_a_map_is_the_same_alone(model: Autoencoder, kind: str) -> None:
    batch = view_of(model, stripes(300, 3)).batch
    maps = heat_maps([model.inference()], batch, kind)
    for row in (0, 17, 299):
        alone = view_of(model, stripes(300, 3)[row : row + 1]).batch
        np.testing.assert_array_equal(heat_maps([model.inference()], alone, kind)[0], maps[row])


def test_members_are_averaged(model: Autoencoder) -> None:
    other = Autoencoder(RECIPE.replace({"training.seed": 1, "training.epochs": 1})).fit(stripes(400, 0))
    batch = view_of(model, stripes(5, 1)).batch
    each = [heat_maps([one.inference()], batch, "squared") for one in (model, other)]
    both = heat_maps([model.inference(), other.inference()], batch, "squared")
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2)
    assert (each[0] != each[1]).any()


def test_regions_by_hand() -> None:
    """Pixels that touch at a corner are one region; what is just at the threshold is none."""
    heat = np.zeros((2, 5, 6))
    heat[0, 0, 0] = heat[0, 1, 1] = 2.0
    heat[0, 4, 3:6] = 4.0
    heat[1, 2, 2] = 1.0
    assert regions(heat, 1.0) == [
        Region(0.75, 4, 3, 5, 6, 3, 4.0, 0),
        Region(0.25, 0, 0, 2, 2, 2, 2.0, 0),
    ]
    assert [region.row for region in regions(heat, 0.5)] == [0, 0, 1]
    assert [region.pixels for region in regions(heat, 0.5, least=2)] == [3, 2]
    assert regions(np.zeros((4, 4)), 0.0) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_regions_hold_every_pixel_above_the_threshold(seed: int, threshold: float) -> None:
    heat = np.random.default_rng(seed).random((7, 9))
    found = regions(heat, threshold)
    above = heat > threshold
    assert sum(region.pixels for region in found) == above.sum()
    assert sum(region.share for region in found) == pytest.approx(heat[above].sum() / heat.sum())
    covered = np.zeros_like(above)
    for region in found:
        box = heat[region.top : region.bottom, region.left : region.right]
        assert region.peak in box
        covered[region.top : region.bottom, region.left : region.right] = True
    assert (covered | ~above).all()


def test_what_has_no_map() -> None:
    table = Autoencoder(RECIPE.replace({"training.epochs": 1})).fit(np.random.default_rng(0).random((50, 4)))
    batch = table.encoded_rows(np.zeros((2, 4))).whole(np.arange(2))
    with pytest.raises(RecipeError, match="only images have a structure"):
        heat_maps([table.inference()], batch)
    with pytest.raises(RecipeError, match="squarde"):
        heat_maps([table.inference()], batch, "squarde")
    for heat in (np.zeros(3), np.full((2, 2), np.nan), -np.ones((2, 2))):
        with pytest.raises(DataError, match="heat"):
            regions(heat, 0.5)


def test_a_detector_of_images_scores_their_structure(tmp_path: Path) -> None:
    """By default, with the same scores alone and after loading; pixels are those of its members."""
    recipe = RECIPE.replace({"training.epochs": 3})
    detector = AnomalyDetector(recipe, alpha=0.1, random_state=0).fit(stripes(200, 0))
    assert detector.ensemble_.kinds == ("structure", "neighbours")
    rows = stripes(270, 5)
    scores, pixels = detector.score_samples(rows), detector.pixel_scores(rows)
    assert detector.score_samples(rows[7:8])[0] == scores[7]
    loaded = isthmus.load(detector.save(tmp_path / "detector"))
    np.testing.assert_array_equal(loaded.score_samples(rows), scores)
    np.testing.assert_array_equal(loaded.pixel_scores(rows), pixels)
    assert pixels.shape == rows.shape
    batch = detector.encoded_rows(rows).whole(np.arange(3))
    np.testing.assert_array_equal(pixels[:3], heat_maps(detector.ensemble_.members, batch))


def test_what_was_not_observed_is_not_strange(model: Autoencoder) -> None:
    view = view_of(model, stripes(3, 1))
    hidden = view.batch.replace(mask=torch.zeros_like(view.batch.x, dtype=torch.bool))
    assert (heat_maps([model.inference()], hidden, "squared") == 0).all()
    np.testing.assert_allclose(heat_maps([model.inference()], hidden, "structure"), 0, atol=1e-9)
