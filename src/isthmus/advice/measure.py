"""Measurements of the rows before training: their spectrum, intrinsic dimension and noise.

Each measurement takes scaled rows, as for the network, and is deterministic: if it uses a sample of the rows, a given
seed draws it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from isthmus.advice.dimension import levina_bickel, two_nn
from isthmus.data.encoding import SCALINGS
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Doubles

# More rows change the spectrum little; neighbours are looked for among fewer, since every pair is compared.
SPECTRUM_ROWS = 5000
NEIGHBOUR_ROWS = 2000
# A spectrum of this many values takes seconds; of rows of very many values, a few give what can be had.
_MOST_VALUES, _FEWEST_ROWS = 5_000_000, 200
# Fewer rows hold no neighbourhoods to speak of.
FEWEST_NEIGHBOUR_ROWS = 30
SHARES = (0.90, 0.95, 0.99)
# Share of the components in the flat tail from which on it is no accident.
_CLEAR_FLOOR = 0.3
# The largest eigenvalues of pure noise scatter around the edge of the bulk by less than this.
_EDGE_SLACK = 1.05


@dataclass(frozen=True)
class DataMeasurements:
    """The measurements.

    Attributes:
        rows: how many there are.
        kind: "vector" or "image".
        shape: of a row.
        dtype: of a value.
        low: the smallest value.
        high: the largest value.
        binary: whether every value is 0 or 1.
        scaling: how rows were scaled before the measures below: "unit" or "standard".
        zeros: share of the values that are 0.
        constant: how many values of a row never change.
        duplicates: rows that equal an earlier one.
        measured_rows: rows that spectrum and noise were measured on; the dimension on the first 2,000 of them.
        seed: of the choice of these rows.
        components: principal components that explain 90, 95 and 99 % of the variance, by the share in per cent.
        variances: `(components,)`, the variance along each principal component, largest first.
        spread: mean standard deviation of the scaled values that are not constant; 1 for standardised columns.
        signal: components that stand out of the noise; None for images.
        twonn: intrinsic dimension by the two nearest neighbours; None if there are too few different rows.
        mle: intrinsic dimension by maximum likelihood; None likewise.
        noise: standard deviation of the noise in a value, scaled; for structure finer than the measure an upper bound.
        noise_floor: share of the components that lie in the flat tail that noise makes; None for images.
        neighbours: mean correlation of a column with the next; None for images and single columns.
        range_spread: mean deviation of a column as a share of the range that all columns have in common.
    """

    rows: int
    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    binary: bool
    scaling: str
    zeros: float
    constant: int
    duplicates: int
    measured_rows: int
    seed: int
    components: dict[int, int]
    variances: tuple[float, ...]
    spread: float
    signal: int | None
    twonn: float | None
    mle: float | None
    noise: float
    noise_floor: float | None
    neighbours: float | None
    range_spread: float

    @property
    def width(self) -> int:
        """Number of values in a row."""
        return int(np.prod(self.shape))

    @property
    def intrinsic(self) -> float | None:
        """The intrinsic dimension: the mean of the two estimates."""
        return None if self.twonn is None or self.mle is None else (self.twonn + self.mle) / 2

    @property
    def noise_is_clear(self) -> bool:
        """Whether the spectrum's flat tail is long enough for `noise` to be more than an upper bound."""
        return self.noise_floor is not None and self.noise_floor >= _CLEAR_FLOOR

    def explained(self, dimension: int) -> float:
        """Return the explained variance of so many principal components, as a share."""
        return float(sum(self.variances[:dimension]) / sum(self.variances))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        data = dataclasses.asdict(self) | {"intrinsic": self.intrinsic, "shape": list(self.shape)}
        return data | {"variances": list(self.variances), "components": {str(k): v for k, v in self.components.items()}}


