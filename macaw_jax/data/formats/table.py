"""Transitions as most formats keep them, checked.

Numbers are compared as the source stores them and become float32 at the end. What float32 cannot hold is an error;
what it holds exactly, whole numbers among it, is cast, and noted.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.data.dataset import first_at
from macaw_jax.data.formats.contract import Note, ReadOptions
from macaw_jax.data.manifest import DatasetError

LARGEST_WHOLE = 1 << 24  # float32 holds every whole number up to this one
ROUNDING = 1e-6  # an action may be beyond its bounds by this share of them: a clip in float32 does that


class Table(NamedTuple):
  """N transitions of one task, forwards in time."""

  observation: np.ndarray  # [N, O]
  action: np.ndarray  # [N, A]
  reward: np.ndarray  # [N]
  next_observation: np.ndarray  # [N, O]
  terminal: np.ndarray  # [N]  bool, true where the task ended the episode


class Rows(NamedTuple):
  """The transitions of one task, and what its source says of episodes."""

  name: str  # of the source, in messages
  table: Table  # without next observations, those below stand in for them, and on the last row its own
  next_key: str | None  # of the next observations in the source; None where it has none
  ends: np.ndarray  # [N]  bool, rows that the source marks as the last of an episode
  complete: bool  # whether it marks all of them; the last row need not be marked
  collected_at: np.ndarray | None = None  # [E]  where the source states it


class Source:
  """Arrays by key, checked as they are read. Each fault names the source, the key and, where there is one, the row.

  Attributes:
    notes: what was cast or clipped so far.
  """

  def __init__(self, name: str, array: Callable[[str], Any], options: ReadOptions | None = None):
    self.name, self.array, self.options = name, array, ReadOptions() if options is None else options
    self.notes: list[Note] = []

  def fault(self, key: str, expected: str, found: Any) -> DatasetError:
    """A line: what was expected of a key, and what it is instead."""
    return DatasetError(f"{self.name}: key {key!r}: expected {expected}, got {found}")

  def matrix(self, key: str, rows: int | None = None, columns: int | None = None, *, kinds: str = "fiub") -> np.ndarray:
    """A `[rows, columns]` array of finite floats, from the kinds of numbers; None allows any number of at least one."""
    array = self._floats(key, kinds)
    wanted = f"[{'rows' if rows is None else rows}, {'columns' if columns is None else columns}]"
    if array.ndim != 2 or rows not in (None, array.shape[0]) or columns not in (None, array.shape[1]) or not array.size:
      raise self.fault(key, f"shape {wanted}", array.shape)
    return self._finite(key, array)

  def actions(self, key: str, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """A `matrix` divided by the bound of actions, all values in [-1, 1].

    Rounding beyond it is clipped, and noted. Other actions are not: a clipped one is not the one that was taken.
    """
    array = self.matrix(key, rows, columns, kinds="fiu")
    bound = self.options.action_bound
    scaled = array if bound == 1.0 else array / bound
    size = np.abs(scaled.astype(np.float64))
    if (size > 1.0 + ROUNDING).any():
      expected = f"actions in [-{bound:g}, {bound:g}] (those of other bounds are divided by --action_bound=<bound>)"
      raise self.fault(key, expected, first_at(array, size > 1.0 + ROUNDING))
    beyond = int((size > 1.0).sum())
    if beyond:
      self.notes.append(Note(f"{_last(key)}: clipped {{}} values that were beyond their bounds by rounding", (beyond,)))
    return np.clip(scaled, -1.0, 1.0)

  def column(self, key: str, rows: int) -> np.ndarray:
    """A `[rows]` array of finite floats, from shape `[rows]` or `[rows, 1]`."""
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
    """The arrays with these keys. Without a key for next observations, those below stand in for them."""
    observations = self.matrix(observation)
    rows, columns = observations.shape
    return Table(
      observations,
      self.actions(action, rows),
      self.column(reward, rows),
      np.concatenate([observations[1:], observations[-1:]])
      if next_observation is None
      else self.matrix(next_observation, rows, columns),
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

  def discount(self, key: str, value: float | None) -> float | None:
    """The discount that the source states, or else the reader's."""
    asked = self.options.discount
    if value is None:
      return asked
    if not 0.0 < value <= 1.0:
      raise self.fault(key, "a discount above 0 and at most 1", value)
    if asked is not None and not math.isclose(value, asked, rel_tol=1e-6):
      raise self.fault(key, f"the discount {asked} that was asked for", value)
    return value

  def _floats(self, key: str, kinds: str = "fiub") -> np.ndarray:
    array = self.array(key)
    kind = array.dtype.kind if isinstance(array, np.ndarray) else ""
    if kind not in tuple(kinds) or (kind == "f" and array.dtype.itemsize > 8):
      raise self.fault(key, "numbers of at most 64 bits", _kind(array))
    if kind in "iu":
      too_large = (array > LARGEST_WHOLE) | (array < -LARGEST_WHOLE if kind == "i" else np.False_)
      if too_large.any():
        raise self.fault(
          key, f"whole numbers up to {LARGEST_WHOLE:,}, which float32 holds exactly", first_at(array, too_large)
        )
    if kind != "f" or array.dtype.itemsize < 4:
      self.notes.append(Note(f"{_last(key)}: {array.dtype} stored as float32, exactly"))
    return array if kind == "f" else array.astype(np.float32)

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


def _last(key: str) -> str:
  """The name of an array without its group: notes on all episodes of a file are one."""
  return key.rpartition("/")[2]


def _kind(array: Any) -> str:
  return str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
