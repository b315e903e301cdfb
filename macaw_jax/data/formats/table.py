"""Transitions as most formats keep them, checked, and cut into episodes.

Numbers are compared as the source stores them and become float32 at the end. What float32 cannot hold is an error.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.data.dataset import Episodes, first_at
from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.manifest import DatasetError


class Table(NamedTuple):
  """N transitions of one task, as `Source.table` returns them."""

  observation: np.ndarray  # [N, O]
  action: np.ndarray  # [N, A]
  reward: np.ndarray  # [N]
  next_observation: np.ndarray  # [N, O]
  terminal: np.ndarray  # [N]  bool, true where the task ended the episode


class Source:
  """Arrays by key, checked as they are read. Each fault names the source, the key and, where there is one, the row."""

  def __init__(self, name: str, array: Callable[[str], Any]):
    self.name, self.array = name, array

  def fault(self, key: str, expected: str, found: Any) -> DatasetError:
    """A line: what was expected of a key, and what it is instead."""
    return DatasetError(f"{self.name}: key {key!r}: expected {expected}, got {found}")

  def matrix(self, key: str, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """A `[rows, columns]` array of finite float32 or float64; None allows any number of at least one."""
    array = self._floats(key)
    wanted = f"[{'rows' if rows is None else rows}, {'columns' if columns is None else columns}]"
    if array.ndim != 2 or rows not in (None, array.shape[0]) or columns not in (None, array.shape[1]) or not array.size:
      raise self.fault(key, f"shape {wanted}", array.shape)
    return self._finite(key, array)

  def actions(self, key: str, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """A `matrix` with all values in [-1, 1]. They are not clipped: a clipped action is not the one that was taken."""
    array = self.matrix(key, rows, columns)
    outside = np.abs(array.astype(np.float32)) > 1.0
    if outside.any():
      expected = "actions in [-1, 1] (divide those of other bounds by their bounds before importing them)"
      raise self.fault(key, expected, first_at(array, outside))
    return array

  def column(self, key: str, rows: int) -> np.ndarray:
    """A `[rows]` array of finite float32 or float64, from shape `[rows]` or `[rows, 1]`."""
    return self._finite(key, self._one_axis(key, self._floats(key), rows))

  def flags(self, key: str, rows: int) -> np.ndarray:
    """A `[rows]` array of booleans, from booleans or zeros and ones of any kind."""
    array = self.array(key)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
      raise self.fault(key, "booleans", _kind(array))
    array = self._one_axis(key, array, rows)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
      raise self.fault(key, "booleans, or zeros and ones", first_at(array, wrong))
    return array.astype(np.bool_)

  def table(self, observation: str, action: str, reward: str, next_observation: str | None, terminal: str) -> Table:
    """The arrays with these keys. Where no key has next observations, the observations stand in for them."""
    observations = self.matrix(observation)
    rows, columns = observations.shape
    return Table(
      observations,
      self.actions(action, rows),
      self.column(reward, rows),
      observations if next_observation is None else self.matrix(next_observation, rows, columns),
      self.flags(terminal, rows),
    )

  def counts(self, key: str, array: np.ndarray, episodes: int) -> np.ndarray:
    """Counts of steps, `[episodes]` int64, from the array that stands under the key."""
    if array.dtype.kind not in "iu" or array.shape != (episodes,):
      raise self.fault(key, f"{episodes} integers, one an episode", f"{array.dtype} of shape {array.shape}")
    counts = array.astype(np.int64)
    wrong = counts < np.append(0, counts[:-1])
    if wrong.any():
      raise self.fault(key, "counts that start at 0 or above and never decrease", first_at(counts, wrong))
    return counts

  def discount(self, key: str, value: float | None, options: ReadOptions) -> float | None:
    """The discount that the source states, or else the reader's."""
    if value is None:
      return options.discount
    if not 0.0 < value <= 1.0:
      raise self.fault(key, "a discount above 0 and at most 1", value)
    if options.discount is not None and not math.isclose(value, options.discount, rel_tol=1e-6):
      raise self.fault(key, f"the discount {options.discount} that was asked for", value)
    return value

  def check_follows(self, key: str, table: Table, last: np.ndarray) -> None:
    """Raises `DatasetError` for a step within an episode that does not begin where the one before it led."""
    broken = ~last[:-1] & ~follows(table)
    if broken.any():
      found = f"another in row {np.argmax(broken)}"
      raise self.fault(key, "the observation of the row below, as the episode goes on", found)

  def _floats(self, key: str) -> np.ndarray:
    array = self.array(key)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
      raise self.fault(key, "float32 or float64", _kind(array))
    return array

  def _one_axis(self, key: str, array: np.ndarray, rows: int) -> np.ndarray:
    if array.shape not in ((rows,), (rows, 1)):
      raise self.fault(key, f"shape [{rows}] or [{rows}, 1]", array.shape)
    return array.reshape(rows)

  def _finite(self, key: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
      finite = np.isfinite(array.astype(np.float32))
    if not finite.all():
      raise self.fault(key, "finite float32 values", first_at(array, ~finite))
    return array


def follows(table: Table) -> np.ndarray:
  """`[N - 1]` bool: whether the next observation of a row is the observation of the row below it."""
  return np.all(table.next_observation[:-1] == table.observation[1:], axis=1)


def default_collected_at(episode_length: np.ndarray) -> np.ndarray:
  """Steps of the task itself before each episode: what is known of the order where a source says no more."""
  return np.cumsum(episode_length, dtype=np.int64) - episode_length


def make_episodes(table: Table, last: np.ndarray, collected_at: np.ndarray | None = None) -> Episodes:
  """Whole episodes from a table whose steps follow each other.

  Args:
    table: its last row ends an episode whatever `last` says of it.
    last: `[N]` bool, true on the last row of an episode.
    collected_at: `[E]`; None for `default_collected_at`.
  """
  rows = np.union1d(np.flatnonzero(last), len(last) - 1)
  episode_length = np.diff(rows, prepend=-1).astype(np.int32)
  return Episodes(
    observation=table.observation.astype(np.float32),
    action=table.action.astype(np.float32),
    reward=table.reward.astype(np.float32),
    episode_length=episode_length,
    final_observation=table.next_observation[rows].astype(np.float32),
    terminal=table.terminal[rows],
    collected_at=default_collected_at(episode_length) if collected_at is None else collected_at,
  )


def check_lengths(episodes: Episodes, options: ReadOptions, name: str) -> None:
  """Raises `DatasetError` for an episode longer than the horizon that the reader gave."""
  longest = int(np.argmax(episodes.episode_length))
  length = int(episodes.episode_length[longest])
  if options.horizon is not None and length > options.horizon:
    raise DatasetError(
      f"{name}: expected episodes of at most {options.horizon} steps (horizon), got {length} in episode {longest}"
    )


def _kind(array: Any) -> str:
  return str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
