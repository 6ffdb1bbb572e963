"""What is advised can be trained, says why in one line each, follows from what was measured, and follows the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus import Autoencoder, Recipe, advise, presets
from isthmus.advice import GOALS, KINDS, Advice
from isthmus.advice.kinds import EVERY, VARIANTS
from isthmus.corruptions import GaussianNoise, Mask, SaltAndPepper
from isthmus.errors import DataError, RecipeError

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(600, 3)) @ RNG.normal(size=(3, 12))
FIVE = RNG.uniform(-1, 1, (600, 5))
ROWS: dict[str, np.ndarray] = {
    "curved": np.column_stack([FIVE, FIVE**2]) @ RNG.normal(size=(10, 20)) + 0.2 * RNG.normal(size=(600, 20)),
    "table": FACTORS + 0.2 * RNG.normal(size=FACTORS.shape),
    "unit": RNG.random((600, 5)) ** 2,
    "bits": (FACTORS > 0).astype(np.uint8),
    "images": RNG.integers(0, 256, (120, 6, 6), dtype=np.uint8),
    "few": RNG.normal(size=(10, 8)),
}


def choice(advice: Advice, setting: str) -> Any:
    return next(c for c in advice.choices if c.setting == setting)


def why(advice: Advice, preset: str) -> str:
    return next(weighed.why for weighed in advice.kinds if weighed.kind.preset == preset)


# ---- the tables ------------------------------------------------------------------------------------------------------


def test_every_preset_is_weighed() -> None:
    """Whoever adds a preset says what it is good at, and what not, or of which kind it is a variant."""
    assert set(presets.PRESETS) <= {*KINDS, *VARIANTS} and not set(KINDS) & set(VARIANTS)
    assert set(VARIANTS.values()) <= set(KINDS)


@pytest.mark.parametrize("goal", GOALS)
def test_a_goal_names_kinds_once_and_one_of_them_takes_any_row(goal: str) -> None:
    names = [candidate.preset for candidate in GOALS[goal].candidates]
    assert len(names) == len(set(names)) and set(names) <= set(KINDS)
    safe = [
        c.preset
        for c in GOALS[goal].candidates
        if c.rules and c.preset in presets.PRESETS and KINDS[c.preset].rows == EVERY
    ]
    assert any(KINDS[name].fewest_rows == 0 for name in safe)


def test_every_kind_has_strengths_and_limits_in_a_few_words() -> None:
    for name, kind in KINDS.items():
        assert name == kind.preset
        assert 0 < len(kind.strengths) <= 80 and 0 < len(kind.limits) <= 80
        assert set(kind.rows) <= {"vector", "image", "series"}


# ---- what holds for every goal and every kind of row -----------------------------------------------------------------


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("goal", GOALS)
def test_what_is_advised_can_be_trained_and_says_why(goal: str, rows: str) -> None:
    advice = advise(ROWS[rows], goal)
    assert presets.get(advice.preset).replace(advice.settings) == advice.recipe
    for made in advice.choices:
        assert made.reason and "\n" not in made.reason and len(made.reason) < 140
    assert [w.kind.preset for w in advice.kinds if w.chosen] == [advice.preset]
    assert advice.kinds[0].chosen
    assert {w.kind.preset for w in advice.kinds} == set(KINDS)
    data = json.loads(json.dumps(advice.to_dict()))
    assert Recipe.from_dict(data["recipe"]) == advice.recipe
    assert data["settings"] == json.loads(json.dumps(advice.settings))
    widths: dict[str, Any] = {"hidden_dims": (8,), "channels": (4, 4), "width": 8}
    inside = {f"network.{k}": width for k, width in widths.items() if hasattr(advice.recipe.network, k)}
    small: dict[str, Any] = {**inside, "training.epochs": 1}
    model = Autoencoder(advice.recipe.replace(small)).fit(ROWS[rows])
    assert model.transform(ROWS[rows]).shape == (len(ROWS[rows]), advice.latent_dim)
    # What is said of the settings that were left alone is what training takes.
    for made in advice.choices:
        if not made.given and made.setting not in {*small, "objective.likelihood"}:
            assert json.loads(json.dumps(model.recipe_.paths()[made.setting])) == json.loads(json.dumps(made.value))


def test_the_same_rows_get_the_same_advice() -> None:
    assert advise(ROWS["table"], "detect") == advise(ROWS["table"].copy(), "detect")


# ---- the settings follow from the facts ------------------------------------------------------------------------------


def test_a_linear_table_gets_as_many_latents_as_it_has_factors() -> None:
    advice = advise(ROWS["table"], "compress")
    assert advice.latent_dim == 3
    assert "limited to the components above the noise" in choice(advice, "code.latent_dim").reason


@pytest.mark.parametrize("goal", ["detect", "features"])
def test_the_latent_is_twice_the_intrinsic_dimension(goal: str) -> None:
    advice = advise(ROWS["table"], goal)
    assert advice.facts.intrinsic == pytest.approx(3, abs=0.5)
    assert advice.latent_dim == round(2 * advice.facts.intrinsic)
    assert advice.recipe.code.latent_dim == advice.latent_dim
    reason = choice(advice, "code.latent_dim").reason
    assert f"intrinsic dimension {advice.facts.intrinsic:.1f}" in reason
    assert "a 10- to 20-fold reduction: 1" in reason


def test_the_latent_has_limits() -> None:
    noise = np.random.default_rng(1).normal(size=(400, 6))
    assert advise(noise, "compress").latent_dim == 5  # narrower than the row
    assert advise(noise, "detect").latent_dim == 6  # noise keeps it from copying
    line = noise[:, :1] @ np.ones((1, 6))
    assert advise(line, "compress").latent_dim == 1  # PCA needs no more
    few = advise(ROWS["few"], "compress")
    assert few.latent_dim == 2 and "one for 4 rows" in choice(few, "code.latent_dim").reason
    wide = choice(advise(np.random.default_rng(2).normal(size=(40, 400)), "compress"), "code.latent_dim")
    assert "10- to 20-fold reduction: 20 to 40" in wide.reason


def test_a_map_has_two_latents_and_says_what_it_loses() -> None:
    advice = advise(ROWS["table"], "visualise")
    assert advice.latent_dim == 2
    assert f"hold {advice.facts.explained(2):.0%} of the variance" in choice(advice, "code.latent_dim").reason


def test_detecting_on_tables_is_what_was_measured() -> None:
    advice = advise(ROWS["table"], "detect")
    assert advice.preset == "denoising"
    assert advice.recipe.corruption == GaussianNoise((0.1, 2.0))
    settings = advice.settings
    assert settings["network.hidden_dims"] == [256, 256] and settings["network.activation"] == "silu"
    assert settings["training.epochs"] == round(2000 / 3)  # 540 training rows are 3 steps
    assert "ADBench" in choice(advice, "recipe").reason and "ADBench" in choice(advice, "corruption.std").reason


def test_detecting_on_images_and_on_curves_is_what_was_measured() -> None:
    """Small images get the dense network, large ones the convolutional; steps of one curve have one range."""
    images = advise(ROWS["images"], "detect")
    assert images.preset == "denoising" and images.settings["network.activation"] == "silu"
    assert images.settings["corruption.std"][1] == pytest.approx(4 * images.facts.spread, abs=1e-3)
    assert "MNIST" in choice(images, "corruption.std").reason
    large = np.random.default_rng(0).random((60, 70, 70))
    assert advise(large, "detect").preset == "conv_denoising"
    walks = np.random.default_rng(0).normal(size=(300, 40)).cumsum(1)
    curves = advise(walks, "detect")
    assert curves.settings["preprocessing"] == "unit" and "alike" in choice(curves, "preprocessing").reason
    deviation = walks.std(0).mean() / np.ptp(walks)
    assert curves.settings["corruption.std"] == pytest.approx([0.4 * deviation, 4 * deviation], abs=1e-3)
    assert "preprocessing" not in advise(walks, "compress").settings


def test_a_table_in_the_unit_interval_is_standardised() -> None:
    """Else noise of a standard deviation would be another than was measured."""
    assert advise(ROWS["unit"], "detect").recipe.preprocessing == "standard"
    assert "preprocessing" not in advise(ROWS["table"], "detect").settings
    assert "preprocessing" not in advise(ROWS["images"], "detect").settings


def test_noise_to_remove_is_like_the_noise_that_was_measured() -> None:
    advice = advise(ROWS["table"], "denoise")
    assert advice.facts.noise_is_clear
    noise = round(advice.facts.noise, 3)
    assert advice.recipe.corruption == GaussianNoise(noise)
    assert noise == pytest.approx(np.median(0.2 / ROWS["table"].std(0)), rel=0.1)
    clean = advise(FACTORS, "denoise")
    assert clean.recipe.corruption == GaussianNoise((0.0, 0.3))
    assert "look clean" in choice(clean, "corruption.std").reason
    assert isinstance(advise(ROWS["bits"], "denoise").recipe.corruption, SaltAndPepper)
    assert isinstance(advise(ROWS["table"], "features").recipe.corruption, Mask)


@pytest.mark.parametrize(
    ("rows", "generating", "otherwise"),
    [
        ("table", "normal", "squared_error"),
        ("unit", "normal", "squared_error"),
        ("bits", "bernoulli", "bernoulli"),
        ("images", "binary_cross_entropy", "squared_error"),
    ],
)
def test_the_likelihood_is_that_of_the_values(rows: str, generating: str, otherwise: str) -> None:
    assert advise(ROWS[rows], "generate").preset == "vae"
    assert choice(advise(ROWS[rows], "generate"), "objective.likelihood").value == generating
    assert choice(advise(ROWS[rows], "compress"), "objective.likelihood").value == otherwise


# ---- kinds come and go -----------------------------------------------------------------------------------------------


def conv(**settings: Any) -> Recipe:
    return presets.autoencoder(**settings)


def test_a_kind_is_proposed_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "conv_autoencoder"
    monkeypatch.setattr(presets, "PRESETS", {k: v for k, v in presets.PRESETS.items() if k != name})
    before = advise(ROWS["images"], "compress")
    assert before.preset == "autoencoder" and why(before, name) == "not in this version of isthmus"
    monkeypatch.setattr(presets, "PRESETS", presets.PRESETS | {name: conv})
    assert advise(ROWS["images"], "compress").preset == name
    table = advise(ROWS["table"], "compress")
    assert table.preset == "autoencoder" and why(table, name) == "for rows that are images"


def test_a_kind_that_does_not_fit_the_rows_is_passed_over_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def misfit() -> Recipe:
        return presets.autoencoder(batch_size=100_000)

    monkeypatch.setattr(presets, "PRESETS", presets.PRESETS | {"conv_autoencoder": misfit})
    advice = advise(ROWS["images"], "compress")
    assert advice.preset == "autoencoder"
    assert "at most the 108 training rows" in why(advice, "conv_autoencoder")


def test_a_kind_that_needs_more_rows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", presets.PRESETS | {"conv_vae": conv})
    advice = advise(ROWS["images"], "generate")
    assert advice.preset == "vae" and why(advice, "conv_vae") == "needs about 1,000 rows or more"


# ---- warnings --------------------------------------------------------------------------------------------------------


def walk(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(600, 30)).cumsum(1)


@pytest.mark.parametrize(
    ("change", "goal", "message"),
    [
        (lambda x, rng: x[:40], "compress", "40 rows are few"),
        (lambda x, rng: np.concatenate([x, x[:7]]), "detect", "7 rows equal an earlier one"),
        (lambda x, rng: np.concatenate([x, x[:1]]), "detect", "1 row equals an earlier one"),
        (lambda x, rng: np.column_stack([x, np.ones(len(x))]), "compress", "1 of 13 columns are constant"),
        (lambda x, rng: FACTORS, "compress", "PCA with 3 components explains 100.0% of the variance: try it first"),
        (lambda x, rng: rng.normal(size=x.shape), "compress", "no component stands out of the noise"),
        (lambda x, rng: walk(rng), "compress", "neighbouring columns are alike"),
        (lambda x, rng: rng.random((600, 256)), "compress", "pass them as 16 x 16 pixels"),
        (lambda x, rng: rng.poisson(0.3, x.shape), "compress", "% of the values are 0"),
        (lambda x, rng: np.sin(rng.uniform(-2, 2, (600, 5)) @ rng.normal(size=(5, 30))), "denoise", "an upper bound"),
        (lambda x, rng: x, "detect", "train on normal rows only"),
    ],
)
def test_what_to_mind(
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    goal: str,
    message: str,
    rng: np.random.Generator,
) -> None:
    assert any(message in warning for warning in advise(change(ROWS["table"], rng), goal).warnings)


def test_nothing_to_mind_is_nothing_said() -> None:
    assert advise(ROWS["curved"], "generate").warnings == ()


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "goal", "error", "message"),
    [
        (ROWS["table"], "detct", RecipeError, "no goal 'detct'; did you mean 'detect'"),
        (ROWS["table"], None, RecipeError, "expected what the model is for, one of compress, detect"),
        (ROWS["table"][:, :1], "detect", DataError, "rows of two values or more"),
        (ROWS["table"][:2], "detect", DataError, "three rows or more"),
        (np.ones((50, 4)), "detect", DataError, "rows that are all the same"),
        (np.full((50, 4), np.nan), "detect", DataError, "NaN"),
        (np.array([["a", "b"]]), "detect", DataError, "numbers"),
    ],
)
def test_refused(rows: Any, goal: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        advise(rows, goal)
