"""The report: what it shows is true, it needs nothing but itself, and it holds for rows of any kind."""

from __future__ import annotations

import ast
import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from isthmus import Autoencoder, presets, report
from isthmus.errors import DataError, RecipeError
from isthmus.report import evaluation, plots, sections
from isthmus.report import page as report_page
from isthmus.report import rows as report_rows
from isthmus.report.flattening import flattened
from isthmus.report.page import write_report
from isthmus.training import History

SMALL: dict[str, Any] = {"latent_dim": 3, "hidden_dims": (16,), "epochs": 3}
CLASSES = ("bright", "dark", "left")


def images(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images of 8 x 8 pixels of three kinds, and their kinds."""
    rng = np.random.default_rng(5)
    kinds = np.arange(count) % 3
    x = rng.integers(0, 60, (count, 8, 8))
    x[kinds == 0] += 150
    x[kinds == 2, :, :4] += 150
    return x.astype(np.uint8), kinds


def table(count: int = 80) -> pd.DataFrame:
    """Return three columns that follow one cause, one that follows none, and one that is constant."""
    rng = np.random.default_rng(6)
    cause = rng.standard_normal(count)
    columns = {name: 10.0 * cause + place for place, name in enumerate(("a", "b", "c"))}
    return pd.DataFrame({**columns, "noise": rng.standard_normal(count), "still": 7.0})


@pytest.fixture(scope="module")
def pictured() -> dict[str, Autoencoder]:
    x, _ = images()
    return {
        "cleaner": Autoencoder(presets.denoising(**SMALL)).fit(x),
        "vae": Autoencoder(presets.vae(**SMALL)).fit(x),
    }


@pytest.fixture(scope="module")
def tabled() -> Autoencoder:
    return Autoencoder(
        presets.autoencoder(latent_dim=1, hidden_dims=(), epochs=300, learning_rate=0.02, validation_fraction=0.0)
    ).fit(table())


class Page(HTMLParser):
    """What a test asks of a page: its identifiers, its text, its references and its tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.identifiers: list[str] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.references.append(value or "")
            if name == "id":
                self.identifiers.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.words.append(data)


def page(models: dict[str, Autoencoder], rows: Any, folder: Path, **settings: Any) -> Page:
    return Page(write_report(models, rows, folder / "report.html", **settings))


def png(uri: str) -> np.ndarray:
    prefix, content = uri.split(",")
    assert prefix == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(pictured: dict[str, Autoencoder], tmp_path: Path) -> None:
    x, kinds = images()
    made = page(pictured, x, tmp_path, labels=kinds, label_names=CLASSES, noise=0.2)
    assert "script" not in made.tags
    assert all(reference.startswith(("data:", "#")) for reference in made.references)
    assert "@import" not in made.source and "url(" not in made.source
    pictures = [uri for uri in made.references if uri.startswith("data:image")]
    assert len(pictures) > 20
    for uri in pictures:
        if uri.startswith("data:image/svg+xml"):
            ElementTree.fromstring(base64.b64decode(uri.split(",")[1]))
        else:
            assert png(uri).size
    assert {reference[1:] for reference in made.references if reference.startswith("#")} <= set(made.identifiers)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_each_kind_of_model_has_the_sections_that_it_can_fill(
    pictured: dict[str, Autoencoder], tabled: Autoencoder, tmp_path: Path
) -> None:
    x, _ = images()
    every = {"health", "figures", "rebuilt", "between", "map", "latents", "losses", "errors", "recipe"}
    assert set(page({"m": pictured["vae"]}, x, tmp_path).identifiers) == every | {"samples"}
    assert set(page({"m": pictured["cleaner"]}, x, tmp_path).identifiers) == every | {"cleaned"}
    assert set(page({"m": tabled}, table(), tmp_path).identifiers) == every
    assert set(page(pictured, x, tmp_path, noise=0.1).identifiers) == every | {"samples", "cleaned"}


def test_the_page_states_the_figures_the_recipe_and_how_it_was_made(
    pictured: dict[str, Autoencoder], tmp_path: Path
) -> None:
    x, kinds = images()
    made = page(
        pictured,
        x,
        tmp_path,
        labels=kinds,
        label_names=CLASSES,
        title="Kinds",
        command="make it",
        about_rows="60 squares",
    )
    error = np.square(x / 255.0 - pictured["vae"].reconstruct(x) / 255.0).mean()
    for text in (
        "Kinds",
        "measured on 60 squares",
        f"{error:.4g}",
        f"≥ {pictured['vae'].score(x):,.1f} nats",
        "dense 64 – 16 – 3 and back (relu)",
        "the row with Gaussian noise (std 0.3)",
        "binary cross entropy + 1 × kl",
        '"hidden_dims": [ 16 ]',
        "make it",
        "isthmus 0.1.0",
        *CLASSES,
    ):
        assert text in made.text, text


def test_names_from_outside_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    names = ["price in $", "<script>x</script>", "日本", "a$b$", "</table>"]
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 5)), columns=names)
    model = Autoencoder(presets.vae(**SMALL)).fit(x)
    labels = np.where(x[names[0]] > 0, "<img src=x>", "b&b")
    made = page({"<i>m</i>": model}, x, tmp_path, labels=labels, title="<b>t</b>")
    for text in (*names, "<i>m</i>", "<img src=x>", "b&b", "<b>t</b>"):
        assert text in made.text
    assert "script" not in made.tags and "x" not in made.references and "i" not in made.tags[:40]


