"""VAE and IWAE on binarised MNIST, and those of pythae, trained for the same time on the same rows.

    python -m benchmarks.papers.bounds [--data FOLDER] [--vae-epochs N] [--iwae-epochs N] [--write docs/papers.md]

One stochastic layer of 50 units, two tanh layers of 200 on each side, batch 100. Burda et al. (2016) binarise afresh at
every use, train for 3,280 epochs and give -86.76 nats for the VAE and -84.78 for IWAE with K = 50 (5,000 importance
samples); 86.35 and 84.32 later. Here the schedule is a short one, for both sides: first isthmus runs
its number of epochs, then pythae trains for the time that took. pythae's data set does not binarise afresh, so both
sides train on one fixed draw of the training images, and isthmus also on fresh draws, as in the paper. All are
evaluated by one code on one fixed draw of test images: ``log 1/K sum p(x|z) p(z) / q(z|x)`` with 5,000 draws.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import one_thread
from benchmarks.papers.common import arguments, mnist, publish
from isthmus import Autoencoder, presets
from isthmus.corruptions import Binarise
from isthmus.schema import Batch

LATENTS, HIDDEN, BATCH = 50, 200, 100
DRAWS = 5000
PUBLISHED = {"VAE": "-86.76; later -86.35", "IWAE": "-84.78; later -84.32"}
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
Decode = Callable[[Tensor], Tensor]
Sides = tuple[Encode, Decode]


def binarised(images: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Return one draw of bits."""
    draw = np.random.default_rng(seed).random(images.shape, dtype=np.float32)
    bits: np.ndarray[Any, Any] = (draw < images / np.float32(255)).astype(np.float32)
    return bits


def log_likelihood(sides: Sides, x: Tensor, draws: int = DRAWS, at_a_time: int = 250) -> float:
    """Return the importance-sampled log-likelihood, averaged over rows, in nats."""
    encode, decode = sides
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    with torch.no_grad():
        for rows in x.split(20):
            mean, log_variance = encode(rows)
            parts = []
            for _ in range(draws // at_a_time):
                noise = torch.randn(at_a_time, *mean.shape, generator=generator)
                z = mean + (0.5 * log_variance).exp() * noise
                logits = decode(z.flatten(0, 1)).view(at_a_time, *rows.shape)
                fit = -nn.functional.binary_cross_entropy_with_logits(
                    logits, rows.expand_as(logits), reduction="none"
                ).sum(-1)
                ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(-1)
                parts.append(torch.logsumexp((fit + ratio).double(), 0))
            total += float((torch.logsumexp(torch.stack(parts), 0) - math.log(draws)).sum())
    return total / len(x)


def by_isthmus(kind: str, samples: int, x: np.ndarray[Any, Any], epochs: int, *, fresh: bool) -> tuple[Sides, float]:
    """Train and return (encode, decode), and the seconds that took."""
    settings: dict[str, Any] = {"latent_dim": LATENTS, "hidden_dims": (HIDDEN, HIDDEN), "activation": "tanh"}
    settings |= {"epochs": epochs, "batch_size": BATCH, "validation_fraction": 0.0, "threads": 1, "learning_rate": 2e-3}
    settings |= {"likelihood": "binary_cross_entropy", "preprocessing": "unit"}
    recipe = presets.vae(**settings) if kind == "VAE" else presets.iwae(samples=samples, **settings)
    if fresh:
        recipe = replace(recipe, corruption=Binarise())
    began = time.perf_counter()
    model = Autoencoder(recipe, random_state=0).fit(x)
    seconds = time.perf_counter() - began
    network = model.composition_.network

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = network.encode(Batch(rows)).chunk(2, 1)
        return mean, log_variance

    def decode(z: Tensor) -> Tensor:
        logits: Tensor = network.decode(z, Batch(z)).flatten(1)
        return logits

    return (encode, decode), seconds


def by_pythae(kind: str, samples: int, x: np.ndarray[Any, Any], seconds: float) -> tuple[Sides, float, int]:
    """Train pythae's model for so many seconds and return (encode, decode), the seconds and the epochs."""
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(784, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())
            self.mean, self.log_variance = nn.Linear(HIDDEN, LATENTS), nn.Linear(HIDDEN, LATENTS)

        def forward(self, rows: Tensor) -> ModelOutput:
            h = self.layers(rows)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(LATENTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 784)
            )

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))

    torch.manual_seed(0)
    shared: dict[str, Any] = {"input_dim": (784,), "latent_dim": LATENTS, "reconstruction_loss": "bce"}
    encoder, decoder = Encoder(), Decoder()
    if kind == "VAE":
        model: Any = VAE(VAEConfig(**shared), encoder=encoder, decoder=decoder)
    else:
        model = IWAE(IWAEConfig(number_samples=samples, **shared), encoder=encoder, decoder=decoder)

    class TimeIsUp(Exception):
        """Ends pythae's loop, which has no limit of time."""

    class Stop(TrainingCallback):
        epochs = 0

        def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
            self.epochs += 1

        def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
            if time.perf_counter() - began > seconds:
                raise TimeIsUp

    stop = Stop()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=10_000, learning_rate=1e-3, per_device_train_batch_size=BATCH, no_cuda=True
        )
        began = time.perf_counter()
        with contextlib.suppress(TimeIsUp):
            TrainingPipeline(model=model, training_config=settings)(torch.from_numpy(x), callbacks=[stop])
    taken = time.perf_counter() - began
    model.eval()

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        output = encoder(rows)
        return output.embedding, output.log_covariance

    return (encode, decoder.layers), taken, stop.epochs


def main(argv: Sequence[str] | None = None) -> None:
    """Train all sides, evaluate them and print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--vae-epochs", type=int, default=15)
    parser.add_argument("--iwae-epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=50, help="K of IWAE")
    parser.add_argument("--test-rows", type=int, default=400)
    parser.add_argument("--kinds", nargs="+", default=["VAE", "IWAE"])
    parser.add_argument("--skip-pythae", action="store_true")
    options = parser.parse_args(argv)
    one_thread()
    data = mnist(options.data)
    grey, fixed = (data["x_train"] / 255).astype(np.float32), binarised(data["x_train"], 1)
    test = torch.from_numpy(binarised(data["x_test"], 2)[: options.test_rows])
    rows = []
    for kind in options.kinds:
        epochs = options.vae_epochs if kind == "VAE" else options.iwae_epochs
        budget = 0.0
        for fresh, x, name in ((False, fixed, "one draw of bits"), (True, grey, "bits afresh")):
            sides, seconds = by_isthmus(kind, options.samples, x, epochs, fresh=fresh)
            budget = budget or seconds
            found = log_likelihood(sides, test)
            rows.append(
                [f"{kind}, isthmus, {name}", PUBLISHED[kind], f"{found:.2f}", f"{epochs}", f"{seconds / 60:.1f}"]
            )
            print(rows[-1], flush=True)
        if not options.skip_pythae:
            sides, seconds, epochs = by_pythae(kind, options.samples, fixed, budget)
            found = log_likelihood(sides, test)
            rows.append(
                [
                    f"{kind}, pythae, one draw of bits",
                    PUBLISHED[kind],
                    f"{found:.2f}",
                    f"{epochs}",
                    f"{seconds / 60:.1f}",
                ]
            )
            print(rows[-1], flush=True)
    head = ["model", "published (3,280 epochs)", "log-likelihood here", "epochs", "minutes"]
    note = f"{options.test_rows} test images, {DRAWS} draws each, K = {options.samples}."
    publish("bounds", head, rows, "python -m benchmarks.papers.bounds", options.write, note)


if __name__ == "__main__":
    main()
