"""The model on disk: whole or not at all, never over something else, and refused when it is not what was written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus import Autoencoder, load, presets
from isthmus.errors import ArtifactError
from tests.helpers import rows, small

FILES = ("recipe.json", "schema.json", "model.safetensors", "history.csv", "README.md")
X = rows(60, support="real")


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(small(presets.vae(normalisation="batch")), random_state=0).fit(X)


@pytest.fixture
def folder(model: Autoencoder, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rehash(folder: Path) -> None:
    """Write the hashes of what lies there, as somebody would who means it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    path.write_text(json.dumps(manifest))


def edit(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON file of the folder, and its hash unless it is the manifest."""
    path = folder / name
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data) or data))
    if name != "manifest.json":
        rehash(folder)


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    rehash(folder)


# ---- what is written ----------------------------------------------------------------------------------------------


def test_a_model_is_these_files(model: Autoencoder, folder: Path) -> None:
    assert sorted(contents(folder)) == sorted([*FILES, "manifest.json"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["metrics"] == model.metrics_
    assert manifest["libraries"]["torch"] == torch.__version__.partition("+")[0] or manifest["libraries"]["torch"]
    assert {"isthmus", "numpy", "python", "safetensors", "torch"} <= manifest["libraries"].keys()
    assert manifest["sha256"] == {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in FILES}
    assert (folder / "history.csv").read_text() == model.history_.to_csv()
    card = (folder / "README.md").read_text()
    assert "gaussian" in card and "vector rows of shape 6" in card and "isthmus.load" in card
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["objective"]["likelihood"]["kind"] == "normal", "what is saved is explicit"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_loaded_model_is_fitted_and_can_be_used_and_saved(model: Autoencoder, folder: Path, tmp_path: Path) -> None:
    again = load(folder)
    assert again.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert again.n_features_in_ == 6
    assert not again.composition_.training
    np.testing.assert_array_equal(again.sample(3, random_state=0), model.sample(3, random_state=0))
    assert (again.history_.best_epoch, again.history_.stop_reason) == (
        model.history_.best_epoch,
        model.history_.stop_reason,
    )
    again.fit(X)
    load(again.save(tmp_path / "again"))


def test_names_of_columns_travel(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = Autoencoder(small(presets.autoencoder())).fit(frame)
    again = load(model.save(tmp_path / "model"))
    assert again.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(again.transform(frame), model.transform(frame))


@pytest.mark.parametrize("path", ["a folder/with spaces", "deep/down/here", "ünïcode", ".hidden"])
def test_any_place_that_can_be_written(model: Autoencoder, path: str, tmp_path: Path) -> None:
    assert model.save(tmp_path / path) == tmp_path / path
    assert model.save(str(tmp_path / path), overwrite=True) == tmp_path / path
    load(str(tmp_path / path))
    assert len(list((tmp_path / path).parent.iterdir())) == 1


def test_a_relative_name_in_the_current_folder(
    model: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.save("model")
    model.save("model", overwrite=True)
    load("model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# ---- what is not overwritten --------------------------------------------------------------------------------------


def test_an_existing_model_is_kept_unless_told_otherwise(model: Autoencoder, folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(ArtifactError, match=r"model' exists; try another name, or overwrite=True \(--overwrite\)"):
        model.save(folder)
    assert contents(folder) == before
    (folder / "history.csv").unlink()
    model.save(folder, overwrite=True)
    load(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_model_is_never_overwritten(model: Autoencoder, overwrite: bool, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"cat")
    file = tmp_path / "file"
    file.write_text("text")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    # Other programs write a manifest.json too: a web page, an extension of a browser, a package.
    page = tmp_path / "page"
    page.mkdir()
    (page / "manifest.json").write_text(json.dumps({"name": "page", "manifest_version": 3}))
    (page / "thesis.tex").write_text("years of work")
    for place in (photos, file, dangling, page):
        with pytest.raises(ArtifactError, match="is not a model folder" if overwrite else "exists"):
            model.save(place, overwrite=overwrite)
    assert (photos / "cat.jpg").read_bytes() == b"cat" and file.read_text() == "text"
    assert dangling.is_symlink() and (page / "thesis.tex").read_text() == "years of work"
    assert len(list(tmp_path.iterdir())) == 4


def test_an_empty_folder_may_be_filled(model: Autoencoder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="exists"):
        model.save(tmp_path / "empty")
    load(model.save(tmp_path / "empty", overwrite=True))


def test_a_link_to_a_model_is_replaced_and_what_it_points_at_is_kept(model: Autoencoder, folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    before = contents(folder)
    model.save(link, overwrite=True)
    load(link)
    assert contents(folder) == before


# ---- failures while writing ---------------------------------------------------------------------------------------

# Each call that may fail, and which of its calls does.
FAILURES = [
    ("os.fsync", 0),
    ("os.fsync", 3),
    ("pathlib.Path.chmod", 0),
    ("pathlib.Path.replace", 0),
    ("pathlib.Path.replace", 1),
    ("tempfile.mkdtemp", 0),
    ("tempfile.mkdtemp", 1),
]


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
@pytest.mark.parametrize(("call", "number"), FAILURES)
@pytest.mark.parametrize("existing", [True, False])
def test_a_failure_while_writing_leaves_the_old_model_and_nothing_else(
    call: str,
    number: int,
    existing: bool,
    error: BaseException,
    model: Autoencoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "model"
    if existing:
        model.save(place)
    before = contents(place) if existing else None
    module, _, name = call.rpartition(".")
    owner = {"os": os, "pathlib.Path": Path, "tempfile": __import__("tempfile")}[module]
    original, calls = getattr(owner, name), []

    def failing(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == number + 1:
            raise error
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, failing)
    try:
        model.save(place, overwrite=True)
    except type(error):
        failed = True
    else:
        failed = False
    monkeypatch.undo()
    if failed:
        assert (contents(place) if place.exists() else None) == before
        assert [p.name for p in tmp_path.iterdir()] == (["model"] if existing else [])
    else:  # there was no such call
        assert len(calls) <= number
        load(place)


def test_a_model_that_cannot_be_written_down_is_not_half_written(model: Autoencoder, tmp_path: Path) -> None:
    broken = Autoencoder(model.recipe_)
    broken.__dict__ |= model.__dict__
    broken.metrics_ = {"loss": float("nan")}
    try:
        broken.save(tmp_path / "model")
    except (ArtifactError, ValueError):
        assert not list(tmp_path.iterdir())
    else:
        load(tmp_path / "model")


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_refused(name: str, seed: int, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 1 << seed
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=rf"{name} of .*was changed or damaged: its SHA-256"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file_is_refused(name: str, share: float, folder: Path) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=f"{name} of .*was changed or damaged"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"is incomplete: {name} is missing"):
        load(folder)
    (folder / name).mkdir()
    with pytest.raises(ArtifactError, match=f"is incomplete: {name} is missing"):
        load(folder)


def test_what_is_no_model_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist; try the folder that model\.save"):
        load(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="is a file; try the folder"):
        load(folder / "recipe.json")
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"is not a model folder: it has no manifest\.json"):
        load(folder)


MANIFESTS: list[tuple[bytes, str]] = [
    (b"", "manifest.json of .* is no JSON"),
    (b"\xff\xfe", "manifest.json of .* is no JSON"),
    (b"[" * 100_000, "manifest.json of .* is no JSON"),
    (b"[]", "does not state a format"),
    (b'{"format": "1"}', "does not state a format"),
    (b'{"format": null, "sha256": {}, "metrics": {}}', "does not state a format"),
    (b'{"format": 1}', "lacks its hashes or metrics"),
    (b'{"format": 1, "sha256": [], "metrics": {}}', "lacks its hashes or metrics"),
    (b'{"format": 1, "sha256": {}, "metrics": 3}', "lacks its hashes or metrics"),
    (b'{"format": 1, "sha256": {}, "metrics": {}}', "was changed or damaged"),
    (b'{"format": 2, "sha256": {}, "metrics": {}}', "was written in format 2, and this isthmus reads up to 1; try a"),
    (b" " * 20_000_000 + b"{}", "is too large to be one"),
]


@pytest.mark.parametrize(("content", "message"), MANIFESTS, ids=[str(i) for i in range(len(MANIFESTS))])
def test_a_manifest_that_is_none_is_refused(content: bytes, message: str, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "recipe.json/../../secret.json"])
def test_names_in_a_manifest_lead_nowhere(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the five known files are ever opened, whatever the manifest lists."""
    (folder.parent / "secret.json").write_text("{}")

    def add(manifest: dict[str, Any]) -> None:
        manifest["sha256"][name] = hashlib.sha256(b"{}").hexdigest()

    edit(folder, "manifest.json", add)
    opened: list[Path] = []
    original = Path.read_bytes

    def spy(path: Path) -> bytes:
        opened.append(path.resolve())
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", spy)
    load(folder)
    assert opened and all(path.parent == folder.resolve() for path in opened)


def set_value(*path: str, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def drop_value(name: str) -> Callable[[Any], None]:
    return lambda data: data.pop(name) and None


DAMAGED_JSON: list[tuple[str, Callable[[Any], Any], str]] = [
    # another size, of every width there is
    ("recipe.json", set_value("code", "latent_dim", value=4), r"does not fit its recipe: composition|does not fit"),
    ("recipe.json", set_value("network", "hidden_dims", value=[9]), "does not fit its recipe: network.*has shape"),
    ("recipe.json", set_value("network", "hidden_dims", value=[8, 8]), "does not fit its recipe"),
    ("recipe.json", set_value("network", "tied", value=True), "recipe.json|does not fit its recipe"),
    ("recipe.json", set_value("network", "normalisation", value=None), "does not fit its recipe"),
    ("recipe.json", set_value("network", "hidden_dims", value=[10**12]), "does not fit its recipe|cannot be built"),
    ("recipe.json", set_value("network", "hidden_dims", value=[10**30]), "cannot be built"),
    ("recipe.json", set_value("objective", "likelihood", value={"kind": "bernoulli"}), "does not fit its recipe"),
    # not answered, not known, not a recipe
    ("recipe.json", set_value("network", "hidden_dims", value="auto"), "cannot be built.*auto"),
    ("recipe.json", set_value("code", "latent_dim", value="auto"), "cannot be built.*auto"),
    ("recipe.json", set_value("objective", "likelihood", value="auto_error"), "cannot be built.*auto"),
    ("recipe.json", set_value("preprocessing", value="auto"), "preprocessing"),
    ("recipe.json", set_value("code", "kind", value="quantum"), "recipe.json.*no kind 'quantum'"),
    ("recipe.json", set_value("format", value=2), "recipe.json.*format 1, got 2"),
    ("recipe.json", lambda data: ["a list"], "recipe.json of .*is not usable"),
    ("recipe.json", set_value("training", "epochs", value="many"), "recipe.json.*training.epochs"),
    # a schema that is none
    ("schema.json", set_value("shape", value=[7]), "model.safetensors"),
    ("schema.json", set_value("shape", value=[10**9, 10**9]), "model.safetensors|cannot be built"),
    ("schema.json", set_value("shape", value=[-6]), "schema.json|model.safetensors|cannot be built"),
    ("schema.json", set_value("shape", value=[]), "schema.json|model.safetensors|cannot be built"),
    ("schema.json", set_value("shape", value="six"), "schema.json does not describe a row"),
    ("schema.json", set_value("kind", value="hologram"), "there is no kind of row 'hologram'"),
    ("schema.json", set_value("names", value=5), "schema.json does not describe a row"),
    ("schema.json", set_value("names", value=["one", "two"]), "schema.json"),
    ("schema.json", set_value("condition_dim", value=3), "does not fit its recipe"),
    ("schema.json", set_value("condition_dim", value="many"), "schema.json|cannot be built"),
    ("schema.json", set_value("condition_dim", value=-1), "schema.json|cannot be built"),
    ("schema.json", set_value("low", value="low"), "schema.json"),
    ("schema.json", set_value("surprise", value=1), "schema.json does not describe a row"),
    ("schema.json", drop_value("dtype"), "schema.json does not describe a row"),
    ("schema.json", lambda data: [1, 2], "schema.json does not describe a row"),
]


@pytest.mark.parametrize(
    ("name", "change", "message"), DAMAGED_JSON, ids=[f"{case[0]}-{i}" for i, case in enumerate(DAMAGED_JSON)]
)
def test_json_that_does_not_fit_is_refused_though_its_hash_is_right(
    name: str, change: Callable[[Any], Any], message: str, folder: Path
) -> None:
    edit(folder, name, change)
    with pytest.raises(ArtifactError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["recipe.json", "schema.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b"null"], ids=str)
def test_text_that_is_no_json_is_refused(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    rehash(folder)
    with pytest.raises(ArtifactError, match=name):
        load(folder)


def test_a_chain_without_end_is_refused(folder: Path) -> None:
    """Deeper than Python recurses, in a text that is a few kilobytes."""
    text = (folder / "recipe.json").read_text().replace('"corruption": null', '"corruption": "HERE"')
    for depth in (1000, 5000):
        chain = '{"kind": "chain", "parts": [' * depth + '"mask"' + "]}" * depth
        (folder / "recipe.json").write_text(text.replace('"HERE"', chain))
        rehash(folder)
        with pytest.raises(ArtifactError, match=r"recipe.json"):
            load(folder)


@pytest.mark.parametrize("content", [b"epoch,x\n1,abc\n", b"\xff\xfe\x00", b"epoch,x\nnone,1\n"])
def test_a_history_that_is_none_is_refused(content: bytes, folder: Path) -> None:
    (folder / "history.csv").write_bytes(content)
    rehash(folder)
    with pytest.raises(ArtifactError, match=r"history.csv"):
        load(folder)


BIAS = "composition.network.encoder.0.bias"


def reshape_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors[BIAS] = torch.zeros(9)


def transpose_weight(tensors: dict[str, torch.Tensor]) -> None:
    name = "composition.network.encoder.0.weight"
    tensors[name] = tensors[name].t().contiguous()


def drop_weight(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[BIAS]


def add_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors["composition.network.encoder.9.bias"] = torch.zeros(8)


def add_stranger(tensors: dict[str, torch.Tensor]) -> None:
    tensors["stowaway"] = torch.zeros(8)


def half_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors[BIAS] = tensors[BIAS].half()


def whole_weight(tensors: dict[str, torch.Tensor]) -> None:
    tensors[BIAS] = tensors[BIAS].to(torch.int64)


def drop_scale(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["preprocessing.scale"]


def add_scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["preprocessing.scale2"] = torch.ones(6)


def reshape_scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["preprocessing.scale"] = torch.ones(7)


def bfloat_scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["preprocessing.scale"] = torch.ones(6, dtype=torch.bfloat16)


def zero_scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["preprocessing.scale"] = torch.zeros(6, dtype=torch.float64)


TENSORS: list[tuple[Callable[[dict[str, torch.Tensor]], None], str]] = [
    (reshape_weight, r"does not fit its recipe: network.encoder.0.bias has shape \(9,\), expected \(8,\)"),
    (transpose_weight, r"network.encoder.0.weight has shape \(6, 8\), expected \(8, 6\)"),
    (drop_weight, r"network.encoder.0.bias has shape None, expected \(8,\)"),
    (add_weight, r"network.encoder.9.bias has shape \(8,\), expected None"),
    (add_stranger, "stowaway"),
    (half_weight, "network.encoder.0.bias"),
    (whole_weight, "network.encoder.0.bias"),
    (drop_scale, "preprocessing"),
    (add_scale, "preprocessing"),
    (reshape_scale, r"preprocessing.scale of shape \(7,\)"),
    (bfloat_scale, "preprocessing"),
    (zero_scale, "preprocessing"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS, ids=[case[0].__name__ for case in TENSORS])
def test_tensors_that_do_not_fit_are_refused_though_their_hash_is_right(
    change: Callable[[dict[str, torch.Tensor]], None], message: str, folder: Path
) -> None:
    edit_tensors(folder, change)
    with pytest.raises(ArtifactError, match=message):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 64, b"PK\x03\x04", b"\x80\x04\x95"], ids=str)
def test_what_is_no_safetensors_is_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    rehash(folder)
    with pytest.raises(ArtifactError, match=r"model.safetensors of .* is damaged"):
        load(folder)


def test_a_pickle_in_the_folder_is_never_opened(folder: Path) -> None:
    """What a pickle would run when opened; it lies under every name that could be tempting."""
    bomb = b"cos\n_exit\n(I7\ntR."
    for name in ("model.safetensors", "recipe.json", "schema.json", "history.csv"):
        copy = folder.parent / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(bomb)
        (copy / "model.pt").write_bytes(bomb)
        (copy / "model.pkl").write_bytes(bomb)
        rehash(copy)
        with pytest.raises(ArtifactError):
            load(copy)
        shutil.rmtree(copy)


def test_a_foreign_recipe_is_refused_before_memory_is_taken(folder: Path) -> None:
    """A recipe of petabytes is a shape that does not fit, not an allocation."""
    edit(folder, "recipe.json", set_value("network", "hidden_dims", value=[10**7, 10**7]))
    with pytest.raises(ArtifactError, match="does not fit its recipe"):
        load(folder)
