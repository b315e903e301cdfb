"""Looks at datasets, checks them, and converts them from and to other layouts.

python -m experiments.data list [directory ...]          one line a dataset below starter_data and data, or as named
python -m experiments.data inspect <directory> [--columns]   tables of its tasks, and how well tasks can be told apart
python -m experiments.data validate <directory> ... [--agreement]   checks every file; compares data with their family
python -m experiments.data other_policies <directory> [--episodes=10]   supports: other tasks' episodes, rewarded anew
python -m experiments.data plot <directory> --output=plot.png   returns over the collection
python -m experiments.data convert --source=<paths> --from=<format> --to=<directory> --family=<name>
    --train_tasks=0-34 --test_tasks=35-39 [--discount= --horizon= --tasks_file= --reference_returns=]
python -m experiments.data convert --source=<dataset> --export=<format> --to=<directory>

Exit code 2 where a dataset is broken or the command line is wrong. docs/data.md has examples.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from absl import flags

from macaw_jax import envs
from macaw_jax.console import log
from macaw_jax.data.dataset import Episodes, write_dataset
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
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.references import scale_faults, scale_text
from macaw_jax.data.tasks import tasks_of
from macaw_jax.errors import ConfigurationError
from macaw_jax.training.provenance import package_versions

from .command_line import BAD_INPUT, launch_with_arguments
from .data_agreement import agrees, check_import, read, write_other_policies
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
  """The flags of an import beside its files."""

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
  if missing := [directory for directory in directories if not Path(directory).is_dir()]:
    raise ConfigurationError(*(f"{directory}: no such directory" for directory in missing))
  roots = list(directories) or [directory for directory in DEFAULT_DIRECTORIES if Path(directory).is_dir()]
  found: dict[Path, DatasetFiles] = {}
  broken = []
  for path in dict.fromkeys(path for root in roots for path in find_datasets(root)):
    try:
      found[path] = survey(path)
    except DatasetError as error:
      broken.append(f"{path}  BROKEN: {error}")
  if not found and not broken:
    raise ConfigurationError(f"no dataset in {', '.join(roots or DEFAULT_DIRECTORIES)}")
  if found:
    log(list_table(found))
  for line in broken:
    log(line)
  return not broken


def inspect_dataset(directory: str, *, columns: bool) -> None:
  """Prints the content of a dataset, also where its values are wrong, and how well its tasks can be told apart.

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


def validate_datasets(directories: Sequence[str], *, agreement: bool = False) -> bool:
  """Prints each file with OK or all that is wrong with it; true if nothing is.

  With `agreement`, data without a fault are compared with their family too, and a contradiction is wrong.
  """
  valid = True
  for directory in directories:
    found = examine_dataset(directory)
    for name, problems in found.items():
      if not problems:
        log(f"{Path(directory) / name}: OK")
      for problem in problems:
        log(f"INVALID: {problem}")
    sound = not any(found.values())
    valid = (agrees(directory) if sound and agreement else sound) and valid
  return valid


def plot_dataset(directory: str, output: Path) -> None:
  """Draws the returns over the collection.

  Raises:
    ConfigurationError: the picture cannot be drawn or written.
  """
  if not output.parent.is_dir():
    raise ConfigurationError(f"--output={output}: {output.parent} is no directory")
  manifest, episodes = read(directory)
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
    ConfigurationError, DatasetError: the family's sizes are not those of the data, or the files cannot be used.
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
  check_import(manifest, imported.episodes)
  _report_written(to, imported.episodes, write_dataset(to, imported.episodes, manifest).family)
  log(scale_text(manifest.references))
  for note in manifest.behaviour["notes"]:
    log(f"note: {note}")
  for fault in scale_faults([entry.reference_returns for entry in manifest.tasks]):
    log(f"WARNING: {fault}")
  if why_not:
    log(f"note: nothing can be trained on it: {why_not}")


