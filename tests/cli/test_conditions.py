"""Conditions and missing values on the command line: right on real files, a sentence on wrong ones."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from isthmus import Autoencoder, load, presets
from isthmus.errors import CollapseWarning
from tests.conftest import Command

SMALL = ("--quiet", "--set", "network.hidden_dims=[4]", "--set", "training.epochs=1", "--set", "code.latent_dim=2")
ROWS = 40


def write(path: Path, head: str, columns: list[np.ndarray]) -> None:
    lines = (",".join("" if value != value else str(value) for value in row) for row in zip(*columns, strict=True))
    path.write_text("\n".join([head, *lines]) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, labels, numbers, and models that are told labels, numbers, nothing, or take holes."""
    folder = tmp_path_factory.mktemp("conditions")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, ROWS)
    x = rng.normal(size=(ROWS, 3)) + 3 * y[:, None]
    kinds, age = np.array(["cat", "cow", "dog"])[y], rng.random(ROWS)
    holes = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    write(folder / "table.csv", "a,b,c,kind,age", [*x.T, kinds, age])
    write(folder / "plain.csv", "a,b,c", list(x.T))
    write(folder / "kinds.csv", "kind", [kinds])
    write(folder / "holes.csv", "a,b,c", list(holes.T))
    write(folder / "unseen.csv", "a,b,c", [x[:, 0], np.full(ROWS, np.nan), x[:, 2]])
    write(folder / "gaps.csv", "a,b,kind", [x[:, 0], x[:, 1], np.where(y == 0, "", kinds)])
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.save(folder / "wholes.npy", y.astype(np.float64))
    np.save(folder / "short.npy", y[:7])
    np.save(folder / "nines.npy", np.full(ROWS, 9))
    np.save(folder / "numbers.npy", rng.random((ROWS, 2)))
    np.save(folder / "nan.npy", np.full((ROWS, 2), np.nan))
    np.savez(folder / "two.npz", x_train=x, y_train=y)
    (folder / "empty.npy").write_bytes(b"")
    settings = {"latent_dim": 2, "hidden_dims": (4,), "epochs": 1}
    fits = {
        "kinds": (presets.cvae(**settings), folder / "plain.csv", kinds),
        "digits": (presets.cvae(**settings), x, y),
        "told": (presets.cvae(**settings), x, np.load(folder / "numbers.npy")),
        "vae": (presets.vae(**settings), folder / "plain.csv", None),
        "holed": (presets.miwae(**settings), holes, None),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        for name, (recipe, data, condition) in fits.items():
            Autoencoder(recipe, random_state=0).fit(data, condition=condition).save(folder / name)
    return folder


# The condition, and the labels that the model must know.
FITS = [
    ("table.csv --condition kind --drop age", ("cat", "cow", "dog")),
    ("plain.csv --condition {}/kinds.csv", ("cat", "cow", "dog")),
    ("x.npy --condition {}/y.npy", (0, 1, 2)),
    ("two.npz#x_train -c {}/two.npz#y_train", (0, 1, 2)),
    ("x.npy --condition {}/numbers.npy", None),
    ("table.csv --condition age --drop kind", None),
]


@pytest.mark.filterwarnings("ignore::isthmus.errors.CollapseWarning")
@pytest.mark.parametrize(("line", "labels"), FITS, ids=[line for line, _ in FITS])
def test_fit_reads_a_condition(line: str, labels: object, place: Path, isthmus: Command, tmp_path: Path) -> None:
    words = line.replace("{}", str(place)).split()
    result = isthmus("fit", place / words[0], *words[1:], "--recipe", "cvae", "--out", tmp_path / "m", *SMALL)
    assert result.status == 0, result.err
    schema = load(tmp_path / "m").schema_
    assert schema.condition_labels == labels
    assert schema.condition_dim == (3 if labels else 2 if "numbers" in line else 1)
    assert schema.width == 3
    assert schema.names in (None, ("a", "b", "c"))


def test_fit_says_what_the_condition_was_taken_for(place: Path, isthmus: Command, tmp_path: Path) -> None:
    loud = SMALL[1:]
    said = isthmus("fit", place / "x.npy", "-c", place / "y.npy", "--out", tmp_path / "a", *loud).err
    assert "condition: 3 classes (0, 1, 2)" in said
    said = isthmus("fit", place / "x.npy", "-c", place / "wholes.npy", "--out", tmp_path / "b", *loud).err
    assert "condition: 1 number(s) a row; to make labels of them, save them as integers" in said
    said = isthmus("fit", place / "x.npy", "-c", place / "numbers.npy", "--out", tmp_path / "c", *loud).err
    assert "condition: 2 number(s) a row\n" in said


@pytest.mark.parametrize(
    ("verb", "method"),
    [
        ("encode", "transform"),
        ("reconstruct", "reconstruct"),
        ("denoise", "reconstruct"),
        ("score", "score_samples"),
    ],
)
def test_a_model_is_told_by_a_column_a_file_or_one_label(
    verb: str, method: str, place: Path, isthmus: Command, tmp_path: Path
) -> None:
    def got(name: str, data: str, *options: object) -> np.ndarray:
        result = isthmus(verb, place / "kinds", place / data, "--out", tmp_path / f"{name}.npy", *options)
        assert result.status == 0, result.err
        return np.load(tmp_path / f"{name}.npy").squeeze()

    kinds = np.loadtxt(place / "kinds.csv", dtype=str, skiprows=1)
    model = load(place / "kinds")
    wanted = getattr(model, method)(place / "plain.csv", condition=kinds)
    np.testing.assert_array_equal(got("column", "table.csv", "--condition", "kind", "--drop", "age"), wanted)
    np.testing.assert_array_equal(got("file", "plain.csv", "-c", place / "kinds.csv"), wanted)
    all_cows = getattr(model, method)(place / "plain.csv", condition="cow")
    np.testing.assert_array_equal(got("one", "plain.csv", "-c", "cow"), all_cows)
    assert not np.array_equal(wanted, all_cows)


def test_decoding_is_told_by_a_file_or_one_label(place: Path, isthmus: Command, tmp_path: Path) -> None:
    model, codes = load(place / "digits"), np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32)
    np.save(tmp_path / "z.npy", codes)
    y = np.load(place / "y.npy")
    for name, conditions, condition in (("file", place / "wholes.npy", y), ("one", "2", 2)):
        out = tmp_path / f"{name}.npy"
        result = isthmus("decode", place / "digits", tmp_path / "z.npy", "-c", conditions, "--out", out)
        assert result.status == 0, result.err
        np.testing.assert_array_equal(np.load(out), model.inverse_transform(codes, condition=condition))


