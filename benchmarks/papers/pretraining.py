"""Pretraining by autoencoders on MNIST with labels: test error of the fine-tuned classifier.

    python -m benchmarks.papers.pretraining [--data FOLDER] [--protocol layer|stacked] [--write docs/papers.md]

`layer`: one layer of 1,000 sigmoid units with tied weights, pretrained on the training images and fine-tuned with a
linear classifier on top. Published (Rifai et al., Contractive Auto-Encoders, ICML 2011): plain 1.78 %, denoising
1.18 %, contractive 1.14 %. `stacked`: 10,000 training, 2,000 validation and 50,000 test images of MNIST's 60,000 +
10,000 (the first 10,000, the next 2,000 and 50,000 of what is left), three layers of 1,000 units trained one by one.
Published (Vincent et al., JMLR 2010): plain 3.46 %, denoising 2.84 %.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import one_thread
from benchmarks.papers.common import arguments, mnist, publish
from isthmus import Autoencoder, LatentClassifier, Recipe, Training
from isthmus.codes import Deterministic
from isthmus.corruptions import Corruption, GaussianNoise, Mask
from isthmus.networks import Dense
from isthmus.objectives import BinaryCrossEntropy, Contraction, Objective, Reconstruction

LAYER = 1000
PUBLISHED = {
    ("layer", "plain"): 1.78,
    ("layer", "denoising"): 1.18,
    ("layer", "contractive"): 1.14,
    ("stacked", "plain"): 3.46,
    ("stacked", "denoising"): 2.84,
}


def recipe(protocol: str, method: str, options: Any) -> Recipe:
    """Return the autoencoder of a method."""
    corruption: Corruption | None = None
    if method == "denoising":
        corruption = GaussianNoise(0.3) if protocol == "layer" else Mask(0.25)
    objective: Objective = Reconstruction(BinaryCrossEntropy())
    if method == "contractive":
        objective = objective + options.contraction * Contraction(probes=options.probes)
    training = Training(
        epochs=options.epochs, learning_rate=options.rate, validation_fraction=0.0, threads=options.threads
    )
    if protocol == "layer":
        network = Dense(hidden_dims=(), tied=True)
        return Recipe(network, Deterministic(LAYER, "sigmoid"), corruption, objective, training=training)
    network = Dense(hidden_dims=(LAYER, LAYER), activation="sigmoid")
    training = Training(
        epochs=options.epochs,
        pretraining=options.epochs,
        learning_rate=options.rate,
        validation_fraction=0.0,
        threads=options.threads,
    )
    return Recipe(network, Deterministic(LAYER, "sigmoid"), corruption, objective, training=training)


def split(protocol: str, data: dict[str, np.ndarray[Any, Any]]) -> tuple[Any, Any, Any, Any, float]:
    """Return training rows and labels, test rows and labels, and the share of the training rows to hold out."""
    if protocol == "layer":
        return data["x_train"], data["y_train"], data["x_test"], data["y_test"], 1 / 6
    x = np.concatenate([data["x_train"], data["x_test"]])
    y = np.concatenate([data["y_train"], data["y_test"]])
    return x[:12_000], y[:12_000], x[12_000:62_000], y[12_000:62_000], 1 / 6


def main(argv: Sequence[str] | None = None) -> None:
    """Pretrain, fine-tune and print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--protocol", choices=["layer", "stacked"], default="layer")
    parser.add_argument("--methods", nargs="+", default=["plain", "denoising", "contractive"])
    parser.add_argument("--epochs", type=int, default=8, help="of pretraining")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--contraction", type=float, default=0.1)
    parser.add_argument("--probes", type=int, default=1)
    parser.add_argument("--tuning-epochs", type=int, default=14)
    parser.add_argument("--tuning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(argv)
    one_thread()
    x, y, x_test, y_test, share = split(options.protocol, mnist(options.data))
    rows = []
    for method in options.methods:
        errors, began = [], time.perf_counter()
        for seed in options.seeds:
            base = Autoencoder(recipe(options.protocol, method, options), random_state=seed).fit(x)
            tuning = Training(
                epochs=options.tuning_epochs,
                learning_rate=options.tuning_rate,
                validation_fraction=share,
                threads=options.threads,
            )
            classifier = LatentClassifier(base, training=tuning, random_state=seed).fit(x, y)
            errors.append(100 * (1 - float(classifier.score(x_test, y_test))))
            print(f"{method}, seed {seed}: {errors[-1]:.2f} %", flush=True)
        minutes = (time.perf_counter() - began) / 60 / len(options.seeds)
        published = PUBLISHED.get((options.protocol, method))
        rows.append(
            [
                method,
                "" if published is None else f"{published:.2f} %",
                f"{median(errors):.2f} % ({min(errors):.2f}-{max(errors):.2f})",
                f"{minutes:.1f}",
            ]
        )
    head = ["pretraining", "published", "here, median (range)", "minutes a seed"]
    note = f"{options.epochs} epochs of pretraining, {options.tuning_epochs} of fine-tuning."
    seeds = " ".join(map(str, options.seeds))
    command = f"python -m benchmarks.papers.pretraining --protocol {options.protocol} --seeds {seeds}"
    publish(f"pretraining-{options.protocol}", head, rows, command, options.write, note)


if __name__ == "__main__":
    main()
