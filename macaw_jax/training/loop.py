"""The training loop: many meta-updates in one compiled call.

The loop knows the contract of an algorithm and no algorithm by name. What one call computes depends on the state, the
dataset and the key of the run alone, so cutting a run into other chunks, or stopping and resuming it, changes nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from macaw_jax.types import Algorithm, Array, Key, Metrics, TaskBatch, TrainState

Dataset = Any  # A pytree of arrays with leading axis [T]; only `sample` looks inside.
Sample = Callable[[Dataset, Key], TaskBatch]


class HasStep(Protocol):
  """A `TrainState`, or many of them as one."""

  @property
  def step(self) -> Array:
    """Updates done; of many states, those of each."""


State = TypeVar("State", bound="HasStep")
Chunk = Callable[[State, Dataset, Key], tuple[State, Metrics]]


def draw(sample: Sample, dataset: Dataset, key: Key, step: Array) -> tuple[TaskBatch, Key]:
  """The batch and the key of update number `step` of the run with this key."""
  key_sample, key_update = jax.random.split(jax.random.fold_in(key, step))
  with jax.named_scope("sampling"):
    tasks = sample(dataset, key_sample)
  return tasks, key_update


def make_chunk(algorithm: Algorithm, sample: Sample, num_steps: int) -> Chunk[TrainState]:
  """Makes the function that does `num_steps` updates, still to be compiled.

  Args:
    algorithm: the four functions; `update` is traced once.
    sample: `(dataset, key) -> TaskBatch`, pure.
    num_steps: updates in one call.

  Returns:
    `(state, dataset, key) -> (state, metrics)`. Update number `n` draws from `fold_in(key, n)` with `n = state.step`,
    so the key is that of the whole run. Metrics are means over the updates of the call.
  """
  if num_steps < 1:
    raise ValueError(f"num_steps is {num_steps}; a chunk needs at least one update")

  def chunk(state: TrainState, dataset: Dataset, key: Key) -> tuple[TrainState, Metrics]:
    def step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
      tasks, key_update = draw(sample, dataset, key, state.step)
      return algorithm.update(state, tasks, key_update)

    state, metrics = jax.lax.scan(step, state, length=num_steps)
    return state, jax.tree.map(lambda values: jnp.mean(values, axis=0), metrics)

  return chunk


def initialise(algorithm: Algorithm, key: Key) -> TrainState:
  """The first state, made on the device in one call.

  Weakly typed leaves (a Python number that became an array) get their dtype: the state that goes into an update and the
  state that comes out have one type, and the update is traced once.
  """

  def init(key: Key) -> TrainState:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), algorithm.init(key))

  return jax.jit(init)(key)


def compiler_options() -> dict[str, Any]:
  """The options of the compiler.

  On a CPU, XLA keeps a copy of every parameter that an update reads and then overwrites, unless it looks at when the
  two happen: that halves the temporary memory of an update and takes 3 to 5 % from its time.
  """
  return {"xla_cpu_copy_insertion_use_region_analysis": True} if jax.default_backend() == "cpu" else {}


def compile_chunk(chunk: Chunk[State], state: State, dataset: Dataset, key: Key) -> Chunk[State]:
  """Compiles `chunk` for these shapes; the result takes no others, so nothing can be traced again unseen.

  The state that is passed in a call is donated: its memory is reused, and it cannot be read afterwards.
  """
  return jax.jit(chunk, donate_argnums=0).lower(state, dataset, key).compile(compiler_options())


def train(
  chunk: Chunk[State], state: State, dataset: Dataset, key: Key, num_steps: int
) -> Iterator[tuple[State, Metrics]]:
  """Yields `(state, metrics)` after every chunk until `num_steps` updates are done, or a chunk has done none.

  In a population the member that has come furthest counts: one that has stopped stands still. Where all have, the last
  chunk is one that has changed nothing.

  The yielded state is donated to the next chunk: use it before asking for the next.
  """
  step, previous = int(jnp.max(state.step)), -1
  while previous < step < num_steps:
    state, metrics = chunk(state, dataset, key)
    previous, step = step, int(jnp.max(state.step))
    yield state, metrics
