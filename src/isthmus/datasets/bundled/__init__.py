"""The images that ship inside the package."""

from __future__ import annotations

import importlib.resources
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataError


@dataclass(frozen=True)
class LabelledImages:
    """Images `(rows, height, width)` in uint8, the class of each `(rows,)`, and the names of the classes."""

    images: np.ndarray[Any, np.dtype[np.uint8]]
    labels: np.ndarray[Any, np.dtype[np.uint8]]
    class_names: tuple[str, ...]


def fashion_mnist() -> LabelledImages:
    """Return the 10,000 test images of Fashion-MNIST: ten kinds of garments, 28 x 28 grey pixels.

    MIT licence, Zalando SE; the text lies beside the file.

    Raises:
        DataError: if the file is missing or damaged, which a broken installation does.

    Example:
        >>> fashion_mnist().images.shape
        (10000, 28, 28)

    Paper: Xiao et al., Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747.
    """
    source = importlib.resources.files(__name__) / "fashion_mnist_test.npz"
    try:
        with source.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = tuple(str(name) for name in archive["class_names"])
            return LabelledImages(archive["x"], archive["y"], names)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"the images inside the package cannot be read ({error}); try to reinstall isthmus") from None