def test_samples_are_of_the_class_that_was_asked_for(place: Path, isthmus: Command, tmp_path: Path) -> None:
    model, out = load(place / "digits"), tmp_path / "s.npy"
    arguments = ("sample", place / "digits", "--out", out, "--seed", 4, "--overwrite", "-c")
    assert isthmus(*arguments, "2").status == 0
    np.testing.assert_array_equal(np.load(out), model.sample(64, condition=2, random_state=4))
    assert isthmus(*arguments, "1", "-n", 5).status == 0
    np.testing.assert_array_equal(np.load(out), model.sample(5, condition=1, random_state=4))
    assert isthmus(*arguments, place / "short.npy").status == 0
    wanted = model.sample(7, condition=np.load(place / "short.npy"), random_state=4)
    np.testing.assert_array_equal(np.load(out), wanted)


def test_numbers_are_typed_with_commas(place: Path, isthmus: Command, tmp_path: Path) -> None:
    model, x = load(place / "told"), np.load(place / "x.npy")
    result = isthmus("interpolate", place / "told", place / "x.npy", "-c", "0.5,-1", "--out", tmp_path / "i.npy")
    assert result.status == 0, result.err
    wanted = model.interpolate(x[:1], x[1:2], condition=[[0.5, -1.0]])[0]
    np.testing.assert_array_equal(np.load(tmp_path / "i.npy"), wanted)
    assert isthmus("sample", place / "told", "-c", "0.5,-1", "-n", 3, "--out", tmp_path / "s.npy").status == 0
    wanted = model.sample(3, condition=np.repeat([[0.5, -1.0]], 3, 0), random_state=0)
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), wanted)


