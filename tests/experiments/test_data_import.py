"""Imports by the command: published layouts as their repositories write them, and what is said of the result."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from miniatures import write_point_robot

from experiments import data as commands
from macaw_jax import envs
from macaw_jax.data.dataset import next_observations, read_episodes, take_episodes
from macaw_jax.data.formats import FORMATS
from macaw_jax.data.manifest import DatasetError, read_manifest
from macaw_jax.data.starter import starter_data
from macaw_jax.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
SHARED = ["--family=point_robot", "--train_tasks=0-2", "--test_tasks=3,4", "--discount=0.99"]


def convert(*arguments):
  commands.main(commands.parser().read(["convert", *map(str, arguments)]))


def walks(family, tasks, episodes, steps, start=None):
  """Episodes of a point that goes to a goal and makes mistakes, as lists of rows (s, a, r, s', done) of each task."""
  rng = np.random.default_rng(0)
  goals = np.asarray(envs.make(family).tasks["goal"])[:tasks]
  everything = []
  for goal in goals:
    rows = []
    for _ in range(episodes):
      state = rng.uniform(-1, 1, 2) if start is None else start
      for _ in range(steps):
        action = np.clip(10 * (goal - state) + rng.normal(size=2), -1, 1)
        following = state + 0.1 * action
        distance = np.linalg.norm(following - goal)
        reward = -distance if family != "point_robot_sparse" else 1 - distance if distance <= 0.2 else 0.0
        rows.append((state, action, reward, following))
        state = following
    everything.append(rows)
  return goals, everything


def test_what_meta_dt_publishes_is_imported_by_one_command(tmp_path, capsys):
  # A pickle for each task with rows as they went into its buffer, no end marked; goals and prompts lie beside.
  folder = tmp_path / "datasets/PointRobot-v0/medium"
  folder.mkdir(parents=True)
  goals, everything = walks("point_robot_origin", 5, 4, 20, start=np.zeros(2))
  for index, rows in enumerate(everything):
    states, actions, rewards, following = (np.stack(column) for column in zip(*rows, strict=True))
    never = np.zeros(len(rewards), bool)
    buffer = {"observations": states, "actions": 0.1 * actions, "rewards": rewards, "next_observations": following}
    content = buffer | {"terminals": never, "masks": ~never}
    (folder / f"dataset_task_{index}.pkl").write_bytes(pickle.dumps(content))
    prompt = [{name: values[:20] for name, values in buffer.items()}]
    (folder / f"dataset_task_prompt{index}.pkl").write_bytes(pickle.dumps(prompt))
  np.save(folder / "task_goals.npy", goals.astype(np.float64))
  (folder / "task_info.json").write_text(json.dumps({f"task {index}": {"goal": [0, 0]} for index in range(5)}))
  convert(
    *("--source", folder / "dataset_task_[0-9]*.pkl", "--from=pickle", f"--to={tmp_path / 'data'}"),
    *(f"--tasks_file={folder / 'task_goals.npy'}", "--action_bound=0.1"),
    *("--family=point_robot_origin", *SHARED[1:]),
  )
  said = capsys.readouterr().out
  assert "wrote" in said
  assert "episodes: 20, of 20 to 20 steps, median 20\n" in said
  assert "nothing can be trained" not in said
  manifest = read_manifest(tmp_path / "data")
  for index, rows in enumerate(everything):
    np.testing.assert_allclose(manifest.tasks[index].parameters["goal"], goals[index])
    episodes = read_episodes(tmp_path / "data", manifest, index)
    np.testing.assert_array_equal(episodes.episode_length, [20] * 4)
    np.testing.assert_allclose(episodes.action, np.stack([row[1] for row in rows]), rtol=1e-6)
    np.testing.assert_allclose(next_observations(episodes), np.stack([row[3] for row in rows]), rtol=1e-6)


def test_keys_and_parameters_of_its_other_tasks_are_known(tmp_path, capsys):
  # `states` for observations in some files; a list of dicts with a name that is not the family's.
  goals, everything = walks("point_robot", 2, 2, 20)
  for index, rows in enumerate(everything):
    states, actions, rewards, following = (np.stack(column) for column in zip(*rows, strict=True))
    content = {"states": states, "actions": actions, "rewards": rewards, "next_states": following}
    content |= {"dones": np.arange(40) == 19, "masks": np.ones(40, bool)}
    (tmp_path / f"dataset_task_{index}.pkl").write_bytes(pickle.dumps(content))
  targets = tmp_path / "task_goals.pkl"
  targets.write_bytes(pickle.dumps([{"target": goal} for goal in goals]))
  convert(
    *("--source", tmp_path, "--from=pickle", f"--to={tmp_path / 'data'}", f"--tasks_file={targets}"),
    *("--family=point_robot", "--train_tasks=0", "--test_tasks=1", "--discount=0.99"),
  )
  manifest = read_manifest(tmp_path / "data")
  assert [dict(task.parameters) for task in manifest.tasks] == [{"goal": goal.tolist()} for goal in goals]
  assert "note: the task parameter 'target' is stored under the family's name" in capsys.readouterr().out
  episodes = read_episodes(tmp_path / "data", manifest, 0)
  assert episodes.episode_length.tolist() == [20, 20]
  assert episodes.terminal.tolist() == [False, False]


def test_what_macaw_publishes_is_imported_by_one_command(tmp_path, capsys):
  pytest.importorskip("h5py")
  directory = starter_data("cheetah_dir")
  manifest = read_manifest(directory)
  tasks = [take_episodes(read_episodes(directory, manifest, task), np.arange(3)) for task in range(2)]
  write = FORMATS["macaw_hdf5"].write
  assert write is not None
  write(tmp_path / "written", tasks, manifest)
  folder = tmp_path / "macaw_offline_data/cheetah_dir"
  folder.mkdir(parents=True)
  for index in range(2):
    (tmp_path / f"written/task_0{index}.hdf5").rename(folder / f"buffers_cheetah_dir_train_{index}_sub_task_0.hdf5")
    (folder / f"env_cheetah_dir_train_task{index}.pkl").write_bytes(pickle.dumps([{"direction": (1, -1)[index]}]))
  config = tmp_path / "2tasks_offline.json"
  config.write_text(json.dumps({"env": "cheetah_dir", "total_tasks": 2, "train_tasks": [0, 1], "test_tasks": [0, 1]}))
  convert(
    *("--source", folder, "--from=macaw_hdf5", f"--tasks_file={folder}", f"--to={tmp_path / 'data'}"),
    *("--family=cheetah_dir", f"--train_tasks={config}", f"--test_tasks={config}"),
  )
  found = read_manifest(tmp_path / "data")
  assert (found.train_tasks, found.test_tasks, found.discount) == ((0, 1), (0, 1), 0.99)
  assert [dict(task.parameters) for task in found.tasks] == [{"direction": 1}, {"direction": -1}]
  for index, expected in enumerate(tasks):
    np.testing.assert_array_equal(read_episodes(tmp_path / "data", found, index).observation, expected.observation)
  assert "episodes: 6, of 200 to 200 steps, median 200\n" in capsys.readouterr().out


def test_what_focal_publishes_is_imported_by_one_command(tmp_path, capsys):
  # A folder for each goal, a file for each episode. The first state was never stepped: it is of whole numbers.
  goals, everything = walks("point_robot_sparse", 5, 3, 20, start=np.array([0, 0]))
  for index, rows in enumerate(everything):
    folder = tmp_path / f"data/goal_idx{index}"
    folder.mkdir(parents=True)
    (folder / "agent_step4800.pt").write_bytes(b"weights")
    for episode in range(3):
      trajectory = np.empty((20, 4), object)
      for step, row in enumerate(rows[20 * episode : 20 * episode + 20]):
        for column, value in enumerate(row):
          trajectory[step, column] = value
      assert trajectory[0, 0].dtype == np.int64
      np.save(folder / f"trj_evalsample{episode}_step4800.npy", trajectory)
  np.savez(tmp_path / "data/normalizer.npz", abs_max=np.ones(2))
  np.save(tmp_path / "goals.npy", goals)
  convert(
    *("--source", tmp_path / "data", "--from=epoch_npy", f"--tasks_file={tmp_path / 'goals.npy'}"),
    *(f"--to={tmp_path / 'imported'}", "--family=point_robot_sparse", *SHARED[1:]),
  )
  manifest = read_manifest(tmp_path / "imported")
  for index, rows in enumerate(everything):
    np.testing.assert_allclose(manifest.tasks[index].parameters["goal"], goals[index])
    episodes = read_episodes(tmp_path / "imported", manifest, index)
    np.testing.assert_array_equal(episodes.episode_length, [20] * 3)
    np.testing.assert_allclose(episodes.observation, np.stack([row[0] for row in rows]), rtol=1e-6)
  assert "nothing can be trained" not in capsys.readouterr().out


@pytest.fixture
def pickles(tmp_path):
  """Tasks of the point robot as pickles without any mark."""
  directory = tmp_path / "point_robot"
  manifest = write_point_robot(directory, num_episodes=4)
  (tmp_path / "source").mkdir()
  for task in range(5):
    episodes = read_episodes(directory, manifest, task)
    content = {"observations": episodes.observation, "actions": episodes.action, "rewards": episodes.reward}
    content |= {"next_observations": next_observations(episodes), "terminals": np.zeros(len(episodes.reward), bool)}
    (tmp_path / f"source/task_{task}.pkl").write_bytes(pickle.dumps(content))
  (tmp_path / "goals.csv").write_text("\n".join("{},{}".format(*task.parameters["goal"]) for task in manifest.tasks))
  return tmp_path


def imported(folder, *arguments, to="imported"):
  convert("--source", folder / "source", "--from=pickle", f"--to={folder / to}", *SHARED, *arguments)
  return read_manifest(folder / to)


def test_an_import_of_real_data_gives_them_back(pickles):
  manifest, found = read_manifest(pickles / "point_robot"), imported(pickles, f"--tasks_file={pickles / 'goals.csv'}")
  assert found.horizon == 20
  assert [dict(task.parameters) for task in found.tasks] == [dict(task.parameters) for task in manifest.tasks]
  for task in range(5):
    for name in ("observation", "action", "reward", "episode_length", "final_observation", "terminal"):
      expected = getattr(read_episodes(pickles / "point_robot", manifest, task), name)
      np.testing.assert_array_equal(getattr(read_episodes(pickles / "imported", found, task), name), expected)


def test_episodes_longer_than_those_of_the_family_are_refused(pickles):
  for path in (pickles / "source").glob("*.pkl"):
    content = pickle.loads(path.read_bytes())
    content["observations"] = np.cumsum(np.full((80, 2), 0.01, np.float32), axis=0)
    content["next_observations"] = content["observations"] + np.float32(0.01)
    path.write_bytes(pickle.dumps(content))
  with pytest.raises(
    DatasetError, match=r"task_0\.pkl: expected episodes of at most 20 steps \(horizon\), got 80 in .*--e"
  ):
    imported(pickles)
  assert not (pickles / "imported").exists()
  with pytest.raises(DatasetError, match="--horizon=80: expected at most 20, the steps of an episode of"):
    imported(pickles, "--horizon=80")
  assert not (pickles / "imported").exists()
  own = ("--family=walks", "--train_tasks=0-2", "--test_tasks=3,4", "--discount=0.99")
  for flags, to, episodes in ((["--horizon=80"], "long", 1), (["--episode_lengths=20", "--autoreset=none"], "cut", 4)):
    convert("--source", pickles / "source", "--from=pickle", f"--to={pickles / to}", *own, *flags)
    assert read_manifest(pickles / to).tasks[0].num_episodes == episodes


def test_lengths_of_episodes_come_from_a_file_that_is_no_task(pickles):
  lengths = pickles / "source/lengths.pkl"
  lengths.write_bytes(pickle.dumps([20, 20, 20, 20]))
  assert imported(pickles, f"--episode_lengths={lengths}").tasks[0].num_episodes == 4


def test_splits_come_from_files_too(pickles):
  (pickles / "source/split.pkl").write_bytes(pickle.dumps({"train_tasks": [4, 0], "test_tasks": [2]}))
  split = pickles / "source/split.pkl"
  convert(
    *("--source", pickles / "source", "--from=pickle", f"--to={pickles / 'imported'}", "--family=point_robot"),
    *("--discount=0.99", f"--train_tasks={split}", f"--test_tasks={split}"),
  )
  found = read_manifest(pickles / "imported")
  assert (found.train_tasks, found.test_tasks) == ((4, 0), (2,))


def test_a_missing_discount_names_the_flag(pickles):
  with pytest.raises(DatasetError, match="the source states no discount; expected --discount=<discount>"):
    convert("--source", pickles / "source", "--from=pickle", f"--to={pickles / 'a'}", *SHARED[:-1])


def test_paths_follow_the_flag_and_commas_belong_to_them(pickles):
  paths = [pickles / f"source/task_{task}.pkl" for task in (3, 1)]
  paths[1] = paths[1].rename(pickles / "source/one,1.pkl")
  arguments = ("--family=point_robot", "--train_tasks=0", "--test_tasks=1", "--discount=0.99")
  convert("--source", *paths, "--from=pickle", f"--to={pickles / 'two'}", *arguments)
  files = [entry["file"] for entry in read_manifest(pickles / "two").behaviour["files"]]
  assert files == ["task_3.pkl", "one,1.pkl"]


def test_the_documented_commands_are_those_of_the_parser():
  text = (ROOT / "docs/data.md").read_text()
  named = set(re.findall(r"--(\w+)", text[text.index("### convert") :]))
  parser = commands.parser()
  (choices,) = (action.choices for action in parser._actions if action.dest == "command")
  known = {option[2:] for action in choices["convert"]._actions for option in action.option_strings}
  assert named <= known | {"config"}
  assert set(commands.IMPORT_FLAGS) <= named


def test_a_flag_that_is_given_twice_is_an_error():
  with pytest.raises(ConfigurationError, match="--source is there 2 times: a, b"):
    convert("--source=a", "--source=b", "--to=c", "--from=pickle")
