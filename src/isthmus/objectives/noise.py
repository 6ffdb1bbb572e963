"""Noise of terms that compare the latents with draws, or estimate by random directions."""

from __future__ import annotations

import torch
from torch import Tensor

_SEED = 20160

# Validation losses of two epochs compare only if their noise is the same; validation runs without gradients.


def _generator(like: Tensor) -> torch.Generator | None:
    if torch.is_grad_enabled():
        return None
    return torch.Generator(like.device).manual_seed(_SEED)


def standard_normal(like: Tensor) -> Tensor:
    """Return standard normal noise of a tensor's shape; without gradients the same at every call."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=_generator(like))


def signs(count: int, like: Tensor) -> Tensor:
    """Return `(count, *like.shape)` of +1 and -1 with equal odds; without gradients the same at every call."""
    shape = (count, *like.shape)
    return torch.randint(0, 2, shape, device=like.device, generator=_generator(like)).to(like.dtype) * 2.0 - 1.0
