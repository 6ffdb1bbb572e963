"""Training, encoding and scoring rows that are read anew in every epoch; results written as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, json, parquet

import isthmus.data.encoded
import isthmus.data.open
import isthmus.estimator.prepare
from isthmus import Autoencoder, presets
from isthmus.data.batches import Loader
from isthmus.data.encoding import Standard, Unit
from isthmus.data.kinds import encoding_fitter
from isthmus.data.open import open_source
from isthmus.data.streaming import StreamingBatches
from isthmus.errors import ArtifactError, DataError
from isthmus.estimator.prepare import prepare
from isthmus.schema import Schema
from tests.helpers import small

RECIPE = small(presets.autoencoder(latent_dim=2))


def frame(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cause = rng.standard_normal((rows, 2))
    columns = {f"x{place}": cause @ rng.standard_normal(2) + 0.1 * rng.standard_normal(rows) for place in range(6)}
    return pd.DataFrame({**columns, "word": np.array(["low", "high"])[(cause[:, 0] > 0).astype(int)]})


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing lie in memory."""
    monkeypatch.setattr(isthmus.data.encoded, "_LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(isthmus.data.open, "LARGEST_WHOLE", 0)
    monkeypatch.setattr(isthmus.estimator.prepare, "_MOST_HELD", 100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    frame().to_parquet(tmp_path / "table.parquet", row_group_size=300)
    return tmp_path / "table.parquet"


@pytest.mark.usefixtures("stream")
def test_a_stream_teaches_what_memory_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(str(path), RECIPE)
    assert isinstance(prepared.data, StreamingBatches) and prepared.held_rows == 100
    assert prepared.data.rows == 1900
    streamed = Autoencoder(RECIPE.replace({"training.epochs": 20}), random_state=0).fit(path)
    monkeypatch.undo()
    assert isinstance(prepare(frame(), RECIPE).data, Loader)
    whole = Autoencoder(RECIPE.replace({"training.epochs": 20}), random_state=0).fit(frame())
    fresh = frame().iloc[::4]
    assert abs(streamed.score(fresh) - whole.score(fresh)) < 0.2
    errors = [
        np.square(m.reconstruct(fresh).iloc[:, :6] - fresh.iloc[:, :6]).to_numpy().mean() for m in (streamed, whole)
    ]
    assert errors[0] < 1.5 * errors[1] < 0.2


@pytest.mark.usefixtures("stream")
def test_an_interrupted_stream_goes_on_to_the_same_weights(path: Path, tmp_path: Path) -> None:
    recipe = RECIPE.replace({"training.epochs": 4, "training.checkpoint_seconds": 0.0})
    whole = Autoencoder(recipe, random_state=0).fit(path)
    folder = tmp_path / "checkpoints"

    class Enough(Exception):
        pass

    calls = 0
    original = isthmus.training.loop.Run.train_step

    def counted(run: Any, batch: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise Enough
        original(run, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.training.loop.Run.train_step", counted)
        with pytest.raises(Enough):
            Autoencoder(recipe, random_state=0).fit(path, checkpoint=folder)
    resumed = Autoencoder(recipe, random_state=0).fit(path, resume_from=folder)
    np.testing.assert_array_equal(resumed._codes(path), whole._codes(path))
    frame(2000, 1).to_parquet(path)
    with pytest.raises(ArtifactError):
        Autoencoder(recipe, random_state=0).fit(path, resume_from=folder)


@pytest.mark.usefixtures("stream")
def test_streamed_results_are_those_of_memory_to_the_bit(path: Path) -> None:
    model = Autoencoder(RECIPE, random_state=0).fit(path)
    np.testing.assert_array_equal(model.transform(path), model.transform(frame()))
    np.testing.assert_array_equal(model.score_samples(path), model.score_samples(frame()))
    assert model.reconstruct(path).to_pandas().equals(model.reconstruct(frame()))


READERS = {
    ".npy": lambda path: np.load(path),
    ".csv": lambda path: csv.read_csv(path).to_pandas().to_numpy(),
    ".tsv": lambda path: pd.read_csv(path, sep="\t").to_numpy(),
    ".parquet": lambda path: parquet.read_table(path).to_pandas().to_numpy(),
    ".arrow": lambda path: pa.ipc.open_file(path).read_all().to_pandas().to_numpy(),
    ".jsonl": lambda path: json.read_json(path).to_pandas().to_numpy(),
}


@pytest.mark.parametrize("suffix", READERS)
def test_results_are_written_as_they_come(path: Path, tmp_path: Path, suffix: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(isthmus.data.encoded, "_ROWS", 512)  # several blocks
    model = Autoencoder(RECIPE, random_state=0).fit(path)
    out = tmp_path / f"out{suffix}"
    assert model.transform(path, out=out) == out
    np.testing.assert_allclose(READERS[suffix](out), model.transform(path), rtol=1e-6, atol=1e-7)
    scores = READERS[suffix](model.score_samples(path, out=tmp_path / f"scores{suffix}"))
    np.testing.assert_allclose(scores.reshape(-1), model.score_samples(path), rtol=1e-12)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["table.parquet", out.name, f"scores{suffix}"])


def test_a_frame_is_written_with_its_types(path: Path, tmp_path: Path) -> None:
    model = Autoencoder(RECIPE, random_state=0).fit(path)
    written = parquet.read_table(model.reconstruct(path, out=tmp_path / "out.parquet"))
    assert written.equals(model.reconstruct(path)) and written.schema.equals(
        parquet.read_schema(path).remove_metadata()
    )
    with pytest.raises(DataError, match="numbers for a \\.npy file"):
        model.reconstruct(path, out=tmp_path / "out.npy")
    with pytest.raises(DataError, match="kind of output"):
        model.reconstruct(path, out=tmp_path / "out.xlsx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parquet", "table.parquet"]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    model = Autoencoder(RECIPE, random_state=0).fit(frame())
    bad = frame()
    bad.loc[1999, "x3"] = np.inf
    with pytest.raises(DataError, match="row 1999"):
        model.transform(bad, out=tmp_path / "codes.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8"])
def test_streamed_arrays_are_scaled_as_those_in_memory(tmp_path: Path, kind: str, monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    x = (50.0 + 20.0 * rng.standard_normal((900, 5))).astype(kind)
    np.save(tmp_path / "x.npy", x)
    kept = np.sort(rng.permutation(900)[:800])
    monkeypatch.setattr("isthmus.data.fit_encoding.ROWS_AT_A_TIME", 128)
    held = np.setdiff1d(np.arange(900), kept)
    whole = encoding_fitter(open_source(tmp_path / "x.npy"), held)
    monkeypatch.setattr(isthmus.data.open, "LARGEST_WHOLE", 0)
    streamed = encoding_fitter(open_source(tmp_path / "x.npy"), held)
    of_kept = Schema.of(x[kept])
    assert (streamed.schema.low, streamed.schema.high, streamed.schema.whole) == (
        of_kept.low,
        of_kept.high,
        of_kept.whole,
    )
    assert streamed.schema.dtype == whole.schema.dtype and streamed.schema.shape == (5,)
    np.testing.assert_array_equal(streamed.held, x[held])
    for name, fit in (("standard", Standard.fit), ("unit", Unit.fit)):
        found, _ = streamed.encoding(name)
        np.testing.assert_allclose(found.forward(x), fit(x[kept], of_kept).forward(x), rtol=1e-5, atol=1e-5)


def test_missing_values_are_refused_by_row_wherever_they_are(tmp_path: Path, monkeypatch: Any) -> None:
    data = frame()
    model = Autoencoder(RECIPE, random_state=0).fit(data)
    data.loc[1700, "x2"] = np.nan
    monkeypatch.setattr(isthmus.data.encoded, "_ROWS", 512)
    with pytest.raises(DataError, match=r"column 'x2' has 1 missing values \(NaN\), the first in row 1700"):
        model.transform(data)
