"""Checkpoints of a run: the training state, the statistics of its data and what was skipped, by step.

A checkpoint is a directory named by its step. Orbax keeps the arrays, under `arrays/`, as a flat dict from the path of
a leaf to the leaf; `checkpoint.json` says what they and their files must be (`macaw_jax.training.checkpoint_record`).
What is restored is bit for bit what was saved, or there is an error.

Directories beside them belong to saves and removals that are under way, or that a kill has ended:

  saving-<step>     not complete yet
  replaced-<step>   whole; the checkpoint of this step before the one that takes its place
  removing-<name>   perhaps half gone
  damaged-<step>    set aside, for a look at the damage

One process writes into a directory; any number read, and those change nothing in it.
"""

import json
import logging
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from macaw_jax.durable import flush
from macaw_jax.training.checkpoint_record import (
  DamagedCheckpoint,
  Note,
  OtherVersion,
  Record,
  read_record,
  record_files,
  record_leaf,
  verify_files,
  write_record,
)
from macaw_jax.training.population import Skips
from macaw_jax.types import TrainState

ARRAYS = "arrays"
DATA = ".data"  # how the paths of leaves of `Checkpoint.data` begin
SAVING, REPLACED, REMOVING, DAMAGED = "saving-", "replaced-", "removing-", "damaged-"
OVERHEAD = 1 << 20  # bytes of a checkpoint that are not its arrays, at most; and arrays may grow by a 32nd if packed


class Checkpoint(NamedTuple):
  """The arrays that a run needs to go on, or to act."""

  state: TrainState
  statistics: Any  # how observations and returns of the run's data are scaled; a pytree of arrays
  skips: Skips
  data: Any = None  # of a source that changes them, see `macaw_jax.sources.source`


class SaveError(OSError):
  """A checkpoint could not be written; those that were there before still are."""


class OtherRun(ValueError):  # noqa: N818
  """A checkpoint of a run that is made of something else; `names` says what."""

  def __init__(self, message: str, names: Sequence[str]):
    super().__init__(message)
    self.names = tuple(names)


