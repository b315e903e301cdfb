"""The protocol `fine_tuning`: an agent that has adapted to recorded rows goes on learning from episodes of its own.

Mitchell et al. 2021 (arXiv:2008.06043), on fine-tuning online. After adaptation to a support the agent acts in the
task, stochastically, and after each episode takes some optimiser steps (`Algorithm.tuning`) on batches drawn from all
rows so far, the support among them. Now and then its policy is scored, by the mode. Stages count the episodes that it
has collected: stage 0 is the adapted agent.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.acting import act_on_raw_timesteps
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import gather, random_subset
from macaw_jax.data.statistics import Statistics, normalise
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, episode_return, make_rollout
from macaw_jax.evaluation.online import transitions_of
from macaw_jax.evaluation.protocols import OfflineProtocol, evaluation_of
from macaw_jax.evaluation.rows import OWN_EPISODES, Evaluation, Stages
from macaw_jax.types import Algorithm, Array, Key, Params, Transition, Tuning

EPISODES = 500  # that the agent collects
SCORED = (0, 1, 2, 5, 10, 20, 50, 100, 200, 350, 500)  # after so many of them it is scored
STEPS_PER_EPISODE = 20  # of the optimisers
BATCH_SIZE = 256  # rows of a step


def scored_after(num_episodes: int) -> tuple[int, ...]:
  """The numbers of episodes after which an agent is scored, up to the last."""
  return tuple(sorted({number for number in SCORED if number < num_episodes} | {0, num_episodes}))


def fine_tuning_stages(support_size: int, num_episodes: int = EPISODES) -> Stages:
  """The adapted agent after so many own episodes."""
  return Stages(support_size, "transitions", scored_after(num_episodes), OWN_EPISODES)


def make_fine_tuning_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  *,
  discount: float,
  support_size: int,
  num_repetitions: int,
  num_episodes: int = EPISODES,
  engine: Engine = "native",
) -> OfflineProtocol:
  """The protocol `fine_tuning`; all tasks and repetitions run beside each other, and each has its own rows.

  Args:
    algorithm: adapts, acts and goes on learning.
    family: where episodes are run.
    discount: gamma of the returns of its own episodes.
    support_size: recorded rows that it adapts to first.
    num_repetitions: independent ones of the whole in each task, R.
    num_episodes: that it collects.
    engine: that steps MuJoCo bodies.

  Raises:
    ValueError: the algorithm cannot go on learning, or reads consecutive rows.
  """
  tuning = algorithm.tuning
  if tuning is None:
    raise ValueError("fine_tuning: expected an algorithm that goes on learning, one with `tuning`")
  if algorithm.consecutive_rows:
    raise ValueError("fine_tuning: rows are drawn at random, and the targets 'td_lambda' need consecutive ones")
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act), engine)
  learn = jax.jit(jax.vmap(partial(_learn, tuning), in_axes=(None, 0, 0, 0, 0, 0)))
  start = jax.jit(jax.vmap(lambda params, changes: tuning.init(params.net | changes), in_axes=(None, 0)))

  @jax.jit
  def begin(params: Params, dataset: Dataset, task_index: Array, keys: Key) -> tuple[Any, Transition]:
    def one(index: Array, key: Key) -> tuple[Any, Transition]:
      key_rows, key_adapt = jax.random.split(key)
      support = gather(dataset, index, random_subset(key_rows, dataset.size[index], support_size))
      return algorithm.adapt(params, support, key_adapt), support

    return jax.vmap(one)(task_index, keys)

  def evaluate(params: Params, statistics: Statistics, dataset: Dataset, tasks: Task, key: Key) -> Evaluation:
    num_tasks = int(dataset.size.shape[0])
    task_index = np.repeat(np.arange(num_tasks), num_repetitions)
    repeated = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), num_repetitions, axis=0), tasks)
    key_begin, key_score, key_act, key_learn = jax.random.split(key, 4)
    adapted, support = begin(params, dataset, task_index, jax.random.split(key_begin, len(task_index)))
    rows = _room_for(support, num_episodes * family.horizon)
    filled = np.full(len(task_index), support_size)
    opt_state = start(params, adapted)
    agent, returns = (params, statistics), []
    for episode in range(num_episodes + 1):
      if episode in scored_after(num_episodes):
        scored = rollout(agent, adapted, repeated, key_score)  # the same starts at every stage
        returns.append(episode_return(scored))
      if episode == num_episodes:
        break
      own = rollout(agent, adapted, repeated, jax.random.fold_in(key_act, episode), deterministic=False)
      new = normalise(statistics, transitions_of(own, discount))
      rows = _append(rows, new, filled)
      filled = filled + family.horizon
      keys = jax.random.split(jax.random.fold_in(key_learn, episode), len(task_index))
      adapted, opt_state = learn(params, adapted, opt_state, rows, jnp.asarray(filled), keys)
    return evaluation_of(returns, scored, num_tasks)

  return evaluate


def _learn(
  tuning: Tuning, params: Params, adapted: Params, opt_state: Params, rows: Transition, filled: Array, key: Key
) -> tuple[Params, Params]:
  """The optimiser steps after an episode, of one agent."""

  def step(carry: tuple[Params, Params], key: Key) -> tuple[tuple[Params, Params], None]:
    adapted, opt_state = carry
    key_rows, key_step = jax.random.split(key)
    places = jax.random.randint(key_rows, (BATCH_SIZE,), 0, filled)
    batch = jax.tree.map(lambda leaf: leaf[places], rows)
    moved, opt_state, _ = tuning.step(params.net | adapted, opt_state, batch, key_step)
    return (adapted | moved, opt_state), None

  (adapted, opt_state), _ = jax.lax.scan(step, (adapted, opt_state), jax.random.split(key, STEPS_PER_EPISODE))
  return adapted, opt_state


def _room_for(support: Transition, more: int) -> Transition:
  """The rows `[N, B, ...]` with room for more behind them, and a mask."""
  masked = support._replace(mask=jnp.ones_like(support.reward))
  return jax.tree.map(lambda leaf: jnp.pad(leaf, [(0, 0), (0, more)] + [(0, 0)] * (leaf.ndim - 2)), masked)


@jax.jit
def _append(rows: Transition, new: Transition, filled: Array) -> Transition:
  """The rows of each agent with those of an episode at the place `filled`."""

  def append(stored: Array, added: Array, place: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(stored, added.astype(stored.dtype), place, axis=0)

  return jax.tree.map(lambda stored, added: jax.vmap(append)(stored, added, filled), rows, new)
