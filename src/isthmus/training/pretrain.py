"""Greedy layer-wise pretraining: each layer is trained as an autoencoder of the layer before it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from isthmus.codes import Deterministic
from isthmus.composition import Composition
from isthmus.data.batches import Loader
from isthmus.networks import Network, Stage
from isthmus.objectives import Objective, SquaredError
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.training.loop import train
from isthmus.training.progress import Progress

_ROWS_AT_A_TIME = 1024


class StageNetwork(Network):
    """One stage as a network of its own; its code is the inner layer."""

    def __init__(self, stage: Stage, row: tuple[int, ...], parameters: int) -> None:
        super().__init__()
        self.encoder, self.decoder = stage.encoder, stage.decoder
        self.row, self.parameters_per_value = row, parameters

    def encode(self, batch: Batch) -> Tensor:
        features: Tensor = self.encoder(batch.x.flatten(1))
        return features

    def decode(self, z: Tensor, batch: Batch, skips: tuple[Tensor, ...] = ()) -> Tensor:
        parameters: Tensor = self.decoder(z)
        return parameters.view(len(z), self.parameters_per_value, *self.row)

    def set_output_bias(self, bias: Tensor) -> None:
        raise NotImplementedError("a stage starts from the weights that its network was initialised with")


def pretrain(composition: Composition, recipe: Recipe, data: Batch, progress: Progress | None = None) -> None:
    """Train the network's stages one after the other, in place.

    The first stage reconstructs the rows under the recipe's likelihood, each later one the activations of the stage
    before, with the squared error. The recipe's corruption is applied to the input of each stage, and the terms that
    are meant for every layer (sparsity, contraction) to its code.

    Args:
        composition: initialised, on the device of the data.
        recipe: resolved; `training.pretraining` is the number of epochs for each stage.
        data: preprocessed training rows.
        progress: shows the progress.

    Papers: Bengio et al., Greedy Layer-Wise Training of Deep Networks, NeurIPS 2006; Vincent et al., Stacked Denoising
    Autoencoders, JMLR 2010.
    """
    terms = tuple(w for w in recipe.objective.terms if w.term.layerwise)
    objective = Objective(SquaredError("linear"), terms)
    likelihood, row = composition.likelihood, tuple(data.x.shape[1:])
    parameters, corruption = composition.network.parameters_per_value, recipe.corruption
    for depth, stage in enumerate(composition.network.stages()):
        alone = Composition(
            StageNetwork(stage, row, parameters),
            Deterministic(stage.width).build(),
            # Bits are drawn from rows; activations are no probabilities.
            None if depth and corruption is not None and corruption.steps[0].redraws else corruption,
            likelihood,
            {w.term.kind: composition.terms[w.term.kind] for w in terms},
        )
        settings = dataclasses.replace(
            recipe.training,
            epochs=recipe.training.pretraining,
            opening=0.0,
            seed=derive(recipe.training.seed, "pretraining", depth),
        )
        train(alone.to(data.x.device), objective, settings, data, progress=progress)
        data = Batch(_activations(alone, data))
        likelihood, row, parameters = SquaredError("linear"), (stage.width,), 1
    composition.train()


def _activations(alone: Composition, data: Batch) -> Tensor:
    with torch.no_grad():
        return torch.cat([alone.encode(block).mean for block in Loader(data, _ROWS_AT_A_TIME).blocks()])
