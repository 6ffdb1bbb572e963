"""Quantised codes: a learned codebook (vector quantisation) and fixed levels (finite scalar quantisation).

Both give the gradient straight through: what the loss says of the quantised latent is passed on to the features.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.codes.base import Code, CodeOutput, CodeSpec, Draw, auto_width
from isthmus.errors import explain
from isthmus.settings import AtLeast, CountOrAuto, ListOf, Range, Share

# Keeps an entry that is never used finite: its count is smoothed by this share of an even one.
_SMOOTHING = 1e-5
# More features would not choose the first entries visibly better.
_CANDIDATES = 8192
# Products with fewer columns are added up in another order in some rows, by some kernels (see `networks.dense`).
_COLUMNS_OF_ONE_ORDER = 16


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """Return exactly `value`, with the gradient of `like`."""
    return value.detach().to(like.dtype) + (like - like.detach())


def _repeated(z: Tensor, draw: Draw | None) -> Tensor:
    return z.expand(draw.samples, *z.shape) if draw is not None and draw.samples > 1 else z


# ---- vector quantisation -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VectorQuantised(CodeSpec):
    """The nearest entry of a learned codebook: ``z = e_i`` with ``i = argmin_k |h - e_k|**2`` for features h.

    The latent is cut into `groups` sub-vectors, each with a codebook of its own (product quantisation), so that it
    holds ``groups * log2(entries)`` bits. With feature maps each position is quantised so, by the same codebooks.

    Entries are no parameters: each is the running average of the features that were nearest to it,
    ``share_k <- decay share_k + (1 - decay) n_k / n``, ``sum_k <- decay sum_k + (1 - decay) (1 / n) sum_{i in k} h_i``,
    ``e_k = sum_k / share_k``, with shares smoothed as in the paper. They start as features of training rows that are
    far apart (k-means++). Reports `commitment`, ``(h - e)**2`` for each latent with its gradient to h only, which the
    term `commitment` charges. The prior draws entries independently, by how often each was used in training.

    Args:
        latent_dim: width of the latent, or "auto" (see `Deterministic`; made even).
        entries: vectors in each codebook.
        groups: sub-vectors that are quantised apart; must divide latent_dim. "auto" takes as many as leave each two
            values or more, which suits a single vector; feature maps, where every position is a symbol, take 1.
        decay: share of the running averages that a step keeps.
        restart: an entry that is used less than this share of an even use becomes a feature of the batch; 0 to let
            unused entries lie.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> code = VectorQuantised(latent_dim=4, entries=8, groups=2).build()
        >>> output = code(torch.randn(5, 4))
        >>> output.z.shape, output.indices.shape
        (torch.Size([5, 4]), torch.Size([5, 2]))

    Papers: van den Oord et al., Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
    (appendix A.1 for the averages); Dhariwal et al., Jukebox, 2020, https://arxiv.org/abs/2005.00341 (restarts); Jegou
    et al., Product Quantization for Nearest Neighbor Search, TPAMI 2011.
    """

    kind: ClassVar[str] = "vector_quantised"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false, or use a deterministic code"
    latent_dim: CountOrAuto = "auto"
    entries: Annotated[int, AtLeast(2)] = 512
    groups: CountOrAuto = 1
    decay: Annotated[float, Range(0, 0.99999)] = 0.99
    restart: Share = 0.1

    @property
    def provides(self) -> Set[str]:
        return frozenset({"commitment", "indices"})

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        # An odd width could not be cut in pairs; a row of a single value has no other.
        width = max(1, auto_width(row) // 2 * 2) if self.latent_dim == "auto" else self.latent_dim
        smallest = next((size for size in range(2, width) if width % size == 0), width)
        return replace(self, latent_dim=width, groups=width // smallest if self.groups == "auto" else self.groups)

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if self.latent_dim != "auto" and self.groups != "auto" and self.latent_dim % self.groups:
            wanted = f"a divisor of code.latent_dim ({self.latent_dim})"
            return "code.groups: " + explain(wanted, str(self.groups), '1, or "auto"')
        return None

    def features(self) -> int:
        return int(self.latent_dim)

    def build(self, row: tuple[int, ...] = ()) -> VectorQuantisedCode:
        return VectorQuantisedCode(self)


class VectorQuantisedCode(Code):
    """The code that `VectorQuantised` describes.

    Attributes:
        codebook: `(groups, entries, values)`.
        shares: running share of the features that each entry takes, `(groups, entries)`; even where it was restarted.
        sums: running sum of those features, `(groups, entries, values)`.
        usage: `shares` as it would be without restarts: how often entries were used.
    """

    codebook: Tensor
    shares: Tensor
    sums: Tensor
    usage: Tensor

    def __init__(self, spec: VectorQuantised) -> None:
        super().__init__()
        self.latent_dim = int(spec.latent_dim)
        self.groups, self.entries = int(spec.groups), spec.entries
        self.decay, self.restart = spec.decay, spec.restart
        codebook = self.features_std * torch.randn(self.groups, self.entries, self.latent_dim // self.groups)
        even = torch.full((self.groups, self.entries), 1.0 / self.entries)
        for name in ("codebook", "shares", "sums", "usage"):
            self.register_buffer(name, even.clone())
        self._set(codebook)

    def _set(self, codebook: Tensor) -> None:
        even = 1.0 / self.entries
        self.codebook = codebook.clone()
        self.shares, self.usage = (torch.full_like(values, even) for values in (self.shares, self.usage))
        self.sums = self.codebook * even

    @property
    def perplexity(self) -> Tensor:
        """How many entries are in use, ``exp(entropy of usage)``, for each group."""
        shares = self.usage / self.usage.sum(1, keepdim=True)
        used: Tensor = torch.special.entr(shares).sum(1).exp()
        return used

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        h = features.to(self.codebook.dtype)
        vectors = self._vectors(h)
        learning = self.training and torch.is_grad_enabled()
        # Mixed precision would take near entries for the nearest, and round the running averages.
        with torch.no_grad(), torch.autocast(h.device.type, enabled=False):
            chosen = self.nearest(vectors)
            entries = self._rows(_take(self.codebook, chosen), h.shape)
            # Terms encode again in the same step, without a draw; a batch is to count once.
            if learning and draw is not None:
                self._learn(vectors, chosen, draw.generator)
        mean = straight_through(entries, h)
        quantities = {"commitment": (h - entries).square()}
        indices = chosen.view(self.groups, h.shape[0], *h.shape[2:]).transpose(0, 1)
        entries_of = (self.entries,) * self.groups
        return CodeOutput(_repeated(mean, draw), mean, quantities, indices, entries=entries_of)

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the index of the nearest entry, `(groups, n)`, for vectors `(groups, n, values)`."""
        entries = F.pad(self.codebook, (0, 0, 0, max(0, _COLUMNS_OF_ONE_ORDER - self.entries)))
        products = torch.bmm(vectors, entries.transpose(1, 2))[:, :, : self.entries]
        chosen: Tensor = (products - 0.5 * self.codebook.square().sum(-1)[:, None]).argmax(-1)
        return chosen

    def _vectors(self, h: Tensor) -> Tensor:
        """Return `(rows, latent, *positions)` as `(groups, rows * positions, values)`."""
        cut = h.reshape(h.shape[0], self.groups, -1, math.prod(h.shape[2:]))
        return cut.permute(1, 0, 3, 2).flatten(1, 2)

    def _rows(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """Return what `_vectors` was given."""
        each = vectors.view(self.groups, shape[0], -1, vectors.shape[2])
        return each.permute(1, 0, 3, 2).reshape(shape)

    def _learn(self, vectors: Tensor, chosen: Tensor, generator: torch.Generator | None) -> None:
        """Move the running averages by a batch, and restart the entries that are not used."""
        count, even = vectors.shape[1], 1.0 / self.entries
        # A product with zeros and ones, since adding by index has no fixed order on a GPU.
        belongs = torch.zeros(self.groups, count, self.entries, dtype=vectors.dtype, device=vectors.device)
        belongs.scatter_(2, chosen[:, :, None], 1.0)
        used = belongs.mean(1)
        self.usage.lerp_(used, 1.0 - self.decay)
        self.shares.lerp_(used, 1.0 - self.decay)
        self.sums.lerp_(torch.bmm(belongs.transpose(1, 2), vectors) / count, 1.0 - self.decay)
        total = self.shares.sum(1, keepdim=True)
        smoothed = (self.shares + _SMOOTHING * even) / (total + _SMOOTHING) * total
        self.codebook.copy_(self.sums / smoothed[:, :, None])
        if not self.restart:
            return
        picks = torch.randint(count, (self.entries,), generator=generator, device=vectors.device)
        dead = self.shares < self.restart * even
        self.shares.masked_fill_(dead, even)
        self.codebook.copy_(torch.where(dead[:, :, None], vectors[:, picks], self.codebook))
        self.sums.copy_(torch.where(dead[:, :, None], self.codebook * even, self.sums))

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        rows, positions = shape[0], shape[2:]
        count = rows * math.prod(positions)
        device = torch.device("cpu") if generator is None else generator.device
        chosen = torch.multinomial(self.usage.to(device), count, replacement=True, generator=generator)
        entries = _take(self.codebook, chosen.to(self.codebook.device))
        return self._rows(entries, torch.Size((rows, self.latent_dim, *positions)))

    def initialise(self, x: Tensor, features: Tensor) -> None:
        vectors = self._vectors(features.detach().to(self.codebook))
        count = vectors.shape[1]
        if count > _CANDIDATES:
            vectors = vectors[:, torch.randperm(count)[:_CANDIDATES].to(vectors.device)]
        self._set(_spread(vectors, self.entries))


def _take(codebook: Tensor, indices: Tensor) -> Tensor:
    """Return the entries `(groups, n, values)` of indices `(groups, n)`."""
    return codebook.gather(1, indices[:, :, None].expand(-1, -1, codebook.shape[2]))


def _spread(vectors: Tensor, count: int) -> Tensor:
    """Return `count` of the vectors `(groups, n, values)`, each drawn by its squared distance from those before it.

    Arthur and Vassilvitskii, k-means++, SODA 2007.
    """
    distances = torch.full(vectors.shape[:2], torch.inf, device=vectors.device)
    weights, chosen = torch.ones_like(distances), []
    for _ in range(count):
        pick = torch.multinomial(weights, 1)
        chosen.append(_take(vectors, pick))
        distances = torch.minimum(distances, (vectors - chosen[-1]).square().sum(-1))
        # Where every vector is an entry already, any of them is as good.
        weights = distances + (distances.amax(1, keepdim=True) <= 0)
    return torch.cat(chosen, 1)


# ---- finite scalar quantisation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FSQ(CodeSpec):
    """Each latent rounded to a few fixed levels: a codebook that needs neither learning nor a term.

    With L levels, ``i = round((L - 1) (1 + tanh h) / 2)`` and ``z = 2 i / (L - 1) - 1``, levels that lie evenly in
    [-1, 1]; the gradient is that of ``tanh h``. The prior is uniform over the levels. `indices` holds the level of
    every latent, which never overflows as one number for them all would.

    Args:
        latent_dim: width of the latent, or "auto" (see `Deterministic`).
        levels: numbers of levels, of the first latents in order, and again from the start for the latents beyond.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> FSQ(latent_dim=3, levels=(3,)).build()(torch.tensor([[-5.0, 0.1, 5.0]])).z.tolist()
        [[-1.0, 0.0, 1.0]]

    Paper: Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023, https://arxiv.org/abs/2309.15505 (for
    an even number of levels the paper moves the grid so that zero is a level; here it stays symmetric).
    """

    kind: ClassVar[str] = "fsq"
    needs: ClassVar[Set[str]] = frozenset({"bottleneck"})  # type: ignore[misc]
    advice: ClassVar[str] = "set network.skips=false, or use a deterministic code"
    latent_dim: CountOrAuto = "auto"
    levels: Annotated[tuple[int, ...], ListOf(AtLeast(2), "numbers of levels", "(8, 5, 5, 5)")] = (8, 5, 5, 5)

    @property
    def provides(self) -> Set[str]:
        return frozenset({"indices", "opening"})

    def features(self) -> int:
        return int(self.latent_dim)

    def build(self, row: tuple[int, ...] = ()) -> FSQCode:
        width = int(self.latent_dim)
        return FSQCode(width, [self.levels[j % len(self.levels)] for j in range(width)])


class FSQCode(Code):
    """The code that `FSQ` describes."""

    features_std = 1.0  # so that the levels at both ends are in use from the start
    steps: Tensor

    def __init__(self, latent_dim: int, levels: list[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.levels = levels
        self.register_buffer("steps", torch.tensor(levels, dtype=torch.float32) - 1.0)

    def forward(self, features: Tensor, draw: Draw | None = None, pseudo: Tensor | None = None) -> CodeOutput:
        steps = self.steps.view(-1, *[1] * (features.ndim - 2))
        bounded = torch.tanh(features)
        level = torch.round(0.5 * steps * (1.0 + bounded.detach()))
        mean = straight_through(2.0 * level / steps - 1.0, bounded)
        return CodeOutput(_repeated(mean, draw), mean, {}, level.long(), entries=tuple(self.levels))

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, pseudo: Tensor | None = None
    ) -> Tensor | None:
        rows, positions = shape[0], shape[2:]
        device = torch.device("cpu") if generator is None else generator.device
        uniform = torch.rand(rows, self.latent_dim, *positions, generator=generator, device=device)
        steps = self.steps.to(device).view(-1, *[1] * len(positions))
        level = torch.minimum(torch.floor(uniform * (steps + 1.0)), steps)
        return (2.0 * level / steps - 1.0).to(self.steps.device)
