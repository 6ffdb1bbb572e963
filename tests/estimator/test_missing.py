"""Missing values: masked in the encoder and the likelihood, filled in on request."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus import Autoencoder, presets
from isthmus.data.encoded import EncodedRows
from isthmus.data.encoding import Standard
from isthmus.data.in_memory import ArrayRows
from isthmus.errors import CollapseWarning, DataError
from isthmus.schema import Schema
from tests.helpers import small


def holed(count: int = 400, share: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows on a line in four columns of unlike units, and the same with holes."""
    rng = np.random.default_rng(seed)
    cause = rng.standard_normal((count, 1))
    x = cause @ np.array([[1.0, -2.0, 30.0, 0.5]]) + np.array([0.0, 5.0, -100.0, 2.0])
    x += 0.05 * rng.standard_normal(x.shape) * np.array([1.0, 2.0, 30.0, 0.5])
    holes = rng.random(x.shape) < share
    holes[:, 0] &= holes[:, 1:].sum(1) < 3  # something of each row is seen
    return x, np.where(holes, np.nan, x)


def test_missing_values_are_refused_unless_the_recipe_masks_them() -> None:
    _, x = holed()
    with pytest.raises(DataError, match=r"NaN.*missing=mask"):
        Autoencoder(small(presets.vae())).fit(x)


def test_scaling_ignores_what_is_missing() -> None:
    complete, x = holed()
    scaling = Standard.fit(x, Schema.of(x))
    np.testing.assert_allclose(scaling.offset, np.nanmean(x, 0))
    np.testing.assert_allclose(scaling.scale, np.nanstd(x, 0))
    batch = EncodedRows(ArrayRows(x), Schema.of(x), scaling, masks=True).batch(x)
    assert batch.mask is not None and torch.equal(batch.mask, torch.from_numpy(~np.isnan(x)))
    assert (batch.x[~batch.mask] == 0).all() and torch.isfinite(batch.x).all()
    with pytest.raises(DataError, match="none in place"):
        Standard.fit(np.full((3, 2), np.nan), Schema.of(complete))


@pytest.mark.parametrize("preset", ["vae", "autoencoder"])
def test_holes_are_filled_in_better_than_by_the_column_mean(preset: str) -> None:
    complete, x = holed()
    settings = {"latent_dim": 1, "hidden_dims": (16,), "epochs": 120, "patience": None}
    recipe = presets.PRESETS[preset](**settings).replace({"missing": "mask"})
    model = Autoencoder(recipe, random_state=0).fit(x)
    filled = model.impute(x)
    holes = np.isnan(x)
    np.testing.assert_array_equal(filled[~holes], x[~holes])
    assert np.isfinite(filled).all()
    error = ((filled - complete) / complete.std(0))[holes]
    mean = ((np.nanmean(x, 0) - complete) / complete.std(0))[holes]
    assert (error**2).mean() < 0.25 * (mean**2).mean()


def test_what_is_missing_has_no_part_in_a_score() -> None:
    """The score of a row with holes is that of the columns that were seen, whatever stood there."""
    complete, x = holed()
    recipe = small(presets.vae(latent_dim=1)).replace({"missing": "mask"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        model = Autoencoder(recipe, random_state=0).fit(x)
    part = x[:20]
    with torch.no_grad():
        batch = model.encoded_rows(part).batch(part)
        forward = model.composition_(batch)
        for row in range(20):
            alone = forward.parameters[row, :, ~np.isnan(part[row])]
            likelihood = model.composition_.likelihood
            variance = likelihood.log_spread.exp() + likelihood.floor
            seen = torch.from_numpy(~np.isnan(part[row]))
            error = (batch.x[row, seen] - alone[0]).square() / variance[seen]
            wanted = 0.5 * (error + variance[seen].log() + np.log(2 * np.pi)).sum()
            assert abs(float(forward.reconstruction[row] - wanted)) < 1e-4
    assert np.isfinite(model.score_samples(x)).all() and complete.shape == x.shape


def test_a_frame_with_holes_is_read() -> None:
    _, x = holed(60)
    frame = pd.DataFrame(x, columns=list("abcd"))
    recipe = small(presets.autoencoder(latent_dim=1)).replace({"missing": "mask"})
    assert Autoencoder(recipe, random_state=0).fit(frame).impute(frame).shape == x.shape


def test_the_imputer_learns_what_the_mask_tells() -> None:
    """Which of two columns is missing decides what the third one is: only who sees the mask can know."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4))
    flag = rng.random(600) < 0.5
    x[:, 0] = np.where(flag, 2.0, -2.0) + 0.1 * rng.standard_normal(600)
    holes = x.copy()
    holes[flag, 1], holes[~flag, 2] = np.nan, np.nan
    gone = rng.random(600) < 0.2
    holes[gone, 0] = np.nan
    settings: Any = {"hidden_dims": (32,), "epochs": 200}
    error = {}
    for sees in (True, False):
        model = Autoencoder(presets.imputer(8, sees_mask=sees, **settings), random_state=0).fit(holes)
        error[sees] = float(np.mean((model.impute(holes) - x)[gone, 0] ** 2))
    assert error[True] < 0.5 * error[False], error


def test_categories_are_imputed_from_a_table_by_the_imputer() -> None:
    rng = np.random.default_rng(0)
    size = rng.standard_normal(500)
    kind = np.where(size < -0.5, "low", np.where(size < 0.5, "middle", "high")).astype(object)
    frame = pd.DataFrame({"size": size, "kind": kind})
    gone = rng.random(500) < 0.2
    frame.loc[gone, "kind"] = None
    model = Autoencoder(presets.imputer(8, hidden_dims=(32,), epochs=60), random_state=0).fit(frame)
    assert model.recipe_.corruption is not None and model.recipe_.corruption.spans == (1, 4)
    filled = model.impute(frame)
    assert (filled["kind"][gone] == kind[gone]).mean() > 0.85
    assert (filled["kind"][~gone] == kind[~gone]).all()
