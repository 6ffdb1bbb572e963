"""Health: closed forms, slow references, and a sentence for each problem but none for a sound code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import entropy, norm
from torch.distributions import Normal, kl_divergence

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import (
    advice,
    average_activation,
    code_health,
    codebook_perplexity,
    count_active,
    dead_units,
    effective_rank,
    health,
    kl_per_latent,
    mutual_information,
    share_below,
)
from isthmus.seeds import derive
from isthmus.training import health as training_health


def test_active_units_are_counted_in_one_place() -> None:
    assert training_health.count_active is count_active


def test_active_units_have_a_variance_above_a_hundredth() -> None:
    sign = torch.tensor([[1.0], [-1.0]])
    means = sign * torch.tensor([[0.04, 0.09, 0.11, 1.0, 0.0]]) + 5.0
    assert count_active(means, has_prior=True) == 2
    assert count_active(means, has_prior=False) == 3  # the average latent has 0.204
    assert count_active(0.09 * means, has_prior=True) == 0
    assert count_active(0.09 * means, has_prior=False) == 3


# ---- rank --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 16])
def test_effective_rank_of_the_identity_is_its_size(n: int) -> None:
    assert effective_rank(7.0 * np.eye(n)) == pytest.approx(n)


def test_effective_rank_follows_from_the_singular_values(rng: np.random.Generator) -> None:
    values = np.array([5.0, 3.0, 1.0])
    u, v = np.linalg.qr(rng.normal(size=(20, 3)))[0], np.linalg.qr(rng.normal(size=(4, 3)))[0]
    assert effective_rank(u * values @ v.T) == pytest.approx(math.exp(entropy(values)))
    assert effective_rank((u * values @ v.T).T) == pytest.approx(math.exp(entropy(values)))
    assert effective_rank(np.outer(u[:, 0], v[:, 0])) == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(np.zeros((3, 2))) == 0.0


# ---- use of latents ----------------------------------------------------------------------------------------------


def test_dead_units_are_constant_or_never_above_the_threshold() -> None:
    codes = np.array([[0.0, 2.0, 0.3, -0.6, 1e6], [0.0, 2.0, 0.1, 0.1, 1e6 + 0.1], [0.0, 2.0, 0.2, 0.2, 1e6]])
    assert dead_units(codes).tolist() == [True, True, False, False, True]
    assert dead_units(codes, threshold=0.5).tolist() == [True, True, True, False, True]
    assert dead_units(torch.from_numpy(codes).relu()).tolist() == [True, True, False, False, True]


def test_average_activation_is_of_sizes_and_the_limit_is_open() -> None:
    codes = [[-1.0, 0.0, 0.1, 0.05], [1.0, 0.0, 0.1, 0.1]]
    assert average_activation(codes).tolist() == pytest.approx([1.0, 0.0, 0.1, 0.075])
    assert share_below(codes) == 0.5
    assert share_below(codes, limit=2.0) == 1.0


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_codebook_perplexity_is_the_exponential_of_the_entropy(kind: Any) -> None:
    assert codebook_perplexity(kind([[0, 1], [2, 3]]), 4) == pytest.approx(4.0)
    assert codebook_perplexity(kind([[5, 5], [5, 5]]), 8) == pytest.approx(1.0)
    assert codebook_perplexity(kind([0, 0, 0, 7]), 8) == pytest.approx(math.exp(entropy([3, 1])))


# ---- information -------------------------------------------------------------------------------------------------


def test_kl_is_that_of_torch(rng: np.random.Generator) -> None:
    mean, log_variance = torch.from_numpy(rng.normal(size=(2, 50, 3)))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(kl_per_latent(mean, log_variance), expected.numpy(), rtol=1e-12)


def test_kl_keeps_its_digits_near_the_prior() -> None:
    """exp(s) - 1 - s is s^2 / 2, of which plain subtraction keeps nothing for small s."""
    assert kl_per_latent([[0.0]], [[1e-8]])[0] == pytest.approx(1e-16 / 4, rel=0.01)


def linear_gaussian(rng: np.random.Generator, rows: int, scales: list[float], variance: float) -> tuple[Any, Any]:
    """Return posteriors ``N(a x, variance)`` of x ~ N(0, I)."""
    mean = rng.normal(size=(rows, len(scales))) * scales
    return mean, np.full_like(mean, math.log(variance))


@pytest.mark.parametrize(("scales", "variance"), [([1.0], 0.5), ([2.0, 0.5], 0.6), ([0.05, 0.0], 1.0)])
def test_mutual_information_of_a_linear_gaussian_model_is_its_closed_form(
    scales: list[float], variance: float, rng: np.random.Generator
) -> None:
    """I(x; z) = sum_i log(1 + a_i^2 / variance) / 2."""
    mean, log_variance = linear_gaussian(rng, 3000, scales, variance)
    expected = sum(0.5 * math.log(1 + a * a / variance) for a in scales)
    assert mutual_information(mean, log_variance) == pytest.approx(expected, abs=0.05)


def test_kl_splits_into_information_and_the_distance_of_the_aggregate_from_the_prior(rng: np.random.Generator) -> None:
    """q(z) is N(0, a^2 + variance), whose KL from N(0, 1) has a closed form."""
    mean, log_variance = linear_gaussian(rng, 3000, [1.5], 0.5)
    result = code_health(mean, log_variance)
    total = 1.5**2 + 0.5
    assert result["marginal_kl"] == pytest.approx(0.5 * (total - 1 - math.log(total)), abs=0.08)
    assert result["kl"] == pytest.approx(result["marginal_kl"] + result["mutual_information"])


def test_mutual_information_is_the_slow_sum(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, log_variance = rng.normal(size=(2, 17, 3)) * 2 + 1
    seed = derive(5, "mutual_information")
    noise = torch.randn(17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    deviation = np.exp(0.5 * log_variance)
    z = mean + deviation * noise
    terms = []
    for i in range(17):
        density = [norm.logpdf(z[i], mean[j], deviation[j]).sum() for j in range(17)]
        terms.append(density[i] - (logsumexp(density) - math.log(17)))
    assert mutual_information(mean, log_variance, random_state=5) == pytest.approx(np.mean(terms), abs=1e-9)
    few = [terms[i] for i in (0, 4, 8, 12)]
    found = mutual_information(mean, log_variance, draws=4, random_state=5)
    assert found == pytest.approx(np.mean(few), abs=1e-9)
    monkeypatch.setattr(health, "_BLOCK_VALUES", 4 * 17)
    assert mutual_information(mean, log_variance, random_state=5) == pytest.approx(np.mean(terms), abs=1e-9)


def test_mutual_information_is_between_nothing_and_the_log_of_the_rows(rng: np.random.Generator) -> None:
    mean = rng.normal(size=(400, 8)) * 3 + 1000
    assert mutual_information(np.zeros_like(mean), np.zeros_like(mean)) == pytest.approx(0.0, abs=1e-12)
    for log_variance in (-15.0, -40.0):  # the narrowest posteriors that codes allow, and far beyond
        narrow = np.full_like(mean, log_variance)
        assert mutual_information(mean, narrow) == pytest.approx(math.log(400), abs=1e-6)


def test_mutual_information_is_of_the_seed_and_of_no_order_of_latents(
    rng: np.random.Generator, generators_untouched: Any
) -> None:
    mean, log_variance = rng.normal(size=(2, 200, 3))
    with generators_untouched():
        first = mutual_information(mean, log_variance)
    assert first == mutual_information(mean, log_variance) != mutual_information(mean, log_variance, random_state=1)
    assert mutual_information(mean[:, ::-1], log_variance[:, ::-1]) == pytest.approx(first, abs=0.2)


def test_views_and_read_only_arrays_are_taken(rng: np.random.Generator) -> None:
    mean = rng.normal(size=(40, 3))
    expected = code_health(mean[:, ::-1].copy(), mean.T.copy().T)
    mean.flags.writeable = False
    assert code_health(mean[:, ::-1], mean) == expected


def test_float32_tensors_with_a_graph_are_taken(rng: np.random.Generator) -> None:
    mean, log_variance = torch.from_numpy(rng.normal(size=(2, 40, 3))).float().requires_grad_()
    wide = mutual_information(mean.double(), log_variance.double())
    assert mutual_information(mean, log_variance) == wide


# ---- all together ------------------------------------------------------------------------------------------------

ALWAYS = {
    "rows",
    "latents",
    "active_units",
    "effective_rank",
    "dead_units",
    "average_activation",
    "share_below_0.1",
    "rank_rows",
}


def test_health_holds_what_applies(rng: np.random.Generator) -> None:
    mean, log_variance = rng.normal(size=(2, 50, 3))
    gaussian = {"kl", "kl_per_latent", "mutual_information", "marginal_kl"}
    codebook = {"codebook_perplexity", "codebook_used", "codebook_entries", "codebook_draws", "codebook_usage"}
    assert code_health(mean).keys() == ALWAYS
    assert code_health(mean, log_variance).keys() == ALWAYS | gaussian
    assert code_health(mean, kl=np.ones((50, 2))).keys() == ALWAYS | {"kl", "kl_per_group"}
    assert code_health(mean, indices=[0, 1], entries=4).keys() == ALWAYS | codebook
    everything = code_health(mean, log_variance, np.ones((50, 2)), np.zeros(50, int), 4)
    # Of a prior that joins the latents, or groups them, no latent has a KL of its own.
    assert everything.keys() == ALWAYS | (gaussian - {"kl_per_latent"}) | codebook | {"kl_per_group"}
    for value in everything.values():
        assert isinstance(value, float) or all(isinstance(v, float) for v in value)


def test_health_is_what_the_parts_say(rng: np.random.Generator) -> None:
    mean = rng.normal(size=(60, 4)) * [1.0, 0.5, 0.02, 0.0] + 3.0
    log_variance, indices = rng.normal(size=(60, 4)), rng.integers(0, 3, (60, 2))
    found = code_health(mean, log_variance, indices=indices, entries=6)
    assert (found["rows"], found["latents"], found["active_units"], found["dead_units"]) == (60, 4, 2, 1)
    assert found["effective_rank"] == effective_rank(mean - mean.mean(0))
    assert found["average_activation"] == np.abs(mean).mean(0).tolist()
    assert found["kl_per_latent"] == kl_per_latent(mean, log_variance).tolist()
    assert found["kl"] == pytest.approx(sum(found["kl_per_latent"]))  # type: ignore[arg-type]
    assert found["mutual_information"] == mutual_information(mean, log_variance)
    assert found["codebook_perplexity"] == codebook_perplexity(indices, 6)
    assert found["codebook_used"] == 0.5 and found["codebook_entries"] == 6
    assert code_health(mean, kl=[[1.0, 2.0], [3.0, 4.0]])["kl_per_group"] == [2.0, 3.0]
    assert code_health(mean, kl=[[1.0, 2.0], [3.0, 4.0]])["kl"] == 5.0
    # A KL that is given is that from the code's own prior, whatever the standard normal one would say.
    given = code_health(mean, log_variance, kl=np.full((60, 4), 2.0))
    assert given["kl_per_latent"] == [2.0] * 4 and given["kl"] == 8.0
    assert given["marginal_kl"] == 8.0 - given["mutual_information"]  # type: ignore[operator]
    # Without a prior the scale is free; with one it is not.
    assert code_health(mean / 100)["active_units"] == 2 and code_health(mean / 100, log_variance)["active_units"] == 0
    assert code_health(mean, threshold=4.0)["dead_units"] >= 2


def sound(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(200, 8))


def test_a_sound_code_needs_no_advice(rng: np.random.Generator) -> None:
    mean = sound(rng)
    assert advice(code_health(mean)) == []
    assert advice(code_health(mean, np.full_like(mean, -2.0), indices=rng.integers(0, 8, 500), entries=8)) == []
    assert advice(code_health(mean[:3])) == []  # three rows span two dimensions at most


def only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_each_problem_has_one_sentence_that_names_its_remedy(rng: np.random.Generator) -> None:
    mean = sound(rng)
    collapsed = mean * ([1.0] * 3 + [1e-3] * 5)
    sentence = only(advice(code_health(collapsed, np.zeros_like(mean))))
    assert "few latents are in use: 3 of 8 latents are active" in sentence and "latent_dim=3" in sentence
    assert "free bits" in sentence and "warm-up" in sentence and "smaller beta" in sentence
    dead = mean * ([1.0] * 6 + [0.0] * 2)
    sentence = only(advice(code_health(dead)))
    assert "2 of 8 latents are dead" in sentence
    assert "auxiliary loss" in sentence and "revival" in sentence and "smaller latent_dim" in sentence
    repeated = mean[:, :1] + 1e-3 * mean
    sentence = only(advice(code_health(repeated)))
    assert "8 in use fill 1.0 dimensions" in sentence and "latent_dim, about 2" in sentence
    sentence = only(advice(code_health(mean, indices=rng.integers(0, 3, 500), entries=8)))
    assert "3.0 of 8 entries" in sentence and "restart" in sentence and "smaller codebook" in sentence
    both = code_health(repeated * 10, np.zeros_like(mean), indices=[0] * 100, entries=8)
    assert len(advice(both)) == 2


def test_the_limits_of_advice_are_settings(rng: np.random.Generator) -> None:
    mean = sound(rng) * ([1.0] * 6 + [0.0] * 2)
    assert advice(code_health(mean), dead_share=0.25) == []
    with_prior = code_health(mean, np.zeros_like(mean))
    assert advice(with_prior) == [] and advice(with_prior, active_share=0.8)
    assert advice(code_health(sound(rng)), rank_share=1.0)
    codebook = code_health(sound(rng), indices=[0, 1, 2, 3] * 100, entries=8)
    assert advice(codebook) == [] and advice(codebook, codebook_share=0.6)


def test_a_code_without_a_prior_is_not_told_to_lower_its_beta() -> None:
    found = " ".join(advice(code_health(np.zeros((10, 3)))))
    assert "dead" in found and "beta" not in found


def test_wrong_inputs_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match=r"mean: expected a 2-D array, got shape \(2, 3, 4\)"):
        code_health(np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="one shape"):
        code_health(np.zeros((4, 2)), np.zeros((4, 1)))
    with pytest.raises(DataError, match="a 2-D array"):
        kl_per_latent(np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="finite"):
        mutual_information([[np.nan]], [[0.0]])
    for indices in ([4], [-1], [0.5], []):
        with pytest.raises(DataError, match=r"indices: expected integers in \[0, 4\)"):
            codebook_perplexity(indices, 4)
    for entries in (0, None, 2.0):
        with pytest.raises(RecipeError, match="entries"):
            code_health(np.zeros((2, 2)), indices=[0], entries=entries)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"indices: expected shape \(rows, 2\), got shape \(3,\)"):
        code_health(np.zeros((3, 2)), indices=[0, 1, 0], entries=(4, 4))


def test_each_symbol_has_a_codebook_of_its_own() -> None:
    """Two codebooks of which each uses one entry: together they look like two entries in even use."""
    indices = np.array([[0, 1]] * 50)
    each = code_health(np.ones((50, 2)), indices=indices, entries=(4, 2))
    assert (each["codebook_perplexity"], each["codebook_used"], each["codebook_entries"]) == (1.0, 0.375, 3.0)
    assert each["codebook_usage"] == [1.0, 0.0, 0.0, 0.0]
    uneven = code_health(np.ones((4, 2)), indices=np.array([[2, 1], [2, 1], [2, 0], [0, 0]]), entries=(3, 2))
    assert uneven["codebook_usage"] == [0.625, 0.375, 0.0]
    assert each["codebook_draws"] == 50.0
    assert code_health(np.ones((50, 2)), indices=indices, entries=4)["codebook_perplexity"] == pytest.approx(2.0)


def test_few_indices_cannot_fill_a_codebook() -> None:
    few = code_health(np.eye(3), indices=[0, 1, 2], entries=512)
    assert advice(few) == []
    assert "codebook" in only(advice(code_health(np.eye(3), indices=[0] * 4000, entries=512)))


def test_the_rank_may_be_taken_on_fewer_rows(rng: np.random.Generator) -> None:
    mean = rng.normal(size=(100, 6)) * np.arange(6)
    found = code_health(mean, rank_rows=25)
    part = mean[::4]
    assert found["rank_rows"] == 25 and found["effective_rank"] == effective_rank(part - part.mean(0))
    assert {k: v for k, v in found.items() if "rank" not in k} == {
        k: v for k, v in code_health(mean).items() if "rank" not in k
    }
