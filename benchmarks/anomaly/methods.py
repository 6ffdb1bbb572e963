"""The methods that are compared on tables, each behind the same function, and the process that one runs in."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from benchmarks.common import one_thread
from benchmarks.peers import peak_mib

Doubles = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Fitted:
    """A fitted method: the anomaly score of rows, its alarms and calibration rows, if it has any."""

    anomaly_scores: Callable[[Any], Doubles]
    alarms: Callable[[Any], Any] | None = None
    calibration: int = 0


Fit = Callable[[Any, int], Fitted]
"""Fits on training rows, with a seed."""


@dataclass(frozen=True)
class Method:
    """A method: its name in a table, what it needs, how it is fitted, and whether it scales columns by itself."""

    label: str
    modules: tuple[str, ...]
    fit: Fit
    scales: bool = False


def isthmus(x: Any, seed: int, **settings: Any) -> Fitted:
    """`AnomalyDetector` at its defaults."""
    from isthmus import AnomalyDetector

    detector = AnomalyDetector(random_state=seed, **settings).fit(x)
    return Fitted(
        lambda rows: -np.asarray(detector.score_samples(rows)),
        lambda rows: detector.predict(rows) == -1,
        len(detector.calibration_),
    )


def nearest(x: Any, seed: int) -> Fitted:
    """The distance to the fifth nearest training row."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=5).fit(x)
    return Fitted(lambda rows: model.kneighbors(rows)[0][:, -1])


def forest(x: Any, seed: int) -> Fitted:
    """Isolation Forest at scikit-learn's defaults."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(random_state=seed).fit(x)
    return Fitted(lambda rows: -model.score_samples(rows))


def principal(x: Any, seed: int) -> Fitted:
    """The squared error of a reconstruction from the components that hold 90 % of the variance."""
    from sklearn.decomposition import PCA

    model = PCA(0.9, svd_solver="full").fit(x)
    return Fitted(lambda rows: np.square(rows - model.inverse_transform(model.transform(rows))).sum(1))


def one_class(x: Any, seed: int) -> Fitted:
    """One-Class SVM at scikit-learn's defaults: a Gaussian kernel, gamma "scale", nu 0.5."""
    from sklearn.svm import OneClassSVM

    model = OneClassSVM().fit(x)
    return Fitted(lambda rows: -model.score_samples(rows))


def pyod_autoencoder(x: Any, seed: int) -> Fitted:
    """PyOD's AutoEncoder at its defaults, silent."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(random_state=seed, verbose=0, device="cpu")
    model.fit(x)
    return Fitted(model.decision_function)


def pyod_vae(x: Any, seed: int) -> Fitted:
    """PyOD's VAE at its defaults, silent."""
    from pyod.models.vae import VAE

    model = VAE(random_state=seed, verbose=0, device="cpu")
    model.fit(x)
    return Fitted(model.decision_function)


def pyod_svdd(x: Any, seed: int) -> Fitted:
    """PyOD's DeepSVDD at its defaults, silent."""
    from pyod.models.deep_svdd import DeepSVDD

    model = DeepSVDD(n_features=x.shape[1], random_state=seed, verbose=0)
    model.fit(x)
    return Fitted(model.decision_function)


METHODS: dict[str, Method] = {
    "isthmus": Method("isthmus", ("isthmus",), isthmus, scales=True),
    "knn": Method("kNN, k=5", ("sklearn.neighbors",), nearest),
    "iforest": Method("Isolation Forest", ("sklearn.ensemble",), forest),
    "pca": Method("PCA", ("sklearn.decomposition",), principal),
    "ocsvm": Method("One-Class SVM", ("sklearn.svm",), one_class),
    "pyod-ae": Method("PyOD AutoEncoder", ("pyod.models.auto_encoder",), pyod_autoencoder),
    "pyod-vae": Method("PyOD VAE", ("pyod.models.vae",), pyod_vae),
    "pyod-deepsvdd": Method("PyOD DeepSVDD", ("pyod.models.deep_svdd",), pyod_svdd),
}
PLAIN = ("knn", "iforest", "pca", "ocsvm")
"""Those that need neither isthmus nor PyOD."""


def ready(names: Sequence[str]) -> None:
    """Hold the process to one thread and import what the methods need, so that their clocks do not count it.

    Raises:
        SystemExit: something is not installed; the message says what to do.
    """
    one_thread()
    # What PyOD and its dependencies tell and draw belongs in no table.
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    for name in names:
        for module in METHODS[name].modules:
            try:
                __import__(module)
            except ImportError as error:
                raise SystemExit(
                    f"expected {module} for the method {name}, got {error}; try make benchmark-anomaly, which"
                    f" installs it, or --methods without {name}"
                ) from None
    # The first step of an optimiser imports half of torch.
    weight = torch.nn.Parameter(torch.ones(1))
    weight.square().sum().backward()
    torch.optim.Adam([weight]).step()


@dataclass(frozen=True)
class Measured:
    """What one method did on one table.

    Attributes:
        fit_s: seconds of the processor for `fit`; as one thread is used, those of a clock on an idle machine.
        score_s: likewise for scoring the test rows.
        peak_mib: what fitting and scoring added to the process at its highest.
        anomaly score: of the test rows.
        alarms: of the test rows, if the method has a threshold.
        calibration: rows that its threshold rests on.
    """

    fit_s: float
    score_s: float
    peak_mib: float
    anomaly_scores: Doubles
    alarms: Any
    calibration: int


def measure(name: str, train: Any, test: Any, seed: int) -> Measured:
    """Fit and score in a process of its own.

    Raises:
        RuntimeError: the method failed; the message is the last line of what it said.
    """
    return Measured(*in_process(_run, name, train, test, seed))


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that is forked from this one, silently; its peak of memory is its own.

    Raises:
        RuntimeError: it failed; the message is the last line of what it said.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        found, failed = here.recv()
    except EOFError:
        found, failed = None, f"its process ended early, with code {process.exitcode}"
    process.join()
    if failed:
        raise RuntimeError(failed)
    return found


def _child(answer: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answer.send((function(*arguments), ""))
        except Exception:
            answer.send((None, traceback.format_exc().strip().splitlines()[-1][:300]))


def _run(name: str, train: Any, test: Any, seed: int) -> tuple[Any, ...]:
    np.random.seed(seed)  # noqa: NPY002 - PyOD and scikit-learn's kernels may draw from it
    peak = peak_mib()
    start = time.process_time()
    fitted = METHODS[name].fit(train, seed)
    between = time.process_time()
    anomaly_scores = np.asarray(fitted.anomaly_scores(test), np.float64)
    end = time.process_time()
    used = peak_mib() - peak
    alarms = None if fitted.alarms is None else np.asarray(fitted.alarms(test), bool)
    return between - start, end - between, used, anomaly_scores, alarms, fitted.calibration
