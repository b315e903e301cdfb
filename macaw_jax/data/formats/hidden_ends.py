"""Time limits that nothing marks, in the rows of environments that reset themselves."""

from collections.abc import Sequence

import numpy as np

from macaw_jax.data.formats import autoreset
from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.formats.follows import displacements
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError


def find_hidden_ends(
  tasks: Sequence[Rows], known: list[np.ndarray], resets: list[np.ndarray], options: ReadOptions
) -> list[np.ndarray]:
  """`[N]` bool of each task: time limits behind which rows follow on, found by the distance between large steps.

  With a reset in a step of its own, the row that is found is the reset's: to drop it, and to take its observation for
  the final one, is right there too.
  """
  if options.autoreset == "none" or not tasks:
    return [np.zeros(len(at), np.bool_) for at in known]
  positions = [_positions(at, reset) for at, reset in zip(known, resets, strict=True)]
  counted = np.concatenate(positions) >= 0
  period = _period(
    tasks[0].name,
    np.concatenate(positions)[counted],
    np.concatenate([displacements(rows.table) for rows in tasks])[counted],
    np.concatenate([rows.ends for rows in tasks])[counted],
    options,
  )
  if period is None:
    return [np.zeros(len(at), np.bool_) for at in known]
  return [((at + 1) % period == 0) & ~rows.ends for at, rows in zip(positions, tasks, strict=True)]


def _period(name: str, position: np.ndarray, size: np.ndarray, marked: np.ndarray, options: ReadOptions) -> int | None:
  """Rows from one time limit to the next; None where they hide none.

  Args:
    name: of the source, in messages.
    position: `[N]` of each row since the last known end.
    size: `[N]` displacements.
    marked: `[N]` bool, marked ends.
    options: whose horizon is a guess, and whose `autoreset` says that there are time limits to find.

  Raises:
    DatasetError: it cannot be told.
  """
  period = autoreset.regular_distance(position, size, marked)
  if period is not None:
    return period
  if options.horizon is not None and (options.autoreset is not None or position.max() >= options.horizon):
    # With a row for each reset, or without.
    more = {None: (0, 1), "same_step": (0,), "next_step": (1,)}[options.autoreset]
    for candidate in (options.horizon + rows for rows in more):
      at = (position + 1) % candidate == 0
      if options.autoreset is not None or autoreset.larger(size[at & ~marked], size[~at & ~marked]):
        return candidate
  if options.horizon is None and options.autoreset is None:
    suspect = autoreset.regular_distance(position, size, marked, autoreset.larger)
    if suspect is not None:
      raise DatasetError(
        f"{name}: the step of every {suspect}th row is one of the largest, as if the environment was reset there; "
        "expected --horizon or --episode_lengths, or --autoreset=none if next observations are right"
      )
  if options.autoreset is not None and not marked.any():
    raise DatasetError(
      f"{name}: --autoreset={options.autoreset}: nothing marks an end; expected --horizon or --episode_lengths too"
    )
  return None


def _positions(ends: np.ndarray, resets: np.ndarray) -> np.ndarray:
  """`[N]`: rows since the last end; -1 on rows of resets, which do not count."""
  counted = np.cumsum(~resets) - 1
  begins = np.append(True, ends[:-1])
  starts = np.maximum.accumulate(np.where(begins, np.arange(len(ends)), 0))
  # The first row that counts of each piece: a reset's row begins one and has the count of the row above it.
  base = counted[starts] + resets[starts]
  return np.where(resets, -1, counted - base)
