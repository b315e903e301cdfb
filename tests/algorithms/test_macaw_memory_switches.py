"""The memory switches of MACAW decide the program that all members of a population share."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.algorithms import macaw
from macaw_jax.training.loop import initialise, make_chunk
from macaw_jax.training.population import initialise_member, make_population, make_population_chunk, member, stack
from macaw_jax.types import Problem, TaskBatch, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=2, discount=0.9)
MEMBERS = [{"temperature": 1.0, "first_order": False}, {"temperature": 0.5, "first_order": True}]


def transitions(key):
  keys = iter(jax.random.split(key, 6))
  draw = lambda *sizes: jax.random.normal(next(keys), (2, 8, *sizes))  # noqa: E731
  zeros = jnp.zeros((2, 8))
  return Transition(draw(3), draw(2), draw(), draw(3), zeros, zeros, draw(), draw(3), zeros)


@pytest.mark.parametrize(
  "switch",
  [{"matmul_precision": "bfloat16"}, pytest.param({"remat": "inner_steps"}, marks=pytest.mark.slow)],
  ids=str,
)
def test_members_equal_the_runs_alone(switch):
  make = partial(macaw, PROBLEM, hidden_sizes=(8,), adaptation_steps=2, optimizer=optax.sgd, **switch)
  tasks = TaskBatch(transitions(jax.random.key(1)), transitions(jax.random.key(2)), jnp.arange(2))
  sample = lambda dataset, key: dataset  # noqa: E731
  keys = list(jax.random.split(jax.random.key(0), len(MEMBERS)))
  states = [initialise_member(make, values, key) for values, key in zip(MEMBERS, keys, strict=True)]
  chunk = make_population_chunk(make, sample, 2, max_skips_in_a_row=1)
  population, metrics = jax.jit(chunk)(make_population(MEMBERS, states), tasks, stack(keys))
  np.testing.assert_array_equal(metrics["kept"], [True, True])
  for index, (values, key) in enumerate(zip(MEMBERS, keys, strict=True)):
    algorithm = make(**values)
    alone, _ = jax.jit(make_chunk(algorithm, sample, 2))(initialise(algorithm, key), tasks, key)
    assert {leaf.dtype for leaf in jax.tree.leaves(alone.params)} == {jnp.dtype("float32")}
    # A number on the edge between two of bfloat16 may be rounded to either side.
    jax.tree.map(
      partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), member(population.state.params, index), alone.params
    )
