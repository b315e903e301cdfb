import json

import pytest

from experiments.compare import comparison_table, group_runs, main, runs_table
from experiments.configuration import ConfigurationError


def result(seed, scores, algorithm="macaw", **fields):
  rows = [
    {
      "split": "test",
      "task_index": index,
      "task": {"speed": 0.5 * index},
      "score_before": 0.0,
      "score_after": score,
      "return_after": score,
    }
    for index, score in enumerate(scores)
  ]
  rows.append({"split": "train", "task_index": 9, "score_before": 0.0, "score_after": 1000.0})
  config = {"seed": seed, "output_directory": f"runs/{seed}", "algorithm": {"name": algorithm, **fields}}
  return {"algorithm": algorithm, "seed": seed, "rows": rows, "config": config}


def table_of(results):
  return comparison_table(group_runs(dict(enumerate(results)))).splitlines()


def test_one_line_a_configuration_over_seeds_and_test_tasks():
  lines = table_of(
    [
      result(0, [10.0, 20.0, 30.0, 40.0]),
      result(1, [10.0, 20.0, 30.0, 80.0]),
      result(0, [-5.0, None, 50.0, 0.0], "maml_awr"),
    ]
  )
  # Sorted: 10 10 20 20 30 30 40 80: mean 30, and 25 of the middle four. Only the last task differs between seeds,
  # and so resampled means lie between 25 and 35.
  assert lines[2] == "| macaw | 0.0 | 30.0 [25.0, 35.0] | 25.0 [25.0, 25.0] | 2 | 0 of 8 |"
  # One seed has no interval; a failed task hides nowhere.
  assert lines[3] == "| maml_awr | 0.0 | nan | nan | 1 | 3 of 4 |"
  assert len(lines) == 6


def test_each_run_on_a_line_of_its_own():
  lines = runs_table({"a": result(0, [10.0, 20.0]), "b": result(1, [-5.0, None])}).splitlines()
  assert lines[2] == "| a | 0.0 | 15.0 | 10.0 | speed=0: 10, speed=0.5: 20 |"
  assert lines[3] == "| b | 0.0 | nan | nan | speed=0: -5, speed=0.5: nan |"


def test_labels_name_what_differs():
  groups = group_runs(
    dict(enumerate([result(0, [1.0], inner_steps=1, width=8), result(0, [1.0], inner_steps=2, width=8)]))
  )
  assert [group.label for group in groups] == ["macaw (inner_steps=1)", "macaw (inner_steps=2)"]


def test_devices_and_other_members_are_no_settings_of_a_run():
  alone, before_populations = result(0, [1.0]), result(1, [2.0])
  alone["config"] |= {"population": {"seeds": 1, "grid": ""}, "devices": {"seed": 1, "task": 1}}
  on_a_mesh = result(2, [3.0])
  on_a_mesh["config"] |= {"population": {"seeds": 1, "grid": ""}, "devices": {"seed": 4, "task": 2}}
  (group,) = group_runs(dict(enumerate([alone, before_populations, on_a_mesh])))
  assert (group.label, group.after.shape) == ("macaw", (3, 1))


def test_the_same_seed_twice_is_refused():
  with pytest.raises(ConfigurationError, match="0 and 1 are the same run: seed 3 twice"):
    group_runs(dict(enumerate([result(3, [1.0]), result(3, [2.0])])))


def test_other_test_tasks_are_refused():
  with pytest.raises(ConfigurationError, match="macaw: not all seeds have the same test tasks: 0, 1"):
    group_runs(dict(enumerate([result(0, [1.0]), result(1, [2.0, 3.0])])))


def test_unfinished_runs_are_named_and_left_out(tmp_path, capsys):
  for name in ("macaw-0", "macaw-1"):
    (tmp_path / name).mkdir()
  (tmp_path / "macaw-0" / "results.json").write_text(json.dumps(result(0, [50.0])))
  main([str(tmp_path / "macaw-*")])
  captured = capsys.readouterr()
  assert "| macaw | 0.0 | 50.0 | 50.0 | 1 | 0 of 1 |" in captured.out
  assert captured.err == f"{tmp_path / 'macaw-1'}: left out, no results.json (not finished?)\n"


@pytest.mark.parametrize("pattern", ["none-*", "macaw-*"])
def test_nothing_to_compare(tmp_path, pattern):
  (tmp_path / "macaw-0").mkdir()
  with pytest.raises(ConfigurationError, match=r"none-\*: no such run|none of these runs"):
    main([str(tmp_path / pattern)])
