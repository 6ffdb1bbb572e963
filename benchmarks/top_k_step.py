"""What a training step of a TopK dictionary costs: the dense form and the step that skips zeros.

Usage, from the project's root, in the environment that `make benchmark` makes:

    python -m benchmarks.top_k_step [--repeats 5] [--rows 1024] [--width 768] [--latents 12288] [--k 32]

Process time on one thread. Both sides have one linear layer on each side, a TopK code, the squared error, decoder
columns of norm 1 after each step, and the same fused Adam; they start from the same weights and see the same rows, in
turn. The dense form scatters the k values into a row of zeros and multiplies it, as the well-known scripts do. Each
side's loss after its steps is printed too: the gradients are the same, so the losses agree to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.common import Clock, one_thread, spread, where
from isthmus.codes import Draw
from isthmus.composition import Composition
from isthmus.presets import top_k
from isthmus.schema import Batch, Schema


class DenseForm(nn.Module):
    """A TopK dictionary in the dense form, with the weights of a composition."""

    def __init__(self, composition: Composition, k: int) -> None:
        super().__init__()
        weights = {name: value.detach().clone() for name, value in composition.network.named_parameters()}
        self.k = k
        self.read = nn.Parameter(weights["encoder.0.weight"])
        self.read_bias = nn.Parameter(weights["encoder.0.bias"])
        self.written = nn.Parameter(weights["decoder.0.weight"])
        self.written_bias = nn.Parameter(weights["decoder.0.bias"])

    def forward(self, x: Tensor) -> Tensor:
        """Return the loss of some rows."""
        features = nn.functional.linear(x, self.read, self.read_bias)
        values, latents = features.topk(self.k, 1, sorted=False)
        z = torch.zeros_like(features).scatter_(1, latents, values)
        rebuilt = nn.functional.linear(z, self.written, self.written_bias)
        return (rebuilt - x).square().sum(1).mean()

    @torch.no_grad()
    def after_step(self) -> None:
        """Divide each column by its norm."""
        self.written.div_(self.written.norm(dim=0))


def stepper(module: nn.Module, loss: Callable[[], Tensor], after: Callable[[], None]) -> Callable[[], float]:
    """Return a training step, which returns the loss before it."""
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)

    def step() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        after()
        return value.item()

    return step


def main() -> None:
    """Parse the command line, time both sides in turn, print the table."""
    parser = argparse.ArgumentParser(description="Time a training step of a TopK dictionary in two forms.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--latents", type=int, default=12288)
    parser.add_argument("--k", type=int, default=32)
    given = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    x = torch.randn(given.rows, given.width)
    schema = Schema.of(x.numpy())
    recipe = top_k(given.latents, k=given.k, preprocessing="none").resolve(schema, len(x))
    recipe = recipe.replace({"code.dead_after": 10_000_000})  # the dense form revives none either
    composition = recipe.build(schema).train()
    dense, batch = DenseForm(composition, given.k), Batch(x)
    weights = recipe.objective.weights(0.0)
    sides = {
        "dense form": stepper(dense, lambda: dense(x), dense.after_step),
        "isthmus": stepper(
            composition,
            lambda: composition.loss(composition(batch, Draw()), weights).total,
            composition.after_step,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, float] = {}
    for step in sides.values():  # not counted: what is set up at the first use
        step()
    for turn in range(given.repeats):
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            clock = Clock()
            losses[name] = sides[name]()
            seconds[name].append(clock.process)
    print(f"{given.rows} rows of {given.width} values, {given.latents} latents, k {given.k}. {where()};")
    print(f"process time of a step, median (range) of {given.repeats} turns.")
    for name, values in seconds.items():
        print(f"{name:12} {spread([1000 * v for v in values], 0)} ms, loss {losses[name]:.6f}")
    ratios = [a / b for a, b in zip(seconds["dense form"], seconds["isthmus"], strict=True)]
    print(f"the dense form takes {spread(ratios)} times as long (medians: {_of_medians(seconds):.2f})")


def _of_medians(seconds: dict[str, list[float]]) -> float:
    dense, ours = (median(values) for values in seconds.values())
    return dense / ours


if __name__ == "__main__":
    main()
