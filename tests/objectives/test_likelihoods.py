"""Every likelihood against scipy or its formula, with masks, and what it says besides its cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from isthmus.objectives import (
    LIKELIHOODS,
    Bernoulli,
    BinaryCrossEntropy,
    Categorical,
    ContinuousBernoulli,
    Laplace,
    LikelihoodSpec,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Normal,
    OneHot,
    Poisson,
    SquaredError,
    StudentT,
)
from tests.helpers import CLASSES, MIXED, PARTS, generator, likelihood_of

ROWS = 7
SHAPES = [(6,), (2, 3), (1, 3, 2)]  # of six values, which is what the mixed columns are numbered for
ROW = SHAPES[0]
each_likelihood = pytest.mark.parametrize("spec", PARTS["likelihood"], ids=repr)
each_shape = pytest.mark.parametrize("row", SHAPES, ids=str)


def parameters_for(spec: LikelihoodSpec, row: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, spec.parameters, *row, generator=generator(seed), dtype=torch.float64)


def by_group(spec: OneHot, row: tuple[int, ...], function: Any, values: torch.Tensor) -> torch.Tensor:
    """Return a function `(rows, size)` of each group of values `(rows, *row)`, one group after the other."""
    flat = values.flatten(1)
    sizes = (row[-1],) if spec.sizes == "auto" else spec.sizes
    groups = flat.split(list(sizes) * (flat.shape[1] // sum(sizes)), 1)
    return torch.cat([function(group) for group in groups], 1).view(-1, *row)


def some_seen(spec: LikelihoodSpec) -> torch.Tensor:
    """Return a mask of some values; a choice is seen as a whole or not at all."""
    seen = torch.rand(ROWS, 6, generator=generator(3))
    if isinstance(spec, OneHot):
        seen = by_group(spec, ROW, lambda group: group[:, :1].expand_as(group), seen)
    return seen < 0.5


def data_for(spec: LikelihoodSpec, row: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    uniform = torch.rand(ROWS, *row, generator=generator(seed), dtype=torch.float64)
    normal = torch.randn(ROWS, *row, generator=generator(seed), dtype=torch.float64)
    values = {
        "real": normal,
        "unit": uniform,
        "binary": uniform.round(),
        "counts": (8 * uniform.square()).floor(),
        "categories": (CLASSES * uniform).floor(),
    }
    if isinstance(spec, OneHot):  # distributions, of which one-hot choices are a case
        return by_group(spec, row, lambda group: group / group.sum(1, keepdim=True), uniform)
    if spec.support != "mixed":
        return values[spec.support]
    x = torch.empty(ROWS, 6, dtype=torch.float64)
    for support, columns in MIXED.items():
        x[:, columns] = values[support].flatten(1)[:, columns]
    return x.view(ROWS, *row)


def built(spec: LikelihoodSpec, row: tuple[int, ...]) -> Any:
    likelihood: Any = likelihood_of(spec, row)
    if isinstance(likelihood, torch.nn.Module):
        likelihood = likelihood.double()
        for parameter in likelihood.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator(9), dtype=torch.float64)
    return likelihood


def fixed_or(setting: Any, learned: Any) -> Any:
    """Return a fixed setting, or what was learned in its place."""
    return learned() if isinstance(setting, str) else setting


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits)
    return weights / weights.sum(1, keepdims=True)


# ---- the reference laws ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """What scipy or a formula says of a likelihood.

    Both functions take the specification, what was built of it, and parameters `(rows, parameters, *row)`.
    """

    log_density: Callable[..., np.ndarray]  # of these and x and what of it is seen: log p(x|z) in nats, (rows,)
    mean: Callable[..., np.ndarray]  # the expected row, (rows, *row)


def of_values(log_density: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return the log density of rows whose values are independent, from that of each value."""

    def of_rows(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return (log_density(spec, likelihood, parameters, x) * seen).reshape(len(x), -1).sum(1)

    return of_rows


def by_scipy(distribution: Callable[..., Any], mean: Callable[..., np.ndarray] | None = None) -> Law:
    """Return the law whose values have scipy's distribution, and its mean unless another is stated."""

    def log_density(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
        p = distribution(spec, likelihood, parameters)
        return p.logpdf(x) if hasattr(p.dist, "logpdf") else p.logpmf(x)

    return Law(of_values(log_density), mean or (lambda *given: distribution(*given).mean()))


def squared_error(spec: SquaredError, likelihood: Any, parameters: np.ndarray) -> Any:
    first = parameters[:, 0]
    return stats.norm(sigmoid(first) if spec.output == "sigmoid" else first, math.sqrt(0.5))


def spread(spec: Any, setting: Any, likelihood: Any, parameters: np.ndarray) -> Any:
    """Return a fixed variance or scale, that of each row, or that learned for each column."""
    learned = parameters[:, 1] if setting == "row" else None
    if learned is None and isinstance(setting, str):
        learned = likelihood.log_spread.detach().numpy().reshape(parameters.shape[2:])
    return fixed_or(setting, lambda: np.exp(learned) + spec.floor)


def normal(spec: Normal, likelihood: Any, parameters: np.ndarray) -> Any:
    return stats.norm(parameters[:, 0], np.sqrt(spread(spec, spec.variance, likelihood, parameters)))


def laplace(spec: Laplace, likelihood: Any, parameters: np.ndarray) -> Any:
    return stats.laplace(parameters[:, 0], spread(spec, spec.scale, likelihood, parameters))


def student_t(spec: StudentT, likelihood: Any, parameters: np.ndarray) -> Any:
    row = parameters.shape[2:]
    degrees = fixed_or(spec.degrees, lambda: np.exp(likelihood.log_degrees.detach().double().numpy().reshape(row)))
    return stats.t(degrees, parameters[:, 0], spread(spec, spec.scale, likelihood, parameters))


def poisson(spec: Poisson, likelihood: Any, parameters: np.ndarray) -> Any:
    return stats.poisson(np.exp(parameters[:, 0]))


def negative_binomial(spec: NegativeBinomial, likelihood: Any, parameters: np.ndarray) -> Any:
    row = parameters.shape[2:]
    dispersion = fixed_or(spec.dispersion, lambda: np.exp(likelihood.log_dispersion.detach().numpy().reshape(row)))
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * np.exp(parameters[:, 0])))


