"""The attention network: attention by loops, patches beside slices, and tokens of which nothing was observed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.codes import Deterministic, Gaussian
from isthmus.corruptions import HidePatches
from isthmus.networks import Attention, Widths
from isthmus.networks.attention import Attend, AttentionNetwork, Block, Tiling, sinusoids
from isthmus.objectives import BinaryCrossEntropy, Contraction, Normal, Objective, Reconstruction, SquaredError
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from tests.helpers import batch_of, build, generator, rows

# Rows with the form they are read in, the patch, and slices of each token in order.
LAYOUTS: list[tuple[tuple[int, ...], str, int, list[Any]]] = [
    ((11,), "series", 3, [slice(i, i + 3) for i in range(0, 11, 3)]),
    ((7, 3), "series", 2, [slice(i, i + 2) for i in range(0, 7, 2)]),
    ((5, 7), "image", 3, [(slice(i, i + 3), slice(j, j + 3)) for i in (0, 3) for j in (0, 3, 6)]),
    ((2, 4, 9), "image", 4, [(slice(None), slice(0, 4), slice(j, j + 4)) for j in (0, 4, 8)]),
    ((3, 8), "image", 4, [(slice(0, 3), slice(j, j + 4)) for j in (0, 4)]),  # a patch larger than a side
]
each_layout = pytest.mark.parametrize(("row", "form", "patch", "slices"), LAYOUTS, ids=lambda v: str(v)[:20])
each_bottleneck = pytest.mark.parametrize("bottleneck", ["global", "sequence"])


def make(row: tuple[int, ...] = (5, 7), features: int = 4, latent: int = 4, **settings: Any) -> AttentionNetwork:
    """Return a small network whose every weight is random: no bias of zero, no gain of one."""
    of_widths = {k: settings.pop(k) for k in ("parameters", "condition") if k in settings}
    spec = Attention(**{"patch": 3, "width": 8, "heads": 2, "layers": 1, **settings}).resolve(row, 9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spec.build(Widths(row=row, features=features, latent=latent, **of_widths))
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator(3))
    return network


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


# ---- the formulas, by loops ---------------------------------------------------------------------------------------


def attend_by_hand(layer: Attend, h: Tensor, seen: list[bool]) -> Tensor:
    """Return what each token of one row gathers, `(tokens, width)`."""
    tokens, width = h.shape
    size = width // layer.heads
    q, k, v = (layer.read.weight @ h.t() + layer.read.bias[:, None]).t().split(width, 1)  # type: ignore[index]
    gathered = torch.zeros(tokens, width)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(tokens):
            others = [other for other in range(tokens) if seen[other]]
            scores = torch.stack([(q[token, part] * k[other, part]).sum() / math.sqrt(size) for other in others])
            weights = scores.exp() / scores.exp().sum()
            gathered[token, part] = sum(w * v[other, part] for w, other in zip(weights, others, strict=True))
    return gathered @ layer.write.weight.t() + layer.write.bias


def norm_by_hand(norm: Any, h: Tensor) -> Tensor:
    scaled = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return scaled * norm.weight + norm.bias


def block_by_hand(block: Block, h: Tensor, seen: list[bool]) -> Tensor:
    h = h + attend_by_hand(block.attend, norm_by_hand(block.attend_norm, h), seen)
    inner = norm_by_hand(block.inner_norm, h) @ block.widen.weight.t() + block.widen.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    return h + inner @ block.narrow.weight.t() + block.narrow.bias


def stack_by_hand(stack: Any, h: Tensor, seen: list[bool]) -> Tensor:
    for block in stack.blocks:
        h = block_by_hand(block, h, seen)
    return norm_by_hand(stack.norm, h)


MASK = [True, False, True, True, False, True]


@each_bottleneck
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_both_sides_are_what_the_formulas_say(bottleneck: str, layers: int, masked: bool, training: bool) -> None:
    network = make(bottleneck=bottleneck, layers=layers).train(training)
    x = noise(1, 5, 7)
    seen = MASK if masked else [True] * 6
    mask = torch.ones(1, 5, 7).bool()
    for visible, patch in zip(seen, LAYOUTS[2][3], strict=True):
        mask[0][patch] = visible
    batch = Batch(x, mask if masked else None).observed()
    tokens = torch.stack([_padded(batch.x[0][patch]) for patch in LAYOUTS[2][3]])
    h = tokens @ network.embed.weight.t() + network.embed.bias + network.encoder_positions
    weight, bias = network.features.weight, network.features.bias
    if bottleneck == "global":
        h = torch.cat([network.token[None], h])
        expected = weight @ stack_by_hand(network.encoder, h, [True, *seen])[0] + bias
    else:
        expected = stack_by_hand(network.encoder, h, seen) @ weight.t() + bias
        expected = torch.where(torch.tensor(seen)[:, None], expected, bias).t().view(4, 2, 3)
    features = network.encode(batch)
    torch.testing.assert_close(features[0], expected, rtol=1e-4, atol=1e-5)

    z = features[0]
    wide = network.expand.weight, network.expand.bias
    h = (wide[0] @ z + wide[1]).view(6, 8) if bottleneck == "global" else z.flatten(1).t() @ wide[0].t() + wide[1]
    out = stack_by_hand(network.decoder, h + network.decoder_positions, seen) @ network.output.weight.t()
    expected = network.bias[0].clone()
    for values, patch in zip(out, LAYOUTS[2][3], strict=True):
        height, width = expected[patch].shape
        expected[patch] += values.view(3, 3)[:height, :width]
    torch.testing.assert_close(network.decode(features, batch)[0, 0], expected, rtol=1e-4, atol=1e-5)


def _padded(patch: Tensor) -> Tensor:
    whole = torch.zeros(3, 3)
    whole[: patch.shape[0], : patch.shape[1]] = patch
    return whole.flatten()


def test_positions_are_sines_and_cosines_of_each_axis() -> None:
    places = sinusoids((3, 5), 8)
    for i in range(3):
        for j in range(5):
            expected = [f(p / 10_000 ** (k / 4)) for p in (i, j) for k in (0, 2) for f in (math.sin, math.cos)]
            torch.testing.assert_close(places[i * 5 + j], torch.tensor(expected))
    for grid, width in (((7,), 5), ((2, 3), 6), ((2, 3), 1)):
        assert sinusoids(grid, width).shape == (math.prod(grid), width)


# ---- the layout ---------------------------------------------------------------------------------------------------


@each_layout
def test_tokens_are_the_patches_in_order_and_come_back_exactly(
    row: tuple[int, ...], form: str, patch: int, slices: list[Any]
) -> None:
    patches = Tiling(row, form, patch)
    x = noise(4, *row)
    tokens = patches.cut(x)
    assert tokens.shape == (4, len(slices), patches.values)
    for place, part in enumerate(slices):
        values = x[0][part].flatten()
        # What the padding adds is zero, and nothing is lost.
        torch.testing.assert_close(tokens[0, place].abs().sum(), values.abs().sum())
        assert sorted(values.tolist()) == sorted([v for v in tokens[0, place].tolist() if v != 0])
    assert torch.equal(patches.join(tokens, 1).squeeze(1), x)
    several = noise(4, 3, *row)
    assert torch.equal(patches.join(patches.cut(several), 3), several)


@each_layout
@each_bottleneck
def test_rows_of_any_size_come_out_in_their_shape(
    row: tuple[int, ...], form: str, patch: int, slices: list[Any], bottleneck: str
) -> None:
    network = make(row, form=form, patch=patch, bottleneck=bottleneck, parameters=2)
    features = network.encode(Batch(noise(4, *row)))
    assert features.shape == (4, 4, *network.positions)
    grids = {"(11,)": (4,), "(7, 3)": (4,), "(5, 7)": (2, 3), "(2, 4, 9)": (1, 3), "(3, 8)": (1, 2)}
    assert network.positions == (() if bottleneck == "global" else grids[str(row)])
    assert network.decode(features, Batch(noise(4, *row))).shape == (4, 2, *row)
    bias = noise(2, *row, seed=1)
    network.set_output_bias(bias)
    network.output.weight.data.zero_()
    assert torch.equal(network.decode(features, Batch(noise(4, *row))), bias.expand(4, 2, *row))


# ---- what was not observed ----------------------------------------------------------------------------------------


@each_layout
@each_bottleneck
def test_padding_at_the_end_changes_nothing(
    row: tuple[int, ...], form: str, patch: int, slices: list[Any], bottleneck: str
) -> None:
    """What a token of padding holds, and where it stands, reaches no other: its position could be any."""
    network = make(row, form=form, patch=patch, bottleneck=bottleneck).eval()
    x, mask = noise(2, *row), torch.ones(2, *row).bool()
    for part in slices[1::2]:
        mask[1][part] = False
    batch = Batch(x, mask).observed()
    before = network.encode(batch), network.decode(network.encode(batch), batch)
    hidden = torch.tensor([place % 2 == 1 for place in range(len(slices))])
    for positions in (network.encoder_positions, network.decoder_positions):
        positions.data[hidden] += noise(*positions[hidden].shape, seed=7)
    after = network.encode(batch), network.decode(before[0], batch)
    for part in slices[0::2]:
        torch.testing.assert_close(after[1][1, 0][part], before[1][1, 0][part])
    torch.testing.assert_close(after[0][1], before[0][1])
    assert not torch.allclose(after[0][0], before[0][0])  # where they were observed, positions count


@each_bottleneck
def test_series_of_unequal_lengths_are_as_without_padding(bottleneck: str) -> None:
    long = make((9, 2), form="series", bottleneck=bottleneck, positions="learned").eval()
    if bottleneck == "global":
        long.expand.weight.data[:, :] = 0.0  # its rows are of tokens, which differ in number
    x = noise(1, 9, 2)
    mask = (torch.arange(9) < 6)[None, :, None].expand(1, 9, 2)
    short = make((6, 2), form="series", bottleneck=bottleneck, positions="learned").eval()
    weights = {k: v for k, v in long.state_dict().items() if short.state_dict()[k].shape == v.shape}
    cut = {k: v[:2] for k, v in long.state_dict().items() if k.endswith("positions")}
    short.load_state_dict({**short.state_dict(), **weights, **cut})
    features = long.encode(Batch(x, mask).observed())
    alone = short.encode(Batch(x[:, :6]))
    if bottleneck == "sequence":
        torch.testing.assert_close(features[0, :, 2], long.features.bias)
        features = features[:, :, :2]
    torch.testing.assert_close(features, alone, rtol=0, atol=1e-6)


@each_bottleneck
@pytest.mark.parametrize("training", [False, True])
def test_rows_of_which_nothing_was_observed_have_finite_gradients(bottleneck: str, training: bool) -> None:
    network = make(bottleneck=bottleneck).train(training)
    mask = torch.zeros(3, 5, 7).bool()
    mask[1, :2] = True
    batch = Batch(noise(3, 5, 7), mask).observed()
    features = network.encode(batch)
    torch.testing.assert_close(features[0], features[2])
    out = network.decode(features, batch)
    twice = network.encode(batch.replace(x=batch.x.clone().requires_grad_()))  # the form with second derivatives
    (out.square().sum() + twice.square().sum()).backward()
    assert out.isfinite().all() and all(p.grad.isfinite().all() for p in network.parameters())
    if bottleneck == "sequence":
        assert torch.equal(features[0], network.features.bias[:, None, None].expand(4, 2, 3))


@each_bottleneck
@pytest.mark.parametrize("equal", [False, True])
def test_leaving_hidden_tokens_out_in_training_changes_nothing(bottleneck: str, equal: bool) -> None:
    network = make((8, 8), patch=2, bottleneck=bottleneck, layers=2)
    batch = Batch(noise(6, 8, 8))
    batch = HidePatches(0.7, 2)(batch, generator(1))
    if not equal:
        assert batch.mask is not None
        batch.mask[0] = True
    torch.testing.assert_close(network.train().encode(batch), network.eval().encode(batch), rtol=1e-5, atol=1e-5)


def test_a_masked_autoencoder_is_scored_on_what_was_hidden() -> None:
    recipe = Recipe(
        Attention(3, bottleneck="sequence", width=8, heads=2), Deterministic(2), HidePatches(0.5, 3),
        Reconstruction(SquaredError("linear")),
    )  # fmt: skip
    x = rows(4, 35, shape=(5, 7))
    composition = build(recipe, x)
    forward = composition(batch_of(x), corrupt=True, generator=generator())
    error = (forward.parameters[:, 0] - forward.batch.x).square()
    torch.testing.assert_close(forward.reconstruction, (error * forward.seen.scored).flatten(1).sum(1))
    forward.reconstruction.sum().backward()
    assert composition.network.features.bias.grad.abs().sum() > 0  # type: ignore[union-attr]


# ---- conditions, gradients, rounding ------------------------------------------------------------------------------


@each_bottleneck
def test_a_condition_reaches_both_sides(bottleneck: str) -> None:
    network = make(bottleneck=bottleneck, condition=2).eval()
    batch = Batch(noise(3, 5, 7), condition=noise(3, 2, seed=1))
    other = batch.replace(condition=noise(3, 2, seed=2))
    features = network.encode(batch)
    assert not torch.allclose(features, network.encode(other))
    assert not torch.allclose(network.decode(features, batch), network.decode(features, other))


@each_bottleneck
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_gradients_reach_every_parameter(bottleneck: str, positions: str) -> None:
    network = make(bottleneck=bottleneck, positions=positions, layers=2, parameters=2, condition=2).train()
    mask = torch.ones(3, 5, 7).bool()
    mask[:, 3:, 6:] = False
    batch = Batch(noise(3, 5, 7), mask, noise(3, 2, seed=1)).observed()
    network.decode(network.encode(batch), batch.replace(mask=None)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@each_layout
@each_bottleneck
@pytest.mark.parametrize("width", [6, 16])
def test_equal_rows_give_equal_results_wherever_they_stand(
    row: tuple[int, ...], form: str, patch: int, slices: list[Any], bottleneck: str, width: int
) -> None:
    network = make(row, form=form, patch=patch, bottleneck=bottleneck, width=width, condition=2).eval()
    x, told, z = noise(256, *row), noise(256, 2, seed=1), noise(256, 4, *network.positions, seed=2)
    mask = torch.rand(x.shape, generator=generator(4)) < 0.3
    order = torch.randperm(256, generator=generator(5))
    with torch.no_grad():
        for seen in (None, mask):
            batch = Batch(x, seen, told).observed()
            moved = Batch(batch.x[order], None if seen is None else seen[order], told[order])
            assert torch.equal(network.encode(batch)[order], network.encode(moved))
            assert torch.equal(network.decode(z, batch)[order], network.decode(z[order], moved))


@each_bottleneck
def test_the_encoder_has_second_derivatives(bottleneck: str) -> None:
    """A term on its Jacobian is minimised through them."""
    recipe = Recipe(
        Attention(width=8, heads=2, layers=1, bottleneck=bottleneck), Deterministic(2),
        objective=Objective() + 1.0 * Contraction(),
    )  # fmt: skip
    composition, batch = build(recipe, rows()), batch_of(rows(4))
    composition.loss(composition(batch), {"contraction": 1.0}).raw["contraction"].backward()
    assert composition.network.embed.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    network, x = make(bottleneck=bottleneck).eval(), noise(2, 5, 7)
    torch.testing.assert_close(network.encode(Batch(x)), network.encode(Batch(x.clone().requires_grad_())))


# ---- the start ----------------------------------------------------------------------------------------------------


@each_bottleneck
@pytest.mark.parametrize("likelihood", [SquaredError("linear"), Normal("row"), BinaryCrossEntropy()], ids=repr)
def test_the_untrained_model_is_close_to_the_mean_row(bottleneck: str, likelihood: Any) -> None:
    x = rows(200, 12, support=likelihood.support, shape=(3, 4))
    if likelihood.support == "real":
        x = (x - x.mean(0)) / x.std(0)
    network = Attention(2, bottleneck=bottleneck, width=16)
    recipe = Recipe(network, Gaussian(2), objective=Reconstruction(likelihood), preprocessing="none")
    composition, batch = build(recipe, x), batch_of(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch)
    composition.eval()
    with torch.no_grad():
        features = composition.network.encode(batch)
        assert features.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.01)
        forward = composition(batch)
        guess = composition.likelihood.mean(forward.parameters).mean(0)
        torch.testing.assert_close(guess, batch.x.mean(0), atol=0.35, rtol=0)
        bias = composition.likelihood.output_bias(batch.x.mean(0), batch.x.var(0, correction=0))
        constant = composition.likelihood.cost(bias.expand(len(x), *bias.shape), batch.x, None).mean()
        assert forward.reconstruction.mean() < constant + 0.05 * 12
        assert forward.parameters.std(0).mean() > 1e-4


def test_dropout_works_in_training_only() -> None:
    network, batch = make(dropout=0.5), Batch(noise(3, 5, 7))
    network.eval()
    assert torch.equal(network.encode(batch), make().eval().encode(batch))
    network.train()
    assert not torch.equal(network.encode(batch), network.encode(batch))


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_auto_and_misfits() -> None:
    found = {row: Attention().resolve(row, 9) for row in [(6,), (140,), (2, 3), (28, 28), (3, 32, 32)]}
    assert [spec.form for spec in found.values()] == ["series", "series", "image", "image", "image"]
    assert [spec.patch for spec in found.values()] == PATCHES
    assert Attention(form="series").resolve((40, 9), 9).form == "series"
    with pytest.raises(Exception, match=r"network\.heads: expected a divisor of network.width=6, got 4; try 3"):
        Attention(width=6)
    with pytest.raises(Exception, match=r"network\.heads"):
        Attention(heads=5).resolve((6,), 9)
    widths = Widths((2, 3, 4, 5), 4, 4)
    assert "got rows of shape (2, 3, 4, 5)" in (Attention().misfit(widths) or "")
    assert "with form=series; try network.form=image" in (
        Attention(form="series").misfit(Widths((3, 4, 5), 4, 4)) or ""
    )
    assert "patch=9 is larger" in (Attention(patch=9).misfit(Widths((8, 2), 4, 4)) or "")
    assert Attention(patch=8).misfit(Widths((8, 2), 4, 4)) is None


PATCHES = [1, 6, 1, 6, 7]
