"""Parameters, splits and lengths from files of any common kind."""

import contextlib
import json
import pickle

import numpy as np
import pytest

from macaw_jax.data.formats import ReadOptions, values
from macaw_jax.data.formats.integers import read_episode_lengths, read_task_indices
from macaw_jax.data.formats.parameters import as_the_family_names_them, read_task_parameters
from macaw_jax.data.formats.values import read_values
from macaw_jax.data.manifest import DatasetError

GOALS = [[0.5, 1.0], [-1.0, 2.0], [0.0, 3.0]]
EXPECTED = [{"goal": goal} for goal in GOALS]
POINT = {"goal": (2,)}
VELOCITY = {"velocity": ()}


def write(path, content):
  """The content in the kind of file that the name says."""
  match path.suffix:
    case ".json":
      path.write_text(json.dumps(content))
    case ".pkl" | ".pickle":
      path.write_bytes(pickle.dumps(content))
    case ".npy":
      np.save(path, content, allow_pickle=True)
    case ".npz":
      np.savez(path, **content)
    case ".csv":
      path.write_text(content)
  return path


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("list.json", EXPECTED),
    ("list.pkl", [{"goal": np.array(goal)} for goal in GOALS]),
    ("list.npy", np.array(EXPECTED)),
    ("columns.json", {"goal": GOALS}),
    ("columns.pickle", {"goal": np.array(GOALS)}),
    ("columns.npz", {"goal": np.array(GOALS)}),
    ("columns.npy", np.array({"goal": np.array(GOALS)})),
    ("named.csv", "goal_0,goal_1\n0.5,1\n-1,2\n0,3\n"),
    ("tasks.json", {"task 2": EXPECTED[2], "task 10": {"goal": [9.0, 9.0]}, "task 0": EXPECTED[0]}),
    ("array.npy", np.array(GOALS)),
    ("array.json", GOALS),
    ("array.csv", "0.5, 1\n-1, 2\n0, 3\n"),
    ("array.pkl", np.array(GOALS, np.float32)),
  ],
)
def test_every_kind_of_file_gives_the_parameters(tmp_path, name, content):
  options = ReadOptions(family_parameters=POINT)
  found, files = read_task_parameters(write(tmp_path / name, content), 3, options)
  in_order = [EXPECTED[0], EXPECTED[2], {"goal": [9.0, 9.0]}] if name == "tasks.json" else EXPECTED
  assert found == in_order
  assert files == [tmp_path / name]


def test_an_array_without_a_name_gets_that_of_the_flag_or_of_the_family(tmp_path):
  path = write(tmp_path / "array.npy", np.array([1.0, 2.0]))
  assert read_task_parameters(path, 2, ReadOptions(parameter=("speed",)))[0] == [{"speed": 1.0}, {"speed": 2.0}]
  assert read_task_parameters(path, 2, ReadOptions(family_parameters=VELOCITY))[0][1] == {"velocity": 2.0}
  needs = r"; the family needs 'goal' \(shape \[2\]\)"
  for options, needed in ((ReadOptions(), ""), (ReadOptions(family_parameters=POINT), needs)):
    with pytest.raises(DatasetError, match=rf"array\.npy: .* an array without; --parameter=<name> names it{needed}"):
      read_task_parameters(path, 2, options)


def test_names_that_are_asked_for_are_kept_and_others_not(tmp_path):
  tasks = [{"goal": [1.0], "return_scale": [0, 9]}, {"goal": [2.0], "return_scale": [1, 5]}]
  path = write(tmp_path / "info.json", tasks)
  options = ReadOptions(parameter=("goal",), family_parameters=VELOCITY)
  found, _ = read_task_parameters(path, 2, options)
  assert found == [{"goal": [1.0]}, {"goal": [2.0]}]
  named, notes = as_the_family_names_them(found, options)
  assert named == [{"velocity": 1.0}, {"velocity": 2.0}]
  assert [note.text for note in notes] == ["the task parameter 'goal' is stored under the family's name, 'velocity'"]
  with pytest.raises(DatasetError, match=r"info\.json: --parameter: 'speed' is not there; found \['goal', 're"):
    read_task_parameters(path, 2, ReadOptions(parameter=("speed",)))


