"""Why rows are anomalous: columns, pixels or steps of each, with the values seen and expected, and a share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
import torch

from isthmus.applications.anomaly.attribution import ReferenceErrors, attribute
from isthmus.applications.anomaly.ensemble import Ensemble
from isthmus.applications.anomaly.messages import Part, Place, columns, region, sentence, stretch
from isthmus.applications.anomaly.thresholds import Threshold, p_values
from isthmus.data.batches import take
from isthmus.data.encoded import EncodedRows
from isthmus.data.images.axes import channel_axis
from isthmus.data.tables.columns import is_number
from isthmus.data.tables.dataframes import frame_name, like_frame
from isthmus.data.text.vocabulary import Vocabulary
from isthmus.errors import DataError, explain
from isthmus.estimator.results import joined, types_given
from isthmus.schema import Schema
from isthmus.typing import Booleans, Doubles, Integers


@dataclass(frozen=True)
class RowExplanation:
    """Why one row is anomalous.

    Attributes:
        row: its number.
        anomaly_score: higher is more anomalous.
        p_value: share of normal rows that are at least as anomalous.
        alarm: whether it is above the threshold.
        parts: its columns, pixels, or steps, the largest share first.
        sentence: all of this for people.
    """

    row: int
    anomaly_score: float
    p_value: float
    alarm: bool
    parts: tuple[Part, ...]
    sentence: str


@dataclass(frozen=True, eq=False)
class Explanation(Sequence[RowExplanation]):
    """Why each of some rows is anomalous: a sequence of a `RowExplanation` for each.

    Attributes:
        schema: what a row is.
        rows: their numbers, `(rows,)`.
        anomaly_scores: `(rows,)`.
        p_values: `(rows,)`.
        alarms: whether each is one, `(rows,)`.
        shares: of each part in the anomaly score, not negative, and 1 in all for each row: `(rows, columns)`; of an
            image `(rows, height, width)`, its heat map; of series `(rows, steps, channels)`; of text `(rows, steps)`.
        seen: the rows as they were given, a table or an array.
        expected: as the rest of each row lets expect, in the same units.
        channels: names of the channels of series.
        calibration: the number of calibration rows, with which `p_values` compare.
        like: the kind of frame that `to_frame` gives back.
    """

    schema: Schema
    rows: Integers
    anomaly_scores: Doubles
    p_values: Doubles
    alarms: Booleans
    shares: Doubles
    seen: Any
    expected: Any
    channels: tuple[str, ...]
    calibration: int
    like: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> RowExplanation: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[RowExplanation]: ...
    def __getitem__(self, place: int | slice) -> RowExplanation | Sequence[RowExplanation]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"explanation {place} of {len(self)}")
        return self._reason(place % len(self))

    def __iter__(self) -> Iterator[RowExplanation]:
        return (self._reason(place) for place in range(len(self)))

    @property
    def part(self) -> str:
        """What a row's parts are: "column", "pixel", "step" or "token"."""
        return {"image": "pixel", "series": "step", "tokens": "token"}.get(self.schema.kind, "column")

    def sentences(self) -> list[str]:
        """Return a sentence for each row."""
        return [reason.sentence for reason in self]

    def to_frame(self, most: int | None = None) -> Any:
        """Return a line for each part of each row.

        Its columns are row, column (or y and x, or step and channel), seen, expected and share. It is the kind of frame
        that was given to `explain`, an Arrow table for anything else. Where columns are of different types, `seen` and
        `expected` are texts.

        Args:
            most: parts of each row, those with the largest shares; None for all, in their own order.
        """
        places, lines = self._places(), []
        for number, row in enumerate(self.rows.tolist()):
            flat = self.shares[number].ravel()
            chosen = range(flat.size) if most is None else _largest(flat)[:most]
            for part in self._parts(number, chosen, places):
                named = _named(self.part, part.place, self.channels)
                lines.append({"row": row, **named, "seen": part.seen, "expected": part.expected, "share": part.share})
        kind = float if self._numeric else str
        for line in lines:
            for name in ("seen", "expected"):
                line[name] = None if line[name] is None else kind(line[name])
        table = pa.Table.from_pylist(lines)
        return table if self.like is None else like_frame(table, self.like)

    def _reason(self, number: int) -> RowExplanation:
        parts = self._parts(number, _largest(self.shares[number].ravel()), self._places())
        row, p, alarm = int(self.rows[number]), float(self.p_values[number]), bool(self.alarms[number])
        said = sentence(row, p, self.calibration, alarm=alarm)
        if alarm:
            said += f": {self._why(number, parts)}"
        return RowExplanation(row, float(self.anomaly_scores[number]), p, alarm, tuple(parts), f"{said}.")

    def _why(self, number: int, parts: Sequence[Part]) -> str:
        if self.part == "pixel":
            return region(self.shares[number])
        if self.part == "step":
            return stretch(self.shares[number], self.channels)
        return columns(parts)

    @property
    def _numeric(self) -> bool:
        """Whether all parts are numbers."""
        if isinstance(self.seen, pa.Table):
            types = (*self.seen.schema.types, *self.expected.schema.types)
            return all(is_number(kind) for kind in types)
        return self.part != "token"

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _places(self) -> list[Place]:
        """Return the name, or the place, of each part."""
        if self.part == "column":
            names = self.schema.names or _items(self.schema)
            return list(names) if names else [f"column {place}" for place in range(self.shares.shape[1])]
        return [tuple(int(i) for i in place) for place in np.ndindex(*self.shares.shape[1:])]

    def _parts(self, number: int, chosen: Sequence[int], places: Sequence[Place]) -> list[Part]:
        seen, expected = self._values(self.seen, number), self._values(self.expected, number)
        flat = self.shares[number].ravel()
        return [Part(places[place], seen(place), expected(place), float(flat[place])) for place in chosen]

    def _values(self, block: Any, number: int) -> Any:
        """Return what gives the value of a part of a row."""
        if isinstance(block, pa.Table):
            return lambda place: _known(block.column(place)[number].as_py())
        row = block[number]
        if self.part == "pixel":
            axis = channel_axis(self.schema.shape)
            row = row if axis is None else row.mean(axis)
        row = row.reshape(-1)
        if self.part == "token":
            vocabulary = Vocabulary.from_dict((self.schema.metadata or {}).get("vocabulary"))
            return lambda place: _token(vocabulary, int(row[place]))
        return lambda place: _known(row[place].item())


