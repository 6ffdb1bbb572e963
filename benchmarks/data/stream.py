"""A table larger than memory: train, encode and score 20 million rows of 30 columns from Parquet.

    python -m benchmarks.data.stream --folder /tmp/stream

Writes the table once (about 5 GB), then runs each verb in a process of its own, and prints rows per second and the
largest resident memory of each; and the same methods on the first million rows in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

_FLOATS = 27
_GROUP = 1 << 17
_WORDS = np.array(["north", "south", "east", "west", "centre"])
_IN_MEMORY = 1_000_000


def table(rows: int, seed: int) -> pa.Table:
    """Return rows on a plane of eight dimensions with noise, a count, a category and a bit: 30 columns."""
    generator = np.random.default_rng(seed)
    weights = np.random.default_rng(0).standard_normal((8, _FLOATS))
    cause = generator.standard_normal((rows, 8))
    values = np.tanh(cause @ weights / 3.0) * 10.0 + generator.standard_normal((rows, _FLOATS))
    columns: dict[str, Any] = {f"sensor{place}": values[:, place] for place in range(_FLOATS)}
    columns["events"] = generator.poisson(np.exp(1.0 + 0.5 * cause[:, 0])).astype(np.int64)
    columns["place"] = _WORDS[np.clip(np.round(cause[:, 1] + 2), 0, 4).astype(int)]
    columns["alarm"] = cause[:, 2] > 1.5
    return pa.table(columns)


def write(path: Path, rows: int) -> None:
    """Write the table in row groups."""
    started = time.monotonic()
    temporary = path.with_suffix(".part")
    with parquet.ParquetWriter(temporary, table(1, 0).schema) as writer:
        for place, start in enumerate(range(0, rows, _GROUP)):
            writer.write_table(table(min(_GROUP, rows - start), place + 1))
    temporary.replace(path)
    print(f"wrote {path}: {rows} rows, {path.stat().st_size / 1e9:.2f} GB, {time.monotonic() - started:.0f} s")


def work(verb: str, data: str, model: str, out: str, epochs: int, batch: int) -> None:
    """Do one thing in this process and print its figures."""
    import resource

    import isthmus
    from isthmus import Autoencoder, presets
    from isthmus.data.open import open_source

    base = _resident()
    source = open_source(data)
    rows = len(source)
    if verb.endswith("memory"):
        rows = min(rows, _IN_MEMORY)
        blocks, kept = source.blocks(rows), None
        kept = next(blocks)
        source = open_source(kept.slice(0, rows).combine_chunks())
    started = time.monotonic()
    figures = {}
    if verb.startswith("fit"):
        recipe = presets.autoencoder(latent_dim=8, hidden_dims=(64, 32), epochs=epochs, batch_size=batch)
        recipe = recipe.replace({"training.threads": 1})
        fitted = Autoencoder(recipe, random_state=0, verbose=True).fit(source)
        fitted.save(model, overwrite=True)
        row = fitted.history_.rows[-1]
        figures = {"epoch rows/s": round(row["rows_per_second"]), "loss": row["train/total"]}
    elif verb.startswith("encode"):
        isthmus.load(model).transform(source, out=out)
    else:
        isthmus.load(model).score_samples(source, out=out)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({
        "verb": verb, "rows": rows, "seconds": round(seconds, 1), "rows/s": round(rows / seconds),
        "libraries MB": round(base), "peak MB": round(peak), **figures,
    }))  # fmt: skip


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Write the table if it is not there, and run each verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--verbs", default="fit in memory,fit,encode in memory,encode,score in memory,score")
    parser.add_argument("--work", default="")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data, model = options.folder / f"table{options.rows}.parquet", options.folder / "model"
    if options.work:
        out = str(options.folder / "out.parquet")
        work(options.work, str(data), str(model), out, options.epochs, options.batch)
        return
    if not data.exists():
        write(data, options.rows)
    for verb in options.verbs.split(","):
        command = [sys.executable, "-m", "benchmarks.data.stream", "--folder", str(options.folder), "--work", verb]
        command += ["--rows", str(options.rows), "--epochs", str(options.epochs), "--batch", str(options.batch)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(found.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
