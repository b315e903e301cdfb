"""Compares runs: a markdown table with one line a configuration, over its seeds and test tasks, and one with each run.

python -m experiments.compare runs/macaw-* runs/maml_awr-*
"""

import glob
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.command_line import launch_with_arguments, say
from experiments.configuration import ConfigurationError, flatten
from experiments.report import task_name
from experiments.run_directory import RESULTS, read_json
from macaw_jax.evaluation.statistics import Statistic, interquartile_mean, mean, stratified_bootstrap

# What may differ between runs of one line. Where a run was trained, and beside which others, is no setting of it; runs
# from before there were populations say neither.
NOT_COMPARED = ("seed", "output_directory", "population", "devices")


class Group(NamedTuple):
  """Runs of one configuration, seeds by tasks."""

  label: str
  before: np.ndarray  # [S, T]  normalised scores
  after: np.ndarray  # [S, T]


def main(arguments: list[str]) -> None:
  """Prints the table of the runs that the command line names."""
  directories = [Path(path) for pattern in arguments for path in sorted(glob.glob(pattern))]
  if not directories:
    raise ConfigurationError("no runs; expected directories, as: python -m experiments.compare runs/macaw-*")
  results = {}
  for directory in directories:
    if (directory / RESULTS).is_file():
      results[directory] = read_json(directory / RESULTS, dict)
    else:
      print(f"{directory}: left out, no {RESULTS} (not finished?)", file=sys.stderr)
  if not results:
    raise ConfigurationError(f"none of these runs has a {RESULTS}")
  say(comparison_table(group_runs(results)))
  say(f"\n{runs_table(results)}")


def group_runs(results: Mapping[Path, Mapping[str, Any]]) -> list[Group]:
  """Runs whose configurations differ in the seed alone, in the order of their first run.

  Raises:
    ConfigurationError: two runs of a configuration have one seed, or not the same test tasks.
  """
  members: dict[str, dict[int, Path]] = {}
  for directory, result in results.items():
    seeds = members.setdefault(_identity(result["config"]), {})
    if result["seed"] in seeds:
      raise ConfigurationError(f"{seeds[result['seed']]} and {directory} are the same run: seed {result['seed']} twice")
    seeds[result["seed"]] = directory
  labels = _labels([json.loads(identity) for identity in members])
  groups = []
  for label, seeds in zip(labels, members.values(), strict=True):
    rows = [_test_rows(results[directory]) for directory in seeds.values()]
    tasks = [[row["task_index"] for row in of_seed] for of_seed in rows]
    if any(of_seed != tasks[0] for of_seed in tasks):
      raise ConfigurationError(
        f"{label}: not all seeds have the same test tasks: {', '.join(map(str, seeds.values()))}"
      )
    groups.append(Group(label, _scores(rows, "score_before"), _scores(rows, "score_after")))
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
      _estimate(group.after, mean),
      _estimate(group.after, interquartile_mean),
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
    rows = _test_rows(result)
    before, after = _scores([rows], "score_before"), _scores([rows], "score_after")
    returns = [
      f"{task_name(row)}: {math.nan if row['return_after'] is None else row['return_after']:.0f}" for row in rows
    ]
    cells = [str(directory), f"{mean(before):.1f}", f"{mean(after):.1f}", f"{np.min(after):.1f}", ", ".join(returns)]
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def _identity(config: Mapping[str, Any]) -> str:
  compared = {name: value for name, value in config.items() if name not in NOT_COMPARED}
  return json.dumps(flatten(compared), sort_keys=True)


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
  """The algorithm's name, with the fields in which configurations differ where that is not enough."""
  names = [config["algorithm.name"] for config in configs]
  labels = []
  for name, config in zip(names, configs, strict=True):
    rivals = [other for other in configs if other["algorithm.name"] == name]
    fields = sorted({field for rival in rivals for field in rival})
    differing = [field for field in fields if any(rival.get(field) != config.get(field) for rival in rivals)]
    details = ", ".join(f"{field.removeprefix('algorithm.')}={config.get(field)}" for field in differing)
    labels.append(f"{name} ({details})" if details else name)
  return labels


def _test_rows(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  return sorted((row for row in result["rows"] if row["split"] == "test"), key=lambda row: row["task_index"])


def _scores(rows: Sequence[Sequence[Mapping[str, Any]]], name: str) -> np.ndarray:
  """Scores [S, T]; null in the file is NaN."""
  return np.array([[math.nan if row[name] is None else row[name] for row in of_seed] for of_seed in rows])


def _estimate(scores: np.ndarray, statistic: Statistic) -> str:
  """A statistic with its interval; one seed says nothing of the spread over seeds, and has none."""
  if len(scores) == 1:
    return f"{statistic(scores):.1f}"
  interval = stratified_bootstrap(scores, statistic)
  return f"{interval.estimate:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


if __name__ == "__main__":
  launch_with_arguments(main)
