"""The encoder's input in place of x during training: the denoising autoencoder's noise.

A corruption changes `batch.x` in preprocessed units (0 to 1 for images, standard deviations for other columns); what is
to be rebuilt stays `batch.wanted`. Corruptions chain: ``Mask(0.3) >> GaussianNoise(0.1)``.

Paper: Vincent et al., Stacked Denoising Autoencoders, JMLR 2010.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.errors import RecipeError, explain
from isthmus.schema import Batch, Schema
from isthmus.settings import AtLeast, ListOf, OneOf, PairOf, Range, Settings, Share


class Corruption(Settings, ABC):
    """A map from the batch to the batch that the encoder sees."""

    path: ClassVar[str] = "corruption"
    kind: ClassVar[str]
    redraws: ClassVar[bool] = False
    """Whether it also replaces what is to be rebuilt."""

    def misfit(self, row: tuple[int, ...]) -> str | None:
        """Return why rows of a shape cannot be corrupted so, with advice; None if they can."""
        return None

    def resolve(self, schema: Schema) -> Self:
        """Return the corruption with every "auto" answered for data of a schema."""
        return self

    @abstractmethod
    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the corrupted values `(rows, *shape)`; `x` itself is left alone."""

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """Return the batch that the encoder sees; values that were never observed stay zero."""
        x = self.corrupt(batch.x, generator)
        if batch.mask is not None:
            x = x * batch.mask
        return batch.replace(x=x, target=batch.wanted)

    def __rshift__(self, other: Corruption) -> Chain:
        return Chain((*self.steps, *(other.steps if isinstance(other, Corruption) else (other,))))

    @property
    def steps(self) -> tuple[Corruption, ...]:
        """The corruptions that this one applies, in order."""
        return (self,)


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def _drawn(value: float | tuple[float, float], x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the number, or one between both for each row: `(rows, 1)`."""
    if not isinstance(value, tuple):
        return x.new_full((len(x), 1), value)
    low, high = value
    return low + (high - low) * _uniform(x[:, :1].flatten(1)[:, :1], generator)


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """``x + std * noise`` with standard normal noise.

    Args:
        std: standard deviation in preprocessed units, or a pair: then each row draws its own, uniformly between them.

    Example:
        >>> import torch
        >>> GaussianNoise(0.1)(Batch(torch.zeros(4, 3))).x.shape
        torch.Size([4, 3])
    """

    kind: ClassVar[str] = "gaussian_noise"
    std: Annotated[float | tuple[float, float], PairOf(Range(0)), Range(0)] = 0.1

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        if not isinstance(self.std, tuple):
            return x + self.std * noise
        return x + _drawn(self.std, x, generator).view(-1, *[1] * (x.ndim - 1)) * noise


@dataclass(frozen=True)
class Mask(Corruption):
    """Set a share of the values, drawn independently, to zero.

    Args:
        rate: probability that a value is masked.

    Example:
        >>> import torch
        >>> Mask(1.0)(Batch(torch.ones(2, 2))).x.sum().item()
        0.0
    """

    kind: ClassVar[str] = "mask"
    rate: Share = 0.3

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x * (_uniform(x, generator) >= self.rate)


@dataclass(frozen=True)
class Binarise(Corruption):
    """Bits drawn with the values in [0, 1] as their probabilities, afresh at every use.

    Unlike other corruptions it also replaces what is to be rebuilt: encoder and likelihood get the same bits. Grey
    levels outside [0, 1] count as the nearest of both.

    Example:
        >>> import torch
        >>> seen = Binarise()(Batch(torch.full((2, 3), 0.5)))
        >>> bool(((seen.x == 0) | (seen.x == 1)).all()), bool((seen.x == seen.wanted).all())
        (True, True)

    Paper: Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, ICML 2008, whose MNIST
    protocol it is.
    """

    kind: ClassVar[str] = "binarise"
    redraws: ClassVar[bool] = True

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return (_uniform(x, generator) < x).to(x.dtype)

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        seen = super().__call__(batch, generator)
        return seen.replace(target=seen.x)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """Set a share of the values to the lowest (pepper) or the highest (salt), with equal odds.

    Args:
        rate: probability that a value is replaced.
        low: the value of pepper, in preprocessed units; None takes the lowest of the batch.
        high: the value of salt; None takes the highest of the batch.

    Example:
        >>> import torch
        >>> sorted(SaltAndPepper(1.0)(Batch(torch.linspace(0, 1, 64).view(1, 64))).x.unique().tolist())
        [0.0, 1.0]
    """

    kind: ClassVar[str] = "salt_and_pepper"
    rate: Share = 0.1
    low: Annotated[float | None, Range()] = None
    high: Annotated[float | None, Range()] = None

    def check_together(self) -> None:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise RecipeError(
                "corruption.low: " + explain(f"less than corruption.high ({self.high})", f"{self.low}", "0.0 and 1.0")
            )

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        low = x.min() if self.low is None else x.new_tensor(self.low)
        high = x.max() if self.high is None else x.new_tensor(self.high)
        chance = _uniform(x, generator)
        return torch.where(chance < self.rate / 2, low, torch.where(chance < self.rate, high, x))


def _hide(batch: Batch, hidden: Tensor, count: str) -> Batch:
    """Return the batch with more values missing; with "hidden" only these count in the loss."""
    observed = torch.ones_like(hidden) if batch.mask is None else batch.mask
    mask = observed & ~hidden
    scored = batch.scored
    if count == "hidden":
        scored = observed & hidden if scored is None else scored | (observed & hidden)
    return batch.replace(x=torch.where(mask, batch.x, 0.0), mask=mask, target=batch.wanted, scored=scored)


@dataclass(frozen=True)
class HidePatches(Corruption):
    """Hide whole patches of an image, or spans of a series: the mask informs the encoder that it does not see them.

    Of the n patches of a row of which anything was observed, ``round(rate * n)`` are hidden, at least one and at most
    all but one. A row with a single one keeps it.

    Args:
        rate: share of the patches that is hidden.
        patch: side of a patch, or steps of a span; that of the network, where it reads patches too.
        count: what counts in the loss: "hidden" counts what was hidden only, "all" everything that was observed.
        form: what rows of two axes are: "image" `(height, width)` or "series" `(steps, channels)`.

    Example:
        >>> import torch
        >>> seen = HidePatches(0.75, patch=2)(Batch(torch.ones(1, 4, 4)))
        >>> int(seen.x.sum()), int(seen.mask.sum()), int(seen.scored.sum())
        (4, 4, 12)

    Paper: He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, https://arxiv.org/abs/2111.06377.
    """

    kind: ClassVar[str] = "hide_patches"
    rate: Share = 0.75
    patch: Annotated[int, AtLeast(1)] = 4
    count: Annotated[str, OneOf("hidden", "all")] = "hidden"
    form: Annotated[str, OneOf("image", "series")] = "image"

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if len(row) > (2 if self.form == "series" else 3):
            expected = "rows of shape (steps,), (height, width) or (channels, height, width)"
            what = "the corruption 'hide_patches': "
            return what + explain(expected, f"rows of shape {row}", "corruption.form=image, or the corruption mask")
        height, width = self._sizes(row)
        if height <= self.patch and width <= self.patch:
            return (
                f"corruption.patch={self.patch} makes a single patch of a row of shape {row}, and one must stay "
                f"visible; try corruption.patch={max(1, max(height, width) // 2)}"
            )
        return None

    def _sizes(self, row: tuple[int, ...]) -> tuple[int, int]:
        """Return what is cut: height and width, or the steps and 1."""
        if len(row) == 1 or self.form == "series":
            return row[0], 1
        return row[-2], row[-1]

    def _over_row(self, row: tuple[int, ...], x: Tensor) -> Tensor:
        """Return `(rows, height, width)` in a shape that rows of shape `row` broadcast with."""
        if len(row) == 2 and self.form == "series":
            return x
        return x.squeeze(2) if len(row) == 1 else x.unsqueeze(1) if len(row) == 3 else x

    def hidden(self, x: Tensor, mask: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return what is hidden, booleans that broadcast to `(rows, *shape)`."""
        rows, row = len(x), tuple(x.shape[1:])
        height, width = self._sizes(row)
        sides = (min(self.patch, height), min(self.patch, width))
        observed = torch.ones(rows, height, width, device=x.device)
        if mask is not None:
            # Channels lie before an image's axes and after a series' steps.
            observed = mask.float().reshape(rows, -1, height, width).amax(1)
            if len(row) == 2 and self.form == "series":
                observed = mask.float().amax(2, keepdim=True)
        there = F.max_pool2d(observed.unsqueeze(1), sides, ceil_mode=True).squeeze(1) > 0
        count = there.flatten(1).sum(1, keepdim=True)
        wanted = (self.rate * count).round().clamp(min=1)
        wanted = torch.minimum(wanted, count - 1)  # after the other limit: one stays visible in any case
        chance = torch.rand(there.shape, device=x.device, generator=generator).masked_fill(~there, 2.0).flatten(1)
        chosen = (chance.argsort(1).argsort(1) < wanted).view(there.shape)
        spread = chosen.repeat_interleave(sides[0], 1).repeat_interleave(sides[1], 2)
        return self._over_row(row, spread[:, :height, :width])

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x.masked_fill(self.hidden(x, None, generator), 0.0)

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        return _hide(batch, self.hidden(batch.x, batch.mask, generator).expand(batch.x.shape), self.count)


@dataclass(frozen=True)
class HideValues(Corruption):
    """Hide single values, drawn independently, as if they were missing: the mask informs the encoder which.

    Args:
        rate: probability that a value is hidden, or a pair: then each row draws its own, uniformly between them.
        count: what counts in the loss: "all" that was observed, or "hidden" for what was hidden only.
        spans: widths of the neighbouring numbers that are hidden together; () for each by itself. "auto" keeps together
            what stands for one category of a table.

    Example:
        >>> import torch
        >>> seen = HideValues(1.0)(Batch(torch.ones(1, 4)))
        >>> int(seen.x.sum()), int(seen.mask.sum()), seen.scored is None
        (0, 0, True)

    Paper: Gondara and Wang, MIDA: Multiple Imputation using Denoising Autoencoders, PAKDD 2018,
    https://arxiv.org/abs/1705.02737.
    """

    kind: ClassVar[str] = "hide_values"
    rate: Annotated[float | tuple[float, float], PairOf(Range(0, 1)), Range(0, 1)] = (0.0, 0.5)
    count: Annotated[str, OneOf("all", "hidden")] = "all"
    spans: Annotated[
        tuple[int, ...] | Literal["auto"], ListOf(AtLeast(1), 'widths or "auto"', "(1, 1, 3)", least=0)
    ] = "auto"

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if self.spans in ("auto", ()) or row == (sum(self.spans),):  # type: ignore[arg-type]
            return None
        return "corruption.spans: " + explain(f"widths that fill rows of shape {row}", repr(self.spans), '"auto"')

    def resolve(self, schema: Schema) -> Self:
        if self.spans != "auto":
            return self
        numbers, bits, choices = schema.groups
        return replace(self, spans=(*[1] * (numbers + bits), *choices) if choices else ())

    def hidden(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return what is hidden, booleans `(rows, *shape)`."""
        rate = _drawn(self.rate, x, generator)
        if self.spans in ("auto", ()):
            return _uniform(x, generator) < rate.view(-1, *[1] * (x.ndim - 1))
        widths = torch.tensor(self.spans, device=x.device)
        return (_uniform(x[:, : len(widths)], generator) < rate).repeat_interleave(widths, 1)

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return x.masked_fill(self.hidden(x, generator), 0.0)

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        return _hide(batch, self.hidden(batch.x, generator), self.count)


@dataclass(frozen=True)
class Chain(Corruption):
    """Several corruptions, one after the other.

    Args:
        parts: the corruptions, in the order in which they are applied; one at least.

    Raises:
        RecipeError: for anything else than corruptions.

    Example:
        >>> (Mask(0.3) >> GaussianNoise(0.1)).parts
        (Mask(rate=0.3), GaussianNoise(std=0.1))
    """

    kind: ClassVar[str] = "chain"
    parts: tuple[Corruption, ...] = ()

    def check_together(self) -> None:
        parts = tuple(self.parts) if isinstance(self.parts, list | tuple) else (self.parts,)
        if not parts or not all(isinstance(part, Corruption) for part in parts):
            raise RecipeError(
                "corruption.parts: " + explain("one or more corruptions", repr(self.parts), "(Mask(0.3),)")
            )
        if any(step.redraws for part in parts[1:] for step in part.steps):
            expected = "binarise before all others, since it draws what is to be rebuilt"
            raise RecipeError("corruption.parts: " + explain(expected, repr(parts), "Binarise() >> Mask(0.3)"))
        object.__setattr__(self, "parts", parts)

    def resolve(self, schema: Schema) -> Self:
        return replace(self, parts=tuple(part.resolve(schema) for part in self.parts))

    @property
    def steps(self) -> tuple[Corruption, ...]:
        return tuple(step for part in self.parts for step in part.steps)

    def misfit(self, row: tuple[int, ...]) -> str | None:
        return next((why for part in self.parts if (why := part.misfit(row)) is not None), None)

    def corrupt(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return self(Batch(x), generator).x

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        for part in self.parts:
            batch = part(batch, generator)
        return batch


CORRUPTIONS: dict[str, type[Corruption]] = {
    "gaussian_noise": GaussianNoise,
    "mask": Mask,
    "salt_and_pepper": SaltAndPepper,
    "binarise": Binarise,
    "hide_patches": HidePatches,
    "hide_values": HideValues,
    "chain": Chain,
}
