import math

import jax
import numpy as np
import pytest

from macaw_jax import envs


def task(family, index):
  return jax.tree.map(lambda x: x[index], family.tasks)


def test_sparse_goals_are_the_published_ones():
  family = envs.make("point_robot_sparse")
  angles = np.linspace(0, np.pi, 100)
  goals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  np.random.RandomState(1337).shuffle(goals)  # rows
  np.testing.assert_allclose(family.tasks["goal"], goals, atol=1e-6)


def test_sparse_reward_is_one_less_the_distance_within_a_fifth():
  family = envs.make("point_robot_sparse")
  goal = {"goal": np.float32([0.0, 1.0])}
  # 0.05 away, just inside and just outside the reach, and at the goal.
  for position, expected in (([0.03, 0.96], 0.95), ([0, 0.801], 0.801), ([0, 0.799], 0), ([0, 1.201], 0), ([0, 1], 1)):
    assert family.reward(goal, None, None, np.float32(position)) == pytest.approx(expected, abs=1e-6)


def test_wind_blows_in_every_step():
  family = envs.make("point_robot_wind")
  wind = {"wind": np.float32([0.04, -0.02])}
  state = family.reset(wind, jax.random.key(0))
  for _ in range(3):
    state = family.dynamics.step(wind, state, np.float32([1.0, 0.5]))
  np.testing.assert_allclose(state, [0.42, 0.09], atol=1e-6)
  # From (0.42, 0.09) to (1, 0).
  assert family.reward(wind, None, None, state) == pytest.approx(-math.hypot(0.58, 0.09), abs=1e-6)


def test_the_wind_is_never_stronger_than_the_robot():
  family = envs.make("point_robot_wind")
  winds = family.tasks["wind"]
  assert winds.shape == (100, 2)
  assert np.all(np.abs(winds) <= 0.05)
  assert np.all(np.max(np.abs(winds), axis=0) > 0.045)
  assert np.all(np.min(winds, axis=0) < -0.045)
  np.testing.assert_allclose(np.mean(winds, axis=0), 0, atol=0.0145)  # five standard errors


def test_sparse_and_wind_start_at_the_origin():
  for name, horizon in (("point_robot_sparse", 20), ("point_robot_wind", 25)):
    family = envs.make(name)
    assert family.horizon == horizon
    np.testing.assert_array_equal(family.reset(task(family, 3), jax.random.key(1)), [0, 0])


def test_only_wind_changes_the_physics():
  kinds = {name: envs.make(name).differ_in for name in ("point_robot", "point_robot_sparse", "point_robot_wind")}
  assert kinds == {"point_robot": "rewards", "point_robot_sparse": "rewards", "point_robot_wind": "physics"}
