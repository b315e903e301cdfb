import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.manifest import DatasetError, Manifest, TaskEntry
from macaw_jax.data.statistics import Statistics, normalise_dataset
from macaw_jax.evaluation import protocols
from macaw_jax.types import Algorithm, TimeStep

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
  """The protocol on the seeker, compiled once for the tests of this file: `(key) -> Evaluation`."""
  protocol = make_protocol(seeker(lambda: TRACES.append(1)), support_size=NUM_ROWS)
  return lambda key: run(protocol, key)


def make_protocol(algorithm, support_size):
  family = envs.make("point_robot")
  return protocols.make_offline_protocol(algorithm, family, STATISTICS, support_size=support_size, num_episodes=4)


def run(protocol, key):
  return protocol(PARAMS, normalise_dataset(STATISTICS, make_dataset()), {"goal": GOALS}, jax.random.key(key))


def test_returns_before_and_after(evaluate):
  evaluation = evaluate(0)
  assert evaluation.before.shape == evaluation.after.shape == (3, 4)
  # Standing still earns the distance of the start to the goal, 20 times; both sides start in the same states.
  starts = evaluation.states[:, 0]
  distances = np.linalg.norm(starts - GOALS, axis=-1)
  np.testing.assert_allclose(evaluation.before[:, 0], -20 * distances, rtol=1e-5)
  # Walking: 0.1 a step along each axis until the goal is reached, worked out step by step.
  place, expected = starts.copy(), np.zeros(3)
  for _ in range(20):
    place += np.clip(GOALS - place, -0.1, 0.1)
    expected -= np.linalg.norm(place - GOALS, axis=-1)
  np.testing.assert_allclose(evaluation.after[:, 0], expected, atol=1e-4)


def test_episodes_of_a_task_start_in_different_states(evaluate):
  assert len(np.unique(evaluate(0).before[0])) == 4


def test_the_key_decides(evaluate):
  one, same, other = evaluate(1), evaluate(1), evaluate(2)
  np.testing.assert_array_equal(one.after, same.after)
  assert (one.before != other.before).all()


def test_adaptation_is_traced_once_for_many_evaluations(evaluate):
  evaluate(3)
  evaluate(4)
  assert len(TRACES) == 1


def test_without_a_change_before_and_after_are_the_same():
  unchanged = seeker()._replace(adapt=lambda params, support, key: {})
  evaluation = run(make_protocol(unchanged, support_size=8), 0)
  np.testing.assert_array_equal(evaluation.before, evaluation.after)


def test_before_adaptation_acts_a_draw_of_the_prior_for_each_episode():
  def act(params, task, timestep, key):
    return task["direction"], task

  def run_with(prior):
    algorithm = Algorithm(None, None, lambda params, support, key: {"direction": jnp.zeros(2)}, act, prior)
    return run(make_protocol(algorithm, support_size=8), 0)

  still = run_with(lambda params, key: {"direction": jnp.zeros(2)})
  np.testing.assert_array_equal(still.before, still.after)  # the same starts
  right = run_with(lambda params, key: {"direction": jnp.array([1.0, 0.0])})
  drawn = run_with(lambda params, key: {"direction": jnp.array([jax.random.bernoulli(key), 0.0])})
  np.testing.assert_array_equal(drawn.after, still.after)
  walks = drawn.before == right.before
  assert ((drawn.before == still.before) != walks).all()
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
  with pytest.raises(ValueError, match="support of 41 transitions a task; the smallest task has 40"):
    run(make_protocol(seeker(), support_size=41), 0)


def test_the_agent_sees_scaled_observations_and_rewards():
  act = protocols.act_on_raw_timesteps(lambda params, task, timestep, key: (timestep, task), STATISTICS)
  seen, _ = act({}, {}, TimeStep(np.array([2.5, 0.0]), np.zeros(2), np.float32(-8.0), np.float32(0.0)), None)
  np.testing.assert_allclose(seen.observation, [1.0, 0.5])
  assert seen.reward == -2.0


def make_manifest(parameters):
  entry = TaskEntry(parameters={"goal": [0.0, 0.0]}, reference_returns={"random": 0.0, "expert": 1.0})
  special = TaskEntry(parameters=parameters, reference_returns={"random": -20.0, "expert": 30.0})
  return Manifest(
    family="point_robot",
    observation_size=2,
    action_size=2,
    horizon=20,
    discount=0.99,
    seed=0,
    train_tasks=(0,),
    test_tasks=(1,),
    tasks=(entry, special),
    behaviour={},
    versions={},
    git_commit=None,
    created="2025-01-01T00:00:00",
  )


def test_rows_of_a_result():
  manifest = make_manifest({"goal": [0.5, -0.5]})
  evaluation = protocols.Evaluation(before=np.array([[-20.0, 0.0]]), after=np.array([[30.0, 10.0]]), states=None)
  (row,) = protocols.result_rows(evaluation, manifest, [1], "test", support_size=64, protocol="offline_other_policy")
  assert row == {
    "protocol": "offline_other_policy",
    "split": "test",
    "task_index": 1,
    "task": {"goal": [0.5, -0.5]},
    "support_size": 64,
    "episodes": 2,
    "return_before": -10.0,
    "return_before_std": 10.0,
    "return_after": 20.0,
    "return_after_std": 10.0,
    "score_before": 20.0,  # 100 (-10 + 20) / 50
    "score_after": 80.0,  # 100 (20 + 20) / 50
  }
  means = protocols.mean_row([row, row | {"return_before": 10.0, "score_after": 0.0}])
  assert means == {"return_before": 0.0, "return_after": 20.0, "score_before": 20.0, "score_after": 40.0}


def test_rows_of_an_evaluation_over_episodes_of_experience():
  manifest = make_manifest({"goal": [0.5, -0.5]})
  by_episodes = np.array([[[-20.0, 5.0, 30.0], [0.0, 5.0, 10.0]]])
  evaluation = protocols.Evaluation(by_episodes[..., 0], by_episodes[..., 2], states=None, by_episodes=by_episodes)
  (row,) = protocols.result_rows(evaluation, manifest, [1], "test", support_size=40, protocol="online")
  assert (row["return_before"], row["return_after"], row["episodes"]) == (-10.0, 20.0, 2)
  assert row["returns_by_episodes"] == [-10.0, 5.0, 20.0]
  assert row["scores_by_episodes"] == [row["score_before"], 50.0, row["score_after"]]  # 100 (5 + 20) / 50


def test_tasks_are_those_of_the_manifest():
  tasks = protocols.tasks_of(make_manifest({"goal": [0.5, -0.5]}), envs.make("point_robot"), [1, 0])
  np.testing.assert_array_equal(tasks["goal"], np.array([[0.5, -0.5], [0.0, 0.0]], np.float32))
  assert tasks["goal"].dtype == np.float32


@pytest.mark.parametrize("parameters", [{"place": [0.0, 0.0]}, {"goal": 1.0}, {"goal": [0.0, 0.0], "mass": 1.0}, {}])
def test_tasks_of_another_family_are_refused(parameters):
  with pytest.raises(DatasetError, match=r"task 1 has the parameters .* family 'point_robot' expects"):
    protocols.tasks_of(make_manifest(parameters), envs.make("point_robot"), [1])
