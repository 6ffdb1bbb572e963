"""Sparse codes that count: the k largest latents of a row, or of a batch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw
from isthmus.errors import RecipeError, explain
from isthmus.settings import CountOrAuto

# What "auto" means for every sparse code: many latents, of which a row uses few.
_OVERCOMPLETE = 4
_LARGEST_LATENT = 4096
_LARGEST_K = 32
_LATENTS_FOR_EACH_ACTIVE = 16
# Gao et al. 2024 call a latent dead that was not active for ten million tokens.
_LONGEST_DEAD_AFTER = 10_000_000
# Weight of the past in the average of a batch's smallest kept value: it follows training within a few hundred steps.
_THRESHOLD_MEMORY = 0.99


class SparseSpec(CodeSpec):
    """What the descriptions of all sparse codes share.

    Attributes:
        latent_dim: width of the latent; "auto" is four times the row's values, at most 4096.
        dead_after: rows without an activation after which a latent counts as dead; "auto" is the number of training
            rows, at most ten million.
    """

    latent_dim: int | Literal["auto"]
    dead_after: int | Literal["auto"]

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        """Return the description with every "auto" answered."""
        answers: dict[str, int] = {}
        if self.latent_dim == "auto":
            answers["latent_dim"] = min(_OVERCOMPLETE * math.prod(row), _LARGEST_LATENT)
        if self.dead_after == "auto":
            answers["dead_after"] = min(max(1, rows), _LONGEST_DEAD_AFTER)
        return replace(self, **answers)  # type: ignore[type-var]

    @property
    def provides(self) -> Set[str]:
        return frozenset({"dead_latents"})

    def features(self) -> int:
        return int(self.latent_dim)


class SparseCode(Code):
    """What all sparse codes share: which latents are dead, and what they report.

    A latent is dead when it was active for none of the last `dead_after` rows of training. The count stands still
    outside training, and a forward pass without gradients is none of training. The quantities are

    * `l0`, `(rows, 1)`: how many values of the latent are not zero, over latents and positions;
    * `preactivations`, `(rows, latent, *positions)`: what the latents were before any was left out;
    * `dead`, of the same shape, the same for each row: whether the latent is dead.
    """

    rows_since_active: Tensor

    def __init__(self, latent_dim: int, dead_after: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.dead_after = dead_after
        self.register_buffer("rows_since_active", torch.zeros(latent_dim, dtype=torch.int64))

    @abstractmethod
    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        """Return the latents for features `(rows, features, *positions)`."""

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        return None

    @property
    def in_training(self) -> bool:
        """Whether a pass is one of training, which moves counts and averages."""
        return self.training and torch.is_grad_enabled()

    def output(self, z: Tensor, preactivations: Tensor, active: Tensor, l0: Tensor, draw: Draw | None) -> CodeOutput:
        """Count the rows and return what the code says.

        Args:
            z: the latents.
            preactivations: of the same shape.
            active: `(latent,)` booleans: which latents were active for some row.
            l0: `(rows, 1)`.
            draw: how many samples are asked for; all are the same.
        """
        # A term that encodes the batch again gives no draw, and must not count its rows twice.
        if self.in_training and draw is not None:
            self.rows_since_active.add_(z.shape[0]).masked_fill_(active, 0)
        dead = (self.rows_since_active >= self.dead_after).view(-1, *[1] * (z.ndim - 2)).expand_as(z)
        samples = z.expand(draw.samples, *z.shape) if draw is not None and draw.samples > 1 else z
        return CodeOutput(samples, z, {"l0": l0, "preactivations": preactivations, "dead": dead})

    def any_active(self, latents: Tensor, values: Tensor) -> Tensor:
        """Return `(latent,)` booleans: which of the latents that were kept have a value that is not zero."""
        times = torch.zeros(self.latent_dim, device=values.device)
        times.scatter_add_(0, latents.flatten(), (values != 0).flatten().to(times.dtype))
        return times > 0


class CountedSpec(SparseSpec):
    """What the descriptions of codes that keep the k largest features share.

    Attributes:
        k: latents kept for each row; "auto" is a sixteenth of the latents, from 1 to 32.
    """

    k: int | Literal["auto"]

    def check_together(self) -> None:
        if self.k != "auto" and self.latent_dim != "auto" and int(self.k) > int(self.latent_dim):
            expected = f"at most as many as there are latents, {self.latent_dim}"
            raise RecipeError("code.k: " + explain(expected, repr(self.k), "a smaller k, or a larger code.latent_dim"))

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        """Return the description with every "auto" answered."""
        found = super().resolve(row, rows)
        if found.k != "auto":
            return found
        k = min(_LARGEST_K, max(1, int(found.latent_dim) // _LATENTS_FOR_EACH_ACTIVE))
        return replace(found, k=k)  # type: ignore[type-var]


@dataclass(frozen=True)
class TopK(CountedSpec):
    """The k largest features of each row are its latents, all others are zero: ``z = TopK(features)``.

    **Exactly k**: no rectifier comes first, so that a row with fewer than k positive features still has k latents that
    are not zero, the last of them negative. (With k a small share of the latents, the k largest are positive anyhow;
    a rectifier would also leave a latent that is negative for every row without a gradient to come back by.) Of
    features that are equal to the last bit, as many are kept as make k. Only a feature that is 0 itself can be kept
    and be zero. With positions, k latents are kept at each.

    Reports `l0`, `preactivations` and `dead` (see `SparseCode`).

    Args:
        latent_dim: width of the latent; "auto" is four times the row's values, at most 4096.
        k: latents kept for each row; "auto" is a sixteenth of the latents, from 1 to 32.
        dead_after: rows without an activation after which a latent counts as dead (see the term `Auxiliary`); "auto"
            is the number of training rows, at most ten million.

    Raises:
        RecipeError: for a value out of range, and for a k above the number of latents.

    Example:
        >>> output = TopK(latent_dim=4, k=2).resolve((1,), 8).build()(torch.tensor([[0.5, -3.0, 2.0, 0.1]]))
        >>> output.z.tolist(), output.quantities["l0"].tolist()
        ([[0.5, 0.0, 2.0, 0.0]], [[2.0]])

    Papers: Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093; Makhzani
    and Frey, k-Sparse Autoencoders, 2013, https://arxiv.org/abs/1312.5663.
    """

    kind: ClassVar[str] = "top_k"
    latent_dim: CountOrAuto = "auto"
    k: CountOrAuto = "auto"
    dead_after: CountOrAuto = "auto"

    def build(self, row: tuple[int, ...] = ()) -> TopKCode:
        return TopKCode(int(self.latent_dim), int(self.k), int(self.dead_after))


class TopKCode(SparseCode):
    """The code that `TopK` describes."""

    def __init__(self, latent_dim: int, k: int, dead_after: int) -> None:
        super().__init__(latent_dim, dead_after)
        self.k = k

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        values, latents = features.topk(self.k, 1, sorted=False)
        z = torch.zeros_like(features).scatter_(1, latents, values)
        l0 = (values != 0).flatten(1).sum(1, keepdim=True).to(z.dtype)
        output = self.output(z, features, self.any_active(latents, values), l0, draw)
        output.kept = (latents, values) if self.training and features.ndim == 2 and output.z is z else None
        return output


@dataclass(frozen=True)
class BatchTopK(CountedSpec):
    """The rows * k largest features of a batch are its latents: rows share them by what they need.

    Outside training ``z = features * [features >= threshold]``, with the threshold an exponential moving average
    (0.99) of the smallest feature that a training batch kept. So a row's code, reconstruction and score never depend
    on the rows beside it, and have k latents on average. In training they do depend: this code takes
    `independent_rows` away from its network, which the term `Contraction` needs.

    Reports `l0`, `preactivations` and `dead` (see `SparseCode`). With positions, rows * positions * k are kept.

    Args:
        latent_dim: width of the latent; "auto" is four times the row's values, at most 4096.
        k: latents kept for each row on average; "auto" is a sixteenth of the latents, from 1 to 32.
        dead_after: rows without an activation after which a latent counts as dead (see the term `Auxiliary`); "auto"
            is the number of training rows, at most ten million.

    Raises:
        RecipeError: for a value out of range, and for a k above the number of latents.

    Example:
        >>> code = BatchTopK(latent_dim=2, k=1).resolve((1,), 8).build()
        >>> code(torch.tensor([[3.0, 2.0], [1.0, 0.5]])).z.tolist()
        [[3.0, 2.0], [0.0, 0.0]]

    Paper: Bussmann et al., BatchTopK Sparse Autoencoders, 2024, https://arxiv.org/abs/2412.06410.
    """

    kind: ClassVar[str] = "batch_top_k"
    breaks: ClassVar[Set[str]] = frozenset({"independent_rows"})  # type: ignore[misc]
    latent_dim: CountOrAuto = "auto"
    k: CountOrAuto = "auto"
    dead_after: CountOrAuto = "auto"

    def build(self, row: tuple[int, ...] = ()) -> BatchTopKCode:
        return BatchTopKCode(int(self.latent_dim), int(self.k), int(self.dead_after))


class BatchTopKCode(SparseCode):
    """The code that `BatchTopK` describes."""

    threshold: Tensor

    def __init__(self, latent_dim: int, k: int, dead_after: int) -> None:
        super().__init__(latent_dim, dead_after)
        self.k = k
        self.register_buffer("threshold", torch.zeros(()))

    def initialise(self, x: Tensor, features: Tensor) -> None:
        self.threshold.copy_(self._largest(features)[0].min())

    def _largest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values kept in a batch and their places in the flattened features."""
        kept = self.k * (features.numel() // self.latent_dim)
        values, places = features.flatten().topk(kept, sorted=False)
        return values, places

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        if self.training:
            values, places = self._largest(features)
            z = torch.zeros_like(features).flatten().scatter(0, places, values).view_as(features)
            if self.in_training and draw is not None:
                self.threshold.lerp_(values.detach().min().to(self.threshold.dtype), 1.0 - _THRESHOLD_MEMORY)
        else:
            z = features.masked_fill(features < self.threshold, 0.0)
        nonzero = z.detach() != 0
        active = nonzero.transpose(0, 1).flatten(1).any(1)
        return self.output(z, features, active, nonzero.flatten(1).sum(1, keepdim=True).to(z.dtype), draw)