def test_the_same_call_makes_the_same_page(
    pictured: dict[str, Autoencoder], tmp_path: Path, generators_untouched: Any
) -> None:
    x, kinds = images()
    shown, settings = {"vae": pictured["vae"]}, dict(mpl.rcParams)
    with generators_untouched():
        first, second, other = (
            re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", page(shown, x, tmp_path, labels=kinds, seed=seed).source)
            for seed in (1, 1, 2)
        )
    assert first == second
    assert first != other
    assert dict(mpl.rcParams) == settings


def test_no_picture_goes_through_the_global_state_of_pyplot() -> None:
    for path in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in getattr(node, "names", [])]
                if isinstance(node, ast.Import | ast.ImportFrom)
                else []
            )
            assert "matplotlib.pyplot" not in names and "pyplot" not in names, path


def test_of_many_rows_some_are_taken_evenly_and_the_page_says_so(
    tabled: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_rows, "_MOST_ROWS", 20)
    taken = report_rows.report_rows_of(tabled, table(), np.arange(80) // 40)
    assert taken.index.tolist() == sorted(taken.index) and taken.index[[0, -1]].tolist() == [0, 79]
    assert taken.labels is not None and np.bincount(taken.labels.values).tolist() == [10, 10]
    assert "20 rows, spread evenly over the 80 that were given" in page({"m": tabled}, table(), tmp_path).text


KINDS = {
    "channels first": np.random.default_rng(1).integers(0, 255, (24, 3, 9, 8)).astype(np.uint8),
    "channels last": np.random.default_rng(1).random((24, 9, 8, 3)),
    "no image": np.random.default_rng(1).random((24, 30, 2)),
    "many columns": np.random.default_rng(1).normal(size=(24, 196)),
    "constant": np.ones((24, 4)),
    "one column": np.random.default_rng(1).normal(size=(24, 1)),
}


# A page takes seconds: these are made at every run, the others are slow.
PAGES = {("vae", "channels last"), ("vae", "one column"), ("conv_vae", "channels first"), ("vq_vae", "no image")}
EVERY_PAGE = {("vae", kind) for kind in KINDS} | {
    (preset, "channels first" if "conv" in preset or "masked" in preset else "no image")
    for preset in presets.PRESETS
    if preset != "cvae"  # refused: a report has no place for its condition
}


@pytest.mark.parametrize(
    ("preset", "kind"),
    [pytest.param(*made, marks=() if made in PAGES else pytest.mark.slow) for made in sorted(EVERY_PAGE)],
)
def test_a_page_is_made_of_rows_of_any_kind(preset: str, kind: str, tmp_path: Path) -> None:
    rows = KINDS[kind]
    recipe = presets.get(preset)
    latents = min(3, rows[0].size) * getattr(recipe.code, "classes", 1)
    narrow: dict[str, Any] = {"hidden_dims": [4], "channels": [4, 4], "width": 8}
    inside = {f"network.{name}": value for name, value in narrow.items() if hasattr(recipe.network, name)}
    recipe = recipe.replace({"code.latent_dim": latents, "training.epochs": 1, **inside})
    model = Autoencoder(recipe).fit(rows)
    made = page({"m": model}, rows, tmp_path)
    assert not re.search(r"\bnan\b", made.text)
    page({"m": model}, rows[:1], tmp_path)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}}, "expected at least one model"),
        ({"rows": np.zeros((3, 7))}, "X has 7 features"),
        ({"labels": [1, 2]}, r"expected 80 labels, one for each row, got shape \(2,\)"),
        ({"labels": np.zeros(80), "label_names": ["x"]}, "places in the 1 names, got float64 from 0.0 to 0.0"),
        ({"labels": np.full(80, 1), "label_names": ["x"]}, "places in the 1 names, got int64 from 1 to 1"),
        ({"labels": np.full(80, np.nan)}, "labels that are all known"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    change: dict[str, Any], message: str, tabled: Autoencoder, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"models": {"m": tabled}, "rows": table().to_numpy(), **change}
    with pytest.raises(DataError, match=message):
        write_report(arguments.pop("models"), arguments.pop("rows"), tmp_path / "r.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_conditional_model_and_negative_noise_are_refused(tabled: Autoencoder, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = Autoencoder(presets.autoencoder(**{**SMALL, "latent_dim": 2})).fit(x, condition=x[:, :1])
    with pytest.raises(DataError, match="a model without a condition, got 'm', which is conditioned on 1 values"):
        write_report({"m": model}, x, tmp_path / "r.html")
    with pytest.raises(RecipeError, match="noise"):
        write_report({"m": tabled}, table(), tmp_path / "r.html", noise=-1.0)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_figures_of_images_are_those_of_their_pixels(pictured: dict[str, Autoencoder]) -> None:
    x, _ = images()
    for model, bound in ((pictured["cleaner"], False), (pictured["vae"], True)):
        figures = evaluation.study("m", model, x).figures
        wrong = (x.astype(float) - model.reconstruct(x)) / 255.0
        assert figures.mse == pytest.approx(np.square(wrong).mean(), rel=1e-5)
        assert figures.psnr == pytest.approx(-10 * np.log10(np.square(wrong).mean()), rel=1e-5)
        assert figures.explained == pytest.approx(1 - figures.mse / (x / 255.0).var(0).mean(), rel=1e-5)
        assert figures.score == pytest.approx(model.score(x)) and figures.is_bound is bound
        assert figures.compression_ratio == 64 / 12  # 64 bytes of uint8 to three float32
        assert (figures.rows, figures.values, figures.latents, figures.epochs) == (60, 64, 3, 3)
        assert figures.to_dict()["compression_ratio"] == figures.compression_ratio


def test_figures_of_a_table_are_in_standard_deviations(tabled: Autoencoder) -> None:
    models, rows = flattened({"m": tabled}, table())
    x = table().to_numpy()
    np.testing.assert_allclose(rows.values, x, rtol=1e-6)
    found = evaluation.study("m", models["m"], rows.values)
    scale = np.array([column.scale for column in tabled.schema_.columns or ()])
    wrong = (x - tabled.reconstruct(x)) / scale
    assert found.figures.mse == pytest.approx(np.square(wrong).mean(), rel=1e-4)
    np.testing.assert_allclose(found.errors, np.square(wrong).mean(1), rtol=1e-3)
    assert found.figures.psnr is None and found.kl is None


def test_columns_that_share_a_cause_survive_and_lonely_ones_do_not(tabled: Autoencoder) -> None:
    models, values = flattened({"m": tabled}, table())
    rows = report_rows.report_rows_of(models["m"], values)
    columns = sections.rebuilt(rows, [evaluation.study("m", models["m"], rows.values)])["columns"]
    shares = {column["name"]: column["shares"][0] for column in columns}
    assert min(shares[name] for name in "abc") > 0.9
    assert shares["noise"] < 0.5 and columns[0]["name"] == "noise"
    assert shares["still"] is None


def test_cleaning_is_measured_against_the_clean_rows(pictured: dict[str, Autoencoder]) -> None:
    x, _ = images()
    rows = report_rows.report_rows_of(pictured["cleaner"], x)
    studies = [evaluation.study(name, model, x) for name, model in pictured.items()]
    (by_hand,) = sections.cleaned(rows, studies, 0.3)
    assert by_hand["before"] == pytest.approx(0.09, rel=0.1)  # the noise's variance
    assert [after["trained"] for after in by_hand["after"]] == [True, False]
    (trained,) = sections.cleaned(rows, studies, None)
    noisy = pictured["cleaner"].corrupt(x, random_state=0)
    wrong = (pictured["cleaner"].reconstruct(noisy) - x.astype(float)) / 255.0
    assert trained["after"][0]["error"] == pytest.approx(np.square(wrong).mean(), rel=1e-4)
    assert trained["after"][0]["floor"] == pytest.approx(studies[0].figures.mse, rel=1e-4)


def test_a_code_that_loses_more_than_the_noise_added_is_called_so(tabled: Autoencoder, tmp_path: Path) -> None:
    verdict = "That is more than the noise had added"
    assert verdict in page({"m": tabled}, table(), tmp_path, noise=0.01).text
    assert verdict not in page({"m": tabled}, table(), tmp_path, noise=2.0).text


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_a_mosaic_holds_the_images_pixel_for_pixel() -> None:
    x = np.random.default_rng(0).integers(0, 255, (3, 5, 4, 3)).astype(np.uint8)
    drawn = png(plots.mosaic(x, 2))
    assert drawn.shape == (12, 10, 4)
    assert (drawn[:5, :4, :3] == x[0]).all() and (drawn[:5, 6:, :3] == x[1]).all() and (drawn[7:, :4, :3] == x[2]).all()
    assert (drawn[5:7, :, 3] == 0).all() and (drawn[7:, 6:, 3] == 0).all() and (drawn[:5, :4, 3] == 255).all()
    grey = png(plots.mosaic(x[..., 0], 3))
    assert (grey[:, :4, 0] == x[0, :, :, 0]).all() and grey.shape == (5, 16, 2)


@pytest.mark.parametrize("channels_first", [True, False])
def test_colour_images_keep_their_colours(channels_first: bool) -> None:
    shown = np.random.default_rng(0).integers(0, 255, (20, 9, 8, 3)).astype(np.uint8)
    shown[0, 0, 0], shown[0, 0, 1] = 0, 255
    x = np.moveaxis(shown, -1, 1) if channels_first else shown
    model = Autoencoder(presets.autoencoder(**SMALL)).fit(x)
    assert (report_rows.report_rows_of(model, x).pixels(x) == shown).all()


def test_flat_rows_that_are_scaled_like_images_are_shown_as_such() -> None:
    x = np.random.default_rng(0).integers(0, 255, (20, 196)).astype(np.uint8)
    x[0, :2] = 0, 255
    settings: dict[str, Any] = {**SMALL, "epochs": 1}
    rows = report_rows.report_rows_of(Autoencoder(presets.autoencoder(**settings)).fit(x), x)
    assert rows.picture == (14, 14)
    assert (rows.pixels(x) == x.reshape(20, 14, 14)).all()
    other = Autoencoder(presets.autoencoder(**settings, preprocessing="standard")).fit(x)
    assert report_rows.report_rows_of(other, x).picture is None


def test_large_images_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 255, (10, 200, 100)).astype(np.uint8)
    model = Autoencoder(presets.autoencoder(latent_dim=2, hidden_dims=(2,), epochs=1)).fit(x)
    assert report_rows.report_rows_of(model, x).pixels(x).shape == (10, 67, 34)


