"""The split and the order of batches: functions of a seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.data.batches import Loader, split, take
from isthmus.schema import Batch


def numbered(count: int) -> Batch:
    return Batch(torch.arange(float(count)).view(count, 1))


@given(rows=st.integers(1, 200), fraction=st.floats(0.0, 0.9), seed=st.integers(0, 2**32 - 1))
@example(rows=4, fraction=0.9, seed=0)
@example(rows=5, fraction=0.9, seed=0)
def test_split_parts_the_rows_in_two(rows: int, fraction: float, seed: int) -> None:
    train, held_out = split(rows, fraction, seed)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(rows))
    assert train.tolist() == sorted(train.tolist()) and held_out.tolist() == sorted(held_out.tolist())
    assert len(train) >= 1
    if fraction == 0:
        assert len(held_out) == 0
    elif rows >= 10 and fraction >= 0.1:
        assert abs(len(held_out) - fraction * rows) <= 2 and len(held_out) >= 1
    again = split(rows, fraction, seed)
    assert torch.equal(train, again[0]) and torch.equal(held_out, again[1])


def test_split_follows_its_seed_and_favours_no_row() -> None:
    chosen = torch.zeros(50)
    for seed in range(400):
        chosen[split(50, 0.2, seed)[1]] += 1
    # 400 draws of probability 0.2: 80 with a deviation of 8
    assert (chosen - 80).abs().max() < 4.5 * 8


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[float]:
        return torch.cat([batch.x for batch in Loader(numbered(40), 7, seed).epoch(epoch)]).flatten().tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


@pytest.mark.parametrize("start", [0, 1, 3, 5, 6])
def test_an_epoch_goes_on_where_it_stopped(start: int) -> None:
    loader = Loader(numbered(40), 7, seed=3)
    whole = [batch.x.flatten().tolist() for batch in loader.epoch(2)]
    assert [batch.x.flatten().tolist() for batch in loader.epoch(2, start)] == whole[start:]


def test_blocks_are_the_rows_in_their_own_order() -> None:
    blocks = [block.x.flatten().tolist() for block in Loader(numbered(10), 4).blocks()]
    assert blocks == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_everything_of_a_row_travels_together() -> None:
    x = torch.arange(12.0).view(6, 2)
    whole = Batch(x, x > 3, x[:, :1] * 10, x * 100)
    for batch in [*Loader(whole, 4, seed=1).epoch(0), *Loader(whole, 4).blocks()]:
        assert batch.mask is not None and batch.condition is not None and batch.target is not None
        assert torch.equal(batch.mask, batch.x > 3)
        assert torch.equal(batch.condition, batch.x[:, :1] * 10)
        assert torch.equal(batch.target, batch.x * 100)
        assert batch.wanted is batch.target
    some = take(whole, torch.tensor([4, 0]))
    assert some.x.tolist() == [[8, 9], [0, 1]] and some.rows == 2


def test_global_generators_play_no_part() -> None:
    before = torch.get_rng_state()
    list(Loader(numbered(20), 3).epoch(0))
    split(20, 0.5, 0)
    assert torch.equal(before, torch.get_rng_state())
