"""Episodes of other tasks, rewarded anew: by hand, and against the simulator."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from miniatures import write_point_robot
from walks import bounded, with_border

from macaw_jax import envs
from macaw_jax.data.agreement import recompute_rewards
from macaw_jax.data.dataset import next_observations, read_episodes, take_episodes
from macaw_jax.data.manifest import DatasetError, read_manifest
from macaw_jax.data.relabel import beside_others, other_policies, other_policies_directory, relabel
from macaw_jax.envs.native import NativeSimulator

STARTER = Path(__file__).parents[2] / "starter_data" / "cheetah_dir"


def read(directory):
  manifest = read_manifest(directory)
  return manifest, [read_episodes(directory, manifest, task) for task in range(len(manifest.tasks))]


def test_each_task_gets_episodes_of_the_others_with_its_own_rewards(data):
  manifest, episodes = read(data)
  relabelled, made = other_policies(manifest, episodes, envs.make("point_robot"), 8)
  assert relabelled.behaviour["collected_by"] == manifest.behaviour
  assert "other tasks" in relabelled.behaviour["agent"]
  assert [entry.parameters for entry in relabelled.tasks] == [entry.parameters for entry in manifest.tasks]
  for task, (of_task, entry) in enumerate(zip(made, manifest.tasks, strict=True)):
    assert of_task.episode_length.tolist() == [20] * 8
    distance = np.linalg.norm(next_observations(of_task) - np.array(entry.parameters["goal"]), axis=1)
    np.testing.assert_allclose(of_task.reward, -distance, atol=1e-6)
    # Twice from each of the four others, never from the task itself.
    starts = of_task.observation[::20]
    sources = [index for index, each in enumerate(episodes) for start in each.observation[::20] if start in starts]
    assert sorted(sources) == sorted([index for index in range(5) if index != task] * 2)


def test_episodes_of_the_other_training_tasks_come_behind_a_task_s_own(data):
  manifest, episodes = read(data)
  some = (3, 0, 2)
  own = [episodes[task] for task in some]
  joined = beside_others(manifest, own, envs.make("point_robot"), some, 4)
  for place, task in enumerate(some):
    count = len(own[place].reward)
    np.testing.assert_array_equal(joined[place].reward[:count], own[place].reward)
    assert len(joined[place].episode_length) == len(own[place].episode_length) + 4
    distance = np.linalg.norm(
      next_observations(joined[place]) - np.array(manifest.tasks[task].parameters["goal"]), axis=1
    )
    np.testing.assert_allclose(joined[place].reward, -distance, atol=1e-6)
    others = {tuple(start) for other in some if other != task for start in episodes[other].observation[::20]}
    assert {tuple(start) for start in joined[place].observation[count::20]} <= others


def test_rewards_are_those_of_the_simulator():
  """Episodes of the forward task in the backward one, against native MuJoCo and against the formula."""
  family = envs.make("cheetah_dir")
  _, (forward, _) = read(STARTER)
  some = take_episodes(forward, np.array([0, 50, 99]))
  backward = relabel(some, family, {"direction": np.float32(-1.0)})
  cost = 0.05 * np.sum(some.action**2, axis=1)
  np.testing.assert_allclose(backward.reward, -(some.reward + cost) - cost, atol=2e-3)

  task = {"direction": np.full(len(some.reward), -1.0, np.float32)}
  before = jax.vmap(family.state_of)(task, some.observation)
  simulator = NativeSimulator(family.dynamics)
  after = simulator.step(simulator.models(task), before, some.action)
  simulated = jax.vmap(family.reward)(task, before, some.action, jax.tree.map(np.float32, after))
  np.testing.assert_allclose(backward.reward, simulated, atol=2e-3)
  assert backward.collected_at.tolist() == [0, 200, 400]


def test_an_episode_is_cut_where_the_new_task_ends_it():
  family = with_border(0.2)
  (episodes, *_) = bounded()  # They end beyond 0.3.
  found = relabel(episodes, family, {"goal": np.zeros(2, np.float32)})
  following = next_observations(found)
  outside = np.abs(following).max(axis=1) > 0.2
  stops = np.cumsum(found.episode_length) - 1
  np.testing.assert_array_equal(np.flatnonzero(outside), stops[found.terminal])
  assert found.terminal.mean() > episodes.terminal.mean()
  assert found.episode_length.sum() == len(found.reward) < len(episodes.reward)
  # Where no state ends it, it is as long as it was.
  whole = relabel(episodes, with_border(9.0), {"goal": np.zeros(2, np.float32)})
  assert not whole.terminal.any()
  np.testing.assert_array_equal(whole.episode_length, episodes.episode_length)


def test_the_same_dataset_gives_the_same_episodes(data):
  manifest, episodes = read(data)
  one, other = (other_policies(manifest, episodes, envs.make("point_robot"), 3)[1] for _ in range(2))
  for first, second in zip(one, other, strict=True):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_what_cannot_be_made(data, tmp_path):
  manifest, episodes = read(data)
  family = envs.make("point_robot")

  def refused(match, manifest=manifest, episodes=episodes, family=family, count=4):
    with pytest.raises(DatasetError, match=match):
      other_policies(manifest, episodes, family, count)

  refused(r"^family 'point_robot_wind': its tasks differ in their physics", family=envs.make("point_robot_wind"))
  refused(r"^family 'ant_dir': it has no state_of", family=envs.make("ant_dir"))
  refused(r"two tasks or more", dataclasses.replace(manifest, tasks=manifest.tasks[:1]), episodes[:1])
  refused(r"^task \d: expected 11 episodes or more to give to another task, got 10", count=44)
  louder = [each._replace(reward=3.0 * each.reward) for each in episodes]
  refused(r"^the rewards that family 'point_robot' recomputes are not those of the dataset: off by", episodes=louder)
  other = [dataclasses.replace(entry, parameters={"speed": 1.0}) for entry in manifest.tasks]
  refused(r"task 0 has the parameters", dataclasses.replace(manifest, tasks=tuple(other)))


def test_it_stands_beside_the_dataset():
  assert other_policies_directory("data/mine/") == "data/mine_other_policies"


def test_rewards_of_rows_in_different_tasks():
  family = envs.make("point_robot")
  tasks = {"goal": np.float32([[0.0, 0.0], [3.0, 4.0]])}
  after = np.zeros((2, 2), np.float32)
  found = recompute_rewards(family, tasks, after, after, after)
  np.testing.assert_allclose(found, [0.0, -5.0])


def test_a_written_point_robot_is_recomputed(tmp_path):
  """The rewards of the rollout itself, from observations alone."""
  write_point_robot(tmp_path / "data", num_episodes=2)
  manifest, episodes = read(tmp_path / "data")
  for entry, each in zip(manifest.tasks, episodes, strict=True):
    again = relabel(each, envs.make("point_robot"), {"goal": np.float32(entry.parameters["goal"])})
    np.testing.assert_allclose(again.reward, each.reward, atol=1e-6)
    np.testing.assert_array_equal(again.final_observation, each.final_observation)
