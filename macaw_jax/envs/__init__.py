"""Task families by name."""

from collections.abc import Callable

from macaw_jax.envs import ant, cartpole, cheetah, cheetah_swapped, humanoid, point_robot, point_rotated, randomised
from macaw_jax.envs.family import TaskFamily

FAMILIES: dict[str, Callable[[], TaskFamily]] = {
  "ant_dir": ant.ant_dir,
  "ant_dir_forward": ant.ant_dir_forward,
  "ant_goal": ant.ant_goal,
  "cartpole_bias": cartpole.cartpole_bias,
  "cheetah_dir": cheetah.cheetah_dir,
  "cheetah_swapped": cheetah_swapped.cheetah_swapped,
  "cheetah_vel": cheetah.cheetah_vel,
  "hopper_params": randomised.hopper_params,
  "humanoid_dir": humanoid.humanoid_dir,
  "point_robot": point_robot.point_robot,
  "point_robot_sparse": point_robot.point_robot_sparse,
  "point_robot_wind": point_robot.point_robot_wind,
  "point_rotated": point_rotated.point_rotated,
  "point_rotated_sparse": point_rotated.point_rotated_sparse,
  "walker_params": randomised.walker_params,
}

# Families of on-policy agents, which collect no dataset.
ON_POLICY_FAMILIES = ("cartpole_bias", "cheetah_swapped", "point_rotated", "point_rotated_sparse")


def make(name: str) -> TaskFamily:
  """The task family called `name`.

  Raises:
    ValueError: no family has this name.
  """
  if name not in FAMILIES:
    raise ValueError(f"No task family is called {name!r}; known: {', '.join(sorted(FAMILIES))}.")
  return FAMILIES[name]()
