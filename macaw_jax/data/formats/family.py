"""Values that a task family knows and an import may lack, and whether an import fits the family."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from macaw_jax import envs
from macaw_jax.data.agreement import compare_with_family, refuse_contradictions
from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.tasks import tasks_of
from macaw_jax.envs.family import TaskFamily


def known_family(name: str) -> TaskFamily | None:
  """The family of a name; None for a name that only stands for another environment, which cannot be stepped here.

  Raises:
    ConfigurationError: it is the name of a family of one's own, `module:attribute`, that cannot be made.
  """
  return envs.make(name) if envs.is_name(name) else None


def for_family(options: ReadOptions, name: str) -> ReadOptions:
  """The options with the horizon of the family, where none is given, and with names and shapes of its parameters."""
  family = known_family(name)
  if family is None:
    return options
  return dataclasses.replace(
    options,
    horizon=family.horizon if options.horizon is None else options.horizon,
    family_parameters={name: np.shape(values)[1:] for name, values in family.tasks.items()},
  )


def check_fit(manifest: Manifest) -> str:
  """The reason why no run can evaluate on a dataset's tasks; empty where there is none.

  Raises:
    DatasetError: its family has observations or actions of another size, or shorter episodes.
  """
  family = known_family(manifest.family)
  if family is None:
    return f"no task family is called {manifest.family!r}"
  sizes = [(of.observation_size, of.action_size) for of in (family, manifest)]
  if sizes[0] != sizes[1]:
    raise DatasetError(
      f"--family={family.name}: its (observation, action) sizes are {sizes[0]}, those of the source {sizes[1]}"
    )
  if manifest.horizon > family.horizon:
    raise DatasetError(
      f"--horizon={manifest.horizon}: expected at most {family.horizon}, the steps of an episode of {family.name!r}"
    )
  try:
    tasks_of(manifest, family, range(len(manifest.tasks)))
  except DatasetError as error:
    return str(error)
  return ""


def check_agreement(manifest: Manifest, episodes_by_task: Sequence[Episodes]) -> None:
  """Raises `DatasetError` where episodes contradict their family, if that is known; MuJoCo's steps are not computed."""
  if family := known_family(manifest.family):
    refuse_contradictions(compare_with_family(manifest, episodes_by_task, family), manifest.family)