def why_not_trained_on(manifest: Manifest) -> str:
  """The reason why no run can evaluate on a dataset's tasks; empty where there is none.

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
  """Writes a dataset in another layout, one of `FORMATS` that can be written.

  Raises:
    DatasetError: the dataset is broken, or the disk refuses.
  """
  write = FORMATS[name].write
  assert write is not None
  manifest, episodes = read(source)
  write(to, episodes, manifest)
  _report_written(to, episodes, name)


def task_indices(text: str) -> tuple[int, ...]:
  """`0,3-5` as (0, 3, 4, 5).

  Raises:
    ArgumentTypeError: it is something else.
  """
  indices: list[int] = []
  for part in text.split(","):
    first, dash, last = part.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
      raise argparse.ArgumentTypeError(f"expected task indices such as 0,3-5, got {part!r}")
    indices += range(int(first), int(last) + 1)
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


class Parser(argparse.ArgumentParser):
  """Takes flags by their whole names, and raises `ConfigurationError` where the command line is wrong."""

  def __init__(self, **options: Any):
    super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

  def error(self, message: str) -> NoReturn:
    """Raises `ConfigurationError`."""
    raise ConfigurationError(f"command line: {self.prog}: {message}")


def make_parser() -> Parser:
  """The parser of the command line; `command` is the name of the command."""
  parser = Parser(prog="data", description=__doc__)
  commands = parser.add_subparsers(dest="command", required=True)
  listed = commands.add_parser("list", help="a line for each dataset")
  listed.add_argument("directories", nargs="*", default=[])
  inspected = commands.add_parser("inspect", help="tables of a dataset")
  inspected.add_argument("directory")
  inspected.add_argument("--columns", action="store_true", help="a table of each entry of the observation too")
  validated = commands.add_parser("validate", help="checks every file")
  validated.add_argument("directories", nargs="+")
  validated.add_argument("--agreement", action="store_true", help="compares the data with their family too")
  made = commands.add_parser("other_policies", help="supports of other tasks' episodes, with rewards recomputed")
  made.add_argument("directory")
  made.add_argument("--episodes", type=int, default=10, help="of each task; 10 if not given")
  plotted = commands.add_parser("plot", help="returns over the collection")
  plotted.add_argument("directory")
  plotted.add_argument("--output", required=True, type=Path, help="the picture's file, as plot.png")
  converted = commands.add_parser("convert", help="from or to another layout")
  converted.add_argument(
    "--source",
    required=True,
    type=lambda text: [Path(path) for path in text.split(",")],
    help="the dataset to export; the files to import, with commas, or their folder",
  )
  converted.add_argument("--to", required=True, type=Path, help="the new directory")
  layout = converted.add_mutually_exclusive_group(required=True)
  layout.add_argument("--from", dest="layout_from", choices=list(FORMATS), help="format to import from")
  layout.add_argument("--export", choices=[name for name in FORMATS if FORMATS[name].write], help="format to export to")
  imported = converted.add_argument_group("with --from")
  imported.add_argument("--family", help="name of the task family")
  imported.add_argument("--train_tasks", type=task_indices, help="indices of the tasks to train on, as 0,3-5")
  imported.add_argument("--test_tasks", type=task_indices, help="indices of the tasks to test on")
  imported.add_argument("--discount", type=float, help="of the returns, where the source does not state it")
  imported.add_argument("--horizon", type=int, help="most steps of an episode; else the longest that there is")
  imported.add_argument("--tasks_file", type=Path, help="pickled task parameters, where the source has none")
  imported.add_argument(
    "--reference_returns",
    type=reference_pairs,
    help="<random>:<expert> of each task, else the source's, or the extremes of its data",
  )
  return parser


def main(arguments: list[str]) -> None:
  """Runs the command that the first argument names.

  Raises:
    ConfigurationError: the command line is wrong.
  """
  if not arguments:
    print(__doc__, file=sys.stderr)
  given = make_parser().parse_args(arguments)
  match given.command:
    case "list":
      if not list_datasets(given.directories):
        sys.exit(BAD_INPUT)
    case "validate":
      if not validate_datasets(given.directories, agreement=given.agreement):
        sys.exit(BAD_INPUT)
    case "other_policies":
      write_other_policies(given.directory, given.episodes)
    case "inspect":
      inspect_dataset(given.directory, columns=given.columns)
    case "plot":
      plot_dataset(given.directory, given.output)
    case "convert":
      convert(given)


def convert(given: argparse.Namespace) -> None:
  """Imports or exports, as the flags of `convert` say.

  Raises:
    ConfigurationError: they do not belong together.
  """
  if os.path.lexists(given.to):
    raise ConfigurationError(f"--to={given.to}: exists already; nothing is overwritten. Remove it or name another.")
  if given.export is None:
    import_dataset(given.source, given.layout_from, given.to, _import_request(given))
    return
  for flag in ("family", "train_tasks", "test_tasks", "discount", "horizon", "tasks_file", "reference_returns"):
    if getattr(given, flag) is not None:
      raise ConfigurationError(f"--{flag} belongs to --from=<format>; a dataset that is exported says it itself")
  if len(given.source) > 1:
    raise ConfigurationError(f"--source: expected one dataset to export, got {len(given.source)} paths")
  export_dataset(given.source[0], given.export, given.to)


def _import_request(given: argparse.Namespace) -> ImportRequest:
  for flag in ("family", "train_tasks", "test_tasks"):
    if not getattr(given, flag):
      raise ConfigurationError(f"--{flag} is missing, which --from needs")
  options = ReadOptions(horizon=given.horizon, tasks_file=given.tasks_file, discount=given.discount)
  return ImportRequest(given.family, given.train_tasks, given.test_tasks, options, given.reference_returns)


def _report_written(to: Path, episodes: Sequence[Episodes], what: str) -> None:
  transitions = sum(len(of_task.reward) for of_task in episodes)
  log(f"wrote {to}: {what}, {len(episodes)} tasks, {transitions:,} transitions")


def _leave_arguments(argv: list[str]) -> list[str]:
  """Parses no flag: `main` reads them all."""
  flags.FLAGS(argv[:1])
  return argv


def start() -> None:
  """Starts the command."""
  launch_with_arguments(main, _leave_arguments)


if __name__ == "__main__":
  start()