def test_examples_are_the_first_of_each_class_and_pairs_go_between_them(pictured: dict[str, Autoencoder]) -> None:
    x, kinds = images()
    rows = report_rows.report_rows_of(pictured["vae"], x, kinds[::-1].copy(), CLASSES)
    assert rows.examples().tolist() == [2, 1, 0]
    (between,) = sections.interpolations(rows, [evaluation.study("m", pictured["vae"], x)])
    path = pictured["vae"].interpolate(x[[2]], x[[1]], 10)[0]
    drawn = png(between["picture"])[..., 0]
    assert drawn.shape == (8, 98)
    assert (drawn[:, :8] == rows.pixels(path[:1])[0]).all() and (drawn[:, -8:] == rows.pixels(path[-1:])[0]).all()


def test_samples_are_those_of_the_model(pictured: dict[str, Autoencoder]) -> None:
    x, _ = images()
    rows = report_rows.report_rows_of(pictured["vae"], x, seed=3)
    found = sections.samples(rows, [evaluation.study(name, model, x) for name, model in pictured.items()])
    assert [section["name"] for section in found] == ["vae"]
    drawn = png(found[0]["picture"])[..., 0]
    assert (drawn[:8, :8] == rows.pixels(pictured["vae"].sample(60, random_state=3)[:1])[0]).all()


