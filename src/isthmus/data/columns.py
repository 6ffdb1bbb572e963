"""What the columns of a table are, told from one pass over its blocks."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.errors import DataError, RecipeError, check_choice, explain, unknown_name
from isthmus.schema import COLUMN_KINDS, Column, Value

SCALES = ("standard", "robust", "quantile", "log", "unit", "none")
# A column with more different texts than this is no column of categories; the rarest of more than the second number
# stand together as one.
_MOST_DIFFERENT = 100_000
_MOST_CATEGORIES = 1000
# Texts of which more than this share are different are names or sentences.
_MOST_SHARE = 0.5
# Values kept of a column for its quantiles; between one and two times so many.
_KEPT = 10_000
# A number that lies further from the mean, in standard deviations, is a long tail: a logarithm shows the rest, too.
_LONG_TAIL = 20.0
_QUANTILES = 101
# An interquartile range of a normal density, in standard deviations.
_NORMAL_RANGE = 1.349

Doubles = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Numbers:
    """Count, extremes, moments and a spread-out sample of a column of numbers."""

    count: int = 0
    low: float = np.inf
    high: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0
    whole: bool = True
    bits: bool = True
    sample: Doubles = field(default_factory=lambda: np.empty(0))
    step: int = 1
    rows: int = 0

    def update(self, values: Doubles) -> None:
        """Take in the finite values of the next block."""
        if not len(values):
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if self.whole:
            self.whole = bool((values == np.floor(values)).all())
        if self.bits:
            self.bits = self.low >= 0 and self.high <= 1 and bool(((values == 0) | (values == 1)).all())
        # Moments of the block about its first value, joined to those of the blocks before (Chan et al. 1979).
        # What is too large to be squared is refused where the scaling is fitted, which may do without.
        with np.errstate(over="ignore", invalid="ignore"):
            steps = values - values[0]
            mean = float(steps.mean())
            squares = float(np.square(steps - mean).sum())
        total, change = self.count + len(values), float(values[0]) + mean - self.mean
        self.squares += squares + change * change * self.count * (len(values) / total)
        self.mean += change * (len(values) / total)
        self.count = total
        # Every step-th row, the step doubled whenever too many are kept: no draw, and the same for any blocks.
        self.sample = np.concatenate([self.sample, values[-self.rows % self.step :: self.step]])
        self.rows += len(values)
        while len(self.sample) >= 2 * _KEPT:
            self.sample, self.step = self.sample[::2], 2 * self.step

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclass
class Facts:
    """What one pass tells of a column."""

    name: str
    type: pa.DataType
    rows: int = 0
    missing: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    texts: Counter[Value] = field(default_factory=Counter)


class Statistics:
    """Facts of all columns of a table, taken in block by block.

    Args:
        schema: the Arrow schema.
        kinds: kinds of columns that were stated, by name.
    """

    def __init__(self, schema: pa.Schema, kinds: Mapping[str, str]) -> None:
        self.facts = [Facts(name, kind) for name, kind in zip(schema.names, schema.types, strict=True)]
        self.kinds = kinds
        self._scaled: list[Column] | None = None

    def update(self, table: pa.Table) -> None:
        """Take in the next rows.

        Raises:
            DataError: for infinite numbers, and for columns that hold neither numbers, categories nor dates.
        """
        for facts in self.facts:
            column = table[facts.name]
            if facts.rows == 0 and pa.types.is_null(facts.type):
                facts.type = column.type
            if as_categories(facts.type, self.kinds.get(facts.name)):
                _count_texts(facts, column)
            elif not pa.types.is_null(column.type):
                values = numbers_of(column, facts.name, facts.rows)
                seen = values[~np.isnan(values)]
                facts.missing += len(values) - len(seen)
                facts.numbers.update(seen)
            else:
                facts.missing += len(column)
            facts.rows += len(column)

    def columns(self) -> tuple[Column, ...]:
        """Return what each column is, not yet scaled."""
        return tuple(_column(facts, self.kinds.get(facts.name)) for facts in self.facts)

    def scaled(self, columns: Sequence[Column], scaling: str, stated: Mapping[str, str]) -> tuple[Column, ...]:
        """Return the columns with their scaling fitted.

        Args:
            columns: what `columns` returned.
            scaling: that of all numbers, one of `SCALES`, or "columns": standard, or a logarithm for long tails.
            stated: scalings by name of a column.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(
                _scale(column, facts.numbers, stated.get(column.name, scaling))
                for column, facts in zip(columns, self.facts, strict=True)
            )


def as_categories(kind: pa.DataType, stated: str | None) -> bool:
    """Whether a column of an Arrow type is read as categories."""
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if pa.types.is_dictionary(kind):
        return stated in (None, "categorical")
    return texts or stated == "categorical"


