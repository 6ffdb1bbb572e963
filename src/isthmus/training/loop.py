"""The training loop, all of it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from isthmus.codes import Draw
from isthmus.composition import Loss, Trainable
from isthmus.data.batches import BatchSource, Loader
from isthmus.errors import ArtifactError, TrainingError
from isthmus.objectives import Objective
from isthmus.recipe import Training
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.training.checkpoint import CheckpointStore
from isthmus.training.device import autocast, generator_state, seeded, set_generator_state, threads
from isthmus.training.health import epoch_health
from isthmus.training.history import History
from isthmus.training.optimizer import Optimizer
from isthmus.training.progress import Progress, Silent

# Steps between two looks at whether the loss is still finite; a fixed number, so that a resumed run looks as often.
_LOOK_EVERY = 50
# A NaN lowers the rate to this share, once.
_RATE_AFTER_NAN = 0.1
_EVALUATION_ROWS = 1024


@dataclass
class State:
    """The state of a run: everything that a checkpoint needs besides the tensors."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows_summed: int = 0
    rate_scale: float = 1.0
    norm_averages: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One training run: the composition, its optimisers and its state."""

    def __init__(
        self,
        composition: Trainable,
        objective: Objective,
        settings: Training,
        data: Batch | BatchSource,
        validation: Batch | None,
    ) -> None:
        self.composition, self.objective, self.settings = composition, objective, settings
        self.loader = Loader(data, int(settings.batch_size), settings.seed) if isinstance(data, Batch) else data
        self.device = self.loader.device
        self.validation = Loader(validation, _EVALUATION_ROWS) if validation is not None else None
        self.steps = int(settings.epochs) * self.loader.steps
        self.optimisers = {
            name: Optimizer(parameters, settings, self.steps) for name, parameters in composition.owners() if parameters
        }
        self.state = State()
        self.sums: dict[str, Tensor] = {}
        self.best = self._weights()
        self.compute: Callable[[Batch, Mapping[str, float]], tuple[Any, Loss]] = self._compute
        if settings.compile:
            self.compute = torch.compile(self._compute)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.composition.state_dict().items()}

    def _compute(self, batch: Batch, weights: Mapping[str, float]) -> tuple[Any, Loss]:
        forward = self.composition(batch, Draw(self.objective.samples), corrupt=True)
        return forward, self.composition.loss(forward, weights)

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.state.step / self.steps

    def train_step(self, batch: Batch) -> None:
        """Take one step with every optimiser and add the batch's losses to the epoch's sums."""
        progress = self.progress
        weights = self.objective.weights(progress)
        self.composition.set_progress(progress, self.settings.opening)
        main, *others = self.optimisers.items()
        main[1].zero_grad()
        with autocast(self.settings, self.device):
            forward, loss = self.compute(batch, weights)
        loss.total.backward()
        norm = main[1].step(self.state.step)
        for name, optimiser in others:
            # The autoencoder's backward pass has left gradients here that this owner must not follow.
            optimiser.zero_grad()
            with autocast(self.settings, self.device):
                own_loss = self.composition.owning_terms[name].own_loss(forward)  # type: ignore[operator]
            own_loss.backward()
            optimiser.step(self.state.step)
        self.composition.after_step()
        self._add("total", loss.total, batch.rows)
        for name, value in loss.raw.items():
            self._add(name, value, batch.rows)
            if name in weights:
                self._add(f"{name}/weighted", value, batch.rows * weights[name])
        self._add("gradient_norm", norm, batch.rows)
        self.state.rows_summed += batch.rows
        self.state.step += 1
        self.state.batch += 1

    def _add(self, name: str, value: Tensor, times: float) -> None:
        if name not in self.sums:
            wide = torch.float32 if self.device.type == "mps" else torch.float64
            self.sums[name] = torch.zeros((), dtype=wide, device=self.device)
        self.sums[name].add_(value.detach(), alpha=times)

    def averages(self) -> dict[str, float]:
        """Return the epoch's losses so far, averaged over rows; this waits for the device. Empty after a recovery."""
        if not self.sums:
            return {}
        names, rows = list(self.sums), max(1, self.state.rows_summed)
        values = torch.stack([self.sums[name] for name in names]).tolist()
        return {name: value / rows for name, value in zip(names, values, strict=True)}

    def validate(self) -> dict[str, float]:
        """Return the losses on the validation rows with the final weights of the terms, so that epochs are comparable.

        The noise is the same at every call, and the network is in evaluation mode.
        """
        if self.validation is None:
            return {}
        generator = torch.Generator(self.device).manual_seed(derive(self.settings.seed, "validation"))
        weights = self.objective.weights(1.0)
        sums: dict[str, float] = {}
        draw = Draw(self.objective.samples, generator)
        self.composition.set_progress(1.0)
        self.composition.eval()
        with torch.no_grad():
            for block in self.validation.blocks():
                forward = self.composition(block, draw, corrupt=True, generator=generator)
                loss = self.composition.loss(forward, weights)
                for name, value in {"total": loss.total, **loss.raw}.items():
                    sums[name] = sums.get(name, 0.0) + value.item() * block.rows
        self.composition.train()
        return {name: value / self.validation.data.rows for name, value in sums.items()}

    def health(self) -> dict[str, float]:
        """Return `active_units` and the rest of the code's health, on validation rows if there are any."""
        data = self.loader.representative if self.validation is None else self.validation.data
        return epoch_health(self.composition, data, self.settings.seed, self.state.epoch)

    def finish_epoch(self) -> dict[str, Any]:
        """Evaluate, keep the weights if they are the best so far, and add a row to the history."""
        state, averages = self.state, self.averages()
        validation = self.validate()
        row: dict[str, Any] = {"epoch": state.epoch + 1}
        norm = averages.pop("gradient_norm", 0.0)
        row |= {f"train/{name}": value for name, value in averages.items()}
        row |= {f"validation/{name}": value for name, value in validation.items()}
        final = self.objective.weights(1.0)
        row |= {f"validation/{name}/weighted": validation[name] * final[name] for name in final if validation}
        health = self.health()
        row |= {name: value for name, value in health.items() if name != "active_units"}
        row["learning_rate"] = self.optimisers["autoencoder"].rate(state.step - 1)
        row["gradient_norm"] = norm
        row["rows_per_second"] = self.loader.rows / max(state.epoch_seconds, 1e-9)
        row["active_units"] = int(health["active_units"])
        row["seconds"] = state.seconds
        loss = validation.get("total", averages.get("total", math.inf))
        # With nothing held out, the last epoch's weights are kept: the training loss lags behind them. An epoch that
        # ended in a recovery has trained nothing.
        # Nor do epochs compare in which latents are still closed: of those the last one is kept.
        opening = self.progress < self.settings.opening
        if averages and math.isfinite(loss) and (loss < state.best_loss or self.validation is None or opening):
            state.best_loss, state.best_epoch = math.inf if opening else loss, state.epoch + 1
            self.best = self._weights()
        state.rows.append(row)
        for optimiser in self.optimisers.values():
            optimiser.settle(norm)
        state.epoch, state.batch, state.epoch_seconds = state.epoch + 1, 0, 0.0
        self.sums, state.rows_summed = {}, 0
        return row

    def recover(self) -> None:
        """Go back to the best weights with a lower learning rate after a NaN; raise `TrainingError` the second time."""
        where = f"epoch {self.state.epoch + 1}, step {self.state.step}"
        bad = [name for name, value in self.averages().items() if not math.isfinite(value)]
        self.composition.load_state_dict(self.best)
        if self.state.rate_scale < 1.0:
            raise TrainingError(
                f"the loss is not finite at {where} ({', '.join(bad)}), and a tenth of the learning rate did not help; "
                f"try training.learning_rate={self.settings.learning_rate / 30:.1g}, or look for extreme "
                "values in the data"
            )
        warnings.warn(
            f"the loss is not finite at {where} ({', '.join(bad)}); "
            "continuing from the best weights with a tenth of the learning rate",
            RuntimeWarning,
            stacklevel=2,
        )
        self.state.rate_scale = _RATE_AFTER_NAN
        for optimiser in self.optimisers.values():
            optimiser.forget()
            optimiser.rate_scale = _RATE_AFTER_NAN
        self.sums, self.state.rows_summed = {}, 0

    def save(self, store: CheckpointStore) -> None:
        """Write a checkpoint."""
        tensors = {"generator": generator_state(self.device)}
        for owner, optimiser in self.optimisers.items():
            tensors |= {f"{owner}/{name}": value for name, value in optimiser.state().items()}
        tensors |= {f"buffers/{name}": value for name, value in self.composition.named_buffers()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"sums/{name}": value for name, value in self.sums.items()}
        self.state.norm_averages = [optimiser.norm_average for optimiser in self.optimisers.values()]
        store.save(tensors, asdict(self.state))

    def restore(self, store: CheckpointStore) -> bool:
        """Continue from a checkpoint, if there is one."""
        found = store.load()
        if found is None:
            return False
        try:
            self._restore(*found)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"the checkpoint {str(store.path)!r} is damaged ({error}); try without resuming"
            ) from None
        return True

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.state = State(**state)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v.to(self.device) for k, v in tensors.items() if k.startswith(prefix)}

        for (owner, optimiser), average in zip(self.optimisers.items(), self.state.norm_averages, strict=True):
            optimiser.load_state(part(f"{owner}/"))
            optimiser.norm_average, optimiser.rate_scale = average, self.state.rate_scale
        buffers = part("buffers/")
        for name, buffer in self.composition.named_buffers():
            buffer.copy_(buffers[name])
        best = part("best/")
        if best.keys() != self.best.keys():
            raise KeyError("best")
        self.best, self.sums = best, part("sums/")
        set_generator_state(tensors["generator"], self.device)


