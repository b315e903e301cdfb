"""Runs that a command line names, and the files that commands read of them."""

import json

import pytest

from experiments.configuration import ConfigurationError
from experiments.run_groups import find_runs, read_result, require_fields, require_numbers

RESULT = {
  "config": {"algorithm": {"name": "focal"}},
  "seed": 0,
  "rows": [{"split": "test", "task_index": 3, "score": 1.0}, {"split": "train", "task_index": 0}],
}


def test_runs_by_name_and_by_pattern_each_once(tmp_path):
  for name in ("a-0", "a-1", "b"):
    (tmp_path / name).mkdir()
  found = find_runs([str(tmp_path / "b"), str(tmp_path / "a-?"), str(tmp_path / "*")], "compare")
  assert [path.name for path in found] == ["b", "a-0", "a-1"]


def test_what_stands_for_no_run_is_named(tmp_path):
  with pytest.raises(
    ConfigurationError, match=r"no runs; expected directories, as: python -m experiments.compare runs/a-\*$"
  ):
    find_runs([], "compare runs/a-*")
  with pytest.raises(ConfigurationError) as raised:
    find_runs([str(tmp_path), "none", "neither-*"], "compare")
  assert raised.value.problems == ("none: no such run", "neither-*: no such run")


def test_a_result_is_read(tmp_path):
  (tmp_path / "results.json").write_text(json.dumps(RESULT))
  assert read_result(tmp_path / "results.json") == RESULT


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"config": {}}, "expected config.algorithm.name"),
    ({"config": {"algorithm": "focal"}}, "expected config.algorithm.name"),
    ({"config": []}, "expected config.algorithm.name"),
    ({"config": RESULT["config"] | {"population": None}}, "expected config.population, its arms a text"),
    ({"config": RESULT["config"] | {"population": {"arms": ["a"]}}}, "expected config.population, its arms a text"),
    ({"config": RESULT["config"] | {"rollouts": "all"}}, "expected config.rollouts.family, a text"),
    ({"config": RESULT["config"] | {"rollouts": {}}}, "expected config.rollouts.family, a text"),
    ({"config": RESULT["config"] | {"rollouts": {"family": ["a"]}}}, "expected config.rollouts.family, a text"),
    ({"rows": [{"split": "test", "task_index": "3"}]}, r"rows\[0\].task_index = '3': expected an integer"),
    ({"seed": None}, "expected seed, an integer"),
    ({"rows": None}, "expected rows, one a task, each with its split"),
    ({"rows": [1]}, "expected rows, one a task, each with its split"),
    ({"rows": [*RESULT["rows"], {"task_index": 1}]}, "expected rows, one a task, each with its split"),
    ({"rows": []}, "rows: expected one of a test task"),
    ({"rows": RESULT["rows"][1:]}, "rows: expected one of a test task"),
    ({"rows": [*RESULT["rows"], {"split": "test"}]}, r"rows\[2\]: expected task_index"),
  ],
)
def test_a_damaged_result_is_refused(tmp_path, change, said):
  (tmp_path / "results.json").write_text(json.dumps(RESULT | change))
  with pytest.raises(ConfigurationError, match=rf"results.json: {said}$"):
    read_result(tmp_path / "results.json")


def test_fields_that_the_rows_of_test_tasks_lack_are_named(tmp_path):
  require_fields(tmp_path, RESULT, ["score"])
  with pytest.raises(ConfigurationError, match=r"rows\[0\]: expected score_before, score_after$"):
    require_fields(tmp_path, RESULT, ["score", "score_before", "score_after"])


def test_what_is_no_number_in_the_rows_of_test_tasks_is_named(tmp_path):
  require_numbers(tmp_path, RESULT, ["score"])
  null = {"split": "test", "task_index": 4, "score": None}
  require_numbers(tmp_path, RESULT | {"rows": [*RESULT["rows"], null]}, ["score"])
  with pytest.raises(ConfigurationError, match=r"rows\[2\].score = 'much': expected a number$"):
    require_numbers(tmp_path, RESULT | {"rows": [*RESULT["rows"], null | {"score": "much"}]}, ["score"])
