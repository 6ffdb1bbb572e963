"""The recurrent network: its cells beside the formulas, its masks beside shorter series, and what its decoder reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.codes import Deterministic, Gaussian
from isthmus.networks import Recurrent, Widths
from isthmus.networks.cells import CELLS, Cell
from isthmus.networks.recurrent import MODES, RecurrentNetwork
from isthmus.objectives import BinaryCrossEntropy, Contraction, Normal, Objective, Reconstruction, SquaredError
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from tests.helpers import batch_of, build, generator, rows

each_mode = pytest.mark.parametrize("mode", MODES)
each_cell = pytest.mark.parametrize("cell", CELLS)


def make(row: tuple[int, ...] = (7, 2), features: int = 4, latent: int = 3, **settings: Any) -> RecurrentNetwork:
    """Return a small network whose every weight is random: no bias of zero."""
    of_widths = {k: settings.pop(k) for k in ("parameters", "condition", "support") if k in settings}
    spec = Recurrent(**{"hidden_dims": (5,), "frame": 1, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spec.build(Widths(row=row, features=features, latent=latent, **of_widths))
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator(3))
    return network


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


# ---- the formulas, by loops ---------------------------------------------------------------------------------------


def step_by_hand(cell: Cell, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the next state of one row, from the formulas in the cells' docstrings."""
    from_input = (cell.input_weight @ x + cell.bias).chunk(cell.gates)
    from_state = (cell.state_weight @ state[0]).chunk(cell.gates)
    if cell.gates == 4:
        i, f, g, o = (a + b for a, b in zip(from_input, from_state, strict=True))
        inner = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * inner.tanh(), inner
    r, u = (torch.sigmoid(from_input[k] + from_state[k]) for k in (0, 1))
    n = torch.tanh(from_input[2] + r * (from_state[2] + cell.state_bias))
    return ((1 - u) * n + u * state[0],)


def run_by_hand(cell: Cell, series: list[Tensor]) -> list[Tensor]:
    state = tuple(torch.zeros(cell.width) for _ in range(cell.states))
    outputs = []
    for x in series:
        state = step_by_hand(cell, x, state)
        outputs.append(state[0])
    return outputs


def encode_by_hand(network: RecurrentNetwork, series: list[Tensor]) -> Tensor:
    for layer in network.encoder:
        forward = run_by_hand(layer[0], series)
        outputs = [forward]
        if len(layer) > 1:
            outputs.append(run_by_hand(layer[1], series[::-1])[::-1])
        ends = [outputs[0][-1], *(other[0] for other in outputs[1:])]
        series = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
    return network.features.weight @ torch.cat(ends) + network.features.bias


def decode_by_hand(network: RecurrentNetwork, mode: str, z: Tensor, row: tuple[int, int]) -> Tensor:
    """Return `(steps, parameters * channels)` of one row outside training, for frames of one step."""
    layers: list[Any] = list(network.decoder)[::-1]
    states = []
    for layer, start in zip(layers, list(network.start)[::-1], strict=True):
        first, *inner = (start.weight @ z + start.bias).chunk(layer.states)
        states.append((first.tanh(), *inner))
    bias = network.bias.permute(1, 0, 2).flatten(1)  # (steps, parameters * channels)
    places = range(row[0])[:: -1 if mode == "reversed" else 1]
    read = {
        "repeat": z,
        "teacher": torch.zeros(row[1]),
    }.get(mode, network.output.weight @ states[-1][0])
    written = {}
    for place in places:
        x = read
        for depth, layer in enumerate(layers):
            states[depth] = step_by_hand(layer, x, states[depth])
            x = states[depth][0]
        written[place] = network.output.weight @ x + bias[place]
        if mode == "teacher":
            read = written[place][: row[1]]
        elif mode != "repeat":
            read = written[place]
    return torch.stack([written[place] for place in range(row[0])])


