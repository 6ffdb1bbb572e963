"""Whether rows are still like those that a detector was fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, ks_2samp

from isthmus.data.tables.encoding import places
from isthmus.schema import Batch, Schema
from isthmus.typing import Doubles

_BINS = 10
# Rows with more numbers (images) are compared by their anomaly score alone.
_WIDEST = 4096
_LEVEL = 0.01
# The rule of thumb of credit scoring: from here on a distribution counts as another one.
_SHIFTED = 0.25
_NAMED = 3


@dataclass(frozen=True)
class Drift:
    """How rows differ from the rows that were held out when a detector was fitted.

    Attributes:
        statistic: Kolmogorov and Smirnov's largest difference between the distributions of anomaly score.
        p_value: of it, if rows and calibration rows come from one distribution.
        stability: population stability index of each column, ``sum_b (q_b - p_b) log(q_b / p_b)`` over the tenths of
            the training rows, the largest first; empty for rows without columns to name.
        shifted: from which index on a column counts as changed: 0.25, for few rows more, which differ by chance.
    """

    statistic: float
    p_value: float
    stability: dict[str, float]
    shifted: float = 0.25

    @property
    def found(self) -> bool:
        """Whether anomaly score has another distribution (p below 1 %), or a column has (an index of `shifted`)."""
        return self.p_value < _LEVEL or any(value >= self.shifted for value in self.stability.values())

    @property
    def sentence(self) -> str:
        """What was found, in a sentence."""
        shifted = [f"{name} ({value:.2f})" for name, value in self.stability.items() if value >= self.shifted][:_NAMED]
        if not self.found:
            return f"no drift: the anomaly score is distributed as in calibration (p = {self.p_value:.2g})"
        what = f"drift: the anomaly score is distributed otherwise than in calibration (p = {self.p_value:.2g})"
        if self.p_value >= _LEVEL:
            what = f"drift in columns, though not in the anomaly score (p = {self.p_value:.2g})"
        columns = f"; most changed: {', '.join(shifted)}" if shifted else ""
        return f"{what}{columns}. The guaranteed false-alarm rate holds for rows like the training rows only"


@dataclass(frozen=True)
class Reference:
    """Tenths of the encoded training rows, value by value.

    Attributes:
        edges: between the bins, `(values, 9)`.
        shares: of the training rows in each bin, `(values, 10)`.
    """

    edges: Doubles
    shares: Doubles

    @classmethod
    def of(cls, training: Batch) -> Reference | None:
        """Return the tenths of encoded training rows; None for wide rows."""
        x = _flat(training)
        if x.shape[1] > _WIDEST:
            return None
        with np.errstate(all="ignore"):
            edges = np.nan_to_num(np.nanquantile(x, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0)).T
        return cls(edges, _shares([x], edges))

    def state(self) -> dict[str, Doubles]:
        """Return the fitted arrays."""
        return {"reference.edges": self.edges, "reference.shares": self.shares}

    @classmethod
    def restore(cls, state: Mapping[str, Doubles], values: int) -> Reference | None:
        """Restore what `state` returned, None for nothing; raise `ValueError` for other shapes."""
        if "reference.edges" not in state:
            return None
        edges, shares = state["reference.edges"], state["reference.shares"]
        if edges.shape != (values, _BINS - 1) or shares.shape != (values, _BINS):
            raise ValueError(f"tenths of shape {edges.shape} and {shares.shape} for {values} values")
        return cls(edges, shares)

    def stability(self, batches: Iterable[Batch], schema: Schema) -> dict[str, float]:
        """Return the index of each column, the largest first; a category's is that of its places, summed."""
        read = list(batches)
        now = _shares((_flat(batch) for batch in read), self.edges)
        # An empty bin has no logarithm: of few rows it is likely, and counts as half a row.
        least = max(1e-4, 0.5 / sum(batch.rows for batch in read))
        p, q = np.maximum(self.shares, least), np.maximum(now, least)
        values = ((q - p) * np.log(q / p)).sum(1)
        names: Sequence[str] = schema.names or ()
        if schema.columns is not None:
            found = {
                name: float(values[place].sum()) for name, place in zip(names, places(schema.columns), strict=True)
            }
        else:
            named = names if len(names) == len(values) else [f"column {place}" for place in range(len(values))]
            found = dict(zip(named, values.tolist(), strict=True))
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def compare(calibration: Doubles, anomaly_scores: Doubles, stability: dict[str, float]) -> Drift:
    """Return how rows differ from calibration rows."""
    test = ks_2samp(calibration, anomaly_scores)
    # Without a shift, rows times the index is about chi-square with one degree less than there are bins.
    chance = chi2.isf(_LEVEL / max(1, len(stability)), _BINS - 1) / len(anomaly_scores)
    return Drift(float(test.statistic), float(test.pvalue), stability, max(_SHIFTED, float(chance)))


def _flat(batch: Batch) -> Doubles:
    x = batch.x.cpu().numpy().astype(np.float64).reshape(batch.rows, -1)
    if batch.mask is not None:
        x[~batch.mask.cpu().numpy().reshape(batch.rows, -1)] = np.nan
    return x


def _shares(blocks: Iterable[Doubles], edges: Doubles) -> Doubles:
    """Return the share of rows in each bin, of those that were observed, `(values, 10)`."""
    counts = np.zeros((len(edges), _BINS))
    for x in blocks:
        for value, row in enumerate(x.T):
            seen = row[~np.isnan(row)]
            counts[value] += np.bincount(np.searchsorted(edges[value], seen, side="right"), minlength=_BINS)
    found: Doubles = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    return found
