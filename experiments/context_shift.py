"""How an agent's scores depend on the policy that collected the support it adapts to.

python -m experiments.context_shift runs/macaw-cheetah_dir-0 runs/focal-cheetah_dir-?
python -m experiments.context_shift runs/focal-point_robot-? --episodes=20 --seed=0 --reuse --picture=shift.png

The newest checkpoint of each run is evaluated on its test tasks: on supports of the tasks' own data, of other tasks'
policies where there are such data, of a random policy, and on episodes of the agent's own, one after the other. The
rows go into `context_shift.json` in the run's directory; one table has a line for each configuration, over its seeds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments.command_line import launch_with_arguments, say
from experiments.experiment import Evaluator, inner_steps_of, make_algorithm, with_supports
from experiments.picture import check_picture, draw_if_wanted
from experiments.run_directory import data_identity
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
from macaw_jax.evaluation.comparison import find_runs, group_runs
from macaw_jax.evaluation.context_shift import CONTEXT_SHIFT, shift_table
from macaw_jax.evaluation.pictures import plot_shift
from macaw_jax.evaluation.protocols import PROTOCOLS
from macaw_jax.evaluation.results import FinishedRun, ResultError, read_run, results_document
from macaw_jax.evaluation.rows import Row
from macaw_jax.json_files import read_json, write_json

REUSE = flags.DEFINE_bool("reuse", False, "Take rows that were made from the same checkpoint, seed and episodes.")


def main(arguments: list[str]) -> None:
  """Evaluates the runs that the command line names, and prints the table."""
  check_picture()
  configs = check_all(find_runs(arguments), EPISODES.value, SEED.value, CONTEXT_SHIFT)
  # That a run is there twice is found before the first is evaluated.
  group_runs(
    [
      FinishedRun(directory, config.algorithm.name, "", "", config.seed, config.to_dict(), rows=())
      for directory, config in configs.items()
    ]
  )
  groups = group_runs([shift_of_run(each, EPISODES.value, SEED.value, reuse=REUSE.value) for each in configs])
  say(f"\n{shift_table(groups)}")
  draw_if_wanted(lambda path: plot_shift(groups, path))


def shift_of_run(directory: Path, episodes: int | None, seed: int, *, reuse: bool) -> FinishedRun:
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
  if reuse and (found := read_if_whole(directory, made_of)):
    say(f"{directory}: taking the rows of {CONTEXT_SHIFT}")
    return found
  say(f"{directory}: {config.algorithm.name} on {config.dataset.directory}, checkpoint of update {step}")
  run = load_trained_run(directory, config, str(step))
  finished = FinishedRun(
    directory=directory,
    algorithm=config.algorithm.name,
    variant="",
    family=run.experiment.family.name,
    seed=config.seed,
    config=config.to_dict(),
    rows=tuple(row for support in supports for row in rows_on(run, support, seed)),
  )
  document = results_document(finished, step=step, seconds=None)
  write_json(directory / CONTEXT_SHIFT, document | made_of)
  say(f"  written to {directory / CONTEXT_SHIFT}")
  return read_run(directory, CONTEXT_SHIFT)


def read_if_whole(directory: Path, made_of: Mapping[str, Any]) -> FinishedRun | None:
  """The rows that are there, if they were made of just this; None if they are damaged, which is said."""
  if not (directory / CONTEXT_SHIFT).is_file():
    return None
  try:
    found = read_run(directory, CONTEXT_SHIFT)
  except ResultError as error:
    say(f"WARNING: {'; '.join(error.problems)}; evaluating again")
    return None
  return found if was_made_of(read_json(directory / CONTEXT_SHIFT, dict), made_of) else None


def was_made_of(found: Mapping[str, Any], made_of: Mapping[str, Any]) -> bool:
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


if __name__ == "__main__":
  launch_with_arguments(main)
