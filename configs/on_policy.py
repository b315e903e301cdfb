"""The shared part of configurations of on-policy agents; an algorithm's file adds its own departures."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from configs.section import algorithm_section, decay_with
from macaw_jax import envs

TASKS_PER_UPDATE = 10
EVALUATED_TASKS = 100


def on_policy(
  algorithm: str, family: str, *, tasks_per_update: int = TASKS_PER_UPDATE, **departures: Any
) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` in the tasks of a family, with these departures from its factory's defaults.

  An update has `tasks_per_update` tasks, and an evaluation a hundred, or all where the family has fewer.

  Raises:
    ValueError: no family has this name.
  """
  tasks = envs.make(family)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.output_directory = config_dict.placeholder(str)  # none: runs/<algorithm>-<family>-<arm, if any>-<seed>

  config.rollouts = ml_collections.ConfigDict()
  config.rollouts.family = family
  config.rollouts.discount = 0.99
  config.rollouts.episodes = 25  # of each task of an update, before each inner step and after the last
  config.rollouts.inner_steps = 1  # each adapts to episodes of the policy before it
  config.rollouts.tasks_per_update = min(tasks_per_update, len(tasks.train_tasks))
  config.rollouts.horizon = config_dict.placeholder(int)  # steps of a training episode, where fewer than the family's
  config.rollouts.engine = "native"  # or 'mjx', also of evaluation: MuJoCo bodies in the compiled program

  config.training = ml_collections.ConfigDict()
  config.training.steps = 1_000
  config.training.log_every = 20  # updates in one compiled call; divides the three numbers around it
  config.training.evaluate_every = 100
  config.training.checkpoint_every = 500
  config.training.keep_checkpoints = 3  # of the newest
  # Updates skipped in a row, because not every number is finite after them, that stop a run.
  config.training.max_skips_in_a_row = 10

  config.algorithm = algorithm_section(algorithm, departures)
  # The sum makes this follow training.steps and not the other way round, as a bare reference would.
  decay_with(config.algorithm, config.training.get_ref("steps") + 0)

  config.evaluation = ml_collections.ConfigDict()
  config.evaluation.tasks = min(EVALUATED_TASKS, len(tasks.test_tasks))  # test tasks, evenly spaced
  config.evaluation.episodes = 4  # of each that count, before adaptation and, fresh ones, after
  config.evaluation.support_episodes = config.rollouts.get_ref("episodes") + 0  # that an inner step adapts to
  config.evaluation.horizon = config_dict.placeholder(int)  # steps of an episode, where fewer than the family's

  config.population = ml_collections.ConfigDict()
  config.population.seeds = 1  # runs of config.seed, config.seed + 1, ... in one program
  config.population.grid = ""  # values of hyper-parameters in it, as 'learning_rate=0.001,0.003;offset=true,false'
  config.population.variants = (
    ""  # or 'all', or names in config.variants; their values take the place of config.algorithm's
  )
  config.variants = ml_collections.ConfigDict()

  config.devices = ml_collections.ConfigDict()
  config.devices.seed = 1  # devices that the members of a population are laid along
  config.devices.task = 1  # devices that the tasks of an update are laid along
  config.devices.distributed = False  # whether this is one of several processes, as launch/ starts them
  return config
