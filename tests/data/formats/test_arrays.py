import jax.numpy as jnp
import numpy as np
import pytest
from format_sources import assert_same, make_episodes, own_order, table

import macaw_jax
from macaw_jax.data.dataset import read_episodes
from macaw_jax.data.manifest import DatasetError, read_manifest

TASKS = [make_episodes((4, 2, 3), task=task, terminal=(1,)) for task in range(3)]
GIVEN = {"family": "small", "train_tasks": (0, 1), "test_tasks": (2,), "discount": 0.9}


def arrays(episodes, **more):
  return table(episodes) | more


def timeouts(episodes):
  rows = np.zeros(len(episodes.reward), bool)
  rows[np.cumsum(episodes.episode_length)[~episodes.terminal] - 1] = True
  return rows


def written(directory, tasks, **changes):
  manifest = macaw_jax.write_dataset(directory, tasks, **(GIVEN | changes))
  assert manifest == read_manifest(directory)
  return manifest, [read_episodes(directory, manifest, task) for task in range(len(tasks))]


@pytest.mark.parametrize("how", ["timeouts", "episode_lengths", "comparison", "jax", "lists"])
def test_own_arrays_become_a_dataset(tmp_path, how):
  tasks = [arrays(episodes, parameters={"speed": 0.5}) for episodes in TASKS]
  for task, episodes in zip(tasks, TASKS, strict=True):
    if how in ("timeouts", "jax", "lists"):
      task["timeouts"] = timeouts(episodes)
    if how == "episode_lengths":
      task["episode_lengths"] = [4, 2, 3]
    if how in ("jax", "lists"):
      parameters = task.pop("parameters")
      task |= {key: jnp.asarray(value) if how == "jax" else value.tolist() for key, value in task.items()}
      task["parameters"] = parameters
  manifest, found = written(tmp_path / "data", tasks)
  assert_same(found, [own_order(episodes) for episodes in TASKS])
  assert (manifest.train_tasks, manifest.test_tasks, manifest.discount, manifest.horizon) == ((0, 1), (2,), 0.9, 4)
  assert [task.parameters for task in manifest.tasks] == [{"speed": 0.5}] * 3
  assert (manifest.behaviour["source"], manifest.behaviour["files"]) == ("arrays", [])


def test_references_horizon_and_seed_are_stored(tmp_path):
  pairs = [{"random": -1.0, "expert": float(task)} for task in range(3)]
  tasks = [arrays(episodes) for episodes in TASKS]
  manifest, _ = written(tmp_path / "data", tasks, reference_returns=pairs, horizon=7, seed=3)
  assert [task.reference_returns for task in manifest.tasks] == pairs
  assert (manifest.horizon, manifest.seed) == (7, 3)


def test_without_next_observations_last_steps_are_dropped(tmp_path):
  tasks = [arrays(episodes, timeouts=timeouts(episodes)) for episodes in TASKS]
  for task in tasks:
    del task["next_observations"]
  manifest, found = written(tmp_path / "data", tasks)
  assert found[0].episode_length.tolist() == [3, 2, 2]
  assert manifest.behaviour["notes"][0].startswith(
    "tasks 0-2: no next observations: dropped the last step of 6 episodes"
  )


def test_a_point_robot_can_be_trained_on(tmp_path, capsys):
  rng = np.random.default_rng(0)
  action, goal = rng.uniform(-1, 1, (20, 2)), np.array([0.5, 0.5])
  observation = np.vstack([np.zeros(2), 0.1 * np.cumsum(action, axis=0)])
  task = {"observations": observation[:-1], "next_observations": observation[1:]}
  task |= {"rewards": -np.linalg.norm(observation[1:] - goal, axis=1)}
  task |= {"actions": 2 * action, "parameters": {"goal": goal}}
  split = {"family": "point_robot", "train_tasks": [0], "test_tasks": [1]}
  written(tmp_path / "data", [task, task], action_bound=2.0, **split)
  said = capsys.readouterr().out.splitlines()
  assert said[1] == "episodes: 2, of 20 to 20 steps, median 20"
  assert said[2].startswith("score 0: the lowest episode return of the task's own data")
  assert macaw_jax.load_data(tmp_path / "data").manifest.horizon == 20
  for changes, message in (
    (
      {"observations": task["observations"][:, :1], "next_observations": observation[1:, :1]},
      r"--family=point_robot: its",
    ),
    ({"episode_lengths": [21]}, "expected the 20 rows that there are, got 21"),
  ):
    with pytest.raises(DatasetError, match=message):
      macaw_jax.write_dataset(tmp_path / "b", [task | changes] * 2, discount=0.9, action_bound=2.0, **split)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"obs": np.zeros((9, 3))}, r"task 1: key 'obs' is unknown; expected some of \['observations', 'actions', 'rew"),
    ({"rewards": None}, "task 1: key 'rewards': expected numbers of at most 64 bits"),
    ({"rewards": np.zeros(8)}, r"task 1: key 'rewards': expected shape \[9\] or \[9, 1\], got \(8,\)"),
    ({"terminals": np.full(9, 2)}, "task 1: key 'terminals': expected booleans"),
    ({"actions": np.full((9, 2), 3.0)}, r"task 1: key 'actions': expected actions in \[-1, 1\] .*--action_bound"),
    ({"parameters": {"speed": "fast"}}, "task 1: key 'speed': expected a finite number"),
    ({"episode_lengths": [4, 2, 3]}, "episode_lengths: expected those of all 3 tasks, got those of 1"),
    (
      {"observations": np.zeros((9, 5)), "next_observations": np.zeros((9, 5))},
      r"task 1: expected \(observation, action\)",
    ),
  ],
)
def test_arrays_that_cannot_be_used_are_named(tmp_path, change, message):
  tasks = [arrays(episodes) for episodes in TASKS]
  tasks[1] |= change
  with pytest.raises(DatasetError, match=message):
    macaw_jax.write_dataset(tmp_path / "data", tasks, **GIVEN)
  assert not (tmp_path / "data").exists()


def test_missing_keys_tasks_and_other_lengths_are_errors(tmp_path):
  tasks = [arrays(episodes) for episodes in TASKS]
  del tasks[0]["actions"]
  with pytest.raises(DatasetError, match="task 0: key 'actions' is missing; found "):
    macaw_jax.write_dataset(tmp_path / "data", tasks, **GIVEN)
  with pytest.raises(DatasetError, match="tasks: expected at least one, got none"):
    macaw_jax.write_dataset(tmp_path / "data", [], **GIVEN)
  with pytest.raises(DatasetError, match="task 0: key 'episode_lengths': expected a list of whole numbers"):
    macaw_jax.write_dataset(tmp_path / "data", [arrays(TASKS[0], episode_lengths=4.5)], **GIVEN)