def test_parameters_of_another_shape_keep_their_names():
  tasks = [{"angle": [1.0, 2.0]}, {"angle": [3.0, 4.0]}]
  assert as_the_family_names_them(tasks, ReadOptions(family_parameters=VELOCITY)) == (tasks, [])
  assert as_the_family_names_them([{}, {}], ReadOptions(family_parameters=VELOCITY)) == ([{}, {}], [])
  assert as_the_family_names_them(tasks, ReadOptions()) == (tasks, [])


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a.json", {"goal": GOALS, "speed": [1.0]}, "expected one number of tasks under all names, got {'goal': 3, 'spe"),
    ("a.json", {"goal": 1.0}, "expected a list or array under each name, with an entry for each task"),
    ("a.json", "fast", "expected a list of dicts, a dict of lists, or an array .*, got str; the family needs 'goal'"),
    ("a.json", GOALS[:2], "expected parameters of 3 tasks, got 2"),
    ("a.csv", "goal\n1\n2,3\n", "expected a name of its own for each column, and a number under each"),
    ("a.csv", "1\nfast\n", "expected comma-separated numbers, got ValueError"),
    ("a.txt", None, r"expected a file that ends in \.json, \.csv"),
  ],
)
def test_other_content_is_an_error_that_names_the_file(tmp_path, name, content, message):
  path = tmp_path / name
  path.write_bytes(b"")
  with pytest.raises(DatasetError, match=rf"{name}: {message}"):
    read_task_parameters(write(path, content), 3, ReadOptions(family_parameters=POINT))


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.npy", "a.npz", "a.pkl"])
def test_damaged_files_are_errors(tmp_path, name):
  contents = {".csv": "goal_0,goal_1\n0.5,1\n", ".npz": {"goal": np.array(GOALS)}}
  path = write(tmp_path / name, contents.get(f".{name[2:]}", GOALS))
  whole = path.read_bytes()
  rng = np.random.default_rng(0)
  for _ in range(60):
    damaged = bytearray(whole)
    damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(damaged[: rng.integers(1, len(damaged) + 1)]))
    with contextlib.suppress(DatasetError):  # and nothing else
      read_values(path)
  with pytest.raises(DatasetError, match="cannot be read"):
    read_values(tmp_path / "nowhere.json")


def test_an_archive_that_grows_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(values, "_MAX_BYTES", 10_000)
  np.savez_compressed(tmp_path / "a.npz", goal=np.zeros(1_000))
  assert len(read_values(tmp_path / "a.npz")["goal"]) == 1_000
  np.savez_compressed(tmp_path / "a.npz", goal=np.zeros(10_000))
  with pytest.raises(DatasetError, match=r"a\.npz: expected arrays of at most 10,000 bytes"):
    read_values(tmp_path / "a.npz")


def test_a_pickle_of_anything_else_is_refused(tmp_path):
  path = tmp_path / "tasks.pkl"
  path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
  with pytest.raises(DatasetError, match=r"tasks\.pkl: expected a pickle of arrays and plain containers"):
    read_task_parameters(path, 1, ReadOptions())


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("a.json", [0, 2, 5]),
    ("a.json", {"train_tasks": [0, 2, 5], "test_tasks": [1]}),
    ("a.csv", "0,2,5\n"),
    ("a.csv", "0\n2\n5\n"),
    ("a.npy", np.array([0, 2, 5])),
    ("a.npz", {"train_tasks": np.array([0, 2, 5])}),
    ("a.pkl", [0, 2, 5]),
  ],
)
def test_splits_come_from_files(tmp_path, name, content):
  assert read_task_indices(write(tmp_path / name, content), "train_tasks") == (0, 2, 5)


@pytest.mark.parametrize("content", [[], [-1], [0.5], ["a"], {"tests": [0]}, 3])
def test_other_splits_are_an_error(tmp_path, content):
  with pytest.raises(DatasetError, match=r"a\.json: (expected a list of task indices|key 'train_tasks' is missing)"):
    read_task_indices(write(tmp_path / "a.json", content), "train_tasks")


@pytest.mark.parametrize(
  ("name", "content", "expected"),
  [
    ("a.json", [20, 20, 7], [[20, 20, 7]]),
    ("a.json", [[20, 20], [7]], [[20, 20], [7]]),
    ("a.json", {"task_10": [7], "task_2": [20, 20]}, [[20, 20], [7]]),
    ("a.csv", "20,20\n7\n", [[20, 20], [7]]),
    ("a.csv", "20\n20\n7\n", [[20, 20, 7]]),
    ("a.npy", np.array([[20, 20], [7, 3]]), [[20, 20], [7, 3]]),
    ("a.npz", {"0": np.array([20, 20]), "1": np.array([7])}, [[20, 20], [7]]),
  ],
)
def test_lengths_come_from_files(tmp_path, name, content, expected):
  assert read_episode_lengths(write(tmp_path / name, content)) == expected


@pytest.mark.parametrize("content", [[], [0], [[1], []], [[1], [1.5]], "a", {}])
def test_other_lengths_are_an_error(tmp_path, content):
  with pytest.raises(DatasetError, match=r"a\.json: expected lengths of episodes from 1 on"):
    read_episode_lengths(write(tmp_path / "a.json", content))
