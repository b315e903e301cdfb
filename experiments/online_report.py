"""Compares runs that collected their own data: the return of each episode of a new task, over seeds.

python -m experiments.online_report runs/pearl-point_robot-? --picture=pearl_point_robot.png

Of each configuration a line with the mean over seeds and test tasks and the spread over seeds; and, if wanted, the
return of the first and of the last episode over the environment steps of training.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.command_line import launch_with_arguments, say
from experiments.configuration import ConfigurationError
from experiments.online_results import ENVIRONMENT_STEPS, mean_returns
from experiments.picture import check_picture, draw_if_wanted
from experiments.run_directory import RESULTS
from experiments.run_groups import (
  find_results,
  group_by_configuration,
  read_curve,
  require_fields,
  require_kind,
  rows_on_test_tasks,
  spread,
)

# Of an evaluation, whatever its number of episodes: a run that goes on may have been evaluated on fewer before.
FIRST, LAST = "test/return_before", "test/return_after"


class OnlineRun(NamedTuple):
  """A finished run."""

  directory: Path
  returns: np.ndarray  # [K + 1]  of each episode, mean over test tasks
  environment_steps: int


def main(arguments: list[str]) -> None:
  """Prints the table of the runs that the command line names, and draws their curves."""
  check_picture()
  results = find_results(arguments, "online_report runs/pearl-*")
  require_kind(results, "online_report")
  for directory, result in results.items():
    require_fields(directory / RESULTS, result, ["returns_by_episodes", ENVIRONMENT_STEPS])
  groups = {
    label: [_run(directory, results[directory]) for directory in directories]
    for label, directories in group_by_configuration(results).items()
  }
  say(table(groups))
  draw_if_wanted(partial(draw, groups))


def _run(directory: Path, result: Mapping[str, Any]) -> OnlineRun:
  rows = rows_on_test_tasks(result)
  return OnlineRun(directory, mean_returns(rows), rows[0][ENVIRONMENT_STEPS])


def table(groups: Mapping[str, Sequence[OnlineRun]]) -> str:
  """The table, with what its columns mean below it; raises `ConfigurationError` if seeds differ in their episodes."""
  most = max(len(runs[0].returns) for runs in groups.values())
  lines = [
    f"| runs | {' | '.join(f'episode {number}' for number in range(1, most + 1))} | seeds | environment steps |",
    "|---" * (most + 3) + "|",
  ]
  for label, runs in groups.items():
    if len({len(run.returns) for run in runs}) > 1:
      raise ConfigurationError(f"{label}: not all seeds have the same number of episodes")
    returns = np.stack([run.returns for run in runs])  # [S, K + 1]
    cells = [spread(of_episode, 1) for of_episode in returns.T] + [""] * (most - returns.shape[1])
    lines.append(f"| {label} | {' | '.join(cells)} | {len(runs)} | {max(run.environment_steps for run in runs)} |")
  lines += ["", "Return of each episode in a new task, mean over test tasks and seeds ± standard deviation over seeds."]
  return "\n".join(lines)


def draw(groups: Mapping[str, Sequence[OnlineRun]], path: Path) -> None:
  """Draws the first and the last episode's return over environment steps, a line a seed.

  Raises:
    ConfigurationError: the metrics of a run are damaged.
    ImportError: matplotlib is not installed.
    OSError: the metrics cannot be read, or the file cannot be written.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6 * len(groups), 4), layout="constrained")
  panels = figure.subplots(1, len(groups), squeeze=False)[0]
  for axes, (label, runs) in zip(panels, groups.items(), strict=True):
    for number, run in enumerate(runs):
      curve = read_curve(run.directory, (FIRST, LAST, ENVIRONMENT_STEPS))
      steps = [row[ENVIRONMENT_STEPS] for row in curve]
      for color, (name, shown) in enumerate({FIRST: "first episode, prior", LAST: "last episode"}.items()):
        returns = [math.nan if row[name] is None else row[name] for row in curve]
        axes.plot(steps, returns, color=f"C{color}", alpha=0.7, label=None if number else shown)
    axes.set(title=label, xlabel="environment steps", ylabel="return, mean over test tasks")
    axes.grid(alpha=0.3)
    axes.legend()
  figure.savefig(path, dpi=120)


if __name__ == "__main__":
  launch_with_arguments(main)
