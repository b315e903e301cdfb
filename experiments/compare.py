"""Compares finished runs of any kind: a line a configuration over its seeds and test tasks, and a line a run.

python -m experiments.compare runs/macaw-* runs/maml_awr-*
python -m experiments.compare runs/norml-point_rotated-* --picture=curves.png
python -m experiments.compare runs/focal-point_robot-* --every_task

All tables are markdown. The picture has the learning curves, a panel for each family.
"""

import argparse
import sys

from macaw_jax.console import log
from macaw_jax.evaluation.comparison import comparison_table, group_runs, learning_curves, runs_table, tasks_table
from macaw_jax.evaluation.pictures import plot_comparison
from macaw_jax.evaluation.results import RESULTS, FinishedRun, ResultError, read_run

from .command_line import Parser, add_picture, add_runs, check_picture, draw_if_wanted, launch, make_parser, named_runs


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("compare", __doc__)
  add_runs(flags)
  add_picture(flags)
  flags.add_argument("--every_task", action="store_true", help="a line for each test task of each run too")
  return flags


def main(given: argparse.Namespace) -> None:
  """Prints the tables of the runs that the command line names, and draws their curves."""
  check_picture(given.picture)
  runs = read_finished(given.runs)
  groups = group_runs(runs)
  log(comparison_table(groups))
  log(f"\n{runs_table(runs)}")
  if given.every_task:
    log(f"\n{tasks_table(runs)}")
  draw_if_wanted(given.picture, lambda path: plot_comparison(learning_curves(groups), path))


def read_finished(patterns: list[str]) -> list[FinishedRun]:
  """The runs that patterns stand for; those that have not finished are left out, which is logged.

  Raises:
    ResultError: as `named_runs` and `read_run`, or none has finished.
  """
  runs = []
  for directory in named_runs(patterns, "compare runs/macaw-*"):
    if (directory / RESULTS).is_file():
      runs.append(read_run(directory))
    else:
      print(f"{directory}: left out, no {RESULTS} (not finished?)", file=sys.stderr)
  if not runs:
    raise ResultError(f"none of these runs has a {RESULTS}")
  return runs


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
