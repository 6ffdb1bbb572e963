"""Whatever the user has becomes rows of the right kind, and later rows are read as the model's were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from PIL import Image

import isthmus
from isthmus import Autoencoder, presets
from isthmus.data.open import open_source
from isthmus.errors import DataError, RecipeError
from tests.helpers import small

RECIPE = small(presets.autoencoder(latent_dim=2)).replace({"training.batch_size": "auto"})
X = np.random.default_rng(0).random((40, 6))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("a place")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", X)
    pd.DataFrame(X, columns=list("abcdef")).to_csv(folder / "x.csv", index=False)
    for name in range(6):
        path = folder / "pictures" / ("cat" if name % 2 else "dog") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 9, 3), dtype="uint8")).save(path)
    (folder / "lines.txt").write_text("one\ntwo\nthree\n" * 10)
    (folder / "mols.smi").write_text("CCO\nCCN\nc1ccccc1\n" * 10)
    scipy.sparse.save_npz(folder / "ratings.npz", scipy.sparse.random_array((30, 12), density=0.3, rng=rng).tocsr())
    for name in "ab":
        pd.DataFrame({"t": np.arange(30), "y": rng.random(30)}).to_csv(folder / f"{name}.series.csv", index=False)
    return folder


GIVEN: dict[str, tuple[Any, str, tuple[int, ...]]] = {
    "array": (X, "vector", (40, 6)),
    "list": (X.tolist(), "vector", (40, 6)),
    "images": (X.reshape(40, 2, 3), "image", (40, 2, 3)),
    "tensor": (torch.from_numpy(X), "vector", (40, 6)),
    "pandas": (pd.DataFrame(X, columns=list("abcdef")), "table", (40, 6)),
    "numbered pandas": (pd.DataFrame(X), "vector", (40, 6)),
    "polars": (pl.DataFrame(X), "table", (40, 6)),
    "arrow": (pa.table({"a": [1, 2]}), "table", (2, 1)),
    "sparse": (scipy.sparse.csr_matrix(X), "ratings", (40, 6)),
    "texts": (["one", "two"], "tokens", (2, 4)),
}
FILES: dict[str, tuple[str, str | None, str, tuple[int, ...]]] = {
    "npy": ("x.npy", None, "vector", (40, 6)),
    "csv": ("x.csv", None, "table", (40, 6)),
    "csv as numbers": ("x.csv", "vector", "vector", (40, 6)),
    "array as series": ("x.npy", "series:3x2", "series", (40, 3, 2)),
    "array as windows": ("x.npy", "series:10,stride=5", "series", (7, 10, 6)),
    "array as images": ("x.npy", "image:2x3", "image", (40, 2, 3)),
    "folder": ("pictures", None, "image", (6, 3, 8, 9)),
    "folder, resized": ("pictures", "image:4x4,fit=crop", "image", (6, 4, 4)),
    "pattern": ("pictures/*/*.png", None, "image", (6, 3, 8, 9)),
    "one image": ("pictures/cat/1.png", None, "image", (1, 3, 8, 9)),
    "text": ("lines.txt", None, "tokens", (30, 6)),
    "words": ("lines.txt", "tokens:4,level=word", "tokens", (30, 4)),
    "smiles": ("mols.smi", None, "tokens", (30, 9)),
    "sparse": ("ratings.npz", None, "ratings", (30, 12)),
    "files of series": ("*.series.csv", "series:10,time=t", "series", (22, 10, 1)),
}


def shape_of(source: Any) -> tuple[int, ...]:
    block = source.take(np.arange(len(source)))
    assert len(source) == block.shape[0]
    return tuple(block.shape)


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_has_its_kind(name: str) -> None:
    given, kind, shape = GIVEN[name]
    source = open_source(given)
    assert source.kind == kind and shape_of(source) == shape
    assert open_source(source) is source


@pytest.mark.parametrize("name", FILES)
def test_files_have_their_kind_and_a_model_reads_them_again(name: str, place: Path) -> None:
    path, rows, kind, shape = FILES[name]
    source = isthmus.read(place / path, rows=rows)
    assert source.kind == kind and shape_of(source) == shape
    model = Autoencoder(RECIPE, random_state=0).fit(source)
    assert model.schema_.kind == kind
    codes = model.transform(source)
    assert len(codes) == len(source)
    # The path alone: what was said of the rows is in the model.
    np.testing.assert_array_equal(model.transform(place / path), codes)
    model.save(place / "model", overwrite=True)
    again = isthmus.load(place / "model")
    assert again.schema_ == model.schema_
    np.testing.assert_array_equal(again.transform(place / path), codes)


def test_columns_that_were_dropped_stay_dropped() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(name=[f"row {place}" for place in range(40)])
    model = Autoencoder(RECIPE).fit(isthmus.read(frame, drop=["name", "f"]))
    codes = model.transform(frame)
    np.testing.assert_array_equal(model.transform(frame.drop(columns="name")), codes)
    assert list(model.reconstruct(frame).columns) == list("abcde")
    with pytest.raises(DataError, match="unknown \\['g'\\]"):
        model.transform(frame.assign(g=1.0))
    with pytest.raises(DataError, match="there is no column 'nam'; did you mean 'name'"):
        isthmus.read(frame, drop=["nam"])


def test_what_was_said_of_columns_is_kept() -> None:
    frame = pd.DataFrame({"code": [1, 2, 3, 4] * 10, "size": np.arange(40.0)})
    model = Autoencoder(RECIPE).fit(isthmus.read(frame, columns={"code": "categorical", "size": "numeric:robust"}))
    code, size = model.schema_.columns or ()
    assert (code.kind, code.values, size.scaling) == ("categorical", (1, 2, 3, 4), "robust")
    assert set(model.reconstruct(frame)["code"]) <= {1, 2, 3, 4}


def test_a_vocabulary_and_items_are_the_models_own() -> None:
    model = Autoencoder(RECIPE).fit(["abc", "bca", "cab"] * 10)
    assert model.transform(["zzz"]).shape == (1, 2)  # unknown letters have an id of their own
    table = pa.table({"user": [1, 1, 2, 3], "item": ["x", "y", "x", "z"], "rating": [1.0, 2.0, 3.0, 4.0]})
    ratings = Autoencoder(RECIPE).fit(isthmus.read(pa.concat_tables([table] * 1), rows="ratings"))
    assert ratings.schema_.names == ("x", "y", "z")
    few = pa.table({"user": [9], "item": ["z"], "rating": [4.0]})
    assert ratings.transform(few).shape == (1, 2)
    with pytest.raises(DataError, match="'w'"):
        ratings.transform(pa.table({"user": [9], "item": ["w"], "rating": [4.0]}))


def test_windows_have_the_channels_of_the_model() -> None:
    frame = pd.DataFrame({"t": np.arange(60), "a": np.sin(np.arange(60.0)), "b": 1.0})
    model = Autoencoder(RECIPE).fit(isthmus.read(frame, rows="series:12,time=t"))
    assert model.transform(frame.assign(c=2.0)).shape == model.transform(frame).shape
    with pytest.raises(DataError, match="'b'"):
        model.transform(frame.drop(columns="b"))


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "lazy": (pl.LazyFrame({"a": [1]}), {}, "rows in memory, got a lazy frame"),
    "no such kind": (X, {"rows": "tabel"}, "did you mean 'table'"),
    "no such option": (X, {"rows": "series:3,strid=1"}, "did you mean 'stride'"),
    "no number": (X, {"rows": "series:3,stride=two"}, "a whole number for stride"),
    "sizes": (X, {"rows": "image:5x5"}, "sizes whose product is 6"),
    "numbers as text": (X, {"rows": "tokens"}, "texts for tokens"),
    "columns of an array": (X, {"drop": ["a"]}, ""),
    "a word for numbers": (pd.DataFrame({"a": ["x", "y"]}), {"rows": "vector"}, "expected numbers, got"),
    "two columns as text": (pd.DataFrame({"a": ["x"], "b": ["y"]}), {"rows": "tokens"}, "one column of text"),
    "no column": (pd.DataFrame({"a": [1.0]}), {"columns": ["b:log"]}, ""),
}


@pytest.mark.parametrize("name", [name for name, (_, _, message) in WRONG.items() if message])
def test_what_cannot_be_read_is_refused_with_advice(name: str) -> None:
    given, options, message = WRONG[name]
    with pytest.raises((DataError, RecipeError), match=message):
        open_source(given, **options)


def test_columns_are_checked_where_they_are_surveyed() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    with pytest.raises(DataError, match="--column: there is no column 'z'"):
        Autoencoder(RECIPE).fit(isthmus.read(frame, columns=["z:log"]))
    with pytest.raises(DataError, match="--column: expected a table with columns"):
        Autoencoder(RECIPE).fit(isthmus.read(X, columns=["a:log"]))


def test_a_model_of_another_kind_refuses_rows(place: Path) -> None:
    model = Autoencoder(RECIPE).fit(X)
    with pytest.raises(DataError, match="vector rows"):
        model.transform(place / "lines.txt")
    with pytest.raises(DataError, match="vector rows"):
        model.transform(place / "pictures")