def numbers_of(column: pa.ChunkedArray, name: str, first_row: int = 0) -> Doubles:
    """Return a column as float64 `(rows,)`, NaN where a value is missing.

    Raises:
        DataError: for what is no number, and for infinite ones.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_temporal(kind):
        column = _ticks(column)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_boolean(kind) or is_number(column.type)):
        example = next((repr(value) for value in column.slice(0, 100).to_pylist() if value is not None), "nothing")
        expected = "numbers, texts, dates or booleans"
        got = f"{kind} (such as {example:.60})"
        raise DataError(f"column {name!r}: " + explain(expected, got, f"leaving it out (--drop {name})"))
    values: Doubles = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum()
    if not np.isfinite(total) and np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise DataError(
            f"column {name!r} holds infinite values (inf), the first in row {first_row + row}; "
            "try filling them, leaving them empty, or dropping those rows"
        )
    return values


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _ticks(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return points in time as whole numbers of their own unit."""
    small = pa.types.is_date32(column.type) or pa.types.is_time32(column.type)
    return column.cast(pa.int32() if small else pa.int64())


def _count_texts(facts: Facts, column: pa.ChunkedArray) -> None:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    counted = column.value_counts()
    for value, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        if value is None:
            facts.missing += count
        else:
            facts.texts[_plain(value, facts.name)] += count
    if len(facts.texts) > _MOST_DIFFERENT:
        raise DataError(_identifier(facts))


def _plain(value: Any, name: str) -> Value:
    if isinstance(value, bool | int | float | str):
        return value
    raise DataError(
        f"column {name!r}: " + explain("categories that are texts or numbers", f"{value!r:.60}", f"--drop {name}")
    )


def _identifier(facts: Facts) -> str:
    advice = f"leaving it out (--drop {facts.name}), or --column {facts.name}:categorical to keep the most frequent"
    return f"column {facts.name!r}: " + explain(
        "categories", f"{len(facts.texts)} different values in {facts.rows} rows, as of names or sentences", advice
    )


def _column(facts: Facts, stated: str | None) -> Column:
    share = facts.missing / facts.rows if facts.rows else 0.0
    kind = str(facts.type)
    if facts.missing == facts.rows:
        return Column(facts.name, "empty", kind, missing=share)
    if as_categories(facts.type, stated):
        return _categories(facts, share, stated)
    numbers = facts.numbers
    temporal = pa.types.is_temporal(facts.type)
    guess = "date" if temporal else "binary" if numbers.bits and numbers.low < numbers.high else "numeric"
    chosen = guess if stated is None else stated
    _check_stated(facts, chosen, temporal=temporal)
    whole = numbers.whole and not pa.types.is_boolean(facts.type)
    column = Column(facts.name, chosen, kind, numbers.low, numbers.high, share, whole=whole)
    if chosen == "binary":
        values: tuple[Value, ...] = (False, True) if pa.types.is_boolean(facts.type) else (numbers.low, numbers.high)
        return dataclasses.replace(column, low=0.0, high=1.0, values=values)
    return column


def _check_stated(facts: Facts, stated: str, *, temporal: bool) -> None:
    """Refuse a kind that a column is told to be and cannot be."""
    numbers, where = facts.numbers, f"column {facts.name!r}: "
    found = f"values from {numbers.low:g} to {numbers.high:g}"
    if stated == "binary" and not (numbers.bits and numbers.low < numbers.high):
        raise DataError(where + explain("the values 0 and 1, to be binary", found, f"{facts.name}:categorical"))
    if stated == "count" and not (numbers.whole and numbers.low >= 0):
        raise DataError(where + explain("whole numbers from 0, to be a count", found, f"{facts.name}:numeric"))
    if (stated == "date") != temporal:
        got = f"{facts.type} values"
        raise DataError(where + explain(f"values of a kind to be {stated}", got, "leaving its kind to isthmus"))


def _categories(facts: Facts, missing: float, stated: str | None) -> Column:
    if stated not in (None, "categorical"):
        got = f"texts such as {next(iter(facts.texts))!r}"
        raise DataError(f"column {facts.name!r}: " + explain(f"numbers, to be {stated}", got, "categorical"))
    seen = facts.rows - facts.missing
    if stated is None and len(facts.texts) > max(50, _MOST_SHARE * seen):
        raise DataError(_identifier(facts))
    # The most frequent; among equals those that come first in order, so that nothing depends on the rows' order.
    ranked = sorted(facts.texts.items(), key=lambda item: (-item[1], str(item[0])))[:_MOST_CATEGORIES]
    values = tuple(sorted((value for value, _ in ranked), key=lambda value: (isinstance(value, str), value)))
    rare = 1.0 - sum(count for _, count in ranked) / seen
    return Column(facts.name, "categorical", str(facts.type), missing=missing, values=values, rare=max(0.0, rare))


