"""Tables that are text: rows separated by commas or tabs, and one JSON object on each line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from isthmus.errors import DataError, explain

# Cells of a first line that are holes in a row of numbers.
_HOLES = ("", "na", "n/a", "null", "none", "nan", "?")
# Bytes that are parsed at a time: a row must fit.
_BLOCK = 1 << 24
# Arrow's JSON parser overflows its stack some thousand levels down, and no table is so deep.
_DEEPEST = 64
_FLAT = re.compile(rb"\s*(?:\{[^{}\[\]]*\}\s*)?")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(rb"[{}\[\]]")


def read_delimited(stream: Any, file: Any, delimiter: str) -> pa.Table:
    """Return the table in a stream of bytes that is delimited text with a line of names, or of numbers alone.

    Raises:
        DataError: for a row of too few or too many cells, an open quotation mark, and text that is not UTF-8, each
            with its line; for semicolons.
    """
    from pyarrow import csv as arrow

    first = stream.readline(_BLOCK)
    _check_first_line(first, file, delimiter)
    head = first.decode("utf-8-sig", errors="replace").strip("\r\n ").split(delimiter)
    numbers = [_is_number(cell) for cell in head]
    # A first line of numbers, with holes or without, is a row and not the columns' names; but 0,1,2,... is what
    # programs write for columns that nobody named.
    nameless = any(numbers) and all(
        number or cell.strip().strip('"').lower() in _HOLES for number, cell in zip(numbers, head, strict=True)
    )
    nameless = nameless and (len(head) < 2 or [cell.strip('"') for cell in head] != [*map(str, range(len(head)))])
    parsing = arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    reading = arrow.ReadOptions(autogenerate_column_names=nameless, block_size=_BLOCK)
    stream.seek(0)
    content = stream.read(_BLOCK)
    stream.seek(0)
    try:
        # Arrow's threads read from a stream of Python's, and abort a process that ends at that moment: one that has
        # refused a small file. It also closes what it reads from, and the bytes may be needed again to say which line
        # is wrong.
        given = pa.BufferReader(content) if len(content) < _BLOCK else _Kept(stream)
        table = arrow.read_csv(given, reading, parsing)
        names = table.column_names
    except UnicodeDecodeError:
        raise _not_utf8(stream, file) from None
    except pa.ArrowInvalid as error:
        refuse_wrong_text(stream, file)
        if unequal := re.search(r"Expected (\d+) columns, got (\d+)", str(error)):
            raise _unequal(stream, file, delimiter, int(unequal[1]), int(unequal[2])) from None
        _check_quotes(stream, file, delimiter)
        if "Empty CSV" in str(error):
            raise DataError(f"the table has no rows (0 sample(s) in {str(file)!r}); try another file") from None
        if "straddling" in str(error):
            got = f"a longer one in {str(file)!r}"
            raise DataError(
                explain(f"rows of at most {_BLOCK >> 20} MiB", got, "closing each quotation mark")
            ) from None
        raise
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise _not_utf8(stream, file)
    if len(names) == 1 and ";" in names[0] and delimiter != ";":
        raise _semicolons(file)
    _check_quotes(stream, file, delimiter)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):  # an empty cell holds nothing, in a column of texts as in one of numbers
            column = table.column(place)
            table = table.set_column(place, field, pc.if_else(pc.equal(column, ""), None, column))
    return table


class _Kept(io.RawIOBase):
    """A stream that stays open when its reader is done."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self._stream.seek(place, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._stream.read(-1 if size is None else size))


def _check_first_line(first: bytes, file: Any, delimiter: str) -> None:
    if b"\0" in first or first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"line 1 of {str(file)!r}: "
            + explain("text in UTF-8", "zero bytes, as in UTF-16", "iconv -f UTF-16 -t UTF-8, or saving it as UTF-8")
        )
    if delimiter == "," and b";" in first and b"," not in first and first.count(b'"') % 2 == 0:
        raise _semicolons(file)


def _semicolons(file: Any) -> DataError:
    return DataError(explain("columns separated by commas", f"semicolons in {str(file)!r}", "saving it with commas"))


