"""How an agent's scores depend on who acted the support that it adapts to.

python -m experiments.context_shift runs/macaw-cheetah_dir-0 runs/focal-cheetah_dir-?
python -m experiments.context_shift runs/focal-point_robot-? --episodes=20 --seed=0 --reuse --picture=shift.png

The newest checkpoint of each run is evaluated on its test tasks: on supports of the tasks' own data, of other tasks'
policies where there are such data, of a random policy, and on episodes of the agent's own, one after the other. The
rows go into `context_shift.json` in the run's directory; one table has a line for each configuration, over its seeds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.command_line import launch_with_arguments, say
from experiments.configuration import ConfigurationError
from experiments.experiment import Evaluator, inner_steps_of, make_algorithm, with_supports
from experiments.picture import check_picture, draw_if_wanted
from experiments.run_directory import data_identity, read_json, write_json
from experiments.run_groups import (
  Result,
  estimate,
  find_runs,
  group_by_configuration,
  read_result,
  require_fields,
  rows_on_test_tasks,
  scores,
)
from experiments.trained_run import (
  EPISODES,
  SEED,
  TrainedRun,
  check_all,
  kinds_of_support,
  load_trained_run,
  newest_checkpoint,
  with_own_support,
  with_support,
)
from macaw_jax.evaluation.online import NUM_EPISODES
from macaw_jax.evaluation.protocols import PROTOCOLS, Row
from macaw_jax.evaluation.statistics import mean, stratified_bootstrap

REUSE = flags.DEFINE_bool("reuse", False, "Take rows that were made from the same checkpoint, seed and episodes.")

CONTEXT_SHIFT = "context_shift.json"


def _after_episodes(row: Mapping[str, Any], count: int) -> float | None:
  return row["scores_by_episodes"][count]


# By its heading, the protocol of a column and its value in a row of that protocol.
COLUMNS: dict[str, tuple[str, Callable[[Mapping[str, Any]], float | None]]] = {
  "before": ("offline", lambda row: row["score_before"]),
  "own": ("offline", lambda row: row["score_after"]),
  "other policies": ("offline_other_policy", lambda row: row["score_after"]),
  "random": ("offline_random_policy", lambda row: row["score_after"]),
  **{f"online k={count}": ("online", partial(_after_episodes, count=count)) for count in range(1, NUM_EPISODES + 1)},
}

Columns = Mapping[str, np.ndarray]
"""Normalised scores `[S, T]`, seeds by tasks, by the heading of the column; without those that not all seeds have."""


def main(arguments: list[str]) -> None:
  """Evaluates the runs that the command line names, and prints the table."""
  check_picture()
  directories = find_runs(arguments, "context_shift runs/macaw-*")
  configs = check_all(directories, EPISODES.value, SEED.value, CONTEXT_SHIFT)
  group_by_configuration(
    {directory: {"config": config.to_dict(), "seed": config.seed, "rows": []} for directory, config in configs.items()}
  )
  results = {
    directory: shift_of_run(directory, EPISODES.value, SEED.value, reuse=REUSE.value) for directory in directories
  }
  groups = columns_by_group(results)
  say(f"\n{shift_table(groups)}")
  draw_if_wanted(partial(plot_shift, groups))


def shift_of_run(directory: Path, episodes: int | None, seed: int, *, reuse: bool) -> Result:
  """Evaluates the newest checkpoint of a run on all supports, and writes `context_shift.json`, which is returned.

  Args:
    directory: of the run.
    episodes: of each task; None for those of the run.
    seed: decides supports and starts.
    reuse: whether to take the file that is there, if it was made of the same.

  Raises:
    ConfigurationError: no such run, no checkpoint, or an argument outside its range.
  """
  config = with_own_support(directory, episodes)
  supports = kinds_of_support(directory, config)
  step, digest = newest_checkpoint(directory)
  made_of = {
    "step": step,
    "checkpoint": digest,
    "evaluation_seed": seed,
    "episodes": config.evaluation.episodes,
    "supports": supports,
    "data": data_identity(with_support(config, "other_policies" if "other_policies" in supports else "own")),
  }
  path = directory / CONTEXT_SHIFT
  found = read_if_whole(path) if reuse and path.is_file() else None
  if found and was_made_of(found, made_of):
    say(f"{directory}: taking the rows of {path}")
    return found
  say(f"{directory}: {config.algorithm.name} on {config.dataset.directory}, checkpoint of update {step}")
  run = load_trained_run(directory, config, str(step))
  rows = [row for support in supports for row in rows_on(run, support, seed)]
  result = made_of | {
    "algorithm": config.algorithm.name,
    "seed": config.seed,
    "config": config.to_dict(),
    "rows": rows,
  }
  write_json(path, result)
  say(f"  written to {path}")
  return read_json(path, dict)


def read_if_whole(path: Path) -> Result | None:
  """What a file says; None if it is damaged, which is said."""
  try:
    found = read_result(path)
    require_fields(path, found, ["protocol", "score_before", "score_after"])
  except ConfigurationError as error:
    say(f"WARNING: {'; '.join(error.problems)}; evaluating again")
    return None
  return found


def was_made_of(found: Result, made_of: Mapping[str, Any]) -> bool:
  """Whether a file of a run says that it was made of just this."""
  return all(found.get(name) == value for name, value in made_of.items())


def rows_on(run: TrainedRun, support: str, seed: int) -> list[Row]:
  """The rows of the test tasks under one kind of support, a name in `PROTOCOLS`."""
  say(f"  adapting to {PROTOCOLS[support]} ...")
  config = with_support(run.config, support)
  experiment = with_supports(run.experiment, config)
  evaluator = Evaluator(
    experiment,
    make_algorithm(config, experiment.problem),
    run.checkpoint.statistics,
    config.evaluation,
    splits=1,
    inner_steps=inner_steps_of(config),
  )
  rows, _ = evaluator(run.checkpoint.state.params, jax.random.key(seed))
  return rows


def columns_by_group(results: Mapping[Path, Result]) -> dict[str, Columns]:
  """The columns of each configuration; raises `ConfigurationError` as `group_by_configuration` does."""
  groups: dict[str, Columns] = {}
  for label, directories in group_by_configuration(_one_row_a_task(results)).items():
    columns = {}
    for heading, (protocol, value) in COLUMNS.items():
      rows = [_rows_of(results[directory], protocol) for directory in directories]
      if all(rows):
        columns[heading] = scores(rows, value)
    groups[label] = columns
  return groups


def shift_table(groups: Mapping[str, Columns]) -> str:
  """The table in markdown, with what its columns mean below it."""
  lines = [f"| algorithm | {' | '.join(COLUMNS)} | seeds |", "|---" * (len(COLUMNS) + 2) + "|"]
  for label, columns in groups.items():
    cells = [estimate(columns[heading], mean) if heading in columns else "-" for heading in COLUMNS]
    lines.append(f"| {' | '.join([label, *cells, str(len(columns['own']))])} |")
  return "\n".join(
    [
      *lines,
      "",
      "Normalised scores (0 random policy, 100 the task's expert), mean [95 %] over seeds and test tasks, intervals "
      "from a bootstrap of the seeds within each task: before adaptation; after adaptation to the task's own data, to "
      "episodes acted in it for other tasks, and to those of a random policy; and to k episodes of the agent's own.",
    ]
  )


def plot_shift(groups: Mapping[str, Columns], path: Path) -> None:
  """Draws the mean score of each column with its interval, a colour a configuration; episodes are joined by a line.

  Raises:
    ImportError: matplotlib is not installed.
    OSError: the file cannot be written.
    ValueError: the ending of the file is that of no known format.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(10, 4.5), layout="constrained")
  axes = figure.subplots()
  headings = list(COLUMNS)
  for index, (label, columns) in enumerate(groups.items()):
    # Beside each other, so that no interval hides another.
    offset = 0.06 * (index - (len(groups) - 1) / 2)
    intervals = [stratified_bootstrap(columns[heading], mean) if heading in columns else None for heading in headings]
    estimates = np.array([each.estimate if each else math.nan for each in intervals])
    ends = np.array([(each.low, each.high) if each else (math.nan, math.nan) for each in intervals]).T
    places = np.arange(len(headings)) + offset
    colour = f"C{index % 10}"
    axes.errorbar(places, estimates, np.abs(ends - estimates), label=label, fmt="o", color=colour, capsize=3)
    # The kinds of support have no order; the agent's own episodes have.
    axes.plot(places[-NUM_EPISODES:], estimates[-NUM_EPISODES:], color=colour, linewidth=1)
  axes.set(ylabel="normalised score")
  axes.set_xticks(range(len(headings)), headings)
  axes.axhline(0.0, color="grey", linewidth=0.8)
  axes.grid(alpha=0.3)
  figure.legend(loc="outside right upper")
  figure.savefig(path, dpi=120)


def _rows_of(result: Result, protocol: str) -> Sequence[Mapping[str, Any]]:
  return [row for row in rows_on_test_tasks(result) if row["protocol"] == protocol]


def _one_row_a_task(results: Mapping[Path, Result]) -> dict[Path, Result]:
  """The results with the rows of one protocol, which all have."""
  return {directory: {**result, "rows": _rows_of(result, PROTOCOLS["own"])} for directory, result in results.items()}


if __name__ == "__main__":
  launch_with_arguments(main)
