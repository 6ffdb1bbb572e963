"""Autoencoders of tables, end to end: frames in, frames out."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import isthmus
from isthmus import Autoencoder, presets
from isthmus.data.open import open_source
from isthmus.errors import ArtifactError, DataError
from isthmus.objectives import Mixed, Normal, OneHot, StudentT
from isthmus.recipe import Recipe
from tests.helpers import SHARED, small


def people(rows: int = 300, holes: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Return rows of every kind of column that one hidden cause explains, some values missing."""
    rng = np.random.default_rng(seed)
    cause = rng.standard_normal(rows)
    labels = np.array(["low", "middle", "high"], dtype=object)[np.digitize(cause, [-0.5, 0.5])]
    days = (cause * 100).round()
    frame = pd.DataFrame(
        {
            "size": 5.0 + 2.0 * cause,
            "label": labels,
            "count": pd.array(np.round(np.exp(2.0 + cause)), dtype="Int64"),
            "flag": pd.array(cause > 0, dtype="boolean"),
            "grade": pd.Categorical(labels, categories=["low", "unused", "middle", "high"], ordered=True),
            "when": pd.Timestamp("2020-06-01", tz="UTC") + pd.to_timedelta(days, unit="D"),
            "text": pd.array(labels, dtype="string[pyarrow]"),
            "small": (cause * 10).round().clip(-100, 100).astype(np.int8),
            "constant": np.full(rows, 7, np.int16),
        },
        index=pd.Index(np.arange(rows) + 1000, name="id"),
    )
    for name in ("size", "label", "count", "flag", "grade", "text", "when"):
        frame.loc[frame.index[rng.random(rows) < holes], name] = None
    return frame


def fitted(frame: Any, preset: str = "autoencoder", columns: Any = (), **changes: Any) -> Autoencoder:
    recipe = small(presets.PRESETS[preset](latent_dim=2)).replace(changes)
    data = open_source(frame, columns=columns) if columns else frame
    return Autoencoder(recipe, random_state=0).fit(data)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return people()


@pytest.fixture(scope="module")
def vae(frame: pd.DataFrame) -> Autoencoder:
    return fitted(frame, "vae", **{"training.epochs": 15})


@pytest.fixture(scope="module")
def plain(frame: pd.DataFrame) -> Autoencoder:
    return fitted(frame, **{"training.epochs": 15})


def test_the_recipe_says_what_was_minimised(plain: Autoencoder) -> None:
    kinds = {column.name: column.kind for column in plain.schema_.columns or ()}
    assert kinds == {
        "size": "numeric", "label": "categorical", "count": "numeric", "flag": "binary", "grade": "categorical",
        "when": "date", "text": "categorical", "small": "numeric", "constant": "numeric",
    }  # fmt: skip
    likelihood = plain.recipe_.likelihood
    assert isinstance(likelihood, Mixed) and plain.recipe_.missing == "mask"
    parts = [(columns[0], len(columns), part.kind) for columns, part in likelihood.parts]
    assert parts == [(0, 5, "squared_error"), (5, 1, "binary_cross_entropy"), (6, 12, "one_hot")]
    assert isinstance(likelihood.parts[2][1], OneHot) and likelihood.parts[2][1].sizes == (4, 4, 4)
    assert Recipe.from_dict(plain.recipe_.to_dict()) == plain.recipe_


def test_a_frame_is_rebuilt_with_the_same_columns_and_types(vae: Autoencoder, frame: pd.DataFrame) -> None:
    back = vae.reconstruct(frame)
    assert list(back.dtypes) == list(frame.dtypes)
    assert back.columns.equals(frame.columns) and back.index.equals(frame.index)
    assert not back.isna().any().any()
    assert (back["constant"] == 7).all()
    assert set(back["label"]) <= {"low", "middle", "high"}
    assert (back["when"].dt.normalize() == back["when"]).all()  # days, as in training


def test_what_was_learned_is_better_than_a_guess(plain: Autoencoder) -> None:
    complete, holed = people(seed=1, holes=0.0), people(seed=1)
    filled = plain.impute(holed)
    gone = holed["label"].isna()
    assert (filled["label"] == complete["label"])[gone].mean() > 0.7
    gone = holed["size"].isna()
    assert (filled["size"] - complete["size"])[gone].std() < 0.75 * complete["size"].std()


