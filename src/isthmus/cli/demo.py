"""The main job: train two models on real images that ship inside the package, and write a page about them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from isthmus import presets
from isthmus.atomic import move_whole, temporary_beside
from isthmus.datasets.bundled import LabelledImages, fashion_mnist
from isthmus.errors import ArtifactError
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.recipe import Recipe
from isthmus.report.evaluation import ModelMetrics, study
from isthmus.report.page import write_report

Echo = Callable[[Any], None]

_TEST_IMAGES = 1500
_QUICK_IMAGES, _QUICK_EPOCHS = 1000, 2
# Everything takes about a minute on two cores, and ten more epochs lower either error by one part in a hundred.
_EPOCHS = 40
# The noise that the page puts on by hand. In training each image has its own, from none to strong: the model then
# rebuilds clean images nearly as well as one that never saw noise (mean squared error 0.0115 against 0.0111), and
# noisy ones much better (0.0133 against 0.0212, for noise of 0.090).
_NOISE = 0.3
_TRAINING_NOISE = (0.0, 0.5)
_MARK, _REPORT = "demo.json", "report.html"


@dataclass(frozen=True)
class DemoResult:
    """What a demo made.

    Attributes:
        folder: where it is.
        report: the page.
        models: the model folders by name.
        figures: of each model, on images that no model was trained on.
        seconds: what everything took.
    """

    folder: Path
    report: Path
    models: Mapping[str, Path]
    figures: Mapping[str, ModelMetrics]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "models": {name: str(path) for name, path in self.models.items()},
            "figures": {name: figures.to_dict() for name, figures in self.figures.items()},
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    out: str | Path, *, overwrite: bool = False, seed: int = 0, quick: bool = False, echo: Echo | None = None
) -> DemoResult:
    """Train a denoising autoencoder and a VAE on 8,500 images, and write both and a page about them into a folder.

    The folder appears when it is complete: a demo that fails, or is stopped, leaves nothing.

    Args:
        out: the folder to make.
        overwrite: whether to replace a folder that an earlier demo made, and nothing was added to.
        seed: of everything but the choice of the test images, so that figures compare.
        quick: 1,000 images and 2 epochs only, to see that it runs.
        echo: takes what is to be shown, text or a table of rich; None prints it.

    Raises:
        ArtifactError: if `out` is taken, or cannot be made.
    """
    started = time.monotonic()
    folder = Path(out)
    _check_free(folder, overwrite=overwrite)
    echo = echo or _print
    images = fashion_mnist()
    test, training = _split(images, quick)
    temporary = temporary_beside(folder)
    try:
        models = {}
        for name, recipe in _recipes(quick).items():
            echo(f"Training the {name} on {len(training):,} images of garments")
            models[name] = _train(recipe, images.images[training], seed)
            models[name].save(temporary / name)
        echo(f"Writing the page about {len(test):,} other images")
        _write_page(models, images, test, temporary, folder.name, seed, quick)
        figures = {name: study(name, model, images.images[test]).figures for name, model in models.items()}
        paths = {name: folder / name for name in models}
        result = DemoResult(folder, folder / _REPORT, paths, figures, time.monotonic() - started)
        mark = {"made_by": "isthmus demo", "seed": seed, "quick": quick, **result.to_dict()}
        (temporary / _MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
        _put(temporary, folder, overwrite=overwrite)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    echo(_table(result))
    echo(f"Open {result.report}")
    return result


def _print(shown: Any) -> None:
    # A path must stay one word that can be copied, so lines are not broken.
    Console().print(shown, highlight=False, soft_wrap=isinstance(shown, str))


def _recipes(quick: bool) -> dict[str, Recipe]:
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    return {
        "autoencoder": presets.denoising(latent_dim=32, epochs=epochs).replace({"corruption.std": _TRAINING_NOISE}),
        "vae": presets.vae(latent_dim=16, epochs=epochs),
    }


def _split(images: LabelledImages, quick: bool) -> tuple[Any, Any]:
    """Return the places of the test images and of those to train on; the test images are always the same."""
    order = np.random.default_rng(0).permutation(len(images.images))
    if quick:
        order = order[:_QUICK_IMAGES]
    held_out = min(_TEST_IMAGES, len(order) // 5)
    return order[:held_out], order[held_out:]


def _train(recipe: Recipe, rows: Any, seed: int) -> Autoencoder:
    model = Autoencoder(recipe, random_state=seed, verbose=True).fit(rows)
    if model.history_.stop_reason == "interrupted":
        # Training kept its best weights, as it should; a demo of half-trained models would show nobody anything.
        raise KeyboardInterrupt
    return model


def _write_page(
    models: Mapping[str, Autoencoder], images: LabelledImages, test: Any, into: Path, name: str, seed: int, quick: bool
) -> None:
    write_report(
        models,
        images.images[test],
        into / _REPORT,
        labels=images.labels[test],
        label_names=images.class_names,
        title="isthmus demo: two autoencoders learn what garments look like",
        about_rows=f"{len(test):,} images of garments (Fashion-MNIST) that neither model was trained on",
        noise=_NOISE,
        command=f"isthmus demo --out {name} --seed {seed}" + (" --quick" if quick else ""),
        seed=seed,
    )


# ---- the folder ------------------------------------------------------------------------------------------------------


def _check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise `ArtifactError` before any work if the folder cannot be made."""
    name = repr(str(folder))
    if not folder.absolute().parent.is_dir():
        raise ArtifactError(
            f"there is no folder {str(folder.absolute().parent)!r} to make {name} in; try making it first"
        )
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise ArtifactError(f"{name} exists; try another name, or overwrite=True (--overwrite) to replace it")
    if folder.is_symlink() or not folder.is_dir():
        raise ArtifactError(f"{name} is no folder that a demo made, so it is not overwritten; try another name")
    inside = {path.name for path in folder.iterdir()}
    if inside and not _is_marked(folder):
        raise ArtifactError(f"{name} was not made by a demo, so it is not overwritten; try another name")
    added = sorted(inside - {_MARK, _REPORT, *_recipes(quick=True)})
    if added:
        raise ArtifactError(
            f"{name} holds more than a demo made ({', '.join(added)}); try moving that, or another name"
        )


