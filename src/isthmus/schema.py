"""What a row is, and the batch of rows that travels through every part."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import ArtifactError, DataError, explain

COLUMN_KINDS = ("numeric", "count", "binary", "categorical", "date", "empty")
Value = bool | int | float | str


@dataclass(frozen=True)
class Column:
    """One column of a table: its kind, its type, and the fitted map between its values and numbers for the network.

    Attributes:
        name: as in the table.
        kind: "numeric"; "count" (whole numbers from 0); "binary" (two values); "categorical"; "date" (points in time,
            in the units of their type since 1970); "empty" (no value in any training row).
        type: the Arrow type in training, as text.
        low: smallest training value of a number; 0 for categories.
        high: largest training value of a number; 0 for categories.
        missing: share of the training rows without a value.
        values: the categories, or both values of a binary column, sorted.
        rare: share of the training rows whose category is none of `values`, since it was too rare.
        scaling: how numbers are scaled, one of `isthmus.data.tables.columns.SCALES`.
        offset: what is subtracted.
        scale: what is divided by.
        bend: of the "log" scaling, where it turns from a line into a logarithm.
        points: of the "quantile" scaling, the quantiles.
        whole: whether all training values are whole numbers.
        step: what all training values of a date are multiples of: days, hours, minutes, ..., in units of its type.
    """

    name: str
    kind: str
    type: str
    low: float = 0.0
    high: float = 0.0
    missing: float = 0.0
    values: tuple[Value, ...] = ()
    rare: float = 0.0
    scaling: str = "none"
    offset: float = 0.0
    scale: float = 1.0
    bend: float = 1.0
    points: tuple[float, ...] = ()
    whole: bool = False
    step: float = 1.0

    @property
    def width(self) -> int:
        """Numbers that stand for a value: one, or for categories one each, and one for any other."""
        return {"categorical": len(self.values) + 1, "empty": 0}.get(self.kind, 1)

    @property
    def group(self) -> int:
        """Where the column's numbers stand in an encoded row: with the numbers 0, the bits 1, the categories 2."""
        return {"binary": 1, "categorical": 2}.get(self.kind, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, of which those that say nothing are left out."""
        default = Column(self.name, self.kind, self.type)
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        said = {name: value for name, value in data.items() if value != getattr(default, name)}
        head = {"name": self.name, "kind": self.kind, "type": self.type}
        plain: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in said.items()
        }
        if self.whole:  # people read 255, not 255.0
            plain |= {name: _as_whole(plain[name]) for name in ("low", "high") if name in plain}
            plain |= {"values": [_as_whole(value) for value in self.values]} if self.values else {}
        return head | plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Column:
        """Rebuild from `to_dict`; raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        given = dict(data)
        for name in ("low", "high", "missing", "rare", "offset", "scale", "bend", "step"):
            if name in given:
                given[name] = float(given[name])
                if not np.isfinite(given[name]):
                    raise ValueError(f"column {given.get('name')!r}: {name} {given[name]}")
        given["values"] = tuple(given.get("values", ()))
        given["points"] = tuple(float(point) for point in given.get("points", ()))
        column = cls(**given)
        texts = isinstance(column.name, str) and isinstance(column.type, str) and isinstance(column.scaling, str)
        plain = all(isinstance(value, bool | int | float | str) for value in column.values)
        if not (texts and plain and column.kind in COLUMN_KINDS and min(column.scale, column.bend, column.step) > 0):
            raise ValueError(f"column {column.name!r} of kind {column.kind!r}")
        numbers = {"binary": len(column.values) == 2, "categorical": len(column.values) > 0}.get(column.kind, True)
        if not numbers or not all(np.isfinite(column.points)):
            raise ValueError(f"column {column.name!r}: {len(column.values)} values")
        rising = all(one < other for one, other in itertools.pairwise(column.points))
        if column.scaling == "quantile" and not (len(column.points) > 1 and rising):
            raise ValueError(f"column {column.name!r}: {len(column.points)} quantiles")
        return column


@dataclass(frozen=True)
class Schema:
    """One row of the data: its kind, shape, dtype, range and column names.

    `shape` is the shape of a row as the user gave it; `low` and `high` are the extremes of the training rows, `binary`
    and `whole` say that all their values are 0 or 1, and that all are whole numbers; `condition_labels` are the classes
    of a model conditioned on labels, whose condition has one value for each. A table has its `columns`; `metadata` is
    how rows of other kinds were read (windows, vocabulary, items), so that later ones are read alike.

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
    columns: tuple[Column, ...] | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def of_columns(
        cls,
        columns: tuple[Column, ...],
        condition_dim: int = 0,
        condition_labels: tuple[int | str, ...] | None = None,
    ) -> Schema:
        """Return the schema of a table; its range is that of the columns that are numbers."""
        numbers = [column for column in columns if column.group < 2 and column.kind != "empty"]
        low = min((column.low for column in numbers), default=0.0)
        high = max((column.high for column in numbers), default=0.0)
        names = tuple(column.name for column in columns)
        plain = len(numbers) == len(columns)
        whole = plain and all(column.whole or column.kind == "binary" for column in columns)
        binary = plain and all(column.kind == "binary" for column in columns)
        shape = (len(columns),)
        return cls(
            "table", shape, "float64", low, high, names, condition_dim, binary, condition_labels, whole, columns
        )  # fmt: skip

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
    def row(self) -> tuple[int, ...]:
        """Shape of a row as the network sees it."""
        if self.columns is not None:
            return (sum(column.width for column in self.columns),)
        if self.kind == "tokens" and self.metadata is not None:
            return (*self.shape, int(self.metadata["symbols"]))
        return self.shape

    @property
    def groups(self) -> tuple[int, int, tuple[int, ...]]:
        """A table's encoded row: how many numbers it starts with, how many bits follow, each categories' width."""
        columns = self.columns or ()
        numbers = sum(column.width for column in columns if column.group == 0)
        bits = sum(column.width for column in columns if column.group == 1)
        return numbers, bits, tuple(column.width for column in columns if column.group == 2)

    @property
    def holes(self) -> bool:
        """Whether training rows may lack values: columns of a table that do, and the padding of series and texts."""
        if self.columns is not None:
            return any(column.missing > 0 for column in self.columns)
        return self.kind in ("series", "tokens")

    @property
    def float_dtype(self) -> str:
        """The floating type that holds such values: float64 for what float32 would round, else float32."""
        return "float32" if np.dtype(self.dtype).itemsize <= 2 or self.dtype == "float32" else "float64"

    @property
    def in_unit_interval(self) -> bool:
        """Whether the values are image-like: an unsigned integer type, or numbers that all lie in [0, 1]."""
        if self.columns is not None and any(c.group == 2 or c.kind in ("date", "empty") for c in self.columns):
            return False
        return self.dtype in ("uint8", "uint16", "bool") or (self.low >= 0 and self.high <= 1)

    def describe(self) -> str:
        """Return one line for people."""
        if self.columns is not None:
            counts = Counter(column.kind for column in self.columns).items()
            return f"rows of {len(self.columns)} columns ({', '.join(f'{n} {kind}' for kind, n in counts)})"
        shape = "x".join(map(str, self.shape))
        if self.kind == "tokens":
            return f"rows of {shape} tokens"
        if self.kind == "ratings":
            return f"rows of ratings of {shape} items, {self.dtype}, values {self.low:g} to {self.high:g}"
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
        self.check_units(array)
        if self.names and names and names != self.names:
            what = _difference(self.names, names).strip(" ()") or "the same columns in another order"
            raise DataError(explain(f"the training columns {list(self.names)}", what, "X[model.schema_.names]"))

    def check_units(self, array: np.ndarray) -> None:
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
        data |= {"shape": list(self.shape), "names": names, "condition_labels": labels}
        del data["columns"], data["metadata"]
        if self.columns is not None:
            del data["names"]  # each stands in its column
            data["columns"] = [column.to_dict() for column in self.columns]
        return data if self.metadata is None else {**data, "metadata": self.metadata}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schema:
        """Rebuild from `to_dict`; raise `ArtifactError` for anything else."""
        try:
            stated = [column["name"] for column in data["columns"]] if "columns" in data else data["names"]
            names = tuple(map(str, stated)) if stated else None
            shape = tuple(int(size) for size in data["shape"])
            told = int(data["condition_dim"])
            wrong = not isinstance(data["kind"], str) or not shape or min(shape) < 1 or told < 0
            if wrong or (names and (len(names),) != shape):
                raise ValueError(f"{data['kind']!r:.20}, shape {shape}, {len(names or ())} names, condition_dim {told}")
            labels = _labels(data.get("condition_labels"), told)
            columns = tuple(Column.from_dict(column) for column in data["columns"]) if "columns" in data else None
            if (data["kind"] == "table") != (columns is not None) or (columns and (len(columns),) != shape):
                raise ValueError(f"{len(columns or ())} columns for {data['kind']} rows of shape {shape}")
            if not isinstance(data.get("metadata", {}), dict):
                raise ValueError(f"metadata {data['metadata']!r:.60}")
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
                    "columns": columns,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"schema.json does not describe a row ({error}); try saving the model again") from None


def _as_whole(value: Value) -> Value:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


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
    with np.errstate(invalid="ignore"):  # of a NaN that signals, as damage makes them
        return bool(((array == np.floor(array)) | (array != array)).all())


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows on their way through the parts.

    Attributes:
        x: `(rows, *shape)`, preprocessed float values (or token ids, for rows of tokens).
        mask: `(rows, *shape)` booleans, True where `x` was observed; None if all of it was. It reaches the encoder,
            which sees zero (the mean of standardised columns) where nothing was observed, and the likelihood, which
            leaves those values out. Series of unequal lengths are padded, and the padding is masked the same way.
        condition: `(rows, condition_dim)`, what both encoder and decoder are conditioned on; None for unconditional
            models.
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