@each_cell
@pytest.mark.parametrize("hidden", [(5,), (9,), (4, 6)], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_encoder_is_what_the_formulas_say(
    cell: str, hidden: tuple[int, ...], bidirectional: bool, training: bool
) -> None:
    network = make(cell=cell, hidden_dims=hidden, bidirectional=bidirectional).train(training)
    x = noise(3, 7, 2)
    expected = torch.stack([encode_by_hand(network, list(row)) for row in x])
    torch.testing.assert_close(network.encode(Batch(x)), expected, rtol=1e-4, atol=1e-5)


@each_cell
@each_mode
@pytest.mark.parametrize("hidden", [(5,), (4, 6)], ids=str)
def test_the_decoder_is_what_the_formulas_say(cell: str, mode: str, hidden: tuple[int, ...]) -> None:
    """Also the own output's way into the LSTM's state, which is a product of weights where there is one layer."""
    network = make(cell=cell, hidden_dims=hidden, decoder=mode, parameters=2).eval()
    z = noise(3, 3)
    expected = torch.stack([decode_by_hand(network, mode, row, (7, 2)) for row in z]).unflatten(2, (2, 2)).movedim(2, 1)
    torch.testing.assert_close(network.decode(z, Batch(noise(3, 7, 2))), expected, rtol=1e-4, atol=1e-5)


@each_mode
def test_frames_are_channels_of_a_shorter_series(mode: str) -> None:
    """A frame of 2 steps of 3 channels is a step of 6 channels; what is missing in the last one is zero."""
    framed = make((7, 3), decoder=mode, frame=2, parameters=2).eval()
    stepped = make((4, 6), decoder=mode, parameters=2).eval()
    weights = {name: value for name, value in framed.state_dict().items() if name != "bias"}
    bias = torch.cat([framed.bias, torch.zeros(2, 1, 3)], 1).view(2, 4, 6)
    stepped.load_state_dict({**weights, "bias": bias})
    x = noise(3, 7, 3)
    padded = torch.cat([x, torch.zeros(3, 1, 3)], 1).view(3, 4, 6)
    torch.testing.assert_close(framed.encode(Batch(x)), stepped.encode(Batch(padded)))
    z = noise(3, 3)
    out = stepped.decode(z, Batch(padded)).reshape(3, 2, 8, 3)[:, :, :7]
    torch.testing.assert_close(framed.decode(z, Batch(x)), out)


def test_a_series_of_one_channel_is_a_vector() -> None:
    flat, deep = make((7,), parameters=2), make((7, 1), parameters=2)
    deep.load_state_dict({k: v.view(deep.state_dict()[k].shape) for k, v in flat.state_dict().items()})
    x, z = noise(3, 7), noise(3, 3)
    assert torch.equal(flat.encode(Batch(x)), deep.encode(Batch(x[..., None])))
    assert torch.equal(flat.decode(z, Batch(x)), deep.decode(z, Batch(x[..., None])).squeeze(3))


# ---- unequal lengths ----------------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("hidden", [(5,), (4, 6)], ids=str)
@pytest.mark.parametrize("frame", [1, 3])
def test_padding_is_never_read(cell: str, hidden: tuple[int, ...], frame: int) -> None:
    """Features of padded series are those of the series without padding, each row with a length of its own."""
    network = make((9, 2), cell=cell, hidden_dims=hidden, frame=frame).eval()
    lengths = [9, 6, 3, 1, 7]
    x = noise(5, 9, 2)
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None])[..., None].expand(5, 9, 2).clone()
    mask[0, 4] = False  # a gap is no padding
    mask[1, 5, 0] = False  # and a step of which a channel was observed is none
    batch = Batch(x, mask).observed()
    features = network.encode(batch)
    for row, length in enumerate(lengths):
        short = make((length, 2), cell=cell, hidden_dims=hidden, frame=min(frame, length)).eval()
        if frame > length:
            short = make((frame, 2), cell=cell, hidden_dims=hidden, frame=frame).eval()
            length = frame
        weights = {name: value for name, value in network.state_dict().items() if name != "bias"}
        short.load_state_dict({**weights, "bias": short.bias})
        alone = short.encode(Batch(batch.x[row : row + 1, :length]))
        torch.testing.assert_close(features[row : row + 1], alone, rtol=0, atol=1e-6)


def test_a_row_of_which_nothing_was_observed_has_features() -> None:
    network = make().eval()
    nothing = Batch(torch.zeros(2, 7, 2), torch.zeros(2, 7, 2).bool())
    features = network.encode(nothing)
    assert features.isfinite().all()
    torch.testing.assert_close(features[0], features[1])


def test_a_reversed_decoder_begins_at_the_last_real_step() -> None:
    network = make((7, 1), decoder="reversed").eval()
    network.bias.data.zero_()
    x, z = torch.zeros(2, 7, 1), noise(1, 3).expand(2, 3)
    mask = torch.arange(7).view(1, 7, 1) < torch.tensor([7, 4]).view(2, 1, 1)
    full, short = network.decode(z, Batch(x, mask))[:, 0, :, 0]
    assert torch.equal(short[:4].flip(0), full.flip(0)[:4])


# ---- what the decoder reads ---------------------------------------------------------------------------------------


