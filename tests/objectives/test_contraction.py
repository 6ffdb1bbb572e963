"""The contraction term equals the explicit Jacobian's squared Frobenius norm for every registered network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.codes import Deterministic
from isthmus.networks import NETWORKS
from isthmus.objectives import Contraction
from isthmus.recipe import Recipe
from isthmus.schema import Batch
from tests.helpers import PARTS, build, least, rows, shapes_of

NETWORK_PARTS = [part for part in PARTS["network"] if "independent_rows" in part.provides and "skips" not in repr(part)]


@pytest.mark.parametrize("part", [least(cls) for cls in NETWORKS.values()] + NETWORK_PARTS[::5], ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_contraction_is_the_explicit_jacobians_norm(part: Any, masked: bool) -> None:
    recipe = Recipe(part, Deterministic(3, "tanh"))
    shapes = shapes_of(recipe)
    if not shapes:
        pytest.skip("tied or otherwise misfit")
    x = rows(12, shape=shapes[0])
    composition = build(recipe, x).double().eval()
    values = torch.from_numpy(x[:3]).double()
    mask = None
    if masked:
        mask = torch.ones_like(values, dtype=torch.bool)
        mask.flatten(1)[:, -1] = False
    batch = Batch(values, mask)
    found = Contraction()(composition(batch)).detach()

    def code(row: Tensor, place: int) -> Tensor:
        own = None if mask is None else mask[place : place + 1]
        encoded: Tensor = composition.encode(Batch(row[None], own)).mean.flatten()
        return encoded

    for place in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda row, place=place: code(row, place), batch.observed().x[place], vectorize=False
        )
        assert float((found[place] - jacobian.square().sum()).abs()) < 1e-9 * max(1.0, float(found[place]))
        assert float(found[place]) > 0
