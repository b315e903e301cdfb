"""Many runs of one algorithm as one compiled program.

The members of a population differ in their seeds and in the values of some hyper-parameters, and in nothing that
decides the shape of the program. Each is mapped over as it stands: a member computes what it would compute alone, from
the same random numbers, up to the rounding of batched products. A single run is a population of one; that costs
1 to 3 % (`benchmarks/population.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.training.loop import Chunk, Dataset, Sample, initialise, make_chunk
from macaw_jax.types import Algorithm, Array, Key, Metrics, Params, TimeStep, TrainState, Transition

MEMBER_AXIS = "seed"  # The axis of a device mesh that members are laid along.

Hyperparameters = Mapping[str, Any]
MakeAlgorithm = Callable[..., Algorithm]
"""`(**hyperparameters) -> Algorithm`; in a population the hyper-parameters are traced."""


class Skips(NamedTuple):
  """How many updates were skipped because not every number was finite after them; int32, `[]` of a member, `[M]` of all."""

  total: Array
  in_a_row: Array  # since the last that was applied


class Population(NamedTuple):
  """M members: the hyper-parameters in which they differ, and their states. Every leaf has a leading axis `[M]`."""

  hyperparameters: dict[str, Array]
  state: TrainState

  @property
  def step(self) -> Array:
    """Updates that each member has done, `[M]`."""
    return self.state.step


PopulationChunk = Chunk[Population]


def stack(trees: Sequence[Any]) -> Any:
  """M trees as one, with a leading axis `[M]` on every leaf."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def member(tree: Any, index: int) -> Any:
  """The part of a tree with leading axis `[M]` that belongs to one member."""
  return jax.tree.map(lambda leaf: leaf[index], tree)


def make_population(hyperparameters: Sequence[Hyperparameters], states: Sequence[TrainState]) -> Population:
  """A population from its members; all name the same hyper-parameters, floats or bools."""
  return Population(
    hyperparameters={name: jnp.asarray([values[name] for values in hyperparameters]) for name in hyperparameters[0]},
    state=stack(states),
  )


def initialise_member(make_algorithm: MakeAlgorithm, hyperparameters: Hyperparameters, key: Key) -> TrainState:
  """The first state of one member, that of the algorithm alone."""
  return initialise(make_algorithm(**hyperparameters), key)


def make_population_chunk(make_algorithm: MakeAlgorithm, sample: Sample, num_steps: int) -> PopulationChunk:
  """Makes the function that does `num_steps` updates of every member, still to be compiled.

  Args:
    make_algorithm: what the members have in common.
    sample: `(dataset, key) -> TaskBatch`, pure; each member draws its own batches.
    num_steps: updates in one call.

  Returns:
    `(population, dataset, keys [M]) -> (population, metrics [M])`, as `make_chunk` for each member, with one metric
    more: `finite`, a bool, whether all numbers of the member's new state are finite. Where they are not, the member
    keeps the state it came with, and so all that follows: it draws the same batches again.
  """

  def advance(
    hyperparameters: dict[str, Array], state: TrainState, dataset: Dataset, key: Key
  ) -> tuple[TrainState, Metrics]:
    updated, metrics = make_chunk(make_algorithm(**hyperparameters), sample, num_steps)(state, dataset, key)
    # Without the barrier, or with the flag converted to a float here, XLA repeats the test within the choice between
    # new and old of every array, and compiles for four times as long.
    finite = jax.lax.optimization_barrier(is_finite(updated))
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
    return state, metrics | {"finite": finite}

  def chunk(population: Population, dataset: Dataset, keys: Key) -> tuple[Population, Metrics]:
    state, metrics = jax.vmap(advance, in_axes=(0, 0, None, 0), spmd_axis_name=MEMBER_AXIS)(
      population.hyperparameters, population.state, dataset, keys
    )
    return population._replace(state=state), metrics

  return chunk


def is_finite(tree: Any) -> Array:
  """Whether every floating-point number of a tree is finite: `[]` bool."""
  leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()


class MemberParams(NamedTuple):
  """What adapts and acts in a population's program: parameters, and the hyper-parameters that go with them."""

  hyperparameters: dict[str, Array]
  params: Params


def with_hyperparameters(make_algorithm: MakeAlgorithm) -> Algorithm:
  """The algorithm whose params are `MemberParams`, to adapt and act for any member with one compiled program.

  It is not trained by itself: `init` and `update` are those of the algorithm without changes.
  """

  def adapt(params: MemberParams, support: Transition, key: Key) -> dict[str, Params]:
    return make_algorithm(**params.hyperparameters).adapt(params.params, support, key)

  def act(
    params: MemberParams, task: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    return make_algorithm(**params.hyperparameters).act(params.params, task, timestep, key)

  return make_algorithm()._replace(adapt=adapt, act=act)
