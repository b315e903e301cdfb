"""Episodes of one task, from the trajectories of an episode loop to the record that a dataset stores."""

from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from macaw_jax.data.dataset import Episodes, take_episodes
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
  return take_episodes(episodes, np.linspace(0, total - 1, count).round().astype(int))


def episodes(
  observation: ArrayLike,
  action: ArrayLike,
  reward: ArrayLike,
  next_observation: ArrayLike,
  terminal: ArrayLike | None = None,
  last: ArrayLike | None = None,
) -> Episodes:
  """Transitions of one task, in the order in which they were made, as whole episodes.

  Args:
    observation: `[N, O]`.
    action: `[N, A]` in [-1, 1].
    reward: `[N]`.
    next_observation: `[N, O]`.
    terminal: `[N]`, true where the task ended the episode; nowhere if not given.
    last: `[N]`, true on the last row of each episode; if not given, where `terminal` is, and on row N - 1.

  Raises:
    ValueError: an array has another length, or an action is outside its range; names it.
  """
  fields = {"observation": observation, "action": action, "reward": reward, "next_observation": next_observation}
  arrays = {name: np.asarray(values, np.float32) for name, values in fields.items()}
  num_rows = len(arrays["reward"])
  ended = np.zeros(num_rows, bool) if terminal is None else np.asarray(terminal, bool)
  ends = ended.copy() if last is None else np.asarray(last, bool) | ended
  for name, values in (arrays | {"terminal": ended, "last": ends}).items():
    rank = 1 if name in ("reward", "terminal", "last") else 2
    if len(values) != num_rows or values.ndim != rank or num_rows == 0:
      raise ValueError(f"{name}: expected {rank} axes and {max(num_rows, 1)} rows, got shape {values.shape}")
    if not np.isfinite(values).all():
      raise ValueError(f"{name}: expected finite numbers")
  if np.abs(arrays["action"]).max() > 1.0:
    raise ValueError(f"action: expected numbers in [-1, 1], got {np.abs(arrays['action']).max():.4g}")
  ends[-1] = True
  stops = np.flatnonzero(ends)
  return Episodes(
    observation=arrays["observation"],
    action=arrays["action"],
    reward=arrays["reward"],
    episode_length=np.diff(stops, prepend=-1).astype(np.int32),
    final_observation=arrays["next_observation"][stops],
    terminal=ended[stops],
    collected_at=np.concatenate([[0], stops[:-1] + 1]),
  )
