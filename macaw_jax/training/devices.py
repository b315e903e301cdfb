"""Many devices: members of a population and tasks of a batch side by side, in one process or in several.

The mesh has two axes. Along `seed` lie the members of a population, which never exchange a number. Along `task` lie the
tasks of every sampled batch, so that the inner adaptations of one member run on several devices; their gradients are
summed over this axis in every update.

  state [M, ...], keys [M]           split along `seed`, copied along `task`
  dataset [T, N, ...]                a copy on every device
  sampled TaskBatch [M, T, B, ...]   split along both
  metrics [M]                        split along `seed`, copied along `task`

The dataset is not split by tasks: the tasks of a batch are drawn anew in every update, and a device would have to fetch
the rows of those that lie elsewhere. Several processes all call the same functions in the same order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from macaw_jax.training.loop import Chunk, Dataset, Sample, State, compiler_options
from macaw_jax.training.population import MEMBER_AXIS
from macaw_jax.types import Key

TASK_AXIS = "task"  # The other axis of the mesh is `MEMBER_AXIS`.


def initialise_distributed() -> None:
  """Connects this process with the others of the run; must come before anything else asks JAX for a device.

  Who they are is taken from what SLURM, Open MPI or a TPU machine has set.

  Raises:
    ValueError: none of them has set it.
  """
  try:
    jax.distributed.initialize()
  except ValueError as error:
    expected = "a process that SLURM's srun, Open MPI's mpirun or a TPU machine has started"
    raise ValueError(f"expected {expected}, found none of them ({error})") from error


def is_main_process() -> bool:
  """Whether this process, of all of the run, is the one that prints and writes."""
  return jax.process_index() == 0


@contextmanager
def main_process_logs() -> Iterator[None]:
  """A block in which the main process of a run prints for all; what the others print is dropped."""
  if is_main_process():
    yield
    return
  with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
    yield


def wait_for_all(name: str) -> None:
  """Returns when every process of the run has called this with `name`."""
  multihost_utils.sync_global_devices(name)


@contextmanager
def main_process_first(name: str) -> Iterator[None]:
  """A block that the main process comes through before the others begin it; all must enter it."""
  if not is_main_process():
    wait_for_all(name)
  yield
  if is_main_process():
    wait_for_all(name)


def largest(value: int) -> int:
  """The largest value that any process of the run, all of which must call this, has."""
  return int(np.max(multihost_utils.process_allgather(np.asarray(value))))


def all_agree(value: int) -> bool:
  """Whether every process of the run, all of which must call this, has the same value."""
  return len(np.unique(multihost_utils.process_allgather(np.asarray(value)))) == 1


def make_mesh(seed: int, task: int, *, members: int, tasks: int) -> Mesh:
  """The mesh of `seed` x `task` devices for a population; one process takes the first of its devices.

  Args:
    seed: devices along the members.
    task: devices along the tasks of a batch.
    members: of the population.
    tasks: of one update.

  Raises:
    ValueError: an axis does not divide what is laid along it, or the devices are not that many.
  """
  check_axis("seed", seed, members, "members of the population")
  check_axis("task", task, tasks, "tasks of an update")
  wanted, found, processes = seed * task, jax.device_count(), jax.process_count()
  asked = f"seed = {seed} times task = {task} asks for {wanted} devices"
  if wanted > found:
    raise ValueError(f"{asked}, found {found} ({jax.devices()[0].device_kind}) in {processes} process(es); lower one")
  if processes > 1 and wanted < found:
    # A process without a device in the mesh could take no part in what all of them must compute together.
    raise ValueError(
      f"{asked}, found {found} in {processes} processes, which must all be used; choose a product of {found}"
    )
  # By default JAX makes axes Explicit, and the sharding would be part of the type of every array.
  return jax.make_mesh((seed, task), (MEMBER_AXIS, TASK_AXIS), axis_types=(AxisType.Auto, AxisType.Auto))


def check_axis(axis: str, size: int, count: int, what: str) -> None:
  """Raises ValueError unless the `size` devices along an axis divide the `count` of what is laid along it."""
  divisors = [divisor for divisor in range(1, count + 1) if count % divisor == 0]
  if size not in divisors:
    raise ValueError(f"{axis} = {size} does not divide the {count} {what}; choose {', '.join(map(str, divisors))}")


def by_member(mesh: Mesh) -> NamedSharding:
  """How `[M, ...]` is laid out: the leading axis along `seed`, a copy for each position along `task`."""
  return NamedSharding(mesh, PartitionSpec(MEMBER_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def shard_tasks(sample: Sample, mesh: Mesh) -> Sample:
  """`sample` with the leading axis of its batches laid along `task`; all that follows from a batch is split so too."""
  by_task = NamedSharding(mesh, PartitionSpec(TASK_AXIS))
  return lambda dataset, key: jax.lax.with_sharding_constraint(sample(dataset, key), by_task)


def compile_on_mesh(
  chunk: Chunk[State], mesh: Mesh, members: State, dataset: Dataset, keys: Key, *, own_data: bool = False
) -> Chunk[State]:
  """Compiles a population's chunk for these shapes and this layout; the result takes no others.

  The members that come out of a call lie as those that went in, and take their memory.

  Args:
    chunk: `(members, dataset, keys) -> (members, metrics)`, mapped with `spmd_axis_name=MEMBER_AXIS`.
    mesh: of `make_mesh`.
    members: the states `[M, ...]`, laid out by `by_member`; donated in a call.
    dataset: laid out by `replicated`, or by `by_member` where each member has its own.
    keys: `[M]`, laid out by `by_member`.
    own_data: whether each member has data of its own.
  """
  split, copied = by_member(mesh), replicated(mesh)
  layout = (split, split if own_data else copied, split)
  jitted = jax.jit(chunk, in_shardings=layout, out_shardings=(split, split), donate_argnums=0)
  return jitted.lower(members, dataset, keys).compile(compiler_options())


def put(tree: Any, sharding: NamedSharding) -> Any:
  """Lays out a tree of host values, NumPy's or JAX's, that every process holds whole and the same."""

  def put_leaf(leaf: Any) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put_leaf(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    # device_put would send each array to all processes, to compare them.
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

  return jax.tree.map(put_leaf, tree)


def own_copy(tree: Any) -> Any:
  """Replicated arrays as the first device of this process has them."""
  return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def fetch(tree: Any) -> Any:
  """A tree of laid-out arrays as whole NumPy arrays, in every process; all of them must call it."""

  def fetch_leaf(leaf: jax.Array) -> np.ndarray:
    if leaf.is_fully_addressable:
      return np.asarray(leaf)
    return multihost_utils.process_allgather(leaf, tiled=True)

  return jax.tree.map(fetch_leaf, tree)
