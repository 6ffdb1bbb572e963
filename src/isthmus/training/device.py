"""Device, precision, threads, generators: the one file that knows about the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from isthmus.errors import RecipeError, explain
from isthmus.recipe import Training


def available_cpus() -> int:
    """Return the number of CPUs that this process may use: its affinity, limited by a container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, quota) if quota else cpus)


def _cgroup_quota() -> int | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else -(-int(limit) // int(period))
    except (OSError, ValueError):
        return None


def choose_device(name: str) -> torch.device:
    """Return the device for `Training.device`; raise `RecipeError` for one that is not available."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        # Apple's GPU lacks float64 and some kernels, so it is taken only when asked for.
        return torch.device("cpu")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name.split(":")[0]]:
        found = ", ".join(kind for kind, there in present.items() if there)
        raise RecipeError("training.device: " + explain(f"a device that is here ({found})", repr(name), "auto"))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError("training.device: " + explain("a device such as cuda:0", repr(name), "auto")) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RecipeError(
            "training.device: " + explain(f"one of {torch.cuda.device_count()} GPUs", repr(name), "cuda:0")
        )
    return device


# Products of weights and rows in one pass below which a second thread costs more than it brings, and a busy machine
# makes every step wait for it.
_WORK_FOR_THREADS = 10_000_000


@contextlib.contextmanager
def threads(setting: int | str, module: torch.nn.Module, rows: int) -> Iterator[None]:
    """Set torch's CPU threads inside the block and restore the number afterwards.

    "auto" is the number of CPUs of the process, and one thread for a small network.

    Args:
        setting: `Training.threads`.
        module: the network.
        rows: number of rows in one pass.
    """
    before = torch.get_num_threads()
    if setting == "auto":
        work = rows * sum(parameter.numel() for parameter in module.parameters())
        wanted = min(before, available_cpus()) if work >= _WORK_FOR_THREADS else 1
    else:
        wanted = min(int(setting), available_cpus())
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside the block and restore their states afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def generator_state(device: torch.device) -> torch.Tensor:
    """Return the state of the generator that training draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(state: torch.Tensor, device: torch.device) -> None:
    """Continue drawing where `generator_state` was."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def autocast(settings: Training, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context of mixed precision, or an empty one."""
    if settings.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
