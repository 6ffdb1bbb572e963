"""The deterministic code: the latent is the features."""

from __future__ import annotations

import pytest
import torch

from isthmus.codes import LATENT_ACTIVATIONS, Deterministic
from tests.helpers import draw, generator

PLAIN = {
    "linear": lambda x: x,
    "relu": lambda x: x.clamp_min(0),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("activation", LATENT_ACTIVATIONS)
def test_the_latent_is_the_activation_of_the_features(activation: str) -> None:
    features = torch.randn(5, 3, generator=generator())
    spec = Deterministic(3, activation)
    code = spec.build()
    output = code(features)
    torch.testing.assert_close(output.z, PLAIN[activation](features))
    assert torch.equal(output.mean, output.z) and output.quantities == {} and output.indices is None
    assert (spec.features(), code.latent_dim) == (3, 3)
    assert ("unit_interval" in spec.provides) == (activation == "sigmoid") and "kl" not in spec.provides


def test_several_samples_are_all_the_same_and_there_is_no_prior() -> None:
    features = torch.randn(5, 3, 2, generator=generator())
    code = Deterministic(3).build()
    assert torch.equal(code(features, draw(1)).z, features)
    many = code(features, draw(4))
    assert many.z.shape == (4, 5, 3, 2) and (many.z == features).all() and torch.equal(many.mean, features)
    assert code.prior((4, 3), generator()) is None
