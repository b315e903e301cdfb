"""Finished runs beside each other: grouped by configuration, as tables over seeds, and as learning curves.

All kinds of runs are compared alike, whatever data they learned from.
"""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.evaluation.results import METRICS, FinishedRun, ResultError
from macaw_jax.evaluation.scales import scale_sentence, scales_of, scored, unscored_text
from macaw_jax.evaluation.statistics import Statistic, interquartile_mean, mean, stratified_bootstrap
from macaw_jax.evaluation.tables import MOST_TASKS_SHOWN, describe_task, markdown_table, stage_text, task_name
from macaw_jax.json_files import flatten, read_rows

# Fields of a configuration that may differ between runs of one group: where a run was trained, and beside which others,
# is no setting of it. Its own variant is a field of the run.
NOT_COMPARED = ("seed", "output_directory", "population", "devices", "variants")
ALGORITHM, VARIANT = "algorithm.name", "variant"
RETRIEVAL = "retrieval.enabled"
ENVIRONMENT_STEPS = "environment_steps"  # a metric
DIGITS = {"score": 1, "return": 2}
QUANTITIES = {"score": "Normalised scores", "return": "Undiscounted returns"}


class Group(NamedTuple):
  """Runs whose configurations differ in the seed alone."""

  label: str
  runs: tuple[FinishedRun, ...]  # one a seed

  @property
  def family(self) -> str:
    """The family of their tasks."""
    return self.runs[0].family


class Curve(NamedTuple):
  """How a group learned, at the updates after which all its seeds were evaluated."""

  label: str
  family: str
  quantity: str  # "score" or "return"
  updates: np.ndarray  # [N]
  environment_steps: np.ndarray | None  # [N]  mean over seeds; None where a run did not count them
  before: np.ndarray  # [S, N]  mean over test tasks, at the first stage of adaptation
  after: np.ndarray  # [S, N]  at the last
  scales: tuple[str, ...] = ()  # what scores 0 and 100 are; more than one where runs have different ones


def find_runs(patterns: Sequence[str]) -> list[Path]:
  """The directories that names or patterns such as `runs/macaw-*` stand for, each once.

  Raises:
    ResultError: there are no patterns, or some stand for nothing.
  """
  if not patterns:
    raise ResultError("no runs; expected their directories, as runs/macaw-*")
  found = {pattern: sorted(glob.glob(pattern)) for pattern in patterns}
  if missing := [pattern for pattern, paths in found.items() if not paths]:
    raise ResultError(*(f"{pattern}: no such run" for pattern in missing))
  return list(dict.fromkeys(Path(path) for paths in found.values() for path in paths))


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
  """The runs of each configuration, in the order of their first.

  A group is called by its variant or else its algorithm, by both where algorithms differ, and by the fields that
  differ from others of that name.

  Raises:
    ResultError: two runs of a configuration have one seed, or do not have the same test tasks and stages.
  """
  members: dict[str, dict[int, FinishedRun]] = {}
  for run in runs:
    of_seeds = members.setdefault(json.dumps(_settings(run), sort_keys=True), {})
    if run.seed in of_seeds:
      raise ResultError(f"{of_seeds[run.seed].directory} and {run.directory} are the same run: seed {run.seed} twice")
    of_seeds[run.seed] = run
  labels = _labels([json.loads(identity) for identity in members])
  groups = [Group(label, tuple(seeds.values())) for label, seeds in zip(labels, members.values(), strict=True)]
  for group in groups:
    layouts = {
      (row.protocol, row.stages, tuple(_test_tasks(run, row.protocol))) for run in group.runs for row in run.rows
    }
    if len(layouts) > len({protocol for protocol, *_ in layouts}):
      directories = ", ".join(str(run.directory) for run in group.runs)
      raise ResultError(f"{group.label}: not all seeds have the same test tasks and stages: {directories}")
  return groups


def quantity_of(groups: Sequence[Group]) -> str:
  """By which numbers groups are compared: "score" where all runs have some in all their protocols, else "return".

  A task without a score is then left out of means.
  """
  for run in (run for group in groups for run in group.runs):
    protocols = {row.protocol for row in run.test_rows}
    if protocols > {row.protocol for row in scored(run.test_rows)}:
      return "return"
  return "score"


def scale_notes(groups: Sequence[Group], quantity: str) -> list[str]:
  """Lines about the scores of groups: what 0 and 100 are, where that differs, and which test tasks have none."""
  if quantity != "score":
    return []
  of_groups = {group.label: [row for run in group.runs for row in run.test_rows] for group in groups}
  notes = [scale_sentence({label: scales_of(rows) for label, rows in of_groups.items()}), _different_references(groups)]
  missing = {f"{text}." for rows in of_groups.values() if (text := unscored_text(rows))}
  return [*filter(None, notes), *sorted(missing)]