def explain_rows(
    encoded: EncodedRows,
    ensemble: Ensemble,
    usual: ReferenceErrors,
    calibration: Doubles,
    threshold: Threshold,
    rows: Sequence[int] | None = None,
) -> Explanation:
    """Return why rows are anomalous, in rising order of their numbers.

    Args:
        encoded: all rows.
        ensemble: fitted members and scores.
        usual: of the training rows.
        calibration: anomaly scores of the calibration rows.
        threshold: above which a row is an alarm.
        rows: numbers of the rows to explain; None for all.

    Raises:
        DataError: for numbers of rows that are not there.
    """
    numbers = _checked(rows, len(encoded))
    blocks, parts = [], []
    schema, first = encoded.schema, 0
    types = types_given(encoded)
    for block, batch in encoded.pairs():
        wanted = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, first + batch.rows)] - first
        first += batch.rows
        if not len(wanted):
            continue
        chosen = block.take(pa.array(wanted)) if isinstance(block, pa.Table) else block[wanted]
        batch = take(batch, torch.from_numpy(wanted))
        found = attribute(ensemble.members, batch, usual)
        blocks.append((chosen, ensemble.members[0].in_units(found.expected, types)))
        parts.append((ensemble.anomaly_scores(batch), _shaped(found.shares, schema)))
    anomaly_scores, shares = (np.concatenate(each) for each in zip(*parts, strict=True))
    seen, expected = (joined([_dense(block) for block in each]) for each in zip(*blocks, strict=True))
    source = encoded.source
    like = getattr(source, "like", None)
    return Explanation(
        schema=schema,
        rows=numbers,
        anomaly_scores=anomaly_scores,
        p_values=p_values(calibration, anomaly_scores),
        alarms=anomaly_scores > threshold.value,
        shares=shares,
        seen=seen,
        expected=expected,
        channels=tuple(getattr(source, "channels", ())) or _channels(schema),
        calibration=len(calibration),
        like=None if like is None or isinstance(like, np.ndarray) else frame_name(like),
    )


def _checked(rows: Sequence[int] | None, count: int) -> Integers:
    if rows is None:
        return np.arange(count)
    given = np.asarray(rows)
    if given.dtype == bool:
        if given.shape != (count,):
            raise DataError("rows: " + explain(f"a mask of {count} rows", f"shape {given.shape}", "rows=alarms"))
        given = np.flatnonzero(given)
    elif given.size and given.dtype.kind not in "iu":
        raise DataError("rows: " + explain("numbers of rows, or a mask", f"{given.dtype}", "rows=[0]"))
    numbers = np.unique(given.astype(np.int64))
    if not len(numbers) or numbers[0] < 0 or numbers[-1] >= count:
        got = "none" if not len(numbers) else str(numbers[0] if numbers[0] < 0 else numbers[-1])
        raise DataError("rows: " + explain(f"numbers of rows from 0 to {count - 1}", got, "rows=[0]"))
    return numbers


def _shaped(shares: Doubles, schema: Schema) -> Doubles:
    if schema.kind == "image":
        axis = channel_axis(schema.shape)
        shaped = shares.reshape(-1, *schema.shape)
        return shaped if axis is None else shaped.sum(axis + 1)
    return shares.reshape(len(shares), schema.shape[0], -1) if schema.kind == "series" else shares


def _dense(block: Any) -> Any:
    return block.toarray() if hasattr(block, "toarray") else block


def _largest(shares: Doubles) -> Any:
    return np.argsort(-shares, kind="stable").tolist()


def _channels(schema: Schema) -> tuple[str, ...]:
    return tuple(f"channel {place}" for place in range(schema.shape[-1])) if len(schema.shape) == 2 else ("value",)


def _items(schema: Schema) -> tuple[str, ...]:
    items = (schema.metadata or {}).get("items") or ()
    return tuple(map(str, items)) if len(items) == schema.width else ()


def _named(part: str, place: Place, channels: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(place, str):
        return {"column": place}
    if part == "pixel":
        return {"y": place[0], "x": place[1]}
    return {"step": place[0]} if part == "token" else {"step": place[0], "channel": channels[place[1]]}


def _known(value: Any) -> Any:
    """Return a value, None for NaN."""
    return None if isinstance(value, float) and value != value else value


def _token(vocabulary: Vocabulary, number: int) -> str | None:
    if number < 0:
        return None
    if number < 2:
        return ("end of the line", "unknown token")[number]
    return vocabulary.tokens[number - 2]