def test_the_worst_rows_are_shown_with_what_was_expected(tabled: Autoencoder, tmp_path: Path) -> None:
    x = table()
    x.loc[41, "b"] += 500.0
    models, values = flattened({"m": tabled}, x)
    rows = report_rows.report_rows_of(models["m"], values, np.where(np.arange(80) == 41, "odd", "plain"))
    section = sections.errors(rows, evaluation.study("m", models["m"], rows.values))
    worst = section["rows"][0]
    assert (worst["row"], worst["label"], worst["cells"][0]["name"]) == (41, "odd", "b")
    assert worst["cells"][0]["seen"] == pytest.approx(x.loc[41, "b"])
    expected = tabled.reconstruct(x).loc[41, "b"]
    assert worst["cells"][0]["expected"] == pytest.approx(expected, rel=1e-5)
    off = (x.loc[41, "b"] - expected) / (tabled.schema_.columns or ())[1].scale
    assert worst["cells"][0]["off"] == pytest.approx(off, rel=1e-4)
    assert section["highest"] == worst["error"] and section["classes"][0][0] == "odd"
    assert f"{off:+.2f}" in page({"m": tabled}, x, tmp_path).text


def test_the_worst_images_come_first(pictured: dict[str, Autoencoder]) -> None:
    x, _ = images()
    x[33] = np.random.default_rng(0).choice([0, 255], (8, 8))
    rows = report_rows.report_rows_of(pictured["vae"], x)
    original, rebuilt = sections.errors(rows, evaluation.study("m", pictured["vae"], x))["strips"]
    assert (png(original.picture)[:, :8, 0] == x[33]).all()
    wrong = np.square((x[33] - pictured["vae"].reconstruct(x)[33]) / 255.0).mean()
    assert rebuilt.notes[0] == f"{wrong:.3f}"


