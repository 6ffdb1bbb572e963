"""The convolutional network: its maps beside explicit sums, its sizes, its start and its misfits."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isthmus import Autoencoder, presets
from isthmus.codes import Deterministic, Gaussian
from isthmus.errors import RecipeError
from isthmus.networks import ACTIVATIONS, Conv, Widths
from isthmus.networks.conv import ConvNetwork
from isthmus.networks.conv_layers import Enlarging, Whole, Window
from isthmus.objectives import Normal, Objective, Reconstruction, SquaredError
from isthmus.recipe import Recipe
from isthmus.schema import Batch, Schema
from tests.helpers import batch_of, build, generator, rows

WIDTHS = Widths(row=(2, 7, 6), features=5, latent=4, parameters=2)
TWO = Conv((4, 3))


def make(spec: Conv, widths: Widths = WIDTHS) -> ConvNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(widths)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


# ---- linear maps -------------------------------------------------------------------------------------------------


def matrix(window: Window) -> Tensor:
    """Return where each output position looks, `(positions, inputs, kernel**2)`, from the definition alone.

    Position p sees the inputs ``p * stride - padding + k``, with ``(kernel - 1) // 2`` of the window before the first.
    """
    (height, width), kernel = window.size, window.kernel
    rows_out, columns_out = -(-height // window.stride), -(-width // window.stride)
    seen = torch.zeros(rows_out, columns_out, height, width, kernel, kernel, dtype=torch.float64)
    for p, q, i, j in itertools.product(range(rows_out), range(columns_out), range(kernel), range(kernel)):
        y = p * window.stride - (kernel - 1) // 2 + i
        x = q * window.stride - (kernel - 1) // 2 + j
        if 0 <= y < height and 0 <= x < width:
            seen[p, q, y, x, i, j] = 1.0
    return seen.view(rows_out * columns_out, height * width, kernel * kernel)


WINDOWS = [
    Window(kernel, stride, size)
    for kernel, stride in [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (5, 4)]
    for size in [(1, 1), (1, 4), (4, 3), (5, 5), (6, 7)]
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_convolutions_and_their_transposes_are_the_sums_of_their_definition(window: Window) -> None:
    weight = randn(3, 2, window.kernel, window.kernel, dtype=torch.float64)
    seen = matrix(window)
    whole = torch.einsum("pxk,iok->ipox", seen, weight.flatten(2)).reshape(3 * seen.shape[0], 2 * seen.shape[1])
    x = randn(4, 2, *window.size, seed=1, dtype=torch.float64)
    y = randn(4, 3, *window.positions, seed=2, dtype=torch.float64)
    bias = randn(3, seed=3, dtype=torch.float64)
    down = window.down(x, weight, bias)
    torch.testing.assert_close(down.flatten(1), x.flatten(1) @ whole.t() + bias.repeat_interleave(seen.shape[0]))
    up = window.up(y, weight, bias[:2])
    assert up.shape == x.shape
    expected = y.flatten(1) @ whole + bias[:2].repeat_interleave(seen.shape[1])
    torch.testing.assert_close(up.flatten(1), expected)


@pytest.mark.parametrize("product", [*WINDOWS[::7], Whole((2, 3, 4))], ids=str)
def test_up_is_the_transpose_of_down(product: Window | Whole) -> None:
    """``<A x, y> = <x, A' y>``, which is what tied weights mean."""
    if isinstance(product, Window):
        x, weight = randn(5, 2, *product.size), randn(3, 2, product.kernel, product.kernel, seed=1)
        y = randn(5, 3, *product.positions, seed=2)
    else:
        x, weight, y = randn(5, 2, 3, 4), randn(6, 24, seed=1), randn(5, 6, seed=2)
    forwards = (product.down(x, weight, None) * y).flatten(1).sum(1)
    backwards = (product.up(y, weight, None) * x).flatten(1).sum(1)
    torch.testing.assert_close(forwards, backwards, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 6)])
