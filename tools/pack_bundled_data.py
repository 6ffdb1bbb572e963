"""Make the images that ship inside the package: the 10,000 test images of Fashion-MNIST, about 4 MB.

Usage, from the project's root:

    python tools/pack_bundled_data.py SOURCE [--out FILE]

SOURCE is an npz file with `x_test` (10000, 28, 28) uint8 and `y_test` (10000,) uint8, in the order of the
original files. The result holds `x`, `y` and `class_names`, loads with `allow_pickle=False`, and is the same
bytes every time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEFAULT_OUT = Path("src/isthmus/datasets/bundled/fashion_mnist_test.npz")


def pack(source: Path, out: Path) -> None:
    """Write the test images and labels of `source` to `out`; raise ValueError if they are not as expected."""
    with np.load(source, allow_pickle=False) as archive:
        x, y = archive["x_test"], archive["y_test"]
    if x.shape != (10_000, 28, 28) or x.dtype != np.uint8:
        raise ValueError(f"expected x_test (10000, 28, 28) uint8, got {x.shape} {x.dtype}")
    counts = np.bincount(y, minlength=10)
    if y.shape != (10_000,) or not np.all(counts == 1_000):
        raise ValueError(f"expected 1,000 test images of each of ten classes, got {counts.tolist()}")
    np.savez_compressed(out, x=x, y=y.astype(np.uint8), class_names=np.array(CLASS_NAMES))
    with np.load(out, allow_pickle=False) as written:
        if not np.array_equal(written["x"], x) or not np.array_equal(written["y"], y):
            raise ValueError(f"{out} does not read back as it was written")


def main() -> None:
    """Parse the command line and pack."""
    parser = argparse.ArgumentParser(description="Pack the images that ship inside the package.")
    parser.add_argument("source", type=Path, help="npz file with x_test and y_test")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="default: %(default)s")
    arguments = parser.parse_args()
    pack(arguments.source, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
