import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.point_rotated import point_rotated, point_rotated_sparse, step
from macaw_jax.envs.rollout import episode_return, make_rollout

SHAPED, SPARSE = point_rotated(), point_rotated_sparse()
ANGLES = np.float32([0.0, math.pi / 2, -2.5, math.pi])


def stay(params, adapted, timestep, key):
  return jnp.zeros(2), adapted


def know(angle, adapted, timestep, key):
  """Knows the angle, and asks for the way to the goal turned back by it: the move is the way itself."""
  way = jnp.array([1.0, 0.0]) - 2.0 * timestep.observation
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  return jnp.stack([cosine * way[0] + sine * way[1], cosine * way[1] - sine * way[0]]), adapted


def episodes(family, act, angles, params=None):
  return make_rollout(family, act)(params, {}, {"angle": np.float32(angles)}, jax.random.key(0))


@pytest.mark.parametrize(
  ("angle", "action", "expected"),
  [
    (0.0, [0.3, -0.4], [0.3, -0.4]),
    (math.pi / 2, [1.0, 0.0], [0.0, 1.0]),
    (math.pi / 2, [0.0, 1.0], [-1.0, 0.0]),
    (math.pi, [0.5, 0.25], [-0.5, -0.25]),
    (math.pi / 6, [1.0, 0.0], [math.sqrt(3) / 2, 0.5]),
  ],
)
def test_a_move_is_the_action_turned_by_the_angle(angle, action, expected):
  after = step({"angle": np.float32(angle)}, jnp.zeros(2), np.float32(action))
  np.testing.assert_allclose(after, expected, atol=1e-6)


def test_the_point_stays_within_the_square_of_half_side_two():
  after = step({"angle": np.float32(0.0)}, jnp.array([1.7, -1.9]), np.float32([0.8, -0.9]))
  np.testing.assert_allclose(after, [2.0, -2.0])


def test_the_observation_is_half_the_position():
  np.testing.assert_allclose(SHAPED.observe({}, jnp.array([2.0, -0.5])), [1.0, -0.25])


def test_actions_are_clipped_before_they_are_turned():
  trajectory = episodes(SHAPED, lambda *arguments: (jnp.array([5.0, 0.0]), arguments[1]), [math.pi / 4])
  # One unit along the diagonal, not (2, 2).
  np.testing.assert_allclose(trajectory.state[0, 1], [math.sqrt(0.5), math.sqrt(0.5)], atol=1e-6)


def test_staying_costs_one_a_step_of_the_shaped_family():
  trajectory = episodes(SHAPED, stay, ANGLES)
  np.testing.assert_array_equal(episode_return(trajectory), [-10.0] * 4)
  assert np.all(np.asarray(trajectory.mask) == 1.0)
  assert np.all(np.asarray(trajectory.terminal) == 0.0)


@pytest.mark.parametrize("angle", ANGLES)
def test_who_knows_the_angle_loses_nothing(angle):
  assert episode_return(episodes(SHAPED, know, [angle], angle))[0] == pytest.approx(0.0, abs=1e-5)


def test_the_shaped_reward_is_minus_the_distance_after_the_move():
  # From (0, 0) by (0.4, 0.8) to (0.4, 0.8), which is 1 from (1, 0).
  assert SHAPED.reward({}, jnp.zeros(2), None, jnp.array([0.4, 0.8])) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_step_that_arrives_costs_one_and_ends_the_sparse_episode(angle):
  trajectory = episodes(SPARSE, know, [angle], angle)
  assert episode_return(trajectory)[0] == -1.0
  np.testing.assert_array_equal(trajectory.mask[0], [1.0] + [0.0] * 99)
  np.testing.assert_array_equal(trajectory.terminal[0], [1.0] + [0.0] * 99)


def test_never_arriving_costs_a_hundred():
  np.testing.assert_array_equal(episode_return(episodes(SPARSE, stay, ANGLES)), [-100.0] * 4)


def test_the_goal_is_reached_from_nearer_than_a_tenth():
  for position, expected in (([1.0, 0.099], True), ([1.0, 0.101], False), ([0.92, -0.05], True), ([0.9, 0.05], False)):
    assert bool(SPARSE.terminal({}, jnp.array(position))) == expected


@pytest.mark.parametrize("family", [SHAPED, SPARSE])
def test_tasks_and_split(family):
  assert envs.make(family.name).horizon == family.horizon
  angles = family.tasks["angle"]
  assert angles.shape == (5100,)
  train, test = angles[list(family.train_tasks)], angles[list(family.test_tasks)]
  np.testing.assert_allclose(train, [-math.pi + 2 * math.pi * i / 4999 for i in range(5000)], atol=1e-6)
  np.testing.assert_allclose(test, [-math.pi + 2 * math.pi * (k + 0.5) / 100 for k in range(100)], atol=1e-6)
  assert not set(train.tolist()) & set(test.tolist())
  assert (family.train_tasks[0], family.test_tasks[0], family.differ_in) == (0, 5000, "physics")
