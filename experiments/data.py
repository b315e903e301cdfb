"""Looks at datasets, checks them, and converts them from and to other layouts.

python -m experiments.data list [directory ...]          one line a dataset below starter_data and data, or as named
python -m experiments.data inspect <directory> [--columns]   tables of its tasks, and how well tasks can be told apart
python -m experiments.data explain <directory> [--picture=explained.png]   training tasks that explain test tasks' data
python -m experiments.data validate <directory> ... [--agreement]   checks every file; compares data with their family
python -m experiments.data other_policies <directory> [--episodes=10]   supports: other tasks' episodes, rewarded anew
python -m experiments.data plot <directory> --output=plot.png   returns over the collection
python -m experiments.data convert --source <paths or patterns> --from=<format> --to=<directory> --family=<name>
    --train_tasks=0-34 --test_tasks=35-39 [--discount= --tasks_file= ..., see convert --help]
python -m experiments.data convert --source=<dataset> --export=<format> --to=<directory>

Exit code 2 where a dataset is broken or the command line is wrong. docs/data.md has examples.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from macaw_jax import envs
from macaw_jax.console import log
from macaw_jax.data.agreement import contradictions
from macaw_jax.data.calibration import calibrate
from macaw_jax.data.dataset import Episodes, dataset_of, read_episodes, write_episodes
from macaw_jax.data.formats import FORMATS
from macaw_jax.data.formats.report import report_written
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
from macaw_jax.data.overlap import measure_overlap
from macaw_jax.data.relabel import other_policies, other_policies_directory
from macaw_jax.data.reward_model import READ
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.names import parse_name
from macaw_jax.errors import ConfigurationError

from .command_line import BAD_INPUT, Parser, add_picture, check_picture, launch, make_parser, positive, seed_number
from .data_explain import explain_dataset
from .data_import import IMPORT_FLAGS, add_import_flags, compare, import_dataset, import_request
from .data_report import (
  calibration_text,
  entries_table,
  header,
  identifiability_table,
  list_table,
  overlap_text,
  plot_returns,
  tasks_table,
)

DEFAULT_DIRECTORIES = ("starter_data", "data")


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
    differ_in = _differ_in(manifest)
    log(f"\n{overlap_text(measure_overlap(episodes, READ[differ_in]), differ_in)}")
    dataset = dataset_of(episodes, manifest.discount)
    if (calibration := calibrate(dataset, READ[differ_in], jax.random.key(0))) is not None:
      log(calibration_text(calibration, differ_in))


def _differ_in(manifest: Manifest) -> str:
  """By what the tasks of a dataset differ: by rewards, unless its family is one of the package that says otherwise.

  No module that a manifest names is imported to find it out.
  """
  base = parse_name(manifest.family).base
  return envs.make(base).differ_in if base in envs.FAMILIES else "rewards"


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


def export_dataset(source: Path, name: str, to: Path) -> None:
  """Writes a dataset in another layout, one of `FORMATS` that can be written.

  Raises:
    DatasetError: the dataset is broken, or the disk refuses.
  """
  write = FORMATS[name].write
  assert write is not None
  manifest, episodes = read(source)
  write(to, episodes, manifest)
  report_written(to, episodes, name)


def agrees(directory: str) -> bool:
  """Prints how a dataset agrees with its family; false where they contradict each other.

  Raises:
    DatasetError: it is broken.
    ConfigurationError: its family is not known.
  """
  manifest, episodes = read(directory)
  return not contradictions(compare(manifest, episodes, _family_of(manifest, directory)))


def write_other_policies(directory: str, count: int) -> None:
  """Writes `<directory>_other_policies`: in each task, episodes of the dataset that were collected for other tasks.

  Raises:
    ConfigurationError: the directory is there already, or the dataset's family is not known.
    DatasetError: the dataset is broken, or its family cannot recompute rewards.
  """
  to = other_policies_directory(directory)
  if os.path.lexists(to):
    raise ConfigurationError(f"{to}: exists already; nothing is overwritten. Remove it first.")
  if count < 1:
    raise ConfigurationError(f"--episodes={count}: expected 1 or more")
  manifest, episodes = read(directory)
  family = _family_of(manifest, directory)
  try:
    relabelled, made = other_policies(manifest, episodes, family, count)
  except DatasetError as error:
    raise DatasetError(f"{directory}: {error}") from error
  write_episodes(to, made, relabelled)
  log(f"wrote {to}: {count} episodes of other tasks in each of {len(made)} tasks, with rewards of family {family.name}")


def read(directory: str | Path) -> tuple[Manifest, list[Episodes]]:
  """The manifest of a dataset and the episodes of all its tasks. Raises `DatasetError` if it is broken."""
  manifest = read_manifest(directory)
  return manifest, [read_episodes(directory, manifest, task) for task in range(len(manifest.tasks))]


def _family_of(manifest: Manifest, directory: str) -> TaskFamily:
  try:
    return envs.make(manifest.family)
  except ValueError as error:
    raise ConfigurationError(f"{directory}: {error}") from error


def parser() -> Parser:
  """The flags of the command; `command` is the name of the subcommand."""
  flags = make_parser("data", __doc__)
  commands = flags.add_subparsers(dest="command", required=True)
  listed = commands.add_parser("list", help="a line for each dataset")
  listed.add_argument("directories", nargs="*", default=[])
  inspected = commands.add_parser("inspect", help="tables of a dataset")
  inspected.add_argument("directory")
  inspected.add_argument("--columns", action="store_true", help="a table of each entry of the observation too")
  explained = commands.add_parser("explain", help="training tasks that explain data of the test tasks")
  explained.add_argument("directory")
  explained.add_argument(
    "--support_size", type=positive, default=256, metavar="N", help="transitions; 256 if not given"
  )
  explained.add_argument("--supports", type=positive, default=10, metavar="N", help="of each task; 10 if not given")
  explained.add_argument("--seed", type=seed_number, default=0, metavar="N", help="of the fit and the supports")
  add_picture(explained)
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
    nargs="+",
    type=Path,
    metavar="PATH",
    help="the dataset to export; the files to import, one a task, or a pattern of them ('data/task_*.pkl'), or a "
    "folder with all of them",
  )
  converted.add_argument("--to", required=True, type=Path, help="the new directory")
  layout = converted.add_mutually_exclusive_group(required=True)
  layout.add_argument("--from", dest="layout_from", choices=list(FORMATS), help="format to import from")
  layout.add_argument("--export", choices=[name for name in FORMATS if FORMATS[name].write], help="format to export to")
  add_import_flags(converted)
  return flags


def main(given: argparse.Namespace) -> None:
  """Runs the subcommand that the command line names.

  Raises:
    ConfigurationError: its arguments do not belong together.
  """
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
    case "explain":
      check_picture(given.picture)
      explain_dataset(
        given.directory,
        differ_in=_differ_in(read_manifest(given.directory)),
        support_size=given.support_size,
        num_supports=given.supports,
        seed=given.seed,
        picture=given.picture,
      )
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
    import_dataset(given.source, given.layout_from, given.to, import_request(given))
    return
  for flag in IMPORT_FLAGS:
    if getattr(given, flag) is not None:
      raise ConfigurationError(f"--{flag} belongs to --from=<format>; a dataset that is exported says it itself")
  if len(given.source) > 1:
    raise ConfigurationError(f"--source: expected one dataset to export, got {len(given.source)} paths")
  export_dataset(given.source[0], given.export, given.to)


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
