import dataclasses
import math

import numpy as np
import pytest
from finished_runs import make_row, make_run, scored_rows, write_run

from macaw_jax.evaluation.comparison import (
  comparison_table,
  find_runs,
  group_runs,
  learning_curves,
  runs_table,
  tasks_table,
)
from macaw_jax.evaluation.results import ResultError


def lines_of(table):
  """The cells of the lines of a markdown table, the headings first."""
  lines = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("|--")]
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def scaled(scores):
  """Rows with these scores, and returns of ten times as much and a hundred."""
  return [dataclasses.replace(row, returns=(100.0, 10.0 * row.returns[1] + 100.0)) for row in scored_rows(scores)]


def test_one_line_a_configuration_over_seeds_and_test_tasks():
  runs = [
    make_run(0, [*scaled([10.0, 20.0, 30.0, 40.0]), make_row((0.0, 9.0), split="train", task_index=9)]),
    make_run(1, scaled([10.0, 20.0, 30.0, 80.0])),
    make_run(0, scaled([-5.0, math.nan, 50.0, 0.0]), algorithm="maml_awr"),
  ]
  headings, macaw, maml_awr = lines_of(comparison_table(group_runs(runs)))
  assert headings == ["run", "before", "after", "IQM", "return before", "return after", "seeds", "failed tasks"]
  # Sorted: 10 10 20 20 30 30 40 80: mean 30, and 25 of the middle four. Only the last task differs between seeds,
  # and so resampled means lie between 25 and 35.
  after, middle = "30.0 [25.0, 35.0]", "25.0 [25.0, 25.0]"
  # Returns are a hundred more than ten times the scores.
  assert macaw == ["macaw", "0.0", after, middle, "100.0", "400.0 [350.0, 450.0]", "2", "0 of 8"]
  # One seed has no interval; a failed task hides nowhere.
  assert maml_awr == ["maml_awr", "0.0", "nan", "nan", "100.0", "nan", "1", "3 of 4"]


def test_retrieval_is_in_the_label_and_its_settings_are_compared_where_it_is_enabled():
  """An older run, whose configuration lacks the section, is as one in which it is not enabled."""

  def retrieving(seed, **section):
    run = make_run(seed, scaled([1.0, 2.0]))
    return dataclasses.replace(run, config=run.config | ({"retrieval": section} if section else {}))

  older, without = retrieving(0), retrieving(1, enabled=False, rows=64, draw="mean")
  enabled, again = (retrieving(seed, enabled=True, rows=16, draw="mean") for seed in (0, 1))
  assert [(group.label, len(group.runs)) for group in group_runs([older, enabled, without, again])] == [
    ("macaw", 2),
    ("macaw + retrieval", 2),
  ]
  sampled = retrieving(0, enabled=True, rows=16, draw="sample")
  assert [group.label for group in group_runs([older, enabled, sampled])] == [
    "macaw",
    "macaw + retrieval (retrieval.draw=mean)",
    "macaw + retrieval (retrieval.draw=sample)",
  ]


COLLECTED = ("uniformly random actions", "the agent that collected the data")
EXTREMES = ("the lowest episode return of the task's own data", "the highest episode return of the task's own data")


def on_scale(scores, references=(0.0, 100.0), scale=COLLECTED):
  """Rows of test tasks with these scores; None where the task has no scale."""
  rows = scored_rows([score or 0.0 for score in scores], scale=scale)
  return [
    dataclasses.replace(row, references=references)
    if score is not None
    else dataclasses.replace(row, scores=None, references=(7.0, 7.0))
    for row, score in zip(rows, scores, strict=True)
  ]


def test_a_task_without_a_scale_is_left_out_and_named():
  groups = group_runs([make_run(0, on_scale([50.0, 80.0, None])), make_run(1, on_scale([50.0, 80.0, None]))])
  table = comparison_table(groups)
  _, line = lines_of(table)
  scores, returns = ["0.0", *["65.0 [65.0, 65.0]"] * 2], ["0.0", "43.3 [43.3, 43.3]"]  # returns are of all three tasks
  assert line == ["macaw", *scores, *returns, "2", "0 of 4"]
  scale, _, missing = table.splitlines()[-3:]
  assert scale == "Score 0: uniformly random actions; score 100: the agent that collected the data."
  assert missing.startswith("1 of 3 test tasks have no score, because their random and expert returns are equal")
  _, first, _ = lines_of(runs_table([run for group in groups for run in group.runs]))
  assert first[:4] == ["run-0", "0.0", "65.0", "50.0"]


def test_scores_that_are_not_finite_count_where_there_is_a_scale():
  groups = group_runs([make_run(0, on_scale([50.0, math.nan, None]))])
  assert lines_of(comparison_table(groups))[1][2:] == ["nan", "nan", "0.0", "nan", "1", "1 of 2"]


