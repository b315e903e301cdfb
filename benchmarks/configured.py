"""Algorithms as the configurations of the repository have them."""

import importlib
from collections.abc import Mapping
from typing import Any

from benchmarks.programs import Recipe, sampled
from benchmarks.random_data import half_cheetah_problem
from experiments.configuration import settings_of
from experiments.recorded import query_size_of
from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.types import Algorithm


def configuration(module: str, changes: Mapping[str, Any]) -> Any:
  """A configuration for the half-cheetah's velocities with some hyper-parameters of its algorithm changed.

  `module` is one of `configs`, and behind a colon the arguments of its `get_config`, where the velocities are not all.
  """
  name, _, arguments = module.partition(":")
  config = importlib.import_module(f"configs.{name}").get_config(*(arguments or "cheetah_vel").split(","))
  config.algorithm.update_from_flattened_dict(dict(changes))
  return config


def configured_recipe(module: str, changes: Mapping[str, Any], num_tasks: int, sizes: Any = None) -> Recipe:
  """An algorithm as a configuration has it, for data of `num_tasks` tasks.

  Args:
    module: as for `configuration`.
    changes: of the algorithm's hyper-parameters.
    num_tasks: of the data.
    sizes: the `training` of another configuration, whose tasks and transitions are taken.
  """
  config = configuration(module, changes)
  sizes = config.training if sizes is None else sizes
  name, settings = config.algorithm.name, settings_of(config)

  def make(**overrides: Any) -> Algorithm:
    return make_algorithm(name, half_cheetah_problem(num_tasks), settings, overrides)

  tasks = min(sizes.tasks_per_update, num_tasks)
  return sampled(make, tasks, sizes.support_size, query_size_of(sizes, tasks))
