"""NSL-KDD: its rows, the families of its attacks, and the rows as numbers for methods that take nothing else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FAMILIES = {
    "dos": "back land neptune pod smurf teardrop apache2 udpstorm processtable mailbomb worm",
    "probe": "satan ipsweep nmap portsweep mscan saint",
    "r2l": "guess_passwd ftp_write imap phf multihop warezmaster warezclient spy xlock xsnoop snmpguess snmpgetattack"
    " httptunnel sendmail named",
    "u2r": "buffer_overflow loadmodule rootkit perl sqlattack xterm ps",
}
FAMILY = {name: family for family, names in FAMILIES.items() for name in names.split()} | {"normal": "normal"}
Words = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Part:
    """Rows of 41 columns, and the name of each row's attack, or "normal"."""

    rows: pa.Table
    names: Words

    @property
    def attack(self) -> Any:
        """Whether each row is one."""
        return self.names != "normal"

    @property
    def families(self) -> Words:
        """The family of each row's attack, or "normal"."""
        return np.array([FAMILY[name] for name in self.names])

    def where(self, chosen: Any) -> Part:
        """Return some of the rows."""
        return Part(self.rows.filter(pa.array(chosen)), self.names[chosen])


def load(folder: Path, part: str) -> Part:
    """Return KDDTrain+ ("train") or KDDTest+ ("test").

    Raises:
        SystemExit: there is no such file.
    """
    path = folder / f"nslkdd_{part}.parquet"
    if not path.is_file():
        sys.exit(f"expected NSL-KDD in {path}, got no such file; try --data FOLDER with the folder that holds it")
    table = pq.read_table(path)
    return Part(table.drop_columns(["label", "difficulty"]), np.array(table["label"].to_pylist()))


def one_hot(train: pa.Table, test: pa.Table) -> tuple[Any, Any]:
    """Return both as numbers: a column for each category of the training rows, all standardised by these."""
    parts: tuple[list[Any], list[Any]] = ([], [])
    for name in train.column_names:
        for values, columns in zip((train[name].to_numpy(), test[name].to_numpy()), parts, strict=True):
            if values.dtype == object:
                columns += [values == category for category in sorted(set(train[name].to_pylist()))]
            else:
                columns.append(values)
    first, second = (np.stack(columns, 1).astype(np.float64) for columns in parts)
    centre, deviation = first.mean(0), first.std(0)
    deviation[deviation == 0] = 1.0
    return (first - centre) / deviation, (second - centre) / deviation
