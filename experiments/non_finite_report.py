"""What is said, and kept, of a member that has stopped because not every number was finite."""

import io
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from experiments.command_line import say
from experiments.member_runs import MemberRun
from experiments.workload import Workload
from macaw_jax.durable import write_durably
from macaw_jax.training import devices
from macaw_jax.training.diagnosis import (
  BadUpdate,
  describe,
  diagnose,
  entries_of,
  first_bad_operation,
  first_bad_update,
)
from macaw_jax.training.population import MakeAlgorithm, Population

BATCH_FILE = "non_finite_update_{step}.npz"


def report_stop(
  config: ml_collections.ConfigDict,
  workload: Workload,
  make: MakeAlgorithm,
  run: MemberRun,
  stopped: Population,
  *,
  name_operation: bool,
) -> None:
  """Says what was not finite in the first of the updates that stopped a member, and writes its batch.

  Of several processes all must call it; the first does the work.

  Args:
    config: of the run.
    workload: of the run.
    make: makes the algorithm.
    run: of the member; the batch goes into its directory, as `write_batch` has it.
    stopped: the member, on the host, its leaves without the axis `[M]`.
    name_operation: whether to repeat the update operation by operation too, and say which is to blame.
  """
  if devices.is_main_process():
    try:
      _report(config, workload, make, run, stopped, name_operation)
    # Other members may go on: what cannot be told of this one must not end them.
    except (jax.errors.JaxRuntimeError, OSError) as error:
      say(f"{run.name}: no more can be told of it: {' '.join(str(error).split())[:500]}")
  devices.wait_for_all("report of a member that has stopped")


def _report(
  config: ml_collections.ConfigDict,
  workload: Workload,
  make: MakeAlgorithm,
  run: MemberRun,
  stopped: Population,
  name_operation: bool,
) -> None:
  in_a_row, total = int(stopped.skips.in_a_row), int(stopped.skips.total)
  say(
    f"{run.name} has stopped at update {int(stopped.step)}: not every number was finite after its last {in_a_row} "
    f"update(s), which were skipped ({total} in all)"
  )
  update = first_bad_update(stopped, workload.make_sample(config), workload.training_data(), run.keys.train)
  path = run.directory / BATCH_FILE.format(step=update.step)
  try:
    write_batch(path, update)
    say(f"  its batch: {path}")
  except OSError as error:
    say(f"  its batch could not be written: {error}")
  say(f"  {describe(diagnose(make, update), update, workload.train_tasks)}")
  if not name_operation:
    say("  the same command with --debug_nans names the operation")
  elif operation := first_bad_operation(make, update):
    say(f"  {operation}")
  else:
    say("  every number is finite when its operations are computed one by one")


def write_batch(path: Path, update: BadUpdate) -> None:
  """Writes the batch of an update as it was drawn, observations and returns scaled as in training.

  An .npz file with `support.<field>` and `query.<field>` `[T, B, ...]`, the fields those of `Transition`, `task_index`
  `[T]`, positions among the training tasks, and `step`, the updates before it. Of a run that acts itself it has the
  parameters of the tasks, `task.<name>` `[T, ...]`, in place of transitions.

  Raises:
    OSError: the disk does not take it.
  """
  arrays: dict[str, Any] = {name: np.asarray(values) for name, values in entries_of(update.tasks).items()}
  file = io.BytesIO()
  np.savez(file, **arrays, step=np.asarray(update.step))
  write_durably(path, file.getvalue())
