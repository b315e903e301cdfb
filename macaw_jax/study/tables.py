"""The tables of a study: aggregate scores with intervals, and who is better than whom."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from macaw_jax.evaluation.statistics import (
  Statistic,
  improvement_interval,
  interquartile_mean,
  mean,
  median,
  optimality_gap,
  stratified_bootstrap,
)
from macaw_jax.study.figures import Data, comparable_panels_of, finite_values, last_stage, lines_of, panels_of
from macaw_jax.study.sequential_test import compare_sequentially
from macaw_jax.study.table import RunRow, StudyRow, quantity_of, values_of

STATISTICS: dict[str, Statistic] = {
  "mean": mean,
  "median": median,
  "IQM": interquartile_mean,
  "optimality gap": optimality_gap,
}
LEVEL = 0.05
SEEDS_OF_A_LOOK = 5
FEWEST_SEEDS = 4  # Two out of all 20 exchanges of three seeds are as extreme as any difference: a tenth.


class Table(NamedTuple):
  """Cells of text."""

  title: str
  headings: tuple[str, ...]
  lines: tuple[tuple[str, ...], ...]


def aggregate_tables(data: Data) -> list[Table]:
  """A table for each family and evaluation: every statistic of every method and setting at the last stage."""
  return [
    Table(
      f"{title}{_last_stage_text(of_panel)}",
      ("", *STATISTICS, "seeds", "tasks"),
      tuple((label, *_statistics(last_stage(rows), quantity_of(of_panel))) for label, rows in lines_of(of_panel)),
    )
    for title, of_panel in panels_of(data.rows)
  ]


def _statistics(rows: Sequence[StudyRow], quantity: str) -> tuple[str, ...]:
  values = values_of(rows, quantity)
  texts = [
    "-" if statistic is optimality_gap and quantity != "score" else _interval(*stratified_bootstrap(values, statistic))
    for statistic in STATISTICS.values()
  ]
  return (*texts, *map(str, values.shape))


def stage_tables(data: Data) -> list[Table]:
  """The mean at every stage, for each family and evaluation with more stages than before and after."""
  tables = []
  for title, of_panel in panels_of(data.rows):
    stages = sorted({row.stage for row in of_panel})
    if len(stages) < 3:
      continue
    lines = []
    for label, rows in lines_of(of_panel):
      by_stage = [[row for row in rows if row.stage == stage] for stage in stages]
      means = [stratified_bootstrap(values_of(some, quantity_of(of_panel)), mean) for some in by_stage]
      lines.append((label, *(_interval(*each) for each in means)))
    unit = of_panel[0].stage_unit
    tables.append(Table(f"{title}: mean after so many {unit}", ("", *map(str, stages)), tuple(lines)))
  return tables


def comparison_tables(data: Data) -> list[Table]:
  """A table for each family and evaluation: for each pair the probability of improvement, and the sequential test.

  A method or setting of which a run has failed is in none.
  """
  tables = []
  for title, of_panel in comparable_panels_of(data.rows):
    values = finite_values(of_panel)
    if len(values) < 2:
      continue
    num_seeds = min(map(len, values.values()))
    means = {label: of_line.mean(axis=1)[:num_seeds] for label, of_line in values.items()}  # one number a seed
    verdicts = compare_sequentially(means, block_size=num_seeds // looks(num_seeds), level=LEVEL)
    lines = []
    for (one, other), verdict in verdicts.items():
      improvement = improvement_interval(values[one], values[other])
      answer = f"{verdict.better} is better" if verdict.better else "no difference shown"
      text = f"{answer}, with {verdict.seeds} seeds" if num_seeds >= FEWEST_SEEDS else "too few seeds to show one"
      lines.append((one, other, _interval(*improvement, digits=2), text))
    headings = ("A", "B", "P(A better than B)", f"permutation test, error at most {LEVEL:g}")
    tables.append(Table(f"{title}{_last_stage_text(of_panel)}", headings, tuple(lines)))
  return tables


def _last_stage_text(of_panel: Sequence[StudyRow]) -> str:
  """The last stage, for a title, where there are more than before and after."""
  last = max(of_panel, key=lambda row: row.stage)
  return f", after {last.stage} {last.stage_unit}" if last.stage > 1 else ""


def run_table(data: Data) -> Table:
  """A line for each cell: its seeds, and the updates and seconds of their training."""
  cells: dict[tuple[str, ...], list[RunRow]] = {}
  for run in data.runs:
    cells.setdefault((run.family, run.method, run.setting), []).append(run)
  return Table(
    "",
    ("family", "method", "setting", "seeds", "updates", "seconds of training"),
    tuple(
      (*cell, ", ".join(str(run.seed) for run in runs), f"{runs[0].updates:,}", _seconds(runs))
      for cell, runs in cells.items()
    ),
  )


def _seconds(runs: Sequence[RunRow]) -> str:
  """Seconds of each program that trained some of the runs."""
  return ", ".join(f"{seconds:,.0f}" for seconds in dict.fromkeys(round(run.seconds) for run in runs))


def looks(num_seeds: int) -> int:
  """How often the sequential test looks: after five seeds or a few more, and again after as many."""
  return max(num_seeds // SEEDS_OF_A_LOOK, 1)


def _interval(estimate: float, low: float, high: float, digits: int = 1) -> str:
  if not math.isfinite(estimate):
    return "not finite"
  text = f"{estimate:.{digits}f}"
  return text if low == high else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"
