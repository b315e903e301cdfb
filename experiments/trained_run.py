"""A run that was trained: its configuration, its data and a checkpoint, for whatever evaluates it again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
from absl import flags

from experiments.command_line import say
from experiments.configuration import MAX_SEED, ConfigurationError, collects, is_on_policy
from experiments.experiment import Experiment, load_experiment
from experiments.run_directory import CHECKPOINTS, DATASET, data_identity, load_config
from experiments.validation import validate
from experiments.workload import Workload
from macaw_jax.data.files import sha256
from macaw_jax.evaluation.protocols import PROTOCOLS
from macaw_jax.training.checkpoint_record import RECORD_FILE
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, DamagedCheckpoint, OtherVersion, newest_whole
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import no_skips

# Of the commands that evaluate runs.
EPISODES = flags.DEFINE_integer("episodes", None, "Episodes of each task; those of the run if not given.")
SEED = flags.DEFINE_integer("seed", 0, "Decides supports and starts.")

NEWEST, BEST = "newest", "best"


class TrainedRun(NamedTuple):
  """What an evaluation of a run needs."""

  config: ml_collections.ConfigDict
  experiment: Experiment
  checkpoint: Checkpoint

  @property
  def step(self) -> int:
    """Updates that the checkpoint has had."""
    return int(self.checkpoint.state.step)


def checked_config(directory: Path, evaluation: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The configuration of a run, with fields of its evaluation replaced where a value is not None.

  Raises:
    ConfigurationError: there is no run on a dataset, or its configuration is wrong with these values; each line names
      the run.
  """
  config = load_config(directory)
  if collects(config):
    raise ConfigurationError(
      f"{directory}: a run that collects its own data; python -m experiments.online_report reads what it ended in"
    )
  if is_on_policy(config):
    raise ConfigurationError(
      f"{directory}: a run on episodes that it acts itself; python -m experiments.compare_variants reads what it ended in"
    )
  if isinstance(config.get("evaluation"), ml_collections.ConfigDict):  # else damaged, as `validate` will say
    config.evaluation.update({name: value for name, value in evaluation.items() if value is not None})
  try:
    validate(config, starts=False)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"{directory}: {problem}" for problem in error.problems)) from error
  return config


def with_own_support(directory: Path, episodes: int | None) -> ml_collections.ConfigDict:
  """The configuration of a run to evaluate on its test tasks alone, to begin with on their own data.

  Raises:
    ConfigurationError: as `checked_config`.
  """
  return checked_config(directory, {"support": "own", "train_tasks": 0, "episodes": episodes})


def with_support(config: ml_collections.ConfigDict, support: str) -> ml_collections.ConfigDict:
  """The configuration with another kind of support, a name in `PROTOCOLS`."""
  changed = config.copy_and_resolve_references()
  changed.evaluation.support = support
  return changed


def check_all(
  directories: Sequence[Path], episodes: int | None, seed: int, output: str
) -> dict[Path, ml_collections.ConfigDict]:
  """Checks all runs before the first is evaluated, which may take long.

  What is wrong with other kinds of support alone is no reason to stop: `kinds_of_support` leaves them out.

  Args:
    directories: of the runs.
    episodes: of each task; None for those of the run.
    seed: of `--seed`.
    output: name of the file that is going to be written into each directory.

  Returns:
    Their configurations, as `with_own_support` gives them.

  Raises:
    ConfigurationError: the seed is none, or as `with_own_support`, `newest_checkpoint` and `check_writable`, of the
      first.
  """
  check_seed(seed)
  configs = {directory: with_own_support(directory, episodes) for directory in directories}
  for directory in directories:
    newest_checkpoint(directory)
    check_writable(directory / output)
  return configs


def check_writable(path: Path) -> None:
  """Raises `ConfigurationError` if a file in the directory of a run cannot be written."""
  if path.is_dir():
    raise ConfigurationError(f"{path}: expected a file to write, found a folder")
  if not os.access(path.parent, os.W_OK):
    raise ConfigurationError(f"{path}: its folder cannot be written")


def check_seed(seed: int) -> None:
  """Raises `ConfigurationError` unless `--seed` is one."""
  if not 0 <= seed <= MAX_SEED:
    raise ConfigurationError(f"--seed={seed}: expected an integer from 0 to 2^32 - 1")


def kinds_of_support(
  directory: Path, config: ml_collections.ConfigDict, of: Sequence[str] = tuple(PROTOCOLS)
) -> list[str]:
  """The names in `PROTOCOLS` that a run can be evaluated with; says why others are not among them.

  Args:
    directory: of the run.
    config: of the run, which is valid with the tasks' own data.
    of: names to choose from.
  """
  kinds = []
  for support in of:
    try:
      validate(with_support(config, support), starts=False)
      kinds.append(support)
    except ConfigurationError as error:
      say(f"{directory}: without the protocol {PROTOCOLS[support]}: {'; '.join(error.problems)}")
  return kinds


def load_trained_run(directory: Path, config: ml_collections.ConfigDict, which: str = NEWEST) -> TrainedRun:
  """The data and a checkpoint of a run, as `load_experiment` and `load_checkpoint` give them."""
  experiment = load_experiment(config)
  return TrainedRun(config, experiment, load_checkpoint(config, experiment, directory, which))


def newest_checkpoint(directory: Path) -> tuple[int, str]:
  """The update of a run's newest whole checkpoint, and the digest of what the checkpoint says of itself.

  Raises:
    ConfigurationError: there is none, or it is in a format that this release does not read.
  """
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    try:
      step = _find_step(checkpoints, directory, NEWEST)
    except OtherVersion as error:
      raise ConfigurationError(str(error)) from error
  return step, sha256(directory / CHECKPOINTS / str(step) / RECORD_FILE)


def load_checkpoint(config: ml_collections.ConfigDict, experiment: Workload, directory: Path, which: str) -> Checkpoint:
  """A checkpoint of a run: `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: there is none such, it is damaged, or it has parameters of other shapes, as another version of
      the package may. If the newest is damaged, the next older one that is whole stands in, and this is said.
  """
  state = initialise(experiment.make_algorithm(config), jax.random.key(config.seed))
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    try:
      step = _find_step(checkpoints, directory, which)
      checkpoint, note = checkpoints.restore(Checkpoint(state, experiment.statistics, no_skips()), step)
    except ConfigurationError:
      raise
    except (DamagedCheckpoint, FileNotFoundError, OtherVersion) as error:
      raise ConfigurationError(str(error)) from error
    except ValueError as error:
      raise ConfigurationError(f"{directory}: its checkpoint does not fit its configuration: {error}") from error
  if note.identity.get(DATASET) != data_identity(config).get(DATASET):
    say(f"WARNING: {config.dataset.directory} is not as it was when this run was trained")
  return checkpoint


def _find_step(checkpoints: Checkpoints, directory: Path, which: str) -> int:
  if not checkpoints.steps():
    raise ConfigurationError(f"{directory}: the run has no checkpoint yet")
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
