"""Evaluates a finished or a running run again, where adaptation has steps after several numbers of them.

python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0
python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0 --steps=0,1,2,5 --episodes=20 --seed=1
python -m experiments.evaluate --run=runs/macaw-cheetah_vel-0 --support=other_policies
python -m experiments.evaluate --run=runs/focal-point_robot-0 --support=online
python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0 --checkpoint=best
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags

from experiments import report
from experiments.command_line import launch, say
from experiments.configuration import ConfigurationError
from experiments.experiment import (
  Evaluator,
  check_own_episodes,
  inner_steps_of,
  load_experiment,
  make_algorithm,
)
from experiments.run_directory import EVALUATION, write_json
from experiments.trained_run import (
  BEST,
  EPISODES,
  NEWEST,
  SEED,
  TrainedRun,
  check_seed,
  check_writable,
  checked_config,
  load_checkpoint,
)
from macaw_jax.evaluation.protocols import PROTOCOLS, Row
from macaw_jax.types import Key

RUN = flags.DEFINE_string("run", None, "Directory of the run.")
STEPS = flags.DEFINE_list(
  "steps", None, "Numbers of adaptation steps, where it has steps; 0, 1, 2, 5 and that of training if not given."
)
SUPPORT = flags.DEFINE_string(
  "support", None, "Episodes to adapt to: own, other_policies, random, online; those of the run if not given."
)
ENGINE = flags.DEFINE_string("engine", None, "Steps MuJoCo bodies: native, mjx; that of the run if not given.")
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", "newest", "Which: newest, best (of the highest score on training tasks), or the number of an update."
)

DEFAULT_STEPS = (0, 1, 2, 5)
# The hyper-parameter that counts adaptation steps, by the kind of adaptation. Each inner step of meta-training takes
# rows of its own, and so a support grows with their number; a fine-tuning step takes the whole support.
STEP_COUNTS = ("inner_steps", "fine_tune_steps")


def main() -> None:
  """Evaluates what the command line says."""
  if not RUN.value:
    raise ConfigurationError("no run; expected --run=runs/<name>")
  evaluate_run(Path(RUN.value), STEPS.value, EPISODES.value, SEED.value, SUPPORT.value, ENGINE.value, CHECKPOINT.value)


def evaluate_run(
  directory: Path,
  steps: Sequence[str] | None,
  episodes: int | None,
  seed: int,
  support: str | None = None,
  engine: str | None = None,
  which: str = NEWEST,
) -> None:
  """Evaluates a checkpoint of a run, prints a table and writes `evaluation_<protocol>.json` beside it.

  Args:
    directory: of the run.
    steps: numbers of adaptation steps; None for 0, 1, 2, 5 and that of training, or where adaptation has no steps.
    episodes: of each task; None for those of the run.
    seed: decides supports and starts.
    support: whose episodes to adapt to, a name in `PROTOCOLS`; None for those of the run.
    engine: that steps MuJoCo bodies; None for that of the run.
    which: checkpoint, `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: no such run, no such checkpoint, a damaged one, or an argument outside its range.
  """
  config = checked_config(directory, {"support": support, "engine": engine, "episodes": episodes, "train_tasks": 0})
  check_seed(seed)
  path = directory / EVALUATION.format(protocol=PROTOCOLS[config.evaluation.support])
  check_writable(path)
  if which not in (NEWEST, BEST) and not (which.isascii() and which.isdecimal()):
    raise ConfigurationError(f"--checkpoint={which}: expected newest, best or the number of an update")
  count = step_count(config)
  if count is None and steps is not None:
    raise ConfigurationError(
      f"--steps={','.join(steps)}: {directory}: adaptation of {config.algorithm.name} has no number of steps "
      f"({' or '.join(STEP_COUNTS)})"
    )
  numbers = [] if count is None else wanted_steps(steps, config.algorithm[count])
  say(f"{directory}: {config.algorithm.name} on {config.dataset.directory}, seed {config.seed}")
  say("loading and checking the data ...")
  # Once for all numbers of steps: what is enough for the largest support is for the others.
  largest = config if count is None else with_steps(config, count, max(adapted_steps(config, count, numbers)))
  experiment = load_experiment(largest)
  if config.evaluation.support == "online":
    check_own_episodes(experiment.family.horizon, inner_steps_of(largest))
  run = TrainedRun(config, experiment, load_checkpoint(config, experiment, directory, which))
  by_steps = "" if count is None else f"adapting by {count} = {', '.join(map(str, numbers))}, "
  say(f"checkpoint of update {run.step}; {by_steps}{config.evaluation.episodes} episodes a task")
  key = jax.random.key(seed)
  rows = evaluate_once(run, key) if count is None else evaluate_steps(run, count, numbers, key)
  values = {"algorithm": config.algorithm.name, "step": run.step, "seed": seed, "rows": rows}
  write_json(path, values)
  say(f"\n{report.results_table(rows) if count is None else report.steps_table(rows)}\n")
  say(f"written to {path}")


def step_count(config: ml_collections.ConfigDict) -> str | None:
  """The hyper-parameter that counts the algorithm's adaptation steps; None where adaptation has no steps."""
  return next((name for name in STEP_COUNTS if name in config.algorithm), None)


def wanted_steps(flag: Sequence[str] | None, trained: int) -> list[int]:
  """The numbers of steps of `--steps`, in order, each once.

  Raises:
    ConfigurationError: an entry is no number of steps.
  """
  if flag is None:
    return sorted({*DEFAULT_STEPS, trained})
  if not flag or not all(text.strip().isdecimal() for text in flag):
    raise ConfigurationError(f"--steps={','.join(flag)}: expected numbers from 0 up, as 0,1,2,5")
  return sorted({int(text) for text in flag})


def adapted_steps(config: ml_collections.ConfigDict, count: str, steps: Sequence[int]) -> list[int]:
  """The numbers of steps to evaluate: those above zero, and where there is none, that of training.

  Every evaluation has the agent before adaptation too.
  """
  return [number for number in steps if number > 0] or [config.algorithm[count]]


def with_steps(config: ml_collections.ConfigDict, count: str, steps: int) -> ml_collections.ConfigDict:
  """The configuration with this number of adaptation steps, and with a support for them."""
  changed = config.copy_and_resolve_references()
  if count == "inner_steps":
    changed.evaluation.support_size = steps * (config.evaluation.support_size // config.algorithm.inner_steps)
  changed.algorithm[count] = steps
  return changed


def evaluate_once(run: TrainedRun, key: Key) -> list[Row]:
  """One row a test task, before adaptation and after."""
  algorithm = make_algorithm(run.config, run.experiment.problem)
  evaluator = Evaluator(run.experiment, algorithm, run.checkpoint.statistics, run.config.evaluation, splits=1)
  rows, _ = evaluator(run.checkpoint.state.params, key)
  return rows


def evaluate_steps(run: TrainedRun, count: str, steps: Sequence[int], key: Key) -> list[Row]:
  """One row a test task and number of steps; all meet the same starts."""
  rows: list[Row] = []
  for number in adapted_steps(run.config, count, steps):
    config = with_steps(run.config, count, number)
    algorithm = make_algorithm(config, run.experiment.problem)
    evaluator = Evaluator(
      run.experiment,
      algorithm,
      run.checkpoint.statistics,
      config.evaluation,
      splits=1,
      inner_steps=inner_steps_of(config),
    )
    size = config.evaluation.support_size
    support = "its own episodes" if config.evaluation.support == "online" else f"{size} transitions of each task"
    say(f"  {number} {'step' if number == 1 else 'steps'} on {support} ...")
    found, _ = evaluator(run.checkpoint.state.params, key)
    if 0 in steps and not rows:
      rows += [_one_side(row, "before", 0) for row in found]
    if number in steps:
      rows += [_one_side(row, "after", number) for row in found]
  return rows


def _one_side(row: Row, side: str, steps: int) -> Row:
  """The part of a row that belongs to `steps` steps."""
  common = {name: row[name] for name in ("protocol", "split", "task_index", "task", "support_size", "episodes")}
  if steps == 0:
    common["support_size"] = 0
  values = {name: row[f"{name}_{side}"] for name in ("return", "score")}
  return common | {"adaptation_steps": steps} | values | {"return_std": row[f"return_{side}_std"]}


if __name__ == "__main__":
  launch(main)
