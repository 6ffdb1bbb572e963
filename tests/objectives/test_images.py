"""Image terms beside loops over windows, pixels and frequencies, and what they think of blur."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isthmus import Autoencoder, Recipe, load
from isthmus.codes import Deterministic
from isthmus.errors import RecipeError
from isthmus.networks import Dense
from isthmus.objectives import (
    FEATURES,
    Edges,
    Forward,
    Frequencies,
    MultiScaleSimilarity,
    Perceptual,
    Reconstruction,
    SquaredError,
    StructuralSimilarity,
    register_features,
)
from isthmus.objectives.features import LaplacianPyramid
from isthmus.objectives.images import ImageTerm
from isthmus.schema import Batch
from tests.helpers import Latents, rows, small

TERMS: list[ImageTerm] = [
    StructuralSimilarity(),
    StructuralSimilarity(window=4, value_range=2.0),
    MultiScaleSimilarity(window=4),
    Edges(),
    Edges(power=2.0),
    Frequencies(),
    Frequencies(alpha=0.5),
    Perceptual(),
    Perceptual(power=2.0),
]
each_term = pytest.mark.parametrize("term", TERMS, ids=str)


def images(count: int = 2, shape: tuple[int, ...] = (2, 9, 12), seed: int = 0) -> torch.Tensor:
    """Return smooth shapes with some noise, in [0, 1]."""
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)).double()
    ramp = torch.linspace(0, 1, shape[-1]).double().expand(count, *shape)
    return 0.6 * ramp + 0.4 * noise


def forward_for(made: torch.Tensor, wanted: torch.Tensor, **changes: Any) -> Forward:
    batch = Batch(wanted, **changes)
    code = Latents(torch.zeros(len(wanted), 1))
    likelihood = SquaredError("linear")
    return Forward(
        batch, batch, code, made.unsqueeze(1), torch.zeros(len(made)), lambda x: code.mean, likelihood=likelihood
    )


# ---- structural similarity ---------------------------------------------------------------------------------------


def ssim_parts(a: np.ndarray, b: np.ndarray, window: int, value_range: float) -> tuple[float, float]:
    """Return SSIM and its contrast-structure part of two images `(channels, height, width)`, window by window."""
    size = min(window, *a.shape[1:])
    place = np.arange(size) - (size - 1) / 2
    weight = np.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    whole, structure = [], []
    for channel in range(len(a)):
        for top, left in itertools.product(range(a.shape[1] - size + 1), range(a.shape[2] - size + 1)):
            p, q = (x[channel, top : top + size, left : left + size] for x in (a, b))
            mp, mq = (weight * p).sum(), (weight * q).sum()
            vp, vq = (weight * (p - mp) ** 2).sum(), (weight * (q - mq) ** 2).sum()
            cov = (weight * (p - mp) * (q - mq)).sum()
            structure.append((2 * cov + c2) / (vp + vq + c2))
            whole.append(structure[-1] * (2 * mp * mq + c1) / (mp**2 + mq**2 + c1))
    return float(np.mean(whole)), float(np.mean(structure))


@pytest.mark.parametrize(("window", "value_range"), [(11, 1.0), (4, 1.0), (7, 255.0)])
def test_ssim_is_what_loops_over_windows_say(window: int, value_range: float) -> None:
    made, wanted = images(), images(seed=1)
    value = StructuralSimilarity(window, value_range)(forward_for(made, wanted))
    for row in range(2):
        expected = 2 * 9 * 12 * (1 - ssim_parts(made[row].numpy(), wanted[row].numpy(), window, value_range)[0])
        assert value[row].item() == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_is_the_weighted_product_over_scales() -> None:
    made, wanted = images(shape=(1, 17, 20)), images(shape=(1, 17, 20), seed=1) * 0.2 + images(shape=(1, 17, 20)) * 0.8
    value = MultiScaleSimilarity(window=4)(forward_for(made, wanted))
    weights = np.array([0.0448, 0.2856, 0.3001])
    weights /= weights.sum()
    for row in range(2):
        a, b = made[row], wanted[row]
        similarity = 1.0
        for scale, weight in enumerate(weights):
            whole, structure = ssim_parts(a.numpy(), b.numpy(), 4, 1.0)
            similarity *= (whole if scale == 2 else structure) ** weight
            a, b = (F.avg_pool2d(x[None], 2)[0] for x in (a, b))
        assert value[row].item() == pytest.approx(17 * 20 * (1 - similarity), rel=1e-9)


def test_ms_ssim_has_as_many_scales_as_fit() -> None:
    term = MultiScaleSimilarity()
    assert [term.scales(side, side + 3) for side in (5, 21, 22, 44, 88, 176, 400)] == [1, 1, 2, 3, 4, 5, 5]


def test_ms_ssim_of_opposite_images_is_finite_with_a_gradient_that_is_finite() -> None:
    wanted = images()
    made = (1.0 - wanted).requires_grad_()
    value = MultiScaleSimilarity(window=4)(forward_for(made, wanted)).sum()
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(made.grad).all()


# ---- edges and frequencies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_edges_are_the_differences_of_steps(power: float) -> None:
    made, wanted = images(), images(seed=1)
    value = Edges(power)(forward_for(made, wanted))
    a, b = made.numpy(), wanted.numpy()
    for row in range(2):
        total = 0.0
        for c, i, j in np.ndindex(2, 9, 12):
            for di, dj in ((1, 0), (0, 1)):
                if i + di < 9 and j + dj < 12:
                    steps = [abs(x[row, c, i + di, j + dj] - x[row, c, i, j]) for x in (a, b)]
                    total += abs(steps[0] - steps[1]) ** power
        assert value[row].item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_frequencies_are_a_squared_error_weighted_by_their_own_size(alpha: float) -> None:
    made, wanted = images(), images(seed=1)
    value = Frequencies(alpha)(forward_for(made, wanted))
    for row in range(2):
        error = np.abs(np.fft.fft2((made - wanted)[row].numpy())) / (9 * 12) ** 0.5
        expected = ((error / error.max()) ** alpha * error**2).sum()
        assert value[row].item() == pytest.approx(expected, rel=1e-9)
    squared = (made - wanted).square().flatten(1).sum(1)
    assert torch.allclose(value, squared) if alpha == 0 else (value < squared).all()


def test_the_weights_of_frequencies_have_no_gradient() -> None:
    wanted = images()
    made = images(seed=1).requires_grad_()
    Frequencies(1.0)(forward_for(made, wanted)).sum().backward()
    error = torch.fft.fft2((made - wanted).detach(), norm="ortho")
    weight = error.abs() / error.abs().amax((1, 2, 3), keepdim=True)
    expected = torch.fft.ifft2(2 * weight * error, norm="ortho").real
    torch.testing.assert_close(made.grad, expected)


# ---- what all have in common -------------------------------------------------------------------------------------


@each_term
def test_equal_images_cost_nothing_and_others_something(term: ImageTerm) -> None:
    x = images()
    assert term(forward_for(x, x)).abs().max() < 1e-9
    assert (term(forward_for(images(seed=1), x)) > 0.05).all()
    same = x.clone().requires_grad_()
    term(forward_for(same, x)).sum().backward()
    assert torch.isfinite(same.grad).all()


# The weights of `Frequencies` are constants by design; their gradient has a test of its own.
@pytest.mark.parametrize("term", [term for term in TERMS if not isinstance(term, Frequencies)], ids=str)
def test_gradient_is_that_of_finite_differences(term: ImageTerm) -> None:
    wanted = images(1, (1, 8, 9))
    made = images(1, (1, 8, 9), seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda made: term(forward_for(made, wanted)), made)


@each_term
def test_grey_images_are_images_of_one_channel(term: ImageTerm) -> None:
    made, wanted = images(shape=(9, 12)), images(shape=(9, 12), seed=1)
    grey = term(forward_for(made, wanted))
    assert grey.shape == (2,)
    torch.testing.assert_close(term(forward_for(made.unsqueeze(1), wanted.unsqueeze(1))), grey)


@each_term
def test_samples_are_compared_with_their_own_row(term: ImageTerm) -> None:
    made, wanted = images(6), images(2, seed=1)
    value = term(forward_for(made, wanted))
    assert value.shape == (3, 2)
    torch.testing.assert_close(value[1], term(forward_for(made[2:4], wanted)))


@each_term
def test_what_does_not_count_costs_nothing(term: ImageTerm) -> None:
    wanted, other = images(), images(seed=1)
    mask = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    made = torch.where(mask, wanted, other)
    assert term(forward_for(made, wanted, mask=mask)).abs().max() < 1e-9
    assert term(forward_for(made, wanted)).min() > 1e-3
    assert term(forward_for(made, wanted, scored=mask)).abs().max() < 1e-9


@each_term
def test_rows_that_are_no_images_are_refused(term: ImageTerm) -> None:
    for row in ((12,), (1, 12), (3, 5, 1)):
        message = term.misfit(row)
        assert message is not None and f"{term.kind!r}" in message and "expected images" in message
    for row in ((2, 2), (3, 28, 28)):
        assert term.misfit(row) is None
    with pytest.raises(RecipeError, match="expected images of shape"):
        Autoencoder(Recipe(objective=Reconstruction(SquaredError()) + 1.0 * term)).fit(rows())


@pytest.mark.parametrize("term", [StructuralSimilarity(), MultiScaleSimilarity(), Edges()], ids=str)
def test_blur_costs_more_than_a_shift_of_brightness_of_equal_squared_error(term: ImageTerm) -> None:
    wanted = images(4, (1, 24, 24))
    blurred = F.avg_pool2d(F.pad(wanted, (2, 2, 2, 2), mode="replicate"), 5, 1)
    error = (blurred - wanted).square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1)
    brighter = wanted + error
    torch.testing.assert_close((brighter - wanted).square().sum(), (blurred - wanted).square().sum())
    assert (term(forward_for(blurred, wanted)) > 2.0 * term(forward_for(brighter, wanted))).all()


@each_term
def test_a_model_trains_with_it(term: ImageTerm) -> None:
    recipe = Recipe(Dense((8,)), Deterministic(3), objective=Reconstruction(SquaredError()) + 0.1 * term)
    history = Autoencoder(small(recipe, epochs=8), random_state=0).fit(rows(96, 64, shape=(8, 8))).history_
    assert history[f"train/{term.kind}"][-1] < history[f"train/{term.kind}"][0]


# ---- features of a network ---------------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """Features of two sizes; dropout would make them random, if it were not put in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3).double()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        h = torch.relu(self.dropout(self.layer(x)))
        return [h, h.mean((-2, -1))]


