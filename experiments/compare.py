"""Compares runs: a markdown table with one line a configuration, over its seeds and test tasks, and one with each run.

python -m experiments.compare runs/macaw-* runs/maml_awr-*
"""

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.command_line import launch_with_arguments, say
from experiments.report import task_name
from experiments.run_directory import RESULTS
from experiments.run_groups import (
  estimate,
  find_results,
  group_by_configuration,
  require_fields,
  require_kind,
  rows_on_test_tasks,
  scores,
)
from macaw_jax.evaluation.statistics import interquartile_mean, mean

SCORES = ("score_before", "score_after")


class Group(NamedTuple):
  """Runs of one configuration, seeds by tasks."""

  label: str
  before: np.ndarray  # [S, T]  normalised scores
  after: np.ndarray  # [S, T]


def main(arguments: list[str]) -> None:
  """Prints the table of the runs that the command line names."""
  results = find_results(arguments, "compare runs/macaw-*")
  require_kind(results, "compare")
  for directory, result in results.items():
    require_fields(directory / RESULTS, result, [*SCORES, "return_after", "task"])
  say(comparison_table(group_runs(results)))
  say(f"\n{runs_table(results)}")


def group_runs(results: Mapping[Path, Mapping[str, Any]]) -> list[Group]:
  """The scores of each configuration; raises `ConfigurationError` as `group_by_configuration` does."""
  groups = []
  for label, directories in group_by_configuration(results).items():
    rows = [rows_on_test_tasks(results[directory]) for directory in directories]
    groups.append(Group(label, *(scores(rows, itemgetter(name)) for name in SCORES)))
  return groups


def comparison_table(groups: Sequence[Group]) -> str:
  """The table, with what its columns mean below it."""
  lines = [
    "| algorithm | before | after: mean [95 %] | after: IQM [95 %] | seeds | failed tasks |",
    "|---|---|---|---|---|---|",
  ]
  for group in groups:
    seeds, tasks = group.after.shape
    failed = int(np.sum(~(group.after > 0.0)))  # NaN is a failure too
    cells = [
      group.label,
      f"{mean(group.before):.1f}",
      estimate(group.after, mean),
      estimate(group.after, interquartile_mean),
      str(seeds),
      f"{failed} of {seeds * tasks}",
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(
    [
      *lines,
      "",
      "Normalised scores (0 random policy, 100 the task's expert) before and after adaptation, over seeds and test "
      "tasks; intervals from a bootstrap of the seeds within each task; failed: no better than the random policy "
      "after adaptation.",
    ]
  )


def runs_table(results: Mapping[Path, Mapping[str, Any]]) -> str:
  """Each run: the scores before and after adaptation in the mean over its test tasks, and each task's return after."""
  lines = ["| run | before | after | worst task | return after, task by task |", "|---|---|---|---|---|"]
  for directory, result in results.items():
    rows = rows_on_test_tasks(result)
    before, after = (scores([rows], itemgetter(name)) for name in SCORES)
    returns = [
      f"{task_name(row)}: {math.nan if row['return_after'] is None else row['return_after']:.0f}" for row in rows
    ]
    cells = [str(directory), f"{mean(before):.1f}", f"{mean(after):.1f}", f"{np.min(after):.1f}", ", ".join(returns)]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


if __name__ == "__main__":
  launch_with_arguments(main)