# ---- missing values ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::isthmus.errors.CollapseWarning")
@pytest.mark.parametrize("how", [("--recipe", "miwae"), ("--recipe", "vae", "--set", "missing=mask")])
def test_holes_are_read_and_filled_in(how: tuple[str, ...], place: Path, isthmus: Command, tmp_path: Path) -> None:
    result = isthmus("fit", place / "holes.csv", *how, "--out", tmp_path / "m", *SMALL)
    assert result.status == 0, result.err
    result = isthmus("impute", tmp_path / "m", place / "holes.csv", "--out", tmp_path / "full.csv", "--json")
    assert json.loads(result.out)["shape"] == [ROWS, 3], result.err
    holes = np.genfromtxt(place / "holes.csv", delimiter=",", skip_header=1)
    filled = np.genfromtxt(tmp_path / "full.csv", delimiter=",", skip_header=1)
    seen = ~np.isnan(holes)
    assert not seen.all()
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[seen], holes[seen])
    np.testing.assert_allclose(filled, load(tmp_path / "m").impute(holes))
    for verb in ("encode", "reconstruct", "score"):
        assert isthmus(verb, tmp_path / "m", place / "holes.csv", "--out", tmp_path / f"{verb}.npy").status == 0
        assert np.isfinite(np.load(tmp_path / f"{verb}.npy")).all()


def test_a_column_without_any_value_is_filled_in(place: Path, isthmus: Command, tmp_path: Path) -> None:
    Autoencoder(load(place / "holed").recipe_).fit(np.load(place / "x.npy")).save(tmp_path / "m")
    result = isthmus("impute", tmp_path / "m", place / "unseen.csv", "--samples", 3, "--out", tmp_path / "f.npy")
    assert result.status == 0, result.err
    assert np.isfinite(np.load(tmp_path / "f.npy")).all()


# ---- wrong uses --------------------------------------------------------------------------------------------------

