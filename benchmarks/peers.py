"""isthmus and its peers, each behind the same function; as a program, one of them in a process of its own.

Usage, from the project's root (`benchmarks.run` does this for all of them):

    python -m benchmarks.peers SIDE [--epochs 10] [--seed 0] [--data FOLDER]

It prints one JSON object: wall time, process time and test error after every epoch, and the peak memory.
Evaluation, imports and the reading of the file do not count as time; imports and images do not count as memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.common import (
    DEFAULT_DATA,
    Clock,
    Images,
    Rows,
    autoencoder,
    by_module,
    layers,
    load_images,
    one_thread,
    scaled,
    squared_error,
)

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Task:
    """What every side is asked for: the encoder's widths, mirrored by the decoder, and the rows of a batch."""

    widths: tuple[int, ...]
    batch: int


TASK = Task((784, 512, 256, 32), 256)

Reconstruct = Callable[[Rows], Rows]
OnEpoch = Callable[[int, Reconstruct], None]
"""Called at the end of an epoch with its number, from 1, and the model as it is then."""
Train = Callable[[Any, Task, int, int, OnEpoch], None]
"""Trains on rows for so many epochs with this seed; all that it does is timed."""


class OneByOne(Dataset[tuple[Tensor, int]]):
    """One image at a time, as torchvision's MNIST with ToTensor: bytes, PIL image, tensor, divided by 255."""

    def __init__(self, images: Images) -> None:
        self.images = torch.from_numpy(images)
        # The tutorials' data sets give a label along, which an autoencoder drops: its value does not matter.
        self.labels = torch.zeros(len(images), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = Image.fromarray(self.images[index].numpy()), int(self.labels[index])
        levels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.height, image.width, 1)
        return levels.permute(2, 0, 1).contiguous().to(torch.float32).div(255), label


