"""What context-based agents share: what they read of a transition, the actor-critic, the optimisers.

An algorithm is a `ContextEncoder`, how a latent is read from a task's transitions and by which losses that is learned,
beside one of the actor-critics of `macaw_jax.actor_critics`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import optax

from macaw_jax.actor_critics import make_actor_critic
from macaw_jax.algorithms.arguments import (
  check_counts,
  check_hidden_sizes,
  check_learning_rates,
  check_shares,
  passes_arguments_to,
)
from macaw_jax.learners.context import (
  ContextLearner,
  Infer,
  Net,
  TaskLossFn,
  context_learner,
  given_latents,
  split_update_key,
)
from macaw_jax.learners.gradient import MakeOptimizer, learning_rate
from macaw_jax.losses.values import squared_error
from macaw_jax.networks.running_scale import RunningScale, initial_scale, standardise, update_scale
from macaw_jax.types import Algorithm, Array, Key, Params, Problem, TaskBatch, Transition

SCALE = "scale"  # the part that holds the running scale of what encoders read
KNOWN_LATENTS = "known_latents"  # the part that holds the newest latent of each training task

Named = TypeVar("Named")


def all_of(what: str, some: Mapping[str, Named], others: Mapping[str, Named]) -> dict[str, Named]:
  """Both in one table. Raises ValueError for a name that is in both."""
  if shared := some.keys() & others.keys():
    raise ValueError(f"two {what} are called {', '.join(sorted(shared))}")
  return {**some, **others}


class ContextEncoder(NamedTuple):
  """How a latent is read from a task's transitions, and learned.

  `keeps_learning` names the parts that `encoder_steps` does not stop; the other fields are those of `ContextLearner`.
  """

  latent_size: int
  init: Mapping[str, Callable[[Key], Params]]
  infer: Infer
  prior: Callable[[Net, Key], Array]
  losses: Mapping[str, TaskLossFn]
  follows: Mapping[str, Callable[[Net, TaskBatch, Key], Params]]
  keeps_learning: tuple[str, ...] = ()

  def with_terms(
    self, parts: Mapping[str, Callable[[Key], Params]], losses: Mapping[str, TaskLossFn]
  ) -> "ContextEncoder":
    """The encoder with more parts and losses. Raises ValueError for a name that it has."""
    return self._replace(init=all_of("parts", self.init, parts), losses=all_of("losses", self.losses, losses))


class Reading(NamedTuple):
  """What is read of a transition: standardised rows [..., F], behaviour (s, a) first, then outcome (r, s' - s).

  init:   makes the running scale
  rows:   `(net, transitions [...]) -> [..., F]`
  follow: updates the scale by the support of a batch
  """

  behaviour_size: int  # of (s, a)
  outcome_size: int  # of (r, s' - s), or of r alone
  init: Callable[[Key], RunningScale]
  rows: Callable[[Net, Transition], Array]
  follow: Callable[[Net, TaskBatch, Key], RunningScale]

  @property
  def size(self) -> int:
    """F."""
    return self.behaviour_size + self.outcome_size

  def split(self, rows: Array) -> tuple[Array, Array]:
    """Behaviour and outcome of rows [..., F]."""
    return rows[..., : self.behaviour_size], rows[..., self.behaviour_size :]

  def outcome_error(self, prediction: Array, outcome: Array) -> Array:
    """Mean (r^ - r)^2 + mean (change^ - change)^2, [..., R] to []: a reward counts as much as a whole change of state.

    In one mean over all coordinates the reward, which is what most tasks differ in, would be one of many.
    """
    error = squared_error(prediction[..., :1], outcome[..., :1])
    if self.outcome_size == 1:
      return error
    return error + squared_error(prediction[..., 1:], outcome[..., 1:])


def reading(problem: Problem, *, next_observation: bool) -> Reading:
  """What encoders read of a transition: (s, a, r), and s' - s with `next_observation`. Never whether it was the last.

  Standardised by a running scale, which is a part of the net: a reward whose returns have size one is itself a
  hundredth, beside observations of size one, and an encoder would not see it.
  """
  behaviour_size = problem.observation_size + problem.action_size
  outcome_size = 1 + (problem.observation_size if next_observation else 0)

  def raw(transitions: Transition) -> Array:
    chex.assert_axis_dimension(transitions.observation, -1, problem.observation_size)
    change = transitions.next_observation - transitions.observation
    read = [transitions.observation, transitions.action, transitions.reward[..., None]]
    return jnp.concatenate([*read, change] if next_observation else read, axis=-1)

  def init(key: Key) -> RunningScale:
    del key
    return initial_scale(behaviour_size + outcome_size)

  def rows(net: Net, transitions: Transition) -> Array:
    return standardise(net[SCALE], raw(transitions))

  def follow(net: Net, tasks: TaskBatch, key: Key) -> RunningScale:
    del key
    return update_scale(net[SCALE], raw(tasks.support))

  return Reading(behaviour_size, outcome_size, init, rows, follow)


class KnownLatents(NamedTuple):
  """A prior for encoders that have none: the newest latent of a training task, each task as likely.

  init:   `(key) -> [num_tasks, L]`, zero until a task was in a batch
  follow: keeps the latents of a batch
  prior:  one of them
  """

  init: Callable[[Key], Array]
  follow: Callable[[Net, TaskBatch, Key], Array]
  prior: Callable[[Net, Key], Array]


def known_latents(infer: Infer, problem: Problem, latent_size: int) -> KnownLatents:
  """The latents that `infer` has read of the training tasks, as the part `KNOWN_LATENTS`."""

  def init(key: Key) -> Array:
    del key
    return jnp.zeros((problem.num_tasks, latent_size))

  def follow(net: Net, tasks: TaskBatch, key: Key) -> Array:
    return net[KNOWN_LATENTS].at[tasks.task_index].set(infer(net, tasks.support, split_update_key(key).latent))

  def prior(net: Net, key: Key) -> Array:
    return jax.random.choice(key, net[KNOWN_LATENTS])

  return KnownLatents(init, follow, prior)


@passes_arguments_to(make_actor_critic, but=("latent_size", "hidden_sizes"))
def contextual_agent(
  problem: Problem,
  encoder: ContextEncoder,
  trains: Mapping[str, tuple[str, ...]],
  *,
  core: str = "iql",
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  agent_learning_rate: float = 1e-3,
  encoder_learning_rate: float = 1e-3,
  encoder_steps: int | None = None,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  **core_arguments: Any,
) -> Algorithm:
  """An encoder beside an actor-critic.

  Args:
    problem: Sizes of the data.
    encoder: How a latent is read and learned.
    trains: For each loss of the encoder the parts that it trains, and likewise for a loss of the actor-critic that
      trains parts of the encoder as well; the rest of the table is the actor-critic's own.
    core: The actor-critic, 'sac', 'iql', 'awac' or 'brac'.
    hidden_sizes: Of every network of the actor-critic.
    tau: Share of a part that enters its slow copy at each update.
    agent_learning_rate: Of the actor-critic.
    encoder_learning_rate: Of the encoder's parts.
    encoder_steps: Updates after which what embeds a transition stands still; None trains it throughout. The running
      scale of what it reads goes on, by less and less. In `corro` the aggregator goes on as well, and so does the scale
      of the latents, which never settles: it reaches back 100 updates.
    decay_steps: Updates over which the learning rates fall to zero (`meta_learner.learning_rate`); None keeps them.
    optimizer: Makes a part's optimiser from its learning rate.
    **core_arguments: Those of `macaw_jax.actor_critics.make_actor_critic`, which says who reads them: reward_scale;
      expectile, temperature and max_weight of advantage weights; behaviour_penalty, divergence_target,
      max_penalty and penalty_rate of 'brac'.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range that the core reads, and for a part or a
      loss of the encoder that is called like one of the actor-critic.
  """
  check_hidden_sizes(hidden_sizes=hidden_sizes)
  check_shares(tau=tau)
  check_learning_rates(
    decay_steps, agent_learning_rate=agent_learning_rate, encoder_learning_rate=encoder_learning_rate
  )
  if encoder_steps is not None:
    check_counts(encoder_steps=encoder_steps)
  agent = make_actor_critic(core, problem, latent_size=encoder.latent_size, hidden_sizes=hidden_sizes, **core_arguments)
  agent_losses = {name: given_latents(loss, encoder.infer) for name, loss in agent.losses.items()}
  table = dict(agent.trains) | dict(trains)
  trained_by_encoder = {part for parts in table.values() for part in parts} - agent.init.keys()
  encoder_rate = learning_rate(encoder_learning_rate, decay_steps)
  stopping_rate = encoder_rate if encoder_steps is None else _until(encoder_steps, encoder_rate)
  agent_rate = learning_rate(agent_learning_rate, decay_steps)
  return context_learner(
    ContextLearner(
      init=all_of("parts", encoder.init, agent.init),
      infer=encoder.infer,
      prior=encoder.prior,
      losses=all_of("losses", encoder.losses, agent_losses),
      trains=table,
      targets=agent.targets,
      tau=tau,
      follows={**encoder.follows, **{part: _projected(part, project) for part, project in agent.project.items()}},
      act=agent.act,
    ),
    {
      part: optimizer(encoder_rate if part in encoder.keeps_learning else stopping_rate)
      for part in sorted(trained_by_encoder)
    }
    | {part: optimizer(agent_rate) for part in agent.init}
    | {part: optax.sgd(rate) for part, rate in agent.learning_rates.items()},
  )


def _projected(part: str, project: Callable[[Params], Params]) -> Callable[[Net, TaskBatch, Key], Params]:
  return lambda net, tasks, key: project(net[part])


def _until(steps: int, rate: float | optax.Schedule) -> optax.Schedule:
  """`rate` for so many updates, and then zero."""
  before = rate if callable(rate) else optax.constant_schedule(rate)
  return optax.join_schedules([before, optax.constant_schedule(0.0)], [steps])
