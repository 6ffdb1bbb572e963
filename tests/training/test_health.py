"""The health of a code in history, metrics, warnings, `inspect` and the report: for every kind of code."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import isthmus
from isthmus import Autoencoder, presets
from isthmus.codes import CodeOutput
from isthmus.composition import Composition
from isthmus.data.batches import split
from isthmus.errors import CollapseWarning
from isthmus.estimator.supervised import LatentClassifier
from isthmus.metrics import advice, code_health, effective_rank, mutual_information
from isthmus.metrics.health import spread
from isthmus.recipe import Recipe, Training
from isthmus.report import health_text
from isthmus.schema import Batch
from isthmus.training import health
from isthmus.training.history import History
from tests.helpers import rows, small

ALWAYS = {"effective_rank", "dead_units", "average_activation", "share_below_0.1"}
CODEBOOK = {"codebook_perplexity", "codebook_used"}
GAUSSIAN = {"kl", "mutual_information"}
KINDS: dict[str, set[str]] = {
    "autoencoder": set(),
    "vae": GAUSSIAN,
    "top_k": set(),
    "vq_vae": CODEBOOK,
    "fsq": CODEBOOK,
    "categorical_vae": CODEBOOK | {"kl"},
}


def fitted(recipe: Recipe, x: np.ndarray) -> Autoencoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        return Autoencoder(recipe, random_state=0).fit(x)


def columns(history: History) -> set[str]:
    return {name.removeprefix("health/") for name in history.names() if name.startswith("health/")}


@pytest.mark.parametrize("name", KINDS)
def test_history_has_the_numbers_that_apply_to_the_code(name: str) -> None:
    x = rows(120)
    model = fitted(small(presets.get(name)), x)
    assert columns(model.history_) == ALWAYS | KINDS[name]
    assert all(math.isfinite(value) for row in model.history_ for value in row.values())
    # What is measured when the weights were best is what stands in the metrics, whose weights they are.
    best = model.history_.rows[model.history_.best_epoch - 1]
    _, held_out = split(len(x), model.recipe_.training.validation_fraction, model.recipe_.training.seed)
    whole = health.as_metrics(model.health(x[held_out.numpy()]))
    for column in (ALWAYS | KINDS[name]) - {"mutual_information", "kl"}:
        assert model.metrics_[f"health/{column}"] == pytest.approx(best[f"health/{column}"], abs=1e-5), column
        assert whole[f"health/{column}"] == pytest.approx(best[f"health/{column}"], rel=1e-3, abs=1e-5), column
    assert model.metrics_["active_units"] == best["active_units"] == whole["active_units"]
    if "kl" in KINDS[name]:
        for kl in (best["health/kl"], model.metrics_["health/kl"], whole["health/kl"]):
            assert kl == pytest.approx(best["validation/kl"], rel=1e-3)


def test_the_numbers_are_those_of_the_metrics_on_the_same_rows() -> None:
    x = rows(150)
    model = fitted(small(presets.vae(), epochs=1), x)
    _, held_out = split(len(x), model.recipe_.training.validation_fraction, model.recipe_.training.seed)
    batch = Batch(torch.from_numpy(model.encoding_.forward(x[held_out.numpy()])))
    with torch.no_grad():
        output = model.composition_.encode(batch)
    mean, log_variance = output.mean, output.quantities["log_variance"]
    expected = code_health(mean, log_variance)
    row = model.history_.rows[0]
    assert row["active_units"] == expected["active_units"]
    for name in ("effective_rank", "dead_units", "share_below_0.1", "kl"):
        assert row[f"health/{name}"] == pytest.approx(expected[name], rel=1e-5), name
    assert row["health/average_activation"] == pytest.approx(np.mean(expected["average_activation"]), rel=1e-5)
    assert row["health/mutual_information"] == pytest.approx(mutual_information(mean, log_variance, draws=64), rel=1e-4)
    assert model.metrics_["health/mutual_information"] == pytest.approx(expected["mutual_information"], rel=1e-4)  # type: ignore[arg-type]
    every = model.health(x)
    assert every["kl_per_latent"] == pytest.approx(model.kl_per_latent(x).tolist(), rel=1e-5)
    assert every["rows"] == 150


def test_mutual_information_stands_in_every_tenth_epoch() -> None:
    history = fitted(small(presets.vae(), epochs=12), rows(60)).history_
    present = [place for place, value in enumerate(history["health/mutual_information"]) if value is not None]
    assert present == [0, 10]
    assert None not in history["health/effective_rank"]


def output(mean: torch.Tensor, **quantities: torch.Tensor) -> CodeOutput:
    return CodeOutput(mean, mean, quantities)


def test_positions_count_as_rows() -> None:
    mean = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    found = health.sample([(output(mean, kl=mean + 1.0, log_variance=-mean), 2)], 100)
    assert found.mean.shape == (8, 3)
    assert found.mean[1].tolist() == mean[0, :, 0, 1].tolist() and found.mean[4].tolist() == mean[1, :, 0, 0].tolist()
    assert torch.equal(found.kl, found.mean + 1.0) and torch.equal(found.log_variance, -found.mean)  # type: ignore[arg-type, operator]
    joint = health.sample([(output(mean, kl=torch.tensor([[4.0], [8.0]])), 2)], 100)
    assert joint.kl is not None and joint.kl[:, 0].tolist() == [1.0] * 4 + [2.0] * 4
    few = health.sample([(output(mean), 1), (output(mean), 2)], 5)
    whole = torch.cat([found.mean[:4], found.mean])  # a padded row is none
    assert torch.equal(few.mean, whole[spread(12, 5)])


@pytest.mark.parametrize("network", ["conv", "attention"])
def test_feature_maps_and_sequences_are_measured(network: str) -> None:
    if network == "conv":
        parts: Any = isthmus.networks.Conv(channels=(4,), bottleneck="spatial")
        x = rows(80, columns=64, shape=(1, 8, 8))
    else:
        parts = isthmus.networks.Attention(bottleneck="sequence", width=8, heads=2, layers=1)
        x = rows(80, columns=12, shape=(6, 2))
    recipe = dataclasses.replace(small(presets.vae()), network=parts)
    model = fitted(recipe, x)
    positions = math.prod(model.composition_.network.positions)
    assert positions > 1
    assert model.metrics_["health/rows"] == 8 * positions and model.metrics_["health/latents"] == 3
    assert model.health(x)["rows"] == 80 * positions


def test_at_most_two_thousand_rows_and_fewer_of_a_wide_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(small(presets.autoencoder(), epochs=1), rows(60))
    data = Batch(torch.rand(3000, 6))
    seen: list[int] = []
    inner = Composition.encode

    def encode(self: Composition, batch: Batch, draw: Any = None) -> CodeOutput:
        seen.append(batch.rows)
        return inner(self, batch, draw)

    monkeypatch.setattr(Composition, "encode", encode)
    assert health.final_health(model.composition_, data, 0)["rows"] == 2000 and sum(seen) < 3000
    monkeypatch.setattr(health, "_VALUES", 900)
    monkeypatch.setattr(health, "_FEWEST_ROWS", 7)
    assert health.final_health(model.composition_, data, 0)["rows"] == 300
    assert health._rank_rows(32, 2e7) > 2000 and health._rank_rows(1000, 2e9) == 2000
    assert health._rank_rows(4000, 1e9) == 500


@pytest.mark.parametrize("name", ["vae", "vq_vae"])
def test_measuring_changes_nothing(name: str, generators_untouched: Any) -> None:
    model = fitted(small(presets.get(name), epochs=1), rows(60))
    before = {name: value.clone() for name, value in model.composition_.state_dict().items()}
    model.composition_.train()
    data = Batch(torch.rand(50, 6))
    with generators_untouched():
        first = health.epoch_health(model.composition_, data, 0, 0)
    assert model.composition_.training
    assert all(torch.equal(value, before[name]) for name, value in model.composition_.state_dict().items())
    assert first.keys() == {"active_units"} | {f"health/{column}" for column in ALWAYS | KINDS[name]}


def test_a_code_that_is_not_finite_has_its_active_units_alone() -> None:
    model = fitted(small(presets.autoencoder(), epochs=1), rows(60))
    bad = Batch(torch.full((4, 6), math.nan))
    assert health.epoch_health(model.composition_, bad, 0, 0) == {"active_units": 0.0}
    assert health.final_health(model.composition_, bad, 0) == {}


def test_a_predictor_has_the_health_of_its_code() -> None:
    x = rows(80)
    base = fitted(small(presets.vae()), x)
    predictor = LatentClassifier(base, training=Training(epochs=2), random_state=0).fit(x, x[:, 0] > 0.5)
    assert columns(predictor.history_) == ALWAYS | GAUSSIAN


# ---- collapse ------------------------------------------------------------------------------------------------------


def warned(recipe: Recipe, x: np.ndarray) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Autoencoder(recipe, random_state=0).fit(x)
    return [str(w.message) for w in caught if issubclass(w.category, CollapseWarning)]


def test_a_collapsed_posterior_is_told_with_its_remedy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(300, 4))
    recipe = presets.beta_vae(latent_dim=2, beta=50.0, hidden_dims=(8,), epochs=5)
    (text,) = warned(recipe, noise)
    assert "none of its 2 latents" in text and "smaller weight of the term" in text and "code.restart" not in text
    model = fitted(recipe, noise)
    (sentence,) = health_text.advice_of(model)
    assert sentence.startswith("the posterior has collapsed") and "free bits" in sentence
    assert model.metrics_["health/mutual_information"] < 0.2
    model.save(tmp_path / "m")
    lines = health_text.health_lines(isthmus.load(tmp_path / "m"))
    assert lines == health_text.health_lines(model)
    assert any("active latents" in line and "0 of 2" in line for line in lines)
    assert f"  advice: {sentence}" in lines


def test_dead_latents_are_told_with_their_remedy() -> None:
    # Of 40 latents only one may be active on each row, and nothing revives the others.
    recipe = presets.top_k(latent_dim=40, k=1, epochs=2)
    terms = dataclasses.replace(recipe.objective, terms=())
    (text,) = warned(dataclasses.replace(recipe, objective=terms), rows(200))
    assert "of 40 latents are dead" in text and "auxiliary loss" in text


def test_a_codebook_out_of_use_is_told_with_its_remedy() -> None:
    model = fitted(small(presets.vq_vae()), rows(600))
    found = {**model.health(rows(600)), "codebook_entries": 64.0, "codebook_perplexity": 1.5, "codebook_draws": 600.0}
    (text,) = advice(found)
    assert "1.5 of 64 entries" in text and "restart of dead entries" in text
    settings: dict[str, Any] = {"epochs": 10, "hidden_dims": (8,), "weight": 1000.0, "learning_rate": 0.05}
    recipe = presets.vq_vae(latent_dim=4, entries=64, groups=1, **settings).replace({"code.restart": 0.0})
    (text,) = warned(recipe, np.random.default_rng(0).normal(size=(1600, 4)))
    assert "code.restart" in text and "smaller weight" in text and "warm-up" not in text


def test_a_low_rank_is_told_with_its_remedy() -> None:
    one_cause = rows(300)[:, :1] * np.linspace(0.5, 1.0, 12)
    recipe = presets.autoencoder(latent_dim=12, hidden_dims=(), epochs=40, learning_rate=0.02)
    model = fitted(recipe, one_cause)
    assert 1.0 <= model.metrics_["health/effective_rank"] < 3.0
    assert any("repeat each other" in text and "smaller latent_dim" in text for text in health_text.advice_of(model))


@pytest.mark.parametrize("name", ["autoencoder", "vae", "vq_vae", "fsq"])
def test_a_sound_model_is_left_in_peace(name: str) -> None:
    recipe = getattr(presets, name)(latent_dim=2, hidden_dims=(16,), epochs=30, learning_rate=0.01)
    x = rows(400, columns=20, support="real") if name == "vae" else rows(400)
    assert warned(recipe, x) == []


def test_the_lines_of_a_model_without_health_are_none() -> None:
    model = fitted(small(presets.autoencoder(), epochs=1), rows(60))
    model.metrics_ = {name: value for name, value in model.metrics_.items() if not name.startswith("health/")}
    assert health_text.health_lines(model) == [] and health_text.advice_of(model) == []


def test_the_table_has_a_cell_for_each_model() -> None:
    plain, sparse = code_health(np.eye(3)), code_health(np.eye(4), kl=np.ones((4, 4)))
    table = {line["name"]: line["cells"] for line in health_text.table([plain, sparse])}
    assert table["KL from the prior"] == ["–", "4 nats"] and table["dead latents"] == ["0 of 3", "0 of 4"]
    assert table["effective rank"][0] == f"{effective_rank(np.eye(3) - 1 / 3):.1f} of 3"
    section = health_text.section("m", code_health(np.eye(3), indices=[0, 1, 0], entries=4))
    assert [panel["title"] for panel in section["panels"]] == ["How often each entry of the codebook is used"]
