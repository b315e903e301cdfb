"""An algorithm that adapts to retrieved rows is the plain one in all else; one of each learner."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_agent

from macaw_jax.adaptation.retrieval import REFERENCE, add_reference, retrieving
from macaw_jax.data.statistics import no_scaling
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import (
  acting_algorithm,
  initialise_member,
  make_population,
  make_population_chunk,
  member,
  member_params,
  no_skips,
  stack,
)
from macaw_jax.types import Problem, TaskBatch, TimeStep, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=2, discount=0.9)
AGENTS = {
  "gradient-based": ("macaw", {"layer": "dense"}),
  "context-based": ("focal", {}),
  "multi-task": ("multitask_awr", {"adaptation_steps": 2}),
}
KEY = jax.random.key(0)


def transitions(seed, *shape):
  keys = jax.random.split(jax.random.key(seed), 6)
  observation, following, final = (jax.random.normal(key, (*shape, 3)) for key in keys[:3])
  reward, returned = (jax.random.normal(key, shape) for key in keys[3:5])
  action, zeros = jnp.tanh(jax.random.normal(keys[5], (*shape, 2))), jnp.zeros(shape)
  return Transition(observation, action, reward, following, zeros, zeros, returned, final, zeros + 0.5)


def batch(seed=1):
  return TaskBatch(transitions(seed, 2, 8), transitions(seed + 1, 2, 8), jnp.arange(2))


def some_rows(table, key):
  """Eight rows of a table."""
  rows = jax.random.randint(key, (8,), 0, len(table.reward))
  return jax.tree.map(lambda leaf: leaf[rows], table)


def rows_beside(table, support, key):
  """Eight rows of a table, in the units of the support."""
  found = some_rows(table, key)
  return found._replace(reward=found.reward + support.reward.mean())


TABLE = transitions(7, 50)


def with_table(algorithm):
  return retrieving(algorithm, TABLE, rows_beside, some_rows)


@pytest.fixture(params=AGENTS)
def agent(request):
  """The plain algorithm, and the same that retrieves."""
  name, settings = AGENTS[request.param]
  plain = small_agent(PROBLEM, name, **settings)
  return plain, with_table(plain)


def test_updates_are_those_of_the_plain_algorithm_bit_for_bit(agent):
  plain, algorithm = agent
  state, expected = algorithm.init(KEY), plain.init(KEY)
  update, update_plain = jax.jit(algorithm.update), jax.jit(plain.update)
  for seed in (1, 5):
    state, metrics = update(state, batch(seed), jax.random.key(seed))
    expected, metrics_plain = update_plain(expected, batch(seed), jax.random.key(seed))
    chex.assert_trees_all_equal(metrics, metrics_plain)
  net = dict(state.params.net)
  chex.assert_trees_all_equal(net.pop(REFERENCE), TABLE)
  chex.assert_trees_all_equal(state._replace(params=state.params._replace(net=net)), expected)
  assert not np.array_equal(
    *(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(each)]) for each in (net, plain.init(KEY).params.net))
  )


def test_it_adapts_to_retrieved_rows_as_the_plain_algorithm_to_these(agent):
  plain, algorithm = agent
  params, support = plain.init(KEY).params, transitions(3, 8)
  key_rows, key_adapt = jax.random.split(KEY)
  adapt, adapt_plain = jax.jit(algorithm.adapt), jax.jit(plain.adapt)
  found = adapt(add_reference(params, TABLE), support, KEY)
  chex.assert_trees_all_close(found, adapt_plain(params, rows_beside(TABLE, support, key_rows), key_adapt), rtol=1e-5)
  assert REFERENCE not in found
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(found, adapt_plain(params, support, key_adapt), rtol=1e-5)
  # Whatever the reference is: it is that of the parameters.
  other = transitions(8, 50)
  found = adapt(add_reference(params, other), support, KEY)
  chex.assert_trees_all_close(found, adapt_plain(params, rows_beside(other, support, key_rows), key_adapt), rtol=1e-5)


def test_before_there_are_data_it_has_adapted_to_introduced_rows(agent):
  plain, algorithm = agent
  params = plain.init(KEY).params
  key_rows, key_adapt = jax.random.split(KEY)
  found = jax.jit(algorithm.prior)(add_reference(params, TABLE), KEY)
  expected = jax.jit(plain.adapt)(params, some_rows(TABLE, key_rows), key_adapt)
  chex.assert_trees_all_close(found, expected, rtol=1e-5)
  step = TimeStep(jnp.ones(3), jnp.zeros(2), jnp.zeros(()), jnp.ones(()))
  action, kept = jax.jit(algorithm.act, static_argnums=3)(add_reference(params, TABLE), found, step, None)
  expected_action, _ = jax.jit(plain.act, static_argnums=3)(params, expected, step, None)
  np.testing.assert_allclose(action, expected_action, rtol=1e-5)
  chex.assert_trees_all_equal(kept, found)


def test_what_an_algorithm_says_of_itself_stays(agent):
  plain, algorithm = agent
  for name in ("reads_reward", "support_parts", "consecutive_rows"):
    assert getattr(algorithm, name) == getattr(plain, name)


def test_an_algorithm_that_reads_consecutive_rows_is_refused():
  with pytest.raises(ValueError, match="reads transitions in any order: retrieved ones are not consecutive"):
    with_table(small_agent(PROBLEM, "macaw", outer_value_target="td_lambda"))


def test_a_reference_of_shapes_is_enough_where_parameters_hold_one():
  algorithm = retrieving(small_agent(PROBLEM, "focal"), jax.eval_shape(lambda: TABLE), rows_beside, some_rows)
  params = add_reference(small_agent(PROBLEM, "focal").init(KEY).params, TABLE)
  chex.assert_trees_all_equal(
    algorithm.adapt(params, transitions(3, 8), KEY),
    with_table(small_agent(PROBLEM, "focal")).adapt(params, transitions(3, 8), KEY),
  )


def test_members_of_a_population_hold_it_and_adapt_with_it(tmp_path):
  """Two that differ in a hyper-parameter, each as it would be alone; and a checkpoint of one."""
  plain = partial(small_agent, PROBLEM, "multitask_awr")
  make = lambda **values: with_table(plain(**values))  # noqa: E731
  members = [{"temperature": 1.0}, {"temperature": 0.5}]
  keys = list(jax.random.split(KEY, 2))

  def trained(make):
    states = [initialise_member(make, values, key) for values, key in zip(members, keys, strict=True)]
    chunk = make_population_chunk(make, lambda dataset, key: dataset, 3, max_skips_in_a_row=2)
    population, metrics = jax.jit(chunk)(make_population(members, states), batch(), stack(keys))
    assert np.all(metrics["kept"])
    return population

  population, expected = trained(make), trained(plain)
  acting = acting_algorithm(make, members[0])
  support, states = transitions(3, 8), []
  for index, values in enumerate(members):
    hyperparameters, state, _ = member(population, index)
    chex.assert_trees_all_equal(state.params.net[REFERENCE], TABLE)
    net = {name: part for name, part in state.params.net.items() if name != REFERENCE}
    chex.assert_trees_all_close(net, member(expected.state.params.net, index), rtol=1e-5)
    adapted = jax.jit(acting.adapt)(member_params(hyperparameters, state.params), support, KEY)
    chex.assert_trees_all_close(adapted, jax.jit(make(**values).adapt)(state.params, support, KEY), rtol=1e-5)
    states.append(state)

  saved = Checkpoint(states[1], no_scaling(3), no_skips())
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(3, saved)
  with Checkpoints(tmp_path) as checkpoints:
    like = saved._replace(state=initialise(make(**members[1]), jax.random.key(99)))
    restored, _ = checkpoints.restore(like)
    chex.assert_trees_all_equal(restored.state, states[1])
    with pytest.raises(ValueError, match=r"leaf .*reference.* is unknown"):
      checkpoints.restore(saved._replace(state=initialise(plain(**members[1]), KEY)))
