"""Members of a population are the same runs alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cloning import linear_cloning, make_dataset, sample

from configs import macaw, multitask_awr
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.data.sampling import random_subset
from macaw_jax.training.loop import initialise, make_chunk
from macaw_jax.training.population import (
  MemberParams,
  Skips,
  acting_algorithm,
  has_stopped,
  initialise_member,
  is_finite,
  make_population,
  make_population_chunk,
  member,
  stack,
)
from macaw_jax.types import Problem, TaskBatch, Transition

CONFIGS = {"macaw": macaw, "multitask_awr": multitask_awr}  # the others have some of their hyper-parameters
PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=2, discount=0.9)


def transitions():
  keys = jax.random.split(jax.random.key(5), 5)
  observation, following, final = (jax.random.normal(key, (2, 40, 3)) for key in keys[:3])
  reward = jax.random.normal(keys[3], (2, 40))
  action = jnp.tanh(jax.random.normal(keys[4], (2, 40, 2)))
  zeros = jnp.zeros((2, 40))
  return Transition(observation, action, reward, following, zeros, zeros, 2.0 * reward, final, zeros + 0.5)


def sample_transitions(dataset, key):
  rows = random_subset(key, 40, 16)
  batch = jax.tree.map(lambda leaf: leaf[:, rows], dataset)
  half = lambda start: jax.tree.map(lambda leaf: leaf[:, start : start + 8], batch)  # noqa: E731
  return TaskBatch(half(0), half(8), jnp.arange(2))


def differing(name):
  """The hyper-parameters of a configuration that members may differ in, as configured and all of them changed."""
  values = CONFIGS[name].get_config().algorithm.to_dict()
  shared = {key: value for key, value in values.items() if type(value) not in (float, bool) and key != "name"}
  first = {key: value for key, value in values.items() if type(value) in (float, bool)}
  second = {key: not value if type(value) is bool else 0.8 * value or 0.1 for key, value in first.items()}
  return shared | {"hidden_sizes": (8, 8), "decay_steps": None}, [first, second]


def train_population(make, hyperparameters, keys, num_steps, dataset, sample):
  states = [initialise_member(make, values, key) for values, key in zip(hyperparameters, keys, strict=True)]
  population = make_population(hyperparameters, states)
  chunk = make_population_chunk(make, sample, num_steps, max_skips_in_a_row=2)
  return jax.jit(chunk)(population, dataset, stack(keys))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_member_equals_the_same_run_alone_whatever_it_differs_in(name):
  shared, members = differing(name)
  make = partial(ALGORITHMS[name], PROBLEM, **shared)
  keys = list(jax.random.split(jax.random.key(1), len(members)))
  population, metrics = train_population(make, members, keys, 3, transitions(), sample_transitions)
  for index, (values, key) in enumerate(zip(members, keys, strict=True)):
    algorithm = make(**values)
    state, expected = jax.jit(make_chunk(algorithm, sample_transitions, 3))(
      initialise(algorithm, key), transitions(), key
    )
    assert metrics["kept"][index]
    for metric, value in expected.items():
      np.testing.assert_allclose(metrics[metric][index], value, rtol=1e-3, atol=1e-4, err_msg=metric)
    # Adam divides by the size of a gradient: rounding can turn one that is nearly zero around.
    jax.tree.map(
      partial(np.testing.assert_allclose, rtol=1e-2, atol=2e-3), member(population.state.params, index), state.params
    )


def test_members_adapt_with_their_own_hyperparameters():
  shared, members = differing("macaw")
  make = partial(ALGORITHMS["macaw"], PROBLEM, **shared)
  states = [initialise_member(make, values, jax.random.key(2)) for values in members]
  population = make_population(members, states)
  support = jax.tree.map(lambda leaf: leaf[0], transitions())
  adapt, traces = acting_algorithm(make, members[0]).adapt, []

  def counted(*arguments):
    traces.append(None)
    return adapt(*arguments)

  shared_program = jax.jit(counted)
  for index, values in enumerate(members):
    hyperparameters, state, _ = member(population, index)
    adapted = shared_program(MemberParams(hyperparameters, state.params), support, jax.random.key(0))
    alone = make(**values).adapt(states[index].params, support, jax.random.key(0))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), adapted, alone)
  assert len(traces) == 1


def cloning(learning_rate=0.05):
  return linear_cloning(learning_rate=learning_rate)


def test_a_member_that_diverges_is_as_it_came_and_harms_nobody():
  keys = list(jax.random.split(jax.random.key(3), 3))
  rates = [{"learning_rate": rate} for rate in (0.05, np.inf, 0.01)]
  population, metrics = train_population(cloning, rates, keys, 4, make_dataset(), sample)
  np.testing.assert_array_equal(metrics["kept"], [True, False, True])
  first = initialise(cloning(), keys[1])
  jax.tree.map(np.testing.assert_array_equal, member(population.state, 1), first)
  np.testing.assert_array_equal(population.step, [4, 0, 4])

  well, _ = train_population(cloning, [rates[0], rates[2]], [keys[0], keys[2]], 4, make_dataset(), sample)
  for before, after in ((0, 0), (1, 2)):
    np.testing.assert_allclose(
      member(population.state.params.net["policy"], after), member(well.state.params.net["policy"], before), rtol=1e-5
    )


def test_a_member_that_has_stopped_stands_still():
  keys = jax.random.split(jax.random.key(3), 2)
  skips = [Skips(jnp.int32(5), jnp.int32(2)), Skips(jnp.int32(5), jnp.int32(1))]
  states = [initialise(cloning(), key) for key in keys]
  population = make_population([{}, {}], states, skips)
  chunk = jax.jit(make_population_chunk(cloning, sample, 3, max_skips_in_a_row=2))
  advanced, metrics = chunk(population, make_dataset(), keys)
  jax.tree.map(np.testing.assert_array_equal, member(advanced, 0), member(population, 0))
  np.testing.assert_array_equal(advanced.step, [0, 3])
  np.testing.assert_array_equal(advanced.skips.in_a_row, [2, 0])
  np.testing.assert_array_equal(metrics["skipped_updates"], [5, 5])
  np.testing.assert_array_equal(np.isnan(metrics["policy_loss"]), [True, False])
  np.testing.assert_array_equal(metrics["kept"], [False, True])
  np.testing.assert_array_equal(has_stopped(advanced.skips, 2), [True, False])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_is_enough_not_to_be_finite(value):
  tree = {"counts": jnp.arange(3), "weights": jnp.ones((2, 2))}
  assert is_finite(tree)
  assert not is_finite(tree | {"weights": tree["weights"].at[1, 0].set(value)})


def test_a_tree_without_floats_is_finite():
  assert is_finite({"counts": jnp.arange(3), "nothing": {}})
