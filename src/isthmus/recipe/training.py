"""The settings of training, as they stand in a recipe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

from isthmus.errors import RecipeError, explain
from isthmus.settings import (
    AtLeast,
    CountOrAuto,
    CountOrNone,
    ListOf,
    NotNegative,
    OneOf,
    Pattern,
    Range,
    Settings,
    Share,
)

# Enough steps for a small network to converge; measured on tables and on images of 28 x 28.
_STEPS_WANTED = 5000


@dataclass(frozen=True)
class Training(Settings):
    """How a recipe is trained.

    Args:
        epochs: passes over the training rows; "auto" takes as many as give about 5,000 steps, 3 to 300.
        batch_size: rows in a step; "auto" is 256, or all training rows if there are fewer.
        learning_rate: the highest rate of Adam.
        schedule: what the rate does after the warm-up: "linear" stays, and falls to zero linearly over the last
            two fifths of the steps; "cosine" falls to zero as a cosine; "constant" stays.
        warmup_steps: steps in which the rate rises linearly, though never more than a quarter of all.
        betas: Adam's decay rates of the first and second moment.
        weight_decay: decoupled weight decay (AdamW), on matrices only.
        clip: a step's gradient norm is limited to this many times its running average; None (null) for no limit.
        opening: share of the steps over which the latents open one after the other (progressive training); 0 has all
            of them open from the start.
        pretraining: epochs of greedy layer-wise pretraining for each hidden layer; 0 for none.
        validation_fraction: share of the rows held out for early stopping and model selection.
        patience: epochs without a better validation loss after which training stops; None (null) to never stop.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N", "mps".
        precision: "float32", or "bfloat16" for mixed precision.
        compile: whether `torch.compile` compiles the step.
        threads: CPU threads; "auto" is what the machine gives the process, and one for a small network.
        seed: decides the split, the initial weights, the order and the noise.
        checkpoint_seconds: time between two checkpoints, where checkpoints are asked for.
    """

    path: ClassVar[str] = "training"
    epochs: CountOrAuto = "auto"
    batch_size: CountOrAuto = "auto"
    learning_rate: Annotated[float, Range(0, 10, open_low=True)] = 4e-3
    schedule: Annotated[str, OneOf("linear", "cosine", "constant")] = "linear"
    warmup_steps: Annotated[int, AtLeast(0)] = 40
    betas: Annotated[tuple[float, float], ListOf(Range(0, 0.99999), "two numbers", "(0.9, 0.99)", least=2, most=2)] = (
        0.9,
        0.97,
    )
    weight_decay: Share = 0.0
    clip: Annotated[float | None, Range(0, open_low=True)] = 2.0
    opening: Share = 0.0
    pretraining: Annotated[int, AtLeast(0)] = 0
    validation_fraction: Annotated[float, Range(0, 0.9)] = 0.1
    patience: CountOrNone = 20
    device: Annotated[str, Pattern("(auto|cpu|cuda|mps)(:.*)?", "auto, cpu, cuda, cuda:N or mps", "auto")] = "auto"
    precision: Annotated[str, OneOf("float32", "bfloat16")] = "float32"
    compile: bool = False
    threads: CountOrAuto = "auto"
    seed: Annotated[int, AtLeast(0)] = 0
    checkpoint_seconds: NotNegative = 15.0

    def resolve(self, rows: int) -> Training:
        """Return the settings with batch size and epochs answered for so many rows."""
        if self.batch_size != "auto" and self.batch_size > rows:
            raise RecipeError(
                "training.batch_size: "
                + explain(f"at most the {rows} training rows", str(self.batch_size), 'a smaller one, or "auto"')
            )
        batch_size = min(256, rows) if self.batch_size == "auto" else self.batch_size
        epochs = self.epochs
        if epochs == "auto":
            epochs = min(300, max(3, round(_STEPS_WANTED / -(-rows // batch_size))))
        return dataclasses.replace(self, batch_size=batch_size, epochs=epochs)
