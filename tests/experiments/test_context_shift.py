"""Runs evaluated on all kinds of support."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from miniature_run import make_miniature, write_point_robot
from untrained_run import context_based, make_untrained_run

from experiments import context_shift
from experiments import experiment as experiment_module
from experiments.configuration import ConfigurationError
from experiments.context_shift import CONTEXT_SHIFT, shift_of_run, was_made_of
from experiments.evaluate import evaluate_run
from experiments.experiment import load_experiment, with_supports
from experiments.trained_run import check_all, kinds_of_support, with_support
from macaw_jax.data.dataset import load_dataset
from macaw_jax.evaluation.protocols import PROTOCOLS
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.evaluation.results import ResultError, read_run

pytestmark = pytest.mark.usefixtures("quick_compile")
TEST_TASKS = (3, 4)


@pytest.fixture
def focal_run(point_robot_directory, tmp_path):
  return make_untrained_run(context_based(point_robot_directory, tmp_path / "focal"))


def rows_in(path):
  return json.loads(path.read_text())["rows"]


def test_an_algorithm_without_steps_is_evaluated_once(focal_run, capsys):
  evaluate_run(focal_run, steps=None, episodes=3, seed=0)
  rows = rows_in(focal_run / "evaluation_offline.json")
  assert [(row["task_index"], row["episodes"], row["support_size"]) for row in rows] == [(3, 3, 16), (4, 3, 16)]
  assert all(row["return_before"] != row["return_after"] for row in rows)
  assert "before -> after adaptation" in capsys.readouterr().out
  with pytest.raises(ConfigurationError, match=r"^--steps=1,2: .*focal: adaptation of focal has no number of steps \("):
    evaluate_run(focal_run, steps=["1", "2"], episodes=None, seed=0)


def test_supports_of_a_random_policy_need_no_more_data_than_there_are(point_robot_directory, tmp_path, capsys):
  config = make_miniature(point_robot_directory, tmp_path / "macaw").unlock()
  config.evaluation.support, config.evaluation.support_size = "random", 240  # a task's data are 200
  directory = make_untrained_run(config)
  evaluate_run(directory, steps=["0", "2"], episodes=2, seed=0)
  rows = rows_in(directory / "evaluation_offline_random_policy.json")
  assert [(row["adaptation_steps"], row["support_size"]) for row in rows] == [(0, 0), (0, 0), (2, 480), (2, 480)]
  assert "protocol offline_random_policy" in capsys.readouterr().out


def test_online_evaluation_of_a_gradient_based_agent_after_several_numbers_of_steps(
  point_robot_directory, tmp_path, capsys
):
  directory = make_untrained_run(make_miniature(point_robot_directory, tmp_path / "macaw"))
  evaluate_run(directory, steps=["0", "3"], episodes=2, seed=0, support="online")
  rows = rows_in(directory / "evaluation_online.json")
  # Five episodes of 20 steps, of which three inner steps can share 99.
  assert [(row["adaptation_steps"], row["support_size"]) for row in rows] == [(0, 0), (0, 0), (3, 99), (3, 99)]
  assert "3 steps on its own episodes" in capsys.readouterr().out
  with pytest.raises(ConfigurationError, match=r"an episode has 20 steps, fewer than the 21 inner steps"):
    evaluate_run(directory, steps=["21"], episodes=2, seed=0, support="online")


def test_all_kinds_of_support(point_robot_directory, tmp_path, capsys):
  data = tmp_path / "moved"
  shutil.copytree(point_robot_directory, data)
  directory = make_untrained_run(context_based(data, tmp_path / "focal"))
  first = shift_of_run(directory, None, seed=0, reuse=True)
  said = f"{directory}: without the protocol offline_other_policy: config.evaluation.support = 'other_policies': no "
  assert f"{said}dataset at {data}_other_policies; " in capsys.readouterr().out
  assert [row.protocol for row in first.rows[::2]] == ["offline", "offline_random_policy", "online"]
  assert [row.task_index for row in first.rows] == [3, 4] * 3
  assert first == read_run(directory, CONTEXT_SHIFT)
  assert len(first.rows[-1].scores) == 6

  assert shift_of_run(directory, None, seed=0, reuse=True) == first
  assert "taking the rows of" in capsys.readouterr().out
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=3)
  second = shift_of_run(directory, 1, seed=0, reuse=True)
  assert "taking the rows of" not in capsys.readouterr().out
  assert [row.protocol for row in second.rows[::2]] == list(PROTOCOLS.values())
  assert second.rows[0].episodes == 1
  # What is damaged is made again.
  (directory / "context_shift.json").write_text("{}")
  assert shift_of_run(directory, 1, seed=0, reuse=True) == second
  assert "; evaluating again" in capsys.readouterr().out
  # Other data in the same place.
  shutil.rmtree(tmp_path / "moved_other_policies")
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=4)
  third = shift_of_run(directory, 1, seed=0, reuse=True)
  assert "taking the rows of" not in capsys.readouterr().out
  assert [first == other for first, other in zip(second.rows, third.rows, strict=True)].count(False) == 2


@pytest.mark.parametrize(
  ("name", "value"),
  [("step", 5), ("checkpoint", "0" * 64), ("evaluation_seed", 1), ("episodes", 2), ("supports", []), ("data", {})],
)
def test_rows_made_of_anything_else_are_not_reused(name, value):
  made_of = {"step": 0, "checkpoint": "f" * 64, "evaluation_seed": 0, "episodes": 1, "supports": ["own"]}
  made_of["data"] = {"config.dataset": "a" * 64}
  assert was_made_of(made_of | {"rows": []}, made_of)
  assert not was_made_of(made_of | {name: value}, made_of)
  assert not was_made_of({key: kept for key, kept in made_of.items() if key != name}, made_of)


def test_a_run_that_collects_its_own_data_is_refused(tmp_path):
  config = {"collection": {"family": "point_robot"}, "evaluation": {}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(ConfigurationError, match=r"collects its own data; python -m experiments.online_report reads "):
    shift_of_run(tmp_path, None, seed=0, reuse=False)


def test_the_random_episodes_are_the_same_for_all_runs(point_robot_directory, tmp_path):
  """Whatever the agent: those of a larger support are more."""
  one = context_based(point_robot_directory, tmp_path / "focal").unlock()
  other = make_miniature(point_robot_directory, tmp_path / "macaw").unlock()
  other.evaluation.support_size, other.evaluation.train_tasks = 64, 0
  small, large = (
    with_supports(load_experiment(config), with_support(config, "random")).evaluated[0].data for config in (one, other)
  )
  kept = small.reward.shape[1]
  assert kept < large.reward.shape[1]
  np.testing.assert_array_equal(small.observation, large.observation[:, :kept])
  np.testing.assert_array_equal(small.action, large.action[:, :kept])


@pytest.mark.parametrize("steps", [["0", "1", "3"], ["0"]])
def test_random_episodes_are_acted_once_for_all_numbers_of_steps(point_robot_directory, tmp_path, monkeypatch, steps):
  sizes = []

  def counted(*arguments, support_size, **options):
    sizes.append(support_size)
    return random_policy_dataset(*arguments, support_size=support_size, **options)

  directory = make_untrained_run(make_miniature(point_robot_directory, tmp_path / "macaw"))
  monkeypatch.setattr(experiment_module, "random_policy_dataset", counted)
  evaluate_run(directory, steps=steps, episodes=2, seed=0, support="random")
  assert sizes == [16 * max(int(steps[-1]), 1)]
  rows = rows_in(directory / "evaluation_offline_random_policy.json")
  assert [row["adaptation_steps"] for row in rows[::2]] == [int(number) for number in steps]


def test_what_a_support_does_not_read_is_not_loaded(point_robot_directory, tmp_path, monkeypatch):
  loaded = []

  def recorded(*arguments, tasks, **options):
    loaded.append(tuple(tasks))
    return load_dataset(*arguments, tasks=tasks, **options)

  monkeypatch.setattr(experiment_module, "load_dataset", recorded)
  config = make_miniature(point_robot_directory, tmp_path / "macaw")  # two training tasks are evaluated as well
  for support in ("random", "online"):
    experiment = load_experiment(with_support(config, support))
    assert [split.indices for split in experiment.evaluated] == [(3, 4), (0, 2)]
  assert loaded == [(0, 1, 2)] * 2


def test_other_policies_with_too_few_transitions_are_left_out_aloud(point_robot_directory, tmp_path, capsys):
  shutil.copytree(point_robot_directory, tmp_path / "moved")
  config = context_based(tmp_path / "moved", tmp_path / "run")
  write_point_robot(tmp_path / "moved_other_policies", num_episodes=1)
  assert kinds_of_support("runs/a", config) == ["own", "other_policies", "random", "online"]
  assert capsys.readouterr().out == ""
  config.unlock().evaluation.support_size = 21
  assert kinds_of_support("runs/a", config) == ["own", "random", "online"]
  said = "config.evaluation.support_size = 21: an evaluation support of 21 transitions: task 3 (test) has 20"
  assert capsys.readouterr().out == f"runs/a: without the protocol offline_other_policy: {said}\n"


def test_episodes_too_short_for_the_inner_steps_are_left_out_aloud(point_robot_directory, tmp_path, capsys):
  config = make_miniature(point_robot_directory, tmp_path / "macaw").unlock()
  config.algorithm.inner_steps = config.training.support_size = config.evaluation.support_size = 25
  directory = make_untrained_run(config)
  check_all([directory], None, seed=0, output=CONTEXT_SHIFT)
  result = shift_of_run(directory, 1, seed=0, reuse=False)
  assert {row.protocol for row in result.rows} == {"offline", "offline_random_policy"}
  reason = "an online support: an episode has 20 steps, fewer than the 25 inner steps that share it"
  assert f"{directory}: without the protocol online: {reason}\n" in capsys.readouterr().out


def test_all_runs_are_checked_before_the_first_is_evaluated(focal_run, tmp_path, capsys):
  (tmp_path / "unfinished").mkdir()
  shutil.copy(focal_run / "config.json", tmp_path / "unfinished")
  with pytest.raises(ConfigurationError, match=r"unfinished: the run has no checkpoint yet"):
    check_all([focal_run, tmp_path / "unfinished"], 1, seed=0, output=CONTEXT_SHIFT)
  with pytest.raises(ConfigurationError, match=r"focal: config.evaluation.episodes = 0: expected an integer of at"):
    check_all([focal_run], 0, seed=0, output=CONTEXT_SHIFT)
  with pytest.raises(ConfigurationError, match=r"--seed=-1: expected an integer from 0"):
    check_all([focal_run], None, seed=-1, output=CONTEXT_SHIFT)
  assert list(check_all([focal_run], 1, seed=0, output=CONTEXT_SHIFT)) == [focal_run]
  (focal_run / CONTEXT_SHIFT).mkdir()
  with pytest.raises(ConfigurationError, match=r"context_shift.json: expected a file to write, found a folder"):
    check_all([focal_run], 1, seed=0, output=CONTEXT_SHIFT)
  (focal_run / "config.json").write_text("{}")
  with pytest.raises(ConfigurationError, match=r"focal: config.evaluation.episodes is missing"):
    check_all([focal_run], 1, seed=0, output=CONTEXT_SHIFT)
  assert capsys.readouterr().out == ""


def test_a_run_that_is_there_twice_is_refused_before_the_first_is_evaluated(
  focal_run, tmp_path, monkeypatch, parsed_flags
):
  shutil.copytree(focal_run, tmp_path / "copy")
  monkeypatch.setattr(context_shift, "shift_of_run", lambda *arguments, **options: pytest.fail("evaluated"))
  with pytest.raises(ResultError, match=r"focal and .*copy are the same run: seed 0 twice"):
    context_shift.main([str(focal_run), str(tmp_path / "copy")])


def test_only_commands_that_draw_a_picture_take_its_name():
  modules = "evaluate, probe, run"
  code = f"from absl import flags; from experiments import {modules}; print('picture' in flags.FLAGS)"
  process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert process.stdout == "False\n"
