"""Data that are of a family, and data that are not in one respect each."""

import dataclasses

import numpy as np
import pytest
from miniatures import write_point_robot
from walks import FAMILY, NUM_TASKS, bounded, walk, walks, with_border

from macaw_jax import envs
from macaw_jax.data.agreement import compare_with_family
from macaw_jax.data.dataset import read_episodes
from macaw_jax.data.episodes import join_episodes
from macaw_jax.data.manifest import read_manifest

NAMES = ["longest episode", "time limit", "ends", "starts", "rewards", "steps"]

NO_STATE = "the family has no state_of, the state that an observation shows"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
  """The data of the first tasks of the point robot."""
  written = write_point_robot(tmp_path_factory.mktemp("agreement") / "data", num_episodes=1)
  return dataclasses.replace(written, tasks=written.tasks[:NUM_TASKS], train_tasks=(0, 1), test_tasks=(2,))


def verdicts(manifest, episodes, family=FAMILY):
  checks = compare_with_family(manifest, episodes, family)
  assert [check.name for check in checks] == NAMES
  return {check.name: check for check in checks}


def contradicted(manifest, episodes, family=FAMILY):
  return [check.name for check in verdicts(manifest, episodes, family).values() if check.verdict == "contradicts"]


def test_episodes_of_the_family_agree_in_everything(manifest):
  found = verdicts(manifest, walks())
  assert {check.verdict for check in found.values()} == {"agrees"}
  assert found["longest episode"].found == "20 steps"
  assert found["starts"].found == "0 of 90 elsewhere"


def test_data_that_were_collected_agree(data):
  manifest = read_manifest(data)
  found = verdicts(manifest, [read_episodes(data, manifest, task) for task in range(5)])
  assert {check.verdict for check in found.values()} == {"agrees"}


@pytest.mark.parametrize("length", [39, 600])
def test_episodes_beyond_the_horizon(manifest, length):
  found = verdicts(manifest, walks(num_episodes=12, length=length))
  assert found["longest episode"] == ("longest episode", "at most 20 steps", f"{length} steps", "contradicts")


def test_a_terminal_at_every_time_limit(manifest):
  found = verdicts(manifest, walks(terminal=True))
  assert [name for name, check in found.items() if check.verdict == "contradicts"] == ["ends"]
  assert found["ends"].found == "90 of 90 episodes end in a terminal"


def test_starts_at_one_point_where_the_family_starts_anywhere(manifest):
  found = verdicts(manifest, walks(start=(0.0, 0.0)))
  assert [name for name, check in found.items() if check.verdict == "contradicts"] == ["starts"]
  assert "hardly any variation in entry 0: 0, the family's -" in found["starts"].found


def test_starts_anywhere_where_the_family_starts_at_one_point(manifest):
  sparse = envs.make("point_robot_sparse")
  checks = verdicts(manifest, walks(), sparse._replace(reward=FAMILY.reward))
  assert [name for name, check in checks.items() if check.verdict == "contradicts"] == ["starts"]
  assert "outside in entry" in checks["starts"].found


def test_starts_beyond_those_of_the_family(manifest):
  assert contradicted(manifest, walks(start=(1.7, 0.0))) == ["starts"]


def test_other_rewards(manifest):
  assert contradicted(manifest, walks(scale=2.0)) == ["rewards"]


def test_tasks_in_another_order_are_found_by_the_worst(manifest):
  goals = FAMILY.tasks["goal"][[0, 2, 1]]
  found = verdicts(manifest, walks(goals=goals))["rewards"]
  assert found.verdict == "contradicts"
  assert found.found.endswith(("in the worst task (1)", "in the worst task (2)"))


def test_one_wrong_task_is_found_among_right_ones(manifest):
  goals = FAMILY.tasks["goal"][:NUM_TASKS] + np.float32([[0.0, 0.0], [0.15, 0.15], [0.0, 0.0]])
  found = verdicts(manifest, walks(goals=goals))["rewards"]
  assert found.verdict == "contradicts"
  assert found.found.endswith("in the worst task (1)")


