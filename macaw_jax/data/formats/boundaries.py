"""Where episodes end: the one place that decides it, for every layout and for arrays.

Ends are, in this order of precedence: those that the reader states (`--episode_lengths`); those that the source marks;
terminal rows, and rows whose next observation is not the observation below. Environments that reset themselves hide
ends and falsify next observations (`autoreset`): both are undone, and noted. What the rows leave open is an error that
names the flag by which the reader decides.
"""

from collections.abc import Sequence

import numpy as np

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.formats.contract import Note, ReadOptions
from macaw_jax.data.formats.credible import check_credible, check_lengths
from macaw_jax.data.formats.cuts import Cuts, make_episodes
from macaw_jax.data.formats.follows import check_follows
from macaw_jax.data.formats.hidden_ends import find_hidden_ends
from macaw_jax.data.formats.resets import goes_on, undo_resets, with_last_row
from macaw_jax.data.formats.table import Rows
from macaw_jax.data.manifest import DatasetError


def find_episodes(tasks: Sequence[Rows], options: ReadOptions) -> list[tuple[Episodes, list[Note]]]:
  """Whole episodes of each task, and what was undone to get them.

  Tasks are looked at together, as their environments were reset in the same way.

  Raises:
    DatasetError: the rows of a task do not follow one another, or do not say where episodes end, or a horizon or
      lengths that were given contradict them.
  """
  tasks = _with_given_lengths(tasks, options)
  marked = [index for index, rows in enumerate(tasks) if rows.complete]
  others = [index for index, rows in enumerate(tasks) if not rows.complete]
  cuts = dict(zip(marked, _marked([tasks[index] for index in marked], options), strict=True))
  cuts |= dict(zip(others, _unmarked([tasks[index] for index in others], options), strict=True))
  found = [make_episodes(rows, cuts[index]) for index, rows in enumerate(tasks)]
  for rows, (episodes, _) in zip(tasks, found, strict=True):
    check_lengths(episodes, options, rows)
  check_credible(
    [tasks[index] for index in others], [found[index][0] for index in others], [cuts[i] for i in others], options
  )
  return found


def _with_given_lengths(tasks: Sequence[Rows], options: ReadOptions) -> list[Rows]:
  """The rows with the ends that the reader states in place of those that the source marks."""
  given = options.episode_lengths
  if given is None:
    return list(tasks)
  if not isinstance(given, int) and len(given) not in (1, len(tasks)):
    raise DatasetError(
      f"--episode_lengths: expected one list for all tasks or one for each of {len(tasks)}, got {len(given)}"
    )
  # A row of a reset stands between two episodes.
  gap = 1 if options.autoreset == "next_step" else 0
  marked = []
  for index, rows in enumerate(tasks):
    total = len(rows.table.reward)
    if isinstance(given, int):
      lengths = np.full((total + gap) // (given + gap) or 1, given)
    else:
      lengths = np.array(given[index if len(given) > 1 else 0], np.int64)
    needed = int(lengths.sum()) + gap * (len(lengths) - 1)
    if total not in (needed, needed + gap):
      raise DatasetError(
        f"{rows.name}: --episode_lengths: expected the {total} rows that there are, got "
        + (f"episodes of {given} steps, which {total} is no multiple of" if isinstance(given, int) else f"{needed}")
      )
    last = np.zeros(total, np.bool_)
    last[np.cumsum(lengths + gap) - gap - 1] = True
    inside = rows.table.terminal & ~last
    if inside.any():
      row = int(np.argmax(inside))
      raise DatasetError(f"{rows.name}: --episode_lengths: row {row} is terminal, and the episode goes on after it")
    marked.append(rows._replace(ends=last, complete=True))
  return marked


def _marked(tasks: Sequence[Rows], options: ReadOptions) -> list[Cuts]:
  for rows in tasks:
    if rows.next_key is not None:
      check_follows(rows, rows.ends)
  return undo_resets(tasks, options)


def _unmarked(tasks: Sequence[Rows], options: ReadOptions) -> list[Cuts]:
  known = [_known_ends(rows) for rows in tasks]
  of_marked = undo_resets(tasks, options)
  hidden = find_hidden_ends(tasks, known, [cuts.resets for cuts in of_marked], options)
  cuts = []
  for rows, at, undone, found in zip(tasks, known, of_marked, hidden, strict=True):
    last = with_last_row((at | found) & ~undone.resets, undone.resets)
    if rows.next_key is not None:
      false_next = found | (undone.false_next & rows.ends)
    elif options.autoreset is None and not any(each.any() for each in hidden):
      raise DatasetError(
        f"{rows.name}: neither timeouts nor next observations are there; expected --episode_lengths, or --horizon with "
        "--autoreset=same_step"
      )
    else:
      # Below the row of a reset stands an episode's first observation, and above it a final one.
      false_next = last & ~np.append(undone.resets[1:], False)
    cuts.append(Cuts(last, false_next, undone.resets))
  return cuts


def _known_ends(rows: Rows) -> np.ndarray:
  """`[N]` bool: marked ends, rows whose next observation is not the observation below, and the last."""
  return rows.ends | np.append(~goes_on(rows), True)
