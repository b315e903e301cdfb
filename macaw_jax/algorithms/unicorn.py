"""UNICORN: FOCAL's encoder whose latent must also predict a task's outcomes of states and actions.

Li et al. 2024, "Towards an Information Theoretic Framework of Context-Based Offline Meta-Reinforcement Learning"
(arXiv:2402.02429), UNICORN-SS, its self-supervised form: a latent that predicts outcomes has read the task and not the
behaviour policy. The supervised form, UNICORN-SUP, has a classifier of tasks and its cross-entropy in place of both
losses.

Latent:    z = mean_n tanh(e(x_n)), as FOCAL
Training:  the encoder minimises the metric loss + reconstruction_weight * error of d(s, a, z) in (r, s' - s) over
           transitions of the query, whose outcomes the context does not show, and the decoder d minimises the latter;
           the actor-critic minimises its own losses, z under a stop-gradient

With a `triplet_weight` the encoder minimises one term more, of Li et al. 2020, "Multi-task Batch Reinforcement Learning
with Metric Learning" (NeurIPS): (s, a, s' - s) of another task with the rewards that the decoder expects of them in
this one must be read as this task, and not as the one whose policy acted.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers, contextual_agent
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import check_not_negative, check_sizes
from macaw_jax.learners.context import Net, Step
from macaw_jax.losses.embeddings import triplet_loss
from macaw_jax.networks.encoders import mean_pool, transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# The parts that each loss trains, beside the tables of encoder and actor-critic; every other gradient is exactly zero.
TRAINS = {"reconstruction_loss": ("encoder", "decoder"), "triplet_loss": ("encoder",)}


def unicorn(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  reconstruction_weight: float = 10.0,
  decoder_hidden_sizes: Sequence[int] = (64, 64),
  triplet_weight: float = 0.0,
  triplet_margin: float = 1.0,
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
) -> Algorithm:
  """UNICORN; arguments as of `contextual_agent`, and four of its own.

  `reconstruction_weight` is that of the prediction of outcomes, beside the metric loss; `decoder_hidden_sizes` are
  those of the network that predicts them. `triplet_weight` is that of the term of relabelled contexts, 0 for the
  paper's algorithm, and `triplet_margin` the difference of distances from which on it is zero. With
  `metric_encoder(metric_weight=0.0)` the latent is learned from prediction alone, the paper's UNICORN-SS-0; without
  next_observation only the reward is predicted. Raises ValueError for a setting outside its range, or an encoder
  without embeddings of single transitions.
  """
  check_not_negative(
    reconstruction_weight=reconstruction_weight, triplet_weight=triplet_weight, triplet_margin=triplet_margin
  )
  check_sizes(decoder_hidden_sizes=decoder_hidden_sizes)
  metric = encoder(problem)
  read, embed = metric.reading, metric.embed
  if embed is None:
    raise ValueError("UNICORN needs an encoder that embeds single transitions, as metric_encoder()")
  decoder = transition_encoder(read.behaviour_size + metric.latent_size, read.outcome_size, decoder_hidden_sizes)

  def reconstruction_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    latents = metric.latents_of(net, tasks, key)  # [T, L]
    behaviour, outcome = read.split(read.rows(net, tasks.query))  # [T, B, ...]
    error = read.outcome_error(decoder.apply(net["decoder"], beside(behaviour, latents)), outcome)
    return reconstruction_weight * error, {"reconstruction_error": error}

  def relabelled_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    rows, mask = read.rows(net, tasks.support), tasks.support.mask
    # Each task has its neighbour in the batch for the other one.
    of_other, other_mask = jnp.roll(rows, 1, axis=0), None if mask is None else jnp.roll(mask, 1, axis=0)
    behaviour, outcome = read.split(of_other)
    expected = decoder.apply(net["decoder"], beside(behaviour, metric.latents_of(net, tasks, key)))
    reward = jax.lax.stop_gradient(expected[..., :1])
    relabelled = jnp.concatenate([behaviour, reward, outcome[..., 1:]], axis=-1)
    loss = triplet_loss(
      mean_pool(embed(net, relabelled), other_mask),
      mean_pool(embed(net, rows), mask),
      mean_pool(embed(net, of_other), other_mask),
      margin=triplet_margin,
    )
    return triplet_weight * loss, {"triplet_loss": loss}

  losses = {"reconstruction_loss": reconstruction_loss, "triplet_loss": relabelled_loss}
  predicting = metric.with_terms({"decoder": decoder.init}, losses, TRAINS)
  return contextual_agent(problem, predicting, actor_critic, optimizer, steps)
