"""Trained runs of each kind evaluated again: after other steps, on other supports, from other checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from miniatures import EVERY, STEPS, changed, make_config, make_focal, run_silently, write_point_robot

from experiments import evaluate
from experiments.data_agreement import write_other_policies
from experiments.evaluate import Request, available_supports, evaluate_run, evaluate_shift, shift_of_run
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.context_shift import CONTEXT_SHIFT
from macaw_jax.evaluation.protocols import PROTOCOLS
from macaw_jax.evaluation.results import read_run

pytestmark = pytest.mark.usefixtures("compiled_once")

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run_of(copied):
  """`(kind) -> directory` of a trained run, for a test to change."""
  return lambda kind: Path(copied(kind).output_directory)


@pytest.fixture(scope="module")
def known_data(tmp_path_factory):
  """A dataset of all tasks of the point robot's first five, beside supports that were collected by other policies."""
  folder = tmp_path_factory.mktemp("known")
  write_point_robot(folder / "data")
  write_point_robot(folder / "data_other_policies", num_episodes=3)
  return folder / "data"


def document(directory, name):
  return json.loads((directory / name).read_text())


def flip_a_bit(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


# Numbers of steps


def test_gradient_based_agents_are_evaluated_after_several_numbers_of_steps(run_of, capsys):
  directory = run_of("recorded")
  rows = evaluate_run(directory, Request(steps=["0", "2", "1"], episodes=3, seed=5))
  assert [(row.task_index, row.stages, row.stage_unit, row.episodes) for row in rows] == [
    (task, (0, 1, 2), "steps", 3) for task in (3, 4)
  ]
  assert rows[0].support == 32  # of 16 for each step
  assert all(len(set(row.returns)) == 3 for row in rows)
  found = document(directory, "evaluation_offline.json")
  assert (found["step"], found["evaluation_seed"]) == (STEPS, 5)
  assert read_run(directory, "evaluation_offline.json").rows == tuple(rows)
  said = capsys.readouterr().out
  assert f"checkpoint of update {STEPS}; 3 episodes a task" in said
  assert f"written to {directory / 'evaluation_offline.json'}" in said


def test_on_policy_agents_take_several_steps(run_of):
  rows = evaluate_run(run_of("on_policy"), Request(steps=["2"]))
  assert {(row.protocol, row.stages, row.stage_unit) for row in rows} == {("on_policy", (0, 2), "steps")}
  assert [row.task_index for row in rows] == [5000, 5050, 5099]


def test_agents_with_a_belief_take_none(run_of):
  directory = run_of("replayed")
  with pytest.raises(ConfigurationError, match=r"^--steps=1,2: .*: adaptation of pearl has no number of steps"):
    evaluate_run(directory, Request(steps=["1", "2"]))
  rows = evaluate_run(directory, Request(episodes=1))
  assert [row.task_index for row in rows] == list(range(80, 100))
  assert {(row.protocol, row.split, row.stages) for row in rows} == {("online", "test", (0, 1, 2))}


@pytest.mark.parametrize("steps", [["a"], ["-1"], ["1.5"], []])
def test_wrong_numbers_of_steps(trained, steps):
  with pytest.raises(ConfigurationError, match=r"--steps=.*: expected numbers from 0 up"):
    evaluate_run(Path(trained("recorded").config.output_directory), Request(steps=steps))


def test_more_steps_than_the_data_have_supports_for(run_of):
  with pytest.raises(ConfigurationError, match=r"support_size = 320: task 3 \(test\) has 200"):
    evaluate_run(run_of("recorded"), Request(steps=["20"]))


# Supports


@pytest.mark.parametrize(("support", "protocol"), [("random", "offline_random_policy"), ("online", "online")])
def test_recorded_runs_on_another_support(run_of, support, protocol):
  directory = run_of("recorded")
  rows = evaluate_run(directory, Request(support=support, steps=["2"], episodes=1))
  assert [(row.protocol, row.task_index, row.stages) for row in rows] == [(protocol, task, (0, 2)) for task in (3, 4)]
  assert (directory / f"evaluation_{protocol}.json").is_file()


def test_supports_that_a_kind_cannot_have(run_of):
  with pytest.raises(ConfigurationError, match=r"--support=own: expected one of random, online for pearl"):
    evaluate_run(run_of("replayed"), Request(support="own"))


def test_all_supports_of_a_recorded_run(run_of, tmp_path, known_data, capsys):
  """Those that there are; what is there is taken again where it was made of the same."""
  directory = run_of("recorded")
  first = shift_of_run(directory, Request(episodes=1), reuse=True)
  assert f"{directory}: without the protocol offline_other_policy: " in capsys.readouterr().out
  assert [row.protocol for row in first.rows[::2]] == ["offline", "offline_random_policy", "online"]
  assert [row.task_index for row in first.rows] == [3, 4] * 3
  assert first == read_run(directory, CONTEXT_SHIFT)
  assert shift_of_run(directory, Request(episodes=1), reuse=True) == first
  assert "taking the rows of" in capsys.readouterr().out

  # What is damaged is made again, and so is what was made of something else.
  (directory / CONTEXT_SHIFT).write_text("{}")
  assert shift_of_run(directory, Request(episodes=1), reuse=True) == first
  other = shift_of_run(directory, Request(episodes=1, seed=1), reuse=True)
  assert "taking the rows of" not in capsys.readouterr().out
  assert other.rows != first.rows

  moved = json.loads((directory / "config.json").read_text())
  moved["config"]["dataset"]["directory"] = str(known_data)
  (directory / "config.json").write_text(json.dumps(moved))
  everything = shift_of_run(directory, Request(episodes=1), reuse=True)
  assert [row.protocol for row in everything.rows[::2]] == list(PROTOCOLS.values())[:4]


def test_supports_made_of_other_tasks_episodes(run_of, data, tmp_path):
  """The protocol of other policies on episodes that the family rewarded anew."""
  shutil.copytree(data, tmp_path / "data")
  write_other_policies(str(tmp_path / "data"), 4)
  directory = run_of("recorded")
  found = json.loads((directory / "config.json").read_text())
  found["config"]["dataset"]["directory"] = str(tmp_path / "data")
  (directory / "config.json").write_text(json.dumps(found))
  rows = evaluate_run(directory, Request(support="other_policies", steps=["1"], episodes=2))
  assert [(row.protocol, row.task_index) for row in rows] == [("offline_other_policy", task) for task in (3, 4)]
  assert np.isfinite([row.scores for row in rows]).all()
  assert rows[0].scale == ("the manifest's random return", "the manifest's expert return")


def test_all_supports_of_a_run_that_collected_its_own_data(run_of, tmp_path, capsys):
  directory = run_of("replayed")
  found = shift_of_run(directory, Request(episodes=1), reuse=False)
  assert [row.protocol for row in found.rows[::20]] == ["offline_random_policy", "online"]
  assert all(row.scores is None for row in found.rows)
  # With recorded data of the family; these have other tasks than it was tested on.
  write_point_robot(tmp_path / "data")
  with pytest.raises(ConfigurationError, match=r"data: expected task 99 of family 'point_robot', got 5"):
    shift_of_run(directory, Request(dataset=str(tmp_path / "data"), episodes=1), reuse=False)


def test_recorded_supports_of_a_run_that_collected_its_own_data(run_of, known_data, monkeypatch):
  """On the two test tasks that the dataset has, which stand for those of the family."""
  from experiments import replayed

  split_of = replayed.split_of

  def known(family, name, indices):
    del indices
    return split_of(family, name, (3, 4))

  monkeypatch.setattr(replayed, "split_of", known)
  found = shift_of_run(run_of("replayed"), Request(dataset=str(known_data), episodes=1), reuse=False)
  assert [row.protocol for row in found.rows[::2]] == list(PROTOCOLS.values())[:4]
  assert [row.task_index for row in found.rows] == [3, 4] * 4
  assert all(np.isfinite(row.scores).all() for row in found.rows if row.scores is not None)
  assert {row.protocol for row in found.rows if row.scores is not None} >= set(list(PROTOCOLS.values())[:3])


def test_supports_that_are_too_small_are_left_out_aloud(data, tmp_path, capsys):
  shutil.copytree(data, tmp_path / "data")
  write_point_robot(tmp_path / "data_other_policies", num_episodes=1)
  config = make_config("recorded", tmp_path / "data", tmp_path / "run")
  (tmp_path / "run").mkdir()
  steps = {"algorithm__adaptation_steps": 25, "training__support_size": 25, "evaluation__support_size": 25}
  config = changed(config, **steps)
  (tmp_path / "run" / "config.json").write_text(json.dumps({"format_version": 2, "config": config.to_dict()}))
  assert available_supports(tmp_path / "run", config, Request()) == ["own", "random"]
  said = capsys.readouterr().out.splitlines()
  assert "config.evaluation.support_size = 25: task 3 (test) has 20" in said[0]
  assert "an episode has 20 steps, fewer than the 25 inner steps" in said[1]


def test_runs_are_shown_in_one_table_with_a_picture(data, tmp_path, capsys, parsed_flags):
  pytest.importorskip("matplotlib")
  config = make_focal(data, tmp_path / "focal-0")
  run_silently(config)
  with flagsaver.flagsaver(support="all", episodes=1, picture=str(tmp_path / "shift.png")):
    evaluate.main([str(tmp_path / "focal-*")])
  assert "| focal " in capsys.readouterr().out
  assert (tmp_path / "shift.png").read_bytes().startswith(b"\x89PNG")


# Checkpoints


@pytest.mark.parametrize("kind", ["recorded", "replayed"])
def test_the_newest_the_best_and_one_by_its_number(run_of, kind):
  directory = run_of(kind)
  scores = {
    step: json.loads((directory / "checkpoints" / str(step) / "checkpoint.json").read_text()) for step in (EVERY, STEPS)
  }
  best = max(scores, key=lambda step: find(scores[step], "score"))
  name = {"recorded": "evaluation_offline.json", "replayed": "evaluation_online.json"}[kind]
  for which, step in (("newest", STEPS), ("best", best), (str(EVERY), EVERY)):
    evaluate_run(directory, Request(episodes=1, checkpoint=which, steps=["0", "1"] if kind == "recorded" else None))
    assert document(directory, name)["step"] == step
  with pytest.raises(ConfigurationError, match=rf"^--checkpoint=25: .* of this update; it has {EVERY}, {STEPS}$"):
    evaluate_run(directory, Request(checkpoint="25"))


def find(tree, name):
  """A value by its name, wherever it is."""
  if not isinstance(tree, dict):
    return None
  return tree[name] if name in tree else next(filter(None, (find(value, name) for value in tree.values())), None)


def test_without_evaluations_on_training_tasks_there_is_no_best(run_of):
  with pytest.raises(ConfigurationError, match=r"^--checkpoint=best: .*so there is no best"):
    evaluate_run(run_of("on_policy"), Request(checkpoint="best"))


@pytest.mark.parametrize("which", ["latest", "-1", "", "1.5"])
def test_what_names_no_checkpoint_is_refused(run_of, which):
  with pytest.raises(ConfigurationError, match=rf"^--checkpoint={which}: expected newest, best or the number of an"):
    evaluate_run(run_of("recorded"), Request(checkpoint=which))


def test_a_damaged_newest_is_passed_over_aloud_and_left_as_it_is(run_of, capsys):
  directory = run_of("recorded")
  file = directory / "checkpoints" / str(STEPS) / "arrays" / "_METADATA"
  flip_a_bit(file)
  evaluate_run(directory, Request(steps=["1"], episodes=1))
  (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING"))
  assert str(file) in line
  assert line.endswith(f"taking that of update {EVERY}")
  with pytest.raises(ConfigurationError, match=rf"{STEPS}/arrays/_METADATA: expected SHA-256"):
    evaluate_run(directory, Request(checkpoint=str(STEPS)))
  assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == [str(EVERY), str(STEPS)]
  flip_a_bit(directory / "checkpoints" / str(EVERY) / "arrays" / "_METADATA")
  with pytest.raises(ConfigurationError, match=r"no checkpoint is whole"):
    evaluate_run(directory, Request())


def test_data_that_have_changed_since_are_said(run_of, tmp_path, capsys):
  directory = run_of("recorded")
  write_point_robot(tmp_path / "other", num_episodes=9)
  found = document(directory, "config.json")
  found["config"]["dataset"]["directory"] = str(tmp_path / "other")
  (directory / "config.json").write_text(json.dumps(found))
  evaluate_run(directory, Request(steps=["1"], episodes=1))
  assert f"WARNING: {tmp_path / 'other'} is not as it was when" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # reads that the refusal left open
def test_a_checkpoint_with_other_parameters(run_of):
  directory = run_of("recorded")
  found = document(directory, "config.json")
  found["config"]["algorithm"]["hidden_sizes"] = [16, 8]
  (directory / "config.json").write_text(json.dumps(found))
  with pytest.raises(ConfigurationError, match=r"its checkpoint does not fit its configuration: .*shape"):
    evaluate_run(directory, Request())


# Runs that cannot be evaluated


def test_every_run_is_checked_before_the_first_is_evaluated(run_of, tmp_path, monkeypatch):
  monkeypatch.setattr(evaluate, "shift_of_run", lambda *arguments, **options: pytest.fail("evaluated"))
  whole = run_of("recorded")
  other = tmp_path / "unfinished"
  other.mkdir()

  def refused(match, request=Request(episodes=1)):  # noqa: B008
    with pytest.raises(ConfigurationError, match=match):
      evaluate_shift([whole, other], request, reuse=False)

  refused(r"unfinished: no run there \(config\.json is missing\)")
  shutil.copy(whole / "config.json", other)
  refused(r"unfinished: the run has no checkpoint yet")
  shutil.copytree(whole / "checkpoints", other / "checkpoints")
  refused(r"config\.evaluation\.episodes = 0: expected an integer of at", Request(episodes=0))
  (other / CONTEXT_SHIFT).mkdir()
  refused(r"context_shift\.json: expected a file to write, found a folder")
  (other / "config.json").write_text("{}")
  refused(r"unfinished/config\.json: a run in format 1, this release reads 2")


@pytest.mark.slow
def test_both_engines_evaluate_alike(tmp_path):
  config = make_config("recorded", REPOSITORY / "starter_data" / "cheetah_dir", tmp_path / "run")
  run_silently(config)
  engines = ("native", "mjx")
  found = [evaluate_run(tmp_path / "run", Request(steps=["1"], episodes=2, engine=engine)) for engine in engines]
  returns = [[row.returns[0] for row in rows] for rows in found]
  # Nearly untrained, it twitches where it stands: nothing that contacts could blow up.
  np.testing.assert_allclose(*returns, atol=3.0)
  assert returns[0] != returns[1]
