"""The contract of every format: what it reads and writes."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.references import References

Autoreset = Literal["none", "same_step", "next_step"]


class Imported(NamedTuple):
  """Tasks as a source states them."""

  episodes: list[Episodes]  # of each task
  parameters: list[dict[str, Any]]  # of each task: numbers and nested lists of numbers; {} where the source states none
  discount: float | None  # of the returns stored in the source, or the reader's own; None where neither states one
  files: tuple[Path, ...]  # all that was read
  notes: tuple[str, ...] = ()  # what was left out, filled in, cast or clipped, for the manifest
  references: list[References] | None = None  # of each task; None where the source does not state those of all


class Note(NamedTuple):
  """A remark on one task: the text has `{}` for each count, and equal texts of several tasks become one line."""

  text: str
  counts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """Values that a source may leave open.

  Raises:
    DatasetError: a value cannot be; the message names it.
  """

  # Most steps of an episode: a longer one is an error. Where a source marks no ends, they are looked for in this
  # distance, among others.
  horizon: int | None = None
  # Steps of every episode, or of each episode: one list for all tasks, or a list for each task.
  episode_lengths: int | Sequence[Sequence[int]] | None = None
  # When the environments of the source were reset; None to find out. "none": next observations are right everywhere.
  # "same_step": the next observation of an episode's last row is the first one of the next episode. "next_step": so is
  # that of a row of its own after it, whose action was ignored.
  autoreset: Autoreset | None = None
  action_bound: float = 1.0  # the largest action; actions are divided by it
  discount: float | None = None  # of the stored returns; a source that states another is an error
  # Task parameters, in any kind of file that `read_values` knows, or a directory with one pickle a task.
  tasks_file: Path | None = None
  parameter: tuple[str, ...] = ()  # names of the parameters that count; of one without a name, its name
  # Names and shapes of the parameters of the task family; None where the family is not known.
  family_parameters: Mapping[str, tuple[int, ...]] | None = None
  beside: tuple[Path, ...] = ()  # files that are no task, although they lie in the directory of the tasks

  def __post_init__(self) -> None:
    for name, expected, holds in (
      ("horizon", "at least 1", self.horizon is None or self.horizon >= 1),
      ("action_bound", "above 0", 0.0 < self.action_bound < float("inf")),
      ("autoreset", f"one of {get_args(Autoreset)}", self.autoreset is None or self.autoreset in get_args(Autoreset)),
      ("episode_lengths", "at least 1", all(length >= 1 for length in self._all_lengths())),
    ):
      if not holds:
        raise DatasetError(f"{name}={getattr(self, name)!r}: expected {expected}")

  def _all_lengths(self) -> Iterable[int]:
    if self.episode_lengths is None or isinstance(self.episode_lengths, int):
      return () if self.episode_lengths is None else (self.episode_lengths,)
    return (length for of_task in self.episode_lengths for length in of_task)


class Format(NamedTuple):
  """One layout of files.

  read:  `(paths, options) -> Imported`; one path a task, or one directory with all of them
  write: `(directory, episodes of each task, manifest)` makes a new directory; None for a format that is only read
  """

  read: Callable[[Sequence[Path], ReadOptions], Imported]
  write: Callable[[Path, Sequence[Episodes], Manifest], None] | None
