"""Compares methods that learn from episodes of their own: returns before and after adaptation, over seeds.

python -m experiments.compare_variants --config=configs/norml.py:point_rotated --seeds=5 --picture=arms.png
python -m experiments.compare_variants runs/norml-point_rotated-* --picture=arms.png

With a configuration all its arms, or those of --config.population.variants, are trained first, in one program, as
`experiments.run` would; the same command again continues. With directories, finished
runs are read. Further seeds are trained by themselves, as --config.seed=5 --seeds=3; then directories show all.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
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
from experiments.run_groups import Result, find_results, read_result, require_kind, require_numbers

SEEDS = flags.DEFINE_integer(
  "seeds", None, "Seeds of each arm, from config.seed on; config.population.seeds if not given."
)


def main(arguments: list[str], flag: ConfigFlag) -> None:
  """Trains what the configuration says, or reads the runs that the command line names, and shows them."""
  check_picture()
  if flag.is_given:
    if arguments:
      raise ConfigurationError(f"command line: expected --config or directories, found both ({arguments[0]!r})")
    with naming_the_flag():
      results = train_arms(flag.make(run.check, partial(choose_arms, seeds=SEEDS.value)))
  else:
    if SEEDS.value is not None:
      raise ConfigurationError("--seeds: expected beside --config; of directories every run is shown")
    results = read_arms(arguments)
    say(arms_report.table(arms_report.group_runs(results)))
  draw_if_wanted(partial(arms_report.draw, arms_report.group_runs(results)))


def train_arms(config: ml_collections.ConfigDict) -> dict[Path, Result]:
  """Runs the arms of a configuration, which shows their table, and reads what they have written.

  Raises:
    ConfigurationError: as `experiments.run.run`.
  """
  run.train(config)
  directories = [directory_of(member.config) for member in members_of(config)]
  return {directory: read_result(directory / RESULTS) for directory in directories}


def choose_arms(config: ml_collections.ConfigDict, seeds: int | None) -> None:
  """Sets so many seeds, those of the configuration if None, of the arms that it names, or else of all.

  Raises:
    ConfigurationError: it has no arms.
  """
  if not is_on_policy(config) or not config.get("arms"):
    raise ConfigurationError("config.variants: expected arms to compare, as configs/norml.py has them")
  if isinstance(config.get("population"), ml_collections.ConfigDict):  # else damaged, as the check will say
    config.population.variants = config.population.get("arms") or "all"
    if seeds is not None:
      config.population.seeds = seeds


@contextmanager
def naming_the_flag() -> Iterator[None]:
  """Calls `config.population.seeds` by the flag that set it, where one did, in what the block says to be wrong."""
  try:
    yield
  except ConfigurationError as error:
    if SEEDS.value is None:
      raise
    renamed = (re.sub(r"(--)?config\.population\.seeds", "--seeds", problem) for problem in error.problems)
    raise ConfigurationError(*renamed) from error


def read_arms(arguments: list[str]) -> dict[Path, Result]:
  """The results of finished runs.

  Raises:
    ConfigurationError: there are none, or some are damaged or of another kind of run.
  """
  results = find_results(arguments, "compare_variants runs/norml-*")
  require_kind(results, "compare_variants")
  for directory, result in results.items():
    require_numbers(directory / RESULTS, result, [arms_report.BEFORE, arms_report.AFTER])
  return results


if __name__ == "__main__":
  config_flag = ConfigFlag()
  launch_with_arguments(lambda arguments: main(arguments, config_flag), config_flag.parse)
