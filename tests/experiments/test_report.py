from experiments import report
from macaw_jax.evaluation.protocols import PROTOCOLS

ROW = {
  "protocol": "offline",
  "split": "test",
  "task_index": 3,
  "task": {"goal": [0.25, -1.0]},
  "support_size": 16,
  "episodes": 2,
  "return_before": -30.0,
  "return_after": -10.0,
  "score_before": 0.0,
  "score_after": 50.0,
}
ROWS = [ROW, ROW | {"task_index": 4, "return_after": -20.0, "score_after": 25.0}, ROW | {"split": "train"}]


def test_results_table():
  lines = report.results_table(ROWS).splitlines()
  assert lines[4].split() == ["test", "3", "goal=0.25,-1", "-30.0", "-10.0", "0.0", "50.0"]
  assert lines[6].split() == ["test", "mean", "of", "2", "tasks", "-30.0", "-15.0", "0.0", "37.5"]
  assert lines[7].split()[:2] == ["train", "3"]
  assert len(lines) == 8  # one training task needs no mean
  assert len({len(line) for line in lines[2:]}) == 1


def test_evaluation_metrics():
  metrics = report.evaluation_metrics(ROWS)
  assert metrics["test/return_after"] == -15.0
  assert metrics["test/task_4/return_after"] == -20.0
  assert metrics["train/score_after"] == 50.0
  many = report.evaluation_metrics([ROW | {"task_index": index} for index in range(51)] + ROWS[2:])
  assert many["test/return_after"] == -10.0
  assert [name for name in many if "task_" in name] == ["train/task_3/return_after"]


def test_every_protocol_says_what_is_adapted_to():
  assert report.SUPPORTS.keys() == set(PROTOCOLS.values())
  table = report.results_table([ROWS[0] | {"protocol": "offline_other_policy"}])
  assert "transitions that were acted in each task for other tasks to adapt to" in table


def test_parameters_of_many_numbers_are_left_out():
  assert report.describe_task({"mass": [1.0] * 8, "velocity": 0.5}) == "velocity=0.5"
  body = ROWS[0] | {"task": {"mass": [1.0] * 8}, "task_index": 7}
  assert report.summary([body, body]).endswith("(task 7: -10.0, task 7: -10.0)")


def test_summary():
  assert report.summary(ROWS[:1]) == "test return -30.0 -> -10.0, score 0.0 -> 50.0"
  assert report.summary(ROWS[:2]).endswith("(goal=0.25,-1: -10.0, goal=0.25,-1: -20.0)")


def test_steps_table():
  rows = [
    {**ROW, "task_index": task, "adaptation_steps": steps, "return": 10.0 * task + steps, "score": 1.0 * steps}
    for steps in (0, 5)
    for task in (3, 4)
  ]
  lines = report.steps_table(rows).splitlines()
  assert lines[1].split() == ["task", "n", "=", "0", "5"]
  assert lines[2].split() == ["3", "goal=0.25,-1", "30.0", "35.0"]
  assert lines[4].split() == ["mean", "return", "35.0", "40.0"]
  assert lines[5].split()[-2:] == ["0.0", "5.0"]
