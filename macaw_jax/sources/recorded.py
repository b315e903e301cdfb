"""Recorded data as a source: tasks with a disjoint support and query of each."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import Order, check_sizes, sample_tasks
from macaw_jax.data.statistics import Statistics, fit_statistics, normalise_dataset
from macaw_jax.envs.family import Task
from macaw_jax.sources.source import Source


def recorded(
  dataset: Dataset,
  *,
  tasks_per_update: int,
  support_size: int,
  query_size: int,
  order: Order = "uniform",
  repeated_tasks: bool = False,
  statistics: Statistics | None = None,
  task_names: Sequence[int] | None = None,
  tasks: Task | None = None,
) -> Source:
  """A source of batches `[T, B, ...]` from the training tasks' data.

  Args:
    dataset: of the training tasks, as loaded, nothing scaled.
    tasks_per_update: T; all tasks, where there are fewer and tasks are not repeated.
    support_size: transitions of a task that adaptation sees.
    query_size: transitions that judge it; no row of the support is among them.
    order: which rows belong together, see `data.sampling.sample_task`.
    repeated_tasks: whether a batch may have a task more than once; otherwise its tasks are distinct.
    statistics: scales of the run; fitted to the dataset if not given.
    task_names: of the tasks; their positions if not given.
    tasks: their parameters, leaves `[N, ...]`. A run whose agent reads a latent says how much of them it holds.

  Raises:
    ValueError: a task has fewer transitions than support and query take.
  """
  check_sizes(dataset, support_size, query_size)
  num_tasks = len(dataset.size)
  fitted = fit_statistics(dataset)
  scales = fitted if statistics is None else statistics
  chosen = tasks_per_update if repeated_tasks else min(tasks_per_update, num_tasks)

  return Source(
    init=lambda params, key: normalise_dataset(scales, dataset),
    sample=partial(
      sample_tasks,
      num_tasks=chosen,
      support_size=support_size,
      query_size=query_size,
      order=order,
      repeated=repeated_tasks,
    ),
    statistics=lambda data: scales,
    tasks_per_update=chosen,
    task_names=tuple(range(num_tasks)) if task_names is None else tuple(task_names),
    tasks=tasks,
    mean_square_return=float(np.square(fitted.return_scale / scales.return_scale)),
  )