def refuse_wrong_text(stream: Any, file: Any) -> None:
    """Raise `DataError` with the line of the first bytes that are not UTF-8, if there are some."""
    stream.seek(0)
    for number, line in enumerate(stream, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            got, advice = f"the byte 0x{line[error.start]:02x}", "iconv -f LATIN1 -t UTF-8, or saving the file as UTF-8"
            raise DataError(f"line {number} of {str(file)!r}: " + explain("text in UTF-8", got, advice)) from None


def _not_utf8(stream: Any, file: Any) -> DataError:
    try:
        refuse_wrong_text(stream, file)
    except DataError as error:
        return error
    return DataError(f"the file {str(file)!r}: " + explain("text in UTF-8", "other bytes", "saving it as UTF-8"))


def _unequal(stream: Any, file: Any, delimiter: str, expected: int, got: int) -> DataError:
    """Return the error for the first row that has another number of cells than the first line, by its line."""
    where, last = f"a row of {str(file)!r}", False
    found = csv.reader(_text(stream), delimiter=delimiter)
    try:
        start = 1
        for cells in found:
            if cells and len(cells) != expected:
                got, where = len(cells), f"line {start} of {str(file)!r}"
                last = next(found, None) is None
                break
            start = found.line_num + 1
    except csv.Error:  # this reader parts the cells otherwise than Arrow, whose numbers stand
        pass
    cut = "; the file may end too early" if last and got < expected else ""
    advice = "correcting that line, or quoting cells that hold a delimiter"
    return DataError(f"{where}: " + explain(f"{expected} cell(s), as in the first line", f"{got}", advice) + cut)


def _text(stream: Any) -> Any:
    """Return a stream of bytes from its start as one of text, with the newlines that it has."""
    stream.seek(0)
    kept: Any = _Kept(stream)
    return io.TextIOWrapper(kept, encoding="utf-8-sig", errors="replace", newline="")


def _check_quotes(stream: Any, file: Any, delimiter: str) -> None:
    """Refuse a file that ends inside a quoted cell: Arrow takes all that follows the mark for the cell."""
    stream.seek(0)
    marks = sum(piece.count(b'"') for piece in iter(lambda: stream.read(1 << 20), b""))
    if marks % 2 == 0:
        return
    end = "\x01the end"

    def lines() -> Iterator[str]:
        for line in _text(stream):
            yield line if line.endswith(("\n", "\r")) else line + "\n"
        yield end

    reader = csv.reader(lines(), delimiter=delimiter)
    start, after, last = 1, 1, [""]
    try:
        while (cells := next(reader, None)) is not None:
            start, after, last = after, reader.line_num + 1, cells
    except csv.Error:  # a cell without end
        start, last = after, []
    if last != [end]:
        got = "the end of the file inside one"
        advice = "closing the quotation mark, or a whole copy of the file"
        raise DataError(f"line {start} of {str(file)!r}: " + explain("cells whose quotes are closed", got, advice))


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True


# ---- JSON lines ------------------------------------------------------------------------------------------------------


def read_json_lines(stream: Any, file: Any) -> pa.Table:
    """Return the table in a stream of bytes that has one JSON object on each line.

    A name that a line does not have is a missing value there. Nested values are kept; tables refuse them by column.

    Raises:
        DataError: for a line that is no object, or one whose values are of another kind, with its number.
    """
    from pyarrow import json as arrow

    _check_lines(stream, file)
    stream.seek(0)
    try:
        table = arrow.read_json(_Kept(stream), arrow.ReadOptions(block_size=_BLOCK))
        table.validate(full=True)
        names = table.column_names
    except UnicodeDecodeError:
        raise _not_utf8(stream, file) from None
    except pa.ArrowInvalid:
        refuse_wrong_text(stream, file)
        _refuse_wrong_object(stream, file)
        raise
    if not names:
        raise DataError(f"{str(file)!r}: " + explain("objects with names and values", "empty ones", "another file"))
    return table


def _check_lines(stream: Any, file: Any) -> None:
    """Refuse lines that are not whole, or nested too deeply, before a parser without bounds sees them."""
    stream.seek(0)
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if _FLAT.fullmatch(line):
            continue
        where = f"line {number} of {str(file)!r}: "
        if not line.lstrip().startswith(b"{"):
            got = ascii(line.strip()[:40].decode("utf-8", "replace"))
            raise DataError(where + explain("a JSON object on each line", got, "jq -c '.[]' where it is one array"))
        depth = 0
        for found in _BRACKETS.finditer(_STRING.sub(b"", line)):
            depth += 1 if found[0] in b"{[" else -1
            if depth > _DEEPEST:
                got = "values nested more deeply"
                raise DataError(where + explain(f"at most {_DEEPEST} brackets in each other", got, "flat objects"))
            if depth < 0:
                break
        if depth:
            got = "a part of one" if depth > 0 else "brackets that do not fit"
            advice = "one object on each line (jq -c .), or a whole copy of the file"
            raise DataError(where + explain("a whole JSON object on each line", got, advice))


def _refuse_wrong_object(stream: Any, file: Any) -> None:
    """Raise `DataError` for the first line that is no object, or whose values are of another kind than those before."""
    stream.seek(0)
    kinds: dict[str, str] = {}
    for number, line in enumerate(stream, 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
        where = f"line {number} of {str(file)!r}: "
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs) if text else _Pairs()
        except (ValueError, RecursionError) as error:
            raise DataError(where + explain("a JSON object on each line", str(error), "correcting that line")) from None
        if not isinstance(pairs, _Pairs):
            raise DataError(where + explain("a JSON object on each line", ascii(text[:40]), "correcting that line"))
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(where + explain("a value for each name", f"two for {twice!r}", "correcting that line"))
        for name, value in pairs:
            kind = _kind_of(value)
            if kind and kinds.setdefault(name, kind) != kind:
                got = f"{kind} ({value!r:.40})"
                advice = "values of one kind in each column"
                raise DataError(where + f"column {name!r}: " + explain(f"{kinds[name]}, as before", got, advice))


class _Pairs(list[tuple[str, Any]]):
    """The names and values of an object."""


def _kind_of(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "an object" if isinstance(value, _Pairs) else "a list"
