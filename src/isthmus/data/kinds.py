"""The kinds of row, by name. A new one is a folder with a `RowKind`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.data.encoded import NONE
from isthmus.data.encoding import Encoding
from isthmus.data.fit_encoding import EncodingFitter
from isthmus.data.images.kind import ImageKind
from isthmus.data.in_memory import ArrayRows
from isthmus.data.kind import RowKind
from isthmus.data.ratings.kind import RatingKind
from isthmus.data.series.kind import SeriesKind
from isthmus.data.tables.columns import check_stated
from isthmus.data.tables.kind import TableKind
from isthmus.data.text.kind import TokenKind
from isthmus.data.vectors import VectorKind
from isthmus.errors import ArtifactError, DataError, explain, unknown_name
from isthmus.schema import Schema
from isthmus.typing import Array, Integers

ROW_KINDS: dict[str, RowKind] = {
    "vector": VectorKind(),
    "table": TableKind(),
    "image": ImageKind(),
    "series": SeriesKind(),
    "tokens": TokenKind(),
    "ratings": RatingKind(),
}


def encoding_fitter(source: Any, held: Integers = NONE) -> EncodingFitter:
    """Return what one pass over the training rows found: the schema, and how the encoding is fitted.

    Args:
        source: all rows.
        held: numbers of the rows that are no training rows, in order.

    Raises:
        DataError: for rows that cannot be used.
    """
    stated = source.stated
    if stated.kinds or stated.scales:
        names = source.schema.names if isinstance(ROW_KINDS[source.kind], TableKind) else ()
        if not names:
            raise DataError("--column: " + explain("a table with columns", f"{source.kind} rows", "leaving it out"))
        check_stated(names, stated.kinds, stated.scales)
    return ROW_KINDS[source.kind].fitter(source, held)


def encoding_of(schema: Schema, preprocessing: str, state: Mapping[str, Array]) -> Encoding:
    """Return the encoding of a saved model; raise `ArtifactError` if the state is not that of one."""
    if schema.kind not in ROW_KINDS:
        raise ArtifactError(unknown_name("kind of row", schema.kind, ROW_KINDS))
    return ROW_KINDS[schema.kind].restore(schema, preprocessing, state)


def check_compatible(source: Any, schema: Schema) -> None:
    """Raise `DataError` unless the rows of a source are rows of a schema: of its kind, shape, type and meaning."""
    if isinstance(source, ArrayRows):
        schema.check(source.values, source.names)
        return
    if source.kind != schema.kind:
        expected = f"{schema.kind} rows (the rows of the training data)"
        raise DataError(explain(expected, f"{source.kind} rows", "rows like them"))
    ROW_KINDS[source.kind].check(source, schema)
