"""Recurrent networks: a series read step by step, and written step by step."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.networks.base import Network, NetworkSpec, Widths
from isthmus.networks.cells import CELLS, Cell, State
from isthmus.networks.layers import HIDDEN_STD, OUTPUT_SCALE, Linear
from isthmus.schema import Batch
from isthmus.settings import AtLeast, CountOrAuto, Dropout, ListOf, OneOf


@dataclass(frozen=True)
class Mode:
    """How a decoder writes.

    Attributes:
        feedback: whether it reads the step before; else it reads the latent at every step.
        forced: whether it reads the true one in training.
        backwards: whether it writes the last step first.
    """

    feedback: bool = True
    forced: bool = False
    backwards: bool = False


MODES: dict[str, Mode] = {
    "own": Mode(),
    "reversed": Mode(backwards=True),
    "teacher": Mode(forced=True),
    "repeat": Mode(feedback=False),
}


@dataclass(frozen=True)
class Recurrent(NetworkSpec):
    """Recurrent encoder and decoder for series: rows `(steps,)` or `(steps, channels)`; an image's lines are steps too.

    The encoder reads the series, in both directions if `bidirectional`; its features are a linear map of the last
    outputs of its last layer. The decoder's first state is a linear map of the latent, and its output a linear map of
    its last layer's outputs, plus a bias for each value of a row.

    **Unequal lengths**: the steps after the last one with an observed value are padding. The encoder does not see them:
    its features are those of the series without them. A gap inside a series is read as zeros.

    Args:
        cell: "lstm", or "gru", which has a quarter fewer weights but took a third longer for a training step of 64
            units on a CPU.
        hidden_dims: widths of the encoder's layers; the decoder has them in reverse order. "auto" is a single layer
            of 64.
        bidirectional: whether the encoder reads the series backwards too.
        decoder: what the decoder reads at a step. "repeat": the latent. "own": its own output of the step before.
            "reversed": the same, writing the series backwards, so that what the encoder read last comes first
            (Srivastava et al. 2015). "teacher": the true step before in training and its own output outside (Williams
            and Zipser 1989), which suits short series and strong decoders: errors add up over its own output.
        frame: steps that are read and written at once: a recurrent step costs the same for one value as for eight.
            "auto" is as many as leave at most 20 recurrent steps.
        dropout: probability that an output is dropped between two layers in training.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> network = Recurrent(hidden_dims=(16,), frame=4).build(Widths(row=(140,), features=8, latent=8))
        >>> network.decode(torch.zeros(2, 8), Batch(torch.zeros(2, 140))).shape
        torch.Size([2, 1, 140])

    Paper: Srivastava, Mansimov and Salakhutdinov, Unsupervised Learning of Video Representations using LSTMs, ICML
    2015, https://arxiv.org/abs/1502.04681.
    """

    kind: ClassVar[str] = "recurrent"
    cell: Annotated[str, OneOf(*CELLS)] = "lstm"
    hidden_dims: Annotated[
        tuple[int, ...] | Literal["auto"], ListOf(AtLeast(1), 'a list of one width or more, or "auto"', "(64,)")
    ] = "auto"
    bidirectional: bool = True
    decoder: Annotated[str, OneOf(*MODES)] = "repeat"
    frame: CountOrAuto = "auto"
    dropout: Dropout = 0.0

    @property
    def reads_steps(self) -> bool:
        return True

    @property
    def provides(self) -> Set[str]:
        return frozenset({"bottleneck", "independent_rows"})

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        frame = -(-row[0] // _MOST_STEPS) if self.frame == "auto" else self.frame
        return replace(self, hidden_dims=(64,) if self.hidden_dims == "auto" else self.hidden_dims, frame=frame)

    def misfit(self, widths: Widths) -> str | None:
        if len(widths.row) > 2:
            return "the recurrent network: " + explain(
                "rows of shape (steps,) or (steps, channels)",
                f"rows of shape {widths.row}",
                "network=conv or attention, or rows reshaped to (steps, channels)",
            )
        if self.decoder == "teacher" and widths.support not in ("real", "unit", "binary"):
            return (
                f"network.decoder=teacher reads true values in training and its expectation in use, which it cannot "
                f"tell for {widths.support}; try network.decoder=repeat"
            )
        if self.frame != "auto" and self.frame > widths.row[0]:
            return f"network.frame={self.frame} is longer than the series of {widths.row[0]} steps; try a smaller one"
        return None

    def build(self, widths: Widths) -> RecurrentNetwork:
        if "auto" in (self.hidden_dims, self.frame):
            raise RecipeError("the network's settings are still 'auto'; try recipe.resolve(schema, rows) before build")
        return RecurrentNetwork(self, widths)


_MOST_STEPS = 20


class Frames:
    """The layout of a row `(steps,)` or `(steps, channels)` as frames, time first: `(frames, rows, values)`."""

    def __init__(self, row: tuple[int, ...], size: int) -> None:
        self.row, self.size = row, size
        self.steps, self.channels = row[0], math.prod(row[1:])
        self.count = -(-self.steps // size)
        self.values = size * self.channels

    def cut(self, x: Tensor) -> Tensor:
        """Return `(rows, ..., *row)` as `(frames, rows, ... * values)`; what is missing in the last frame is zero."""
        lead = x.shape[: x.ndim - len(self.row)]
        x = F.pad(x.reshape(*lead, self.steps, self.channels), (0, 0, 0, self.count * self.size - self.steps))
        return x.reshape(lead[0], -1, self.count, self.values).permute(2, 0, 1, 3).flatten(2)

    def join(self, frames: Tensor, parameters: int) -> Tensor:
        """Return `(frames, rows, parameters * values)` as `(rows, parameters, *row)`."""
        rows = frames.shape[1]
        x = frames.view(self.count, rows, parameters, self.values).permute(1, 2, 0, 3)
        x = x.reshape(rows, parameters, self.count * self.size, self.channels)[:, :, : self.steps]
        return x.reshape(rows, parameters, *self.row).contiguous()

    def lengths(self, mask: Tensor | None) -> Tensor | None:
        """Return how many frames of each row there are before its padding, at least 1; None for all of them."""
        if mask is None:
            return None
        seen = self.cut(mask.to(torch.uint8)).amax(2)
        places = torch.arange(1, self.count + 1, device=mask.device)
        return (seen * places[:, None]).amax(0).clamp(min=1)


def flip(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return `(frames, rows, values)` with each row's frames in reverse order; its padding stays where it is."""
    if lengths is None:
        return x.flip(0)
    places = torch.arange(x.shape[0], device=x.device)[:, None]
    order = torch.where(places < lengths, lengths - 1 - places, places)
    return x.gather(0, order[..., None].expand(x.shape))