def read_by(network: RecurrentNetwork, channels: int = 2) -> Tensor:
    """Return whether output step t depends on the true step s, `(t, s)`."""
    x = noise(1, 7, channels).requires_grad_()
    out = network.decode(noise(1, 3, seed=1), Batch(torch.zeros(1, 7, channels), target=x))[0, 0].sum(1)
    depends = torch.zeros(7, 7)
    for step in range(7):
        (gradient,) = torch.autograd.grad(out[step], x, retain_graph=True, allow_unused=True)
        if gradient is not None:
            depends[step] = gradient[0].abs().sum(1)
    return depends > 0


@each_cell
@pytest.mark.parametrize("hidden", [(5,), (4, 6)], ids=str)
def test_a_forced_decoder_reads_the_true_past_in_training_and_nothing_else(cell: str, hidden: tuple[int, ...]) -> None:
    network = make(cell=cell, hidden_dims=hidden, decoder="teacher")
    past = torch.ones(7, 7).tril(-1).bool()
    assert torch.equal(read_by(network.train()), past)
    x = noise(1, 7, 2)
    forced = network.decode(noise(1, 3, seed=1), Batch(x))
    network.eval()
    own = network.decode(noise(1, 3, seed=1), Batch(x))
    torch.testing.assert_close(own[:, :, 0], forced[:, :, 0])  # nothing was read yet
    assert not torch.allclose(own[:, :, 1:], forced[:, :, 1:])
    # The own output as the truth gives itself.
    torch.testing.assert_close(network.train().decode(noise(1, 3, seed=1), Batch(own[:, 0])), own)


@each_mode
@pytest.mark.parametrize("training", [False, True])
def test_only_a_forced_decoder_reads_the_row_and_only_in_training(mode: str, training: bool) -> None:
    x = noise(1, 7, 2)
    network = make(decoder=mode).train(training)
    one, other = (network.decode(noise(1, 3, seed=1), Batch(rows)) for rows in (x, x + 1.0))
    assert torch.equal(one, other) == (mode != "teacher" or not training)


def test_a_forced_decoder_of_logits_reads_their_means() -> None:
    network = make(decoder="teacher", support="unit", parameters=2)
    own = network.eval().decode(noise(1, 3, seed=1), Batch(torch.zeros(1, 7, 2)))
    torch.testing.assert_close(network.train().decode(noise(1, 3, seed=1), Batch(own[:, 0].sigmoid())), own)


def test_a_missing_true_step_is_read_as_zero() -> None:
    recipe = Recipe(Recurrent(hidden_dims=(5,), frame=1, decoder="teacher"), Deterministic(3))
    composition = build(recipe, rows(support="real"))
    x = batch_of(rows(4, support="real")).x
    mask = torch.ones_like(x).bool()
    mask[:, 2] = False
    results = [composition(Batch(torch.where(mask, x, hole), mask)).parameters for hole in (0.0, 9.0, float("nan"))]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_the_recipe_tells_the_network_what_its_output_is() -> None:
    for likelihood, unit in ((SquaredError("linear"), False), (Normal(), False), (BinaryCrossEntropy(), True)):
        recipe = Recipe(Recurrent(hidden_dims=(5,)), Deterministic(2), objective=Reconstruction(likelihood))
        assert build(recipe, rows()).network.unit == unit  # type: ignore[union-attr]


# ---- conditions, gradients, rounding ------------------------------------------------------------------------------


@each_mode
@pytest.mark.parametrize("hidden", [(5,), (4, 6)], ids=str)
def test_a_condition_reaches_both_sides(mode: str, hidden: tuple[int, ...]) -> None:
    network = make(decoder=mode, hidden_dims=hidden, condition=2).eval()
    batch = Batch(noise(3, 7, 2), condition=noise(3, 2, seed=1))
    other = batch.replace(condition=noise(3, 2, seed=2))
    assert not torch.allclose(network.encode(batch), network.encode(other))
    z = noise(3, 3)
    assert not torch.allclose(network.decode(z, batch), network.decode(z, other))


@each_cell
@each_mode
@pytest.mark.parametrize("hidden", [(5,), (4, 6)], ids=str)
def test_gradients_reach_every_parameter(cell: str, mode: str, hidden: tuple[int, ...]) -> None:
    network = make(cell=cell, decoder=mode, hidden_dims=hidden, latent=4, parameters=2, condition=2, frame=2).train()
    batch = Batch(noise(3, 7, 2), condition=noise(3, 2, seed=1))
    network.decode(network.encode(batch), batch).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@each_cell
