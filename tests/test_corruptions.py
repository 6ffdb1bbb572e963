"""What the encoder sees instead of x."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isthmus.corruptions import GaussianNoise, Mask, SaltAndPepper
from isthmus.schema import Batch
from tests.helpers import PARTS, generator

COUNT = 40_000


def seen(part: Any, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return part(Batch(x), generator(seed)).x


@pytest.mark.parametrize("part", PARTS["corruption"], ids=repr)
@pytest.mark.parametrize("shape", [(50,), (5, 10), (1, 5, 10)], ids=str)
def test_the_row_is_left_alone_and_stays_what_is_rebuilt(part: Any, shape: tuple[int, ...]) -> None:
    x = torch.rand(20, *shape, generator=generator())
    before, batch = x.clone(), Batch(x, condition=torch.ones(20, 1))
    out = part(batch, generator(1))
    assert torch.equal(x, before) and out.x.shape == x.shape and not torch.equal(out.x, x)
    assert out.wanted is x and out.condition is batch.condition
    assert torch.equal(out.x, part(batch, generator(1)).x)
    assert not torch.equal(out.x, part(batch, generator(2)).x)
    target = torch.zeros_like(x)
    assert part(batch.replace(target=target), generator(1)).wanted is target


@pytest.mark.parametrize("part", PARTS["corruption"], ids=repr)
def test_without_a_generator_the_noise_is_torchs(part: Any) -> None:
    x = torch.rand(20, 30, generator=generator())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = part(Batch(x)).x
        torch.manual_seed(0)
        assert torch.equal(one, part(Batch(x)).x)
        assert not torch.equal(one, part(Batch(x)).x)


def test_gaussian_noise_has_its_deviation_and_no_bias() -> None:
    noise = seen(GaussianNoise(0.3), torch.full((COUNT, 1), 5.0)) - 5.0
    assert abs(noise.mean().item()) < 4.5 * 0.3 / COUNT**0.5
    assert noise.std().item() == pytest.approx(0.3, rel=4.5 * (0.5 / COUNT) ** 0.5)


def test_a_pair_of_deviations_is_drawn_for_each_row() -> None:
    """Uniform between the two: their average is the middle, and a row has one of them."""
    noise = seen(GaussianNoise((0.2, 1.0)), torch.zeros(2000, 400))
    deviations = noise.std(1)
    assert 0.17 < deviations.min() < 0.23 and 0.93 < deviations.max() < 1.1
    assert deviations.mean().item() == pytest.approx(0.6, abs=4.5 * 0.8 / 12**0.5 / 2000**0.5)
    assert deviations.std().item() == pytest.approx(0.8 / 12**0.5, rel=0.05)
    halves = noise.view(2000, 2, 200).std(2)
    assert torch.corrcoef(halves.t())[0, 1] > 0.9
    images = seen(GaussianNoise((0.2, 1.0)), torch.zeros(500, 2, 10, 10))
    assert images.flatten(1).std(1).std() > 0.15
    same = seen(GaussianNoise((0.5, 0.5)), torch.zeros(COUNT, 1))
    assert same.std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_mask_zeroes_its_share_and_keeps_the_rest(rate: float) -> None:
    x = torch.full((COUNT, 1), 2.0)
    out = seen(Mask(rate), x)
    assert set(out.unique().tolist()) <= {0.0, 2.0}
    assert (out == 0).float().mean().item() == pytest.approx(rate, abs=4.5 * 0.5 / COUNT**0.5 if 0 < rate < 1 else 0)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_salt_and_pepper_have_equal_odds(rate: float) -> None:
    x = torch.full((COUNT, 1), 0.5)
    out = seen(SaltAndPepper(rate, low=-1.0, high=3.0), x)
    error = 4.5 * 0.5 / COUNT**0.5 if 0 < rate < 1 else 0.01
    for value, share in ((-1.0, rate / 2), (3.0, rate / 2), (0.5, 1 - rate)):
        assert (out == value).float().mean().item() == pytest.approx(share, abs=error)
    spread = torch.linspace(-2.0, 7.0, 100).view(10, 10)
    out = seen(SaltAndPepper(1.0), spread)
    assert set(out.unique().tolist()) == {-2.0, 7.0}


def test_a_chain_applies_its_parts_in_order() -> None:
    x = torch.full((COUNT, 1), 2.0)
    masked_last = seen(GaussianNoise(0.1) >> Mask(0.5), x)
    assert (masked_last == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    masked_first = seen(Mask(0.5) >> GaussianNoise(0.1), x)
    assert not (masked_first == 0).any()
    low = masked_first[masked_first < 1.0]
    assert len(low) / COUNT == pytest.approx(0.5, abs=0.02) and low.std().item() == pytest.approx(0.1, rel=0.1)
