"""A fuzzer of every reader: no crash, no hang, no silent wrong read, and every refusal a message of the library.

Usage, from the project's root:

    python -m tools.fuzz_readers --minutes 30 --seed 0 [--out FOLDER] [--only FORMAT ...] [--case NUMBER]

Each case is a file of random content that is known, in one format. It is read and compared with what was written; then
it is damaged in some ways, and each damaged file must be refused by a message of isthmus, or be read as rows that are
what rows are. What was cut, or is guarded by a checksum, must be refused or read as it was. Cases run in a process of
their own with bounded memory, which is started anew if it dies or takes too long; whatever fails is kept in FOLDER with
the number that makes it again (--case). Everything is drawn from the seed and the number of the case.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from isthmus import presets
from isthmus.data import open as opening
from isthmus.data.files.npy import NpyRows
from isthmus.data.open import open_source as read
from isthmus.errors import IsthmusError
from isthmus.estimator.prepare import prepare
from isthmus.seeds import derive
from tools.fuzz_damage import damaged
from tools.fuzz_files import MAKERS, PACKED, Case, packed
from tools.fuzz_tables import Models, generated_frames, generated_tables

_VARIANTS = 8
# In seconds of the processor for one file, and of the clock until the process is given up.
_SLOW, _HUNG = 5.0, 120.0
_MEMORY, _GROWTH = 16 << 30, 400 << 20
# Formats that are read in pieces if they are large.
STREAMED = ("npy streamed", "parquet streamed", "arrow streamed")
FORMS = (*MAKERS, *(f"{name}.gz" for name in PACKED), *STREAMED, "tables", "frames", "model")


_RECIPE = replace(presets.autoencoder(latent_dim=2, hidden_dims=(4,), epochs=1), missing="mask")


class Finding(Exception):
    """What a reader did that it must not."""


# ---- one case --------------------------------------------------------------------------------------------------------


def run_case(seed: int, number: int, folder: Path, models: Models, only: tuple[str, ...] = FORMS) -> Iterator[str]:
    """Run one case in a folder; yield "valid", "refused" or "read" for each file, or what is wrong with its reading."""
    form = only[number % len(only)]
    rng = np.random.default_rng(derive(seed, "fuzz", number))
    if form in ("tables", "frames"):
        check = generated_frames if form == "frames" else generated_tables
        yield from guarded(lambda: check(folder, int(rng.integers(1 << 30)), content), "a table")
        return
    case, transform = models.case(rng) if form == "model" else (_made(form, rng), None)
    if transform is None:
        yield from guarded(lambda: _check_valid(case, folder), f"{form}, valid")
    for _ in range(_VARIANTS):
        files, how = _damage(case, rng, inside=form.endswith(".gz"))
        deep = bool(rng.random() < 0.5)
        action: Callable[[], str] = partial(_check_damaged, case, files, how, folder, deep)
        if transform is not None:
            action = partial(_transformed, transform, case, files, folder)
        yield from guarded(action, f"{form}, {how}")


def _made(form: str, rng: np.random.Generator) -> Case:
    case = MAKERS[form.removesuffix(".gz").removesuffix(" streamed")](rng)
    case.streamed = form in STREAMED
    if form == "npy streamed":  # columns first are refused there
        np.save(stream := io.BytesIO(), np.ascontiguousarray(case.expected))
        case.files = {"x.npy": stream.getvalue()}
    return packed(case) if form.endswith(".gz") else case


def _damage(case: Case, rng: np.random.Generator, inside: bool) -> tuple[dict[str, bytes], str]:
    import gzip

    files = dict(case.files)
    name = list(files)[int(rng.integers(0, len(files)))]
    if inside and rng.random() < 0.5:
        content, how = damaged(gzip.decompress(files[name]), rng)
        files[name], how = gzip.compress(content, 1, mtime=0), f"inside, {how}"
    else:
        files[name], how = damaged(files[name], rng)
    return files, how


def guarded(action: Callable[[], str], what: str) -> Iterator[str]:
    """Run something; yield what it returns, or what is wrong: another error, a warning, too much time or memory."""
    before, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = action()
        # What Pillow says of a damaged note in an image is no matter of ours.
        caught = [one for one in caught if "PIL" not in Path(one.filename).parts]
        if caught:
            result = f"{what}: warning: {caught[0].category.__name__}: {caught[0].message} ({caught[0].filename})"
    except IsthmusError as error:
        result = "refused" if _sensible(str(error)) else f"{what}: message: {error!s:.300}"
    except Finding as error:
        result = f"{what}: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-4:]
        lines = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(where))
        result = f"{what}: {type(error).__name__}: {str(error)[:200]} at {lines}"
    took = time.process_time() - before
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
    yield result
    if took > _SLOW:
        yield f"{what}: slow: {took:.1f} s ({result:.60})"
    if grown > _GROWTH:
        yield f"{what}: memory: {grown >> 20} MiB more ({result:.60})"


def _sensible(message: str) -> bool:
    return 10 < len(message) < 2000 and "Traceback" not in message and " object at 0x" not in message


def _opened(case: Case, files: dict[str, bytes], folder: Path) -> Any:
    """Return the source of some files; of those that are to be streamed, as if they were large."""
    path = _write(case, files, folder)
    places: Any = opening
    before = places.LARGEST_WHOLE
    places.LARGEST_WHOLE = -1 if case.streamed else before
    try:
        return read(path, rows=case.rows)
    finally:
        places.LARGEST_WHOLE = before


def _write(case: Case, files: dict[str, bytes], folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / (case.opened or next(iter(files)))


def _transformed(transform: Callable[[Path], str], case: Case, files: dict[str, bytes], folder: Path) -> str:
    return transform(_write(case, files, folder))


def _check_valid(case: Case, folder: Path) -> str:
    try:
        found = content(_opened(case, case.files, folder))
    except IsthmusError as error:
        raise Finding(f"refused: {error}") from None
    if case.expected is not None and not same(found, case.expected):
        raise Finding(f"wrong read: {found!r:.300} for {case.expected!r:.300}")
    return "valid"


def _check_damaged(case: Case, files: dict[str, bytes], how: str, folder: Path, prepared: bool) -> str:
    source = _opened(case, files, folder)
    found = content(source)
    exact = (how == "cut" and not case.whole) or (case.guarded and not how.startswith("inside"))
    if exact and case.expected is not None and not same(found, case.expected):
        raise Finding(f"wrong read: {found!r:.300} for {case.expected!r:.300}")
    if prepared:
        _check_prepared(source)
    return "read"


def _check_prepared(source: Any) -> None:
    """Go all the way to what a network would see."""
    for block, batch in prepare(source, _RECIPE).encoded.pairs():
        if batch.rows != block.shape[0] or not bool(torch.isfinite(batch.x).all()):
            raise Finding("the network would see what is no number, or another number of rows")


# ---- what a source has -----------------------------------------------------------------------------------------------


def content(source: Any) -> Any:
    """Return all that a source has, read in blocks; raise `Finding` if its blocks are no rows of one kind."""
    blocks = list(source.blocks(7))
    if not blocks or any(not block.shape[0] for block in blocks):
        raise Finding("a block without rows")
    if sum(block.shape[0] for block in blocks) != len(source):
        raise Finding(f"{sum(block.shape[0] for block in blocks)} rows in blocks and {len(source)} stated")
    _check_shuffled(source)
    source.fingerprint()
    if source.kind == "table":
        table = pa.concat_tables(blocks)
        table.validate(full=True)
        if len(set(table.column_names)) < table.num_columns:
            raise Finding("a name twice")
        try:
            return table.to_pydict()
        except (OverflowError, ValueError):  # a time that Python does not have
            return {name: table[name].cast(pa.string()).to_pylist() for name in table.column_names}
    if source.kind == "ratings":
        return _ratings(source)
    if source.kind == "tokens":
        return source.vocabulary.decode(np.concatenate(blocks))
    whole = np.concatenate(blocks)
    # What is streamed is looked at when it is encoded.
    looked_at = not isinstance(source, NpyRows)
    if looked_at and (np.isinf(whole).any() or (source.kind != "series" and np.isnan(whole).any())):
        raise Finding("NaN or inf in the rows")
    if source.kind == "series":
        return {one.name: one.values for one in source.series}
    return whole


def _check_shuffled(source: Any) -> None:
    numbers = np.concatenate([np.asarray(rows) for rows, _ in source.shuffled(0, 0)])
    if not np.array_equal(np.sort(numbers), np.arange(len(source))):
        raise Finding("shuffled rows are not all rows once")


def _ratings(source: Any) -> Any:
    matrix = source.matrix.tocoo()
    if not np.isfinite(matrix.data).all():
        raise Finding("NaN or inf in the ratings")
    users, items = (range(size) if ids is None else ids for size, ids in zip(
        matrix.shape, (source.users, source.items), strict=True))  # fmt: skip
    return {(users[i], items[j]): float(x) for i, j, x in zip(*matrix.coords, matrix.data, strict=True)}


def same(found: Any, expected: Any) -> bool:
    """Whether two contents are the same, values and their order."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and set(found) == set(expected) and all(
            same(found[name], value) for name, value in expected.items()
        )  # fmt: skip
    if isinstance(expected, np.ndarray):
        return isinstance(found, np.ndarray) and found.shape == expected.shape and bool((found == expected).all())
    return bool(found == expected)


