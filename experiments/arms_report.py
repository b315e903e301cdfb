"""Runs on episodes that they acted themselves beside each other: a table over seeds, and their learning curves."""

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.configuration import ConfigurationError
from experiments.report import AFTER, BEFORE
from experiments.run_groups import Result, group_by_configuration, read_curve, rows_on_test_tasks, scores, spread

CURVE = f"test/{AFTER}"
MOST_CHARACTERS_INSIDE = 30  # of a label in a legend among the curves


class Arm(NamedTuple):
  """Runs of one configuration, one a seed."""

  label: str
  family: str
  directories: list[Path]
  before: np.ndarray  # [S]  return before adaptation, mean over test tasks
  after: np.ndarray  # [S]


def group_runs(results: Mapping[Path, Result]) -> list[Arm]:
  """The runs of each configuration.

  Raises:
    ConfigurationError: they are not of one family, or as `group_by_configuration`.
  """
  families = list(dict.fromkeys(result["config"]["rollouts"]["family"] for result in results.values()))
  if len(families) > 1:
    raise ConfigurationError(f"expected runs on one family, found {', '.join(families)}")
  arms = []
  for label, directories in group_by_configuration(results).items():
    rows = [rows_on_test_tasks(results[directory]) for directory in directories]
    returns = [np.mean(scores(rows, itemgetter(name)), axis=1) for name in (BEFORE, AFTER)]
    arms.append(Arm(label, families[0], directories, *returns))
  return arms


def table(arms: Sequence[Arm]) -> str:
  """The table, with what its columns mean below it."""
  lines = ["| arm | return before | return after | seeds |", "|---|---|---|---|"]
  lines += [f"| {arm.label} | {spread(arm.before, 2)} | {spread(arm.after, 2)} | {len(arm.after)} |" for arm in arms]
  return "\n".join(
    [
      *lines,
      "",
      f"{arms[0].family}: undiscounted return before and after adaptation, mean over test tasks and seeds ± standard "
      "deviation over seeds.",
    ]
  )


def curve(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
  """The updates after which all seeds were evaluated, `[N]`, and their returns after adaptation, `[S, N]`.

  Raises:
    ConfigurationError: the metrics of a run are damaged.
    OSError: they cannot be read.
  """
  of_seeds = [{row["step"]: row[CURVE] for row in read_curve(directory, [CURVE])} for directory in arm.directories]
  steps = sorted(set.intersection(*map(set, of_seeds)))
  returns = [[math.nan if of_seed[step] is None else of_seed[step] for step in steps] for of_seed in of_seeds]
  return np.array(steps), np.array(returns)


def draw(arms: Sequence[Arm], path: Path) -> None:
  """Draws the return after adaptation over updates: of each arm the mean over seeds, and between which they lie.

  Raises:
    ConfigurationError, OSError: as `curve`; or the file cannot be written.
    ImportError: matplotlib is not installed.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4.5), layout="constrained")
  axes = figure.subplots()
  for number, arm in enumerate(arms):
    steps, returns = curve(arm)
    axes.plot(steps, returns.mean(axis=0), color=f"C{number}", label=arm.label)
    axes.fill_between(steps, returns.min(axis=0), returns.max(axis=0), color=f"C{number}", alpha=0.2, linewidth=0)
  axes.set(title=arms[0].family, xlabel="meta-updates", ylabel="return after adaptation, mean over test tasks")
  axes.grid(alpha=0.3)
  if max(len(arm.label) for arm in arms) > MOST_CHARACTERS_INSIDE:
    figure.legend(loc="outside lower center")
  else:
    axes.legend()
  figure.savefig(path, dpi=120)