def last(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return each row's last frame before its padding, `(rows, values)`."""
    return x[-1] if lengths is None else x[lengths - 1, torch.arange(x.shape[1], device=x.device)]


class RecurrentNetwork(Network):
    """The network that `Recurrent` describes."""

    def __init__(self, spec: Recurrent, widths: Widths) -> None:
        super().__init__()
        hidden = tuple(int(width) for width in spec.hidden_dims)
        self.frames = Frames(widths.row, int(spec.frame))
        self.mode, self.dropout = MODES[spec.decoder], spec.dropout
        self.unit = widths.support in ("unit", "binary")
        self.parameters_per_value = widths.parameters
        cell, directions = CELLS[spec.cell], 1 + spec.bidirectional
        inputs = [self.frames.values + widths.condition, *(directions * width for width in hidden)]
        self.encoder = nn.ModuleList(
            nn.ModuleList(cell(inputs[depth], width) for _ in range(directions)) for depth, width in enumerate(hidden)
        )
        self.features = Linear(inputs[-1], widths.features)
        given = widths.latent + widths.condition
        written = self.frames.values * widths.parameters
        read = self.frames.values if self.mode.forced else written if self.mode.feedback else given
        # Numbered from the data inwards: the last layer of the decoder is its number 0.
        outer = [*hidden[1:], read]
        self.decoder = nn.ModuleList(cell(outer[depth], width) for depth, width in enumerate(hidden))
        self.start = nn.ModuleList(Linear(given, cell.states * width) for width in hidden)
        self.output = Linear(hidden[0], written, bias=False)
        self.bias = nn.Parameter(torch.zeros(widths.parameters, *widths.row))

    # ---- encoder -----------------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> Tensor:
        features: Tensor = self.features(self._read(batch))
        return features

    def _read(self, batch: Batch) -> Tensor:
        """Return the last outputs of the last layer, `(rows, directions * width)`."""
        h = _tell(self.frames.cut(batch.x), batch.condition)
        lengths = self.frames.lengths(batch.mask)
        layer: Any
        for depth, layer in enumerate(self.encoder):
            if depth and self.dropout:
                h = F.dropout(h, self.dropout, self.training)
            outputs = []
            for direction, cell in enumerate(layer):
                read = flip(h, lengths) if direction else h
                outputs.append(cell.scan(read, cell.zero_state(batch.rows)))
            if depth == len(self.encoder) - 1:
                return torch.cat([last(output, lengths) for output in outputs], 1)
            h = torch.cat([outputs[0], *(flip(output, lengths) for output in outputs[1:])], 2)
        raise AssertionError("there is no layer")

    # ---- decoder -----------------------------------------------------------------------------------------------

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        lengths = self.frames.lengths(batch.mask) if self.mode.backwards else None
        bias = self.frames.cut(self.bias.unsqueeze(0)).expand(-1, z.shape[0], -1)
        if self.mode.backwards:
            bias = flip(bias, lengths)
        frames = self._write(z, batch, bias)
        if self.mode.backwards:
            frames = flip(frames, lengths)
        return self.frames.join(frames, self.parameters_per_value)

    def _write(self, z: Tensor, batch: Batch, bias: Tensor) -> Tensor:
        """Return the frames in the order in which they are written, `(frames, rows, parameters * values)`."""
        given = z if batch.condition is None else torch.cat([z, batch.condition], 1)
        states = [self._start(depth, given) for depth in range(len(self.decoder))]
        if not self.mode.feedback:
            return self._scan(given.expand(self.frames.count, *given.shape), states) + bias
        if not self.mode.forced:
            first: Cell = self.decoder[0]  # type: ignore[assignment]
            if len(self.decoder) == 1 and first.folds:
                before = torch.cat([torch.zeros_like(bias[:1]), bias[:-1]])
                return self._scan(before, states, self.output.weight) + bias
            return self._feed_back(self.output(states[0][0]), states, bias)
        nothing = z.new_zeros(z.shape[0], self.frames.values)
        if self.training:
            true = self.frames.cut(batch.wanted)[:-1]
            return self._scan(torch.cat([nothing.unsqueeze(0), true]), states) + bias
        return self._feed_back(nothing, states, bias)

    def _start(self, depth: int, given: Tensor) -> State:
        # The outputs of a cell lie in (-1, 1), and so does the one it begins with.
        output, *inner = self.start[depth](given).chunk(self.decoder[depth].states, 1)
        return (torch.tanh(output), *inner)

    def _scan(self, x: Tensor, states: list[State], feedback: Tensor | None = None) -> Tensor:
        """Return what is written, less the bias, where all inputs are known before."""
        for depth in reversed(range(len(self.decoder))):
            x = self.decoder[depth].scan(x, states[depth], feedback)  # type: ignore[operator]
            if depth and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
        written: Tensor = self.output(x)
        return written

    def _feed_back(self, x: Tensor, states: list[State], bias: Tensor) -> Tensor:
        """Return what is written where each frame is read at the next step; `x` is read at the first one."""
        written = []
        for step in range(self.frames.count):
            for depth in reversed(range(len(self.decoder))):
                states[depth] = self.decoder[depth].step(x, states[depth])  # type: ignore[operator]
                x = states[depth][0]
                if depth and self.dropout:
                    x = F.dropout(x, self.dropout, self.training)
            x = self.output(x) + bias[step]
            written.append(x)
            if self.mode.forced:
                x = self._expected(x)
        return torch.stack(written)

    def _expected(self, frame: Tensor) -> Tensor:
        """Return the first parameter of each value as a value: a logit is one of a likelihood for [0, 1]."""
        first = frame[:, : self.frames.values]
        return torch.sigmoid(first) if self.unit else first

    # ---- the start ---------------------------------------------------------------------------------------------

    def calibrate_encoder(self, batch: Batch, std: float) -> Tensor:
        read = self._read(batch)
        self.features.calibrate(read, std)
        features: Tensor = self.features(read)
        return features

    def calibrate_decoder(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> None:
        given = z if batch.condition is None else torch.cat([z, batch.condition], 1)
        for start in self.start:
            start.calibrate(given, HIDDEN_STD)  # type: ignore[operator]
        self.bias.zero_()
        self.output.weight.mul_(0.1)
        bias = self.frames.cut(self.bias.unsqueeze(0)).expand(-1, z.shape[0], -1)
        written = self._write(z, batch, bias)
        spread = (written - written.mean(1, keepdim=True)).square().mean().sqrt().item()
        if spread > 0.0:
            self.output.weight.mul_(HIDDEN_STD * OUTPUT_SCALE / spread)

    def set_output_bias(self, bias: Tensor) -> None:
        with torch.no_grad():
            self.bias.copy_(bias)


def _tell(frames: Tensor, condition: Tensor | None) -> Tensor:
    """Return frames `(frames, rows, values)` with the condition at the end of each."""
    if condition is None:
        return frames
    return torch.cat([frames, condition.expand(frames.shape[0], *condition.shape)], 2)
