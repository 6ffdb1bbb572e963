"""`isthmus detect` and `isthmus explain` on real files: what is written and printed, and what wrong input is told."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import isthmus as library
from isthmus.applications.anomaly.detector import AnomalyDetector
from tests.conftest import Command

SMALL = ("--quiet", "--recipe", "denoising", "--set", "network.hidden_dims=[16]", "--set", "training.epochs=25")
ALARMS = [3, 40, 77]


def machines(count: int, seed: int = 0) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    heat = rng.normal(60, 5, count)
    return {
        "heat": heat,
        "pressure": 2 * heat + rng.normal(0, 1, count),
        "state": np.where(heat > 62, "busy", "calm"),
        "doors": rng.integers(0, 3, count),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files right and wrong, a detector and a model that is none."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    pq.write_table(pa.table(machines(500)), folder / "normal.parquet")
    new = machines(120, seed=1)
    new["pressure"][ALARMS] += 60  # type: ignore[index]
    with (folder / "new.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(new)
        writer.writerows(zip(*new.values(), strict=True))  # type: ignore[call-overload]
    marks = np.where(np.isin(np.arange(120), ALARMS), "fault", "normal")
    pq.write_table(pa.table({**new, "known": marks, "all": ["normal"] * 120}), folder / "labelled.parquet")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("heat,pressure,state,doors\n")
    (folder / "other.csv").write_text("heat,pressure,stat,doors\n60,120,busy,1\n")
    images = np.random.default_rng(2).integers(90, 110, (150, 8, 8)).astype("uint8")
    images[:, 2:6, 2:6] += 80
    np.save(folder / "images.npy", images)
    images[0, 0:2, 0:2] = 255
    np.save(folder / "bad.npy", images[:60])
    steps = np.arange(900)
    wave = np.sin(steps / 4) + np.random.default_rng(3).normal(0, 0.02, 900)
    pq.write_table(pa.table({"t": steps, "wave": wave}), folder / "wave.parquet")
    wave[40:44] += 3
    pq.write_table(pa.table({"t": steps[:200], "wave": wave[:200]}), folder / "broken.parquet")
    return folder


@pytest.fixture(scope="module")
def fitted(place: Path) -> Path:
    """The same folder with detectors of a table, images and series in it, and an autoencoder."""
    recipe = library.presets.denoising(latent_dim=2, hidden_dims=(16,), epochs=25, validation_fraction=0.0)
    for name, data in (
        ("detector", library.read(place / "normal.parquet")),
        ("pictured", np.load(place / "images.npy")),
        ("waves", library.read(place / "wave.parquet", rows="series:16,time=t")),
    ):
        AnomalyDetector(recipe, scores="reconstruction", alpha=0.02, random_state=0).fit(data).save(place / name)
    library.Autoencoder(recipe).fit(np.random.default_rng(0).normal(size=(40, 4))).save(place / "autoencoder")
    return place


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# ---- fit -------------------------------------------------------------------------------------------------------------


def test_fit_writes_a_detector_that_keeps_what_was_asked(place: Path, isthmus: Command) -> None:
    out = place / "made"
    asked = ("--alpha", "0.05", "--n-estimators", "2", "--scores", "reconstruction, mahalanobis", "--drop", "doors")
    result = isthmus("detect", "fit", place / "normal.parquet", "--out", out, *SMALL, *asked)
    assert result.status == 0, result.err
    assert "detector written to" in result.out and "at most 5 %" in result.out and "2 autoencoders" in result.out
    detector = library.load(out)
    assert isinstance(detector, AnomalyDetector)
    assert detector.alpha == 0.05 and len(detector.estimators_) == 2
    assert [part.score.kind for part in detector.ensemble_.parts] == ["reconstruction", "mahalanobis"] * 2
    assert detector.estimators_[0].schema_.names == ("heat", "pressure", "state")
    again = isthmus("detect", "fit", place / "normal.parquet", "--out", out, *SMALL)
    assert again.status == 2 and "exists; try another name" in again.err


def test_fit_prints_json_and_the_seed_decides(place: Path, isthmus: Command) -> None:
    bounds = []
    for seed in (1, 1, 2):
        told = isthmus(
            "detect", "fit", place / "normal.parquet", "--out", place / "seeded", *SMALL, "--seed", seed, "--json",
            "--overwrite", "--threshold", "quantile",
        )  # fmt: skip
        facts = json.loads(told.out)
        bounds.append(facts["threshold"]["value"])
        assert facts["threshold"]["kind"] == "quantile" and facts["scores"]
    assert bounds[0] == bounds[1] != bounds[2]


def test_ctrl_c_writes_nothing(place: Path, isthmus: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isthmus.training.loop._epochs", stop)
    result = isthmus(
        "detect", "fit", place / "normal.parquet", "--out", place / "never", *SMALL, "--training-contamination", "0.1"
    )
    assert result.status == 1 and result.err.strip().endswith("interrupted: nothing is written")
    assert not (place / "never").exists()


# ---- alarms ----------------------------------------------------------------------------------------------------------


def test_every_row_has_a_line_and_alarms_have_reasons(fitted: Path, isthmus: Command) -> None:
    out = fitted / "alarms.csv"
    result = isthmus("detect", fitted / "detector", fitted / "new.csv", "--out", out, "--overwrite")
    assert result.status == 0, result.err
    assert re.match(r"\d+ alarms among 120 rows \(\d+ %\); of new normal rows at most 2 % become alarms", result.out)
    assert "120 rows written to" in result.err
    lines = lines_of(out)
    assert [int(line["row"]) for line in lines] == list(range(120))
    detector = library.load(fitted / "detector")
    rows = library.read(fitted / "new.csv")
    assert [float(line["anomaly_score"]) for line in lines] == pytest.approx((-detector.score_samples(rows)).tolist())
    assert [float(line["p_value"]) for line in lines] == pytest.approx(detector.p_values(rows).tolist())
    assert [line["alarm"] == "true" for line in lines] == detector.alarms(rows).tolist()
    for row in ALARMS:
        assert lines[row]["column_1"] == "pressure" and lines[row]["sentence"].startswith(
            f"Row {row} is more anomalous"
        )
        assert float(lines[row]["share_1"]) > 0.5 and f"Row {row} " in result.out
    assert all(not line["sentence"] for line in lines if line["alarm"] == "false")


def test_only_alarms_and_fdr_and_json(fitted: Path, isthmus: Command) -> None:
    out = fitted / "few.parquet"
    result = isthmus(
        "detect", "--only-alarms", fitted / "detector", fitted / "new.csv", "--fdr", "0.5", "--out", out, "--json"
    )
    assert result.status == 0, result.err
    told = json.loads(result.out)
    rows = pq.read_table(out)["row"].to_pylist()
    assert set(ALARMS) <= set(rows) and told["alarms"] == len(rows) and told["rows"] == 120
    assert told["explanations"][0]["row"] in ALARMS and told["explanations"][0]["parts"][0]["place"] == "pressure"
    assert "at most 50 % are false" in told["guarantee"]
    none = isthmus("detect", fitted / "detector", fitted / "new.csv", "--fdr", "0.0001")
    assert none.status == 0 and "too coarse" in none.out


def test_reasons_can_be_fewer_than_alarms(fitted: Path, isthmus: Command) -> None:
    out = fitted / "one.jsonl"
    result = isthmus("detect", fitted / "detector", fitted / "new.csv", "--most", "1", "--out", out)
    assert "the 1 most anomalous of" in result.err
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(line["sentence"] is not None for line in lines) == 1 and sum(line["alarm"] for line in lines) >= 3


def test_a_folder_named_fit_is_reached_by_its_path(
    fitted: Path, isthmus: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    library.load(fitted / "detector").save("fit")
    assert isthmus("detect", "./fit", fitted / "new.csv").status == 0
    assert "Missing option" in isthmus("detect", "fit", fitted / "new.csv").err


# ---- one row ---------------------------------------------------------------------------------------------------------


def test_explain_prints_a_sentence_and_the_columns(fitted: Path, isthmus: Command) -> None:
    result = isthmus("explain", fitted / "detector", fitted / "new.csv", "--row", 40)
    assert result.status == 0, result.err
    assert result.out.startswith("Row 40 is more anomalous than all ") and "pressure is " in result.out
    assert re.search(r"^column +seen +expected +share", result.out, re.M)
    normal = isthmus("explain", fitted / "detector", fitted / "new.csv", "--row", 0)
    assert normal.out.startswith("Row 0 is no alarm: ")
    told = json.loads(isthmus("explain", fitted / "detector", fitted / "new.csv", "--row", 40, "--json").out)
    assert told["row"] == 40 and told["alarm"] is True and len(told["parts"]) == 4
    assert sum(part["share"] for part in told["parts"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("model", "data", "row"), [("detector", "new.csv", 3), ("pictured", "bad.npy", 0), ("waves", "broken.parquet", 8)]
)
def test_explain_writes_pictures_and_tables(fitted: Path, isthmus: Command, model: str, data: str, row: int) -> None:
    picture, table = fitted / f"{model}.png", fitted / f"{model}.csv"
    for out in (picture, table):
        result = isthmus("explain", fitted / model, fitted / data, "--row", row, "--out", out)
        assert result.status == 0, result.err
    assert np.asarray(Image.open(picture)).std() > 5
    shares = [float(line["share"]) for line in lines_of(table)]
    assert sum(shares) == pytest.approx(1.0)


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_alarms_and_how_good_they_are(fitted: Path, isthmus: Command) -> None:
    out = fitted / "page.html"
    result = isthmus(
        "detect", "report", fitted / "detector", fitted / "labelled.parquet", "--labels", "known", "--drop", "all",
        "--out", out,
    )  # fmt: skip
    assert result.status == 0, result.err
    page = out.read_text()
    for text in ("Alarms of detector", "AUROC", "ROC curve", "False alarms", "row 40", "label fault", "pressure"):
        assert text in page, text
    assert "3 (100 %)" in page  # caught
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)  # it needs nothing but itself


@pytest.mark.parametrize(("model", "data"), [("pictured", "bad.npy"), ("waves", "broken.parquet")])
def test_the_page_of_images_and_series(fitted: Path, isthmus: Command, model: str, data: str) -> None:
    out = fitted / f"{model}.html"
    result = isthmus("detect", fitted / model, fitted / data, "--report", out)
    assert result.status == 0, result.err
    page = out.read_text()
    assert 'alt="row ' in page and ("heat map" in page if model == "pictured" else "what was expected" in page)


# ---- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = [
    ("detect fit {}/missing.csv --out {}/m", "there is no file '.*missing.csv'"),
    ("detect fit {}/empty.csv --out {}/m", "empty.csv' is empty"),
    ("detect fit {}/header.csv --out {}/m", "0 sample|at least 4 rows"),
    ("detect fit {}/normal.parquet --out {}/m --drop door", "no column 'door'; did you mean 'doors'"),
    ("detect fit {}/normal.parquet --out {}/m --column doors", "--column: expected NAME:KIND"),
    ("detect fit {}/normal.parquet --out {}/m --alpha 2", "alpha: expected a share between 0 and 1, got 2"),
    (
        "detect fit {}/normal.parquet --out {}/m --training-contamination 0.9",
        r"training_contamination: expected a number in \[0, 0.5\], got 0.9",
    ),
    ("detect fit {}/normal.parquet --out {}/m --threshold conform", "threshold: expected one of .*try 'conformal'"),
    ("detect fit {}/normal.parquet --out {}/m --scores recon", "there is no score 'recon'"),
    ("detect fit {}/normal.parquet --out {}/m --recipe denoisng", "no preset 'denoisng'; did you mean 'denoising'"),
    ("detect fit {}/normal.parquet --out {}/m --set epochz=3", "there is no setting 'epochz'"),
    ("detect fit {}/normal.parquet --out {}/m --set epochs", "expected PATH=VALUE"),
    ("detect fit {}/normal.parquet --out {}/no/m", "there is no folder"),
    ("detect fit {}/normal.parquet --out .", "expected the name of a folder to make"),
    ("detect fit {}/normal.parquet --out {}/autoencoder --overwrite", "not only an application's folder"),
    ("detect {}/nowhere {}/new.csv", "expected a detector's folder, or `fit` or `report`"),
    ("detect fti {}/new.csv --out m", "got 'fti'; try isthmus detect fit"),
    ("detect {} {}/new.csv", "is not a model folder: it has no manifest.json"),
    (
        "detect {}/autoencoder {}/new.csv",
        "expected a detector's folder, got an autoencoder's; try isthmus detect fit",
    ),
    ("detect {}/detector {}/missing.csv", "there is no file"),
    ("detect {}/detector {}/empty.csv", "is empty"),
    ("detect {}/detector {}/other.csv", r"missing \['state'\], unknown \['stat'\]"),
    ("detect {}/detector {}/labelled.parquet", r"unknown \['known', 'all'\]; try leaving them out \(--drop\)"),
    ("detect {}/detector {}/new.csv --out {}/a.npy", "there is no kind of table '.npy'"),
    ("detect {}/detector {}/new.csv --out {}/normal.parquet", "exists; try another name, or --overwrite"),
    ("detect {}/detector {}/new.csv --fdr 0", "--fdr: expected a share between 0 and 1"),
    ("detect {}/detector {}/new.csv --condition 3", "expected no --condition"),
    ("explain {}/detector {}/new.csv --row 120", "expected a row from 0 to 119, got 120"),
    ("explain {}/autoencoder {}/new.csv --row 1", "expected a detector's folder, got an autoencoder's"),
    ("explain {}/detector {}/new.csv --row 1 --out {}/p.gif", "there is no kind of output '.gif'"),
    ("explain {}/pictured {}/bad.npy --row 1 --out {}/p.svg", "expected a .png file for an image"),
    ("detect report {}/detector {}/labelled.parquet --labels knwn --drop all --out {}/r.html", "no column 'knwn'"),
    (
        "detect report {}/detector {}/labelled.parquet --labels all --drop known --out {}/r.html",
        "--labels: expected labels",
    ),
    ("detect report {}/detector {}/labelled.parquet --labels known --drop all --normal good --out {}/r.html", "'good'"),
    ("encode {}/detector {}/new.csv --out {}/z.npy", "holds an application .anomaly detector. and not one autoencoder"),
    ("report {}/detector {}/new.csv --out {}/r.html", "holds an application"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_gets_a_sentence_and_leaves_nothing(
    line: str, message: str, fitted: Path, isthmus: Command
) -> None:
    before = {path: path.stat().st_mtime_ns for path in fitted.rglob("*")}
    result = isthmus(*(word.replace("{}", str(fitted)) for word in line.split(" ")))
    assert result.status == 2, result.err
    assert re.search(message, result.err), result.err
    assert result.err.startswith("error: ") and "Traceback" not in result.err
    assert {path: path.stat().st_mtime_ns for path in fitted.rglob("*")} == before


def test_inspect_tells_of_a_detector(fitted: Path, isthmus: Command) -> None:
    result = isthmus("inspect", fitted / "detector")
    assert result.status == 0 and "anomaly detector" in result.out and "at most 2 %" in result.out
    told = json.loads(isthmus("inspect", fitted / "detector", "--json").out)
    assert told["threshold"]["level"] == 0.02 and told["scores"] == ["reconstruction"]


def test_help_names_the_way_without_a_command(isthmus: Command) -> None:
    assert "isthmus detect [OPTIONS]" in isthmus("detect", "model", "--help").out
    assert re.search(r"\n\W*detect ", isthmus("--help").out)
