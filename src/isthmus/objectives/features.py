"""Images compared by what a network, or a pyramid, makes of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.errors import RecipeError, explain, unknown_name
from isthmus.objectives.images import ImageTerm
from isthmus.settings import Pattern, Range

# An image is halved until a side would be shorter than this.
_SMALLEST_LEVEL = 4


class LaplacianPyramid(nn.Module):
    """What each halving of an image loses, from the finest, and what is left: features without any weights.

    Example:
        >>> [tuple(level.shape[-2:]) for level in LaplacianPyramid()(torch.zeros(1, 1, 16, 16))]
        [(16, 16), (8, 8), (4, 4)]

    Paper: Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983,
    https://doi.org/10.1109/TCOM.1983.1095851.
    """

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the levels, each `(rows, channels, height, width)` of its own size."""
        levels = []
        while min(x.shape[-2:]) >= 2 * _SMALLEST_LEVEL:
            smaller = F.avg_pool2d(x, 2)
            levels.append(x - F.interpolate(smaller, x.shape[-2:], mode="bilinear", align_corners=False))
            x = smaller
        return [*levels, x]


FEATURES: dict[str, nn.Module] = {"laplacian": LaplacianPyramid()}


def register_features(name: str, module: nn.Module) -> None:
    """Give a network the name by which `Perceptual` finds it, in this process only.

    The term keeps a frozen copy in evaluation mode; later changes to the module do not reach it. It is not part of a
    model: a saved one keeps the name, and loading never imports or runs anyone's code. A loaded model works without
    it; only training asks for it again.

    Args:
        name: letters, digits and underscores.
        module: maps images `(rows, channels, height, width)`, in preprocessed units, to a tensor or a sequence of
            tensors `(rows, ...)`; scaling to what it was trained on, or repeating a grey channel, is its own business.

    Raises:
        RecipeError: for another kind of name or of module, or for the name of a built-in one.

    Example:
        >>> register_features("small", nn.Conv2d(1, 4, 3))
        >>> Perceptual("small").misfit((1, 8, 8)) is None
        True
    """
    _NAME.checked("name", name)
    if not isinstance(module, nn.Module):
        raise RecipeError("module: " + explain("a torch.nn.Module", repr(module), "a network in a module of its own"))
    if name == "laplacian":
        raise RecipeError("name: " + explain("a name of your own", repr(name), "another one; this one is built in"))
    FEATURES[name] = copy.deepcopy(module).requires_grad_(False).eval()


_NAME = Pattern(r"[^\W\d]\w*", "letters, digits and underscores", "laplacian")


@dataclass(frozen=True)
class Perceptual(ImageTerm):
    """The distance between images in the features of a network: ``values * mean over layers of mean |f - f^|**power``.

    The mean runs over a layer's features, so that layers of any size count the same, and times the values of a row it
    is on the scale of an error that is summed over columns.

    Args:
        features: the name of a network given to `register_features`, or "laplacian", the built-in pyramid: it needs no
            weights, and gives edges of every size the same say.
        power: from 1 to 2. The squared distance between features that are linear in the image, such as those of the
            pyramid, is least for the blurred average again, so it is meant for networks.

    Example:
        >>> import torch
        >>> x = torch.eye(8).view(1, 1, 8, 8)
        >>> Perceptual().compare(x, x).item(), Perceptual().compare(x.flip(-1), x).item() > 0
        (0.0, True)

    Papers: Johnson et al., Perceptual Losses for Real-Time Style Transfer, 2016, https://arxiv.org/abs/1603.08155; for
    the pyramid Bojanowski et al., Optimizing the Latent Space of Generative Networks, 2018,
    https://arxiv.org/abs/1707.05776.
    """

    kind: ClassVar[str] = "perceptual"
    features: Annotated[str, _NAME] = "laplacian"
    power: Annotated[float, Range(1, 2)] = 1.0

    def misfit(self, row: tuple[int, ...]) -> str | None:
        if self.features not in FEATURES:
            known = unknown_name("network of features", self.features, FEATURES)
            return f"objective.perceptual.features: {known}; try isthmus.objectives.register_features(name, module)"
        return super().misfit(row)

    def compare(self, made: Tensor, wanted: Tensor) -> Tensor:
        if self.features not in FEATURES:
            raise RecipeError(self.misfit(tuple(made.shape[1:])))
        network = FEATURES[self.features].to(made.device)
        with torch.no_grad():
            targets = _layers(network(wanted))
        distances = [
            (got - target).abs().pow(self.power).flatten(1).mean(1)
            for got, target in zip(_layers(network(made)), targets, strict=True)
        ]
        return made[0].numel() * torch.stack(distances).mean(0)


def _layers(features: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features)