def test_nearest_repeats_each_position_and_then_convolves(size: tuple[int, int], kernel: int, stride: int) -> None:
    window = Window(kernel, stride, size)
    y, weight = randn(2, 3, *window.positions), randn(2, 3, kernel, kernel, seed=1)
    repeated = torch.empty(2, 3, *size)
    for i, j in itertools.product(range(size[0]), range(size[1])):
        repeated[..., i, j] = y[..., i // stride, j // stride]
    expected = Window(kernel, 1, size).down(repeated, weight, None)
    torch.testing.assert_close(Enlarging(window).up(y, weight, None), expected)


def test_every_size_from_1_to_33_comes_back_exactly() -> None:
    for kernel, stride in [(1, 1), (2, 2), (3, 2), (3, 3), (4, 2), (5, 2), (5, 3)]:
        for height, width in itertools.product(range(1, 34), (1, 2, 3, 8, 15, 33)):
            for size in ((height, width), (width, height)):
                window = Window(kernel, stride, size)
                x = torch.empty(1, 1, *size, device="meta")
                weight = torch.empty(1, 1, kernel, kernel, device="meta")
                down = window.down(x, weight, None)
                assert down.shape[2:] == window.positions == (-(-size[0] // stride), -(-size[1] // stride))
                assert window.up(down, weight, None).shape == x.shape
                assert Enlarging(window).up(down, weight, None).shape == x.shape


# ---- the network ---------------------------------------------------------------------------------------------------

SPECS = [
    TWO,
    Conv((4,), stride=1),
    Conv((4, 3, 5), kernel=5, stride=(2, 1, 3)),
    Conv((4, 3), kernel=4, upsampling="nearest"),
    Conv((4, 3), residual=True, normalisation="layer"),
    Conv((4, 3), bottleneck="spatial"),
    Conv((4, 3), skips=True),
    Conv((4, 3), skips=True, residual=True, upsampling="nearest", bottleneck="spatial"),
    Conv((32, 16), normalisation="group"),
    Conv((4,) * 7),
]


@pytest.mark.parametrize("row", [(1, 1), (5, 4), (28, 28), (1, 9, 8), (3, 7, 1), (2, 33, 31)], ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_rows_of_any_size_come_back_in_their_shape(spec: Conv, row: tuple[int, ...]) -> None:
    network = make(spec, Widths(row, features=6, latent=3, parameters=2)).eval()
    batch = Batch(randn(4, *row))
    features, skips = network.encode_with_skips(batch)
    assert features.shape == (4, 6, *network.positions)
    assert bool(network.positions) == (spec.bottleneck == "spatial")
    out = network.decode(randn(4, 3, *network.positions), batch, skips)
    assert out.shape == (4, 2, *row)
    assert torch.isfinite(out).all()


def test_positions_of_spatial_latents() -> None:
    for row, channels, stride, positions in [
        ((28, 28), (4, 3), 2, (7, 7)),
        ((1, 27, 30), (4, 3), 2, (7, 8)),
        ((3, 5, 9), (4, 3), (3, 1), (2, 3)),
        ((3, 2), (4, 3, 2), 2, (1, 1)),
    ]:
        spec = Conv(channels, stride=stride, bottleneck="spatial")
        assert make(spec, Widths(row, 2, 2)).positions == positions


def plain(spec: Conv, layer: Any, h: Tensor, *, hidden: bool = True) -> Tensor:
    """Apply what comes after a layer's linear map, as the docstring of `Conv` writes it."""
    if hidden and spec.normalisation is not None:
        groups = {"batch": None, "layer": 1, "group": max(1, h.shape[1] // 16)}[spec.normalisation]
        if groups is None:
            mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
        else:
            grouped = h.reshape(len(h), groups, -1)
            mean = grouped.mean(2, keepdim=True).expand_as(grouped).reshape(h.shape)
            variance = grouped.var(2, correction=0, keepdim=True).expand_as(grouped).reshape(h.shape)
        h = (h - mean) / (variance + 1e-5).sqrt()
        h = h * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]
    return ACTIVATIONS[spec.activation](h) if hidden else h


@pytest.mark.parametrize("normalisation", [None, "batch", "layer", "group"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("skips", [False, True])
def test_layers_are_as_described(skips: bool, residual: bool, normalisation: Any) -> None:
    spec = Conv((32, 3), normalisation=normalisation, residual=residual, skips=skips, activation="tanh")
    network, batch = make(spec).train(), Batch(randn(9, 2, 7, 6))
    for parameter in network.parameters():  # no bias of zero, no gain of one
        parameter.data += 0.1 * randn(*parameter.shape, seed=3)
    windows = [Window(3, 2, (7, 6)), Window(3, 2, (4, 3))]
    encoder: Any = network.encoder
    decoder: Any = network.decoder
    h, passed = batch.x, []
    for stage, window in zip(encoder, windows, strict=True):
        h = plain(spec, stage[0], window.down(h, stage[0].weight, stage[0].bias))
        if residual:
            same = Window(3, 1, window.positions)
            h = h + plain(spec, stage[1], same.down(h, stage[1].weight, stage[1].bias))
        passed.append(h)
    features = h.flatten(1) @ network.encoder_head.weight.t() + network.encoder_head.bias
    given, maps = network.encode_with_skips(batch)
    torch.testing.assert_close(given, features, rtol=1e-4, atol=1e-5)
    assert len(maps) == 2 * skips
    for got, expected in zip(maps, passed, strict=False):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    z, head = randn(9, 4, seed=1), network.decoder_head
    h = plain(spec, head, (z @ head.weight + head.bias).view(9, 3, 2, 2))
    for number, window in ((1, windows[1]), (0, windows[0])):
        stage = decoder[number]
        if residual:
            same = Window(3, 1, window.positions)
            h = h + plain(spec, stage[0], same.down(h, stage[0].weight, stage[0].bias))
        if skips:
            h = torch.cat([h, passed[number]], 1)
        last = stage[-1]
        bias = last.bias.view(4, 7, 6) if number == 0 else last.bias[:, None, None]
        h = plain(spec, last, window.up(h, last.weight, None) + bias, hidden=number > 0)
    torch.testing.assert_close(network.decode(z, batch, maps), h.view(9, 2, 2, 7, 6), rtol=1e-4, atol=1e-5)


def test_images_of_one_channel_may_leave_it_out() -> None:
    flat = make(TWO, Widths((7, 6), 5, 4, 2)).eval()
    deep = make(TWO, Widths((1, 7, 6), 5, 4, 2)).eval()
    x, z = randn(3, 7, 6), randn(3, 4)
    assert torch.equal(flat.encode(Batch(x)), deep.encode(Batch(x[:, None])))
    assert torch.equal(flat.decode(z, Batch(x)), deep.decode(z, Batch(x[:, None])).squeeze(2))


def test_dropout_works_in_training_only_and_keeps_the_mean() -> None:
    network, batch = make(Conv((400,), dropout=0.5)), Batch(randn(2, 2, 7, 6))
    network.eval()
    quiet = network.encode(batch)
    assert torch.equal(quiet, make(Conv((400,))).eval().encode(batch))
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = torch.stack([network.encode(batch) for _ in range(200)])
    assert noisy.std(0).min() > 0.05
    assert ((noisy.mean(0) - quiet).abs() < 4.5 * noisy.std(0) / 200**0.5).all()


def test_only_batch_normalisation_lets_rows_depend_on_each_other() -> None:
    x = randn(9, 2, 7, 6)
    for normalisation in (None, "layer", "group", "batch"):
        spec = replace(TWO, normalisation=normalisation)
        network = make(spec).train()
        together, alone = network.encode(Batch(x))[:3], network.encode(Batch(x[:3]))
        independent = torch.allclose(together, alone, atol=1e-5)
        assert independent == ("independent_rows" in spec.provides) == (normalisation != "batch")
        assert spec.minimum_batch == (2 if normalisation == "batch" else 1)


@pytest.mark.parametrize("bottleneck", ["global", "spatial"])
def test_tied_weights_are_the_encoders(bottleneck: str) -> None:
    widths = Widths((2, 7, 6), 4, 4)
    network = make(Conv((4, 3), tied=True, bottleneck=bottleneck), widths)
    names = dict(network.named_parameters())
    assert [n for n in names if n.startswith("decoder") and n.endswith("weight")] == []
    untied = make(Conv((4, 3), bottleneck=bottleneck), widths)
    encoder: Any = untied.encoder
    decoder: Any = untied.decoder
    untied.load_state_dict(names, strict=False)
    with torch.no_grad():
        untied.decoder_head.weight.copy_(untied.encoder_head.weight)
        for up, down in zip(decoder, encoder, strict=True):
            up[0].weight.copy_(down[0].weight)
    z, batch = randn(5, 4, *network.positions), Batch(randn(5, 2, 7, 6))
    torch.testing.assert_close(network.decode(z, batch), untied.decode(z, batch))
    network.decode(z, batch).square().sum().backward()
    assert all(p.grad is not None for n, p in names.items() if n.endswith("weight"))


# ---- skips -----------------------------------------------------------------------------------------------------------


def test_skips_change_what_is_decoded_and_are_asked_for() -> None:
    network = make(replace(TWO, skips=True)).eval()
    batch, z = Batch(randn(3, 2, 7, 6)), randn(3, 4)
    _, skips = network.encode_with_skips(batch)
    assert [tuple(skip.shape) for skip in skips] == [(3, 4, 4, 3), (3, 3, 2, 2)]
    before = network.decode(z, batch, skips)
    for number in range(2):
        changed = [skip + 1.0 * (number == at) for at, skip in enumerate(skips)]
        assert not torch.allclose(before, network.decode(z, batch, tuple(changed)))
    with pytest.raises(RecipeError, match="the encoder's maps beside the code"):
        network.decode(z, batch)
    assert make(TWO).encode_with_skips(batch)[1] == ()


def test_skips_and_codes_that_need_a_bottleneck_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match=r"needs 'bottleneck'.*network\.skips=false"):
        Recipe(Conv(skips=True), Gaussian(2))
    Recipe(Conv(), Gaussian(2))
    x = rows(40, 36, shape=(6, 6))
    model = Autoencoder(presets.conv_denoising(latent_dim=2, channels=(4,), epochs=1)).fit(x)
    assert model.reconstruct(x).shape == x.shape
    for call in (lambda: model.inverse_transform(model.transform(x)), lambda: model.interpolate(x[:1], x[1:2])):
        with pytest.raises(RecipeError, match=r"network\.skips=false"):
            call()


# ---- a condition -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [TWO, Conv((4, 3), bottleneck="spatial"), Conv((4,), skips=True)], ids=str)
def test_a_condition_reaches_both_sides(spec: Conv) -> None:
    network = make(spec, replace(WIDTHS, condition=3)).eval()
    batch = Batch(randn(4, 2, 7, 6), condition=randn(4, 3, seed=1))
    other = batch.replace(condition=randn(4, 3, seed=2))
    features, skips = network.encode_with_skips(batch)
    assert not torch.allclose(features, network.encode(other))
    z = randn(4, 4, *network.positions, seed=3)
    assert not torch.allclose(network.decode(z, batch, skips), network.decode(z, other, skips))
    with torch.no_grad():
        for layer in (network.encoder_condition, network.decoder_condition):
            assert layer is not None
            layer.weight.zero_()
    assert torch.equal(network.encode(batch), network.encode(other))
    assert torch.equal(network.decode(z, batch, skips), network.decode(z, other, skips))


def test_a_condition_beside_a_vector_is_what_appended_columns_would_be() -> None:
    network = make(TWO, replace(WIDTHS, condition=3)).eval()
    wider = make(TWO, replace(WIDTHS, latent=7)).eval()
    told, z = randn(4, 3), randn(4, 4, seed=1)
    assert network.decoder_condition is not None
    state = {**network.state_dict(), "decoder_head.weight": torch.cat(
        [network.decoder_head.weight, network.decoder_condition.weight.t()]
    )}  # fmt: skip
    wider.load_state_dict(state, strict=False)
    batch = Batch(randn(4, 2, 7, 6), condition=told)
    torch.testing.assert_close(network.decode(z, batch), wider.decode(torch.cat([z, told], 1), batch))


# ---- the start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS[:8], ids=str)
@pytest.mark.parametrize("condition", [0, 2])
def test_calibration_centres_and_scales_by_the_data(spec: Conv, condition: int) -> None:
    spec = replace(spec, normalisation=None)
    network = make(spec, replace(WIDTHS, condition=condition))
    told = randn(300, condition, seed=5) if condition else None
    batch = Batch(3.0 + 2.0 * randn(300, 2, 7, 6), condition=told)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def before(name: str) -> Any:
        def hook(layer: Any, inputs: Any) -> None:
            y = layer.product(inputs[0], layer.weight, None)
            bias = layer.bias.view(layer.values) if layer.values else layer.bias.view(-1, *[1] * (y.ndim - 2))
            shift = 0 if len(inputs) == 1 or inputs[1] is None else inputs[1]
            seen[name] = y, y + bias + shift

        return hook

    with torch.no_grad():
        features = network.calibrate_encoder(batch, 0.3)
        torch.testing.assert_close(features, network.encode(batch))
        _, skips = network.encode_with_skips(batch)
        z = randn(300, 4, *network.positions, seed=1)
        network.calibrate_decoder(z, batch, skips)
        for name, layer in network.named_modules():
            if hasattr(layer, "product"):
                layer.register_forward_pre_hook(before(name))
        network.encode(batch)
        network.decode(z, batch, skips)
    assert len(seen) == sum(hasattr(layer, "product") for layer in network.modules())
    output = f"decoder.0.{len(network.decoder[0]) - 1}"  # type: ignore[arg-type]
    for name, (y, whole) in seen.items():
        layer: Any = network.get_submodule(name)
        over = (0,) if layer.values or y.ndim == 2 else (0, 2, 3)
        if name != output:  # whose bias is the mean row
            assert whole.mean(over).abs().max() < 2e-4, name
        std = {"encoder_head": 0.3, output: 0.05}.get(name, 0.5)
        assert (y - y.mean(over, keepdim=True)).square().mean().sqrt().item() == pytest.approx(std, rel=2e-3), name


LIKELIHOODS = [SquaredError("linear"), Normal("row")]


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"tied": True}, {"residual": True}, {"normalisation": "batch"}, {"skips": True}, {"bottleneck": "spatial"}],
    ids=str,
)
def test_the_untrained_model_is_close_to_the_mean_row(likelihood: Any, condition: int, options: dict[str, Any]) -> None:
    x = rows(200, 36, support="real", shape=(6, 6))
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32) + np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 6)
    if options.get("tied") and likelihood == Normal("row"):
        pytest.skip("refused: a tied decoder gives one number for each value")
    code = Deterministic(2)
    recipe = Recipe(Conv((8, 5), **options), code, objective=Reconstruction(likelihood), preprocessing="none")
    composition, batch = build(recipe, x, condition), batch_of(x, condition)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch)
    composition.eval()
    with torch.no_grad():
        forward = composition(batch)
        guess = composition.likelihood.mean(forward.parameters).mean(0)
        torch.testing.assert_close(guess, batch.x.mean(0), atol=0.35, rtol=0)
        bias = composition.likelihood.output_bias(batch.x.mean(0), batch.x.var(0, correction=0))
        constant = composition.likelihood.cost(bias.expand(len(x), *bias.shape), batch.x, None).mean()
        assert forward.reconstruction.mean() < constant + 0.25 * 36


