"""CSRO: FOCAL's encoder that must not tell who acted.

Gao et al. 2023, "Context Shift Reduction for Offline Meta-Reinforcement Learning" (arXiv:2311.03695).

Latent:    z = mean_n z_n, z_n = tanh(e(x_n)), as FOCAL
Training:  the encoder descends the metric loss + information_weight * I(z_n; (s_n, a_n)), the mutual information
           within a task by its upper bound CLUB (Cheng et al. 2020), in which a behaviour model q(z_n | s_n, a_n),
           held fixed there, stands for the unknown conditional; the model descends -log q(z_n | s_n, a_n), the
           encoder held fixed; the actor-critic descends its own losses, z held fixed

The paper adds to this that a new task's context is acted without regard to the latent; that is the protocol `random`
of evaluation, for every algorithm.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.algorithms.arguments import check_hidden_sizes, passes_arguments_to, split_arguments
from macaw_jax.algorithms.contextual import contextual_agent
from macaw_jax.algorithms.focal import TRAINS as FOCAL_TRAINS
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import require
from macaw_jax.learners.context import Net
from macaw_jax.losses.embeddings import club_upper_bound, gaussian_negative_log_likelihood
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# Which loss trains which parts, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {
  **FOCAL_TRAINS,
  "information_loss": ("encoder",),
  "behaviour_model_loss": ("behaviour_model",),
}

LOG_VARIANCE_BOUND = 4.0  # of the behaviour model


@passes_arguments_to(contextual_agent, metric_encoder)
def csro(
  problem: Problem,
  *,
  information_weight: float = 5.0,
  behaviour_model_hidden_sizes: Sequence[int] = (64, 64),
  **arguments: Any,
) -> Algorithm:
  """CSRO.

  Args:
    problem: Sizes and discount of the data.
    information_weight: Of the mutual information of embeddings and behaviour, beside the metric loss.
    behaviour_model_hidden_sizes: Of the network that predicts embeddings from behaviour.
    **arguments: Those of `focal.focal`.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  require(information_weight >= 0, f"information_weight={information_weight} must not be negative")
  check_hidden_sizes(behaviour_model_hidden_sizes=behaviour_model_hidden_sizes)
  of_encoder, others = split_arguments(metric_encoder, arguments)
  metric = metric_encoder(problem, **of_encoder)
  read, size = metric.reading, metric.encoder.latent_size
  model = transition_encoder(read.behaviour_size, 2 * size, behaviour_model_hidden_sizes)

  def modelled(net: Net, tasks: TaskBatch) -> tuple[Array, Array, Array]:
    """Mean and log variance of q(z_n | s_n, a_n), and z_n: [T, C, L] each."""
    behaviour, _ = read.split(read.rows(net, tasks.support))
    mean, raw = jnp.split(model.apply(net["behaviour_model"], behaviour), 2, axis=-1)
    embeddings = metric.embed(net, tasks.support)
    # Bounded: embeddings lie in (-1, 1), and a variance near zero would make the likelihood's gradient explode.
    log_variance = LOG_VARIANCE_BOUND * jnp.tanh(raw)
    return mean, log_variance, embeddings

  def information_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    del key
    # Within each task: between tasks, embeddings are to differ, and so may behaviour.
    bound = jnp.mean(jax.vmap(club_upper_bound)(*modelled(net, tasks)))
    return information_weight * bound, {"behaviour_information": bound}

  def behaviour_model_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    del key
    loss = gaussian_negative_log_likelihood(*modelled(net, tasks))
    return loss, {"behaviour_model_loss": loss}

  encoder = metric.encoder.with_terms(
    {"behaviour_model": model.init},
    {"information_loss": information_loss, "behaviour_model_loss": behaviour_model_loss},
  )
  return contextual_agent(problem, encoder, TRAINS, **others)
