"""Recorded rows of the training tasks that explain the rewards of a support, whoever collected it.

An agent that was meta-trained on one policy a task reads the policy where it should read the task. Retrieval gives it
supports like those of its training, whatever it is given (`docs/context_shift.md`):

1. `infer` the task's vector from the support (`data.reward_model`),
2. find the proportions of training tasks whose mean reward function is that of the vector,
3. draw rows of these tasks in these proportions, from their whole histories, with the rewards that were recorded.

A task outside of the training tasks' hull is no mixture of them. Its own data are kept as they are, if no mixture
explains their rewards and they are as well paid as those of the tasks that come nearest. Rewards that are all the same,
where no mixture explains that, say nothing: then rows are drawn as before there are data.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.reward_model import (
  Posterior,
  Read,
  RewardModel,
  empty_model,
  fit_reward_model,
  infer,
  misfit,
  proportions,
)
from macaw_jax.data.sampling import gather
from macaw_jax.types import Array, Key, Problem, Transition

Draw = Literal["mean", "sample"]

# Chosen on training tasks of `cheetah_vel` (docs/context_shift.md).
UNEXPLAINED = 5.0  # mean squared error of outcomes, in units of the noise, from which on no mixture explains a support
MARGIN = 0.3  # standard deviations of the reward by which a support that is kept may be paid less
CONSTANT = 0.1  # variance of outcomes, in units of the noise, below which they are all the same


class Reference(NamedTuple):
  """Rows of the training tasks, with the model that says which tasks explain a support."""

  model: RewardModel
  rows: Transition  # [T, n, ...]  of the whole history of each task, scaled as the agent sees them


class Explanation(NamedTuple):
  """How the training tasks explain a support."""

  posterior: Posterior  # of its task's vector
  shares: Array  # of training tasks, [T]
  is_kept: Array  # whether the agent adapts to the support itself
  is_silent: Array  # whether it says nothing of its task


class Retrieval(NamedTuple):
  """Where the rows come from that an agent adapts to.

  retrieve:  `(reference, support [B, ...], key) -> rows [C, ...]`
  introduce: `(reference, key) -> rows [C, ...]` before there are data of a task
  """

  retrieve: Callable[[Reference, Transition, Key], Transition]
  introduce: Callable[[Reference, Key], Transition]


def make_reference(dataset: Dataset, read: Read, key: Key, *, rows_per_task: int) -> Reference:
  """The model of a dataset, and rows of each of its tasks drawn evenly.

  Args:
    dataset: the training tasks, scaled as the agent sees them.
    read: what tells tasks apart, a value of `reward_model.READ`.
    key: decides the fit and the rows.
    rows_per_task: n.

  Raises:
    ValueError: there is one task alone.
  """
  key_model, key_rows = jax.random.split(key)
  model = fit_reward_model(dataset, read, key_model)
  dataset = jax.tree.map(jnp.asarray, dataset)

  def some(task: Array, key: Key) -> Transition:
    return gather(dataset, task, jax.random.randint(key, (rows_per_task,), 0, dataset.size[task]))

  num_tasks = len(dataset.size)
  return Reference(model, jax.vmap(some)(jnp.arange(num_tasks), jax.random.split(key_rows, num_tasks)))


def empty_reference(problem: Problem, read: Read, *, rows_per_task: int) -> Reference:
  """A reference of zeros in the shapes of one that was made of the training tasks of a problem."""
  shape = (problem.num_tasks, rows_per_task)
  observation, numbers = jnp.zeros((*shape, problem.observation_size)), jnp.zeros(shape)
  rows = Transition(
    observation=observation,
    action=jnp.zeros((*shape, problem.action_size)),
    reward=numbers,
    next_observation=observation,
    terminal=numbers,
    last=numbers,
    mc_return=numbers,
    final_observation=observation,
    final_discount=numbers,
  )
  seen = jax.eval_shape(read, rows)
  return Reference(empty_model(problem.num_tasks, seen.inputs.shape[-1], seen.outcomes.shape[-1]), rows)


def by_outcomes(read: Read, *, rows: int, draw: Draw = "mean") -> Retrieval:
  """Retrieval by the outcomes of a support.

  Args:
    read: what tells tasks apart, that of the reference.
    rows: C, that the agent adapts to.
    draw: whether the task's vector is the mean of its posterior or, for exploration, a sample.
  """
  return Retrieval(partial(_retrieve, read=read, count=rows, draw=draw), partial(_introduce, count=rows))


def explain(reference: Reference, support: Transition, key: Key, *, read: Read, draw: Draw = "mean") -> Explanation:
  """The training tasks that explain a support of B transitions, and whether they do. `key` is that of a sample."""
  chex.assert_rank([support.observation, support.reward], [2, 1])
  model, seen = reference.model, read(support)
  mask = _mask_of(support)
  posterior = infer(model, seen, mask)
  shares = proportions(model, posterior.mean if draw == "mean" else posterior.sample(key))
  is_unexplained = misfit(model, seen, shares, mask) > UNEXPLAINED
  is_constant = _is_constant(model, seen.outcomes, shares, mask)
  return Explanation(
    posterior,
    shares,
    is_kept=is_unexplained & ~is_constant & _is_well_paid(reference, shares, support.reward, mask),
    is_silent=is_unexplained & is_constant,
  )


def _retrieve(reference: Reference, support: Transition, key: Key, *, read: Read, count: int, draw: Draw) -> Transition:
  key_vector, key_rows, key_support = jax.random.split(key, 3)
  found = explain(reference, support, key_vector, read=read, draw=draw)
  shares = jnp.where(found.is_silent, _one_task(reference, jax.random.fold_in(key, 1)), found.shares)
  rows = draw_rows(reference, shares, key_rows, count=count)
  mask = _mask_of(support)
  own = jax.random.categorical(key_support, jnp.log(mask), shape=(count,))
  return jax.tree.map(lambda given, row: jnp.where(found.is_kept, given[own], row), support._replace(mask=None), rows)


def _mask_of(support: Transition) -> Array:
  """Which rows of a support count, `[B]`: all where it has no mask."""
  return jnp.ones_like(support.reward) if support.mask is None else support.mask


def _is_constant(model: RewardModel, outcomes: Array, shares: Array, mask: Array) -> Array:
  """Whether the outcomes `[B, D]` of a support vary less than those of tasks in these shares do by noise alone."""
  weight = mask / jnp.maximum(mask.sum(), 1.0)
  variance = weight @ (outcomes - weight @ outcomes) ** 2 / model.outcome_scale.std**2  # [D]
  return jnp.mean(variance / (shares @ model.noise)) < CONSTANT


def _is_well_paid(reference: Reference, shares: Array, reward: Array, mask: Array) -> Array:
  """Whether the mean reward of a support, of rewards `[B]`, is that of the rows of tasks in these shares, or more."""
  recorded = reference.rows.reward  # [T, n]
  paid = jnp.sum(mask * reward) / jnp.maximum(mask.sum(), 1.0)
  return paid >= shares @ recorded.mean(axis=1) - MARGIN * recorded.std()


def _introduce(reference: Reference, key: Key, *, count: int) -> Transition:
  """Rows of one training task: an agent that acts as if it knew its task explores as one that does."""
  key_task, key_rows = jax.random.split(key)
  return draw_rows(reference, _one_task(reference, key_task), key_rows, count=count)


def _one_task(reference: Reference, key: Key) -> Array:
  """The shares `[T]` of one training task alone, each as likely."""
  num_tasks = reference.rows.reward.shape[0]
  return jax.nn.one_hot(jax.random.randint(key, (), 0, num_tasks), num_tasks)


def draw_rows(reference: Reference, shares: Array, key: Key, *, count: int) -> Transition:
  """`count` rows, each of a training task with the probability `shares` [T]."""
  key_task, key_row = jax.random.split(key)
  task = jax.random.categorical(key_task, jnp.log(shares), shape=(count,))
  row = jax.random.randint(key_row, (count,), 0, reference.rows.reward.shape[1])
  return jax.tree.map(lambda leaf: leaf[task, row], reference.rows)
