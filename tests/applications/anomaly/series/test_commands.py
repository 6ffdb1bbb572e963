"""`isthmus detect` and `isthmus explain` on series: the table, the explanation, the page, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import isthmus as library
from isthmus.applications.anomaly.series.intervals import intervals_of
from tests.conftest import Command

SMALL = ("--quiet", "--set", "network.hidden_dims=[16]", "--set", "training.epochs=30", "--alpha", "0.02")
SPEC = "series:8,series=machine,time=when,every=5min"
BROKEN = slice(60, 68)


def machines(steps: int, seed: int, names: tuple[str, ...] = ("left", "right")) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    at = np.arange(steps)
    heat = [np.sin(at / 4 + place) + rng.normal(0, 0.02, steps) for place in range(len(names))]
    when = np.datetime64("2024-05-31T12:00:00", "us") + at * np.timedelta64(5, "m")
    return {
        "machine": np.repeat(names, steps),
        "when": np.tile(when, len(names)),
        "heat": np.concatenate(heat),
        "flow": np.concatenate([2.0 * one + rng.normal(0, 0.02, steps) for one in heat]),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with normal series, and new ones of which "right" is broken at some steps."""
    folder = tmp_path_factory.mktemp("series")
    pq.write_table(pa.table({**machines(700, 0), "known": np.zeros(1400, int)}), folder / "normal.parquet")
    new, known = machines(200, 1), np.zeros(400, int)
    new["flow"][200:][BROKEN] += 6.0
    known[200:][BROKEN] = 1
    pq.write_table(pa.table({**new, "known": known}), folder / "new.parquet")
    wave = np.stack([machines(900, 2)[name][:900] for name in ("heat", "flow")], 1)
    np.save(folder / "wave.npy", wave)
    (folder / "files").mkdir()
    for name in ("a", "b"):
        np.save(folder / "files" / f"{name}.npy", wave[:450] if name == "a" else wave[450:])
    return folder


@pytest.fixture
def model(place: Path, isthmus: Command) -> Path:
    out = place / "model"
    if not out.exists():
        line = ("detect", "fit", place / "normal.parquet", "--rows", SPEC, "--drop", "known", "--out", out, *SMALL)
        result = isthmus(*line)
        assert result.status == 0, result.err
        assert "anomaly detector of series written to" in result.out and "calibration steps" in result.out
    return out


def test_fit_makes_a_detector_of_series(model: Path) -> None:
    detector = library.load(model)
    assert isinstance(detector, library.SeriesDetector)
    assert detector.rows == SPEC and detector.alpha == 0.02 and detector.estimators_[0].schema_.shape == (8, 2)
    assert detector.estimators_[0].recipe_.training.epochs == 30


@pytest.mark.parametrize("data", ["wave.npy", "files"])
def test_arrays_and_folders_of_files_are_series(place: Path, isthmus: Command, data: str) -> None:
    out = place / f"{data}.model"
    result = isthmus("detect", "fit", place / data, "--rows", "series:8", "--out", out, *SMALL, "--json")
    assert result.status == 0, result.err
    assert json.loads(result.out)["threshold"]["level"] == 0.02
    table = place / f"{data}.parquet"
    assert isthmus("detect", out, place / data, "--out", table).status == 0
    found = pq.read_table(table)
    assert found.column_names == ["series", "step", "anomaly_score", "p_value", "alarm", "interval"]
    assert found.num_rows == 900 and len(set(found["series"].to_pylist())) == (2 if data == "files" else 1)


def test_the_table_has_time_step_score_and_interval(model: Path, place: Path, isthmus: Command) -> None:
    out = place / "found.parquet"
    result = isthmus("detect", model, place / "new.parquet", "--out", out, "--overwrite")
    assert result.status == 0, result.err
    assert re.search(r"^\d+ intervals? of alarms, \d+ of 400 steps .* in 2 series; of new normal steps", result.out)
    assert "400 rows written" in result.err and re.search(r"interval \d+: right, from 2024-05-31 1\d:", result.out)
    found = pq.read_table(out)
    assert found.column_names == ["machine", "when", "step", "anomaly_score", "p_value", "alarm", "interval"]
    detector = library.load(model)
    expected = detector.detect(library.read(place / "new.parquet", rows=SPEC, drop=["known"]))
    assert found["anomaly_score"].to_pylist() == expected["anomaly_score"].to_pylist()
    assert found["p_value"].to_pylist() == expected["p_value"].to_pylist()
    alarm = np.array(found["alarm"].to_pylist())
    assert alarm[200:][BROKEN].all() and alarm.tolist() == expected["alarm"].to_pylist()
    assert found["step"].to_pylist() == [*range(200), *range(200)]
    number = np.array([-1 if one is None else one for one in found["interval"].to_pylist()])
    assert ((number >= 0) == alarm).all()
    ranges = [*intervals_of(alarm[:200]), *[(200 + first, 200 + last) for first, last in intervals_of(alarm[200:])]]
    assert [sorted(set(number[first : last + 1])) for first, last in ranges] == [[one] for one in range(len(ranges))]
    only = place / "alarms.csv"
    assert isthmus("detect", model, place / "new.parquet", "--out", only, "--only-alarms", "--overwrite").status == 0
    assert len(only.read_text().splitlines()) == 1 + alarm.sum()


