"""Kinds of score: how strange rows are to one autoencoder, higher is more anomalous.

A kind is fitted on training rows and then depends on each row alone: what is random is drawn by the row's own bits or
is the same for all rows, products have fixed shapes, sums one order. So a row has the same anomaly score to the bit
alone, in any batch, and after saving and loading.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch

from isthmus.applications.anomaly.knn import NearestCodes
from isthmus.applications.anomaly.views import View, by_row, squared_errors, wanted_of
from isthmus.data.batches import take
from isthmus.errors import ArtifactError, RecipeError, explain, unknown_name
from isthmus.estimator.inference import BLOCK, Inference
from isthmus.metrics.reconstruction import ssim_map
from isthmus.seeds import derive
from isthmus.typing import Doubles

State = dict[str, np.ndarray[Any, Any]]

# Training codes that are kept for distances to them, at most.
_BANK = 20_000
_NEIGHBOURS = 5
# Draws of an importance-weighted bound.
_BOUND_SAMPLES = 64
# Through noise of so many of the rows' deviations, so many times.
_NOISE, _DRAWS = 0.8, 8
# Values that are seen through noise at a time.
_VALUES = 1 << 22
# Of images, at most; of smaller ones the window is as wide as they are. Values that are compared at a time.
_WINDOW, _AT_A_TIME = 11, 1 << 19
# A covariance of codes is made invertible by this share of its mean variance.
_RIDGE = 1e-4


class Score(ABC):
    """A kind of score.

    Attributes:
        kind: its name.
        ratio: whether it cannot be negative, so that scores compare by their ratios.
    """

    kind: ClassVar[str]
    ratio: ClassVar[bool] = True

    def misfit(self, inference: Inference) -> str | None:
        """Return why an autoencoder cannot be scored so, with advice; None if it can."""
        return None

    @abstractmethod
    def fit(self, view: View, seed: int) -> Doubles:
        """Fit on training rows, and return their own scores, `(rows,)`, as if each had not been there."""

    @abstractmethod
    def of(self, view: View) -> Doubles:
        """Return scores, `(rows,)`."""

    def state(self) -> State:
        """Return the fitted arrays."""
        return {}

    def shapes(self, inference: Inference) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what `state` holds, -1 for any length."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]], inference: Inference) -> Self:
        """Restore the fitted arrays.

        Raises:
            ArtifactError: for arrays of other names or shapes.
        """
        wanted = self.shapes(inference)
        got = {name: value.shape for name, value in state.items()}
        fits = got.keys() == wanted.keys() and all(
            len(got[name]) == len(shape) and all(b in (-1, a) for a, b in zip(got[name], shape, strict=True))
            for name, shape in wanted.items()
        )
        if not fits:
            raise ArtifactError(f"the score {self.kind!r} needs arrays {wanted}, and has {got}")
        for name, value in state.items():
            if not value.size or not np.isfinite(value).all():
                raise ArtifactError(f"the score {self.kind!r} needs finite numbers as {name}")
            setattr(self, name, value)
        return self


class _Plain(Score):
    """One that nothing is fitted for."""

    def fit(self, view: View, seed: int) -> Doubles:
        return self.of(view)


class Reconstruction(_Plain):
    """Squared error ``sum_j (x_j - E[x_j | z(x)])^2`` in encoded units (standard deviations for a table's numbers)."""

    kind = "reconstruction"

    def of(self, view: View) -> Doubles:
        return by_row(view.batch, view.errors)


class Likelihood(_Plain):
    """Minus `Autoencoder.score_samples`: ``-log p(x | z(x))``, for a variational code minus the bound, in nats."""

    kind = "likelihood"
    ratio = False

    def of(self, view: View) -> Doubles:
        return -view.inference.scores(view.batch)


class Bound(_Plain):
    """Minus the importance-weighted bound on ``log p(x)`` with 64 draws, in nats.

    Paper: Burda et al., Importance Weighted Autoencoders, ICLR 2016, https://arxiv.org/abs/1509.00519.
    """

    kind = "bound"
    ratio = False

    def misfit(self, inference: Inference) -> str | None:
        if "posterior" in inference.recipe.code.provides:
            return None
        return f"a {inference.recipe.code.kind} code has no importance-weighted bound; try scores=('reconstruction',)"

    def of(self, view: View) -> Doubles:
        return -view.inference.log_likelihood(view.batch, _BOUND_SAMPLES)


class Noisy(Score):
    """Squared error of the clean row where the encoder sees it through strong noise, averaged over eight draws.

    The draws are the same for all rows. What lies far from all training rows is pulled farther the stronger the noise.

    Paper: the same error over noise levels is a diffusion model's: Graham et al., Denoising Diffusion Models for
    Out-of-Distribution Detection, 2023, https://arxiv.org/abs/2211.07740.
    """

    kind = "noisy"

    def misfit(self, inference: Inference) -> str | None:
        if inference.schema.kind in ("tokens", "ratings"):
            return f"{inference.schema.kind} rows take no Gaussian noise; try scores=('reconstruction',)"
        return None

    def fit(self, view: View, seed: int) -> Doubles:
        values = view.batch.x.flatten(1).double()
        spread = float(values.var(0, unbiased=False).mean().sqrt())
        generator = np.random.default_rng(derive(seed, "noise of scores"))
        shape = (_DRAWS, *view.batch.x.shape[1:])
        self.noise = (_NOISE * spread * generator.standard_normal(shape)).astype(np.float32)
        return self.of(view)

    def of(self, view: View) -> Doubles:
        found = np.zeros(view.batch.rows)
        noise = torch.from_numpy(self.noise).to(view.batch.x.device)
        step = max(1, _VALUES // self.noise.size)
        for start in range(0, view.batch.rows, step):
            part = take(view.batch, slice(start, start + step))
            # All draws at once: those of a single row go through the network together.
            drawn = part.repeat(len(noise))
            seen = drawn.x + noise.repeat_interleave(part.rows, 0)
            if drawn.mask is not None:
                seen = seen * drawn.mask
            rebuilt = view.inference.expected(drawn.replace(x=seen, target=drawn.wanted))
            errors = by_row(drawn, squared_errors(drawn, rebuilt))
            for one in errors.reshape(len(noise), part.rows):
                found[start : start + step] += one
        return found / len(noise)

    def state(self) -> State:
        return {"noise": self.noise}

    def shapes(self, inference: Inference) -> dict[str, tuple[int, ...]]:
        return {"noise": (-1, *inference.schema.row)}


class Structure(Score):
    """``1 - SSIM`` of an image and its reconstruction, averaged over places and channels, from 0 to 2.

    Brightness and contrast count relative to the image's own, so that a bright image is not strange for being bright.
    See `isthmus.metrics.ssim`, with windows of 11 x 11 pixels, or as large as a smaller image allows.
    """

    kind = "structure"

    def misfit(self, inference: Inference) -> str | None:
        if inference.schema.kind == "image":
            return None
        return f"only images have a structure, and rows are {inference.schema.kind} ones; try scores='reconstruction'"

    def fit(self, view: View, seed: int) -> Doubles:
        x = view.batch.wanted
        self.span = np.array([float(x.max() - x.min()) or 1.0])
        return self.of(view)

    def of(self, view: View) -> Doubles:
        found: Doubles = np.concatenate([part.reshape(len(part), -1).mean(1) for part in self.maps(view)])
        return found

    def maps(self, view: View, padded: bool = False) -> Iterator[Doubles]:
        """Yield ``1 - SSIM`` of blocks of rows by place, `(rows, ..., places down, places across)`.

        Args:
            view: rows.
            padded: whether images are mirrored at their edges, so that there is a place for each pixel.
        """
        x, y = wanted_of(view)
        least = min(*x.shape[-2:], _WINDOW)
        window = least - 1 + least % 2
        if padded:
            edges = [(0, 0)] * (x.ndim - 2) + [(window // 2, window // 2)] * 2
            x, y = np.pad(x, edges, "reflect"), np.pad(y, edges, "reflect")
        step = max(1, _AT_A_TIME // x[0].size)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            yield 1.0 - ssim_map(x[part].astype(np.float64), y[part].astype(np.float64), float(self.span[0]), window)

    def state(self) -> State:
        return {"span": self.span}

    def shapes(self, inference: Inference) -> dict[str, tuple[int, ...]]:
        return {"span": (1,)}


class Neighbours(Score):
    """Mean Euclidean distance to the five nearest of at most 20,000 training codes; codes that are equal count once.

    Paper: Ramaswamy et al., Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD 2000, on codes.
    """

    kind = "neighbours"

    def fit(self, view: View, seed: int) -> Doubles:
        codes = view.codes
        if len(codes) > _BANK:
            rows = np.random.default_rng(derive(seed, "bank")).choice(len(codes), _BANK, replace=False)
            codes = codes[np.sort(rows)]
        self.bank, place = np.unique(codes + 0.0, axis=0, return_inverse=True)
        if len(self.bank) < 2:
            self.bank = np.concatenate([self.bank, self.bank])
            return np.zeros(len(codes))
        count = min(_NEIGHBOURS, len(self.bank) - 1)
        found: Doubles = self._index.nearest(self.bank, count, skip=1).mean(1)[place.ravel()]
        return found

    def of(self, view: View) -> Doubles:
        count = min(_NEIGHBOURS, len(self.bank) - 1)
        found: Doubles = self._index.nearest(view.codes, count).mean(1)
        return found

    @cached_property
    def _index(self) -> NearestCodes:
        return NearestCodes(self.bank)

    def state(self) -> State:
        return {"bank": self.bank}

    def shapes(self, inference: Inference) -> dict[str, tuple[int, ...]]:
        return {"bank": (-1, inference.width)}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]], inference: Inference) -> Self:
        super().restore(state, inference)
        if len(self.bank) < 2 or not np.isfinite(self.bank).all():
            raise ArtifactError(f"the score {self.kind!r} needs two finite codes or more, and has {len(self.bank)}")
        return self


class Mahalanobis(Score):
    """Squared Mahalanobis distance of the code from the training codes, ``(z - m)' C^-1 (z - m)``.

    Paper: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018.
    """

    kind = "mahalanobis"

    def fit(self, view: View, seed: int) -> Doubles:
        codes = view.codes.astype(np.float64)
        self.centre = codes.mean(0)
        covariance = np.cov(codes.T, ddof=0).reshape(codes.shape[1], -1)
        covariance += np.eye(len(covariance)) * (_RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12))
        self.whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
        return self.of(view)

    def of(self, view: View) -> Doubles:
        centred = view.codes.astype(np.float64) - self.centre
        found: Doubles = np.square(in_blocks(centred, lambda block: block @ self.whitening)).sum(1)
        return found

    def state(self) -> State:
        return {"centre": self.centre, "whitening": self.whitening}

    def shapes(self, inference: Inference) -> dict[str, tuple[int, ...]]:
        return {"centre": (inference.width,), "whitening": (inference.width, inference.width)}


def in_blocks(rows: Doubles, product: Callable[[Doubles], Doubles]) -> Doubles:
    """Return a product of rows, taken in blocks of one size: its rounding depends on the shape."""
    found = []
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        block = np.zeros((BLOCK, *rows.shape[1:]))
        block[: len(part)] = part
        found.append(product(block)[: len(part)])
    return np.concatenate(found)


SCORES: dict[str, type[Score]] = {
    "reconstruction": Reconstruction,
    "noisy": Noisy,
    "structure": Structure,
    "likelihood": Likelihood,
    "bound": Bound,
    "neighbours": Neighbours,
    "mahalanobis": Mahalanobis,
}


# Of tables and vectors: the ADBench tables and NSL-KDD, on each of which the three beat any two and any one.
_NUMBERS = ("reconstruction", "noisy", "neighbours")
# Of images: one class of MNIST, 98.9 with the structure, 96.3 with the squared error, 98.6 with both.
_DEFAULTS = {"table": _NUMBERS, "vector": _NUMBERS, "image": ("structure", "neighbours")}


def default_score_types(rows: str) -> tuple[str, ...]:
    """Return the kinds of score that measured best for a kind of row, such as "table"."""
    return _DEFAULTS.get(rows, ("reconstruction", "neighbours"))


def score_types(names: Any, rows: str = "vector") -> tuple[str, ...]:
    """Return names of kinds of score, checked; "auto" stands for those of a kind of row.

    Raises:
        RecipeError: for none, a name that is unknown and one that is there twice.
    """
    if isinstance(names, str) and names == "auto":
        return default_score_types(rows)
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if name not in SCORES:
            raise RecipeError(unknown_name("score", str(name), SCORES))
    if not found or len(set(found)) < len(found):
        expected = "one or more different scores"
        raise RecipeError("scores: " + explain(expected, repr(names), "('reconstruction', 'neighbours')"))
    return found
