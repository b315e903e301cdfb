"""A skipped update once more, taken apart: which of its numbers are not finite, and where they come from."""

import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.training.loop import Dataset, Sample, draw
from macaw_jax.training.population import Hyperparameters, MakeAlgorithm, Population, is_finite
from macaw_jax.types import Array, Key, Metrics, TaskBatch, TrainState

# Whose lines are not named: that of the code that calls them is.
LIBRARIES = tuple(str(Path(library.__file__).parent) for library in (jax, flax, optax) if library.__file__)


class BadUpdate(NamedTuple):
  """A skipped update: all that it is computed from."""

  hyperparameters: Hyperparameters
  state: TrainState  # before it
  tasks: Any  # drawn by `sample`: a TaskBatch, or tasks to act in, leaves `[T, ...]`
  key: Key

  @property
  def step(self) -> int:
    """Updates before it."""
    return int(self.state.step)


class Diagnosis(NamedTuple):
  """The parts of an update that are not finite, by name."""

  before: tuple[str, ...]  # parts of the state that it begins with: `net.value`, `rule`, `opt_state`
  batch: tuple[str, ...]  # entries of its batch, as `query.reward`
  largest: tuple[str, float]  # the entry with the largest number, and that
  metrics: tuple[str, ...]
  after: tuple[str, ...]  # parts of the state that it ends with
  tasks: tuple[int, ...]  # positions in the batch of those that give it also when updated on by themselves


def last_skipped_update(member: Population, sample: Sample, dataset: Dataset, key: Key) -> BadUpdate:
  """The last update of a member, which was skipped.

  Args:
    member: one member, its leaves without the axis `[M]`. Skipped updates change no parameter, so its state is the one
      that the update began with.
    sample: of the run.
    dataset: as the update had it.
    key: of the member's updates.

  Raises:
    ValueError: the member's last update was not skipped.
  """
  if member.skips.in_a_row < 1:
    raise ValueError("expected a member whose last update was skipped, found none skipped since the last applied one")
  step = jnp.asarray(member.state.step - 1, jnp.int32)
  tasks, key_update = jax.jit(lambda dataset, key, step: draw(sample, dataset, key, step))(dataset, key, step)
  return BadUpdate(member.hyperparameters, member.state._replace(step=step), tasks, key_update)


def diagnose(make_algorithm: MakeAlgorithm, update: BadUpdate) -> Diagnosis:
  """Repeats the update by itself, on the first device, and names the parts that are not finite.

  Then it repeats it on each task of the batch alone, with the same key, which gives other random draws.
  """
  repeat = partial(_repeat, make_algorithm)

  def is_finite_alone(update: BadUpdate) -> Array:
    return jax.lax.map(
      lambda task: is_finite(repeat(update._replace(tasks=jax.tree.map(lambda leaf: leaf[None], task)))), update.tasks
    )

  state, metrics = jax.jit(repeat)(update)
  finite_alone = np.asarray(jax.jit(is_finite_alone)(update))
  return Diagnosis(
    before=_non_finite(parts_of(update.state)),
    batch=_non_finite(entries_of(update.tasks)),
    largest=max(
      ((name, float(jnp.max(jnp.abs(values)))) for name, values in entries_of(update.tasks).items()),
      key=lambda named: named[1],
    ),
    metrics=_non_finite(metrics),
    after=_non_finite(parts_of(state)),
    tasks=tuple(map(int, np.flatnonzero(~finite_alone))),
  )


