"""Attention networks: transformers over the patches of an image or the spans of a series."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain
from isthmus.networks.base import Network, NetworkSpec, Widths
from isthmus.networks.layers import HIDDEN_STD, OUTPUT_SCALE, Linear
from isthmus.schema import Batch
from isthmus.settings import AtLeast, CountOrAuto, Dropout, OneOf

# Attention compares every token with every other: these many are still cheap beside the layers' products.
_MOST_TOKENS = 25
_LEARNED_STD = 0.02
_WIDTH = 64


@dataclass(frozen=True)
class Attention(NetworkSpec):
    """Transformer encoder and decoder over tokens: patches of an image, spans of a series.

    A token is a linear map of its values plus its position. A block is ``h + attention(norm(h))``, then
    ``h + W2 gelu(W1 norm(h))`` (pre-norm). Rows are `(steps,)`, `(height, width)` and `(channels, height, width)`, and
    `(steps, channels)` with ``form="series"``; sizes that the patch does not divide are padded and cut again.

    **Missing values**: tokens of which nothing was observed are left out of attention; those observed in part have
    zeros there.

    Args:
        patch: side of a patch, or steps of a span; "auto" is the smallest that makes at most 25 tokens.
        form: what rows of two axes are: "image" or "series"; "auto" takes them for images.
        bottleneck: "global": the latent is a vector, which a class token gathers (Dosovitskiy et al. 2021). "sequence":
            each token has a latent, `(rows, latent, tokens)` or `(rows, latent, height, width)` in patches; a token of
            which nothing was observed has learned features (the mask token of He et al. 2022), and so the decoder
            fills it in.
        width: of a token; "auto" is 64.
        heads: of the attention; they divide the width.
        layers: blocks in the encoder, and in the decoder.
        expansion: width of the layer inside a block, as a multiple of `width`.
        positions: "sinusoidal" (Vaswani et al. 2017) or "learned".
        dropout: probability that a value that a block adds is dropped in training.

    Raises:
        RecipeError: for a value out of range.

    Example:
        >>> spec = Attention(patch=4, bottleneck="sequence").resolve((28, 28), rows=1000)
        >>> network = spec.build(Widths(row=(28, 28), features=8, latent=8))
        >>> network.positions, network.encode(Batch(torch.zeros(2, 28, 28))).shape
        ((7, 7), torch.Size([2, 8, 7, 7]))

    Paper: Vaswani et al., Attention Is All You Need, NeurIPS 2017, https://arxiv.org/abs/1706.03762; He et al., Masked
    Autoencoders Are Scalable Vision Learners, CVPR 2022, https://arxiv.org/abs/2111.06377.
    """

    kind: ClassVar[str] = "attention"
    patch: CountOrAuto = "auto"
    form: Annotated[str, OneOf("auto", "image", "series")] = "auto"
    bottleneck: Annotated[str, OneOf("global", "sequence")] = "global"
    width: CountOrAuto = "auto"
    heads: Annotated[int, AtLeast(1)] = 4
    layers: Annotated[int, AtLeast(1)] = 2
    expansion: Annotated[int, AtLeast(1)] = 2
    positions: Annotated[str, OneOf("sinusoidal", "learned")] = "sinusoidal"
    dropout: Dropout = 0.0

    def check_together(self) -> None:
        if self.width != "auto":
            self._check_heads(self.width)

    def _check_heads(self, width: int) -> None:
        if width % self.heads:
            divisor = next(heads for heads in range(min(self.heads, width), 0, -1) if width % heads == 0)
            raise RecipeError(
                "network.heads: " + explain(f"a divisor of network.width={width}", f"{self.heads}", f"{divisor}")
            )

    @property
    def reads_steps(self) -> bool:
        return self.form == "series"

    @property
    def provides(self) -> Set[str]:
        return frozenset({"bottleneck", "independent_rows"})

    def resolve(self, row: tuple[int, ...], rows: int) -> Self:
        form = "series" if len(row) == 1 else "image" if self.form == "auto" else self.form
        sizes = row[:1] if form == "series" else row[-2:]
        patch = self.patch
        if patch == "auto":
            patch = next(p for p in range(1, max(sizes) + 1) if math.prod(-(-n // p) for n in sizes) <= _MOST_TOKENS)
        width = _WIDTH if self.width == "auto" else self.width
        self._check_heads(width)
        return replace(self, form=form, patch=patch, width=width)

    def misfit(self, widths: Widths) -> str | None:
        row = widths.row
        if len(row) > (2 if self.form == "series" else 3):
            expected = "(steps,), (height, width), (channels, height, width), or (steps, channels) with form=series"
            return "the attention network: " + explain(
                f"rows of shape {expected}", f"rows of shape {row} with form={self.form}", "network.form=image"
            )
        sizes = row[:1] if self.form == "series" else row[-2:]
        if self.patch != "auto" and self.patch > max(sizes):
            return f"network.patch={self.patch} is larger than rows of shape {row}; try a smaller one"
        return None

    def build(self, widths: Widths) -> AttentionNetwork:
        if "auto" in (self.form, self.patch, self.width):
            raise RecipeError("the network's settings are still 'auto'; try recipe.resolve(schema, rows) before build")
        return AttentionNetwork(self, widths)


class Tiling:
    """The layout of a row as tokens `(rows, tokens, values)`.

    Attributes:
        grid: tokens along each axis that is cut.
        count: number of tokens.
        values: in a token.
    """

    def __init__(self, row: tuple[int, ...], form: str, patch: int) -> None:
        # As (channels, *sizes), or (*sizes, channels) for a series: channels are never cut.
        self.row, self.patch = row, patch
        self.last = form == "series"
        sizes = row[:1] if self.last else row[-2:]
        self.channels = math.prod(row) // math.prod(sizes)
        self.sizes = sizes
        self.grid = tuple(-(-size // patch) for size in sizes)
        self.sides = tuple(min(patch, size) for size in sizes)
        self.count = math.prod(self.grid)
        self.values = self.channels * math.prod(self.sides)

    def cut(self, x: Tensor) -> Tensor:
        """Return `(rows, ..., *row)` as `(rows, tokens, ... * values)`; what is missing in the last ones is zero."""
        rows, axes = x.shape[0], len(self.sizes)
        if self.last:
            x = x.reshape(rows, -1, *self.sizes, self.channels).movedim(-1, 2)
        x = x.reshape(rows, -1, *self.sizes)
        short = [n * side - size for n, side, size in zip(self.grid, self.sides, self.sizes, strict=True)]
        if any(short):
            x = F.pad(x, [pad for missing in reversed(short) for pad in (0, missing)])
        split = [n for pair in zip(self.grid, self.sides, strict=True) for n in pair]
        x = x.reshape(rows, x.shape[1], *split)
        grid, sides = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
        return x.permute(0, *grid, 1, *sides).reshape(rows, self.count, -1)

    def join(self, tokens: Tensor, parameters: int) -> Tensor:
        """Return `(rows, tokens, parameters * values)` as `(rows, parameters, *row)`."""
        rows, axes = tokens.shape[0], len(self.sizes)
        x = tokens.reshape(rows, *self.grid, parameters * self.channels, *self.sides)
        order = [axis for place in range(axes) for axis in (1 + place, 2 + axes + place)]
        x = x.permute(0, 1 + axes, *order)
        x = x.reshape(rows, parameters * self.channels, *(n * s for n, s in zip(self.grid, self.sides, strict=True)))
        for axis, size in enumerate(self.sizes):
            x = x.narrow(2 + axis, 0, size)
        if self.last:
            x = x.reshape(rows, parameters, self.channels, *self.sizes).movedim(2, -1)
        return x.reshape(rows, parameters, *self.row).contiguous()

    def observed(self, mask: Tensor | None) -> Tensor | None:
        """Return `(rows, tokens)`, True where anything was observed; None if everything was."""
        return None if mask is None else self.cut(mask.to(torch.uint8)).amax(2) > 0


def sinusoids(grid: tuple[int, ...], width: int) -> Tensor:
    """Return positions `(tokens, width)`: sines and cosines of each axis' place, an equal share of the width each."""
    share = -(-width // len(grid))
    rates = 10_000.0 ** (-torch.arange(0, share, 2) / share)
    parts = []
    for axis, size in enumerate(grid):
        angles = torch.arange(size)[:, None] * rates
        waves = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :share]
        shape = [1] * len(grid)
        shape[axis] = size
        parts.append(waves.view(*shape, share).expand(*grid, share))
    return torch.cat(parts, -1).reshape(-1, share * len(grid))[:, :width].contiguous()


