"""The tasks of a dataset, as its family has them."""

from collections.abc import Sequence

import chex
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.types import Problem


def problem_of(manifest: Manifest, family: TaskFamily, num_tasks: int) -> Problem:
  """The problem that a dataset of a family poses to an algorithm that is trained on `num_tasks` of its tasks."""
  return Problem(
    family.observation_size,
    manifest.action_size,
    num_tasks,
    manifest.discount,
    manifest.horizon,
    discrete_actions=family.discrete_actions,
    task_entries=sum(np.size(value) for value in manifest.tasks[0].parameters.values()),
  )


def show_tasks(dataset: Dataset, numbers: np.ndarray) -> Dataset:
  """A dataset of T tasks whose every observation ends with its task's numbers, `[T, W]`."""

  def beside(observation: chex.Array) -> np.ndarray:
    shown = np.asarray(observation)
    repeated = np.broadcast_to(numbers[:, None].astype(shown.dtype), (*shown.shape[:2], numbers.shape[1]))
    return np.concatenate([shown, repeated], axis=-1)

  return dataset._replace(
    observation=beside(dataset.observation),
    next_observation=beside(dataset.next_observation),
    final_observation=beside(dataset.final_observation),
  )


def tasks_of(manifest: Manifest, family: TaskFamily, indices: Sequence[int]) -> Task:
  """The tasks `[T, ...]` of a family whose parameters a manifest states.

  Raises:
    DatasetError: a task's parameters are not those of the family.
  """
  shapes = {name: np.shape(values)[1:] for name, values in family.tasks.items()}
  tasks = [manifest.tasks[index].parameters for index in indices]
  for index, parameters in zip(indices, tasks, strict=True):
    if {name: np.shape(value) for name, value in parameters.items()} != shapes:
      raise DatasetError(
        f"the manifest's task {index} has the parameters {dict(parameters)}; family {family.name!r} expects {shapes} "
        "(name and shape)"
      )
  return {
    name: np.asarray([task[name] for task in tasks], np.asarray(values).dtype) for name, values in family.tasks.items()
  }
