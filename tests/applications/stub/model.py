"""`Groups`: which of some groups a row is nearest to, by the latent codes of an autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted

from isthmus.applications import folder
from isthmus.applications.contract import Description
from isthmus.estimator.autoencoder import Autoencoder, as_recipe

KIND = "groups"


class Groups(ClusterMixin, BaseEstimator):
    """Divide rows into groups.

    Args:
        n_clusters: how many.
        recipe: of the autoencoder.
        random_state: seed of everything.
    """

    estimators_: list[Autoencoder]

    def __init__(self, n_clusters: int = 3, *, recipe: Any = "autoencoder", random_state: int = 0) -> None:
        self.n_clusters = n_clusters
        self.recipe = recipe
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn rows, and the centres of groups of their codes."""
        recipe = as_recipe(self.recipe).replace({"training.seed": self.random_state})
        self.estimators_ = [Autoencoder(recipe).fit(X)]
        codes = self.estimators_[0].transform(X)
        self.centres_ = KMeans(self.n_clusters, random_state=self.random_state).fit(codes).cluster_centers_
        return self

    def predict(self, X: Any) -> Any:
        """Return the number of each row's group, `(rows,)`."""
        check_is_fitted(self)
        codes = self.estimators_[0].transform(X)
        return np.square(codes[:, None] - self.centres_).sum(2).argmin(1)

    def describe(self) -> Description:
        """Return what it is."""
        facts = {"rows": self.estimators_[0].schema_.describe(), "n_clusters": len(self.centres_)}
        return Description("groups of rows", (f"{facts['n_clusters']} groups of {facts['rows']}",), facts)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder."""
        check_is_fitted(self)
        settings = {"n_clusters": self.n_clusters, "random_state": self.random_state}
        text = folder.card("Groups of rows", self.describe().sentences, settings, ("groups", "groups.predict(X)"))
        arrays = {"centres": np.asarray(self.centres_, np.float64)}
        return folder.save(folder.Stored(KIND, settings, arrays, self.estimators_, text), path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return what `save` wrote."""
        return folder.restore(path, KIND, cls._restored)

    @classmethod
    def _restored(cls, stored: folder.Stored) -> Self:
        names = ("n_clusters", "random_state")
        found = cls(recipe=stored.estimators[0].recipe_, **{name: stored.settings[name] for name in names})
        found.estimators_, found.centres_ = stored.estimators, stored.arrays["centres"]
        return found
