"""Named methods: each a short function that returns a recipe.

Every preset takes the settings that people type as keyword arguments: `network` ("dense", "conv", ..., or a description
such as `isthmus.networks.Conv()`) and that network's own settings (`hidden_dims`, `activation`, `normalisation`,
`dropout`, `residual`, `tied` for the dense one; `channels`, `kernel`, `stride`, `skips` and more for the convolutional
one), those of `isthmus.recipe.Training` (`epochs`, `batch_size`, `learning_rate`, ...), `preprocessing` and, where the
method has a choice, `likelihood`.

`GROUPS` is the table of them: by what they are for, each in one group. `PRESETS` are the same by their names.
"""

from collections.abc import Callable

from isthmus.errors import RecipeError, unknown_name
from isthmus.presets.images import conv_autoencoder, conv_denoising, conv_vae
from isthmus.presets.matching import aae, info_vae, vae_gan, wae
from isthmus.presets.plain import autoencoder, contractive, deep, denoising, imputer, nested, rae, stacked
from isthmus.presets.quantised import categorical_vae, fsq, vq_vae
from isthmus.presets.sequences import (
    gru_autoencoder,
    lstm_autoencoder,
    masked_autoencoder,
    transformer_autoencoder,
)
from isthmus.presets.sparsity import (
    batch_top_k,
    gated,
    jump_relu,
    sparse,
    sparse_kl,
    sparse_l1,
    top_k,
)
from isthmus.presets.variational import (
    beta_tc_vae,
    beta_vae,
    capacity_vae,
    cvae,
    flow_vae,
    iwae,
    miwae,
    sparse_vae,
    vae,
    vamp_vae,
)
from isthmus.recipe import Recipe

GROUPS: dict[str, tuple[Callable[..., Recipe], ...]] = {
    "Compression and maps": (autoencoder, deep, nested, rae),
    "Cleaning and features": (denoising, stacked, contractive),
    "Sparse features": (sparse, sparse_l1, sparse_kl, top_k, batch_top_k, jump_relu, gated, sparse_vae),
    "Samples and scores": (vae, iwae, vamp_vae, flow_vae, wae, info_vae, aae, vae_gan),
    "Factors that separate": (beta_vae, beta_tc_vae, capacity_vae),
    "Discrete codes": (vq_vae, fsq, categorical_vae),
    "Images": (conv_autoencoder, conv_vae, conv_denoising, masked_autoencoder),
    "Series, and patches that attend to each other": (lstm_autoencoder, gru_autoencoder, transformer_autoencoder),
    "Missing values and conditions": (imputer, miwae, cvae),
}
PRESETS: dict[str, Callable[..., Recipe]] = {
    preset.__name__: preset for presets in GROUPS.values() for preset in presets
}


def get(name: str) -> Recipe:
    """Return a preset's default recipe by name; raise `RecipeError` with the valid names for any other."""
    if name not in PRESETS:
        raise RecipeError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]()


__all__ = [
    "GROUPS",
    "PRESETS",
    "aae",
    "autoencoder",
    "batch_top_k",
    "beta_tc_vae",
    "beta_vae",
    "capacity_vae",
    "categorical_vae",
    "contractive",
    "conv_autoencoder",
    "conv_denoising",
    "conv_vae",
    "cvae",
    "deep",
    "denoising",
    "flow_vae",
    "fsq",
    "gated",
    "get",
    "gru_autoencoder",
    "imputer",
    "info_vae",
    "iwae",
    "jump_relu",
    "lstm_autoencoder",
    "masked_autoencoder",
    "miwae",
    "nested",
    "rae",
    "sparse",
    "sparse_kl",
    "sparse_l1",
    "sparse_vae",
    "stacked",
    "top_k",
    "transformer_autoencoder",
    "vae",
    "vae_gan",
    "vamp_vae",
    "vq_vae",
    "wae",
]
