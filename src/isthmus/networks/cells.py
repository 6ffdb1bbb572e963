"""The recurrent cells: a whole series at once, or a step at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.networks.layers import COLUMNS_OF_ONE_ORDER

State = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One layer in one direction; the state is `(rows, width)`, or two of them, the output first.

    Attributes:
        gates: products of the state that a step takes.
        states: tensors in a state.
        folds: whether an input that is linear in the output before can be folded into the state's weights.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    folds: ClassVar[bool]

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input_weight = nn.Parameter(torch.empty(self.gates * width, inputs))
        self.state_weight = nn.Parameter(torch.empty(self.gates * width, width))
        self.bias = nn.Parameter(torch.zeros(self.gates * width))
        nn.init.xavier_uniform_(self.input_weight)
        for block in self.state_weight.detach().chunk(self.gates):
            nn.init.orthogonal_(block)

    def zero_state(self, rows: int) -> State:
        """Return the state that a series begins with."""
        return tuple(self.bias.new_zeros(rows, self.width) for _ in range(self.states))

    def scan(self, x: Tensor, state: State, feedback: Tensor | None = None) -> Tensor:
        """Return the outputs `(steps, rows, width)` for inputs `(steps, rows, inputs)`.

        Args:
            x: the inputs.
            state: before the first step.
            feedback: `(inputs, width)`, if ``feedback @ output`` of the step before is added to each input, for a cell
                that `folds`: its state has ``input_weight @ feedback`` as further weights.
        """
        steps, rows = x.shape[:2]
        weights, hidden = self._widened(feedback)
        state = tuple(F.pad(part, (0, hidden - self.width)) for part in state)
        # The packed form has a second derivative, which a term on the encoder's Jacobian needs; oneDNN's has none.
        output = self._run(x.flatten(0, 1), torch.full((steps,), rows), state, weights)
        return output.view(steps, rows, hidden)[..., : self.width]

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after one more input `(rows, inputs)`."""
        weights, hidden = self._widened(None)
        after = self._step(x, tuple(F.pad(part, (0, hidden - self.width)) for part in state), weights)
        return tuple(part[:, : self.width] for part in after)

    def _weights(self, feedback: Tensor | None) -> list[Tensor]:
        state = self.state_weight if feedback is None else self.state_weight + self.input_weight @ feedback
        return [self.input_weight, state, self.bias, torch.zeros_like(self.bias)]

    def _widened(self, feedback: Tensor | None) -> tuple[list[Tensor], int]:
        """Return the weights, outside training with idle units where the products would be too narrow (`Linear`)."""
        weights, width = self._weights(feedback), self.width
        idle = -(-COLUMNS_OF_ONE_ORDER // self.gates) - width
        if self.training or idle <= 0:
            return weights, width

        def widen(weight: Tensor) -> Tensor:
            blocks = weight.view(self.gates, width, *weight.shape[1:])
            return F.pad(blocks, (0, 0) * (weight.ndim - 1) + (0, idle)).flatten(0, 1)

        inputs, state, *biases = (widen(weight) for weight in weights)
        return [inputs, F.pad(state, (0, idle)), *biases], width + idle

    @abstractmethod
    def _run(self, x: Tensor, sizes: Tensor, state: State, weights: list[Tensor]) -> Tensor:
        """Return the outputs `(steps * rows, width)`."""

    @abstractmethod
    def _step(self, x: Tensor, state: State, weights: list[Tensor]) -> State:
        """Return the next state."""


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000).

    ``i, f, g, o = W x + U h + b``; ``c' = sigmoid(f) c + sigmoid(i) tanh(g)``; ``h' = sigmoid(o) tanh(c')``. The forget
    gate's bias starts at 1 (Jozefowicz et al. 2015), so that gradients reach the first steps.
    """

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    folds: ClassVar[bool] = True

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
        with torch.no_grad():
            self.bias[width : 2 * width] = 1.0

    def _run(self, x: Tensor, sizes: Tensor, state: State, weights: list[Tensor]) -> Tensor:
        packed = [part.unsqueeze(0) for part in state]
        output: Tensor = torch.lstm(x, sizes, packed, weights, True, 1, 0.0, self.training, False)[0]
        return output

    def _step(self, x: Tensor, state: State, weights: list[Tensor]) -> State:
        after: State = torch.lstm_cell(x, state, *weights)
        return after


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), in the form whose reset gate acts after the product.

    ``r, u = sigmoid(W x + U h + b)``; ``n = tanh(W x + b + r (U h + d))``; ``h' = (1 - u) n + u h``.
    """

    gates: ClassVar[int] = 3
    states: ClassVar[int] = 1
    folds: ClassVar[bool] = False  # the reset gate acts on the state's product and not on the input's

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
        self.state_bias = nn.Parameter(torch.zeros(width))

    def _weights(self, feedback: Tensor | None) -> list[Tensor]:
        inputs, state, bias, _ = super()._weights(None)
        return [inputs, state, bias, F.pad(self.state_bias, (2 * self.width, 0))]

    def _run(self, x: Tensor, sizes: Tensor, state: State, weights: list[Tensor]) -> Tensor:
        output: Tensor = torch.gru(x, sizes, state[0].unsqueeze(0), weights, True, 1, 0.0, self.training, False)[0]
        return output

    def _step(self, x: Tensor, state: State, weights: list[Tensor]) -> State:
        return (torch.gru_cell(x, state[0], *weights),)


CELLS: dict[str, type[Cell]] = {"lstm": LSTM, "gru": GRU}
