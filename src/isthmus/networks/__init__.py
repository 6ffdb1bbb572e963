"""Networks: features in, features out."""

from isthmus.networks.base import Network, NetworkSpec, Stage, Widths
from isthmus.networks.conv import Conv, ConvNetwork
from isthmus.networks.dense import Dense, DenseNetwork
from isthmus.networks.layers import ACTIVATIONS

NETWORKS: dict[str, type[NetworkSpec]] = {"dense": Dense, "conv": Conv}

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "Conv",
    "ConvNetwork",
    "Dense",
    "DenseNetwork",
    "Network",
    "NetworkSpec",
    "Stage",
    "Widths",
]
