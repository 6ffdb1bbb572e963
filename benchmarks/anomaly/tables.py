"""The ADBench tables: isthmus' detector with one setting and eight methods, normal rows only for training.

Usage, from the project's root (`make benchmark-anomaly` does it in an environment of its own):

    python -m benchmarks.anomaly.tables [--data FOLDER] [--seeds 5] [--only wdbc,cardio] [--methods isthmus knn]
        [--cache runs.jsonl] [--write docs/benchmarks-anomaly.md]

Equal rows are dropped first. Half of the normal rows train; the other half and all anomalies are tested. The rows are
drawn by the seed, the same for all methods. All but isthmus are given columns that are standardised by the training
rows. With --cache, runs that are in the file are not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.anomaly.methods import METHODS, measure, ready
from benchmarks.common import DEFAULT_DATA, markdown_table, where, write_between
from isthmus.metrics.detection import beta_binomial_interval, binomial_interval

ALPHA = 0.01


@dataclass(frozen=True)
class Run:
    """One method on one table with one seed; `failed` says why there are no figures."""

    method: str
    table: str
    seed: int
    auroc: float = float("nan")
    fit_s: float = 0.0
    score_s: float = 0.0
    peak_mib: float = 0.0
    normal: int = 0
    false_alarms: int | None = None
    calibration: int = 0
    failed: str = ""


def names(folder: Path) -> dict[str, Path]:
    """Return the tables of a folder by name, `18_Ionosphere.npz` as "ionosphere"; the smallest files first.

    Raises:
        SystemExit: there is none.
    """
    found = sorted((folder / "adbench").glob("*.npz"), key=lambda path: path.stat().st_size)
    if not found:
        sys.exit(
            f"expected the ADBench tables in {folder / 'adbench'}, got no .npz there; try --data FOLDER with the"
            " folder that holds adbench/18_Ionosphere.npz and others (X (rows, columns), y with 1 for an anomaly)"
        )
    return {path.stem.split("_", 1)[-1].lower(): path for path in found}


def load(path: Path) -> tuple[Any, Any]:
    """Return different rows and whether each is an anomaly; a row that is there as both is left out."""
    with np.load(path, allow_pickle=False) as archive:
        rows, labels = archive["X"].astype(np.float64), archive["y"].astype(bool).ravel()
    different, place = np.unique(rows, axis=0, return_inverse=True)
    anomalies = np.bincount(place.ravel(), weights=labels)
    counts = np.bincount(place.ravel())
    clear = (anomalies == 0) | (anomalies == counts)
    return different[clear], anomalies[clear] > 0


def split(rows: Any, anomaly: Any, seed: int) -> tuple[Any, Any, Any]:
    """Return training rows (half of the normal ones), test rows (all others), and which of these are anomalies."""
    normal = np.flatnonzero(~anomaly)
    order = np.random.default_rng(seed).permutation(normal)
    half = len(order) // 2
    tested = np.concatenate([order[half:], np.flatnonzero(anomaly)])
    return rows[order[:half]], rows[tested], anomaly[tested]


def standardised(train: Any, test: Any) -> tuple[Any, Any]:
    """Return both with the training rows' mean 0 and deviation 1; constant columns are only centred."""
    centre, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1.0
    return (train - centre) / spread, (test - centre) / spread


def run(method: str, table: str, path: Path, seed: int) -> Run:
    """Fit and score one method on one table."""
    train, test, anomaly = split(*load(path), seed)
    if not METHODS[method].scales:
        train, test = standardised(train, test)
    try:
        found = measure(method, train, test, seed)
        auroc = float(roc_auc_score(anomaly, found.anomaly_scores))
    except (RuntimeError, ValueError) as error:
        return Run(method, table, seed, failed=str(error))
    alarms = None if found.alarms is None else int(found.alarms[~anomaly].sum())
    normal = int((~anomaly).sum())
    times = (round(found.fit_s, 3), round(found.score_s, 3), round(found.peak_mib, 1))
    return Run(method, table, seed, auroc, *times, normal, alarms, found.calibration)


