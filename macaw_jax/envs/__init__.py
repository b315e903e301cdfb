"""Task families by name."""

from collections.abc import Callable

from macaw_jax.envs import (
  ant,
  bandit,
  cartpole,
  cheetah,
  cheetah_swapped,
  humanoid,
  maze,
  point_robot,
  point_rotated,
  randomised,
)
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.lookup import find_entry_point, own_family
from macaw_jax.envs.names import EXPECTED, parse_name
from macaw_jax.envs.variants import VARIANTS
from macaw_jax.errors import ConfigurationError
from macaw_jax.own_modules import is_own

FAMILIES: dict[str, Callable[[], TaskFamily]] = {
  "ant_dir": ant.ant_dir,
  "ant_dir_forward": ant.ant_dir_forward,
  "ant_goal": ant.ant_goal,
  "bandit_10": bandit.bandit_10,
  "bandit_100": bandit.bandit_100,
  "bandit_500": bandit.bandit_500,
  "cartpole_bias": cartpole.cartpole_bias,
  "cheetah_dir": cheetah.cheetah_dir,
  "cheetah_swapped": cheetah_swapped.cheetah_swapped,
  "cheetah_vel": cheetah.cheetah_vel,
  "hopper_params": randomised.hopper_params,
  "humanoid_dir": humanoid.humanoid_dir,
  "maze": maze.maze,
  "maze_8": maze.maze_8,
  "point_robot": point_robot.point_robot,
  "point_robot_origin": point_robot.point_robot_origin,
  "point_robot_sparse": point_robot.point_robot_sparse,
  "point_robot_wind": point_robot.point_robot_wind,
  "point_rotated": point_rotated.point_rotated,
  "point_rotated_sparse": point_rotated.point_rotated_sparse,
  "walker_params": randomised.walker_params,
}

# Families of on-policy agents, which collect no dataset.
ON_POLICY_FAMILIES = (
  "bandit_10",
  "bandit_100",
  "bandit_500",
  "cartpole_bias",
  "cheetah_swapped",
  "maze",
  "maze_8",
  "point_rotated",
  "point_rotated_sparse",
)


def is_name(name: str) -> bool:
  """Whether a name may be that of a family; for `module:attribute` no module is imported to find out."""
  base, variants = parse_name(name)
  right = set(variants) <= set(VARIANTS) and len(set(variants)) == len(variants)
  return right and (base in FAMILIES or is_own(base) or find_entry_point(base) is not None)


def make(name: str) -> TaskFamily:
  """The task family of a name: one of the package, of a module of your own, or of an entry point, in any variant.

  Its `name` is this one, by which it is made again. A module is imported, and where it was found is logged; its family
  is checked on shapes.

  Args:
    name: see `macaw_jax.envs.names`.

  Raises:
    ConfigurationError: no family has this name, or one of your own cannot be made; in one line.
  """
  if not is_name(name):
    raise ConfigurationError(f"no task family is called {name!r}; expected one of {', '.join(FAMILIES)}, {EXPECTED}")
  base, variants = parse_name(name)
  if base in FAMILIES:
    family = FAMILIES[base]()
  elif is_own(base):
    family = own_family(base, *base.split(":"))
  else:
    entry_point = find_entry_point(base)
    assert entry_point is not None
    family = own_family(base, entry_point.module, entry_point.attr)
  for variant in variants:
    family = VARIANTS[variant](family)
  return family._replace(name=name)


make_family = make  # its public name, where no `envs.` stands before it
