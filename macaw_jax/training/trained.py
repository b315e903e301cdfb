"""A checkpoint of a run, to be evaluated or acted with."""

from pathlib import Path

import jax

from macaw_jax.console import log
from macaw_jax.data.files import sha256
from macaw_jax.data.statistics import no_scaling
from macaw_jax.errors import ConfigurationError
from macaw_jax.training.checkpoint_record import RECORD_FILE, DamagedCheckpoint, Note, OtherVersion
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, newest_whole
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import no_skips
from macaw_jax.training.run_directory import CHECKPOINTS
from macaw_jax.types import Algorithm

NEWEST, BEST = "newest", "best"


def load_checkpoint(
  directory: Path, algorithm: Algorithm, observation_size: int, which: str = NEWEST
) -> tuple[Checkpoint, Note]:
  """A checkpoint of a run, without the data that its source has collected.

  Args:
    directory: of the run.
    algorithm: whose parameters it has.
    observation_size: O, of the scales.
    which: `newest`, `best` or the number of an update.

  Raises:
    ConfigurationError: there is none such, it is damaged, or it has parameters of other shapes. If the newest is
      damaged, the next older one that is whole stands in, which is logged.
  """
  state = jax.eval_shape(lambda: initialise(algorithm, jax.random.key(0)))
  like = Checkpoint(state, no_scaling(observation_size), no_skips())
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    try:
      step = _find_step(checkpoints, directory, which)
      return checkpoints.restore(like, step, with_data=False)
    except ConfigurationError:
      raise
    except (DamagedCheckpoint, FileNotFoundError, OtherVersion) as error:
      raise ConfigurationError(str(error)) from error
    except ValueError as error:
      raise ConfigurationError(f"{directory}: its checkpoint does not fit its configuration: {error}") from error


def find_checkpoint(directory: Path, which: str = NEWEST) -> tuple[int, str]:
  """The update of a checkpoint of a run, and the digest of its record.

  Args:
    directory: of the run.
    which: `newest`, of those that are whole, `best` or the number of an update.

  Raises:
    ConfigurationError: there is none such, its record is missing, or it is in a format that this release does not read.
  """
  with Checkpoints(directory / CHECKPOINTS) as checkpoints:
    try:
      step = _find_step(checkpoints, directory, which)
      return step, sha256(directory / CHECKPOINTS / str(step) / RECORD_FILE)
    except (DamagedCheckpoint, FileNotFoundError, OtherVersion) as error:
      raise ConfigurationError(str(error)) from error


def _find_step(checkpoints: Checkpoints, directory: Path, which: str) -> int:
  if which not in (NEWEST, BEST) and not (which.isascii() and which.isdecimal()):
    raise ConfigurationError(f"--checkpoint={which}: expected newest, best or the number of an update")
  if not checkpoints.steps():
    raise ConfigurationError(f"{directory}: the run has no checkpoint yet")
  if which == NEWEST:
    newest, damaged = newest_whole([checkpoints])
    for *_, error in damaged:
      log(f"WARNING: {error}; {'no older one is whole' if newest is None else f'taking that of update {newest}'}")
    if newest is None:
      raise ConfigurationError(f"{directory}: no checkpoint is whole")
    return newest
  if which == BEST:
    if (best := checkpoints.best_step()) is None:
      unscored = "no evaluation on training tasks was scored, so there is no best"
      raise ConfigurationError(f"--checkpoint=best: {directory}: {unscored}")
    return best
  if int(which) not in checkpoints.steps():
    there = ", ".join(map(str, checkpoints.steps()))
    raise ConfigurationError(f"--checkpoint={which}: {directory} has no checkpoint of this update; it has {there}")
  return int(which)
