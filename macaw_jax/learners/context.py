"""Context-based meta-learning from parts: what is read from a task's data is a latent, and the networks are shared.

The counterpart of `meta_learner` for agents that adapt by inference and not by gradient steps. A table says which loss
trains which parts, and the table is the mechanism: a loss sees every other part through a stopped gradient, so that it
cannot train what it does not name.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from macaw_jax.actor_critics.core import LatentLoss
from macaw_jax.types import (
  Algorithm,
  Array,
  Key,
  MetaParams,
  Metrics,
  Params,
  TaskBatch,
  TimeStep,
  TrainState,
  Transition,
)

LATENT = "latent"  # what adaptation finds, by its name in a task

Net = dict[str, Params]
TaskLossFn = Callable[[Net, TaskBatch, Key], tuple[Array, Metrics]]
"""`(net, tasks, key) -> (scalar, metrics)`, over all tasks of a batch: it may compare them."""

Infer = Callable[[Net, Transition, Key], Array]
"""`(net, context [T, C, ...], key) -> latents [T, L]`."""


class UpdateKeys(NamedTuple):
  """The random draws of an update, by what they are for; losses that split its key find the same."""

  latent: Key  # of the latents that are read from supports
  actor_critic: Key  # of the losses of the actor-critic
  encoder: Key  # of what an encoder's own losses draw beside latents


def split_update_key(key: Key) -> UpdateKeys:
  """The draws that belong to the key of an update. The key itself is used for nothing else."""
  return UpdateKeys(*jax.random.split(key, len(UpdateKeys._fields)))


class ContextLearner(NamedTuple):
  """What a context-based agent is made of.

  init:    for each part, `(key) -> params`
  infer:   a task's latent from its context
  prior:   `(net, key) -> latent [L]`, drawn before there is any context
  losses:  by name
  trains:  for each loss, the parts that it trains; every other part is held fixed in it
  targets: for each slow copy, the part that it follows by `tau` an update
  follows: for each part that moves without a gradient or is brought back into its range, `(net, tasks, key) -> params`
           after a step of the optimisers
  act:     `(net, observation [O], latent [L], key) -> action [A]`; the mode without a key
  """

  init: Mapping[str, Callable[[Key], Params]]
  infer: Infer
  prior: Callable[[Net, Key], Array]
  losses: Mapping[str, TaskLossFn]
  trains: Mapping[str, tuple[str, ...]]
  targets: Mapping[str, str]
  tau: float | Array
  follows: Mapping[str, Callable[[Net, TaskBatch, Key], Params]]
  act: Callable[[Net, Array, Array, Key | None], Array]


def given_latents(loss: LatentLoss, infer: Infer) -> TaskLossFn:
  """A loss of an actor-critic on the query of each task, given the latent that `infer` reads from its support.

  Losses that get the same key get the same latents.
  """

  def task_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    keys = split_update_key(key)
    return loss(net, tasks.query, infer(net, tasks.support, keys.latent), keys.actor_critic)

  return task_loss


def train_only(net: Net, parts: tuple[str, ...]) -> Net:
  """The same net, through which gradients reach `parts` alone."""
  return {name: params if name in parts else jax.lax.stop_gradient(params) for name, params in net.items()}


def total_loss(learner: ContextLearner) -> TaskLossFn:
  """The sum of the learner's losses, each training the parts that its table names, all with the same key.

  Raises, when called:
    ValueError: two losses report the same metric.
  """

  def loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    total = jnp.zeros(())
    metrics: Metrics = {}
    for name, part_loss in learner.losses.items():
      value, found = part_loss(train_only(net, learner.trains[name]), tasks, key)
      if twice := metrics.keys() & found.keys():
        raise ValueError(f"two losses report {sorted(twice)}")
      total, metrics = total + value, metrics | found
    return total, metrics

  return loss


def context_learner(learner: ContextLearner, optimizers: Mapping[str, optax.GradientTransformation]) -> Algorithm:
  """The algorithm that steps all trained parts at once, and then what follows them.

  One gradient of the sum of all losses at the old parameters, where Rakelly et al. 2019 step encoder and critics first
  and the policy against the new ones: one backward pass, and no order to know.

  Args:
    learner: What is trained by what.
    optimizers: Of each part that a loss trains.

  Raises:
    ValueError: losses and table, table and parts, or trained parts and optimisers do not name the same.
  """
  _check_names(learner, optimizers)
  loss = total_loss(learner)
  optimizer = optax.partition(dict(optimizers), lambda net: {part: part for part in net})

  def init(key: Key) -> TrainState:
    keys = jax.random.split(key, len(learner.init))
    net = {part: make(part_key) for (part, make), part_key in zip(learner.init.items(), keys, strict=True)}
    net |= {slow: jax.tree.map(jnp.copy, net[part]) for slow, part in learner.targets.items()}
    return TrainState(MetaParams(net, {}), optimizer.init(_trained(net)), jnp.zeros((), jnp.int32))

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    net = state.params.net
    trained = _trained(net)

    def objective(trained: Net) -> tuple[Array, Metrics]:
      return loss(net | trained, tasks, key)

    gradients, metrics = jax.grad(objective, has_aux=True)(trained)
    with jax.named_scope("optimizer"):
      updates, opt_state = optimizer.update(gradients, state.opt_state, trained)
      net = net | optax.apply_updates(trained, updates)
    net = net | {
      slow: optax.incremental_update(net[part], net[slow], learner.tau) for slow, part in learner.targets.items()
    }
    net = net | {part: follow(net, tasks, key) for part, follow in learner.follows.items()}
    return TrainState(MetaParams(net, {}), opt_state, state.step + 1), metrics

  def adapt(params: MetaParams, support: Transition, key: Key) -> dict[str, Params]:
    context = jax.tree.map(lambda leaf: leaf[None], support)
    return {LATENT: learner.infer(params.net, context, key)[0]}

  def act(
    params: MetaParams, task: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    return learner.act(params.net, timestep.observation, task[LATENT], key), task

  def prior(params: MetaParams, key: Key) -> dict[str, Params]:
    return {LATENT: learner.prior(params.net, key)}

  def _trained(net: Net) -> Net:
    return {part: net[part] for part in optimizers}

  return Algorithm(init, update, adapt, act, prior)


def _check_names(learner: ContextLearner, optimizers: Mapping[str, optax.GradientTransformation]) -> None:
  trained = {part for parts in learner.trains.values() for part in parts}
  for what, some, others in (
    ("losses and their table", learner.losses.keys(), learner.trains.keys()),
    ("trained parts and optimisers", trained, optimizers.keys()),
  ):
    if different := set(some) ^ set(others):
      raise ValueError(f"{what} differ in {sorted(different)}")
  known = learner.init.keys() | learner.targets.keys()
  if unknown := (trained | learner.follows.keys() | set(learner.targets.values())) - known:
    raise ValueError(f"no part is called {sorted(unknown)}")
