"""Adversaries: terms with a small network of their own, which tells the autoencoder's output from the real thing.

**Validation.** The same output is easier to tell as the critic learns, so its verdicts on two epochs do not compare,
and the first one, whose critic knows nothing, would be kept as the best. Without gradients a verdict is therefore
log 2, as of a critic that cannot tell. Epochs are compared by the likelihood, the other terms, and the distance in
features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError
from isthmus.objectives.base import Forward, OwningTerm, Shapes, Term
from isthmus.objectives.noise import standard_normal
from isthmus.settings import AtLeast, NotNegative

_SLOPE = 0.2
# Images with a shorter side below this have nothing for a convolution of stride two to find.
_SMALLEST_IMAGE = 8


class Critic(nn.Module, ABC):
    """A small network that gives each row a logit: real above zero, made below."""

    @abstractmethod
    def features(self, x: Tensor) -> list[Tensor]:
        """Return what the hidden layers make of rows, each `(rows, ...)`."""

    @abstractmethod
    def judge(self, last: Tensor) -> Tensor:
        """Return the logits `(rows,)` for the last hidden layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(rows,)`."""
        return self.judge(self.features(x)[-1])


class DenseCritic(Critic):
    """Two hidden layers on the flattened row."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])
        self.last = nn.Linear(width, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        found = []
        h = x.flatten(1)
        for layer in self.layers:
            h = F.leaky_relu(layer(h), _SLOPE)
            found.append(h)
        return found

    def judge(self, last: Tensor) -> Tensor:
        logit: Tensor = self.last(last)
        return logit.squeeze(1)


class ConvCritic(Critic):
    """Three convolutions of stride two on an image, then one linear layer."""

    def __init__(self, row: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.image = (1, *row)[-3:]
        widths = (self.image[0], width, 2 * width, 2 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel_size=4, stride=2, padding=1) for i in range(3)
        )
        height, breadth = self.image[1] // 8, self.image[2] // 8
        self.last = nn.Linear(widths[-1] * height * breadth, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        found = []
        h = x.view(-1, *self.image)
        for layer in self.layers:
            h = F.leaky_relu(layer(h), _SLOPE)
            found.append(h)
        return found

    def judge(self, last: Tensor) -> Tensor:
        logit: Tensor = self.last(last.flatten(1))
        return logit.squeeze(1)


def _verdict(logits: Tensor) -> Tensor:
    """Return what the autoencoder minimises: minus the log of the probability that the critic gives to "real"."""
    return F.softplus(-logits if torch.is_grad_enabled() else torch.zeros_like(logits))


def _told_apart(critic: Critic, real: Tensor, made: Tensor, r1: float) -> Tensor:
    """Return the critic's loss: cross-entropy on both kinds, and the penalty on its slope at real rows.

    No gradient reaches what made the rows.
    """
    real = real.detach().requires_grad_()
    logits = critic(real)
    loss = F.softplus(-logits).mean() + F.softplus(critic(made.detach())).mean()
    if r1:
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        loss = loss + 0.5 * r1 * slope.square().flatten(1).sum(1).mean()
    return loss


@dataclass(frozen=True)
class LatentAdversary(Term):
    """A critic that tells the codes from draws of N(0, I): the adversarial autoencoder.

    The autoencoder minimises ``softplus(-D(z))`` for each row, which is log 2 where the critic cannot tell (the
    non-saturating loss: minus the log of the probability that the critic gives to "a draw"). The critic, a dense
    network with an optimiser of its own, minimises ``E softplus(-D(p)) + E softplus(D(z)) + r1/2 E |dD/dp|**2`` over
    draws p and codes z.

    With a code that has noise of its own, or none; `Deterministic(sampled_from="normal")` samples from N(0, I).

    Args:
        width: units of each of the critic's two hidden layers.
        r1: weight of the penalty on the critic's squared slope at the draws, which bounds what it sends back and lets
            the two settle (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406).

    Example:
        >>> (1.0 * LatentAdversary(width=32)).term.kind
        'latent_adversary'

    Paper: Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644.
    """

    kind: ClassVar[str] = "latent_adversary"
    width: Annotated[int, AtLeast(1)] = 64
    r1: NotNegative = 0.1

    def __call__(self, forward: Forward) -> Tensor:
        raise RecipeError("a latent_adversary has a network of its own; try recipe.build, which builds it")

    def build(self, shapes: Shapes) -> Callable[[Forward], Tensor]:
        return LatentAdversaryTerm(self, math.prod(shapes.latent))


class LatentAdversaryTerm(OwningTerm):
    """The term that `LatentAdversary` describes; it owns the critic."""

    def __init__(self, spec: LatentAdversary, latents: int) -> None:
        super().__init__()
        self.r1 = spec.r1
        self.critic = DenseCritic(latents, spec.width)

    def forward(self, forward: Forward) -> Tensor:
        z, axes = forward.code.z, forward.code.mean.ndim - 1
        rows = z.shape[:-axes]
        return _verdict(self.critic(z.reshape(-1, *z.shape[-axes:]))).view(rows)

    def own_loss(self, forward: Forward) -> Tensor:
        z = forward.code.z
        z = z.reshape(-1, *z.shape[-forward.code.mean.ndim + 1 :])
        return _told_apart(self.critic, standard_normal(z), z, self.r1)


@dataclass(frozen=True)
class ImageAdversary(Term):
    """A critic that tells rebuilt rows from real ones, and the distance between the two in what the critic sees.

    For each row ``adversarial * softplus(-D(x^)) + matching * distance(x, x^)``, with x^ the expected row. The distance
    is ``columns * mean over layers of |f(x) - f(x^)|**2 / V``, with f a hidden layer of the critic and V the variance
    of f(x) over the batch, summed over units: 0 for the row itself, about `columns` for the average row, like the
    squared error of standardised columns, however the critic scales its layers. The critic minimises
    ``E softplus(-D(x)) + E softplus(D(x^)) + r1/2 E |dD/dx|**2``.

    The critic is convolutional for images `(height, width)` or `(channels, height, width)` with sides of 8 or more,
    else dense. Missing values are equal on both sides. With `sampled` the critic also judges rows decoded from draws of
    N(0, I), for a code with that prior. Other than in the paper, the likelihood's cost stays in the loss, all gradients
    reach the encoder too, and the one weight of the term stands for both of its parts.

    Args:
        adversarial: weight of the critic's verdict within the term.
        matching: weight of the distance in the critic's features within the term.
        width: units of the critic's hidden layers; channels of the first layer of a convolutional one.
        r1: weight of the penalty on the critic's squared slope at real rows (Mescheder et al. 2018,
            https://arxiv.org/abs/1801.04406).
        sampled: whether rows decoded from N(0, I) are judged too.

    Example:
        >>> (0.1 * ImageAdversary(matching=1.0)).term.matching
        1.0

    Paper: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016,
    https://arxiv.org/abs/1512.09300.
    """

    kind: ClassVar[str] = "image_adversary"
    advice: ClassVar[str] = (
        "set objective.image_adversary.sampled=false, or network.skips=false, and use a likelihood whose mean has "
        "gradients, such as normal"
    )
    adversarial: NotNegative = 1.0
    matching: NotNegative = 1.0
    width: Annotated[int, AtLeast(1)] = 32
    r1: NotNegative = 0.1
    sampled: bool = False
    minimum_batch: ClassVar[int] = 2

    @property
    def needs(self) -> Set[str]:  # type: ignore[override]
        return frozenset({"bottleneck", "expectation"}) if self.sampled else frozenset({"expectation"})

    def __call__(self, forward: Forward) -> Tensor:
        raise RecipeError("an image_adversary has a network of its own; try recipe.build, which builds it")

    def build(self, shapes: Shapes) -> Callable[[Forward], Tensor]:
        return ImageAdversaryTerm(self, shapes.row)


class ImageAdversaryTerm(OwningTerm):
    """The term that `ImageAdversary` describes; it owns the critic."""

    def __init__(self, spec: ImageAdversary, row: tuple[int, ...]) -> None:
        super().__init__()
        self.adversarial, self.matching, self.r1, self.sampled = spec.adversarial, spec.matching, spec.r1, spec.sampled
        conv = len(row) in (2, 3) and min(row[-2:]) >= _SMALLEST_IMAGE
        self.critic: Critic = ConvCritic(row, spec.width) if conv else DenseCritic(math.prod(row), spec.width)

    def forward(self, forward: Forward) -> Tensor:
        real, made = _real(forward), _made(forward)
        found = self.critic.features(made)
        value = self.adversarial * _verdict(self.critic.judge(found[-1]))
        if self.sampled:
            drawn = _drawn(forward, standard_normal(forward.code.mean))
            value = value + self.adversarial * _verdict(self.critic(drawn)).mean()
        if self.matching and len(real) > 1:
            value = value + self.matching * real[0].numel() * self._distance(real, found)
        samples = len(made) // len(real)
        return value.view(samples, -1) if samples > 1 else value

    def _distance(self, real: Tensor, found: list[Tensor]) -> Tensor:
        """Return the mean over layers of the relative squared distance, `(rows,)` or `(samples * rows,)`."""
        with torch.no_grad():
            wanted = self.critic.features(real)
        layers = []
        for target, got in zip(wanted, found, strict=True):
            # A layer that is the same for all rows tells nothing, and its variance is rounding.
            size = target.var(0, correction=0).mean().clamp_min(1e-6 * target.square().mean().clamp_min(1e-6))
            samples = len(got) // len(target)
            difference = got - target.repeat(samples, *[1] * (target.ndim - 1))
            layers.append(difference.square().flatten(1).mean(1) / size)
        return torch.stack(layers).mean(0)

    def own_loss(self, forward: Forward) -> Tensor:
        with torch.no_grad():
            made = _made(forward)
        if self.sampled:
            noise = standard_normal(forward.code.mean)  # without gradients it would be the same at every step
            with torch.no_grad():
                made = torch.cat([made, _drawn(forward, noise)])
        return _told_apart(self.critic, _real(forward), made, self.r1)


def _real(forward: Forward) -> Tensor:
    return forward.batch.wanted


def _made(forward: Forward) -> Tensor:
    """Return the expected rows, with the real value wherever nothing was observed: no clue to the critic."""
    made, real = forward.expected(), _real(forward)
    mask = forward.batch.mask
    if mask is None:
        return made
    samples = len(made) // len(real)
    shape = (samples, *[1] * (real.ndim - 1))
    return torch.where(mask.repeat(shape), made, real.repeat(shape))


def _drawn(forward: Forward, noise: Tensor) -> Tensor:
    """Return the rows decoded from draws of N(0, I), one for each row of the batch."""
    if forward.likelihood is None:
        raise RecipeError("this pass has no likelihood, so no rows can be drawn; try sampled=False")
    return forward.likelihood.mean(forward.decode(noise))
