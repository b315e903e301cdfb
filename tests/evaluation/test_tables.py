import math

import pytest
from finished_runs import make_row

from macaw_jax.evaluation import tables
from macaw_jax.evaluation.protocols import PROTOCOLS

ROW = make_row(scores=(0.0, 50.0))
ROWS = [ROW, make_row((-30.0, -20.0), (0.0, 25.0), task_index=4), make_row(scores=(0.0, 50.0), split="train")]


def cells(text):
  return [line.split() for line in text.splitlines()]


def test_a_table_has_tasks_and_means_before_and_after():
  lines = cells(tables.results_table(ROWS))
  assert lines[2:4] == [["return", "score"], ["task", "before", "after", "before", "after"]]
  assert lines[4] == ["test", "3", "goal=0.25,-1", "-30.0", "-10.0", "0.0", "50.0"]
  assert lines[6] == ["test", "mean", "of", "2", "tasks", "-30.0", "-15.0", "0.0", "37.5"]
  assert lines[7][:2] == ["train", "3"]
  assert len(lines) == 8  # one training task needs no mean


def test_a_table_has_all_stages_and_no_scores_where_they_are_not_known():
  rows = [make_row((1.0, 2.0, math.nan), stages=(0, 1, 5), stage_unit="steps"), make_row((3.0, 4.0, 5.0), task_index=4)]
  lines = tables.results_table(rows).splitlines()
  assert "score" not in "".join(lines)
  assert lines[1].endswith("number of steps")
  assert lines[3].split() == ["task", "before", "1", "5"]
  assert lines[-1].split()[-3:] == ["2.00", "3.00", "nan"]


SCALE = {"references": (0.0, 100.0), "scale": ("uniformly random actions", "the agent that collected the data")}


def without_scale(**fields):
  """Scores 50 and 80, and a task whose random and expert return are equal."""
  return [
    make_row((0.0, 50.0), (0.0, 50.0), task_index=0, **SCALE, **fields),
    make_row((0.0, 80.0), (0.0, 80.0), task_index=1, **SCALE, **fields),
    make_row((0.0, 3.0), task_index=2, **SCALE | {"references": (3.0, 3.0)}, **fields),
  ]


def test_a_table_says_what_scores_are_and_which_task_has_none():
  lines = tables.results_table(without_scale()).splitlines()
  assert lines[1] == "score 0: uniformly random actions; score 100: the agent that collected the data"
  assert lines[2] == (
    "1 of 3 test tasks have no score, because their random and expert returns are equal: task 2; mean scores are over "
    "the others"
  )
  assert lines[-2].split()[-4:] == ["0.00", "3.00", "-", "-"]
  assert lines[-1].split()[-4:] == ["0.0", "44.3", "0.0", "65.0"]


def test_metrics_and_summary_leave_out_a_task_without_a_score():
  rows = without_scale()
  assert tables.metrics_of(rows)["test/score_after"] == 65.0
  assert tables.summary(rows).startswith("test return 0.0 -> 44.3, score 0.0 -> 65.0 (scores of 2 of 3 tasks) (")
  assert "test/score_after" not in tables.metrics_of(rows[2:])
  assert "1 of 1 test tasks have no score" in tables.results_table(rows[2:])


def test_many_tasks_have_their_mean_alone():
  rows = [make_row(task_index=index) for index in range(51)]
  assert len(tables.results_table(rows).splitlines()) == 4
  assert not any("task_" in name for name in tables.metrics_of(rows))


def test_a_table_is_plain_text_whatever_a_task_is_called():
  row = make_row(task={"[red]name": 1.0, "a_name_that_is_longer_than_the_column_of_names": 2.0})
  line = tables.results_table([row]).splitlines()[-1]
  assert "\x1b" not in line
  assert "[red]name=1" in line
  assert line.split()[-2:] == ["-30.0", "-10.0"]


def test_metrics():
  assert tables.metrics_of(ROWS) == {
    "test/return_before": -30.0,
    "test/return_after": -15.0,
    "test/score_before": 0.0,
    "test/score_after": 37.5,
    "test/task_3/return_after": -10.0,
    "test/task_4/return_after": -20.0,
    "train/return_before": -30.0,
    "train/return_after": -10.0,
    "train/score_before": 0.0,
    "train/score_after": 50.0,
    "train/task_3/return_after": -10.0,
  }
  by_episodes = tables.metrics_of([make_row((1.0, 2.0, 3.0))])
  stages = {f"test/return_after_{count}_episodes": 1.0 + count for count in range(3)}
  assert by_episodes == stages | {
    "test/return_before": 1.0,
    "test/return_after": 3.0,
    "test/task_3/return_after": 3.0,
  }


def test_summary():
  assert tables.summary(ROWS[:1]) == "test return -30.0 -> -10.0, score 0.0 -> 50.0"
  assert tables.summary(ROWS[:2]).endswith("(goal=0.25,-1: -10.0, goal=0.25,-1: -20.0)")
  # Parameters of many numbers are left out.
  bodies = [make_row((1.0, 2.0, 3.0), task={"mass": [1.0] * 8}, task_index=index) for index in (7, 8)]
  assert tables.summary(bodies) == "test return 1.00 -> 2.00 -> 3.00 (task 7: 3.00, task 8: 3.00)"


@pytest.mark.parametrize("protocol", [*PROTOCOLS.values(), "on_policy"])
def test_every_protocol_says_what_is_adapted_to(protocol):
  assert "16 transitions " in tables.support_text(make_row(protocol=protocol))
  own = tables.support_text(make_row(protocol=protocol, support=1, support_unit="episodes"))
  assert own == "1 episode of the agent's own in each task"


def test_small_returns_have_more_decimals_alike_in_what_stands_side_by_side():
  rows = [make_row((0.42, 0.78)), make_row((0.5, 12.0), task_index=4)]
  assert tables.summary(rows[:1]) == "test return 0.42 -> 0.78"
  assert [line.split()[-2:] for line in tables.results_table(rows).splitlines()[-3:]] == [
    ["0.42", "0.78"],
    ["0.5", "12.0"],
    ["0.46", "6.39"],
  ]
