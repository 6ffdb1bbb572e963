"""Print a digest of weights, codes and scores of presets and of a detector, trained with one seed on random rows.

Run it with two versions of the package to see whether a change moved a number:

    python -m tools.same_numbers > before.json      (at the older commit)
    python -m tools.same_numbers | diff before.json -
"""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import Any

import numpy as np

PRESETS = [
    "autoencoder",
    "vae",
    "beta_vae",
    "denoising",
    "contractive",
    "sparse",
    "top_k",
    "vq_vae",
    "wae",
    "iwae",
    "deep",
    "conv_vae",
    "conv_autoencoder",
    "aae",
    "info_vae",
    "fsq",
    "miwae",
    "imputer",
]


def digest(*arrays: Any) -> str:
    """Return sixteen hexadecimal digits that differ where a bit of the arrays does."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return found.hexdigest()[:16]


def main() -> None:
    """Train and print."""
    from isthmus import AnomalyDetector, Autoencoder, presets

    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 8))
    table[:, 3] = table[:, 0] + table[:, 1]
    unit = (table - table.min(0)) / (table.max(0) - table.min(0))
    images = rng.random((120, 1, 8, 8))
    found = {}
    for name in PRESETS:
        rows = images if name.startswith("conv") else unit
        model = Autoencoder(presets.get(name).replace({"training.epochs": 3, "training.seed": 0})).fit(rows)
        weights = [value.detach().numpy() for _, value in sorted(model.composition_.state_dict().items())]
        found[name] = digest(*weights, model.transform(rows), model.score_samples(rows))
    detector = AnomalyDetector("denoising", alpha=0.05, random_state=0).fit(table)
    found["AnomalyDetector"] = digest(detector.calibration_, detector.score_samples(table + 0.1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