class Cache:
    """Runs by method, table and seed, kept in a file of JSON lines where one is named."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.runs: dict[tuple[str, str, int], Run] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(Run(**json.loads(line)))

    def _keep(self, found: Run) -> None:
        self.runs[found.method, found.table, found.seed] = found

    def add(self, found: Run) -> None:
        """Keep a run."""
        self._keep(found)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found)) + "\n")


# ---- tables ----------------------------------------------------------------------------------------------------------


def label(method: str) -> str:
    """Return a method's name, with the version of its package."""
    package = method.split("-")[0]
    package = package if package in ("isthmus", "pyod") else "scikit-learn"
    try:
        return f"{METHODS[method].label} {version(package)}" if package != "scikit-learn" else METHODS[method].label
    except PackageNotFoundError:
        return METHODS[method].label


def detection_table(runs: Sequence[Run], tables: Sequence[str], methods: Sequence[str]) -> str:
    """Return the AUROC x 100 of each method on each table, mean and deviation over the seeds."""
    rows = []
    for table in tables:
        cells = [_auroc([r for r in runs if r.table == table and r.method == method]) for method in methods]
        rows.append([table, *cells])
    rows.append(["**mean**", *(_mean_auroc(runs, tables, method) for method in methods)])
    return markdown_table(["", *(label(method) for method in methods)], rows)


def _auroc(runs: Sequence[Run]) -> str:
    values = [100 * r.auroc for r in runs if not r.failed]
    if not values:
        return f"failed: {runs[0].failed}" if runs else "not run"
    text = f"{mean(values):.1f} ± {pstdev(values):.1f}"
    missing = len(runs) - len(values)
    return f"{text} ({missing} of {len(runs)} seeds failed)" if missing else text


def _mean_auroc(runs: Sequence[Run], tables: Sequence[str], method: str) -> str:
    """Return the mean over tables, and its deviation over the seeds that have all tables."""
    seeds: dict[int, list[float]] = {}
    for r in runs:
        if r.method == method and r.table in tables and not r.failed:
            seeds.setdefault(r.seed, []).append(100 * r.auroc)
    whole = [mean(values) for values in seeds.values() if len(values) == len(tables)]
    if not whole:
        return "-"
    return f"**{mean(whole):.1f}** ± {pstdev(whole):.1f} ({len(whole)} seeds)"


def cost_table(runs: Sequence[Run], tables: Sequence[str], methods: Sequence[str]) -> str:
    """Return seconds for all tables, mean over seeds, and the most memory."""
    rows = []
    for method in methods:
        of = {table: [r for r in runs if r.method == method and r.table == table and not r.failed] for table in tables}
        found = [group for group in of.values() if group]
        if not found:
            continue
        fit = sum(mean(r.fit_s for r in group) for group in found)
        score = sum(mean(r.score_s for r in group) for group in found)
        peak = max(r.peak_mib for group in found for r in group)
        rows.append([label(method), str(len(found)), f"{fit:.1f}", f"{score:.1f}", f"{fit + score:.1f}", f"{peak:.0f}"])
    header = ["", "tables", "fit, s", "score, s", "in all, s", "peak memory, MiB"]
    return markdown_table(header, rows)


def promise_table(runs: Sequence[Run], tables: Sequence[str]) -> str:
    """Return how many new normal rows became alarms at alpha, and which counts chance allows."""
    rows = []
    for table in tables:
        of = [r for r in runs if r.table == table and r.false_alarms is not None and r.calibration]
        if not of:
            continue
        normal, calibration = of[0].normal, of[0].calibration
        counts = [r.false_alarms for r in of if r.false_alarms is not None]
        exact, drawn = binomial_interval(normal, ALPHA), beta_binomial_interval(normal, ALPHA, calibration)
        inside = sum(exact[0] <= count <= exact[1] for count in counts)
        expected = sum(drawn[0] <= count <= drawn[1] for count in counts)
        rows.append(
            [
                table,
                str(calibration),
                str(normal),
                " ".join(map(str, counts)),
                f"{100 * mean(counts) / normal:.2f}",
                f"{exact[0]} to {exact[1]}: {inside} of {len(counts)}",
                f"{drawn[0]} to {drawn[1]}: {expected} of {len(counts)}",
            ]
        )
    header = ["", "calibration rows", "fresh normal rows", "alarms by seed", "rate, %"]
    return markdown_table([*header, "binomial 99 %: inside", "beta-binomial 99 %: inside"], rows)


