"""Looks at datasets, checks them, and converts them from and to other layouts.

python -m experiments.data list [directory ...]          one line a dataset below starter_data and data, or as named
python -m experiments.data inspect <directory> [--columns]   tables of its tasks, and how well tasks can be told apart
python -m experiments.data validate <directory> ...      checks every file; names all that is wrong
python -m experiments.data plot <directory> --output=plot.png   returns over the collection
python -m experiments.data convert --source=<paths> --from=<format> --to=<directory> --family=<name>
    --train_tasks=0-34 --test_tasks=35-39 [--discount= --horizon= --tasks_file= --reference_returns=]
python -m experiments.data convert --source=<dataset> --export=<format> --to=<directory>

Exit code 2 where a dataset is broken or the command line is wrong. docs/data.md has examples.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from macaw_jax import envs
from macaw_jax.console import log
from macaw_jax.data.dataset import Episodes, read_episodes, write_dataset
from macaw_jax.data.formats import FORMATS, ReadOptions, to_manifest
from macaw_jax.data.identifiability import measure_identifiability
from macaw_jax.data.inspection import (
  DatasetFiles,
  collection_end,
  examine_dataset,
  find_datasets,
  parameter_vectors,
  read_leniently,
  summarise_entries,
  summarise_task,
  survey,
)
from macaw_jax.data.manifest import DatasetError, Manifest, read_manifest
from macaw_jax.data.tasks import tasks_of
from macaw_jax.errors import ConfigurationError
from macaw_jax.training.provenance import package_versions

from .command_line import BAD_INPUT, launch_with_arguments
from .data_report import (
  entries_table,
  header,
  identifiability_table,
  list_table,
  plot_returns,
  tasks_table,
)

DEFAULT_DIRECTORIES = ("starter_data", "data")


class ImportRequest(NamedTuple):
  """What an import is told beside its files."""

  family: str
  train_tasks: Sequence[int]
  test_tasks: Sequence[int]
  options: ReadOptions
  reference_returns: list[dict[str, float]] | None


def list_datasets(directories: Sequence[str]) -> bool:
  """Prints a line for each dataset at or below the directories; true if none is broken.

  Raises:
    ConfigurationError: a directory does not exist, or there is no dataset.
  """
  for directory in directories:
    if not Path(directory).is_dir():
      raise ConfigurationError(f"{directory}: no such directory")
  roots = list(directories) or [directory for directory in DEFAULT_DIRECTORIES if Path(directory).is_dir()]
  found: dict[Path, DatasetFiles] = {}
  broken = []
  paths = dict.fromkeys(path for root in roots for path in find_datasets(root))
  if not paths:
    raise ConfigurationError(f"no dataset in {', '.join(roots or DEFAULT_DIRECTORIES)}")
  for path in paths:
    try:
      found[path] = survey(path)
    except DatasetError as error:
      broken.append(f"{path}  BROKEN: {error}")
  if found:
    log(list_table(found))
  for line in broken:
    log(line)
  return not broken


def inspect_dataset(directory: str, *, columns: bool) -> None:
  """Prints what a dataset holds, also where its values are wrong, and how well its tasks can be told apart.

  Raises:
    DatasetError: the manifest's fields cannot be used, or the episodes of a task cannot be told apart.
  """
  manifest, episodes, problems = read_leniently(directory)
  log(header(Path(directory), manifest))
  for problem in problems:
    log(f"INVALID: {problem}")
  end = collection_end(episodes)
  log(f"\n{tasks_table(manifest, [summarise_task(of_task, end) for of_task in episodes])}")
  if columns:
    log(f"\n{entries_table(summarise_entries(episodes))}")
  parameters = parameter_vectors(manifest)
  try:
    result = measure_identifiability(episodes, np.zeros((len(episodes), 1)) if parameters is None else parameters)
  except ValueError as error:
    log(f"\nhow well tasks can be told apart: not measured: {error}")
  else:
    log(f"\n{identifiability_table(result, with_distance=parameters is not None)}")


def validate_datasets(directories: Sequence[str]) -> bool:
  """Prints each file with OK or all that is wrong with it; true if nothing is."""
  valid = True
  for directory in directories:
    for name, problems in examine_dataset(directory).items():
      if not problems:
        log(f"{Path(directory) / name}: OK")
      for problem in problems:
        log(f"INVALID: {problem}")
      valid = valid and not problems
  return valid


def plot_dataset(directory: str, output: Path) -> None:
  """Draws the returns over the collection.

  Raises:
    ConfigurationError: the picture cannot be drawn or written.
  """
  if not output.parent.is_dir():
    raise ConfigurationError(f"--output={output}: {output.parent} is no directory")
  manifest = read_manifest(directory)
  episodes = [read_episodes(directory, manifest, task) for task in range(len(manifest.tasks))]
  try:
    plot_returns(output, manifest, episodes)
  except ImportError as error:
    raise ConfigurationError('a plot needs matplotlib: pip install "macaw_jax[plot]"') from error
  except (OSError, ValueError) as error:  # a format that matplotlib does not write
    raise ConfigurationError(f"--output={output}: {error}") from error
  log(f"wrote {output}")


def import_dataset(sources: Sequence[Path], name: str, to: Path, request: ImportRequest) -> None:
  """Reads files of another layout and writes them as a dataset.

  Raises:
    ConfigurationError: the family's sizes are not those of the data.
    DatasetError: the files cannot be used.
  """
  imported = FORMATS[name].read(sources, request.options)
  manifest = to_manifest(
    imported,
    family=request.family,
    train_tasks=request.train_tasks,
    test_tasks=request.test_tasks,
    horizon=request.options.horizon,
    reference_returns=request.reference_returns,
    source=name,
    versions=package_versions(),
  )
  why_not = why_not_trained_on(manifest)
  _report_written(to, imported.episodes, write_dataset(to, imported.episodes, manifest).family)
  for note in manifest.behaviour["notes"]:
    log(f"note: {note}")
  if why_not:
    log(f"note: nothing can be trained on it: {why_not}")


def why_not_trained_on(manifest: Manifest) -> str:
  """What keeps training from evaluating on a dataset's tasks; empty where nothing does.

  Raises:
    ConfigurationError: its family has observations or actions of another size.
  """
  try:
    family = envs.make(manifest.family)
  except ValueError as error:
    return str(error)
  sizes = [(of.observation_size, of.action_size) for of in (family, manifest)]
  if sizes[0] != sizes[1]:
    raise ConfigurationError(
      f"--family={family.name}: its (observation, action) sizes are {sizes[0]}, those of the source {sizes[1]}"
    )
  try:
    tasks_of(manifest, family, range(len(manifest.tasks)))
  except DatasetError as error:
    return str(error)
  return ""


def export_dataset(source: Path, name: str, to: Path) -> None:
  """Writes a dataset in another layout.

  Raises:
    ConfigurationError: the layout is only read.
    DatasetError: the dataset is broken, or the disk refuses.
  """
  write = FORMATS[name].write
  if write is None:
    writable = [other for other in FORMATS if FORMATS[other].write is not None]
    raise ConfigurationError(f"--export={name}: is only read; expected one of {', '.join(writable)}")
  manifest = read_manifest(source)
  episodes = [read_episodes(source, manifest, task) for task in range(len(manifest.tasks))]
  write(to, episodes, manifest)
  _report_written(to, episodes, name)


def task_indices(flag: str, text: str) -> tuple[int, ...]:
  """`0,3-5` as (0, 3, 4, 5).

  Raises:
    ConfigurationError: it is something else.
  """
  indices: list[int] = []
  for part in text.split(","):
    first, dash, last = part.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
      raise ConfigurationError(f"--{flag}={text}: expected task indices such as 0,3-5, got {part!r}")
    indices += range(int(first), int(last) + 1)
  return tuple(indices)


def reference_pairs(text: str) -> list[dict[str, float]]:
  """`-41.4:1217,-4:1210` as a pair of "random" and "expert" return for each task.

  Raises:
    ConfigurationError: it is something else.
  """
  pairs = []
  for part in text.split(","):
    try:
      random, expert = map(float, part.split(":"))
    except ValueError as error:
      raise ConfigurationError(
        f"--reference_returns: expected <random>:<expert> for each task, separated by commas, got {part!r}"
      ) from error
    pairs.append({"random": random, "expert": expert})
  return pairs


def main(arguments: list[str]) -> None:
  """Runs the command that the first argument names."""
  name = arguments[0] if arguments else ""
  if name not in COMMANDS:
    print(__doc__, file=sys.stderr)
    raise ConfigurationError(f"expected a command, one of {', '.join(COMMANDS)}; got {name or 'none'}")
  command = COMMANDS[name]
  for flag in FLAGS:
    if flags.FLAGS[flag].present and flag not in command.flags:
      raise ConfigurationError(f"--{flag} is no flag of {name}, which takes {_names(command.flags)}")
  if not command.least <= len(arguments) - 1 <= command.most:
    raise ConfigurationError(f"{name}: expected {command.expected}, got {len(arguments) - 1} arguments")
  command.run(arguments[1:])


class Command(NamedTuple):
  """A command: what runs it, which flags it reads, and how many arguments it takes."""

  run: Callable[[list[str]], None]
  flags: tuple[str, ...]
  least: int
  most: int
  expected: str


def _list(arguments: list[str]) -> None:
  if not list_datasets(arguments):
    sys.exit(BAD_INPUT)


def _inspect(arguments: list[str]) -> None:
  inspect_dataset(arguments[0], columns=flags.FLAGS.columns)


def _validate(arguments: list[str]) -> None:
  if not validate_datasets(arguments):
    sys.exit(BAD_INPUT)


def _plot(arguments: list[str]) -> None:
  plot_dataset(arguments[0], Path(_required("output")))


def _convert(arguments: list[str]) -> None:
  del arguments
  sources, to = [Path(path) for path in _required("source").split(",")], Path(_required("to"))
  of_import, name = flags.FLAGS["from"].value is not None, flags.FLAGS["from"].value or flags.FLAGS.export
  if name is None or (of_import and flags.FLAGS.export is not None):
    raise ConfigurationError("convert: expected either --from=<format> or --export=<format>")
  if name not in FORMATS:
    raise ConfigurationError(f"{name}: no format of that name; known: {', '.join(FORMATS)}")
  if os.path.lexists(to):
    raise ConfigurationError(f"--to={to}: exists already; nothing is overwritten. Remove it or name another.")
  if of_import:
    import_dataset(sources, name, to, _import_request())
    return
  for flag in OF_IMPORT:
    if flags.FLAGS[flag].present:
      raise ConfigurationError(f"--{flag} belongs to --from=<format>; a dataset that is exported says it itself")
  if len(sources) > 1:
    raise ConfigurationError(f"--source: expected one dataset to export, got {len(sources)} paths")
  export_dataset(sources[0], name, to)


def _import_request() -> ImportRequest:
  given = flags.FLAGS
  return ImportRequest(
    family=_required("family"),
    train_tasks=task_indices("train_tasks", _required("train_tasks")),
    test_tasks=task_indices("test_tasks", _required("test_tasks")),
    options=ReadOptions(
      horizon=given.horizon,
      tasks_file=None if given.tasks_file is None else Path(given.tasks_file),
      discount=given.discount,
    ),
    reference_returns=None if given.reference_returns is None else reference_pairs(given.reference_returns),
  )


def _required(flag: str) -> str:
  value = flags.FLAGS[flag].value
  if not value:
    raise ConfigurationError(f"--{flag} is missing: {FLAGS[flag]}")
  return value


def _names(of_command: Sequence[str]) -> str:
  return ", ".join(f"--{flag}" for flag in of_command) or "none"


def _report_written(to: Path, episodes: Sequence[Episodes], what: str) -> None:
  transitions = sum(len(of_task.reward) for of_task in episodes)
  log(f"wrote {to}: {what}, {len(episodes)} tasks, {transitions:,} transitions")


OF_IMPORT = ("family", "train_tasks", "test_tasks", "discount", "horizon", "tasks_file", "reference_returns")
COMMANDS = {
  "list": Command(_list, (), 0, sys.maxsize, "directories"),
  "inspect": Command(_inspect, ("columns",), 1, 1, "one directory"),
  "validate": Command(_validate, (), 1, sys.maxsize, "one directory or more"),
  "convert": Command(_convert, ("source", "from", "export", "to", *OF_IMPORT), 0, 0, "flags alone"),
  "plot": Command(_plot, ("output",), 1, 1, "one directory"),
}
FLAGS = {
  "columns": "inspect: a table of each entry of the observation too.",
  "output": "plot: the picture's file, as plot.png.",
  "source": "convert: the dataset to export, or the files to import, one a task, with commas, or their directory.",
  "from": f"convert: format to import from: {', '.join(FORMATS)}.",
  "export": f"convert: format to export to: {', '.join(name for name in FORMATS if FORMATS[name].write)}.",
  "to": "convert: the new directory.",
  "family": "convert --from: name of the task family.",
  "train_tasks": "convert --from: indices of the tasks to train on, as 0,3-5.",
  "test_tasks": "convert --from: indices of the tasks to test on.",
  "discount": "convert --from: discount of the returns, where the source does not state it.",
  "horizon": "convert --from: most steps of an episode; else the longest that there is.",
  "tasks_file": "convert --from: pickled task parameters, where the source has none.",
  "reference_returns": "convert --from: <random>:<expert> return of each task, else the extremes of its data.",
}


def define_flags() -> None:
  """Defines `FLAGS`."""
  kinds: dict[str, Callable[..., object]] = {
    "columns": flags.DEFINE_bool,
    "discount": flags.DEFINE_float,
    "horizon": flags.DEFINE_integer,
  }
  for name, text in FLAGS.items():
    kinds.get(name, flags.DEFINE_string)(name, False if name == "columns" else None, text)


if __name__ == "__main__":
  define_flags()
  launch_with_arguments(main)
