"""The contract of every format: what it reads and writes."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.manifest import Manifest
from macaw_jax.data.references import References


class Imported(NamedTuple):
  """Tasks as a source states them."""

  episodes: list[Episodes]  # of each task
  parameters: list[dict[str, Any]]  # of each task: numbers and nested lists of numbers; {} where the source states none
  discount: float | None  # of the returns stored in the source, or the reader's own; None where neither states one
  files: tuple[Path, ...]  # all that was read
  notes: tuple[str, ...] = ()  # what was left out or filled in, for the manifest
  references: list[References] | None = None  # of each task; None where the source does not state those of all


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """Values that a source may leave open."""

  # Most steps of an episode: a longer one is an error. Where a source marks neither ends nor next observations,
  # episodes are cut at it.
  horizon: int | None = None
  # Pickled task parameters: a list of one dict a task, or a directory with a list of one dict in a file for each task.
  tasks_file: Path | None = None
  discount: float | None = None  # of the stored returns; a source that states another is an error


class Format(NamedTuple):
  """One layout of files.

  read:  `(paths, options) -> Imported`; one path a task, or one directory with all of them
  write: `(directory, episodes of each task, manifest)` makes a new directory; None for a format that is only read
  """

  read: Callable[[Sequence[Path], ReadOptions], Imported]
  write: Callable[[Path, Sequence[Episodes], Manifest], None] | None
