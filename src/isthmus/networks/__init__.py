"""Networks: features in, features out."""

from isthmus.networks.attention import Attention
from isthmus.networks.base import Network, NetworkSpec, Widths
from isthmus.networks.dense import ACTIVATIONS, Dense, DenseNetwork
from isthmus.networks.recurrent import Recurrent

NETWORKS: dict[str, type[NetworkSpec]] = {"dense": Dense, "recurrent": Recurrent, "attention": Attention}

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "Attention",
    "Dense",
    "DenseNetwork",
    "Network",
    "NetworkSpec",
    "Recurrent",
    "Widths",
]