@pytest.mark.parametrize("model", ["vae", "plain"])
def test_imputing_fills_all_holes_and_leaves_the_rest(model: str, frame: pd.DataFrame, request: Any) -> None:
    filled = request.getfixturevalue(model).impute(frame)
    assert list(filled.dtypes) == list(frame.dtypes) and not filled.isna().any().any()
    pd.testing.assert_frame_equal(filled.where(frame.notna()), frame.where(frame.notna()))


def test_observed_values_stay_bit_for_bit(plain: Autoencoder, frame: pd.DataFrame) -> None:
    """Whole numbers that no float64 holds, and floats with all their digits."""
    other = frame.head(3).copy()
    other["count"] = pd.array([2**60 + 1, None, 5], dtype="Int64")
    other["size"] = [0.1 + 0.2, np.nan, 1e-300]
    filled = plain.impute(other)
    assert filled["count"].iloc[0] == 2**60 + 1 and filled["size"].iloc[0] == 0.1 + 0.2
    assert filled["size"].iloc[2] == 1e-300


def test_frames_of_polars_come_back_as_such(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 200
    names = np.array(["x", "y"])[rng.integers(0, 2, rows)]
    frame = pl.DataFrame(
        {
            "enum": pl.Series(names, dtype=pl.Enum(["y", "unused", "x"])),
            "categorical": pl.Series(names, dtype=pl.Categorical),
            "date": [dt.date(2020, 1, 1) + dt.timedelta(days=int(day)) for day in rng.integers(0, 99, rows)],
            "when": pl.Series([dt.datetime(2020, 1, 1)] * rows, dtype=pl.Datetime("ms", "UTC")),
            "time": [dt.time(int(hour)) for hour in rng.integers(0, 24, rows)],
            "int8": pl.Series(rng.integers(0, 9, rows), dtype=pl.Int8),
            "flag": pl.Series(
                [None if flag == 2 else bool(flag) for flag in rng.integers(0, 3, rows)], dtype=pl.Boolean
            ),
            "nothing": [None] * rows,
        }
    )
    model = fitted(frame)
    model.save(tmp_path / "model")
    loaded = isthmus.load(tmp_path / "model")
    back = model.reconstruct(frame)
    assert back.schema == frame.schema
    assert loaded.reconstruct(frame).equals(back)
    assert model.impute(frame)["flag"].null_count() == 0
    codes = model.transform(frame)
    given = loaded.inverse_transform(codes)
    assert isinstance(given, pl.DataFrame) and given.columns == frame.columns
    assert given["date"].to_list() == back["date"].to_list()
    between = loaded.interpolate(frame.head(2), frame.tail(2), steps=3)
    assert isinstance(between, pl.DataFrame) and between.shape == (6, 8)


def test_arrow_tables_come_back_as_such(frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame)
    model = fitted(table.drop_columns(["id"]))
    back = model.reconstruct(table.drop_columns(["id"]))
    assert back.schema.equals(table.drop_columns(["id"]).schema, check_metadata=True)
    assert isinstance(model.inverse_transform(model.transform(table.drop_columns(["id"]))), pa.Table)


def test_samples_are_frames_of_the_fitted_library(vae: Autoencoder, frame: pd.DataFrame, tmp_path: Path) -> None:
    vae.save(tmp_path / "model")
    loaded = isthmus.load(tmp_path / "model")
    for noise in (False, True):
        drawn = vae.sample(50, random_state=1, noise=noise)
        assert isinstance(drawn, pd.DataFrame) and list(drawn.columns) == list(frame.columns)
        assert set(drawn["label"]) <= {"low", "middle", "high"} and drawn["small"].dtype == np.int8
        assert drawn["grade"].dtype == "category"
        pd.testing.assert_frame_equal(loaded.sample(50, random_state=1, noise=noise), drawn)
    pd.testing.assert_frame_equal(loaded.reconstruct(frame), vae.reconstruct(frame))
    np.testing.assert_array_equal(loaded.score_samples(frame), vae.score_samples(frame))


# ---- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "plain"])
def test_a_row_alone_scores_as_among_others(model: str, frame: pd.DataFrame, request: Any) -> None:
    fitted_model = request.getfixturevalue(model)
    scores, costs = fitted_model.score_samples(frame), fitted_model.score_columns(frame)
    filled = fitted_model.impute(frame)
    for row in (0, 7, 150, 299):
        alone = frame.iloc[row : row + 1]
        assert fitted_model.score_samples(alone)[0] == scores[row]
        assert (fitted_model.score_columns(alone).to_numpy() == costs.iloc[row].to_numpy()).all()
        pd.testing.assert_frame_equal(fitted_model.impute(alone), filled.iloc[row : row + 1])


def test_a_row_without_holes_scores_the_same_beside_rows_with_some() -> None:
    """Of numbers alone, whose likelihood has a constant that is counted apart."""
    frame = people()[["size", "small"]].astype(float)
    model = fitted(frame, **{"objective.likelihood": {"kind": "squared_error", "output": "linear"}})
    whole = frame["size"].notna().to_numpy()
    scores = model.score_samples(frame)
    np.testing.assert_array_equal(model.score_samples(frame[whole]), scores[whole])


def test_columns_add_up_to_the_score(plain: Autoencoder) -> None:
    for frame in (people(seed=2), people(seed=2, holes=0.0)):
        costs = plain.score_columns(frame)
        assert list(costs.columns) == list(frame.columns) and costs.index.equals(frame.index)
        assert set(costs.dtypes) == {np.dtype(float)}
        assert (costs.to_numpy()[frame.isna().to_numpy()] == 0).all()
        np.testing.assert_allclose(costs.sum(axis=1), -plain.score_samples(frame), rtol=1e-4, atol=1e-4)


def test_unknown_categories_cost_more_than_known_ones(plain: Autoencoder, frame: pd.DataFrame) -> None:
    strange = frame.head(20).copy()
    strange["label"] = "never seen"
    assert (plain.score_columns(strange)["label"] > plain.score_columns(frame)["label"].max()).all()


def test_a_value_without_a_density_costs_infinitely_much() -> None:
    frame = pd.DataFrame({"flag": [0, 1] * 50, "label": ["a", "b"] * 50})
    model = fitted(frame)
    strange = pd.DataFrame({"flag": [0, 3], "label": ["a", "b"]})
    costs = model.score_columns(strange)
    assert np.isfinite(costs.to_numpy()).tolist() == [[True, True], [False, True]]
    assert model.score_samples(strange)[1] == -np.inf


# ---- likelihoods and preprocessing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", [Normal("column"), StudentT()])
def test_a_stated_likelihood_is_that_of_the_numbers(likelihood: Any, frame: pd.DataFrame) -> None:
    model = fitted(frame, **{"objective.likelihood": likelihood})
    assert isinstance(model.recipe_.likelihood, Mixed)
    assert model.recipe_.likelihood.parts[0] == ((0, 1, 2, 3, 4), likelihood)
    costs = model.score_columns(frame)
    np.testing.assert_allclose(costs.sum(axis=1), -model.score_samples(frame), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preprocessing", ["standard", "robust", "quantile", "log", "none", "unit"])
def test_a_stated_preprocessing_is_that_of_all_numbers(preprocessing: str, frame: pd.DataFrame) -> None:
    frame = frame.drop(columns=["when"])
    model = fitted(frame, preprocessing=preprocessing)
    assert model.recipe_.preprocessing == preprocessing
    scalings = {c.scaling for c in model.schema_.columns or () if c.kind == "numeric" and c.low < c.high}
    assert scalings == {preprocessing}
    assert list(model.reconstruct(frame).dtypes) == list(frame.dtypes)


def test_stated_kinds_and_scalings_are_kept(frame: pd.DataFrame) -> None:
    model = fitted(frame, columns=["small:categorical", "count:count", "size:quantile"])
    columns = {column.name: column for column in model.schema_.columns or ()}
    assert columns["small"].kind == "categorical" and columns["small"].type == "int8"
    assert (columns["count"].kind, columns["count"].scaling, columns["size"].scaling) == ("count", "log", "quantile")
    back = model.reconstruct(frame)
    assert list(back.dtypes) == list(frame.dtypes) and set(back["small"]) <= set(frame["small"])


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"t": ["a", "b"] * 20}),
        pd.DataFrame({"b": [True, False] * 20}),
        pd.DataFrame({"n": np.linspace(0.0, 9.0, 40)}),
        pd.DataFrame({"b": [0, 1] * 20, "t": ["a", "b"] * 20}),
        pd.DataFrame({"n": [0.5, 1.0] * 20, "b": [0, 1] * 20}),
        pd.DataFrame({"e": [None] * 40, "n": np.arange(40)}),
    ],
)
@pytest.mark.parametrize("preset", ["autoencoder", "vae"])
def test_tables_of_few_kinds(table: pd.DataFrame, preset: str) -> None:
    model = fitted(table, preset)
    back = model.reconstruct(table)
    assert list(back.dtypes) == list(table.dtypes)
    assert np.isfinite(model.score_samples(table)).all()
    pd.testing.assert_frame_equal(model.reconstruct(table.head(1)), back.head(1))


