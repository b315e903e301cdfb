"""FOCAL: a deterministic latent from distances between tasks, and control that stays near the data.

Li et al. 2021, "FOCAL: Efficient Fully-Offline Meta-Reinforcement Learning via Distance Metric Learning and Behavior
Regularization" (arXiv:2010.01112).

Latent:    z = mean_n tanh(e(x_n)) over the transitions of a context
Training:  the encoder descends the metric loss alone: contexts of one task attract, those of two tasks repel;
           the actor-critic descends its own losses, z held fixed
A new task: z of its context; without any context the latent of some training task

Each task of a batch gives two contexts, the halves of its support, so that every batch has contexts to attract. The
released sampler draws tasks without replacement, one context each, and then nothing attracts.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from macaw_jax.algorithms.arguments import check_counts, check_hidden_sizes, passes_arguments_to, split_arguments
from macaw_jax.algorithms.contextual import (
  KNOWN_LATENTS,
  SCALE,
  ContextEncoder,
  Reading,
  contextual_agent,
  known_latents,
  reading,
)
from macaw_jax.hyperparameters import require
from macaw_jax.learners.context import Net
from macaw_jax.losses.embeddings import pairwise_metric
from macaw_jax.networks.encoders import mean_pool, transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch, Transition

# Which loss trains which parts, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"metric_loss": ("encoder",)}


class MetricEncoder(NamedTuple):
  """FOCAL's encoder, for the algorithms that add a term to its loss.

  reading: what is read of a transition
  embed:   `(net, context [T, C, ...]) -> [T, C, L]`, the embedding of each transition, in (-1, 1)
  encoder: all of it, as FOCAL has it
  """

  reading: Reading
  embed: Callable[[Net, Transition], Array]
  encoder: ContextEncoder


def metric_encoder(
  problem: Problem,
  *,
  latent_size: int = 5,
  encoder_hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  metric_weight: float = 10.0,
  repulsion: float = 1.0,
  repulsion_offset: float = 0.1,
) -> MetricEncoder:
  """FOCAL's encoder; see `focal` for the arguments."""
  check_hidden_sizes(encoder_hidden_sizes=encoder_hidden_sizes)
  require(metric_weight >= 0, f"metric_weight={metric_weight} must not be negative")
  require(repulsion >= 0, f"repulsion={repulsion} must not be negative")
  require(repulsion_offset > 0, f"repulsion_offset={repulsion_offset} must be positive")
  check_counts(latent_size=latent_size)
  read = reading(problem, next_observation=next_observation)
  network = transition_encoder(read.size, latent_size, encoder_hidden_sizes)

  def embed(net: Net, context: Transition) -> Array:
    return jnp.tanh(network.apply(net["encoder"], read.rows(net, context)))

  def infer(net: Net, context: Transition, key: Key) -> Array:
    del key
    return mean_pool(embed(net, context))

  def metric_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    del key
    embeddings = embed(net, tasks.support)  # [T, C, L]
    half = embeddings.shape[1] // 2
    if half < 1:
      raise ValueError("a support of one transition: the metric loss halves it, and needs two or more")
    latents = jnp.concatenate([mean_pool(embeddings[:, :half]), mean_pool(embeddings[:, half:])])  # [2 T, L]
    labels = jnp.concatenate([tasks.task_index, tasks.task_index])
    loss = pairwise_metric(latents, labels, repulsion=repulsion, epsilon=repulsion_offset, weight=metric_weight)
    return loss, {"metric_loss": loss, "latent_std": jnp.mean(jnp.std(latents, axis=0))}

  known = known_latents(infer, problem, latent_size)
  encoder = ContextEncoder(
    latent_size=latent_size,
    init={SCALE: read.init, "encoder": network.init, KNOWN_LATENTS: known.init},
    infer=infer,
    prior=known.prior,
    losses={"metric_loss": metric_loss},
    follows={SCALE: read.follow, KNOWN_LATENTS: known.follow},
  )
  return MetricEncoder(read, embed, encoder)


@passes_arguments_to(contextual_agent, metric_encoder)
def focal(problem: Problem, **arguments: Any) -> Algorithm:
  """FOCAL.

  Args:
    problem: Sizes and discount of the data.
    **arguments: Those of `contextual.contextual_agent`, and of `metric_encoder`:
      latent_size, of z; encoder_hidden_sizes; next_observation, whether the encoder sees s' - s beside (s, a, r);
      metric_weight, of the metric loss, which matters beside no other loss but for Adam's rounding: 0 leaves the
      encoder as it is; repulsion and repulsion_offset, beta and epsilon in beta / (d + epsilon) for two tasks whose
      latents have the mean squared distance d.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  of_encoder, others = split_arguments(metric_encoder, arguments)
  return contextual_agent(problem, metric_encoder(problem, **of_encoder).encoder, TRAINS, **others)