def _scale(column: Column, numbers: Numbers, scaling: str) -> Column:
    if column.kind not in ("numeric", "count", "date"):
        return column
    if scaling == "columns":
        tail = max(column.high - numbers.mean, numbers.mean - column.low) > _LONG_TAIL * numbers.deviation
        long = tail and numbers.deviation > 0 and column.kind != "date"
        scaling = "log" if column.kind == "count" or long else "standard"
    if scaling == "unit":
        return _fitted(column, scaling, *_unit(column))
    if scaling == "standard":
        return _fitted(column, scaling, numbers.mean, numbers.deviation)
    if scaling == "robust":
        low, middle, high = np.quantile(numbers.sample, [0.25, 0.5, 0.75])
        # Where half of the values are one, the range between the quartiles is none.
        return _fitted(column, scaling, middle, (high - low) / _NORMAL_RANGE or numbers.deviation)
    if scaling == "log":
        size = np.abs(numbers.sample[numbers.sample != 0])
        bend = float(np.median(size)) if len(size) else 1.0
        # The middle of long tails may be far below one and still be whole numbers, which need no finer line.
        bend = max(1.0, bend) if numbers.whole else bend
        bent = bend_of(numbers.sample, bend)
        return dataclasses.replace(_fitted(column, scaling, bent.mean(), bent.std()), bend=bend)
    if scaling == "quantile":
        points = np.unique(np.quantile(numbers.sample, np.linspace(0.0, 1.0, _QUANTILES)))
        points[0], points[-1] = column.low, column.high
        if len(points) > 1:
            return dataclasses.replace(_fitted(column, scaling, 0.0, 1.0), points=tuple(points.tolist()))
        return _fitted(column, "standard", numbers.mean, 0.0)
    return _fitted(column, "none", 0.0, 1.0)


def _unit(column: Column) -> tuple[float, float]:
    inside = column.low >= 0 and column.high <= 1
    return (0.0, 1.0) if inside else (column.low, column.high - column.low)


def _fitted(column: Column, scaling: str, offset: float, scale: float) -> Column:
    if not (np.isfinite(offset) and np.isfinite(scale)):
        got = f"values from {column.low:g} to {column.high:g}"
        advice = f"--column {column.name}:log, or leaving it out (--drop {column.name})"
        raise DataError(f"column {column.name!r}: " + explain("values not too large to be squared", got, advice))
    return dataclasses.replace(column, scaling=scaling, offset=float(offset), scale=float(scale) or 1.0)


def bend_of(values: Doubles, bend: float) -> Doubles:
    """Return ``sign(x) log(1 + |x| / bend)``: a line about zero, a logarithm far from it, for numbers of any sign."""
    bent: Doubles = np.copysign(np.log1p(np.abs(values) / bend), values)
    return bent


def unbend(values: Doubles, bend: float) -> Doubles:
    """Return the numbers that `bend_of` bent."""
    return np.copysign(np.expm1(np.abs(values)) * bend, values)


def parse_columns(stated: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the kinds and the scalings by name that texts such as "age:numeric" and "price:numeric:log" state.

    A scaling may stand alone: "price:log".

    Example:
        >>> parse_columns(["code:categorical", "price:log"])
        ({'code': 'categorical'}, {'price': 'log'})

    Raises:
        RecipeError: for another form, and for kinds and scalings that do not exist.
    """
    kinds: dict[str, str] = {}
    scales: dict[str, str] = {}
    for text in stated:
        name, *rest = re.split(r":(?=[a-z_]+(?::[a-z_]+)?$)", text, maxsplit=1)
        words = rest[0].split(":") if rest else []
        if not name or not words:
            raise RecipeError("--column: " + explain("NAME:KIND or NAME:KIND:SCALING", repr(text), "age:numeric"))
        if len(words) == 1 and words[0] in SCALES:
            scales[name] = words[0]
            continue
        check_choice(f"--column {text}", words[0], [kind for kind in COLUMN_KINDS if kind != "empty"])
        kinds[name] = words[0]
        if len(words) == 2:
            check_choice(f"--column {text}", words[1], SCALES)
            scales[name] = words[1]
    return kinds, scales


def check_stated(names: Sequence[str], *stated: Mapping[str, str]) -> None:
    """Raise `DataError` for a stated column that the table does not have."""
    for mapping in stated:
        for name in mapping:
            if name not in names:
                raise DataError("--column: " + unknown_name("column", name, names))
