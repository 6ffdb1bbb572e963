"""What is minimised: one likelihood and weighted terms, in nats per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.objectives.schedules import Schedule
from isthmus.objectives.support import SUPPORTS, Support
from isthmus.schema import Batch, Schema
from isthmus.settings import Range, Settings


class LatentDensity(Protocol):
    """`isthmus.codes.Density`: a posterior or a prior."""

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density `(*samples, rows)` in nats."""

    def detached(self) -> LatentDensity:
        """Return the same density without gradients to its parameters."""


class Latents(Protocol):
    """What a term may read of a code's output (`isthmus.codes.CodeOutput`; objectives do not import codes)."""

    z: Tensor
    mean: Tensor
    quantities: dict[str, Tensor]
    indices: Tensor | None

    @property
    def posterior(self) -> LatentDensity | None:
        """q(z|x) of a variational code."""

    @property
    def prior(self) -> LatentDensity | None:
        """p(z) of a variational code."""


@dataclass(frozen=True)
class Shapes:
    """What a part that owns parameters is built for.

    Attributes:
        latent: `(latent, *positions)`.
        row: shape of a row.
    """

    latent: tuple[int, ...]
    row: tuple[int, ...]


def _unavailable(z: Tensor) -> Tensor:
    raise RecipeError("this pass has no decoder")


@dataclass(slots=True)
class Forward:
    """Everything one pass computed, which is what a term may use.

    Attributes:
        batch: the clean batch.
        seen: the batch that the encoder saw.
        code: the code's output.
        parameters: the decoder's output, `(rows, parameters, *shape)`, or `(samples * rows, ...)`, samples first.
        reconstruction: `(rows,)`, or `(samples, rows)`, the likelihood's cost: ``-log p(x|z)`` in nats, summed over
            columns, without the likelihood's constant.
        encode: the encoder as a function of values, `(rows, *shape) -> (rows, latent, *positions)`, with gradients: for
            terms that need more than the output, such as the Jacobian.
        decode: the decoder as a function of latents, `(rows, latent, *positions) -> (rows, parameters, *row)`, with
            gradients: for terms that rebuild the batch from other latents.
        likelihood: p(x|z).
        progress: share of the training steps that are done; 1 outside training.
    """

    batch: Batch
    seen: Batch
    code: Latents
    parameters: Tensor
    reconstruction: Tensor
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor] = _unavailable
    likelihood: Likelihood | None = None
    progress: float = 1.0

    @property
    def counted(self) -> Tensor | None:
        """The values that count in the loss, `(rows, *row)` booleans; None if all do."""
        return self.batch.mask if self.seen.scored is None else self.seen.scored

    def expected(self) -> Tensor:
        """Return the expected rows, `(rows, *row)`, or `(samples * rows, *row)`, samples first."""
        if self.likelihood is None:
            raise RecipeError("this pass has no likelihood, so it has no expected rows")
        return self.likelihood.mean(self.parameters)

    def cost_of(self, z: Tensor) -> Tensor:
        """Return the likelihood's cost `(rows,)` of the batch rebuilt from other latents."""
        return self.cost_of_parameters(self.decode(z))

    def cost_of_parameters(self, parameters: Tensor) -> Tensor:
        """Return the likelihood's cost `(rows,)` of the batch under other parameters than the decoder's."""
        if self.likelihood is None:
            raise RecipeError("this pass has no likelihood, so it has no cost")
        return self.likelihood.cost(parameters, self.batch.wanted, self.counted)