# ---- the process that reads, and the one that watches ----------------------------------------------------------------


def work(seed: int, first: int, folder: Path, only: tuple[str, ...], last: int | None) -> None:
    """Run cases from a number on, and say so on standard output, until it is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    models = Models(folder.parent / "models")
    number = first
    while last is None or number <= last:
        kept = folder.parent / f"kept-{number}"
        counts: Counter[str] = Counter()
        findings = []
        _say({"start": number, "form": only[number % len(only)]})
        for result in run_case(seed, number, folder, models, only):
            if result in ("valid", "refused", "read"):
                counts[result] += 1
                continue
            findings.append(result)
            if folder.exists():
                shutil.copytree(folder, kept / str(len(findings)), dirs_exist_ok=True)
        _say({"done": number, "counts": counts, "findings": findings})
        number += 1


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def watch(options: argparse.Namespace) -> int:
    """Keep a process at work until the time is over; return how many findings there are."""
    out, end = Path(options.out), time.monotonic() + 60 * options.minutes
    out.mkdir(parents=True, exist_ok=True)
    totals: dict[str, Counter[str]] = {}
    findings: list[str] = []
    number = options.case or 0
    with tempfile.TemporaryDirectory(prefix="isthmus-fuzz-") as place:
        try:
            while time.monotonic() < end and (options.case is None or number <= options.case):
                number = _shift(options, Path(place), number, end, totals, findings, out)
        except KeyboardInterrupt:
            print("interrupted")
    for form, counts in sorted(totals.items()):
        print(f"{form:14} " + ", ".join(f"{counts[name]} {name}" for name in ("valid", "refused", "read", "findings")))
    files = sum(counts[name] for counts in totals.values() for name in ("valid", "refused", "read"))
    print(f"{number} cases, {files} files, {len(findings)} findings, which are in {out}")
    return len(findings)


def _shift(
    options: argparse.Namespace,
    place: Path,
    number: int,
    end: float,
    totals: dict[str, Counter[str]],
    findings: list[str],
    out: Path,
) -> int:
    """Watch one process; return the number of the case to go on with."""
    command = [sys.executable, "-m", "tools.fuzz_readers", "--seed", str(options.seed), "--worker", str(place / "now")]
    command += ["--first", str(number), "--only", *options.only]
    command += [] if options.case is None else ["--case", str(options.case)]
    lost = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed below
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lost)
    form, waiting = "", b""
    stream = process.stdout
    if stream is None:
        raise RuntimeError("the process has no output")
    try:
        while time.monotonic() < end:
            if not select.select([stream], [], [], _HUNG)[0]:
                _keep(findings, out, number, f"{form}: hung", place / "now", totals, form)
                return number + 1
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                if options.case is not None and number > options.case:
                    return number
                lost.seek(0)
                what = f"{form}: crashed ({process.wait()}): {lost.read()[-600:]}"
                _keep(findings, out, number, what, place / "now", totals, form)
                return number + 1
            *lines, waiting = (waiting + piece).split(b"\n")
            for line in lines:
                said = json.loads(line)
                form = said.get("form", form)
                if "done" not in said:
                    continue
                totals.setdefault(form, Counter()).update(said["counts"])
                for at, finding in enumerate(said["findings"], 1):
                    _keep(findings, out, number, finding, place / f"kept-{number}" / str(at), totals, form)
                number = said["done"] + 1
        return number
    finally:
        process.kill()
        process.wait()
        lost.close()


def _keep(
    findings: list[str], out: Path, number: int, what: str, files: Path, totals: dict[str, Counter[str]], form: str
) -> None:
    findings.append(what)
    totals.setdefault(form, Counter())["findings"] += 1
    print(f"case {number}: {what}", flush=True)
    folder = out / f"{len(findings):04}"
    if files.exists():
        shutil.copytree(files, folder, dirs_exist_ok=True)
    folder.mkdir(exist_ok=True)
    (folder / "finding.txt").write_text(f"case {number}\n{what}\n")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="fuzz-findings")
    parser.add_argument("--only", nargs="+", default=list(FORMS), choices=FORMS, metavar="FORMAT")
    parser.add_argument("--case", type=int, default=None, help="run this case alone")
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.seed, options.first, Path(options.worker), tuple(options.only), options.case)
        return 0
    return 1 if watch(options) else 0


if __name__ == "__main__":
    sys.exit(main())
