"""The log lines and the file about a member that has stopped because not every number was finite."""

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np

from macaw_jax.console import log
from macaw_jax.durable import write_durably
from macaw_jax.sources.source import Data
from macaw_jax.training import devices
from macaw_jax.training.diagnosis import (
  BadUpdate,
  describe,
  diagnose,
  entries_of,
  first_bad_operation,
  last_skipped_update,
)
from macaw_jax.training.members import OpenMember
from macaw_jax.training.population import Population
from macaw_jax.training.run import Run

BATCH_FILE = "non_finite_update_{step}.npz"


def report_stop(run: Run, each: OpenMember, stopped: Population, data: Data, *, name_operation: bool) -> None:
  """Describes the update that stopped a member, in the log, and writes its batch; every process must call it.

  Args:
    run: the run.
    each: the member; the batch goes into its directory, as `write_batch` has it.
    stopped: the member, on the host, its leaves without the axis `[M]`.
    data: as the update had it.
    name_operation: whether to repeat the update operation by operation too, and name the one to blame.
  """
  if devices.is_main_process():
    try:
      _report(run, each, stopped, data, name_operation)
    # Other members may go on: a failure to report must not end them.
    except (jax.errors.JaxRuntimeError, OSError) as error:
      log(f"{each.name}: no more can be told of it: {' '.join(str(error).split())[:500]}")
  devices.wait_for_all("report of a member that has stopped")


def _report(run: Run, each: OpenMember, stopped: Population, data: Data, name_operation: bool) -> None:
  in_a_row, total = int(stopped.skips.in_a_row), int(stopped.skips.total)
  log(
    f"{each.name} has stopped at update {int(stopped.step)}: not every number was finite after its last {in_a_row} "
    f"update(s), which were skipped ({total} in all)"
  )
  update = last_skipped_update(stopped, run.source.sample, data, each.keys.train)
  path = each.directory / BATCH_FILE.format(step=update.step)
  try:
    write_batch(path, update)
    log(f"  its last batch: {path}")
  except OSError as error:
    log(f"  its last batch could not be written: {error}")
  log(f"  {describe(diagnose(run.make_algorithm, update), update, run.source.task_names)}")
  if not name_operation:
    log("  the same command with --debug_nans names the operation")
  elif operation := first_bad_operation(run.make_algorithm, update):
    log(f"  {operation}")
  else:
    log("  every number is finite when its operations are computed one by one")


def write_batch(path: Path, update: BadUpdate) -> None:
  """Writes the batch of an update as it was drawn, observations and returns scaled as in training.

  An .npz file with `support.<field>` and `query.<field>` `[T, B, ...]`, the fields those of `Transition`, `task_index`
  `[T]`, positions among the training tasks, and `step`, the updates before it. An on-policy run has the parameters
  of the tasks, `task.<name>` `[T, ...]`, in place of transitions.

  Raises:
    OSError: the disk does not take it.
  """
  arrays: dict[str, Any] = {name: np.asarray(values) for name, values in entries_of(update.tasks).items()}
  file = io.BytesIO()
  np.savez(file, **arrays, step=np.asarray(update.step))
  write_durably(path, file.getvalue())
