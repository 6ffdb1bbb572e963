"""Disentanglement: hand cases with known values, slow references, and what must not change a score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy.stats import linregress
from sklearn.metrics import mutual_info_score

from isthmus.errors import DataError, RecipeError
from isthmus.metrics import dci, factor_vae_score, information, mig, sap
from isthmus.metrics.disentanglement import _checked, _purity
from tests.helpers import SHARED

SPRITES = SHARED / "sprites64_own.npz"
VALUES = (3, 4, 5)
Score = Callable[[np.ndarray, np.ndarray], float]


def dci_disentanglement(codes: np.ndarray, factors: np.ndarray) -> float:
    return dci(codes, factors, trees=4).disentanglement


def dci_completeness(codes: np.ndarray, factors: np.ndarray) -> float:
    return dci(codes, factors, trees=4).completeness


SCORES: list[Score] = [mig, dci_disentanglement, dci_completeness, sap, factor_vae_score]
# What random codes get: a guess at which of three factors was fixed is right once in three.
CHANCE = {mig: 0.0, dci_disentanglement: 0.0, dci_completeness: 0.0, sap: 0.0, factor_vae_score: 1 / 3}
# A latent without information still guesses one of m values.
BEST = {sap: float(np.mean([1 - 1 / m for m in VALUES]))}


@pytest.fixture
def factors(rng: np.random.Generator) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, VALUES), indexing="ij"), -1).reshape(-1, len(VALUES))
    return rng.permutation(np.repeat(grid, 25, axis=0))


def rotated(factors: np.ndarray) -> np.ndarray:
    z = (factors - factors.mean(0)) / factors.std(0)
    return z @ np.linalg.qr(np.random.default_rng(3).normal(size=(z.shape[1], z.shape[1])))[0]


@pytest.mark.parametrize("score", SCORES)
def test_factors_random_codes_and_rotations(score: Score, factors: np.ndarray, rng: np.random.Generator) -> None:
    best, chance = BEST.get(score, 1.0), CHANCE[score]
    # By luck a useless latent is a little better than a guess.
    assert score(factors.astype(float), factors) == pytest.approx(best, abs=0.04 if score is sap else 1e-9)
    assert score(rng.normal(size=(len(factors), 4)), factors) == pytest.approx(chance, abs=0.07)
    assert score(rotated(factors), factors) < best - (0.02 if score is factor_vae_score else 0.3)


@pytest.mark.parametrize("score", SCORES)
def test_order_sign_and_scale_of_latents_and_labels_of_values_do_not_matter(
    score: Score, factors: np.ndarray, rng: np.random.Generator
) -> None:
    codes = factors + 0.5 * rng.normal(size=factors.shape)
    expected = score(codes, factors)
    # Powers of two round nothing. A forest is another one for another order of columns or factors.
    near = 0.12 if score in (dci_disentanglement, dci_completeness) else 0.03
    assert score(codes[:, ::-1] * [-4.0, 8.0, 0.5], factors) == pytest.approx(expected, abs=near)
    assert score(codes, 7 * factors[:, ::-1] - 5) == pytest.approx(expected, abs=near)
    assert score(codes, factors) == expected


@pytest.mark.parametrize("score", SCORES)
def test_useless_latents_do_not_matter_much(score: Score, factors: np.ndarray, rng: np.random.Generator) -> None:
    codes = np.hstack([factors.astype(float), np.ones((len(factors), 1)), rng.normal(size=(len(factors), 3))])
    assert score(codes, factors) == pytest.approx(BEST.get(score, 1.0), abs=0.04)


@pytest.mark.parametrize("score", [partial(dci, trees=2), sap, factor_vae_score])
def test_the_seed_is_used(score: Callable[..., object], factors: np.ndarray, rng: np.random.Generator) -> None:
    codes = factors + rng.normal(size=factors.shape)

    def run(seed: int) -> str:
        return repr(score(codes, factors, random_state=seed))

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize("score", [*SCORES, partial(sap, continuous=[0])])
def test_global_generators_are_left_alone(score: Score, factors: np.ndarray, generators_untouched: Callable) -> None:
    with generators_untouched():
        score(factors.astype(float), factors)


# ---- mutual information gap --------------------------------------------------------------------------------------


def test_information_is_scikit_learns(factors: np.ndarray, rng: np.random.Generator) -> None:
    codes = factors[:, :2] + rng.normal(size=(len(factors), 2))
    result = information(codes, factors, bins=7)
    for i in range(2):
        edges = np.linspace(codes[:, i].min(), codes[:, i].max(), 8)
        cut = np.digitize(codes[:, i], edges[1:-1])
        for j in range(3):
            assert result[i, j] == pytest.approx(mutual_info_score(cut, factors[:, j]), abs=1e-12)


def test_mig_of_a_coarse_second_latent_is_half() -> None:
    """The second latent knows one of the two bits: the gap is log 4 - log 2 of log 4."""
    v = np.arange(4)[:, None]
    assert mig(np.hstack([v, v // 2]), v) == pytest.approx(0.5)
    assert mig(np.hstack([v, v]), v) == pytest.approx(0.0)
    assert mig(v // 2, v) == pytest.approx(0.5)


def test_mig_is_a_share_of_each_factors_own_entropy() -> None:
    """A factor of one bit counts as much as one of three."""
    v = np.array([[a, b] for a in range(2) for b in range(8)])
    assert mig(v[:, :1], v) == pytest.approx(0.5)
    assert mig(v[:, 1:], v) == pytest.approx(0.5)


# ---- disentanglement, completeness, informativeness --------------------------------------------------------------


def test_purity_of_a_known_matrix() -> None:
    rows = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(_purity(rows), [1.0, 0.5, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(_purity(np.array([[2.0], [0.0]])), [1.0, 0.0])


def test_dci_follows_from_its_importances(factors: np.ndarray, rng: np.random.Generator) -> None:
    scores = dci(factors @ rng.normal(size=(3, 4)) + rng.normal(size=(len(factors), 4)), factors)
    r, total = scores.importance, scores.importance.sum()
    assert r.shape == (4, 3)
    np.testing.assert_allclose(r.sum(0), 1.0)
    disentanglement = completeness = 0.0
    for i in range(4):
        p = r[i] / r[i].sum()
        disentanglement += r[i].sum() / total * (1 + sum(x * np.log(x) / np.log(3) for x in p))
    for j in range(3):
        completeness += (1 + sum(x * np.log(x) / np.log(4) for x in r[:, j])) / 3
    assert scores.disentanglement == pytest.approx(disentanglement)
    assert scores.completeness == pytest.approx(completeness)


def test_a_factor_in_two_latents_is_disentangled_but_not_complete(factors: np.ndarray) -> None:
    scores = dci(factors[:, [0, 0, 1, 1, 2, 2]].astype(float), factors)
    assert scores.disentanglement == pytest.approx(1.0)
    assert 0.2 < scores.completeness < 0.9
    assert scores.informativeness == 1.0


def test_two_factors_in_one_latent_are_complete_but_not_disentangled(factors: np.ndarray) -> None:
    scores = dci((factors[:, :1] * 4 + factors[:, 1:2]).astype(float), factors[:, :2])
    assert scores.completeness == pytest.approx(1.0)
    assert scores.disentanglement < 0.1
    assert scores.informativeness == 1.0


def test_codes_that_know_nothing_predict_by_chance(factors: np.ndarray) -> None:
    scores = dci(np.zeros((len(factors), 2)), factors)
    assert scores.disentanglement == scores.completeness == 0.0
    guess = pytest.approx(np.mean([1 / m for m in VALUES]), abs=0.06)
    assert scores.informativeness == guess and scores.chance == guess


def test_informativeness_is_of_held_out_rows(rng: np.random.Generator) -> None:
    """A forest knows its own rows by heart."""
    scores = dci(rng.normal(size=(300, 5)), rng.integers(0, 2, (300, 1)))
    assert 0.3 < scores.informativeness < 0.7


# ---- separated attribute predictability --------------------------------------------------------------------------


def test_sap_of_continuous_factors_is_the_gap_of_squared_correlations(rng: np.random.Generator) -> None:
    v = rng.integers(0, 9, (200, 2))
    z = v @ np.array([[1.0, 0.4, 0.0], [0.3, 1.0, 0.2]]) + rng.normal(size=(200, 3))
    gaps = []
    for j in range(2):
        r = sorted(linregress(z[:, i], v[:, j]).rvalue ** 2 for i in range(3))
        gaps.append(r[-1] - r[-2])
    assert sap(z, v, continuous=[0, 1]) == pytest.approx(np.mean(gaps))


def test_sap_thresholds_are_one_fewer_than_values(rng: np.random.Generator) -> None:
    """Two values that alternate along the latent cannot be told by one threshold."""
    z = rng.random((2000, 1))
    assert sap(z, (z > 0.3).astype(int)) == pytest.approx(1.0, abs=0.01)
    assert sap(z, ((8 * z).astype(int) % 2)) == pytest.approx(0.57, abs=0.06)  # 1 of 8 intervals is gained


def test_sap_balances_values(rng: np.random.Generator) -> None:
    """Guessing the frequent value is right nine times in ten, and yet no better than chance."""
    v = (rng.random((3000, 1)) < 0.1).astype(int)
    assert sap(np.zeros((3000, 1)), v) == pytest.approx(0.5)
    assert sap(np.hstack([v, np.zeros_like(v)]), v) == pytest.approx(0.5)


# ---- FactorVAE score ---------------------------------------------------------------------------------------------


def test_a_latent_that_knows_one_of_two_factors_gets_three_quarters(rng: np.random.Generator) -> None:
    """With the other factor fixed, it and a latent of noise are as likely to vary least."""
    v = rng.integers(0, 4, (4000, 2))
    z = np.stack([v[:, 0] + 0.0, rng.permutation(v[:, 0])], 1)
    assert factor_vae_score(z, v) == pytest.approx(0.75, abs=0.04)


def test_a_latent_that_never_varies_does_not_vote(factors: np.ndarray) -> None:
    assert factor_vae_score(np.hstack([np.ones((len(factors), 1)), factors]), factors) == 1.0


def test_groups_share_a_value_and_come_from_values_with_enough_rows(rng: np.random.Generator) -> None:
    v = np.concatenate([np.zeros(100, int), np.ones(100, int), np.full(5, 2)])
    v = np.stack([v, rng.permutation(v)], 1)
    assert factor_vae_score(v.astype(float), v, group=50, votes=50) == 1.0
    with pytest.raises(DataError, match="at least 150 rows, got 100; try group=100"):
        factor_vae_score(v.astype(float), v, group=150)


# ---- wrong inputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros(80), np.zeros((80, 1)), "codes: expected a 2-D array, got shape"),
        (np.zeros((80, 1)), np.arange(80), "factors: expected a 2-D array"),
        (np.zeros((80, 1)), np.arange(79)[:, None], "expected as many rows of both, got 80 and 79"),
        (np.zeros((80, 1)), np.arange(80)[:, None] / 2, "factors: expected integers, got fractions"),
        (np.zeros((80, 1)), np.full((80, 1), 3), "one value in column 0"),
        (np.full((80, 1), np.nan), np.arange(80)[:, None], r"expected finite numbers, got nan at \(0, 0\)"),
        (np.zeros((1, 1)), np.zeros((1, 1)), "rows, got 1"),
        (np.zeros((0, 1)), np.zeros((0, 1)), "at least one value"),
        (np.array([["a"]] * 80), np.arange(80)[:, None], "an array of numbers"),
    ],
)
def test_wrong_inputs_are_refused(score: Score, codes: np.ndarray, factors: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(codes, factors)


def test_wrong_settings_are_refused(factors: np.ndarray) -> None:
    codes = factors.astype(float)
    for call in (
        partial(mig, bins=1),
        partial(dci, trees=0),
        partial(factor_vae_score, group=1),
        partial(factor_vae_score, votes=0),
    ):
        with pytest.raises(RecipeError):
            call(codes, factors)
    with pytest.raises(DataError, match="columns of factors, 0 to 2"):
        sap(codes, factors, continuous=[3])
    with pytest.raises(DataError, match="a latent that varies"):
        factor_vae_score(np.zeros_like(codes), factors)


def test_values_are_numbered_without_gaps() -> None:
    assert _checked(np.zeros((3, 1)), [[-7], [100], [3]])[1].tolist() == [[0], [2], [1]]


# ---- rendered sprites --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SPRITES.exists(), reason="the sprites are not there")
@pytest.mark.parametrize("score", SCORES)
def test_true_factors_of_sprites_are_near_one_and_random_codes_near_zero(
    score: Score, rng: np.random.Generator
) -> None:
    with np.load(SPRITES, allow_pickle=False) as file:
        latents = file["latents"]
    factors = latents[rng.choice(len(latents), 2000, replace=False)].astype(int)
    values = factors.max(0) + 1
    best = float(np.mean(1 - 1 / values)) if score is sap else 1.0
    # From 2,000 rows, factors that know nothing of each other share up to 0.07 nats by chance (`information`).
    assert score(factors.astype(float), factors) == pytest.approx(best, abs=0.05)
    chance = 1 / len(values) if score is factor_vae_score else 0.0
    assert score(rng.normal(size=(2000, 6)), factors) == pytest.approx(chance, abs=0.06)
