"""Several autoencoders and several kinds of score as one number for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.applications.anomaly.scores import SCORES, Score
from isthmus.applications.anomaly.views import View
from isthmus.errors import ArtifactError, RecipeError, check_integer
from isthmus.estimator.inference import Inference
from isthmus.schema import Batch
from isthmus.typing import Doubles

# Of the typical score; a score below counts as this, so that a perfect reconstruction has a logarithm.
_LEAST = 1e-6
# Quartiles of a standard normal density lie so far apart.
_QUARTILES = 1.3489795


@dataclass(frozen=True)
class Scale:
    """What puts the scores of one kind on a scale that all share.

    An error or a distance counts by the logarithm of its ratio to the median of the training rows' own: ``log(score /
    median)``. Nats have a zero of their own, and count as ``(score - median) / spread``, with the distance between the
    training rows' quartiles, as of a normal density, for the spread.
    """

    least: float
    centre: float
    spread: float

    @classmethod
    def fit(cls, scores: Doubles, *, ratio: bool) -> Scale:
        """Fit on training rows' scores."""
        finite = scores[np.isfinite(scores)]
        if not len(finite):
            return cls(0.0, 0.0, 1.0)
        if ratio:
            # Quartiles of the logarithms as a spread were tried too, and measured worse on tables and on images.
            typical = float(np.median(finite)) or float(finite.mean()) or 1.0
            return cls(_LEAST * typical, math.log(typical), 1.0)
        low, centre, high = np.quantile(finite, [0.25, 0.5, 0.75])
        spread = float(high - low) / _QUARTILES or float(finite.std()) or 1.0
        return cls(0.0, float(centre), spread)

    def __call__(self, scores: Doubles) -> Doubles:
        """Return scores on the common scale."""
        values = np.log(np.maximum(scores, self.least)) if self.least else scores
        found: Doubles = (values - self.centre) / self.spread
        return found


@dataclass(frozen=True)
class Part:
    """One kind of score of one member, fitted."""

    member: int
    score: Score
    scale: Scale


@dataclass(frozen=True)
class Ensemble:
    """Members and their fitted scores.

    Attributes:
        members: trained autoencoders of one schema and encoding.
        parts: kinds of score of each, fitted.
    """

    members: tuple[Inference, ...]
    parts: tuple[Part, ...]

    @classmethod
    def fit(cls, members: Sequence[Inference], kinds: Sequence[str], training: Batch, seed: int) -> Ensemble:
        """Fit kinds of score on encoded training rows.

        Raises:
            RecipeError: for a kind that a member cannot be scored by.
        """
        parts = []
        for number, member in enumerate(members):
            view = View(member, training)
            for kind in kinds:
                score = SCORES[kind]()
                why = score.misfit(member)
                if why is not None:
                    raise RecipeError(f"scores: {why}")
                parts.append(Part(number, score, Scale.fit(score.fit(view, seed), ratio=score.ratio)))
        return cls(tuple(members), tuple(parts))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of score, each once."""
        return tuple(dict.fromkeys(part.score.kind for part in self.parts))

    def by_part(self, batch: Batch) -> Doubles:
        """Return anomaly score by each part on the common scale, `(parts, rows)`."""
        views = [View(member, batch) for member in self.members]
        return np.stack([part.scale(part.score.of(views[part.member])) for part in self.parts])

    def anomaly_scores(self, batch: Batch) -> Doubles:
        """Return the average over the parts, `(rows,)`: higher is more anomalous, 0 is a typical training row."""
        total = np.zeros(batch.rows)
        for found in self.by_part(batch):
            total += found
        # What overflows is more anomalous than anything that does not.
        return np.where(np.isnan(total), np.inf, total / len(self.parts))

    def by_kind(self, batch: Batch) -> dict[str, Doubles]:
        """Return the average over the members for each kind of score, `(rows,)`."""
        found: dict[str, list[Doubles]] = {}
        for part, values in zip(self.parts, self.by_part(batch), strict=True):
            found.setdefault(part.score.kind, []).append(values)
        return {kind: np.mean(values, 0) for kind, values in found.items()}

    def state(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray[Any, Any]]]:
        """Return the parts as plain values and as arrays, for `restore`."""
        plain: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for place, part in enumerate(self.parts):
            scale = {"least": part.scale.least, "centre": part.scale.centre, "spread": part.scale.spread}
            plain.append({"member": part.member, "score": part.score.kind, "scale": scale})
            arrays |= {f"{place}.{name}": value for name, value in part.score.state().items()}
        return plain, arrays

    @classmethod
    def restore(
        cls, members: Sequence[Inference], plain: Sequence[Mapping[str, Any]], arrays: Mapping[str, Any]
    ) -> Ensemble:
        """Restore what `state` returned."""
        parts = []
        for place, told in enumerate(plain):
            prefix = f"{place}."
            state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
            member = told["member"]
            check_integer("member", member, 0)
            score = SCORES[told["score"]]().restore(state, members[member])
            scale = Scale(**{name: float(value) for name, value in told["scale"].items()})
            if not (scale.least >= 0 and math.isfinite(scale.centre) and 0 < scale.spread < math.inf):
                raise ArtifactError(f"the scale of the score {score.kind!r} is no scale: {scale}")
            parts.append(Part(member, score, scale))
        if not parts:
            raise ArtifactError("a detector needs at least one score, and has none")
        return cls(tuple(members), tuple(parts))
