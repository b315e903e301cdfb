"""What a run leaves when it is done: final results, tables, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import ml_collections

from experiments import arms_report, compare, report, training
from experiments.command_line import say
from experiments.configuration import collects, is_on_policy
from experiments.member_runs import MemberRun
from experiments.population import arm_of, members_of
from experiments.run_directory import (
  CHECKPOINTS,
  CODE,
  CONFIG_FILE,
  LEARNING_CURVE,
  METRICS,
  RESULTS,
  ROLLOUT,
  STARTS,
  TENSORBOARD,
  directory_of,
  read_json,
  write_json,
)
from experiments.run_groups import Result
from experiments.workload import Workload
from macaw_jax.evaluation.protocols import Evaluation
from macaw_jax.training.metrics import read_rows

FILES = {
  RESULTS: "final returns and scores, one row a task",
  METRICS: "losses and returns over time",
  LEARNING_CURVE: "the same as a picture",
  ROLLOUT: "an adapted episode on the first test task",
  TENSORBOARD: "for tensorboard --logdir",
  CHECKPOINTS: "parameters, to continue or evaluate",
  CONFIG_FILE: "the configuration",
  STARTS: "commands, versions and commit of each start",
  CODE: "packages and source files of the last start",
}
# Where these differ from those of a run on a dataset.
FILES_ON_POLICY = {
  RESULTS: "final returns, one row a task",
  METRICS: "returns over time",
  CHECKPOINTS: "parameters, to continue",
}
FILES_ONLINE = {RESULTS: "final returns, one row a task", CHECKPOINTS: "parameters and memories, to continue"}


def finish(
  config: ml_collections.ConfigDict, workload: Workload, runs: Sequence[MemberRun], results: Sequence[training.Result]
) -> None:
  """Writes and shows the final results."""
  for each, result in zip(runs, results, strict=True):
    write_results(workload, each, result)
    if result.step < config.training.steps:
      say(f"{each.name} stands at update {result.step}: its numbers were not finite after it")
    draw(each.member.config, workload, each.directory, result.evaluation)
  if len(runs) == 1:
    (each,), (result,) = runs, results
    say(f"\n{report.results_table(result.rows)}\n")
    say_files(each.directory, config)
  else:
    written = {each.directory: read_json(each.directory / RESULTS, dict) for each in runs}
    say(f"\n{comparison(config, written)}\n")


def next_command(config: ml_collections.ConfigDict) -> str:
  """What can be done with the first run of a population that has finished."""
  directory = directory_of(members_of(config)[0].config)
  if is_on_policy(config):
    return f"compare runs, with a picture: python -m experiments.compare_variants {directory} ... --picture=arms.png"
  return f"evaluate again, also after other numbers of steps: python -m experiments.evaluate --run={directory}"


def comparison(config: ml_collections.ConfigDict, written: Mapping[Path, Result]) -> str:
  """The members of a population beside each other, from the results that they have written."""
  if is_on_policy(config):
    return arms_report.table(arms_report.group_runs(written))
  return f"{compare.comparison_table(compare.group_runs(written))}\n\n{compare.runs_table(written)}"


def say_files(directory: Path, config: ml_collections.ConfigDict) -> None:
  """Says what the directory of a run of this configuration holds."""
  contents = FILES | (FILES_ON_POLICY if is_on_policy(config) else FILES_ONLINE if collects(config) else {})
  say(f"files in {directory}:")
  for name, content in contents.items():
    if (directory / name).exists():
      say(f"  {name:<20} {content}")


def write_results(workload: Workload, each: MemberRun, result: training.Result) -> None:
  """Writes the returns and scores of a member after its last update."""
  config = each.member.config
  values = {
    "algorithm": config.algorithm.name,
    **({"arm": arm} if (arm := arm_of(config)) else {}),
    "family": workload.family.name,
    "seed": config.seed,
    "step": result.step,
    "seconds": max((row["wall_time"] for row in read_rows(each.directory / METRICS)), default=None),
    "mean": report.means_by_split(result.rows),
    "rows": result.rows,
    "config": config.to_dict(),
  }
  write_json(each.directory / RESULTS, values)


def draw(config: ml_collections.ConfigDict, workload: Workload, directory: Path, evaluation: Evaluation) -> None:
  """Draws the learning curve, and the first adapted episode on the first test task, if it is known.

  Says what cannot be drawn here.
  """
  arm = arm_of(config)
  title = f"{config.algorithm.name}{f' ({arm})' if arm else ''}, {workload.family.name}, seed {config.seed}"
  try:
    report.plot_learning_curve(read_rows(directory / METRICS), directory / LEARNING_CURVE, title)
  except ImportError:
    say('no learning curve: matplotlib is not installed (pip install "macaw_jax[plot]")')
  if not jax.tree.leaves(evaluation.states):
    return
  states, task = jax.tree.map(lambda leaf: leaf[0], (evaluation.states, workload.test_tasks))
  report.draw_episode(workload.family, states, directory / ROLLOUT, task=task)
