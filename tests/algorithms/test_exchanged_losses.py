"""Losses that are handed in from outside, and rows that do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_episodes import PROBLEM as EPISODE_PROBLEM
from small_episodes import tasks as episode_tasks

from macaw_jax.algorithms import macaw, maml_rl, multitask_awr, multitask_bc, norml, policy_gradient_inner
from macaw_jax.losses.values import expectile_loss
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import add, scale, value_regression
from macaw_jax.types import Problem, TaskBatch, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
KEY = jax.random.key(0)
SMALL = {"hidden_sizes": (6,), "optimizer": optax.sgd}


def transitions(key, *shape):
  keys = iter(jax.random.split(key, 7))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  zeros = jnp.zeros(shape)
  return Transition(draw(3), draw(2), draw(), draw(3), zeros, zeros.at[..., -1].set(1), draw(), draw(3), 0.5 + zeros)


TASKS = TaskBatch(transitions(jax.random.key(1), 3, 8), transitions(jax.random.key(2), 3, 8), jnp.array([3, 0, 2]))


def first(tree):
  return jax.tree.map(lambda leaf: leaf[0], tree)


def losses_after(algorithm, updates, tasks=TASKS):
  """The last metrics, and the state."""
  state, update = algorithm.init(KEY), jax.jit(algorithm.update)
  for _ in range(updates):
    state, metrics = update(state, tasks, KEY)
  return metrics, state


def test_macaw_trains_with_an_expectile_value_loss():
  def expectile(value, target):
    def loss(params, batch, key):
      error = 2.0 * expectile_loss(target(params, batch) - value.apply(params["value"], batch.observation), 0.9)
      return error, {"value_loss": error}

    return loss

  settings = {**SMALL, "layer": "dense", "value_learning_rate": 0.05}
  algorithm = macaw(PROBLEM, **settings, inner_value_loss=expectile, outer_value_loss=expectile)
  (before, _), (after, state) = losses_after(algorithm, 1), losses_after(algorithm, 30)
  assert after["value_loss"] < before["value_loss"]
  # Values near the upper expectile lie above those near the mean.
  _, plain = losses_after(macaw(PROBLEM, **settings), 30)
  value, support = value_network(3, (6,), layer="dense"), first(TASKS.support)
  adapted = [algorithm.adapt(s.params, support, KEY)["value"] for s in (state, plain)]
  high, mean = (jnp.mean(value.apply(params, support.observation)) for params in adapted)
  assert high > mean + 0.1


def zero(*_, **__):
  return lambda params, batch, key: (jnp.zeros(()), {})


@pytest.mark.parametrize(
  ("make", "moves", "stays"),
  [
    (lambda: macaw(PROBLEM, **SMALL, outer_policy_loss=zero), ("value",), ("policy",)),
    (lambda: macaw(PROBLEM, **SMALL, outer_value_loss=zero), ("policy",), ("value",)),
    (lambda: multitask_awr(PROBLEM, **SMALL, policy_loss=zero), ("value",), ("policy",)),
    (lambda: multitask_awr(PROBLEM, **SMALL, value_loss=zero), ("policy",), ("value",)),
    (lambda: multitask_bc(PROBLEM, **SMALL, policy_loss=zero), (), ("policy",)),
  ],
)
def test_a_loss_of_zero_in_place_of_one_stops_what_that_one_trains(make, moves, stays):
  algorithm = make()
  before, (_, after) = algorithm.init(KEY).params.net, losses_after(algorithm, 1)
  same = {
    part: all(jax.tree.leaves(jax.tree.map(np.array_equal, before[part], after.params.net[part]))) for part in before
  }
  assert same == dict.fromkeys(moves, False) | dict.fromkeys(stays, True)


@pytest.mark.parametrize("which", ["inner_value_loss", "inner_policy_loss"])
def test_an_inner_loss_of_zero_leaves_its_part_as_it_is(which):
  algorithm = macaw(PROBLEM, **SMALL, layer="dense", **{which: zero})
  params = algorithm.init(KEY).params
  adapted = algorithm.adapt(params, first(TASKS.support), KEY)
  part = which.split("_")[1]
  jax.tree.map(np.testing.assert_array_equal, adapted[part], params.net[part])


@pytest.mark.parametrize(
  "make",
  [
    lambda loss: norml(EPISODE_PROBLEM, **SMALL, outer_loss=loss),
    lambda loss: norml(EPISODE_PROBLEM, **SMALL, inner_loss=loss, offset=False),
    lambda loss: maml_rl(EPISODE_PROBLEM, optimizer=optax.sgd, outer_loss=loss),
    lambda loss: maml_rl(EPISODE_PROBLEM, optimizer=optax.sgd, inner=policy_gradient_inner(loss=loss)),
  ],
)
def test_losses_of_on_policy_agents_can_be_exchanged(make):
  algorithm = make(zero)
  state = algorithm.init(KEY)
  tasks = episode_tasks(rewards_in_support=algorithm.reads_reward)
  adapted = algorithm.adapt(state.params, first(tasks.support), KEY)
  updated, _ = algorithm.update(state, tasks, KEY)
  unchanged = lambda a, b: all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))  # noqa: E731
  assert unchanged(adapted["policy"], state.params.net["policy"]) or unchanged(updated.params, state.params)


def test_a_loss_may_be_a_sum_of_others():
  both = lambda value, target: scale(0.5, add(value_regression(value, target), zero()))  # noqa: E731
  (found, _), (expected, _) = (
    losses_after(macaw(PROBLEM, **SMALL, outer_value_loss=loss), 1) for loss in (both, value_regression)
  )
  np.testing.assert_allclose(found["value_loss"], expected["value_loss"], rtol=1e-6)


# Rows that do not count


@pytest.mark.parametrize(
  "make",
  [
    lambda: macaw(PROBLEM, **SMALL),
    lambda: macaw(PROBLEM, **SMALL, advantage_coefficient=None, layer="dense"),
    lambda: multitask_awr(PROBLEM, **SMALL, adaptation_steps=3),
    lambda: multitask_bc(PROBLEM, **SMALL, adaptation_steps=3),
  ],
)
def test_adaptation_ignores_rows_whose_mask_is_zero(make):
  algorithm, valid = make(), 5
  params, support = algorithm.init(KEY).params, first(TASKS.support)
  mask = (jnp.arange(8) < valid).astype(float)
  other = jax.tree.map(lambda leaf: leaf.at[valid:].set(7.0), support)
  adapt = jax.jit(lambda rows: algorithm.adapt(params, rows, KEY))
  found = adapt(support._replace(mask=mask))
  jax.tree.map(np.testing.assert_array_equal, found, adapt(other._replace(mask=mask)))
  alone = algorithm.adapt(params, jax.tree.map(lambda leaf: leaf[:valid], support), KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, alone)
  everything = adapt(support._replace(mask=jnp.ones(8)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), everything, adapt(support))


def test_a_share_of_the_support_without_any_row_that_counts_is_no_step():
  algorithm = macaw(PROBLEM, **SMALL, layer="dense", adaptation_steps=2)
  params, support = algorithm.init(KEY).params, first(TASKS.support)
  mask = (jnp.arange(8) < 4).astype(float)
  found = algorithm.adapt(params, support._replace(mask=mask), KEY)
  half = jax.tree.map(lambda leaf: leaf[:4], support)
  alone = macaw(PROBLEM, **SMALL, layer="dense").adapt(params, half, KEY)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, alone)
