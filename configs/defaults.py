"""The shared part of configurations on recorded data; an algorithm's file adds its own departures."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from macaw_jax.data.starter import starter_data
from macaw_jax.envs.names import directory_name

from .common import common

# Of 20 or 25 steps. A return bootstrapped at such a time limit is mostly the bootstrap (0.99^20 = 0.82 of it), and an
# adapted value network that learns from itself diverges: seen on point_robot.
SHORT_EPISODES = ("point_robot", "point_robot_origin", "point_robot_sparse", "point_robot_wind")


def defaults(algorithm: str, family: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on the family's data, with these departures from its factory's defaults."""
  config = common(algorithm, departures, steps=5_000, evaluate_every=500, checkpoint_every=1_000)

  config.dataset = ml_collections.ConfigDict()
  # Data without starters are collected first.
  config.dataset.directory = starter_data(family) or f"data/{directory_name(family)}"
  config.dataset.quality = "all"  # or 'start', 'middle', 'end' of the collection
  config.dataset.transitions_per_task = config_dict.placeholder(int)  # size of that part; none with 'all'
  config.dataset.skip = 1  # keep every skip-th transition
  config.dataset.split = "in_distribution"  # or 'extrapolation': test tasks outside the range of the training tasks

  config.training.tasks_per_update = 5  # all, where the dataset has fewer
  config.training.support_size = 256  # transitions of a task that adaptation sees
  config.training.query_size = 256  # transitions that judge it
  config.training.order = "uniform"  # or 'contiguous', 'contiguous_support'
  config.training.log_every = 100  # updates in one compiled call; divides steps, evaluate_every and checkpoint_every

  config.evaluation.episodes = 20  # per task, before adaptation and after
  config.evaluation.support_size = 256
  # Episodes to adapt to: the task's 'own', those acted in it for 'other_policies' or at 'random', or 'online', by the
  # agent itself.
  config.evaluation.support = "own"
  config.evaluation.order = "uniform"  # or 'contiguous'
  config.evaluation.engine = "native"  # or 'mjx': MuJoCo bodies inside the compiled program, on an accelerator
  config.evaluation.train_tasks = 0  # training tasks to evaluate too, for tuning
  return config
