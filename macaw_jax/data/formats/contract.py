"""The contract of every format: what it reads and writes."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.manifest import Manifest


class Imported(NamedTuple):
  """Tasks as a source states them."""

  episodes: list[Episodes]  # of each task
  parameters: list[dict[str, Any]]  # of each task: numbers and nested lists of numbers; {} where the source states none
  discount: float | None  # of the returns stored in the source, or the reader's own; None where neither states one
  files: tuple[Path, ...]  # all that was read
  notes: tuple[str, ...] = ()  # what was left out or filled in, for the manifest


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """Values that a source may leave open.

  Attributes:
    horizon: most steps of an episode. An episode that is longer is an error; where a source marks neither ends nor
      next observations, episodes are cut at it.
    tasks_file: pickled task parameters: a list of one dict for each task, or a directory with one such list of one
      dict in a file for each task.
    discount: of the stored returns, for sources that do not state it; one that states another is an error.
  """

  horizon: int | None = None
  tasks_file: Path | None = None
  discount: float | None = None


class Format(NamedTuple):
  """One layout of files.

  read:  `(paths, options) -> Imported`; one path a task, or one directory with all of them
  write: `(directory, episodes of each task, manifest)` makes a new directory; None for a format that is only read
  """

  read: Callable[[Sequence[Path], ReadOptions], Imported]
  write: Callable[[Path, Sequence[Episodes], Manifest], None] | None
