"""Whether episodes that were cut by comparing rows can be what was collected."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.formats.cuts import Cuts
from macaw_jax.data.formats.follows import distances, step_sizes
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError

_NEAR = 0.1  # steps
_ENOUGH = 10  # ends in one task, to judge it by itself


def check_lengths(episodes: Episodes, options: ReadOptions, rows: Rows) -> None:
  """Raises `DatasetError` for an episode longer than the horizon."""
  longest = int(np.argmax(episodes.episode_length))
  length = int(episodes.episode_length[longest])
  if options.horizon is not None and length > options.horizon:
    hint = "" if rows.complete else "; say where episodes end by --episode_lengths, --horizon or --autoreset"
    raise DatasetError(
      f"{rows.name}: expected episodes of at most {options.horizon} steps (horizon), got {length} in episode "
      f"{longest}{hint}"
    )


def check_credible(
  tasks: Sequence[Rows], episodes: Sequence[Episodes], cuts: Sequence[Cuts], options: ReadOptions
) -> None:
  """Raises `DatasetError` where episodes that were cut by comparing rows cannot be what was collected."""
  if not tasks or options.horizon == 1:
    return
  found = [_count(rows, cut) for rows, cut in zip(tasks, cuts, strict=True)]
  for rows, counts in zip(tasks, found, strict=True):
    if counts.ends >= _ENOUGH:
      _check_counts(rows.name, counts)
  _check_counts(tasks[0].name, Counts(*map(sum, zip(*found, strict=True))))
  _check_alone(tasks, episodes, options)


class Counts(NamedTuple):
  """Ends of episodes that were found by comparing rows."""

  ends: int
  of_one_step: int  # of episodes of one step
  near: int  # with a row below that begins where they led, all but


def _count(rows: Rows, cuts: Cuts) -> Counts:
  last = np.flatnonzero(cuts.last & ~cuts.false_next & ~rows.ends)
  last = last[last < len(cuts.last) - 1]
  begins = np.append(True, cuts.last[:-1])
  gaps = distances(rows.table.next_observation[last], rows.table.observation[last + 1], step_sizes(rows.table))
  return Counts(len(last), int(begins[last].sum()), int((gaps < _NEAR).sum()))


def _check_counts(name: str, counts: Counts) -> None:
  seen = f"{name}: of {counts.ends} ends that were found by comparing rows, "
  if 2 * counts.of_one_step > counts.ends:
    raise DatasetError(
      f"{seen}{counts.of_one_step} leave an episode of one step; expected rows in the order of time with none left out "
      "(import all rows: `dataset.skip` thins them later), or --episode_lengths=1 if episodes have one step"
    )
  if 2 * counts.near > counts.ends:
    raise DatasetError(
      f"{seen}{counts.near} are less than a tenth of a step from the row below; expected next observations that are "
      "the observations below within an episode, or --episode_lengths"
    )


def _check_alone(tasks: Sequence[Rows], episodes: Sequence[Episodes], options: ReadOptions) -> None:
  """Raises `DatasetError` for rows without any end that are more than an episode is known to have."""
  if options.horizon is not None or options.autoreset is not None:
    return
  cut_up = [of_task.episode_length for of_task in episodes if len(of_task.episode_length) > 1]
  longest = max((int(length.max()) for length in cut_up), default=1)
  for rows, of_task in zip(tasks, episodes, strict=True):
    length = int(of_task.episode_length[0])
    if len(of_task.episode_length) == 1 and not rows.ends[-1] and length > longest:
      raise DatasetError(
        f"{rows.name}: {length} rows follow one another and nothing marks an end; expected --horizon or "
        "--episode_lengths, or --autoreset=none if they are one episode"
      )
