"""From the anomaly score of calibration rows to p-values, thresholds and alarms.

The anomaly score is higher for more anomalous rows. A row is an alarm if it is **above** the threshold.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import genpareto

from isthmus.errors import ArtifactError, DataError, RecipeError, check_choice, check_integer, explain
from isthmus.typing import Booleans, Doubles

KINDS = ("conformal", "quantile", "contamination", "pot")
# Of the calibration rows, the share whose excesses a generalised Pareto tail is fitted to, and the fewest of them.
_TAIL = 0.1
_FEWEST_EXCESSES = 20
# No set of rows can tell smaller rates apart.
_LEAST = 1e-9


@dataclass(frozen=True)
class Threshold:
    """A bound on anomaly score, above which a row is an alarm.

    Attributes:
        kind: "conformal", "quantile", "contamination" or "pot".
        level: the guaranteed false-alarm rate, or the expected share of anomalies.
        value: the bound; infinite if there are too few calibration rows for the level.
        rows: calibration rows.
        training_contamination: share of the calibration rows that were taken for anomalies and left out.
    """

    kind: str
    level: float
    value: float
    rows: int
    training_contamination: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite threshold is None."""
        return asdict(self) | {"value": self.value if math.isfinite(self.value) else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Threshold:
        """Return the threshold that `to_dict` gave these values of.

        Raises:
            RecipeError: for what is no threshold.
        """
        kind, level, value, rows = (values[name] for name in ("kind", "level", "value", "rows"))
        check_choice("threshold", kind, list(KINDS))
        check_level("level", level)
        check_integer("rows", rows, 1)
        share = float(values["training_contamination"])
        if not 0.0 <= share <= 1.0:
            raise RecipeError(
                "threshold: " + explain("a training_contamination in [0, 1]", f"{share}", "another folder")
            )
        if value is None:
            return cls(kind, level, math.inf, rows, share)
        value = float(value)
        if math.isnan(value):
            raise RecipeError("threshold: " + explain("a number", "NaN", "another folder"))
        return cls(kind, level, value, rows, share)

    def describe(self, unit: str = "rows") -> str:
        """Return the threshold in a sentence; `unit` says what has a score."""
        level = f"{100 * self.level:.3g} %"
        rows = f"{self.rows:,} calibration {unit}"
        if math.isinf(self.value):
            return f"no threshold keeps the false-alarm rate at {level} with only {rows}: nothing is an alarm"
        said = {
            "conformal": f"of new normal {unit} at most {level} become alarms, on average over calibrations ({rows})",
            "quantile": f"above it lie {level} of {rows}",
            "contamination": f"above it lie {level} of {rows}, the expected share of anomalies",
            "pot": f"of new normal {unit} about {level} lie above it, by a generalised Pareto tail of {rows}",
        }[self.kind]
        if self.training_contamination:
            said += (
                f", if {100 * self.training_contamination:.3g} % of the rows were anomalies (the most anomalous were "
            )
            said += "left out; with fewer anomalies, normal rows are among these, and more normal rows become alarms)"
        return said


def find_threshold(calibration: Doubles, kind: str = "conformal", level: float = 0.01) -> Threshold:
    """Return a threshold from the anomaly score of calibration rows.

    * `conformal`: the k-th largest value, ``k = floor(level * (n + 1))``. If calibration and new normal rows are
      exchangeable, a new normal row is above it with a probability of at most `level`, and of no less than ``level -
      1 / (n + 1)`` without ties, whatever the model. It is infinite for fewer than ``1 / level - 1`` rows.
    * `quantile`: the ``1 - level`` quantile of the values (linear interpolation), without a guarantee.
    * `contamination`: the same, where `level` is the share of anomalies that the rows are expected to hold.
    * `pot` (peaks over a threshold): a generalised Pareto density is fitted to the excesses above the 90 % quantile u,
      ``u + s / x * ((level * n / n_u) ** -x - 1)`` with its shape x and scale s; for levels beyond the reach of the
      calibration rows.

    Args:
        calibration: anomaly score `(n,)` of rows that nothing was fitted on.
        kind: one of the four.
        level: between 0 and 1.

    Raises:
        RecipeError: for an unknown kind and a level that is no share.
        DataError: for no rows, and for too few for a tail.

    Example:
        >>> import numpy as np
        >>> find_threshold(np.arange(99.0), "conformal", 0.05).value
        94.0

    Papers: Vovk et al., Algorithmic Learning in a Random World, 2005; Siffer et al., Anomaly Detection in Streams with
    Extreme Value Theory, KDD 2017.
    """
    check_choice("threshold", kind, list(KINDS))
    check_level("conformal level" if kind == "conformal" else f"{kind} level", level)
    ordered = _checked(calibration)
    rows = len(ordered)
    if kind == "conformal":
        place = rank_of(level, rows)
        return Threshold(kind, level, float(ordered[-place]) if place else math.inf, rows)
    if kind == "pot":
        return Threshold(kind, level, _tail_value(ordered, level), rows)
    return Threshold(kind, level, float(np.quantile(ordered, 1.0 - level)), rows)


def rank_of(level: float, rows: int) -> int:
    """Return ``floor(level * (rows + 1))``, of which rounding must not take one: 0.01 * 100 is 1."""
    return min(rows, math.floor(round(level * (rows + 1), 9)))


def p_values(calibration: Doubles, anomaly_scores: Doubles) -> Doubles:
    """Return conformal p-values `(rows,)`: ``(1 + #{calibration >= s}) / (1 + n)``.

    For a new row that is exchangeable with the calibration rows, p <= a has a probability of at most a, for every a.

    Args:
        calibration: anomaly score `(n,)` of rows that nothing was fitted on.
        anomaly score: of new rows, `(rows,)`.

    Example:
        >>> import numpy as np
        >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])).tolist()
        [1.0, 0.75, 0.25]

    Paper: Bates et al., Testing for Outliers with Conformal p-values, 2023, https://arxiv.org/abs/2104.08279.
    """
    ordered = _checked(calibration)
    above = len(ordered) - np.searchsorted(ordered, anomaly_scores, side="left")
    return np.asarray((1.0 + above) / (1.0 + len(ordered)), np.float64)


def false_discoveries(p: Doubles, level: float) -> Booleans:
    """Return which rows Benjamini and Hochberg's procedure rejects, `(rows,)`.

    With conformal p-values of independent new rows the expected share of false ones among its alarms is at most
    `level` times the share of normal rows.

    Args:
        p: p-values of one batch, `(rows,)`.
        level: the false-discovery rate.

    Example:
        >>> import numpy as np
        >>> false_discoveries(np.array([0.01, 0.2, 0.02, 0.9]), 0.05).tolist()
        [True, False, True, False]

    Papers: Benjamini and Hochberg, Controlling the False Discovery Rate, 1995; Bates et al., 2023.
    """
    check_level("fdr", level)
    if not len(p):
        return np.zeros(0, bool)
    ordered = np.sort(p)
    bounds = level * np.arange(1, len(p) + 1) / len(p)
    below = np.flatnonzero(ordered <= bounds)
    return p <= ordered[below[-1]] if len(below) else np.zeros(len(p), bool)


def check_level(where: str, level: Any) -> None:
    """Raise `RecipeError` for what is no share between 0 and 1, both left out."""
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not _LEAST <= level < 1.0:
        raise RecipeError(f"{where}: " + explain("a share between 0 and 1", repr(level), "0.01"))


def rows_needed(level: float) -> int:
    """Return how many calibration rows a conformal threshold needs at least."""
    return math.ceil(round(1.0 / level, 6)) - 1


def warn_of_few(threshold: Threshold, advice: str) -> None:
    """Warn if a threshold is infinite, with what to try."""
    if math.isinf(threshold.value):
        warnings.warn(
            f"{threshold.describe()}; it takes {rows_needed(threshold.level):,} of them. Try {advice}",
            UserWarning,
            stacklevel=3,
        )


def _checked(calibration: Doubles) -> Doubles:
    if not len(calibration):
        raise DataError(explain("calibration rows", "none", "a calibration_fraction above 0, or more rows"))
    if np.isnan(calibration).any():
        raise DataError(explain("an anomaly score for each calibration row", "NaN", "rows without overflow"))
    return np.sort(np.asarray(calibration, np.float64))


def _tail_value(ordered: Doubles, level: float) -> float:
    start = float(np.quantile(ordered, 1.0 - _TAIL))
    excesses = ordered[ordered > start] - start
    if len(excesses) < _FEWEST_EXCESSES:
        expected = f"at least {round(_FEWEST_EXCESSES / _TAIL)} different calibration rows for a tail"
        raise DataError(explain(expected, f"{len(ordered)}", 'threshold="conformal", or more rows'))
    if level >= len(excesses) / len(ordered):
        return float(np.quantile(ordered, 1.0 - level))
    unit = float(excesses.mean())
    shape, _, scale = genpareto.fit(excesses / unit, floc=0.0)
    return start + unit * float(genpareto.isf(level * len(ordered) / len(excesses), shape, 0.0, scale))


def stored_calibration(values: np.ndarray[Any, Any]) -> Doubles:
    """Return stored calibration rows' anomaly score, checked and in order.

    Raises:
        ArtifactError: for none, and for another shape.
    """
    if values.ndim != 1 or not len(values):
        raise ArtifactError(explain("the anomaly score of calibration rows", f"shape {values.shape}", "another folder"))
    return np.sort(values.astype(np.float64))


def check_threshold(threshold: Threshold, values: Doubles) -> Threshold:
    """Return a stored threshold if its calibration rows say the same; raise `ArtifactError` otherwise."""
    found = find_threshold(values, threshold.kind, threshold.level)
    same = found.rows == threshold.rows and np.isclose(found.value, threshold.value, rtol=1e-6, atol=0.0)
    if not same:
        got = f"{threshold.value} of {threshold.rows} rows"
        raise ArtifactError("threshold: " + explain(f"{found.value} of {found.rows} rows", got, "another folder"))
    return threshold
