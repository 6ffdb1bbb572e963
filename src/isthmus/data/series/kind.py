"""Series as a kind of row."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pyarrow as pa

from isthmus.data.fit_encoding import EncodingFitter, StreamedEncodingFitter
from isthmus.data.kind import RowKind, as_array, reshaped
from isthmus.data.series.resample import resample
from isthmus.data.series.series import from_files, from_long
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.source import Source
from isthmus.data.spec import RowsSpec
from isthmus.errors import DataError, explain
from isthmus.schema import Schema
from isthmus.typing import Array, Integers


class SeriesKind(RowKind):
    """Rows of steps and channels: windows of measurements in time, or arrays that are such rows already."""

    shaped: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("stride", "series", "time", "every", "how", "duplicates")
    name: ClassVar[str] = "series"

    def from_table(
        self, table: pa.Table, frame: Any, spec: RowsSpec | None, like: Schema | None, *, missing: bool
    ) -> Source:
        spec = spec or RowsSpec(self.name)
        if len(spec.sizes) > 1:
            return self.from_array(as_array(table, missing=True), spec, like)
        found = windows(from_long(table, **long_options(spec, like, "series", "time", "duplicates")), spec, like)
        found.like = None if frame is None else frame.to_native()
        return found

    def from_array(self, values: Array, spec: RowsSpec, like: Schema | None) -> Source:
        if len(spec.sizes) > 1:
            return reshaped(values, spec)
        found = windows(from_files(["array"], lambda _: values), spec, like)
        found.like = values
        return found

    def fitter(self, source: Any, held: Integers) -> EncodingFitter:
        # Scaled by channel, whatever the step, also where the windows lie in memory.
        return StreamedEncodingFitter(source, held)


def long_options(spec: RowsSpec | None, like: Schema | None, *names: str) -> dict[str, Any]:
    """Return the options of the readers of series: stated names, and the channels of a model."""
    stated = {} if spec is None else spec.options
    found: dict[str, Any] = {name: stated.get(name) for name in names if name != "duplicates" or name in stated}
    return found | {"channels": like.metadata.get("channels") if like is not None and like.metadata else None}


def windows(series: Any, spec: RowsSpec | None, like: Schema | None) -> SeriesWindows:
    """Return the windows of series, with the channels of a model."""
    spec = spec or RowsSpec("series")
    if len(spec.sizes) > 1:
        raise DataError(f"rows={spec}: " + explain("the length of a window", f"{spec.sizes}", "series:64"))
    if "every" in spec.options:
        every = spec.options["every"]
        step = float(every) if every.replace(".", "", 1).isdigit() else every
        series = [resample(one, step, spec.options.get("how", "mean")) for one in series]
    length = spec.sizes[0] if spec.sizes else None
    if length is None and like is not None:
        length = like.shape[0]
    source = SeriesWindows(series, length, spec.whole("stride"))
    # A model of whole series knows their length; later ones are windows of it.
    known = dataclasses.replace(spec, sizes=(source.length,))
    source.metadata = {"rows": str(known), "channels": list(source.channels)}
    wanted = like.metadata.get("channels") if like is not None and like.metadata else None
    if wanted is not None and list(wanted) != list(source.channels):
        got = f"{', '.join(source.channels[:10])}"
        raise DataError(explain(f"the channels {', '.join(wanted[:10])}, as in training", got, "the same columns"))
    return source
