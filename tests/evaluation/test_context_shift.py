import dataclasses
import math

import numpy as np
import pytest
from finished_runs import EVERYTHING, shift_groups, shift_run

from macaw_jax.evaluation.comparison import group_runs
from macaw_jax.evaluation.context_shift import shift_columns, shift_table
from macaw_jax.evaluation.protocols import PROTOCOLS, RECORDED
from macaw_jax.evaluation.results import ResultError


def test_a_line_a_configuration_and_a_column_a_kind_of_support():
  lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shift_table(shift_groups()).splitlines()]
  online = [f"online k={count}" for count in range(1, 4)]
  assert lines[0] == ["run", "before", "own", "other policies", "random", *online, "seeds"]
  # Each task's two seeds differ by 2, and so resampled means lie within 1 of the middle.
  assert lines[2][:5] == ["focal", "1.0 [1.0, 1.0]", "56.0 [55.0, 57.0]", "46.0 [45.0, 47.0]", "36.0 [35.0, 37.0]"]
  assert [cell.split()[0] for cell in lines[2][5:]] == ["17.0", "18.0", "19.0", "2"]
  assert lines[3] == ["macaw", "1.0", "55.0", "-", "35.0", "16.0", "17.0", "18.0", "1"]
  # The returns, which here are the same numbers, stand below in a table of their own.
  start = next(index for index, line in enumerate(lines[4:], 4) if line[0] == "run")
  assert lines[start] == lines[0]
  assert lines[start + 2][:2] == ["focal", "1.00 [1.00, 1.00]"]
  assert lines[start + 3] == ["macaw", "1.00", "55.00", "-", "35.00", "16.00", "17.00", "18.00", "1"]


def test_policies_of_other_tasks_have_a_column_for_each_moment_of_their_training():
  values = {PROTOCOLS[name]: 10.0 * place for place, name in enumerate(RECORDED, start=1)}
  (columns,) = shift_columns(group_runs([shift_run(0, values)]))
  assert list(columns) == ["before", "own", "other, start", "other, middle", "other policies"]
  assert [float(column[0, 0]) for column in columns.values()] == [1.0, 10.0, 20.0, 30.0, 40.0]
  assert "start, middle: when these had learned little, and half" in shift_table(group_runs([shift_run(0, values)]))


def test_a_run_without_a_dataset_has_returns_on_what_it_can_adapt_to():
  groups = group_runs([shift_run(0, {"online": 1.0, "offline_random_policy": 5.0}, with_scores=False)])
  (columns,) = shift_columns(groups)
  assert list(columns) == ["before", "random", "online k=1", "online k=2", "online k=3"]
  table = shift_table(groups).splitlines()
  assert "returns" in table[-1]
  assert sum(line.startswith("| run ") for line in table) == 1


def test_a_column_is_there_where_all_seeds_have_it():
  (columns,) = shift_columns(group_runs([shift_run(0, EVERYTHING), shift_run(1, {"offline": 1.0})]))
  assert list(columns) == ["before", "own"]
  assert columns["own"].shape == (2, 2)


def test_a_score_that_is_not_finite_stays_visible():
  (columns,) = shift_columns(group_runs([shift_run(0, {"offline": math.nan})]))
  np.testing.assert_array_equal(columns["own"], [[np.nan, np.nan]])


def test_a_task_without_a_scale_is_left_out_and_named():
  run = shift_run(0, EVERYTHING)
  rows = [
    dataclasses.replace(row, references=(0.0, 100.0), scale=("zeros", "the best"))
    if row.task_index
    else dataclasses.replace(row, scores=None, references=(1.0, 1.0))
    for row in run.rows
  ]
  groups = group_runs([dataclasses.replace(run, rows=tuple(rows))])
  (columns,) = shift_columns(groups)
  np.testing.assert_array_equal(columns["own"], [[60.0]])
  lines = shift_table(groups).splitlines()
  at = lines.index("Score 0: zeros; score 100: the best.")
  assert lines[at + 2].startswith("1 of 2 test tasks have no score")


def test_runs_of_one_configuration_and_seed_are_refused():
  with pytest.raises(ResultError, match="seed 0 twice"):
    group_runs([shift_run(0, EVERYTHING)] * 2)
