"""What a configuration of recorded data becomes, and data that do not fit it."""

import dataclasses
import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from miniatures import changed, make_config, make_focal, write_point_robot

from experiments.build import assemble, build, examine, with_added
from experiments.recorded import KIND, task_split
from macaw_jax import envs
from macaw_jax.data.manifest import DatasetError, document_digest, read_manifest
from macaw_jax.errors import ConfigurationError
from macaw_jax.types import Problem


def parts_of(config):
  return KIND.assemble(examine(config), None)


def test_what_a_run_is_made_of(miniature):
  config = miniature()
  built, parts = build(config), parts_of(config)
  assert parts.problem == Problem(2, 2, 3, 0.99, 20, task_entries=2)
  assert built.source.task_names == parts.train.indices == (0, 1, 2)
  assert built.source.tasks_per_update == 3
  test, train = parts.splits
  assert (test.name, test.indices, train.name, train.indices) == ("test", (3, 4), "train", (0, 2))
  np.testing.assert_array_equal(test.tasks["goal"], parts.family.tasks["goal"][3:5])
  assert built.agent["settings"]["hidden_sizes"] == (16, 16)
  assert "name" not in built.agent["settings"]


def test_relabelled_episodes_are_for_training_alone(miniature):
  plain, with_others = (parts_of(changed(miniature(), dataset__relabelled_episodes=count)) for count in (0, 4))
  np.testing.assert_array_equal(with_others.train.data.size, plain.train.data.size + 4 * 20)
  for one, other in zip(plain.splits, with_others.splits, strict=True):
    np.testing.assert_array_equal(one.data.size, other.data.size)


@pytest.mark.parametrize(("horizon", "target"), [(20, "monte_carlo"), (200, "bootstrapped")])
def test_an_own_dataset_of_any_name_gets_the_settings_of_its_properties(tmp_path, horizon, target):
  """No family is named on the command line: settings follow what the manifest says of the data."""
  own = tmp_path / "imported"
  write_point_robot(own, num_episodes=2, num_tasks=8, train_tasks=tuple(range(6)), test_tasks=(6, 7), horizon=horizon)
  config = make_config("recorded", own, tmp_path / "run")
  assert config.algorithm.temperature is config.algorithm.advantage_target is None
  built = build(config)
  chosen = dict.fromkeys(("inner_value_target", "outer_value_target", "advantage_target"), target)
  chosen["temperature"] = 0.5
  settings = built.members[0].config["algorithm"]
  assert {name: settings[name] for name in chosen} == chosen
  assert built.agent["settings"] == {name: value for name, value in settings.items() if name != "name"}
  assert built.description[-1].startswith("by the data: ")
  assert f"config.algorithm.inner_value_target = '{target}'" in built.description[-1]
  given = build(changed(config, algorithm__temperature=0.7, algorithm__advantage_target="monte_carlo"))
  settings = given.members[0].config["algorithm"]
  assert (settings["temperature"], settings["advantage_target"], settings["inner_value_target"]) == (
    0.7,
    "monte_carlo",
    target,
  )


def test_members_with_values_of_their_own_leave_the_data_the_rest(miniature):
  built = build(miniature(grid="temperature=0.5,2"))
  assert [each.config["algorithm"]["temperature"] for each in built.members] == [0.5, 2.0]
  assert {each.config["algorithm"]["inner_value_target"] for each in built.members} == {"monte_carlo"}
  assert "temperature" not in built.description[-1]


def test_the_tasks_of_an_update_share_512_rows_of_queries_where_no_number_is_given(tmp_path):
  """Each of three tasks has 170, and each of two 256."""
  write_point_robot(tmp_path / "data", num_episodes=30)
  config = make_focal(tmp_path / "data", tmp_path / "run").unlock()
  config.training.query_size = None
  for tasks, rows in ((8, 170), (2, 256)):
    built = build(changed(config, training__tasks_per_update=tasks))
    assert built.members[0].config["training"]["query_size"] == rows
    batch = jax.eval_shape(built.source.sample, built.source.init(None, None), jax.random.key(0))
    assert batch.query.reward.shape == (min(tasks, 3), rows)
  with pytest.raises(ConfigurationError, match=r"query_size = 512 take 612 transitions of a task: task 0 has 600"):
    examine(changed(config, training__support_size=100, training__tasks_per_update=1))


