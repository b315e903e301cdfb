"""Losses on task embeddings: beliefs, metric learning, contrast and mutual information.

Pure functions of arrays; every array argument carries a gradient, and stop-gradients are the caller's choice.
Axes: N embeddings, L latent size, K negatives; the leading axes `...` are whatever the caller has.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import require
from macaw_jax.losses.likelihood import gaussian_surprise
from macaw_jax.types import Array

RELEASED_EPSILON = 1e-3  # in FOCAL's released code


def kl_to_standard_normal(mean: Array, variance: Array) -> Array:
  """KL(N(mean, variance) || N(0, I)) = 1/2 sum_l (variance + mean^2 - 1 - log variance), in nats.

  Two `[..., L]` to `[...]`. The regulariser of PEARL's belief (Rakelly et al. 2019, arXiv:1903.08254) and of CORRO's
  generator.
  """
  chex.assert_equal_shape([mean, variance])
  return 0.5 * jnp.sum(variance + jnp.square(mean) - 1.0 - jnp.log(variance), axis=-1)


def pairwise_metric(
  latents: Array, labels: Array, *, repulsion: float = 1.0, epsilon: float = 0.1, weight: float = 10.0
) -> Array:
  """Pulls embeddings of one task together and pushes those of different tasks apart.

  With d_ij = mean_l (z_il - z_jl)^2 over the pairs i < j,

    weight [ mean_same d_ij + repulsion mean_different 1 / (d_ij + epsilon) ].

  The equation of FOCAL's paper (Li et al. 2021, arXiv:2010.01112) has squared norms in place of means over the L
  coordinates, which is weight L, repulsion beta / L^2 and epsilon / L here; `released_metric` is that of its code. This
  is the code's repulsion and the paper's attraction, which is smooth where embeddings agree.

  A mean over no pairs is zero: where all labels differ there is no attraction, where all are equal no repulsion.

  Args:
    latents: z, [N, L].
    labels: [N], equal for embeddings of one task.
    repulsion: beta, weight of the pairs of different tasks.
    epsilon: Bounds the potential, 1 / epsilon where embeddings of different tasks agree; ValueError unless positive.
    weight: Factor of the whole loss.

  Returns:
    The loss `[]`; its gradient is finite everywhere.
  """
  require(epsilon > 0.0, f"epsilon={epsilon} must be positive")
  distance, same, different = _pairs(latents, labels)
  attraction = _mean_over(same, distance)
  return weight * (attraction + repulsion * _mean_over(different, 1.0 / (distance + epsilon)))


def released_metric(
  latents: Array, labels: Array, *, repulsion: float = 1.0, epsilon: float = 0.1, weight: float = 10.0
) -> Array:
  """`pairwise_metric` as the released code of FOCAL has it, sqrt(d_ij + 1e-3) within a task: attraction never fades.

  Each sum is divided by the number of its pairs plus 1e-3. Arguments, result and error are those of `pairwise_metric`.
  """
  require(epsilon > 0.0, f"epsilon={epsilon} must be positive")
  distance, same, different = _pairs(latents, labels)
  attraction = _mean_over(same, jnp.sqrt(distance + RELEASED_EPSILON), RELEASED_EPSILON)
  return weight * (attraction + repulsion * _mean_over(different, 1.0 / (distance + epsilon), RELEASED_EPSILON))


def _pairs(latents: Array, labels: Array) -> tuple[Array, Array, Array]:
  """Mean squared distances of all embeddings, and which entries are pairs i < j of one task and of two: `[N, N]`."""
  chex.assert_rank([latents, labels], [2, 1])
  chex.assert_equal_shape_prefix([latents, labels], 1)
  distance = jnp.mean(jnp.square(latents[:, None] - latents[None]), axis=-1)
  pair = jnp.triu(jnp.ones(distance.shape, bool), k=1)
  same = labels[:, None] == labels[None]
  return distance, pair & same, pair & ~same


def _mean_over(pairs: Array, values: Array, extra: float = 0.0) -> Array:
  """The sum over the pairs by their number and `extra`; zero without any pair."""
  return jnp.sum(jnp.where(pairs, values, 0.0)) / jnp.maximum(jnp.sum(pairs) + extra, 1.0)


def triplet_loss(anchor: Array, positive: Array, negative: Array, *, margin: float) -> Array:
  """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin), d the mean squared difference: `[]`.

  Three `[..., L]`. Zero where every anchor is nearer to its positive by the margin (Li et al. 2020, "Multi-task Batch
  Reinforcement Learning with Metric Learning", NeurIPS, for contexts of tasks).
  """
  chex.assert_equal_shape([anchor, positive, negative])
  to_positive, to_negative = (jnp.mean(jnp.square(anchor - other), axis=-1) for other in (positive, negative))
  return jnp.mean(jnp.maximum(to_positive - to_negative + margin, 0.0))


def info_nce(query: Array, positive: Array, negatives: Array, *, temperature: float) -> Array:
  """InfoNCE: mean of -log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_m e^(q.k-_m / t)) ), in nats: `[]`.

  log(K + 1) minus it is a lower bound of the mutual information of query and positive (van den Oord et al. 2018,
  arXiv:1807.03748; CORRO, Yuan and Lu 2022, arXiv:2206.10442). It is never negative, and log(K + 1) where all
  embeddings are equal.

  Args:
    query: q, [..., L], of unit norm by custom.
    positive: k+, [..., L].
    negatives: k-, [..., K, L].
    temperature: t; ValueError unless positive.
  """
  require(temperature > 0.0, f"temperature={temperature} must be positive")
  chex.assert_equal_shape([query, positive])
  chex.assert_shape(negatives, (*query.shape[:-1], None, query.shape[-1]))
  to_positive = jnp.sum(query * positive, axis=-1, keepdims=True)
  to_negatives = jnp.einsum("...l,...kl->...k", query, negatives)
  # softplus of the log-sum-exp of differences: exact where the loss is far below the rounding error of the logits.
  excess = jax.nn.logsumexp((to_negatives - to_positive) / temperature, axis=-1)
  return jnp.mean(jax.nn.softplus(excess))


def gaussian_negative_log_likelihood(mean: Array, log_variance: Array, latents: Array) -> Array:
  """Mean over rows of -log N(z; mean, exp(log_variance)), in nats: three `[..., L]` to `[]`.

  The loss of the variational network q(z|x) of `club_upper_bound`; the caller stops the gradient of the latents.
  """
  return jnp.mean(jnp.sum(gaussian_surprise(mean, log_variance, latents), axis=-1))


def club_upper_bound(mean: Array, log_variance: Array, latents: Array) -> Array:
  """CLUB: mean_i log q(z_i|x_i) - mean_ij log q(z_j|x_i) over all N^2 pairs, i = j included, for a Gaussian q.

  Three `[N, L]`, mean and log variance of q(.|x_i) and z_i, to `[]`; negative where q predicts worse than chance.

  Where q is the true conditional, its expectation is (N - 1) / N of an upper bound of the mutual information I(z; x),
  in nats; for any other q it is an estimate (Cheng et al. 2020, "CLUB", arXiv:2006.12013; CSRO, Gao et al. 2023,
  minimises it with x = (s, a)). The normalisers of q cancel, and the mean square distance of all z_j to a point needs
  only their mean and variance:

    mean_i 1/2 sum_l ( Var z_l + (zbar_l - mean_il)^2 - (z_il - mean_il)^2 ) / variance_il,

  so that memory is O(N L).
  """
  chex.assert_rank(latents, 2)
  chex.assert_equal_shape([mean, log_variance, latents])
  centre = jnp.mean(latents, axis=0)
  spread = jnp.mean(jnp.square(latents - centre), axis=0)
  excess = spread + jnp.square(centre - mean) - jnp.square(latents - mean)
  return 0.5 * jnp.mean(jnp.sum(excess * jnp.exp(-log_variance), axis=-1))
