"""Tables drawn by hypothesis, as text and as frames of every library; and models that read damaged files."""

from __future__ import annotations

import csv
import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from isthmus import Autoencoder, presets
from isthmus.data.open import open_source as read
from isthmus.errors import IsthmusError
from tools.fuzz_files import MAKERS, Case

# No half of a pair, and nothing that is in no text.
_LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TEXT = st.text(_LETTERS, max_size=8).map("w".__add__)
_NAME = st.text(_LETTERS, max_size=8).map(lambda text: "c" + text.replace(";", "").replace("\t", "").strip())
_VALUES: dict[str, Any] = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "text": _TEXT,
}
Table = dict[str, list[Any]]


@st.composite
def tables(draw: Any) -> Table:
    """Draw columns of one kind each, with holes but in texts, and one without."""
    rows = draw(st.integers(1, 6))
    names = draw(st.lists(_NAME, min_size=1, max_size=4, unique=True))
    found: Table = {}
    for name in names:
        kind = draw(st.sampled_from(sorted(_VALUES)))
        value = _VALUES[kind] if kind == "text" else st.one_of(_VALUES[kind], st.none())
        found[name] = draw(st.lists(value, min_size=rows, max_size=rows))
    found["row"] = list(range(rows))
    return found


def _as_text(table: Table, draw: Any, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if draw(st.booleans()):
        rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
        path = folder / "x.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=draw(st.booleans())) for row in rows), "utf-8")
        return path
    delimiter, suffix = draw(st.sampled_from([(",", "csv"), ("\t", "tsv")]))
    stream = io.StringIO()
    # Python's writer quotes a cell for the letters of its own newline only.
    quoting, newline = draw(
        st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_NONNUMERIC, "\r\n"), (csv.QUOTE_NONNUMERIC, "\n")])
    )
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=newline)
    writer.writerow(table)
    for values in zip(*table.values(), strict=True):
        writer.writerow([{True: "true", False: "false"}.get(v, v) if isinstance(v, bool) else v for v in values])
    path = folder / f"x.{suffix}"
    path.write_bytes(stream.getvalue().encode("utf-8-sig" if draw(st.booleans()) else "utf-8"))
    return path


def _run(test: Callable[[Any], None], number: int) -> str:
    quiet = settings(
        max_examples=20, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    seed(number)(quiet(given(st.data())(test)))()
    return "valid"


def generated_tables(folder: Path, number: int, content: Callable[[Any], Any]) -> str:
    """Check that tables written as text are read as they were."""

    def check(data: Any) -> None:
        table = data.draw(tables())
        path = _as_text(table, data.draw, folder)
        try:
            found = content(read(path))
        except IsthmusError as error:
            raise ValueError(f"refused: {error!s:.300}: {path.read_bytes()!r:.300}") from None
        _compare(found, table, path.read_bytes())

    return _run(check, number)


def generated_frames(folder: Path, number: int, content: Callable[[Any], Any]) -> str:
    """Check that frames of every library that is here are read as they are."""

    def check(data: Any) -> None:
        table = data.draw(tables())
        arrow = pa.table(table)
        library = data.draw(st.sampled_from(["arrow", "polars", "pandas"]))
        try:
            frame = {"arrow": lambda: arrow, "polars": lambda: _polars(arrow), "pandas": arrow.to_pandas}[library]()
        except ImportError:
            return
        _compare(content(read(frame)), table, library)

    return _run(check, number)


def _polars(table: pa.Table) -> Any:
    import polars

    return polars.from_arrow(table)


def _compare(found: Table, table: Table, where: Any) -> None:
    if list(found) != list(table) or any(not _alike(found[name], table[name]) for name in table):
        raise ValueError(f"wrong read: {found!r:.300} for {table!r:.300} in {where!r:.300}")


def _alike(found: list[Any], wanted: list[Any]) -> bool:
    # A column without a value has no kind; pandas has floats where whole numbers have holes, and NaN for a hole.
    found = [None if value != value else value for value in found]
    holes = any(value is None for value in wanted)
    return all(
        a == b or (holes and isinstance(a, float) and isinstance(b, int) and a == float(b))
        for a, b in zip(found, wanted, strict=True)
    )


# ---- models ----------------------------------------------------------------------------------------------------------


class Models:
    """Small models of each kind of row, each fitted when it is first asked for.

    Args:
        folder: where their training data are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fitted: dict[str, tuple[Case, Autoencoder]] = {}

    def case(self, rng: np.random.Generator) -> tuple[Case, Callable[[Path], str]]:
        """Return the valid file of a model, and what is done with a damaged one."""
        kind = str(rng.choice(["npy", "csv", "jsonl", "parquet", "arrow", "txt", "png", "series", "ratings", "sparse"]))
        if kind not in self._fitted:
            self._fitted[kind] = self._fit(kind)
        case, model = self._fitted[kind]
        return case, lambda path: self._transform(model, path)

    def _fit(self, kind: str) -> tuple[Case, Autoencoder]:
        number, error = 0, None
        while number < 100:
            number += 1
            case = MAKERS[kind](np.random.default_rng(number))
            path = self._folder / kind / next(iter(case.files))
            path.parent.mkdir(parents=True, exist_ok=True)
            for data in case.files.values():
                path.write_bytes(data)
            recipe = presets.autoencoder(latent_dim=2, hidden_dims=(4,), epochs=1)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return case, Autoencoder(recipe).fit(read(path, rows=case.rows))
            except ValueError as failed:  # too few rows, or holes
                error = failed
        raise RuntimeError(f"no model of {kind} can be fitted: {error}")

    @staticmethod
    def _transform(model: Autoencoder, path: Path) -> str:
        codes = np.asarray(model.transform(str(path)))
        if codes.ndim != 2 or codes.shape[1] != 2 or not np.isfinite(codes).all():
            raise ValueError(f"codes of shape {codes.shape}, or not finite")
        return "read"
