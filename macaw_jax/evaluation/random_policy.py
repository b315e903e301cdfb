"""Supports collected by a uniformly random policy: they tell of a task by its rewards and next states alone.

The third kind of context of Yuan and Lu 2022 ("Robust Task Representations for Offline Meta-Reinforcement Learning
via Contrastive Learning", arXiv:2206.10442), beside the task's own behaviour and that of other tasks.
"""

from functools import partial

import jax
import numpy as np

from macaw_jax.collection.acting import uniform_act
from macaw_jax.data.dataset import Dataset, Episodes, dataset_of
from macaw_jax.data.episodes import join_episodes, one_episode
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, make_rollout

# Part of the protocol: all runs are evaluated on the same random episodes, whatever their seeds.
RANDOM_POLICY_SEED = 20_240_229
# Side by side in each task. Were it to follow the support size, so would the keys of the episodes.
EPISODES_PER_ROUND = 8
# Transitions of a task for each that a support takes, so that the supports of one task differ.
TRANSITIONS_PER_SUPPORT = 10


def random_policy_dataset(
  family: TaskFamily, tasks: Task, *, discount: float, support_size: int, engine: Engine = "native"
) -> Dataset:
  """Episodes of uniform actions in [-1, 1]^A, as data are loaded: nothing scaled, numpy arrays `[T, N, ...]`.

  Starts and actions of an episode follow from its number and from the position of its task alone: agents that are
  evaluated in the same tasks have the same episodes, but for rounding where `engine` differs, and those of a larger
  support have more of them. Every task has the same number of whole episodes, the fewest rounds that give each task ten
  times `support_size` transitions, also where episodes end early.

  Args:
    family: where episodes are run.
    tasks: of the family, leaves `[T, ...]`.
    discount: gamma of the returns, that of the other data.
    support_size: transitions that an adaptation sees.
    engine: that steps MuJoCo bodies, as in `make_rollout`.
  """
  rollout = make_rollout(family, partial(uniform_act, action_size=family.action_size), engine)
  num_tasks = len(jax.tree.leaves(tasks)[0])
  wanted = TRANSITIONS_PER_SUPPORT * support_size
  repeated = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), EPISODES_PER_ROUND, axis=0), tasks)
  episodes: list[list[Episodes]] = [[] for _ in range(num_tasks)]
  sizes, steps = np.zeros(num_tasks, int), 0
  for index in range(wanted):  # An episode has a step or more: it ends long before.
    key = jax.random.fold_in(jax.random.key(RANDOM_POLICY_SEED), index)
    trajectory = jax.tree.map(np.asarray, rollout({}, {}, repeated, key, deterministic=False))
    for row in range(num_tasks * EPISODES_PER_ROUND):
      episodes[row // EPISODES_PER_ROUND].append(one_episode(trajectory, row, collected_at=steps))
    steps += int(trajectory.mask.sum())
    sizes += trajectory.mask.reshape(num_tasks, -1).sum(axis=1).astype(int)
    if sizes.min() >= wanted:
      break
  return dataset_of((join_episodes(parts) for parts in episodes), discount)
