"""Evaluates a finished or a running run again, after several numbers of adaptation steps.

python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0
python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0 --steps=0,1,2,5 --episodes=20 --seed=1
python -m experiments.evaluate --run=runs/macaw-cheetah_vel-0 --support=other_policies
python -m experiments.evaluate --run=runs/macaw-cheetah_dir-0 --checkpoint=best
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags

from experiments import report
from experiments.command_line import launch, say
from experiments.configuration import MAX_SEED, ConfigurationError
from experiments.experiment import Evaluator, Experiment, check_support, load_experiment, make_algorithm
from experiments.run_directory import CHECKPOINTS, DATASET, EVALUATION, data_identity, load_config, write_json
from experiments.validation import validate
from macaw_jax.evaluation.protocols import PROTOCOLS, Row
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, DamagedCheckpoint, OtherVersion, newest_whole
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import no_skips
from macaw_jax.types import Key

RUN = flags.DEFINE_string("run", None, "Directory of the run.")
STEPS = flags.DEFINE_list("steps", None, "Numbers of adaptation steps; 0, 1, 2, 5 and that of training if not given.")
EPISODES = flags.DEFINE_integer("episodes", None, "Episodes of each task; those of the run if not given.")
SUPPORT = flags.DEFINE_string(
  "support", None, "Episodes to adapt to: own, other_policies; those of the run if not given."
)
ENGINE = flags.DEFINE_string("engine", None, "Steps MuJoCo bodies: native, mjx; that of the run if not given.")
SEED = flags.DEFINE_integer("seed", 0, "Decides supports and starts.")
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", "newest", "Which: newest, best (of the highest score on training tasks), or the number of an update."
)

DEFAULT_STEPS = (0, 1, 2, 5)
NEWEST, BEST = "newest", "best"
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
    steps: numbers of adaptation steps; None for 0, 1, 2, 5 and that of training.
    episodes: of each task; None for those of the run.
    seed: decides supports and starts.
    support: whose episodes to adapt to, `own` or `other_policies`; None for those of the run.
    engine: that steps MuJoCo bodies; None for that of the run.
    which: checkpoint, `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: no such run, no such checkpoint, a damaged one, or an argument outside its range.
  """
  config = load_config(directory)
  for name, value in (("support", support), ("engine", engine), ("episodes", episodes)):
    if value is not None:
      config.evaluation[name] = value
  try:
    validate(config, starts=False)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"{directory}: {problem}" for problem in error.problems)) from error
  if not 0 <= seed <= MAX_SEED:
    raise ConfigurationError(f"--seed={seed}: expected an integer from 0 to 2^32 - 1")
  if which not in (NEWEST, BEST) and not (which.isascii() and which.isdecimal()):
    raise ConfigurationError(f"--checkpoint={which}: expected newest, best or the number of an update")
  count = step_count(config)
  numbers = wanted_steps(steps, config.algorithm[count])
  say(f"{directory}: {config.algorithm.name} on {config.dataset.directory}, seed {config.seed}")
  say("loading and checking the data ...")
  experiment = load_experiment(config)
  check_support(max(support_size(config, count, number) for number in numbers), *experiment.evaluated[:1])
  checkpoint = load_checkpoint(config, experiment, directory, which)
  step = int(checkpoint.state.step)
  say(
    f"checkpoint of update {step}; adapting by {count} = {', '.join(map(str, numbers))}, "
    f"{config.evaluation.episodes} episodes a task"
  )
  rows = evaluate_steps(config, experiment, checkpoint, count, numbers, jax.random.key(seed))
  evaluation = {"algorithm": config.algorithm.name, "step": step, "seed": seed, "rows": rows}
  path = directory / EVALUATION.format(protocol=PROTOCOLS[config.evaluation.support])
  write_json(path, evaluation)
  say(f"\n{report.steps_table(rows)}\n")
  say(f"written to {path}")


def step_count(config: ml_collections.ConfigDict) -> str:
  """The hyper-parameter that counts the algorithm's adaptation steps.

  Raises:
    ConfigurationError: the configuration names none.
  """
  for name in STEP_COUNTS:
    if name in config.algorithm:
      return name
  raise ConfigurationError(
    f"config.algorithm ({config.algorithm.name}) names none of {', '.join(STEP_COUNTS)}: how many steps does it adapt?"
  )


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


def support_size(config: ml_collections.ConfigDict, count: str, steps: int) -> int:
  """Transitions of a support for this number of steps."""
  size = config.evaluation.support_size
  return size if count == "fine_tune_steps" else steps * (size // config.algorithm[count])


def load_checkpoint(
  config: ml_collections.ConfigDict, experiment: Experiment, directory: Path, which: str
) -> Checkpoint:
  """A checkpoint of a run: `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: there is none such, it is damaged, or it has parameters of other shapes, as another version of
      the package may. If the newest is damaged, the next older one that is whole stands in, and this is said.
  """
  state = initialise(make_algorithm(config, experiment.problem), jax.random.key(config.seed))
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    if not checkpoints.steps():
      raise ConfigurationError(f"{directory}: the run has no checkpoint yet")
    try:
      step = _find_step(checkpoints, directory, which)
      checkpoint, note = checkpoints.restore(Checkpoint(state, experiment.statistics, no_skips()), step)
    except ConfigurationError:
      raise
    except (DamagedCheckpoint, FileNotFoundError, OtherVersion) as error:
      raise ConfigurationError(str(error)) from error
    except ValueError as error:
      raise ConfigurationError(f"{directory}: its checkpoint does not fit its configuration: {error}") from error
  if note.identity.get(DATASET) != data_identity(config)[DATASET]:
    say(f"WARNING: {config.dataset.directory} is not as it was when this run was trained")
  return checkpoint


def _find_step(checkpoints: Checkpoints, directory: Path, which: str) -> int:
  if which == NEWEST:
    newest, damaged = newest_whole([checkpoints])
    for *_, error in damaged:
      say(f"WARNING: {error}; {'no older one is whole' if newest is None else f'taking that of update {newest}'}")
    if newest is None:
      raise ConfigurationError(f"{directory}: no checkpoint is whole")
    return newest
  if which == BEST:
    best = checkpoints.best_step()
    if best is None:
      raise ConfigurationError(
        f"--checkpoint=best: {directory}: no evaluation on training tasks was scored, so there is no best"
      )
    return best
  if int(which) not in checkpoints.steps():
    there = ", ".join(map(str, checkpoints.steps()))
    raise ConfigurationError(f"--checkpoint={which}: {directory} has no checkpoint of this update; it has {there}")
  return int(which)


def evaluate_steps(
  config: ml_collections.ConfigDict,
  experiment: Experiment,
  checkpoint: Checkpoint,
  count: str,
  steps: Sequence[int],
  key: Key,
) -> list[Row]:
  """One row a task and number of steps; all meet the same starts."""
  rows: list[Row] = []
  # Every evaluation has the agent before adaptation too.
  for number in [number for number in steps if number > 0] or [config.algorithm[count]]:
    size = support_size(config, count, number)
    evaluation = config.evaluation.copy_and_resolve_references()
    evaluation.support_size = size
    algorithm = make_algorithm(config, experiment.problem, **{count: number})
    evaluator = Evaluator(experiment, algorithm, checkpoint.statistics, evaluation, splits=1)
    say(f"  {number} {'step' if number == 1 else 'steps'} on {size} transitions of each task ...")
    found, _ = evaluator(checkpoint.state.params, key)
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
