"""A normalising flow over latents: affine coupling layers that turn a learned density into a standard normal one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.codes.base import Density
from isthmus.codes.densities import StandardNormal

# A layer scales by at most exp(2): four layers span more than any useful density, and none can blow up.
_LARGEST_LOG_SCALE = 2.0
# Small, so that the flow starts near the identity and the prior near the standard normal one.
_OUTPUT_STD = 0.01
# Products with fewer columns are added up in another order in some rows, by some kernels (see `networks.dense`).
_COLUMNS_OF_ONE_ORDER = 16


class Coupling(nn.Module):
    """One layer: the moved half becomes ``moved * exp(s(kept)) + t(kept)``, the kept half stays.

    Args:
        width: of the latent, two at least.
        hidden: width of the hidden layer that gives s and t.
        first: whether the first half is the one that moves.
    """

    def __init__(self, width: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.moved = width // 2 if first else width - width // 2
        self.hidden = nn.Linear(width - self.moved, hidden)
        self.output = nn.Linear(hidden, 2 * self.moved)
        nn.init.normal_(self.output.weight, std=_OUTPUT_STD)
        nn.init.normal_(self.output.bias, std=_OUTPUT_STD)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the layer's output and the log of its Jacobian's determinant, for `(..., width)`."""
        kept, moved = self._halves(z)
        log_scale, shift = self._scale_and_shift(kept)
        return self._join(kept, moved * log_scale.exp() + shift), log_scale.sum(-1)

    def inverse(self, u: Tensor) -> Tensor:
        """Return what `forward` maps to `u`."""
        kept, moved = self._halves(u)
        log_scale, shift = self._scale_and_shift(kept)
        return self._join(kept, (moved - shift) * torch.exp(-log_scale))

    def _halves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept = z.shape[-1] - self.moved
        if self.first:
            moved, rest = z.split([self.moved, kept], -1)
            return rest, moved
        rest, moved = z.split([kept, self.moved], -1)
        return rest, moved

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.first else [kept, moved], -1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(_linear(kept, self.hidden, self.training))
        raw, shift = _linear(hidden, self.output, self.training).chunk(2, -1)
        return _LARGEST_LOG_SCALE * torch.tanh(raw / _LARGEST_LOG_SCALE), shift


def _linear(x: Tensor, layer: nn.Linear, training: bool) -> Tensor:
    missing = _COLUMNS_OF_ONE_ORDER - layer.out_features
    if training or missing <= 0:
        moved: Tensor = layer(x)
        return moved
    padded = F.linear(x, F.pad(layer.weight, (0, 0, 0, missing)), F.pad(layer.bias, (0, missing)))
    return padded[..., :-missing]


class CouplingFlow(nn.Module):
    """Coupling layers, one after the other, that move the two halves of a vector in turn.

    Example:
        >>> flow = CouplingFlow(3, layers=4, hidden=8)
        >>> z = torch.randn(5, 3)
        >>> torch.allclose(flow.inverse(flow(z)[0]), z, atol=1e-5)
        True

    Paper: Dinh et al., Density Estimation Using Real NVP, ICLR 2017, https://arxiv.org/abs/1605.08803.
    """

    def __init__(self, width: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(width, hidden, first=bool(depth % 2)) for depth in range(layers))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return noise `(..., width)` and the log-determinant `(...)` for latents."""
        total = z.new_zeros(z.shape[:-1])
        for layer in self.layers:
            z, log_determinant = layer(z)
            total = total + log_determinant
        return z, total

    def inverse(self, noise: Tensor) -> Tensor:
        """Return the latents that `forward` turns into the noise."""
        for layer in reversed(self.layers):
            noise = layer.inverse(noise)  # type: ignore[operator]
        return noise


@dataclass(frozen=True, slots=True)
class FlowDensity(Density):
    """``log p(z) = log N(f(z); 0, I) + log |det df/dz|`` for vectors `(..., latent)`.

    Attributes:
        flow: f.
        fixed: whether the flow's parameters are held, so that no gradient reaches them.
    """

    flow: CouplingFlow
    fixed: bool = False

    def log_density(self, z: Tensor) -> Tensor:
        if self.fixed:
            held = {name: p.detach() for name, p in self.flow.named_parameters()}
            noise, log_determinant = torch.func.functional_call(self.flow, held, (z,))
        else:
            noise, log_determinant = self.flow(z)
        total: Tensor = StandardNormal(1).log_density(noise) + log_determinant
        return total

    def detached(self) -> Density:
        return FlowDensity(self.flow, fixed=True)
