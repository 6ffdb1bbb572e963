"""60,000 images: trained from a folder of PNG files, and from the same pixels in an array.

    python -m benchmarks.data.image_folder --data ../shared/data --folder /tmp/images

Prints the seconds of each epoch after the first, and the ratio of their medians; the time until the first epoch begins
is that of opening, decoding and scaling. With `--stream` nothing is kept encoded, as for images that are larger than
memory.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import isthmus.data.encoded
from isthmus import Autoencoder, presets


def write(folder: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """Write the images once, in a sub-folder for each class."""
    for place, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def epochs_of(data: Any, epochs: int) -> tuple[list[float], float, float]:
    """Return the seconds of each epoch, those before the first, and the last training loss."""
    started = time.monotonic()
    recipe = presets.autoencoder(latent_dim=32, hidden_dims=(512, 256), epochs=epochs, batch_size=256)
    model = Autoencoder(recipe.replace({"training.threads": 1}), random_state=0).fit(data)
    total = time.monotonic() - started
    ends = [row["seconds"] for row in model.history_.rows]
    return np.diff([0.0, *ends]).tolist(), total - ends[-1], model.history_.rows[-1]["train/total"]


def main() -> None:
    """Write the folder if it is not there, train from both by turns, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    with np.load(options.data / "fashion_mnist.npz") as held:
        images, labels = held["x_train"], held["y_train"]
    if not options.folder.exists():
        write(options.folder, images, labels)
    if options.stream:
        isthmus.data.encoded._LARGEST_IN_MEMORY = 0
    ratios = []
    for turn in range(options.turns):
        times = {}
        for name, data in (("array", images), ("folder", str(options.folder))):
            seconds, before, loss = epochs_of(data, options.epochs)
            times[name] = float(np.median(seconds[1:]))
            shown = ", ".join(f"{value:.2f}" for value in seconds)
            print(
                f"{turn + 1} {name}: before the first epoch {before:.1f} s, epochs {shown} s, loss {loss:.3f}",
                flush=True,
            )
        ratios.append(times["folder"] / times["array"])
    print(f"folder / array after the first epoch: {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
