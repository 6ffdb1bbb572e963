"""Factors that separate: beta-VAE and beta-TC-VAE on rendered sprites, by four metrics.

    python -m benchmarks.papers.disentanglement [--data FOLDER] [--rows N] [--epochs N] [--write docs/papers.md]

Rows are 64 x 64 bits with five factors (shape, scale, orientation, two positions): the design of dSprites on a coarser
grid, rendered for this project, so the published figures (Chen et al. 2018: a MIG of about 0.38 for beta-TC-VAE and
0.21 for beta-VAE on dSprites, at full schedules) are of other data. A random code is measured for comparison.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common import one_thread
from benchmarks.papers.common import arguments, publish
from isthmus import Autoencoder, Recipe, presets
from isthmus.metrics.disentanglement import dci, factor_vae_score, mig, sap

LATENTS = 10


def measures(codes: np.ndarray[Any, Any], factors: np.ndarray[Any, Any]) -> list[str]:
    """Return MIG, DCI disentanglement, SAP and the FactorVAE score as text."""
    found = dci(codes, factors, random_state=0)
    values = [mig(codes, factors), found.disentanglement, sap(codes, factors), factor_vae_score(codes, factors)]
    return [f"{float(value):.3f}" for value in values]


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure and print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--test-rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args(argv)
    one_thread()
    with np.load(options.data / "sprites64_own.npz", allow_pickle=False) as archive:
        images = np.unpackbits(archive["bits"], axis=1)
        factors = archive["latents"]
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[: options.rows], order[options.rows : options.rows + options.test_rows]
    truth = factors[test].astype(int)
    settings: dict[str, Any] = {"epochs": options.epochs, "threads": options.threads, "likelihood": "bernoulli"}
    recipes: dict[str, Recipe] = {
        "vae": presets.vae(LATENTS, **settings),
        "beta_vae, beta 4": presets.beta_vae(LATENTS, beta=4.0, **settings),
        "beta_tc_vae, beta 6": presets.beta_tc_vae(LATENTS, beta=6.0, **settings),
    }
    noise = np.random.default_rng(0).standard_normal((len(test), LATENTS))
    rows = [["random code", *measures(noise, truth), "", ""]]
    for name, recipe in recipes.items():
        began = time.perf_counter()
        model = Autoencoder(recipe, random_state=0).fit(images[train])
        minutes = (time.perf_counter() - began) / 60
        codes, score = model.transform(images[test]), model.score(images[test])
        rows.append([name, *measures(codes, truth), f"{score:.1f}", f"{minutes:.1f}"])
        print(rows[-1], flush=True)
    head = ["model", "MIG", "DCI disentanglement", "SAP", "FactorVAE score", "bound, nats", "minutes"]
    note = (
        f"{options.rows} training rows, {options.epochs} epochs, one seed; measured on {options.test_rows} other rows."
    )
    publish("disentanglement", head, rows, "python -m benchmarks.papers.disentanglement", options.write, note)


if __name__ == "__main__":
    main()