def test_sparse_rewards_that_the_family_would_have_given(manifest):
  """Data without any reward, in tasks whose goals the episodes reach."""
  sparse = envs.make("point_robot_sparse")
  episodes = [each._replace(reward=np.zeros_like(each.reward)) for each in walks(start=(0.0, 0.0))]
  near = [dataclasses.replace(entry, parameters={"goal": [0.1, 0.1]}) for entry in manifest.tasks]
  assert contradicted(dataclasses.replace(manifest, tasks=tuple(near)), episodes, sparse) == ["rewards"]
  far = [dataclasses.replace(entry, parameters={"goal": [9.0, 9.0]}) for entry in manifest.tasks]
  assert contradicted(dataclasses.replace(manifest, tasks=tuple(far)), episodes, sparse) == []


def test_other_physics(manifest):
  assert contradicted(manifest, walks(move=0.05)) == ["steps"]


def test_episodes_that_stop_short(manifest):
  assert contradicted(manifest, walks(length=12)) == ["time limit"]
  # One step fewer: an import dropped the last one, whose end was not known.
  assert contradicted(manifest, walks(length=19)) == []


def test_the_last_episode_of_a_task_may_be_cut(manifest):
  episodes = [join_episodes([whole, walk(goal, length=3)]) for whole, goal in zip(walks(), [(0, 0)] * 3, strict=True)]
  assert "time limit" not in contradicted(manifest, episodes)


def test_ends_where_the_family_ends(manifest):
  episodes = bounded()
  assert 0.2 < np.mean([each.terminal.mean() for each in episodes]) < 0.95
  assert contradicted(manifest, episodes, with_border()) == []


def test_ends_elsewhere_and_steps_beyond_an_end(manifest):
  found = verdicts(manifest, bounded(), with_border(0.2))["ends"]
  assert found.verdict == "contradicts"
  assert not found.found.startswith("0 of ")
  assert "0 of" not in found.found.partition("otherwise, ")[2][:4]
  never_marked = [each._replace(terminal=np.zeros_like(each.terminal)) for each in bounded()]
  assert "ends" in contradicted(manifest, never_marked, with_border())


def test_ends_that_a_file_lacks_are_left_out(manifest):
  """Where the last observation stands in for the final one, neither the end nor the last step can be judged."""
  episodes = []
  for each in bounded():
    stops = np.cumsum(each.episode_length) - 1
    stand_in = np.where(each.terminal[:, None], each.observation[stops], each.final_observation)
    episodes.append(each._replace(final_observation=stand_in))
  assert contradicted(manifest, episodes, with_border()) == []


def test_a_terminal_at_every_time_limit_is_found_without_states_too(manifest):
  unseen = FAMILY._replace(state_of=None, terminal=lambda task, state: False)
  ended = [each._replace(terminal=np.ones_like(each.terminal)) for each in walks()]
  check = verdicts(manifest, ended, unseen)["ends"]
  assert check.verdict == "contradicts"
  assert check.found.endswith("episodes end in a terminal, just at the time limit")
  fallen = [each._replace(terminal=np.ones_like(each.terminal)) for each in walks(length=12)]
  assert "ends" not in contradicted(manifest, fallen, unseen)


def test_what_cannot_be_checked_says_why(manifest):
  unseen = FAMILY._replace(state_of=None, terminal=lambda task, state: False)
  found = verdicts(manifest, walks(), unseen)
  reasons = {name: check.found for name, check in found.items() if check.verdict == "not checked"}
  assert reasons == dict.fromkeys(("ends", "rewards", "steps"), NO_STATE)
  nameless = dataclasses.replace(
    manifest, tasks=tuple(dataclasses.replace(entry, parameters={}) for entry in manifest.tasks)
  )
  found = verdicts(nameless, walks(terminal=True, length=39))
  assert [name for name, check in found.items() if check.verdict == "contradicts"] == ["longest episode", "ends"]
  assert found["starts"].found == "the parameters of the tasks are not those of the family"
  mujoco = envs.make("cheetah_dir").dynamics
  found = verdicts(manifest, walks(), FAMILY._replace(dynamics=mujoco))
  assert [name for name, check in found.items() if check.verdict == "not checked"] == ["starts", "steps"]