def train(
    composition: Trainable,
    objective: Objective,
    settings: Training,
    data: Batch | BatchSource,
    validation: Batch | None = None,
    *,
    progress: Progress | None = None,
    store: CheckpointStore | None = None,
    resume: bool = False,
) -> History:
    """Train a composition in place and return its history; it ends with the best weights.

    The best weights are those of the epoch with the lowest validation loss, or the last ones without validation rows.
    Ctrl-C ends training with the best weights so far.

    Args:
        composition: initialised, on the device of the data.
        objective: gives the weights of the terms.
        settings: resolved (nothing "auto" but the device and the threads).
        data: preprocessed training rows, or the source that they are read from.
        validation: preprocessed validation rows.
        progress: shows the progress.
        store: where checkpoints go; None for none.
        resume: whether to continue from the store's checkpoint, if there is one.

    Raises:
        TrainingError: if the loss is not finite a second time before any epoch was completed.
    """
    progress = progress or Silent()
    device = data.x.device if isinstance(data, Batch) else data.device
    seed = derive(settings.seed, "training")
    with threads(settings.threads, composition, int(settings.batch_size)), seeded(seed, device):
        composition.train()
        run = Run(composition, objective, settings, data, validation)
        if resume and store is not None:
            run.restore(store)
        progress.start(int(settings.epochs), run.steps, run.state.step)
        reason = "interrupted"
        try:
            reason = _epochs(run, progress, store)
        except KeyboardInterrupt:
            warnings.warn("interrupted; the best weights so far are kept", RuntimeWarning, stacklevel=2)
        except TrainingError as error:
            reason = f"stopped: {error}"
            if not run.state.best_epoch:
                raise
            warnings.warn(f"{error}; the best weights so far are kept", RuntimeWarning, stacklevel=2)
        finally:
            progress.stop(reason)
        if run.state.best_epoch:
            composition.load_state_dict(run.best)
        for optimiser in run.optimisers.values():
            optimiser.flat.release()
    composition.set_progress(1.0)
    composition.eval()
    return History(run.state.rows, reason, run.state.best_epoch)