# ---- what is missing, and what is refused ----------------------------------------------------------------------------


def test_holes_are_refused_where_training_had_none_and_the_row_is_named() -> None:
    frame = people(holes=0.0)
    model = fitted(frame)
    assert model.recipe_.missing == "refuse"
    holed = pd.concat([frame] * 80)
    holed.iloc[20_001, 1] = None
    with pytest.raises(DataError, match=r"column 'label' has 1 missing values \(NaN\), the first in row 20001"):
        model.reconstruct(holed)
    explicit = fitted(frame, missing="mask")
    assert explicit.reconstruct(holed)["label"].notna().all()


def test_one_hole_anywhere_is_enough_to_mask() -> None:
    """Whether it falls into the rows that are held out must not decide."""
    for row in range(12):
        frame = people(rows=40, holes=0.0)[["size", "label"]]
        frame.iloc[row, 0] = np.nan
        assert fitted(frame).recipe_.missing == "mask"


@pytest.mark.parametrize("row", range(4))
def test_messages_of_training_name_the_row_of_the_frame(row: int) -> None:
    frame = people(holes=0.0)[["size", "label"]]
    broken = frame.copy()
    broken.iloc[200 + row, 0] = np.inf
    with pytest.raises(DataError, match=rf"'size' holds infinite values \(inf\), the first in row {200 + row};"):
        fitted(broken)
    broken.iloc[200 + row, 0] = np.nan
    with pytest.raises(DataError, match=rf"'size' has 1 missing values \(NaN\), the first in row {200 + row}:"):
        fitted(broken, missing="refuse")


