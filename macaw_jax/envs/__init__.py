"""Task families by name."""

from collections.abc import Callable

from macaw_jax.envs import cheetah, point_robot
from macaw_jax.envs.family import TaskFamily

FAMILIES: dict[str, Callable[[], TaskFamily]] = {
  "cheetah_dir": cheetah.cheetah_dir,
  "cheetah_vel": cheetah.cheetah_vel,
  "point_robot": point_robot.point_robot,
  "point_robot_sparse": point_robot.point_robot_sparse,
  "point_robot_wind": point_robot.point_robot_wind,
}


def make(name: str) -> TaskFamily:
  """The task family called `name`.

  Raises:
    ValueError: no family has this name.
  """
  if name not in FAMILIES:
    raise ValueError(f"No task family is called {name!r}; known: {', '.join(sorted(FAMILIES))}.")
  return FAMILIES[name]()