def test_runs_without_any_scale_are_compared_by_their_returns():
  groups = group_runs([make_run(0, on_scale([50.0])), make_run(0, on_scale([None]), algorithm="focal")])
  assert [line[2] for line in lines_of(comparison_table(groups))[1:]] == ["50.00", "0.00"]


def test_different_scales_are_said():
  def notes(*others):
    runs = [make_run(0, on_scale([50.0, 60.0])), make_run(0, on_scale([50.0, 60.0], **others[0]), algorithm="focal")]
    return [line for line in comparison_table(group_runs(runs)).splitlines() if "cale" in line]

  assert notes({}) == []
  assert notes({"scale": EXTREMES}) == [
    "Scales differ: macaw: score 0: uniformly random actions; score 100: the agent that collected the data. focal: "
    "score 0: the lowest episode return of the task's own data; score 100: the highest episode return of the task's "
    "own data."
  ]
  assert notes({"references": (0.0, 90.0)}) == [
    "Scales differ: the returns of scores 0 and 100 in task 0 are 0 and 100 for macaw, 0 and 90 for focal."
  ]


def test_runs_of_all_kinds_stand_in_one_table_by_their_returns():
  """A run on a dataset, one that collects its own data, and a variant of an on-policy agent."""
  runs = [
    make_run(0, scored_rows([10.0, 20.0])),
    make_run(0, [make_row((-9.0, -6.0, -3.0), protocol="online")], algorithm="pearl", steps=12_000),
    make_run(1, [make_row((-9.0, -6.0, -1.0), protocol="online")], algorithm="pearl", steps=11_000),
    make_run(0, [make_row((-10.0, -1.5), protocol="on_policy")], algorithm="norml", variant="maml"),
  ]
  headings, *lines = lines_of(comparison_table(group_runs(runs)))
  assert headings == ["run", "before", "after", "1 episode", "2 episodes", "IQM", "seeds", "environment steps"]
  assert lines == [
    ["macaw", "0.00", "15.00", "-", "-", "15.00", "1", "-"],
    ["pearl", "-9.00", "-", "-6.00 [-6.00, -6.00]", "-2.00 [-3.00, -1.00]", "-2.00 [-3.00, -1.00]", "2", "12,000"],
    ["norml (maml)", "-10.00", "-1.50", "-", "-", "-1.50", "1", "-"],
  ]


def test_each_run_on_a_line_of_its_own():
  runs = [make_run(0, scaled([10.0, 20.0])), make_run(1, scaled([-5.0, math.nan]))]
  headings, first, second = lines_of(runs_table(runs))
  assert headings == ["run", "before", "after", "worst task", "return after", "return after, task by task"]
  assert first == ["run-0", "0.0", "15.0", "10.0", "250.0", "speed=0: 200, speed=0.5: 300"]
  assert second == ["run-1", "0.0", "nan", "nan", "nan", "speed=0: 50, speed=0.5: nan"]
  returns = [make_run(0, [make_row((-10.0, -1.5), task_index=index) for index in range(2)])]
  headings, line = lines_of(runs_table(returns))
  assert headings == ["run", "before", "after", "worst task", "return after, task by task"]
  assert line[:4] == ["run-0", "-10.00", "-1.50", "-1.50"]


def test_runs_of_many_tasks_have_their_spread_in_place_of_the_list():
  runs = [make_run(0, scaled([float(score) for score in range(6)])), make_run(1, scaled([0.0] * 6))]
  table = runs_table(runs)
  headings, first, second = lines_of(table)
  assert headings == ["run", "before", "after", "std", "min", "max", "return after"]
  assert first == ["run-0", "0.0", "2.5", "1.7", "0.0", "5.0", "125.0"]  # (35 / 12)^0.5
  assert second == ["run-1", "0.0", "0.0", "0.0", "0.0", "0.0", "100.0"]
  assert table.splitlines()[-1].startswith("std, min, max: over the test tasks")


def test_every_task_of_every_run_has_a_line():
  runs = [make_run(0, scaled([10.0, 20.0])), make_run(1, scaled([30.0]))]
  headings, *lines = lines_of(tasks_table(runs))
  assert headings == ["run", "task", "return before", "return after", "score before", "score after"]
  assert lines == [
    ["run-0", "0  speed=0", "100.00", "200.00", "0.0", "10.0"],
    ["run-0", "1  speed=0.5", "100.00", "300.00", "0.0", "20.0"],
    ["run-1", "0  speed=0", "100.00", "400.00", "0.0", "30.0"],
  ]
  (headings, line) = lines_of(tasks_table([make_run(0, [make_row((-10.0, -1.5))])]))
  assert (headings, line) == (
    ["run", "task", "return before", "return after"],
    ["run-0", "3  goal=0.25,-1", "-10.00", "-1.50"],
  )


