"""Compares methods that learn from episodes of their own: returns before and after adaptation, over seeds.

python -m experiments.compare_arms --config=configs/norml.py:point_rotated --seeds=5 --picture=arms.png
python -m experiments.compare_arms runs/norml-point_rotated-* --picture=arms.png

With a configuration all its arms, or those of --config.population.arms, are trained first, in one program, as
`experiments.run` would; the same command again continues. With directories, finished runs are read.
"""

from functools import partial
from pathlib import Path

import ml_collections
from absl import flags

from experiments import arms_report, run
from experiments.command_line import ConfigFlag, launch_with_arguments, say
from experiments.configuration import ConfigurationError, is_on_policy
from experiments.picture import check_picture, draw_if_wanted
from experiments.population import members_of
from experiments.run_directory import RESULTS, directory_of
from experiments.run_groups import Result, find_results, read_result, require_fields, require_kind

SEEDS = flags.DEFINE_integer(
  "seeds", None, "Seeds of each arm, from config.seed on; config.population.seeds if not given."
)


def main(arguments: list[str], flag: ConfigFlag) -> None:
  """Trains what the configuration says, or reads the runs that the command line names, and shows them."""
  check_picture()
  if flag.is_given:
    if arguments:
      raise ConfigurationError(f"command line: expected --config or directories, found both ({arguments[0]!r})")
    results = train_arms(flag.make(run.check), SEEDS.value)
  else:
    results = read_arms(arguments)
    say(arms_report.table(arms_report.group_runs(results)))
  draw_if_wanted(partial(arms_report.draw, arms_report.group_runs(results)))


def train_arms(config: ml_collections.ConfigDict, seeds: int | None) -> dict[Path, Result]:
  """Runs the arms of a configuration, which shows their table, and reads what they have written.

  Args:
    config: of the runs; all arms if it names none.
    seeds: of each arm; None for those of the configuration.

  Raises:
    ConfigurationError: it has no arms; and as `experiments.run.run`.
  """
  run.check(config)
  config = with_arms(config, seeds)
  run.main(config)
  directories = [directory_of(member.config) for member in members_of(config)]
  return {directory: read_result(directory / RESULTS) for directory in directories}


def with_arms(config: ml_collections.ConfigDict, seeds: int | None) -> ml_collections.ConfigDict:
  """The configuration with so many seeds of its arms."""
  if not is_on_policy(config) or not config.get("arms"):
    raise ConfigurationError("config.arms: expected arms to compare, as configs/norml.py has them")
  config = config.copy_and_resolve_references()
  config.population.arms = config.population.arms or "all"
  if seeds is not None:
    config.population.seeds = seeds
  return config


def read_arms(arguments: list[str]) -> dict[Path, Result]:
  """The results of finished runs.

  Raises:
    ConfigurationError: there are none, or some are damaged or of another kind of run.
  """
  results = find_results(arguments, "compare_arms")
  require_kind(results, "compare_arms")
  for directory, result in results.items():
    require_fields(directory / RESULTS, result, [arms_report.BEFORE, arms_report.AFTER])
  return results


if __name__ == "__main__":
  config_flag = ConfigFlag()
  launch_with_arguments(lambda arguments: main(arguments, config_flag), config_flag.parse)
