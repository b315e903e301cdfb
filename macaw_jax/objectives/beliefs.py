"""The evidence lower bound of a recurrent belief about the task: VariBAD's objective.

Zintgraf et al. 2020, "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning" (arXiv:1910.08348),
equations 6 to 8. At each step t of a trial the belief is q_t = N(m_t, diag exp(v_t)), read from the steps before t. A
decoder must predict the whole trial from a sample of it, its past and its future:

  ELBO_t = E_{z ~ q_t} sum_j log p(outcome_j | s_j, a_j, z) - KL(q_t || q_{t-1}),   q_{-1} = N(0, I)
"""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.gaussian import kl_divergence
from macaw_jax.types import ActionDistribution, Array, Key, Metrics, Params, Steps

Beliefs = ActionDistribution
"""Normal distributions of a task's latent, `[..., L]`: mean and log standard deviation of independent coordinates."""

Surprise = Callable[[Mapping[str, Params], Array, Steps], Array]
"""`(net, z [P, L], steps [N]) -> -log p(outcome_j | s_j, a_j, z) [P, N]`, up to a constant."""


def belief_divergence(beliefs: Beliefs) -> Array:
  """KL(q_t || q_{t-1}) along the beliefs `[N, L]` of a trial, q_{-1} = N(0, I): `[N]`; both carry gradients."""
  before = jax.tree.map(lambda leaf: jnp.concatenate([jnp.zeros_like(leaf[:1]), leaf[:-1]]), beliefs)
  return kl_divergence(beliefs, before)


def negative_elbo(
  surprise: Surprise,
  net: Mapping[str, Params],
  beliefs: Beliefs,
  steps: Steps,
  key: Key,
  *,
  num_prefixes: int,
  kl_weight: float | Array,
) -> tuple[Array, Metrics]:
  """- mean over some steps t of ELBO_t, with kl_weight on the divergence, of one trial.

  Args:
    surprise: of the decoder.
    net: has its parameters.
    beliefs: `[N, L]`.
    steps: `[N]` of the trial, those that happened first.
    key: draws the steps t, and the samples of their beliefs.
    num_prefixes: P, steps t that are drawn; those that did not happen are not.
    kl_weight: one, in the bound.
  """
  chex.assert_equal_shape_prefix([beliefs.mean, steps.mask], 1)
  key_steps, key_noise = jax.random.split(key)
  count = jnp.maximum(jnp.sum(steps.mask), 1.0)
  drawn = jnp.floor(jax.random.uniform(key_steps, (num_prefixes,)) * count).astype(int)
  chosen = jax.tree.map(lambda leaf: leaf[drawn], beliefs)  # [P, L]
  z = chosen.mean + jnp.exp(chosen.log_std) * jax.random.normal(key_noise, chosen.mean.shape)
  errors = surprise(net, z, steps)  # [P, N]
  reconstruction = jnp.mean(jnp.sum(jnp.where(steps.mask > 0, errors, 0.0), axis=-1))
  divergence = jnp.mean(belief_divergence(beliefs)[drawn])
  metrics = {
    "reconstruction_error": masked_mean(errors, jnp.broadcast_to(steps.mask, errors.shape)),
    "kl": divergence,
    "belief_std": jnp.mean(jnp.exp(chosen.log_std)),
  }
  return reconstruction + kl_weight * divergence, metrics
