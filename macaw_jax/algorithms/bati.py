"""BATI: a latent that is found by maximum likelihood of a task's outcomes, and read by no encoder.

Ma et al. 2025, "Behavior-agnostic Task Inference for Robust Offline In-context Reinforcement Learning" (ICML, PMLR
267). A task is inferred from the likelihood of rewards and next states given states and actions. Which policy chose the
actions is no part of that likelihood, where an encoder of (s, a, r, s') can read it.

Latents:   a table of distributions, q_i(z) = N(m_i, diag(v_i)) for training task i
Model:     p(r, s' - s | s, a, z), Gaussian, its means g(s, a, z) and log-variances h(s, a, z) by one network
Training:  table and model minimise L(x; z) + kl_weight * mean_i KL(q_i || N(0, I)), z ~ q_i,

             L(x; z) = -log p(r | s, a, z) - mean over the coordinates of s' - s of log p(change | s, a, z),

           averaged over the transitions of the support; the actor-critic minimises its own losses, z ~ q_i under a
           stop-gradient
A new task: z* = argmin_z sum_n L(x_n; z) over the transitions of a context and the smallest box that holds all m_i, by
           gradient descent from those m_i that explain the context best; without any context some m_i
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.adaptation.descend import best_of_descents
from macaw_jax.adaptation.encode import encode
from macaw_jax.algorithms.contextual import (
  ContextEncoder,
  MakeContextOptimizers,
  MakeEncoder,
  Reading,
  context_optimizers,
  contextual_agent,
)
from macaw_jax.hyperparameters import check_counts, check_not_negative, check_positive, check_sizes, part
from macaw_jax.learners.context import Net, split_update_key
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import kl_to_standard_normal
from macaw_jax.losses.likelihood import gaussian_surprise
from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.encoders import Gaussian, sample_gaussian, transition_encoder
from macaw_jax.types import LATENT, Algorithm, Array, Key, Metrics, Params, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"outcome_loss": ("table", "outcome_model"), "kl_loss": ("table",)}

LOG_VARIANCE_BOUND = 6.0  # of the outcome model
INITIAL_LOG_VARIANCE = -4.0  # of the table's distributions
# Standard deviation of the table's first means. They start close together, so that the model moves them apart along
# what tells tasks from each other. Means that start as far apart as they end keep their first order, which is chance:
# tasks alike are then no neighbours, and a policy does not carry over to the latents of new ones.
INITIAL_SPREAD = 0.1


@part
def likelihood_encoder(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  kl_weight: float = 0.001,
  descents: int = 4,
  descent_steps: int = 30,
  descent_step_size: float = 0.1,
) -> MakeEncoder:
  """BATI's table of latents, and the search for a new one.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers of the network that predicts outcomes.
    next_observation: Whether s' - s is an outcome beside r. Tasks that differ in physics need it.
    kl_weight: Weight of the divergence of the table's distributions from N(0, I).
    descents: Training tasks from whose latents the search descends, those that explain the context best.
    descent_steps: Steps of each descent.
    descent_step_size: Adam's step size in it, which falls linearly to zero.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_not_negative(kl_weight=kl_weight)
  check_positive(descent_step_size=descent_step_size)
  check_counts(latent_size=latent_size, descents=descents, descent_steps=descent_steps)

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation)
    model = transition_encoder(read.behaviour_size + latent_size, 2 * read.outcome_size, hidden_sizes)

    def init_table(key: Key) -> Params:
      shape = (problem.num_tasks, latent_size)
      return {
        "mean": INITIAL_SPREAD * jax.random.normal(key, shape),
        "log_variance": jnp.full(shape, INITIAL_LOG_VARIANCE, float),
      }

    def distribution(net: Net, tasks: TaskBatch) -> Gaussian:
      table = net["table"]
      return Gaussian(table["mean"][tasks.task_index], jnp.exp(table["log_variance"][tasks.task_index]))

    def latents_of(net: Net, tasks: TaskBatch, key: Key) -> Array:
      return sample_gaussian(distribution(net, tasks), split_update_key(key).latent)

    def surprise(net: Net, rows: Array, latents: Array) -> Array:
      """L of rows [..., C, F] under the latents [..., L] of their tasks: [..., C]."""
      behaviour, outcome = read.split(rows)
      mean, raw = jnp.split(model.apply(net["outcome_model"], beside(behaviour, latents)), 2, axis=-1)
      # Bounded: outcomes that are no random numbers would have a variance of zero, and a likelihood without end.
      return read.over_outcome(gaussian_surprise(mean, LOG_VARIANCE_BOUND * jnp.tanh(raw), outcome))

    def infer(net: Net, context: Transition, key: Key) -> Array:
      rows = read.rows(net, context)
      counts = jnp.ones(len(rows)) if context.mask is None else context.mask

      def objective(latent: Array) -> Array:
        return jnp.sum(jnp.where(counts > 0, surprise(net, rows, latent), 0.0))

      starts = net["table"]["mean"]
      return best_of_descents(objective, starts, kept=descents, steps=descent_steps, step_size=descent_step_size)

    def prior(net: Net, key: Key) -> Net:
      return {LATENT: jax.random.choice(key, net["table"]["mean"])}

    def outcome_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      found = surprise(net, read.rows(net, tasks.support), latents_of(net, tasks, key))  # [T, C]
      loss = masked_mean(found, tasks.support.mask)
      return loss, {"outcome_loss": loss}

    def kl_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      latents = distribution(net, tasks)
      divergence = jnp.mean(kl_to_standard_normal(*latents))
      return kl_weight * divergence, {"kl": divergence, "belief_std": jnp.mean(jnp.sqrt(latents.variance))}

    return ContextEncoder(
      latent_size=latent_size,
      init={**read.init, "table": init_table, "outcome_model": model.init},
      adaptation=encode(infer),
      latents_of=latents_of,
      prior=prior,
      losses={"outcome_loss": outcome_loss, "kl_loss": kl_loss},
      trains=TRAINS,
      follows=read.follows,
      reading=read,
    )

  return make


def bati(
  problem: Problem,
  *,
  encoder: MakeEncoder = likelihood_encoder(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(encoder_learning_rate=3e-3),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """BATI; arguments as of `contextual_agent`. The rate of the encoder is higher than of others.

  A row of the table learns only in updates whose batch has its task.
  """
  return contextual_agent(problem, encoder(problem), actor_critic, optimizer, gradient_surgery=gradient_surgery)
