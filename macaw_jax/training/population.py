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
from macaw_jax.types import Algorithm, Array, Key, Metrics, Params, TrainState

MEMBER_AXIS = "seed"  # The axis of a device mesh that members are laid along.

# The metrics that a population's chunk adds to those of its algorithm.
SKIPPED_UPDATES = "skipped_updates"  # of the member, since the run began
KEPT = "kept"  # bool: whether the member has its new state

Hyperparameters = Mapping[str, Any]
MakeAlgorithm = Callable[..., Algorithm]
"""`(**hyperparameters) -> Algorithm`; in a population the hyper-parameters are traced."""


class Skips(NamedTuple):
  """Counts of updates that were skipped because not every number was finite: int32 `[]` of a member, `[M]` of all.

  A skipped update leaves parameters and optimiser as they are, and counts as done: the next one draws another batch.
  """

  total: Array
  in_a_row: Array  # since the last that was applied


class Population(NamedTuple):
  """M members: their hyper-parameters, their states, their skips. Every leaf has a leading axis `[M]`."""

  hyperparameters: dict[str, Array]  # those in which they differ
  state: TrainState
  skips: Skips

  @property
  def step(self) -> Array:
    """Updates that each member has done, skipped ones included, `[M]`."""
    return self.state.step


PopulationChunk = Chunk[Population]


def stack(trees: Sequence[Any]) -> Any:
  """M trees as one, with a leading axis `[M]` on every leaf."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def member(tree: Any, index: int) -> Any:
  """The part of a tree with leading axis `[M]` that belongs to one member."""
  return jax.tree.map(lambda leaf: leaf[index], tree)


def no_skips() -> Skips:
  """The counts of a member that has had no update."""
  return Skips(total=jnp.zeros((), jnp.int32), in_a_row=jnp.zeros((), jnp.int32))


def has_stopped(skips: Skips, max_skips_in_a_row: int) -> Array:
  """Whether so many updates in a row were skipped that the member stands still: `[]` or `[M]` bool, as `skips`."""
  return skips.in_a_row >= max_skips_in_a_row


def make_population(
  hyperparameters: Sequence[Hyperparameters], states: Sequence[TrainState], skips: Sequence[Skips] | None = None
) -> Population:
  """A population from its members; all name the same hyper-parameters, floats or bools. No skips if not given."""
  return Population(
    hyperparameters={name: jnp.asarray([values[name] for values in hyperparameters]) for name in hyperparameters[0]},
    state=stack(states),
    skips=stack([no_skips() for _ in states] if skips is None else skips),
  )


def initialise_member(make_algorithm: MakeAlgorithm, hyperparameters: Hyperparameters, key: Key) -> TrainState:
  """The first state of one member, that of the algorithm alone."""
  return initialise(make_algorithm(**hyperparameters), key)


def make_population_chunk(
  make_algorithm: MakeAlgorithm, sample: Sample, num_steps: int, *, max_skips_in_a_row: int, own_data: bool = False
) -> PopulationChunk:
  """Makes the function that does `num_steps` updates of every member, still to be compiled.

  It tests once whether the numbers of a member have stayed finite. Where they have not,
  `macaw_jax.training.non_finite` repeats that member's updates one by one.

  Args:
    make_algorithm: of all members.
    sample: `(dataset, key) -> TaskBatch`, pure; each member draws its own batches.
    num_steps: updates in one call.
    max_skips_in_a_row: a member that has skipped so many updates in a row has stopped, see `has_stopped`.
    own_data: whether each member has data of its own, leaves `[M, ...]`; else they share them.

  Returns:
    `(population, dataset, keys [M]) -> (population, metrics [M])`, as `make_chunk` for each member, with two metrics
    more. `skipped_updates`: how many the member has skipped so far. `kept`, a bool: whether it has its new state; else
    it is as it came, because it has stopped, its metrics then NaN, or because not every number of its new state and
    metrics is finite, and its updates are to be repeated.
  """

  def advance(
    hyperparameters: dict[str, Array], state: TrainState, skips: Skips, dataset: Dataset, key: Key
  ) -> tuple[TrainState, Skips, Metrics]:
    updated, metrics = make_chunk(make_algorithm(**hyperparameters), sample, num_steps)(state, dataset, key)
    runs = ~has_stopped(skips, max_skips_in_a_row)
    # Without the barrier, or with the flag converted or negated here, XLA repeats the test within the choice between
    # new and old of every array, and compiles for four times as long: it may only choose, and be handed out.
    kept = jax.lax.optimization_barrier(runs & is_finite((updated, metrics)))
    state = choose(kept, updated, state)
    skips = skips._replace(in_a_row=jnp.where(kept, 0, skips.in_a_row))
    means = {name: jnp.where(runs, value, jnp.nan) for name, value in metrics.items()}
    return state, skips, means | {SKIPPED_UPDATES: skips.total, KEPT: kept}

  def chunk(population: Population, dataset: Dataset, keys: Key) -> tuple[Population, Metrics]:
    state, skips, metrics = jax.vmap(
      advance, in_axes=(0, 0, 0, 0 if own_data else None, 0), spmd_axis_name=MEMBER_AXIS
    )(population.hyperparameters, population.state, population.skips, dataset, keys)
    return population._replace(state=state, skips=skips), metrics

  return chunk


def is_finite(tree: Any) -> Array:
  """Whether every floating-point number of a tree is finite: `[]` bool."""
  leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def choose(first: Array, one: Any, other: Any) -> Any:
  """The tree `one` where `first`, a bool `[]`, is true, else `other`."""
  return jax.tree.map(lambda *leaves: jnp.where(first, *leaves), one, other)


class MemberParams(NamedTuple):
  """Parameters with the hyper-parameters of their member."""

  hyperparameters: dict[str, Array]
  params: Params


def member_params(hyperparameters: dict[str, Array], params: Params) -> Params | MemberParams:
  """The parameters that `acting_algorithm` takes for one member: without hyper-parameters, where members share them."""
  return MemberParams(hyperparameters, params) if hyperparameters else params


def acting_algorithm(make_algorithm: MakeAlgorithm, hyperparameters: Hyperparameters) -> Algorithm:
  """The algorithm that adapts and acts for any member with one compiled program, given the `member_params`.

  Its `init` and `update` are those of one member.

  Args:
    make_algorithm: of all members.
    hyperparameters: of one member.
  """
  # As arrays, so that what the algorithm says of itself holds for members with other values too.
  algorithm = make_algorithm(**{name: jnp.asarray(value) for name, value in hyperparameters.items()})
  if not hyperparameters:
    return algorithm

  def of_member(name: str) -> Callable[..., Any]:
    def function(params: MemberParams, *arguments: Any) -> Any:
      return getattr(make_algorithm(**params.hyperparameters), name)(params.params, *arguments)

    return function

  return algorithm._replace(adapt=of_member("adapt"), act=of_member("act"), prior=of_member("prior"))
