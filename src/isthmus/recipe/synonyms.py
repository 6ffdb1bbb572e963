"""Other names of settings and likelihoods, as other libraries call them; a name of isthmus always comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.errors import RecipeError, unknown_name

# By the path of what they stand for.
SETTINGS: dict[str, tuple[str, ...]] = {
    "training.learning_rate": ("lr", "alpha", "learning_rate_init"),
    "training.epochs": ("n_epochs", "num_epochs", "max_epochs", "max_iter"),
    "training.batch_size": ("batch", "batchsize"),
    "training.validation_fraction": ("validation_split", "val_fraction"),
    "training.seed": ("random_state", "random_seed"),
    "code.latent_dim": (
        "latent_dims", "latent_size", "n_latent", "n_latents", "n_components", "z_dim", "code_size", "encoding_dim",
        "bottleneck", "bottleneck_size",
    ),
    "network.hidden_dims": ("hidden", "hidden_dim", "hidden_layers", "hidden_sizes", "hidden_layer_sizes"),
    "network.dropout": ("dropout_rate",),
    "network.kernel": ("kernel_size",),
    "objective.kl.weight": ("kl_weight",),
}  # fmt: skip
LIKELIHOODS: dict[str, Any] = {
    "mse": "squared_error",
    "l2": "squared_error",
    "bce": "binary_cross_entropy",
    "mae": {"kind": "laplace", "scale": 1.0},
    "l1": {"kind": "laplace", "scale": 1.0},
    "gaussian": "normal",
    "cross_entropy": "one_hot",
}
# Names that no single setting stands for, with what to try.
ADVICE: dict[str, str] = {
    "beta": "presets.beta_vae(beta=...), or objective.kl.weight of a recipe",
    "kl_weight": "objective.kl.weight of a recipe with a kl term; the keyword of presets.beta_vae is beta",
    "huber": "student_t, which also counts large errors less, or laplace",
    "loss": "likelihood, such as likelihood='squared_error'",
    "optimizer": "training.learning_rate, training.betas and training.weight_decay; the optimiser is Adam",
    "early_stopping": "training.patience, or patience=None for none",
}
PATHS = {synonym: path for path, synonyms in SETTINGS.items() for synonym in synonyms}


def path_of(name: str) -> str | None:
    """Return the path of the setting that a name alone stands for; None if there is none."""
    own = {path.rpartition(".")[2]: path for path in SETTINGS if path != "objective.kl.weight"}
    return PATHS.get(name, own.get(name))


def setting_of(name: str, valid: Iterable[str], prefix: str = "") -> str:
    """Return a valid name as it is, and the one that a synonym stands for where that is valid in its place.

    >>> setting_of("lr", ["learning_rate", "epochs"])
    'learning_rate'
    """
    found = list(valid)
    path, _, own = PATHS.get(name, "").rpartition(".")
    return own if name not in found and own in found and (not prefix or path == prefix) else name


def with_own_names(where: str, data: Mapping[str, Any], valid: Iterable[str]) -> dict[str, Any]:
    """Return settings under their own names; raise `RecipeError` for one under two names."""
    found: dict[str, Any] = {}
    valid = list(valid)
    for name, value in data.items():
        own = setting_of(name, valid)
        if own in found or (own != name and own in data):
            raise RecipeError(f"{where}: {own!r} is set twice, once as {name!r}; try one of them")
        found[own] = value
    return found


def unknown_setting(name: object, valid: Iterable[str], what: str = "setting") -> str:
    """Return the message for an unknown name: what to try for a known one of another library, else the nearest."""
    if isinstance(name, str) and name in ADVICE:
        return f"there is no {what} {name!r} here; try {ADVICE[name]}"
    return unknown_name(what, name, valid)


def likelihood_of(value: Any) -> Any:
    """Return the likelihood that a synonym stands for; anything else as it is."""
    return LIKELIHOODS.get(value, value) if isinstance(value, str) else value