def test_json_names_the_channel_of_the_most_anomalous_interval(model: Path, place: Path, isthmus: Command) -> None:
    first = json.loads(isthmus("detect", model, place / "new.parquet", "--json").out)["explanations"][0]
    assert first["series"] == "right" and first["first_time"].startswith("2024-05-31T")
    assert first["first_step"] <= BROKEN.start <= first["last_step"]
    channels = {one["channel"]: one for one in first["channels"]}
    assert channels.keys() == {"flow", "heat"} and channels["flow"]["seen"] > 3.5
    assert sum(one["share"] for one in first["channels"]) == pytest.approx(1.0)
    again = json.loads(isthmus("explain", model, place / "new.parquet", "--interval", first["interval"], "--json").out)
    assert again == first


def test_explain_takes_a_row_or_an_interval(model: Path, place: Path, isthmus: Command) -> None:
    result = isthmus("explain", model, place / "new.parquet", "--row", 200 + BROKEN.start + 4)
    assert result.status == 0, result.err
    assert result.out.startswith(f"right: an alarm, most anomalous at step {BROKEN.start + 4} of 2024-05-31 17:20:00")
    assert re.search(r"^channel +step +seen +expected +share\n(heat.*\n)?flow +6\d ", result.out, re.M)
    assert ": no alarm, " in isthmus("explain", model, place / "new.parquet", "--row", 20).out
    for name in ("one.png", "one.csv"):
        out = place / name
        done = isthmus("explain", model, place / "new.parquet", "--interval", 0, "--out", out, "--overwrite")
        assert done.status == 0 and "interval 0 written to" in done.err, done.err
    assert np.asarray(Image.open(place / "one.png").convert("L")).std() > 5
    assert (place / "one.csv").read_text().startswith('"series","first","last","anomaly_score","p_value","channel"')


def test_the_page_shows_series_over_time(model: Path, place: Path, isthmus: Command) -> None:
    out = place / "page.html"
    result = isthmus("detect", "report", model, place / "new.parquet", "--labels", "known", "--out", out, "--overwrite")
    assert result.status == 0, result.err
    page = out.read_text()
    for text in ('alt="left over time"', 'alt="right over time"', "2024-05-31 1", "<b>flow</b>", "1 of 1", "AUROC"):
        assert text in page, text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)  # it needs nothing but itself
    plain = place / "plain.html"
    assert isthmus("detect", model, place / "new.parquet", "--report", plain, "--overwrite").status == 0
    assert "AUROC" not in plain.read_text() and 'alt="right over time"' in plain.read_text()


WRONG = [
    ("detect fit {}/normal.parquet --rows series:8 --out {}/m --scores neighbours", "expected no --scores for series"),
    ("detect fit {}/normal.parquet --rows series:1 --out {}/m", "expected rows that are windows of two steps or more"),
    ("detect fit {}/normal.parquet --rows series:8 --out {}/m --recipe vae --recipe vae", "no second --recipe for"),
    (
        "detect fit {}/normal.parquet --rows series:8 --out {}/m --set training.epoch=3",
        "there is no setting 'epoch'; did you mean 'epochs'",
    ),
    ("detect fit {}/normal.parquet --rows series:8 --out {}/m --training-contamination 0.1", "expected no --training-"),
    ("detect fit {}/files/a.npy --rows series:400 --out {}/m", "expected a series of at least 1000 steps"),
    ("detect {}/model {}/new.parquet --fdr 0.1", "expected no --fdr for series"),
    ("detect {}/model {}/wave.npy", "expected .*, got "),
    ("detect report {}/model {}/new.parquet --labels knwn --out {}/p.html", "no column 'knwn'"),
    ("detect report {}/model {}/new.parquet --labels {}/files/a.npy --out {}/p.html", "label"),
    ("explain {}/model {}/new.parquet --row 400", "expected a row from 0 to 399, got 400"),
    ("explain {}/model {}/new.parquet --interval 400", "expected an interval from 0 to "),
    ("explain {}/model {}/new.parquet", "expected either --row or --interval, got neither"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_gets_a_sentence(line: str, message: str, model: Path, place: Path, isthmus: Command) -> None:
    result = isthmus(*(word.replace("{}", str(place)) for word in line.split(" ")))
    assert result.status == 2 and re.search(message, result.err), result.err
    assert result.err.splitlines()[-1].startswith("error: ") and not (place / "m").exists()
