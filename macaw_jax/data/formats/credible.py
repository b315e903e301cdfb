"""Whether episodes that were cut by comparing rows can be what was collected."""

from collections.abc import Sequence

import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.formats.cuts import Cuts
from macaw_jax.data.formats.follows import distances, step_sizes
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError

_NEAR = 0.1  # steps


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
  if options.horizon == 1:
    return
  by_comparison, of_one_step, near = 0, 0, 0
  for rows, cut in zip(tasks, cuts, strict=True):
    last = np.flatnonzero(cut.last & ~cut.false_next & ~rows.ends)
    last = last[last < len(cut.last) - 1]
    begins = np.append(True, cut.last[:-1])
    by_comparison += len(last)
    of_one_step += int(begins[last].sum())
    gaps = distances(rows.table.next_observation[last], rows.table.observation[last + 1], step_sizes(rows.table))
    near += int((gaps < _NEAR).sum())
  seen = f"{tasks[0].name}: of {by_comparison} ends that were found by comparing rows, " if tasks else ""
  if 2 * of_one_step > by_comparison:
    raise DatasetError(
      f"{seen}{of_one_step} leave an episode of one step; expected rows in the order of time with none left out "
      "(import all rows: `dataset.skip` thins them later), or --episode_lengths=1 if episodes have one step"
    )
  if 2 * near > by_comparison:
    raise DatasetError(
      f"{seen}{near} are less than a tenth of a step from the row below; expected next observations that are the "
      "observations below within an episode, or --episode_lengths"
    )
  cut_up = [of_task.episode_length for of_task in episodes if len(of_task.episode_length) > 1]
  longest = max((int(length.max()) for length in cut_up), default=1)
  for rows, of_task in zip(tasks, episodes, strict=True):
    length = int(of_task.episode_length[0])
    alone = len(of_task.episode_length) == 1 and not rows.ends[-1]
    if alone and options.horizon is None and options.autoreset is None and length > longest:
      raise DatasetError(
        f"{rows.name}: {length} rows follow one another and nothing marks an end; expected --horizon or "
        "--episode_lengths, or --autoreset=none if they are one episode"
      )
