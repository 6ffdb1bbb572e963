"""Settings and fixtures that all tests share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest
import torch

from isthmus.cli import app

torch.set_num_threads(1)
# It waits for the disk, against a loss of power, which no test has; thousands of tests save something.
os.fsync = lambda file: None
# The same examples at every run: a suite that fails now and then is read by nobody.
hypothesis.settings.register_profile(
    "isthmus",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("isthmus")


def global_state() -> tuple[object, ...]:
    """Return the states of every global random generator, comparable with ==."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (this is what must not change)
    return (torch.get_rng_state().numpy().tobytes(), name, np.asarray(keys).tobytes(), *rest, random.getstate())


@pytest.fixture
def generators_untouched() -> Callable[[], AbstractContextManager[None]]:
    """Return a context that fails if what runs inside it moves a global random generator."""

    @contextmanager
    def context() -> Iterator[None]:
        before = global_state()
        yield
        assert global_state() == before, "a global random generator was moved"

    return context


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@dataclass
class Result:
    status: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def isthmus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process: starting one for each of these cases would take minutes."""
    monkeypatch.setenv("COLUMNS", "300")  # messages are not broken into lines
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            app.main()
        printed = capsys.readouterr()
        return Result(int(stopped.value.code or 0), printed.out, printed.err)

    return run
