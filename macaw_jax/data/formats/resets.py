"""Which next observations of marked ends are those of a reset, and which rows are resets: see `autoreset`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from macaw_jax.data.formats import autoreset
from macaw_jax.data.formats.contract import Autoreset, ReadOptions
from macaw_jax.data.formats.cuts import Cuts
from macaw_jax.data.formats.follows import displacements, follows
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError

_BY_HAND = "say --autoreset=none (next observations are right), same_step or next_step"


class Seen(NamedTuple):
  """How the environments of a source were reset."""

  kind: Autoreset
  terminals: bool = False  # whether all terminal rows have the next observation of a reset
  limits: bool = False  # whether all last rows before a time limit do


def undo_resets(tasks: Sequence[Rows], options: ReadOptions) -> list[Cuts]:
  """Which next observations of marked ends are those of a reset, where these ends and the last row are all that is.

  Raises:
    DatasetError: the rows of ends lead to those below, and nothing shows whether by a reset or because time went on.
  """
  touching = [_touching(rows) for rows in tasks]
  if options.autoreset is None:
    seen = _observed(tasks, touching)
  else:
    seen = Seen(options.autoreset, terminals=True, limits=True)
  cuts = []
  for rows, touches in zip(tasks, touching, strict=True):
    nothing = np.zeros(len(touches), np.bool_)
    last = with_last_row(rows.ends, nothing)
    if seen.kind == "next_step":
      resets = np.append(False, touches[:-1])
      _check_resets(rows, resets)
      # Without next observations, the row of a reset has the final observation. Below the last row there is none.
      unknown = nothing.copy()
      unknown[-1] = rows.next_key is None
      cuts.append(Cuts(with_last_row(rows.ends, resets), unknown & ~resets, resets))
    elif rows.next_key is None:
      cuts.append(Cuts(last, last, nothing))
    elif seen.kind == "same_step":
      of_kind = np.where(rows.table.terminal, seen.terminals, seen.limits)
      cuts.append(Cuts(last, rows.ends & (touches | of_kind), nothing))
    else:
      cuts.append(Cuts(last, nothing, nothing))
  return cuts


def goes_on(rows: Rows) -> np.ndarray:
  """`[N - 1]` bool: whether a row leads to the row below it, as all do where no next observation says otherwise."""
  return np.ones(len(rows.ends) - 1, np.bool_) if rows.next_key is None else follows(rows.table)


def with_last_row(ends: np.ndarray, resets: np.ndarray) -> np.ndarray:
  """Ends, and among them the last row that is not a reset's."""
  last = ends.copy()
  last[np.flatnonzero(~resets)[-1]] = True
  return last


def _touching(rows: Rows) -> np.ndarray:
  """`[N]` bool: marked ends whose next observation is the observation below."""
  return rows.ends & np.append(goes_on(rows), False)


def _observed(tasks: Sequence[Rows], touching: list[np.ndarray]) -> Seen:
  """The autoreset that displacements show.

  A kind of end, terminals or time limits, is recorded in one way: it is that of a reset if half of its rows touch the
  row below. The last rows of a file, or of the part of one environment in it, touch nothing.
  """
  if not tasks:
    return Seen("none")
  size = np.concatenate([displacements(rows.table) for rows in tasks])
  reward = np.concatenate([rows.table.reward for rows in tasks])
  terminal = np.concatenate([rows.table.terminal for rows in tasks])
  inner = np.concatenate([np.arange(len(at)) < len(at) - 1 for at in touching])  # rows with one below
  end, touches = np.concatenate([rows.ends for rows in tasks]), np.concatenate(touching)
  after = np.append(False, touches[:-1]) & ~end
  others = size[~end & ~after]
  kinds = [2 * (touches & kind).sum() >= (end & inner & kind).sum() > 0 for kind in (terminal, ~terminal)]
  if not any(kinds):
    # The row below begins elsewhere, as it should, or is another environment's. A time limit takes no large step.
    limits = size[end & ~terminal]
    is_reset = len(limits) > 1 and autoreset.far(limits, others)
    return Seen("same_step", limits=True) if is_reset else Seen("none")
  at_ends, at_resets = autoreset.larger(size[touches], others), False
  if after.any() and not reward[after].any():
    at_resets = autoreset.larger(size[after], others)
  if at_resets and not (at_ends and np.median(size[touches]) >= np.median(size[after])):
    return Seen("next_step")
  if at_ends or any(rows.next_key is None for rows in tasks):
    return Seen("same_step", *kinds)
  if autoreset.go_on([rows.table for rows in tasks], [np.flatnonzero(at) for at in touching]):
    return Seen("none")
  raise DatasetError(
    f"{tasks[0].name}: {touches.sum()} of {end.sum()} ends lead to the first observation of the next episode, and "
    f"nothing shows whether by a reset or by an ordinary step; {_BY_HAND}"
  )


def _check_resets(rows: Rows, resets: np.ndarray) -> None:
  wrong = resets & ((rows.table.reward != 0) | rows.table.terminal)
  if wrong.any():
    raise DatasetError(
      f"{rows.name}: row {np.argmax(wrong)}: expected the row of a reset below the end of an episode (--autoreset="
      "next_step), with reward 0 and no end"
    )
