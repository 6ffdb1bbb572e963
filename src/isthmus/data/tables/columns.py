"""Kinds, categories and scalings of a table's columns, from one pass over its blocks."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.tables.statistics import RunningStatistics
from isthmus.errors import DataError, RecipeError, check_choice, explain, unknown_name
from isthmus.schema import COLUMN_KINDS, Column, Value
from isthmus.typing import Doubles

SCALES = ("standard", "robust", "quantile", "log", "unit", "none")
# A column with more different texts than this is no column of categories; the rarest of more than the second number
# stand together as one.
_MOST_DIFFERENT = 100_000
_MOST_CATEGORIES = 1000
# Texts of which more than this share are different are names or sentences.
_MOST_SHARE = 0.5
# A number that lies further from the mean, in standard deviations, is a long tail: a logarithm shows the rest, too.
_LONG_TAIL = 20.0
_QUANTILES = 101
# An interquartile range of a normal density, in standard deviations.
_NORMAL_RANGE = 1.349


@dataclass
class ColumnStatistics:
    """What one pass tells of a column."""

    name: str
    type: pa.DataType
    rows: int = 0
    missing: int = 0
    left: int = 0
    left_missing: int = 0
    numbers: RunningStatistics = field(default_factory=RunningStatistics)
    texts: Counter[Value] = field(default_factory=Counter)
    steps: list[float] = field(default_factory=list)


class Statistics:
    """ColumnStatistics of all columns of a table, taken in block by block.

    Args:
        schema: the Arrow schema.
        kinds: kinds of columns that were stated, by name.
    """

    def __init__(self, schema: pa.Schema, kinds: Mapping[str, str]) -> None:
        self.facts = [
            ColumnStatistics(name, kind, steps=_steps(kind))
            for name, kind in zip(schema.names, schema.types, strict=True)
        ]
        self.kinds = kinds
        self._scaled: list[Column] | None = None

    def update(self, table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]] | None = None) -> None:
        """Take in the next rows.

        Args:
            table: the rows.
            rows: their numbers, for messages; None for those that follow the rows before.

        Raises:
            DataError: for infinite numbers, and for columns that hold neither numbers, categories nor dates.
        """
        for facts in self.facts:
            column = table[facts.name]
            if facts.rows == 0 and pa.types.is_null(facts.type):
                facts.type = column.type
            if as_categories(facts.type, self.kinds.get(facts.name)):
                _count_texts(facts, column, self.kinds.get(facts.name))
            elif not pa.types.is_null(column.type):
                values = numbers_of(column, facts.name, facts.rows if rows is None else rows)
                seen = values[~np.isnan(values)]
                facts.missing += len(values) - len(seen)
                facts.numbers.update(seen)
                while len(facts.steps) > 1 and (seen % facts.steps[0]).any():
                    del facts.steps[0]
            else:
                facts.missing += len(column)
            facts.rows += len(column)

    def leave_out(self, table: pa.Table) -> None:
        """Take in rows that are held out: of them only what is missing is counted."""
        for facts in self.facts:
            column = table[facts.name]
            facts.left += len(column)
            facts.left_missing += missing_in(column)

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
    if pa.types.is_dictionary(kind):
        return stated in (None, "categorical") or is_text(kind.value_type)
    return is_text(kind) or stated == "categorical"


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def labels_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of categories as plain texts, integers, booleans or float64, null where one is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):  # Arrow counts their nulls as empty texts
        return column.cast(pa.string())
    if pa.types.is_decimal(column.type) or pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def missing_in(column: pa.ChunkedArray) -> int:
    """Return how many values of a column are missing, NaN among them."""
    if pa.types.is_floating(column.type):
        return int(pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0)
    return int(column.null_count)


def numbers_of(column: pa.ChunkedArray, name: str, rows: Any = 0) -> Doubles:
    """Return a column as float64 `(rows,)`, NaN where a value is missing.

    Args:
        column: of a table.
        name: its name, for messages.
        rows: number of the first row, or of each row, for messages.

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
        raise DataError(f"column {name!r}: " + explain(expected, got, f"leaving it out (--drop {shlex.quote(name)})"))
    values: Doubles = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum()
    if not np.isfinite(total) and np.isinf(values).any():
        raise DataError(_infinite(name, f" (inf), the first in row {row_number(rows, int(np.isinf(values).argmax()))}"))
    return values


def _infinite(name: str, where: str) -> str:
    return f"column {name!r} holds infinite values{where}; try filling them, leaving them empty, or dropping those rows"