def _different_references(groups: Sequence[Group]) -> str:
  """A line if two groups have other returns of scores 0 and 100 in one task of a family."""
  known: dict[Any, tuple[str, tuple[float, ...]]] = {}
  for group in groups:
    for row in (row for run in group.runs for row in scored(run.test_rows)):
      if row.references is None:
        continue
      key = (group.family, row.task_index, json.dumps(row.task, sort_keys=True))
      label, references = known.setdefault(key, (group.label, row.references))
      if references != row.references:
        found = [f"{low:.4g} and {high:.4g}" for low, high in (references, row.references)]
        return (
          f"Scales differ: the returns of scores 0 and 100 in task {row.task_index} are {found[0]} for {label}, "
          f"{found[1]} for {group.label}."
        )
  return ""


def values_of(runs: Sequence[FinishedRun], quantity: str, stage: int, protocol: str | None = None) -> np.ndarray:
  """Scores or returns on the test tasks, seeds by tasks: `[S, T]`; scores on those that have one.

  Args:
    runs: of one group.
    quantity: "score" or "return".
    stage: the index of a stage, negative from the last.
    protocol: of the rows; None where runs have those of one alone.
  """
  rows = [[row for row in run.test_rows if protocol in (None, row.protocol)] for run in runs]
  by_task = [
    of_task for of_task in zip(*rows, strict=True) if quantity == "return" or len(scored(of_task)) == len(runs)
  ]
  return np.array([[getattr(row, f"{quantity}s")[stage] for row in of_task] for of_task in by_task]).T


def comparison_table(groups: Sequence[Group]) -> str:
  """One line a group in markdown, over its seeds and test tasks, with the meaning of the columns below it.

  Scores are compared, returns where a run has no scores. The columns are the stages of adaptation, the interquartile
  mean at the last, beside scores the returns at the first and the last, and counts of seeds, failed tasks and
  environment steps, where these are known.
  """
  quantity = quantity_of(groups)
  digits = DIGITS[quantity]
  stages = list(dict.fromkeys(stage for group in groups for stage in _stages(group)))
  counts_steps = any(_environment_steps(group) for group in groups)
  headings = ["run", *(stage_text(*stage) for stage in stages), "IQM"]
  headings += ["return before", "return after", "seeds", "failed tasks"] if quantity == "score" else ["seeds"]
  headings += ["environment steps"] if counts_steps else []
  rows = []
  for group in groups:
    values = [values_of(group.runs, quantity, number) for number in range(len(_stages(group)))]  # [S, T] each
    of_stages = dict(zip(_stages(group), values, strict=True))
    cells = [group.label, f"{np.mean(values[0]):.{digits}f}"]
    cells += [estimate(of_stages[each], mean, digits) if each in of_stages else "-" for each in stages[1:]]
    cells.append(estimate(values[-1], interquartile_mean, digits))
    if quantity == "score":
      before, after = (values_of(group.runs, "return", stage) for stage in (0, -1))
      cells += [f"{np.mean(before):.{digits}f}", estimate(after, mean, digits)]
    cells.append(str(len(group.runs)))
    if quantity == "score":
      failed = int(np.sum(~(values[-1] > 0.0)))  # NaN is a failure too
      cells.append(f"{failed} of {values[-1].size}")
    if counts_steps:
      cells.append(f"{steps:,}" if (steps := _environment_steps(group)) else "-")
    rows.append(cells)
  return "\n\n".join([markdown_table(headings, rows), _legend(quantity), *scale_notes(groups, quantity)])


def runs_table(runs: Sequence[FinishedRun]) -> str:
  """One line a run in markdown: means over its test tasks before and after adaptation, and how the tasks differ.

  Runs of a few tasks have each task's return at the last stage; of more, the spread over tasks, see `tasks_table`.
  """
  quantity = quantity_of([Group("", tuple(runs))])
  few = max(len(run.test_rows) for run in runs) <= MOST_TASKS_SHOWN
  headings = ["run", "before", "after", *(["worst task"] if few else ["std", "min", "max"])]
  headings += ["return after"] if quantity == "score" else []
  headings += ["return after, task by task"] if few else []
  rows = []
  for run in runs:
    before, after = (values_of([run], quantity, stage) for stage in (0, -1))
    values = [np.mean(before), np.mean(after)]
    values += [np.min(after)] if few else [np.std(after), np.min(after), np.max(after)]
    values += [np.mean(values_of([run], "return", -1))] if quantity == "score" else []
    cells = [str(run.directory), *(f"{value:.{DIGITS[quantity]}f}" for value in values)]
    if few:
      digits = DIGITS[quantity] - 1
      cells.append(", ".join(f"{task_name(row)}: {row.returns[-1]:.{digits}f}" for row in run.test_rows))
    rows.append(cells)
  table = markdown_table(headings, rows)
  return table if few else f"{table}\n\nstd, min, max: over the test tasks of a run, after adaptation."