def log_bits(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    p = sigmoid(parameters[:, 0])
    return x * np.log(p) + (1 - x) * np.log(1 - p)


def log_continuous_bits(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    p = sigmoid(parameters[:, 0])
    # The constant in the paper's words (equation 8).
    return log_bits(spec, likelihood, parameters, x) + np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p))


def mean_of_continuous_bits(spec: Any, likelihood: Any, parameters: np.ndarray) -> np.ndarray:
    p = sigmoid(parameters[:, 0])
    return p / (2 * p - 1) + 1 / (2 * np.arctanh(1 - 2 * p))  # equation 9 of the paper


def log_choice(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.log(np.take_along_axis(softmax(parameters), x[:, None].astype(int), 1)[:, 0])


def shares_of_groups(spec: OneHot, likelihood: Any, parameters: np.ndarray) -> np.ndarray:
    weights = torch.from_numpy(np.exp(parameters[:, 0]))
    return by_group(spec, weights.shape[1:], lambda group: group / group.sum(1, keepdim=True), weights).numpy()


def log_multinomial(spec: Any, likelihood: Any, parameters: np.ndarray, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    found = []
    for logits, row, observed in zip(parameters.reshape(len(x), -1), x, seen, strict=True):
        p, counts = np.exp(logits[observed.ravel()]), row[observed]
        found.append(stats.multinomial(counts.sum(), p / p.sum()).logpmf(counts) if len(p) else 0.0)
    return np.array(found)


def log_mixed(spec: Mixed, likelihood: Any, parameters: np.ndarray, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    flat = parameters.reshape(*parameters.shape[:2], -1)
    values, observed = x.reshape(len(x), -1), seen.reshape(len(x), -1)
    return sum(
        law_of(part).log_density(part, inner, flat[:, :, columns], values[:, columns], observed[:, columns])
        for (columns, part), inner in zip(spec.parts, likelihood.parts, strict=True)
    )


def mean_of_mixed(spec: Mixed, likelihood: Any, parameters: np.ndarray) -> np.ndarray:
    found = np.empty((len(parameters), 6))
    for (columns, part), inner in zip(spec.parts, likelihood.parts, strict=True):
        found[:, columns] = law_of(part).mean(part, inner, parameters[:, :, columns])
    return found


# By scipy's distribution of each value, for those that have one there.
DISTRIBUTIONS: dict[str, Callable[..., Any]] = {
    "squared_error": squared_error,
    "normal": normal,
    "laplace": laplace,
    "student_t": student_t,
    "poisson": poisson,
    "negative_binomial": negative_binomial,
}
BITS = Law(of_values(log_bits), lambda spec, likelihood, parameters: sigmoid(parameters[:, 0]))
LAWS: dict[str, Law] = {
    **{kind: by_scipy(distribution) for kind, distribution in DISTRIBUTIONS.items()},
    # With one degree of freedom or fewer it has no mean, and its centre stands for it.
    "student_t": by_scipy(student_t, lambda spec, likelihood, parameters: parameters[:, 0]),
    "binary_cross_entropy": BITS,
    "bernoulli": BITS,
    "continuous_bernoulli": Law(of_values(log_continuous_bits), mean_of_continuous_bits),
    # Of categories there is no mean; the most probable one stands for it.
    "categorical": Law(of_values(log_choice), lambda spec, likelihood, parameters: parameters.argmax(1)),
    "one_hot": Law(
        of_values(lambda spec, likelihood, parameters, x: x * np.log(shares_of_groups(spec, likelihood, parameters))),
        shares_of_groups,
    ),
    # Of five counts in a row.
    "multinomial": Law(log_multinomial, lambda spec, likelihood, parameters: 5.0 * softmax(parameters[:, 0])),
    "mixed": Law(log_mixed, mean_of_mixed),
}


def law_of(spec: LikelihoodSpec) -> Law:
    if spec.kind not in LAWS:
        pytest.fail(
            f"the likelihood {spec.kind!r} has no reference law: add a line to LAWS in tests/objectives/"
            "test_likelihoods.py with its log density and mean, by scipy's distribution or by a formula"
        )
    return LAWS[spec.kind]


def density(spec: LikelihoodSpec, likelihood: Any, parameters: np.ndarray) -> Any:
    """Return scipy's distribution of each value, with `parameters` `(rows, parameters, *row)`."""
    return DISTRIBUTIONS[spec.kind](spec, likelihood, parameters.astype(float))


def expected_cost(
    spec: LikelihoodSpec, likelihood: Any, parameters: torch.Tensor, x: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cost `(rows,)`, computed without isthmus."""
    seen = np.ones(x.shape, bool) if mask is None else mask.numpy()
    nats = -law_of(spec).log_density(spec, likelihood, parameters.detach().double().numpy(), x.numpy(), seen)
    return torch.from_numpy(nats - likelihood.constant * seen.reshape(len(x), -1).sum(1))


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_every_likelihood_has_a_reference_law(kind: str) -> None:
    law_of(LIKELIHOODS[kind])
    assert LAWS.keys() <= LIKELIHOODS.keys()


@each_shape
@each_likelihood
def test_cost_is_the_negative_log_density_less_the_constant(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    likelihood = built(spec, row)
    parameters, x = parameters_for(spec, row), data_for(spec, row)
    cost = likelihood.cost(parameters, x, None)
    assert cost.shape == (ROWS,)
    torch.testing.assert_close(cost, expected_cost(spec, likelihood, parameters, x), rtol=1e-6, atol=1e-6)


@each_likelihood
def test_masks_of_nothing_everything_and_some(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, ROW)
    parameters, x = parameters_for(spec, ROW), data_for(spec, ROW)
    everything, nothing = torch.ones(ROWS, 6).bool(), torch.zeros(ROWS, 6).bool()
    torch.testing.assert_close(likelihood.cost(parameters, x, everything), likelihood.cost(parameters, x, None))
    assert likelihood.cost(parameters, x, nothing).tolist() == [0.0] * ROWS
    some = some_seen(spec)
    assert some.any() and not some.all()
    expected = expected_cost(spec, likelihood, parameters, x, some)
    torch.testing.assert_close(likelihood.cost(parameters, x, some), expected, rtol=1e-6, atol=1e-6)


@each_likelihood
@pytest.mark.parametrize("hole", [0.5, -3.0, 1e9])
def test_values_under_the_mask_change_neither_cost_nor_gradient(spec: LikelihoodSpec, hole: float) -> None:
    likelihood = built(spec, ROW)
    parameters, x = parameters_for(spec, ROW).requires_grad_(), data_for(spec, ROW)
    mask = some_seen(spec)
    clean = likelihood.cost(parameters, x, mask)
    holed = likelihood.cost(parameters, torch.where(mask, x, hole), mask)
    torch.testing.assert_close(holed, clean)
    gradients = [torch.autograd.grad(cost.sum(), parameters)[0] for cost in (clean, holed)]
    torch.testing.assert_close(*gradients)
    hidden = (~mask).unsqueeze(1).expand_as(parameters)
    assert (gradients[0][hidden] == 0).all()


@each_shape
@each_likelihood
def test_gradients_are_those_of_finite_differences(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    likelihood = built(spec, row)
    parameters, x = parameters_for(spec, row)[:2].requires_grad_(), data_for(spec, row)[:2]
    own = list(likelihood.parameters()) if isinstance(likelihood, torch.nn.Module) else []
    # In place, so that what the likelihood owns is varied too.
    assert torch.autograd.gradcheck(lambda *_: likelihood.cost(parameters, x, None), (parameters, *own))


@each_likelihood
def test_mean_is_the_expected_row(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, ROW)
    if isinstance(spec, Multinomial):
        likelihood.output_bias(torch.full(ROW, 5 / 6).double(), torch.ones(ROW).double())
    parameters = parameters_for(spec, ROW)
    expected = torch.from_numpy(np.asarray(law_of(spec).mean(spec, likelihood, parameters.numpy()), float))
    torch.testing.assert_close(likelihood.mean(parameters), expected, rtol=1e-6, atol=1e-6)


# ---- densities and what is drawn from them ------------------------------------------------------------------------

COUNTS = [Poisson(), NegativeBinomial(), NegativeBinomial(0.3), NegativeBinomial(4.0)]
REALS = [spec for spec in PARTS["likelihood"] if isinstance(spec, Normal | Laplace | StudentT)]
DRAWS = 20_000


def pmf(likelihood: Any, parameters: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return p of rows of values, all under the same parameters `(1, parameters, *row)`."""
    with torch.no_grad():
        cost = likelihood.cost(parameters.expand(len(values), *parameters.shape[1:]), values, None)
    return torch.exp(-cost - likelihood.constant * values[0].numel())


@pytest.mark.parametrize("spec", [*REALS, ContinuousBernoulli(), SquaredError("linear")], ids=repr)
def test_densities_integrate_to_one(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, (1,))
    parameters = parameters_for(spec, (1,))[:1]
    if spec.support == "unit":
        x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    else:  # heavy tails ask for a grid that grows
        x = torch.sinh(torch.linspace(-60, 60, 600_001, dtype=torch.float64)) * 1e-2
    total = torch.trapezoid(pmf(likelihood, parameters, x.unsqueeze(1)), x)
    if isinstance(spec, StudentT):
        degrees = spec.degrees if isinstance(spec.degrees, float) else likelihood.log_degrees.exp().item()
        if degrees < 1:
            return  # much of it lies beyond any grid
    assert total.item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("spec", COUNTS, ids=repr)
def test_probabilities_of_counts_sum_to_one(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, (1,))
    p = pmf(likelihood, parameters_for(spec, (1,))[:1], torch.arange(3000).double().unsqueeze(1))
    assert p.sum().item() == pytest.approx(1.0, abs=1e-9)


def compositions(total: int, columns: int) -> torch.Tensor:
    """Return every row of counts with a total."""
    grid = torch.cartesian_prod(*[torch.arange(total + 1)] * columns).double()
    return grid[grid.sum(1) == total]


def test_probabilities_of_rows_of_one_total_sum_to_one() -> None:
    likelihood = built(Multinomial(), (3,))
    for total in (0, 1, 5):
        p = pmf(likelihood, parameters_for(Multinomial(), (3,))[:1], compositions(total, 3))
        assert p.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_probabilities_of_categories_sum_to_one() -> None:
    spec = Categorical(CLASSES)
    x = torch.cartesian_prod(*[torch.arange(CLASSES)] * 2).double()
    assert pmf(spec, parameters_for(spec, (2,))[:1], x).sum().item() == pytest.approx(1.0, abs=1e-12)


def drawn_from(likelihood: Any, parameters: torch.Tensor, seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        drawn: torch.Tensor = likelihood.draw(parameters.expand(DRAWS, *parameters.shape[1:]), generator(seed))
        again = likelihood.draw(parameters.expand(DRAWS, *parameters.shape[1:]), generator(seed))
    assert torch.equal(drawn, again)
    return drawn


@pytest.mark.parametrize("spec", REALS, ids=repr)
def test_draws_of_numbers_have_the_density(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, (2,))
    parameters = parameters_for(spec, (2,))[:1]
    drawn = drawn_from(likelihood, parameters)
    assert torch.isfinite(drawn).all()
    p = density(spec, likelihood, parameters.numpy())
    for column in range(2):
        # Kolmogorov's distance, at one in a thousand.
        uniform = np.sort(p.cdf(drawn.numpy())[:, column])
        distance = np.abs(uniform - (np.arange(DRAWS) + 0.5) / DRAWS).max()
        assert distance < 1.95 / math.sqrt(DRAWS)


@pytest.mark.parametrize("logit", [-30.0, -2.0, -1e-8, 0.0, 1e-3, 0.7, 30.0])
def test_draws_of_the_continuous_bernoulli_have_its_density(logit: float) -> None:
    spec = ContinuousBernoulli()
    parameters = torch.full((1, 1, 1), logit, dtype=torch.float64)
    drawn = drawn_from(spec, parameters).flatten().sort().values
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    cdf = torch.cumulative_trapezoid(pmf(spec, parameters, grid.unsqueeze(1)), grid)
    uniform = np.interp(drawn, grid[1:], cdf)
    assert np.abs(uniform - (np.arange(DRAWS) + 0.5) / DRAWS).max() < 1.95 / math.sqrt(DRAWS)
    assert drawn.min() >= 0 and drawn.max() <= 1


def assert_frequencies(drawn: torch.Tensor, outcomes: torch.Tensor, p: torch.Tensor) -> None:
    """Each outcome comes as often as its probability says, within 4.5 standard errors."""
    shares = (drawn.flatten(1).unsqueeze(1) == outcomes.flatten(1)).all(2).double().mean(0)
    assert ((shares - p).abs() < 4.5 * (p * (1 - p) / len(drawn)).sqrt() + 1 / len(drawn)).all()


@pytest.mark.parametrize("spec", [Bernoulli(), Categorical(CLASSES), *COUNTS], ids=repr)
def test_draws_of_whole_numbers_have_the_probabilities(spec: LikelihoodSpec) -> None:
    likelihood = built(spec, (1,))
    parameters = parameters_for(spec, (1,))[:1]
    drawn = drawn_from(likelihood, parameters)
    assert likelihood.inside(drawn).all()
    outcomes = torch.arange({"binary": 2, "categories": CLASSES, "counts": 20}[spec.support]).double().unsqueeze(1)
    assert_frequencies(drawn, outcomes, pmf(likelihood, parameters, outcomes))


def test_draws_of_rows_of_counts_have_the_probabilities() -> None:
    likelihood = built(Multinomial(), (3,))
    likelihood.output_bias(torch.tensor([1.0, 2.0, 1.2]).double(), torch.ones(3).double())
    parameters = parameters_for(Multinomial(), (3,))[:1]
    outcomes = compositions(4, 3)
    assert_frequencies(drawn_from(likelihood, parameters), outcomes, pmf(likelihood, parameters, outcomes))


def test_draws_of_mixed_columns_are_of_their_kinds() -> None:
    (spec,) = (part for part in PARTS["likelihood"] if isinstance(part, Mixed))
    likelihood = built(spec, ROW)
    parameters = parameters_for(spec, ROW)[:1]
    drawn = drawn_from(likelihood, parameters)
    assert likelihood.inside(drawn).all()
    mean = likelihood.mean(parameters)[0]
    # Of all columns but that of counts, whose variance has no bound here.
    assert ((drawn.mean(0) - mean).abs() < 4.5 * drawn.std(0) / math.sqrt(DRAWS) + 1e-9)[:5].all()
    assert set(drawn[:, 1].unique().tolist()) == {0.0, 1.0}


# ---- the constant guess -------------------------------------------------------------------------------------------

# The mean is no best guess of a Laplace or t density, and a category has none; of mixed columns some read less.
BY_MOMENTS = (SquaredError, BinaryCrossEntropy, Bernoulli, ContinuousBernoulli, Normal, Poisson, Multinomial, OneHot)


def data_within(spec: LikelihoodSpec, row: tuple[int, ...]) -> torch.Tensor:
    """Return rows whose columns' means are away from the margins in which logits are kept finite."""
    x = data_for(spec, row).float()
    return x * 0.8 + 0.1 if spec.support in ("unit", "binary") and not isinstance(spec, OneHot) else x


@each_likelihood
@each_shape
def test_output_bias_guesses_the_mean_row(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    likelihood = likelihood_of(spec, row)
    x = data_within(spec, row)
    bias = likelihood.output_bias(x.mean(0), x.var(0, correction=0))
    assert bias.shape == (spec.parameters, *row) and torch.isfinite(bias).all()
    if isinstance(spec, Categorical):
        numbers = torch.arange(CLASSES).float().view(-1, *[1] * len(row))
        guess = (torch.softmax(bias, 0) * numbers).sum(0)
    else:
        guess = likelihood.mean(bias.unsqueeze(0))[0]
    torch.testing.assert_close(guess, x.mean(0), rtol=1e-4, atol=1e-4)


@each_shape
@pytest.mark.parametrize("spec", [s for s in PARTS["likelihood"] if isinstance(s, BY_MOMENTS)], ids=repr)
def test_output_bias_is_the_best_constant_guess(spec: LikelihoodSpec, row: tuple[int, ...]) -> None:
    """No other constant parameters cost less on the rows whose moments it was made of."""
    likelihood = likelihood_of(spec, row)
    x = data_within(spec, row)
    if isinstance(spec, Bernoulli):
        x = data_for(spec, row, seed=5).float()
    bias = likelihood.output_bias(x.mean(0), x.var(0, correction=0))
    guess = bias.unsqueeze(0).expand(ROWS, *bias.shape)
    cost = likelihood.cost(guess, x, None).sum()
    for step in (0.05, -0.05):
        for number in range(spec.parameters):
            other = guess.clone()
            other[:, number] += step * torch.randn(row, generator=generator(number))
            assert likelihood.cost(other, x, None).sum() > cost
    if isinstance(likelihood, torch.nn.Module):
        for parameter in likelihood.parameters():
            for step in (0.05, -0.05):
                with torch.no_grad():
                    parameter += step
                    assert likelihood.cost(guess, x, None).sum() > cost
                    parameter -= step


@pytest.mark.parametrize("spec", [Laplace(), StudentT(), StudentT(degrees=4.0), Normal()], ids=repr)
def test_output_bias_sets_the_learned_scale_by_the_variance(spec: LikelihoodSpec) -> None:
    likelihood: Any = likelihood_of(spec, (2,))
    bias = likelihood.output_bias(torch.zeros(2), torch.tensor([4.0, 0.25]))
    with torch.no_grad():
        variance = density(spec, likelihood, bias.unsqueeze(0).numpy()).var()
    np.testing.assert_allclose(np.broadcast_to(variance, (1, 2)), [[4.0, 0.25]], rtol=1e-4)


def test_output_bias_sets_the_learned_dispersion_by_the_variance() -> None:
    likelihood: Any = likelihood_of(NegativeBinomial(), (2,))
    bias = likelihood.output_bias(torch.tensor([2.0, 5.0]), torch.tensor([4.0, 30.0]))
    with torch.no_grad():
        p = density(NegativeBinomial(), likelihood, bias.unsqueeze(0).numpy())
    np.testing.assert_allclose(p.mean(), [[2.0, 5.0]], rtol=1e-5)
    np.testing.assert_allclose(p.var(), [[4.0, 30.0]], rtol=1e-5)


@pytest.mark.parametrize(
    "spec", [BinaryCrossEntropy(), Bernoulli(), SquaredError("sigmoid"), ContinuousBernoulli()], ids=repr
)
def test_output_bias_of_a_constant_column_is_finite(spec: LikelihoodSpec) -> None:
    bias = likelihood_of(spec, (2,)).output_bias(torch.tensor([0.0, 1.0]), torch.zeros(2))
    assert torch.isfinite(bias).all() and bias[0, 0] < -3 and bias[0, 1] > 3


@each_likelihood
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_output_bias_of_constant_rows_gives_a_finite_cost(spec: LikelihoodSpec, value: float) -> None:
    likelihood = likelihood_of(spec, ROW)
    bias = likelihood.output_bias(torch.full(ROW, value), torch.zeros(ROW))
    cost = likelihood.cost(bias.unsqueeze(0), torch.full((1, *ROW), value), None)
    assert torch.isfinite(bias).all() and torch.isfinite(cost).all()


# ---- numbers ------------------------------------------------------------------------------------------------------


def test_squared_error_is_the_normal_density_of_variance_one_half() -> None:
    spec = SquaredError("linear")
    parameters, x = parameters_for(spec, (4,)), data_for(spec, (4,))
    cost = spec.cost(parameters, x, None)
    torch.testing.assert_close(cost, ((parameters[:, 0] - x) ** 2).sum(1))
    density = likelihood_of(Normal(variance=0.5), (4,))
    torch.testing.assert_close(cost + 4 * spec.constant, density.cost(parameters, x, None), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Normal, Laplace, StudentT])
@pytest.mark.parametrize("setting", ["column", "row"])
def test_learned_spread_has_a_floor(kind: Any, setting: str) -> None:
    spec = kind(setting, floor=1e-2)
    likelihood: Any = likelihood_of(spec, (1,))
    parameters = torch.full((1, spec.parameters, 1), -50.0)
    if setting == "column":
        likelihood.log_spread.data.fill_(-50.0)
    cost = likelihood.cost(parameters, torch.full((1, 1), -50.0), None)
    fixed = likelihood_of(kind(1e-2), (1,)).cost(parameters[:, :1], torch.full((1, 1), -50.0), None)
    torch.testing.assert_close(cost, fixed, rtol=1e-4, atol=1e-4)


@each_likelihood
@pytest.mark.parametrize("value", [-1e6, -1e4, -90.0, 90.0, 1e4, 1e6])
def test_extreme_parameters_stay_finite(spec: LikelihoodSpec, value: float) -> None:
    likelihood = likelihood_of(spec, ROW)
    own = list(likelihood.parameters()) if isinstance(likelihood, torch.nn.Module) else []
    for x in (0.0, 1.0, 1e3, 1e6, -1e6):
        parameters = torch.zeros(1, spec.parameters, *ROW)
        parameters[..., ::2] = value
        parameters.requires_grad_()
        cost = likelihood.cost(parameters, torch.full((1, *ROW), x), None)
        gradients = torch.autograd.grad(cost.sum(), [parameters, *own])
        assert torch.isfinite(cost).all() and all(torch.isfinite(g).all() for g in gradients), x
        with torch.no_grad():
            assert torch.isfinite(likelihood.mean(parameters)).all()
            assert torch.isfinite(likelihood.draw(parameters, generator())).all()


@each_likelihood
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_learned_settings_stay_finite(spec: LikelihoodSpec, value: float) -> None:
    likelihood = likelihood_of(spec, ROW)
    own = list(likelihood.parameters()) if isinstance(likelihood, torch.nn.Module) else []
    for x in (0.0, 1.0, 1e3):
        for parameter in own:
            parameter.data.fill_(value)
        parameters = torch.zeros(1, spec.parameters, *ROW, requires_grad=True)
        cost = likelihood.cost(parameters, torch.full((1, *ROW), x), None)
        gradients = torch.autograd.grad(cost.sum(), [parameters, *own])
        assert torch.isfinite(cost).all() and all(torch.isfinite(g).all() for g in gradients), x


@pytest.mark.parametrize("degrees", [0.05, 1.0, 1e6])
def test_draws_of_few_and_many_degrees_are_finite_in_float32(degrees: float) -> None:
    likelihood = likelihood_of(StudentT(1.0, degrees), (1,))
    drawn = likelihood.draw(torch.zeros(DRAWS, 1, 1), generator())
    assert torch.isfinite(drawn).all()
    assert degrees < 1e6 or drawn.abs().max() < 6  # normal by then


CLAMPED = [s for s in PARTS["likelihood"] if s.support not in ("real", "mixed") and not isinstance(s, SquaredError)]


@pytest.mark.parametrize("spec", CLAMPED, ids=repr)
def test_a_value_without_a_density_costs_what_the_nearest_one_costs(spec: LikelihoodSpec) -> None:
    likelihood, parameters = built(spec, ROW), parameters_for(spec, ROW)
    beyond = {"unit": (1.3, 1.0), "binary": (0.7, 1.0), "counts": (2.4, 2.0), "categories": (9.0, CLASSES - 1.0)}
    given, nearest = (torch.full((ROWS, *ROW), x).double() for x in beyond[spec.support])
    torch.testing.assert_close(likelihood.cost(parameters, given, None), likelihood.cost(parameters, nearest, None))
    below, least = (torch.full((ROWS, *ROW), x).double() for x in (-1.3, 0.0))
    torch.testing.assert_close(likelihood.cost(parameters, below, None), likelihood.cost(parameters, least, None))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("ratio", [0.99, 1.0, 1.01])
def test_probabilities_of_large_counts_keep_their_digits_in_float32(count: int, ratio: float) -> None:
    """The difference of log-gamma functions is off by half a nat at a million."""
    log_mean = np.log(np.float32(count * ratio + 0.5))
    parameters, x = torch.tensor(log_mean).view(1, 1, 1), torch.full((1, 1), float(count))
    mean = math.exp(float(log_mean))
    assert Poisson().cost(parameters, x, None).item() == pytest.approx(-stats.poisson(mean).logpmf(count), abs=4e-3)
    for dispersion in (1e-5, 1e-3, 0.5, 20.0):
        likelihood = likelihood_of(NegativeBinomial(dispersion), (1,))
        expected = -stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean)).logpmf(count)
        assert likelihood.cost(parameters, x, None).item() == pytest.approx(expected, abs=4e-3)
    row = torch.tensor([[float(count), count // 2, 3.0]])
    logits = torch.tensor([[[2.0, 1.3, -3.0]]])
    p = torch.softmax(logits.double().flatten(), 0).numpy()
    expected = -stats.multinomial(int(row.sum()), p / p.sum()).logpmf(row[0].double().numpy())
    cost = likelihood_of(Multinomial(), (3,)).cost(logits, row, None).item()
    assert cost == pytest.approx(expected, rel=1e-5, abs=2e-2)


@pytest.mark.parametrize("degrees", [1e-3, 0.5, 1.0, 19.9, 20.0, 20.1, 1e3, 1e8])
def test_student_t_keeps_its_digits_for_many_and_few_degrees(degrees: float) -> None:
    x = torch.tensor([[0.3, -4.0]])
    cost = likelihood_of(StudentT(0.7, degrees), (2,)).cost(torch.zeros(1, 1, 2), x, None).item()
    assert cost == pytest.approx(-stats.t(degrees, 0, 0.7).logpdf(x.numpy()).sum(), rel=1e-5, abs=1e-5)


def test_the_negative_binomial_without_dispersion_is_poisson() -> None:
    parameters, x = parameters_for(Poisson(), ROW), data_for(Poisson(), ROW)
    cost = likelihood_of(NegativeBinomial(1e-7), ROW).double().cost(parameters, x, None)  # type: ignore[attr-defined]
    torch.testing.assert_close(cost, Poisson().cost(parameters, x, None), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_near_one_half(dtype: torch.dtype) -> None:
    """Normaliser, slope and mean against a numerical integral, on both sides of where series and closed form meet."""
    spec = ContinuousBernoulli()
    logits = torch.tensor([0.0, 1e-7, -1e-4, 1e-3, -0.02, 0.3, 0.499, 0.501, -0.499, -0.501, 1.0, 3.0]).to(dtype)
    parameters, x = logits.view(-1, 1, 1).requires_grad_(), torch.full((len(logits), 1), 0.3, dtype=dtype)
    cost = spec.cost(parameters, x, None)
    (slope,) = torch.autograd.grad(cost.sum(), parameters)
    grid = np.linspace(0.0, 1.0, 2_001)
    exact = logits.double().numpy()[:, None]
    weights = np.exp(exact * grid)
    normaliser = integrate.simpson(weights, grid, axis=1)
    mean = integrate.simpson(weights * grid, grid, axis=1) / normaliser
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    np.testing.assert_allclose(cost.detach(), np.log(normaliser) - exact[:, 0] * 0.3, rtol=0, atol=tolerance)
    np.testing.assert_allclose(slope.flatten(), mean - 0.3, rtol=0, atol=tolerance)
    np.testing.assert_allclose(spec.mean(parameters).detach().flatten(), mean, rtol=0, atol=tolerance)
