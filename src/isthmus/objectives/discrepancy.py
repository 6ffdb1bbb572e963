"""The distance of the batch's codes from the prior, by kernels."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from isthmus.objectives.base import Forward, Term
from isthmus.objectives.noise import standard_normal
from isthmus.settings import ListOf, Range


@dataclass(frozen=True)
class Discrepancy(Term):
    """The squared maximum mean discrepancy between the batch's codes and as many draws of N(0, I), unbiased.

    ``mean over i != j of k(z_i, z_j) + mean over i != j of k(p_i, p_j) - 2 mean over i, j of k(z_i, p_j)`` with
    ``k(a, b) = sum_s C_s / (C_s + |a - b|**2)``, ``C_s = 2 s d`` for d latents (``2 d`` is the expected squared
    distance of two draws). A quantity of the batch, without a unit: about 0 if the codes are distributed as the prior,
    slightly below as often as above, and at most 2 for each scale. Weights of 10 to 1000 make it weigh as much as a
    squared error that is summed over columns.

    Unlike a rate it leaves each row's own code as sharp as it likes, and needs no variational code: with a
    deterministic one it is the Wasserstein autoencoder, whose `Deterministic(sampled_from="normal")` then samples from
    N(0, I). The draws come from torch's generator in training; without gradients (validation) they are always the same.

    Args:
        scales: the s of the kernels, which are added up; several, since one is blind to differences much smaller or
            larger than itself.

    Example:
        >>> (10.0 * Discrepancy()).term.minimum_batch
        2

    Papers: Tolstikhin et al., Wasserstein Auto-Encoders, 2018, https://arxiv.org/abs/1711.01558; Zhao et al., InfoVAE,
    2019, https://arxiv.org/abs/1706.02262.
    """

    kind: ClassVar[str] = "discrepancy"
    needs: ClassVar[Set[str]] = frozenset()  # type: ignore[misc]
    minimum_batch: ClassVar[int] = 2
    scales: Annotated[tuple[float, ...], ListOf(Range(0, open_low=True), "one or more numbers", "[0.2, 1, 5]")] = (
        0.1,
        0.2,
        0.5,
        1.0,
        2.0,
        5.0,
        10.0,
    )

    def __call__(self, forward: Forward) -> Tensor:
        z = forward.code.z.flatten(-forward.code.mean.ndim + 1)
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        drawn = standard_normal(z)
        if z.shape[-2] < 2:
            return z.sum() * 0.0  # a row alone, as a validation block may end in, has no pairs
        # Distances are small differences of large products, which half precision would not keep.
        with torch.autocast(z.device.type, enabled=False):
            return self._discrepancy(z, drawn).mean()

    def _discrepancy(self, z: Tensor, drawn: Tensor) -> Tensor:
        """Return the unbiased estimate for each sample, `(*samples,)`."""
        rows = z.shape[-2]
        alike = self._kernel(z, z) + self._kernel(drawn, drawn)
        # Each row's kernel with itself is the number of scales, for both.
        own = 2.0 * len(self.scales) * rows
        within = (alike.sum((-2, -1)) - own) / (rows * (rows - 1))
        return within - 2.0 * self._kernel(z, drawn).mean((-2, -1))

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the kernel of all pairs, `(*samples, rows, rows)`."""
        squares = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
        distance = (squares - 2.0 * a @ b.transpose(-1, -2)).clamp_min(0.0)
        unit = 2.0 * a.shape[-1]
        return torch.stack([scale * unit / (scale * unit + distance) for scale in self.scales]).sum(0)
