"""Rows that are not those of a model are refused, however they are read, and nothing is lost or mixed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import isthmus
from isthmus import Autoencoder, presets
from isthmus.data.series.series import Series
from isthmus.data.series.windows import SeriesWindows
from isthmus.errors import DataError
from isthmus.estimator.prepare import prepare
from tests.helpers import small

RECIPE = small(presets.autoencoder(latent_dim=2)).replace({"training.batch_size": "auto"})


def pictures(folder: Path, size: tuple[int, int] = (8, 8), depth: str = "uint8") -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in range(20):
        values = rng.integers(0, 255, size).astype("uint8")
        pixels = values if depth == "uint8" else values.astype("uint16") * 257
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    model = Autoencoder(RECIPE).fit(pictures(tmp_path / "a"))
    model.transform(pictures(tmp_path / "same"))
    with pytest.raises(DataError, match=r"shape 8x8 .*got 9x8; try --rows image:8x8"):
        model.transform(pictures(tmp_path / "large", (9, 8)))
    with pytest.raises(DataError, match="uint8 values, as in training, got uint16"):
        model.transform(pictures(tmp_path / "deep", depth="uint16"))


def test_large_files_are_checked_as_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype("uint8")
    model = Autoencoder(RECIPE).fit(x)
    np.save(tmp_path / "unit.npy", x / 255.0)
    np.save(tmp_path / "narrow.npy", x[:, :7])
    monkeypatch.setattr("isthmus.data.open.LARGEST_WHOLE", 0)
    with pytest.raises(DataError, match="uint8 values, as in training"):
        model.score_samples(tmp_path / "unit.npy")
    with pytest.raises(DataError, match=r"shape 8x8 .*got 7x8"):
        model.score_samples(tmp_path / "narrow.npy")


def test_sources_of_another_meaning_are_refused() -> None:
    words = Autoencoder(RECIPE).fit(isthmus.read(["ab", "ba"] * 20, rows="tokens"))
    words.transform(["xy"])
    with pytest.raises(DataError, match="the vocabulary of the model"):
        words.transform(isthmus.read(["xy", "yx"], rows="tokens"))
    frame = pd.DataFrame({"user": [1, 1, 2, 3] * 2, "item": [5, 6, 5, 7, 6, 7, 6, 5], "rating": 1.0})
    ratings = Autoencoder(RECIPE).fit(isthmus.read(frame.drop_duplicates(["user", "item"]), rows="ratings"))
    other = frame.drop_duplicates(["user", "item"]).replace({"item": {5: 9}})
    with pytest.raises(DataError, match="the items of the model"):
        ratings.transform(isthmus.read(other, rows="ratings"))
    waves = pd.DataFrame({"a": np.sin(np.arange(90.0)), "b": np.cos(np.arange(90.0))})
    series = Autoencoder(RECIPE).fit(isthmus.read(waves, rows="series:12"))
    with pytest.raises(DataError, match="the channels of the model"):
        series.score_steps(isthmus.read(waves[["b", "a"]], rows="series:12"))
    with pytest.raises(DataError, match=r"shape 12x2 .*got 24x2"):
        series.score_steps(isthmus.read(waves, rows="series:24"))
    again = isthmus.read(waves[["b", "a"]], like=series.schema_)
    np.testing.assert_array_equal(series.score_steps(again)["score"], series.score_steps(waves)["score"])


def test_an_empty_cell_of_text_is_a_hole(tmp_path: Path) -> None:
    lines = [f"{('', 'DE', 'FR')[row % 3]},{row % 7}.5" for row in range(60)]
    (tmp_path / "x.csv").write_text("land,size\n" + "\n".join(lines) + "\n")
    model = Autoencoder(small(presets.imputer(latent_dim=2))).fit(tmp_path / "x.csv")
    land = (model.schema_.columns or ())[0]
    assert land.values == ("DE", "FR") and land.missing == pytest.approx(1 / 3)
    assert set(model.impute(tmp_path / "x.csv")["land"].to_pylist()) == {"DE", "FR"}


def test_files_of_a_folder_have_the_same_columns(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0]}).to_parquet(tmp_path / "0.parquet")
    pd.DataFrame({"a": [3.5, 4.0], "b": [None, None]}).to_parquet(tmp_path / "1.parquet")
    (tmp_path / "README.md").write_text("beside them")
    block = next(isthmus.read(tmp_path).blocks(9))
    assert block["a"].to_pylist() == [1.0, 2.0, 3.5, 4.0] and block["b"].to_pylist() == [1.0, 2.0, None, None]
    pd.DataFrame({"a": [5.0]}).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"the columns of .*0\.parquet.* got others in .*2\.parquet"):
        isthmus.read(tmp_path)


def test_the_index_of_a_frame_is_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(60.0), "k": ["a", "b"] * 30})
    some = frame[frame.index % 3 > 0]  # pandas writes the numbers of these rows beside the columns
    some.to_parquet(tmp_path / "x.parquet")
    model = Autoencoder(RECIPE).fit(tmp_path / "x.parquet")
    assert model.schema_.names == ("x", "k")
    np.testing.assert_array_equal(model.transform(some), model.transform(tmp_path / "x.parquet"))


def test_held_out_windows_share_no_step_with_those_trained_on() -> None:
    rng = np.random.default_rng(0)
    several = SeriesWindows([Series(str(one), rng.standard_normal(200)) for one in range(12)], 48, 12)
    held = several.held_out(0.2, seed=0)
    of = several.starts[:, 0]
    assert set(of[held]).isdisjoint(np.delete(of, held)) and 0.15 < len(held) / len(several) < 0.3
    assert not np.array_equal(held, several.held_out(0.2, seed=1))
    one = SeriesWindows([Series("a", rng.standard_normal(2000))], 48, 12)
    assert one.held_out(0.1, seed=0).tolist() == list(range(len(one) - 16, len(one)))
    frame = pd.DataFrame({"v": rng.standard_normal(2000)})
    prepared = prepare(isthmus.read(frame, rows="series:48"), RECIPE)
    assert prepared.validation is not None
    last = prepared.encoding.inverse(prepared.validation.x.numpy()[-1])
    np.testing.assert_allclose(last[:, 0], frame.v.to_numpy()[-48:], atol=1e-5)
    first = prepared.encoding.inverse(prepared.validation.x.numpy()[0])
    np.testing.assert_allclose(first[:, 0], frame.v.to_numpy()[148 * 12 :][:48], atol=1e-5)


def test_times_without_a_zone_are_not_taken_for_others() -> None:
    times = pd.date_range("2026-01-01", periods=40, freq="h", tz="Europe/Berlin")
    model = Autoencoder(RECIPE).fit(pd.DataFrame({"when": times, "x": np.arange(40.0)}))
    with pytest.raises(DataError, match=r"column 'when': expected times with their zone"):
        model.transform(pd.DataFrame({"when": times.tz_localize(None), "x": np.arange(40.0)}))
    utc = pd.DataFrame({"when": times.tz_convert("UTC"), "x": np.arange(40.0)})
    np.testing.assert_array_equal(model.transform(utc), model.transform(utc.assign(when=times)))


def test_intervals_are_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"column 'a': .*--drop a"):
        isthmus.read(pd.DataFrame({"a": pd.cut(np.arange(9.0), 3), "x": 1.0}))


def test_results_replace_nothing_unasked(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 6))
    np.save(tmp_path / "x.npy", x)
    model = Autoencoder(RECIPE).fit(x)
    with pytest.raises(DataError, match="it exists; try another name, or overwrite=True"):
        model.transform(tmp_path / "x.npy", out=tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x)
    model.transform(x, out=tmp_path / "x.npy", overwrite=True)
    assert np.load(tmp_path / "x.npy").shape == (40, 2)


def test_what_was_left_out_or_cut_is_said(tmp_path: Path) -> None:
    model = Autoencoder(RECIPE).fit(isthmus.read(["abcd", "dcba"] * 20, rows="tokens:9"))
    with pytest.warns(UserWarning, match=r"1 line\(s\) longer than 9 steps were cut"):
        model.transform(["abcdabcdabcd"])
    (tmp_path / "x.txt").write_text("abcd\n\ndcba\n")
    with pytest.warns(UserWarning, match=r"1 line\(s\) without text were left out"):
        model.transform(tmp_path / "x.txt")


def test_a_list_of_tables_is_no_text(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    with pytest.raises(DataError, match="got names of files such as"):
        isthmus.read([tmp_path / "a.csv", tmp_path / "b.csv"])


@pytest.mark.parametrize("missing", ["refuse", "mask"])
def test_a_hole_in_a_stream_is_named_by_its_row(tmp_path: Path, missing: str, monkeypatch: Any) -> None:
    x = np.random.default_rng(0).random((3000, 4))
    x[1700, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr("isthmus.data.open.LARGEST_WHOLE", 0)
    monkeypatch.setattr("isthmus.data.encoded._LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr("isthmus.data.encoded._ROWS", 512)
    recipe = RECIPE.replace({"missing": missing, "training.validation_fraction": 0.0})
    if missing == "mask":
        Autoencoder(recipe).fit(tmp_path / "x.npy")
        return
    with pytest.raises(DataError, match="row 1700"):
        Autoencoder(recipe).fit(tmp_path / "x.npy")
    model = Autoencoder(recipe).fit(x[:1000])
    with pytest.raises(DataError, match="row 1700"):
        model.transform(tmp_path / "x.npy")
