"""The fully connected network: its layers beside plain torch, and its start."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.networks import ACTIVATIONS, Dense, Widths
from isthmus.networks.dense import DenseNetwork
from isthmus.schema import Batch
from tests.helpers import generator

WIDTHS = Widths(row=(6,), features=4, latent=2, parameters=2)


def make(spec: Dense, widths: Widths = WIDTHS) -> DenseNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(widths)


def x_of(rows: int = 9) -> Tensor:
    return torch.randn(rows, 6, generator=generator())


PLAIN = {
    "relu": lambda x: x.clamp_min(0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "silu": lambda x: x / (1 + (-x).exp()),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}


def test_activations_are_what_their_names_say() -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    assert ACTIVATIONS.keys() == PLAIN.keys()
    for name, activation in ACTIVATIONS.items():
        torch.testing.assert_close(activation(x), PLAIN[name](x), rtol=1e-9, atol=1e-9, msg=name)


def by_hand(network: DenseNetwork, spec: Dense, x: Tensor, side: str) -> Tensor:
    """Apply the layers as the docstring of `Dense` writes them."""
    blocks: list[Any] = list(getattr(network, side))
    for number, block in enumerate(blocks if side == "encoder" else reversed(blocks)):
        h = x @ block.weight.t() + block.bias
        if number < len(blocks) - 1:
            if spec.normalisation == "layer":
                h = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
                h = h * block.norm.weight + block.norm.bias
            elif spec.normalisation == "batch":
                h = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() * block.norm.weight + block.norm.bias
            h = PLAIN[spec.activation](h)
            if spec.residual:
                h = h + (x if block.shortcut is None else x @ block.shortcut.weight.t())
        x = h
    return x


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("normalisation", [None, "layer", "batch"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 5), (7, 5, 3)])
def test_layers_are_as_described(hidden: tuple[int, ...], residual: bool, normalisation: Any, activation: str) -> None:
    spec = Dense(hidden, activation, normalisation, residual=residual)
    network, batch = make(spec).train(), Batch(x_of())
    for parameter in network.parameters():  # no bias of zero, no gain of one
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator(3))
    torch.testing.assert_close(network.encode(batch), by_hand(network, spec, batch.x, "encoder"), rtol=1e-4, atol=1e-5)
    z = torch.randn(9, 2, generator=generator(1))
    expected = by_hand(network, spec, z, "decoder").view(9, 2, 6)
    torch.testing.assert_close(network.decode(z, batch), expected, rtol=1e-4, atol=1e-5)
    assert network.encoder_widths == (6, *hidden, 4)
    assert [block.bias.numel() for block in network.decoder] == [12, *hidden]
    shortcuts = [block.shortcut is not None for block in network.encoder]
    widths = [6, *hidden]
    assert shortcuts == [residual and a != b for a, b in itertools.pairwise(widths)] + [False]


def test_dropout_works_in_training_only_and_keeps_the_mean() -> None:
    network, batch = make(Dense((400,), dropout=0.5)), Batch(x_of(2))
    network.eval()
    quiet = network.encode(batch)
    assert torch.equal(quiet, network.encode(batch))
    torch.testing.assert_close(quiet, make(Dense((400,))).eval().encode(batch), rtol=0, atol=0)
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = torch.stack([network.encode(batch) for _ in range(3000)])
    assert noisy.std(0).min() > 0.05
    assert ((noisy.mean(0) - quiet).abs() < 4.5 * noisy.std(0) / 3000**0.5).all()


def test_images_are_read_and_written_in_their_shape() -> None:
    widths = Widths(row=(1, 2, 3), features=4, latent=2, parameters=2)
    network, flat = make(Dense((5,)), widths), make(Dense((5,)))
    x = x_of()
    assert torch.equal(network.encode(Batch(x.view(9, 1, 2, 3))), flat.encode(Batch(x)))
    z = torch.randn(9, 2, generator=generator())
    out = network.decode(z, Batch(x.view(9, 1, 2, 3)))
    assert out.shape == (9, 2, 1, 2, 3)
    assert torch.equal(out.flatten(2), flat.decode(z, Batch(x)))


def test_blocks_are_numbered_from_the_data_inwards() -> None:
    """So that a shallow network's weights load into a deeper one by name."""
    shallow, deep = make(Dense((5,))), make(Dense((5, 3)))
    for name in ("encoder.0.weight", "encoder.0.bias", "decoder.0.weight", "decoder.0.bias"):
        assert shallow.state_dict()[name].shape == deep.state_dict()[name].shape