class Checkpoints:
  """The checkpoints of one run.

  >>> with Checkpoints('runs/example/checkpoints', identity={'config': digest}) as checkpoints:
  ...   checkpoints.save(1_000, Checkpoint(state, statistics, skips), score=71.5)
  ...   checkpoints.remove_older(1_000, keep=3)
  ...   checkpoint, note = checkpoints.restore(like)

  Args:
    directory: where they are; it is made by the first save.
    identity: name -> digest of something that the run is made of. It is stored with what is saved, and what is restored
      must have the same. Without names nothing is compared.
  """

  def __init__(self, directory: str | Path, identity: Mapping[str, str] = MappingProxyType({})):
    self._directory, self._identity = Path(directory).absolute(), dict(identity)
    # Of several processes each reads by itself, and the first writes: Orbax would wait for all of them.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(process, {process}, f"process_{process}")
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    self._checkpointer = ocp.Checkpointer(handler, multiprocessing_options=alone)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self._checkpointer.close()

  def steps(self) -> list[int]:
    """The steps of all checkpoints, oldest first, whole or not."""
    if not self._directory.is_dir():
      return []
    return sorted(int(path.name) for path in self._directory.iterdir() if _is_step(path.name) and path.is_dir())

  def newest_step(self) -> int | None:
    """The newest step, None without a checkpoint."""
    return max(self.steps(), default=None)

  def best_step(self) -> int | None:
    """The step of the highest score, the newer of equals; None where no checkpoint has a score.

    Raises:
      DamagedCheckpoint: the record of a checkpoint, which has its score, is not what was saved.
      OtherVersion: a checkpoint is in a format that this release does not read.
    """
    return _best({step: read_record(self._path(step)).note.score for step in self.steps()})

  def save(
    self,
    step: int,
    checkpoint: Checkpoint,
    *,
    score: float | None = None,
    progress: Mapping[str, Any] = MappingProxyType({}),
  ) -> None:
    """Writes the checkpoint under `step`, in place of one that is there; returns when it is on the disk.

    Killed at any moment, it leaves each step's checkpoint as it was or as it will be, after `remove_unfinished`.

    Args:
      step: updates done, from 0 up.
      checkpoint: the arrays.
      score: of an evaluation; one that is not finite is none.
      progress: JSON values, which `restore` hands back.

    Raises:
      SaveError: it could not be written. What was saved before is untouched.
      TypeError, ValueError: a leaf is no array of numbers, or `progress` has what JSON has not.
    """
    leaves = _numbers(checkpoint)
    score = float(score) if score is not None and math.isfinite(score) else None
    note = Note(int(step), score, self._identity, json.loads(json.dumps(dict(progress), allow_nan=False)))
    record = Record(note, {path: record_leaf(leaf) for path, leaf in leaves.items()}, {})
    unfinished = self._directory / f"{SAVING}{step}"
    try:
      self._prepare(unfinished, sum(leaf.nbytes for leaf in leaves.values()))
      self._write(unfinished, leaves, record)
      self._put_in_place(unfinished, step)
    except (OSError, RuntimeError, ValueError) as error:  # Orbax hands on what TensorStore met as one of these.
      raise SaveError(f"{self._path(step)}: the checkpoint could not be written: {_one_line(error)}") from error
    finally:
      shutil.rmtree(unfinished, ignore_errors=True)

  def remove_older(self, newest: int, keep: int) -> None:
    """Removes what is neither among the newest `keep` up to step `newest`, nor the best, nor newer than that.

    Members of a population remove theirs when all have saved: until then, what they have in common may be older. What
    cannot be removed stays.

    Raises:
      ValueError: `keep` is below 1.
    """
    if keep < 1:
      raise ValueError(f"keep = {keep}: expected at least 1")
    with suppress(OSError):
      steps = self.steps()
      kept = [step for step in steps if step <= newest][-keep:]
      best = _best({step: self._score(step) for step in steps})
      for step in steps:
        if step <= newest and step not in kept and step != best:
          _remove(self._path(step))

  def verify(self, step: int) -> Record:
    """The record of a checkpoint; all of its files are read, and are as the record has them.

    Raises:
      FileNotFoundError: there is none of this step.
      DamagedCheckpoint: a file is missing, changed, truncated, or was not there when it was saved.
      OtherVersion: it is in a format that this release does not read.
    """
    if not self._path(step).is_dir():
      raise FileNotFoundError(f"{self._directory}: no checkpoint of step {step}")
    record = read_record(self._path(step))
    verify_files(self._path(step), record.files)
    return record

  def restore(
    self, like: Checkpoint, step: int | None = None, *, may_differ: Collection[str] = (), with_data: bool = True
  ) -> tuple[Checkpoint, Note]:
    """The checkpoint of `step`, the newest if not given, with NumPy arrays in the structure of `like`; and its note.

    Args:
      like: leaves with the shapes and dtypes to expect.
      step: of the checkpoint.
      may_differ: names of the identity that are not compared.
      with_data: whether to restore the data of the source; if not, `like` has none.

    Raises:
      FileNotFoundError: there is none.
      DamagedCheckpoint, OtherVersion: see `verify`.
      OtherRun: it is that of a run made of something else.
      ValueError: it has other leaves, shapes or dtypes than `like`.
    """
    step = self.newest_step() if step is None else step
    if step is None:
      raise FileNotFoundError(f"{self._directory}: no checkpoint")
    record = self.verify(step)
    self._check_identity(step, record.note, may_differ)
    if not with_data:
      wanted = {path: leaf for path, leaf in record.leaves.items() if not path.startswith(DATA)}
      record = record._replace(leaves=wanted)
    self._check_leaves(step, record, like)
    return self._load(step, record, like), record.note

  def set_aside(self, step: int) -> Path:
    """Renames a checkpoint, so that it is kept and counts no longer; its new place."""
    target, count = self._directory / f"{DAMAGED}{step}", 1
    while target.exists():
      count += 1
      target = self._directory / f"{DAMAGED}{step}-{count}"
    self._path(step).rename(target)
    flush(self._directory)
    return target

  def remove_unfinished(self) -> None:
    """Undoes or finishes the saves and removals of killed processes; for the one process that writes."""
    for replaced in self._directory.glob(f"{REPLACED}*"):
      step = replaced.name.removeprefix(REPLACED)
      if self._path(step).exists():
        _remove(replaced)
      else:
        replaced.rename(self._path(step))
    for prefix in (SAVING, REMOVING):
      for unfinished in self._directory.glob(f"{prefix}*"):
        shutil.rmtree(unfinished)

  def _path(self, step: int | str) -> Path:
    return self._directory / str(step)

  def _prepare(self, unfinished: Path, size: int) -> None:
    """Makes the directory to write arrays of `size` bytes into, if they fit on the disk."""
    if not self._directory.is_dir():
      self._directory.mkdir(parents=True)
      flush(self._directory.parent)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    needed, free = size + size // 32 + OVERHEAD, shutil.disk_usage(self._directory).free
    if free < needed:
      raise OSError(f"it needs {needed} bytes, the disk has {free} free")

  def _write(self, unfinished: Path, leaves: Mapping[str, np.ndarray], record: Record) -> None:
    """Writes a checkpoint and waits until the disk has it."""
    # Orbax refuses arrays without elements; the record alone has them.
    stored = {path: leaf for path, leaf in leaves.items() if leaf.size > 0}
    with _orbax_silent():
      self._checkpointer.save(unfinished / ARRAYS, args=ocp.args.PyTreeSave(stored))
    write_record(unfinished, record._replace(files=record_files(unfinished)))
    for folder, _, names in os.walk(unfinished):
      for name in names:
        flush(Path(folder, name))
      flush(Path(folder))

  def _put_in_place(self, unfinished: Path, step: int) -> None:
    """Renames a complete checkpoint to its step. At each moment the old one, if any, or the new one is there whole."""
    place, replaced = self._path(step), self._directory / f"{REPLACED}{step}"
    if place.exists():
      _remove(replaced)
      place.rename(replaced)
    try:
      unfinished.rename(place)
    except OSError:
      if replaced.exists():
        replaced.rename(place)
      raise
    flush(self._directory)
    _remove(replaced)

  def _score(self, step: int) -> float | None:
    """The score of a checkpoint, None where its record cannot be read."""
    try:
      return read_record(self._path(step)).note.score
    except (DamagedCheckpoint, OtherVersion):
      return None

  def _check_identity(self, step: int, note: Note, may_differ: Collection[str]) -> None:
    compared = {name: digest for name, digest in self._identity.items() if name not in may_differ}
    names = [name for name, digest in compared.items() if note.identity.get(name) != digest]
    if names:
      raise OtherRun(f"{self._path(step)}: the checkpoint of a run with another {', '.join(names)}", names)

  def _check_leaves(self, step: int, record: Record, like: Checkpoint) -> None:
    wanted = {path: (leaf.shape, leaf.dtype.name) for path, leaf in _by_path(like).items()}
    for path in sorted(wanted.keys() | record.leaves.keys()):
      if path not in record.leaves:
        raise ValueError(f"{self._path(step)}: leaf {path} is missing")
      if path not in wanted:
        raise ValueError(f"{self._path(step)}: leaf {path} is unknown")
      for name, found, expected in zip(("shape", "dtype"), record.leaves[path][:2], wanted[path], strict=True):
        if found != expected:
          raise ValueError(f"{self._path(step)}: leaf {path} has {name} {found}, expected {expected}")

  def _load(self, step: int, record: Record, like: Checkpoint) -> Checkpoint:
    """The arrays of a checkpoint whose record fits `like`. Raises `DamagedCheckpoint` if they are not those saved."""
    empty = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in record.leaves.items() if 0 in leaf.shape}
    as_numpy = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path in record.leaves if path not in empty}
    arguments = ocp.args.PyTreeRestore(item=dict.fromkeys(as_numpy, 0), restore_args=as_numpy, partial_restore=True)
    try:
      with _orbax_silent():
        leaves = empty | self._checkpointer.restore(self._path(step) / ARRAYS, args=arguments)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
      cannot = f"its files are what was saved, and Orbax {ocp.__version__} cannot read them"
      raise ValueError(f"{self._path(step)}: {cannot}: {_one_line(error)}") from error
    for path, expected in record.leaves.items():
      found = record_leaf(leaves[path])
      if found != expected:
        raise DamagedCheckpoint(f"{self._path(step)}: leaf {path}: expected {expected}, found {found}")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in _by_path(like)])


