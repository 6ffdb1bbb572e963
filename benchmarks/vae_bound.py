"""A VAE's test bound on MNIST: isthmus's default settings against the textbook script.

Usage, from the project's root, in the environment that `make benchmark` makes (or any with isthmus):

    python -m benchmarks.vae_bound [--data FOLDER] [--seeds 0 1 2] [--write docs/benchmarks.md]

784-400-20-400-784, ReLU, batch 128, 10 epochs, 60,000 training images. Both sides are evaluated by the same code on
the 10,000 test images: the evidence lower bound in nats per image, grey levels taken as the means of Bernoulli
variables, each image with 16 posterior samples of its own, the same noise for both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import (
    DEFAULT_DATA,
    Clock,
    Rows,
    layers,
    load_images,
    markdown_table,
    one_thread,
    scaled,
    spread,
    where,
    write_between,
)

WIDTHS = (784, 400)
LATENTS = 20
BATCH = 128
EPOCHS = 10
SAMPLES = 16

Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images to the posterior's mean and log-variance."""
Logits = Callable[[Tensor], Tensor]
"""From latents to the logits of the pixels."""


def bound(posterior: Posterior, logits: Logits, x: Rows) -> float:
    """Return the evidence lower bound, averaged over the images, in nats.

    ``E_q[sum_j x_j log p_j + (1 - x_j) log(1 - p_j)] - KL(q(z|x) || N(0, I))``, with `SAMPLES` draws from q.
    """
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    with torch.no_grad():
        for block in torch.from_numpy(x).split(500):
            mean, log_variance = posterior(block)
            kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).double().sum()
            likelihood = 0.0
            for _ in range(SAMPLES):
                noise = torch.randn(mean.shape, generator=generator)
                parameters = logits(mean + (0.5 * log_variance).exp() * noise)
                nats = F.binary_cross_entropy_with_logits(parameters.double(), block.double(), reduction="sum")
                likelihood -= nats.item() / SAMPLES
            total += likelihood - kl.item()
    return total / len(x)


