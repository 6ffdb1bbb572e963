"""One more batch of rows for a detector: what it learns, and the latest rows that it is calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.applications.anomaly.calibration import last_rows
from isthmus.data.source import Source
from isthmus.estimator.autoencoder import Autoencoder
from isthmus.schema import Batch
from isthmus.typing import Integers

# Training and calibration rows of the calls before.
Recent = tuple[Sequence[Batch], Sequence[Batch]]


def learn_increment(
    members: Sequence[Autoencoder], source: Source, held: Integers, condition: Any, recent: Recent
) -> tuple[Batch, Batch]:
    """Train autoencoders on more rows; return the latest training and calibration rows, encoded.

    Args:
        members: fitted or new; they are changed.
        source: the rows.
        held: numbers of the rows that calibrate.
        condition: of all rows; None for an unconditional model.
        recent: rows of the calls before.
    """
    kept = np.delete(np.arange(len(source)), held)
    given = None if condition is None else np.asarray(condition)
    parts = [(rows, source.take(rows), None if given is None else given[rows]) for rows in (kept, held)]
    for member in members:
        member.partial_fit(parts[0][1], condition=parts[0][2])
    blocks = [members[0].encoded_rows(block, given).whole(np.arange(len(rows))) for rows, block, given in parts]
    training, calibration = (last_rows([*old, block]) for old, block in zip(recent, blocks, strict=True))
    return training, calibration