class Attend(nn.Module):
    """Attention of several heads among the tokens of a row: ``softmax(q k^T / sqrt(width of a head)) v``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.read = Linear(width, 3 * width)
        self.write = Linear(width, width)

    def forward(self, h: Tensor, seen: Tensor | None, twice: bool) -> Tensor:
        """Return what each token gathers; `seen` `(rows, tokens)` is where to, `twice` asks for second derivatives."""
        rows, tokens, width = h.shape
        q, k, v = self.read(h).view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if seen is None else seen[:, None, None, :].expand(-1, -1, tokens, -1)
        if twice:  # torch's kernel has no second derivative
            scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5
            gathered = torch.softmax(scores if mask is None else scores.masked_fill(~mask, -torch.inf), -1) @ v
        else:
            gathered = F.scaled_dot_product_attention(q, k, v, mask)
        written: Tensor = self.write(gathered.transpose(1, 2).reshape(rows, tokens, width))
        return written


class Block(nn.Module):
    """Attention, then a layer inside each token; both are added to what was there."""

    def __init__(self, spec: Attention) -> None:
        super().__init__()
        width = int(spec.width)
        self.attend_norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = Attend(width, spec.heads)
        self.widen = Linear(width, spec.expansion * width)
        self.narrow = Linear(spec.expansion * width, width)
        self.dropout = spec.dropout
        with torch.no_grad():
            # So that what all blocks add up to has the variance of one.
            for last in (self.attend.write, self.narrow):
                last.weight.mul_((2 * spec.layers) ** -0.5)

    def forward(self, h: Tensor, seen: Tensor | None, twice: bool) -> Tensor:
        h = h + self._drop(self.attend(self.attend_norm(h), seen, twice))
        return h + self._drop(self.narrow(F.gelu(self.widen(self.inner_norm(h)))))

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


class Stack(nn.Module):
    """Blocks, and the norm after the last one."""

    def __init__(self, spec: Attention) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(int(spec.width))

    def forward(self, h: Tensor, seen: Tensor | None, twice: bool = False) -> Tensor:
        for block in self.blocks:
            h = block(h, seen, twice)
        normed: Tensor = self.norm(h)
        return normed


class AttentionNetwork(Network):
    """The network that `Attention` describes."""

    def __init__(self, spec: Attention, widths: Widths) -> None:
        super().__init__()
        self.patches = Tiling(widths.row, spec.form, int(spec.patch))
        width = int(spec.width)
        self.parameters_per_value = widths.parameters
        self.is_global = spec.bottleneck == "global"
        self.positions = () if self.is_global else self.patches.grid
        for name in ("encoder_positions", "decoder_positions"):
            if spec.positions == "learned":
                place = nn.Parameter(_LEARNED_STD * torch.randn(self.patches.count, width))
                self.register_parameter(name, place)
            else:
                self.register_buffer(name, sinusoids(self.patches.grid, width))
        self.embed = Linear(self.patches.values, width)
        if self.is_global:
            self.token = nn.Parameter(_LEARNED_STD * torch.randn(width))
        self.encoder, self.decoder = Stack(spec), Stack(spec)
        self.features = Linear(width, widths.features)
        self.expand = Linear(widths.latent, width * (self.patches.count if self.is_global else 1))
        self.output = Linear(width, widths.parameters * self.patches.values, bias=False)
        self.bias = nn.Parameter(torch.zeros(widths.parameters, *widths.row))
        self.encoder_condition: Linear | None = None
        self.decoder_condition: Linear | None = None
        if widths.condition:
            self.encoder_condition = Linear(widths.condition, width, bias=False)
            self.decoder_condition = Linear(widths.condition, width, bias=False)

    # ---- encoder -----------------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> Tensor:
        return self._arrange(self.features(self._read(batch)))

    def _read(self, batch: Batch) -> Tensor:
        """Return the class token's output `(rows, width)`, or each token's `(rows, tokens, width)`."""
        h = self.embed(self.patches.cut(batch.x)) + self.encoder_positions
        seen, twice = self.patches.observed(batch.mask), batch.x.requires_grad
        if self.is_global:
            h = torch.cat([self.token.expand(len(h), 1, -1), h], 1)
            seen = None if seen is None else F.pad(seen, (1, 0), value=True)
        h = _add(h, self.encoder_condition, batch.condition)
        if self.is_global:
            return self._gather(h, seen, twice)[:, 0]
        if seen is None:
            return self._gather(h, None, twice)
        # A hidden token's features are thus the bias: that is the mask token, as the norm before has a bias of its own.
        return torch.where(seen[..., None], self._gather(h, _some(seen), twice), 0.0)

    def _gather(self, h: Tensor, seen: Tensor | None, twice: bool) -> Tensor:
        """Return the encoder's output for tokens; in training the hidden ones cost nothing and have zeros."""
        if seen is None or not self.training:
            gathered: Tensor = self.encoder(h, seen, twice)
            return gathered
        # Outside training every row keeps all its tokens, so that its result cannot depend on other rows' masks.
        counts = seen.sum(1)
        kept = int(counts.max())
        order = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :kept]
        places = order[..., None].expand(-1, -1, h.shape[2])
        real = None if bool((counts == kept).all()) else torch.arange(kept, device=h.device) < counts[:, None]
        return torch.zeros_like(h).scatter(1, places, self.encoder(h.gather(1, places), real, twice))

    def _arrange(self, features: Tensor) -> Tensor:
        """Return features with their axis in front of the positions."""
        return features if self.is_global else features.transpose(1, 2).unflatten(2, self.positions).contiguous()

    # ---- decoder -----------------------------------------------------------------------------------------------

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        tokens: Tensor = self.output(self._write(z, batch))
        return self.patches.join(tokens, self.parameters_per_value) + self.bias

    def _write(self, z: Tensor, batch: Batch) -> Tensor:
        """Return the decoder's output `(rows, tokens, width)`."""
        tokens = self.expand(z) if self.is_global else self.expand(z.flatten(2).transpose(1, 2))
        h = tokens.view(len(z), self.patches.count, -1) + self.decoder_positions
        seen = _some(self.patches.observed(batch.mask))
        # A term on the decoder's slopes asks for their gradients, and nothing here tells whether one does.
        written: Tensor = self.decoder(_add(h, self.decoder_condition, batch.condition), seen, z.requires_grad)
        return written

    # ---- the start ---------------------------------------------------------------------------------------------

    def calibrate_encoder(self, batch: Batch, std: float) -> Tensor:
        self.embed.calibrate(self.patches.cut(batch.x), HIDDEN_STD)
        read = self._read(batch)
        self.features.calibrate(read, std)
        return self._arrange(self.features(read))

    def calibrate_decoder(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> None:
        self.expand.calibrate(z if self.is_global else z.flatten(2).transpose(1, 2), HIDDEN_STD)
        self.output.calibrate(self._write(z, batch), HIDDEN_STD * OUTPUT_SCALE)

    def set_output_bias(self, bias: Tensor) -> None:
        with torch.no_grad():
            self.bias.copy_(bias)


def _some(seen: Tensor | None) -> Tensor | None:
    """Return the same mask, but all of a row where nothing was observed: attention to nothing is not a number."""
    return None if seen is None else seen | ~seen.any(1, keepdim=True)


def _add(h: Tensor, layer: Linear | None, condition: Tensor | None) -> Tensor:
    """Return tokens with the condition added to each."""
    return h if layer is None or condition is None else h + layer(condition).unsqueeze(1)
