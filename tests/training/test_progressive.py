"""Progressive training: latents open one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, load, presets
from isthmus.training import loop
from tests.helpers import rows

X = rows(200)
RECIPE = presets.autoencoder(4, hidden_dims=(8,), epochs=8, batch_size=25, patience=None, opening=0.5)


def test_latents_open_on_schedule_and_closed_ones_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 epochs of 8 steps (180 rows in batches of 25 at most), the first half of them in four stages."""
    seen: list[tuple[float, int]] = []
    outer: list[torch.Tensor] = []
    plain = loop.Run.train_step

    def step(self: Any, batch: Any) -> None:
        plain(self, batch)
        seen.append((self.composition.progress, int(self.composition.open_latents)))
        if len(seen) <= 8:  # only the first latent is open
            outer.append(self.composition.network.decoder[-1].weight[:, 1:].detach().clone())

    monkeypatch.setattr(loop.Run, "train_step", step)
    Autoencoder(RECIPE, random_state=0).fit(X)
    assert [count for _, count in seen] == [max(1, int(np.ceil(min(1.0, share / 0.5) * 4))) for share, _ in seen]
    assert seen[0][1] == 1 and seen[-1][1] == 4 and {count for _, count in seen} == {1, 2, 3, 4}
    assert all(torch.equal(outer[0], weight) for weight in outer), "a closed latent's decoder column moved"


def test_a_model_cut_short_keeps_how_far_it_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    plain = loop.Run.finish_epoch

    def finish(self: Any) -> Any:
        row = plain(self)
        if self.state.epoch == 2:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(loop.Run, "finish_epoch", finish)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        model = Autoencoder(RECIPE, random_state=0).fit(X)
    opened = int(model.composition_.open_latents)
    assert 1 <= opened < 4
    codes = model.transform(X)
    assert (codes[:, opened:] == 0).all() and (codes[:, :opened] != 0).any()
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(X), codes)


def test_early_stopping_waits_until_all_are_open() -> None:
    recipe = RECIPE.replace({"training.patience": 1, "training.learning_rate": 1e-9, "training.warmup_steps": 0})
    model = Autoencoder(recipe, random_state=0).fit(X)
    assert len(model.history_) >= 5 and int(model.composition_.open_latents) >= 1