def test_a_missing_dataset_says_what_there_is_and_how_to_make_it(miniature, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for path in ("starter_data/cheetah_dir/manifest.json", "configs/collect/cheetah_vel.py"):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("")
  for name, command in (("cheetah_vel", "configs/collect/cheetah_vel.py"), ("other", "configs/collect/<family>.py")):
    with pytest.raises(ConfigurationError) as raised:
      examine(changed(miniature(), dataset__directory=f"data/{name}"))
    (problem,) = raised.value.problems
    assert "starter_data/cheetah_dir" in problem
    assert f"python -m experiments.collect --config={command}" in problem


def test_a_part_of_the_data_is_measured_when_it_is_loaded(miniature):
  """Two whole episodes, of 40 transitions, are the least that has 25."""
  part = changed(miniature(), dataset__quality="end", dataset__transitions_per_task=25, training__query_size=24)
  assert parts_of(part).train.data.size.tolist() == [40, 40, 40]
  examined = examine(changed(part, training__query_size=25))
  with pytest.raises(ConfigurationError, match=r"take 41 transitions of a task: task 0 has 40"):
    assemble(examined)


def test_supports_of_the_start_are_the_first_rows_of_the_collection(miniature):
  """Ten supports of 4 rows are two whole episodes of 20."""
  parts = parts_of(changed(miniature(), evaluation__quality="start", evaluation__support_size=4))
  every = parts_of(changed(miniature(), evaluation__support_size=4))
  (start, _), (whole, _) = parts.splits, every.splits
  assert start.data.size.tolist() == [40, 40]
  assert whole.data.size.tolist() == [200, 200]
  np.testing.assert_array_equal(start.data.reward, whole.data.reward[:, :40])
  assert parts.train.data.size.tolist() == [200, 200, 200], "the agent is trained on all of it"


def test_some_of_the_training_tasks_are_evenly_spaced(miniature):
  parts = parts_of(changed(miniature(), dataset__train_tasks=2, training__tasks_per_update=2))
  assert parts.train.indices == (0, 2)
  assert parts.splits[0].indices == (3, 4), "tests are the same"


def test_a_part_that_is_too_small_for_supports(miniature):
  part = changed(miniature(), dataset__quality="end", dataset__transitions_per_task=25, evaluation__support_size=41)
  with pytest.raises(ConfigurationError, match=r"config\.evaluation\.support_size = 41: task 3 \(test\) has 40"):
    assemble(examine(part))


@pytest.fixture
def spoilt(data, tmp_path):
  """A copy of the data, for the test to spoil, and the configuration of a run on it."""
  directory = tmp_path / "spoilt"
  shutil.copytree(data, directory)
  return directory, make_config("recorded", directory, tmp_path / "run")


def edit_manifest(directory, edit):
  path = directory / "manifest.json"
  document = json.loads(path.read_text())
  edit(document)
  path.write_text(json.dumps(document | {"digest": document_digest(document)}))


def test_not_a_number_in_the_data(spoilt):
  directory, config = spoilt
  path = directory / "task_01.npz"
  with np.load(path) as archive:
    arrays = dict(archive)
  arrays["reward"][5] = np.nan
  np.savez(path, **arrays)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  edit_manifest(directory, lambda document: document["tasks"][1].update(sha256=digest))
  with pytest.raises(DatasetError, match=r"task_01\.npz: key 'reward': .* row 5"):
    build(config)


def test_tasks_that_are_in_both_splits(spoilt):
  directory, config = spoilt
  edit_manifest(directory, lambda document: document.update(test_tasks=[2, 3]))
  with pytest.raises(ConfigurationError, match="tasks_shared_by_splits"):
    examine(config)
  everything = {"test_tasks": [0, 1, 2], "tasks_shared_by_splits": True}
  edit_manifest(directory, lambda document: document.update(everything))
  parts = parts_of(config)
  assert parts.splits[0].indices == parts.train.indices == (0, 1, 2)
  assert parts.splits[0].data.reward is parts.train.data.reward  # one copy


def test_extrapolation_trains_inside_and_tests_outside(miniature):
  config = changed(miniature(), dataset__split="extrapolation")
  family = envs.make("point_robot")
  manifest = read_manifest(config.dataset.directory)
  tasks = [dataclasses.replace(manifest.tasks[0], parameters={"goal": goal.tolist()}) for goal in family.tasks["goal"]]
  assert task_split(config, dataclasses.replace(manifest, tasks=tuple(tasks)), family) == family.extrapolation
  moved = dataclasses.replace(manifest, tasks=tuple(reversed(tasks)))
  with pytest.raises(ConfigurationError, match=r"config\.dataset\.split.*goal differs"):
    task_split(config, moved, family)
  with pytest.raises(ConfigurationError, match=r"config\.dataset\.split.*it splits 100 tasks, .* has 5"):
    examine(config)


def test_supports_of_other_policies_come_from_the_dataset_beside(spoilt, tmp_path):
  _, config = spoilt
  config = changed(config, evaluation__support="other_policies")
  with pytest.raises(ConfigurationError, match=r"config\.evaluation\.support.*no dataset at .*spoilt_other_policies"):
    examine(config)
  beside = tmp_path / "spoilt_other_policies"
  write_point_robot(beside, num_episodes=3)
  parts = parts_of(config)
  assert [split.indices for split in parts.splits] == [(3, 4), (0, 2)]
  assert {int(split.data.size.max()) for split in parts.splits} == {60}  # three episodes, not ten
  assert parts.train.data.size.max() == 200
  shutil.rmtree(beside)
  write_point_robot(beside, num_episodes=3, family="point_robot_wind")
  with pytest.raises(ConfigurationError, match=r"spoilt_other_policies: expected task 4 of family 'point_robot'"):
    examine(config)


def test_random_episodes_are_the_same_for_all_runs(miniature):
  """Whatever the agent: those of a larger support are more."""
  config = changed(miniature(), evaluation__support="random", evaluation__train_tasks=0)
  small, large = (parts_of(changed(config, evaluation__support_size=size)).splits[0].data for size in (16, 64))
  kept = small.reward.shape[1]
  assert kept < large.reward.shape[1]
  np.testing.assert_array_equal(small.observation, large.observation[:, :kept])
  np.testing.assert_array_equal(small.action, large.action[:, :kept])


def test_data_that_are_not_scaled_are_read_as_recorded(miniature):
  fitted, plain = (build(changed(miniature(), **{"dataset.scaling": scaling})).source for scaling in ("fitted", "none"))
  scales = plain.statistics(None)
  assert np.all(scales.observation_mean == 0.0)
  assert np.all(scales.observation_std == 1.0)
  assert scales.return_scale == 1.0
  assert fitted.mean_square_return == 1.0
  np.testing.assert_allclose(plain.mean_square_return, fitted.statistics(None).return_scale ** 2, rtol=1e-6)
  data = plain.init(None, jax.random.key(0))
  np.testing.assert_allclose(np.mean(np.square(data.mc_return)), plain.mean_square_return, rtol=1e-4)


def test_an_update_may_have_more_tasks_than_there_are_where_they_repeat(miniature):
  values = {"training.tasks_per_update": 7, "training.query_size": None}
  repeated = examine(changed(miniature("recorded"), **values, **{"training.repeated_tasks": True}))
  assert (repeated.tasks_per_update, repeated.query_size) == (7, 512 // 7)
  assert examine(changed(miniature("recorded"), **values)).tasks_per_update == len(repeated.split.train) < 7


def test_a_run_older_than_a_field_has_the_value_that_leaves_it_as_it_was():
  added = {"dataset": {"scaling": "fitted"}, "retrieval": {"enabled": False}}
  old = {"seed": 3, "dataset": {"skip": 2}}
  assert with_added(old, added) == {
    "seed": 3,
    "dataset": {"skip": 2, "scaling": "fitted"},
    "retrieval": {"enabled": False},
  }
  new = {"dataset": {"scaling": "none"}, "retrieval": {"enabled": True}}
  assert with_added(new, added) == new