def test_labels_name_what_differs():
  def labels(*runs):
    return [group.label for group in group_runs([make_run(0, scored_rows([1.0]), **run) for run in runs])]

  assert labels({"inner": {"steps": 1}, "width": 8}, {"inner": {"steps": 2}, "width": 8}) == [
    "macaw (inner.steps=1)",
    "macaw (inner.steps=2)",
  ]
  # A variant is called by its name; a field that others have and it has not does not tell it apart.
  assert labels({"step_size": 1.0}, {"step_size": 2.0}, {"variant": "maml", "step_size": 2.0}) == [
    "macaw (step_size=1.0)",
    "macaw (step_size=2.0)",
    "maml",
  ]
  norml, maml_rl = {"variant": "maml", "algorithm": "norml"}, {"variant": "maml", "algorithm": "maml_rl"}
  assert labels(norml, maml_rl, maml_rl | {"step_size": 2.0}) == [
    "norml (maml)",
    "maml_rl (maml)",
    "maml_rl (maml, step_size=2.0)",
  ]


def test_devices_other_members_and_fields_without_a_value_are_no_settings_of_a_run():
  alone, with_nothing, on_a_mesh = (make_run(seed, scored_rows([1.0])) for seed in range(3))
  with_nothing.config["algorithm"]["width"] = None
  on_a_mesh.config.update(population={"seeds": 3, "grid": ""}, devices={"seed": 4}, variants={"maml": {"offset": True}})
  (group,) = group_runs([alone, with_nothing, on_a_mesh])
  assert (group.label, [run.seed for run in group.runs]) == ("macaw", [0, 1, 2])


def test_runs_that_cannot_be_one_group():
  with pytest.raises(ResultError, match="run-3 and run-3 are the same run: seed 3 twice"):
    group_runs([make_run(3, scored_rows([1.0]))] * 2)
  for other in (scored_rows([2.0, 3.0]), [make_row((1.0, 2.0, 3.0), task_index=0)]):
    with pytest.raises(ResultError, match="macaw: not all seeds have the same test tasks and stages: run-0, run-1"):
      group_runs([make_run(0, scored_rows([1.0])), make_run(1, other)])


def test_runs_by_name_and_by_pattern_each_once(tmp_path):
  for name in ("a-0", "a-1", "b"):
    (tmp_path / name).mkdir()
  found = find_runs([str(tmp_path / "b"), str(tmp_path / "a-?"), str(tmp_path / "*")])
  assert [path.name for path in found] == ["b", "a-0", "a-1"]
  with pytest.raises(ResultError, match="no runs"):
    find_runs([])
  with pytest.raises(ResultError) as raised:
    find_runs([str(tmp_path), "none", "neither-*"])
  assert [problem.partition(":")[0] for problem in raised.value.problems] == ["none", "neither-*"]


def write_curves(directory, curves, **fields):
  """Finished runs, one a seed, with these metrics by step."""
  runs = []
  for seed, curve in enumerate(curves):
    run = make_run(seed, [make_row((-10.0, -1.0))], **fields)
    runs.append(dataclasses.replace(run, directory=directory / f"{fields.get('algorithm')}-{seed}"))
    write_run(runs[-1].directory, run, curve)
  return group_runs(runs)


def test_curves_are_over_the_updates_that_all_seeds_have(tmp_path):
  def at(before, after, steps):
    return {"test/return_before": before, "test/return_after": after, "environment_steps": steps}

  groups = write_curves(
    tmp_path, [[(0, at(-9.0, -8.0, 10)), (5, {"loss": 1.0}), (9, at(-9.0, -3.0, 20))], [(0, at(-7.0, None, 20))]]
  )
  (curve,) = learning_curves(groups)
  assert (curve.label, curve.family, curve.quantity) == ("macaw", "cheetah", "return")
  np.testing.assert_array_equal(curve.updates, [0])
  np.testing.assert_array_equal(curve.environment_steps, [15.0])
  np.testing.assert_array_equal(curve.before, [[-9.0], [-7.0]])
  np.testing.assert_array_equal(curve.after, [[-8.0], [np.nan]])


def test_damaged_metrics_are_named(tmp_path):
  groups = write_curves(tmp_path, [[(0, {})]])
  (groups[0].runs[0].directory / "metrics.jsonl").write_text("nothing\n")
  with pytest.raises(ResultError, match=r"metrics\.jsonl, line 1"):
    learning_curves(groups)
