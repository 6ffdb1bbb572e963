"""Lines of text and SMILES as rows of tokens, and as one-hot steps for the network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from isthmus.data.encoding import Encoding
from isthmus.data.source import Source
from isthmus.data.text.lines import Lines, read_lines
from isthmus.data.text.vocabulary import END, PADDING, Vocabulary, padded
from isthmus.errors import DataError, explain
from isthmus.typing import Array, Integers

__all__ = ["Lines", "OneHotTokens", "TextLines", "Vocabulary", "read_lines"]


class TextLines(Source):
    """Lines of text as rows of token ids `(rows, length)`, int32, with -1 after the end of a line.

    In memory are the tokens' ids, in one, two or four bytes each, without padding.

    Args:
        lines: a file, or a list of str, as for `read_lines`.
        vocabulary: of a model; without one, it is fitted on the lines.
        level: of the tokens, for `Vocabulary.fit`.
        most: of the tokens, for `Vocabulary.fit`.
        length: steps of a row, for `Vocabulary.fit`.
        too_long: as for `Vocabulary.encode`.

    Attributes:
        vocabulary: what the ids mean.
        long: number of lines that were cut or skipped.
        empty: number of lines without text, which were left out.
        numbers: number of each row among the lines, from 0: all of them, unless some are skipped.

    Example:
        >>> source = TextLines(["ab", "c"])
        >>> source.take(np.array([1, 0])).tolist()
        [[4, 0, -1], [2, 3, 0]]
    """

    kind: ClassVar[str] = "tokens"
    in_memory = True
    mixed = True

    def __init__(
        self,
        lines: str | Path | Iterable[str],
        vocabulary: Vocabulary | None = None,
        *,
        level: str = "auto",
        most: int | str = "auto",
        length: int | str = "auto",
        too_long: str = "refuse",
    ) -> None:
        texts = lines if isinstance(lines, Lines) else read_lines(lines)
        self.vocabulary = vocabulary or Vocabulary.fit(texts, level, most, length)
        sizes, self._ids, long = self.vocabulary.fitted(texts, too_long)
        self.long, self.empty = int(long.sum()), texts.empty
        self.numbers = np.flatnonzero(~long) if too_long == "skip" else np.arange(len(texts))
        if not len(self.numbers):
            got = "none that is short enough" if self.long else "none"
            raise DataError(explain("lines of text", got, "a file or list with one row on each line"))
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def take(self, rows: Integers) -> Array:
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            got = f"from {rows.min()} to {rows.max()}"
            raise DataError(explain(f"row numbers from 0 to {len(self) - 1}", got, "len(source)"))
        starts, sizes = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return padded(sizes, self._ids[place + np.repeat(starts, sizes)], self.vocabulary.length)

    @property
    def width(self) -> int:
        return self.vocabulary.length * self.vocabulary.symbols

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.vocabulary).encode())
        digest.update(self._starts.astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self._ids.astype(self._ids.dtype.newbyteorder("<"))).tobytes())
        return digest.hexdigest()


class OneHotTokens(Encoding):
    """The map between token ids `(rows, length)` and one-hot steps `(rows, length, symbols)`, for `OneHot`.

    Padded steps are NaN: nothing was observed there. It has no state but the vocabulary, which the schema keeps.

    Args:
        vocabulary: what the ids mean; its `symbols` are the width of a step.

    Example:
        >>> encoding = OneHotTokens(Vocabulary("character", ("a",), 3))
        >>> encoding.forward(np.array([[2, 0, -1]])).tolist()
        [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [nan, nan, nan]]]
        >>> encoding.inverse(encoding.forward(np.array([[2, 0, -1]]))).tolist()
        [[2, 0, -1]]
    """

    kind: ClassVar[str] = "one_hot"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a row as the network sees it: steps and symbols."""
        return self.vocabulary.length, self.vocabulary.symbols

    def forward(self, block: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return `(rows, length, symbols)` in float32: 1 at each step's id, NaN at steps of -1.

        Raises:
            DataError: for anything but ids of the vocabulary.
        """
        ids = self.vocabulary.check(block)
        if ids.shape[1] != self.vocabulary.length:
            expected = f"rows of {self.vocabulary.length} steps"
            raise DataError(explain(expected, str(ids.shape[1]), "encoding them with the model's vocabulary"))
        steps = np.zeros((*ids.shape, self.vocabulary.symbols), np.float32)
        np.put_along_axis(steps, np.maximum(ids, 0).astype(np.int64)[..., None], 1.0, axis=2)
        steps[ids == PADDING] = np.nan
        return steps

    def inverse(self, rows: Array, dtype: Any = None) -> Array:
        """Return the most probable id of each step `(rows, length)`; -1 after the first end, and where a step is NaN.

        Raises:
            DataError: for rows of another shape.
        """
        if rows.ndim != 3 or rows.shape[2] != self.vocabulary.symbols:
            got = f"shape {rows.shape}"
            raise DataError(explain(f"(rows, steps, {self.vocabulary.symbols})", got, "the model's vocabulary"))
        ids = rows.argmax(2)
        ids[np.isnan(rows).any(2)] = PADDING
        ended = np.cumsum(ids == END, 1) - (ids == END)
        return np.where(ended > 0, PADDING, ids).astype("int32")

    def state(self) -> dict[str, Array]:
        """Return the fitted arrays by name: none."""
        return {}
