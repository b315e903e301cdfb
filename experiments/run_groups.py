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
from experiments.run_directory import METRICS, RESULTS, read_json
from macaw_jax.evaluation.statistics import Statistic, stratified_bootstrap
from macaw_jax.training.metrics import read_rows

# What may differ between runs of one group. Where a run was trained, and beside which others, is no setting of it; runs
# from before there were populations say neither.
NOT_COMPARED = ("seed", "output_directory", "population", "devices", "arms")
ARM = "population.variants"

Result = Mapping[str, Any]
"""What a file of a run says: its `config`, its `seed`, and `rows` of numbers, one a task."""


def find_runs(arguments: Sequence[str], example: str) -> list[Path]:
  """The directories that a command line names, itself or by patterns.

  Args:
    arguments: of the command line.
    example: a command that names some, as `compare runs/macaw-*`.

  Raises:
    ConfigurationError: there are none, or a name or pattern stands for none.
  """
  if not arguments:
    raise ConfigurationError(f"no runs; expected directories, as: python -m experiments.{example}")
  found = {pattern: sorted(glob.glob(pattern)) for pattern in arguments}
  if missing := [pattern for pattern, paths in found.items() if not paths]:
    raise ConfigurationError(*(f"{pattern}: no such run" for pattern in missing))
  return list(dict.fromkeys(Path(path) for paths in found.values() for path in paths))


def find_results(arguments: Sequence[str], example: str) -> dict[Path, Result]:
  """The `results.json` of each run that a command line names; those without one are left out, which is said.

  Args:
    arguments: of the command line.
    example: as of `find_runs`.

  Raises:
    ConfigurationError: as `find_runs` and `read_result`, or no run has one.
  """
  results = {}
  for directory in find_runs(arguments, example):
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
    ConfigurationError: it is damaged: not JSON, without one of these, or without a row of a test task; or what its
      configuration says of arms and of a family to act in is no text.
  """
  result = read_json(path, dict)
  config, rows = result.get("config"), result.get("rows")
  if not isinstance(config, dict) or not isinstance(config.get("algorithm"), dict) or "name" not in config["algorithm"]:
    raise ConfigurationError(f"{path}: expected config.algorithm.name")
  population, rollouts = config.get("population", {}), config.get("rollouts", {"family": ""})
  if not isinstance(population, dict) or not isinstance(population.get("arms", ""), str):
    raise ConfigurationError(f"{path}: expected config.population, its arms a text")
  if not isinstance(rollouts, dict) or not isinstance(rollouts.get("family"), str):
    raise ConfigurationError(f"{path}: expected config.rollouts.family, a text")
  if not isinstance(result.get("seed"), int):
    raise ConfigurationError(f"{path}: expected seed, an integer")
  if not isinstance(rows, list) or not all(isinstance(row, dict) and "split" in row for row in rows):
    raise ConfigurationError(f"{path}: expected rows, one a task, each with its split")
  if not any(row["split"] == "test" for row in rows):
    raise ConfigurationError(f"{path}: rows: expected one of a test task")
  require_fields(path, result, ["task_index"])
  for number, row in enumerate(rows):
    if row["split"] == "test" and not isinstance(row["task_index"], int):
      raise ConfigurationError(f"{path}: rows[{number}].task_index = {row['task_index']!r}: expected an integer")
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
    return "it learned from episodes that it acted itself", "compare_variants"
  return "a run on a dataset", "compare"


def require_fields(path: Path, result: Result, names: Sequence[str]) -> None:
  """Raises `ConfigurationError` if a row of a test task in the file of a result lacks a field."""
  for number, row in enumerate(result["rows"]):
    if row["split"] == "test" and (missing := [name for name in names if name not in row]):
      raise ConfigurationError(f"{path}: rows[{number}]: expected {', '.join(missing)}")


def require_numbers(path: Path, result: Result, names: Sequence[str]) -> None:
  """As `require_fields`, and each of them a number, or null where it was not finite."""
  require_fields(path, result, names)
  for number, row in enumerate(result["rows"]):
    for name in names:
      if row["split"] == "test" and not isinstance(row[name], float | int | None):
        raise ConfigurationError(f"{path}: rows[{number}].{name} = {row[name]!r}: expected a number")


def read_curve(directory: Path, names: Sequence[str]) -> list[Mapping[str, Any]]:
  """The rows of a run's metrics that have all of these.

  Raises:
    ConfigurationError: the metrics are damaged.
    OSError: they cannot be read.
  """
  try:
    return [row for row in read_rows(directory / METRICS) if set(names) <= row.keys()]
  except ValueError as error:
    raise ConfigurationError(str(error)) from error


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


def spread(values: np.ndarray, digits: int) -> str:
  """The mean over seeds, `[S]`, ± their standard deviation; one seed has none."""
  deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
  return f"{np.mean(values):.{digits}f}{deviation}"


def _identity(config: Mapping[str, Any]) -> str:
  compared = {name: value for name, value in config.items() if name not in NOT_COMPARED}
  arm = config.get("population", {}).get("arms")
  fields = flatten(compared) | ({ARM: arm} if arm else {})
  # A field that says nothing is as one that a run from before it does not have.
  return json.dumps({name: value for name, value in fields.items() if value is not None}, sort_keys=True)


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
  """The arm's or else the algorithm's name, both where algorithms differ, with differing fields where it is not enough.

  A configuration is not told apart by what others have and it has not.
  """
  several = len({config["algorithm.name"] for config in configs}) > 1
  names = [_names(config, several) for config in configs]
  labels = []
  for of_config, config in zip(names, configs, strict=True):
    rivals = [other for other, of_other in zip(configs, names, strict=True) if of_other == of_config]
    differing = [field for field in sorted(config) if any(rival.get(field) != config[field] for rival in rivals)]
    name, *details = [*of_config, *(f"{field.removeprefix('algorithm.')}={config[field]}" for field in differing)]
    labels.append(f"{name} ({', '.join(details)})" if details else name)
  return labels


def _names(config: Mapping[str, Any], several_algorithms: bool) -> list[str]:
  algorithm, arm = config["algorithm.name"], config.get(ARM)
  if arm is None:
    return [algorithm]
  return [algorithm, arm] if several_algorithms else [arm]
