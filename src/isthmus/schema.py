"""What a row is, and the batch of rows that travels through every part."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import ArtifactError, DataError, explain, unknown_name

KINDS = ("vector", "image", "series", "tokens", "ratings")


@dataclass(frozen=True)
class Schema:
    """One row of the data: its kind, shape, dtype, range and column names.

    `shape` is the shape of a row as the user gave it; `low` and `high` are the extremes of the training rows, `binary`
    and `whole` say that all their values are 0 or 1, and that all are whole numbers; `condition_labels` are the classes
    of a model that is told labels, whose condition has one value for each. The kinds beyond `vector` and `image` are
    named here so that readers and networks can state them.

    >>> import numpy as np
    >>> Schema.of(np.zeros((5, 28, 28), dtype="uint8")).describe()
    'image rows of shape 28x28, uint8, values 0 to 0'
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    names: tuple[str, ...] | None = None
    condition_dim: int = 0
    binary: bool = field(default=False)
    condition_labels: tuple[int | str, ...] | None = None
    whole: bool = field(default=False)

    @classmethod
    def of(
        cls,
        array: np.ndarray,
        names: tuple[str, ...] | None = None,
        condition_dim: int = 0,
        condition_labels: tuple[int | str, ...] | None = None,
    ) -> Schema:
        """Infer the schema of an array `(rows, *shape)`: two axes are vectors, three or four are images.

        What is missing (NaN) has no part in the range.
        """
        kind = "vector" if array.ndim == 2 else "image"
        # fmin and fmax pass over NaN.
        low, high = float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
        binary = low >= 0 and high <= 1 and _all_zero_or_one(array[:100]) and _all_zero_or_one(array)
        shape = tuple(array.shape[1:])
        whole = binary or array.dtype.kind in "biu" or (_all_whole(array[:100]) and _all_whole(array))
        return cls(kind, shape, str(array.dtype), low, high, names, condition_dim, binary, condition_labels, whole)

    @property
    def width(self) -> int:
        """Number of values in a row."""
        return int(np.prod(self.shape))

    @property
    def float_dtype(self) -> str:
        """The floating type that holds such values: float64 for what float32 would round, else float32."""
        return "float32" if np.dtype(self.dtype).itemsize <= 2 or self.dtype == "float32" else "float64"

    @property
    def in_unit_interval(self) -> bool:
        """Whether the values are image-like: an unsigned integer type, or numbers that all lie in [0, 1]."""
        return self.dtype in ("uint8", "uint16", "bool") or (self.low >= 0 and self.high <= 1)

    def describe(self) -> str:
        """Return one line for people."""
        shape = "x".join(map(str, self.shape))
        return f"{self.kind} rows of shape {shape}, {self.dtype}, values {self.low:g} to {self.high:g}"

    def check(self, array: np.ndarray, names: tuple[str, ...] | None = None) -> None:
        """Raise `DataError` unless the rows of `array` are rows of this schema."""
        if tuple(array.shape[1:]) != self.shape:
            shape = "x".join(map(str, self.shape))
            got = "x".join(map(str, array.shape[1:]))
            hint = " (the rows of the training data)"
            if len(self.shape) == 1 and array.ndim == 2:
                # scikit-learn's own wording, which its estimator checks look for
                raise DataError(
                    f"X has {array.shape[1]} features, but Autoencoder is expecting {self.width} features as input"
                    f"{hint}; try the columns that the model was trained on{_difference(self.names, names)}"
                )
            raise DataError(explain(f"rows of shape {shape}{hint}", f"rows of shape {got}", "the training shape"))
        self._check_units(array)
        if self.names and names and names != self.names:
            what = _difference(self.names, names).strip(" ()") or "the same columns in another order"
            raise DataError(explain(f"the training columns {list(self.names)}", what, "X[model.schema_.names]"))

    def _check_units(self, array: np.ndarray) -> None:
        """Refuse pixels of 0 to 1 where the model knows 0 to 255, and the reverse: every score would be wrong."""
        pixels = self.dtype in ("uint8", "uint16")
        given = str(array.dtype)
        if pixels and self.high > 1 and given.startswith("float") and array.max() <= 1 and (array % 1).any():
            raise DataError(
                explain(f"{self.dtype} values, as in training", f"{given} values of at most 1", "the unscaled pixels")
            )
        whole = array.dtype.kind in "iu" and self.dtype.startswith("float")
        if whole and self.in_unit_interval and array.max() > 1:
            raise DataError(
                explain(f"{self.dtype} values in [0, 1], as in training", f"{given} up to {array.max()}", "X / 255")
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        data = dataclasses.asdict(self)
        labels = list(self.condition_labels) if self.condition_labels else None
        names = list(self.names) if self.names else None
        return {**data, "shape": list(self.shape), "names": names, "condition_labels": labels}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schema:
        """Rebuild from `to_dict`; raise `ArtifactError` for anything else."""
        try:
            if data["kind"] not in KINDS:
                raise ArtifactError(unknown_name("kind of row", data["kind"], KINDS))
            names = tuple(map(str, data["names"])) if data["names"] else None
            shape = tuple(int(size) for size in data["shape"])
            told = int(data["condition_dim"])
            if not shape or min(shape) < 1 or told < 0 or (names and (len(names),) != shape):
                raise ValueError(f"shape {shape}, {len(names or ())} names, condition_dim {told}")
            labels = _labels(data.get("condition_labels"), told)
            range_ = {"low": float(data["low"]), "high": float(data["high"]), "binary": bool(data["binary"])}
            range_["whole"] = bool(data.get("whole", data["binary"]))  # older models do not state it
            dtype = str(np.dtype(data["dtype"]))
            if np.dtype(dtype).kind not in "fiub":
                raise ValueError(f"dtype {dtype}")
            return cls(
                **{
                    **data,
                    **range_,
                    "shape": shape,
                    "names": names,
                    "condition_dim": told,
                    "dtype": dtype,
                    "condition_labels": labels,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"schema.json does not describe a row ({error}); try saving the model again") from None


def _difference(wanted: tuple[str, ...] | None, got: tuple[str, ...] | None) -> str:
    """Return which columns are missing or unknown, in brackets; nothing where names are not known or the same."""
    missing = [name for name in wanted or () if name not in (got or ())]
    extra = [name for name in got or () if name not in (wanted or ())]
    parts = [f"{what} {names}" for what, names in (("missing", missing), ("unknown", extra)) if names]
    return f" ({', '.join(parts)})" if wanted and got and parts else ""


def _labels(given: Any, told: int) -> tuple[int | str, ...] | None:
    """Return the labels of a condition from JSON; raise `ValueError` unless they are `told` integers or texts."""
    if given is None:
        return None
    if len(given) != told or not all(isinstance(label, int | str) for label in given):
        raise ValueError(f"condition_labels {given!r:.60} for a condition of {told}")
    return tuple(given)


def _all_zero_or_one(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1) | (array != array)).all())


