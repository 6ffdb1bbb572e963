"""Pneumonia: train on chest X-rays of healthy children, find those with pneumonia, and draw heat maps.

    python examples/pneumonia.py [--data FOLDER] [--out xrays.png] [--quick]

The data are PneumoniaMNIST: X-rays of 28 x 28 pixels (Yang et al., MedMNIST v2, 2023; Kermany et al., 2018). They are
for testing methods, not for medical use. The test images were taken differently from the training images, so that the
false-alarm rate does not hold for them; `drift` detects that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector
from isthmus.applications.anomaly.images.heatmap import regions


def main() -> None:
    """Fit on normal images, and print the most anomalous test images and their regions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="a picture of the most anomalous images")
    parser.add_argument("--quick", action="store_true", help="train on half of the images")
    options = parser.parse_args()
    path = options.data / "pneumoniamnist.npz"
    if not path.is_file():
        sys.exit(f"expected the X-rays in {path}, got no such file; try --data FOLDER")
    with np.load(path, allow_pickle=False) as archive:
        healthy = archive["train_images"][archive["train_labels"].ravel() == 0][:: 2 if options.quick else 1]
        test, ill = archive["test_images"], archive["test_labels"].ravel() == 1

    started = time.perf_counter()
    # The structure alone: how bright an image is says nothing of a lung.
    detector = AnomalyDetector(scores="structure", random_state=0).fit(healthy)
    print(f"learned {len(healthy):,} healthy images in {time.perf_counter() - started:.0f} s")
    print(detector.threshold_.describe())

    anomaly_scores = -detector.score_samples(test)
    print(f"AUROC on {len(test)} test images, {ill.sum()} with pneumonia: {roc_auc_score(ill, anomaly_scores):.3f}")
    alarms = anomaly_scores > detector.threshold_.value
    print(f"alarms: {alarms[ill].mean():.1%} with pneumonia, {alarms[~ill].mean():.1%} without")
    print(f"drift: {detector.drift(test[~ill]).sentence}")

    strangest = np.argsort(-anomaly_scores)[:6]
    heat = detector.pixel_scores(test[strangest])
    usual = float(np.quantile(detector.pixel_scores(healthy), 0.99))
    print("\nthe most anomalous images and their regions (above the threshold of 1 % of the pixels of healthy images):")
    for place, row in enumerate(strangest):
        found = regions(heat[place], usual)
        told = found[0].describe() if found else "no region of its own"
        print(f"* image {row} ({'pneumonia' if ill[row] else 'healthy'}): {told}")
    if options.out:
        draw(options.out, test[strangest], heat, ill[strangest])
        print(f"\nthese images and their heat maps: {options.out}")


def draw(path: Path, images: np.ndarray, heat: np.ndarray, ill: np.ndarray) -> None:
    """Write images above their heat maps."""
    figure = Figure(figsize=(9.0, 3.1), layout="constrained")
    grid = figure.subplots(2, len(images))
    for place, (above, below) in enumerate(grid.T):
        above.imshow(images[place], cmap="gray")
        above.set_title("pneumonia" if ill[place] else "healthy", fontsize=9)
        shown = below.imshow(heat[place], cmap="inferno", vmin=0.0, vmax=float(heat.max()))
        for axes in (above, below):
            axes.set_axis_off()
    figure.colorbar(shown, ax=grid[1, :].tolist(), label="1 - SSIM", shrink=0.9)
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