def test_the_first_guess_is_the_output_bias() -> None:
    network = make(TWO)
    bias = torch.arange(168.0).view(2, 2, 7, 6)
    network.set_output_bias(bias)
    output: Any = network.decoder[0][-1]  # type: ignore[index]
    with torch.no_grad():
        output.weight.zero_()
    assert torch.equal(network.decode(randn(3, 4), Batch(randn(3, 2, 7, 6))), bias.expand(3, *bias.shape))


def test_calibration_of_rows_that_are_all_the_same_stays_small() -> None:
    network = make(TWO)
    x = torch.full((50, 2, 7, 6), 1.0)
    with torch.no_grad():
        network.calibrate_encoder(Batch(x), 0.5)
    assert network.encode(Batch(x + 0.1)).abs().max() < 100


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_untrained_network_neither_explodes_nor_vanishes(activation: str) -> None:
    """Ten stages deep, in both directions."""
    spec = Conv((16,) * 10, stride=1, activation=activation, bottleneck="spatial")
    network = make(spec, Widths((16, 6, 6), features=16, latent=16))
    x = randn(32, 16, 6, 6).requires_grad_()
    features = network.encode(Batch(x))
    network.decode(features, Batch(x)).sum().backward()
    assert x.grad is not None
    assert 0.0003 < features.std() < 30
    assert 0 < x.grad.std() < 1e4


