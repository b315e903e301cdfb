"""FOCAL: a deterministic latent from distances between tasks, and control that stays near the data.

Li et al. 2021, "FOCAL: Efficient Fully-Offline Meta-Reinforcement Learning via Distance Metric Learning and Behavior
Regularization" (arXiv:2010.01112).

Latent:    z = mean_n tanh(e(x_n)) over the transitions of a context
Training:  the encoder minimises the metric loss alone: contexts of one task attract, those of two tasks repel;
           the actor-critic minimises its own losses, z under a stop-gradient
A new task: z of its context; without any context the latent of some training task

Each task of a batch gives two contexts, the halves of its support, so that every batch has contexts to attract. The
released sampler draws tasks without replacement, one context each, and then nothing attracts. `RELEASED` is the set of
choices that repeats the released code.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, brac, iql
from macaw_jax.actor_critics.behaviour_regularised import penalise_score
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
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import pairwise_metric, released_metric
from macaw_jax.networks.encoders import mean_pool, transition_encoder
from macaw_jax.networks.latent import MakeLayer, released_hidden_layer, released_networks
from macaw_jax.networks.soft_actor_critic import hard_bounds
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"metric_loss": ("encoder",)}

MetricLoss = Callable[..., Array]
"""`(latents [N, L], labels [N], *, repulsion, epsilon, weight) -> scalar`, as `pairwise_metric`."""


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
  contexts_per_task: int = 2,
  metric: MetricLoss = pairwise_metric,
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
    contexts_per_task: Parts of a support that count as contexts of their own. With one, nothing attracts unless a batch
      has a task twice.
    metric: The metric loss.
    layer: The hidden layers.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_not_negative(metric_weight=metric_weight, repulsion=repulsion)
  check_positive(repulsion_offset=repulsion_offset)
  check_counts(latent_size=latent_size, contexts_per_task=contexts_per_task)

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation, inputs)
    network = transition_encoder(read.size, latent_size, hidden_sizes, layer=layer)

    def embed(net: Net, rows: Array) -> Array:
      return jnp.tanh(network.apply(net["encoder"], rows))

    def infer(net: Net, context: Transition, key: Key) -> Array:
      return mean_pool(embed(net, read.rows(net, context)), context.mask)

    def metric_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      embeddings, mask = embed(net, read.rows(net, tasks.support)), tasks.support.mask  # [T, C, L]
      support_size = embeddings.shape[1]
      if support_size < contexts_per_task:
        raise ValueError(
          f"support_size={support_size}: the metric loss makes contexts_per_task={contexts_per_task} contexts of a "
          "support, and needs a transition for each"
        )
      bounds = [support_size * part // contexts_per_task for part in range(contexts_per_task + 1)]
      contexts = [slice(*ends) for ends in itertools.pairwise(bounds)]
      latents = jnp.concatenate(
        [mean_pool(embeddings[:, rows], None if mask is None else mask[:, rows]) for rows in contexts]
      )  # [contexts T, L]
      labels = jnp.tile(tasks.task_index, contexts_per_task)
      loss = metric(latents, labels, repulsion=repulsion, epsilon=repulsion_offset, weight=metric_weight)
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


# The released code, with the penalty of its half-cheetah with velocities: alpha starts at 50, and at up to a million in
# other tasks, some of which have it in the Bellman target too. The discriminator takes a step on the batch and two on
# fresh rows. All losses read encoder and discriminator as they were before the update.
BEFORE = ("encoder", "discriminator")
RELEASED: dict[str, Any] = {
  "encoder": metric_encoder(
    latent_size=20,
    hidden_sizes=(200, 200, 200),
    next_observation=False,
    inputs="raw",
    metric_weight=10.0,
    contexts_per_task=1,
    metric=released_metric,
    layer=released_hidden_layer,
  ),
  "actor_critic": brac(
    hidden_sizes=(256, 256, 256),
    reward_scale=5.0,
    behaviour_penalty=50.0,
    divergence_target=0.05,
    max_penalty=2000.0,
    project_penalty=False,
    discriminator_penalty=penalise_score,
    networks=released_networks(hard_bounds(-20.0, 0.0)),
  ),
  "optimizer": context_optimizers(
    agent_learning_rate=3e-4, encoder_learning_rate=3e-4, learning_rates={"discriminator": 1e-4}
  ),
  "steps": (
    *(Step(("discriminator_loss",), share=share) for share in range(3)),
    Step(("metric_loss",)),
    Step(("critic_loss",), before=BEFORE),
    Step(("value_loss",), before=BEFORE),
    Step(("policy_loss",), before=BEFORE),
    Step(("multiplier_loss",), before=(*BEFORE, "policy")),
  ),
}


def focal(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(agent_learning_rate=3e-3),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """FOCAL; arguments as of `contextual_agent`. The published actor-critic is `brac()`."""
  return contextual_agent(problem, encoder(problem), actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
