"""Every application in the table: fit, save and load to the bit, clone, pickle, inspect, its commands and its page."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import isthmus as library
from isthmus.applications import APPLICATIONS, entry_of
from isthmus.applications.contract import resolve
from isthmus.applications.folder import application_of
from isthmus.cli.app import application_commands
from isthmus.errors import ArtifactError
from tests.conftest import Command

Rows = np.ndarray[Any, np.dtype[np.float64]]
RECIPE = library.presets.autoencoder(
    latent_dim=2, hidden_dims=(8,), epochs=4, preprocessing="standard", validation_fraction=0.0
)


@dataclass(frozen=True)
class Case:
    """How an application is tried: its parameters, its results for rows, and the command line that uses its folder."""

    parameters: dict[str, Any]
    results: Callable[[Any, Rows], Rows]
    command: tuple[str, ...]
    page: tuple[str, ...]


# A new application is tested by a line of its own.
CASES = {
    "anomaly_detector": Case(
        {"recipe": RECIPE, "alpha": 0.1, "random_state": 0},
        lambda model, rows: model.score_samples(rows),
        ("detect", "MODEL", "DATA"),
        ("detect", "report", "MODEL", "DATA", "--out", "PAGE"),
    ),
    "series_detector": Case(
        {"rows": "series:8", "recipe": RECIPE, "alpha": 0.1, "random_state": 0},
        lambda model, rows: model.score_samples(rows),
        ("detect", "MODEL", "DATA"),
        ("detect", "report", "MODEL", "DATA", "--out", "PAGE"),
    ),
}


def rows_of(seed: int) -> Rows:
    steps = np.arange(300)[:, None] + 1000.0 * seed
    return np.sin(steps / [3.0, 5.0, 9.0]) + 0.05 * np.random.default_rng(seed).normal(size=(300, 3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of each application, named as in the table, an autoencoder's folder, and rows."""
    place = tmp_path_factory.mktemp("applications")
    for name, case in CASES.items():
        resolve(APPLICATIONS[name].model)(**case.parameters).fit(rows_of(0)).save(place / name)
    library.Autoencoder(RECIPE).fit(rows_of(0)).save(place / "autoencoder")
    np.save(place / "rows.npy", rows_of(1))
    return place


def test_every_application_is_tried() -> None:
    assert APPLICATIONS.keys() == CASES.keys()


@pytest.fixture(params=APPLICATIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_loaded_one_gives_equal_results_to_the_bit(name: str, folders: Path, tmp_path: Path) -> None:
    case, cls = CASES[name], resolve(APPLICATIONS[name].model)
    fitted = cls(**case.parameters).fit(rows_of(0))
    expected = case.results(fitted, rows_of(1))
    fitted.save(tmp_path / "model")
    for loaded in (cls.load(tmp_path / "model"), library.load(tmp_path / "model"), library.load(folders / name)):
        assert type(loaded) is cls
        np.testing.assert_array_equal(case.results(loaded, rows_of(1)), expected)
    with pytest.raises(ArtifactError, match="exists"):
        fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model", overwrite=True)


def test_it_is_a_scikit_learn_estimator(name: str, folders: Path) -> None:
    case, loaded = CASES[name], library.load(folders / name)
    assert clone(loaded).get_params()["alpha"] == 0.1 and not hasattr(clone(loaded), "estimators_")
    again = clone(resolve(APPLICATIONS[name].model)(**case.parameters)).fit(rows_of(0))
    expected = case.results(loaded, rows_of(1))
    np.testing.assert_array_equal(case.results(again, rows_of(1)), expected)
    np.testing.assert_array_equal(case.results(pickle.loads(pickle.dumps(loaded)), rows_of(1)), expected)


def test_its_folder_has_neutral_names(name: str, folders: Path) -> None:
    found = {path.name for path in (folders / name).iterdir()}
    assert found == {"application.json", "application.safetensors", "autoencoders", "manifest.json", "README.md"}
    assert application_of(folders / name) == name and entry_of(folders / name) is APPLICATIONS[name]
    first = library.load(folders / name / "autoencoders" / "0")
    assert isinstance(first, library.Autoencoder)


def test_inspect_prints_what_it_says_of_itself(name: str, folders: Path, isthmus: Command) -> None:
    described = library.load(folders / name).describe()
    result = isthmus("inspect", folders / name)
    assert result.status == 0, result.err
    assert result.out.startswith(described.title + "\n")
    assert all(sentence in result.out for sentence in described.sentences)
    printed = json.loads(isthmus("inspect", folders / name, "--json").out)
    assert printed == {**described.facts, "recipes": printed["recipes"], "schema": printed["schema"]}
    where = folders / name / "autoencoders" / "0"
    assert str(where) in result.out and isthmus("inspect", where).status == 0


def test_its_commands_are_mounted_and_work(name: str, folders: Path, isthmus: Command, tmp_path: Path) -> None:
    case, page = CASES[name], tmp_path / "page.html"
    places = {"MODEL": folders / name, "DATA": folders / "rows.npy", "PAGE": page}
    commands = resolve(APPLICATIONS[name].commands)
    assert commands.keys() <= application_commands().keys() and case.command[0] in commands
    for line in (case.command, case.page):
        result = isthmus(*(places.get(word, word) for word in line))
        assert result.status == 0, result.err
    assert "</html>" in page.read_text() and str(folders / name) in page.read_text()


def test_a_wrong_folder_is_refused(name: str, folders: Path, isthmus: Command) -> None:
    cls = resolve(APPLICATIONS[name].model)
    for other in ({*APPLICATIONS, "autoencoder"}) - {name}:
        with pytest.raises(
            ArtifactError, match=r"holds (the application|an autoencoder and no application).* try isthmus\.load"
        ):
            cls.load(folders / other)
    word = CASES[name].command
    places = {"MODEL": folders / "autoencoder", "DATA": folders / "rows.npy"}
    result = isthmus(*(places.get(one, one) for one in word))
    assert result.status == 2 and "got an autoencoder's" in result.err


def test_an_unknown_application_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch, isthmus: Command) -> None:
    monkeypatch.delitem(APPLICATIONS, "series_detector")
    with pytest.raises(ArtifactError, match="there is no application 'series_detector'"):
        library.load(folders / "series_detector")
    assert isthmus("inspect", folders / "series_detector").status == 2