def textbook_loop(data: Dataset[Any], task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """Train as every tutorial does: DataLoader, Adam with its default settings, default initialisation."""
    torch.manual_seed(seed)
    model = autoencoder(task.widths, nn.Sigmoid())
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(data, batch_size=task.batch, shuffle=True)
    for epoch in range(1, epochs + 1):
        running = 0.0
        for images, *_ in loader:
            x = images.view(-1, task.widths[0])
            loss = mse_loss(model(x), x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            running += loss.item()
        on_epoch(epoch, by_module(model))


def textbook(images: Images, task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """The tutorials' script, images read one by one."""
    textbook_loop(OneByOne(images), task, epochs, seed, on_epoch)


def textbook_tensors(x: Rows, task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """The same script given floats: the least that a DataLoader over a Dataset costs."""
    textbook_loop(TensorDataset(torch.from_numpy(x)), task, epochs, seed, on_epoch)


def pythae(x: Rows, task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """pythae's AE with the same layers as custom encoder and decoder; its own pipeline, dataset and trainer.

    Its loss sums over pixels, which Adam all but cancels. It copies the whole model at every better epoch and
    pickles the best one at the end.
    """
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers(task.widths)

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers(task.widths[::-1], nn.Sigmoid())

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    torch.manual_seed(seed)
    config = AEConfig(input_dim=(task.widths[0],), latent_dim=task.widths[-1])
    model = AE(config, encoder=Encoder(), decoder=Decoder())

    class Report(TrainingCallback):
        epoch = 0

        def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
            self.epoch += 1
            on_epoch(
                self.epoch,
                by_module(lambda rows: model.decoder(model.encoder(rows).embedding).reconstruction),
            )

    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=LEARNING_RATE,
            per_device_train_batch_size=task.batch,
            seed=seed,
            no_cuda=True,
        )
        TrainingPipeline(model=model, training_config=settings)(torch.from_numpy(x), callbacks=[Report()])


def pyod(x: Rows, task: Task, epochs: int, seed: int, on_epoch: OnEpoch) -> None:
    """PyOD's AutoEncoder with standardising, batch normalisation, dropout and weight decay switched off.

    Three things of it cannot be chosen: the output has no sigmoid, the code passes a ReLU, the initialisation
    is Kaiming's. It drops the last, smaller batch. Its `fit` ends by scoring the training rows: that is after
    the last epoch, so it counts as memory and not as time.
    """
    from pyod.models.auto_encoder import AutoEncoder

    class Reporting(AutoEncoder):
        epoch = 0

        def epoch_update(self) -> None:
            self.epoch += 1
            on_epoch(self.epoch, by_module(self.model))

    Reporting(
        preprocessing=False,
        lr=LEARNING_RATE,
        epoch_num=epochs,
        batch_size=task.batch,
        device=torch.device("cpu"),
        random_state=seed,
        optimizer_params={"weight_decay": 0.0},
        hidden_neuron_list=list(task.widths[1:]),
        batch_norm=False,
        dropout_rate=0.0,
    ).fit(x)


def isthmus(
    x: Rows, task: Task, epochs: int, seed: int, on_epoch: OnEpoch, *, verbose: bool = False, **settings: Any
) -> None:
    """isthmus with its default settings but for the sizes and `settings`; the whole `fit`, whatever it does."""
    from isthmus import Autoencoder, presets

    recipe = presets.autoencoder(
        latent_dim=task.widths[-1],
        hidden_dims=task.widths[1:-1],
        epochs=epochs,
        batch_size=task.batch,
        **settings,
    )
    model = Autoencoder(recipe, random_state=seed, verbose=verbose).fit(x)
    # Its learning rate falls to zero over the epochs that were asked for, so only the last epoch is a result.
    on_epoch(epochs, lambda rows: np.asarray(model.reconstruct(rows), np.float32))


SIDES: dict[str, Train] = {
    "textbook": textbook,
    "textbook-tensors": textbook_tensors,
    "pythae": pythae,
    "pyod": pyod,
    # Like the others it trains on all 60,000 rows, none held out.
    "isthmus": partial(isthmus, validation_fraction=0.0),
}
TAKES_BYTES = frozenset({"textbook"})


@dataclass(frozen=True)
class Epoch:
    """Where a side stood after an epoch: seconds since its start, and the test error."""

    epoch: int
    wall: float
    process: float
    mse: float


@dataclass
class Result:
    """What one run of one side gave; `rows` is how many an epoch has."""

    side: str
    seed: int
    epochs: int
    rows: int
    history: list[Epoch] = field(default_factory=list)
    peak_mib: float = 0.0


def peak_mib() -> float:
    """Return the most memory this process ever held, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure(side: str, data: Path, epochs: int, seed: int) -> Result:
    """Train `side` in this process and say what it took."""
    one_thread()
    train_images, test_images = load_images(data, "fashion_mnist")
    # Both forms stay alive to the end: had one been freed, training could fill the gap unseen by the peak.
    x_train, x_test = scaled(train_images), scaled(test_images)
    warm_up(side)
    result = Result(side, seed, epochs, len(x_train))
    peak = peak_mib()
    clock = Clock()

    def on_epoch(epoch: int, reconstruct: Reconstruct) -> None:
        wall, process = clock.wall, clock.process
        with clock.paused():
            result.history.append(Epoch(epoch, wall, process, squared_error(reconstruct, x_test)))

    SIDES[side](train_images if side in TAKES_BYTES else x_train, TASK, epochs, seed, on_epoch)
    result.peak_mib = peak_mib() - peak
    return result


def warm_up(side: str) -> None:
    """Import what the side needs, and let torch set itself up, before the clock starts."""
    modules = {"pythae": "pythae.pipelines", "pyod": "pyod.models.auto_encoder", "isthmus": "isthmus"}
    if side in modules:
        __import__(modules[side])
    model = autoencoder((4, 2))
    model(torch.zeros(2, 4)).sum().backward()
    torch.optim.Adam(model.parameters()).step()


def main() -> None:
    """Parse the command line, run one side, print its result as JSON."""
    parser = argparse.ArgumentParser(description="Train one side of the comparison and print what it took.")
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of fashion_mnist.npz")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)  # pythae tells its whole configuration
    with contextlib.redirect_stdout(sys.stderr):  # so that the JSON stands alone
        result = measure(arguments.side, arguments.data, arguments.epochs, arguments.seed)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
