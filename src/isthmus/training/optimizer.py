"""Optimiser, learning rate and clipping, for parameters in one buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from isthmus.recipe import Training

# Bytes of a cache line and of the widest vector register: every parameter begins on one.
_ALIGNMENT = 64
# Share of the steps in which the "linear" schedule falls to zero.
_DECAY_SHARE = 0.4
# How fast the running average of the gradient norm follows.
_NORM_RATE = 0.05


class FlatParameters:
    """Parameters as views of one buffer, and their gradients as views of another.

    The time of a step of a small network depends on the number of kernels, not on arithmetic: with one buffer the norm,
    the clipping and Adam are one kernel each, however many parameters there are.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        # Matrices first, so that weight decay has one contiguous piece.
        self.parameters = sorted(parameters, key=lambda p: p.ndim < 2)
        offsets, total, self.matrices = [], 0, 0
        for parameter in self.parameters:
            offsets.append(total)
            pad = _ALIGNMENT // parameter.element_size()
            total += -(-parameter.numel() // pad) * pad
            if parameter.ndim >= 2:
                self.matrices = total
        first = self.parameters[0]
        self.values = torch.zeros(total, dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros_like(self.values)
        with torch.no_grad():
            for parameter, offset in zip(self.parameters, offsets, strict=True):
                view = slice(offset, offset + parameter.numel())
                self.values[view].copy_(parameter.flatten())
                parameter.data = self.values[view].view_as(parameter)
                parameter.grad = self.gradients[view].view_as(parameter)

    def release(self) -> None:
        """Give the parameters their own memory again and drop the gradients, so that pickles are small."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None


class Optimizer:
    """Adam with decoupled weight decay for one owner of parameters.

    A step whose gradient norm exceeds `clip` times the running average is scaled down to that. Unlike a fixed limit, it
    does not depend on the number of columns.

    Paper: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, https://arxiv.org/abs/1711.05101.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Training, steps: int) -> None:
        self.flat = FlatParameters(parameters)
        self.settings = settings
        self.steps = max(1, steps)
        self.rate_scale = 1.0
        self.norm_average = 0.0
        self.moments = {name: torch.zeros_like(self.flat.values) for name in ("first", "second")}
        self.count = torch.zeros((), device=self.flat.values.device)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warmup = min(self.settings.warmup_steps, self.steps // 4)
        share = min(1.0, (step + 1) / max(1, warmup))
        if step >= warmup:
            left = (self.steps - step) / self.steps
            if self.settings.schedule == "linear":
                share = min(1.0, left / _DECAY_SHARE)
            elif self.settings.schedule == "cosine":
                share = 0.5 * (1.0 - math.cos(math.pi * left * self.steps / max(1, self.steps - warmup)))
        return self.settings.learning_rate * self.rate_scale * share

    def zero_grad(self) -> None:
        """Clear the gradients in place; autograd adds into the buffer."""
        self.flat.gradients.zero_()

    def step(self, step: int) -> Tensor:
        """Clip, step and return the gradient norm before clipping (on the device)."""
        norm: Tensor = torch.linalg.vector_norm(self.flat.gradients)
        if self.settings.clip is not None:
            self._clip(norm, self.settings.clip)
        rate = self.rate(step)
        with torch.no_grad():
            if self.settings.weight_decay:
                self.flat.values[: self.flat.matrices].mul_(1.0 - rate * self.settings.weight_decay)
            # The functional form of torch.optim.AdamW: its class imports torch's compiler, which takes more than a
            # second, and costs more in each step than all of a small network's arithmetic in Adam.
            adamw(
                [self.flat.values],
                [self.flat.gradients],
                [self.moments["first"]],
                [self.moments["second"]],
                [],
                [self.count],
                fused=True,
                amsgrad=False,
                beta1=self.settings.betas[0],
                beta2=self.settings.betas[1],
                lr=rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        return norm

    def _clip(self, norm: Tensor, times: float) -> None:
        # On a CPU the number is at hand; on a GPU reading it would wait for the device, so its limit is the last
        # average that was read (`settle`).
        if norm.device.type == "cpu":
            value = norm.item()
            if not math.isfinite(value):
                return
            limit = times * self.norm_average if self.norm_average else value
            if value > limit:
                self.flat.gradients.mul_(limit / value)
            self.norm_average += _NORM_RATE * (min(value, limit) - self.norm_average) if self.norm_average else value
        elif self.norm_average:
            self.flat.gradients.mul_((times * self.norm_average / norm).clamp(max=1.0))

    def settle(self, norm: float) -> None:
        """Update the running average of the norm, which `step` cannot read on a GPU."""
        if self.flat.values.device.type != "cpu" and math.isfinite(norm):
            self.norm_average = norm

    def state(self) -> dict[str, Tensor]:
        """Return parameters and moments, to be saved."""
        return {"values": self.flat.values, "count": self.count, **self.moments}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue where `state` was."""
        with torch.no_grad():
            for name, value in self.state().items():
                value.copy_(tensors[name])

    def forget(self) -> None:
        """Drop the moments after a NaN."""
        for value in (self.count, *self.moments.values()):
            value.zero_()