class Likelihood(Protocol):
    """p(x|z) as the composition uses it. `LikelihoodSpec` describes one; a stateless one is its own description.

    Attributes:
        constant: the part of ``-log p`` for each value that no parameter changes and the cost leaves out, so that a
            squared error is shown as a squared error; every score has it.
    """

    @property
    def constant(self) -> float:
        """Nats for each observed value."""

    @property
    def support(self) -> str:
        """What the data must be, as in `LikelihoodSpec`."""

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values p(x|z) gives a density."""

    def cost(self, parameters: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``-log p(x|z)`` `(rows,)` in nats less the constant, summed over the observed values of each row."""

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected row `(rows, *shape)`."""

    def draw(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return rows drawn from p(x|z), `(rows, *shape)`."""

    def output_bias(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the parameters `(parameters, *shape)` of a constant guess, from column means and variances."""


class LikelihoodSpec(Settings, ABC):
    """The frozen description of a likelihood.

    Attributes:
        parameters: numbers needed from the decoder for each value.
        support: what the data must be, one of `SUPPORTS`: "real", "unit" (values in [0, 1]), "binary" (values 0 or 1),
            "counts" (whole numbers of at least 0), "categories" (whole numbers from 0 to classes - 1), or "mixed"
            (by column).
        provides: `expectation` where `mean` has gradients, which terms on the expected rows need.
    """

    path: ClassVar[str] = "objective.likelihood"
    kind: ClassVar[str]
    parameters: int
    support: str
    provides: Set[str] = frozenset({"expectation"})

    def misfit(self, row: tuple[int, ...]) -> str | None:
        """Return why this likelihood is none for rows of a shape, with advice; None if it is one."""
        return None

    @abstractmethod
    def build(self, row: tuple[int, ...]) -> Likelihood:
        """Return the likelihood for rows of a shape; a module if it has parameters of its own."""

    @property
    def domain(self) -> Support:
        """The values that have a density."""
        return SUPPORTS[self.support]

    def inside(self, x: Tensor) -> Tensor:
        """Return booleans `(rows, *shape)`: which values have a density."""
        return self.domain.holds(x)

    def resolve(self, schema: Schema) -> LikelihoodSpec:
        """Return the likelihood with every "auto" answered for data of a schema."""
        return self

    def unsupported(self, schema: Schema, preprocessing: str) -> str | None:
        """Return why data of a schema have no density, with advice; None if they have one."""
        misfit = self.domain.misfit(schema, preprocessing)
        return None if misfit is None else f"the likelihood {self.kind!r} cannot hold the data: {misfit}"


class Term(Settings, ABC):
    """A quantity added to the loss.

    `needs` names what other parts must provide; `advice` says what to do when nothing does. A term **that owns
    parameters** (an adversary) returns an `OwningTerm` from `build`. A term **that needs a schedule** has it in its
    weight: its raw and its weighted value are both reported. Values are `(rows,)`, or a scalar where the quantity is
    of the batch and not of a row.

    Attributes:
        excludes: kinds of terms that may not be combined with this one, since they would count the same thing twice.
        samples: latents that the term needs for each row.
        minimum_batch: rows that a batch must have at least.
        layerwise: whether greedy pretraining applies it to every layer.
    """

    path: ClassVar[str] = "objective.{kind}"
    kind: ClassVar[str]
    needs: Set[str] = frozenset()
    advice: ClassVar[str] = ""
    excludes: ClassVar[Set[str]] = frozenset()
    samples: int = 1
    minimum_batch: ClassVar[int] = 1
    layerwise: ClassVar[bool] = False

    def misfit(self, row: tuple[int, ...]) -> str | None:
        """Return why this term has no meaning for rows of a shape, with advice; None if it has."""
        return None

    @abstractmethod
    def __call__(self, forward: Forward) -> Tensor:
        """Return the unweighted value in nats."""

    def build(self, shapes: Shapes) -> Callable[[Forward], Tensor]:
        """Return what is called in training; the term itself unless it owns parameters."""
        return self

    def __rmul__(self, weight: Weight) -> WeightedTerm:
        return WeightedTerm(self, weight)


class OwningTerm(nn.Module, ABC):
    """A term with parameters of its own, which the loop gives an optimiser of their own."""

    @abstractmethod
    def forward(self, forward: Forward) -> Tensor:
        """Return what the autoencoder minimises, `(rows,)`."""

    @abstractmethod
    def own_loss(self, forward: Forward) -> Tensor:
        """Return what the term's own parameters minimise, a scalar; it must detach what it reads of `forward`."""


Weight = float | Schedule
# Of a weight that is no schedule.
WEIGHT = Range(0)


@dataclass(frozen=True)
class WeightedTerm:
    """A term and its weight or schedule."""

    term: Term
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.term, Term):
            raise RecipeError("objective.terms: " + explain("a term", repr(self.term), "KL()"))
        if not isinstance(self.weight, Schedule):
            WEIGHT.checked(f"objective.{self.term.kind}.weight", self.weight)

    def at(self, progress: float) -> float:
        """Return the weight at a share of the training steps."""
        return self.weight(progress) if isinstance(self.weight, Schedule) else float(self.weight)


def _weighted(term: Any) -> WeightedTerm:
    if isinstance(term, WeightedTerm):
        return term
    if isinstance(term, Term):
        return WeightedTerm(term)
    raise RecipeError("objective.terms: " + explain("a term, weighted or not", repr(term), "1.0 * KL()"))


@dataclass(frozen=True)
class Objective:
    """A likelihood and weighted terms: ``-log p(x|z) + sum of weight * term``, averaged over rows.

    Args:
        likelihood: a likelihood, or "auto_error" / "auto_density": chosen when the data are known. "auto_error" is the
            squared error; "auto_density" is the binary cross-entropy for data in [0, 1] and else a normal density with
            one learned variance for each column.
        terms: the weighted terms.

    Example:
        >>> from isthmus.objectives import KL, Reconstruction, SquaredError
        >>> objective = Reconstruction(SquaredError()) + 0.5 * KL()
        >>> objective.weights(1.0)
        {'kl': 0.5}
    """

    likelihood: LikelihoodSpec | Literal["auto_error", "auto_density"] = "auto_error"
    terms: tuple[WeightedTerm, ...] = field(default=())

    def __post_init__(self) -> None:
        if not isinstance(self.likelihood, LikelihoodSpec) and self.likelihood not in (
            "auto_error",
            "auto_density",
        ):
            raise RecipeError(
                "objective.likelihood: "
                + explain("a likelihood", repr(self.likelihood), "SquaredError() or Bernoulli()")
            )
        object.__setattr__(self, "terms", tuple(_weighted(term) for term in self.terms))
        kinds = [weighted.term.kind for weighted in self.terms]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise RecipeError(
                    f"objective: the term {kind!r} is there twice; try one term with the sum of the weights"
                )
        for weighted in self.terms:
            for kind in sorted(weighted.term.excludes & set(kinds)):
                raise RecipeError(
                    f"objective: the terms {weighted.term.kind!r} and {kind!r} count the same thing; try one of them"
                )

    def __add__(self, other: WeightedTerm | Term) -> Objective:
        return replace(self, terms=(*self.terms, _weighted(other)))

    def settled(self) -> float:
        """Return the share of the training steps after which every weight is final."""
        return max((w.weight.settled for w in self.terms if isinstance(w.weight, Schedule)), default=0.0)

    @property
    def samples(self) -> int:
        """Latents that are drawn for each row in training: as many as the most demanding term needs."""
        return max((w.term.samples for w in self.terms), default=1)

    def weights(self, progress: float) -> Mapping[str, float]:
        """Return the weight of each term at a share of the training steps; 1.0 gives the final ones."""
        return {weighted.term.kind: weighted.at(progress) for weighted in self.terms}
