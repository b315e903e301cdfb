"""The results, tables and pictures of a run that is done."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from macaw_jax.console import log
from macaw_jax.envs.family import State, Task, TaskFamily
from macaw_jax.evaluation.comparison import comparison_table, group_runs, runs_table
from macaw_jax.evaluation.pictures import plot_learning_curve
from macaw_jax.evaluation.render import RenderingUnavailable, render_gif
from macaw_jax.evaluation.results import RESULTS, FinishedRun, read_run, results_document
from macaw_jax.evaluation.rows import Row
from macaw_jax.evaluation.tables import results_table
from macaw_jax.json_files import read_rows, write_json
from macaw_jax.training.run import Member, Run
from macaw_jax.training.run_directory import (
  CHECKPOINTS,
  CODE,
  CONFIG_FILE,
  LEARNING_CURVE,
  METRICS,
  ROLLOUT,
  STARTS,
  TENSORBOARD,
)

FILES = {
  RESULTS: "final returns and scores, one row a task",
  METRICS: "losses and returns over time",
  LEARNING_CURVE: "the same as a picture",
  ROLLOUT: "an adapted episode on the first test task",
  TENSORBOARD: "for tensorboard --logdir",
  CHECKPOINTS: "parameters, to continue, evaluate or act with",
  CONFIG_FILE: "the configuration",
  STARTS: "commands, versions and commit of each start",
  CODE: "packages and source files of the last start",
}


class Result(NamedTuple):
  """An evaluation of one member."""

  rows: list[Row]
  episode: tuple[State, Task] | None
  step: int  # updates that it has had
  metrics: Mapping[str, float] = MappingProxyType({})  # beside those of the rows


def finish(run: Run, results: list[Result]) -> None:
  """Writes and shows the final results of each member."""
  for each, result in zip(run.members, results, strict=True):
    write_results(run, each, result)
    if result.step < run.schedule.steps:
      log(f"{each.label or 'this run'} stands at update {result.step}: its numbers were not finite after it")
    draw(run, each, result)
  directories = [each.directory for each in run.members]
  if len(run.members) > 1 and results[0].rows:
    finished = [read_run(directory) for directory in directories]
    log(f"\n{comparison_table(group_runs(finished))}\n\n{runs_table(finished)}\n")
  elif results[0].rows:
    log(f"\n{results_table(results[0].rows)}\n")
  log(f"files in {directories[0]}:")
  for name, content in FILES.items():
    if (directories[0] / name).exists():
      log(f"  {name:<20} {content}")


def write_results(run: Run, each: Member, result: Result) -> None:
  """Writes the rows of a member after its last update."""
  metrics = read_rows(each.directory / METRICS)
  steps = [row["environment_steps"] for row in metrics if "environment_steps" in row]
  finished = FinishedRun(
    directory=each.directory,
    algorithm=run.algorithm,
    variant=each.variant,
    family=run.family.name if run.family else "",
    seed=each.seed,
    config=each.config,
    rows=tuple(result.rows),
    environment_steps=int(steps[-1]) if steps else None,
  )
  seconds = max((row["wall_time"] for row in metrics), default=None)
  write_json(each.directory / RESULTS, results_document(finished, step=result.step, seconds=seconds))


def draw(run: Run, each: Member, result: Result) -> None:
  """Draws the learning curve, and an adapted episode if there is one; logs what cannot be drawn here."""
  names = [run.algorithm, each.variant, run.family.name if run.family else "", f"seed {each.seed}"]
  try:
    plot_learning_curve(
      read_rows(each.directory / METRICS), each.directory / LEARNING_CURVE, ", ".join(filter(None, names))
    )
  except ImportError:
    log('no learning curve: matplotlib is not installed (pip install "macaw_jax[plot]")')
  if result.episode is not None and run.family is not None:
    states, task = result.episode
    draw_episode(run.family, states, task, each.directory / ROLLOUT)


def draw_episode(family: TaskFamily, states: State, task: Task, path: Path, **options: int) -> None:
  """Draws an episode as `render_gif` does, or logs why there is no picture."""
  try:
    render_gif(family, states, path, task=task, **options)
  except RenderingUnavailable as error:
    log(f"no picture of an episode: {error}")
