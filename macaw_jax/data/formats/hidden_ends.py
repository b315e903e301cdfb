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
  nowhere = [np.zeros(len(at), np.bool_) for at in known]
  if options.autoreset == "none" or not tasks:
    return nowhere
  positions = [_positions(at, reset) for at, reset in zip(known, resets, strict=True)]
  position = np.concatenate(positions)
  size = np.concatenate([displacements(rows.table) for rows in tasks])
  marked = np.concatenate([rows.ends for rows in tasks])
  counted = position >= 0
  period = autoreset.regular_distance(position[counted], size[counted], marked[counted])
  if period is None and options.horizon is not None and (options.autoreset or position.max() >= options.horizon):
    wanted = {"same_step": [0], "next_step": [1]}.get(options.autoreset or "", [0, 1])
    for candidate in (options.horizon + extra for extra in wanted):
      at = (position + 1) % candidate == 0
      some, others = size[at & counted & ~marked], size[~at & counted & ~marked]
      if options.autoreset or autoreset.larger(some, others):
        period = candidate
        break
  if period is None and options.horizon is None and options.autoreset is None:
    suspect = autoreset.regular_distance(position[counted], size[counted], marked[counted], autoreset.larger)
    if suspect is not None:
      raise DatasetError(
        f"{tasks[0].name}: the step of every {suspect}th row is one of the largest, as if the environment was reset "
        "there; expected --horizon or --episode_lengths, or --autoreset=none if next observations are right"
      )
  if period is None:
    if options.autoreset and not marked.any():
      raise DatasetError(
        f"{tasks[0].name}: --autoreset={options.autoreset}: nothing marks an end; expected --horizon or "
        "--episode_lengths too"
      )
    return nowhere
  return [((at + 1) % period == 0) & ~rows.ends for at, rows in zip(positions, tasks, strict=True)]


def _positions(ends: np.ndarray, resets: np.ndarray) -> np.ndarray:
  """`[N]`: rows since the last end; -1 on rows of resets, which do not count."""
  counted = np.cumsum(~resets) - 1
  begins = np.append(True, ends[:-1])
  starts = np.maximum.accumulate(np.where(begins, np.arange(len(ends)), 0))
  # The first row that counts of each piece: a reset's row begins one and has the count of the row above it.
  base = counted[starts] + resets[starts]
  return np.where(resets, -1, counted - base)
