"""Parameters after three updates are those that the package has had before.

tests/reference/three_updates.json holds, for each case, its settings, and the norm and the sum of each part's
parameters. They were computed at the last commit before the algorithms were made of values, on random batches of the
keys below; those of actor-critics anew when policies began to start near a standard deviation of one. A change of these
numbers is a change of results, and needs its reason.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_episodes import PROBLEM as PROBLEM_OF_EPISODES
from small_episodes import tasks as tasks_of_episodes

from macaw_jax.algorithms import ON_POLICY
from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.types import Problem, TaskBatch, Transition

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "three_updates.json").read_text())
PROBLEM = Problem(3, 2, 4, 0.9)


def rows(key, num_tasks=3, num_rows=8):
  keys = iter(jax.random.split(key, 8))

  def draw(*sizes):
    return jax.random.normal(next(keys), (num_tasks, num_rows, *sizes))

  zeros = jnp.zeros((num_tasks, num_rows))
  observation, action = draw(3), jnp.tanh(draw(2))
  reward, next_observation = draw(), draw(3)
  terminal, last = zeros.at[:, 2].set(1), zeros.at[:, -1].set(1).at[:, 2].set(1)
  return Transition(
    observation, action, reward, next_observation, terminal, last, draw(), draw(3), jnp.full_like(zeros, 0.5)
  )


def batch(seed):
  key_support, key_query = jax.random.split(jax.random.key(seed))
  return TaskBatch(rows(key_support), rows(key_query), jnp.array([3, 0, 2]))


@pytest.mark.parametrize("case", REFERENCE)
def test_three_updates_give_the_numbers_of_before(case):
  name, settings, expected = (REFERENCE[case][field] for field in ("algorithm", "settings", "parts"))
  algorithm = make_algorithm(name, PROBLEM_OF_EPISODES if name in ON_POLICY else PROBLEM, settings)
  state, update = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)
  for seed in range(3):
    on_policy = name in ON_POLICY
    tasks = tasks_of_episodes(seed + 1, rewards_in_support=algorithm.reads_reward) if on_policy else batch(seed + 1)
    state, _ = update(state, tasks, jax.random.key(seed + 10))
  parts = {**state.params.net, **({"rule": state.params.rule} if jax.tree.leaves(state.params.rule) else {})}
  assert parts.keys() == expected.keys()
  for part, params in parts.items():
    values = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(params)])
    size = np.sqrt(values.size)
    # Outputs of a network differ more than its parameters between versions of JAX.
    rtol = 5e-4 if part == "known_latents" else 5e-5
    np.testing.assert_allclose(np.linalg.norm(values), expected[part][0], rtol=rtol, atol=1e-6, err_msg=part)
    np.testing.assert_allclose(values.sum(), expected[part][1], rtol=rtol, atol=rtol * size, err_msg=part)
