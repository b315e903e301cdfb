"""Evaluations of agents that collect their own data, as metrics, in one line, and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.report import MOST_TASKS_SHOWN, by_split, describe_task, metrics_of_tasks, task_name
from macaw_jax.evaluation.protocols import Row

ENVIRONMENT_STEPS = "environment_steps"  # of the run's collection, when it was evaluated


def mean_returns(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
  """The return of each episode of a life, mean over the tasks of `rows`: `[K + 1]`; null in a file is NaN."""
  return np.mean(np.array([row["returns_by_episodes"] for row in rows], float), axis=0)


def evaluation_metrics(rows: Sequence[Row]) -> dict[str, float]:
  """An evaluation as metrics: `<split>/return_episode_<n>`, of the first and the last episode by their other names too.

  These are `<split>/return_before` and `<split>/return_after`; and `metrics_of_tasks`.
  """
  metrics = {ENVIRONMENT_STEPS: float(rows[0][ENVIRONMENT_STEPS])}
  for split, of_split in by_split(rows).items():
    returns = mean_returns(of_split)
    metrics |= {f"{split}/return_before": float(returns[0]), f"{split}/return_after": float(returns[-1])}
    metrics |= {f"{split}/return_episode_{number}": float(value) for number, value in enumerate(returns, start=1)}
  return metrics | metrics_of_tasks(rows)


def summary(rows: Sequence[Row]) -> str:
  """An evaluation in one line; single tasks where they are few."""
  parts = []
  for split, of_split in by_split(rows).items():
    part = f"{split} return of episodes 1, 2, ...: {', '.join(f'{value:.1f}' for value in mean_returns(of_split))}"
    if 1 < len(of_split) <= MOST_TASKS_SHOWN:
      tasks = [f"{task_name(row)}: {row['return_after']:.1f}" for row in of_split]
      part += f" (the last: {', '.join(tasks)})"
    parts.append(part)
  return "; ".join(parts)


def results_table(rows: Sequence[Row]) -> str:
  """Per task and in the mean, the return of each episode."""
  first = rows[0]
  numbers = range(1, len(first["returns_by_episodes"]) + 1)
  lines = [
    f"protocol online: {first['exploration_episodes']} of the episodes under the prior, the others adapted to all "
    f"before; mean of {first['episodes']} repetitions",
    f"{'return of episode':<40}" + "".join(f"{number:>10}" for number in numbers),
  ]
  for split, of_split in by_split(rows).items():
    lines += [
      _line(f"{split} {row['task_index']}  {describe_task(row['task'])}", mean_returns([row])) for row in of_split
    ]
    if len(of_split) > 1:
      lines.append(_line(f"{split} mean of {len(of_split)} tasks", mean_returns(of_split)))
  return "\n".join(lines)


def _line(label: str, returns: np.ndarray) -> str:
  return f"{label[:39]:<40}" + "".join(f"{value:>10.1f}" for value in returns)
