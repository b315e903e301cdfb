"""Context-based meta-learning from parts: a task's data are read as a latent, and the networks are shared.

The counterpart of `meta_learner` for agents that adapt by inference and not by gradient steps. A table says which loss
trains which parts, and the table is the mechanism: a loss sees every other part through a stopped gradient, so that it
cannot train a part that it does not name.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from macaw_jax.learners.gradient import init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery, combined_over_tasks
from macaw_jax.types import (
  LATENT,
  TASK_INDEX,
  Adaptation,
  Algorithm,
  Array,
  Key,
  LossFn,
  MetaParams,
  Metrics,
  Params,
  TaskBatch,
  TimeStep,
  TrainState,
  Transition,
)

Net = dict[str, Params]


class UpdateKeys(NamedTuple):
  """The random draws of an update, by purpose; losses that split its key find the same."""

  latent: Key  # of the latents of a batch
  actor_critic: Key  # of the losses of the actor-critic
  encoder: Key  # of the other draws of an encoder's own losses


def split_update_key(key: Key) -> UpdateKeys:
  """The draws that belong to the key of an update. The key itself is used for nothing else."""
  return UpdateKeys(*jax.random.split(key, len(UpdateKeys._fields)))


class Step(NamedTuple):
  """One of several steps of an update: losses that step their parts together.

  losses: by name
  before: parts that these losses read as they were before the update; all others are read as earlier steps left them
  share:  which of the equal shares of the queries they read, where steps need rows of their own
  """

  losses: tuple[str, ...]
  before: tuple[str, ...] = ()
  share: int = 0


class Stage(NamedTuple):
  """The updates in which a part learns, counted from zero: `start` is the first, `stop` the first without it.

  In all other updates the part and the state of its optimiser stay as they are.
  """

  start: int = 0
  stop: int | None = None

  def includes(self, update: Array) -> Array:
    """Whether the part learns in an update."""
    has_begun = update >= self.start
    return has_begun if self.stop is None else has_begun & (update < self.stop)


class ContextLearner(NamedTuple):
  """The pieces of a context-based agent.

  init:    for each part, `(key) -> params`
  encoder: reads a new task's latent from its context
  prior:   `(net, key) -> {LATENT: latent [L]}`, drawn before there is any context
  losses:  by name, each of a TaskBatch
  trains:  for each loss, the parts that it trains; gradients of every other part are stopped in it
  targets: for each target network, the part that it follows by `tau` an update
  follows: for each part that moves without a gradient or is brought back into its range, `(net, tasks, key) -> params`
           after a step of the optimisers
  act:     `(params, timestep, key) -> action [A]` by the part `LATENT`; the mode without a key
  advance: `(params, timestep) -> adapted`, what an agent that remembers knows at a time step before it acts; None for
           one whose latent stays as it is
  steps:   the steps of an update in their order, in which each loss is named; without any, one step of all losses
  stages:  for each trained part that does not learn in all updates, those in which it does
  separable: the losses that can be taken of each task alone, as a batch of one; others compare tasks
  gradient_surgery: how the gradients of a separable loss, one for each task, become one. They are one vector of all
           parts that the loss trains. None: all gradients are those of the batch
  """

  init: Mapping[str, Callable[[Key], Params]]
  encoder: Adaptation
  prior: Callable[[Net, Key], Net]
  losses: Mapping[str, LossFn]
  trains: Mapping[str, tuple[str, ...]]
  targets: Mapping[str, str]
  tau: float | Array
  follows: Mapping[str, Callable[[Net, TaskBatch, Key], Params]]
  act: Callable[[Net, TimeStep, Key | None], Array]
  steps: tuple[Step, ...] = ()
  stages: Mapping[str, Stage] = MappingProxyType({})
  advance: Callable[[Net, TimeStep], Net] | None = None
  separable: tuple[str, ...] = ()
  gradient_surgery: GradientSurgery | None = None


LatentsOf = Callable[[Net, TaskBatch, Key], Array]
"""`(net, tasks, key) -> latents [T, L]` of a batch of training tasks; `key` is that of the update."""


def read_from_support(encoder: Adaptation) -> LatentsOf:
  """The latents that an encoder reads from the supports of a batch."""

  def latents_of(net: Net, tasks: TaskBatch, key: Key) -> Array:
    changes, _ = encoder.apply(net, {}, tasks.support, split_update_key(key).latent)
    return changes[LATENT]

  return latents_of


ReadRows = Callable[[Net, TaskBatch, Key], tuple[Net, Transition]]
"""`(net, tasks, key) -> (latents, rows [T, B, ...])`: the rows that an actor-critic learns from, and its latents there,
the part `LATENT` and, where they differ from row to row, `NEXT_LATENT`; `key` is that of the update."""


def queries_with(latents_of: LatentsOf) -> ReadRows:
  """The queries of a batch, and one latent for each of its tasks."""

  def read(net: Net, tasks: TaskBatch, key: Key) -> tuple[Net, Transition]:
    return {LATENT: latents_of(net, tasks, key)}, tasks.query

  return read


def on_rows(loss: LossFn, read_rows: ReadRows) -> LossFn:
  """A loss of an actor-critic on rows of a TaskBatch, given the latents and the places of its tasks.

  Losses that get the same key get the same latents.
  """

  def row_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    latents, rows = read_rows(net, tasks, key)
    return loss(net | latents | {TASK_INDEX: tasks.task_index}, rows, split_update_key(key).actor_critic)

  return row_loss


def train_only(net: Net, parts: tuple[str, ...]) -> Net:
  """The same net, through which gradients reach `parts` alone."""
  return {name: params if name in parts else jax.lax.stop_gradient(params) for name, params in net.items()}


def total_loss(learner: ContextLearner, names: Sequence[str] | None = None) -> LossFn:
  """The sum of the losses of these names, each training the parts that its table names, all with the same key.

  Without names it is that of all losses.

  Raises, when called:
    ValueError: two losses report the same metric.
  """

  def loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    total = jnp.zeros(())
    metrics: Metrics = {}
    for name in learner.losses if names is None else names:
      value, found = learner.losses[name](train_only(net, learner.trains[name]), tasks, key)
      if twice := metrics.keys() & found.keys():
        raise ValueError(f"two losses report {sorted(twice)}")
      total, metrics = total + value, metrics | found
    return total, metrics

  return loss


class SurgeryKeys(NamedTuple):
  """The draws of an update with gradient surgery, beside the key of the losses of the whole batch."""

  tasks: Key  # of losses of each task alone; all of them find the same
  order: Key  # of the surgery, folded with the place of the loss


def combined_gradient(
  learner: ContextLearner, name: str, net: Net, tasks: TaskBatch, keys: SurgeryKeys
) -> tuple[Net, Metrics]:
  """The gradient of a separable loss by the parts that it trains, combined from those of each task alone.

  Metrics are means over tasks; those of the surgery begin with the name of the loss.
  """
  assert learner.gradient_surgery is not None
  loss = total_loss(learner, (name,))
  trained = {part: net[part] for part in learner.trains[name]}

  def gradient_of(task: TaskBatch, key: Key) -> tuple[Net, Metrics]:
    return jax.grad(lambda parts: loss(net | parts, task, key), has_aux=True)(trained)

  of_tasks = jax.random.split(keys.tasks, tasks.task_index.shape[0])
  key = jax.random.fold_in(keys.order, list(learner.losses).index(name))
  gradient, metrics, found = combined_over_tasks(learner.gradient_surgery, gradient_of, tasks, of_tasks, key)
  return gradient, metrics | {f"{name}_{metric}": found[metric] for metric in found}


def context_learner(learner: ContextLearner, optimizers: Mapping[str, optax.GradientTransformation]) -> Algorithm:
  """The algorithm that steps all trained parts, and then the parts that follow them.

  By default that is one gradient of the sum of all losses at the old parameters, where Rakelly et al. 2019 step encoder
  and critics first and the policy against the new ones: one backward pass, and no order to know. The learner's `steps`
  give such an order.

  Args:
    learner: The pieces.
    optimizers: One for each part that a loss trains.

  Raises:
    ValueError: losses and table, losses and steps, table and parts, or trained parts and optimisers do not name the
      same, or a separable loss is none of them. The update raises it for queries that cannot be cut into the shares of
      the steps.
  """
  _check_names(learner, optimizers)
  steps = learner.steps or (Step(tuple(learner.losses)),)
  num_shares = 1 + max(step.share for step in steps)
  optimizer = optax.partition(dict(optimizers), lambda net: {part: part for part in net})

  def init(key: Key) -> TrainState:
    net = init_parts(learner.init)(key)
    net |= {target: jax.tree.map(jnp.copy, net[part]) for target, part in learner.targets.items()}
    return TrainState(MetaParams(net, {}), optimizer.init(_trained(net)), jnp.zeros((), jnp.int32))

  def take(
    step: Step, net: Net, before: Net, opt_state: Any, tasks: TaskBatch, key: Key, keys: SurgeryKeys | None
  ) -> tuple[Net, Any, Metrics]:
    """Parameters and optimiser states after one step; with `keys` separable losses are subject to gradient surgery."""
    apart = () if keys is None else tuple(name for name in step.losses if name in learner.separable)
    loss = total_loss(learner, [name for name in step.losses if name not in apart])
    stepped = {part for name in step.losses for part in learner.trains[name]}
    read = net | {part: before[part] for part in step.before}
    parts = {part: net[part] for part in stepped}

    def objective(trained: Net) -> tuple[Array, Metrics]:
      return loss(read | trained, tasks, key)

    gradients, metrics = jax.grad(objective, has_aux=True)(parts)
    for name in apart:
      assert keys is not None
      combined, found = combined_gradient(learner, name, read | parts, tasks, keys)
      if twice := metrics.keys() & found.keys():
        raise ValueError(f"two losses report {sorted(twice)}")
      gradients |= {part: jax.tree.map(jnp.add, gradients[part], combined[part]) for part in combined}
      metrics |= found
    trained = _trained(net)
    with jax.named_scope("optimizer"):
      updates, moved = optimizer.update(jax.tree.map(jnp.zeros_like, trained) | gradients, opt_state, trained)
      # The other parts neither move nor age: a moment that decays by a gradient of zero would be another optimiser.
      states = {part: (moved if part in stepped else opt_state).inner_states[part] for part in optimizers}
      net = net | optax.apply_updates(
        {part: trained[part] for part in stepped}, {part: updates[part] for part in stepped}
      )
    return net, opt_state._replace(inner_states=states), metrics

  def in_stage(count: Array, stepped: Net, kept: Net) -> Net:
    """The parts, or their optimiser states, after a step; as they were where their stage is not that of the update."""
    return stepped | {
      part: jax.tree.map(partial(jnp.where, stage.includes(count)), stepped[part], kept[part])
      for part, stage in learner.stages.items()
    }

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    before = net = state.params.net
    opt_state = state.opt_state
    keys = None
    if learner.gradient_surgery is not None:
      key, *of_surgery = jax.random.split(key, 1 + len(SurgeryKeys._fields))
      keys = SurgeryKeys(*of_surgery)
    metrics: Metrics = {}
    for step in steps:
      read = tasks if num_shares == 1 else tasks._replace(query=share_of(tasks.query, step.share, num_shares))
      after, moved, found = take(step, net, before, opt_state, read, key, keys)
      net = in_stage(state.step, after, net)
      opt_state = moved._replace(inner_states=in_stage(state.step, moved.inner_states, opt_state.inner_states))
      metrics = found | metrics
    net = net | {
      target: optax.incremental_update(net[part], net[target], learner.tau) for target, part in learner.targets.items()
    }
    net = net | {part: follow(net, tasks, key) for part, follow in learner.follows.items()}
    return TrainState(MetaParams(net, {}), opt_state, state.step + 1), metrics

  def adapt(params: MetaParams, support: Transition, key: Key) -> dict[str, Params]:
    changes, _ = learner.encoder.apply(params.net, params.rule, support, key)
    return changes

  def act(
    params: MetaParams, adapted: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    if learner.advance is not None:
      adapted = adapted | learner.advance(params.net | adapted, timestep)
    return learner.act(params.net | adapted, timestep, key), adapted

  def _trained(net: Net) -> Net:
    return {part: net[part] for part in optimizers}

  return Algorithm(
    init,
    update,
    adapt,
    act,
    lambda params, key: learner.prior(params.net, key),
    remembers=learner.advance is not None,
    consecutive_rows=learner.advance is not None,
  )


def share_of(rows: Transition, share: int, num_shares: int) -> Transition:
  """One of equal shares of the rows of every task, `[T, B, ...]` to `[T, B / num_shares, ...]`, in order."""
  num_rows = rows.reward.shape[1]
  if num_rows % num_shares:
    raise ValueError(f"query_size={num_rows} must be a multiple of the {num_shares} shares that the steps read")
  size = num_rows // num_shares
  return jax.tree.map(lambda leaf: leaf[:, share * size : (share + 1) * size], rows)


def _check_names(learner: ContextLearner, optimizers: Mapping[str, optax.GradientTransformation]) -> None:
  trained = {part for parts in learner.trains.values() for part in parts}
  for kind, some, others in (
    ("losses and their table", learner.losses.keys(), learner.trains.keys()),
    ("trained parts and optimisers", trained, optimizers.keys()),
    ("losses and steps", learner.losses.keys(), {n for s in learner.steps for n in s.losses} or learner.losses.keys()),
  ):
    if different := set(some) ^ set(others):
      raise ValueError(f"{kind} differ in {sorted(different)}")
  if unknown_losses := set(learner.separable) - learner.losses.keys():
    raise ValueError(f"no loss is called {sorted(unknown_losses)}, which are separable")
  if untrained := learner.stages.keys() - trained:
    raise ValueError(f"no loss trains {sorted(untrained)}, which have a stage")
  known = learner.init.keys() | learner.targets.keys()
  read_before = {part for step in learner.steps for part in step.before}
  if unknown := (trained | read_before | learner.follows.keys() | set(learner.targets.values())) - known:
    raise ValueError(f"no part is called {sorted(unknown)}")
