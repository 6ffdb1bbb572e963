"""For each goal: the kinds that serve it, the first choice first, and the rules that turn facts into settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus.advice.measure import Facts

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
        given: whether it differs from what `isthmus fit` takes by itself.
    """

    setting: str
    value: Any
    reason: str
    given: bool = True


Rule = Callable[[Facts], Choice | None]


@dataclass(frozen=True)
class Candidate:
    """A kind that serves a goal.

    Attributes:
        preset: its name.
        reason: what speaks for it or against it here.
        rules: what decides its settings; a rule for a setting that the preset does not have is passed over.
        widest: values in a row that it is proposed for, at most.
    """

    preset: str
    reason: str
    rules: tuple[Rule, ...] = ()
    widest: int | None = None


@dataclass(frozen=True)
class Goal:
    """What an autoencoder is wanted for.

    Attributes:
        purpose: in words.
        candidates: the kinds that serve it, the first choice first.
    """

    purpose: str
    candidates: tuple[Candidate, ...]


# ---- the latent ------------------------------------------------------------------------------------------------------


def tenfold(facts: Facts) -> str:
    """Return what the rule of thumb says: a latent 10 to 20 times smaller than the row."""
    low, high = max(1, round(facts.width / 20)), max(1, round(facts.width / 10))
    return f"a 10- to 20-fold reduction: {f'{low} to {high}' if low < high else low}"


