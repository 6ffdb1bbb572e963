"""What a fitted autoencoder does with rows: encode, decode, rebuild, fill in, score, sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from isthmus.data.arrays import as_rows
from isthmus.data.files.writers import texts_of
from isthmus.data.series.windows import SeriesWindows
from isthmus.data.tables.encoding import filled_in
from isthmus.errors import DataError, RecipeError, check_integer, explain
from isthmus.estimator.fitted import FittedModel
from isthmus.estimator.results import collect, joined, types_given, windows_to_steps
from isthmus.metrics.health import Health
from isthmus.schema import Batch
from isthmus.seeds import derive
from isthmus.typing import Doubles, Floats

# Rows on which `health` is measured; its mutual information takes time as their square.
_HEALTH_ROWS = 5000


File = str | Path | None


class ModelMethods(FittedModel, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The verbs of `isthmus.Autoencoder`, which has their examples.

    Rows are read block by block. What comes back is of the kind that was given: an array for an array, a frame of the
    same columns and types for a frame. With `out`, it is written to a file block by block instead, and the file's path
    is returned: .npy, .csv, .tsv, .parquet, .arrow or .jsonl, and .txt for rebuilt lines of text.
    """

    def transform(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return the codes `(rows, latent_dim)`: the posterior mean of a variational model. Deterministic.

        Feature maps and sequences of latents are laid out flat, the latent axis first.

        Args:
            X: rows, as in `fit`.
            condition: for a conditional model, as in `fit`.
            out: a file to write to, block by block.
            overwrite: whether a file that is there may be replaced.

        Raises:
            DataError: for rows unlike the training rows.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        names = [f"latent{index}" for index in range(inference.width)]
        return collect((inference.codes(batch) for batch in encoded.batches()), len(encoded), (out, overwrite), names)

    def inverse_transform(self, X: Any, *, condition: Any = None) -> Any:
        """Return the expected rows `(rows, *shape)`, in the units of the training data, for codes.

        A model of tables returns a frame, of the library that `fit` was given one of.

        Raises:
            RecipeError: if the decoder needs more than the code (skips).
        """
        inference = self.inference()
        inference.check_code_alone()
        codes = as_rows(X).values
        if codes.ndim != 2 or codes.shape[1] != inference.width:
            expected = f"codes of shape (rows, {inference.width})"
            raise DataError(explain(expected, f"shape {codes.shape}", "model.transform(X)"))
        return self._given_back(inference.decode(codes, self._encoded_condition(condition, len(codes))))

    def encode(self, X: Any, **options: Any) -> Any:
        """Return the codes: another name of `transform`."""
        return self.transform(X, **options)

    def decode(self, X: Any, **options: Any) -> Any:
        """Return the expected rows for codes: another name of `inverse_transform`."""
        return self.inverse_transform(X, **options)

    def reconstruct(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return the rows as the model rebuilds them from their codes, in the units, columns and types of X.

        Series come back as series: each step is the mean over the windows that hold it.

        Args:
            X: rows, as in `fit`.
            condition: for a conditional model, as in `fit`.
            out: a file to write to, block by block.
            overwrite: whether a file that is there may be replaced.

        Raises:
            DataError: for rows unlike the training rows.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        types = types_given(encoded)
        blocks = (inference.reconstruct(batch, types) for batch in encoded.batches())
        if isinstance(encoded.source, SeriesWindows):
            return windows_to_steps(encoded.source, blocks, (out, overwrite))
        return collect(
            blocks, len(encoded), (out, overwrite), self.schema_.names, encoded, texts=texts_of(self.schema_)
        )

    def impute(
        self,
        X: Any,
        *,
        condition: Any = None,
        samples: int = 64,
        out: str | Path | None = None,
        overwrite: bool = False,
    ) -> Any:
        """Return the rows with their missing values filled in, and all others as they are.

        A value is filled in by its expectation: for a variational model the average of ``E[x|z]`` over `samples` draws
        from q(z|x), weighted by ``p(x_observed|z) p(z) / q(z|x)``; for any other model the reconstruction. A category
        is filled in by the most probable one. `presets.imputer` is made for this, and can be fitted on the very rows
        that have the missing values.

        Raises:
            DataError: for rows unlike the training rows, and for a model that refuses missing values.

        Paper: Mattei and Frellsen, MIWAE, ICML 2019, https://arxiv.org/abs/1812.02633.
        """
        samples = _count("samples", samples)
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        types = types_given(encoded)
        blocks = (filled_in(block, inference.impute(batch, samples, types)) for block, batch in encoded.pairs())
        if isinstance(encoded.source, SeriesWindows):
            return windows_to_steps(encoded.source, blocks, (out, overwrite))
        return collect(blocks, len(encoded), (out, overwrite), self.schema_.names, encoded)

    def score_samples(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return the log-likelihood of each row, `(rows,)`, in nats of the preprocessed row; higher is more typical.

        Scores compare between rows, and between models of one likelihood and one preprocessing. A row with a value
        that the likelihood cannot have, such as one outside [0, 1] for a cross-entropy, scores minus infinity.

        For a deterministic code this is ``log p(x | z(x))``. For a variational one it is the evidence lower bound,
        ``E_q[log p(x|z)] - KL(q(z|x) || p(z))``, estimated with 16 antithetic draws seeded by the row itself: the
        same row has the same score at every call, alone or among others, and the errors of different rows are
        independent.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        blocks = (inference.scores(batch) for batch in encoded.batches())
        return collect(blocks, len(encoded), (out, overwrite), ["score"])

    def score_columns(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return the negative log-likelihood of each column, in nats: a frame of the columns of X, float64.

        ``-log p(x_j | z(x))`` with all constants, of the deterministic code; a missing value costs nothing. Each row's
        sum is what `score_samples` of a deterministic code has with the other sign.

        Args:
            X: rows, as in `fit`; for rows that are no table, the result has their shape.
            condition: for a conditional model, as in `fit`.
            out: a file to write to, block by block.
            overwrite: whether a file that is there may be replaced.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        blocks = (self._by_column(inference.column_costs(batch)) for batch in encoded.batches())
        return collect(blocks, len(encoded), (out, overwrite), self.schema_.names, encoded, floats=True)

    def _by_column(self, costs: Doubles) -> Any:
        if self.schema_.columns is None:
            return costs.reshape(len(costs), *self.schema_.shape)
        return pa.table({name: pa.array(costs[:, place]) for place, name in enumerate(self.schema_.names or ())})

    def score_steps(self, X: Any, *, condition: Any = None, out: File = None, overwrite: bool = False) -> Any:
        """Return one score for each time step of series, in nats; higher is more typical.

        ``log p(x_t | z)``, summed over channels, of the deterministic code, averaged over the windows that hold the
        step; NaN (or null) where nothing was observed.

        Args:
            X: series, as in `fit`.
            condition: for a conditional model, as in `fit`.
            out: a file to write to.
            overwrite: whether a file that is there may be replaced.

        Returns:
            For a table or frame its columns of series and time beside the score, a row for each of its rows; for an
            array of one series `(steps,)`; for rows that are windows already `(rows, steps)`.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        if self.schema_.kind not in ("series", "tokens"):
            got = f"a model of {self.schema_.kind} rows"
            raise RecipeError(explain("a model of series", got, "score_samples, or fit with rows=series:LENGTH"))
        blocks = (-inference.step_costs(batch) for batch in encoded.batches())
        if isinstance(encoded.source, SeriesWindows):
            return windows_to_steps(encoded.source, blocks, (out, overwrite), name="score")
        return collect(blocks, len(encoded), (out, overwrite), None)

    def score(self, X: Any, y: Any = None, *, condition: Any = None) -> float:
        """Return the mean of `score_samples`, which `GridSearchCV` maximises."""
        return float(self.score_samples(X, condition=condition).mean())

    def log_likelihood(self, X: Any, *, condition: Any = None, samples: int = 5000) -> Doubles:
        """Return ``log p(x)`` of each row, `(rows,)`, in nats, estimated by importance sampling.

        ``log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x)``, z_k drawn from q(z|x): a lower bound on average, which rises to
        the likelihood with K. The draws are seeded by the row, as in `score_samples`.

        Args:
            X: rows, as in `fit`.
            condition: for a conditional model.
            samples: K; papers use 5,000.

        Raises:
            RecipeError: if the code has no posterior.

        Paper: Burda et al., Importance Weighted Autoencoders, ICLR 2016, https://arxiv.org/abs/1509.00519.
        """
        inference, encoded = self.inference(), self.encoded_rows(X, condition)
        if "posterior" not in self.recipe_.code.provides:
            raise RecipeError(f"a {self.recipe_.code.kind} code has no posterior; try a gaussian one (presets.vae)")
        samples = _count("samples", samples)
        return np.concatenate([inference.log_likelihood(batch, samples) for batch in encoded.batches()])

    def sample(self, n: int = 1, *, random_state: int | None = None, condition: Any = None, noise: bool = False) -> Any:
        """Return new rows `(n, *shape)` decoded from codes that are drawn from the prior, in the units of the data.

        Args:
            n: how many.
            random_state: seed of the draw; None draws others at every call.
            condition: for a conditional model; a single label is that of all rows.
            noise: whether rows are drawn from p(x|z) rather than its mean taken; the same for squared error and
                binary cross-entropy, whose noise is no estimate.

        Raises:
            RecipeError: if the code has no prior.
        """
        inference = self.inference()
        n = _count("n", n)
        generator = torch.Generator()
        if random_state is None:
            generator.seed()
        else:
            generator.manual_seed(derive(seed_of(random_state), "samples"))
        inference.check_code_alone()
        with torch.no_grad():
            codes = self.composition_.draw_prior(n, generator)
        if codes is None:
            raise RecipeError(
                f"a {self.recipe_.code.kind} code has no prior to sample from; try a gaussian one (presets.vae)"
            )
        conditions = self._encoded_condition(condition, n)
        return self._given_back(
            inference.decode(codes.flatten(1).cpu().numpy(), conditions, generator if noise else None)
        )

    def interpolate(self, start: Any, end: Any, steps: int = 8, *, condition: Any = None) -> Any:
        """Return rows decoded on the straight lines between codes, `(pairs, steps, *shape)`, both ends included.

        A model of tables returns a frame of `pairs * steps` rows, one pair after the other.
        """
        inference = self.inference()
        inference.check_code_alone()
        steps = _count("steps", steps, 2)
        first, last = (self._codes(rows, condition) for rows in (start, end))
        if first.shape != last.shape:
            raise DataError(explain("as many starts as ends", f"{len(first)} and {len(last)}", "equal numbers of rows"))
        share = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
        codes = first[:, None] * (1 - share) + last[:, None] * share
        conditions = self._encoded_condition(condition, len(first))
        rows = inference.decode(
            codes.reshape(-1, codes.shape[-1]), None if conditions is None else conditions.repeat(steps, 0)
        )
        if self.schema_.columns is not None:
            return self._given_back(rows)
        return rows.reshape(len(first), steps, *self.schema_.shape)

    def _codes(self, X: Any, condition: Any = None) -> Floats:
        """Return `transform` as an array, whatever `set_output` says."""
        inference = self.inference()
        return np.concatenate([inference.codes(batch) for batch in self.encoded_rows(X, condition).batches()])

    def walk_back(self, X: Any, steps: int = 10, *, random_state: int = 0, condition: Any = None) -> Floats:
        """Return the rows on a walk that corrupts and rebuilds by turns, `(rows, steps + 1, *shape)`, X first.

        The walk goes to where the data are dense: from noise to rows like the training rows, from rows to others.

        Args:
            X: `(rows, *shape)` to start from.
            steps: turns.
            random_state: seed of the corruption.
            condition: for a conditional model.

        Raises:
            RecipeError: if the recipe has no corruption.

        Paper: Bengio et al., Generalized Denoising Auto-Encoders as Generative Models, NeurIPS 2013,
        https://arxiv.org/abs/1305.6663.
        """
        inference = self.inference()
        encoded = self.encoded_rows(X, condition)
        generator = torch.Generator().manual_seed(derive(seed_of(random_state), "walk"))
        walk = [joined(list(encoded.source.blocks(len(encoded)))).astype(self.schema_.float_dtype)]
        for _ in range(_count("steps", steps)):
            seen = self._corrupted(encoded.batch(walk[-1], encoded.conditions), generator)
            walk.append(inference.reconstruct(encoded.batch(seen, encoded.conditions)))
        return np.stack(walk, 1)

    def kl_per_latent(self, X: Any, *, condition: Any = None) -> Doubles:
        """Return each latent's KL from the prior, `(latent_dim,)`, averaged over rows, in nats.

        A categorical code has one for each of its variables.

        Raises:
            RecipeError: if the code is not variational, or only the sum over its latents is known.
        """
        inference = self.inference()
        encoded = self.encoded_rows(X, condition)
        if not inference.variational:
            raise RecipeError(f"a {self.recipe_.code.kind} code has no KL; try a gaussian one (presets.vae)")
        if "latent_kl" not in self.recipe_.code.provides:
            raise RecipeError(
                "only the sum of this code's KL over its latents is known, since its posterior or prior joins them; "
                'try code.covariance="diagonal" and code.prior="standard_normal" or "laplace"'
            )
        return inference.kl_per_latent(encoded.batches())

    def health(self, X: Any, *, condition: Any = None) -> Health:
        """Return whether the code is in use on some rows: the numbers of `metrics.code_health` that apply to it.

        Where a latent has positions (feature maps, sequences), each counts as a row, and nats are those of a position.
        Of more than 5,000, so many that are spread evenly are measured. `metrics.advice` turns the numbers into
        sentences that name remedies; `metrics_` has them, less the lists, for rows that training held out.

        Args:
            X: rows, as in `fit`.
            condition: for a conditional model.

        Example:
            >>> import numpy as np
            >>> from isthmus import Autoencoder, presets
            >>> X = np.random.default_rng(0).random((200, 8))
            >>> model = Autoencoder(presets.vae(latent_dim=2, hidden_dims=(16,), epochs=3)).fit(X)
            >>> health = model.health(X)
            >>> health["latents"], len(health["kl_per_latent"])
            (2.0, 2)
        """
        return self.inference().health(self.encoded_rows(X, condition).batches(), _HEALTH_ROWS)

    def corrupt(self, X: Any, *, random_state: int = 0) -> Any:
        """Return the rows as the encoder saw them in training: corrupted, in the units of X.

        What a corruption hides (`hide_patches`, `hide_values`) is NaN for a model that masks missing values.

        Raises:
            RecipeError: if the recipe has no corruption.
        """
        encoded = self.encoded_rows(X, alone=True)
        generator = torch.Generator().manual_seed(derive(seed_of(random_state), "corruption"))
        blocks = (self._corrupted(batch, generator) for batch in encoded.batches())
        return collect(blocks, len(encoded), (None, False), None, encoded)

    def _corrupted(self, batch: Batch, generator: torch.Generator) -> Any:
        if self.recipe_.corruption is None:
            raise RecipeError("this recipe has no corruption; try presets.denoising")
        seen = self.recipe_.corruption(batch, generator)
        x = seen.x.numpy()
        if seen.mask is not None and self.recipe_.missing == "mask":
            x = np.where(seen.mask.numpy(), x, np.float32(np.nan))
        return self.encoding_.inverse(x, self.schema_.float_dtype)

    # ---- inside ------------------------------------------------------------------------------------------------


def _count(where: str, value: Any, minimum: int = 1) -> int:
    value = int(value) if isinstance(value, np.integer) else value
    check_integer(where, value, minimum)
    return int(value)


def seed_of(random_state: Any) -> int:
    """Return the seed that a `random_state` stands for."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return _count("random_state", random_state, 0)
