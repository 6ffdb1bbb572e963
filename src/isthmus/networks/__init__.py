"""Networks: features in, features out."""

from isthmus.networks.attention import Attention
from isthmus.networks.base import Network, NetworkSpec, Stage, Widths
from isthmus.networks.conv import Conv, ConvNetwork
from isthmus.networks.dense import Dense, DenseNetwork
from isthmus.networks.layers import ACTIVATIONS
from isthmus.networks.recurrent import Recurrent

NETWORKS: dict[str, type[NetworkSpec]] = {
    "dense": Dense,
    "conv": Conv,
    "recurrent": Recurrent,
    "attention": Attention,
}

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "Attention",
    "Conv",
    "ConvNetwork",
    "Dense",
    "DenseNetwork",
    "Network",
    "NetworkSpec",
    "Recurrent",
    "Stage",
    "Widths",
]
