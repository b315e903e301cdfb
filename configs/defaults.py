"""The shared part of configurations on recorded data; an algorithm's file adds its own departures."""

from pathlib import Path
from typing import Any

import ml_collections
from ml_collections import config_dict

from macaw_jax import envs
from macaw_jax.data.manifest import MANIFEST_FILE
from macaw_jax.data.starter import starter_data
from macaw_jax.envs.names import directory_name

from .common import common


def dataset_directory(name: str) -> str:
  """The directory of the data that a name stands for: those of a task family, or a dataset below data/.

  A family's starter data come first; data without starters are collected into data/<name>, where a family
  `<module>:<attribute>` has the name of its attribute.

  Raises:
    ValueError: there is no such dataset, and no family of that name.
  """
  directory = starter_data(name) or f"data/{directory_name(name)}"
  if not Path(directory, MANIFEST_FILE).is_file():
    try:
      envs.make(name)
    except ValueError as error:
      raise ValueError(
        f"{name!r}: expected a task family or a dataset, but there is no {directory}; {error}"
      ) from error
  return directory


def defaults(algorithm: str, data: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on the data of a name, with these departures from its factory's defaults.

  Nothing but the directory follows from the name. Fields that are none here follow the data, when they are known.
  """
  config = common(algorithm, departures, steps=5_000, evaluate_every=500, checkpoint_every=1_000)

  config.dataset = ml_collections.ConfigDict()
  config.dataset.directory = dataset_directory(data)
  config.dataset.quality = "all"  # or 'start', 'middle', 'end' of the collection
  config.dataset.transitions_per_task = config_dict.placeholder(int)  # size of that part; none with 'all'
  config.dataset.skip = 1  # keep every skip-th transition
  config.dataset.scaling = "fitted"  # observations standardised and returns of size one; or 'none': as recorded
  config.dataset.split = "in_distribution"  # or 'extrapolation': test tasks outside the range of the training tasks
  # The task at the end of every observation: its numbers, 'task_vector', or which it is, 'task_index' (docs/families).
  config.dataset.shown_task = "none"
  config.dataset.train_tasks = config_dict.placeholder(int)  # so many of them, evenly spaced; none: all

  config.training.tasks_per_update = 5  # all, where the dataset has fewer
  config.training.support_size = 256  # transitions of a task that adaptation sees
  config.training.query_size = 256  # transitions that judge it; none: 512 of all tasks of an update
  config.training.order = "uniform"  # or 'contiguous', 'contiguous_support'
  config.training.repeated_tasks = False  # whether an update may have a task more than once
  config.training.log_every = 100  # updates in one compiled call; divides steps, evaluate_every and checkpoint_every

  config.evaluation.episodes = 20  # per task, before adaptation and after
  config.evaluation.support_size = 256
  # Episodes to adapt to: the task's 'own', those acted in it for 'other_policies' or at 'random', or 'online', by the
  # agent itself.
  config.evaluation.support = "own"
  # The task's own episodes 'all', or ten supports of rows of the 'start', 'middle' or 'end' of the collection.
  config.evaluation.quality = "all"
  config.evaluation.order = "uniform"  # or 'contiguous'
  config.evaluation.own_episodes = 0  # of its own, from which the agent goes on learning after it has adapted
  config.evaluation.engine = "native"  # or 'mjx': MuJoCo bodies inside the compiled program, on an accelerator
  config.evaluation.train_tasks = 0  # training tasks to evaluate too, for tuning

  # Whether the agent adapts to recorded rows of the training tasks that explain the rewards of a support, whoever
  # collected it, in its place (docs/context_shift.md).
  config.retrieval = ml_collections.ConfigDict()
  config.retrieval.enabled = False
  config.retrieval.rows = 1_024  # that the agent adapts to
  config.retrieval.rows_per_task = 1_000  # of each training task, that the agent keeps for it
  config.retrieval.draw = "mean"  # of the posterior of the task; or 'sample'
  return config
