from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.statistics import Statistics, no_scaling, normalise_dataset
from macaw_jax.evaluation import protocols
from macaw_jax.types import Algorithm

# Far from zero and one, so that a forgotten or doubled scaling cannot pass.
STATISTICS = Statistics(np.array([0.5, -0.25], np.float32), np.array([2.0, 0.5], np.float32), np.float32(4.0))
GOALS = np.array([[0.5, 0.5], [-0.5, 0.25], [0.0, -0.75]], np.float32)
NUM_ROWS = 40


def make_dataset():
  """Random positions; the reward is highest in the row that stands on the task's goal."""
  rng = np.random.default_rng(0)
  position = rng.uniform(-1, 1, (3, NUM_ROWS, 2)).astype(np.float32)
  position[:, 7] = GOALS
  reward = -np.linalg.norm(position - GOALS[:, None], axis=-1)
  zeros = np.zeros((3, NUM_ROWS), np.float32)
  return Dataset(
    observation=position,
    action=np.zeros((3, NUM_ROWS, 2), np.float32),
    reward=reward,
    next_observation=position,
    terminal=zeros,
    last=zeros,
    mc_return=zeros,
    final_discount=zeros,
    episode_index=np.zeros((3, NUM_ROWS), np.int32),
    final_observation=position[:, :1],
    size=np.full(3, NUM_ROWS, np.int32),
  )


def seeker(count_adapt=lambda: None):
  """Stands still before adaptation, and afterwards walks to where its support has the highest reward."""

  def adapt(params, support, key):
    count_adapt()
    return {"place": support.observation[jnp.argmax(support.reward)]}

  def act(params, task, timestep, key):
    assert key is None
    if not task:
      return jnp.zeros(2), task
    distance = (task["place"] - timestep.observation) * params["scale"]
    return jnp.clip(10.0 * distance, -1.0, 1.0), task

  return Algorithm(init=None, update=None, adapt=adapt, act=act)


PARAMS = {"scale": STATISTICS.observation_std}

TRACES = []


@pytest.fixture(scope="module")
def evaluate():
  """The protocol on the seeker, compiled once for the tests of this file: `(key, ...) -> Evaluation`."""
  protocol = make_protocol(seeker(lambda: TRACES.append(1)), support_size=NUM_ROWS)
  return partial(run, protocol)


def make_protocol(algorithm, support_size):
  family = envs.make("point_robot")
  return protocols.make_offline_protocol(algorithm, family, support_size=support_size, num_episodes=4)


def run(protocol, key, statistics=STATISTICS):
  return protocol(
    {"scale": statistics.observation_std},
    statistics,
    normalise_dataset(statistics, make_dataset()),
    {"goal": GOALS},
    jax.random.key(key),
  )


def test_returns_before_and_after(evaluate):
  evaluation = evaluate(0)
  assert evaluation.returns.shape == (3, 4, 2)
  before, after = evaluation.returns[:, 0].T
  # Standing still earns the distance of the start to the goal, 20 times; both sides start in the same states.
  starts = evaluation.states[:, 0]
  distances = np.linalg.norm(starts - GOALS, axis=-1)
  np.testing.assert_allclose(before, -20 * distances, rtol=1e-5)
  # Walking: 0.1 a step along each axis until the goal is reached, worked out step by step.
  place, expected = starts.copy(), np.zeros(3)
  for _ in range(20):
    place += np.clip(GOALS - place, -0.1, 0.1)
    expected -= np.linalg.norm(place - GOALS, axis=-1)
  np.testing.assert_allclose(after, expected, atol=1e-4)


def test_episodes_of_a_task_start_in_different_states(evaluate):
  assert len(np.unique(evaluate(0).returns[0, :, 0])) == 4


def test_the_key_decides(evaluate):
  one, same, other = evaluate(1), evaluate(1), evaluate(2)
  np.testing.assert_array_equal(one.returns, same.returns)
  assert (one.returns[..., 0] != other.returns[..., 0]).all()


def test_one_trace_of_adaptation_serves_all_keys_and_statistics(evaluate):
  scaled = evaluate(3)
  raw = evaluate(3, no_scaling(2))
  assert len(TRACES) == 1
  np.testing.assert_allclose(raw.returns, scaled.returns, atol=1e-4)  # the seeker makes up for the scales


def test_without_a_change_before_and_after_are_the_same():
  unchanged = seeker()._replace(adapt=lambda params, support, key: {})
  evaluation = run(make_protocol(unchanged, support_size=8), 0)
  np.testing.assert_array_equal(evaluation.returns[..., 0], evaluation.returns[..., 1])


def test_before_adaptation_acts_a_draw_of_the_prior_for_each_episode():
  def act(params, task, timestep, key):
    return task["direction"], task

  def run_with(prior):
    algorithm = Algorithm(None, None, lambda params, support, key: {"direction": jnp.zeros(2)}, act, prior)
    return np.moveaxis(run(make_protocol(algorithm, support_size=8), 0).returns, -1, 0)  # before, after

  still = run_with(lambda params, key: {"direction": jnp.zeros(2)})
  np.testing.assert_array_equal(*still)  # the same starts
  right = run_with(lambda params, key: {"direction": jnp.array([1.0, 0.0])})
  drawn = run_with(lambda params, key: {"direction": jnp.array([jax.random.bernoulli(key), 0.0])})
  np.testing.assert_array_equal(drawn[1], still[1])
  walks = drawn[0] == right[0]
  assert ((drawn[0] == still[0]) != walks).all()
  assert walks.any()
  assert not walks.all()


def test_a_support_is_distinct_rows_of_its_own_task():
  dataset = make_dataset()
  algorithm = seeker()._replace(adapt=lambda params, support, key: {"rows": support.observation})
  rows = np.asarray(protocols.make_adapt(algorithm, 16, 2)(PARAMS, dataset, jax.random.key(0))["rows"])
  assert rows.shape == (6, 16, 2)
  for support in range(6):
    found = {tuple(row) for row in rows[support]}
    assert len(found) == 16
    assert found <= {tuple(row) for row in dataset.observation[support // 2]}


def test_a_contiguous_support_is_consecutive_rows():
  numbered = make_dataset()._replace(reward=np.tile(np.arange(NUM_ROWS, dtype=np.float32), (3, 1)))
  algorithm = seeker()._replace(adapt=lambda params, support, key: {"rows": support.reward})
  adapt = protocols.make_adapt(algorithm, 16, 5, "contiguous")
  rows = np.asarray(adapt(PARAMS, numbered, jax.random.key(0))["rows"])
  np.testing.assert_array_equal(np.diff(rows, axis=1), 1.0)
  assert len(np.unique(rows[:, 0])) > 5


def test_every_episode_has_a_support_of_its_own():
  algorithm = seeker()._replace(adapt=lambda params, support, key: {"rows": support.observation})
  rows = np.asarray(protocols.make_adapt(algorithm, 16, 4)(PARAMS, make_dataset(), jax.random.key(0))["rows"])
  supports = {frozenset(map(tuple, support)) for support in rows}
  assert len(supports) == 12


def test_a_support_larger_than_a_task_is_refused():
  with pytest.raises(ValueError, match="support of 41 transitions"):
    run(make_protocol(seeker(), support_size=41), 0)
