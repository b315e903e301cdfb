"""The shared part of configurations on recorded data; an algorithm's file adds its own departures."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from configs.section import algorithm_section, decay_with

STARTER_DATA = {"cheetah_dir": "starter_data/cheetah_dir"}  # in this repository; other families are collected first

# Of 20 or 25 steps. A return bootstrapped at such a time limit is mostly the bootstrap (0.99^20 = 0.82 of it), and an
# adapted value network that learns from itself diverges: seen on point_robot.
SHORT_EPISODES = ("point_robot", "point_robot_sparse", "point_robot_wind")


def defaults(algorithm: str, family: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on the family's data, with these departures from its factory's defaults."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.output_directory = config_dict.placeholder(str)  # none: runs/<algorithm>-<dataset>-<seed>

  config.dataset = ml_collections.ConfigDict()
  config.dataset.directory = STARTER_DATA.get(family, f"data/{family}")
  config.dataset.quality = "all"  # or 'start', 'middle', 'end' of the collection
  config.dataset.transitions_per_task = config_dict.placeholder(int)  # size of that part; none with 'all'
  config.dataset.skip = 1  # keep every skip-th transition
  config.dataset.split = "in_distribution"  # or 'extrapolation': test tasks outside the range of the training tasks

  config.training = ml_collections.ConfigDict()
  config.training.steps = 5_000
  config.training.tasks_per_update = 5  # all, where the dataset has fewer
  config.training.support_size = 256  # transitions of a task that adaptation sees
  config.training.query_size = 256  # transitions that judge it
  config.training.order = "uniform"  # or 'contiguous', 'contiguous_support'
  config.training.log_every = 100  # updates in one compiled call; divides the three numbers around it
  config.training.evaluate_every = 500
  config.training.checkpoint_every = 1_000
  config.training.keep_checkpoints = 3  # the newest ones; that of the best score on training tasks is kept beside them
  # Updates skipped in a row, because not every number is finite after them, that stop a run.
  config.training.max_skips_in_a_row = 10

  config.algorithm = algorithm_section(algorithm, departures)
  # The sum makes this follow training.steps and not the other way round, as a bare reference would.
  decay_with(config.algorithm, config.training.get_ref("steps") + 0)

  config.evaluation = ml_collections.ConfigDict()
  config.evaluation.episodes = 20  # per task, before adaptation and after
  config.evaluation.support_size = 256
  # Episodes to adapt to: the task's 'own', those acted in it for 'other_policies' or at 'random', or 'online', by the
  # agent itself.
  config.evaluation.support = "own"
  config.evaluation.order = "uniform"  # or 'contiguous'
  config.evaluation.engine = "native"  # or 'mjx': MuJoCo bodies inside the compiled program, on an accelerator
  config.evaluation.train_tasks = 0  # training tasks to evaluate too, for tuning

  config.population = ml_collections.ConfigDict()
  config.population.seeds = 1  # runs of config.seed, config.seed + 1, ... in one program
  config.population.grid = ""  # values of hyper-parameters in it, as 'temperature=0.5,1;first_order=true,false'

  config.devices = ml_collections.ConfigDict()
  config.devices.seed = 1  # devices that the members of a population are laid along
  config.devices.task = 1  # devices that the tasks of an update are laid along
  config.devices.distributed = False  # whether this is one of several processes, as launch/ starts them
  return config
