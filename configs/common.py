"""The part of a configuration that every kind of run has: training, the algorithm, members and devices."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from .section import algorithm_section, decay_with


def common(
  algorithm: str, departures: Mapping[str, Any], *, steps: int, evaluate_every: int, checkpoint_every: int
) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` with these departures from its factory's defaults, without data and evaluation."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.output_directory = config_dict.placeholder(str)  # none: runs/<algorithm>-<data>-<variant, if any>-<seed>

  config.training = ml_collections.ConfigDict()
  config.training.steps = steps
  config.training.evaluate_every = evaluate_every
  config.training.checkpoint_every = checkpoint_every
  config.training.keep_checkpoints = 3  # the newest ones; that of the best score on training tasks is kept beside them
  # Updates skipped in a row, because not every number is finite after them, that stop a run.
  config.training.max_skips_in_a_row = 10

  config.algorithm = algorithm_section(algorithm, departures)
  # The sum makes this follow training.steps and not the other way round, as a bare reference would.
  decay_with(config.algorithm, config.training.get_ref("steps") + 0)

  config.evaluation = ml_collections.ConfigDict()

  config.population = ml_collections.ConfigDict()
  config.population.seeds = 1  # runs of config.seed, config.seed + 1, ... in one program
  config.population.grid = ""  # values of settings in it, as 'temperature=0.5,1;first_order=true,false'
  # Or 'all', or names in config.variants: their values take the place of config.algorithm's.
  config.population.variants = ""
  config.variants = ml_collections.ConfigDict()

  config.devices = ml_collections.ConfigDict()
  config.devices.seed = 1  # devices that the members of a population are laid along
  config.devices.task = 1  # devices that the tasks of an update are laid along
  config.devices.distributed = False  # whether this is one of several processes, as launch/ starts them
  return config