def _latent(facts: Facts, limits: dict[str, int], *reasons: str) -> Choice:
    """Return twice the intrinsic dimension, within limits: the most latents, by what they are the most for."""
    if facts.intrinsic is None:
        wanted, known = facts.components[95], f"{facts.components[95]} components hold 95 % of the variance"
        reason = f"{known} (too few different rows for an intrinsic dimension)"
    else:
        # Whitney: a smooth surface of d dimensions fits into 2 d flat ones without crossing itself.
        wanted, known = round(2 * facts.intrinsic), f"intrinsic dimension {facts.intrinsic:.1f}"
        reason = f"{known}, twice that lays a curved surface flat"
    limits = {**limits, f"one for {_ROWS_PER_LATENT} rows": max(1, facts.rows // _ROWS_PER_LATENT)}
    limit, most = min(limits.items(), key=lambda item: item[1])
    if wanted > most:
        reason = f"{known}, held to {limit}"
    return Choice("code.latent_dim", max(1, min(wanted, most)), "; ".join((reason, *reasons, tenfold(facts))))


def _lossless(facts: Facts) -> dict[str, int]:
    limits = {"one less than the row has values": facts.width - 1, "what PCA needs": facts.components[99]}
    if facts.noise_is_clear and facts.signal:
        limits["the components above the noise"] = facts.signal
    return limits


def narrow(facts: Facts) -> Choice:
    """Twice the intrinsic dimension, and narrower than the row: else it would learn to copy."""
    return _latent(facts, _lossless(facts))


def roomy(facts: Facts) -> Choice:
    """The same, and up to the row's own width, where noise keeps the network from copying."""
    return _latent(facts, {"the width of a row": facts.width})


def spare(facts: Facts) -> Choice:
    """The same for a variational code, which leaves alone what it does not need."""
    return _latent(facts, _lossless(facts), "a VAE leaves spare ones unused")


def plane(facts: Facts) -> Choice:
    """Two latents, for a map."""
    reason = f"a map has two; PCA's two hold {facts.explained(2):.0%} of the variance"
    if facts.intrinsic is not None and facts.intrinsic > _FLAT:
        reason += f"; {facts.intrinsic:.1f} intrinsic dimensions do not all fit on it"
    return Choice("code.latent_dim", min(2, facts.width - 1), reason)


# ---- corruption ------------------------------------------------------------------------------------------------------


def _units(facts: Facts) -> str:
    if facts.scaling == "standard":
        return "standard deviations"
    return f"times the values' deviation of {facts.spread:.2g}"


_MEASURED_ON = ("vector", "image")
# Values in a row up to which a dense network is as good as a convolutional one, and quicker.
_SMALL = 4096


def detecting_noise(facts: Facts) -> Choice:
    """The noise that measured best: another strength for each row."""
    # Images and curves take more, as most of their values can be told from others.
    curve = is_curve(facts)
    low, high = (0.4, 4.0) if curve or facts.kind == "image" else (0.1, 2.0)
    spread = facts.range_spread if curve else facts.spread
    units = f"times the values' deviation of {spread:.2g}" if curve else _units(facts)
    value = [round(low * spread, 3), round(high * spread, 3)]
    return Choice("corruption.std", value, f"each row draws its own, {low} to {high} {units}: {_where(facts)}")


def matched_noise(facts: Facts) -> Choice:
    """Noise as strong as that of the data: what is added is what is learned to be removed."""
    if facts.binary:
        return Choice("corruption", {"kind": "salt_and_pepper", "rate": 0.1}, "bits are flipped, not shifted")
    if looks_clean(facts):
        value, found = [0.0, round(0.3 * facts.spread, 3)], f"noise {facts.noise:.2g}"
        return Choice("corruption.std", value, f"the rows look clean ({found}); set the noise that you expect")
    bound = "is" if facts.noise_is_clear else "is at most"
    why = f"the noise {bound} {facts.noise:.2g}; what is added is what is learned to be removed"
    return Choice("corruption.std", round(facts.noise, 3), why)


def looks_clean(facts: Facts) -> bool:
    """Return whether there is too little noise to be learned from."""
    return facts.noise < _LEAST_NOISE * facts.spread


def feature_noise(facts: Facts) -> Choice:
    """Masked values: what is left out has to be told from the rest."""
    reason = "what is masked has to be told from the rest of the row (Vincent et al. 2010)"
    return Choice("corruption", {"kind": "mask", "rate": 0.3}, reason)


# ---- likelihood and scaling ------------------------------------------------------------------------------------------


def scaling(facts: Facts) -> Choice | None:
    """The scaling that the measures took, where `isthmus fit` would take another by itself."""
    if facts.scaling == "unit" or facts.low < 0 or facts.high > 1:
        return None
    return Choice("preprocessing", "standard", "values lie in [0, 1], and yet columns of a table are to weigh the same")


def detecting_scaling(facts: Facts) -> Choice | None:
    """One range for the steps of a curve; for other rows as `scaling`."""
    if not is_curve(facts):
        return scaling(facts)
    why = f"neighbouring columns are alike (correlation {facts.neighbours:.2f}): one range for all, {_where(facts)}"
    return Choice("preprocessing", "unit", why)


def is_curve(facts: Facts) -> bool:
    """Return whether columns look like the steps of one measurement, each much like the next."""
    return facts.kind == "vector" and not facts.binary and facts.neighbours is not None and facts.neighbours >= ALIKE


def bits(facts: Facts) -> Choice | None:
    """For rows of bits, the probability of each."""
    if not facts.binary:
        return None
    return Choice("objective.likelihood", "bernoulli", "every value is 0 or 1")


def density(facts: Facts) -> Choice:
    """A likelihood that can be drawn from."""
    if facts.binary:
        return Choice("objective.likelihood", "bernoulli", "every value is 0 or 1")
    if facts.scaling == "unit":
        why = "values from 0 to 1 as means of bits: sharp means, though no normalised density of grey levels"
        return Choice("objective.likelihood", "binary_cross_entropy", why)
    return Choice("objective.likelihood", "normal", "real values: a normal density, the noise of each column learned")


# ---- network and training --------------------------------------------------------------------------------------------


def _where(facts: Facts) -> str:
    if is_curve(facts):
        return "as measured on heart beats (ECG5000)"
    measured = {"vector": "the ADBench tables", "image": "digits of MNIST"}
    return f"as measured on {measured[facts.kind]}" if facts.kind in measured else "measured on tables and images"


def measured_layers(facts: Facts) -> Choice | None:
    """The layers of the measurement on the ADBench tables."""
    return Choice("network.hidden_dims", [256, 256], _where(facts)) if facts.kind in _MEASURED_ON else None


def measured_activation(facts: Facts) -> Choice | None:
    """The activation of the same."""
    return Choice("network.activation", "silu", _where(facts)) if facts.kind in _MEASURED_ON else None


def measured_steps(facts: Facts) -> Choice | None:
    """The length of the same, in epochs."""
    if facts.kind not in _MEASURED_ON:
        return None
    wanted = _STEPS[facts.kind]
    steps = math.ceil(max(1, round(0.9 * facts.rows)) / _BATCH)
    return Choice("training.epochs", max(3, round(wanted / steps)), f"about {wanted:,} steps, {_where(facts)}")


def measured_rate(facts: Facts) -> Choice | None:
    """The learning rate for images: what is rebuilt too well is rebuilt where it is strange, too."""
    return Choice("training.learning_rate", 0.001, _where(facts)) if facts.kind == "image" else None


def measured_patience(facts: Facts) -> Choice | None:
    """No early stop, likewise: an epoch of a small table is a step or two, and its loss is noisy."""
    if facts.kind not in _MEASURED_ON:
        return None
    return Choice("training.patience", None, f"no early stop, {_where(facts)}; the best epoch's weights are kept")


_TABLE = (scaling, bits)
_MEASURED = (measured_layers, measured_activation, measured_steps, measured_rate, measured_patience)

GOALS: dict[str, Goal] = {
    "compress": Goal(
        "the smallest code from which rows can be rebuilt",
        (
            Candidate("conv_autoencoder", "the lowest error for a code of its size, on images", (narrow, *_TABLE)),
            Candidate("autoencoder", "nothing but the error counts, so nothing else is in the way", (narrow, *_TABLE)),
            Candidate("deep", "worth trying next, where hours do not matter", (narrow, *_TABLE)),
            Candidate("lstm_autoencoder", "worth trying next where rows are series, since it knows their order"),
            Candidate("fsq", "fewer bits a row, at a higher error"),
            Candidate("vq_vae", "fewer bits a row, at a higher error, and harder to train"),
            Candidate("vae", "its noise in the code costs error that buys nothing here"),
        ),
    ),
    "detect": Goal(
        "a score that tells unusual rows from usual ones",
        (
            Candidate(
                "denoising",
                "cannot copy what is unusual; with noise drawn by row it measured best on the ADBench tables",
                (roomy, detecting_noise, detecting_scaling, bits, *_MEASURED),
                _SMALL,
            ),
            Candidate("conv_denoising", "cannot copy what is unusual, and sees shapes", (roomy, detecting_noise, bits)),
            Candidate("autoencoder", "may rebuild unusual rows as well as usual ones"),
            Candidate("lstm_autoencoder", "worth trying next where rows are series, since it knows their order"),
            Candidate("vae", "the noise in its code hides small deviations"),
            Candidate("contractive", "resists noise like denoising, and is slower"),
        ),
    ),
    "denoise": Goal(
        "rows without their noise",
        (
            Candidate(
                "conv_denoising", "trained for this, and sees what is near a pixel", (narrow, matched_noise, bits)
            ),
            Candidate("denoising", "trained for this", (narrow, *_TABLE, matched_noise)),
            Candidate("autoencoder", "removes what its narrow code cannot hold: as good where noise is little"),
            Candidate("contractive", "keeps noise from its code, and is not trained to remove it"),
            Candidate("vae", "removes noise and detail alike"),
        ),
    ),
    "generate": Goal(
        "new rows like the given ones",
        (
            Candidate("conv_vae", "its prior can be drawn from, and it sees shapes", (spare, scaling, density)),
            Candidate("vae", "its prior can be drawn from", (spare, scaling, density)),
            Candidate(
                "beta_vae", "below 1 sharper, above 1 with separate factors: try it next", (spare, scaling, density)
            ),
            Candidate("wae", "try it where a VAE's samples are too blurred"),
            Candidate("rae", "try it where a VAE's samples are too blurred; needs a density fitted to its codes"),
            Candidate("vq_vae", "sharp, and needs a second model of its codes"),
            Candidate("fsq", "sharp, and needs a second model of its codes"),
        ),
    ),
    "features": Goal(
        "codes that another model, or a person, can use",
        (
            Candidate("conv_denoising", "features that noise does not change", (roomy, feature_noise, bits)),
            Candidate("denoising", "features that noise does not change", (roomy, *_TABLE, feature_noise)),
            Candidate("top_k", "the one to take if a person is to read the features"),
            Candidate("sparse_l1", "the one to take if a person is to read the features"),
            Candidate("sparse_kl", "as sparse_l1, with latents that are used evenly"),
            Candidate("transformer_autoencoder", "worth trying next for many long series"),
            Candidate("masked_autoencoder", "better features where there are very many images"),
            Candidate("contractive", "much the same as denoising, and slower"),
            Candidate("beta_vae", "only where separate factors are wanted"),
            Candidate("autoencoder", "nothing asks its features to be good for anything else"),
        ),
    ),
    "visualise": Goal(
        "a map of the rows in two dimensions",
        (
            Candidate("conv_autoencoder", "spreads the rows as the error asks, and sees shapes", (plane, *_TABLE)),
            Candidate("autoencoder", "spreads the rows as the error asks", (plane, *_TABLE)),
            Candidate("vae", "a map without holes, where groups lie closer together"),
            Candidate("conv_vae", "a map without holes, where groups lie closer together"),
            Candidate("contractive", "slower, and no better as a map"),
        ),
    ),
}
