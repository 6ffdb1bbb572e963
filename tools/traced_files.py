"""Print how many files of the package run a function in `fit`, `AnomalyDetector.fit` and `transform` of a small frame.

    python -m tools.traced_files            (the counts)
    python -m tools.traced_files --names    (the files and their calls, too)

What a reader has to open to follow a call; bodies of modules, which run once at import, do not count.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import isthmus

PACKAGE = Path(isthmus.__file__).parent


def files_of(call: Callable[[], Any]) -> Counter[str]:
    """Return how many functions of each file of the package `call` enters."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{PACKAGE}/") and frame.f_code.co_name != "<module>":
            found[str(Path(path).relative_to(PACKAGE))] += 1

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def counts() -> dict[str, Counter[str]]:
    """Return the files of each call, after all were run once so that nothing is imported any more."""
    import numpy as np
    import pandas as pd

    from isthmus import AnomalyDetector, Autoencoder

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 5)), columns=list("abcde"))
    recipe = isthmus.presets.autoencoder(latent_dim=2, hidden_dims=(8,), epochs=2)
    model = Autoencoder(recipe).fit(frame)
    calls: dict[str, Callable[[], Any]] = {
        "Autoencoder.fit(frame)": lambda: Autoencoder(recipe).fit(frame),
        "AnomalyDetector.fit(frame)": lambda: AnomalyDetector(recipe).fit(frame),
        "Autoencoder.transform(frame)": lambda: model.transform(frame),
    }
    for call in calls.values():
        call()
    return {name: files_of(call) for name, call in calls.items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", action="store_true", help="print the files and how often each is entered")
    names = parser.parse_args().names
    for name, files in counts().items():
        print(f"{len(files):3d} {name}")
        for path, entered in sorted(files.items()) if names else ():
            print(f"      {path} {entered}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
