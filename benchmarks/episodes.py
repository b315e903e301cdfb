"""Whole episodes on MJX, compiled ahead of time."""

import time

import jax
import numpy as np

from benchmarks.programs import Program
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.training.loop import compiler_options
from macaw_jax.types import Problem


def some_tasks(family: TaskFamily, count: int) -> Task:
  """The family's tasks in turn, [count, ...]."""
  return jax.tree.map(lambda leaf: np.asarray(leaf)[np.arange(count) % len(leaf)], family.tasks)


def episodes_on_mjx(family: TaskFamily, num_episodes: int) -> Program:
  """Episodes of the family's horizon under an untrained MACAW policy, the physics on MJX."""
  algorithm = ALGORITHMS["macaw"](Problem(family.observation_size, family.action_size, family.num_tasks, 0.99))
  params, key = jax.jit(algorithm.init)(jax.random.key(0)).params, jax.random.key(1)
  rollout, tasks = make_rollout(family, algorithm.act, "mjx"), some_tasks(family, num_episodes)
  started = time.perf_counter()
  compiled = jax.jit(rollout).lower(params, {}, tasks, key).compile(compiler_options())
  seconds = time.perf_counter() - started
  return Program(lambda: jax.block_until_ready(compiled(params, {}, tasks, key)), seconds, compiled)