def _is_marked(folder: Path) -> bool:
    try:
        mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(mark, dict) and mark.get("made_by") == "isthmus demo"


def _put(temporary: Path, folder: Path, *, overwrite: bool) -> None:
    """Move the finished folder to its place; what was there goes away only when the new one is complete."""
    _check_free(folder, overwrite=overwrite)  # somebody may have made it in the meantime
    move_whole(temporary, folder)


# ---- the table -------------------------------------------------------------------------------------------------------


def _table(result: DemoResult) -> Table:
    """Return the figures, one column for each model."""
    table = Table(title=f"On {next(iter(result.figures.values())).rows:,} images that were held out")
    table.add_column("")
    for name in result.figures:
        table.add_column(name, justify="right")
    figures = list(result.figures.values())
    lines: dict[str, list[str]] = {
        "mean squared error (pixels 0 to 1)": [f"{f.mse:.5f}" for f in figures],
        "PSNR": [f"{f.psnr:.1f} dB" if f.psnr is not None else "–" for f in figures],
        # The autoencoder's score is that of another likelihood: beside the bound it would be compared with it.
        "bound on the log-likelihood, nats": [f"{f.score:.1f}" if f.is_bound else "–" for f in figures],
        "compression (bytes; codes in float32)": [f"{f.compression_ratio:.1f} : 1" for f in figures],
        "active latents": [f"{f.active_units} of {f.latents}" for f in figures],
        "training took": [f"{f.seconds:.1f} s" for f in figures],
    }
    for name, cells in lines.items():
        table.add_row(name, *cells)
    table.caption = f"everything took {result.seconds:.0f} s"
    return table