def _all_whole(array: np.ndarray) -> bool:
    return bool(((array == np.floor(array)) | (array != array)).all())


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows on their way through the parts.

    Attributes:
        x: `(rows, *shape)`, preprocessed float values (or token ids, for rows of tokens).
        mask: `(rows, *shape)` booleans, True where `x` was observed; None if all of it was. It reaches the encoder,
            which sees zero (the mean of standardised columns) where nothing was observed, and the likelihood, which
            leaves those values out. Series of unequal lengths are padded, and the padding is masked the same way.
        condition: `(rows, condition_dim)`, what encoder and decoder are both told; None for unconditional models.
        target: `(rows, *shape)`, what is to be rebuilt where that is not `x`; a decoder that is teacher-forced reads
            its own past from here.
        scored: `(rows, *shape)` booleans, set by a corruption that wants only these values to count in the loss, as a
            masked autoencoder counts what it hid; None if all that was observed counts.
    """

    x: Tensor
    mask: Tensor | None = None
    condition: Tensor | None = None
    target: Tensor | None = None
    scored: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.x.shape[0]

    @property
    def wanted(self) -> Tensor:
        """What the output is compared with."""
        return self.x if self.target is None else self.target

    def observed(self) -> Batch:
        """Return the batch with zero wherever nothing was observed, whatever stood there."""
        if self.mask is None:
            return self
        x = torch.where(self.mask, self.x, 0.0)
        return self.replace(x=x, target=None if self.target is None else torch.where(self.mask, self.target, 0.0))

    def replace(self, **changes: Any) -> Batch:
        """Return a copy with other fields."""
        return dataclasses.replace(self, **changes)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return self.replace(**{name: None if part is None else part.to(device) for name, part in parts.items()})

    def repeat(self, times: int) -> Batch:
        """Return the rows `times` over, the whole batch first: the layout of several samples of the latent."""
        if times == 1:
            return self
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        repeated = {k: None if v is None else v.repeat(times, *[1] * (v.ndim - 1)) for k, v in parts.items()}
        return self.replace(**repeated)