def test_a_column_of_texts_without_a_text_is_filled(plain: Autoencoder, frame: pd.DataFrame) -> None:
    other = frame.head(5).copy()
    other["label"] = np.nan  # float64, as pandas reads an empty column
    other["text"] = pd.Series([None] * 5, dtype=object, index=other.index)
    assert set(plain.impute(other)["label"]) <= {"low", "middle", "high"}
    assert set(plain.reconstruct(other)["text"]) <= {"low", "middle", "high"}


def test_a_damaged_schema_of_a_model_is_refused(plain: Autoencoder, tmp_path: Path) -> None:
    folder = plain.save(tmp_path / "model")
    text = (folder / "schema.json").read_text()
    (folder / "schema.json").write_text(text.replace("int8", "int9"))
    with pytest.raises(ArtifactError):
        isthmus.load(folder)


# ---- a real table ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traffic() -> Path:
    path = SHARED / "nslkdd_train.parquet"
    if not path.is_file():
        pytest.skip("the NSL-KDD table is not in shared/data")
    return path


@pytest.mark.slow
def test_network_traffic_in_one_line(traffic: Path, tmp_path: Path) -> None:
    model = Autoencoder(small(presets.vae(latent_dim=8), epochs=1, batch_size=512), random_state=0).fit(traffic)
    test = pd.read_parquet(traffic.with_name("nslkdd_test.parquet"))
    back = model.reconstruct(test)
    assert list(back.dtypes) == list(test.dtypes) and back.columns.equals(test.columns)
    assert (back["protocol_type"] == test["protocol_type"]).mean() > 0.8
    folder = model.save(tmp_path / "model")
    lines = (folder / "schema.json").read_text().splitlines()
    assert len(lines) < 90 and max(map(len, lines)) <= 200
    pairs = itertools.islice((line.strip() for line in lines if '"name": "duration"' in line), 1)
    assert next(pairs).startswith('{"name": "duration", "kind": "numeric", "type": "int64", "high": 42908,')
