"""The health of a code on some rows, as training, the estimator and the report measure it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.codes import CodeOutput, Draw
from isthmus.composition import Trainable
from isthmus.data.batches import Loader
from isthmus.metrics.health import Health, code_health, count_active, mutual_information, spread
from isthmus.schema import Batch
from isthmus.seeds import derive

# Rows on which a model in training is measured; positions of a latent count as rows.
ROWS = 2000
_BLOCK = 1024
# A very wide code is measured on fewer rows, so that it has at most so many values, in an epoch and afterwards.
_EPOCH_VALUES, _VALUES, _FEWEST_ROWS = 2**23, 2**25, 256
# Singular values take time as the rows times the latents times the smaller of the two; these are the limits in an
# epoch and afterwards.
_EPOCH_RANK, _RANK = 2e7, 2e9
# The mutual information of all rows takes longer than an epoch of a small model. So the history has that of so many
# posteriors and of so many draws from them, every so many epochs: it ends at log(512) = 6.2 nats.
_EPOCH_POSTERIORS, _EPOCH_DRAWS, _INFORMATION_EVERY = 512, 64, 10

# What stands in the history after each epoch, where it applies; afterwards there is more.
_IN_HISTORY = (
    "effective_rank",
    "dead_units",
    "average_activation",
    "share_below_0.1",
    "kl",
    "mutual_information",
    "codebook_perplexity",
    "codebook_used",
)
PREFIX = "health/"


@dataclass(frozen=True)
class Sample:
    """The outputs of a code for some rows; the positions of a latent are rows.

    Attributes:
        mean: `(rows, latent)`.
        kl: `(rows, groups)` in nats; if only the sum over positions is known, each has an equal share.
        log_variance: `(rows, latent)`.
        indices: `(rows, symbols)`.
        entries: of each symbol.
    """

    mean: Tensor
    kl: Tensor | None
    log_variance: Tensor | None
    indices: Tensor | None
    entries: tuple[int, ...]

    def health(self, most_values: float = _RANK, *, information: bool = True) -> Health:
        """Return `code_health`, with the effective rank of as many rows as `most_values` allows."""
        return code_health(
            self.mean,
            self.log_variance if information else None,
            self.kl,
            self.indices,
            self.entries or None,
            rank_rows=_rank_rows(self.mean.shape[1], most_values),
        )


def sample(outputs: Iterable[tuple[CodeOutput, int]], most: int) -> Sample:
    """Return at most `most` rows of code outputs, evenly spaced, without the padding of each output."""
    parts: dict[str, list[Tensor]] = {}
    entries: tuple[int, ...] = ()
    for output, real in outputs:
        positions = output.mean.shape[2:]
        found = {"mean": output.mean, "indices": output.indices}
        found |= {name: output.quantities.get(name) for name in ("kl", "log_variance")}
        for name, values in found.items():
            if values is not None:
                parts.setdefault(name, []).append(_as_rows(values[:real], positions).cpu())
        entries = output.entries
    whole = {name: torch.cat(values) for name, values in parts.items()}
    if len(whole["mean"]) > most:
        chosen = spread(len(whole["mean"]), most)
        whole = {name: values[chosen] for name, values in whole.items()}
    return Sample(whole["mean"], whole.get("kl"), whole.get("log_variance"), whole.get("indices"), entries)


def _as_rows(values: Tensor, positions: torch.Size) -> Tensor:
    """Return `(rows, columns, *positions)` as `(rows * positions, columns)`."""
    if values.shape[2:] != positions:
        values = (values / positions.numel()).view(*values.shape, *[1] * len(positions))
        values = values.expand(*values.shape[:2], *positions)
    return values.movedim(1, -1).flatten(0, -2)


def epoch_health(composition: Trainable, data: Batch, seed: int, epoch: int) -> dict[str, float]:
    """Return the numbers for the history, measured on the first 2,000 rows: `active_units`, and `health/...`.

    The mutual information is measured in epochs 0, 10, 20 and so on. Of a code that is not finite only the active units
    are returned.
    """
    found = sample(_encoded(composition, data, seed, _EPOCH_VALUES), ROWS)
    if not all(torch.isfinite(v).all() for v in (found.mean, found.kl, found.log_variance) if v is not None):
        return {"active_units": float(count_active(found.mean, has_prior=found.kl is not None))}
    health = found.health(_EPOCH_RANK, information=False)
    if found.log_variance is not None and epoch % _INFORMATION_EVERY == 0:
        chosen = spread(len(found.mean), _EPOCH_POSTERIORS)
        health["mutual_information"] = mutual_information(
            found.mean[chosen], found.log_variance[chosen], draws=_EPOCH_DRAWS
        )
    named = as_metrics(health)
    return {"active_units": named["active_units"]} | {
        PREFIX + name: named[PREFIX + name] for name in _IN_HISTORY if PREFIX + name in named
    }


def final_health(composition: Trainable, data: Batch, seed: int) -> Health:
    """Return every measure of `code_health` on the first 2,000 rows; none if a code is not finite."""
    found = sample(_encoded(composition, data, seed, _VALUES), ROWS)
    if not all(torch.isfinite(v).all() for v in (found.mean, found.kl, found.log_variance) if v is not None):
        return {}
    return found.health()


def _encoded(composition: Trainable, data: Batch, seed: int, most_values: int) -> Iterator[tuple[CodeOutput, int]]:
    """Yield the code's output for the first rows, in evaluation mode, with noise that is the same at every call."""
    generator = torch.Generator(data.x.device).manual_seed(derive(seed, "health"))
    training, seen = composition.training, 0
    composition.eval()
    with torch.no_grad():
        for block in Loader(data, _BLOCK).blocks():
            # With a draw, since the KL from a prior that joins the latents is estimated at it.
            output = composition.encode(block, Draw(1, generator))
            most = max(_FEWEST_ROWS, min(ROWS, most_values // output.mean[0].numel()))
            yield output, min(block.rows, most - seen)
            seen += block.rows
            if seen >= most:
                break
    composition.train(training)


def _rank_rows(latents: int, most_values: float) -> int:
    square = int(most_values**0.5 / latents**0.5)  # as many rows as latents or fewer: rows * rows * latents
    return max(_FEWEST_ROWS, square if square <= latents else int(most_values / latents**2))


def as_metrics(health: Health) -> dict[str, float]:
    """Return the numbers with their names in history and metrics; of `average_activation` the mean.

    Example:
        >>> as_metrics({"active_units": 2.0, "dead_units": 0.0, "average_activation": [0.25, 0.75]})
        {'active_units': 2.0, 'health/dead_units': 0.0, 'health/average_activation': 0.5}
    """
    named: dict[str, float] = {}
    for name, value in health.items():
        if isinstance(value, list):
            if name == "average_activation":
                named[PREFIX + name] = sum(value) / len(value)
        else:
            named[name if name == "active_units" else PREFIX + name] = value
    return named


def from_metrics(metrics: Mapping[str, Any]) -> Health:
    """Return the health from a model's metrics; none for a model that was trained before it was measured."""
    health: Health = {
        name.removeprefix(PREFIX): float(value) for name, value in metrics.items() if name.startswith(PREFIX)
    }
    return health | {"active_units": float(metrics["active_units"])} if health else {}