def test_the_map_is_that_of_pca() -> None:
    codes = np.random.default_rng(0).normal(size=(50, 4)) * [3, 1, 2, 0.1]
    points, shares = sections._principal(codes)
    fitted = PCA(2).fit(codes)
    np.testing.assert_allclose(np.abs(points), np.abs(fitted.transform(codes)), atol=1e-9)
    np.testing.assert_allclose(shares, fitted.explained_variance_ratio_)


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_labels_become_classes_numbers_or_classes_and_the_others(tabled: Autoencoder) -> None:
    def labels(values: Any, names: Any = None) -> report_rows.Labels:
        found = report_rows.report_rows_of(tabled, table(), values, names).labels
        assert found is not None
        return found

    few = labels(np.arange(80) % 2 * 4.0)
    assert few.names == ("0", "4") and few.legend()[1] == ("4", plots.PALETTE[1])
    assert few.colours(np.array([0, 1, 2])) == [plots.PALETTE[0], plots.PALETTE[1], plots.PALETTE[0]]
    numbers = labels(np.arange(80))
    assert not numbers.names and numbers.colours(np.array([3])).tolist() == [3.0]
    words = labels(["often"] * 50 + [f"word {place}" for place in range(30)])
    assert len(words.names) == 20 and words.names[0] == "often" and words.names[-1] == "others"
    assert np.bincount(words.values).tolist() == [50] + [1] * 18 + [12]
    assert labels(np.arange(80) % 2, ["x", "y", "z"]).names == ("x", "y", "z")


# ---- training --------------------------------------------------------------------------------------------------------


