"""FOCAL: a deterministic latent from distances between tasks, and control that stays near the data.

Li et al. 2021, "FOCAL: Efficient Fully-Offline Meta-Reinforcement Learning via Distance Metric Learning and Behavior
Regularization" (arXiv:2010.01112).

Latent:    z = mean_n tanh(e(x_n)) over the transitions of a context
Training:  the encoder minimises the metric loss alone: contexts of one task attract, those of two tasks repel;
           the actor-critic minimises its own losses, z under a stop-gradient
A new task: z of its context; without any context the latent of some training task

Each task of a batch gives two contexts, the halves of its support, so that every batch has contexts to attract. The
released sampler draws tasks without replacement, one context each, and then nothing attracts.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.algorithms.contextual import (
  ContextEncoder,
  MakeContextOptimizers,
  MakeEncoder,
  Reading,
  context_optimizers,
  contextual_agent,
  deterministic_encoder,
)
from macaw_jax.hyperparameters import check_counts, check_not_negative, check_positive, check_sizes, part
from macaw_jax.learners.context import Net, Step
from macaw_jax.losses.embeddings import pairwise_metric
from macaw_jax.networks.encoders import mean_pool, transition_encoder
from macaw_jax.networks.latent import MakeLayer
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"metric_loss": ("encoder",)}


@part
def metric_encoder(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  inputs: str = "standardised",
  metric_weight: float = 10.0,
  repulsion: float = 1.0,
  repulsion_offset: float = 0.1,
  layer: MakeLayer = nn.Dense,
) -> MakeEncoder:
  """FOCAL's encoder.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers of the network that embeds a transition.
    next_observation: Whether it sees s' - s beside (s, a, r). Tasks that differ in physics need it.
    inputs: 'standardised', or 'raw' as the released code reads them, with s' for s' - s (`Reading`).
    metric_weight: Weight of the metric loss. Without another loss beside it, it matters for Adam's rounding alone; 0
      leaves the encoder as it is.
    repulsion: beta in beta / (d + epsilon) for two tasks whose latents have the mean squared distance d.
    repulsion_offset: epsilon in it.
    layer: The hidden layers.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_not_negative(metric_weight=metric_weight, repulsion=repulsion)
  check_positive(repulsion_offset=repulsion_offset)
  check_counts(latent_size=latent_size)

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation, inputs)
    network = transition_encoder(read.size, latent_size, hidden_sizes, layer=layer)

    def embed(net: Net, rows: Array) -> Array:
      return jnp.tanh(network.apply(net["encoder"], rows))

    def infer(net: Net, context: Transition, key: Key) -> Array:
      return mean_pool(embed(net, read.rows(net, context)), context.mask)

    def metric_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      embeddings, mask = embed(net, read.rows(net, tasks.support)), tasks.support.mask  # [T, C, L]
      half = embeddings.shape[1] // 2
      if half < 1:
        raise ValueError("support_size=1: the metric loss halves a support, and needs two transitions or more")
      halves = (slice(half), slice(half, None))
      latents = jnp.concatenate(
        [mean_pool(embeddings[:, rows], None if mask is None else mask[:, rows]) for rows in halves]
      )  # [2 T, L]
      labels = jnp.concatenate([tasks.task_index, tasks.task_index])
      loss = pairwise_metric(latents, labels, repulsion=repulsion, epsilon=repulsion_offset, weight=metric_weight)
      return loss, {"metric_loss": loss, "latent_std": jnp.mean(jnp.std(latents, axis=0))}

    return deterministic_encoder(
      problem,
      infer,
      latent_size=latent_size,
      init={**read.init, "encoder": network.init},
      losses={"metric_loss": metric_loss},
      trains=TRAINS,
      follows=read.follows,
      reading=read,
      embed=embed,
    )

  return make


def focal(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
) -> Algorithm:
  """FOCAL; arguments as of `contextual_agent`. The published actor-critic is `brac()`."""
  return contextual_agent(problem, encoder(problem), actor_critic, optimizer, steps)