def describe(diagnosis: Diagnosis, update: BadUpdate, task_names: Sequence[Any] | None = None) -> str:
  """The diagnosis in one line.

  Args:
    diagnosis: of the update.
    update: whose step and tasks are named.
    task_names: of each task of the dataset; its position if not given. Tasks to act in have positions in the batch.
  """
  names = _names(update.tasks, task_names)
  parts = {"before it already": diagnosis.before, "in it": diagnosis.metrics, "after it": diagnosis.after}
  found = [f"not finite {when}: {', '.join(of_these)}" for when, of_these in parts.items() if of_these]
  found = found or ["finite when it is repeated by itself, so rounding has decided"]
  named = isinstance(update.tasks, TaskBatch)
  found.append(f"tasks {', '.join(names)}" if named else f"with all {len(names)} tasks of the batch")
  if 0 < len(diagnosis.tasks) < len(names):
    found.append(f"not finite either with one of these alone: {', '.join(names[index] for index in diagnosis.tasks)}")
  if diagnosis.batch:
    found.append(f"not finite in the batch: {', '.join(diagnosis.batch)}")
  else:
    entry, value = diagnosis.largest
    found.append(f"the batch itself is finite, its largest number {value:.4g} in {entry}")
  return f"the update after step {update.step}: {'; '.join(found)}"


def _names(tasks: Any, task_names: Sequence[Any] | None) -> list[str]:
  if not isinstance(tasks, TaskBatch):
    return [f"{position} of the batch" for position in range(len(jax.tree.leaves(tasks)[0]))]
  return [str(index if task_names is None else task_names[index]) for index in np.asarray(tasks.task_index)]


def first_bad_operation(make_algorithm: MakeAlgorithm, update: BadUpdate) -> str | None:
  """Repeats the update operation by operation, and names the first that gives a NaN and the first that gives infinity.

  The test is that of `jax.debug_nans` and `jax.debug_infs`, which also stop at values that a `where` discards.

  Returns:
    Operation, file and line of each; a derivative has the line that it is taken of. Or the inputs that were not finite
    to begin with. None if all is finite when computed so.
  """
  given = {**update.hyperparameters, **parts_of(update.state), **entries_of(update.tasks)}
  if already := _non_finite(given):
    return f"not finite to begin with: {', '.join(already)}"
  found = []
  for checking in (jax.debug_nans, jax.debug_infs):
    try:
      with jax.disable_jit(), checking(True):
        _repeat(make_algorithm, jax.tree.map(jnp.asarray, update))
    except FloatingPointError as error:
      found.append(f"{error} at {_line_of(error)}")
  return "; ".join(found) or None


def _line_of(error: FloatingPointError) -> str:
  """The line of ours that an operation is from. JAX hands on, as the cause, where a transformed one was written."""
  raised = error.__cause__ or error
  frames = [frame for frame in traceback.extract_tb(raised.__traceback__) if not frame.filename.startswith(LIBRARIES)]
  if not frames:
    return "an unknown line"
  return f"{frames[-1].filename.removeprefix(f'{Path.cwd()}/')}:{frames[-1].lineno} ({frames[-1].name})"


def parts_of(state: TrainState) -> dict[str, Any]:
  """The parts of a state by name: `net.<part>`, `rule`, `opt_state`."""
  net = {f"net.{name}": part for name, part in state.params.net.items()}
  return net | {"rule": state.params.rule, "opt_state": state.opt_state}


def entries_of(tasks: Any) -> dict[str, Array]:
  """The arrays of a batch by name: `support.<field>`, `query.<field>`, `task_index`; or `task.<name>`."""
  if not isinstance(tasks, TaskBatch):
    return {f"task.{name}": values for name, values in tasks.items()}
  rows = {"support": tasks.support._asdict(), "query": tasks.query._asdict()}
  entries = {f"{name}.{field}": values for name, fields in rows.items() for field, values in fields.items()}
  return {name: values for name, values in entries.items() if values is not None} | {"task_index": tasks.task_index}


def _repeat(make_algorithm: MakeAlgorithm, update: BadUpdate) -> tuple[TrainState, Metrics]:
  return make_algorithm(**update.hyperparameters).update(update.state, update.tasks, update.key)


def _non_finite(trees: Mapping[str, Any]) -> tuple[str, ...]:
  return tuple(name for name, tree in trees.items() if not is_finite(tree))
