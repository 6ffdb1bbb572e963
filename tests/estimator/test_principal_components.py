"""Linear limits: PCA, and tied weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, Recipe, Training
from isthmus.codes import Deterministic
from isthmus.networks import Dense, Widths
from isthmus.objectives import Reconstruction, SquaredError
from isthmus.schema import Batch
from tests.helpers import generator


def pca_error(x: np.ndarray, latent: int) -> float:
    centred = x - x.mean(0)
    return float((np.linalg.svd(centred, compute_uv=False)[latent:] ** 2).sum() / len(x))


def table() -> np.ndarray:
    rng = np.random.default_rng(0)
    scales = np.array([3.0, 2.0, 1.5, 1.0, 0.8, 0.6, 0.5, 0.3])
    turn, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    return (rng.standard_normal((300, 8)) * scales) @ turn + rng.standard_normal(8)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("latent", [1, 3])
def test_linear_autoencoder_reaches_the_error_of_pca(latent: int, tied: bool) -> None:
    x = table()
    recipe = Recipe(
        Dense((), tied=tied),
        Deterministic(latent),
        objective=Reconstruction(SquaredError("linear")),
        preprocessing="none",
        training=Training(epochs=1000, batch_size=300, validation_fraction=0.0, learning_rate=0.02),
    )
    model = Autoencoder(recipe).fit(x)
    error = float(((model.reconstruct(x) - x) ** 2).sum(1).mean())
    assert pca_error(x, latent) * (1 - 1e-6) <= error < pca_error(x, latent) * 1.01
    np.testing.assert_allclose(model.reconstruct(x).mean(0), x.mean(0), atol=0.05)


WIDTHS = Widths(row=(6,), features=3, latent=3, condition=2)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_tied_decoder_is_the_transpose_and_gets_both_gradients(hidden: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tied = Dense(hidden, "tanh", tied=True).build(WIDTHS).double()
        free = Dense(hidden, "tanh").build(WIDTHS).double()
    shared = dict(tied.named_parameters())
    assert not [
        name for name in shared if name.startswith("decoder") and name.endswith("weight") and "cond" not in name
    ]
    with torch.no_grad():
        for name, parameter in free.named_parameters():
            if name.startswith("decoder.") and name.endswith("weight"):
                parameter.copy_(shared[name.replace("decoder", "encoder")].t())
            else:
                parameter.copy_(shared[name])
    x = torch.randn(9, 6, generator=generator(), dtype=torch.float64)
    batch = Batch(x, condition=torch.randn(9, 2, generator=generator(1), dtype=torch.float64))
    outputs = [network.decode(network.encode(batch), batch) for network in (tied, free)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output.squeeze(1) - x).square().sum().backward()
    gradients = {name: p.grad for name, p in free.named_parameters()}
    for name, parameter in tied.named_parameters():
        expected = gradients[name]
        if name.startswith("encoder.") and name.endswith("weight"):
            other = gradients[name.replace("encoder", "decoder")]
            assert other.abs().max() > 1e-3
            expected = expected + other.t()
        torch.testing.assert_close(parameter.grad, expected)


def test_biases_of_a_tied_decoder_are_its_own() -> None:
    network = Dense((5,), tied=True).build(WIDTHS)
    assert [tuple(p.shape) for n, p in network.named_parameters() if n.startswith("decoder.")] == [(6,), (5,)]
