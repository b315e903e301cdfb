"""Checkpoints of a run: the training state and the statistics of its data, by step.

A checkpoint is written beside its final place and renamed, so that a directory with a step's number is complete.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from macaw_jax.types import TrainState


class Checkpoint(NamedTuple):
  """What a run needs to go on, or to act."""

  state: TrainState
  statistics: Any  # how observations and returns of the run's data are scaled; a pytree of arrays


class Checkpoints:
  """The checkpoints of one run, the newest `keep` of them.

  >>> with Checkpoints('runs/example/checkpoints', keep=3) as checkpoints:
  ...   checkpoints.save(1_000, Checkpoint(state, statistics))
  """

  def __init__(self, directory: str | Path, keep: int = 3):
    # Of several processes each reads by itself, and the first writes: Orbax would wait for all of them.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(process, {process}, f"process_{process}")
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep, enable_async_checkpointing=False, multiprocessing_options=alone, create=False
    )
    path = Path(directory).absolute()
    path.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(path, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self._manager.close()

  def newest_step(self) -> int | None:
    """The number of updates that the newest checkpoint has seen, or None without a checkpoint."""
    return self._manager.latest_step()

  def steps(self) -> list[int]:
    """The steps of all checkpoints that are kept, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint under `step`, in place of one that is there; returns when it is on the disk."""
    # A run that continues from an older checkpoint than its newest comes past the newer ones again.
    if step in self._manager.all_steps():
      self._manager.delete(step)
    self._manager.save(step, args=ocp.args.StandardSave(jax.device_get(checkpoint)), force=True)

  def restore(self, like: Checkpoint, step: int | None = None) -> Checkpoint:
    """The checkpoint of `step`, the newest if not given, with the structure, shapes and dtypes of `like`.

    Raises:
      FileNotFoundError: the directory holds no checkpoint.
      ValueError: the checkpoint has another structure or other shapes than `like`.
    """
    step = self.newest_step() if step is None else step
    if step is None:
      raise FileNotFoundError(f"{self._manager.directory}: no checkpoint")
    restored = self._manager.restore(step, args=ocp.args.StandardRestore(jax.device_get(like)))
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(restored), jax.tree.leaves(like), strict=True):
      if leaf.shape != wanted.shape:
        raise ValueError(
          f"{self._manager.directory / str(step)}: {jax.tree_util.keystr(path)} has shape {leaf.shape}, expected "
          f"{wanted.shape}"
        )
    return restored
