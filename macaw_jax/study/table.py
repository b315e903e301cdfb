"""The table of a study: a typed row for each method, family, setting, protocol, seed, task and stage of adaptation.

It holds all that tables and figures are made of. The same rows in the same order are written as CSV and as JSON.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from macaw_jax.durable import write_durably
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.results import METRICS, RESULTS, FinishedRun
from macaw_jax.json_files import read_json, read_rows, write_json

Row = TypeVar("Row", bound="CellRow")

MOST_PROBLEMS = 10  # that are said of one file
TABLE, CURVES, LOGGED, RUNS = "results", "curves", "logged", "runs"  # files, as .csv and .json


@dataclasses.dataclass(frozen=True)
class CellRow:
  """A row that is of one cell of a study.

  Attributes:
    method: as the study names it.
    family: the data that it learned from.
    setting: of the study.
  """

  method: str
  family: str
  setting: str


@dataclasses.dataclass(frozen=True)
class StudyRow(CellRow):
  """The return of one trained agent in one test task at one stage of adaptation.

  Attributes:
    evaluation: the study's name for how the agent adapted.
    protocol: by which data it adapted, a name in `protocols.PROTOCOLS`.
    seed: of the training.
    task_index: of the test task.
    task: its parameters, as JSON.
    stage: what the agent had, in `stage_unit`; 0 is before adaptation, or before own episodes.
    stage_unit: "adaptations", "episodes", "steps" or "own episodes".
    support: the size of what the last stage adapted to, in `support_unit`.
    support_unit: "transitions" or "episodes".
    episodes: from which the mean is taken.
    return_mean: mean undiscounted return.
    return_std: standard deviation over episodes.
    score: normalised; NaN where the task has no scale. A return that is not finite, and its score, are NaN.
  """

  evaluation: str
  protocol: str
  seed: int
  task_index: int
  task: str
  stage: int
  stage_unit: str
  support: int
  support_unit: str
  episodes: int
  return_mean: float
  return_std: float
  score: float


@dataclasses.dataclass(frozen=True)
class CurveRow(CellRow):
  """The mean over test tasks while an agent trained, at one evaluation.

  Attributes:
    seed: of the training.
    update: after which it was evaluated.
    return_before: mean return before adaptation.
    return_after: after it.
    score_after: normalised; NaN where that is not known.
  """

  seed: int
  update: int
  return_before: float
  return_after: float
  score_after: float


@dataclasses.dataclass(frozen=True)
class LoggedRow(CellRow):
  """A metric of training that the study keeps, as it was logged.

  Attributes:
    seed: of the training.
    update: at which it was logged.
    metric: its name.
    value: NaN where it was not finite.
  """

  seed: int
  update: int
  metric: str
  value: float


@dataclasses.dataclass(frozen=True)
class RunRow(CellRow):
  """A trained agent: where it is, and what it took.

  Attributes:
    seed: of the training.
    directory: of the run, which other studies may share.
    updates: of the training.
    seconds: of the training, by the clock; of all members together where it was one of a population.
  """

  seed: int
  directory: str
  updates: int
  seconds: float


def rows_of(run: FinishedRun, **where: str) -> list[StudyRow]:
  """The rows of an evaluated run, test tasks alone; `where` are method, family, setting and evaluation."""
  return [
    StudyRow(
      **where,
      protocol=row.protocol,
      seed=run.seed,
      task_index=row.task_index,
      task=json.dumps(row.task, sort_keys=True),
      stage=stage,
      stage_unit=row.stage_unit,
      support=row.support,
      support_unit=row.support_unit,
      episodes=row.episodes,
      return_mean=row.returns[place],
      return_std=row.stds[place],
      score=math.nan if row.scores is None else row.scores[place],
    )
    for row in sorted(run.test_rows, key=lambda row: (row.protocol, row.task_index))
    for place, stage in enumerate(row.stages)
  ]


def history_of(run: FinishedRun) -> list[dict[str, Any]]:
  """All that a run logged while it trained, a row at a time."""
  return read_rows(run.directory / METRICS)


def curve_of(history: Sequence[Mapping[str, Any]], seed: int, **where: str) -> list[CurveRow]:
  """The evaluations of a run while it trained; `where` are method, family and setting."""
  return [
    CurveRow(
      **where,
      seed=seed,
      update=row["step"],
      return_before=row["test/return_before"],
      return_after=row["test/return_after"],
      score_after=row.get("test/score_after", math.nan),
    )
    for row in history
    if "test/return_after" in row
  ]


def logged_of(history: Sequence[Mapping[str, Any]], metrics: Sequence[str], seed: int, **where: str) -> list[LoggedRow]:
  """These metrics of a run, at every update that logged them; `where` are method, family and setting."""
  return [
    LoggedRow(**where, seed=seed, update=row["step"], metric=name, value=math.nan if row[name] is None else row[name])
    for row in history
    for name in metrics
    if name in row
  ]


def run_of(run: FinishedRun, **where: str) -> RunRow:
  """The row of a run; `where` are method, family and setting."""
  found = read_json(run.directory / RESULTS, dict)
  return RunRow(**where, seed=run.seed, directory=str(run.directory), updates=found["step"], seconds=found["seconds"])


def write_table(path: Path, rows: Sequence[CellRow]) -> None:
  """Writes `<path>.csv` and `<path>.json`; one that is there is replaced as a whole."""
  records = [dataclasses.asdict(row) for row in rows]
  text = io.StringIO()
  writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
  writer.writeheader()
  writer.writerows(records)
  write_durably(path.with_suffix(".csv"), text.getvalue().encode())
  write_json(path.with_suffix(".json"), {"rows": records})


def read_table(path: Path, kind: type[Row]) -> list[Row]:
  """The rows of `<path>.json`, of a kind that is `StudyRow`, `CurveRow`, `LoggedRow` or `RunRow`.

  Raises:
    ConfigurationError: the file is not as `write_table` writes it.
    OSError: it cannot be read.
  """
  file = path.with_suffix(".json")
  records = read_json(file, dict).get("rows")
  types = get_type_hints(kind)
  if not isinstance(records, list) or any(
    not isinstance(each, dict) or each.keys() != types.keys() for each in records
  ):
    raise ConfigurationError(f"{file}: expected the key 'rows' with objects of the keys {', '.join(types)}")
  wrong = [
    f"{file}: row {place}: {name} = {value!r}: expected {types[name].__name__}"
    for place, record in enumerate(records)
    for name, value in record.items()
    if not isinstance(value, _IN_JSON[types[name]])
  ]
  if wrong:
    raise ConfigurationError(*wrong[:MOST_PROBLEMS])
  found: list[dict[str, Any]] = [
    {name: math.nan if value is None else value for name, value in record.items()} for record in records
  ]
  return [kind(**record) for record in found]


_IN_JSON: dict[type, tuple[type, ...]] = {str: (str,), int: (int,), float: (float, int, type(None))}  # None is NaN


def quantity_of(rows: Sequence[StudyRow]) -> str:
  """The field that rows are compared by: `score`, or `return_mean` where none has a scale."""
  return "score" if np.any(np.isfinite([row.score for row in rows])) else "return_mean"


def values_of(rows: Sequence[StudyRow], quantity: str) -> np.ndarray:
  """A quantity of some rows, seeds by tasks: `[S, T]`. Every seed must have each task once.

  Raises:
    ConfigurationError: it has not.
  """
  by_place = {(row.seed, row.task_index): getattr(row, quantity) for row in rows}
  seeds = sorted({seed for seed, _ in by_place})
  tasks = sorted({task for _, task in by_place})
  if not len(rows) == len(by_place) == len(seeds) * len(tasks):
    raise ConfigurationError(
      f"{TABLE}.json: {rows[0].method}, {rows[0].family}, {rows[0].evaluation}: expected one row for each of "
      f"{len(seeds)} seeds in each of {len(tasks)} tasks, got {len(rows)}"
    )
  return np.array([[by_place[seed, task] for task in tasks] for seed in seeds], float)
