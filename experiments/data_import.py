"""The import of `experiments.data convert`: its flags, the steps, and what it says of the result."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from macaw_jax.console import log
from macaw_jax.data.agreement import Check, compare_with_family, refuse_contradictions
from macaw_jax.data.dataset import Episodes, write_episodes
from macaw_jax.data.formats import FORMATS, ReadOptions, check_fit, for_family, to_manifest
from macaw_jax.data.formats.contract import Autoreset
from macaw_jax.data.formats.family import known_family
from macaw_jax.data.formats.integers import read_episode_lengths, read_task_indices
from macaw_jax.data.formats.report import report_import
from macaw_jax.data.formats.values import KINDS
from macaw_jax.data.manifest import Manifest
from macaw_jax.envs.engines import with_compiled_physics
from macaw_jax.envs.family import MujocoDynamics, TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.training.provenance import package_versions

from .data_report import agreement_table

_NEEDED = ("family", "train_tasks", "test_tasks")
_KINDS = ", ".join(KINDS)
_TASKS_FILE = (
  f"parameters of the tasks, where the source has none: a file ({_KINDS}) of a list of dicts, a dict of lists, or an "
  "array with a row for each task; or a folder with a pickle for each task. The names must be the family's, as "
  "`direction` of cheetah_dir, `velocity` of cheetah_vel, `goal` of point_robot"
)


class ImportRequest(NamedTuple):
  """The flags of an import beside its files."""

  family: str
  train_tasks: Sequence[int]
  test_tasks: Sequence[int]
  options: ReadOptions
  reference_returns: list[dict[str, float]] | None


def import_dataset(sources: Sequence[Path], name: str, to: Path, request: ImportRequest) -> None:
  """Reads files of another layout and writes them as a dataset.

  Raises:
    DatasetError: the files cannot be used, or contradict the family.
  """
  options = for_family(request.options, request.family)
  imported = FORMATS[name].read(sources, options)
  manifest = to_manifest(
    imported,
    family=request.family,
    train_tasks=request.train_tasks,
    test_tasks=request.test_tasks,
    horizon=options.horizon,
    reference_returns=request.reference_returns,
    source=name,
    versions=package_versions(),
  )
  why_not = check_fit(manifest)
  check_import(manifest, imported.episodes)
  manifest = write_episodes(to, imported.episodes, manifest)
  report_import(to, imported.episodes, manifest, why_not)


def compare(manifest: Manifest, episodes: Sequence[Episodes], family: TaskFamily) -> list[Check]:
  """Prints a table of how episodes agree with the family of their manifest; the checks."""
  checks = compare_with_family(manifest, episodes, _with_physics(family))
  log(f"agreement with family {manifest.family}\n{agreement_table(checks)}\n")
  return checks


def check_import(manifest: Manifest, episodes: Sequence[Episodes]) -> None:
  """Compares an import with its family, where that is known, before anything is written.

  Raises:
    DatasetError: they contradict each other.
    ConfigurationError: the family is one of the user's own, and cannot be made.
  """
  if family := known_family(manifest.family):
    refuse_contradictions(compare(manifest, episodes, family), manifest.family)


def _with_physics(family: TaskFamily) -> TaskFamily:
  """The family with its physics as a function, where that can be."""
  return with_compiled_physics(family, "native") if isinstance(family.dynamics, MujocoDynamics) else family


def add_import_flags(parser: argparse.ArgumentParser) -> None:
  """Defines the flags that go with `--from`; none has a default."""
  group = parser.add_argument_group("with --from")
  indices = f"as 0,3-5, or a file of them ({_KINDS})"
  group.add_argument("--family", help="name of the task family")
  group.add_argument("--train_tasks", help=f"indices of the tasks to train on, {indices}")
  group.add_argument("--test_tasks", help=f"indices of the tasks to test on, {indices}")
  group.add_argument("--discount", type=float, help="of the returns, where the source does not state it")
  group.add_argument("--horizon", type=int, help="most steps of an episode; else the family's, or the longest there is")
  group.add_argument(
    "--episode_lengths",
    help="steps of every episode, as 200, where the source does not mark their ends; or a file of lengths "
    f"({_KINDS}), one list for all tasks or a list for each",
  )
  group.add_argument(
    "--autoreset",
    choices=get_args(Autoreset),
    help="when the environments of the source were reset, where the data do not show it. none: each next observation "
    "is what the step led to; same_step: on the last row of an episode it is the first observation of the next one; "
    "next_step: so it is on a row of its own between the two",
  )
  group.add_argument("--action_bound", type=float, help="the largest action, 1 if not given; actions are divided by it")
  group.add_argument("--tasks_file", type=Path, help=_TASKS_FILE)
  group.add_argument(
    "--parameter",
    type=lambda text: tuple(text.split(",")),
    help="the name of a parameter that --tasks_file has as an array; of parameters with names, those to keep, as a,b",
  )
  group.add_argument(
    "--reference_returns", type=reference_pairs, help="<random>:<expert> of each task, else the extremes of its data"
  )


IMPORT_FLAGS = (
  *("family", "train_tasks", "test_tasks", "discount", "horizon", "episode_lengths", "autoreset", "action_bound"),
  *("tasks_file", "parameter", "reference_returns"),
)


def import_request(given: argparse.Namespace) -> ImportRequest:
  """The request of the flags, with the small files that they name read.

  Raises:
    ConfigurationError, DatasetError: a flag is missing or cannot be used.
  """
  for flag in _NEEDED:
    if not getattr(given, flag):
      raise ConfigurationError(f"--{flag} is missing, which --from needs")
  if given.parameter and given.tasks_file is None:
    raise ConfigurationError("--parameter belongs to --tasks_file=<file>")
  named = [given.train_tasks, given.test_tasks, given.episode_lengths, given.tasks_file]
  options = ReadOptions(
    horizon=given.horizon,
    episode_lengths=_episode_lengths(given.episode_lengths),
    autoreset=given.autoreset,
    action_bound=1.0 if given.action_bound is None else given.action_bound,
    discount=given.discount,
    tasks_file=given.tasks_file,
    parameter=given.parameter or (),
    beside=tuple(Path(name) for name in named if name and Path(name).is_file()),
  )
  train_tasks, test_tasks = task_indices("train_tasks", given.train_tasks), task_indices("test_tasks", given.test_tasks)
  return ImportRequest(given.family, train_tasks, test_tasks, options, given.reference_returns)


def task_indices(flag: str, text: str) -> tuple[int, ...]:
  """`0,3-5` as (0, 3, 4, 5), or the indices in the file of that name.

  Raises:
    ConfigurationError, DatasetError: it is something else.
  """
  if not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", text):
    if not Path(text).is_file():
      raise ConfigurationError(f"--{flag}: expected task indices such as 0,3-5, or a file of them, got {text!r}")
    return read_task_indices(Path(text), flag)
  indices: list[int] = []
  for part in text.split(","):
    first, _, last = part.partition("-")
    if int(last or first) < int(first):
      raise ConfigurationError(f"--{flag}: expected task indices such as 0,3-5, got {part!r}")
    indices += range(int(first), int(last or first) + 1)
  return tuple(indices)


def reference_pairs(text: str) -> list[dict[str, float]]:
  """`-41.4:1217,-4:1210` as a pair of "random" and "expert" return for each task.

  Raises:
    ArgumentTypeError: it is something else.
  """
  pairs = []
  for part in text.split(","):
    try:
      random, expert = map(float, part.split(":"))
    except ValueError as error:
      raise argparse.ArgumentTypeError(
        f"expected <random>:<expert> for each task, separated by commas, got {part!r}"
      ) from error
    pairs.append({"random": random, "expert": expert})
  return pairs


def _episode_lengths(text: str | None) -> int | list[list[int]] | None:
  if text is None:
    return None
  if text.isdecimal():
    return int(text)
  if not Path(text).is_file():
    raise ConfigurationError(f"--episode_lengths: expected a number of steps, or a file of lengths, got {text!r}")
  return read_episode_lengths(Path(text))