# ---- rows alone and among others -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [(1, 3), (3, 5, 4), (13, 14)], ids=str)
@pytest.mark.parametrize("spec", [*SPECS[:6], Conv((1, 2)), Conv((4, 17), tied=True)], ids=str)
def test_equal_rows_give_equal_results_wherever_they_stand(spec: Conv, row: tuple[int, ...]) -> None:
    """To the last bit, in a block of the size that the estimator uses."""
    network = make(spec, Widths(row, 3, 3)).eval()
    x, z = (
        randn(1, *row).repeat(256, *[1] * len(row)),
        randn(1, 3, *network.positions).repeat(256, *[1] * (1 + len(network.positions))),
    )
    others, other_z = randn(256, *row, seed=1), randn(256, 3, *network.positions, seed=2)
    others[77], other_z[77] = x[0], z[0]
    with torch.no_grad():
        features, parameters = network.encode(Batch(x)), network.decode(z, Batch(x))
        assert (features == features[:1]).all() and (parameters == parameters[:1]).all()
        assert torch.equal(network.encode(Batch(others))[77], features[0])
        assert torch.equal(network.decode(other_z, Batch(others))[77], parameters[0])


def test_what_was_not_observed_is_zero_to_the_encoder() -> None:
    network = make(TWO).eval()
    x, mask = randn(5, 2, 7, 6), randn(5, 2, 7, 6, seed=1) > 0
    holed = Batch(torch.where(mask, x, torch.nan), mask).observed()
    assert torch.equal(network.encode(holed), network.encode(Batch(x * mask)))


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "options", "channels"),
    [
        ((28, 28), {}, (16, 64)),
        ((1, 8, 8), {}, (16,)),
        ((3, 64, 33), {}, (16, 64, 64)),
        ((2, 3), {}, (16,)),
        ((3, 128, 128), {}, (16, 64, 64, 64)),
        ((28, 28), {"stride": 4, "kernel": 5}, (16,)),
        ((28, 28), {"stride": 1}, (16,)),
        ((28, 28), {"stride": (1, 2, 2)}, (16, 64, 64)),
    ],
)
def test_auto_channels_go_by_the_size_of_the_image(
    row: tuple[int, ...], options: dict[str, Any], channels: tuple[int, ...]
) -> None:
    resolved = Conv(**options).resolve(row, 100)
    assert resolved.channels == channels and resolved.resolve(row, 7) == resolved
    assert Conv((3, 4)).resolve(row, 100).channels == (3, 4)


