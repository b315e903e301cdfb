"""UNICORN: FOCAL's encoder whose latent must also predict a task's outcomes of states and actions.

Li et al. 2024, "Towards an Information Theoretic Framework of Context-Based Offline Meta-Reinforcement Learning"
(arXiv:2402.02429), UNICORN-SS, its self-supervised form: a latent that predicts outcomes has read the task and not the
behaviour policy. The supervised form, UNICORN-SUP, has a classifier of tasks and its cross-entropy in place of both
losses.

Latent:    z = mean_n tanh(e(x_n)), as FOCAL
Training:  the encoder minimises the metric loss + reconstruction_weight * error of d(s, a, z) in (r, s' - s) over
           transitions of the query, whose outcomes the context does not show, and the decoder d minimises the latter;
           the actor-critic minimises its own losses, z under a stop-gradient
"""

from collections.abc import Sequence

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers, contextual_agent
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import check_not_negative, check_sizes
from macaw_jax.learners.context import Net
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# The parts that each loss trains, beside the tables of encoder and actor-critic; every other gradient is exactly zero.
TRAINS = {"reconstruction_loss": ("encoder", "decoder")}


def unicorn(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  reconstruction_weight: float = 10.0,
  decoder_hidden_sizes: Sequence[int] = (64, 64),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
) -> Algorithm:
  """UNICORN; arguments as of `contextual_agent`, and two of its own.

  `reconstruction_weight` is that of the prediction of outcomes, beside the metric loss; `decoder_hidden_sizes` are
  those of the network that predicts them. With `metric_encoder(metric_weight=0.0)` the latent is learned from
  prediction alone, the paper's UNICORN-SS-0; without next_observation only the reward is predicted. Raises ValueError
  for a setting outside its range.
  """
  check_not_negative(reconstruction_weight=reconstruction_weight)
  check_sizes(decoder_hidden_sizes=decoder_hidden_sizes)
  metric = encoder(problem)
  read = metric.reading
  decoder = transition_encoder(read.behaviour_size + metric.latent_size, read.outcome_size, decoder_hidden_sizes)

  def reconstruction_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    latents = metric.latents_of(net, tasks, key)  # [T, L]
    behaviour, outcome = read.split(read.rows(net, tasks.query))  # [T, B, ...]
    error = read.outcome_error(decoder.apply(net["decoder"], beside(behaviour, latents)), outcome)
    return reconstruction_weight * error, {"reconstruction_error": error}

  predicting = metric.with_terms({"decoder": decoder.init}, {"reconstruction_loss": reconstruction_loss}, TRAINS)
  return contextual_agent(problem, predicting, actor_critic, optimizer)
