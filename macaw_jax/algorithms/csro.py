"""CSRO: FOCAL's encoder whose embeddings must not tell the behaviour policy.

Gao et al. 2023, "Context Shift Reduction for Offline Meta-Reinforcement Learning" (arXiv:2311.03695).

Latent:    z = mean_n z_n, z_n = tanh(e(x_n)), as FOCAL
Training:  the encoder minimises the metric loss + information_weight * I(z_n; (s_n, a_n)), the mutual information
           within a task by its upper bound CLUB (Cheng et al. 2020), in which a behaviour model q(z_n | s_n, a_n),
           under a stop-gradient there, stands for the unknown conditional; the model minimises -log q(z_n | s_n, a_n),
           the encoder under a stop-gradient; the actor-critic minimises its own losses, z under a stop-gradient

The paper adds to this that a new task's context is collected without regard to the latent; that is the protocol
`random` of evaluation, for every algorithm. `RELEASED` is the set of choices that repeats the released code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers, contextual_agent
from macaw_jax.algorithms.focal import RELEASED as FOCAL_RELEASED
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import check_not_negative, check_sizes
from macaw_jax.learners.context import Net, Step
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import club_upper_bound, gaussian_negative_log_likelihood
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.networks.latent import released_hidden_layer
from macaw_jax.types import Algorithm, Array, Key, Metrics, Network, Params, Problem, TaskBatch

# The parts that each loss trains, beside the tables of encoder and actor-critic; every other gradient is exactly zero.
TRAINS = {"information_loss": ("encoder",), "behaviour_model_loss": ("behaviour_model",)}

LOG_VARIANCE_BOUND = 4.0

MakeBehaviourModel = Callable[[int, int, Sequence[int]], Network]
"""`(size of (s, a), L, hidden sizes) -> q`: `apply(params, (s, a) [..., O + A]) -> (mean, log variance) [..., L]`."""


def bounded_model(behaviour_size: int, latent_size: int, hidden_sizes: Sequence[int]) -> Network:
  """A model q with any mean, and a log variance in (-4, 4)."""
  network = transition_encoder(behaviour_size, 2 * latent_size, hidden_sizes)

  def apply(params: Params, behaviour: Array) -> tuple[Array, Array]:
    mean, raw = jnp.split(network.apply(params, behaviour), 2, axis=-1)
    # Bounded: embeddings lie in (-1, 1), and a variance near zero would make the likelihood's gradient explode.
    return mean, LOG_VARIANCE_BOUND * jnp.tanh(raw)

  return Network(network.init, apply)


def released_model(behaviour_size: int, latent_size: int, hidden_sizes: Sequence[int]) -> Network:
  """The released model q: tanh of all outputs, and softplus of that for the variance, between 0.31 and 1.31."""
  network = transition_encoder(behaviour_size, 2 * latent_size, hidden_sizes, layer=released_hidden_layer)

  def apply(params: Params, behaviour: Array) -> tuple[Array, Array]:
    mean, raw = jnp.split(jnp.tanh(network.apply(params, behaviour)), 2, axis=-1)
    return mean, jnp.log(jax.nn.softplus(raw))

  return Network(network.init, apply)


# The released code, with the weights of its half-cheetah with velocities: 10 of the model and 10 of the information,
# both of them means over the 20 coordinates, and the information without its half. The behaviour model steps before the
# encoder's losses and the discriminator before the divergence; all losses read the encoder as before the update.
RELEASED: dict[str, Any] = FOCAL_RELEASED | {
  "information_weight": 10.0 * 2.0 / 20.0,
  "behaviour_model_weight": 10.0 / 20.0,
  "behaviour_model_hidden_sizes": (200, 200, 200),
  "behaviour_model": released_model,
  "steps": (
    *(Step(("discriminator_loss",), share=share) for share in range(3)),
    Step(("behaviour_model_loss",)),
    Step(("metric_loss", "information_loss")),
    Step(("critic_loss",), before=("encoder",)),
    Step(("value_loss",), before=("encoder",)),
    Step(("policy_loss",), before=("encoder",)),
    Step(("multiplier_loss",), before=("encoder", "policy")),
  ),
}


def csro(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  information_weight: float = 0.2,
  behaviour_model_weight: float = 1.0,
  behaviour_model_hidden_sizes: Sequence[int] = (64, 64),
  behaviour_model: MakeBehaviourModel = bounded_model,
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(agent_learning_rate=3e-3),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """CSRO; arguments as of `contextual_agent`, and four of its own.

  `information_weight` is that of the mutual information of embeddings and behaviour, beside the metric loss;
  `behaviour_model` makes the network that predicts embeddings from behaviour, `behaviour_model_hidden_sizes` are its
  hidden layers, and `behaviour_model_weight` is the weight of its loss. Without another loss that trains the model,
  that matters for Adam's rounding alone. Raises ValueError for a setting outside its range, or an encoder without
  embeddings of single transitions.
  """
  check_not_negative(information_weight=information_weight, behaviour_model_weight=behaviour_model_weight)
  check_sizes(behaviour_model_hidden_sizes=behaviour_model_hidden_sizes)
  metric = encoder(problem)
  read, embed = metric.reading, metric.embed
  if embed is None:
    raise ValueError("CSRO needs an encoder that embeds single transitions, as metric_encoder()")
  model = behaviour_model(read.behaviour_size, metric.latent_size, behaviour_model_hidden_sizes)

  def modelled(net: Net, tasks: TaskBatch) -> tuple[Array, Array, Array]:
    """Mean and log variance of q(z_n | s_n, a_n), and z_n: [T, C, L] each."""
    rows = read.rows(net, tasks.support)
    behaviour, _ = read.split(rows)
    mean, log_variance = model.apply(net["behaviour_model"], behaviour)
    return mean, log_variance, embed(net, rows)

  def information_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    # Within each task: between tasks, embeddings are to differ, and so may behaviour.
    bound = jnp.mean(jax.vmap(club_upper_bound)(*modelled(net, tasks)))
    return information_weight * bound, {"behaviour_information": bound}

  def behaviour_model_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    loss = behaviour_model_weight * gaussian_negative_log_likelihood(*modelled(net, tasks))
    return loss, {"behaviour_model_loss": loss}

  shift_free = metric.with_terms(
    {"behaviour_model": model.init},
    {"information_loss": information_loss, "behaviour_model_loss": behaviour_model_loss},
    TRAINS,
  )
  return contextual_agent(problem, shift_free, actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