@pytest.mark.parametrize(
    ("parts", "shape", "message"),
    [
        (lambda: Recipe(Conv()), (36,), r"images .*shape \(36,\).*reshape.*network=dense"),
        (lambda: Recipe(Conv()), (12, 1, 1, 3), r"the shape \(12, 1, 1, 3\)"),
        (lambda: Recipe(Conv()), (6, 6, 3), r"seem to stand last.*moveaxis"),
        (lambda: Recipe(Conv(tied=True), Gaussian(2)), (6, 6), r"reads 4 for 2.*network\.tied=false"),
        (lambda: Recipe(Conv(tied=True), objective=Reconstruction(Normal("row"))), (6, 6), r"needs 2.*squared_error"),
        (lambda: Recipe(Conv(tied=True, residual=True)), (6, 6), r"exclude each other.*network\.residual=false"),
        (lambda: Recipe(Conv(tied=True, skips=True)), (6, 6), r"exclude each other.*network\.skips=false"),
        (lambda: Recipe(Conv(tied=True, upsampling="nearest")), (6, 6), r"network\.upsampling=transposed"),
    ],
)
def test_misfits_are_told_with_advice(parts: Any, shape: tuple[int, ...], message: str) -> None:
    x = rows(40, int(np.prod(shape)), shape=shape)
    with pytest.raises(RecipeError, match=message):
        parts().resolve(Schema.of(x), len(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, "network.channels.*list of integers"),
        ({"channels": (4, 0)}, "network.channels.*at least 1"),
        ({"channels": (4,), "stride": (2, 2)}, "as many strides as stages, 1, got 2"),
        ({"stride": ()}, "network.stride"),
        ({"kernel": 2, "stride": 3}, "network.kernel.*of 3 at least, got 2"),
        ({"kernel": 0}, "network.kernel"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Conv(**settings)


def test_presets() -> None:
    assert presets.conv_autoencoder().network == presets.conv_vae().network == Conv()
    assert presets.conv_denoising().network == Conv(skips=True)
    assert presets.conv_denoising(skips=False).network == Conv()
    assert presets.conv_vae().objective.weights(1.0) == {"kl": 1.0}
    assert presets.conv_denoising().corruption == presets.denoising().corruption
    assert presets.vae(network=Conv((4,))) == presets.conv_vae(channels=(4,))
    assert Objective() == presets.conv_autoencoder().objective
