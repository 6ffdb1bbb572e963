"""All comparisons of detectors, one after the other, each in a process of its own.

Usage, from the project's root (`make benchmark-anomaly` does it in an environment of its own):

    python -m benchmarks.anomaly [--data FOLDER] [--parts tables nslkdd images series] [--write FILE]

Each part is a program too, with options of its own: `python -m benchmarks.anomaly.tables --help`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.common import DEFAULT_DATA

PARTS = ("tables", "nslkdd", "images", "series")


def main() -> None:
    """Run the parts; what fails does not keep the others from running, and is said at the end."""
    parser = argparse.ArgumentParser(description="Compare detectors of anomalies on tables, images and series.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the data")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--cache", type=Path, help="of the tables: JSON lines, so that a run can be continued")
    parser.add_argument("--write", type=Path, help="Markdown file that gets the figures")
    asked = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    failed = []
    for part in asked.parts:
        module = f"benchmarks.anomaly.{part}"
        if importlib.util.find_spec(module) is None:
            failed.append(f"{part} (there is no {module})")
            continue
        command = [sys.executable, "-m", module, f"--data={asked.data}"]
        if asked.write:
            command.append(f"--write={asked.write}")
        if asked.cache and part == "tables":
            command.append(f"--cache={asked.cache}")
        print(f"\n$ {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"expected figures of {', '.join(asked.parts)}, got none of {', '.join(failed)}; see above for why")


if __name__ == "__main__":
    main()
