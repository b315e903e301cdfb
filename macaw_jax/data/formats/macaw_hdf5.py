"""HDF5 buffers of the released MACAW data: one file a task.

Datasets of N rows: `obs`, `actions`, `next_obs`, `rewards` `[N, 1]`, `mc_rewards` `[N, 1]`, `terminals` `[N, 1]`,
`terminal_obs` `[N, O]`, `terminal_discounts` `[N, 1]`, and a scalar `discount_factor`. Episodes stand in the order of
collection, each BACKWARDS in time: its last step first. On every row of an episode,

  mc_rewards = rewards + discount_factor mc_rewards of the row above, rewards alone on its first row
  terminal_obs = next_obs of its first row
  terminal_discounts = discount_factor ^ (steps to the end), discount_factor on its first row

so that a file checks itself but for actions and the earliest observations.

A buffer is a ring: when it was full, the newest rows took the place of the oldest. An episode that was overwritten in
part lost its last steps, and with them the rewards behind its `mc_rewards`: what is left of it is dropped, and noted.
It is where the oldest data begin, and rows are put back in the order of collection. Where a whole number of episodes
was overwritten, nothing says where the oldest data begin; episodes then stand as in the file, the one that runs over
its end last.
"""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.dataset import Episodes, discounted_returns, next_observations, task_name
from macaw_jax.data.files import new_directory
from macaw_jax.data.formats.contract import Imported, Note, ReadOptions
from macaw_jax.data.formats.files import read_each, source_files
from macaw_jax.data.formats.gather import SourceTask, gather
from macaw_jax.data.formats.hdf5 import HDF5_SUFFIXES, Hdf5Reader, common_attributes, open_hdf5, write_hdf5
from macaw_jax.data.formats.table import Rows, Source, Table
from macaw_jax.data.manifest import Manifest

_TOLERANCE = 1e-5  # relative; stored values are float32 of numbers computed step by step
_SMALLEST_RATE = 1e-6  # 1 - discount; below it, float32 does not tell powers of the discount from one another
_CUT = "dropped {} rows left of an episode that the ring buffer had overwritten"
_UNDERFLOW = 1e-30  # powers of the discount below this are not compared: float32 loses them


def read(paths: Sequence[Path], options: ReadOptions) -> Imported:
  """Tasks from `.hdf5` or `.h5` files, one a task, or from all such files of one directory in the order of their names.

  Parameters come from `options.tasks_file` where it is given, else from the file if `write` made it.

  Raises:
    DatasetError: a file is damaged, or its rewards, returns, observations and discounts contradict each other.
  """
  files = source_files(paths, HDF5_SUFFIXES, options.beside)
  return gather(read_each(files, lambda path: _read_file(path, options)), options)


def write(directory: Path, episodes_by_task: Sequence[Episodes], manifest: Manifest) -> None:
  """Makes `task_00.hdf5` with its parameters in `task_00.pkl` for each task, in the layout above.

  Files are compressed with LZF and have one dataset more, `collected_at`, one number an episode.

  Raises:
    DatasetError: the directory exists or cannot be written.
  """
  with new_directory(Path(directory)) as partial:
    for index, (episodes, entry) in enumerate(zip(episodes_by_task, manifest.tasks, strict=True)):
      name = task_name(index, len(manifest.tasks))
      attributes = common_attributes(manifest, index)
      write_hdf5(partial / f"{name}.hdf5", _arrays(episodes, manifest.discount), {"": attributes}, compression="lzf")
      numbers = json.loads(json.dumps(dict(entry.parameters)))
      task = {key: np.array(value) if isinstance(value, list) else value for key, value in numbers.items()}
      (partial / f"{name}.pkl").write_bytes(pickle.dumps([task]))


def _arrays(episodes: Episodes, discount: float) -> dict[str, np.ndarray]:
  length = episodes.episode_length
  ends = np.cumsum(length, dtype=np.int64)
  # Row n of the file is row backwards[n] of the episodes, and to_go[n] steps from the end of its own.
  backwards = np.concatenate([np.arange(end - 1, end - 1 - steps, -1) for end, steps in zip(ends, length, strict=True)])
  to_go = np.concatenate([np.arange(1, steps + 1) for steps in length])
  terminal = np.zeros(len(episodes.reward), np.bool_)
  terminal[ends - 1] = episodes.terminal
  returns = discounted_returns(episodes.reward, length, discount)
  return {
    "obs": episodes.observation[backwards],
    "actions": episodes.action[backwards],
    "next_obs": next_observations(episodes)[backwards],
    "rewards": episodes.reward[backwards, None],
    "mc_rewards": returns[backwards, None].astype(np.float32),
    "terminals": terminal[backwards, None],
    "terminal_obs": np.repeat(episodes.final_observation, length, axis=0),
    "terminal_discounts": (np.float64(discount) ** to_go)[:, None].astype(np.float32),
    "discount_factor": np.array(discount, np.float64),
    "collected_at": episodes.collected_at,
  }


def _read_file(path: Path, options: ReadOptions) -> SourceTask:
  with open_hdf5(path, options) as source:
    rows, discount, dropped = _read_task(source)
    notes = [*([Note(_CUT, (dropped,))] if dropped else []), *source.notes]
    return SourceTask((path,), rows, discount, source.parameters(), notes, source.references())


