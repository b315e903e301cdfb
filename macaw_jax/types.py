"""The nouns of the package, the axes they carry, and the contract of an algorithm.

Axes, used in every shape comment:

  T  tasks            B  transitions of a batch      N  transitions of a task
  E  episodes         H  steps of an episode         K  inner steps
  O  observation      A  action
  C  context transitions, where a support is read as a context
  L  latent of a task                               F  features read of a transition

Everything here is a pytree of arrays or a tuple of pure functions. One transition has no leading axis; a
batch of one task has `[B]`; a batch of tasks has `[T, B]`. Gradient-based agents are written for one task and mapped
over tasks in one visible place, `macaw_jax.learners.gradient`; the networks of context-based agents are shared by all
tasks, and their losses, some of which compare tasks, see a whole batch (`macaw_jax.learners.context`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array
Params = Any  # A pytree of arrays.
Metrics = dict[str, Array]


class Transition(NamedTuple):
  """One step of an episode, with what the episode brought afterwards.

  `terminal` marks an end that belongs to the task (a fall): nothing follows, and a value bootstrapped there is
  zero. `last` marks the last row of an episode for any reason, a time limit included.
  """

  observation: Array  # [..., O]
  action: Array  # [..., A]
  reward: Array  # [...]
  next_observation: Array  # [..., O]
  terminal: Array  # [...]  1.0 where the task ended the episode, else 0.0
  last: Array  # [...]  1.0 on the last row of an episode, else 0.0
  mc_return: Array  # [...]  discounted return from here to the end of the episode, nothing bootstrapped
  final_observation: Array  # [..., O]  observation after the last transition of the episode
  final_discount: Array  # [...]  gamma^(steps to the end), gamma on the last row; 0.0 if the task ended the episode
  mask: Array | None = None  # [...]  1.0 where the row counts, 0.0 where it only fills a place; None: all rows count


class ActionDistribution(NamedTuple):
  """A normal distribution of each component of an action, independent of the others."""

  mean: Array  # [..., A]
  log_std: Array  # [..., A]  log of the standard deviation


class Trajectory(NamedTuple):
  """Episodes of H steps. After its end an episode's state stands still, and all else is zero."""

  observation: Array  # [..., H, O]
  action: Array  # [..., H, A]  as drawn, for its log-probability; of `envs.rollout.make_rollout` cut to [-1, 1]
  next_observation: Array  # [..., H, O]
  mask: Array  # [..., H]  1.0 while the episode runs, the step that ends it included
  reward: Array | None  # [..., H]; None where it is not known
  terminal: Array | None = None  # [..., H]  1.0 on the step that ended the episode by the task's own rule
  behaviour: ActionDistribution | None = None  # [..., H]  that the actions were drawn from; None until it is recorded
  state: Any = None  # leaves [..., H + 1, ...], of the environment; None: not kept


class Steps(NamedTuple):
  """Steps of one task in the order in which they happened, of one episode after the other."""

  observation: Array  # [..., N, O]
  action: Array  # [..., N, A]  as drawn
  reward: Array  # [..., N]
  last: Array  # [..., N]  1.0 on the last step of an episode
  next_observation: Array  # [..., N, O]
  mask: Array  # [..., N]  1.0 where a step happened


class TaskBatch(NamedTuple):
  """Data of several tasks: what adaptation reads, and what judges it."""

  support: Any  # Transition [T, B, ...]; of an on-policy agent a Trajectory [T, K, E, H, ...]
  query: Any  # Transition [T, B, ...], or a Trajectory [T, E, H, ...]
  task_index: Array  # [T]  int32 position of the task in its dataset, or in the batch of an on-policy agent


class TimeStep(NamedTuple):
  """The input of a policy. `action` and `reward` are the previous ones, zero where `first` is one."""

  observation: Array  # [..., O]
  action: Array  # [..., A]
  reward: Array  # [...]
  first: Array  # [...]  1.0 at the start of an episode


class Problem(NamedTuple):
  """Sizes of the data of an algorithm, with their discount and the length of their episodes."""

  observation_size: int
  action_size: int
  num_tasks: int  # training tasks
  discount: float  # gamma of the stored returns
  horizon: int | None = None  # most steps of an episode; None: not known
  discrete_actions: bool = False  # an action is one of A choices: the largest entry of its vector [A]
  task_entries: int = 0  # numbers in which a task is described; 0: not known


class MetaParams(NamedTuple):
  """The parameters that meta-training learns: named network parts, and those of the adaptation rule itself."""

  net: dict[str, Params]
  rule: Params


class TrainState(NamedTuple):
  """The input of the next update."""

  params: MetaParams
  opt_state: Any
  step: Array  # []  int32, updates done