def measure(rows: Array, schema: Schema, seed: int = 0) -> DataMeasurements:
    """Measure rows `(rows, *shape)`, in the user's units.

    Args:
        rows: finite numbers.
        schema: of the rows.
        seed: draws the rows for the slower measurements.

    Raises:
        DataError: for fewer than three rows, and for rows that are all the same.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 10))
        >>> facts = measure(x, Schema.of(x))
        >>> facts.components[99], round(facts.intrinsic), facts.explained(2) > 0.999
        (2, 2, True)
    """
    if len(rows) < 3:
        raise DataError(explain("three rows or more to measure", f"{len(rows)}", "more rows"))
    flat = rows.reshape(len(rows), -1)
    constant = (flat == flat[0]).all(0)
    if constant.all():
        raise DataError(explain("rows that differ", "rows that are all the same", "other data: these have no variance"))
    scaling = scaling_for(schema)
    chosen = choose(len(rows), max(_FEWEST_ROWS, min(SPECTRUM_ROWS, _MOST_VALUES // flat.shape[1])), seed)
    scaled = SCALINGS[scaling].fit(rows, schema).forward(rows[chosen])
    sample = scaled.reshape(len(chosen), -1)
    # Among the chosen rows more may be constant than among all.
    varying = sample[:, (sample != sample[0]).any(0)].astype(np.float64)
    if not varying.size:
        raise DataError(explain("rows that differ", f"rows that hardly do ({len(chosen):,} looked at)", "other rows"))
    variances, directions = spectrum(varying)
    floor = None if schema.kind == "image" else noise_floor(varying)
    # Noise is in all directions, and distances along those that hold nothing else would count it as dimensions.
    held = components_for(variances, SHARES[-1])
    held = min(floor.signal, held) if floor is not None and floor.signal else held
    reduced = (varying - varying.mean(0)) @ directions[:, :held]
    near = np.unique(reduced[:NEIGHBOUR_ROWS], axis=0)
    enough = len(near) >= FEWEST_NEIGHBOUR_ROWS
    return DataMeasurements(
        rows=len(rows),
        kind=schema.kind,
        shape=schema.shape,
        dtype=schema.dtype,
        low=schema.low,
        high=schema.high,
        binary=schema.binary,
        scaling=scaling,
        zeros=1.0 - np.count_nonzero(flat) / flat.size,
        constant=int(constant.sum()),
        duplicates=count_duplicates(flat),
        measured_rows=len(chosen),
        seed=seed,
        components={round(100 * share): components_for(variances, share) for share in SHARES},
        variances=tuple(variances.tolist()),
        spread=1.0 if scaling == "standard" else float(varying.std(0).mean()),
        signal=None if floor is None else floor.signal,
        twonn=two_nn(near) if enough else None,
        mle=levina_bickel(near) if enough else None,
        noise=image_noise(channels_first(scaled)) if floor is None else floor.std,
        noise_floor=None if floor is None else floor.share,
        neighbours=_neighbour_correlation(varying) if schema.kind == "vector" else None,
        range_spread=_range_spread(flat[chosen], schema),
    )


def _range_spread(rows: Array, schema: Schema) -> float:
    span = 1.0 if schema.in_unit_interval else schema.high - schema.low
    return float(rows.astype(np.float64).std(0).mean() / span)


# A flat row of this many values or more, whose number is a square, is an image if it is scaled like one.
_LEAST_FLAT_IMAGE = 196


def is_flat_image(schema: Schema) -> bool:
    """Return whether rows of a table look like the pixels of square images."""
    square = math.isqrt(schema.width) ** 2 == schema.width >= _LEAST_FLAT_IMAGE
    return schema.kind == "vector" and schema.names is None and square and schema.in_unit_interval


def scaling_for(schema: Schema) -> str:
    """Return the scaling of the measurements: "unit" for images in [0, 1] and for binary values, else "standard"."""
    image_like = schema.kind == "image" or schema.dtype in ("uint8", "uint16") or is_flat_image(schema)
    return "unit" if schema.binary or (image_like and schema.in_unit_interval) else "standard"


def choose(rows: int, most: int, seed: int) -> Array:
    """Return the places of at most so many rows, in a random order."""
    return np.random.default_rng(seed).permutation(rows)[:most]


def count_duplicates(rows: Array) -> int:
    """Return how many rows `(rows, columns)` equal an earlier one."""
    seen = set()
    for start in range(0, len(rows), 4096):
        block = rows[start : start + 4096]
        # So that 0.0 and -0.0, which are equal, have the same bytes.
        block = np.ascontiguousarray(block + 0.0 if block.dtype.kind == "f" else block)
        seen |= {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in block}
    return len(rows) - len(seen)


def spectrum(x: Doubles) -> tuple[Doubles, Doubles]:
    """Return the variances along the principal components, largest first, and the components `(columns, count)`."""
    _, singular, directions = scipy.linalg.svd(x - x.mean(0), full_matrices=False, check_finite=False)
    return singular**2 / (len(x) - 1), directions.T


def components_for(variances: Doubles, share: float) -> int:
    """Return how many components explain a share of the variance.

    Example:
        >>> components_for(np.array([8.0, 1.0, 1.0]), 0.9)
        2
    """
    held = np.cumsum(variances) / np.sum(variances)
    # A rounding below the share is not another component.
    return min(int(np.searchsorted(held, share - 1e-9)) + 1, len(variances))


# ---- noise -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """The noise that is estimated from a spectrum's tail.

    Attributes:
        std: standard deviation of the noise in the median column.
        spread: mean standard deviation of the scaled values that are not constant; 1 for standardised columns.
        signal: components that stand out of it.
        share: share of the components that lie in its flat tail; near 0, `std` is an upper bound only.
    """

    std: float
    signal: int
    share: float


def noise_floor(x: Doubles) -> Floor:
    """Return the noise of a table from the tail of its spectrum.

    The residual of a column's linear regression on the others is its noise, up to a factor that is similar for all
    columns. Divided by that, columns have equal noise, and noise fills a bulk with the density of Marchenko and Pastur.
    Its median gives the factor (Gavish and Donoho); components are counted as signal, the largest first, until the next
    one is below the edge of the remaining bulk.

    Args:
        x: `(rows, columns)`, no column constant.

    Paper: Gavish and Donoho, The Optimal Hard Threshold for Singular Values is 4/sqrt(3), 2014,
    https://arxiv.org/abs/1305.5870; for the residuals, Roger and Arnold, Reliably estimating the noise in AVIRIS
    hyperspectral images, 1996.
    """
    x = x - x.mean(0)
    rows, columns = x.shape
    residual = _residuals(x)
    variances = scipy.linalg.svdvals(x / residual, check_finite=False) ** 2
    # The nonzero part of the spectrum is that of the transpose as well.
    short, long = min(rows - 1, columns), max(rows - 1, columns)
    variances = variances[:short] / long
    tiny = 1e-10 * variances[0]
    for signal in range(short):
        tail, ratio = variances[signal:], (short - signal) / long
        factor = float(np.median(tail)) / marchenko_pastur_median(ratio)
        if tail[0] <= max(_EDGE_SLACK * factor * (1 + ratio**0.5) ** 2, tiny):
            break
    if tail[0] <= tiny:
        return Floor(0.0, signal, len(tail) / short)
    return Floor(float(np.median(residual)) * factor**0.5, signal, len(tail) / short)


def _residuals(x: Doubles) -> Doubles:
    """Return the residual of each column's regression on the other columns, as a standard deviation."""
    rows, columns = x.shape
    spread = x.std(0)
    if rows < 2 * columns:
        return np.full(columns, spread.mean())
    correlation = (x / spread).T @ (x / spread) / (rows - columns)
    # Nothing is left of a column that others determine; the ridge keeps it finite, far below any noise that matters.
    inverse = scipy.linalg.inv(correlation + 1e-6 * np.eye(columns), check_finite=False)
    return spread / np.sqrt(np.diag(inverse))  # type: ignore[no-any-return]


def marchenko_pastur_median(ratio: float) -> float:
    """Return the median of the Marchenko-Pastur density of unit variance for `columns / rows` in (0, 1].

    Example:
        >>> round(marchenko_pastur_median(1.0), 3)
        0.653
    """
    # With x = 1 + ratio - 2 sqrt(ratio) cos(t) the density has no poles at its ends.
    angles = (np.arange(2000) + 0.5) * (np.pi / 2000)
    x = 1 + ratio - 2 * ratio**0.5 * np.cos(angles)
    mass = np.cumsum(np.sin(angles) ** 2 / x)
    # Each part of the mass is added in the middle of its angle, so half of it lies beyond.
    return float(np.interp(0.5 * mass[-1], mass - 0.5 * np.sin(angles) ** 2 / x, x))


def channels_first(x: Array) -> Array:
    """Return images `(rows, height, width)`, channels moved to the rows; the shortest axis of three is the channels."""
    if x.ndim == 3:
        return x
    x = np.moveaxis(x, 1 + int(np.argmin(x.shape[1:])), 1)
    return x.reshape(-1, *x.shape[2:])


def image_noise(images: Array) -> float:
    """Return the standard deviation of the noise in images, from the response of a Laplacian that ignores smooth parts.

    ``sigma = sqrt(pi / 2) * mean(abs(I * N)) / 6`` with N = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], the median over
    images. Edges and texture count as noise: for images with many it is an upper bound.

    Args:
        images: `(images, height, width)`.

    Example:
        >>> flat = np.random.default_rng(0).normal(0.5, 0.1, (20, 32, 32))
        >>> round(image_noise(flat), 2)
        0.1

    Paper: Immerkaer, Fast Noise Variance Estimation, Computer Vision and Image Understanding 1996.
    """
    if min(images.shape[1:]) < 3:
        return float(np.median(images.std(axis=(1, 2))))
    x = images.astype(np.float64)
    # The kernel is the product of the second difference down and across.
    left = np.diff(np.diff(x, 2, axis=1), 2, axis=2)
    return float(np.median(np.sqrt(np.pi / 2) * np.abs(left).mean(axis=(1, 2)) / 6))


def _neighbour_correlation(x: Doubles) -> float | None:
    if x.shape[1] < 3:
        return None
    z = (x - x.mean(0)) / x.std(0)
    return float((z[:, 1:] * z[:, :-1]).mean())
