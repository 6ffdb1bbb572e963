"""The deep autoencoder of Hinton and Salakhutdinov (Science 2006) on MNIST: squared error on the test images.

    python -m benchmarks.papers.deep_autoencoder [--data FOLDER] [--epochs N] [--write docs/papers.md]

784-1000-500-250-30 and its mirror image, squared error summed over pixels in [0, 1] and averaged over the 10,000 test
images. Published: 3.00, with layers pretrained one by one; PCA with 30 components 13.87; 2.65 later. Trained here at
once, on all 60,000 training images, none held out; the last epoch's weights are evaluated. The decoder is tied to the
encoder, as the published one starts from the encoder's transpose: with weights of its own it fits the training images
better and the test images no better.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA

from benchmarks.common import one_thread
from benchmarks.papers.common import arguments, mnist, publish
from isthmus import Autoencoder, presets


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate and print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--untied", action="store_true", help="give the decoder weights of its own")
    parser.add_argument("--activation", default="silu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(argv)
    one_thread()
    data = mnist(options.data)
    x_train, x_test = data["x_train"], data["x_test"] / 255.0
    pca = PCA(30, random_state=0).fit(x_train / 255.0)
    linear = float(np.square(pca.inverse_transform(pca.transform(x_test)) - x_test).sum(1).mean())
    rows = [["PCA, 30 components", "13.87", f"{linear:.2f}", "", ""]]
    for seed in options.seeds:
        recipe = presets.deep(
            epochs=options.epochs,
            activation=options.activation,
            tied=not options.untied,
            validation_fraction=0.0,
            threads=options.threads,
        )
        began = time.perf_counter()
        model = Autoencoder(recipe, random_state=seed).fit(x_train)
        minutes = (time.perf_counter() - began) / 60
        error = float(np.square(model.reconstruct(data["x_test"]) / 255.0 - x_test).sum(1).mean())
        what = f"784-1000-500-250-30, {options.epochs} epochs, seed {seed}"
        rows.append([what, "3.00; later 2.65", f"{error:.3f}", f"{minutes:.1f}", f"{model.history_.rows[-1]['epoch']}"])
    head = ["autoencoder", "published", "here", "minutes", "epochs"]
    publish("deep", head, rows, "python -m benchmarks.papers.deep_autoencoder", options.write)


if __name__ == "__main__":
    main()
