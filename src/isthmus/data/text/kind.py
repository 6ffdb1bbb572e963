"""Texts as a kind of row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa

from isthmus.data.encoding import Encoding
from isthmus.data.fit_encoding import EncodingFitter
from isthmus.data.kind import RowKind
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.data.tables.columns import is_number
from isthmus.data.text.tokens import OneHotTokens, TextLines
from isthmus.data.text.vocabulary import Vocabulary
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers


class TokenKind(RowKind):
    """Rows of tokens: characters, words or SMILES symbols of a line of text."""

    shaped: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("level", "most", "long")
    name: ClassVar[str] = "tokens"
    preprocessing: ClassVar[str | None] = "one_hot"

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        names = [name for name in table.column_names if not is_number(table[name].type)]
        if table.num_columns != 1 or not names:
            got = f"{table.num_columns} columns ({', '.join(table.column_names[:10])})"
            raise DataError(explain("one column of text", got, "leaving out the others (--drop)"))
        return texts(table[names[0]].to_pylist(), spec, like)

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        raise DataError(explain("texts for tokens", f"an array of {values.dtype}", "a .txt file, or a list of str"))

    def fitter(self, source: Any, held: Integers) -> EncodingFitter:
        return TokenEncodingFitter(source, held)

    def restore(self, schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
        return OneHotTokens(Vocabulary.from_dict((schema.metadata or {}).get("vocabulary")))


class TokenEncodingFitter(EncodingFitter):
    """Of text: the vocabulary says all."""

    def __init__(self, source: TextLines, held: Integers) -> None:
        self.vocabulary = source.vocabulary
        shape = (source.vocabulary.length,)
        self.schema = Schema(
            "tokens", shape, "int32", 0.0, 1.0, binary=True, whole=True, metadata=dict(source.metadata)
        )

    def encoding(self, preprocessing: str) -> tuple[Encoding, Schema]:
        return OneHotTokens(self.vocabulary), self.schema


def texts(lines: Any, spec: RowsSpec | None, like: Schema | None) -> Source:
    """Return lines of text, in the vocabulary of a model if there is one."""
    known = like.metadata.get("vocabulary") if like is not None and like.metadata else None
    vocabulary = None if known is None else Vocabulary.from_dict(known)
    options: dict[str, Any] = {"too_long": "cut"}
    if spec is not None:
        options |= spec.chosen(level="level", long="too_long")
        options |= {"length": spec.sizes[0]} if spec.sizes else {}
        options |= {"most": spec.whole("most")} if "most" in spec.options else {}
    source = TextLines(lines, vocabulary, **options)
    source.metadata = {
        "rows": str(spec or RowsSpec("tokens")),
        "symbols": source.vocabulary.symbols,
        "vocabulary": source.vocabulary.to_dict(),
    }
    if source.long:
        done = "left out" if options["too_long"] == "skip" else "cut"
        steps = source.vocabulary.length
        source.notes = (f"{source.long} line(s) longer than {steps} steps were {done} (rows=tokens:LENGTH)",)
    if source.empty:
        source.notes += (f"{source.empty} line(s) without text were left out",)
    return source
