"""Circuit boards: train on tiles of boards without defects, then find the defects of other boards and draw them.

    python examples/circuit_defects.py [--data FOLDER] [--boards 10] [--out defects.png] [--quick]

The data are pairs of a template and a tested board, 640 x 640 pixels of copper or not (DeepPCB: Tang et al., Online PCB
Defect Detector on a New PCB Defect Dataset, 2019, https://arxiv.org/abs/1902.06197). Only templates are used for
training; no tested board is compared with its own template.
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
from isthmus.applications.anomaly.images.tiling import Tiling

PATCHES = Tiling(32, 16)
KINDS = ("", "open", "short", "mouse bite", "spur", "copper", "pin hole")


def main() -> None:
    """Fit on tiles of templates, and print the most anomalous regions of tested boards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--boards", type=int, default=10, help="how many are tested")
    parser.add_argument("--out", type=Path, help="a picture of the board with the highest AUROC")
    parser.add_argument("--quick", action="store_true", help="train on fewer tiles, test two boards")
    options = parser.parse_args()
    path = options.data / "deeppcb_trainval.npz"
    if not path.is_file():
        sys.exit(f"expected the circuit boards in {path}, got no such file; try --data FOLDER")
    with np.load(path, allow_pickle=False) as archive:
        templates = np.unpackbits(archive["template_bits"][::25], axis=2)
        others = np.unpackbits(archive["template_bits"][[205, 405, 605, 805]], axis=2)
        chosen = np.linspace(12, 987, 2 if options.quick else options.boards).astype(int)
        boards, boxes = np.unpackbits(archive["test_bits"][chosen], axis=2), archive["boxes"]

    started = time.perf_counter()
    patches = np.unique(PATCHES.cut(templates), axis=0)
    several = len(patches)
    order = np.random.default_rng(0).permutation(several)[: 2_000 if options.quick else 20_000]
    detector = AnomalyDetector(random_state=0).fit(patches[order])
    seconds = time.perf_counter() - started
    print(f"learned {len(order):,} of {several:,} patches of {len(templates)} templates in {seconds:.0f} s")

    def heat_of(board: np.ndarray) -> np.ndarray:
        return PATCHES.heat_map(board, lambda rows: np.exp(-detector.score_samples(rows)))

    heats, truths = [], []
    for number, board in zip(chosen, boards, strict=True):
        heats.append(heat_of(board))
        truths.append(inside(boxes[boxes[:, 0] == number], board.shape))
    auroc = roc_auc_score(np.ravel(truths), np.ravel(heats))
    print(f"AUROC of a pixel of {len(boards)} tested boards being in a marked box: {auroc:.3f}")

    # Of other templates, one pixel in 200 is hotter.
    threshold = float(np.quantile([heat_of(board) for board in others[: 1 if options.quick else None]], 0.995))
    for number, heat in zip(chosen, heats, strict=True):
        print(f"\nboard {number}: {len(boxes[boxes[:, 0] == number])} defects marked; the most anomalous regions:")
        for region in regions(heat, threshold, least=64)[:5]:
            print(f"* {region.describe()}; {marked(region, boxes[boxes[:, 0] == number])}")
    if options.out:
        each = [roc_auc_score(truth.ravel(), heat.ravel()) for truth, heat in zip(truths, heats, strict=True)]
        best = int(np.argmax(each))
        draw(options.out, boards[best], heats[best], threshold, boxes[boxes[:, 0] == chosen[best]])
        print(f"\nboard {chosen[best]}, its heat map and its marked defects: {options.out}")


def inside(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels lie in a marked box."""
    found = np.zeros(shape, bool)
    for _, left, top, right, bottom, _ in boxes:
        found[top:bottom, left:right] = True
    return found


def marked(region: object, boxes: np.ndarray) -> str:
    """Return which marked defects a region holds or touches."""
    top, left, bottom, right = (getattr(region, name) for name in ("top", "left", "bottom", "right"))
    met = [KINDS[kind] for _, x1, y1, x2, y2, kind in boxes if x1 < right and left < x2 and y1 < bottom and top < y2]
    return f"marked there: {', '.join(met)}" if met else "no marked defect there"


def draw(path: Path, board: np.ndarray, heat: np.ndarray, threshold: float, boxes: np.ndarray) -> None:
    """Write a picture of a board with its marked defects, next to its heat map."""
    figure = Figure(figsize=(9.0, 4.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(board, cmap="gray", vmin=-0.5, vmax=1.5)
    left.set_title("tested board, marked defects", fontsize=10)
    shown = right.imshow(heat / threshold, cmap="inferno", vmin=0.0)
    right.set_title("heat of the patches around a pixel, 1 at the threshold", fontsize=10)
    for axes in (left, right):
        axes.set_axis_off()
        for _, x1, y1, x2, y2, kind in boxes:
            colour = "#d94801" if axes is left else "white"
            axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=1.2)
            if axes is left:
                # Beside the box where there is no room above it.
                near = {"x": x1, "y": y1 - 5} if y1 > 30 else {"x": x2 + 6, "y": y2}
                axes.text(**near, s=KINDS[kind], color=colour, fontsize=8, clip_on=True)
    figure.colorbar(shown, ax=right, shrink=0.85)
    figure.savefig(path, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
