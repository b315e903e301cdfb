import jax
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.family import TaskSplit
from macaw_jax.envs.splits import hold_out, hold_out_largest, hold_out_last_quarter


def test_the_largest_values_are_for_testing_and_both_sides_stay_in_order():
  split = hold_out_largest(np.array([3.0, 9.0, 1.0, 7.0, 5.0]), num_test=2)
  assert split.train == (0, 2, 4)
  assert split.test == (1, 3)


def test_among_equal_values_the_later_task_is_for_testing():
  assert hold_out_largest(np.array([1.0, 1.0, 1.0]), num_test=1).test == (2,)


@pytest.mark.parametrize("num_test", [0, 3])
def test_a_side_without_tasks_is_refused(num_test):
  with pytest.raises(ValueError, match=f"got {num_test}"):
    hold_out_largest(np.arange(3.0), num_test)


EXTRAPOLATING = [name for name in sorted(envs.FAMILIES) if envs.make(name).extrapolation]


@pytest.mark.parametrize("name", EXTRAPOLATING)
def test_an_extrapolation_split_uses_every_task_once(name):
  family = envs.make(name)
  both = family.extrapolation.train + family.extrapolation.test
  assert sorted(both) == list(range(len(jax.tree.leaves(family.tasks)[0])))


def test_cheetah_vel_extrapolates_from_the_26_slowest_to_the_14_fastest():
  family = envs.make("cheetah_vel")
  velocities = family.tasks["velocity"]
  np.testing.assert_allclose(velocities[list(family.extrapolation.train)], 0.075 * np.arange(1, 27), rtol=1e-6)
  np.testing.assert_allclose(velocities[list(family.extrapolation.test)], 0.075 * np.arange(27, 41), rtol=1e-6)


@pytest.mark.parametrize(("name", "field"), [("point_robot", "goal"), ("point_robot_wind", "wind")])
def test_point_robots_extrapolate_outwards(name, field):
  family = envs.make(name)
  lengths = np.hypot(*family.tasks[field].T)
  assert np.max(lengths[list(family.extrapolation.train)]) < np.min(lengths[list(family.extrapolation.test)])
  assert len(family.extrapolation.test) == 20


def test_point_robot_sparse_extrapolates_to_the_last_fifth_of_the_half_circle():
  family = envs.make("point_robot_sparse")
  angles = np.arctan2(family.tasks["goal"][:, 1], family.tasks["goal"][:, 0])
  np.testing.assert_allclose(
    np.sort(angles[list(family.extrapolation.test)]), np.pi / 99 * np.arange(80, 100), atol=1e-5
  )


def test_what_is_not_held_out_is_trained_on():
  assert hold_out(5, (3, 1)) == TaskSplit(train=(0, 2, 4), test=(3, 1))
  assert hold_out(4, range(2, 4)) == TaskSplit(train=(0, 1), test=(2, 3))


def test_the_last_quarter_of_the_circle_is_held_out():
  angles = np.radians([0, 269, 271, 359, 180]).astype(np.float32)
  assert hold_out_last_quarter(angles) == TaskSplit(train=(0, 1, 4), test=(2, 3))
