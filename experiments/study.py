"""Runs a study: methods by families by settings by seeds, trained, evaluated, and put into one table and a report.

python -m experiments.study --config=configs/studies/baselines.py
python -m experiments.study --config=configs/studies/baselines.py --config.seeds=2 --config.families="('cheetah_dir',)"
python -m experiments.study --config=configs/studies/baselines.py --report_only

The same command again continues: what is trained and evaluated is taken as it is, and a cell that is added is all that
is done. Started twice at once, in two terminals, the commands share the work. The table, results.csv and results.json
in the study's folder, holds all that the report's tables and figures are made of.
"""

import argparse
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import ml_collections

from macaw_jax.console import log
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluation_file import is_made_of
from macaw_jax.evaluation.results import RESULTS, read_run
from macaw_jax.json_files import flatten, read_json, write_json
from macaw_jax.study.figures import FIGURES, Data
from macaw_jax.study.report import write_report
from macaw_jax.study.table import (
  CURVES,
  LOGGED,
  RUNS,
  TABLE,
  CurveRow,
  LoggedRow,
  RunRow,
  StudyRow,
  curve_of,
  history_of,
  logged_of,
  read_table,
  rows_of,
  run_of,
  write_table,
)
from macaw_jax.training.interruption import Interruption
from macaw_jax.training.run_directory import STARTS, describe_start

from .command_line import Parser, add_config, given_config, launch, make_parser
from .configuration import MAX_SEED
from .evaluate import evaluate_run, evaluate_shift
from .evaluation_request import ALL, Request, check_request, plan
from .run import run as run_population
from .study_cells import Cell, Population, cells_of, populations_of, settings_by_name

LOCK = ".lock"
CONFIG = "config.json"  # of the study that the tables were made with
OF_THE_REPORT = ("title", "question", "figures", "output_directory", "runs_directory")
FIELDS = (
  "name",
  "title",
  "question",
  "output_directory",
  "runs_directory",
  "methods",
  "families",
  "directories",
  "metrics",
  "seed",
  "seeds",
)


class Study(NamedTuple):
  """A study that has been checked."""

  config: ml_collections.ConfigDict
  cells: list[Cell]

  @property
  def folder(self) -> Path:
    """Where everything of it is."""
    return Path(self.config.output_directory)

  @property
  def seeds(self) -> range:
    """The seeds of each cell."""
    return range(self.config.seed, self.config.seed + self.config.seeds)

  @property
  def requests(self) -> dict[str, Request]:
    """The evaluations of each run, by name; after the steps that it was trained with, if it does not name some."""
    return {name: Request(**{"steps": (), **flags}) for name, flags in self.config.evaluations.to_dict().items()}

  def runs(self) -> Iterator[tuple[Cell, int]]:
    """Every cell with every seed."""
    return ((cell, seed) for cell in self.cells for seed in self.seeds)


def examine(config: ml_collections.ConfigDict) -> Study:
  """Checks a study with all its cells. Raises `ConfigurationError`, with all that is wrong."""
  problems = [f"config.{name} is missing" for name in FIELDS if name not in config]
  if problems:
    raise ConfigurationError(*problems)
  for name in ("methods", "families"):
    if not all(isinstance(each, str) for each in config[name]) or len(set(config[name])) < len(config[name]):
      problems.append(f"config.{name} = {config[name]!r}: expected names, each once, as ('macaw',)")
  if bool(config.methods) != bool(config.families):
    problems.append(
      f"config.methods = {config.methods!r} and config.families = {config.families!r}: expected names in both, or in "
      "neither, where a figure needs no run"
    )
  if not all(isinstance(each, str) for each in config.metrics):
    problems.append(f"config.metrics = {config.metrics!r}: expected names of metrics, as ('value_loss',)")
  if config.seeds < 1:
    problems.append(f"config.seeds = {config.seeds}: expected an integer of at least 1")
  if not 0 <= config.seed <= MAX_SEED - config.seeds:
    problems.append(f"config.seed = {config.seed}: expected an integer of at least 0, and seeds below 2^32")
  if unknown := [name for name in config.figures if name not in FIGURES]:
    problems.append(f"config.figures has {', '.join(unknown)}: expected some of {', '.join(FIGURES)}")
  for section in ("settings", "evaluations"):
    for name, fields in config[section].to_dict().items():
      if not isinstance(fields, Mapping):
        problems.append(f"config.{section}.{name} = {fields!r}: expected fields by name")
      elif section == "evaluations" and (flags := sorted(fields.keys() - set(Request._fields))):
        problems.append(f"config.evaluations.{name}: {flags} are no flags of experiments.evaluate")
  if problems:
    raise ConfigurationError(*problems)
  study = Study(config, cells_of(config))
  for cell in study.cells:
    for name, request in study.requests.items():
      try:
        check_request(Path(f"{cell.name}, config.evaluations.{name}"), cell.checked, request)
      except ConfigurationError as error:
        problems += error.problems
  if problems:
    raise ConfigurationError(*dict.fromkeys(problems))
  return study


