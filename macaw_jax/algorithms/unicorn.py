"""UNICORN: FOCAL's encoder that must also say what the task makes of a state and an action.

Li et al. 2024, "Towards an Information Theoretic Framework of Context-Based Offline Meta-Reinforcement Learning"
(arXiv:2402.02429), UNICORN-SS, its self-supervised form: a latent that predicts outcomes has read the task and not who
acted in it. The supervised form, UNICORN-SUP, has a classifier of tasks and its cross-entropy in place of both losses.

Latent:    z = mean_n tanh(e(x_n)), as FOCAL
Training:  the encoder descends the metric loss + reconstruction_weight * error of d(s, a, z) in (r, s' - s) over
           transitions of the query, whose outcomes the context does not show, and the decoder d descends the latter;
           the actor-critic descends its own losses, z held fixed
"""

from collections.abc import Sequence
from typing import Any

from macaw_jax.actor_critics.core import beside
from macaw_jax.algorithms.arguments import check_hidden_sizes, passes_arguments_to, split_arguments
from macaw_jax.algorithms.contextual import contextual_agent
from macaw_jax.algorithms.focal import TRAINS as FOCAL_TRAINS
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import require
from macaw_jax.learners.context import Net, split_update_key
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# Which loss trains which parts, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {**FOCAL_TRAINS, "reconstruction_loss": ("encoder", "decoder")}


@passes_arguments_to(contextual_agent, metric_encoder)
def unicorn(
  problem: Problem,
  *,
  reconstruction_weight: float = 10.0,
  decoder_hidden_sizes: Sequence[int] = (64, 64),
  **arguments: Any,
) -> Algorithm:
  """UNICORN.

  Args:
    problem: Sizes and discount of the data.
    reconstruction_weight: Of the prediction of outcomes, beside the metric loss.
    decoder_hidden_sizes: Of the network that predicts them.
    **arguments: Those of `focal.focal`. With metric_weight=0 the latent is learned from prediction alone, the paper's
      UNICORN-SS-0; without next_observation only the reward is predicted.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  require(reconstruction_weight >= 0, f"reconstruction_weight={reconstruction_weight} must not be negative")
  check_hidden_sizes(decoder_hidden_sizes=decoder_hidden_sizes)
  of_encoder, others = split_arguments(metric_encoder, arguments)
  metric = metric_encoder(problem, **of_encoder)
  read = metric.reading
  decoder = transition_encoder(
    read.behaviour_size + metric.encoder.latent_size, read.outcome_size, decoder_hidden_sizes
  )

  def reconstruction_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    latents = metric.encoder.infer(net, tasks.support, split_update_key(key).latent)  # [T, L]
    behaviour, outcome = read.split(read.rows(net, tasks.query))  # [T, B, ...]
    error = read.outcome_error(decoder.apply(net["decoder"], beside(behaviour, latents)), outcome)
    return reconstruction_weight * error, {"reconstruction_error": error}

  encoder = metric.encoder.with_terms({"decoder": decoder.init}, {"reconstruction_loss": reconstruction_loss})
  return contextual_agent(problem, encoder, TRAINS, **others)