def test_only_batch_normalisation_lets_rows_depend_on_each_other() -> None:
    x = x_of()
    for normalisation in (None, "layer", "batch"):
        spec = Dense((5,), normalisation=normalisation)
        network = make(spec).train()
        together, alone = network.encode(Batch(x))[:3], network.encode(Batch(x[:3]))
        independent = torch.allclose(together, alone, atol=1e-5)
        assert independent == ("independent_rows" in spec.provides) == (normalisation != "batch")


def test_the_first_guess_is_the_output_bias() -> None:
    network = make(Dense((5,)))
    bias = torch.arange(12.0).view(2, 6)
    network.set_output_bias(bias)
    with torch.no_grad():
        network.decoder[0].weight.zero_()
    z = torch.randn(3, 2, generator=generator())
    assert torch.equal(network.decode(z, Batch(x_of(3))), bias.expand(3, 2, 6))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_untrained_network_neither_explodes_nor_vanishes(activation: str) -> None:
    """Ten layers deep, in both directions."""
    widths = Widths(row=(64,), features=64, latent=64)
    network = make(Dense((64,) * 10, activation), widths)
    x = torch.randn(256, 64, generator=generator(), requires_grad=True)
    features = network.encode(Batch(x))
    features.sum().backward()
    # The slope of a sigmoid is a quarter at most: ten of them are a millionth.
    assert 0.003 < features.std() < 30 and (1e-8 if activation == "sigmoid" else 1e-4) < x.grad.std() < 1e3


def test_calibration_centres_and_scales_the_features_by_the_data() -> None:
    x = 3.0 + 2.0 * torch.randn(500, 6, generator=generator())
    batch = Batch(x)
    for hidden in ((), (20,), (20, 10)):
        network = make(Dense(hidden))
        with torch.no_grad():
            features = network.calibrate_encoder(batch, 0.3)
            torch.testing.assert_close(features, network.encode(batch))
            assert features.mean(0).abs().max() < 1e-4
            assert features.square().mean().sqrt().item() == pytest.approx(0.3, rel=1e-3)
            if hidden:
                first = F.linear(x, network.encoder[0].weight, network.encoder[0].bias)
                assert first.mean(0).abs().max() < 1e-4
                assert first.square().mean().sqrt().item() == pytest.approx(0.5, rel=1e-3)
            network.calibrate_decoder(torch.randn(500, 2, generator=generator(1)), batch)
            out = network.decode(torch.randn(500, 2, generator=generator(1)), batch)
            assert 0 < out.std(0).mean() < 0.2


def test_calibration_of_rows_that_are_all_the_same_stays_small() -> None:
    network = make(Dense((20,)))
    x = torch.full((50, 6), 1.0)
    with torch.no_grad():
        network.calibrate_encoder(Batch(x), 0.5)
    assert max(p.abs().max().item() for p in network.parameters()) < 10
    assert network.encode(Batch(x + 0.1)).abs().max() < 100


# ---- what holds after each step ------------------------------------------------------------------------------------


def stepped(spec: Dense, widths: Widths = WIDTHS, steps: int = 5) -> DenseNetwork:
    """Return the network after some large steps in random directions."""
    network = make(spec, widths)
    with torch.no_grad():
        for step in range(steps):
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=generator(step)))
            network.after_step()
    return network


