"""Rows of an evaluation as a table, in one line, and as metrics; the same for all protocols."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from macaw_jax.console import returns_text
from macaw_jax.evaluation.protocols import THEN_OWN_EPISODES
from macaw_jax.evaluation.rows import OWN_EPISODES, Row
from macaw_jax.evaluation.scales import scales_of, scored, unscored_text

MOST_TASKS_SHOWN = 5  # in a line
MOST_TASKS_LISTED = 50  # in a table, and as metrics of their own
MOST_NUMBERS_SHOWN = 3  # of one parameter of a task
LONGEST_LABEL = 40

_SUPPORTS = {  # transitions, by protocol
  "offline": "of each task's own data",
  "offline_other_policy_start": "collected in each task by the policies of other tasks when they had learned little",
  "offline_other_policy_middle": "collected in each task by the policies of other tasks halfway through training",
  "offline_other_policy": "collected in each task by the policies of other tasks",
  "offline_random_policy": "of a random policy in each task",
}


def results_table(rows: Sequence[Row]) -> str:
  """The rows of one evaluation: return, and where tasks have one score, at each stage; task by task and in the mean.

  A split of many tasks has its mean alone. Mean scores are over the tasks that have one.

  Args:
    rows: of one protocol and with the same stages.
  """
  first = rows[0]
  names = list(_means(rows))
  stages = [_short_stage(stage, first.stage_unit) for stage in first.stages]
  # Two lines of headings: the quantity stands above its first stage.
  headings = [f"{'' if number else name}\n{stage}" for name in names for number, stage in enumerate(stages)]
  cells = []
  for split, of_split in by_split(rows).items():
    labelled = []
    if len(of_split) <= MOST_TASKS_LISTED:
      labelled += [(f"{split} {row.task_index}  {describe_task(row.task)}", [row]) for row in of_split]
    if len(of_split) > 1:
      labelled.append((f"{split} mean of {len(of_split)} tasks", of_split))
    for label, averaged in labelled:
      means = _means(averaged)
      cells.append([label, *(cell for name in names for cell in _cells(means.get(name), len(stages)))])
  notes = [f"protocol {first.protocol}: {support_text(first)} to adapt to; mean of {first.episodes} episodes"]
  if first.stage_unit == OWN_EPISODES:
    notes.append("columns: adapted, then by the number of own episodes that it has learned from since")
  elif first.stage_unit != "adaptations":
    notes.append(f"columns: before adaptation, then by the number of {first.stage_unit}")
  notes += [*scales_of(rows), *filter(None, map(unscored_text, by_split(rows).values()))]
  return "\n".join([*notes, plain_table(["\ntask", *headings], cells, longest=LONGEST_LABEL)])


def summary(rows: Sequence[Row]) -> str:
  """An evaluation in one line: the means of each split at each stage; single tasks where they are few."""
  parts = []
  for split, of_split in by_split(rows).items():
    changes = [f"{name} {' -> '.join(returns_text(of))}" for name, of in _means(of_split).items()]
    part = f"{split} {', '.join(changes)}"
    if 0 < (count := len(scored(of_split))) < len(of_split):
      part += f" (scores of {count} of {len(of_split)} tasks)"
    if 1 < len(of_split) <= MOST_TASKS_SHOWN:
      last = returns_text(row.returns[-1] for row in of_split)
      part += f" ({', '.join(f'{task_name(row)}: {text}' for row, text in zip(of_split, last, strict=True))})"
    parts.append(part)
  return "; ".join(parts)


def metrics_of(rows: Sequence[Row]) -> dict[str, float]:
  """An evaluation as metrics, means over the tasks of each split.

  `<split>/return_before` and `<split>/return_after` are those of the first and the last stage. With more than two there
  is one for each, as `<split>/return_after_3_episodes`. Where tasks have scores, all are there as `score` too, over
  these tasks. Splits of few tasks have `<split>/task_<index>/return_after` of each.
  """
  metrics: dict[str, float] = {}
  for split, of_split in by_split(rows).items():
    first = of_split[0]
    for name, means in _means(of_split).items():
      metrics |= {f"{split}/{name}_before": float(means[0]), f"{split}/{name}_after": float(means[-1])}
      if len(first.stages) > 2:
        metrics |= {
          f"{split}/{name}_after_{stage}_{first.stage_unit}": float(value)
          for stage, value in zip(first.stages, means, strict=True)
        }
    if len(of_split) <= MOST_TASKS_LISTED:
      metrics |= {f"{split}/task_{row.task_index}/return_after": row.returns[-1] for row in of_split}
  return metrics


def by_split(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """The rows of each split, in their order."""
  splits = dict.fromkeys(row.split for row in rows)
  return {split: [row for row in rows if row.split == split] for split in splits}


def support_text(row: Row) -> str:
  """The data that the agent of a row adapted to."""
  whose = _SUPPORTS.get(row.protocol.removesuffix(THEN_OWN_EPISODES))
  if whose is None or row.support_unit == "episodes":
    whose = "of the agent's own in each task"
  return f"{_count(row.support, row.support_unit)} {whose}"


def stage_text(stage: int, unit: str) -> str:
  """`before`, `after`, `1 episode`, `5 steps`: a stage in the heading of a column."""
  if stage == 0:
    return "adapted" if unit == OWN_EPISODES else "before"
  return "after" if unit == "adaptations" else _count(stage, unit)


def task_name(row: Row) -> str:
  """A task by its parameters, or by its number where they are too many."""
  return describe_task(row.task) or f"task {row.task_index}"


def describe_task(task: Mapping[str, Any]) -> str:
  """`direction=1`, `goal=0.2,-0.4`: a task's parameters in short, without those of many numbers."""
  return " ".join(f"{name}={_numbers(value)}" for name, value in task.items() if np.size(value) <= MOST_NUMBERS_SHOWN)


