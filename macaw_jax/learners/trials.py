"""Agents that learn from whole trials: several episodes of one task, through which their memory is kept.

An update acts in its tasks, judges these trials once, and takes several steps on parts of them. Trials are never cut:
a memory is run over all of one, and its gradient goes back to the beginning (truncated at the borders of tasks alone).
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from macaw_jax.adaptation.memory import trials_of
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient_surgery import GradientSurgery, combined_over_tasks
from macaw_jax.learners.ppo import PPO
from macaw_jax.objectives.ppo import Judged, TrialLoss, happened_first
from macaw_jax.types import (
  Algorithm,
  Array,
  Key,
  MetaParams,
  Metrics,
  Params,
  Steps,
  TaskBatch,
  TimeStep,
  TrainState,
  Trajectory,
  Transition,
)


def in_trials(tasks: TaskBatch) -> Steps:
  """One trial of each task, `[T, N, ...]`, the steps that happened first."""
  return jax.vmap(happened_first)(trials_of(tasks))


def trial_learner(
  *,
  init_net: Callable[[Key], Net],
  judge_trials: Callable[[Net, Steps, Array], Judged],
  losses: Mapping[str, TrialLoss],
  trains: Mapping[str, tuple[str, ...]],
  follows: Mapping[str, Callable[[Net, Steps], Params]],
  optimizers: Mapping[str, optax.GradientTransformation],
  ppo: PPO,
  gradient_surgery: GradientSurgery | None,
  adapt: Callable[[Net, Transition | Trajectory, Key], Net] = lambda net, support, key: {},
  act: Callable[[Net, TimeStep, Key | None], tuple[Array, Net]],
  prior: Callable[[Net, Key], Net] = lambda net, key: {},
  arrange: Callable[[TaskBatch], Steps] = in_trials,
  task_axis: int = 0,
  separable: Container[str] | None = None,
  after: Callable[[Net, Any, Array], tuple[Net, Any]] = lambda net, opt_state, done: (net, opt_state),
) -> Algorithm:
  """An on-policy algorithm whose update takes `ppo.epochs` times `ppo.minibatches` steps on the trials of its tasks.

  In each epoch the trials are dealt out anew to minibatches of equal size; those that are left over wait for the next
  epoch. In a step all losses move their parts, from the same parameters. Metrics are means over all steps.

  Args:
    init_net: `(key) -> net`, the named parts.
    judge_trials: `(net, steps [T, N], remaining []) -> Judged`, once an update, by the parameters that acted.
    losses: by name.
    trains: for each loss, the parts that it trains; no part is trained by two of them.
    follows: for each part that moves without a gradient, `(net, steps [T, N]) -> params` before trials are judged.
    optimizers: for each loss, that of its parts.
    ppo: how often the trials are passed over, in how many steps, and after how many updates none of training remains.
    gradient_surgery: how the gradients of the tasks of a minibatch become one, of all that a loss trains as one
      vector; None for that of their mean.
    adapt: `(net, support, key) -> adapted`; if not given, nothing is adapted.
    act: `(net with what adaptation changed, timestep, key) -> (action, parts that acting changes)`.
    prior: `(net, key) -> adapted`; nothing, if not given.
    arrange: `(tasks) -> steps`, of which the first axis is dealt out to minibatches: trials of one task each, or
      episodes `[E, T, H, ...]` of all tasks.
    task_axis: along which the tasks lie.
    separable: the losses that have a gradient of one task alone, which surgery combines; None for all.
    after: `(net, state of the optimiser, updates done) -> both` after the steps of an update.

  Raises, when an update is traced:
    ValueError: what is dealt out is less than the minibatches.
  """
  label = {part: name for name, parts in trains.items() for part in parts}
  optimizer = optax.partition(dict(optimizers), lambda net: {part: label[part] for part in net})

  def trained(net: Net) -> Net:
    return {part: net[part] for part in label}

  def init(key: Key) -> TrainState:
    net = init_net(key)
    return TrainState(MetaParams(net, {}), optimizer.init(trained(net)), jnp.zeros((), jnp.int32))

  def gradient_of(name: str, net: Net, trials: Judged, key: Key) -> tuple[Net, Metrics]:
    """The gradient of a loss by the parts that it trains."""
    loss, parts = losses[name], {part: net[part] for part in trains[name]}

    def of_trials(trials: Judged, key: Key) -> tuple[Net, Metrics]:
      return jax.grad(lambda parts: loss(net | parts, trials, key), has_aux=True)(parts)

    if gradient_surgery is None or (separable is not None and name not in separable):
      return of_trials(trials, key)
    key_trials, key_surgery = jax.random.split(key)
    keys = jax.random.split(key_trials, trials.remaining.shape[task_axis])
    gradient, metrics, found = combined_over_tasks(
      gradient_surgery, of_trials, trials, keys, key_surgery, task_axis=task_axis
    )
    return gradient, metrics | {f"{name}_{metric}": found[metric] for metric in found}

  def step(carry: tuple[Net, Any], item: tuple[Judged, Key]) -> tuple[tuple[Net, Any], Metrics]:
    net, opt_state = carry
    parts = trained(net)
    gradient: Net = {}
    metrics: Metrics = {}
    for name, name_key in zip(losses, jax.random.split(item[1], len(losses)), strict=True):
      of_loss, found = gradient_of(name, net, item[0], name_key)
      gradient, metrics = gradient | of_loss, metrics | found
    updates, opt_state = optimizer.update(gradient, opt_state, parts)
    return (net | optax.apply_updates(parts, updates), opt_state), metrics

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    steps = arrange(tasks)
    count = len(steps.mask)
    size = count // ppo.minibatches
    if size < 1:
      dealt_out = "tasks of an update" if task_axis == 0 else "episodes of a task in an update"
      raise ValueError(f"minibatches={ppo.minibatches} must not exceed the {dealt_out}, {count}")
    remaining = jnp.ones(()) if ppo.decay_steps is None else jnp.clip(1.0 - state.step / ppo.decay_steps, 0.0, 1.0)
    net = state.params.net | {part: follow(state.params.net, steps) for part, follow in follows.items()}
    judged = judge_trials(net, steps, remaining)

    def epoch(carry: tuple[Net, Any], key: Key) -> tuple[tuple[Net, Any], Metrics]:
      key_order, key_steps = jax.random.split(key)
      dealt = jax.random.permutation(key_order, count)[: size * ppo.minibatches].reshape(ppo.minibatches, size)
      parts = jax.tree.map(lambda leaf: leaf[dealt], judged)
      return jax.lax.scan(step, carry, (parts, jax.random.split(key_steps, ppo.minibatches)))

    (net, opt_state), metrics = jax.lax.scan(epoch, (net, state.opt_state), jax.random.split(key, ppo.epochs))
    done = state.step + 1
    net, opt_state = after(net, opt_state, done)
    return TrainState(MetaParams(net, {}), opt_state, done), jax.tree.map(jnp.mean, metrics)

  def act_in_task(params: MetaParams, adapted: Net, timestep: TimeStep, key: Key | None) -> tuple[Array, Net]:
    action, changed = act(params.net | adapted, timestep, key)
    return action, adapted | changed

  return Algorithm(
    init,
    update,
    adapt=lambda params, support, key: adapt(params.net, support, key),
    act=act_in_task,
    prior=lambda params, key: prior(params.net, key),
    remembers=True,
  )