@pytest.fixture
def registered() -> Iterator[TwoLayers]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TwoLayers()
    register_features("two_layers", network)
    yield network
    del FEATURES["two_layers"]


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_perceptual_is_the_distance_in_the_networks_features(registered: TwoLayers, power: float) -> None:
    made, wanted = images(shape=(1, 7, 8)), images(shape=(1, 7, 8), seed=1)
    value = Perceptual("two_layers", power)(forward_for(made, wanted))
    registered.eval()
    for row in range(2):
        layers = zip(registered(made[row : row + 1]), registered(wanted[row : row + 1]), strict=True)
        expected = 56 * np.mean([(a - b).abs().pow(power).mean().item() for a, b in layers])
        assert value[row].item() == pytest.approx(expected, rel=1e-9)


def test_the_network_is_a_frozen_copy(registered: TwoLayers) -> None:
    made = images(shape=(1, 7, 8)).requires_grad_()
    before = Perceptual("two_layers")(forward_for(made, images(shape=(1, 7, 8), seed=1)))
    before.sum().backward()
    assert made.grad is not None and made.grad.any()
    assert registered.training and all(p.requires_grad and p.grad is None for p in registered.parameters())
    with torch.no_grad():
        registered.layer.weight.zero_()
    torch.testing.assert_close(Perceptual("two_layers")(forward_for(made, images(shape=(1, 7, 8), seed=1))), before)


