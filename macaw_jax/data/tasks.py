"""The tasks of a dataset, as its family has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.envs.family import Task, TaskFamily


def tasks_of(manifest: Manifest, family: TaskFamily, indices: Sequence[int]) -> Task:
  """The tasks `[T, ...]` of a family whose parameters a manifest states.

  Raises:
    DatasetError: a task's parameters are not those of the family.
  """
  tasks: dict[str, list[Any]] = {name: [] for name in family.tasks}
  for index in indices:
    parameters = manifest.tasks[index].parameters
    for name, values in family.tasks.items():
      expected = np.shape(values)[1:]
      if parameters.keys() != family.tasks.keys() or np.shape(parameters[name]) != expected:
        raise DatasetError(
          f"the manifest's task {index} has the parameters {dict(parameters)}; family {family.name!r} expects "
          f"{ {name: np.shape(values)[1:] for name, values in family.tasks.items()} } (name and shape)"
        )
      tasks[name].append(parameters[name])
  return {name: np.asarray(tasks[name], np.asarray(values).dtype) for name, values in family.tasks.items()}
