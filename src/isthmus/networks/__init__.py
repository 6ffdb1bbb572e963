"""Networks: features in, features out."""

from isthmus.networks.base import Network, NetworkSpec, Stage, Widths
from isthmus.networks.dense import ACTIVATIONS, Dense, DenseNetwork

NETWORKS: dict[str, type[NetworkSpec]] = {"dense": Dense}

__all__ = ["ACTIVATIONS", "NETWORKS", "Dense", "DenseNetwork", "Network", "NetworkSpec", "Stage", "Widths"]
