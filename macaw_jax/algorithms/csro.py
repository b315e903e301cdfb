"""CSRO: FOCAL's encoder whose embeddings must not tell the behaviour policy.

Gao et al. 2023, "Context Shift Reduction for Offline Meta-Reinforcement Learning" (arXiv:2311.03695).

Latent:    z = mean_n z_n, z_n = tanh(e(x_n)), as FOCAL
Training:  the encoder minimises the metric loss + information_weight * I(z_n; (s_n, a_n)), the mutual information
           within a task by its upper bound CLUB (Cheng et al. 2020), in which a behaviour model q(z_n | s_n, a_n),
           under a stop-gradient there, stands for the unknown conditional; the model minimises -log q(z_n | s_n, a_n),
           the encoder under a stop-gradient; the actor-critic minimises its own losses, z under a stop-gradient

The paper adds to this that a new task's context is collected without regard to the latent; that is the protocol
`random` of evaluation, for every algorithm.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers, contextual_agent
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import check_not_negative, check_sizes
from macaw_jax.learners.context import Net, Step
from macaw_jax.losses.embeddings import club_upper_bound, gaussian_negative_log_likelihood
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# The parts that each loss trains, beside the tables of encoder and actor-critic; every other gradient is exactly zero.
TRAINS = {"information_loss": ("encoder",), "behaviour_model_loss": ("behaviour_model",)}

LOG_VARIANCE_BOUND = 4.0  # of the behaviour model


def csro(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  information_weight: float = 0.2,
  behaviour_model_hidden_sizes: Sequence[int] = (64, 64),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
) -> Algorithm:
  """CSRO; arguments as of `contextual_agent`, and two of its own.

  `information_weight` is that of the mutual information of embeddings and behaviour, beside the metric loss;
  `behaviour_model_hidden_sizes` are those of the network that predicts embeddings from behaviour. Raises ValueError for
  a setting outside its range, or an encoder without embeddings of single transitions.
  """
  check_not_negative(information_weight=information_weight)
  check_sizes(behaviour_model_hidden_sizes=behaviour_model_hidden_sizes)
  metric = encoder(problem)
  read, embed = metric.reading, metric.embed
  if embed is None:
    raise ValueError("CSRO needs an encoder that embeds single transitions, as metric_encoder()")
  model = transition_encoder(read.behaviour_size, 2 * metric.latent_size, behaviour_model_hidden_sizes)

  def modelled(net: Net, tasks: TaskBatch) -> tuple[Array, Array, Array]:
    """Mean and log variance of q(z_n | s_n, a_n), and z_n: [T, C, L] each."""
    rows = read.rows(net, tasks.support)
    behaviour, _ = read.split(rows)
    mean, raw = jnp.split(model.apply(net["behaviour_model"], behaviour), 2, axis=-1)
    # Bounded: embeddings lie in (-1, 1), and a variance near zero would make the likelihood's gradient explode.
    return mean, LOG_VARIANCE_BOUND * jnp.tanh(raw), embed(net, rows)

  def information_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    # Within each task: between tasks, embeddings are to differ, and so may behaviour.
    bound = jnp.mean(jax.vmap(club_upper_bound)(*modelled(net, tasks)))
    return information_weight * bound, {"behaviour_information": bound}

  def behaviour_model_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    loss = gaussian_negative_log_likelihood(*modelled(net, tasks))
    return loss, {"behaviour_model_loss": loss}

  shift_free = metric.with_terms(
    {"behaviour_model": model.init},
    {"information_loss": information_loss, "behaviour_model_loss": behaviour_model_loss},
    TRAINS,
  )
  return contextual_agent(problem, shift_free, actor_critic, optimizer, steps)