@pytest.mark.parametrize("hidden", [(), (5,), (7, 5)])
def test_unit_decoder_keeps_each_latents_direction_at_norm_one(hidden: tuple[int, ...]) -> None:
    spec = Dense(hidden, unit_decoder=True)
    calibrated = make(spec)
    with torch.no_grad():
        features = calibrated.calibrate_encoder(Batch(x_of()), 0.5)
        calibrated.calibrate_decoder(features[:, :2], Batch(x_of()))
    for network in (make(spec), calibrated, stepped(spec)):
        columns: Tensor = network.decoder[-1].weight  # type: ignore[assignment]
        assert columns.shape[1] == 2
        torch.testing.assert_close(columns.norm(dim=0), torch.ones(2))
    before = make(spec).decoder[-1].weight.detach().clone()
    network = make(spec)
    with torch.no_grad():
        network.decoder[-1].weight.mul_(torch.tensor([3.0, 0.1]))  # type: ignore[operator]
        network.after_step()
    torch.testing.assert_close(network.decoder[-1].weight, before)
    for other in network.decoder[:-1]:
        assert not torch.allclose(other.weight.norm(dim=0), torch.ones(other.weight.shape[1]))
    plain = stepped(Dense(hidden))
    assert not torch.allclose(plain.decoder[-1].weight.norm(dim=0), torch.ones(2))


def test_a_dictionary_starts_as_the_transpose_of_its_encoder() -> None:
    network = make(Dense((), unit_decoder=True), Widths(row=(6,), features=9, latent=9))
    batch = Batch(x_of())
    with torch.no_grad():
        network.calibrate_decoder(network.calibrate_encoder(batch, 0.5), batch)
    read, written = network.encoder[0].weight, network.decoder[0].weight
    torch.testing.assert_close(written, (read / read.norm(dim=1, keepdim=True)).t())


@pytest.mark.parametrize("hidden", [(), (5,), (40, 30)])
def test_spectral_norm_limits_the_largest_singular_value(hidden: tuple[int, ...]) -> None:
    spec = Dense(hidden, spectral_norm=0.7)
    network = stepped(spec, steps=3)
    with torch.no_grad():
        for _ in range(50):  # small steps, as in training
            for p in network.parameters():
                p.add_(0.01 * torch.randn(p.shape, generator=generator(1)))
            network.after_step()
    for block in network.decoder:
        assert torch.linalg.svdvals(block.weight)[0].item() == pytest.approx(0.7, rel=0.01)
    for block in network.encoder:
        assert torch.linalg.svdvals(block.weight)[0].item() > 1.0
    first = make(spec)
    for block in first.decoder:
        assert torch.linalg.svdvals(block.weight)[0].item() <= 0.7 * 1.001


def test_spectral_norm_leaves_weights_under_the_limit_alone() -> None:
    network, plain = make(Dense((5,), spectral_norm=1000.0)), make(Dense((5,), spectral_norm=1000.0))
    with torch.no_grad():
        network.after_step()
    for block, other in zip(network.decoder, plain.decoder, strict=True):
        assert torch.equal(block.weight, other.weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Dense(tied=True, unit_decoder=True), "tied weights are the encoder's.*network.unit_decoder=false"),
        (Dense(tied=True, spectral_norm=1.0), "tied weights are the encoder's.*network.spectral_norm=null"),
        (Dense(unit_decoder=True, spectral_norm=1.0), "exclude each other; try network.spectral_norm=null"),
    ],
)
def test_limits_that_exclude_each_other_are_refused(spec: Dense, message: str) -> None:
    why = spec.misfit(Widths(row=(6,), features=2, latent=2))
    assert why is not None and re.search(message, why)


def test_the_encoder_is_told_what_is_missing_only_when_it_is_asked_to_see_the_mask() -> None:
    x = x_of(20)
    mask = torch.rand(x.shape, generator=generator()) < 0.7
    holed = Batch(x * mask, mask)
    assert torch.equal(make(Dense((5,))).encode(holed), make(Dense((5,))).encode(Batch(x * mask)))
    network = make(Dense((5,), sees_mask=True))
    assert network.encoder_mask is not None
    torch.testing.assert_close(network.encode(holed), network.encode(Batch(x * mask)))  # it starts from nothing
    with torch.no_grad():
        network.encoder_mask.weight.normal_(generator=generator())
        told = F.linear((~mask).flatten(1).float(), network.encoder_mask.weight)
        first = network.encoder[0]
        h = torch.relu(F.linear((x * mask).flatten(1), first.weight, first.bias) + told)
        torch.testing.assert_close(
            network.encode(holed), F.linear(h, network.encoder[1].weight, network.encoder[1].bias)
        )
    whole = Batch(x, torch.ones_like(mask))
    torch.testing.assert_close(network.encode(whole), network.encode(Batch(x)))
    assert not torch.allclose(network.encode(holed), network.encode(Batch(x * mask)))