@each_mode
@pytest.mark.parametrize("hidden", [(3,), (5,), (8, 5)], ids=str)
def test_equal_rows_give_equal_results_wherever_they_stand(cell: str, mode: str, hidden: tuple[int, ...]) -> None:
    network = make(cell=cell, decoder=mode, hidden_dims=hidden, frame=2, condition=2).eval()
    x, given, z = noise(256, 7, 2), noise(256, 2, seed=1), noise(256, 3, seed=2)
    mask = torch.arange(7).view(1, 7, 1) < torch.randint(1, 8, (256, 1, 1), generator=generator(4))
    mask = mask.expand(256, 7, 2)
    order = torch.randperm(256, generator=generator(5))
    with torch.no_grad():
        for seen in (None, mask):
            batch = Batch(x, seen, given).observed()
            moved = Batch(batch.x[order], None if seen is None else seen[order], given[order])
            assert torch.equal(network.encode(batch)[order], network.encode(moved))
            assert torch.equal(network.decode(z, batch)[order], network.decode(z[order], moved))


def test_the_encoder_has_second_derivatives() -> None:
    """A term on its Jacobian is minimised through them."""
    for cell in CELLS:
        network = make((2, 2), cell=cell, features=1, hidden_dims=(2,)).double()
        x = noise(1, 2, 2).double().requires_grad_()
        assert torch.autograd.gradgradcheck(lambda x, n=network: n.encode(Batch(x)), x)
    recipe = Recipe(Recurrent(hidden_dims=(3,)), Deterministic(2), objective=Objective() + 1.0 * Contraction())
    composition, batch = build(recipe, rows()), batch_of(rows(4))
    loss = composition.loss(composition(batch), {"contraction": 1.0})
    loss.raw["contraction"].backward()
    assert composition.network.encoder[0][0].input_weight.grad.abs().sum() > 0  # type: ignore[union-attr,index]


# ---- the start ----------------------------------------------------------------------------------------------------


@each_cell
@each_mode
@pytest.mark.parametrize("likelihood", [SquaredError("linear"), Normal("row"), BinaryCrossEntropy()], ids=repr)
def test_the_untrained_model_is_close_to_the_mean_row(cell: str, mode: str, likelihood: Any) -> None:
    x = rows(200, 12, support=likelihood.support, shape=(6, 2))
    if likelihood.support == "real":
        x = (x - x.mean(0)) / x.std(0)
    network = Recurrent(cell, (9, 5), decoder=mode, frame=1)
    recipe = Recipe(network, Gaussian(2), objective=Reconstruction(likelihood), preprocessing="none")
    composition, batch = build(recipe, x), batch_of(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        composition.initialise(batch)
    composition.eval()
    with torch.no_grad():
        features = composition.network.encode(batch)
        assert features.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.01)
        assert features.mean(0).abs().max() < 1e-4
        forward = composition(batch)
        guess = composition.likelihood.mean(forward.parameters).mean(0)
        torch.testing.assert_close(guess, batch.x.mean(0), atol=0.35, rtol=0)
        bias = composition.likelihood.output_bias(batch.x.mean(0), batch.x.var(0, correction=0))
        constant = composition.likelihood.cost(bias.expand(len(x), *bias.shape), batch.x, None).mean()
        assert forward.reconstruction.mean() < constant + 0.05 * 12
        assert forward.parameters.std(0).mean() > 1e-4


def test_recurrent_weights_start_orthogonal_and_the_forget_gate_open() -> None:
    for cell in CELLS.values():
        layer = cell(3, 5)
        for block in layer.state_weight.chunk(layer.gates):
            torch.testing.assert_close(block @ block.t(), torch.eye(5))
    torch.testing.assert_close(CELLS["lstm"](3, 2).bias, torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))


def test_dropout_is_between_layers_and_in_training_only() -> None:
    network, batch = make(hidden_dims=(20, 20), dropout=0.5), Batch(noise(3, 7, 2))
    network.eval()
    quiet = network.encode(batch)
    assert torch.equal(quiet, make(hidden_dims=(20, 20)).eval().encode(batch))
    network.train()
    assert not torch.equal(network.encode(batch), network.encode(batch))
    single = make(hidden_dims=(20,), dropout=0.5).train()
    assert torch.equal(single.encode(batch), single.encode(batch))


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_auto_and_misfits() -> None:
    assert [Recurrent().resolve((n,), 9).frame for n in (6, 40, 41, 140)] == [1, 2, 3, 7]
    widths = Widths((3, 28, 28), 4, 4)
    assert "got rows of shape (3, 28, 28); try network=conv" in (Recurrent().misfit(widths) or "")
    assert "frame=9 is longer" in (Recurrent(frame=9).misfit(Widths((8, 2), 4, 4)) or "")
    assert Recurrent(frame=8).misfit(Widths((8, 2), 4, 4)) is None
