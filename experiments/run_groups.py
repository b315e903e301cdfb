"""Runs of one configuration together: which they are, what they are called, and what their scores say of it."""

import glob
import json
import math
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configuration import ConfigurationError, collects, flatten, is_on_policy
from experiments.run_directory import RESULTS, read_json
from macaw_jax.evaluation.statistics import Statistic, stratified_bootstrap

# What may differ between runs of one group. Where a run was trained, and beside which others, is no setting of it; runs
# from before there were populations say neither.
NOT_COMPARED = ("seed", "output_directory", "population", "devices", "arms")
ARM = "population.arms"

Result = Mapping[str, Any]
"""What a file of a run says: its `config`, its `seed`, and `rows` of numbers, one a task."""


def find_runs(arguments: Sequence[str], command: str) -> list[Path]:
  """The directories that a command line names, itself or by patterns.

  Raises:
    ConfigurationError: there are none, or a name or pattern stands for none.
  """
  if not arguments:
    raise ConfigurationError(f"no runs; expected directories, as: python -m experiments.{command} runs/macaw-*")
  found = {pattern: sorted(glob.glob(pattern)) for pattern in arguments}
  if missing := [pattern for pattern, paths in found.items() if not paths]:
    raise ConfigurationError(*(f"{pattern}: no such run" for pattern in missing))
  return list(dict.fromkeys(Path(path) for paths in found.values() for path in paths))


def find_results(arguments: Sequence[str], command: str) -> dict[Path, Result]:
  """The `results.json` of each run that a command line names; those without one are left out, which is said.

  Raises:
    ConfigurationError: as `find_runs` and `read_result`, or no run has one.
  """
  results = {}
  for directory in find_runs(arguments, command):
    if (directory / RESULTS).is_file():
      results[directory] = read_result(directory / RESULTS)
    else:
      print(f"{directory}: left out, no {RESULTS} (not finished?)", file=sys.stderr)
  if not results:
    raise ConfigurationError(f"none of these runs has a {RESULTS}")
  return results


def read_result(path: Path) -> Result:
  """A file of a run, as `Result` says.

  Raises:
    ConfigurationError: it is damaged: not JSON, without one of these, or without a row of a test task.
  """
  result = read_json(path, dict)
  config, rows = result.get("config"), result.get("rows")
  if not isinstance(config, dict) or not isinstance(config.get("algorithm"), dict) or "name" not in config["algorithm"]:
    raise ConfigurationError(f"{path}: expected config.algorithm.name")
  if not isinstance(result.get("seed"), int):
    raise ConfigurationError(f"{path}: expected seed, an integer")
  if not isinstance(rows, list) or not all(isinstance(row, dict) and "split" in row for row in rows):
    raise ConfigurationError(f"{path}: expected rows, one a task, each with its split")
  if not any(row["split"] == "test" for row in rows):
    raise ConfigurationError(f"{path}: rows: expected one of a test task")
  require_fields(path, result, ["task_index"])
  return result


def require_kind(results: Mapping[Path, Result], command: str) -> None:
  """Raises `ConfigurationError` if a result is of a run that another command than this compares."""
  for directory, result in results.items():
    kind, its_command = kind_of_run(result["config"])
    if its_command != command:
      raise ConfigurationError(f"{directory}: {kind}; see python -m experiments.{its_command}")


def kind_of_run(config: Container[str]) -> tuple[str, str]:
  """What a run is, and the command that compares such runs."""
  if collects(config):
    return "it collected its own data", "online_report"
  if is_on_policy(config):
    return "it learned from episodes that it acted itself", "compare_arms"
  return "a run on a dataset", "compare"


def require_fields(path: Path, result: Result, names: Sequence[str]) -> None:
  """Raises `ConfigurationError` if a row of a test task in the file of a result lacks a field."""
  for number, row in enumerate(result["rows"]):
    if row["split"] == "test" and (missing := [name for name in names if name not in row]):
      raise ConfigurationError(f"{path}: rows[{number}]: expected {', '.join(missing)}")


def group_by_configuration(results: Mapping[Path, Result]) -> dict[str, list[Path]]:
  """Runs whose configurations differ in the seed alone, by a label, in the order of their first run.

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
  groups = {}
  for label, seeds in zip(labels, members.values(), strict=True):
    directories = list(seeds.values())
    tasks = [[row["task_index"] for row in rows_on_test_tasks(results[directory])] for directory in directories]
    if any(of_seed != tasks[0] for of_seed in tasks):
      raise ConfigurationError(f"{label}: not all seeds have the same test tasks: {', '.join(map(str, directories))}")
    groups[label] = directories
  return groups


def rows_on_test_tasks(result: Result) -> list[Mapping[str, Any]]:
  """The rows of the test tasks, in the order of the tasks."""
  return sorted((row for row in result["rows"] if row["split"] == "test"), key=lambda row: row["task_index"])


def scores(
  rows: Sequence[Sequence[Mapping[str, Any]]], value: Callable[[Mapping[str, Any]], float | None]
) -> np.ndarray:
  """One value a row, seeds by tasks: `[S, T]`; null in the file is NaN."""
  values = [[value(row) for row in of_seed] for of_seed in rows]
  return np.array([[math.nan if value is None else value for value in of_seed] for of_seed in values])


def estimate(scores: np.ndarray, statistic: Statistic) -> str:
  """A statistic with its interval; one seed says nothing of the spread over seeds, and has none."""
  if len(scores) == 1:
    return f"{statistic(scores):.1f}"
  interval = stratified_bootstrap(scores, statistic)
  return f"{interval.estimate:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _identity(config: Mapping[str, Any]) -> str:
  compared = {name: value for name, value in config.items() if name not in NOT_COMPARED}
  arm = config.get("population", {}).get("arms")
  return json.dumps(flatten(compared) | ({ARM: arm} if arm else {}), sort_keys=True)


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
  """The arm's or else the algorithm's name, with the fields in which configurations differ where it is not enough."""
  names = [config.get(ARM, config["algorithm.name"]) for config in configs]
  labels = []
  for name, config in zip(names, configs, strict=True):
    rivals = [other for other, of_other in zip(configs, names, strict=True) if of_other == name]
    fields = sorted({field for rival in rivals for field in rival})
    differing = [field for field in fields if any(rival.get(field) != config.get(field) for rival in rivals)]
    details = ", ".join(f"{field.removeprefix('algorithm.')}={config.get(field)}" for field in differing)
    labels.append(f"{name} ({details})" if details else name)
  return labels