def tasks_table(runs: Sequence[FinishedRun]) -> str:
  """One line a test task of each run in markdown: its returns, and where all have one its score, before and after."""
  quantities = list(dict.fromkeys(["return", quantity_of([Group("", tuple(runs))])]))
  headings = ["run", "task", *(f"{quantity} {when}" for quantity in quantities for when in ("before", "after"))]
  rows = [
    [
      str(run.directory),
      f"{row.task_index}  {describe_task(row.task)}".rstrip(),
      *(f"{getattr(row, f'{quantity}s')[stage]:.{DIGITS[quantity]}f}" for quantity in quantities for stage in (0, -1)),
    ]
    for run in runs
    for row in run.test_rows
  ]
  return markdown_table(headings, rows)


def estimate(values: np.ndarray, statistic: Statistic, digits: int = 1) -> str:
  """A statistic of `[S, T]` with its interval; one seed says nothing about the spread over seeds, and has none."""
  found, low, high = stratified_bootstrap(values, statistic)
  return f"{found:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if len(values) > 1 else "")


def learning_curves(groups: Sequence[Group]) -> list[Curve]:
  """The curve of each group, of the quantity by which they are compared, from the metrics of their runs.

  Raises:
    ResultError: the metrics of a run are damaged.
    OSError: they cannot be read.
  """
  quantity = quantity_of(groups)
  return [_curve(group, quantity) for group in groups]


def _curve(group: Group, quantity: str) -> Curve:
  before, after = (f"test/{quantity}_{stage}" for stage in ("before", "after"))
  of_seeds = [_evaluations(run, after) for run in group.runs]
  updates = sorted(set.intersection(*map(set, of_seeds)))

  def values(name: str) -> np.ndarray:
    found = [[of_seed[update].get(name) for update in updates] for of_seed in of_seeds]
    return np.array(found, float)  # None, which is null in the file, is NaN.

  steps = values(ENVIRONMENT_STEPS)
  rows = [row for run in group.runs for row in run.test_rows]
  return Curve(
    label=group.label,
    family=group.family,
    quantity=quantity,
    updates=np.array(updates),
    environment_steps=None if np.isnan(steps).any() else steps.mean(axis=0),
    before=values(before),
    after=values(after),
    scales=tuple(scales_of(rows)) if quantity == "score" else (),
  )


def _evaluations(run: FinishedRun, name: str) -> dict[int, Mapping[str, Any]]:
  """The rows of a run's metrics that have `name`, by their update."""
  try:
    return {row["step"]: row for row in read_rows(run.directory / METRICS) if name in row}
  except ValueError as error:
    raise ResultError(str(error)) from error


def _stages(group: Group) -> list[tuple[int, str]]:
  row = group.runs[0].test_rows[0]
  return [(stage, row.stage_unit if stage else "") for stage in row.stages]


def _environment_steps(group: Group) -> int:
  return max(run.environment_steps or 0 for run in group.runs)


def _legend(quantity: str) -> str:
  of_scores = ""
  if quantity == "score":
    of_scores = (
      " Return: undiscounted, before adaptation and at the last stage. Failed: at score 0 or below at the last stage."
    )
  return (
    f"{QUANTITIES[quantity]} before adaptation and at each stage of it, mean over seeds and test tasks "
    "[95 % interval]; IQM: interquartile mean at the last stage. Intervals are from a bootstrap of the seeds within "
    f"each task; one seed has none.{of_scores}"
  )


def _test_tasks(run: FinishedRun, protocol: str) -> list[int]:
  return [row.task_index for row in run.test_rows if row.protocol == protocol]


def _settings(run: FinishedRun) -> dict[str, Any]:
  """The settings that runs of one group share, by dotted names."""
  compared = {name: value for name, value in run.config.items() if name not in NOT_COMPARED}
  settings = flatten(compared) | {ALGORITHM: run.algorithm, VARIANT: run.variant or None}
  # A field that says nothing is as one that is not there, and those of a retrieval that is not enabled say nothing.
  unread = () if settings.get(RETRIEVAL) else {name for name in settings if name.startswith("retrieval.")}
  return {name: value for name, value in settings.items() if value is not None and name not in unread}


def _labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
  """A label for each; none is told apart by fields that others have and it has not."""
  several = len({each[ALGORITHM] for each in settings}) > 1
  names = [_names(each, several) for each in settings]
  labels = []
  for own_names, own in zip(names, settings, strict=True):
    rivals = [other for other, of_other in zip(settings, names, strict=True) if of_other == own_names]
    differing = [field for field in sorted(own) if any(rival.get(field) != own[field] for rival in rivals)]
    name, *details = [*own_names, *(f"{field.removeprefix('algorithm.')}={own[field]}" for field in differing)]
    labels.append(f"{name} ({', '.join(details)})" if details else name)
  return labels


def _names(settings: Mapping[str, Any], several_algorithms: bool) -> list[str]:
  algorithm, variant = settings[ALGORITHM], settings.get(VARIANT)
  if settings.get(RETRIEVAL):
    algorithm = f"{algorithm} + retrieval"
  if variant is None:
    return [algorithm]
  return [algorithm, variant] if several_algorithms else [variant]
