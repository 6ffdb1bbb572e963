"""What every side of a comparison shares: the images, the network, the clock and the writing of tables."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

DEFAULT_DATA = Path("../shared/data")

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]


def one_thread() -> None:
    """Hold this process to one thread and no accelerator; call it before anything is computed."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    torch.set_num_threads(1)


def load_images(folder: Path, name: str) -> tuple[Images, Images]:
    """Return the train and test images, (n, 28, 28) uint8, of `name`.npz in `folder`.

    Raises:
        SystemExit: there is no such file; the message says which option names the folder.
    """
    path = folder / f"{name}.npz"
    if not path.is_file():
        sys.exit(
            f"expected the images in {path}, got no such file; try --data FOLDER with the folder that holds"
            f" {name}.npz (x_train (60000, 28, 28) and x_test (10000, 28, 28), both uint8)"
        )
    with np.load(path, allow_pickle=False) as archive:
        return archive["x_train"], archive["x_test"]


def scaled(images: Images) -> Rows:
    """Return the images as rows of grey levels in [0, 1]."""
    return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)


def layers(widths: Sequence[int], last: nn.Module | None = None) -> nn.Sequential:
    """Return linear layers of these widths with a ReLU between each two, and `last` behind the last one."""
    modules: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        modules += [nn.Linear(wide, narrow), nn.ReLU()]
    modules[-1:] = [] if last is None else [last]
    return nn.Sequential(*modules)


def autoencoder(widths: Sequence[int], last: nn.Module | None = None) -> nn.Sequential:
    """Return encoder and decoder, mirror images of each other; the code has no activation."""
    return nn.Sequential(layers(widths), layers(widths[::-1], last))


def squared_error(reconstruct: Callable[[Rows], Rows], x: Rows) -> float:
    """Return the mean squared error over all pixels of all rows, summed in double precision."""
    total = 0.0
    for block in np.array_split(x, max(1, len(x) // 1000)):
        total += float(np.square(reconstruct(block) - block, dtype=np.float64).sum())
    return total / x.size


def by_module(module: Callable[[Tensor], Tensor]) -> Callable[[Rows], Rows]:
    """Turn a torch function into one on arrays, without gradients."""

    def reconstruct(x: Rows) -> Rows:
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    return reconstruct


class Clock:
    """Wall and process time since its creation, in seconds, less the pauses."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._process = time.process_time()

    @property
    def wall(self) -> float:
        """Return the seconds that went by."""
        return time.perf_counter() - self._wall

    @property
    def process(self) -> float:
        """Return the seconds of processor time this process used, over all its threads."""
        return time.process_time() - self._process

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens inside."""
        wall, process = self.wall, self.process
        try:
            yield
        finally:
            self._wall = time.perf_counter() - wall
            self._process = time.process_time() - process


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write the median with the range behind it, `1.05 (1.01-1.12)`; a single value stands alone."""
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up in plain text as well."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    written = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines]
    written.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(written)


def where() -> str:
    """Return a phrase that names what the figures depend on: processor, Python, torch."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].strip() if names else model
    return f"One thread of {model}, Python {platform.python_version()}, torch {torch.__version__}"


def write_between(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers of `name` in the Markdown file `path`; append both if there are none."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Benchmarks\n"
    if start not in page:
        page += f"\n{start}\n{end}\n"
    before, rest = page.split(start, 1)
    if end not in rest:
        raise ValueError(f"{path} has {start!r} without {end!r} behind it; put the second one back")
    after = rest.split(end, 1)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
    scratch.replace(path)