def test_a_saved_model_keeps_the_name_and_works_without_the_network(registered: TwoLayers, tmp_path: Path) -> None:
    registered.float()
    register_features("two_layers", registered)
    x = rows(96, 64, shape=(8, 8))
    recipe = Recipe(
        Dense((8,)), Deterministic(3), objective=Reconstruction(SquaredError()) + 0.1 * Perceptual("two_layers")
    )
    model = Autoencoder(small(recipe)).fit(x)
    folder = model.save(tmp_path / "model")
    assert not any("layer.weight" in name for name in model.composition_.state_dict())
    network = FEATURES.pop("two_layers")
    again = load(folder)
    np.testing.assert_array_equal(again.reconstruct(x), model.reconstruct(x))
    with pytest.raises(RecipeError, match=r"no network of features 'two_layers'.*laplacian; try.*register_features"):
        Autoencoder(again.recipe_).fit(x)
    FEATURES["two_layers"] = network


def test_names_and_modules_are_checked() -> None:
    with pytest.raises(RecipeError, match=r"name: expected letters, digits and underscores, got 'a\.b'; try"):
        register_features("a.b", nn.Identity())
    with pytest.raises(RecipeError, match="name: expected a name of your own"):
        register_features("laplacian", nn.Identity())
    with pytest.raises(RecipeError, match=r"module: expected a torch\.nn\.Module"):
        register_features("mine", lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="'laplacian'"):
        Perceptual("laplacien")(forward_for(images(), images()))
    assert list(FEATURES) == ["laplacian"] or "laplacian" in FEATURES


def test_a_pyramid_holds_the_whole_image() -> None:
    x = images(2, (3, 17, 34))
    levels = LaplacianPyramid()(x)
    assert [tuple(level.shape[-2:]) for level in levels] == [(17, 34), (8, 17), (4, 8)]
    whole = levels[-1]
    for level in reversed(levels[:-1]):
        whole = level + F.interpolate(whole, level.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole, x)
