"""For each goal: the suitable kinds, the first choice first, and the rules that turn measurements into settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus.advice.measure import DataMeasurements

# Of training rows that are taken a step, and steps, as in the measurement on the ADBench tables.
_BATCH, _STEPS = 256, {"vector": 2000, "image": 600}
# With fewer rows for each latent, a code can number them.
_ROWS_PER_LATENT = 4
# From this correlation of a column with the next on, columns are alike; of no ADBench table is it above 0.73.
ALIKE = 0.8
# Up to this intrinsic dimension, a map shows the rows as they lie.
_FLAT = 2.5
# Noise below this share of the values' deviation is none to speak of: where it was tried, a narrow code alone removed
# as much of it as one that was trained to.
_LEAST_NOISE = 0.1


@dataclass(frozen=True)
class Choice:
    """A setting, its value, and the reason in one line.

    Attributes:
        setting: its path in the recipe; "recipe" for the preset.
        value: plain JSON.
        reason: one line.
        given: whether it differs from the default of `isthmus fit`.
    """

    setting: str
    value: Any
    reason: str
    given: bool = True


Rule = Callable[[DataMeasurements], Choice | None]


@dataclass(frozen=True)
class Candidate:
    """A kind that is suitable for a goal.

    Attributes:
        preset: its name.
        reason: for or against it, for this goal.
        rules: for its settings; a rule for a setting that the preset does not have is skipped.
        widest: largest number of values in a row for which it is proposed.
    """

    preset: str
    reason: str
    rules: tuple[Rule, ...] = ()
    widest: int | None = None


@dataclass(frozen=True)
class Goal:
    """The purpose of an autoencoder.

    Attributes:
        purpose: in words.
        candidates: the suitable kinds, the first choice first.
    """

    purpose: str
    candidates: tuple[Candidate, ...]


# ---- the latent ------------------------------------------------------------------------------------------------------


def tenfold(facts: DataMeasurements) -> str:
    """Return the rule of thumb: a code 10 to 20 times smaller than the row."""
    low, high = max(1, round(facts.width / 20)), max(1, round(facts.width / 10))
    return f"a 10- to 20-fold reduction: {f'{low} to {high}' if low < high else low}"


def _latent(facts: DataMeasurements, limits: dict[str, int], *reasons: str) -> Choice:
    """Return twice the intrinsic dimension, within limits: numbers of latents by their reason."""
    if facts.intrinsic is None:
        wanted, known = facts.components[95], f"{facts.components[95]} components hold 95 % of the variance"
        reason = f"{known} (too few different rows for an intrinsic dimension)"
    else:
        # Whitney: a smooth surface of d dimensions fits into 2 d flat ones without crossing itself.
        wanted, known = round(2 * facts.intrinsic), f"intrinsic dimension {facts.intrinsic:.1f}"
        reason = f"{known}, doubled to embed a curved manifold"
    limits = {**limits, f"one for {_ROWS_PER_LATENT} rows": max(1, facts.rows // _ROWS_PER_LATENT)}
    limit, most = min(limits.items(), key=lambda item: item[1])
    if wanted > most:
        reason = f"{known}, limited to {limit}"
    return Choice("code.latent_dim", max(1, min(wanted, most)), "; ".join((reason, *reasons, tenfold(facts))))


def _lossless(facts: DataMeasurements) -> dict[str, int]:
    limits = {"one less than the row has values": facts.width - 1, "what PCA needs": facts.components[99]}
    if facts.noise_is_clear and facts.signal:
        limits["the components above the noise"] = facts.signal
    return limits


def narrow(facts: DataMeasurements) -> Choice:
    """Twice the intrinsic dimension, and narrower than the row, so that the network cannot copy."""
    return _latent(facts, _lossless(facts))


def roomy(facts: DataMeasurements) -> Choice:
    """The same, up to the width of the row, for networks that noise keeps from copying."""
    return _latent(facts, {"the width of a row": facts.width})


def spare(facts: DataMeasurements) -> Choice:
    """The same for a variational code, which leaves surplus latents unused."""
    return _latent(facts, _lossless(facts), "a VAE leaves spare ones unused")


def plane(facts: DataMeasurements) -> Choice:
    """Two latents, for a map."""
    reason = f"a map has two; PCA's two hold {facts.explained(2):.0%} of the variance"
    if facts.intrinsic is not None and facts.intrinsic > _FLAT:
        reason += f"; {facts.intrinsic:.1f} intrinsic dimensions do not all fit on it"
    return Choice("code.latent_dim", min(2, facts.width - 1), reason)


# ---- corruption ------------------------------------------------------------------------------------------------------


def _units(facts: DataMeasurements) -> str:
    if facts.scaling == "standard":
        return "standard deviations"
    return f"times the values' standard deviation of {facts.spread:.2g}"


_MEASURED_ON = ("vector", "image")
# Values in a row up to which a dense network is as good as a convolutional one, and quicker.
_SMALL = 4096


def detecting_noise(facts: DataMeasurements) -> Choice:
    """The noise with the best results: a different strength for each row."""
    # Images and curves take more, as most of their values can be told from others.
    curve = is_curve(facts)
    low, high = (0.4, 4.0) if curve or facts.kind == "image" else (0.1, 2.0)
    spread = facts.range_spread if curve else facts.spread
    units = f"times the values' standard deviation of {spread:.2g}" if curve else _units(facts)
    value = [round(low * spread, 3), round(high * spread, 3)]
    return Choice("corruption.std", value, f"drawn for each row, {low} to {high} {units}: {_where(facts)}")


def matched_noise(facts: DataMeasurements) -> Choice:
    """Noise as strong as that of the data: the network learns to remove noise like that of training."""
    if facts.binary:
        return Choice("corruption", {"kind": "salt_and_pepper", "rate": 0.1}, "binary values are flipped, not shifted")
    if looks_clean(facts):
        value, found = [0.0, round(0.3 * facts.spread, 3)], f"noise {facts.noise:.2g}"
        return Choice("corruption.std", value, f"the rows look clean ({found}); set the noise that you expect")
    bound = "is" if facts.noise_is_clear else "is at most"
    why = f"the noise {bound} {facts.noise:.2g}; the network learns to remove noise like that of training"
    return Choice("corruption.std", round(facts.noise, 3), why)


def looks_clean(facts: DataMeasurements) -> bool:
    """Return whether there is too little noise to learn from."""
    return facts.noise < _LEAST_NOISE * facts.spread


def feature_noise(facts: DataMeasurements) -> Choice:
    """Masked values, which have to be predicted from the rest of the row."""
    reason = "masked values have to be predicted from the rest of the row (Vincent et al. 2010)"
    return Choice("corruption", {"kind": "mask", "rate": 0.3}, reason)


# ---- likelihood and scaling ------------------------------------------------------------------------------------------


def scaling(facts: DataMeasurements) -> Choice | None:
    """The scaling of the measurements, if the default of `isthmus fit` is another."""
    if facts.scaling == "unit" or facts.low < 0 or facts.high > 1:
        return None
    return Choice("preprocessing", "standard", "values are in [0, 1], but columns of a table should have equal weight")


def detecting_scaling(facts: DataMeasurements) -> Choice | None:
    """One range for the steps of a curve; for other rows as `scaling`."""
    if not is_curve(facts):
        return scaling(facts)
    why = f"neighbouring columns are alike (correlation {facts.neighbours:.2f}): one range for all, {_where(facts)}"
    return Choice("preprocessing", "unit", why)


def is_curve(facts: DataMeasurements) -> bool:
    """Return whether columns look like the steps of one measurement, each much like the next."""
    return facts.kind == "vector" and not facts.binary and facts.neighbours is not None and facts.neighbours >= ALIKE


def bits(facts: DataMeasurements) -> Choice | None:
    """For binary rows, the probability of each value."""
    if not facts.binary:
        return None
    return Choice("objective.likelihood", "bernoulli", "every value is 0 or 1")


def density(facts: DataMeasurements) -> Choice:
    """A likelihood that can be sampled."""
    if facts.binary:
        return Choice("objective.likelihood", "bernoulli", "every value is 0 or 1")
    if facts.scaling == "unit":
        why = "values from 0 to 1 as probabilities: sharp images, but no normalised density of grey levels"
        return Choice("objective.likelihood", "binary_cross_entropy", why)
    return Choice("objective.likelihood", "normal", "real values: a normal density, the noise of each column learned")


# ---- network and training --------------------------------------------------------------------------------------------


def _where(facts: DataMeasurements) -> str:
    if is_curve(facts):
        return "as measured on heart beats (ECG5000)"
    measured = {"vector": "the ADBench tables", "image": "digits of MNIST"}
    return f"as measured on {measured[facts.kind]}" if facts.kind in measured else "measured on tables and images"


def measured_layers(facts: DataMeasurements) -> Choice | None:
    """The layers of the benchmark on the ADBench tables."""
    return Choice("network.hidden_dims", [256, 256], _where(facts)) if facts.kind in _MEASURED_ON else None


def measured_activation(facts: DataMeasurements) -> Choice | None:
    """The activation of the same benchmark."""
    return Choice("network.activation", "silu", _where(facts)) if facts.kind in _MEASURED_ON else None


def measured_steps(facts: DataMeasurements) -> Choice | None:
    """The length of the same benchmark, in epochs."""
    if facts.kind not in _MEASURED_ON:
        return None
    wanted = _STEPS[facts.kind]
    steps = math.ceil(max(1, round(0.9 * facts.rows)) / _BATCH)
    return Choice("training.epochs", max(3, round(wanted / steps)), f"about {wanted:,} steps, {_where(facts)}")


def measured_rate(facts: DataMeasurements) -> Choice | None:
    """The learning rate for images: a network that fits too closely reconstructs anomalies too."""
    return Choice("training.learning_rate", 0.001, _where(facts)) if facts.kind == "image" else None


def measured_patience(facts: DataMeasurements) -> Choice | None:
    """No early stopping: an epoch of a small table is a step or two, and its loss is noisy."""
    if facts.kind not in _MEASURED_ON:
        return None
    return Choice("training.patience", None, f"no early stopping, {_where(facts)}; the best epoch's weights are kept")


_TABLE = (scaling, bits)
_MEASURED = (measured_layers, measured_activation, measured_steps, measured_rate, measured_patience)

GOALS: dict[str, Goal] = {
    "compress": Goal(
        "the smallest code from which rows can be reconstructed",
        (
            Candidate("conv_autoencoder", "the lowest error for a code of its size, on images", (narrow, *_TABLE)),
            Candidate("autoencoder", "minimises only the error", (narrow, *_TABLE)),
            Candidate("deep", "worth trying next, if hours do not matter", (narrow, *_TABLE)),
            Candidate("lstm_autoencoder", "worth trying next for series, since it uses their order"),
            Candidate("fsq", "fewer bits for each row, at a higher error"),
            Candidate("vq_vae", "fewer bits for each row, at a higher error, and harder to train"),
            Candidate("vae", "the noise in its code raises the error without a benefit here"),
        ),
    ),
    "detect": Goal(
        "a score that separates anomalies from normal rows",
        (
            Candidate(
                "denoising",
                "cannot copy anomalies; with noise drawn for each row it had the best results on the ADBench tables",
                (roomy, detecting_noise, detecting_scaling, bits, *_MEASURED),
                _SMALL,
            ),
            Candidate("conv_denoising", "cannot copy anomalies, and recognises shapes", (roomy, detecting_noise, bits)),
            Candidate("autoencoder", "may reconstruct anomalies as well as normal rows"),
            Candidate("lstm_autoencoder", "worth trying next for series, since it uses their order"),
            Candidate("vae", "the noise in its code hides small anomalies"),
            Candidate("contractive", "robust to noise like denoising, and slower"),
        ),
    ),
    "denoise": Goal(
        "rows without their noise",
        (
            Candidate(
                "conv_denoising", "trained for this, and uses neighbouring pixels", (narrow, matched_noise, bits)
            ),
            Candidate("denoising", "trained for this", (narrow, *_TABLE, matched_noise)),
            Candidate("autoencoder", "removes what its narrow code cannot represent: as good for weak noise"),
            Candidate("contractive", "its code is robust to noise, but it is not trained to remove it"),
            Candidate("vae", "removes noise and detail alike"),
        ),
    ),
    "generate": Goal(
        "new rows like the given ones",
        (
            Candidate("conv_vae", "its prior can be sampled, and it recognises shapes", (spare, scaling, density)),
            Candidate("vae", "its prior can be sampled", (spare, scaling, density)),
            Candidate("beta_vae", "sharper below 1, disentangled above 1: try it next", (spare, scaling, density)),
            Candidate("wae", "try it if a VAE's samples are too blurred"),
            Candidate("rae", "try it if a VAE's samples are too blurred; needs a density fitted to its codes"),
            Candidate("vq_vae", "sharp, and needs a second model of its codes"),
            Candidate("fsq", "sharp, and needs a second model of its codes"),
        ),
    ),
    "features": Goal(
        "codes that another model, or a person, can use",
        (
            Candidate("conv_denoising", "features that are robust to noise", (roomy, feature_noise, bits)),
            Candidate("denoising", "features that are robust to noise", (roomy, *_TABLE, feature_noise)),
            Candidate("top_k", "for features that a person can interpret"),
            Candidate("sparse_l1", "for features that a person can interpret"),
            Candidate("sparse_kl", "as sparse_l1, with evenly used latents"),
            Candidate("transformer_autoencoder", "worth trying next for many long series"),
            Candidate("masked_autoencoder", "better features where there are very many images"),
            Candidate("contractive", "much the same as denoising, and slower"),
            Candidate("beta_vae", "only for disentangled factors"),
            Candidate("autoencoder", "its features are trained for reconstruction only"),
        ),
    ),
    "visualise": Goal(
        "a map of the rows in two dimensions",
        (
            Candidate(
                "conv_autoencoder", "arranges the rows for the lowest error, and recognises shapes", (plane, *_TABLE)
            ),
            Candidate("autoencoder", "arranges the rows for the lowest error", (plane, *_TABLE)),
            Candidate("vae", "a map without gaps, with groups closer together"),
            Candidate("conv_vae", "a map without gaps, with groups closer together"),
            Candidate("contractive", "slower, and no better as a map"),
        ),
    ),
}
