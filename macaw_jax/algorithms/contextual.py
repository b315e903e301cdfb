"""The shared pieces of context-based agents: features of a transition, encoders, the optimisers of all parts.

An algorithm is an encoder, which says how a latent is read from a task's transitions and by which losses that is
learned, beside one of the actor-critics of `macaw_jax.actor_critics`. Both are values, as are the optimisers.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import optax

from macaw_jax.actor_critics import MakeActorCritic
from macaw_jax.adaptation.encode import Infer, encode
from macaw_jax.hyperparameters import check_choice, check_counts, check_not_negative, part
from macaw_jax.learners.context import (
  ContextLearner,
  LatentsOf,
  Net,
  ReadRows,
  Stage,
  Step,
  context_learner,
  on_rows,
  queries_with,
  read_from_support,
)
from macaw_jax.learners.gradient import MakeOptimizer, learning_rate
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.running_scale import RunningScale, initial_scale, standardise, update_scale
from macaw_jax.types import (
  LATENT,
  Adaptation,
  Algorithm,
  Array,
  Key,
  LossFn,
  Params,
  Problem,
  TaskBatch,
  TimeStep,
  Transition,
)

INPUTS = ("standardised", "raw")
SCALE = "scale"  # the part that holds the running scale of encoders' features
KNOWN_LATENTS = "known_latents"  # the part that holds the newest latent of each training task

Named = TypeVar("Named")


def all_of(kind: str, some: Mapping[str, Named], others: Mapping[str, Named]) -> dict[str, Named]:
  """Both in one table. Raises ValueError for a name that is in both."""
  if shared := some.keys() & others.keys():
    raise ValueError(f"two {kind} are called {', '.join(sorted(shared))}")
  return {**some, **others}


@dataclasses.dataclass(frozen=True)
class Reading:
  """The features that encoders read of a transition, [..., F]: behaviour (s, a) first, then its outcome.

  'standardised': the outcome is (r, s' - s). All are standardised by a running scale, which is a part of the net: a
  reward whose returns have size one is itself a hundredth, beside observations of size one, and an encoder would not
  see it.
  'raw': the outcome is (r, s'). All are read as the data have them, as in the released codes.

  Raises ValueError for other inputs than these two.
  """

  problem: Problem
  next_observation: bool  # whether s' - s or s' is read
  inputs: str = "standardised"
  terminal: bool = False  # whether the terminal is read too, behind the outcome

  def __post_init__(self) -> None:
    check_choice(INPUTS, inputs=self.inputs)

  @property
  def behaviour_size(self) -> int:
    """Size of (s, a)."""
    return self.problem.observation_size + self.problem.action_size

  @property
  def outcome_size(self) -> int:
    """R, size of the outcome: of r alone without the next observation."""
    return 1 + (self.problem.observation_size if self.next_observation else 0)

  @property
  def size(self) -> int:
    """F."""
    return self.behaviour_size + self.outcome_size + int(self.terminal)

  @property
  def init(self) -> Mapping[str, Callable[[Key], Params]]:
    """The part that reading needs: the scale, before any row."""
    return {SCALE: lambda key: initial_scale(self.size)} if self.is_standardised else {}

  @property
  def follows(self) -> Mapping[str, Callable[[Net, TaskBatch, Key], Params]]:
    """How that part follows the data: the scale after the support of a batch."""
    return {SCALE: self._follow} if self.is_standardised else {}

  @property
  def is_standardised(self) -> bool:
    """Whether features are read through the running scale."""
    return self.inputs == "standardised"

  def rows(self, net: Net, transitions: Transition) -> Array:
    """Features of transitions [...]: [..., F]."""
    return self._scaled(net, self._features(transitions, as_change=self.is_standardised))

  def split(self, rows: Array) -> tuple[Array, Array]:
    """Behaviour of rows [..., F], and all behind it."""
    return rows[..., : self.behaviour_size], rows[..., self.behaviour_size :]

  def prediction(self, net: Net, transitions: Transition) -> tuple[Array, Array]:
    """Behaviour [..., O + A] and what a decoder predicts of it, (r, s' - s) [..., R], scaled as the inputs are."""
    behaviour, outcome = self.split(self._scaled(net, self._features(transitions, as_change=True)))
    return behaviour, outcome[..., : self.outcome_size]

  def outcome_error(self, prediction: Array, outcome: Array) -> Array:
    """Mean (r^ - r)^2 + mean (s'^ - s')^2, [..., R] to []: a reward counts as much as a whole next observation.

    In one mean over all coordinates the reward, in which most tasks differ, would be one of many.
    """
    chex.assert_equal_shape([prediction, outcome])
    return jnp.mean(self.over_outcome(jnp.square(prediction - outcome)))

  def over_outcome(self, errors: Array) -> Array:
    """The error in r plus the mean of those in s' or s' - s, of each transition: [..., R] to [...]."""
    of_reward = errors[..., 0]
    return of_reward + jnp.mean(errors[..., 1:], axis=-1) if self.next_observation else of_reward

  def _features(self, transitions: Transition, *, as_change: bool) -> Array:
    chex.assert_axis_dimension(transitions.observation, -1, self.problem.observation_size)
    read = [transitions.observation, transitions.action, transitions.reward[..., None]]
    if self.next_observation:
      change = transitions.next_observation - transitions.observation
      read.append(change if as_change else transitions.next_observation)
    if self.terminal:
      read.append(transitions.terminal[..., None])
    return jnp.concatenate(read, axis=-1)

  def _scaled(self, net: Net, features: Array) -> Array:
    return standardise(net[SCALE], features) if self.is_standardised else features

  def _follow(self, net: Net, tasks: TaskBatch, key: Key) -> RunningScale:
    return update_scale(net[SCALE], self._features(tasks.support, as_change=True))


class ContextEncoder(NamedTuple):
  """How a latent is read from a task's transitions, and learned.

  adaptation:     the encoder itself, `{LATENT: z}` from the context of a task
  reading:        the features that it reads of a transition
  latents_of:     the latents of a batch of training tasks, the same for all losses of an update
  read_rows:      the rows that the actor-critic learns from, with their latents; the queries and `latents_of`, if None
  embed:          `(net, rows [..., C, F]) -> [..., C, L]`, the embedding of the features of each transition; None where
                  the latent is no mean of embeddings
  trains:         for each loss of the encoder the parts that it trains, and likewise for a loss of the actor-critic
                  that trains parts of the encoder as well; the rest of the table is the actor-critic's own
  keeps_learning: the parts that `encoder_steps` does not stop
  stages:         the parts that can learn one after the other before the actor-critic does, in this order
  The other fields are those of `ContextLearner`.
  """

  latent_size: int
  init: Mapping[str, Callable[[Key], Params]]
  adaptation: Adaptation
  latents_of: LatentsOf
  prior: Callable[[Net, Key], Net]
  losses: Mapping[str, LossFn]
  trains: Mapping[str, tuple[str, ...]]
  follows: Mapping[str, Callable[[Net, TaskBatch, Key], Params]]
  reading: Reading
  embed: Callable[[Net, Array], Array] | None = None
  keeps_learning: tuple[str, ...] = ()
  read_rows: ReadRows | None = None
  advance: Callable[[Net, TimeStep], Net] | None = None
  stages: tuple[str, ...] = ()

  def with_terms(
    self,
    parts: Mapping[str, Callable[[Key], Params]],
    losses: Mapping[str, LossFn],
    trains: Mapping[str, tuple[str, ...]],
  ) -> "ContextEncoder":
    """The encoder with more parts and losses. Raises ValueError for a name that it has."""
    return self._replace(
      init=all_of("parts", self.init, parts),
      losses=all_of("losses", self.losses, losses),
      trains=all_of("rows of the table", self.trains, trains),
    )


MakeEncoder = Callable[[Problem], ContextEncoder]
"""`(problem) -> encoder`; `metric_encoder()`, `belief_encoder()` and `likelihood_encoder()` are such values."""

MakeContextOptimizers = Callable[
  [ContextEncoder, Iterable[str], Iterable[str]], dict[str, optax.GradientTransformation]
]
"""`(encoder, its trained parts, the actor-critic's parts) -> the optimiser of each part`."""


def deterministic_encoder(
  problem: Problem,
  infer: Infer,
  *,
  latent_size: int,
  init: Mapping[str, Any],
  follows: Mapping[str, Any],
  **fields: Any,
) -> ContextEncoder:
  """An encoder without a belief, whose prior is the newest latent of a training task, each task as likely.

  `infer` reads the contexts of a batch of tasks at once, or one. The part `KNOWN_LATENTS`, `[num_tasks, L]`, keeps what
  it has read of the training tasks; a task's latent is zero until a batch has it. The other arguments are fields of
  `ContextEncoder`.
  """
  adaptation = encode(infer)
  latents_of = read_from_support(adaptation)

  def init_latents(key: Key) -> Array:
    return jnp.zeros((problem.num_tasks, latent_size))

  def follow(net: Net, tasks: TaskBatch, key: Key) -> Array:
    return net[KNOWN_LATENTS].at[tasks.task_index].set(latents_of(net, tasks, key))

  def prior(net: Net, key: Key) -> Net:
    return {LATENT: jax.random.choice(key, net[KNOWN_LATENTS])}

  return ContextEncoder(
    latent_size=latent_size,
    init={**init, KNOWN_LATENTS: init_latents},
    adaptation=adaptation,
    latents_of=latents_of,
    prior=prior,
    follows={**follows, KNOWN_LATENTS: follow},
    **fields,
  )


@part
def context_optimizers(
  *,
  agent_learning_rate: float = 1e-3,
  encoder_learning_rate: float = 1e-3,
  encoder_steps: int | None = None,
  decay_steps: int | None = None,
  learning_rates: Mapping[str, float] = MappingProxyType({}),
  optimizer: MakeOptimizer = optax.adam,
) -> MakeContextOptimizers:
  """One optimiser for each part, with one learning rate for the actor-critic and one for the encoder.

  Args:
    agent_learning_rate: Learning rate of the actor-critic.
    encoder_learning_rate: Learning rate of the encoder's parts.
    encoder_steps: Updates after which the embedding of a transition stands still; None trains it throughout. The
      running scale of its features goes on, by less and less. In `corro` the aggregator goes on as well, and so does
      the scale of the latents, which never settles: it reaches back 100 updates.
    decay_steps: Updates over which the learning rates fall to zero (`learners.gradient.learning_rate`), if not None.
    learning_rates: Of parts with a rate of their own, by name.
    optimizer: Makes a part's optimiser from its learning rate.

  Raises:
    ValueError: for a setting outside its range; when called, for a part that there is not.
  """
  check_counts(decay_steps=decay_steps, encoder_steps=encoder_steps)
  check_not_negative(agent_learning_rate=agent_learning_rate, encoder_learning_rate=encoder_learning_rate)
  check_not_negative(**{f"learning_rates[{name!r}]": rate for name, rate in learning_rates.items()})

  def make(
    encoder: ContextEncoder, encoder_parts: Iterable[str], agent_parts: Iterable[str]
  ) -> dict[str, optax.GradientTransformation]:
    encoder_parts = tuple(encoder_parts)
    common = dict.fromkeys(encoder_parts, encoder_learning_rate) | dict.fromkeys(agent_parts, agent_learning_rate)
    if unknown := learning_rates.keys() - common.keys():
      raise ValueError(f"learning_rates: no part is called {sorted(unknown)}; expected some of {sorted(common)}")
    rates = {name: learning_rate(rate, decay_steps) for name, rate in {**common, **learning_rates}.items()}
    if encoder_steps is not None:
      stopping = [name for name in encoder_parts if name not in encoder.keeps_learning]
      rates |= {name: _until(encoder_steps, rates[name]) for name in stopping}
    return {name: optimizer(rate) for name, rate in rates.items()}

  return make


def contextual_agent(
  problem: Problem,
  encoder: ContextEncoder,
  actor_critic: MakeActorCritic,
  optimizer: MakeContextOptimizers,
  steps: Sequence[Step] = (),
  stages: Sequence[int] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """An encoder beside an actor-critic: every context-based agent, with the arguments of them all.

  Args:
    problem: Sizes and discount of the data.
    encoder: Reads a task's latent, and says how it is learned.
    actor_critic: Learns to act by the latent.
    optimizer: Makes the optimisers of all parts.
    steps: The steps of an update, one after the other; without any, all losses step their parts at once.
    stages: For each of the encoder's `stages`, the updates in which its part learns alone; all others learn after them.
      Without any, all parts learn side by side.
    gradient_surgery: How, of each loss of the actor-critic, the gradients of tasks become one; None for that of the
      batch. Losses of the encoder compare tasks, and keep theirs; so do those of the actor-critic's `own_gradients`.

  Raises:
    ValueError: for a part or a loss of the encoder that is called like one of the actor-critic, steps that do not have
      every loss of both, and no other, or stages that are not as many as the encoder's.
  """
  agent = actor_critic(problem, encoder.latent_size)
  read_rows = queries_with(encoder.latents_of) if encoder.read_rows is None else encoder.read_rows
  agent_losses = {name: on_rows(loss, read_rows) for name, loss in agent.losses.items()}
  table = {**agent.trains, **encoder.trains}
  trained_by_encoder = {name for names in table.values() for name in names} - agent.init.keys()
  algorithm = context_learner(
    ContextLearner(
      init=all_of("parts", encoder.init, agent.init),
      encoder=encoder.adaptation,
      prior=encoder.prior,
      losses=all_of("losses", encoder.losses, agent_losses),
      trains=table,
      targets=agent.targets,
      tau=agent.tau,
      follows={**encoder.follows, **{name: _projected(name, project) for name, project in agent.project.items()}},
      act=agent.act,
      advance=encoder.advance,
      steps=tuple(steps),
      stages=_stages_of(encoder, stages, {name for names in table.values() for name in names}),
      separable=tuple(name for name in agent.losses if name not in agent.own_gradients),
      gradient_surgery=gradient_surgery,
    ),
    optimizer(encoder, sorted(trained_by_encoder), agent.init)
    | {name: optax.sgd(rate) for name, rate in agent.learning_rates.items()},
  )
  return algorithm._replace(value_losses=agent.value_losses)


def _stages_of(encoder: ContextEncoder, lengths: Sequence[int], trained: Iterable[str]) -> dict[str, Stage]:
  """The stage of every trained part, given the lengths of those before the last."""
  if not lengths:
    return {}
  if len(lengths) != len(encoder.stages) or min(lengths) < 1:
    expected = f"a positive number of updates for each of {', '.join(encoder.stages)}"
    raise ValueError(f"stages={tuple(lengths)} must be {expected}, or none")
  ends = tuple(itertools.accumulate(lengths))
  first = {part: Stage(end - length, end) for part, end, length in zip(encoder.stages, ends, lengths, strict=True)}
  return dict.fromkeys(trained, Stage(ends[-1])) | first


def _projected(name: str, project: Callable[[Params], Params]) -> Callable[[Net, TaskBatch, Key], Params]:
  return lambda net, tasks, key: project(net[name])


def _until(steps: int, rate: float | optax.Schedule) -> optax.Schedule:
  """`rate` for so many updates, and then zero."""
  before = rate if callable(rate) else optax.constant_schedule(rate)
  return optax.join_schedules([before, optax.constant_schedule(0.0)], [steps])
