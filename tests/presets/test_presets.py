"""The table of presets: each in one group, none forgotten, and the names that people look for."""

from __future__ import annotations

import inspect
import re

import pytest

from isthmus import presets
from isthmus.errors import RecipeError
from isthmus.presets import GROUPS, PRESETS, images, matching, plain, quantised, sequences, sparsity, variational

FAMILIES = (plain, sparsity, variational, quantised, matching, images, sequences)
# What the methods are called in the literature.
LOOKED_FOR = [
    "autoencoder",
    "deep",
    "stacked",
    "denoising",
    "sparse_l1",
    "sparse_kl",
    "top_k",
    "batch_top_k",
    "jump_relu",
    "gated",
    "contractive",
    "conv_autoencoder",
    "conv_vae",
    "conv_denoising",
    "lstm_autoencoder",
    "gru_autoencoder",
    "transformer_autoencoder",
    "vae",
    "beta_vae",
    "beta_tc_vae",
    "cvae",
    "sparse_vae",
    "iwae",
    "imputer",
    "miwae",
    "wae",
    "info_vae",
    "aae",
    "vae_gan",
    "vq_vae",
    "fsq",
    "vamp_vae",
    "rae",
    "masked_autoencoder",
]


def test_every_preset_is_in_exactly_one_group() -> None:
    grouped = [preset.__name__ for group in GROUPS.values() for preset in group]
    assert sorted(grouped) == sorted(set(grouped))
    assert grouped == list(PRESETS)
    written = {
        name
        for family in FAMILIES
        for name, thing in vars(family).items()
        if inspect.isfunction(thing) and thing.__module__ == family.__name__ and not name.startswith("_")
    }
    assert written == set(grouped)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_public_and_says_what_it_is_for_and_where_it_is_from(name: str) -> None:
    assert getattr(presets, name) is PRESETS[name]
    assert name in presets.__all__
    text = inspect.getdoc(PRESETS[name]) or ""
    assert re.match(r"Return (the|a) [^\n]+\.\n", text)
    assert re.search(r"^Paper: .+\d{4}", text, re.M | re.S)
    assert presets.get(name) == PRESETS[name]()


def test_the_names_that_people_look_for_exist() -> None:
    assert set(LOOKED_FOR) <= set(PRESETS)


def test_what_a_preset_takes_beside_the_row() -> None:
    """Holes and labels are for the presets that are made for them, whatever their other settings are."""
    assert [name for name in PRESETS if presets.get(name).missing == "mask"] == [
        "masked_autoencoder",
        "imputer",
        "miwae",
    ]
    assert [name for name in PRESETS if presets.get(name).conditional] == ["cvae"]
    assert presets.miwae(latent_dim=3, samples=5, epochs=2).missing == "mask"


def test_a_name_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no preset 'mivae'; did you mean 'miwae'"):
        presets.get("mivae")
