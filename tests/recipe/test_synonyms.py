"""Names of other libraries are understood where one setting is meant, and advised where none is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus import Autoencoder, presets
from isthmus.errors import RecipeError
from isthmus.objectives import BinaryCrossEntropy, Laplace, SquaredError
from isthmus.recipe import Recipe
from isthmus.recipe.serialise import encode
from isthmus.recipe.synonyms import ADVICE, LIKELIHOODS, PATHS
from tests.helpers import rows

VALUES = {
    "training.validation_fraction": 0.25,
    "network.hidden_dims": (8, 4),
    "network.dropout": 0.5,
    "network.kernel": 5,
}
OF_KEYWORD = {
    "network.kernel": presets.conv_autoencoder,
    "objective.kl.weight": presets.vae,
}


@pytest.mark.parametrize(("synonym", "path"), PATHS.items())
def test_synonym_is_a_keyword_a_path_and_a_name_in_json(synonym: str, path: str) -> None:
    preset, value = OF_KEYWORD.get(path, presets.autoencoder), VALUES.get(path, 3)
    expected = preset().replace({path: value})
    assert expected != preset()
    assert preset(**{synonym: value}) == expected
    assert preset().replace({synonym: value}) == expected
    part, _, own = path.rpartition(".")
    if part != "objective.kl":
        assert preset().replace({f"{part}.{synonym}": value}) == expected
        data: dict[str, Any] = preset().to_dict()
        del data[part][own]
        data[part][synonym] = encode(value)
        assert Recipe.from_dict(data) == expected


@pytest.mark.parametrize(
    ("name", "likelihood"), [("mse", SquaredError()), ("bce", BinaryCrossEntropy()), ("mae", Laplace(scale=1.0))]
)
def test_likelihoods(name: str, likelihood: Any) -> None:
    assert presets.autoencoder(likelihood=name).objective.likelihood == likelihood
    assert Recipe.from_dict({"objective": {"likelihood": name}}).objective.likelihood == likelihood
    assert presets.vae().replace({"objective.likelihood": name}).objective.likelihood == likelihood


def test_every_likelihood_synonym_is_read() -> None:
    for name in LIKELIHOODS:
        assert presets.autoencoder(likelihood=name).objective.likelihood.kind not in LIKELIHOODS  # type: ignore[union-attr]


def test_a_network_keeps_its_own_name() -> None:
    recipe = presets.conv_autoencoder(bottleneck="spatial")
    assert recipe.network.bottleneck == "spatial" and recipe.code.latent_dim == "auto"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        (presets.vae, {"beta": 2}, r"no setting 'beta' here; try presets\.beta_vae\(beta=\.\.\.\)"),
        (
            presets.beta_vae,
            {"kl_weight": 2},
            r"no setting 'kl_weight' here; .*presets\.beta_vae is beta",
        ),
        (presets.autoencoder, {"kl_weight": 2}, r"no setting 'kl_weight' here"),
        (presets.autoencoder, {"likelihood": "huber"}, r"no kind 'huber' here; try student_t"),
        (presets.autoencoder, {"loss": "mse"}, r"no setting 'loss' here; try likelihood"),
        (presets.autoencoder, {"lr": 0.1, "learning_rate": 0.1}, r"'learning_rate' is set twice"),
        (presets.autoencoder, {"lr": 20}, r"training\.learning_rate: expected a number in \(0, 10\]"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_right_name(preset: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        preset(**settings)


def test_path_advice() -> None:
    with pytest.raises(RecipeError, match=r"try presets\.beta_vae"):
        presets.vae().replace({"beta": 2})
    assert not set(ADVICE) & (set(PATHS) - {"kl_weight"})


def test_encode_and_decode_are_transform_and_inverse_transform() -> None:
    x = rows(40)
    model = Autoencoder(presets.autoencoder(lr=0.01, epochs=1, hidden=(8,))).fit(x)
    codes = model.encode(x)
    np.testing.assert_array_equal(codes, model.transform(x))
    np.testing.assert_array_equal(model.decode(codes), model.inverse_transform(codes))
