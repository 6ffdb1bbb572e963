"""`isthmus advise`: what it prints can be copied and run; `fit --recipe auto` trains the same."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus import advise, presets
from isthmus.advice import GOALS
from isthmus.cli import app
from isthmus.cli.advise import command, show
from isthmus.recipe import Recipe

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def isthmus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            app.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a place with spaces")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 6)) + 0.2 * rng.normal(size=(120, 6))
    np.save(folder / "table.npy", table)
    np.savez(folder / "two.npz", x=(table > 0).astype(np.uint8), y=np.arange(120))
    names = ["a", "b c", "[red]", "d", "e", "kind"]
    lines = [",".join(f"{value:.6f}" for value in row[:5]) + ",word" for row in table]
    (folder / "lines.txt").write_text("one\ntwo\nthree\n" * 10)
    (folder / "words.csv").write_text(",".join(names) + "\n" + "\n".join(lines) + "\n")
    (folder / "empty.csv").write_text("")
    np.save(folder / "column.npy", table[:, :1])
    np.save(folder / "same.npy", np.ones((20, 4)))
    np.save(folder / "ten.npy", table[:10])
    return folder


def printed_command(text: str) -> list[str]:
    lines = re.search(r"^isthmus fit .*?[^\\]$", text, re.M | re.S)
    assert lines is not None, text
    return shlex.split(lines[0].replace("\\\n", ""))


def saved(folder: Path) -> Recipe:
    return Recipe.from_json(folder / "recipe.json")


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("width", [80, 200])
def test_the_printed_command_trains_what_is_advised(
    goal: str, width: int, place: Path, isthmus: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    data = f"{place / 'two.npz'}#x"
    status, out, err = isthmus("advise", data, "--goal", goal)
    assert (status, err) == (0, "")
    for part in ("What the rows are", "Why", "The kinds that were weighed", "chosen:"):
        assert part in out
    words = printed_command(out)
    assert words[2] == data
    # What is in the way of a long path is let be: it has to be copied whole.
    assert all(len(line.rstrip()) <= width for line in out.splitlines() if not line.startswith("isthmus fit"))
    words[words.index("model")] = str(tmp_path / "m")
    status, _, err = isthmus(*words[1:], "--quiet", "--set", "training.epochs=1", "--set", "network.hidden_dims=[8]")
    assert status == 0, err
    advice = advise(data, goal)
    wanted = advice.recipe.replace({"training.epochs": 1, "network.hidden_dims": [8]})
    model = saved(tmp_path / "m")
    assert model.code == wanted.code and model.corruption == wanted.corruption
    for path, value in advice.settings.items():
        if path in model.paths() and path not in ("training.epochs", "network.hidden_dims"):
            assert json.loads(json.dumps(model.paths()[path])) == value


def test_dropped_columns_are_dropped_in_the_command_too(place: Path, isthmus: Command) -> None:
    status, out, _ = isthmus("advise", place / "words.csv", "--goal", "detect", "--drop", "kind", "--drop", "b c")
    assert status == 0
    words = printed_command(out)
    assert [words[i + 1] for i, word in enumerate(words) if word == "--drop"] == ["kind", "b c"]


def test_json_is_the_advice_and_its_command(place: Path, isthmus: Command) -> None:
    _, out, _ = isthmus("advise", place / "table.npy", "--goal", "compress", "--json")
    conditions = json.loads(out)
    advice = advise(place / "table.npy", "compress")
    assert conditions["settings"] == advice.settings and conditions["preset"] == advice.preset
    assert Recipe.from_dict(conditions["recipe"]) == advice.recipe
    assert conditions["facts"]["rows"] == 120 and conditions["kinds"][0]["chosen"]
    assert shlex.split(conditions["command"]) == shlex.split(" ".join(command(advice, str(place / "table.npy"))))


def test_the_recipe_auto_is_what_is_advised(place: Path, isthmus: Command, tmp_path: Path) -> None:
    quick = ("--quiet", "--set", "training.epochs=2")
    status, _, err = isthmus(
        "fit", place / "table.npy", "-o", tmp_path / "m", "--recipe", "auto", "--goal", "detect", *quick
    )
    assert status == 0, err
    assert err.startswith("--recipe auto for --goal detect: --recipe denoising --set code.latent_dim=")
    advice = advise(place / "table.npy", "detect")
    model = saved(tmp_path / "m")
    assert model.corruption == advice.recipe.corruption and model.code == advice.recipe.code
    assert model.network == advice.recipe.network
    assert model.training.epochs == 2  # what --set says counts


def test_auto_goes_on_where_it_stopped(place: Path, isthmus: Command, tmp_path: Path) -> None:
    arguments = ("fit", place / "ten.npy", "-o", tmp_path / "m", "-r", "auto", "--goal", "compress", "--quiet")
    assert isthmus(*arguments)[0] == 0
    status, _, err = isthmus(*arguments, "--resume")
    assert status == 0 and "nothing to resume" in err


WRONG = [
    ("advise {}/table.npy", "goal: expected what the model is for, one of compress, detect"),
    ("advise {}/table.npy --goal detct", "there is no goal 'detct'; did you mean 'detect'"),
    ("advise {}/empty.csv --goal detect", "empty.csv' is empty"),
    ("advise {}/none.csv --goal detect", "there is no file"),
    (
        "advise {}/lines.txt --goal detect",
        "expected a table, vectors or images to measure, got tokens rows; try --recipe autoencoder",
    ),
    ("advise {}/column.npy --goal detect", "expected rows of two values or more"),
    ("advise {}/same.npy --goal detect", "rows that are all the same"),
    ("advise {}/two.npz --goal detect", "say which, for example"),
    ("fit {}/table.npy -o {}/m --recipe auto", "goal: expected what the model is for, one of compress"),
    ("fit {}/table.npy -o {}/m --recipe auto --goal detct", "did you mean 'detect'"),
    ("fit {}/table.npy -o {}/m --goal detect", "--goal detect: expected --recipe auto, .* got --recipe autoencoder"),
    ("fit {}/table.npy -o {}/m --recipe vae --goal detect", "got --recipe vae"),
    ("fit {}/table.npy -o {}/m --recipe auto --goal detect --set code.latnt=2", "did you mean 'latent_dim'"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_gets_a_sentence_and_leaves_nothing(line: str, message: str, place: Path, isthmus: Command) -> None:
    status, out, err = isthmus(*(word.replace("{}", str(place)) for word in line.split(" ")))
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last), err
    assert not (place / "m").exists()


def test_ten_rows_get_advice_and_a_warning(place: Path, isthmus: Command) -> None:
    status, out, _ = isthmus("advise", place / "ten.npy", "--goal", "compress")
    assert status == 0
    assert "10 rows are few" in out and "fewer than 30 different rows" in out


def test_what_is_advised_is_set_apart_from_presets_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    advice = advise(rows, "visualise")
    show(advice, "rows.npy")
    words = printed_command(capsys.readouterr().out)
    assert words == ["isthmus", "fit", "rows.npy", "--recipe", "autoencoder", "--out", "model", "--set",
                     "code.latent_dim=2"]  # fmt: skip
    assert presets.autoencoder(latent_dim=2) == advice.recipe
