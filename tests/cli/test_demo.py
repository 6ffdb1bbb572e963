"""The main job: what it leaves is whole and true, and a job that fails leaves nothing."""

from __future__ import annotations

import importlib.resources
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from isthmus import Autoencoder, load, presets
from isthmus.cli import demo
from isthmus.cli.demo import DemoResult, run_demo
from isthmus.datasets.bundled import fashion_mnist
from isthmus.errors import ArtifactError, DataError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, list[Any]]:
    shown: list[Any] = []
    result = run_demo(tmp_path_factory.mktemp("demo") / "out", quick=True, echo=shown.append)
    return result, shown


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace training and the page by next to nothing."""

    def train(recipe: Any, rows: np.ndarray, seed: int) -> Autoencoder:
        tiny = {"network.hidden_dims": (2,), "code.latent_dim": 2, "training.epochs": 1}
        return Autoencoder(recipe.replace(tiny), random_state=seed).fit(rows[:40])

    monkeypatch.setattr(demo, "_train", train)
    monkeypatch.setattr(demo, "write_report", lambda models, rows, path, **_: Path(path).write_text("page"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_both_models_the_page_and_true_figures(made: tuple[DemoResult, list[Any]]) -> None:
    result, _ = made
    assert sorted(path.name for path in result.folder.iterdir()) == ["autoencoder", "demo.json", "report.html", "vae"]
    assert [path.name for path in result.folder.parent.iterdir()] == ["out"]
    assert result.folder.stat().st_mode & 0o777 == 0o755
    images = fashion_mnist()
    held_out, training = demo._split(images, quick=True)
    for name in ("autoencoder", "vae"):
        model, figures = load(result.models[name]), result.figures[name]
        wrong = (images.images[held_out] - model.reconstruct(images.images[held_out])) / 255.0
        assert figures.mse == pytest.approx(np.square(wrong).mean(), rel=1e-5)
        assert figures.training_rows == 0.9 * len(training) and figures.rows == len(held_out) == 200
    assert load(result.models["autoencoder"]).recipe_.corruption is not None
    assert result.figures["vae"].is_bound and not result.figures["autoencoder"].is_bound
    page = result.report.read_text(encoding="utf-8")
    assert len(page) < 3_000_000
    for text in ("200 images of garments", "Ankle boot", "isthmus demo --out out --seed 0 --quick", 'id="samples"'):
        assert text in page
    assert json.loads((result.folder / "demo.json").read_text())["figures"]["vae"]["mse"] == result.figures["vae"].mse
    assert result.to_dict()["figures"]["vae"]["compression_ratio"] == 784 / 64


def test_it_ends_with_a_short_table_and_the_path(made: tuple[DemoResult, list[Any]]) -> None:
    result, shown = made
    *_, table, path = shown
    assert isinstance(table, Table) and path == f"Open {result.report}"
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    figures = result.figures
    for value in (
        f"{figures['vae'].mse:.5f}",
        f"{figures['vae'].psnr:.1f} dB",
        f"{figures['vae'].score:.1f}",
        "6.1 : 1",
    ):
        assert value in text
    assert f"{figures['autoencoder'].score:.1f}" not in text  # another likelihood, not to be compared
    assert len(text.splitlines()) < 16


def test_what_is_shown_is_printed_if_nobody_takes_it(
    instant: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    folder = tmp_path / ("a long name " * 5)
    run_demo(folder)
    assert f"Open {folder}/report.html" in capsys.readouterr().out.splitlines()


def test_the_test_images_are_held_out_and_the_same_for_every_seed() -> None:
    for quick, held_out, training in ((False, 1500, 8500), (True, 200, 800)):
        first, second = demo._split(fashion_mnist(), quick)
        assert (len(first), len(second)) == (held_out, training)
        assert not set(first) & set(second)
        assert (demo._split(fashion_mnist(), quick)[0] == first).all()


def test_the_seed_decides_the_models(instant: None, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_demo(tmp_path / name, seed=seed, quick=True, echo=lambda _: None)
        weights.append((tmp_path / name / "vae" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


# ---- the folder ------------------------------------------------------------------------------------------------------


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def a_model(path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    Autoencoder(presets.autoencoder(latent_dim=1, hidden_dims=(2,), epochs=1)).fit(x).save(path)


def a_demo_and_more(path: Path) -> None:
    path.mkdir()
    (path / "demo.json").write_text('{"made_by": "isthmus demo"}')
    (path / "notes.txt").write_text("mine")


def another_mark(path: Path) -> None:
    path.mkdir()
    (path / "demo.json").write_text('["isthmus demo"]')


def a_strangers_mark(path: Path) -> None:
    path.mkdir()
    (path / "demo.json").write_text('{"made_by": "somebody"}')


def a_link(path: Path) -> None:
    path.symlink_to(path.parent)


@pytest.mark.parametrize(
    ("there", "overwrite", "message"),
    [
        (a_folder, False, "exists; try another name, or overwrite=True"),
        (a_demo_and_more, False, "exists; try another name, or overwrite=True"),
        (a_file, True, "is no folder that a demo made"),
        (a_link, True, "is no folder that a demo made"),
        (a_folder, True, "was not made by a demo"),
        (a_model, True, "was not made by a demo"),
        (another_mark, True, "was not made by a demo"),
        (a_strangers_mark, True, "was not made by a demo"),
        (a_demo_and_more, True, r"holds more than a demo made \(notes.txt\)"),
    ],
)
def test_what_a_demo_did_not_make_is_left_alone(there: Any, overwrite: bool, message: str, tmp_path: Path) -> None:
    there(tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        run_demo(tmp_path / "out", overwrite=overwrite, quick=True, echo=lambda _: None)
    assert contents(tmp_path) == before and len(list(tmp_path.iterdir())) == 1


def test_there_must_be_a_folder_to_make_it_in(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"there is no folder .*nowhere' to make .* try making it first"):
        run_demo(tmp_path / "nowhere" / "out", quick=True)


def test_an_earlier_demo_and_an_empty_folder_are_replaced_when_asked(instant: None, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for seed in (1, 2):
        run_demo(folder, seed=seed, overwrite=True, quick=True, echo=lambda _: None)
        assert json.loads((folder / "demo.json").read_text())["seed"] == seed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failure", [RuntimeError("no room"), KeyboardInterrupt()])
def test_a_demo_that_fails_leaves_what_was_there(
    failure: BaseException, instant: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    run_demo(tmp_path / "out", quick=True, echo=lambda _: None)
    before = contents(tmp_path)
    monkeypatch.setattr(demo, "write_report", fail)
    for name in ("out", "new"):
        with pytest.raises(type(failure)):
            run_demo(tmp_path / name, overwrite=True, quick=True, echo=lambda _: None)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(
    instant: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "write_report", lambda *_, **__: a_folder(tmp_path / "out"))
    with pytest.raises(ArtifactError, match="exists"):
        run_demo(tmp_path / "out", quick=True, echo=lambda _: None)
    assert contents(tmp_path) == {"out/notes.txt": b"mine"}


def test_ctrl_c_while_a_model_trains_stops_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: Autoencoder, rows: np.ndarray) -> Autoencoder:
        model.recipe = presets.autoencoder(latent_dim=1, hidden_dims=(2,), epochs=1)
        fit(model, rows[:20])
        model.history_.stop_reason = "interrupted"  # so training ends a run that Ctrl-C stopped
        return model

    fit = Autoencoder.fit
    monkeypatch.setattr(Autoencoder, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "out", quick=True, echo=lambda _: None)
    assert not list(tmp_path.iterdir())


# ---- the images ------------------------------------------------------------------------------------------------------


def test_the_images_that_ship_are_those_of_fashion_mnist() -> None:
    images = fashion_mnist()
    assert images.images.shape == (10_000, 28, 28) and images.images.dtype == np.uint8
    assert np.bincount(images.labels).tolist() == [1000] * 10
    assert images.class_names[9] == "Ankle boot"
    licence = importlib.resources.files("isthmus.datasets.bundled") / "FASHION_MNIST_LICENSE.txt"
    assert "MIT" in licence.read_text(encoding="utf-8")


def test_damaged_images_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"cannot be read .* try to reinstall isthmus"):
        fashion_mnist()
    (tmp_path / "fashion_mnist_test.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="cannot be read"):
        fashion_mnist()
