"""What the encoder sees instead of x."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from isthmus.corruptions import Binarise, Chain, GaussianNoise, HidePatches, HideValues, Mask, SaltAndPepper
from isthmus.errors import RecipeError
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Column, Schema
from tests.helpers import PARTS, batch_of, build, generator, rows

COUNT = 40_000


def seen(part: Any, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return part(Batch(x), generator(seed)).x


@pytest.mark.parametrize("part", PARTS["corruption"], ids=repr)
@pytest.mark.parametrize("shape", [(50,), (5, 10), (1, 5, 10)], ids=str)
def test_the_row_is_left_alone_and_stays_what_is_rebuilt(part: Any, shape: tuple[int, ...]) -> None:
    if part.misfit(shape) is not None:
        pytest.skip("refused")
    x = torch.rand(20, *shape, generator=generator())
    before, batch = x.clone(), Batch(x, condition=torch.ones(20, 1))
    out = part(batch, generator(1))
    assert torch.equal(x, before) and out.x.shape == x.shape and not torch.equal(out.x, x)
    redraws = isinstance(part, Binarise)  # what is to be rebuilt is drawn with it
    assert out.wanted is (out.x if redraws else x) and out.condition is batch.condition
    assert torch.equal(out.x, part(batch, generator(1)).x)
    assert not torch.equal(out.x, part(batch, generator(2)).x)
    target = torch.zeros_like(x)
    assert redraws or part(batch.replace(target=target), generator(1)).wanted is target


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


# ---- hidden patches -----------------------------------------------------------------------------------------------

CUTS = [
    (HidePatches(0.4, 3), (11,), [slice(i, i + 3) for i in range(0, 11, 3)]),
    (HidePatches(0.4, 3, form="series"), (11, 2), [slice(i, i + 3) for i in range(0, 11, 3)]),
    (
        HidePatches(0.4, 3),
        (5, 7),
        [(slice(i, i + 3), slice(j, j + 3)) for i in range(0, 5, 3) for j in range(0, 7, 3)],
    ),
    (
        HidePatches(0.4, 3),
        (2, 5, 7),
        [(slice(None), slice(i, i + 3), slice(j, j + 3)) for i in range(0, 5, 3) for j in range(0, 7, 3)],
    ),
]


@pytest.mark.parametrize(("part", "shape", "patches"), CUTS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("missing", [False, True])
def test_whole_patches_are_hidden_as_many_as_were_asked_for(
    part: HidePatches, shape: tuple[int, ...], patches: list[Any], missing: bool
) -> None:
    x = torch.rand(200, *shape, generator=generator()) + 1.0
    mask = torch.rand(200, *shape, generator=generator(1)) < 0.2 if missing else None
    observed = torch.ones_like(x).bool() if mask is None else mask
    seen = part(Batch(x * observed, mask), generator(2))
    assert seen.mask is not None and seen.scored is not None
    assert torch.equal(seen.mask | seen.scored, observed) and not (seen.mask & seen.scored).any()
    assert torch.equal(seen.x, x * seen.mask)
    for row in range(200):
        there = [patch for patch in patches if observed[row][patch].any()]
        hidden = [patch for patch in there if not seen.mask[row][patch].any()]
        for patch in there:
            if patch not in hidden:
                assert torch.equal(seen.mask[row][patch], observed[row][patch]), "a patch is hidden in part"
        assert len(hidden) == min(max(1, round(0.4 * len(there))), max(0, len(there) - 1))


@pytest.mark.parametrize(("rate", "hidden"), [(0.0, 1), (0.5, 8), (1.0, 15)])
def test_at_least_one_patch_is_hidden_and_one_is_visible(rate: float, hidden: int) -> None:
    seen = HidePatches(rate, 1)(Batch(torch.ones(300, 16)), generator())
    assert seen.mask is not None
    assert (seen.mask.sum(1) == 16 - hidden).all()
    share = (~seen.mask).float().mean(0)  # no place is favoured
    assert (share - hidden / 16).abs().max() < 4.5 * (0.25 / 300) ** 0.5


def test_what_counts_of_hidden_patches() -> None:
    batch = Batch(torch.ones(5, 8), torch.rand(5, 8, generator=generator()) < 0.8)
    assert HidePatches(0.5, 2, count="all")(batch, generator()).scored is None
    once = HidePatches(0.5, 2)(batch, generator())
    twice = HidePatches(0.5, 2)(once, generator(1))
    assert once.scored is not None and twice.scored is not None and batch.mask is not None
    assert (once.scored <= twice.scored).all() and torch.equal(twice.scored | twice.mask, batch.mask)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("part", "shape", "message"),
    [
        (HidePatches(0.5, 6), (6,), "single patch.*try corruption.patch=3"),
        (HidePatches(0.5, 6, form="series"), (6, 50), "single patch"),
        (HidePatches(0.5, 2), (2, 2, 2, 2), "expected rows of shape.*got rows of shape"),
        (HidePatches(0.5, 2, form="series"), (2, 2, 2), "expected rows of shape"),
    ],
)
def test_rows_that_cannot_be_cut_are_refused(part: HidePatches, shape: tuple[int, ...], message: str) -> None:
    assert re.search(message, part.misfit(shape) or "")
    assert HidePatches(0.5, 6).misfit((6, 50)) is None


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


def test_bits_have_the_grey_levels_as_their_probabilities_and_are_what_is_rebuilt() -> None:
    x = torch.rand(20, generator=generator(3)).expand(4000, 20)
    seen = Binarise()(Batch(x), generator())
    assert set(seen.x.unique().tolist()) == {0.0, 1.0}
    assert (seen.x.mean(0) - x[0]).abs().max() < 0.03
    assert torch.equal(seen.wanted, seen.x)
    composition = build(Recipe(corruption=Binarise()), rows())
    forward = composition(batch_of(rows(50)), corrupt=True, generator=generator())
    assert torch.equal(forward.batch.wanted, forward.seen.x) and not torch.equal(forward.batch.x, forward.seen.x)
    expected = composition.likelihood.cost(forward.parameters, forward.seen.x, None)
    assert torch.equal(forward.reconstruction, expected)


# ---- hidden values ------------------------------------------------------------------------------------------------


def test_hidden_values_are_missing_to_the_encoder_and_still_count() -> None:
    x = torch.rand(COUNT, 4, generator=generator()) + 1.0
    observed = torch.rand(COUNT, 4, generator=generator(1)) < 0.8
    out = HideValues(0.3)(Batch(x, observed), generator(2))
    assert out.mask is not None and out.scored is None and out.wanted is x
    assert not (out.mask & ~observed).any() and torch.equal(out.x, x * out.mask)
    share = (~out.mask)[observed].float().mean().item()
    assert share == pytest.approx(0.3, abs=4.5 * (0.25 / COUNT / 3) ** 0.5)
    only = HideValues(0.3, count="hidden")(Batch(x, observed), generator(2))
    assert only.scored is not None and torch.equal(only.scored, observed & ~out.mask)


def test_a_pair_of_rates_is_drawn_for_each_row() -> None:
    out = HideValues((0.2, 1.0))(Batch(torch.ones(2000, 400)), generator())
    assert out.mask is not None
    share = (~out.mask).float().mean(1)
    assert 0.1 < share.min() < 0.25 and share.max() > 0.95
    assert share.mean().item() == pytest.approx(0.6, abs=4.5 * 0.8 / 12**0.5 / 2000**0.5)


def test_the_numbers_of_a_category_are_hidden_together() -> None:
    columns = (Column("kind", "categorical", "string", values=("a", "b")), Column("size", "numeric", "double"))
    schema = Schema.of_columns(columns)
    chain = Chain((HideValues(0.5), GaussianNoise(0.1))).resolve(schema)
    part: Any = chain.parts[0]
    assert part.spans == (1, 3)
    mask = part(Batch(torch.ones(500, 4)), generator()).mask
    assert torch.equal(mask[:, 1], mask[:, 2]) and torch.equal(mask[:, 2], mask[:, 3])
    assert 0.3 < (mask[:, 0] == mask[:, 1]).float().mean() < 0.7
    assert part.misfit((4,)) is None and "widths that fill rows" in part.misfit((5,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.5}, r"corruption.rate: expected a number in \[0, 1\], got 1.5"),
        ({"rate": (0.5, 0.2)}, r"corruption.rate\[1\]: expected a number in \[0.5, 1\]"),
        ({"rate": (0.1, 0.2, 0.3)}, "expected a number or a pair"),
        ({"count": "some"}, "corruption.count"),
        ({"spans": 3}, "corruption.spans: expected widths"),
        ({"spans": (1, 0)}, "corruption.spans"),
    ],
)
def test_settings_that_hide_nothing_sensible_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        HideValues(**settings)
