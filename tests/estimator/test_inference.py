"""Blocks: a row's numbers are those of a small block unless a large one was seen to have equal bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, presets
from isthmus.estimator.inference import BLOCK, Inference
from isthmus.schema import Batch

ROWS = np.random.default_rng(0).random((700, 6)).astype(np.float32)


@pytest.fixture
def inference() -> Inference:
    return Autoencoder(presets.vae(latent_dim=2, hidden_dims=(8,), epochs=1)).fit(ROWS).inference()


@pytest.mark.parametrize("equal", [True, False])
def test_large_blocks_need_equal_bits(inference: Inference, equal: bool) -> None:
    sizes: list[int] = []

    def function(block: Batch) -> Tensor:
        sizes.append(block.rows)
        return block.x if equal else block.x + block.rows

    found = inference.each(Batch(torch.from_numpy(ROWS)), function)
    assert np.array_equal(found, ROWS if equal else ROWS + BLOCK)
    first = [BLOCK] * 8 + [256]  # the first rows both ways
    assert sizes == first + ([256] + [BLOCK] * 6 if equal else [BLOCK] * 14)


def test_one_row_is_one_small_block(inference: Inference) -> None:
    sizes: list[int] = []

    def function(block: Batch) -> Tensor:
        sizes.append(block.rows)
        return block.x

    assert np.array_equal(inference.each(Batch(torch.from_numpy(ROWS[:1])), function), ROWS[:1])
    assert sizes == [BLOCK]


def test_a_row_alone_equals_a_row_of_a_large_block(inference: Inference) -> None:
    rows = Batch(torch.from_numpy(ROWS))
    codes, scores, expected = inference.codes(rows), inference.scores(rows), inference.expected(rows)
    for place in (0, 255, 256, 300, 511, 699):
        alone = Batch(rows.x[place : place + 1])
        assert np.array_equal(inference.codes(alone)[0], codes[place])
        assert inference.scores(alone)[0] == scores[place]
        assert np.array_equal(inference.expected(alone)[0], expected[place])
