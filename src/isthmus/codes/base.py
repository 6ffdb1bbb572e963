"""The contract of a code: what passes the bottleneck, and what it reports about it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from isthmus.settings import Settings


@dataclass(frozen=True, slots=True)
class Draw:
    """How a stochastic code is sampled; a code that is given none returns its deterministic latent.

    Attributes:
        samples: how many latents for each row (importance-weighted bounds use several).
        generator: where the randomness comes from; None is torch's generator of the device.
        keys: `(rows,)` integers that decide each row's noise in place of a generator (`row_keys`), in antithetic pairs.
            A row's score is then the same number wherever the row stands, while the errors of different rows are
            independent and average out.
    """

    samples: int = 1
    generator: torch.Generator | None = None
    keys: Tensor | None = None

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal noise `(samples, *like.shape)`, or `like.shape` for one sample."""
        lead = () if self.samples == 1 else (self.samples,)
        if self.keys is None:
            return torch.randn(*lead, *like.shape, dtype=like.dtype, device=like.device, generator=self.generator)
        uniform = _hashed_uniform(self.keys, (self.samples + 1) // 2, like)
        half = torch.special.ndtri(uniform).to(like.dtype)
        return self._pairs(half, -half).reshape(*lead, *like.shape)

    def gumbel(self, like: Tensor) -> Tensor:
        """Return standard Gumbel noise ``-log(-log u)``, u uniform, of the same shape as `normal`."""
        lead = () if self.samples == 1 else (self.samples,)
        if self.keys is None:
            shape = (*lead, *like.shape)
            uniform = torch.rand(*shape, dtype=torch.float32, device=like.device, generator=self.generator)
            # float32 draws are multiples of 2**-24; the logarithm of zero is kept out by half a step.
            return -torch.log(-torch.log(uniform.clamp_min(2.0**-25))).to(like.dtype)
        half = _hashed_uniform(self.keys, (self.samples + 1) // 2, like)
        noise = -torch.log(-torch.log(self._pairs(half, 1.0 - half)))
        return noise.to(like.dtype).reshape(*lead, *like.shape)

    def _pairs(self, half: Tensor, other: Tensor) -> Tensor:
        return torch.stack([half, other], 1).flatten(0, 1)[: self.samples]


# Odd multipliers of the splitmix64 generator (Steele et al. 2014), as signed integers: int64 products wrap around.
_GAMMA = -7046029254386353131
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def _mix(bits: Tensor) -> Tensor:
    """Return well-mixed integers, one for each integer."""
    for multiplier, shift in ((_MIX_1, 30), (_MIX_2, 27)):
        bits = (bits ^ ((bits >> shift) & ((1 << (64 - shift)) - 1))) * multiplier
    mixed: Tensor = bits ^ ((bits >> 31) & ((1 << 33) - 1))
    return mixed


def row_keys(x: Tensor) -> Tensor:
    """Return an integer `(rows,)` for each row of float32 values: a hash of its bits, the same on every machine."""
    bits = (x.flatten(1) + 0.0).contiguous().view(torch.int32).long()  # adding zero makes -0.0 and 0.0 the same row
    places = torch.arange(1, bits.shape[1] + 1, device=x.device)
    return _mix((_mix(bits + places * _GAMMA)).sum(1))


def _hashed_uniform(keys: Tensor, samples: int, like: Tensor) -> Tensor:
    """Return float64 numbers in (0, 1), `(samples, *like.shape)`, that the keys decide."""
    count = samples * like[0].numel()
    places = torch.arange(1, count + 1, device=keys.device)
    bits = _mix(keys[:, None] + places * _GAMMA)
    # 24 bits, which float32 holds exactly, in the middle of their cells so that neither 0 nor 1 occurs.
    uniform = (((bits >> 40) & 0xFFFFFF).double() + 0.5) / (1 << 24)
    return uniform.view(len(keys), samples, *like.shape[1:]).transpose(0, 1)


class Density(Protocol):
    """A density over latents: a posterior q(z|x), one for each row, or the prior p(z)."""

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density in nats, summed over latents and positions.

        `z` is `(*samples, rows, latent, *positions)`, the result `(*samples, rows)`.
        """

    def detached(self) -> Density:
        """Return the same density without gradients to its parameters (the gradient by `z` stays)."""


@dataclass(slots=True)
class CodeOutput:
    """What a code returns.

    Attributes:
        z: `(rows, latent, *positions)`, or `(samples, rows, latent, *positions)` for several samples.
        mean: `(rows, latent, *positions)`, the deterministic latent.
        quantities: unweighted quantities by name, never multiplied by a coefficient: `kl` is `(rows, latent,
            *positions)` in nats, `(rows, variables, *positions)` of a categorical code, or `(rows, 1)` where only the
            sum over latents is known. Only the objective has coefficients and schedules.
        indices: `(rows, symbols, *positions)` integers of a discrete code: which entry, level or class.
        posterior: q(z|x) of a variational code.
        prior: p(z) of a variational code.
        skips: what the network passes to the decoder beside the code; set by the composition.
        entries: how many values each symbol of `indices` can take, one number for each symbol.
        kept: `(rows, kept)` latents and their values, of a code whose z is zero elsewhere, in training; None if z is to
            be read whole. A decoder may read this in place of z (`Network.decode_kept`).
    """

    z: Tensor
    mean: Tensor
    quantities: dict[str, Tensor] = field(default_factory=dict)
    indices: Tensor | None = None
    posterior: Density | None = None
    prior: Density | None = None
    skips: tuple[Tensor, ...] = ()
    kept: tuple[Tensor, Tensor] | None = None
    entries: tuple[int, ...] = ()


class Code(nn.Module, ABC):
    """Features in, latents out.

    Attributes:
        latent_dim: width of the latent.
        features_std: standard deviation of the features that training starts from.
        progress: share of the training steps that are done, which the loop sets, for codes that anneal.
    """

    latent_dim: int
    features_std: float = 0.5
    progress: float = 1.0

    @abstractmethod
    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        """Return the latents for features `(rows, features, *positions)`; without a draw the deterministic ones.

        Args:
            features: of the rows.
            draw: how a stochastic code is sampled.
            pseudo: features of `pseudo_rows`, for a code that has any.
        """

    @abstractmethod
    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        """Return latents `(rows, latent, *positions)` drawn from the prior; None if there is none to draw from."""

    def pseudo_rows(self) -> Tensor | None:
        """Return learned rows `(components, *row)` for a prior that is a mixture of their posteriors, else None.

        The composition encodes them and gives `forward` and `prior` their features.
        """
        return None

    def initialise(self, x: Tensor, features: Tensor) -> None:
        """Set what the code learns by some training rows and their features, before the first step."""

    def after_step(self) -> None:
        """Put the code's weights back where they must be after an optimiser step."""


def auto_width(row: tuple[int, ...]) -> int:
    """Return the latent width of an "auto": a twelfth of the row's values, from 2 to 32.

    >>> auto_width((28, 28)), auto_width((6,)), auto_width((1,))
    (32, 2, 1)
    """
    width = math.prod(row)
    return min(max(2, min(32, round(width / 12))), width)


class CodeSpec(Settings, ABC):
    """The frozen description of a code, as it stands in a recipe (see `NetworkSpec` for `needs` and `provides`).

    Attributes:
        breaks: properties that the code takes away from what the other parts provide, such as `independent_rows`.
    """

    path: ClassVar[str] = "code"
    kind: ClassVar[str]
    latent_dim: int | Literal["auto"]
    needs: Set[str] = frozenset()
    breaks: Set[str] = frozenset()
    advice: ClassVar[str] = "use another code"

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        """Return the description with every "auto" answered: a twelfth of the row's values, from 2 to 32."""
        if self.latent_dim != "auto":
            return self
        return replace(self, latent_dim=auto_width(row))  # type: ignore[type-var]

    def misfit(self, row: tuple[int, ...]) -> str | None:
        """Return why this code cannot be built for rows of a shape, with advice; None if it can."""
        return None

    @property
    @abstractmethod
    def provides(self) -> Set[str]:
        """Names of the quantities and properties that terms may need.

        `kl`, `commitment`: a quantity. `posterior`: densities. `diagonal_posterior`: `log_variance` too. `latent_kl`:
        the `kl` of each latent, and not their sum alone. `indices`: a discrete code.
        """

    @abstractmethod
    def features(self) -> int:
        """Width of the features that the code reads."""

    @abstractmethod
    def build(self, row: tuple[int, ...] = ()) -> Code:
        """Return the code for rows of a shape."""