def plain_table(
  headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, longest: int | None = None
) -> str:
  """Columns of text two spaces apart.

  Args:
    headings: of the columns; they may have several lines.
    rows: cells of each.
    left: number of columns that are flush left; the others are flush right.
    longest: number of characters after which a cell of those is cut; None for never.
  """
  table = Table(box=None, pad_edge=False)
  for heading in headings[:left]:
    table.add_column(heading, no_wrap=True, max_width=longest)
  for heading in headings[left:]:
    table.add_column(heading, no_wrap=True, justify="right")
  return _rendered(table, rows)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table in markdown that can be read as it stands: the first column flush left, the others flush right."""
  table = Table(box=box.MARKDOWN)
  for number, heading in enumerate(headings):
    table.add_column(heading, justify="right" if number else "left", no_wrap=True)
  return _rendered(table, rows)


def _rendered(table: Table, rows: Sequence[Sequence[str]]) -> str:
  """The table as text without colours, as wide as it is: a log and a pipe have no width."""
  for row in rows:
    table.add_row(*row)
  console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False, highlight=False)
  with console.capture() as capture:
    console.print(table)
  return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def _short_stage(stage: int, unit: str) -> str:
  return str(stage) if stage and unit != "adaptations" else stage_text(stage, unit)


def _means(rows: Sequence[Row]) -> dict[str, np.ndarray]:
  """Means over tasks at each stage, `[K + 1]`: "return", and "score" over those that have one, where a task has."""
  means = {"return": np.mean([row.returns for row in rows], axis=0)}
  scores = [row.scores for row in rows if row.scores is not None]
  return means | ({"score": np.mean(scores, axis=0)} if scores else {})


def _cells(values: np.ndarray | None, count: int) -> list[str]:
  return ["-"] * count if values is None else returns_text(values)


def _count(number: int, unit: str) -> str:
  return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _numbers(value: Any) -> str:
  return ",".join(map(_numbers, value)) if isinstance(value, list | tuple) else f"{value:.4g}"
