"""Episodes of one task, from the trajectories of an episode loop to the record that a dataset stores."""

from collections.abc import Sequence

import jax
import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.types import Trajectory


def one_episode(trajectory: Trajectory, index: int, *, collected_at: int) -> Episodes:
  """Episode `index` of a trajectory `[N, H, ...]` up to its end, as it is stored."""
  episode = jax.tree.map(lambda x: np.asarray(x[index]), trajectory._replace(state=None))
  length = int(episode.mask.sum())
  return Episodes(
    observation=episode.observation[:length],
    action=episode.action[:length],
    reward=episode.reward[:length],
    episode_length=np.array([length], np.int32),
    final_observation=episode.next_observation[length - 1 : length],
    terminal=episode.terminal[length - 1 : length] > 0,
    collected_at=np.array([collected_at], np.int64),
  )


def join_episodes(parts: Sequence[Episodes]) -> Episodes:
  """Consecutive episodes of one task as one record."""
  return Episodes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def thin_episodes(episodes: Episodes, count: int) -> Episodes:
  """`count` whole episodes of a task, evenly spaced from the first to the last, in their order.

  Raises:
    ValueError: `count` is below one or above the number of episodes.
  """
  total = len(episodes.episode_length)
  if not 1 <= count <= total:
    raise ValueError(f"cannot keep {count} of {total} episodes; expected a count from 1 to {total}")
  kept = np.linspace(0, total - 1, count).round().astype(int)
  row_is_kept = np.isin(np.repeat(np.arange(total), episodes.episode_length), kept)
  by_row = {name: getattr(episodes, name)[row_is_kept] for name in ("observation", "action", "reward")}
  by_episode = {
    name: getattr(episodes, name)[kept] for name in ("episode_length", "final_observation", "terminal", "collected_at")
  }
  return Episodes(**by_row, **by_episode)