LossFn = Callable[[dict[str, Params], Any, Key], tuple[Array, Metrics]]
"""`(params, batch, key) -> (scalar, metrics)`: `params` are named parts, and the loss says which batch it reads.

Losses of gradient-based agents read one task's batch `[B]`, and `over_tasks` maps them over tasks. Losses that compare
tasks, or whose networks tell tasks apart by a latent, read a batch of tasks.
"""


class Network(NamedTuple):
  """A network as two pure functions; the module library stays behind it."""

  init: Callable[[Key], Params]
  apply: Callable[..., Any]  # (params, *inputs) -> outputs


class Adaptation(NamedTuple):
  """How support data change a network.

  `init(net)` makes the parameters that the rule itself learns (step sizes, coefficients). `apply` returns only
  the parts that it changed, so that mapping it over tasks never copies a part that tasks share. An encoder is an
  adaptation too: its change is the task's latent `[..., L]`, `{LATENT: z}`.
  `generator_products` says how often it uses each weight-transform generator of a part that it adapts, see
  `macaw_jax.adaptation.generator_gradient`; without it meta-gradients are the same, and slower.
  """

  init: Callable[[dict[str, Params]], Params]
  apply: Callable[[dict[str, Params], Params, Any, Key], tuple[dict[str, Params], Metrics]]
  generator_products: Mapping[str, int] = MappingProxyType({})


LATENT = "latent"  # the name of a task's latent among the parts that losses and policies read
NEXT_LATENT = "next_latent"  # of the latent in the next state, where it differs from row to row
TASK_INDEX = "task_index"  # of the places `[T]` of a batch's tasks among the training tasks, beside the latents there


def no_prior(params: Params, key: Key) -> dict[str, Params]:
  """The agent before adaptation: no part is changed."""
  return {}


class Tuning(NamedTuple):
  """How an adapted agent goes on learning in its task, by an ordinary optimiser.

  init: `(net) -> optimiser state`; `net` are the named parts as adaptation has left them
  step: `(net, state, batch, key) -> (moved, state, metrics)`, one step on rows `[B, ...]`; `moved` are the parts that
        have changed
  """

  init: Callable[[dict[str, Params]], Params]
  step: Callable[[dict[str, Params], Params, Any, Key], tuple[dict[str, Params], Params, Metrics]]


class Algorithm(NamedTuple):
  """The contract of every algorithm: pure functions.

  init:   `(key) -> TrainState`
  update: `(state, tasks, key) -> (TrainState, metrics)`, one meta-update on a `TaskBatch`
  adapt:  `(params, support, key) -> adapted`, for one task; `support` is a Transition `[B, ...]`, or a Trajectory
          `[K, E, H, ...]` of an on-policy agent; `adapted` holds the parts that adaptation changed
  act:    `(params, adapted, timestep, key) -> (action, adapted)`, one step of one episode. With `key=None` the action
          is the mode of the policy, with a key a sample.
  prior:  `(params, key) -> adapted`, before the agent has seen any data of a task. Gradient-based agents change
          nothing, which is `{}`; an agent with a belief about tasks draws a latent, and keeps it for an episode.
  reads_reward: whether `adapt` reads the rewards of a Trajectory; if not, it is given them with reward None.
  support_parts: into how many equal parts `adapt` cuts a support: one for each of its steps.
  consecutive_rows: whether batches must hold consecutive rows of an episode, as TD(lambda) reads them.
  value_losses: the metrics that are mean squared errors of values, each with the mean square of returns in its units;
          returns of recorded data have a mean square of one, times the square of a factor on the rewards.
  remembers: whether `act` itself carries what it has seen from step to step, in what adaptation changes. Such an agent
          adapts to episodes in the order in which it acted in them, and needs no step of adaptation.
  adapts: whether `adapt` changes anything; an agent that reads its task off its observations has nothing to adapt.
  reads_task_index: whether it has a policy for each training task. Observations must end with one entry for each of
          them, one at the place of the present task and else zero, and an update must have all of them.
  tuning: how it goes on learning from its own episodes, where it can (`evaluation.fine_tuning`).
  """

  init: Callable[[Key], TrainState]
  update: Callable[[TrainState, TaskBatch, Key], tuple[TrainState, Metrics]]
  adapt: Callable[[Params, Any, Key], dict[str, Params]]
  act: Callable[[Params, dict[str, Params], TimeStep, Key | None], tuple[Array, dict[str, Params]]]
  prior: Callable[[Params, Key], dict[str, Params]] = no_prior
  reads_reward: bool = True
  support_parts: int = 1
  consecutive_rows: bool = False
  value_losses: Mapping[str, float | Array] = MappingProxyType({})
  remembers: bool = False
  adapts: bool = True
  reads_task_index: bool = False
  tuning: Tuning | None = None
