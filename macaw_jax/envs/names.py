"""The names of task families, as configurations, manifests and commands have them.

point_robot                   a family of the package
my_envs:reach                 `reach` in the module `my_envs`: a `TaskFamily`, or a function that gives one
reach                         an entry point of an installed package, in the group `macaw_jax.families`
my_envs:reach+time_to_go      any of them, in a variant (`macaw_jax.envs.variants`)
"""

from typing import NamedTuple

EXPECTED = "or <module>:<attribute> of your own, each also with +time_to_go, +task_vector or +task_index"


class FamilyName(NamedTuple):
  """The parts of a name."""

  base: str
  variants: tuple[str, ...]  # in the order in which they are applied


def parse_name(name: str) -> FamilyName:
  """The parts of a name, whether or not there is such a family."""
  base, *variants = name.split("+")
  return FamilyName(base, tuple(variants))


def directory_name(name: str) -> str:
  """The name of a family in those of files and folders: `my_envs:reach+time_to_go` gives `reach_time_to_go`."""
  return name.rpartition(":")[2].replace("+", "_")
