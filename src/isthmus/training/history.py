"""The history of training: one row of numbers for each epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """Rows of numbers by name, one for each epoch, and why training ended.

    Names: `epoch`, `train/total` and `validation/total` (nats per row, the loss), `train/<term>` (raw),
    `train/<term>/weighted`, the same for validation, `learning_rate`, `gradient_norm` (mean over the epoch's steps),
    `rows_per_second`, `active_units`, `seconds` since the start, and the code's health where it applies, on at most
    2,000 validation rows: `health/effective_rank`, `health/dead_units`, `health/average_activation` (of all latents),
    `health/share_below_0.1`, `health/kl`, `health/mutual_information` (every tenth epoch from
    the first on, of 64 draws from at most 512 posteriors),
    `health/codebook_perplexity`, `health/codebook_used` (see `isthmus.metrics.code_health`).

    Example:
        >>> history = History([{"epoch": 1, "train/total": 3.0}, {"epoch": 2, "train/total": 2.0}])
        >>> history["train/total"]
        [3.0, 2.0]
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str = ""
    best_epoch: int = 0

    def __getitem__(self, name: str) -> list[Any]:
        return [row.get(name) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def names(self) -> list[str]:
        """Return the names of all columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def to_csv(self) -> str:
        """Return the rows as CSV text."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> History:
        """Rebuild the rows from `to_csv`."""
        rows: list[dict[str, Any]] = []
        for line in csv.DictReader(io.StringIO(text)):
            values = {name: float(value) for name, value in line.items() if value not in ("", None)}
            rows.append({name: int(v) if name in ("epoch", "active_units") else v for name, v in values.items()})
        return cls(rows)
