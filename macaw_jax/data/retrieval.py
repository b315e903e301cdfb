"""Recorded rows of the training tasks that explain the rewards of a support, whoever collected it.

An agent that was meta-trained on one policy a task reads the policy where it should read the task. Retrieval gives it
supports like those of its training, whatever it is given (`docs/context_shift.md`):

1. `infer` the task's vector from the support (`data.reward_model`),
2. find the proportions of training tasks whose mean reward function is that of the vector,
3. draw rows of these tasks in these proportions, from their whole histories, with the rewards that were recorded.

A task outside of the training tasks' hull is no mixture of them. Its own data are kept as they are, if no mixture
explains their rewards and they are as well paid as those of the tasks that come nearest.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.reward_model import Read, RewardModel, empty_model, fit_reward_model, infer, misfit, proportions
from macaw_jax.data.sampling import gather
from macaw_jax.types import Array, Key, Problem, Transition

Draw = Literal["mean", "sample"]

# Chosen on training tasks of `cheetah_vel` (docs/context_shift.md).
UNEXPLAINED = 5.0  # mean squared error of outcomes, in units of the noise, from which on no mixture explains a support
MARGIN = 0.3  # standard deviations of the reward by which a support that is kept may be paid less


class Reference(NamedTuple):
  """Rows of the training tasks, with the model that says which tasks explain a support."""

  model: RewardModel
  rows: Transition  # [T, n, ...]  of the whole history of each task, scaled as the agent sees them


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


def _retrieve(reference: Reference, support: Transition, key: Key, *, read: Read, count: int, draw: Draw) -> Transition:
  chex.assert_rank([support.observation, support.reward], [2, 1])
  key_vector, key_rows, key_support = jax.random.split(key, 3)
  model, seen = reference.model, read(support)
  posterior = infer(model, seen, support.mask)
  shares = proportions(model, posterior.mean if draw == "mean" else posterior.sample(key_vector))
  found = draw_rows(reference, shares, key_rows, count=count)
  mask = jnp.ones_like(support.reward) if support.mask is None else support.mask
  unexplained = misfit(model, seen, shares, mask) > UNEXPLAINED
  kept = unexplained & _is_well_paid(reference, shares, support.reward, mask)
  own = jax.random.categorical(key_support, jnp.log(mask), shape=(count,))
  return jax.tree.map(lambda given, found: jnp.where(kept, given[own], found), support._replace(mask=None), found)


def _is_well_paid(reference: Reference, shares: Array, reward: Array, mask: Array) -> Array:
  """Whether the mean reward of a support, of rewards `[B]`, is that of the rows of tasks in these shares, or more."""
  recorded = reference.rows.reward  # [T, n]
  paid = jnp.sum(mask * reward) / jnp.maximum(mask.sum(), 1.0)
  return paid >= shares @ recorded.mean(axis=1) - MARGIN * recorded.std()


def _introduce(reference: Reference, key: Key, *, count: int) -> Transition:
  """Rows of one training task, each as likely: an agent that acts as if it knew its task explores as one that does."""
  key_task, key_rows = jax.random.split(key)
  num_tasks = reference.rows.reward.shape[0]
  task = jax.random.randint(key_task, (), 0, num_tasks)
  return draw_rows(reference, jax.nn.one_hot(task, num_tasks), key_rows, count=count)


def draw_rows(reference: Reference, shares: Array, key: Key, *, count: int) -> Transition:
  """`count` rows, each of a training task with the probability `shares` [T]."""
  key_task, key_row = jax.random.split(key)
  task = jax.random.categorical(key_task, jnp.log(shares), shape=(count,))
  row = jax.random.randint(key_row, (count,), 0, reference.rows.reward.shape[1])
  return jax.tree.map(lambda leaf: leaf[task, row], reference.rows)