def test_each_term_has_its_curve_and_its_weight_where_that_is_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[plots.Series]] = []
    monkeypatch.setattr(plots, "curves", lambda series, best_epoch: drawn.append(list(series)) or "")
    x, _ = images()
    for preset, panels in ((presets.autoencoder, 1), (presets.vae, 3), (presets.beta_vae, 3)):
        drawn.clear()
        model = Autoencoder(preset(**SMALL)).fit(x)
        section = sections.losses(evaluation.study("m", model, x))
        assert len(section["panels"]) == len(drawn) == panels
        assert [line.values for line in drawn[0]] == [model.history_["train/total"], model.history_["validation/total"]]
        dashed = [line for lines in drawn for line in lines if line.dashed]
        if preset is presets.beta_vae:
            weighted = [model.history_["train/kl/weighted"], model.history_["validation/kl/weighted"]]
            assert [line.values for line in dashed] == weighted
        else:
            assert not dashed


def test_no_rows_held_out_and_no_history_are_both_fine(tmp_path: Path) -> None:
    x, _ = images()
    model = Autoencoder(presets.vae(**SMALL, validation_fraction=0.0)).fit(x)
    assert "Loss on held-out rows" not in page({"m": model}, x, tmp_path).text
    model.history_ = History()
    assert "No history was kept" in page({"m": model}, x, tmp_path).text


# ---- health ----------------------------------------------------------------------------------------------------------


def sick(
    model: Autoencoder,
    losses: list[float] | None = None,
    metrics: dict[str, Any] | None = None,
    health: dict[str, float] | None = None,
    **changes: Any,
) -> str:
    """Return what is said of a model whose history, metrics or figures were changed."""
    studied = evaluation.study("m", model, images()[0])
    copy = Autoencoder()
    copy.__dict__.update(model.__dict__)
    copy.history_ = History([{"validation/total": loss} for loss in losses or [3.0, 2.0, 1.0] + [0.5] * 20])
    copy.metrics_ = {**model.metrics_, **(metrics or {})}
    figures = dataclasses.replace(studied.figures, **{"active_units": 3, "explained": 0.9, **changes})
    sound = {"active_units": 3.0, "dead_units": 0.0, "effective_rank": 2.5}
    found = {**studied.health, **sound, **(health or {})}
    return " ".join(evaluation.health(dataclasses.replace(studied, model=copy, figures=figures, health=found)))


def test_a_healthy_model_is_left_in_peace(pictured: dict[str, Autoencoder]) -> None:
    assert [sick(model) for model in pictured.values()] == ["", ""]


def test_each_illness_is_named_with_its_remedy(pictured: dict[str, Autoencoder], tmp_path: Path) -> None:
    vae, plain = pictured["vae"], pictured["cleaner"]
    collapsed = sick(vae, health={"active_units": 0.0, "kl": 0.03})
    assert "The posterior has collapsed: 0 of 3 latents are active and carry 0.03 nats; try free bits" in collapsed
    assert "Few latents are in use: 1 of 3" in sick(vae, health={"active_units": 1.0})
    assert "2 of 3 latents are dead on" in sick(plain, health={"dead_units": 2.0})
    assert "The latents repeat each other" in sick(plain, health={"effective_rank": 0.5})
    assert "Only 2 of 3 latents vary from row to row. Try latent_dim=2" in sick(plain, active_units=2)
    assert "3% of the variance survives. Try a larger latent_dim" in sick(vae, explained=0.03)
    assert "lowest in epoch 5 of 24" in sick(vae, [5.0, 4.0, 3.0, 2.0, 1.0] + [1.0 + 0.1 * i for i in range(1, 20)])
    assert "still falling when training ended. Try more epochs" in sick(vae, [10.0 - 0.5 * i for i in range(20)])
    assert "Training did not end by itself (interrupted)" in sick(vae, metrics={"stop_reason": "interrupted"})
    made = page({"m": Autoencoder(presets.beta_vae(**SMALL, beta=1000.0)).fit(images()[0])}, images()[0], tmp_path)
    assert "The posterior has collapsed" in made.text and "No sign of trouble" not in made.text


def test_a_recipe_is_told_in_words() -> None:
    x, _ = images()
    recipe = presets.beta_vae(**SMALL, dropout=0.1, residual=True, normalisation="batch")
    words = evaluation.in_words(Autoencoder(recipe).fit(x).recipe_, 64)
    assert words["network"] == "dense 64 – 16 – 3 and back (relu, batch normalisation, dropout 0.1, residual)"
    assert words["minimised"] == "binary cross entropy + (0 → 4) × kl"
    assert words["encoder sees"] == "the row itself"
    assert report_page._number(12345.6) == "12,346" and report_page._percent(-0.001) == "0%"
