"""From rows, and decisions on where episodes end in them, to episodes."""

from typing import NamedTuple

import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import Note
from macaw_jax.data.formats.table import Rows, Table
from macaw_jax.data.manifest import DatasetError


class Cuts(NamedTuple):
  """Decisions on the rows of a task, each `[N]` bool."""

  last: np.ndarray  # the last row of an episode
  false_next: np.ndarray  # some of those: their next observation is that of a reset
  resets: np.ndarray  # rows of resets between episodes, which are no step of any


def make_episodes(rows: Rows, cuts: Cuts) -> tuple[Episodes, list[Note]]:
  """Whole episodes from rows and decisions on them.

  Where the next observation of an episode's last row is false, the true final observation is not there. If the time
  limit ended the episode, that step is dropped, and its observation is the final one. If the task did, the step stays,
  and its own observation stands in for the final one, from which nothing is ever bootstrapped.

  Raises:
    DatasetError: nothing is left.
  """
  kept = ~cuts.resets
  table = Table(*(array[kept] for array in rows.table))
  last, false_next = cuts.last[kept], cuts.false_next[kept]
  dropped = false_next & ~table.terminal
  repeated = false_next & table.terminal
  begins = np.append(True, last[:-1])
  below = np.append(np.arange(1, len(last)), len(last) - 1)
  ends_above_dropped = dropped[below] & ~last  # the last step that is left of an episode
  final = table.next_observation.copy()
  final[repeated] = table.observation[repeated]
  final[ends_above_dropped] = table.observation[below][ends_above_dropped]
  steps = ~dropped
  if not steps.any():
    raise DatasetError(f"{rows.name}: expected episodes of more than one step, as the last step of each is dropped")
  table = Table(*(array[steps] for array in table._replace(next_observation=final)))
  ends = np.flatnonzero((last | ends_above_dropped)[steps])
  episode_length = np.diff(ends, prepend=-1).astype(np.int32)
  collected_at = default_collected_at(episode_length)
  if rows.collected_at is not None and len(rows.collected_at) == last.sum():
    collected_at = rows.collected_at[~(dropped & begins)[last]]
  episodes = Episodes(
    observation=table.observation.astype(np.float32),
    action=table.action.astype(np.float32),
    reward=table.reward.astype(np.float32),
    episode_length=episode_length,
    final_observation=table.next_observation[ends].astype(np.float32),
    terminal=table.terminal[ends],
    collected_at=collected_at,
  )
  return episodes, _notes(rows, cuts, int(dropped.sum()), int(repeated.sum()))


def default_collected_at(episode_length: np.ndarray) -> np.ndarray:
  """Steps of the task itself before each episode: what is known of the order where a source says no more."""
  return np.cumsum(episode_length, dtype=np.int64) - episode_length


def _notes(rows: Rows, cuts: Cuts, dropped: int, repeated: int) -> list[Note]:
  notes = []
  why = "no next observations" if rows.next_key is None else "environments that reset themselves"
  if dropped or repeated:
    what = "dropped the last step of {} episodes that the time limit ended"
    notes.append(
      Note(f"{why}: {what}, and repeated the last observation of {{}} that the task ended", (dropped, repeated))
    )
  if cuts.resets.any():
    between = int(cuts.resets.sum())
    notes.append(Note("environments that reset themselves: dropped {} rows of resets between episodes", (between,)))
  return notes
