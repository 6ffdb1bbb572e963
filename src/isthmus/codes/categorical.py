"""The categorical code: several variables that each take one of a few classes."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw, auto_width
from isthmus.codes.quantised import straight_through
from isthmus.errors import explain
from isthmus.settings import AtLeast, CountOrAuto, Range


@dataclass(frozen=True)
class GumbelSoftmax(CodeSpec):
    """Categorical variables, relaxed in training by the Gumbel-softmax: variable v has the logits ``h_v``.

    In training ``z_v = softmax((h_v + g) / temperature)`` with Gumbel noise g, which has a gradient and comes near a
    one-hot vector as the temperature falls. Outside training a draw is a one-hot vector, drawn by ``p_v = softmax h_v``
    (the Gumbel-max trick), and without a draw the latent is the one-hot vector of the likeliest class: scores and codes
    are those of the discrete model. The gradient of a one-hot vector is that of its relaxation.

    Reports `kl`, ``KL_v = sum_c p_vc log p_vc + log classes``, of each variable from the uniform prior, in nats.

    Args:
        latent_dim: width of the latent, ``variables * classes``, variable after variable; "auto" takes as many
            variables as a `Deterministic` code has latents.
        classes: of each variable; must divide latent_dim.
        temperature: of the relaxation when training begins.
        final_temperature: of the relaxation when it ends; between the two it falls exponentially.
        hard: whether latents are one-hot in training too, with the relaxation's gradient (straight through).

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> code = GumbelSoftmax(latent_dim=6, classes=3).build().eval()
        >>> code(torch.tensor([[0.0, 2.0, 1.0, 5.0, 0.0, 0.0]])).z.tolist()
        [[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]]

    Papers: Jang et al., Categorical Reparameterization with Gumbel-Softmax, ICLR 2017,
    https://arxiv.org/abs/1611.01144; Maddison et al., The Concrete Distribution, ICLR 2017,
    https://arxiv.org/abs/1611.00712.
    """

    kind: ClassVar[str] = "categorical"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false, or use a deterministic code"
    latent_dim: CountOrAuto = "auto"
    classes: Annotated[int, AtLeast(2)] = 10
    temperature: Annotated[float, Range(0, 100, open_low=True)] = 1.0
    final_temperature: Annotated[float, Range(0, 100, open_low=True)] = 0.5
    hard: bool = False

    @property
    def provides(self) -> Set[str]:
        return frozenset({"kl", "latent_kl", "indices"})

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        return self if self.latent_dim != "auto" else replace(self, latent_dim=auto_width(row) * self.classes)

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if self.latent_dim != "auto" and self.latent_dim % self.classes:
            nearest = max(1, round(self.latent_dim / self.classes)) * self.classes
            wanted = f"a multiple of code.classes ({self.classes})"
            return "code.latent_dim: " + explain(wanted, str(self.latent_dim), str(nearest))
        return None

    def features(self) -> int:
        return int(self.latent_dim)

    def build(self, row: tuple[int, ...] = ()) -> CategoricalCode:
        return CategoricalCode(self)


class CategoricalCode(Code):
    """The code that `GumbelSoftmax` describes."""

    def __init__(self, spec: GumbelSoftmax) -> None:
        super().__init__()
        self.latent_dim = int(spec.latent_dim)
        self.classes = spec.classes
        self.first, self.last, self.hard = spec.temperature, spec.final_temperature, spec.hard

    @property
    def temperature(self) -> float:
        """The temperature at this point of training."""
        return float(self.first * (self.last / self.first) ** self.progress)

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        logits = features.unflatten(1, (-1, self.classes))
        log_p = logits.log_softmax(2)
        p = log_p.exp()
        kl = (p * log_p).sum(2) + math.log(self.classes)
        likeliest = log_p.argmax(2)
        mean = straight_through(self._one_hot(likeliest, 2), p).flatten(1, 2)
        z = mean if draw is None else self._drawn(log_p, draw)
        return CodeOutput(z, mean, {"kl": kl}, likeliest, entries=(self.classes,) * likeliest.shape[1])

    def _drawn(self, log_p: Tensor, draw: Draw) -> Tensor:
        noisy = log_p + draw.gumbel(log_p)
        axis = noisy.ndim - log_p.ndim + 2
        relaxed = (noisy / self.temperature).softmax(axis)
        if self.hard or not self.training:
            relaxed = straight_through(self._one_hot(noisy.argmax(axis), axis), relaxed)
        return relaxed.flatten(axis - 1, axis)

    def _one_hot(self, classes: Tensor, axis: int) -> Tensor:
        """Return 0 and 1 with the classes on an axis of their own."""
        return F.one_hot(classes, self.classes).movedim(-1, axis).float()

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        rows, positions = shape[0], shape[2:]
        device = torch.device("cpu") if generator is None else generator.device
        size = (rows, self.latent_dim // self.classes, *positions)
        drawn = torch.randint(self.classes, size, generator=generator, device=device)
        return self._one_hot(drawn, 2).flatten(1, 2)
