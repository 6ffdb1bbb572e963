"""What a fitted model knows of rows: how they are read, encoded and given back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sklearn.exceptions import NotFittedError

from isthmus.data.condition import as_condition
from isthmus.data.encoded import EncodedRows
from isthmus.data.encoding import Encoding
from isthmus.data.kinds import check_compatible
from isthmus.data.open import open_source, warn_of
from isthmus.data.tables.dataframes import like_frame
from isthmus.estimator.inference import Inference
from isthmus.recipe import Recipe
from isthmus.schema import Schema


class FittedModel:
    """The fitted parts of a model, and rows on their way into it and out of it."""

    recipe_: Recipe
    schema_: Schema
    encoding_: Encoding
    composition_: Any

    def _check_fitted(self) -> None:
        if not hasattr(self, "composition_"):
            raise NotFittedError("this Autoencoder is not fitted yet; try model.fit(X), or isthmus.load(path)")

    def inference(self) -> Inference:
        """Return the trained composition at work on encoded rows."""
        self._check_fitted()
        return Inference(self.recipe_, self.schema_, self.encoding_, self.composition_)

    def encoded_rows(self, X: Any, condition: Any = None, *, alone: bool = False) -> EncodedRows:
        """Return rows that are like the training rows, ready to be encoded; `alone` without their condition."""
        self._check_fitted()
        masks = self.recipe_.missing == "mask"
        source = open_source(X, like=self.schema_, missing=masks)
        check_compatible(source, self.schema_)
        warn_of(source, X)
        conditions = None if alone else self._encoded_condition(condition, len(source))
        return EncodedRows(source, self.schema_, self.encoding_, conditions, masks)

    def _encoded_condition(self, condition: Any, rows: int) -> Any:
        return as_condition(condition, rows, self.schema_.condition_labels, self.schema_.condition_dim)

    def _given_back(self, block: Any) -> Any:
        """Return a block as the kind of frame that the model was fitted on."""
        encoded = self.schema_.metadata or {}
        return like_frame(block, encoded.get("frame")) if isinstance(block, pa.Table) else block
