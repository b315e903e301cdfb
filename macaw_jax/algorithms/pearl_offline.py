"""PEARL on fixed data: a belief about the task from a product of Gaussian factors, one for each transition.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables"
(arXiv:1903.08254); on fixed data, the baseline that Mitchell et al. 2021 call offline PEARL and Li et al. 2021 batch
PEARL.

Belief:    q(z | c) = N(m, diag(v)),  1/v = sum_n 1/s_n,  m/v = sum_n m_n/s_n,  (m_n, s_n) from transition n alone
Training:  encoder and critics descend L_Q(Q, z) + kl_weight * KL(q(z | c) || N(0, I)), z ~ q(z | c);
           the other parts of the actor-critic descend their own losses, z held fixed
A new task: z ~ q(z | c); without any context z ~ N(0, I)

With the core 'sac' this is the published baseline, which values actions that the data do not have; the other cores
keep to the data.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.algorithms.arguments import check_counts, check_hidden_sizes, passes_arguments_to
from macaw_jax.algorithms.contextual import SCALE, ContextEncoder, contextual_agent, reading
from macaw_jax.hyperparameters import require
from macaw_jax.learners.context import Net
from macaw_jax.losses.embeddings import kl_to_standard_normal
from macaw_jax.networks.encoders import (
  Gaussian,
  gaussian_factors,
  product_of_gaussians,
  sample_gaussian,
  transition_encoder,
)
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch, Transition

# Which loss trains which parts, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"kl_loss": ("encoder",), "critic_loss": ("encoder", "critic")}

KL_REDUCTIONS = {"sum": jnp.sum, "mean": jnp.mean}


@passes_arguments_to(contextual_agent)
def pearl_offline(
  problem: Problem,
  *,
  latent_size: int = 5,
  encoder_hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  kl_weight: float = 0.001,
  kl_reduction: str = "sum",
  **arguments: Any,
) -> Algorithm:
  """PEARL on fixed data.

  Args:
    problem: Sizes and discount of the data.
    latent_size: Of z.
    encoder_hidden_sizes: Of the network that makes a factor of a transition.
    next_observation: Whether it sees s' - s beside (s, a, r). Tasks that differ in physics need it.
    kl_weight: lambda. Rewards are scaled such that returns have size one and then by `reward_scale`: at 0.1, PEARL's
      own weight, a divergence outweighed the Bellman error that tells tasks apart, and z said nothing.
    kl_reduction: 'sum' over the tasks of a batch, as released: the weight grows with their number; or 'mean'.
    **arguments: Those of `contextual.contextual_agent`.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  check_hidden_sizes(encoder_hidden_sizes=encoder_hidden_sizes)
  require(kl_weight >= 0, f"kl_weight={kl_weight} must not be negative")
  if kl_reduction not in KL_REDUCTIONS:
    raise ValueError(f"kl_reduction={kl_reduction!r} is unknown; choose one of {', '.join(KL_REDUCTIONS)}")
  check_counts(latent_size=latent_size)
  read = reading(problem, next_observation=next_observation)
  network = transition_encoder(read.size, 2 * latent_size, encoder_hidden_sizes)

  def posterior(net: Net, context: Transition) -> Gaussian:
    """The belief [T, L] from contexts [T, C, ...]."""
    factors = gaussian_factors(network.apply(net["encoder"], read.rows(net, context)))
    return product_of_gaussians(*factors)

  def infer(net: Net, context: Transition, key: Key) -> Array:
    return sample_gaussian(posterior(net, context), key)

  def prior(net: Net, key: Key) -> Array:
    del net
    return jax.random.normal(key, (latent_size,))

  def kl_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    del key
    belief = posterior(net, tasks.support)
    divergence = kl_to_standard_normal(belief)  # [T]
    loss = kl_weight * KL_REDUCTIONS[kl_reduction](divergence)
    return loss, {"kl": jnp.mean(divergence), "belief_std": jnp.mean(jnp.sqrt(belief.variance))}

  encoder = ContextEncoder(
    latent_size=latent_size,
    init={SCALE: read.init, "encoder": network.init},
    infer=infer,
    prior=prior,
    losses={"kl_loss": kl_loss},
    follows={SCALE: read.follow},
  )
  return contextual_agent(problem, encoder, TRAINS, **arguments)