def _epochs(run: Run, progress: Progress, store: CheckpointStore | None) -> str:
    """Run to the end and return why it ended."""
    state, settings = run.state, run.settings
    saved = time.monotonic()
    settled = math.ceil(max(run.objective.settled(), settings.opening) * int(settings.epochs))
    while state.epoch < int(settings.epochs):
        began = time.monotonic()
        for batch in run.loader.epoch(state.epoch, state.batch):
            run.train_step(batch)
            if progress.wants_step():
                progress.step(state.epoch, state.step, run.averages().get("total", math.nan))
            if state.step % _LOOK_EVERY == 0 and not math.isfinite(run.averages().get("total", 0.0)):
                run.recover()
            if store is not None and time.monotonic() - saved >= settings.checkpoint_seconds:
                began = _tick(state, began)
                _save(run, store)
                saved = time.monotonic()
        began = _tick(state, began)
        if not math.isfinite(run.averages().get("total", 0.0)):
            run.recover()
        progress.epoch(run.finish_epoch())
        # While a term's weight is rising, the loss under the final weights may well rise too.
        waited = state.epoch - max(state.best_epoch, settled)
        if settings.patience is not None and run.validation is not None and waited >= settings.patience:
            return f"no better validation loss for {settings.patience} epochs (best: epoch {state.best_epoch})"
    return f"all {settings.epochs} epochs done (best: epoch {state.best_epoch})"


def _save(run: Run, store: CheckpointStore) -> None:
    """Write a checkpoint; if that fails, as with a full disk, training continues with a warning."""
    try:
        run.save(store)
    except OSError as error:
        message = f"no checkpoint could be written to {str(store.folder)!r} ({error}); training continues without"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def _tick(state: State, began: float) -> float:
    now = time.monotonic()
    state.seconds += now - began
    state.epoch_seconds += now - began
    return now
