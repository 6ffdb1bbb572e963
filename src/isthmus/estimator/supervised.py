"""A classifier or regressor on the codes of an autoencoder, whose encoder is frozen or trained further."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from isthmus.codes import CodeOutput, Draw
from isthmus.composition import Composition, Loss, Trainable
from isthmus.data.batches import split, take
from isthmus.errors import DataError, RecipeError, check_number, explain
from isthmus.estimator.autoencoder import Autoencoder, as_recipe
from isthmus.estimator.inference import Inference
from isthmus.objectives import Objective
from isthmus.recipe import Recipe, Training
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.training import choose_progress, train
from isthmus.training.device import choose_device, seeded


@dataclass(slots=True)
class _Prediction:
    batch: Batch
    output: Tensor
    reconstruction: Tensor | None


class Predictor(Trainable):
    """A head on the code of a composition, against the training loop's contract.

    The loss is the head's loss on the rows that have a label, plus `weight` times the autoencoder's cost on all rows.
    """

    def __init__(
        self,
        composition: Composition,
        head: nn.Module,
        *,
        classes: int,
        fine_tune: bool,
        weight: float,
        labelled: float,
        example: Batch,
    ) -> None:
        super().__init__()
        self.autoencoder, self.head = composition, head
        self.classes, self.fine_tune, self.weight, self.labelled = classes, fine_tune, weight, labelled
        self.owning_terms = nn.ModuleDict()
        trained = composition.parameters() if weight else _encoder(composition, example)
        self.trained = list(trained) if fine_tune else []

    def owners(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        """Yield the parameters that are trained: the head's, and what gradients reach of the autoencoder."""
        yield "autoencoder", [*self.head.parameters(), *self.trained]

    def forward(
        self,
        batch: Batch,
        draw: Draw | None = None,
        *,
        corrupt: bool = False,
        generator: torch.Generator | None = None,
    ) -> _Prediction:
        """Return the head's output for the deterministic code, and the autoencoder's cost where it counts."""
        rows = batch.replace(target=None)
        if not self.fine_tune:
            self.autoencoder.eval()
            with torch.no_grad():
                code = self.autoencoder.encode(rows)
            return _Prediction(batch, self.head(code.mean.flatten(1)), None)
        cost = None
        if self.weight:
            cost = self.autoencoder(rows, Draw(generator=generator), corrupt=corrupt, generator=generator)
        code = self.autoencoder.encode(rows)
        return _Prediction(batch, self.head(code.mean.flatten(1)), None if cost is None else cost.reconstruction)

    def after_step(self) -> None:
        """Keep the autoencoder's weights where its network and code want them."""
        self.autoencoder.after_step()

    def loss(self, forward: _Prediction, weights: Mapping[str, float]) -> Loss:
        """Return the cross-entropy (nats) or half the squared error, and the weighted cost of the rows."""
        wanted = forward.batch.wanted
        labelled = ~torch.isnan(wanted[:, 0])
        output, known = forward.output[labelled], wanted[labelled]
        if self.classes:
            total = F.cross_entropy(output, known[:, 0].long(), reduction="sum")
        else:
            total = 0.5 * (output - known).square().sum()
        # By the share that has a label, so that batches with few of them do not count for more, and the average over
        # batches is that over rows with a label.
        value = total / (len(wanted) * self.labelled)
        raw = {"prediction": value}
        if forward.reconstruction is not None:
            raw["reconstruction"] = forward.reconstruction.mean()
            value = value + self.weight * raw["reconstruction"]
        return Loss(value, raw)

    def encode(self, batch: Batch, draw: Draw | None = None) -> CodeOutput:
        """Return the autoencoder's code."""
        return self.autoencoder.encode(batch.replace(target=None), draw)


def _encoder(composition: Composition, example: Batch) -> list[nn.Parameter]:
    """Return the parameters that the code depends on."""
    parameters = list(composition.parameters())
    with torch.enable_grad():
        total = composition.encode(example).mean.sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