def _read_task(source: Hdf5Reader) -> tuple[Rows, float, int]:
  """Rows forwards in time, the discount, and how many rows were dropped."""
  backwards = source.table("obs", "actions", "rewards", "next_obs", "terminals")
  rows, columns = backwards.observation.shape
  factor = source.array("discount_factor")
  if factor.size != 1 or factor.dtype.kind != "f":
    raise source.fault("discount_factor", "one number", f"{factor.dtype} of shape {factor.shape}")
  discount = source.discount("discount_factor", float(factor.reshape(())))
  assert discount is not None
  terminal_obs = source.matrix("terminal_obs", rows, columns)
  powers = source.column("terminal_discounts", rows).astype(np.float64)
  returns = source.column("mc_rewards", rows).astype(np.float64)

  first, begin, cut = _find_episodes(source, backwards, terminal_obs, powers, discount)
  _check_returns(source, backwards.reward.astype(np.float64), returns, first, begin if cut else None, discount)
  wrong = backwards.terminal & ~first
  if wrong.any():
    row = int(np.argmax(wrong))
    raise source.fault("terminals", "true on the first row of an episode alone (its last step)", f"true in row {row}")

  order = (np.arange(rows) + begin) % rows
  kept = np.cumsum(first[order]) > 0  # The first episode that begins and all after it.
  if not kept.any():
    raise source.fault("terminal_discounts", "at least one whole episode", "the rest of one")
  order = order[kept]
  starts = np.flatnonzero(first[order])
  lengths = np.diff(starts, append=len(order))
  # Each episode the other way round.
  forwards = order[np.repeat(2 * starts + lengths - 1, lengths) - np.arange(len(order))]
  table = Table(*(array[forwards] for array in backwards))
  last = np.zeros(len(order), np.bool_)
  last[starts + lengths - 1] = True
  collected_at = source.collected_at("collected_at", len(starts))
  return Rows(source.name, table, "next_obs", last, True, collected_at), discount, rows - len(order)


def _find_episodes(
  source: Source, backwards: Table, terminal_obs: np.ndarray, powers: np.ndarray, discount: float
) -> tuple[np.ndarray, int, bool]:
  """First rows of episodes, the row where the oldest data begin, and whether those are the rest of an episode."""
  tolerance = min(_TOLERANCE, max(1.0 - discount, _SMALLEST_RATE) / 4)  # so that neighbouring powers differ

  def close(found: np.ndarray, expected: Any) -> np.ndarray:
    small = np.maximum(np.abs(found), np.abs(expected)) < _UNDERFLOW
    return small | (np.abs(found - expected) <= tolerance * np.abs(expected))

  above = np.arange(len(powers)) - 1  # Row -1 is the last row: a ring goes on from there.
  leads_here = np.all(backwards.next_observation == backwards.observation[above], axis=1)
  same_end = np.all(terminal_obs == terminal_obs[above], axis=1)
  at_end = np.all(backwards.next_observation == terminal_obs, axis=1)
  # Without discounting all powers are one, and an episode begins where nothing goes on.
  discounted = discount <= 1.0 - _SMALLEST_RATE
  first = close(powers, discount) if discounted else at_end & ~(leads_here & same_end)
  goes_on = ~first & leads_here & same_end & close(powers, discount * powers[above])
  wrong = first & ~at_end
  if wrong.any():
    row = int(np.argmax(wrong))
    raise source.fault("terminal_obs", "next_obs of the row, as an episode ends there", f"another in row {row}")

  broken = np.flatnonzero(~first & ~goes_on)
  if not len(broken):
    # If row 0 is no first row, it goes on from the last row: the ring went round.
    return first, int(np.argmax(first)), False
  # What is left of an overwritten episode belongs to the row above in no respect, is steps away from its end, and the
  # end is nowhere. Neither one changed number in a whole episode nor rows out of order look like that.
  row = int(broken[0])
  end_is_here = np.any(np.all(terminal_obs[first] == terminal_obs[row], axis=1))
  steps = np.log(powers[row]) / np.log(discount) if powers[row] > 0.0 and discounted else 2.0
  left_over = not (leads_here[row] or same_end[row] or at_end[row] or end_is_here) and round(steps) >= 2
  if len(broken) > 1 or not left_over or not close(powers[row : row + 1], discount ** round(steps))[0]:
    for key, fits in (("next_obs", leads_here), ("terminal_obs", same_end), ("terminal_discounts", None)):
      if fits is None or not fits[row]:
        raise source.fault(key, "what continues the row above, or ends an episode", f"neither in row {row}")
  return first, row, True


def _check_returns(
  source: Source, rewards: np.ndarray, returns: np.ndarray, first: np.ndarray, cut: int | None, discount: float
) -> None:
  """Raises `DatasetError` at the first row whose return is not that of the rewards."""
  carried = np.where(first, 0.0, discount * np.roll(returns, 1))
  size = np.maximum(np.maximum(np.abs(rewards), np.abs(carried)), np.abs(returns))
  wrong = np.abs(rewards + carried - returns) > _TOLERANCE * size
  if cut is not None:
    wrong[cut] = False  # The rewards behind it are gone.
  if wrong.any():
    row = int(np.argmax(wrong))
    expected = f"{rewards[row] + carried[row]} (rewards, and mc_rewards of the row above, at discount {discount})"
    raise source.fault("mc_rewards", expected, f"{returns[row]} in row {row}")