def row_number(rows: Any, place: int) -> int:
    """Return the number of a row of a block, whose first row's number is known or that of each."""
    return int(rows[place]) if np.ndim(rows) else int(rows) + place


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _ticks(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return points in time as whole numbers of their own unit."""
    small = pa.types.is_date32(column.type) or pa.types.is_time32(column.type)
    return column.cast(pa.int32() if small else pa.int64())


DAY = 86_400
_UNITS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}


def per_second(kind: pa.DataType) -> float:
    """Return how many units of an Arrow type of times a second has."""
    if pa.types.is_date(kind):
        return 1000 if pa.types.is_date64(kind) else 1 / DAY
    return _UNITS[kind.unit]


def _steps(kind: pa.DataType) -> list[float]:
    """Return the steps that times may be multiples of, the longest first: days, hours, ..., the unit."""
    if not pa.types.is_temporal(kind):
        return [1.0]
    unit = per_second(kind)
    steps = [float(seconds * unit) for seconds in (DAY, 3600, 60, 1)]
    return [step for step in (*steps, unit / 1e3, unit / 1e6) if step > 1] + [1.0]


def _count_texts(facts: ColumnStatistics, column: pa.ChunkedArray, stated: str | None) -> None:
    counted = labels_of(column).value_counts()
    for value, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        if value is None:
            facts.missing += count
        else:
            facts.texts[_plain(value, facts.name)] += count
    if len(facts.texts) > _MOST_DIFFERENT:
        raise DataError(_identifier(facts, stated or "", facts.rows + len(column)))


def _plain(value: Any, name: str) -> Value:
    if isinstance(value, float) and np.isinf(value):
        raise DataError(_infinite(name, " (inf)"))
    if isinstance(value, bool | int | float | str):
        return value
    advice = f"leaving its kind to isthmus, or leaving it out (--drop {name})"
    raise DataError(f"column {name!r}: " + explain("categories that are texts or numbers", f"{value!r:.60}", advice))


def _identifier(facts: ColumnStatistics, stated: str | None, rows: int) -> str:
    advice = f"leaving it out (--drop {shlex.quote(facts.name)})"
    if not stated:
        categorical = shlex.quote(f"{facts.name}:categorical")
        advice += f", or --column {categorical} to keep the {_MOST_CATEGORIES} most frequent"
    got = f"{len(facts.texts)} different values in {rows} rows, as of names or sentences"
    return f"column {facts.name!r}: " + explain("categories", got, advice)


def _column(facts: ColumnStatistics, stated: str | None) -> Column:
    rows = facts.rows + facts.left
    share = (facts.missing + facts.left_missing) / rows if rows else 0.0
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
    column = Column(facts.name, chosen, kind, numbers.low, numbers.high, share, whole=whole, step=facts.steps[0])
    if chosen == "binary":
        values: tuple[Value, ...] = (False, True) if pa.types.is_boolean(facts.type) else (numbers.low, numbers.high)
        return dataclasses.replace(column, low=0.0, high=1.0, values=values)
    return column


def _check_stated(facts: ColumnStatistics, stated: str, *, temporal: bool) -> None:
    """Refuse a stated kind that a column cannot have."""
    numbers, where, instead = facts.numbers, f"column {facts.name!r}: ", f"--column {facts.name}:"
    found = f"values from {numbers.low:g} to {numbers.high:g}" + ("" if numbers.whole else ", not all of them whole")
    if temporal and stated != "date":
        raise DataError(where + explain(f"numbers, to be {stated}", f"{facts.type} values", instead + "date"))
    if stated == "date" and not temporal:
        got = f"{facts.type} values"
        raise DataError(where + explain("points in time, to be a date", got, instead + "numeric, or a column of dates"))
    if stated == "binary" and not (numbers.bits and numbers.low < numbers.high):
        raise DataError(where + explain("the values 0 and 1, to be binary", found, instead + "categorical"))
    if stated == "count" and not (numbers.whole and numbers.low >= 0):
        raise DataError(where + explain("whole numbers from 0, to be a count", found, instead + "numeric"))


def _categories(facts: ColumnStatistics, missing: float, stated: str | None) -> Column:
    if stated not in (None, "categorical"):
        got, advice = f"texts such as {next(iter(facts.texts))!r:.60}", f"--column {facts.name}:categorical"
        what = "points in time" if stated == "date" else "numbers"
        raise DataError(f"column {facts.name!r}: " + explain(f"{what}, to be {stated}", got, advice))
    seen = facts.rows - facts.missing
    if stated is None and len(facts.texts) > max(50, _MOST_SHARE * seen):
        raise DataError(_identifier(facts, stated, facts.rows))
    # The most frequent; among equals those that come first in order, so that nothing depends on the rows' order.
    ranked = sorted(facts.texts.items(), key=lambda item: (-item[1], str(item[0])))[:_MOST_CATEGORIES]
    values = tuple(sorted((value for value, _ in ranked), key=lambda value: (isinstance(value, str), value)))
    rare = 1.0 - sum(count for _, count in ranked) / seen
    return Column(facts.name, "categorical", str(facts.type), missing=missing, values=values, rare=max(0.0, rare))


def _scale(column: Column, numbers: RunningStatistics, scaling: str) -> Column:
    if column.kind not in ("numeric", "count", "date"):
        return column
    constant = column.low == column.high
    if scaling == "columns":
        tail = max(column.high - numbers.mean, numbers.mean - column.low) > _LONG_TAIL * numbers.deviation
        long = (tail or not np.isfinite(numbers.deviation)) and not constant and column.kind != "date"
        scaling = "log" if column.kind == "count" or long else "standard"
    if scaling == "unit":
        return _fitted(column, scaling, *_unit(column))
    if scaling == "standard" or (scaling in ("robust", "quantile") and constant):
        return _fitted(column, "standard", numbers.mean, numbers.deviation)
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
        return dataclasses.replace(_fitted(column, scaling, bent.mean(), 0.0 if constant else bent.std()), bend=bend)
    if scaling == "quantile":
        inner = np.quantile(numbers.sample, np.linspace(0.0, 1.0, _QUANTILES))[1:-1]
        points = np.unique([column.low, *inner, column.high])
        return dataclasses.replace(_fitted(column, scaling, 0.0, 1.0), points=tuple(points.tolist()))
    return _fitted(column, "none", 0.0, 1.0)


def _unit(column: Column) -> tuple[float, float]:
    inside = column.low >= 0 and column.high <= 1
    return (0.0, 1.0) if inside else (column.low, column.high - column.low)


def _fitted(column: Column, scaling: str, offset: float, scale: float) -> Column:
    if not (np.isfinite(offset) and np.isfinite(scale)):
        largest = f"one of {max(abs(column.low), abs(column.high)):g}"
        advice = f"a logarithm (--column {column.name}:log)"
        raise DataError(f"column {column.name!r}: " + explain("numbers not too large to be squared", largest, advice))
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