def run_study(config: ml_collections.ConfigDict, interruption: Interruption | None = None) -> list[StudyRow]:
  """Trains and evaluates what is missing, and writes the table; its rows.

  Raises:
    ConfigurationError, DatasetError: the study or its data cannot be used.
    Interrupted, TrainingError: as of a run.
  """
  study = examine(config)
  interruption = interruption or Interruption()
  # First all that nobody else is at, then what another process may not have brought to its end.
  files: dict[Path, dict[str, str]] = {}
  for waits in (False, True):
    for population in populations_of(pending(study)):
      train(study, population, interruption, waits=waits)
    interruption.advice = "the same command continues with what is missing"
    for cell, seed in study.runs():
      directory = cell.directory(seed)
      if (
        directory not in files
        and is_trained(directory)
        and (made := evaluate(study, directory, waits=waits)) is not None
      ):
        files[directory] = made
  return collect(study, files)


def pending(study: Study) -> list[tuple[Cell, int]]:
  """The runs that have not been trained to their end."""
  return [(cell, seed) for cell, seed in study.runs() if not is_trained(cell.directory(seed))]


def is_trained(directory: Path) -> bool:
  """Whether a run has come to its end."""
  return (directory / RESULTS).is_file()


def train(study: Study, population: Population, interruption: Interruption, *, waits: bool) -> None:
  """Trains a population, unless another process is at one of its runs; `waits` for it to come to its end."""
  runs = [cell.directory(seed) for cell in population.cells for seed in population.seeds]
  with claimed([run.with_name(f"{run.name}.lock") for run in runs], waits) as mine:
    missing = set(runs) & {cell.directory(seed) for cell, seed in pending(study)}
    if mine and missing:
      names = "; ".join(cell.name for cell in population.cells)
      log(f"\n{names}: seeds {population.seeds.start} to {population.seeds.stop - 1}")
      run_population(population.config, interruption)


def evaluate(study: Study, directory: Path, *, waits: bool) -> dict[str, str] | None:
  """Makes the evaluations of a run that are not there yet; their files by name, none where another process is at it."""
  files = {}
  with claimed([directory / "evaluations.lock"], waits) as mine:
    for name, request in study.requests.items() if mine else ():
      planned = plan(directory, request)
      if not is_made_of(planned.file, planned.made_of):
        (evaluate_shift if request.support == ALL else evaluate_run)(planned)
      files[name] = planned.file.name
    return files if mine else None


@contextmanager
def claimed(paths: Sequence[Path], waits: bool) -> Iterator[bool]:
  """Whether this process has all these locks; without `waits` they are not waited for."""
  with ExitStack() as held:
    for path in sorted(paths):  # All processes in one order, so that no two wait for each other.
      path.parent.mkdir(parents=True, exist_ok=True)
      try:
        held.enter_context(filelock.FileLock(path).acquire(timeout=-1 if waits else 0))
      except filelock.Timeout:
        held.close()
        yield False
        return
    yield True


def collect(study: Study, files: Mapping[Path, Mapping[str, str]]) -> list[StudyRow]:
  """Reads all evaluations, and writes the tables of the study: of results, learning curves, metrics and runs.

  Raises:
    ConfigurationError: no run has logged a metric that the study is to keep.
  """
  study.folder.mkdir(parents=True, exist_ok=True)
  rows: list[StudyRow] = []
  curves: list[CurveRow] = []
  logged: list[LoggedRow] = []
  runs: list[RunRow] = []
  for cell, seed in study.runs():
    where = {"method": cell.method, "family": cell.family, "setting": cell.setting}
    for name, file in files[cell.directory(seed)].items():
      rows += rows_of(read_run(cell.directory(seed), file), **where, evaluation=name)
    trained = read_run(cell.directory(seed))
    history = history_of(trained)
    curves += curve_of(history, seed, **where)
    logged += logged_of(history, study.config.metrics, seed, **where)
    runs.append(run_of(trained, **where))
  if unknown := sorted(set(study.config.metrics) - {row.metric for row in logged}):
    raise ConfigurationError(f"config.metrics has {', '.join(unknown)}: no run of the study has logged that")
  write_table(study.folder / TABLE, rows)
  write_table(study.folder / CURVES, curves)
  write_table(study.folder / LOGGED, logged)
  write_table(study.folder / RUNS, runs)
  write_json(study.folder / CONFIG, recorded(study.config))
  log(f"\n{len(rows)} rows in {study.folder / TABLE}.csv and .json")
  return rows


