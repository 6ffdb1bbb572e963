"""The command line on every kind of row: inspected, fitted and encoded as it lies there, and read again as in fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus import Autoencoder, load, presets, read
from isthmus.estimator import results
from tests.conftest import Command

ROWS = 120
SMALL = ("--quiet", "--set", "network.hidden_dims=[8]", "--set", "training.epochs=1", "--set", "code.latent_dim=2")
pytestmark = pytest.mark.filterwarnings("ignore::isthmus.errors.CollapseWarning")


def mixed() -> pa.Table:
    """A table with a column of each kind, holes among them."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 9, ROWS).round(1)
    return pa.table(
        {
            "age": pa.array(age, mask=np.arange(ROWS) % 9 == 0),
            "city": np.array(["Oslo", "Rome", "Bern"])[rng.integers(0, 3, ROWS)],
            "day": pa.array(np.arange(ROWS) % 28, pa.int32()).cast(pa.date32()),
            "vip": rng.integers(0, 2, ROWS),
            "name": [f"person {row}" for row in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of every kind, and a model of a table, of images and of text."""
    folder = tmp_path_factory.mktemp("rows with spaces")
    table = mixed()
    pq.write_table(table, folder / "people.parquet")
    with pa.OSFile(str(folder / "people.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    lines = (json.dumps(row, default=str) for row in table.to_pylist())
    (folder / "people.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "parts").mkdir()
    for part in range(2):
        pq.write_table(table.slice(part * ROWS // 2, ROWS // 2), folder / "parts" / f"{part}.parquet")
    rng = np.random.default_rng(1)
    for number in range(24):
        picture = folder / "pictures" / ("cat" if number % 3 else "dog") / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 9, 3), dtype=np.uint8)).save(picture)
    shutil.make_archive(str(folder / "pictures"), "zip", folder / "pictures")
    steps = [f"{name},{minute},{rng.normal():.3f}" for name in "ab" for minute in range(60)]
    (folder / "long.csv").write_text("sensor,time,value\n" + "\n".join(steps) + "\n")
    texts = ("the cat sat", "a dog", "the dog ran away", "cats and dogs")
    (folder / "lines.txt").write_text("\n".join(texts[row % 4] for row in range(ROWS)) + "\n")
    (folder / "molecules.smi").write_text("CCO\nc1ccccc1\nCC(=O)Cl\nBrCC\n" * 10)
    entries = {f"{row % 16},{row * 7 % 11}": row % 5 + 1 for row in range(120)}
    (folder / "ratings.csv").write_text("userId,movieId,rating\n" + "".join(f"{k},{v}\n" for k, v in entries.items()))
    (folder / "header.csv").write_text("a,b\n")
    (folder / "one.csv").write_text("a,b\n1,2\n")
    (folder / "empty").mkdir()
    for suffix in ("csv", "zip", "jsonl", "arrow"):
        (folder / f"junk.{suffix}").write_bytes(rng.bytes(3000))
    recipe = presets.autoencoder(latent_dim=2, hidden_dims=(8,), epochs=1)
    for name, data, options in (
        ("people", "people.parquet", {"drop": ("name",)}),
        ("images", "pictures", {"rows": "image:3x8x8"}),
        ("text", "lines.txt", {}),
        ("series", "long.csv", {"rows": "series:16,series=sensor,time=time"}),
    ):
        Autoencoder(recipe, random_state=0).fit(read(folder / data, **options)).save(folder / name)
    return folder


# What is read, how, and how many rows there are of it.
DATA = [
    ("people.parquet --drop name", ROWS),
    ("people.arrow --drop name", ROWS),
    ("people.jsonl --drop name", ROWS),
    ("parts --drop name", ROWS),
    ("people.parquet --column name:categorical --column age:robust", ROWS),
    ("pictures.zip --rows image:3x8x8", 24),
    ("pictures --rows image:3x4x4,fit=tile", 24 * 4),
    ("pictures/cat/*.png --rows image:8x8", 16),
    ("long.csv --rows series:16,series=sensor,time=time", 24),
    ("lines.txt", ROWS),
    ("molecules.smi --rows tokens:8,level=smiles,long=skip", 30),
    ("ratings.csv --rows ratings", 16),
]


@pytest.mark.parametrize(("line", "rows"), DATA, ids=[line for line, _ in DATA])
def test_each_kind_is_inspected_fitted_and_encoded_as_it_lies_there(
    line: str, rows: int, place: Path, isthmus: Command, tmp_path: Path
) -> None:
    data, *options = line.split(" ")
    seen = isthmus("inspect", place / data, *options)
    assert seen.status == 0, seen.err
    assert re.match(rf"{rows} ", seen.out), seen.out
    fitted = isthmus("fit", place / data, *options, "--out", tmp_path / "m", *SMALL)
    assert fitted.status == 0, fitted.err
    # The second time nobody says how it is to be read.
    encoded = isthmus("encode", tmp_path / "m", place / data, "--out", tmp_path / "z.npy")
    assert encoded.status == 0, encoded.err
    codes = np.load(tmp_path / "z.npy")
    assert codes.shape == (rows, 2)
    said = dict(zip(options[::2], options[1::2], strict=True))
    opened = read(place / data, rows=said.get("--rows"), drop=[said["--drop"]] if "--drop" in said else ())
    np.testing.assert_array_equal(codes, load(tmp_path / "m").transform(opened))
    assert isthmus("inspect", tmp_path / "m").status == 0


# ---- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect_shows_a_line_for_each_column(place: Path, isthmus: Command) -> None:
    out = isthmus("inspect", place / "people.parquet").out
    lines = {line.split()[0]: re.split(r"\s{2,}", line) for line in out.splitlines()[1:]}
    assert out.startswith(f"{ROWS} rows of 5 columns: 1 numeric, 1 categorical, 1 date, 1 binary, 1 unusable\n")
    assert lines["city"] == ["city", "categorical", "string", "3: Bern, Oslo, Rome"]
    assert lines["day"][1:4] == ["date", "date32[day]", "1970-01-01 to 1970-01-28"]
    assert lines["age"][1:] == ["numeric", "double", lines["age"][3], "11.7%", "standard"]
    assert lines["vip"] == ["vip", "binary", "int64", "0 or 1"]
    assert lines["name"] == ["name", "unusable", "string"]
    assert "unusable: column 'name': expected categories, got 120 different values" in out
    facts = json.loads(isthmus("inspect", place / "people.parquet", "--json").out)
    assert facts["names"] == ["age", "city", "day", "vip", "name"]
    assert "different values" in facts["columns"][4]["unusable"]
    assert "unusable" not in facts["columns"][0]


def test_inspect_takes_what_is_said_of_columns(place: Path, isthmus: Command) -> None:
    options = ("--column", "age:quantile", "--column", "vip:categorical", "--drop", "name")
    out = isthmus("inspect", place / "people.parquet", *options).out
    assert re.search(r"^age +numeric .* quantile$", out, re.M)
    assert re.search(r"^vip +categorical +int64 +2: 0, 1$", out, re.M)
    assert "name" not in out


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pictures --rows image:3x8x8", ["shape 3x8x8, uint8", "files: +24, such as cat/1.png", "cat 16, dog 8"]),
        ("lines.txt", ["rows of 17 tokens", r"vocabulary: +\d+ character tokens: 'a'|' '", "17 steps a row"]),
        ("ratings.csv --rows ratings", ["users: +16", "items: +11", r"ratings: +\d+, [\d.]+% of all pairs", "1 to 5"]),
        (
            "long.csv --rows series:16,series=sensor,time=time",
            ["series: +2 of 60 steps: a, b", "channels: +1: value", "windows: +16 steps, one every 4", "every 1$"],
        ),
    ],
)
def test_inspect_tells_what_other_rows_are(line: str, wanted: list[str], place: Path, isthmus: Command) -> None:
    data, *options = line.split()
    out = isthmus("inspect", place / data, *options).out
    assert all(re.search(pattern, out, re.M) for pattern in wanted), out
    facts = json.loads(isthmus("inspect", place / data, *options, "--json").out)
    assert facts["rows"] == int(out.split()[0]) and facts["facts"]


def test_inspect_says_which_rows_to_try(place: Path, isthmus: Command) -> None:
    long = isthmus("inspect", place / "long.csv").out
    assert "hint: this looks like series, one step in each row; if it is, try --rows series:64,series=sensor" in long
    assert "try --rows ratings" in isthmus("inspect", place / "ratings.csv").out
    assert "hint" not in isthmus("inspect", place / "people.parquet", "--drop", "day").out


def test_inspect_shows_how_a_model_reads(place: Path, isthmus: Command) -> None:
    assert re.search(r"^city +categorical", isthmus("inspect", place / "people").out, re.M)
    assert "drop       name" in isthmus("inspect", place / "people").out
    assert "read as    image:3x8x8" in isthmus("inspect", place / "images").out
    assert "character tokens" in isthmus("inspect", place / "text").out


# ---- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow", ".jsonl"])
def test_a_table_comes_back_as_a_table(suffix: str, place: Path, isthmus: Command, tmp_path: Path) -> None:
    out = tmp_path / f"r{suffix}"
    result = isthmus("reconstruct", place / "people", place / "people.parquet", "--out", out, "--json")
    assert json.loads(result.out) == {"out": str(out), "shape": [ROWS, 4]}, result.err
    wanted = load(place / "people").reconstruct(place / "people.parquet")
    got = read(out).table  # type: ignore[attr-defined]
    assert got["city"].to_pylist() == wanted["city"].to_pylist()
    np.testing.assert_allclose(got["age"].to_numpy(), wanted["age"].to_numpy())


def test_holes_are_filled_in_by_category_and_number(place: Path, isthmus: Command, tmp_path: Path) -> None:
    out = tmp_path / "full.parquet"
    assert isthmus("impute", place / "people", place / "people.parquet", "--out", out).status == 0
    given, full = mixed()["age"], pq.read_table(out)["age"]
    assert given.null_count and not full.null_count
    assert [b for a, b in zip(given.to_pylist(), full.to_pylist(), strict=True) if a is not None] == [
        a for a in given.to_pylist() if a is not None
    ]


def test_images_come_back_as_a_zip_and_as_one_picture(place: Path, isthmus: Command, tmp_path: Path) -> None:
    for name in ("r.zip", "r.png"):
        result = isthmus("reconstruct", place / "images", place / "pictures", "--out", tmp_path / name)
        assert result.status == 0, result.err
    wanted = load(place / "images").reconstruct(read(place / "pictures", rows="image:3x8x8"))
    opened = read(tmp_path / "r.zip")
    np.testing.assert_array_equal(opened.take(np.arange(24)), wanted.round().astype(np.uint8))
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.mode == "RGB" and picture.size == (5 * 9, 5 * 9)


def test_text_comes_back_as_text(place: Path, isthmus: Command, tmp_path: Path) -> None:
    for verb in ("reconstruct", "interpolate"):
        result = isthmus(verb, place / "text", place / "lines.txt", "--out", tmp_path / f"{verb}.txt")
        assert result.status == 0, result.err
    model = load(place / "text")
    source = read(place / "lines.txt")
    wanted = source.vocabulary.decode(model.reconstruct(source))  # type: ignore[attr-defined]
    assert (tmp_path / "reconstruct.txt").read_text().split("\n")[:-1] == wanted
    assert len((tmp_path / "interpolate.txt").read_text().split("\n")) == 9


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_results_are_written_block_by_block(
    suffix: str, place: Path, isthmus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(blocks: list[Any]) -> Any:
        raise AssertionError("all blocks at once")

    monkeypatch.setattr(results, "joined", refuse)
    for verb in ("encode", "score"):
        result = isthmus(verb, place / "people", place / "people.parquet", "--out", tmp_path / f"{verb}{suffix}")
        assert result.status == 0, result.err


def test_ctrl_c_leaves_nothing(place: Path, isthmus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> Callable[..., Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.estimator.inference.Inference.codes", stop)
    result = isthmus("encode", place / "people", place / "people.parquet", "--out", tmp_path / "z.csv")
    assert result.status == 1
    assert "Traceback" not in result.err
    assert not list(tmp_path.iterdir())


def test_two_rows_of_a_table_of_any_kind_are_joined_by_a_line(place: Path, isthmus: Command, tmp_path: Path) -> None:
    for name, data, out in (("people", "people.parquet", "i.csv"), ("series", "long.csv", "i.npy")):
        result = isthmus("interpolate", place / name, place / data, "--rows", "1,2", "--out", tmp_path / out)
        assert result.status == 0, result.err
    assert len((tmp_path / "i.csv").read_text().splitlines()) == 9
    windows = read(place / "long.csv", rows="series:16,series=sensor,time=time")
    ends = load(place / "series").reconstruct(windows.take(np.array([1, 2])))
    np.testing.assert_allclose(np.load(tmp_path / "i.npy")[[0, -1]], ends, rtol=1e-4, atol=1e-4)


# ---- conditions and labels -------------------------------------------------------------------------------------------


def test_a_column_of_a_table_becomes_the_condition(place: Path, isthmus: Command, tmp_path: Path) -> None:
    for data in ("people.parquet", "parts"):
        arguments = ("fit", place / data, "--drop", "name", "-c", "city", "--recipe", "cvae", *SMALL)
        result = isthmus(*arguments, "--out", tmp_path / data)
        assert result.status == 0, result.err
        schema = load(tmp_path / data).schema_
        assert schema.names == ("age", "day", "vip")
        assert schema.condition_labels == ("Bern", "Oslo", "Rome")
        for conditions in ("city", "Rome"):
            out = tmp_path / f"{conditions}.npy"
            result = isthmus("encode", tmp_path / data, place / data, "-c", conditions, "-o", out, "--overwrite")
            assert result.status == 0, result.err
    assert (np.load(tmp_path / "city.npy") != np.load(tmp_path / "Rome.npy")).any()


def test_the_folders_of_images_become_the_condition(place: Path, isthmus: Command, tmp_path: Path) -> None:
    arguments = ("fit", place / "pictures", "--rows", "image:3x8x8", "-c", "folder", "--recipe", "cvae", *SMALL)
    assert isthmus(*arguments, "--out", tmp_path / "m").status == 0
    model = load(tmp_path / "m")
    assert model.schema_.condition_labels == ("cat", "dog")
    assert isthmus("encode", tmp_path / "m", place / "pictures", "-c", "folder", "-o", tmp_path / "z.npy").status == 0
    source = read(place / "pictures", rows="image:3x8x8")
    wanted = model.transform(source, condition=np.asarray(source.labels))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), wanted)


def test_advice_is_given_on_a_table_of_all_kinds(place: Path, isthmus: Command, tmp_path: Path) -> None:
    result = isthmus("advise", place / "people.parquet", "--drop", "name", "--column", "age:robust", "-g", "detect")
    assert result.status == 0, result.err
    assert "--column age:robust" in result.out and "--drop name" in result.out
    arguments = ("fit", place / "people.parquet", "--drop", "name", "-r", "auto", "--goal", "compress", "--quiet")
    result = isthmus(*arguments, "--set", "training.epochs=1", "--out", tmp_path / "m")
    assert result.status == 0, result.err


# ---- wrong uses ------------------------------------------------------------------------------------------------------

WRONG = [
    ("inspect {}/nothing.csv", "there is no file '.*nothing.csv'; try"),
    ("inspect {}/header.csv", "0 sample"),
    ("inspect {}/junk.csv", r"line 1 of '.*junk.csv': expected text in UTF-8, got zero bytes[ -~]*$"),
    ("inspect {}/junk.zip", "^error: the archive '.*junk.zip' cannot be read: File is not a zip file"),
    ("inspect {}/junk.jsonl", r"line 1 of '.*junk.jsonl': expected a JSON object on each line, got [ -~]*$"),
    ("inspect {}/junk.arrow", "junk.arrow' cannot be read as .arrow"),
    ("inspect file:///nowhere/nothing.parquet", "there is nothing at"),
    ("inspect {}/empty", "^error: the folder .*: expected images .*, or Parquet or Arrow files, got none"),
    ("inspect {}/people --rows table", "expected no --rows, --column or --drop for a model"),
    ("inspect {}/people.parquet --rows image:3x4x4", "column 'city': expected numbers, got string"),
    ("inspect {}/people.parquet --drop nam", "--drop: there is no column 'nam'; did you mean 'name'"),
    ("inspect {}/people.parquet --column nam:numeric", "there is no column 'nam'; did you mean 'name'"),
    ("inspect {}/ratings.csv --rows ratings,user=usrId", "there is no column 'usrId'; did you mean 'userId'"),
    ("inspect {}/ratings.csv --rows ratings:3", "expected sizes of 1 or more where a kind has some"),
    ("fit {}/people.parquet --out {}/m", "column 'name': .*try leaving it out .--drop name., or --column name:categ"),
    ("fit {}/lines.txt -c kind --out {}/m", "neither a file nor a column 'kind'; '.*lines.txt' has no columns"),
    ("fit {}/pictures --rows image:3x8x8 -c kind --out {}/m", "'folder' stands for the folder that an image lies in"),
    ("encode {}/people {}/lines.txt --out {}/z.npy", "expected table rows .*got tokens rows"),
    ("encode {}/images {}/people.parquet --out {}/z.npy", "column 'city': expected numbers"),
    ("encode {}/people {}/people.parquet --out {}/z.txt", "expected a file that holds numbers, got .txt"),
    ("encode {}/people {}/people.parquet --out {}/z.png", "expected a file that holds numbers, got .png"),
    (
        "reconstruct {}/people {}/people.parquet --out {}/r.npy",
        "columns of texts or dates .'city', 'day'.*try .parquet",
    ),
    ("reconstruct {}/people {}/people.parquet --out {}/r.png", "expected images"),
    ("reconstruct {}/people {}/people.parquet --out {}/r.txt", "expected lines of text for a .txt file, got table"),
    ("reconstruct {}/series {}/long.csv --out {}/r.npy", "expected numbers for a .npy file, got columns of"),
    ("report {}/text {}/lines.txt --out {}/r.html", "expected a model of tables, .* got one of lines of text"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_use_gets_a_sentence_and_leaves_nothing(line: str, message: str, place: Path, isthmus: Command) -> None:
    before = sorted(place.rglob("*"))
    result = isthmus(*(word.replace("{}", str(place)) for word in line.split(" ")))
    assert result.status == 2, result.out
    assert re.search(message, result.err.strip()), result.err
    assert result.err.splitlines()[-1].startswith("error: ")
    assert sorted(place.rglob("*")) == before


def test_one_row_is_no_training_set(place: Path, isthmus: Command, tmp_path: Path) -> None:
    result = isthmus("fit", place / "one.csv", "--out", tmp_path / "m", *SMALL)
    assert result.status in (0, 2) and "Traceback" not in result.err
