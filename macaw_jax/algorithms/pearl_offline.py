"""PEARL on fixed data: a belief about the task from a product of Gaussian factors, one for each transition.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables"
(arXiv:1903.08254); on fixed data, the baseline that Mitchell et al. 2021 call offline PEARL and Li et al. 2021 batch
PEARL.

Belief:    q(z | c) = N(m, diag(v)),  1/v = sum_n 1/s_n,  m/v = sum_n m_n/s_n,  (m_n, s_n) from transition n alone
Training:  encoder and critics minimise L_Q(Q, z) + kl_weight * KL(q(z | c) || N(0, I)), z ~ q(z | c);
           the other parts of the actor-critic minimise their own losses, z under a stop-gradient
A new task: z ~ q(z | c); without any context z ~ N(0, I)

With the actor-critic `sac()` this is the published baseline, which values actions that the data do not have; the other
actor-critics keep to the data.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.adaptation import encode
from macaw_jax.algorithms.contextual import (
  ContextEncoder,
  MakeContextOptimizers,
  MakeEncoder,
  Reading,
  context_optimizers,
  contextual_agent,
)
from macaw_jax.hyperparameters import check_choice, check_counts, check_not_negative, check_sizes, part
from macaw_jax.learners.context import Net, Step, read_from_support
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import kl_to_standard_normal
from macaw_jax.networks.encoders import (
  Gaussian,
  gaussian_factors,
  product_of_gaussians,
  sample_gaussian,
  transition_encoder,
)
from macaw_jax.networks.latent import MakeLayer
from macaw_jax.types import LATENT, Algorithm, Array, Key, Metrics, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"kl_loss": ("encoder",), "critic_loss": ("encoder", "critic")}

KL_REDUCTIONS = {"sum": jnp.sum, "mean": jnp.mean}


@part
def belief_encoder(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  inputs: str = "standardised",
  kl_weight: float = 0.001,
  kl_reduction: str = "sum",
  layer: MakeLayer = nn.Dense,
) -> MakeEncoder:
  """PEARL's encoder.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers of the network that makes a factor of a transition.
    next_observation: Whether it sees s' - s beside (s, a, r). Tasks that differ in physics need it.
    inputs: 'standardised', or 'raw' as the released code reads them, with s' for s' - s (`Reading`).
    kl_weight: lambda. Rewards are scaled such that returns have size one and then by `reward_scale`: on fixed data at
      0.1, PEARL's own weight, the divergence outweighed the Bellman error that tells tasks apart.
    kl_reduction: 'sum' over the tasks of a batch, as released: the weight grows with their number; or 'mean'.
    layer: The hidden layers.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_not_negative(kl_weight=kl_weight)
  check_choice(KL_REDUCTIONS, kl_reduction=kl_reduction)
  check_counts(latent_size=latent_size)

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation, inputs)
    network = transition_encoder(read.size, 2 * latent_size, hidden_sizes, layer=layer)

    def posterior(net: Net, context: Transition) -> Gaussian:
      """The belief [..., L] from contexts [..., C, ...]."""
      factors = gaussian_factors(network.apply(net["encoder"], read.rows(net, context)))
      return product_of_gaussians(*factors, context.mask)

    def infer(net: Net, context: Transition, key: Key) -> Array:
      return sample_gaussian(posterior(net, context), key)

    def prior(net: Net, key: Key) -> Net:
      return {LATENT: jax.random.normal(key, (latent_size,))}

    def kl_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      belief = posterior(net, tasks.support)
      divergence = kl_to_standard_normal(*belief)  # [T]
      loss = kl_weight * KL_REDUCTIONS[kl_reduction](divergence)
      return loss, {"kl": jnp.mean(divergence), "belief_std": jnp.mean(jnp.sqrt(belief.variance))}

    adaptation = encode(infer)
    return ContextEncoder(
      latent_size=latent_size,
      init={**read.init, "encoder": network.init},
      adaptation=adaptation,
      latents_of=read_from_support(adaptation),
      prior=prior,
      losses={"kl_loss": kl_loss},
      trains=TRAINS,
      follows=read.follows,
      reading=read,
    )

  return make


def pearl_offline(
  problem: Problem,
  *,
  encoder: MakeEncoder = belief_encoder(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(agent_learning_rate=3e-3),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """PEARL on fixed data; arguments as of `contextual_agent`. The loss of the critic trains the encoder too."""
  return contextual_agent(problem, encoder(problem), actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
