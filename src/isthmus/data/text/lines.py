"""Lines of text read from a file, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from isthmus.errors import DataError, explain, unknown_name
from isthmus.typing import Integers

# The level that each kind of file is split at, unless another is asked for.
FILES = {".txt": "character", ".smi": "smiles", ".smiles": "smiles"}
# What a file from a stranger may ask of the memory; a packed one may hold far more than its size tells.
LONGEST_LINE = 100_000
_MOST_BYTES = 1 << 30
_MOST_LINES = 20_000_000
_PIECE = 1 << 20


class Lines(list[str]):
    """Lines of text, and where they stood.

    Attributes:
        file: name of their file, "" if they are from none.
        numbers: line number in the file of each line, from 1.
        empty: lines without a character other than white space, which were left out.
        level: the level that `Vocabulary.fit` splits them at unless stated.
    """

    def __init__(
        self, lines: Iterable[str], file: str = "", numbers: Integers | None = None, empty: int = 0, level: str = ""
    ) -> None:
        super().__init__(lines)
        self.file, self.empty, self.level = file, empty, level or "character"
        self.numbers = np.arange(1, len(self) + 1) if numbers is None else numbers


def place_of(lines: Sequence[str], index: int) -> str:
    """Return where a line stands, for a message: its number in its file if it is from one."""
    if isinstance(lines, Lines) and len(lines.numbers) == len(lines):
        return f"line {lines.numbers[index]}" + (f" of {lines.file!r}" if lines.file else "")
    return f"line {index + 1}"


def read_lines(source: str | Path | Iterable[str]) -> Lines:
    """Return the lines of a file, or of a list as they are.

    Files are .txt, .smi or .smiles, each also with .gz, in UTF-8 with or without a byte order mark, and with newlines
    of any system. Lines without any text are left out and counted in `Lines.empty`. Of a line of .smi or .smiles the
    first field is the SMILES; the name that may follow it is left out. The lines of a list are all kept, so that a row
    is where the user has it.

    Raises:
        DataError: for a file of another kind, that is missing, damaged, not UTF-8, without text or larger than 1 GiB
            unpacked; and for a line of more than 100,000 characters. What is wrong with a line has its number.

    Example:
        >>> read_lines(["To be", "or not"])
        ['To be', 'or not']
    """
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    lines = Lines(texts_of(source))
    _check_lengths(lines)
    return lines


def texts_of(lines: Iterable[str]) -> list[str]:
    """Return lines as a list of Python's own strings."""
    advice = "a list of str, one for each row"
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        raise DataError(explain("lines of text", repr(lines)[:60], advice))
    found = lines if isinstance(lines, list) else list(lines)
    for index, line in enumerate(found):
        if not isinstance(line, str):
            raise DataError(f"{place_of(found, index)}: " + explain("text", repr(line)[:60], advice))
    return found


def _check_lengths(lines: Sequence[str]) -> None:
    if max(map(len, lines), default=0) > LONGEST_LINE:
        index = next(i for i, line in enumerate(lines) if len(line) > LONGEST_LINE)
        raise DataError(f"{place_of(lines, index)}: {_too_long_line()}")


def _too_long_line() -> str:
    return explain(f"at most {LONGEST_LINE:,} characters", "more", "a newline after each row")


def _read_file(file: Path) -> Lines:
    kind = Path(file.name.lower().removesuffix(".gz")).suffix
    if kind not in FILES:
        raise DataError(f"{str(file)!r}: " + unknown_name("kind of text file", kind or "(no suffix)", FILES))
    if not file.exists():
        raise DataError(f"there is no file {str(file)!r}; try the full path, or `ls` to see what is there")
    if file.is_dir():
        raise DataError(explain("a file", f"the folder {str(file)!r}", "one of the files in it"))
    lines: list[str] = []
    numbers: list[Integers] = []
    passed = 0
    for text in _decoded(file):
        given = text.split("\n")
        if FILES[kind] == "smiles":
            given = [fields[0] if (fields := line.split(None, 1)) else "" for line in given]
        kept = [i for i, line in enumerate(given, passed + 1) if line and not line.isspace()]
        lines += given if len(kept) == len(given) else [given[i - passed - 1] for i in kept]
        numbers.append(np.array(kept, np.int64))
        passed += len(given)
        if passed > _MOST_LINES:
            raise DataError(f"{str(file)!r}: " + explain(f"at most {_MOST_LINES:,} lines", "more", "a part of them"))
    if not lines:
        what = "is empty" if passed == 0 else f"has {passed} lines and no text in them"
        raise DataError(f"the file {str(file)!r} {what}; try a file with one row on each line")
    found = Lines(lines, str(file), np.concatenate(numbers), passed - len(lines), FILES[kind])
    _check_lengths(found)
    return found


def _decoded(file: Path) -> Iterator[str]:
    """Yield the text of a file in pieces of whole lines, which newlines part and none ends."""
    rest, number = b"", 1
    for piece in _unix_newlines(_pieces(file)):
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield _text(whole, file, number)
            number += whole.count(b"\n") + 1
        # A character has at most four bytes; a packed file may be one line without end.
        if len(rest) > 4 * LONGEST_LINE:
            raise DataError(f"line {number} of {str(file)!r}: {_too_long_line()}")
    if rest:
        yield _text(rest, file, number)


def _text(content: bytes, file: Path, number: int) -> str:
    if number == 1:
        content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode("utf-8")
        wrong = text.find("\0")  # valid UTF-8, yet in no text: this is UTF-16, or no text at all
        start, what = len(text[: max(wrong, 0)].encode()), "a zero byte"
    except UnicodeDecodeError as error:
        wrong, start, what = error.start, error.start, f"the byte 0x{content[error.start]:02x}"
    if wrong < 0:
        return text
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff") or what == "a zero byte"
    advice = f"iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8, or saving the file as UTF-8"
    line = number + content.count(b"\n", 0, start)
    raise DataError(f"line {line} of {str(file)!r}: " + explain("text in UTF-8", what, advice))


def _unix_newlines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # the first half of what may be one newline of two bytes
    for piece in pieces:
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield b"\n" if held else b""


def _pieces(file: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked, and no more of them than memory is for."""
    read = 0
    packed = file.suffix.lower() == ".gz"
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                yield piece
                read += len(piece)
                if read > _MOST_BYTES:
                    limit = f"at most {_MOST_BYTES >> 20:,} MiB of text"
                    raise DataError(f"{str(file)!r}: " + explain(limit, "more", "a part of its lines"))
    except PermissionError:
        raise DataError(f"the file {str(file)!r} may not be read; try `ls -l` to see whose it is") from None
    except (OSError, EOFError, zlib.error) as error:
        advice = "`gzip -t` to see whether it is whole, and fetching it again" if packed else "reading another copy"
        raise DataError(f"the file {str(file)!r} cannot be read: {error}; try {advice}") from None
