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
  """N transitions of one task, as `matrix`, `actions`, `column` and `flags` return them."""

  observation: np.ndarray  # [N, O]
  action: np.ndarray  # [N, A]
  reward: np.ndarray  # [N]
  next_observation: np.ndarray  # [N, O]
  terminal: np.ndarray  # [N]  bool, true where the task ended the episode


class TableKeys(NamedTuple):
  """A source's names for the arrays of a `Table`."""

  observation: str
  action: str
  reward: str
  next_observation: str | None  # None where it has none: observations stand in for them
  terminal: str


def fault(where: str, key: str, expected: str, found: Any) -> DatasetError:
  """A line: what was expected of a key, and what it is instead."""
  return DatasetError(f"{where}: key {key!r}: expected {expected}, got {found}")


def matrix(array: Any, where: str, key: str, rows: int | None = None, columns: int | None = None) -> np.ndarray:
  """A checked `[rows, columns]` array of finite float32 or float64; None allows any number of at least one."""
  _check_floats(array, where, key)
  wanted = f"[{'rows' if rows is None else rows}, {'columns' if columns is None else columns}]"
  if array.ndim != 2 or rows not in (None, array.shape[0]) or columns not in (None, array.shape[1]) or not array.size:
    raise fault(where, key, f"shape {wanted}", array.shape)
  return _finite(array, where, key)


def actions(array: Any, where: str, key: str, rows: int | None = None, columns: int | None = None) -> np.ndarray:
  """A `matrix` with all values in [-1, 1]. They are not clipped: a clipped action is not the one that was taken."""
  array = matrix(array, where, key, rows, columns)
  outside = np.abs(array.astype(np.float32)) > 1.0
  if outside.any():
    expected = "actions in [-1, 1] (divide those of other bounds by their bounds before importing them)"
    raise fault(where, key, expected, first_at(array, outside))
  return array


def column(array: Any, where: str, key: str, rows: int) -> np.ndarray:
  """A checked `[rows]` array of finite float32 or float64, from shape `[rows]` or `[rows, 1]`."""
  _check_floats(array, where, key)
  return _finite(_one_axis(array, where, key, rows), where, key)


def flags(array: Any, where: str, key: str, rows: int) -> np.ndarray:
  """A checked `[rows]` array of booleans, from booleans or zeros and ones of any kind."""
  if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
    raise fault(where, key, "booleans", _kind(array))
  array = _one_axis(array, where, key, rows)
  wrong = (array != 0) & (array != 1)
  if wrong.any():
    raise fault(where, key, "booleans, or zeros and ones", first_at(array, wrong))
  return array.astype(np.bool_)


def read_table(array: Callable[[str], Any], keys: TableKeys, where: str) -> Table:
  """The checked arrays of a source, which `array` gives by key."""
  observation = matrix(array(keys.observation), where, keys.observation)
  rows, columns = observation.shape
  action = actions(array(keys.action), where, keys.action, rows)
  reward = column(array(keys.reward), where, keys.reward, rows)
  terminal = flags(array(keys.terminal), where, keys.terminal, rows)
  key = keys.next_observation
  successor = observation if key is None else matrix(array(key), where, key, rows, columns)
  return Table(observation, action, reward, successor, terminal)


def default_collected_at(episode_length: np.ndarray) -> np.ndarray:
  """Steps of the task itself before each episode: what is known of the order where a source says no more."""
  ends = np.cumsum(episode_length, dtype=np.int64)
  return ends - episode_length


def make_episodes(table: Table, last: np.ndarray, collected_at: np.ndarray | None = None) -> Episodes:
  """Whole episodes from a table whose steps follow each other.

  Args:
    table: its last row ends an episode whatever `last` says of it.
    last: `[N]` bool, true on the last row of an episode.
    collected_at: `[E]`; None for `default_collected_at`.
  """
  last = last.copy()
  last[-1] = True
  rows = np.flatnonzero(last)
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


def follows(table: Table) -> np.ndarray:
  """`[N - 1]` bool: whether the next observation of a row is the observation of the row below it."""
  return np.all(table.next_observation[:-1] == table.observation[1:], axis=1)


def check_follows(table: Table, last: np.ndarray, where: str, key: str) -> None:
  """Raises `DatasetError` for a step within an episode that does not begin where the one before it led."""
  broken = ~last[:-1] & ~follows(table)
  if broken.any():
    row = int(np.argmax(broken))
    raise fault(where, key, "the observation of the row below, as the episode goes on", f"another in row {row}")


def check_lengths(episodes: Episodes, options: ReadOptions, where: str) -> None:
  """Raises `DatasetError` for an episode longer than the horizon that the reader gave."""
  longest = int(np.argmax(episodes.episode_length))
  length = int(episodes.episode_length[longest])
  if options.horizon is not None and length > options.horizon:
    raise DatasetError(
      f"{where}: expected episodes of at most {options.horizon} steps (horizon), got {length} in episode {longest}"
    )


def check_discount(value: float | None, options: ReadOptions, where: str, key: str) -> float | None:
  """The discount that a source states, or else the reader's."""
  if value is None:
    return options.discount
  if not 0.0 < value <= 1.0:
    raise fault(where, key, "a discount above 0 and at most 1", value)
  if options.discount is not None and not math.isclose(value, options.discount, rel_tol=1e-6):
    raise fault(where, key, f"the discount {options.discount} that was asked for", value)
  return value


def check_collected_at(array: np.ndarray | None, where: str, key: str, episodes: int) -> np.ndarray | None:
  """Stored counts of steps, `[E]` int64; None where a source has none."""
  if array is None:
    return None
  if array.dtype.kind not in "iu" or array.shape != (episodes,):
    raise fault(where, key, f"{episodes} integers, one an episode", f"{array.dtype} of shape {array.shape}")
  counts = array.astype(np.int64)
  wrong = counts < np.append(0, counts[:-1])
  if wrong.any():
    raise fault(where, key, "counts that start at 0 or above and never decrease", first_at(counts, wrong))
  return counts


def _kind(array: Any) -> str:
  return str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__


def _check_floats(array: Any, where: str, key: str) -> None:
  if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
    raise fault(where, key, "float32 or float64", _kind(array))


def _one_axis(array: np.ndarray, where: str, key: str, rows: int) -> np.ndarray:
  if array.shape not in ((rows,), (rows, 1)):
    raise fault(where, key, f"shape [{rows}] or [{rows}, 1]", array.shape)
  return array.reshape(rows)


def _finite(array: np.ndarray, where: str, key: str) -> np.ndarray:
  with np.errstate(over="ignore"):
    finite = np.isfinite(array.astype(np.float32))
  if not finite.all():
    raise fault(where, key, "finite float32 values", first_at(array, ~finite))
  return array