WRONG = [
    ("fit {}/plain.csv --recipe cvae --out {}/m", "this recipe is conditional: .*--condition"),
    (
        "fit {}/table.csv -c knd --drop age --recipe cvae --out {}/m",
        "--condition: there is no file 'knd', and there is no column 'knd'; did you mean 'kind'",
    ),
    ("fit {}/x.npy -c kind --recipe cvae --out {}/m", "neither a file nor a column 'kind'; '.*x.npy' has no columns"),
    ("fit {}/x.npy -c {}/short.npy --out {}/m", "--condition: expected 40 conditions, one for each row, got 7"),
    ("fit {}/x.npy -c {}/empty.npy --out {}/m", "empty.npy' is empty"),
    ("fit {}/x.npy -c {}/two.npz --out {}/m", "holds 2 arrays .*say which"),
    ("fit {}/x.npy -c {}/two.npz#y --out {}/m", "there is no array 'y'"),
    ("fit {}/x.npy -c {}/nan.npy --out {}/m", "--condition: expected numbers, got NaN or inf"),
    ("fit {}/x.npy -c {}/table.csv --out {}/m", "--condition .*table.csv: column 'kind': expected numbers"),
    ("fit {}/gaps.csv -c kind --out {}/m", r"column 'kind': expected a value in each row, got \d+ row"),
    (
        "fit {}/holes.csv --recipe auto --goal compress --set missing=mask --out {}/m",
        "expected rows without missing values, which auto measures, got --set missing=mask; try --recipe miwae",
    ),
    ("fit {}/holes.csv --set missing=refuse --out {}/m", "missing values .*missing=mask"),
    ("fit {}/holes.csv --set missing=masks --out {}/m", "expected one of auto, refuse, mask, got 'masks'"),
    ("encode {}/vae {}/plain.csv -c cat --out {}/o.npy", "expected no --condition, since the model was fitted without"),
    ("encode {}/vae {}/plain.csv -c {}/y.npy --out {}/o.npy", "expected no --condition"),
    ("score {}/kinds {}/plain.csv", "the model is conditional: expected --condition .one of the labels 'cat', 'cow'"),
    ("encode {}/told {}/x.npy --out {}/o.npy", "conditional: expected --condition .2 numbers.*try --condition 0.5,0.5"),
    (
        "encode {}/kinds {}/table.csv -c knd --drop age --out {}/o.npy",
        "no file 'knd', nor is it one of the labels 'cat', 'cow', 'dog', and .*did you mean 'kind'",
    ),
    ("encode {}/digits {}/x.npy -c knd --out {}/o.npy", "neither a file nor a column 'knd'.*one of the labels 0, 1, 2"),
    ("encode {}/digits {}/x.npy -c {}/short.npy --out {}/o.npy", "expected 40 conditions, one for each row, got 7"),
    ("encode {}/digits {}/x.npy -c {}/nines.npy --out {}/o.npy", "there is no label 9. The labels are: 0, 1, 2"),
    ("encode {}/kinds {}/plain.csv -c {}/y.npy --out {}/o.npy", "there is no label [012]. The labels are: cat, cow"),
    ("encode {}/told {}/x.npy -c {}/y.npy --out {}/o.npy", "expected a condition of 2 values a row, got 1"),
    ("encode {}/told {}/x.npy -c {}/kinds.csv --out {}/o.npy", "--condition: expected numbers, got '(cat|cow|dog)'"),
    ("encode {}/told {}/x.npy -c 1,nan --out {}/o.npy", "--condition: expected numbers, got NaN"),
    ("encode {}/told {}/x.npy -c 1 --out {}/o.npy", "nor is it 2 numbers, separated by commas"),
    ("decode {}/digits {}/numbers.npy -c 7 --out {}/o.npy", "expected one of the labels 0, 1, 2, got '7'"),
    ("decode {}/digits {}/numbers.npy -c {}/short.npy --out {}/o.npy", "expected 40 conditions"),
    ("sample {}/digits --out {}/o.npy", "the model is conditional"),
    ("sample {}/digits -n 5 -c {}/short.npy --out {}/o.npy", "expected 5 conditions, one for each row, got 7"),
    ("sample {}/vae -c 1 --out {}/o.npy", "expected no --condition"),
    ("interpolate {}/digits {}/x.npy -c {}/y.npy --out {}/o.npy", "expected one of the labels 0, 1, 2, got '.*y.npy'"),
    ("interpolate {}/digits {}/x.npy --out {}/o.npy", "the model is conditional"),
    ("impute {}/vae {}/holes.csv --out {}/o.csv", "a model that takes missing values, got .*miwae.*missing=mask"),
    ("impute {}/holed {}/empty.npy --out {}/o.csv", "empty.npy' is empty"),
    ("impute {}/holed {}/x.npy -c 1 --out {}/o.csv", "expected no --condition"),
    ("encode {}/vae {}/holes.csv --out {}/o.npy", r"column '[abc]' has \d+ missing values"),
    (
        "report {}/kinds {}/plain.csv --out {}/r.html",
        "a model without a condition, got .kinds., which is conditioned on 3",
    ),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_use_gets_a_sentence_and_leaves_nothing(line: str, message: str, place: Path, isthmus: Command) -> None:
    before = sorted(place.rglob("*"))
    result = isthmus(*(word.replace("{}", str(place)) for word in line.split(" ")))
    assert result.status == 2, result.out
    assert re.search(message, result.err), result.err
    assert result.err.startswith("error: ")
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("line", ["fit x --out y --conditon z", "impute m x --out y --smaples 3"])
def test_a_misspelt_option_is_answered_with_the_right_one(line: str, isthmus: Command) -> None:
    result = isthmus(*line.split())
    assert result.status == 2
    assert re.search("No such option: --(conditon.*--condition|smaples.*--samples)", result.err)