def report(runs: Sequence[Run], tables: Sequence[str], methods: Sequence[str], command: str) -> str:
    """Return all tables with what one has to know to read them."""
    parts = [
        "## Tables\n",
        "ADBench, AUROC x 100, mean ± deviation over the seeds. Equal rows dropped; half of the normal rows train, the"
        f"\nrest and all anomalies are tested. {where()}.\n",
        detection_table(runs, tables, methods),
        "\nSeconds of the processor for all tables, mean over the seeds, and the most memory that fitting and"
        "\nscoring added on any:\n",
        cost_table(runs, tables, methods),
    ]
    if any(r.calibration for r in runs):
        parts += [
            f"\nFalse alarms of isthmus at alpha = {ALPHA}. The binomial interval is that of a rate of exactly"
            f" {ALPHA};\nthe beta-binomial one adds that the threshold rests on so many calibration rows. For fewer"
            "\nthan 99 of them there is no threshold, and no alarm.\n",
            promise_table(runs, tables),
        ]
    return "\n".join([*parts, f"\n`{command}`"])


# ---- command line ----------------------------------------------------------------------------------------------------


def measured(tables: dict[str, Path], methods: Sequence[str], seeds: int, cache: Cache) -> Iterator[Run]:
    """Yield all runs, seed by seed, those of the cache as they are."""
    for seed in range(seeds):
        for table, path in tables.items():
            for method in methods:
                found = cache.runs.get((method, table, seed))
                if found is None:
                    found = run(method, table, path, seed)
                    cache.add(found)
                    told = found.failed or f"{100 * found.auroc:.1f} in {found.fit_s + found.score_s:.1f} s"
                    print(f"{table:12} seed {seed} {method:14} {told}", flush=True)
                yield found


def only(asked: str | None, tables: dict[str, Path]) -> dict[str, Path]:
    """Return the tables that are asked for.

    Raises:
        SystemExit: for one that there is not.
    """
    if not asked:
        return tables
    wanted = [name.strip().lower() for name in asked.split(",")]
    unknown = [name for name in wanted if name not in tables]
    if unknown:
        sys.exit(f"expected tables of {', '.join(tables)}, got {', '.join(unknown)}; try --only {next(iter(tables))}")
    return {name: tables[name] for name in wanted}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run everything, print and write the tables."""
    parser = argparse.ArgumentParser(description="Detect anomalies in tables by isthmus and its peers.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder that holds adbench/")
    parser.add_argument("--seeds", type=int, default=5, help="so many seeds, from 0")
    parser.add_argument("--only", help="names of tables, with commas between")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--cache", type=Path, help="JSON lines: runs that are there are not run again")
    parser.add_argument("--write", type=Path, help="Markdown file that gets the tables")
    asked = parser.parse_args(arguments)
    tables = only(asked.only, names(asked.data))
    ready(asked.methods)
    runs = list(measured(tables, asked.methods, asked.seeds, Cache(asked.cache)))
    text = report(runs, list(tables), asked.methods, _command(asked))
    print(f"\n{text}")
    if asked.write:
        write_between(asked.write, "tables", text)


def _command(asked: argparse.Namespace) -> str:
    words = ["python -m benchmarks.anomaly.tables", f"--seeds {asked.seeds}"]
    if asked.only:
        words.append(f"--only {asked.only}")
    if asked.methods != list(METHODS):
        words.append(f"--methods {' '.join(asked.methods)}")
    return " ".join(words)


if __name__ == "__main__":
    main()