def newest_whole(runs: Sequence[Checkpoints]) -> tuple[int | None, list[tuple[Checkpoints, int, DamagedCheckpoint]]]:
  """The newest step of which all of `runs` have a whole checkpoint, and the damaged ones that were met before it.

  Args:
    runs: the checkpoints of one run each.

  Returns:
    The step, None if there is no such; and for each damaged one its run, its step, and what is wrong with it.

  Raises:
    OtherVersion: one of them is in a format that this release does not read. That is no reason to go back.
  """
  damaged: list[tuple[Checkpoints, int, DamagedCheckpoint]] = []
  for step in sorted(set.intersection(*(set(run.steps()) for run in runs)), reverse=True):
    num_whole = 0
    for run in runs:
      try:
        run.verify(step)
        num_whole += 1
      except DamagedCheckpoint as error:
        damaged.append((run, step, error))
      except FileNotFoundError:  # Whoever writes here has removed it, or is putting another in its place.
        pass
    if num_whole == len(runs):
      return step, damaged
  return None, damaged


def _by_path(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their paths, in its order; scalars of Python as arrays."""
  return {
    jax.tree_util.keystr(path): leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _numbers(tree: Any) -> dict[str, np.ndarray]:
  """The leaves of a tree by their paths, as arrays of numbers. Raises `ValueError` for a leaf that is none."""
  leaves = {path: np.asarray(leaf) for path, leaf in _by_path(jax.device_get(tree)).items()}
  if len(leaves) < len(jax.tree.leaves(tree)):
    raise ValueError("two leaves of the checkpoint have one path")
  for path, leaf in leaves.items():
    if not leaf.dtype.isnative or not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool):
      raise ValueError(f"leaf {path} has dtype {leaf.dtype}, expected numbers")
  return leaves


def _best(scores: Mapping[int, float | None]) -> int | None:
  scored = [(score, step) for step, score in scores.items() if score is not None]
  return max(scored)[1] if scored else None


def _is_step(name: str) -> bool:
  return name.isascii() and name.isdecimal() and name == str(int(name))


def _remove(path: Path) -> None:
  """Removes a checkpoint; at each moment its name stands for all of it or nothing."""
  removing = path.with_name(f"{REMOVING}{path.name}")
  shutil.rmtree(removing, ignore_errors=True)
  with suppress(OSError):
    path.rename(removing)
  shutil.rmtree(removing, ignore_errors=True)


@contextmanager
def _orbax_silent() -> Iterator[None]:
  """Drops what Orbax logs: forty lines of information, and twice the trace of an error that it raises as well."""
  logger, drop = logging.getLogger("absl"), lambda record: False
  logger.addFilter(drop)
  try:
    yield
  finally:
    logger.removeFilter(drop)


def _one_line(error: Exception) -> str:
  """The error in one line: the beginning of a long text and its end, where TensorStore names the cause."""
  text = " ".join(str(error).split())
  return f"{type(error).__name__}: {text if len(text) <= 300 else f'{text[:100]} ... {text[-200:]}'}"
