"""Fitted, invertible scaling between the user's units and the network's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isthmus.errors import ArtifactError, DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Floats

# Values that are scaled at a time.
_PART = 1 << 17


class Encoding(ABC):
    """A fitted, invertible map between a block of rows in the user's units and what the network sees."""

    kind: ClassVar[str]

    @abstractmethod
    def forward(self, block: Any) -> np.ndarray[Any, Any]:
        """Return `(rows, *row)` in float32, NaN where nothing was observed."""

    @abstractmethod
    def inverse(self, rows: np.ndarray[Any, Any], dtype: Any = None) -> Any:
        """Return the block that rows of numbers stand for, in the user's units; `dtype` is a type of its own kind."""

    @abstractmethod
    def state(self) -> dict[str, Floats]:
        """Return the fitted arrays by name, less what the schema holds."""


class Scaling(Encoding):
    """A fitted map ``x -> (x - offset) / scale`` by column, and back."""

    offset: Floats
    scale: Floats

    @classmethod
    @abstractmethod
    def fit(cls, rows: np.ndarray[Any, Any], schema: Schema) -> Scaling:
        """Fit on training rows `(rows, *shape)`."""

    def forward(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return `(rows, *shape)` in float32, scaled; NaN stays NaN.

        Raises:
            DataError: for values that float32 cannot hold once scaled.
        """
        rows, scaled = block, np.empty(block.shape, np.float32)
        # In float64, since a large offset would leave float32 no digits for the difference; in parts that stay in the
        # processor's cache, since a whole copy in float64 would be the largest thing in memory.
        step = max(1, _PART // max(1, rows[0].size))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                np.divide(rows[part] - self.offset, self.scale, out=scaled[part], casting="unsafe")
        if rows.dtype.itemsize > 2 and not np.isfinite(scaled.sum(dtype=np.float64)) and np.isinf(scaled).any():
            largest = float(np.nanmax(np.abs(rows)))
            raise DataError(explain("values that float32 can hold once scaled", f"one of {largest:g}", "a logarithm"))
        return scaled

    def inverse(self, rows: np.ndarray[Any, Any], dtype: Any = None) -> Floats:
        """Return `(rows, *shape)` in the user's units, in float32 or another type."""
        units: Floats = (rows * self.scale + self.offset).astype(dtype or "float32")
        return units

    def state(self) -> dict[str, Floats]:
        """Return the fitted arrays by name."""
        return {"offset": self.offset, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class _Fitted(Scaling):
    offset: Floats
    scale: Floats


class Unit(_Fitted):
    """To [0, 1], with one range for all columns: that of the dtype for 8- and 16-bit integers, else the training rows'.

    Floats that already lie in [0, 1], and bits, are left as they are.

    Example:
        >>> import numpy as np
        >>> x = np.array([[0, 255]], dtype="uint8")
        >>> Unit.fit(x, Schema.of(x)).forward(x).tolist()
        [[0.0, 1.0]]
    """

    kind: ClassVar[str] = "unit"

    @classmethod
    def fit(cls, rows: np.ndarray[Any, Any], schema: Schema) -> Unit:
        if rows.dtype in (np.uint8, np.uint16) and not schema.binary:
            low, high = 0.0, float(np.iinfo(rows.dtype).max)
        elif schema.in_unit_interval:
            low, high = 0.0, 1.0
        else:
            low, high = float(np.fmin.reduce(rows, axis=None)), float(np.fmax.reduce(rows, axis=None))
        return cls(np.asarray(low), np.asarray((high - low) or 1.0))


class Standard(_Fitted):
    """To mean 0 and standard deviation 1, column by column; a constant column becomes 0.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 7.0], [3.0, 7.0]])
        >>> Standard.fit(x, Schema.of(x)).forward(x).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    kind: ClassVar[str] = "standard"

    @classmethod
    def fit(cls, rows: np.ndarray[Any, Any], schema: Schema) -> Standard:
        holes = rows.dtype.kind == "f" and bool(np.isnan(rows.sum(dtype=np.float64)))
        mean, deviation = (np.nanmean, np.nanstd) if holes else (np.mean, np.std)
        first = (_first_seen(rows) if holes else rows[0]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            # From the first row on: the mean of large numbers is off by a rounding, which may be all that differs.
            steps = rows - first
            offset, scale = first + mean(steps, 0), deviation(steps, 0)
        if not (np.isfinite(offset).all() and np.isfinite(scale).all()):
            largest = float(np.abs(rows).max())
            raise DataError(explain("values not too large to be squared", f"one of {largest:g}", "a logarithm"))
        return cls(offset, np.where(scale == 0, 1.0, scale))


def _first_seen(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the first value of each column that is not missing; raise `DataError` for a column that has none."""
    seen = ~np.isnan(rows)
    empty = np.argwhere(~seen.any(0))
    if len(empty):
        place = tuple(int(i) for i in empty[0])
        raise DataError(explain("a value in each column", f"none in place {place}", "leaving that column out"))
    first: np.ndarray[Any, Any] = np.take_along_axis(rows, seen.argmax(0)[None], 0)[0]
    return first


class Unscaled(_Fitted):
    """The identity, for data that are scaled already."""

    kind: ClassVar[str] = "none"

    @classmethod
    def fit(cls, rows: np.ndarray[Any, Any], schema: Schema) -> Unscaled:
        return cls(np.asarray(0.0), np.asarray(1.0))


SCALINGS: dict[str, type[_Fitted]] = {"unit": Unit, "standard": Standard, "none": Unscaled}


def from_state(kind: str, state: Mapping[str, np.ndarray[Any, Any]]) -> Scaling:
    """Rebuild a fitted scaling; raise `ArtifactError` if the state is not that of one."""
    if kind not in SCALINGS or set(state) != {"offset", "scale"}:
        raise ArtifactError(f"the model's preprocessing ({kind!r}, {sorted(state)}) is not one of {sorted(SCALINGS)}")
    if not (np.isfinite(state["offset"]).all() and np.isfinite(state["scale"]).all() and (state["scale"] > 0).all()):
        raise ArtifactError("the model's preprocessing has an offset or a scale that is no number to scale by")
    return SCALINGS[kind](state["offset"], state["scale"])
