"""Compares finished runs of any kind: a line a configuration over its seeds and test tasks, and a line a run.

python -m experiments.compare runs/macaw-* runs/maml_awr-*
python -m experiments.compare runs/norml-point_rotated-* --picture=curves.png

Both tables are markdown. The picture has the learning curves, a panel for each family.
"""

import sys

from macaw_jax.console import log
from macaw_jax.evaluation.comparison import comparison_table, group_runs, learning_curves, runs_table
from macaw_jax.evaluation.pictures import plot_comparison
from macaw_jax.evaluation.results import RESULTS, FinishedRun, ResultError, read_run

from .command_line import check_picture, define_picture, draw_if_wanted, launch_with_arguments, named_runs

define_picture()


def main(arguments: list[str]) -> None:
  """Prints the tables of the runs that the command line names, and draws their curves."""
  check_picture()
  runs = read_finished(arguments)
  groups = group_runs(runs)
  log(comparison_table(groups))
  log(f"\n{runs_table(runs)}")
  draw_if_wanted(lambda path: plot_comparison(learning_curves(groups), path))


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
  launch_with_arguments(main)


if __name__ == "__main__":
  start()
