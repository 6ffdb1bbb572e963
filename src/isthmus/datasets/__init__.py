"""Named data sets: `fetch` downloads one, `load` reads a local copy; nothing else uses the network."""

from __future__ import annotations

from isthmus.datasets.fetch import fetch
from isthmus.datasets.load import Dataset, load
from isthmus.datasets.registry import DatasetInfo, RemoteFile, info, names

__all__ = ["Dataset", "DatasetInfo", "RemoteFile", "fetch", "info", "load", "names"]
