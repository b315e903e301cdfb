"""Datasets and imports compared with their family, and supports that a family makes of other tasks' episodes."""

import os
from collections.abc import Sequence
from pathlib import Path

from macaw_jax import envs
from macaw_jax.console import log
from macaw_jax.data.agreement import Check, compare_with_family, contradictions, refuse_contradictions
from macaw_jax.data.dataset import Episodes, read_episodes, write_episodes
from macaw_jax.data.formats.family import known_family
from macaw_jax.data.manifest import DatasetError, Manifest, read_manifest
from macaw_jax.data.relabel import other_policies, other_policies_directory
from macaw_jax.envs.engines import with_compiled_physics
from macaw_jax.envs.family import MujocoDynamics, TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.tables import plain_table


def agreement_table(checks: Sequence[Check]) -> str:
  """One line a check."""
  return plain_table(Check._fields, [list(check) for check in checks], left=4)


def compare(manifest: Manifest, episodes: Sequence[Episodes], family: TaskFamily) -> list[Check]:
  """Prints a table of how episodes agree with the family of their manifest; the checks."""
  checks = compare_with_family(manifest, episodes, _with_physics(family))
  log(f"agreement with family {manifest.family}\n{agreement_table(checks)}\n")
  return checks


def check_import(manifest: Manifest, episodes: Sequence[Episodes]) -> None:
  """Compares an import with its family, where that is known, before anything is written.

  Raises:
    DatasetError: they contradict each other.
    ConfigurationError: the family is one of the user's own, and cannot be made.
  """
  if family := known_family(manifest.family):
    refuse_contradictions(compare(manifest, episodes, family), manifest.family)


def agrees(directory: str) -> bool:
  """Prints how a dataset agrees with its family; false where they contradict each other.

  Raises:
    DatasetError: it is broken.
    ConfigurationError: its family is not known.
  """
  manifest, episodes = read(directory)
  return not contradictions(compare(manifest, episodes, _family_of(manifest, directory)))


def write_other_policies(directory: str, count: int) -> None:
  """Writes `<directory>_other_policies`: in each task, episodes of the dataset that were collected for other tasks.

  Raises:
    ConfigurationError: the directory is there already, or the dataset's family is not known.
    DatasetError: the dataset is broken, or its family cannot recompute rewards.
  """
  to = other_policies_directory(directory)
  if os.path.lexists(to):
    raise ConfigurationError(f"{to}: exists already; nothing is overwritten. Remove it first.")
  if count < 1:
    raise ConfigurationError(f"--episodes={count}: expected 1 or more")
  manifest, episodes = read(directory)
  family = _family_of(manifest, directory)
  try:
    relabelled, made = other_policies(manifest, episodes, family, count)
  except DatasetError as error:
    raise DatasetError(f"{directory}: {error}") from error
  write_episodes(to, made, relabelled)
  log(f"wrote {to}: {count} episodes of other tasks in each of {len(made)} tasks, with rewards of family {family.name}")


def read(directory: str | Path) -> tuple[Manifest, list[Episodes]]:
  """The manifest of a dataset and the episodes of all its tasks. Raises `DatasetError` if it is broken."""
  manifest = read_manifest(directory)
  return manifest, [read_episodes(directory, manifest, task) for task in range(len(manifest.tasks))]


def _family_of(manifest: Manifest, directory: str) -> TaskFamily:
  try:
    return envs.make(manifest.family)
  except ValueError as error:
    raise ConfigurationError(f"{directory}: {error}") from error


def _with_physics(family: TaskFamily) -> TaskFamily:
  """The family with its physics as a function, where that can be."""
  return with_compiled_physics(family, "native") if isinstance(family.dynamics, MujocoDynamics) else family