class TextbookVAE(nn.Module):
    """The VAE of the tutorials: one hidden layer on each side, two heads for the posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(layers(WIDTHS), nn.ReLU())
        self.mean = nn.Linear(WIDTHS[-1], LATENTS)
        self.log_variance = nn.Linear(WIDTHS[-1], LATENTS)
        self.decoder = layers((LATENTS, *WIDTHS[::-1]))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log-variance."""
        hidden = self.hidden(x)
        return self.mean(hidden), self.log_variance(hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pixels' means for one latent of each image, and the posterior."""
        mean, log_variance = self.posterior(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.sigmoid(self.decoder(z)), mean, log_variance


def textbook(x: Rows, epochs: int, seed: int) -> TextbookVAE:
    """Train as the tutorials do: Adam 1e-3, default initialisation, losses summed over pixels and images."""
    torch.manual_seed(seed)
    model = TextbookVAE()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for (batch,) in DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=BATCH, shuffle=True):
            rebuilt, mean, log_variance = model(batch)
            error = F.binary_cross_entropy(rebuilt, batch, reduction="sum")
            kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            optimiser.zero_grad()
            (error + kl).backward()
            optimiser.step()
    return model


def isthmus(x: Rows, epochs: int, seed: int) -> Any:
    """Train isthmus with its default settings but for the sizes, on all rows."""
    from isthmus import Autoencoder, presets

    recipe = presets.vae(
        latent_dim=LATENTS,
        hidden_dims=WIDTHS[1:],
        epochs=epochs,
        batch_size=BATCH,
        validation_fraction=0.0,
    )
    return Autoencoder(recipe, random_state=seed).fit(x)


def textbook_bound(model: TextbookVAE, x: Rows) -> float:
    """Return the bound of the textbook's model."""
    return bound(model.posterior, model.decoder, x)


def isthmus_bound(model: Any, x: Rows) -> float:
    """Return the bound of isthmus's model, from its network alone; `score_samples` is only printed beside it."""
    from isthmus.schema import Batch

    if not np.array_equal(model.encoding_.forward(x), x):
        raise ValueError("isthmus scaled images that are in [0, 1] already: its nats would be those of other data")
    composition = model.composition_

    def posterior(rows: Tensor) -> tuple[Tensor, Tensor]:
        code = composition.encode(Batch(rows))
        return code.mean, code.quantities["log_variance"]

    def logits(z: Tensor) -> Tensor:
        # The likelihood has one parameter for each pixel, the logit: (rows, 1, 784).
        parameters: Tensor = composition.decode(z, Batch(z))
        return parameters.flatten(1)

    return bound(posterior, logits, x)


@dataclass(frozen=True)
class DetectionResult:
    """What one training gave: the bound by the same code for all, seconds, and what the model itself says."""

    bound: float
    seconds: float
    own: float | None = None


def train_and_evaluate(side: str, x: Rows, test: Rows, epochs: int, seed: int) -> DetectionResult:
    """Train one side and evaluate it."""
    clock = Clock()
    if side == "textbook":
        model = textbook(x, epochs, seed)
        seconds = clock.wall
        found = DetectionResult(textbook_bound(model, test), seconds)
    else:
        fitted = isthmus(x, epochs, seed)
        seconds = clock.wall
        found = DetectionResult(isthmus_bound(fitted, test), seconds, float(fitted.score_samples(test).mean()))
    own = "" if found.own is None else f" (score_samples: {found.own:.2f})"
    print(f"{side:8} seed {seed}: bound {found.bound:.2f} nats{own}, {found.seconds:.1f} s", flush=True)
    return found


def report(found: dict[str, list[DetectionResult]], seeds: Sequence[int], epochs: int, command: str) -> str:
    """Return the table, with the difference seed by seed where both sides ran."""
    base = found.get("textbook")
    rows = []
    for side, results in found.items():
        bounds = [r.bound for r in results]
        better = [r.bound - b.bound for r, b in zip(results, base, strict=True)] if base else None
        cells = [spread(bounds), spread(better) if better and side != "textbook" else ""]
        rows.append([side, *cells, f"{median(r.seconds for r in results):.1f}"])
    return "\n".join(
        [
            f"MNIST, VAE 784-400-20-400-784, batch {BATCH}, {epochs} epochs; evidence lower bound of the 10,000",
            f"test images, {SAMPLES} samples each. {where()}; the sides took turns, median (range) over the seeds",
            f"{', '.join(map(str, seeds))}.",
            "",
            markdown_table(["", "bound, nats per image", "better by, nats", "seconds"], rows),
            "",
            f"`{command}`",
        ]
    )


def main() -> None:
    """Parse the command line, train and evaluate both sides in turn, print and write the table."""
    parser = argparse.ArgumentParser(description="Compare the test bounds of VAEs on MNIST.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of mnist.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--sides", nargs="+", choices=["textbook", "isthmus"], default=["textbook", "isthmus"])
    parser.add_argument("--write", type=Path, help="Markdown file that gets the table")
    arguments = parser.parse_args()
    one_thread()
    train_images, test_images = load_images(arguments.data, "mnist")
    x, test = scaled(train_images), scaled(test_images)
    found: dict[str, list[DetectionResult]] = {side: [] for side in arguments.sides}
    for seed in arguments.seeds:
        for side in arguments.sides:
            found[side].append(train_and_evaluate(side, x, test, arguments.epochs, seed))
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python -m benchmarks.vae_bound --seeds {seeds} --epochs {arguments.epochs}"
    text = report(found, arguments.seeds, arguments.epochs, command)
    print(f"\n{text}")
    if arguments.write:
        write_between(arguments.write, "vae-bound", text)


if __name__ == "__main__":
    main()
