"""The shared pieces of multi-task baselines.

One network serves all training tasks, told the task by a one-hot vector in the observation; it is fine-tuned on a
new task, whose vector is all zeros (Mitchell et al. 2021, section 5, and the released code). Training reads the
query of a batch alone: there is no inner step.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from macaw_jax.adaptation import fine_tune, identity, tuning
from macaw_jax.hyperparameters import check_counts, check_not_negative, require
from macaw_jax.learners.gradient import RULE, MakeOptimizer, init_parts, learning_rate, meta_learner, optimize_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.objectives import add
from macaw_jax.types import (
  Algorithm,
  Array,
  Key,
  LossFn,
  MetaParams,
  Metrics,
  Params,
  Problem,
  TaskBatch,
  TimeStep,
  TrainState,
  Transition,
)


def observation_size(problem: Problem) -> int:
  """Size of an observation with its task vector."""
  return problem.observation_size + problem.num_tasks


def append_task(transitions: Transition, task_vector: Array) -> Transition:
  """Appends a task vector `[W]` to every observation of one task's transitions `[B, ...]`."""

  def append(observation: Array) -> Array:
    shape = (*observation.shape[:-1], task_vector.shape[-1])
    return jnp.concatenate([observation, jnp.broadcast_to(task_vector, shape)], axis=-1)

  return transitions._replace(
    observation=append(transitions.observation),
    next_observation=append(transitions.next_observation),
    final_observation=append(transitions.final_observation),
  )


def with_task_vectors(algorithm: Algorithm, num_tasks: int, task_dropout: float) -> Algorithm:
  """Shows `algorithm` observations that end in a one-hot task vector, in training; all zeros for a new task.

  Args:
    algorithm: Works on observations that are `num_tasks` longer than those of the data.
    num_tasks: Number of training tasks.
    task_dropout: Probability that a training task of a batch shows zeros too, so that zeros are not news at test time.
  """
  unknown_task = jnp.zeros((num_tasks,))

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    key_dropout, key_update = jax.random.split(key)
    known = jax.random.bernoulli(key_dropout, 1.0 - task_dropout, tasks.task_index.shape)
    vectors = jax.nn.one_hot(tasks.task_index, num_tasks) * known[:, None]  # [T, num_tasks]
    append_tasks = jax.vmap(append_task)
    tasks = tasks._replace(support=append_tasks(tasks.support, vectors), query=append_tasks(tasks.query, vectors))
    return algorithm.update(state, tasks, key_update)

  def adapt(params: MetaParams, support: Transition, key: Key) -> dict[str, Params]:
    return algorithm.adapt(params, append_task(support, unknown_task), key)

  def act(
    params: MetaParams, adapted: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    observation = jnp.concatenate([timestep.observation, unknown_task])
    return algorithm.act(params, adapted, timestep._replace(observation=observation), key)

  def tune(
    net: dict[str, Params], opt_state: Params, batch: Transition, key: Key
  ) -> tuple[dict[str, Params], Params, Metrics]:
    assert algorithm.tuning is not None
    return algorithm.tuning.step(net, opt_state, append_task(batch, unknown_task), key)

  tuned = algorithm.tuning and algorithm.tuning._replace(step=tune)
  return algorithm._replace(update=update, adapt=adapt, act=act, tuning=tuned)


def multitask_learner(
  problem: Problem,
  *,
  init: Mapping[str, Callable[[Key], Params]],
  losses: Mapping[str, LossFn],
  act: Callable[[dict[str, Params], TimeStep, Key | None], Array],
  learning_rates: Mapping[str, float],
  fine_tune_learning_rates: Mapping[str, float],
  adaptation_steps: int,
  task_dropout: float,
  decay_steps: int | None,
  optimizer: MakeOptimizer,
  gradient_surgery: GradientSurgery | None,
) -> Algorithm:
  """Trains all parts jointly on the sum of `losses`, and fine-tunes each on its own loss.

  Args:
    problem: Sizes of the data.
    init: For each network part, `(key) -> params`; observations have `observation_size(problem)` components.
    losses: For each part, the loss that trains it.
    act: `(parts, timestep, key) -> action`.
    learning_rates: For each part, in training.
    fine_tune_learning_rates: For each part, on a new task.
    adaptation_steps: Rounds of fine-tuning.
    task_dropout: See `with_task_vectors`.
    decay_steps: Updates over which the learning rates of training fall to zero; None keeps them.
    optimizer: Makes an optimiser from a learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_counts(decay_steps=decay_steps, adaptation_steps=adaptation_steps)
  check_not_negative(
    **{f"{part}_learning_rate": rate for part, rate in learning_rates.items()},
    **{f"fine_tune_{part}_learning_rate": rate for part, rate in fine_tune_learning_rates.items()},
  )
  require((task_dropout >= 0.0) & (task_dropout < 1.0), f"task_dropout={task_dropout} must lie in [0, 1)")
  fine_tuning = {part: optimizer(rate) for part, rate in fine_tune_learning_rates.items()}
  algorithm = meta_learner(
    init_net=init_parts(init),
    adaptation=identity(),
    outer_loss=add(*losses.values()),
    optimizer=optimize_parts(
      {part: optimizer(learning_rate(rate, decay_steps)) for part, rate in learning_rates.items()}
      | {RULE: optax.set_to_zero()}
    ),
    act=act,
    test_adaptation=fine_tune(losses, fine_tuning, steps=adaptation_steps),
    gradient_surgery=gradient_surgery,
  )
  return with_task_vectors(algorithm._replace(tuning=tuning(losses, fine_tuning)), problem.num_tasks, task_dropout)
