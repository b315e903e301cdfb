"""Meta-learning from parts: the one place that steps the optimiser of agents that adapt by gradients."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from macaw_jax.adaptation.generator_gradient import Tap, attach_taps, open_taps
from macaw_jax.learners.gradient_surgery import GradientSurgery, combined_over_tasks
from macaw_jax.objectives.combinators import over_tasks
from macaw_jax.types import (
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
)

MakeOptimizer = Callable[[float | optax.Schedule], optax.GradientTransformation]
"""Makes a part's optimiser from its learning rate; `optax.adam` is one."""

MetaLoss = Callable[[MetaParams, TaskBatch, Key], tuple[Array, Metrics]]
"""`(params, tasks, key) -> (scalar, metrics)`: the loss of meta-training on a batch of tasks."""

MetaGradient = Callable[[MetaParams, TaskBatch, Key], tuple[MetaParams, Metrics]]
"""`(params, tasks, key) -> (gradient, metrics)`: the gradient that the optimiser is given in an update."""

RULE = "rule"  # The label of the adaptation rule's own parameters among the parts of an optimiser.


def meta_loss(adaptation: Adaptation, outer_loss: LossFn) -> MetaLoss:
  """The objective of meta-training.

  mean over tasks i of outer_loss(adapted_i, query_i) with adapted_i = adaptation(params, support_i). The outer loss
  does not see the learned scalars of the rule: they act through adaptation alone.
  """

  def task_loss(params: MetaParams, task: tuple[dict[str, list[Tap]], Any, Any], key: Key) -> tuple[Array, Metrics]:
    taps, support, query = task
    key_adaptation, key_outer = jax.random.split(key)
    net = attach_taps(params.net, taps)
    changes, inner_metrics = adaptation.apply(net, params.rule, support, key_adaptation)
    loss, outer_metrics = outer_loss(params.net | changes, query, key_outer)
    return loss, {**inner_metrics, **outer_metrics}

  def loss(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    net, taps = open_taps(params.net, adaptation.generator_products, tasks.task_index.shape[0])
    return over_tasks(task_loss)(params._replace(net=net), (taps, tasks.support, tasks.query), key)

  return loss


def gradient_of(loss: MetaLoss, gradient_surgery: GradientSurgery | None = None) -> MetaGradient:
  """The gradient of a loss of a batch of tasks.

  With gradient surgery it is combined from those of the loss of each task alone, a batch of one; all that is learned is
  shared by the tasks, and one vector. The loss is then to be a mean over tasks of a loss of one.
  """
  if gradient_surgery is not None:
    return _combined_gradient(loss, gradient_surgery)

  def meta_gradient(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[MetaParams, Metrics]:
    (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, tasks, key)
    return gradient, metrics

  return meta_gradient


def _combined_gradient(loss: MetaLoss, gradient_surgery: GradientSurgery) -> MetaGradient:
  def meta_gradient(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[MetaParams, Metrics]:
    key_tasks, key_surgery = jax.random.split(key)
    keys = jax.random.split(key_tasks, tasks.task_index.shape[0])
    of_tasks = partial(jax.grad(loss, has_aux=True), params)
    gradient, metrics, found = combined_over_tasks(gradient_surgery, of_tasks, tasks, keys, key_surgery)
    return gradient, metrics | found

  return meta_gradient


def reptile_gradient(adaptation: Adaptation, gradient_surgery: GradientSurgery | None = None) -> MetaGradient:
  """Reptile's pseudo-gradient, theta - mean over tasks i of adapted_i, of every part that `adaptation` changes.

  Nichol et al. 2018, "On First-Order Meta-Learning Algorithms", algorithm 1. Nothing differentiates through
  adaptation; the query is not read, and the rule's own parameters have a gradient of zero. With gradient surgery, the
  theta - adapted_i of tasks are combined by it in place of their mean. Raises AssertionError, when called, if an
  adapted part has other arrays than the part itself, as the effective weights of weight-transform layers.
  """

  def pseudo_gradient(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[MetaParams, Metrics]:
    def adapted(support: Any, key: Key) -> tuple[dict[str, Params], Metrics]:
      return adaptation.apply(params.net, params.rule, support, key)

    key_adapt, key_surgery = (key, key) if gradient_surgery is None else jax.random.split(key)
    changes, metrics = jax.vmap(adapted)(tasks.support, jax.random.split(key_adapt, tasks.task_index.shape[0]))
    metrics = jax.tree.map(jnp.mean, metrics)
    before = {part: params.net[part] for part in changes}
    chex.assert_trees_all_equal_structs(before, changes)
    if gradient_surgery is None:
      differences = jax.tree.map(lambda now, then: now - jnp.mean(then, axis=0), before, changes)
    else:
      differences, found = gradient_surgery.combine(jax.tree.map(jnp.subtract, before, changes), key_surgery)
      metrics |= found
    gradient = MetaParams(
      jax.tree.map(jnp.zeros_like, params.net) | differences, jax.tree.map(jnp.zeros_like, params.rule)
    )
    return gradient, metrics

  return pseudo_gradient


def learning_rate(rate: float, decay_steps: int | None) -> float | optax.Schedule:
  """`rate` throughout, or a cosine from `rate` at the first update to zero at update `decay_steps`.

  A meta-learner's return can change much within a few updates long after its losses have settled; the decay ends
  training at a quiet point rather than at a random one.
  """
  return rate if decay_steps is None else optax.cosine_decay_schedule(rate, decay_steps)


def linear_decay(rate: float, decay_steps: int | None) -> float | optax.Schedule:
  """`rate` throughout, or a line from `rate` at the first step to zero at step `decay_steps`: NoRML's."""
  return rate if decay_steps is None else optax.linear_schedule(rate, 0.0, decay_steps)


def optimize_parts(optimizers: Mapping[str, optax.GradientTransformation]) -> optax.GradientTransformation:
  """One optimiser per part of `MetaParams`: by the name of the network part, and `rule` for the rule's parameters.

  Raises ValueError, when initialised, if a part has no optimiser or an optimiser no part.
  """

  def labels(params: MetaParams) -> MetaParams:
    if expected := (params.net.keys() | {RULE}) ^ optimizers.keys():
      raise ValueError(f"network parts and optimisers differ in {sorted(expected)}")
    return MetaParams(net={part: part for part in params.net}, rule=RULE)

  return optax.partition(dict(optimizers), labels)


def init_parts(inits: Mapping[str, Callable[[Key], Params]]) -> Callable[[Key], dict[str, Params]]:
  """`(key) -> net` from the `(key) -> params` of each named part; every part has its own key."""

  def init_net(key: Key) -> dict[str, Params]:
    keys = jax.random.split(key, len(inits))
    return {part: init(part_key) for (part, init), part_key in zip(inits.items(), keys, strict=True)}

  return init_net


def meta_learner(
  *,
  init_net: Callable[[Key], dict[str, Params]],
  adaptation: Adaptation,
  outer_loss: LossFn,
  optimizer: optax.GradientTransformation,
  act: Callable[[dict[str, Params], TimeStep, Key | None], Array],
  test_adaptation: Adaptation | None = None,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """An algorithm that learns parameters from which adaptation does well.

  Args:
    init_net: `(key) -> net`, the network's named parts (see `init_parts`).
    adaptation: How a task's support changes the parts; differentiated through.
    outer_loss: Loss of the adapted parts, on the query.
    optimizer: Steps `MetaParams` (see `optimize_parts`).
    act: `(params, timestep, key) -> action`, with `params` the named parts after adaptation.
    test_adaptation: How a new task's support changes the parts, if not by `adaptation`; its rule is as initialised.
    gradient_surgery: How the meta-gradients of tasks become one; None for that of the mean loss.
  """
  algorithm = learner(
    init_net=init_net,
    adaptation=adaptation,
    meta_gradient=gradient_of(meta_loss(adaptation, outer_loss), gradient_surgery),
    optimizer=optimizer,
    act=act,
  )
  if test_adaptation is None:
    return algorithm

  def adapt(params: MetaParams, support: Any, key: Key) -> dict[str, Params]:
    changes, _ = test_adaptation.apply(params.net, test_adaptation.init(params.net), support, key)
    return changes

  return algorithm._replace(adapt=adapt)


def learner(
  *,
  init_net: Callable[[Key], dict[str, Params]],
  adaptation: Adaptation,
  meta_gradient: MetaGradient,
  optimizer: optax.GradientTransformation,
  act: Callable[[dict[str, Params], TimeStep, Key | None], Array],
) -> Algorithm:
  """An algorithm whose optimiser is given `meta_gradient` of a batch of tasks; other arguments as of `meta_learner`."""

  def init(key: Key) -> TrainState:
    net = init_net(key)
    params = MetaParams(net, adaptation.init(net))
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    gradient, metrics = meta_gradient(state.params, tasks, key)
    with jax.named_scope("optimizer"):
      updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
      params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1), metrics

  def adapt(params: MetaParams, support: Any, key: Key) -> dict[str, Params]:
    changes, _ = adaptation.apply(params.net, params.rule, support, key)
    return changes

  def act_in_task(
    params: MetaParams, adapted: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    return act(params.net | adapted, timestep, key), adapted

  return Algorithm(init, update, adapt, act_in_task)