def recorded(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The configuration of a study by dotted name, as JSON has it."""
  found: dict[str, Any] = json.loads(json.dumps(flatten(config.to_dict())))
  return found


@contextmanager
def timed(study: Study) -> Iterator[None]:
  """Notes this start of the command, and at its end, whatever that is, the seconds that it took."""
  study.folder.mkdir(parents=True, exist_ok=True)
  begun, own = (time.monotonic(), time.process_time()), os.getpid()
  start = describe_start() | {"pid": own, "cores": os.cpu_count(), "seconds": None, "processor_seconds": None}
  _change_starts(study, lambda starts: [*starts, start])
  try:
    yield
  finally:
    took = {"seconds": round(time.monotonic() - begun[0]), "processor_seconds": round(time.process_time() - begun[1])}
    _change_starts(study, lambda starts: [each | took if _is_start(each, start) else each for each in starts])


def _is_start(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  return all(one[name] == other[name] for name in ("time", "pid"))


def _change_starts(study: Study, change: Callable[[list[Any]], list[Any]]) -> None:
  with filelock.FileLock(study.folder / LOCK):
    file = study.folder / STARTS
    write_json(file, change(read_json(file, list) if file.is_file() else []))


def report(study: Study) -> Path:
  """Writes the report from the tables of the study alone.

  Raises:
    ConfigurationError: there are none, or they are of another configuration but for the report's own fields.
  """
  files = [study.folder / name for name in (*(f"{name}.json" for name in (TABLE, CURVES, LOGGED, RUNS)), CONFIG)]
  if missing := [file.name for file in files if not file.is_file()]:
    raise ConfigurationError(f"{study.folder}: no {', '.join(missing)} there; run the study first")
  made_with, asked = read_json(study.folder / CONFIG, dict), recorded(study.config)
  differing = [name for name in sorted(made_with.keys() | asked.keys()) if made_with.get(name) != asked.get(name)]
  if problems := [
    f"config.{name} = {asked.get(name)!r}: the tables in {study.folder} were made with {made_with.get(name)!r}"
    for name in differing
    if name not in OF_THE_REPORT
  ]:
    raise ConfigurationError(*problems)
  data = Data(
    rows=read_table(study.folder / TABLE, StudyRow),
    curves=read_table(study.folder / CURVES, CurveRow),
    logged=read_table(study.folder / LOGGED, LoggedRow),
    runs=read_table(study.folder / RUNS, RunRow),
    setting_values=settings_by_name(study.config),
  )
  shown = {name: value for name, value in flatten(study.config.to_dict()).items() if value is not None}
  return write_report(
    study.folder,
    data,
    title=study.config.title,
    question=study.config.question,
    figures=study.config.figures,
    settings={name: value for name, value in shown.items() if name not in ("title", "question")},
    origin=origin(study),
  )


def origin(study: Study) -> dict[str, str]:
  """Where the numbers come from: commands, machine, versions, commit and seconds, over all starts."""
  file = study.folder / STARTS
  starts = read_json(file, list) if file.is_file() else []
  if not starts:
    return {}
  last = starts[-1]
  return {
    "command": shlex.join(["python", "-m", "experiments.study", *last["command"][2:]]),
    "machine": f"{last['platform']}, {last['cores']} cores",
    "commit": last["git_commit"] or "not known",
    "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items()),
    "starts": str(len(starts)),
    "seconds by the clock": _total(starts, "seconds"),
    "seconds of the processor": _total(starts, "processor_seconds"),
  }


def _total(starts: Sequence[Mapping[str, Any]], name: str) -> str:
  known = [start[name] for start in starts if start[name] is not None]
  unknown = len(starts) - len(known)
  return f"{sum(known):,}" + (f", without those of {unknown} that did not end" if unknown else "")


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("study", __doc__)
  add_config(flags)
  flags.add_argument("--report_only", action="store_true", help="make the report again from the table of the study")
  return flags


def main(given: argparse.Namespace) -> None:
  """Runs the study that the command line names."""
  config = given_config(given, examine)
  study = examine(config)
  if not given.report_only:
    interruption = Interruption()
    interruption.listen()
    with timed(study):
      run_study(config, interruption)
  try:
    log(f"report in {report(study)}")
  except ImportError:
    log('no report: matplotlib is not installed (pip install "macaw_jax[plot]")')


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