class _LatentPredictor(BaseEstimator):
    """What classifier and regressor share; see `LatentClassifier` for the arguments."""

    predictor_: Predictor
    autoencoder_: Autoencoder

    def __init__(
        self,
        autoencoder: Autoencoder | Recipe | str = "autoencoder",
        *,
        fine_tune: bool = True,
        hidden_dims: tuple[int, ...] = (),
        reconstruction_weight: float = 0.0,
        training: Training | None = None,
        random_state: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.autoencoder = autoencoder
        self.fine_tune = fine_tune
        self.hidden_dims = hidden_dims
        self.reconstruction_weight = reconstruction_weight
        self.training = training
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _targets(self, y: Any, rows: int) -> tuple[np.ndarray[Any, Any], int]:
        """Return targets `(rows, outputs)` with NaN where there is no label, and the number of classes, 0 for none."""

    def fit(self, X: Any, y: Any) -> Self:
        """Train the head, and with `fine_tune` the encoder, on the rows that have a label.

        An autoencoder that is not fitted yet is first fitted on all rows. A fitted one is copied, and left as it is.

        Args:
            X: rows, as in `Autoencoder.fit`.
            y: one label for each row; see the class for how rows without one are marked.

        Raises:
            DataError: if no row has a label, or there are not as many labels as rows.
        """
        check_number("reconstruction_weight", self.reconstruction_weight, 0.0)
        base = self._fitted_autoencoder(X)
        encoded = base.encoded_rows(X)
        targets, classes = self._targets(y, len(encoded))
        if np.isnan(targets).all():
            raise DataError(explain("a label for some of the rows", "none", "y with labels"))
        settings = replace(self.training or Training(), seed=self._seed())
        device = choose_device(settings.device)
        recipe = Recipe(training=settings)
        joint = self.fine_tune and self.reconstruction_weight > 0
        rows = np.arange(len(encoded))
        if not joint:  # rows without a label would teach nothing
            rows = rows[~np.isnan(targets[:, 0])]
            targets = targets[rows]
        wanted = torch.from_numpy(targets).float().to(device)
        data = encoded.whole(rows).to(device).replace(target=wanted)
        kept, held_out = _split(targets, settings)
        settings = recipe.resolve(base.schema_, len(kept)).training
        composition = copy.deepcopy(base.composition_).to(device)
        with seeded(derive(settings.seed, "head"), torch.device("cpu")):
            width = Inference(base.recipe_, base.schema_, base.encoding_, composition).width
            head = _head(width, self.hidden_dims, classes or targets.shape[1])
        predictor = Predictor(
            composition,
            head.to(device),
            classes=classes,
            fine_tune=self.fine_tune,
            weight=self.reconstruction_weight if joint else 0.0,
            labelled=float((~np.isnan(targets[:, 0])).mean()),
            example=take(data, slice(0, 2)).replace(target=None),
        )
        self.history_ = train(
            predictor,
            Objective(),
            settings,
            take(data, kept.to(device)),
            take(data, held_out.to(device)) if len(held_out) else None,
            progress=choose_progress(self.verbose),
        )
        self.predictor_, self.autoencoder_, self.n_features_in_ = predictor, base, base.n_features_in_
        return self

    def _fitted_autoencoder(self, X: Any) -> Autoencoder:
        given = self.autoencoder
        if isinstance(given, Autoencoder) and hasattr(given, "composition_"):
            base = given
        else:
            recipe = given.recipe if isinstance(given, Autoencoder) else given
            base = Autoencoder(as_recipe(recipe), random_state=self.random_state, verbose=self.verbose).fit(X)
        if base.schema_.condition_dim:
            raise RecipeError("the autoencoder is conditional; try an unconditional one")
        return base

    def _seed(self) -> int:
        return (self.training or Training()).seed if self.random_state is None else int(self.random_state)

    def _outputs(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        if not hasattr(self, "predictor_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; try fit(X, y)")
        base = self.autoencoder_
        inference = Inference(base.recipe_, base.schema_, base.encoding_, self.predictor_.autoencoder)

        def of(block: Batch) -> Tensor:
            found: Tensor = self.predictor_.head(inference.composition.encode(block).mean.flatten(1)).double()
            return found

        return np.concatenate([inference.each(batch, of) for batch in base.encoded_rows(X).batches()])


def _split(targets: np.ndarray[Any, Any], settings: Training) -> tuple[Tensor, Tensor]:
    """Return the (training, validation) row numbers, with the same share of rows with a label in both."""
    known = torch.from_numpy(~np.isnan(targets[:, 0]))
    kept, held_out = [], []
    for group in (known.nonzero().flatten(), (~known).nonzero().flatten()):
        inside, outside = split(len(group), settings.validation_fraction, settings.seed)
        kept.append(group[inside])
        held_out.append(group[outside])
    return torch.cat(kept), torch.cat(held_out)


def _head(width: int, hidden_dims: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return the layers on the code: the last one starts from zero, so that what was pretrained is not disturbed."""
    layers: list[nn.Module] = []
    for hidden in hidden_dims:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


class LatentClassifier(ClassifierMixin, _LatentPredictor):
    """A classifier on the codes of an autoencoder.

    Args:
        autoencoder: fitted (it is copied and left as it is), or not, or a recipe: then it is fitted on all rows first.
        fine_tune: whether the encoder is trained further; otherwise it is frozen.
        hidden_dims: widths of layers between the code and the classes; none is logistic regression.
        reconstruction_weight: of the autoencoder's own cost while fine-tuning, which then also learns from the rows
            without a label.
        training: of the head, as `Recipe.training`.
        random_state: seed of split, order and weights.
        verbose: whether training shows its progress.

    Rows without a label have -1, None or NaN in `y`.

    Attributes:
        classes_: the classes, sorted.
        predictor_: the trained module.
        history_: losses by epoch; `prediction` is the cross-entropy in nats.

    Example:
        >>> import numpy as np
        >>> from isthmus import presets
        >>> from isthmus.recipe import Training
        >>> X = np.random.default_rng(0).random((200, 6))
        >>> y = np.where(X[:, 0] > 0.5, "high", "low")
        >>> recipe = presets.autoencoder(latent_dim=3, hidden_dims=(8,), epochs=2)
        >>> model = LatentClassifier(recipe, training=Training(epochs=2), random_state=0).fit(X, y)
        >>> model.predict(X).shape, model.predict_proba(X).shape
        ((200,), (200, 2))

    Paper: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 2006.
    """

    def _targets(self, y: Any, rows: int) -> tuple[np.ndarray[Any, Any], int]:
        labels = np.asarray(y, dtype=object)
        if labels.shape != (rows,):
            got = f"shape {labels.shape}"
            raise DataError(explain(f"one label for each of {rows} rows", got, "y of shape (rows,)"))
        known = np.array([not _is_missing(label) for label in labels])
        if not known.any():
            return np.full((rows, 1), np.nan), 2
        self.classes_, places = np.unique(np.array(labels[known].tolist()), return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(explain("labels of two classes or more", f"{self.classes_.tolist()}", "other labels"))
        targets = np.full((rows, 1), np.nan)
        targets[known, 0] = places
        return targets, len(self.classes_)

    def predict_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the probability of each class, `(rows, classes)`."""
        outputs = self._outputs(X)
        shares = np.exp(outputs - outputs.max(1, keepdims=True))
        probabilities: np.ndarray[Any, np.dtype[np.float64]] = shares / shares.sum(1, keepdims=True)
        return probabilities

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the most probable class of each row, `(rows,)`."""
        classes: np.ndarray[Any, Any] = self.classes_[self._outputs(X).argmax(1)]
        return classes


def _is_missing(label: Any) -> bool:
    return label is None or label == -1 or label != label


class LatentRegressor(RegressorMixin, _LatentPredictor):
    """A regressor on the codes of an autoencoder, trained on the squared error of standardised targets.

    The arguments are those of `LatentClassifier`; rows without a target have NaN in `y`.

    Example:
        >>> import numpy as np
        >>> from isthmus import presets
        >>> from isthmus.recipe import Training
        >>> X = np.random.default_rng(0).random((200, 6))
        >>> recipe = presets.autoencoder(latent_dim=3, hidden_dims=(8,), epochs=2)
        >>> LatentRegressor(recipe, training=Training(epochs=2)).fit(X, X.sum(1)).predict(X).shape
        (200,)

    Paper: Hinton and Salakhutdinov, Using Deep Belief Nets to Learn Covariance Kernels for Gaussian Processes, 2008.
    """

    def _targets(self, y: Any, rows: int) -> tuple[np.ndarray[Any, Any], int]:
        targets = np.array(y, dtype=np.float64)  # a copy: rows with missing values lose all their targets below
        if targets.ndim not in (1, 2) or len(targets) != rows:
            raise DataError(explain(f"targets for {rows} rows", f"shape {targets.shape}", "y of shape (rows,)"))
        self._flat = targets.ndim == 1
        targets = targets.reshape(rows, -1)
        targets[np.isnan(targets).any(1)] = np.nan
        if np.isnan(targets).all():
            return targets, 0
        self.mean_, scale = np.nanmean(targets, 0), np.nanstd(targets, 0)
        self.scale_ = np.where(scale == 0, 1.0, scale)
        return (targets - self.mean_) / self.scale_, 0

    def predict(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the targets, `(rows,)` or `(rows, targets)`, in their units."""
        values: np.ndarray[Any, np.dtype[np.float64]] = self._outputs(X) * self.scale_ + self.mean_
        return values[:, 0] if self._flat else values
