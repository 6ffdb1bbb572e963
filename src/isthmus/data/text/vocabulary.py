"""What lines of text are split into, and the number of each token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np

from isthmus.data.text.lines import LONGEST_LINE, place_of, texts_of
from isthmus.errors import ArtifactError, DataError, explain, unknown_name
from isthmus.typing import Array

LEVELS = ("character", "word", "smiles")
TOO_LONG = ("refuse", "cut", "skip")
END, UNKNOWN, PADDING = 0, 1, -1
_SPECIAL = 2  # ids before those of the tokens

# Lines that are split at a time.
_CHUNK = 1 << 14
# More symbols or steps than these are chosen by asking for them: a row of the network has symbols x steps values.
_MOST_TOKENS = 4096
_MOST_STEPS = 256
_HELD = 0.999

# Atoms in brackets, elements of two letters and ring closures of two digits stay whole. Schwaller et al., "Found in
# Translation": predicting outcomes of complex organic chemistry reactions using neural sequence-to-sequence models,
# Chemical Science 2018, https://arxiv.org/abs/1711.04810, with `@@` whole, and only printable ASCII in brackets.
_SMILES = re.compile(r"\[[!-Z\\^-~]+\]|Br?|Cl?|[NOSPFIbcnosp]|[().=#\-+\\/:~?>*$]|@@?|%[0-9]{2}|[0-9]")
# Words and marks with the space before them, so that they join to the line again. Every character is in one of them.
_WORDS = re.compile(r" ?\w+(?:['’]\w+)*| ?[^\w\s]|\s")
_PATTERNS = {"word": _WORDS, "smiles": _SMILES}


class _Ids(dict[str, int]):
    """The id of each token, and of any other."""

    def __missing__(self, token: str) -> int:
        return UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """What lines are split into, and the number of each token; fitted on the training lines.

    A line of n tokens is a row of `length` ids: those of its tokens, the id 0 (the end), and -1 after that, where
    nothing is observed. The id 1 is any token that the vocabulary does not have; `tokens[i]` has the id ``i + 2``.

    Args:
        level: "character" (Unicode code points); "word" (words and punctuation marks, each with the space before it, so
            that they join to the line again); or "smiles" (atoms, bonds, branches and ring closures; an atom in
            brackets, Cl, Br, @@ and %10 are one token each).
        tokens: the tokens, the most frequent first.
        length: steps of a row, the end among them.

    Example:
        >>> vocabulary = Vocabulary.fit(["CCO", "CCl"], level="smiles")
        >>> vocabulary.tokens, vocabulary.length
        (('C', 'Cl', 'O'), 4)
        >>> vocabulary.encode(["CCO", "CCl", "CBr"]).tolist()
        [[2, 2, 4, 0], [2, 3, 0, -1], [2, 1, 0, -1]]
        >>> vocabulary.decode(vocabulary.encode(["CCO", "CCl", "CBr"]))
        ['CCO', 'CCl', 'C�']

    Paper: Schwaller et al., DetectionResult in Translation, Chemical Science 2018, https://arxiv.org/abs/1711.04810
    (for SMILES).
    """

    level: str
    tokens: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        _check_choice("level", self.level, LEVELS)
        _check_whole("length", self.length, 1, LONGEST_LINE + 1)
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if not all(isinstance(t, str) and t for t in self.tokens) or len(set(self.tokens)) < len(self.tokens):
            raise DataError(explain("tokens that differ from each other", "others", "Vocabulary.fit(lines)"))
        if self.level == "character" and not all(len(t) == 1 for t in self.tokens):
            raise DataError(explain("tokens of one character", "longer ones", 'level="word", or Vocabulary.fit(lines)'))

    @classmethod
    def fit(
        cls, lines: Iterable[str], level: str = "auto", most: int | str = "auto", length: int | str = "auto"
    ) -> Vocabulary:
        """Return the vocabulary of some lines; their order does not matter.

        Args:
            lines: the training lines.
            level: as above; "auto" is "smiles" for lines of a .smi or .smiles file, else "character".
            most: tokens that are kept, the most frequent, and of equally frequent ones the first in the order of code
                points; "auto" is 4,096.
            length: steps of a row; "auto" is what 99.9 % of the lines need, 256 at most; "longest" is what all need.

        Raises:
            DataError: for no lines; for settings out of range; for a line that is no SMILES, with its number.
        """
        lines = texts_of(lines)
        if level == "auto":
            level = getattr(lines, "level", "character")
        _check_choice("level", level, LEVELS)
        most = _MOST_TOKENS if most == "auto" else _check_whole("most", most, 1, None)
        if not lines:
            raise DataError(explain("lines of text", "none", "a file or list with one row on each line"))
        counts: Counter[str] = Counter()
        sizes = []
        for start in range(0, len(lines), _CHUNK):
            parts, tokens = _split(lines, start, level)
            counts.update(tokens)
            sizes.append(parts)
        steps = np.concatenate(sizes) + 1
        if length == "longest":
            length = int(steps.max())
        elif length == "auto":
            length = min(_MOST_STEPS, int(np.quantile(steps, _HELD, method="inverted_cdf")))
        kept = sorted(counts, key=lambda token: (-counts[token], token))[:most]
        return cls(level, tuple(kept), _check_whole("length", length, 1, LONGEST_LINE + 1))

    @property
    def symbols(self) -> int:
        """Number of ids: the tokens, the end and the unknown."""
        return len(self.tokens) + _SPECIAL

    @cached_property
    def _ids(self) -> _Ids:
        return _Ids({token: number for number, token in enumerate(self.tokens, _SPECIAL)})

    @cached_property
    def _by_code(self) -> Array:
        """The id of each code point up to one beyond the largest that the vocabulary has."""
        codes = np.array([ord(token) for token in self.tokens], np.int64)
        table = np.full(codes.max(initial=0) + 2, UNKNOWN, np.int32)
        table[codes] = np.arange(_SPECIAL, self.symbols)
        return table

    def _numbered(self, lines: list[str]) -> Iterator[tuple[Array, Array]]:
        """Yield tokens of each line, and the ids of all of them one line after the other, for some lines at a time."""
        for start in range(0, len(lines), _CHUNK):
            if self.level == "character":
                sizes, text = _joined(lines, start)
                codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
                yield sizes, self._by_code[np.minimum(codes, len(self._by_code) - 1)]
            else:
                sizes, tokens = _split(lines, start, self.level)
                yield sizes, np.fromiter(map(self._ids.__getitem__, tokens), np.int32, int(sizes.sum()))

    def fitted(self, lines: list[str], too_long: str) -> tuple[Array, Array, Array]:
        """Return tokens of each kept line, their ids one line after the other, and whether each line is too long."""
        _check_choice("too_long", too_long, TOO_LONG)
        smallest = np.min_scalar_type(self.symbols)
        all_sizes, all_ids, long = [np.empty(0, np.int64)], [np.empty(0, smallest)], [np.empty(0, bool)]
        for sizes, ids in self._numbered(lines):
            most = np.minimum(sizes, self.length - 1)
            long.append(sizes > most)
            if long[-1].any():
                if too_long == "refuse":
                    self._refuse_long(lines)
                most = np.where(long[-1] & (too_long == "skip"), 0, most)
                place = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
                ids = ids[place < np.repeat(most, sizes)]
            all_sizes.append(most)
            all_ids.append(ids.astype(smallest))
        sizes, flags = np.concatenate(all_sizes), np.concatenate(long)
        return (sizes[~flags] if too_long == "skip" else sizes), np.concatenate(all_ids), flags

    def _refuse_long(self, lines: list[str]) -> None:
        steps = self.steps(lines)
        number, first = int((steps > self.length).sum()), int((steps > self.length).argmax())
        expected = f"lines of at most {self.length - 1} tokens"
        got = f"{number:,} longer of {len(lines):,}, the longest of {steps.max() - 1}"
        advice = f'too_long="cut" or "skip", or fitting with length={steps.max()}'
        raise DataError(f"{place_of(lines, first)}: " + explain(expected, got, advice))

    def steps(self, lines: Iterable[str]) -> Array:
        """Return the steps `(rows,)` that each line needs, its end among them."""
        texts = texts_of(lines)
        return np.concatenate([np.empty(0, np.int64), *(sizes for sizes, _ in self._numbered(texts))]) + 1

    def encode(self, lines: Iterable[str], too_long: str = "refuse") -> Array:
        """Return the ids `(rows, length)` of lines, int32, with the end after each line and -1 after that.

        Args:
            lines: the lines; an empty one is a row that ends at once.
            too_long: what is done with lines that need more steps than the vocabulary has: "refuse"; "cut" to the
                tokens for which there is place before the end; or "skip", which leaves out those rows. How many they
                are is ``(vocabulary.steps(lines) > vocabulary.length).sum()``.

        Raises:
            DataError: for a line that is too long; for a line that is no SMILES; each with its number.
        """
        sizes, ids, _ = self.fitted(texts_of(lines), too_long)
        return padded(sizes, ids, self.length)

    def decode(self, ids: Array) -> list[str]:
        """Return the lines of ids `(rows, steps)`, each up to the first end or -1; an unknown token is `�`.

        Raises:
            DataError: for anything but ids of this vocabulary.
        """
        ids = self.check(ids)
        stop = (ids == END) | (ids == PADDING)
        ends = np.where(stop.any(1), stop.argmax(1), ids.shape[1]) if ids.shape[1] else np.zeros(len(ids), int)
        flat = ids[np.arange(ids.shape[1]) < ends[:, None]]
        names = ["", "�", *self.tokens]
        text = "".join(map(names.__getitem__, flat.tolist()))
        # Where each line ends in the text: characters of all tokens up to its last.
        characters = np.concatenate([[0], np.cumsum(np.array([len(name) for name in names])[flat])])
        stops = [0, *characters[np.cumsum(ends)].tolist()]
        return [text[start:end] for start, end in pairwise(stops)]

    def check(self, ids: Array) -> Array:
        """Return ids `(rows, steps)`; raise `DataError` for anything but ids of this vocabulary and -1."""
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            got = f"{ids.dtype} of shape {ids.shape}"
            raise DataError(explain("whole numbers (rows, steps)", got, "vocabulary.encode(lines)"))
        if ids.size and (ids.min() < PADDING or ids.max() >= self.symbols):
            row, step = np.argwhere((ids < PADDING) | (ids >= self.symbols))[0]
            expected = f"ids from -1 to {self.symbols - 1}"
            raise DataError(f"row {row}: " + explain(expected, f"{ids[row, step]} at step {step}", "encoding it again"))
        return ids

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"level": self.level, "length": self.length, "tokens": list(self.tokens)}

    @classmethod
    def from_dict(cls, data: Any) -> Vocabulary:
        """Rebuild from `to_dict`; raise `ArtifactError` for anything else."""
        try:
            if not isinstance(data["tokens"], list):
                raise TypeError("the tokens are no list")
            return cls(data["level"], tuple(data["tokens"]), data["length"])
        except (KeyError, TypeError, DataError) as error:
            raise ArtifactError(f"this is no vocabulary ({error}); try saving the model again") from None


def _check_choice(where: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise DataError(f"{where}: " + unknown_name("choice", value, choices))


def _check_whole(where: str, value: object, least: int, most: int | None) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        upto = "" if most is None else f" and at most {most:,}"
        raise DataError(f"{where}: " + explain(f"a whole number of at least {least}{upto}", repr(value), "auto"))
    return int(value)  # type: ignore[call-overload, no-any-return]


def _joined(lines: list[str], start: int) -> tuple[Array, str]:
    """Return characters of each line, and the text of some lines from `start` on."""
    chunk = lines[start : start + _CHUNK]
    text = "".join(chunk)
    try:
        text.encode()
    except UnicodeEncodeError:
        index = next(i for i, line in enumerate(chunk, start) if re.search("[\ud800-\udfff]", line))
        got = "half of a surrogate pair"
        raise DataError(f"{place_of(lines, index)}: " + explain("text", got, "reading the file as UTF-8")) from None
    return np.fromiter(map(len, chunk), np.int64, len(chunk)), text


def _split(lines: list[str], start: int, level: str) -> tuple[Array, Iterable[str]]:
    """Return tokens of each line, and the tokens of some lines from `start` on, one line after the other."""
    characters, text = _joined(lines, start)
    if level == "character":
        return characters, text
    pattern = _PATTERNS[level]
    parts = [pattern.findall(line) for line in lines[start : start + _CHUNK]]
    if level == "smiles" and len("".join(chain.from_iterable(parts))) != len(text):
        index = next(start + i for i, tokens in enumerate(parts) if "".join(tokens) != lines[start + i])
        got = f"{pattern.sub('', lines[index])[:20]!r} in {lines[index][:60]!r}"
        advice = "leaving out that line (a heading?), or level=character"
        raise DataError(f"{place_of(lines, index)}: " + explain("SMILES", got, advice))
    return np.fromiter(map(len, parts), np.int64, len(parts)), chain.from_iterable(parts)


def padded(sizes: Array, ids: Array, length: int) -> Array:
    """Return ids `(rows, length)`, int32, of lines whose ids stand one line after the other."""
    rows = np.full((len(sizes), length), PADDING, np.int32)
    rows[np.arange(length) < sizes[:, None]] = ids
    rows[np.arange(len(sizes)), sizes] = END
    return rows
