"""Trained runs of each kind evaluated again: after other steps, on other supports, from other checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from finished_runs import make_row
from miniatures import (
  EVERY,
  STEPS,
  changed,
  make_config,
  make_focal,
  make_untrained,
  run_silently,
  write_point_robot,
)

from experiments import evaluate
from experiments.data import write_other_policies
from experiments.evaluate import evaluate_run, evaluate_shift, made_of_lines, notes_on_steps, with_stages
from experiments.evaluation_request import Request, plan
from macaw_jax.data.relabel import OTHER_POLICIES
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.evaluation_file import evaluation_file, is_made_of
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
  for name in OTHER_POLICIES:
    write_point_robot(folder / f"data_{name}", num_episodes=3)
  return folder / "data"


def again(directory, **asked):
  """The rows of a run that is evaluated again."""
  return evaluate_run(plan(directory, Request(**asked)))


def test_an_agent_goes_on_learning_from_its_own_episodes(run_of, capsys):
  directory = run_of("recorded")
  rows = again(directory, own_episodes=3, episodes=2, support_size=8)
  assert {row.protocol for row in rows} == {"offline_then_own_episodes"}
  assert {row.stages for row in rows} == {(0, 1, 2, 3)}
  assert {(row.stage_unit, row.support, row.episodes) for row in rows} == {("own episodes", 8, 2)}
  (name,) = files_of(directory, "evaluation")
  assert document(directory, name)["evaluation"]["own_episodes"] == 3


def test_supports_of_a_part_of_the_collection_are_an_evaluation_of_their_own(run_of):
  directory = run_of("recorded")
  rows = {quality: again(directory, quality=quality, support_size=4, episodes=2) for quality in ("start", "end", "all")}
  assert len(files_of(directory, "evaluation")) == 3
  after = [[row.returns[1] for row in each] for each in rows.values()]
  assert after[0] != after[1]
  assert after[1] != after[2]


def on_all_supports(directory, *, reuse=False, **asked):
  """The run evaluated on all supports that it can have."""
  return evaluate_shift(plan(directory, Request(support="all", **asked)), reuse=reuse)


def command(*arguments):
  """The command with these arguments."""
  evaluate.main(evaluate.parser().read([str(each) for each in arguments]))


def files_of(directory, kind):
  """The names of the files of evaluations."""
  return sorted(path.name for path in directory.glob(f"{kind}_*.json"))


def document(directory, name):
  return json.loads((directory / name).read_text())


def flip_a_bit(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


# Numbers of steps


def test_gradient_based_agents_are_evaluated_after_several_numbers_of_steps(run_of, capsys):
  directory = run_of("recorded")
  rows = again(directory, steps=(0, 2, 1), episodes=3, seed=5)
  assert [(row.task_index, row.stages, row.stage_unit, row.episodes) for row in rows] == [
    (task, (0, 1, 2), "steps", 3) for task in (3, 4)
  ]
  assert rows[0].support == 32  # of 16 for each step
  assert all(len(set(row.returns)) == 3 for row in rows)
  name = f"evaluation_offline_update_{STEPS}_steps_0-1-2_episodes_3_seed_5.json"
  assert files_of(directory, "evaluation") == [name]
  found = document(directory, name)
  made_of = found["evaluation"]
  assert found["step"] == made_of.pop("update") == STEPS
  assert len(made_of.pop("checkpoint")) == len(made_of.pop("data")["config.dataset"]) == 64
  settings = {"support_size": 16, "order": "uniform", "steps": [0, 1, 2], "episodes": 3, "engine": "native", "seed": 5}
  settings |= {"quality": None, "own_episodes": None}
  assert made_of == settings | {"dataset": None, "retrieval": None, "protocols": ["offline"]}
  assert read_run(directory, name).rows == tuple(rows)
  said = capsys.readouterr().out
  line = f"update {STEPS}; support_size 16; order uniform; steps 0-1-2; episodes 3; engine native; seed 5\n"
  assert said.count(line) == 2  # before it is computed, and below the table
  assert "which this run was trained with: 2; nothing in training judges" in said
  assert f"written to {directory / name}" in said


def test_steps_of_adaptation_are_those_asked_for(run_of):
  assert {row.stages for row in again(run_of("recorded"), steps=(0,), episodes=1)} == {(0,)}


def test_on_policy_agents_take_several_steps(run_of):
  directory = run_of("on_policy")
  rows = again(directory, steps=(2,))
  assert {(row.protocol, row.stages, row.stage_unit) for row in rows} == {("on_policy", (0, 2), "steps")}
  assert [row.task_index for row in rows] == [5000, 5050, 5099]
  assert files_of(directory, "evaluation") == [f"evaluation_on_policy_update_{STEPS}_steps_0-2.json"]


def test_agents_with_a_belief_take_none(run_of):
  directory = run_of("replayed")
  with pytest.raises(ConfigurationError, match=r"^--steps=1,2: .*: adaptation of pearl has no number of steps"):
    again(directory, steps=(1, 2))
  rows = again(directory, episodes=1)
  assert [row.task_index for row in rows] == list(range(80, 100))
  assert {(row.protocol, row.split, row.stages) for row in rows} == {("online", "test", (0, 1, 2))}


def test_more_steps_than_the_data_have_supports_for_are_refused_before_anything_is_computed(run_of):
  with pytest.raises(ConfigurationError, match=r"support_size = 320: task 3 \(test\) has 200"):
    plan(run_of("recorded"), Request(steps=(1, 20)))


def test_without_numbers_of_steps_it_takes_those_that_the_data_suffice_for(run_of, capsys):
  directory = run_of("recorded")
  assert plan(directory, Request()).steps == (0, 1, 2, 5)
  planned = plan(directory, Request(support_size=64))  # 320 rows for five steps, of 200
  assert planned.steps == (0, 1, 2)
  assert "without 5 steps: " in capsys.readouterr().out
  assert planned.file.name == f"evaluation_offline_update_{STEPS}_support_size_64.json"


def stepped(directory, returns, steps, with_scores=True):
  """A plan, and the row of a task with these returns after its numbers of steps; scores are ten more."""
  planned = plan(directory, Request(steps=steps))
  row = make_row(returns, [value + 10.0 for value in returns] if with_scores else None)
  return planned, [with_stages(row, planned.steps, [(row, stage) for stage in range(len(returns))])]


def test_more_steps_than_trained_are_said_and_that_the_score_falls(run_of):
  directory = run_of("recorded")
  assert notes_on_steps(*stepped(directory, (1.0, 99.0), (0, 1))) == []
  (more,) = notes_on_steps(*stepped(directory, (1.0, 99.0, 99.0), (0, 1, 2)))
  assert more.startswith("more steps than config.algorithm.adaptation_steps = 1, which this run was trained with: 2; ")
  more, falls = notes_on_steps(*stepped(directory, (1.0, 99.0, 88.0, 24.0), (0, 1, 2, 5)))
  assert "trained with: 2, 5; " in more
  assert falls == "the mean score falls from 109.0 after 1 to 34.0 after 5: take 1, or train with more"
  _, falls = notes_on_steps(*stepped(directory, (1.0, 99.0, 24.0), (0, 1, 2), with_scores=False))
  assert falls.startswith("the mean return falls from 99.0 after 1 to 24.0 after 2")
  assert len(notes_on_steps(*stepped(directory, (1.0, 24.0), (0, 2)))) == 1  # nothing to compare with


# Supports


@pytest.mark.parametrize(("support", "protocol"), [("random", "offline_random_policy"), ("online", "online")])
def test_recorded_runs_on_another_support(run_of, support, protocol):
  directory = run_of("recorded")
  rows = again(directory, support=support, steps=(2,), episodes=1)
  assert [(row.protocol, row.task_index, row.stages) for row in rows] == [(protocol, task, (0, 2)) for task in (3, 4)]
  assert files_of(directory, "evaluation") == [f"evaluation_{protocol}_update_{STEPS}_steps_0-2_episodes_1.json"]


def test_a_run_whose_own_supports_are_gone_adapts_to_others(run_of):
  directory = run_of("recorded")
  found = document(directory, "config.json")
  found["config"]["evaluation"]["support"] = "other_policies"
  (directory / "config.json").write_text(json.dumps(found))
  with pytest.raises(ConfigurationError, match=r"config\.evaluation\.support = 'other_policies': no dataset at"):
    plan(directory, Request())
  assert plan(directory, Request(support="own")).supports == ("own",)
  assert plan(directory, Request(support="all")).supports == ("own", "random", "online")


def test_the_size_and_the_order_of_a_support(run_of):
  directory = run_of("recorded")
  rows = {
    asked: again(directory, steps=(1,), episodes=1, **dict(asked))
    for asked in ((), (("support_size", 32),), (("order", "contiguous"),))
  }
  assert [of_asked[0].support for of_asked in rows.values()] == [16, 32, 16]
  assert len({of_asked[0].returns[0] for of_asked in rows.values()}) == 1  # before adaptation: the same starts
  assert len({of_asked[0].returns[1] for of_asked in rows.values()}) == 3
  assert files_of(directory, "evaluation") == [
    f"evaluation_offline_update_{STEPS}_{settings}.json"
    for settings in (
      "order_contiguous_steps_0-1_episodes_1",
      "steps_0-1_episodes_1",
      "support_size_32_steps_0-1_episodes_1",
    )
  ]
  with pytest.raises(ConfigurationError, match=r"config\.evaluation\.support_size = 201: task 3 \(test\) has 200"):
    again(directory, support_size=201)


def test_the_size_and_the_order_of_a_support_of_a_run_that_collected_its_own_data(run_of):
  directory = run_of("replayed")
  asked = {"support": "random", "support_size": 12, "episodes": 1}
  uniform, contiguous = (again(directory, order=order, **asked)[0] for order in ("uniform", "contiguous"))
  assert uniform.support == contiguous.support == 12  # 8 in training
  assert uniform.returns[0] == contiguous.returns[0]
  assert uniform.returns[1] != contiguous.returns[1]


@pytest.mark.parametrize(
  ("kind", "asked", "said"),
  [
    ("replayed", {"support": "own"}, r"--support=own: expected one of random, online for pearl; own and .* --dataset"),
    (
      "recorded",
      {"support": "online", "support_size": 9},
      r"--support_size=9: the protocol online adapts to the agent",
    ),
    ("on_policy", {"order": "contiguous"}, r"--order=contiguous: the protocol on_policy adapts to the agent's own"),
    ("on_policy", {"support": "all"}, r"--support=all: an on-policy run adapts to its own episodes alone"),
    ("recorded", {"dataset": "nowhere"}, r"config.dataset.directory = 'nowhere': no dataset there"),
    ("on_policy", {"dataset": "data"}, r"--dataset=data: an on-policy run reads no data"),
    ("replayed", {"quality": "start"}, r"--quality=start: expected a run on recorded data"),
    ("on_policy", {"own_episodes": 5}, r"--own_episodes=5: expected a run on recorded data"),
    ("recorded", {"quality": "end", "support": "all"}, r"--quality=end: expected one kind of support"),
    ("recorded", {"own_episodes": 5, "steps": (0, 1)}, r"--own_episodes=5: the agent is evaluated after numbers of ep"),
    ("on_policy", {"retrieval": True}, r"copy: --retrieval: expected a run on recorded data, to retrieve from"),
    ("replayed", {"retrieval": True}, r"copy: --retrieval: expected a run on recorded data, to retrieve from"),
  ],
)
def test_supports_that_a_kind_cannot_have(run_of, kind, asked, said):
  with pytest.raises(ConfigurationError, match=said):
    plan(run_of(kind), Request(**asked))


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--support=all", "--steps=1"], "^--steps: expected one kind of support"),
    (["--reuse"], "^--reuse: expected --support=all"),
    (["--picture=a.png"], "^--picture: expected --support=all"),
  ],
)
def test_flags_that_do_nothing_beside_each_other_are_refused(run_of, flags, said):
  with pytest.raises(ConfigurationError, match=said):
    command(run_of("recorded"), *flags)


def test_all_supports_of_a_recorded_run(run_of, known_data, capsys):
  """Those that there are; what is there is taken again where it was made of the same."""
  directory = run_of("recorded")
  first = on_all_supports(directory, episodes=1, reuse=True)
  assert f"{directory}: without the protocol offline_other_policy: " in capsys.readouterr().out
  assert [row.protocol for row in first.rows[::2]] == ["offline", "offline_random_policy", "online"]
  assert [row.task_index for row in first.rows] == [3, 4] * 3
  name = f"context_shift_update_{STEPS}_episodes_1.json"
  assert first == read_run(directory, name)
  assert on_all_supports(directory, episodes=1, reuse=True) == first
  assert f"taking the rows of {directory / name}" in capsys.readouterr().out

  # What was made of something else, or is damaged, is made again beside it.
  other = on_all_supports(directory, episodes=1, seed=1, reuse=True)
  assert "taking the rows of" not in capsys.readouterr().out
  assert other.rows != first.rows
  moved = json.loads((directory / "config.json").read_text())
  moved["config"]["dataset"]["directory"] = str(known_data)
  (directory / "config.json").write_text(json.dumps(moved))
  everything = on_all_supports(directory, episodes=1, reuse=True)
  assert [row.protocol for row in everything.rows[::2]] == list(PROTOCOLS.values())[:6]
  assert files_of(directory, "context_shift") == sorted([name, name[:-5] + "_2.json", name[:-5] + "_seed_1.json"])
  assert read_run(directory, name) == first


def test_all_supports_of_an_older_checkpoint(run_of):
  planned = plan(run_of("recorded"), Request(support="all", checkpoint=str(EVERY)))
  assert (planned.step, planned.file.name) == (EVERY, f"context_shift_update_{EVERY}.json")


def test_supports_made_of_other_tasks_episodes(run_of, data, tmp_path):
  """The protocol of other policies on episodes that the family rewarded anew."""
  shutil.copytree(data, tmp_path / "data")
  write_other_policies(str(tmp_path / "data"), 4)
  directory = run_of("recorded")
  found = json.loads((directory / "config.json").read_text())
  found["config"]["dataset"]["directory"] = str(tmp_path / "data")
  (directory / "config.json").write_text(json.dumps(found))
  rows = evaluate_run(plan(directory, Request(support="other_policies", steps=(0, 1), episodes=2)))
  assert [(row.protocol, row.task_index) for row in rows] == [("offline_other_policy", task) for task in (3, 4)]
  assert np.isfinite([row.scores for row in rows]).all()
  assert rows[0].scale == ("the manifest's random return", "the manifest's expert return")


def test_all_supports_of_a_run_that_collected_its_own_data(run_of, tmp_path, capsys):
  directory = run_of("replayed")
  found = on_all_supports(directory, episodes=1)
  assert [row.protocol for row in found.rows[::20]] == ["offline_random_policy", "online"]
  assert all(row.scores is None for row in found.rows)
  # With recorded data of the family; these have other tasks than it was tested on.
  write_point_robot(tmp_path / "data")
  with pytest.raises(ConfigurationError, match=r"data: expected task 99 of family 'point_robot', got 5"):
    plan(directory, Request(support="all", dataset=str(tmp_path / "data"), episodes=1))


def test_recorded_supports_of_a_run_that_collected_its_own_data(run_of, known_data, monkeypatch):
  """On the two test tasks that the dataset has, which stand for those of the family."""
  from experiments import replayed

  split_of = replayed.split_of

  def known(family, name, indices):
    del indices
    return split_of(family, name, (3, 4))

  monkeypatch.setattr(replayed, "split_of", known)
  directory = run_of("replayed")
  with pytest.raises(
    ConfigurationError, match=r"data: config\.evaluation\.support_size = 201: task 3 \(test\) has 200"
  ):
    plan(directory, Request(support="own", dataset=str(known_data), support_size=201))
  found = on_all_supports(directory, dataset=str(known_data), episodes=1)
  assert files_of(directory, "context_shift") == [f"context_shift_update_{STEPS}_episodes_1_dataset_data.json"]
  assert [row.protocol for row in found.rows[::2]] == list(PROTOCOLS.values())[:6]
  assert [row.task_index for row in found.rows] == [3, 4] * 6
  assert all(np.isfinite(row.scores).all() for row in found.rows if row.scores is not None)
  assert {row.protocol for row in found.rows if row.scores is not None} >= set(list(PROTOCOLS.values())[:5])


def test_supports_that_are_too_small_are_left_out_aloud(data, tmp_path, capsys):
  shutil.copytree(data, tmp_path / "data")
  write_point_robot(tmp_path / "data_other_policies", num_episodes=1)
  config = make_config("recorded", tmp_path / "data", tmp_path / "run")
  steps = {"algorithm__adaptation_steps": 25, "training__support_size": 25, "evaluation__support_size": 25}
  config = changed(config, **steps)
  directory = make_untrained(config)
  capsys.readouterr()
  assert plan(directory, Request(support="all")).supports == ("own", "random")
  start, middle, end, online = capsys.readouterr().out.splitlines()
  for name, line in (("start", start), ("middle", middle)):
    assert line.endswith(f"/data_other_policies_{name}; experiments.collect writes it beside the family's own data")
  assert "config.evaluation.support_size = 25: task 3 (test) has 20" in end
  assert "an episode has 20 steps, fewer than the 25 inner steps" in online


def test_runs_are_shown_in_one_table_with_a_picture(data, tmp_path, capsys):
  pytest.importorskip("matplotlib")
  run_silently(make_focal(data, tmp_path / "focal-0"))
  command(tmp_path / "focal-*", "--support=all", "--episodes=1", f"--picture={tmp_path / 'shift.png'}")
  said = capsys.readouterr().out
  assert said.count("| focal ") == 2  # by its scores and by its returns
  assert "agent's own.\nupdate 2; support_size 16; order uniform; episodes 1; engine native; seed 0\n" in said
  assert (tmp_path / "shift.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_says_of_each_run_what_it_was_made_of_where_they_differ(run_of):
  directory = run_of("recorded")
  plans = [plan(directory, Request(support="all", support_size=size)) for size in (16, 32)]
  assert made_of_lines(plans[:1] * 2) == [
    f"update {STEPS}; support_size 16; order uniform; episodes 2; engine native; seed 0"
  ]
  lines = made_of_lines(plans)
  assert [line.partition("; order")[0] for line in lines] == [
    f"{directory}: update {STEPS}; support_size {size}" for size in (16, 32)
  ]


# Files


def test_no_evaluation_replaces_another(run_of):
  """Engines, numbers of episodes, keys, checkpoints and supports have a file each; the same one again has its own."""
  directory = run_of("recorded")
  asked = [{}, {"engine": "mjx"}, {"episodes": 1}, {"seed": 1}, {"checkpoint": str(EVERY)}, {"support": "random"}]
  plans = [plan(directory, Request(steps=(1,), **each)) for each in asked]
  assert [planned.file.name for planned in plans] == [
    f"evaluation_offline_update_{STEPS}_steps_0-1.json",
    f"evaluation_offline_update_{STEPS}_steps_0-1_engine_mjx.json",
    f"evaluation_offline_update_{STEPS}_steps_0-1_episodes_1.json",
    f"evaluation_offline_update_{STEPS}_steps_0-1_seed_1.json",
    f"evaluation_offline_update_{EVERY}_steps_0-1.json",
    f"evaluation_offline_random_policy_update_{STEPS}_steps_0-1.json",
  ]
  for planned in plans[:2]:
    evaluate_run(planned)
  engines = [document(directory, planned.file.name)["evaluation"]["engine"] for planned in plans[:2]]
  assert engines == ["native", "mjx"]
  assert [plan(directory, Request(steps=(1,), **each)).file for each in asked[:2]] == [each.file for each in plans[:2]]


def test_a_setting_that_older_files_lack_is_as_none(tmp_path):
  made_of = {"update": 5, "seed": 0}
  path = evaluation_file(tmp_path, "probe", made_of, {})
  path.write_text(json.dumps({"evaluation": made_of}))
  assert is_made_of(path, made_of | {"retrieval": None})
  assert not is_made_of(path, made_of | {"retrieval": [16, 20, "mean"]})
  assert not is_made_of(path, {"update": 5})
  path.write_text(json.dumps({"evaluation": 5}))
  assert not is_made_of(path, made_of)


def test_a_name_that_another_evaluation_has_is_numbered(tmp_path):
  """As after the data have changed, whose digest is in no name."""
  made_of, usual = {"update": 5, "seed": 1, "data": "a"}, {"seed": 0}

  def file(**changes):
    return evaluation_file(tmp_path, "probe", made_of | changes, usual)

  assert file().name == "probe_update_5_seed_1.json"
  file().write_text(json.dumps({"evaluation": made_of}))
  assert file().name == "probe_update_5_seed_1.json"
  assert file(data="b").name == "probe_update_5_seed_1_2.json"
  file(data="b").write_text("no JSON")
  assert file(data="b").name == "probe_update_5_seed_1_3.json"
  assert file(seed=0, data="b").name == "probe_update_5.json"
  long = evaluation_file(tmp_path, "evaluation", made_of | {"steps": list(range(500))}, {"steps": [0, 1]})
  assert long.name == "evaluation_update_5_steps_0-to-499.json"


# Checkpoints


@pytest.mark.parametrize("kind", ["recorded", "replayed"])
def test_the_newest_the_best_and_one_by_its_number(run_of, kind):
  directory = run_of(kind)
  scores = {
    step: json.loads((directory / "checkpoints" / str(step) / "checkpoint.json").read_text()) for step in (EVERY, STEPS)
  }
  best = max(scores, key=lambda step: find(scores[step], "score"))
  protocol = {"recorded": "offline", "replayed": "online"}[kind]
  rest = "_steps_0-1_episodes_1.json" if kind == "recorded" else "_episodes_1.json"
  for which, step in (("newest", STEPS), ("best", best), (str(EVERY), EVERY)):
    again(directory, episodes=1, checkpoint=which, steps=(0, 1) if kind == "recorded" else None)
    assert document(directory, f"evaluation_{protocol}_update_{step}{rest}")["step"] == step
  with pytest.raises(ConfigurationError, match=rf"^--checkpoint=25: .* of this update; it has {EVERY}, {STEPS}$"):
    again(directory, checkpoint="25")


def find(tree, name):
  """A value by its name, wherever it is."""
  if not isinstance(tree, dict):
    return None
  return tree[name] if name in tree else next(filter(None, (find(value, name) for value in tree.values())), None)


def test_without_evaluations_on_training_tasks_there_is_no_best(run_of):
  with pytest.raises(ConfigurationError, match=r"^--checkpoint=best: .*so there is no best"):
    again(run_of("on_policy"), checkpoint="best")


@pytest.mark.parametrize("which", ["latest", "-1", "", "1.5"])
def test_what_names_no_checkpoint_is_refused(run_of, which):
  with pytest.raises(ConfigurationError, match=rf"^--checkpoint={which}: expected newest, best or the number of an"):
    again(run_of("recorded"), checkpoint=which)


def test_a_damaged_newest_is_passed_over_aloud_and_left_as_it_is(run_of, capsys):
  directory = run_of("recorded")
  file = directory / "checkpoints" / str(STEPS) / "arrays" / "_METADATA"
  flip_a_bit(file)
  again(directory, steps=(1,), episodes=1)
  (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING"))
  assert str(file) in line
  assert line.endswith(f"taking that of update {EVERY}")
  with pytest.raises(ConfigurationError, match=rf"{STEPS}/arrays/_METADATA: expected SHA-256"):
    again(directory, checkpoint=str(STEPS))
  assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == [str(EVERY), str(STEPS)]
  flip_a_bit(directory / "checkpoints" / str(EVERY) / "arrays" / "_METADATA")
  with pytest.raises(ConfigurationError, match=r"no checkpoint is whole"):
    again(directory)


def test_data_that_have_changed_since_are_said(run_of, tmp_path, capsys):
  directory = run_of("recorded")
  write_point_robot(tmp_path / "other", num_episodes=9)
  found = document(directory, "config.json")
  found["config"]["dataset"]["directory"] = str(tmp_path / "other")
  (directory / "config.json").write_text(json.dumps(found))
  again(directory, steps=(1,), episodes=1)
  assert f"WARNING: {tmp_path / 'other'} is not as it was when" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # reads that the refusal left open
def test_a_checkpoint_with_other_parameters(run_of):
  directory = run_of("recorded")
  found = document(directory, "config.json")
  found["config"]["algorithm"]["hidden_sizes"] = [16, 8]
  (directory / "config.json").write_text(json.dumps(found))
  with pytest.raises(ConfigurationError, match=r"its checkpoint does not fit its configuration: .*shape"):
    again(directory)


# Runs that cannot be evaluated


def test_every_run_is_checked_before_the_first_is_evaluated(run_of, tmp_path, monkeypatch):
  for name in ("evaluate_shift", "evaluate_run"):
    monkeypatch.setattr(evaluate, name, lambda *arguments, **options: pytest.fail("evaluated"))
  whole = run_of("recorded")
  other = tmp_path / "unfinished"
  other.mkdir()

  def refused(match, *flags):
    for support in ("own", "all"):
      with pytest.raises(ConfigurationError, match=match):
        command(whole, other, f"--support={support}", *flags)

  refused(r"unfinished: no run there \(config\.json is missing\)")
  shutil.copy(whole / "config.json", other)
  refused(r"unfinished: the run has no checkpoint yet")
  shutil.copytree(whole / "checkpoints", other / "checkpoints")
  refused(r"config\.evaluation\.episodes = 0: expected an integer of at", "--episodes=0")
  with pytest.raises(ConfigurationError, match=r"copy and .*unfinished are the same run: seed 0 twice"):
    command(whole, other, "--support=all")
  (other / "checkpoints" / str(STEPS) / "checkpoint.json").unlink()
  refused(r"unfinished.*checkpoint\.json", f"--checkpoint={STEPS}")
  (other / "config.json").write_text("{}")
  refused(r"unfinished/config\.json: a run in format 1, this release reads 2")


@pytest.mark.slow
def test_both_engines_evaluate_alike(tmp_path):
  config = make_config("recorded", REPOSITORY / "starter_data" / "cheetah_dir", tmp_path / "run")
  run_silently(config)
  engines = ("native", "mjx")
  found = [again(tmp_path / "run", steps=(1,), episodes=2, engine=engine) for engine in engines]
  returns = [[row.returns[0] for row in rows] for rows in found]
  # Nearly untrained, it twitches where it stands: nothing that contacts could blow up.
  np.testing.assert_allclose(*returns, atol=3.0)
  assert returns[0] != returns[1]
