"""Training on rows that arrive in batches, without a last one at which a schedule could end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from isthmus.composition import Trainable
from isthmus.data.batches import Loader
from isthmus.errors import TrainingError
from isthmus.objectives import Objective
from isthmus.recipe import Training
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.training.device import seeded, threads
from isthmus.training.loop import Run

# No stream is as long; the rate warms up and stays, and the terms have their final weights.
_ENDLESS = 1 << 50


class IncrementalTraining(Run):
    """A run without an end: each call of `take` is one pass over the new rows.

    Args:
        composition: initialised, or trained before.
        objective: gives the weights of the terms.
        settings: resolved.
        data: the first rows.
    """

    def __init__(self, composition: Trainable, objective: Objective, settings: Training, data: Batch) -> None:
        super().__init__(composition, objective, replace(settings, schedule="constant", opening=0.0), data, None)
        self.steps = _ENDLESS
        for optimiser in self.optimisers.values():
            optimiser.steps = _ENDLESS

    @property
    def progress(self) -> float:
        return 1.0

    def take(self, data: Batch) -> dict[str, Any]:
        """Take the steps of one pass over some rows and return their row of the history.

        Raises:
            TrainingError: if the loss is not finite; the weights are then unchanged.
        """
        before, call = self._weights(), self.state.epoch
        size = min(self.loader.batch_size, data.rows)
        self.loader = Loader(data.to(self.device), size, derive(self.settings.seed, "increments", call))
        seed = derive(self.settings.seed, "training", call)
        with threads(self.settings.threads, self.composition, size), seeded(seed, self.device):
            self.composition.train()
            try:
                for batch in self.loader.epoch(0):
                    self.train_step(batch)
                if not math.isfinite(self.averages().get("total", math.nan)):
                    raise TrainingError(
                        f"the loss of these {data.rows} rows is not finite, and the weights are unchanged; try "
                        "a lower training.learning_rate, or look for extreme values in these rows"
                    )
            except BaseException:
                self.composition.load_state_dict(before)
                self.sums, self.state.rows_summed = {}, 0
                for optimiser in self.optimisers.values():
                    optimiser.forget()
                self.composition.eval()
                raise
            row = self.finish_epoch()
        self.composition.set_progress(1.0)
        self.composition.eval()
        return row
