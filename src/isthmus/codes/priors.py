"""Priors of the Gaussian code: what its posterior is charged for departing from.

A prior stands inside a code: ``Gaussian(prior=VampPrior(components=100))``. The table `PRIORS` holds the names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from isthmus.codes import densities
from isthmus.codes.base import Density
from isthmus.codes.densities import DiagonalNormal, EachPosition, Posterior, StandardNormal
from isthmus.codes.flow import CouplingFlow, FlowDensity
from isthmus.errors import RecipeError
from isthmus.settings import AtLeast, Range, Settings


class Prior(nn.Module, ABC):
    """p(z), with the parameters it learns."""

    @abstractmethod
    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        """Return the density of latents `(rows, latent, *positions)`, which have so many axes beside the rows'.

        Args:
            latent_axes: 1 for a vector.
            pseudo: posteriors of `pseudo_rows`, for a prior that has any.
        """

    @abstractmethod
    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        """Return latents of a shape `(rows, latent, *positions)`."""

    def kl(self, mean: Tensor, log_variance: Tensor) -> Tensor | None:
        """Return ``KL(N(mean, exp(log_variance)) || p)`` of each latent; None if p is no product over latents."""
        return None

    def pseudo_rows(self) -> Tensor | None:
        """Return what `Code.pseudo_rows` does."""
        return None

    def initialise(self, x: Tensor) -> None:
        """Set what the prior learns by some training rows."""


class PriorSpec(Settings, ABC):
    """The frozen description of a prior, as it stands in a Gaussian code.

    Attributes:
        factorised: whether it is a product over latents, so that each latent has a KL of its own.
        smallest: latents that it needs at least.
    """

    path: ClassVar[str] = "code.prior"
    kind: ClassVar[str]
    factorised: ClassVar[bool] = False
    smallest: ClassVar[int] = 1

    @abstractmethod
    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        """Return the prior of so many latents, for rows of a shape."""


def _noise(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(*shape, generator=generator, device=_device(generator))


def _device(generator: torch.Generator | None) -> torch.device:
    # Noise is drawn where the generator is: a seed then gives the same latents whatever device the model is on.
    return torch.device("cpu") if generator is None else generator.device


def _choose(log_weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    weights = log_weights.detach().exp().to(_device(generator))
    return torch.multinomial(weights, count, replacement=True, generator=generator).to(log_weights.device)


# ---- standard normal -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NormalPrior(PriorSpec):
    """``N(0, I)``: nothing to learn; ``KL = (mean**2 + variance - log variance - 1) / 2`` for each latent.

    Example:
        >>> NormalPrior().build(2).kl(torch.ones(1, 2), torch.zeros(1, 2)).tolist()
        [[0.5, 0.5]]

    Paper: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114 (appendix B).
    """

    kind: ClassVar[str] = "standard_normal"
    factorised: ClassVar[bool] = True

    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        return StandardNormalPrior()


class StandardNormalPrior(Prior):
    """The prior that `NormalPrior` describes."""

    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        return StandardNormal(latent_axes)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        return _noise(shape, generator)

    def kl(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)


# ---- Laplace -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LaplacePrior(PriorSpec):
    """Independent Laplace densities, for latents of which few are far from zero.

    The KL of a normal posterior ``N(m, s**2)`` has the closed form
    ``E|z| / scale + log(2 scale) - log(2 pi e s**2) / 2`` with
    ``E|z| = s sqrt(2 / pi) exp(-m**2 / (2 s**2)) + m erf(m / (s sqrt(2)))``. It is never zero, since no normal density
    is a Laplace one; 0.048 nats for each latent is the least.

    Args:
        scale: of the density; its standard deviation is ``sqrt(2) * scale``.

    Example:
        >>> LaplacePrior(scale=0.5).kind
        'laplace'

    Paper: Geadah et al., Sparse-Coding Variational Autoencoders, Neural Computation 2024,
    https://direct.mit.edu/neco/article/36/12/2571/124821.
    """

    kind: ClassVar[str] = "laplace"
    factorised: ClassVar[bool] = True
    scale: Annotated[float, Range(0, 1e6, open_low=True)] = 1.0

    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        return LaplacePriorModule(self.scale)


class LaplacePriorModule(Prior):
    """The prior that `LaplacePrior` describes."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        return densities.Laplace(self.scale, latent_axes)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        # The difference of two exponential variables has the Laplace density.
        pair = torch.empty(2, *shape, device=_device(generator)).exponential_(generator=generator)
        return self.scale * (pair[0] - pair[1])

    def kl(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        deviation = (0.5 * log_variance).exp()
        share = mean / (math.sqrt(2.0) * deviation)
        absolute = deviation * math.sqrt(2.0 / math.pi) * torch.exp(-share.square()) + mean * torch.erf(share)
        entropy = 0.5 * (log_variance + math.log(2.0 * math.pi) + 1.0)
        return absolute / self.scale + math.log(2.0 * self.scale) - entropy


# ---- mixture of posteriors -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VampPrior(PriorSpec):
    """The average of the posteriors of learned rows: ``p(z) = sum_k q(z|u_k) / components``.

    The rows u_k start as training rows and are learned in preprocessed units. With feature maps a component spans all
    positions.

    Args:
        components: how many learned rows; each pass encodes them all.

    Example:
        >>> VampPrior(components=20).kind
        'vamp'

    Paper: Tomczak and Welling, VAE with a VampPrior, AISTATS 2018, https://arxiv.org/abs/1705.07120.
    """

    kind: ClassVar[str] = "vamp"
    components: Annotated[int, AtLeast(1)] = 100

    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        return VampPriorModule(self.components, row)


class VampPriorModule(Prior):
    """The prior that `VampPrior` describes."""

    def __init__(self, components: int, row: tuple[int, ...]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.rand(components, *row))

    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        if pseudo is None:
            raise RecipeError("a vamp prior needs the features of its pseudo-rows; try Composition.encode")
        count = len(pseudo.mean)
        return densities.Mixture(pseudo, pseudo.mean.new_full((count,), -math.log(count)))

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        if pseudo is None:
            raise RecipeError("a vamp prior needs the features of its pseudo-rows; try Composition.draw_prior")
        count = len(pseudo.mean)
        chosen = pseudo.select(_choose(pseudo.mean.new_full((count,), -math.log(count)), shape[0], generator))
        return chosen.at(_noise(tuple(chosen.mean.shape), generator).to(chosen.mean))

    def pseudo_rows(self) -> Tensor:
        return self.rows

    def initialise(self, x: Tensor) -> None:
        # With fewer rows than components some stand twice, and part by what they are charged with.
        order = torch.cat([torch.randperm(len(x)) for _ in range(-(-len(self.rows) // len(x)))])
        with torch.no_grad():
            self.rows.copy_(x[order[: len(self.rows)].to(x.device)])


# ---- mixture of normal densities -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MixturePrior(PriorSpec):
    """``p(z) = sum_k weight_k N(z; mean_k, diag(variance_k))`` with everything learned, for rows that fall in groups.

    With feature maps the mixture is joint over latents and the same, independently, at every position.

    Args:
        components: how many normal densities.

    Example:
        >>> MixturePrior(components=5).build(2).density(1).log_density(torch.zeros(3, 2)).shape
        torch.Size([3])

    Paper: Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture VAEs, 2016,
    https://arxiv.org/abs/1611.02648 (where the mixture's component is inferred; here it is summed out).
    """

    kind: ClassVar[str] = "mixture"
    components: Annotated[int, AtLeast(1)] = 10

    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        return MixturePriorModule(self.components, latent_dim)


class MixturePriorModule(Prior):
    """The prior that `MixturePrior` describes."""

    def __init__(self, components: int, latent_dim: int) -> None:
        super().__init__()
        # Components that start apart do not have to be told apart first.
        self.mean = nn.Parameter(torch.randn(components, latent_dim))
        self.log_variance = nn.Parameter(torch.zeros(components, latent_dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def _components(self) -> DiagonalNormal:
        return DiagonalNormal(self.mean, self.log_variance.clamp(*densities.LOG_VARIANCE_RANGE))

    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        mixture = densities.Mixture(self._components(), self.logits.log_softmax(0))
        return EachPosition(mixture, latent_axes)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        rows, positions = shape[0], shape[2:]
        count = rows * math.prod(positions)
        chosen = self._components().select(_choose(self.logits.log_softmax(0), count, generator))
        z = chosen.at(_noise((count, self.mean.shape[1]), generator).to(self.mean))
        return z.view(rows, *positions, -1).movedim(-1, 1)


# ---- flow ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowPrior(PriorSpec):
    """A standard normal density seen through affine coupling layers, which are learned.

    With feature maps the density is joint over latents and the same, independently, at every position.

    Args:
        layers: coupling layers; each moves one half of the latents by the other.
        hidden_dim: width of the hidden layer in each.

    Example:
        >>> FlowPrior(layers=2).build(4).density(1).log_density(torch.zeros(3, 4)).shape
        torch.Size([3])

    Papers: Dinh et al., Density Estimation Using Real NVP, ICLR 2017, https://arxiv.org/abs/1605.08803; Chen et al.,
    Variational Lossy Autoencoder, ICLR 2017, https://arxiv.org/abs/1611.02731 (a flow as prior).
    """

    kind: ClassVar[str] = "flow"
    smallest: ClassVar[int] = 2
    layers: Annotated[int, AtLeast(1)] = 4
    hidden_dim: Annotated[int, AtLeast(1)] = 64

    def build(self, latent_dim: int, row: tuple[int, ...] = ()) -> Prior:
        return FlowPriorModule(CouplingFlow(latent_dim, self.layers, self.hidden_dim))


class FlowPriorModule(Prior):
    """The prior that `FlowPrior` describes."""

    def __init__(self, flow: CouplingFlow) -> None:
        super().__init__()
        self.flow = flow

    def density(self, latent_axes: int, pseudo: Posterior | None = None) -> Density:
        return EachPosition(FlowDensity(self.flow), latent_axes)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, pseudo: Posterior | None) -> Tensor:
        noise = _noise(shape, generator).to(next(self.flow.parameters()))
        return self.flow.inverse(noise.movedim(1, -1)).movedim(-1, 1)


PRIORS: dict[str, type[PriorSpec]] = {
    "standard_normal": NormalPrior,
    "laplace": LaplacePrior,
    "vamp": VampPrior,
    "mixture": MixturePrior,
    "flow": FlowPrior,
}
