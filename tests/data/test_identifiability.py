import jax
import numpy as np
import pytest
from small_dataset import make_episodes

from macaw_jax.data.dataset import Episodes
from macaw_jax.data.identifiability import measure_identifiability

NUM_EPISODES, LENGTH = 40, 25


def episodes(rng, reward, shift=0.0):
  """Episodes of random states and actions; `shift` moves the actions, `reward` is a function of states [N, 2]."""
  num_rows = NUM_EPISODES * LENGTH
  observation = rng.normal(size=(num_rows, 2)).astype(np.float32)
  return Episodes(
    observation=observation,
    action=np.clip(0.3 * rng.normal(size=(num_rows, 1)) + shift, -1, 1).astype(np.float32),
    reward=reward(observation).astype(np.float32),
    episode_length=np.full(NUM_EPISODES, LENGTH, np.int32),
    final_observation=rng.normal(size=(NUM_EPISODES, 2)).astype(np.float32),
    terminal=np.zeros(NUM_EPISODES, bool),
    collected_at=np.arange(NUM_EPISODES, dtype=np.int64),
  )


def position(observation):
  return observation[:, 0] + np.sign(observation[:, 0])  # at least one away from zero


@pytest.fixture(scope="module")
def opposite():
  """Two tasks whose rewards have opposite signs, and what the probes make of them."""
  rng = np.random.default_rng(1)
  tasks = [episodes(rng, lambda state, sign=sign: sign * position(state)) for sign in (1, -1)]
  return tasks, measure_identifiability(tasks, np.array([[1.0], [-1.0]]))


def test_tasks_that_are_the_same_are_told_at_chance():
  rng = np.random.default_rng(0)
  result = measure_identifiability([episodes(rng, position) for _ in range(4)], np.arange(4.0)[:, None])
  assert result.num_transitions == (1, 4, 16, 64, 256)
  for recognition in (result.everything, result.behaviour):
    # A task of four is guessed, or it is not: over four tasks one run lies within a quarter of chance.
    assert np.all(np.abs(recognition.accuracy[:2] - 0.25) < 0.06)
    assert np.all(recognition.rank[:2] > 2.3)
  np.testing.assert_array_equal(result.chance.accuracy, 0.25)
  np.testing.assert_array_equal(result.chance.rank, 2.5)
  np.testing.assert_array_equal(result.chance.distance, 1.25)  # 0, 1, 2, 3 and back: 20 / 16


def test_rewards_of_another_sign_tell_tasks_at_once_and_behaviour_never(opposite):
  _, result = opposite
  assert np.all(result.everything.accuracy > 0.98)
  assert np.all(result.everything.rank < 1.02)
  assert np.all(result.everything.distance < 0.04)
  assert abs(result.behaviour.accuracy[0] - 0.5) < 0.05
  assert abs(result.behaviour.distance[0] - 1.0) < 0.1


def test_policies_that_differ_are_told_by_behaviour_although_the_tasks_are_the_same():
  rng = np.random.default_rng(2)
  tasks = [episodes(rng, position, shift) for shift in (-0.2, 0.2)]
  result = measure_identifiability(tasks, np.array([[0.0], [1.0]]))
  for recognition in (result.everything, result.behaviour):
    assert 0.6 < recognition.accuracy[0] < 0.85  # P(N(0.2, 0.3) > 0) = 0.75 is the best that can be
    assert recognition.accuracy[2] > 0.97


def test_more_transitions_bring_the_guess_nearer_to_the_task():
  rng = np.random.default_rng(3)
  goals = np.linspace(-1, 1, 6)
  # A reward says on which side of the goal the state is, and no more.
  tasks = [episodes(rng, lambda state, goal=goal: np.sign(state[:, 0] - goal)) for goal in goals]
  result = measure_identifiability(tasks, goals[:, None])
  assert 1 / 6 < result.everything.accuracy[0] < 0.45
  assert result.everything.accuracy[4] > 0.97
  assert np.all(np.diff(result.everything.distance) <= 0)
  assert result.chance.distance[0] > 10 * result.everything.distance[4]


def test_the_same_seed_gives_the_same_numbers(opposite):
  tasks, first = opposite
  again, other = (measure_identifiability(tasks, np.array([[1.0], [-1.0]]), seed=seed) for seed in (0, 1))
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert np.any(first.behaviour.accuracy != other.behaviour.accuracy)


def test_numbers_of_transitions_that_a_task_does_not_have_are_left_out():
  tasks = [make_episodes((5, 5, 5, 4), task=task) for task in range(2)]
  assert measure_identifiability(tasks, np.zeros((2, 1))).num_transitions == (1, 4)


def test_what_cannot_be_measured_is_named():
  with pytest.raises(ValueError, match="two tasks or more"):
    measure_identifiability([make_episodes((2, 3))], np.zeros((1, 1)))
  with pytest.raises(ValueError, match=r"task 1: .*episodes"):
    measure_identifiability([make_episodes((2, 3)), make_episodes((5,))], np.zeros((2, 1)))
  broken = make_episodes((2, 3))
  broken.reward[2] = np.nan
  with pytest.raises(ValueError, match=r"task 1: .*finite"):
    measure_identifiability([make_episodes((2, 3)), broken], np.zeros((2, 1)))
