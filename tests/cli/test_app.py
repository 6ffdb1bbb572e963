"""The command line: each command on real files, and each wrong input with the sentence it must give."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus import load
from isthmus.cli import app
from isthmus.presets import GROUPS, PRESETS
from tests.conftest import Command

SMALL = ("--quiet", "--set", "network.hidden_dims=[16]", "--set", "training.epochs=2", "--set", "code.latent_dim=3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files right and wrong, and three models."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(80, 4)) * [1, 10, 100, 1000]
    images = rng.integers(0, 256, (80, 6, 6), dtype=np.uint8)
    np.save(folder / "table.npy", table)
    np.save(folder / "images.npy", images)
    np.savez(folder / "two.npz", x=images, y=np.arange(80))
    np.save(folder / "wide.npy", rng.normal(size=(10, 9)))
    np.save(folder / "holes.npy", np.where(rng.random((20, 4)) < 0.1, np.nan, 1.0))
    np.save(folder / "flat.npy", np.arange(5.0))
    np.save(folder / "nothing.npy", np.zeros((0, 4)))
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    lines = [",".join(f"{v:.6f}" for v in row) + f",kind{i % 3}" for i, row in enumerate(table)]
    (folder / "table.csv").write_text("a,b,c,d,kind\n" + "\n".join(lines) + "\n")
    (folder / "numbers.csv").write_text("a,b,c,d\n" + "\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (folder / "gap.csv").write_text("a,b\n1,2\n3,\n")
    (folder / "twice.csv").write_text("a,a\n1,2\n")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("a,b\n")
    (folder / "junk.parquet").write_bytes(b"no parquet at all")
    (folder / "cut.npz").write_bytes((folder / "two.npz").read_bytes()[:200])
    (folder / "odd.xyz").write_text("1")
    (folder / "bad.json").write_text("{")
    (folder / "idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + (80).to_bytes(4, "big") + b"\0" * 8))
    for name, recipe, data in (
        ("plain", "autoencoder", "table.npy"),
        ("vae", "vae", "images.npy"),
        ("named", "denoising", "numbers.csv"),
    ):
        arguments = ["fit", folder / data, "--out", folder / name, "--recipe", recipe, *SMALL]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
            with pytest.raises(SystemExit, match="0"):
                app.main()
    return folder


# Arguments, and a pattern of the message. {} is the folder.
WRONG = [
    ("fit {}/missing.npy --out {}/m", "there is no file '.*missing.npy'; try"),
    ("fit {} --out {}/m", "cannot be read as a data set of parquet files: .*junk.parquet"),
    ("fit {}/empty.csv --out {}/m", "empty.csv' is empty"),
    ("fit {}/header.csv --out {}/m", "0 sample"),
    ("fit {}/nothing.npy --out {}/m", "0 sample"),
    ("fit {}/odd.xyz --out {}/m", r"there is no kind of file '.xyz'. The kind of files are: .*\.npy"),
    ("fit {}/junk.parquet --out {}/m", "cannot be read as .parquet"),
    ("fit {}/cut.npz --out {}/m", "cannot be read as .npz"),
    ("fit {}/idx3-ubyte.gz --out {}/m", "states|0 feature"),
    ("fit {}/two.npz --out {}/m", r"holds 2 arrays \(x, y\); say which, for example .*two.npz#x"),
    ("fit {}/two.npz#z --out {}/m", "there is no array 'z'"),
    ("fit {}/two.npz#y --out {}/m", "expected rows and columns"),
    ("fit {}/flat.npy --out {}/m", "Reshape your data"),
    ("fit {}/holes.npy --out {}/m", r"NaN or inf, the first \(NaN\) in row \d+"),
    ("fit {}/words.npy --out {}/m", "could not convert string to float"),
    ("fit {}/objects.npy --out {}/m", "cannot be read as .npy: Object arrays cannot be loaded"),
    (
        "fit {}/table.csv --out {}/m --rows vector",
        r"column 'kind': expected numbers, got string values; try leaving it",
    ),
    ("fit {}/table.csv --out {}/m --rows tabel", "there is no kind of row 'tabel'; did you mean 'table'"),
    (
        "fit {}/table.csv --out {}/m --rows image:3x",
        "expected a kind of row, .*got 'image:3x'; try table, image:3x64x64",
    ),
    ("fit {}/table.csv --out {}/m --column kind:numeric", "column 'kind': expected numbers, to be numeric, got texts"),
    ("fit {}/table.csv --out {}/m --column kid:numeric", "--column: there is no column 'kid'; did you mean 'kind'"),
    ("fit {}/table.csv --out {}/m --column kind", "--column: expected NAME:KIND"),
    ("fit {}/images.npy --out {}/m --column a:numeric", "--column: expected a table with columns, got image rows"),
    ("fit {}/table.csv --out {}/m --drop knd", "there is no column 'knd'; did you mean 'kind'"),
    ("fit {}/images.npy --out {}/m --drop a", "--drop a: expected a table with columns"),
    ("fit {}/gap.csv --out {}/m --set missing=refuse", "column 'b' has 1 missing values"),
    ("fit {}/ragged.csv --out {}/m", "line 3 of .*ragged.csv.: expected 2 cell.* got 1"),
    ("fit {}/twice.csv --out {}/m", r"\['a'\] more than once"),
    ("fit {}/table.npy --out {}/m --recipe vea", "there is no preset 'vea'; did you mean 'vae'"),
    ("fit {}/table.npy --out {}/m --recipe {}/bad.json", "is no JSON"),
    ("fit {}/table.npy --out {}/m --recipe {}/none.json", "cannot be read: No such file"),
    ("fit {}/table.npy --out {}/m --set epochz=3", "'epochz': there is no setting 'epochz'"),
    ("fit {}/table.npy --out {}/m --set training.epoch=3", "did you mean 'epochs'"),
    (
        "fit {}/table.npy --out {}/m --set training.epochs=0",
        "training.epochs: expected an integer of at least 1, got 0",
    ),
    ("fit {}/table.npy --out {}/m --set training.epochs", "expected PATH=VALUE"),
    ("fit {}/table.npy --out {}/m --set training.batch_size=500", "expected at most the 72 training rows, got 500"),
    ("fit {}/table.npy --out {}/m --set training.device=cuda:99", "training.device: expected"),
    ("fit {}/table.npy --out {}/m --set objective.likelihood=bernoulli", "cannot hold the data"),
    (
        "fit {}/table.npy --out {}/m --set objective.kl.weight=2",
        "this recipe has no term 'kl'; try objective.terms=",
    ),
    ("fit {}/table.npy --out {}/m --recipe vae --set code.kind=deterministic", "term 'kl' needs 'kl'"),
    ("fit {}/table.npy --out {}/no/m", "there is no folder"),
    ("fit {}/table.npy --out .", "expected the name of a folder to make"),
    ("fit {}/table.npy --out {}/plain", "exists; try another name, or overwrite"),
    ("fit {}/table.npy --out {}/table.csv --overwrite", "is not a model folder, so it is not overwritten"),
    ("encode {}/none {}/table.npy --out {}/z.npy", "does not exist; try the folder"),
    ("encode {} {}/table.npy --out {}/z.npy", "is not a model folder: it has no manifest.json"),
    ("encode {}/plain {}/wide.npy --out {}/z.npy", "X has 9 features, but Autoencoder is expecting 4 features"),
    ("encode {}/vae {}/table.npy --out {}/z.npy", "expected rows of shape 6x6"),
    ("encode {}/plain {}/table.npy --out {}/table.csv", "exists; try another name, or --overwrite"),
    ("encode {}/plain {}/table.npy --out {}/z.xyz", "there is no kind of output '.xyz'"),
    ("encode {}/plain {}/table.npy --out {}/no/z.npy", "there is no folder"),
    ("encode {}/named {}/table.csv --out {}/z.csv", r"unknown \['kind'\]; try leaving them out \(--drop\)"),
    ("decode {}/plain {}/wide.npy --out {}/d.npy", r"expected codes of shape \(rows, 3\), got shape \(10, 9\)"),
    ("reconstruct {}/vae {}/images.npy --out {}/r.csv", "expected rows of columns for a table"),
    ("reconstruct {}/plain {}/table.npy --out {}/r.png", "images .* for a picture"),
    ("sample {}/plain --out {}/s.npy", "a deterministic code has no prior to sample from; try a gaussian one"),
    ("interpolate {}/vae {}/images.npy --out {}/i.npy --rows 3", "--rows: expected two row numbers, got '3'"),
    ("interpolate {}/vae {}/images.npy --out {}/i.npy --rows 0,80", "expected rows from 0 to 79, got 80"),
    ("inspect {}/nowhere", "there is no file"),
    ("recipes vae2", "did you mean 'vae'"),
    ("report {}/plain {}/table.npy --out {}/table.csv", "exists; try another name, or --overwrite"),
    ("report {}/named {}/table.csv --labels kond --out {}/r.html", "there is no column 'kond'|there is neither"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_wrong_input_gets_a_sentence_and_leaves_nothing(line: str, message: str, place: Path, isthmus: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    result = isthmus(*(word.replace("{}", str(place)) for word in line.split(" ")))
    assert result.status == 2
    assert re.search(message, result.err), result.err
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fitt x", "No such command 'fitt'"),
        ("fit x --out y --recpie vae", "No such option: --recpie"),
        ("fit x", "Missing option '--out'"),
        ("fit --out y", "Missing argument 'DATA'"),
        ("sample m --out s.npy -n 0", "greater than or equal to 1"),
        ("sample m --out s.npy -n many", "a valid integer"),
    ],
)
def test_wrong_usage(line: str, message: str, isthmus: Command) -> None:
    result = isthmus(*line.split())
    assert result.status == 2
    assert message in re.sub(r"[\s│╭╮╰╯─]+", " ", result.err)  # the box is broken into lines


def test_every_command_on_a_table(place: Path, isthmus: Command, tmp_path: Path) -> None:
    model, data = place / "named", place / "table.csv"
    for command in ("encode", "reconstruct", "denoise", "score"):
        out = tmp_path / f"{command}.csv"
        result = isthmus(command, model, data, "--drop", "kind", "--out", out)
        assert result.status == 0, result.err
        assert len(out.read_text().splitlines()) == 81
    assert (tmp_path / "denoise.csv").read_text().startswith('"a","b","c","d"')
    result = isthmus("decode", model, tmp_path / "encode.csv", "--out", tmp_path / "decoded.npy", "--json")
    assert json.loads(result.out)["shape"] == [80, 4]
    rebuilt = load(model).reconstruct(place / "numbers.csv")
    np.testing.assert_allclose(np.load(tmp_path / "decoded.npy"), rebuilt, rtol=1e-4, atol=1e-4)


def test_every_command_on_images(place: Path, isthmus: Command, tmp_path: Path) -> None:
    from PIL import Image

    model, data = place / "vae", f"{place / 'two.npz'}#x"
    assert isthmus("sample", model, "-n", 9, "--out", tmp_path / "s.png").status == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (21, 21)
    assert isthmus("interpolate", model, data, "--rows", "3,5", "--steps", 4, "--out", tmp_path / "i.npy").status == 0
    assert np.load(tmp_path / "i.npy").shape == (4, 6, 6)
    assert isthmus("encode", model, data, "--out", tmp_path / "z.parquet").status == 0
    assert isthmus("reconstruct", model, data, "--out", tmp_path / "r.npz").status == 0
    assert np.load(tmp_path / "r.npz")["rows"].shape == (80, 6, 6)
    ends = load(model).reconstruct(np.load(place / "images.npy")[[3, 5]])
    np.testing.assert_allclose(np.load(tmp_path / "i.npy")[[0, -1]], ends, rtol=1e-4, atol=1e-3)


def test_scores_go_to_standard_output(place: Path, isthmus: Command) -> None:
    result = isthmus("score", place / "plain", place / "table.npy")
    values = [float(line) for line in result.out.splitlines()[1:]]
    assert values == load(place / "plain").score_samples(np.load(place / "table.npy")).tolist()
    assert json.loads(isthmus("score", place / "plain", place / "table.npy", "--json").out)["rows"] == 80


def test_samples_have_a_seed(place: Path, isthmus: Command, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        isthmus("sample", place / "vae", "--seed", seed, "--out", tmp_path / f"{name}.npy")
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert (a == b).all()
    assert (a != c).any()


def test_inspect_a_model_and_a_file(place: Path, isthmus: Command) -> None:
    seen = json.loads(isthmus("inspect", place / "vae", "--json").out)
    assert {"kind": "gaussian", "latent_dim": 3}.items() <= seen["recipe"]["code"].items()
    assert "Gaussian(latent_dim=3, " in isthmus("inspect", place / "vae").out
    assert json.loads(isthmus("inspect", place / "numbers.csv", "--json").out)["names"] == ["a", "b", "c", "d"]
    assert "80 image rows of shape 6x6, uint8" in isthmus("inspect", place / "images.npy").out


def test_a_printed_recipe_can_be_edited_and_used(place: Path, isthmus: Command, tmp_path: Path) -> None:
    recipe = json.loads(isthmus("recipes", "denoising").out)
    recipe["corruption"] = {"kind": "mask", "rate": 0.5}
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    result = isthmus(
        "fit", place / "table.npy", "--out", tmp_path / "m", "--recipe", tmp_path / "mine.json", *SMALL, "--seed", 3
    )
    assert result.status == 0, result.err
    saved = json.loads((tmp_path / "m" / "recipe.json").read_text())
    assert saved["corruption"] == {"kind": "mask", "rate": 0.5}
    assert saved["training"]["seed"] == 3


def test_recipes_prints_the_json_schema(isthmus: Command) -> None:
    schema = json.loads(isthmus("recipes", "vae", "--schema").out)
    assert schema["$defs"]["corruption.mask"]["properties"]["rate"]["maximum"] == 1
    assert json.loads(isthmus("recipes", "--schema").out) == schema


def test_recipes_lists_every_preset_under_its_group(isthmus: Command) -> None:
    facts = json.loads(isthmus("recipes", "--json").out)
    assert list(facts) == list(PRESETS)
    assert facts["vae"] == {
        "purpose": "The variational autoencoder: the evidence lower bound. For samples, scores and smooth maps.",
        "group": "Samples and scores",
        "paper": "Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.",
    }
    assert all(set(fact) == {"purpose", "group", "paper"} and all(fact.values()) for fact in facts.values())
    listed = isthmus("recipes").out
    assert all(len(line) <= 80 for line in listed.splitlines())
    heads = [line for line in listed.splitlines() if line and not line.startswith((" ", "`"))]
    assert heads == list(GROUPS)
    assert re.findall(r"^  (\w+)", listed, re.M) == list(PRESETS)
    for group, part in zip(heads, re.split(r"\n\n", listed), strict=False):
        assert re.findall(r"^  (\w+)", part, re.M) == [preset.__name__ for preset in GROUPS[group]]


def test_overwrite_replaces_a_model(place: Path, isthmus: Command, tmp_path: Path) -> None:
    arguments = ("fit", place / "table.npy", "--out", tmp_path / "m", *SMALL)
    isthmus(*arguments)
    first = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert isthmus(*arguments, "--seed", 5).status == 2
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == first
    assert isthmus(*arguments, "--seed", 5, "--overwrite").status == 0
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_resuming_what_is_complete_is_no_failure(place: Path, isthmus: Command) -> None:
    """So that "again until it succeeds" ends."""
    before = (place / "plain" / "model.safetensors").read_bytes()
    result = isthmus("fit", place / "table.npy", "--out", place / "plain", "--resume")
    assert result.status == 0
    assert "nothing to resume" in result.err
    assert (place / "plain" / "model.safetensors").read_bytes() == before


def test_a_damaged_model_is_refused(place: Path, isthmus: Command, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place / "plain", tmp_path / "m")
    weights = bytearray((tmp_path / "m" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "m" / "model.safetensors").write_bytes(weights)
    result = isthmus("encode", tmp_path / "m", place / "table.npy", "--out", tmp_path / "z.npy")
    assert result.status == 2
    assert "changed or damaged" in result.err
    assert not (tmp_path / "z.npy").exists()


def test_plain_lines_are_printed_where_there_is_no_terminal(place: Path, isthmus: Command, tmp_path: Path) -> None:
    result = isthmus("fit", place / "table.npy", "--out", tmp_path / "m", *SMALL[1:])
    assert "epoch 2/2: train " in result.err
    assert "training ended: all 2 epochs done" in result.err


def test_ctrl_c_keeps_the_best_model_and_can_go_on(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    settings = [
        "--set",
        "training.epochs=100000",
        "--set",
        "training.checkpoint_seconds=0",
        "--set",
        "training.patience=null",
    ]
    arguments = [sys.executable, "-m", "isthmus", "fit", str(place / "images.npy"), "--out", str(out), *settings]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "m.checkpoint").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "holds the best weights so far; the same command with --resume goes on" in err
    assert "Traceback" not in err
    assert load(out).history_.rows
    again = subprocess.run([*arguments], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--resume to continue it" in again.stderr


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['isthmus', '--help']\n"
        "from isthmus.cli import app as cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
