"""How far rows are from each other, in units of the steps that the data make.

Column c of the observation has the typical step h_c, the mean of |next observation - observation| over all rows of a
task. A distance is the largest |difference| / h_c of all columns, so that neither units nor constant columns count.
"""

import numpy as np

from macaw_jax.data.formats.table import Rows, Table
from macaw_jax.data.manifest import DatasetError

_TOLERANCE = 1e-3  # steps; next observations that were computed a second time differ by less
_ROUNDINGS = 4  # of float32, relative to a number


def step_sizes(table: Table) -> np.ndarray:
  """Typical steps h `[O]`; zero for a column that never changes within a row."""
  return np.abs(table.next_observation.astype(np.float64) - table.observation).mean(axis=0)


def distances(from_: np.ndarray, to: np.ndarray, sizes: np.ndarray) -> np.ndarray:
  """Distances `[...]` between observations `[..., O]`, in steps; infinite where a column without steps differs."""
  difference = np.abs(to.astype(np.float64) - from_)
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(difference > 0.0, difference / sizes, 0.0).max(axis=-1)


def displacements(table: Table) -> np.ndarray:
  """`[N]`: from each row's observation to its next observation."""
  return distances(table.observation, table.next_observation, step_sizes(table))


def follows(table: Table) -> np.ndarray:
  """`[N - 1]` bool: whether the next observation of a row is the observation of the row below it, up to rounding."""
  led, found = table.next_observation[:-1], table.observation[1:]
  size = np.maximum(np.abs(led), np.abs(found)).astype(np.float64)
  coarsest = max(np.finfo(led.dtype).eps, np.finfo(found.dtype).eps)
  rounding = max(_ROUNDINGS * np.finfo(np.float32).eps, coarsest) * size
  tolerance = np.maximum(rounding, _TOLERANCE * step_sizes(table))
  return np.all(np.abs(found.astype(np.float64) - led) <= tolerance, axis=1)


def check_follows(rows: Rows, last: np.ndarray) -> None:
  """Raises `DatasetError` for a row within an episode that does not begin where the row above it led.

  Args:
    rows: of a source that has next observations.
    last: `[N]` bool, true on the last row of an episode.
  """
  within = ~last[:-1]
  broken = within & ~follows(rows.table)
  if broken.any():
    few = "as the episode goes on"
    many = "in the order of time with none left out (import all rows: `dataset.skip` thins them later)"
    raise DatasetError(
      f"{rows.name}: key {rows.next_key!r}: expected the observation of the row below, "
      f"{few if broken.sum() <= within.sum() / 2 else many}, "
      f"got another in {broken.sum()} of {within.sum()} rows, first in row {np.argmax(broken)}"
    )
